//! The engine, driven by arbitrary operations: every decision is the oracle's, and what leaves keeps the rules of delivery.
#![no_main]

#[path = "../../simulation/oracle.rs"]
#[allow(dead_code, reason = "the simulation uses more of it")]
mod oracle;

use std::collections::VecDeque;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use oracle::{Event, Times};
use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Mode, Policy, Rules};
use typingd::model::{
    Cause, ConversationRef, Dispatch, DispatchId, Indicator, Instant, Outcome, Reason, Rejection, Signal, SignalKind,
    Transient,
};

const PEOPLE: usize = 5;
const OPERATIONS_MAX: usize = 200;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Timing {
    after_shown: bool,
    check: u8,
    dismiss: u8,
    max_typing: u16,
}

impl Timing {
    fn times(self) -> Times {
        let dismiss = 1 + u64::from(self.dismiss);
        Times {
            mode: if self.after_shown { Mode::AfterShown } else { Mode::Idle },
            check: 1 + u64::from(self.check),
            dismiss,
            max_typing: dismiss + u64::from(self.max_typing) % 2_000,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Wait(u8),
    LongWait(u16),
    Key(u8),
    Lasting(u8, u8),
    Message(u8),
    Stopped(u8),
    Ended(u8),
    /// So many requests leave, if they may.
    Send(u8),
    /// One of those in flight comes to this.
    Answer(u8, End),
    /// An outcome of a request that has been answered and is not tried again at that moment.
    AnswerAgain(End),
    Timing(Timing),
    Slept,
    Accepted,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum End {
    Delivered,
    Lost { applied: bool },
    RateLimited(u8),
    Token(u8),
    Credentials,
    NoCredentials,
    Unreachable,
    Unprocessed,
    Failing { applied: bool },
    Conversation,
    Channel,
    Request,
    Configuration,
}

#[derive(Arbitrary, Debug)]
struct Input {
    timing: Timing,
    rate: u8,
    in_flight: u8,
    operations: Vec<Operation>,
}

/// What is known of one person's icon.
#[derive(Default)]
struct Person {
    events: Vec<(u64, Event)>,
    decided: Vec<(u64, Reason)>,
    in_flight: bool,
    shown: bool,
    /// A Stopped has been refused or given up: the icon may stay on.
    excused: bool,
}

struct World {
    engine: Engine,
    first: Times,
    policy: Policy,
    now: u64,
    people: [Person; PEOPLE],
    flights: Vec<Dispatch>,
    answered: Option<DispatchId>,
    /// When requests left, within the last second, and which.
    left: VecDeque<(u64, DispatchId)>,
}

fn name(person: usize) -> String {
    format!("user-{person}")
}

fn rules(times: &Times) -> Rules {
    let Times { mode, check, dismiss, max_typing } = *times;
    let millis = Duration::from_millis;
    Rules::new(mode, millis(check), millis(dismiss), millis(max_typing))
}

impl World {
    fn new(input: &Input) -> Self {
        let first = input.timing.times();
        let delivery = Delivery {
            in_flight_max: 1 + usize::from(input.in_flight),
            requests_per_second_max: 1 + u32::from(input.rate),
            ..Delivery::default()
        };
        let policy = Policy { rules: rules(&first), delivery, ..Policy::default() };
        let mut engine = Engine::new(policy.clone(), 7);
        engine.observe_decisions();
        engine.observe_dropped();
        Self {
            engine,
            first,
            policy,
            now: 1_000,
            people: Default::default(),
            flights: Vec::new(),
            answered: None,
            left: VecDeque::new(),
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    /// Runs every timer at its time.
    fn wait(&mut self, millis: u64) {
        let target = self.now + millis;
        loop {
            let due = self.engine.next_deadline();
            let next = due.as_micros().div_ceil(1_000).clamp(self.now, target);
            self.now = next;
            self.engine.handle_timeout(self.instant());
            self.note();
            if next == target && self.engine.next_deadline() > self.instant() {
                return;
            }
        }
    }

    /// Decisions and what became of them.
    fn note(&mut self) {
        let person = |from: &str| from.strip_prefix("user-").and_then(|number| number.parse::<usize>().ok());
        while let Some(decision) = self.engine.poll_decision() {
            let who = person(decision.conversation.from()).expect("one of ours");
            assert_eq!(decision.at.as_micros() % 1_000, 0);
            self.people[who].decided.push((decision.at.as_millis(), decision.reason));
        }
        while let Some(dropped) = self.engine.poll_dropped() {
            let who = person(dropped.conversation.from()).expect("one of ours");
            let is_stop = dropped.reason.indicator() == Indicator::TypingStopped;
            self.people[who].excused |= is_stop;
        }
    }

    fn signal(&mut self, who: u8, kind: SignalKind, lasts: u16, event: Event) {
        let who = usize::from(who) % PEOPLE;
        let from = name(who);
        let pair = ConversationRef::new("channel", &from).expect("a valid pair");
        let signal = Signal { lasts_millis: lasts, ..Signal::new(kind) };
        let taken = self.engine.handle_signal(self.instant(), pair, signal);
        taken.expect("there is room");
        self.people[who].events.push((self.now, event));
        self.note();
    }

    fn everybody(&mut self, event: Event) {
        self.people.iter_mut().for_each(|person| person.events.push((self.now, event)));
    }

    fn send(&mut self, most: usize) -> usize {
        for sent in 0..most {
            let Some(dispatch) = self.engine.poll_dispatch(self.instant()) else { return sent };
            self.note();
            let from = dispatch.conversation.from();
            let who = (0..PEOPLE).find(|who| name(*who) == from).expect("one of ours");
            let person = &mut self.people[who];
            assert!(!person.in_flight, "one request in flight per conversation");
            person.in_flight = true;
            if dispatch.indicator() == Indicator::TypingStarted {
                let last = person.decided.last().expect("nothing leaves undecided").1;
                assert_eq!(last.indicator(), Indicator::TypingStarted, "no Started for a user who is not typing");
                let age = self.now - dispatch.decided.as_millis();
                assert!(age <= 5_000, "a Started is never late: {age} ms");
            }
            while self.left.front().is_some_and(|(left, _)| left + 1_000 <= self.now) {
                self.left.pop_front();
            }
            self.left.push_back((self.now, dispatch.id));
            let rate = self.policy.delivery.requests_per_second_max as usize;
            assert!(self.left.len() <= rate, "{} in a second of {rate}", self.left.len());
            self.flights.push(dispatch);
            assert!(self.flights.len() <= self.policy.delivery.in_flight_max);
        }
        most
    }

    fn answer(&mut self, which: usize, end: End) {
        if self.flights.is_empty() {
            return;
        }
        let dispatch = self.flights.swap_remove(which % self.flights.len());
        let who = (0..PEOPLE).find(|who| name(*who) == dispatch.conversation.from()).expect("one of ours");
        let (outcome, applied) = outcome(end);
        if outcome.transient().is_some_and(|transient| transient.cause == Cause::NoCredentials) {
            // Nothing has left.
            self.left.retain(|(_, id)| *id != dispatch.id);
        }
        let person = &mut self.people[who];
        person.in_flight = false;
        if applied {
            person.shown = dispatch.indicator() == Indicator::TypingStarted;
            person.excused = false;
        }
        let refused = matches!(outcome, Outcome::Rejected(_));
        person.excused |= refused && dispatch.indicator() == Indicator::TypingStopped;
        let _ = self.engine.handle_outcome(self.instant(), dispatch.id, outcome);
        self.answered = Some(dispatch.id);
        self.note();
    }

    fn operate(&mut self, operation: &Operation) {
        let lasting = |millis: u64| Event::Lasting(millis);
        match *operation {
            Operation::Wait(millis) => self.wait(millis.into()),
            Operation::LongWait(millis) => self.wait(millis.into()),
            Operation::Key(who) => self.signal(who, SignalKind::Keystroke, 0, Event::Key),
            Operation::Lasting(who, lasts) => {
                let lasts = u16::from(lasts) * 8;
                self.signal(who, SignalKind::Keystroke, lasts, lasting(lasts.into()));
            }
            Operation::Message(who) => self.signal(who, SignalKind::MessageSent, 0, Event::Message),
            Operation::Stopped(who) => self.signal(who, SignalKind::Stopped, 0, Event::Stopped),
            Operation::Ended(who) => self.signal(who, SignalKind::Ended, 0, Event::Ended),
            Operation::Send(most) => drop(self.send(most.into())),
            Operation::Answer(which, end) => self.answer(which.into(), end),
            Operation::AnswerAgain(end) => {
                // A retry goes by the name of the try before it.
                let over = self.answered.filter(|id| self.flights.iter().all(|flight| flight.id != *id));
                if let Some(id) = over {
                    assert!(self.engine.handle_outcome(self.instant(), id, outcome(end).0).is_none());
                }
            }
            Operation::Timing(timing) => {
                if self.engine.has_room_for_policy() {
                    let times = timing.times();
                    self.policy.rules = rules(&times);
                    self.engine.handle_policy(self.instant(), self.policy.clone());
                    self.everybody(Event::Change(times));
                    self.wait(0);
                }
            }
            Operation::Slept => {
                self.engine.handle_suspension(self.instant());
                self.everybody(Event::Slept);
                self.wait(0);
            }
            Operation::Accepted => self.engine.handle_acceptance(self.instant(), "channel"),
        }
    }

    /// All goes well from here on: everything that is owed leaves, and nothing is left.
    fn end(&mut self) {
        let quiet = self.now + 3_600_000;
        while self.now < quiet {
            while !self.flights.is_empty() {
                self.answer(0, End::Delivered);
            }
            self.engine.handle_acceptance(self.instant(), "channel");
            if self.send(usize::MAX) > 0 {
                continue;
            }
            let due = self.engine.poll_timeout(self.instant());
            if due == Instant::NEVER {
                break;
            }
            let next = due.as_micros().div_ceil(1_000).clamp(self.now, quiet);
            self.wait(next - self.now);
        }
        assert!(self.engine.is_settled(), "{:?}", self.engine);
        let census = self.engine.census();
        assert_eq!((census.conversations, census.icons, census.in_flight), (0, 0, 0), "{census:?}");
        for (who, person) in self.people.iter().enumerate() {
            assert!(!person.shown || person.excused, "the icon of {who} stays on");
            assert_eq!(person.decided, oracle::decisions(&self.first, &person.events), "{:?}", person.events);
        }
    }
}

/// What the engine is told, and whether the upstream did it.
fn outcome(end: End) -> (Outcome, bool) {
    let transient = |cause, seconds: Option<u8>| Transient {
        cause,
        retry_after: seconds.map(|seconds| Duration::from_secs(u64::from(seconds % 61))),
    };
    match end {
        End::Delivered => (Outcome::Delivered, true),
        End::Lost { applied } => (Outcome::Unknown(transient(Cause::NoAnswer, None)), applied),
        End::Failing { applied } => (Outcome::Unknown(transient(Cause::Failing, None)), applied),
        End::RateLimited(seconds) => (Outcome::NotSent(transient(Cause::RateLimited, Some(seconds))), false),
        End::Token(seconds) => (Outcome::NotSent(transient(Cause::Token, Some(seconds))), false),
        End::Credentials => (Outcome::NotSent(transient(Cause::Credentials, None)), false),
        End::NoCredentials => (Outcome::NotSent(transient(Cause::NoCredentials, None)), false),
        End::Unreachable => (Outcome::NotSent(transient(Cause::Unreachable, None)), false),
        End::Unprocessed => (Outcome::NotSent(transient(Cause::Unprocessed, None)), false),
        End::Conversation => (Outcome::Rejected(Rejection::Conversation), false),
        End::Channel => (Outcome::Rejected(Rejection::Channel), false),
        End::Request => (Outcome::Rejected(Rejection::Request), false),
        End::Configuration => (Outcome::Rejected(Rejection::Configuration), false),
    }
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    for operation in input.operations.iter().take(OPERATIONS_MAX) {
        world.operate(operation);
    }
    world.end();
});
