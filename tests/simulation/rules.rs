//! The rules of the engine as a whole, each as a small trace.

use std::time::Duration;

use typingd::engine::policy::{Mode, Policy, Rules};
use typingd::engine::timing::Timing;
use typingd::engine::{Engine, Handled, Notice, Rejected};
use typingd::model::{
    Cause, ChannelAddress, ConversationRef, Dispatch, Indicator, Instant, Outcome, Reason, Rejection, Signal,
    SignalKind, Transient,
};

struct Bench {
    engine: Engine,
    now: Instant,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Self { engine: Engine::new(policy, 5), now: Instant::from_millis(1_000) }
    }

    fn signal(&mut self, from: &str, kind: SignalKind, at: Option<u64>) -> Result<Handled, Rejected> {
        self.engine.handle_signal(self.now, pair(from), Signal { at, ..Signal::new(kind) })
    }

    fn key(&mut self, from: &str) {
        self.signal(from, SignalKind::Keystroke, None).expect("there is room");
    }

    fn message(&mut self, from: &str) {
        self.signal(from, SignalKind::MessageSent, None).expect("there is room");
    }

    /// What leaves from now until `millis` later, each with its time, if every request is answered so at once.
    fn answering(&mut self, millis: u64, mut outcome: impl FnMut(&Dispatch) -> Outcome) -> Vec<(u64, Reason)> {
        let begin = self.now;
        let end = begin + Duration::from_millis(millis);
        let mut left = Vec::new();
        loop {
            while let Some(dispatch) = self.engine.poll_dispatch(self.now) {
                left.push((self.now.since(begin).as_millis() as u64, dispatch.reason));
                let _ = self.engine.handle_outcome(self.now, dispatch.id, outcome(&dispatch));
            }
            let due = self.engine.poll_timeout(self.now);
            if due > end {
                self.now = end;
                return left;
            }
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
        }
    }

    fn deliver(&mut self, millis: u64) -> Vec<(u64, Reason)> {
        self.answering(millis, |_| Outcome::Delivered)
    }
}

fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

fn transient(cause: Cause) -> Transient {
    Transient { cause, retry_after: None }
}

use Reason::{Check, FirstKeystroke as First, Idle, MessageSent, Recovered, Shutdown};

#[test]
fn a_keystroke_from_before_the_message_is_late_and_ignored() {
    let mut bench = Bench::new(Policy::default());
    bench.signal("u", SignalKind::Keystroke, Some(10_000)).unwrap();
    bench.signal("u", SignalKind::MessageSent, Some(10_500)).unwrap();
    assert_eq!(bench.deliver(10), [], "the Started had not left, and vanishes with its stop");
    assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(10_500)), Ok(Handled::Late));
    assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(9_000)), Ok(Handled::Late));
    assert_eq!(bench.deliver(10), []);
    assert_eq!(bench.engine.counts().late, 2);
    assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(10_501)), Ok(Handled::Accepted));
    assert_eq!(bench.deliver(10), [(0, First)]);
    bench.signal("u", SignalKind::MessageSent, None).unwrap();
    bench.signal("u", SignalKind::Keystroke, None).unwrap();
    assert_eq!(bench.engine.counts().late, 2, "without a time nothing is late");
    bench.deliver(700_000);
    assert_eq!(bench.engine.census().conversations, 0, "the barrier is forgotten in the end");
}

#[test]
fn a_message_is_forgotten_in_time_whenever_the_timer_comes() {
    for start in [0, 1, 500, 1_023] {
        let mut bench = Bench::new(Policy::default());
        bench.deliver(start);
        bench.signal("u", SignalKind::MessageSent, Some(10_500)).unwrap();
        bench.deliver(599_999);
        assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(9_000)), Ok(Handled::Late));
        bench.deliver(1);
        assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(9_000)), Ok(Handled::Accepted), "{start}");
    }
}

#[test]
fn a_late_keystroke_of_a_user_who_types_on_is_ignored_too() {
    let mut bench = Bench::new(Policy::default());
    bench.signal("u", SignalKind::MessageSent, Some(10_000)).unwrap();
    bench.signal("u", SignalKind::Keystroke, Some(11_000)).unwrap();
    assert_eq!(bench.deliver(1_000), [(0, First)]);
    assert_eq!(bench.signal("u", SignalKind::Keystroke, Some(10_000)), Ok(Handled::Late));
    assert_eq!(bench.deliver(1_500), [(1_000, Idle)], "it has not kept the icon on");
}

#[test]
fn unbroken_typing_is_left_alone_until_something_may_be_due() {
    let rules =
        |mode, max| Rules::new(mode, Duration::from_secs(5), Duration::from_secs(2), Duration::from_millis(max));
    let (idle, after_shown) = (rules(Mode::Idle, 300_000), rules(Mode::AfterShown, 300_000));
    let never = Instant::NEVER.as_millis();
    for (name, rules, keys, until) in [
        ("nobody is typing", idle, 0, 0),
        ("the first check", idle, 1, 5_000),
        ("the second check", idle, 7, 10_000),
        ("max_typing", rules(Mode::Idle, 1_500), 1, 1_500),
        ("in silence", rules(Mode::Idle, 1_500), 3, never),
        ("the dismissal", after_shown, 1, 2_000),
        ("no icon that could go off", after_shown, 4, 5_000),
        ("max_typing before the dismissal", rules(Mode::AfterShown, 1_500), 1, 1_500),
    ] {
        let mut timing = Timing::default();
        for second in 0..keys {
            let now = Instant::from_millis(second * 1_000);
            while timing.step(&rules, now).is_some() {}
            let _ = timing.keystroke(&rules, now, now);
        }
        assert_eq!(timing.unbroken_until(&rules).as_millis(), until, "{name}");
    }
}

#[test]
fn a_key_that_keeps_typing_unbroken_meets_max_typing_at_once() {
    let after_shown = |max| {
        let (check, dismiss) = (Duration::from_secs(5), Duration::from_secs(2));
        Rules::new(Mode::AfterShown, check, dismiss, Duration::from_millis(max))
    };
    let mut bench = Bench::new(Policy { rules: after_shown(6_500), ..Policy::default() });
    // At the check the typing would break at 6.5 s, before it has gone on for too long. The key at 6 s changes that.
    let mut left = Vec::new();
    for at in [0, 1_500, 3_000, 4_500, 6_000] {
        bench.key("u");
        let sent = bench.deliver(1_500);
        left.extend(sent.into_iter().map(|(after, reason)| (at + after, reason)));
    }
    assert_eq!(left, [(0, First), (2_000, Reason::Dismissed), (5_000, Check), (6_500, Reason::MaxTyping)]);
}

#[test]
fn with_require_open_nothing_is_sent_before_it_is_open() {
    let mut policy = Policy::default();
    policy.rules.require_open = true;
    for opener in [SignalKind::Opened, SignalKind::MessageSent] {
        let mut bench = Bench::new(policy.clone());
        assert_eq!(bench.signal("u", SignalKind::Keystroke, None), Ok(Handled::Unopened));
        assert_eq!(bench.deliver(10_000), []);
        assert_eq!(bench.engine.census().conversations, 0, "a conversation that is not open is not remembered");
        bench.signal("u", opener, None).unwrap();
        bench.key("u");
        assert_eq!(bench.deliver(10_000), [(0, First), (2_000, Idle)]);
        bench.key("u");
        assert_eq!(bench.deliver(10_000), [(0, First), (2_000, Idle)], "it stays open");
        bench.signal("u", SignalKind::Ended, None).unwrap();
        bench.key("u");
        assert_eq!(bench.deliver(10_000), []);
    }
}

#[test]
fn a_full_table_rejects_new_ones_and_evicts_retained_ones() {
    let mut bench = Bench::new(Policy { conversations_max: 2, ..Policy::default() });
    bench.signal("a", SignalKind::MessageSent, Some(5)).unwrap();
    bench.key("b");
    bench.key("c");
    assert_eq!(bench.engine.census().conversations, 2, "a was only retained");
    assert_eq!(bench.signal("d", SignalKind::Keystroke, None), Err(Rejected::TableFull));
    bench.key("b");
    assert_eq!(bench.deliver(10_000).len(), 4, "the others are served");
    bench.key("d");
}

#[test]
fn a_rejected_started_owes_nothing_and_the_check_retries() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let mut first = true;
    let mut reject_first = |_: &Dispatch| {
        if std::mem::take(&mut first) { Outcome::Rejected(Rejection::Request) } else { Outcome::Delivered }
    };
    assert_eq!(bench.answering(1_000, &mut reject_first), [(0, First)]);
    for _ in 0..5 {
        bench.key("u");
        bench.answering(1_000, &mut reject_first);
    }
    assert_eq!(bench.engine.counts().sent, 2, "one rejected, one at the check");
    bench.message("u");
    assert_eq!(bench.deliver(100), [(0, MessageSent)]);

    bench.key("v");
    assert_eq!(bench.answering(5_000, |_| Outcome::Rejected(Rejection::Request)), [(0, First)], "no stop is owed");
    assert_eq!(bench.engine.census().conversations, 0);
}

#[test]
fn a_started_of_unknown_effect_owes_a_stop_until_acknowledged() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let only_stops = |dispatch: &Dispatch| match dispatch.indicator() {
        Indicator::TypingStarted => Outcome::Unknown(transient(Cause::NoAnswer)),
        Indicator::TypingStopped => Outcome::Delivered,
    };
    let left = bench.answering(10_000, only_stops);
    assert_eq!(left.last(), Some(&(2_000, Idle)));

    bench.key("u");
    bench.deliver(10);
    bench.message("u");
    let left = bench.answering(120_000, |_| Outcome::NotSent(transient(Cause::Failing)));
    assert!(left.len() > 10, "it is tried again and again: {}", left.len());
    assert!(left.iter().all(|(at, reason)| *at < 60_000 && *reason == MessageSent), "but not past its lifespan");
    assert_eq!(bench.engine.counts().stops_given_up, 1);
    assert_eq!(bench.engine.census().conversations, 0);
}

#[test]
fn a_permanent_rejection_mutes_its_channel_or_conversation() {
    for (rejection, notice, others_too) in
        [(Rejection::Channel, Notice::ChannelMuted, true), (Rejection::Conversation, Notice::ConversationMuted, false)]
    {
        let mut bench = Bench::new(Policy::default());
        bench.key("u");
        let dispatch = bench.engine.poll_dispatch(bench.now).expect("a Started");
        let reported = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Rejected(rejection));
        assert_eq!(reported, Some(notice));
        for _ in 0..280 {
            bench.key("u");
            assert_eq!(bench.deliver(1_000), [], "muted for five minutes");
        }
        bench.key("other");
        assert_eq!(bench.deliver(10).is_empty(), others_too);
        bench.deliver(30_000);
        bench.key("u");
        assert_eq!(bench.deliver(10), [(0, First)], "and then tried again");
    }
}

#[test]
fn what_was_not_looked_at_goes_again_at_once_and_is_no_failure() {
    let unprocessed = Outcome::NotSent(transient(Cause::Unprocessed));
    let mut bench = Bench::new(Policy::default());
    // Each of many conversations meets the end of a connection twice: far more than would open the circuit breaker.
    for user in 0..100 {
        bench.key(&format!("u{user}"));
    }
    let left = bench.answering(1_000, |dispatch| if dispatch.attempt < 2 { unprocessed } else { Outcome::Delivered });
    assert!(!bench.engine.is_upstream_failing());
    assert_eq!((left.len(), bench.engine.counts().delivered), (300, 100));
    assert!(left.iter().all(|(at, _)| *at < 200), "only the rate holds them up: {left:?}");

    // An upstream that looks at nothing at all fails like any other.
    bench.deliver(10_000);
    for user in 0..100 {
        bench.key(&format!("u{user}"));
    }
    let left = bench.answering(1_000, |_| unprocessed);
    assert!(bench.engine.is_upstream_failing() && left.len() < 500, "{} tries", left.len());
    // A probe that finds nothing out is no answer.
    for second in 0..3 {
        bench.key(&format!("u{second}"));
        let left = bench.answering(1_000, |_| unprocessed);
        assert!(bench.engine.is_upstream_failing() && left.len() == 1, "{left:?}");
    }
    bench.deliver(1_000);
    bench.key("u0");
    assert_eq!(bench.deliver(100).len(), 1);
    assert!(!bench.engine.is_upstream_failing());
}

#[test]
fn a_refused_token_is_tried_again_at_once_and_once() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let first = bench.engine.poll_dispatch(bench.now).expect("a Started");
    let _ = bench.engine.handle_outcome(bench.now, first.id, Outcome::NotSent(transient(Cause::Token)));
    let second = bench.engine.poll_dispatch(bench.now).expect("at once");
    assert_eq!((second.decision, second.attempt), (first.decision, 1), "the same decision, so the same ids");
    let _ = bench.engine.handle_outcome(bench.now, second.id, Outcome::NotSent(transient(Cause::Token)));
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "then after a back-off");
}

#[test]
fn a_failing_upstream_is_probed_one_conversation_is_not_one() {
    let mut bench = Bench::new(Policy::default());
    for i in 0..100 {
        bench.key(&format!("u{i}"));
    }
    bench.deliver(200);
    for i in 0..100 {
        bench.message(&format!("u{i}"));
    }
    let outage = bench.answering(10_000, |_| Outcome::NotSent(transient(Cause::Unreachable)));
    let after_shut = outage.iter().filter(|(at, _)| *at >= 1_000).count();
    assert!((8..=20).contains(&after_shut), "at most two a second while it fails: {after_shut}");
    assert!(bench.engine.is_upstream_failing());
    let back = bench.deliver(5_000);
    assert_eq!(back.len(), 100, "all owed stops leave within five seconds of recovery");
    assert!(!bench.engine.is_upstream_failing());

    bench.key("poison");
    bench.deliver(1);
    bench.message("poison");
    bench.answering(50_000, |_| Outcome::NotSent(transient(Cause::Failing)));
    assert!(!bench.engine.is_upstream_failing(), "one conversation is not the upstream");
}

#[test]
fn a_rate_limit_pauses_everything_and_the_rate_recovers() {
    let mut bench = Bench::new(Policy::default());
    let limited = Transient { cause: Cause::RateLimited, retry_after: Some(Duration::from_secs(3)) };
    for i in 0..50 {
        bench.key(&format!("u{i}"));
    }
    let mut first = true;
    let left = bench
        .answering(1_900, |_| if std::mem::take(&mut first) { Outcome::NotSent(limited) } else { Outcome::Delivered });
    assert!(left.len() <= 40, "what had left before the answer, and nothing after: {}", left.len());
    assert_eq!(bench.engine.rate_in_force(), 1_000);
    for i in 0..50 {
        bench.key(&format!("u{i}"));
    }
    assert_eq!(bench.deliver(1_000), [], "Retry-After is honoured");
    assert!(!bench.deliver(3_000).is_empty());
    let after = bench.engine.rate_in_force();
    assert!((1_001..2_000).contains(&after), "{after}");
    bench.key("later");
    bench.deliver(10_000);
    bench.key("later");
    bench.deliver(10);
    assert_eq!(bench.engine.rate_in_force(), 2_000);
}

#[test]
fn a_started_past_its_lifespan_is_dropped_and_the_check_retries() {
    let mut policy = Policy::default();
    policy.rules = policy.rules.with_check(Duration::from_secs(10));
    let mut bench = Bench::new(policy);
    bench.key("limited");
    let limited = Transient { cause: Cause::RateLimited, retry_after: Some(Duration::from_secs(7)) };
    let dispatch = bench.engine.poll_dispatch(bench.now).expect("a Started");
    let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::NotSent(limited));
    let mut left = Vec::new();
    for second in 0..14 {
        bench.key("u");
        left.extend(bench.deliver(1_000).into_iter().map(|(at, reason)| (second * 1_000 + at, reason)));
    }
    assert_eq!(left, [(10_000, Check)], "at most five seconds late, however long the check interval is");
}

#[test]
fn a_mute_holds_icons_back_and_leaves_none_on() {
    let mut bench = Bench::new(Policy::default());
    bench.key("shown");
    bench.deliver(10);
    bench.key("rejected");
    assert_eq!(bench.answering(10, |_| Outcome::Rejected(Rejection::Channel)), [(0, First)]);
    bench.key("held back");
    bench.message("shown");
    assert_eq!(bench.deliver(10_000), [(0, MessageSent)], "the icon that is on goes off");
    assert_eq!(bench.engine.census().unsettled, 0);
}

#[test]
fn a_changed_policy_takes_hold_at_once_and_loses_nobody() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    assert_eq!(bench.deliver(100), [(0, First)]);
    let channel = ChannelAddress::new("channel").unwrap();
    let short = Rules::new(Mode::Idle, Duration::from_millis(100), Duration::from_millis(150), Duration::from_secs(9));
    let changed = Policy { channels: [(channel, short)].into(), ..Policy::default() };
    bench.engine.handle_policy(bench.now, changed);
    assert_eq!(bench.deliver(1_000), [(50, Idle)]);
    bench.key("u");
    bench.deliver(50);
    bench.key("u");
    bench.engine.handle_policy(bench.now, Policy::default());
    assert_eq!(bench.deliver(4_000), [(2_000, Idle)], "and longer again");
}

#[test]
fn a_changed_policy_opens_no_ended_session_and_closes_none() {
    let policy = |require_open| {
        let mut policy = Policy::default();
        policy.rules.require_open = require_open;
        policy
    };
    let mut bench = Bench::new(policy(true));
    bench.signal("ended", SignalKind::Opened, None).unwrap();
    bench.key("ended");
    assert_eq!(bench.deliver(10), [(0, First)]);
    bench.signal("ended", SignalKind::Ended, None).unwrap();
    // Its stop is still owed, so that it is still in the table.
    bench.engine.handle_policy(bench.now, policy(true));
    assert_eq!(bench.deliver(10), [(0, Reason::Ended)]);
    bench.key("ended");
    assert_eq!((bench.deliver(10_000), bench.engine.census().conversations), (vec![], 0));

    let mut bench = Bench::new(policy(false));
    bench.key("under way");
    bench.deliver(10);
    bench.engine.handle_policy(bench.now, policy(true));
    assert_eq!(bench.deliver(10_000), [(1_990, Idle)]);
    bench.key("under way");
    assert_eq!(bench.deliver(10), [(0, First)], "it was served without a session, and goes on");
}

#[test]
fn a_shutdown_switches_every_icon_off_and_takes_no_signal() {
    let mut bench = Bench::new(Policy::default());
    for i in 0..5 {
        bench.key(&format!("u{i}"));
    }
    bench.deliver(100);
    bench.key("unsent");
    bench.engine.handle_shutdown(bench.now);
    assert_eq!(bench.signal("u1", SignalKind::Keystroke, None), Err(Rejected::Stopping));
    let left: Vec<Reason> = bench.deliver(100).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(left, [Shutdown; 5]);
    assert!(bench.engine.is_settled());
}

#[test]
fn a_machine_that_slept_switches_every_icon_off_and_goes_on() {
    let mut bench = Bench::new(Policy::default());
    for i in 0..3 {
        bench.key(&format!("u{i}"));
    }
    bench.deliver(500);
    bench.engine.handle_suspension(bench.now);
    assert_eq!(bench.deliver(100), [(0, Idle); 3], "long before their two seconds are over");
    bench.key("u1");
    assert_eq!(bench.deliver(5_000), [(0, First), (2_000, Idle)]);
}

#[test]
fn a_process_that_stood_still_for_long_hides_every_icon() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.deliver(100);
    // A Started in flight, too.
    bench.key("v");
    let started = bench.engine.poll_dispatch(bench.now).expect("a Started");
    bench.now = bench.now + Duration::from_secs(120);
    let _ = bench.engine.handle_outcome(bench.now, started.id, Outcome::Delivered);
    assert_eq!(bench.deliver(100), [(0, Idle); 2], "longer than a Stopped is owed");
    assert_eq!((bench.engine.counts().stops_given_up, bench.engine.census().icons), (0, 0));
}

#[test]
fn what_an_earlier_process_left_on_waits_for_credentials() {
    for (minutes, sent) in [(9, true), (11, false)] {
        let mut bench = Bench::new(Policy::default());
        bench.engine.handle_recovered(bench.now, pair("u"));
        bench.answering(minutes * 60_000, |_| Outcome::NotSent(transient(Cause::Token)));
        assert_eq!(bench.engine.census().unsettled, usize::from(sent), "after {minutes} minutes");
        assert_eq!(bench.deliver(5_000).len(), usize::from(sent), "after {minutes} minutes");
        assert_eq!(bench.engine.counts().stops_given_up, u64::from(!sent));
    }
}

#[test]
fn what_an_earlier_process_left_on_goes_off_first() {
    let mut bench = Bench::new(Policy::default());
    for from in ["a", "b"] {
        bench.engine.handle_recovered(bench.now, pair(from));
    }
    bench.key("c");
    assert_eq!(bench.engine.shown(0).0.count(), 2);
    assert_eq!(bench.deliver(10), [(0, Recovered), (0, Recovered), (0, First)]);
    bench.engine.handle_recovered(bench.now, pair("c"));
    assert_eq!(bench.deliver(4_000), [(1_990, Idle)], "a known conversation is not touched");
}

#[test]
fn long_typing_is_refreshed_and_a_refresh_is_not_retried() {
    let mut bench = Bench::new(Policy::default());
    let mut left = Vec::new();
    for second in 0..12 {
        bench.key("u");
        let now = second * 1_000;
        let fail_refresh = |dispatch: &Dispatch| match dispatch.reason {
            Check => Outcome::NotSent(transient(Cause::Failing)),
            _ => Outcome::Delivered,
        };
        left.extend(bench.answering(1_000, fail_refresh).into_iter().map(|(at, reason)| (now + at, reason)));
    }
    assert_eq!(left, [(0, First), (5_000, Check), (10_000, Check)]);
}
