//! What the engine does for an owner of conversations: it reports what it forgets, gives up what it has lost, takes back
//! what did not leave, and keeps to a share.

use std::time::Duration;

use typingd::engine::policy::Policy;
use typingd::engine::{Engine, Remains};
use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::SignalKind::{Keystroke, MessageSent, Stopped};
use typingd::model::{
    Cause, ConversationRef, Dispatch, Indicator, Instant, Outcome, Reason, Signal, SignalKind, Transient,
};

const NO_ANSWER: Outcome = Outcome::Unknown(Transient { cause: Cause::NoAnswer, retry_after: None });

struct Bench {
    engine: Engine,
    now: Instant,
}

fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

impl Bench {
    fn new() -> Self {
        let mut engine = Engine::new(Policy::default(), 3);
        engine.observe_released(Duration::from_secs(30));
        engine.observe_dropped();
        Self { engine, now: Instant::from_millis(1_000) }
    }

    fn signal(&mut self, kind: SignalKind) {
        self.engine.handle_signal(self.now, pair("user"), Signal::new(kind)).expect("there is room");
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.engine.handle_timeout(self.now);
    }

    fn leaving(&mut self) -> Option<Dispatch> {
        self.engine.poll_dispatch(self.now)
    }

    /// What leaves now is one request of this indicator; it is answered at once.
    fn one(&mut self, indicator: Indicator) -> Dispatch {
        let dispatch = self.leaving().expect("something leaves");
        assert_eq!(dispatch.indicator(), indicator);
        let _ = self.engine.handle_outcome(self.now, dispatch.id, Outcome::Delivered);
        dispatch
    }

    fn lose(&mut self) -> (bool, bool) {
        let Remains { maybe_on, in_flight } = self.engine.handle_lost(self.now, pair("user"));
        (maybe_on, in_flight)
    }
}

#[test]
fn a_conversation_is_retained_for_its_owner_and_then_released() {
    let mut bench = Bench::new();
    bench.signal(Keystroke);
    bench.one(TypingStarted);
    bench.wait(1_000);
    bench.signal(MessageSent);
    bench.one(TypingStopped);
    bench.wait(29_500);
    assert_eq!((bench.engine.holds(pair("user")), bench.engine.poll_released()), (true, None));
    bench.wait(2_000);
    assert!(!bench.engine.holds(pair("user")));
    assert_eq!(bench.engine.poll_released().as_ref().map(|released| released.from()), Some("user"));
}

#[test]
fn a_lost_conversation_is_forgotten_and_nothing_is_sent() {
    let mut bench = Bench::new();
    bench.signal(Keystroke);
    bench.one(TypingStarted);
    assert_eq!(bench.lose(), (true, false));
    assert!(!bench.engine.holds(pair("user")) && bench.leaving().is_none());
    assert_eq!(bench.lose(), (false, false), "it is not known any more");
}

#[test]
fn a_lost_conversation_in_flight_waits_for_its_outcome() {
    for (outcome, maybe_on) in [(Outcome::Delivered, true), (NO_ANSWER, true)] {
        let mut bench = Bench::new();
        bench.signal(Keystroke);
        let started = bench.leaving().expect("a Started");
        bench.signal(Stopped);
        assert_eq!(bench.lose(), (false, true));
        let _ = bench.engine.handle_outcome(bench.now, started.id, outcome);
        assert!(bench.leaving().is_none(), "the owner decides on a Stopped");
        assert_eq!(bench.lose(), (maybe_on, false));
        assert!(!bench.engine.holds(pair("user")));
    }
}

#[test]
fn what_is_withheld_is_tried_again_and_costs_no_rate() {
    let mut bench = Bench::new();
    bench.signal(Keystroke);
    let started = bench.leaving().expect("a Started");
    bench.engine.handle_withheld(bench.now, started.id);
    assert_eq!(bench.engine.counted(bench.now), 0);
    assert!(bench.leaving().is_none(), "not at once");
    bench.wait(300);
    let again = bench.one(TypingStarted);
    assert_eq!((again.decision, again.attempt), (started.decision, 0));
}

#[test]
fn a_stop_for_what_was_withheld_is_not_sent() {
    let mut bench = Bench::new();
    bench.signal(Keystroke);
    let started = bench.leaving().expect("a Started");
    bench.signal(MessageSent);
    bench.engine.handle_withheld(bench.now, started.id);
    bench.wait(1_000);
    assert!(bench.leaving().is_none());
    let dropped = std::iter::from_fn(|| bench.engine.poll_dropped());
    assert_eq!(dropped.count(), 2, "each decision has an end");
}

#[test]
fn a_recovered_icon_of_a_user_who_types_gets_no_stopped() {
    let mut bench = Bench::new();
    bench.signal(Keystroke);
    bench.one(TypingStarted);
    bench.engine.handle_recovered(bench.now, pair("user"));
    assert!(bench.leaving().is_none());
    bench.signal(MessageSent);
    bench.one(TypingStopped);
    bench.engine.handle_recovered(bench.now, pair("user"));
    assert_eq!(bench.one(TypingStopped).reason, Reason::Recovered, "it is off, as far as was known");
}

#[test]
fn no_more_leaves_than_the_share() {
    let mut bench = Bench::new();
    bench.engine.handle_share(3);
    for from in 0..10 {
        let name = format!("user-{from}");
        bench.engine.handle_signal(bench.now, pair(&name), Signal::new(Keystroke)).expect("there is room");
    }
    let mut sent = 0;
    for _ in 0..10 {
        while let Some(dispatch) = bench.leaving() {
            sent += 1;
            let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
        }
        bench.wait(99);
    }
    assert_eq!(sent, 3, "in a second");
    bench.engine.handle_share(2_000);
    bench.wait(350);
    let leaving = std::iter::from_fn(|| bench.leaving()).count();
    assert_eq!(leaving, 7, "a larger share holds at once");
}
