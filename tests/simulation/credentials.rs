//! Whose credentials a request leaves with, and what waits for good ones.

use std::num::NonZeroU32;
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::outbox::Acknowledged;
use typingd::engine::policy::{Delivery, Policy};
use typingd::model::{
    Cause, ConversationRef, CredentialId, Dispatch, Indicator, Instant, Outcome, Signal, SignalKind, Transient,
};

const NONE: Outcome = not_sent(Cause::NoCredentials, None);
const REJECTED: Outcome = not_sent(Cause::Credentials, None);

const fn not_sent(cause: Cause, retry_after: Option<Duration>) -> Outcome {
    Outcome::NotSent(Transient { cause, retry_after })
}

struct Bench {
    engine: Engine,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { engine: Engine::new(Policy::default(), 3), now: Instant::from_millis(1_000) }
    }

    fn signal(&mut self, to: &str, from: &str, kind: SignalKind, credentials: Option<u32>) {
        let conversation = pair(to, from);
        self.engine.handle_signal(self.now, conversation, Signal::new(kind)).expect("there is room");
        if let Some(credentials) = credentials {
            self.engine.handle_credentials(self.now, conversation, id(credentials));
        }
    }

    /// Lets the time pass; nothing may leave but now.
    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.engine.handle_timeout(self.now);
    }

    fn leaving(&mut self) -> Option<Dispatch> {
        self.engine.poll_dispatch(self.now)
    }

    fn answer(&mut self, dispatch: &Dispatch, outcome: Outcome) {
        let _ = self.engine.handle_outcome(self.now, dispatch.id, outcome);
    }

    /// What leaves now must be just one request of this indicator; it is answered at once.
    fn one(&mut self, indicator: Indicator, outcome: Outcome) -> Dispatch {
        let dispatch = self.leaving().expect("something leaves");
        assert_eq!(dispatch.indicator(), indicator);
        self.answer(&dispatch, outcome);
        dispatch
    }

    /// An icon of `from` is on, and its Stopped waits for credentials.
    fn block(&mut self, to: &str, from: &str, until: Option<Duration>) {
        self.signal(to, from, SignalKind::Keystroke, Some(1));
        self.one(Indicator::TypingStarted, Outcome::Delivered);
        self.signal(to, from, SignalKind::Stopped, None);
        self.one(Indicator::TypingStopped, not_sent(Cause::NoCredentials, until));
        let account = self.engine.account(self.now, pair(to, from)).expect("it is in memory");
        assert_eq!((account.blocked, account.retry), (true, until.map(|wait| self.now + wait)));
    }

    fn blocked(&self) -> usize {
        self.engine.census().blocked
    }
}

use Indicator::{TypingStarted, TypingStopped};

fn pair<'a>(to: &'a str, from: &'a str) -> ConversationRef<'a> {
    ConversationRef::new(to, from).expect("a valid pair")
}

fn id(number: u32) -> CredentialId {
    CredentialId::new(NonZeroU32::new(number).expect("not zero"))
}

#[test]
fn a_request_has_the_newest_credentials_of_its_conversation() {
    let mut bench = Bench::new();
    bench.signal("c", "u", SignalKind::Keystroke, Some(1));
    bench.signal("c", "v", SignalKind::Keystroke, None);
    let started = [bench.leaving().unwrap(), bench.leaving().unwrap()];
    assert_eq!(started.each_ref().map(|dispatch| dispatch.credentials), [Some(id(1)), None]);
    for dispatch in &started {
        bench.answer(dispatch, Outcome::Delivered);
    }
    bench.signal("c", "u", SignalKind::Keystroke, Some(2));
    // A signal of /v1/signals shows none, and changes nothing.
    bench.signal("c", "u", SignalKind::Keystroke, None);
    bench.signal("c", "u", SignalKind::MessageSent, None);
    assert_eq!(bench.one(TypingStopped, Outcome::Delivered).credentials, Some(id(2)));
    bench.engine.handle_credentials(bench.now, pair("c", "unknown"), id(1));
    assert!(bench.leaving().is_none());
}

#[test]
fn a_started_without_credentials_is_dropped_until_a_check() {
    for outcome in [NONE, REJECTED] {
        let mut bench = Bench::new();
        bench.signal("c", "u", SignalKind::Keystroke, Some(1));
        bench.one(TypingStarted, outcome);
        assert!(bench.leaving().is_none(), "{outcome:?}: it is not tried again");
        for _ in 0..4 {
            bench.wait(1_000);
            bench.signal("c", "u", SignalKind::Keystroke, Some(1));
            assert!(bench.leaving().is_none(), "{outcome:?}");
        }
        bench.wait(1_000);
        bench.one(TypingStarted, outcome);
        bench.signal("c", "u", SignalKind::Stopped, None);
        assert!(bench.leaving().is_none(), "{outcome:?}: nothing is owed");
        assert_eq!((bench.engine.census().conversations, bench.engine.counts().stops_given_up), (0, 0));
    }
}

#[test]
fn a_refused_refresh_leaves_the_icon_to_its_stop() {
    let mut bench = Bench::new();
    bench.signal("c", "u", SignalKind::Keystroke, Some(1));
    bench.one(TypingStarted, Outcome::Delivered);
    for _ in 0..5 {
        bench.wait(1_000);
        bench.signal("c", "u", SignalKind::Keystroke, Some(1));
    }
    bench.one(TypingStarted, REJECTED);
    assert_eq!(bench.engine.acknowledged(pair("c", "u")), Acknowledged::On);
    bench.wait(2_000);
    // Each try is made with other credentials, and none waits for the one before.
    for attempt in 0..5 {
        assert_eq!(bench.one(TypingStopped, REJECTED).attempt, attempt);
    }
    bench.one(TypingStopped, Outcome::Delivered);
    assert_eq!(bench.engine.census().conversations, 0);
}

#[test]
fn an_owed_stop_leaves_when_its_channel_accepts_credentials() {
    let mut bench = Bench::new();
    for (to, from) in [("c", "u"), ("c", "v"), ("d", "w")] {
        bench.block(to, from, None);
    }
    bench.signal("c", "free", SignalKind::Keystroke, Some(2));
    bench.one(TypingStarted, Outcome::Delivered);
    for _ in 0..15 {
        bench.wait(100);
        assert!(bench.leaving().is_none());
    }
    bench.signal("c", "free", SignalKind::Stopped, Some(2));
    bench.one(TypingStopped, Outcome::Delivered);
    assert_eq!(bench.blocked(), 3);
    bench.engine.handle_acceptance(bench.now, "nowhere");
    assert!(bench.leaving().is_none());
    bench.engine.handle_acceptance(bench.now, "c");
    assert_eq!(bench.blocked(), 1);
    // For one of them they were not good after all: it waits again, and no try was counted.
    bench.one(TypingStopped, NONE);
    assert_eq!(bench.one(TypingStopped, Outcome::Delivered).attempt, 0);
    assert!(bench.leaving().is_none());
    assert_eq!(bench.blocked(), 2);
    for to in ["d", "c"] {
        bench.engine.handle_acceptance(bench.now, to);
        assert_eq!(bench.one(TypingStopped, Outcome::Delivered).attempt, 0);
    }
    assert_eq!((bench.blocked(), bench.engine.census().conversations), (0, 0));
}

#[test]
fn an_acceptance_during_a_request_without_credentials_counts() {
    let mut bench = Bench::new();
    bench.signal("c", "u", SignalKind::Keystroke, Some(1));
    bench.one(TypingStarted, Outcome::Delivered);
    bench.signal("c", "u", SignalKind::Stopped, None);
    let dispatch = bench.leaving().expect("the stop");
    bench.engine.handle_acceptance(bench.now, "c");
    bench.answer(&dispatch, NONE);
    bench.one(TypingStopped, NONE);
    assert!(bench.leaving().is_none(), "nothing has been accepted since");
    assert_eq!(bench.blocked(), 1);
}

#[test]
fn other_credentials_are_tried_at_once_rejected_ones_later() {
    let mut bench = Bench::new();
    bench.block("c", "u", Some(Duration::from_secs(30)));
    bench.signal("c", "u", SignalKind::Stopped, Some(1));
    assert!(bench.leaving().is_none(), "they are the same");
    bench.wait(29_999);
    assert!(bench.leaving().is_none());
    bench.wait(1);
    assert_eq!(bench.one(TypingStopped, REJECTED).attempt, 0);
    bench.one(TypingStopped, NONE);
    bench.signal("c", "u", SignalKind::Stopped, Some(2));
    assert_eq!(bench.one(TypingStopped, Outcome::Delivered).credentials, Some(id(2)));
    assert_eq!(bench.engine.census().conversations, 0);
}

#[test]
fn what_waits_for_credentials_has_its_lifespan_and_no_more() {
    let mut bench = Bench::new();
    bench.block("c", "u", None);
    bench.engine.handle_recovered(bench.now, pair("c", "left on"));
    bench.one(TypingStopped, NONE);
    let lifespan = Delivery::default().stopped_lifespan.as_secs();
    bench.wait(lifespan * 1_000 - 1);
    assert_eq!((bench.blocked(), bench.engine.counts().stops_given_up), (2, 0));
    bench.wait(1);
    assert_eq!((bench.blocked(), bench.engine.counts().stops_given_up), (1, 1));
    bench.wait((600 - lifespan) * 1_000 - 1);
    assert_eq!(bench.blocked(), 1);
    bench.wait(1);
    assert_eq!((bench.blocked(), bench.engine.counts().stops_given_up), (0, 2));
    bench.engine.handle_acceptance(bench.now, "c");
    assert!(bench.leaving().is_none());
    assert_eq!(bench.engine.census().conversations, 0);
}

#[test]
fn who_types_again_waits_no_more() {
    let mut bench = Bench::new();
    bench.block("c", "u", None);
    bench.signal("c", "u", SignalKind::Keystroke, Some(2));
    assert_eq!(bench.blocked(), 0);
    bench.one(TypingStarted, Outcome::Delivered);
    bench.engine.handle_acceptance(bench.now, "c");
    assert!(bench.leaving().is_none());
}

#[test]
fn what_finds_no_credentials_costs_no_rate_and_opens_no_circuit() {
    let mut bench = Bench::new();
    let mut policy = Policy::default();
    policy.delivery.requests_per_second_max = 10;
    bench.engine.handle_policy(bench.now, policy);
    for i in 0..100 {
        bench.engine.handle_recovered(bench.now, pair("c", &i.to_string()));
    }
    for _ in 0..100 {
        bench.one(TypingStopped, NONE);
    }
    assert_eq!(bench.blocked(), 100);
    bench.engine.handle_acceptance(bench.now, "c");
    bench.one(TypingStopped, Outcome::Delivered);

    // An upstream that fails is not taken for mended by what never left.
    for _ in 0..40 {
        bench.wait(1_000);
        if let Some(dispatch) = bench.leaving() {
            bench.answer(&dispatch, not_sent(Cause::Failing, None));
        }
    }
    assert!(bench.engine.is_upstream_failing());
    bench.engine.handle_recovered(bench.now, pair("d", "u"));
    for _ in 0..10 {
        bench.wait(1_000);
        while let Some(dispatch) = bench.leaving() {
            bench.answer(&dispatch, NONE);
        }
        assert!(bench.engine.is_upstream_failing());
    }
}

#[test]
fn a_crowd_waiting_for_credentials_goes_on_in_slices() {
    let mut bench = Bench::new();
    let crowd = 3_000;
    for i in 0..crowd {
        bench.engine.handle_recovered(bench.now, pair("c", &i.to_string()));
    }
    let mut policy = Policy::default();
    policy.delivery.requests_per_second_max = 1_000_000;
    policy.delivery.in_flight_max = 1_000_000;
    bench.engine.handle_policy(bench.now, policy);
    for _ in 0..crowd {
        bench.one(TypingStopped, NONE);
    }
    assert_eq!(bench.blocked(), crowd);
    bench.engine.handle_acceptance(bench.now, "c");
    let mut calls = 1;
    while bench.engine.census().queued[0] < crowd {
        let left = bench.blocked();
        assert_eq!(bench.engine.poll_timeout(bench.now), bench.now, "it asks for its next slice");
        bench.engine.handle_timeout(bench.now);
        assert!(left - bench.blocked() <= 600, "{left} {}", bench.blocked());
        calls += 1;
    }
    assert!(calls > 4, "{calls}");
    // Those whose credentials are not good after all wait again, and are not tried without end.
    for _ in 0..crowd {
        bench.one(TypingStopped, NONE);
    }
    for _ in 0..10 {
        bench.engine.handle_timeout(bench.now);
    }
    assert!(bench.leaving().is_none());
    assert_eq!(bench.blocked(), crowd);
}
