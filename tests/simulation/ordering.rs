//! One end user's keys, messages and attachments on their way through the drop-in, with an upstream of random latency:
//! what the upstream receives is what was read, in that order, whatever happens to icons.
//!
//! The order and the engine are the daemon's own; what the drop-in's tasks do with them is played here, a step at a
//! time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::order::{Order, Ticket, Turn, Typing};
use typingd::engine::policy::Policy;
use typingd::model::{
    Cause, Conversation, ConversationRef, Dispatch, Indicator, Instant, Outcome, Signal, SignalKind, Transient,
};

use crate::rng::Rng;

/// How many users' histories are played: TYPINGD_ORDER_RUNS sets another number.
const RUNS: u64 = 20_000;
const ORDER_WAIT: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(250);
const ACTIVITY_LASTS_MILLIS: u16 = 5_000;
/// The part of `order_wait` that each request before it may add to a request's wait.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The connector's request number so and so is read.
    Read(usize),
    /// A request that waits for its turn asks again.
    Ask(usize),
    /// A message no longer waits for its Stopped.
    SettleOver(usize),
    /// What has arrived of a message is written upstream.
    Written(usize),
    /// Those behind it go on.
    Passed(usize),
    /// Its client hangs up, or its connection breaks.
    GivenUp(usize),
    /// An entry of typingd's own arrives upstream.
    Arrives(u64),
    /// And is answered.
    Answered(u64),
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Started,
    Stopped,
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unread,
    Waits,
    Settles,
    Passes,
    Written,
    Over,
}

struct Request {
    kind: Kind,
    stage: Stage,
    ticket: Option<Ticket>,
    read: Instant,
    begun: Option<Instant>,
    /// From when on it holds up no one, though it has not left.
    free_at: Instant,
    /// How long until it is written, once it goes on; `None`: it never is, for want of a connection.
    write: Option<Duration>,
}

struct Run {
    seed: u64,
    now: Instant,
    rng: Rng,
    user: Conversation,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    scheduled: u64,
    requests: Vec<Request>,
    flights: BTreeMap<u64, (Dispatch, Outcome, bool)>,
    order: Order<SignalKind, usize>,
    overdue: u64,
    /// When a request last gave up its place.
    left: Instant,
    /// Messages by their numbers, as the upstream has received them.
    received: Vec<usize>,
    shown: bool,
    latency: u64,
    failures: bool,
}

impl Run {
    fn new(seed: u64, start: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let user = ConversationRef::new("c", &format!("user {seed}")).expect("a valid id").to_owned();
        let latency = [1, 50, 100, 200, 400][rng.below(5) as usize];
        let failures = rng.below(4) == 0;
        let mut run = Self {
            seed,
            now: start,
            rng,
            user,
            events: BinaryHeap::new(),
            scheduled: 0,
            requests: Vec::new(),
            flights: BTreeMap::new(),
            order: Order::new(ORDER_WAIT),
            overdue: 0,
            left: start,
            received: Vec::new(),
            shown: false,
            latency,
            failures,
        };
        run.make_up_requests();
        run
    }

    fn make_up_requests(&mut self) {
        let mut at = self.now;
        for number in 0..2 + self.rng.below(12) as usize {
            let pause = [0, 1, 30, 80, 150, 600, 3_000][self.rng.below(7) as usize];
            at = at + Duration::from_millis(pause + self.rng.below(20));
            let kind = match self.rng.below(5) {
                0 | 1 => Kind::Started,
                2 => Kind::Stopped,
                _ => Kind::Message,
            };
            let write = match self.rng.below(40) {
                0 if self.failures => None,
                1 if self.failures => Some(Duration::from_millis(4_000 + self.rng.below(8_000))),
                2..8 => Some(Duration::from_millis(self.rng.below(300))),
                _ => Some(Duration::from_millis(self.rng.below(3))),
            };
            self.requests.push(Request {
                kind,
                stage: Stage::Unread,
                ticket: None,
                read: at,
                begun: None,
                free_at: Instant::NEVER,
                write,
            });
            self.schedule(at, Event::Read(number));
            if self.rng.below(30) == 0 {
                let gone = at + Duration::from_millis(self.rng.below(400));
                self.schedule(gone, Event::GivenUp(number));
            }
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn play(&mut self, engine: &mut Engine) {
        let mut steps = 0;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            steps += 1;
            assert!(steps < 20_000, "seed {}: it never ends", self.seed);
            self.now = at;
            engine.handle_timeout(at);
            self.step(engine, event);
            self.send(engine);
        }
        assert!(self.order.is_empty(), "seed {}: a place is never given up", self.seed);
        assert!(!self.shown && engine.is_settled(), "seed {}: an icon is left on", self.seed);
        let mut read: Vec<_> = self.received.clone();
        read.sort_unstable();
        assert!(self.overdue > 0 || self.received == read, "seed {}: {:?}", self.seed, self.received);
    }

    fn step(&mut self, engine: &mut Engine, event: Event) {
        match event {
            Event::Read(number) => self.read(engine, number),
            Event::Ask(number) => self.ask(engine, number),
            Event::SettleOver(number) if self.requests[number].stage == Stage::Settles => self.pass(number),
            Event::Written(number) if self.requests[number].stage == Stage::Passes => {
                self.requests[number].stage = Stage::Written;
                self.received.push(number);
                // Either its end is written, and its answer comes some time after, or it has fallen silent.
                match self.rng.below(2) {
                    0 => self.written(number),
                    _ => self.schedule(self.now + Duration::from_millis(50), Event::Passed(number)),
                }
            }
            Event::GivenUp(number) if matches!(self.requests[number].kind, Kind::Message) => self.leave(number),
            Event::Passed(number) => self.leave(number),
            Event::Arrives(id) => self.arrive(id),
            Event::Answered(id) => self.answer(engine, id),
            Event::SettleOver(_) | Event::Written(_) | Event::GivenUp(_) | Event::Timer => {}
        }
    }

    fn read(&mut self, engine: &mut Engine, number: usize) {
        if self.requests[number].stage != Stage::Unread {
            return;
        }
        self.requests[number].stage = Stage::Waits;
        let signal = match self.requests[number].kind {
            Kind::Started => SignalKind::Keystroke,
            Kind::Stopped => SignalKind::Stopped,
            Kind::Message => {
                let (ticket, replaced) = self.order.enter(self.now, &self.user, number);
                self.requests[number].ticket = Some(ticket);
                if let Some(replaced) = replaced {
                    self.schedule(self.now, Event::Ask(replaced));
                }
                self.ask(engine, number);
                return;
            }
        };
        match self.order.enter_typing(self.now, &self.user, signal, number) {
            Typing::First(ticket) => {
                self.requests[number].ticket = Some(ticket);
                self.report(engine, signal);
                self.leave(number);
            }
            Typing::Waits(ticket) => {
                self.requests[number].ticket = Some(ticket);
                self.ask(engine, number);
            }
            Typing::Joined => self.requests[number].stage = Stage::Over,
        }
    }

    fn ask(&mut self, engine: &mut Engine, number: usize) {
        let Request { stage, ticket: Some(ticket), read, .. } = self.requests[number] else { return };
        if stage != Stage::Waits {
            return;
        }
        match self.order.turn(self.now, &self.user, ticket) {
            Turn::Wait(until) => {
                let bound = ORDER_WAIT + GRACE * u32::try_from(self.requests.len()).expect("few");
                assert!(self.now.since(read) <= bound, "seed {}: request {number} waits too long", self.seed);
                self.schedule(until, Event::Ask(number));
            }
            Turn::Replaced => {
                assert_ne!(self.requests[number].kind, Kind::Message, "seed {}: a message loses its place", self.seed);
                self.requests[number].stage = Stage::Over;
            }
            Turn::Now { typing, overdue } => {
                self.overdue += u64::from(overdue);
                let prompt = self.now == read.max(self.left) || self.overdue > 0;
                assert!(prompt, "seed {}: request {number} waits although its turn has come", self.seed);
                self.requests[number].begun = Some(self.now);
                let Some(signal) = typing else { return self.send_message(engine, number) };
                let before = &self.requests[..number];
                let unwritten = before.iter().any(|r| r.kind == Kind::Message && r.stage < Stage::Written);
                assert!(!unwritten || self.overdue > 0, "seed {}: a key overtakes a message", self.seed);
                self.report(engine, signal);
                self.leave(number);
            }
        }
    }

    /// A message is about to pass.
    fn send_message(&mut self, engine: &mut Engine, number: usize) {
        self.report(engine, SignalKind::MessageSent);
        self.requests[number].stage = Stage::Settles;
        let settled = engine.is_settled_off(self.user.as_ref());
        let until = self.now + SETTLE;
        if settled || engine.stop_leaves_after(self.now, self.user.as_ref()) > until {
            return self.pass(number);
        }
        self.schedule(until, Event::SettleOver(number));
    }

    fn pass(&mut self, number: usize) {
        self.requests[number].stage = Stage::Passes;
        match self.requests[number].write {
            Some(write) => self.schedule(self.now + write, Event::Written(number)),
            None => self.schedule(self.now + Duration::from_secs(3), Event::GivenUp(number)),
        }
    }

    fn written(&mut self, number: usize) {
        let free_at = self.now + Duration::from_millis(10);
        let answered = free_at + Duration::from_millis(self.rng.below(200));
        self.schedule(answered, Event::Passed(number));
        self.requests[number].free_at = free_at;
        self.left = free_at;
        let ticket = self.requests[number].ticket.expect("it has not left");
        if let Some(next) = self.order.written(&self.user, ticket, free_at) {
            self.schedule(self.now, Event::Ask(next));
        }
    }

    fn leave(&mut self, number: usize) {
        let request = &mut self.requests[number];
        if request.stage < Stage::Written {
            request.stage = Stage::Over;
        }
        let Some(ticket) = request.ticket.take() else { return };
        if request.free_at == Instant::NEVER {
            self.left = self.left.max(self.now);
        } else if self.left == request.free_at {
            self.left = self.left.min(self.now);
        }
        if let Some(next) = self.order.leave(&self.user, ticket) {
            self.schedule(self.now, Event::Ask(next));
        }
    }

    fn report(&mut self, engine: &mut Engine, kind: SignalKind) {
        let lasts_millis = if kind == SignalKind::Keystroke { ACTIVITY_LASTS_MILLIS } else { 0 };
        let signal = Signal { lasts_millis, ..Signal::new(kind) };
        engine.handle_signal(self.now, self.user.as_ref(), signal).expect("there is room");
    }

    fn send(&mut self, engine: &mut Engine) {
        while let Some(dispatch) = engine.poll_dispatch(self.now) {
            let id = self.scheduled;
            let (there, back) = (self.rng.below(self.latency), self.rng.below(self.latency));
            let transient = Transient { cause: Cause::NoAnswer, retry_after: None };
            let (outcome, arrives) = match self.rng.below(10) {
                0 if self.failures => (Outcome::Unknown(transient), self.rng.below(2) == 0),
                1 if self.failures => (Outcome::NotSent(transient), false),
                _ => (Outcome::Delivered, true),
            };
            self.flights.insert(id, (dispatch, outcome, arrives));
            let arrival = self.now + Duration::from_millis(there);
            self.schedule(arrival, Event::Arrives(id));
            self.schedule(arrival + Duration::from_millis(back), Event::Answered(id));
        }
        let due = engine.poll_timeout(self.now);
        if due != Instant::NEVER {
            self.schedule(due, Event::Timer);
        }
    }

    fn arrive(&mut self, id: u64) {
        let (dispatch, _, arrives) = &self.flights[&id];
        if !arrives {
            return;
        }
        self.shown = dispatch.indicator() == Indicator::TypingStarted;
        if !self.shown || self.overdue > 0 {
            return;
        }
        for (number, message) in self.requests.iter().enumerate() {
            let under_way = matches!(message.stage, Stage::Waits | Stage::Settles | Stage::Passes);
            let since = message.begun.unwrap_or(message.read);
            assert!(
                message.kind != Kind::Message || !under_way || dispatch.decided <= since,
                "seed {}: an icon of after message {number} shows before it",
                self.seed
            );
        }
    }

    fn answer(&mut self, engine: &mut Engine, id: u64) {
        let (dispatch, outcome, _) = self.flights.remove(&id).expect("under way");
        engine.handle_outcome(self.now, dispatch.id, outcome);
        let settled = engine.is_settled_off(self.user.as_ref());
        for number in 0..self.requests.len() {
            if settled && self.requests[number].stage == Stage::Settles {
                // With no icon on, and none on its way, the message arrives under none.
                assert!(!self.shown || self.failures, "seed {}: request {number}", self.seed);
                self.pass(number);
            }
        }
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

#[test]
fn requests_arrive_in_the_order_in_which_they_were_read() {
    let runs = std::env::var("TYPINGD_ORDER_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number of runs"));
    let mut engine = Engine::new(Policy::default(), 7);
    let (mut now, mut overdue, mut messages) = (Instant::from_millis(1), 0, 0);
    for seed in 0..runs {
        let mut run = Run::new(seed, now);
        run.play(&mut engine);
        // What is remembered of one user's upstream must not slow the next one's.
        now = run.now + Duration::from_secs(60);
        (overdue, messages) = (overdue + run.overdue, messages + run.received.len());
    }
    assert!(messages as u64 > runs * 2, "{messages} messages in {runs} runs");
    assert!(overdue > 0 && overdue < runs / 10, "{overdue} went on after their time in {runs} runs");
}
