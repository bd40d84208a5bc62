//! An org's worth of people at once: the rate holds, and what matters most leaves first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::Policy;
use typingd::model::{Conversation, ConversationRef, DispatchId, Instant, Outcome, Reason, Signal, SignalKind};

const PEOPLE: usize = 11_000;
/// From a request's leaving to its answer.
const ROUND_TRIP: Duration = Duration::from_millis(40);

struct Org {
    engine: Engine,
    now: Instant,
    answers: BinaryHeap<Reverse<(Instant, u64, DispatchId)>>,
    /// When requests arrived: half a round trip after they left.
    arrivals: VecDeque<Instant>,
    peak: usize,
    sent: u64,
    late_first: Duration,
    late_stop: Duration,
    refreshed: HashMap<Conversation, Instant>,
    longest_wait: Duration,
}

impl Org {
    fn new() -> Self {
        Self {
            engine: Engine::new(Policy::default(), 7),
            now: Instant::from_millis(1_000),
            answers: BinaryHeap::new(),
            arrivals: VecDeque::new(),
            peak: 0,
            sent: 0,
            late_first: Duration::ZERO,
            late_stop: Duration::ZERO,
            refreshed: HashMap::new(),
            longest_wait: Duration::ZERO,
        }
    }

    /// Lets the time pass up to `until`, with everything that falls due.
    fn pass(&mut self, until: Instant) {
        loop {
            self.send();
            let answer = self.answers.peek().map_or(Instant::NEVER, |Reverse((at, ..))| *at);
            let next = self.engine.poll_timeout(self.now).min(answer);
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            while let Some(Reverse((at, _, id))) = self.answers.peek().copied() {
                if at > self.now {
                    break;
                }
                self.answers.pop();
                let _ = self.engine.handle_outcome(self.now, id, Outcome::Delivered);
            }
            self.engine.handle_timeout(self.now);
        }
        self.now = until;
        self.engine.handle_timeout(until);
    }

    fn send(&mut self) {
        while let Some(dispatch) = self.engine.poll_dispatch(self.now) {
            let waited = self.now.since(dispatch.decided);
            match dispatch.reason {
                Reason::FirstKeystroke => self.late_first = self.late_first.max(waited),
                Reason::Check => {
                    if let Some(last) = self.refreshed.insert(dispatch.conversation.clone(), self.now) {
                        self.longest_wait = self.longest_wait.max(self.now.since(last));
                    }
                }
                _ => self.late_stop = self.late_stop.max(waited),
            }
            if dispatch.reason != Reason::Check {
                self.refreshed.remove(&dispatch.conversation);
            }
            let arrival = self.now + ROUND_TRIP / 2;
            self.arrivals.push_back(arrival);
            while self.arrivals.front().is_some_and(|at| *at + Duration::from_secs(1) <= arrival) {
                self.arrivals.pop_front();
            }
            self.peak = self.peak.max(self.arrivals.len());
            self.sent += 1;
            self.answers.push(Reverse((self.now + ROUND_TRIP, self.sent, dispatch.id)));
        }
    }

    fn signal(&mut self, person: usize, kind: SignalKind) {
        let from = format!("user-{person}");
        let conversation = ConversationRef::new("channel", &from).expect("a valid pair");
        self.engine.handle_signal(self.now, conversation, Signal::new(kind)).expect("there is room");
    }
}

/// 2,200 refreshes a second are wanted, beside 200 starts and 200 stops, and 2,000 requests are allowed: refreshes are
/// shed, evenly; every first Started leaves within 250 ms, every Stopped within 500 ms. Then all stop at once.
#[test]
fn an_org_beyond_its_limit_sheds_refreshes_and_nothing_else() {
    let mut org = Org::new();
    let begin = org.now;
    let step = Duration::from_millis(50);
    // People come in over ten seconds, then 200 a second leave and are replaced. Each presses a key every second.
    let mut typing: VecDeque<usize> = VecDeque::new();
    let mut next_person = 0;
    let mut measured_from = None;
    for tick in 0..(40_000 / 50u64) {
        org.pass(begin + step * u32::try_from(tick).expect("small"));
        let coming = if typing.len() < PEOPLE && measured_from.is_none() { 55 } else { 10 };
        if typing.len() >= PEOPLE {
            if measured_from.is_none() {
                (org.late_first, org.late_stop, org.longest_wait) = Default::default();
                measured_from = Some(org.engine.counts().shed);
            }
            for _ in 0..10 {
                let person = typing.pop_front().expect("a full house");
                org.signal(person, SignalKind::MessageSent);
            }
        }
        for _ in 0..coming {
            typing.push_back(next_person);
            org.signal(next_person, SignalKind::Keystroke);
            next_person += 1;
        }
        for person in typing.iter().filter(|person| *person % 20 == (tick % 20) as usize) {
            org.now = org.now.max(begin + step * u32::try_from(tick).expect("small"));
            let person = *person;
            let from = format!("user-{person}");
            let conversation = ConversationRef::new("channel", &from).expect("a valid pair");
            let key = Signal::new(SignalKind::Keystroke);
            org.engine.handle_signal(org.now, conversation, key).expect("there is room");
        }
    }
    let shed = org.engine.counts().shed - measured_from.expect("the house was full");
    assert!(shed > 1_000, "the pressure was no pressure: {shed} shed");
    assert!(org.peak <= 2_000, "{} requests in one second", org.peak);
    assert!(org.late_first <= Duration::from_millis(250), "a first Started left {:?} late", org.late_first);
    assert!(org.late_stop <= Duration::from_millis(500), "a Stopped left {:?} late", org.late_stop);
    assert!(org.longest_wait <= Duration::from_secs(16), "a conversation starved for {:?}", org.longest_wait);

    let all: Vec<usize> = typing.into_iter().collect();
    let stopped_at = org.now;
    let shown = org.engine.census().icons;
    for person in all {
        org.signal(person, SignalKind::MessageSent);
    }
    while !org.engine.is_settled() {
        org.pass(org.now + Duration::from_millis(10));
        assert!(org.now.since(stopped_at) < Duration::from_secs(60), "it never ends");
    }
    let allowed = Duration::from_secs_f64(shown as f64 / 2_000.0 + 1.0) + ROUND_TRIP;
    assert!(org.now.since(stopped_at) <= allowed, "{shown} stops took {:?}", org.now.since(stopped_at));
    assert!(org.peak <= 2_000, "{} requests in one second", org.peak);
    assert_eq!(org.engine.census().conversations, 0);
}
