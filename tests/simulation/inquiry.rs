//! What the engine tells those who ask: a conversation in full, when a Stopped may leave, sizes, counts, notices, and what
//! became of each decision.

use std::time::Duration;

use typingd::engine::outbox::Acknowledged;
use typingd::engine::policy::{Mode, Policy, Rules};
use typingd::engine::timing::Deadlines;
use typingd::engine::{Account, Engine, Handled, Notice, PageQuery, Stage};
use typingd::model::{
    Cause, ConversationRef, Dispatch, Dropped, Instant, Outcome, Reason, Rejection, Signal, SignalKind, Transient, Why,
};

use Reason::{Check, FirstKeystroke as First, MessageSent};

const UNREACHABLE: Outcome = not_sent(Cause::Unreachable, None);
const NO_ANSWER: Outcome = Outcome::Unknown(Transient { cause: Cause::NoAnswer, retry_after: None });

pub(crate) const fn not_sent(cause: Cause, retry_after: Option<Duration>) -> Outcome {
    Outcome::NotSent(Transient { cause, retry_after })
}

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
}

impl Bench {
    pub(crate) fn new(policy: Policy) -> Self {
        let mut engine = Engine::new(policy, 3);
        engine.observe_dropped();
        Self { engine, now: Instant::from_millis(1_000) }
    }

    pub(crate) fn signal(&mut self, from: &str, kind: SignalKind) {
        self.engine.handle_signal(self.now, pair(from), Signal::new(kind)).expect("there is room");
    }

    pub(crate) fn key(&mut self, from: &str) {
        self.signal(from, SignalKind::Keystroke);
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.engine.handle_timeout(self.now);
    }

    pub(crate) fn leaving(&mut self) -> Dispatch {
        self.engine.poll_dispatch(self.now).expect("something leaves")
    }

    /// What leaves now is answered so; returns its reason, and what is reported.
    pub(crate) fn answered(&mut self, outcome: Outcome) -> (Reason, Option<Notice>) {
        let dispatch = self.leaving();
        (dispatch.reason, self.engine.handle_outcome(self.now, dispatch.id, outcome))
    }

    /// The icon of `from` is on, and a message has gone out.
    pub(crate) fn owe_stop(&mut self, from: &str) {
        self.key(from);
        assert_eq!(self.answered(Outcome::Delivered), (First, None));
        self.signal(from, SignalKind::MessageSent);
    }

    pub(crate) fn account(&mut self, from: &str) -> Account {
        self.engine.account(self.now, pair(from)).expect("it is in memory")
    }

    pub(crate) fn dropped(&mut self) -> Vec<(Reason, Why)> {
        std::iter::from_fn(|| self.engine.poll_dropped()).map(|Dropped { reason, why, .. }| (reason, why)).collect()
    }
}

fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

pub(crate) const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

const NEVER: Instant = Instant::NEVER;

#[test]
fn an_account_tells_what_will_happen_and_what_has() {
    let seconds = Duration::from_secs;
    let rules = Rules::new(Mode::Idle, seconds(5), seconds(2), seconds(6));
    let mut bench = Bench::new(Policy { rules, ..Policy::default() });
    bench.key("u");
    let ready = bench.account("u");
    let expected = Account {
        stage: Stage::Typing,
        icon: true,
        acknowledged: Acknowledged::Off,
        desired: Some(First),
        in_flight: None,
        retry: None,
        blocked: false,
        last_key: Some(at(1_000)),
        deadlines: Deadlines { check: at(6_000), dismissal: at(3_000), max_typing: at(7_000), pause: NEVER },
        muted: None,
        opened: true,
        rules,
        failing: false,
    };
    assert_eq!(ready, expected);
    let dispatch = bench.leaving();
    let in_flight = Some((First, dispatch.decision));
    assert_eq!(bench.account("u"), Account { in_flight, ..expected });
    let wait = Some(Duration::from_millis(700));
    let _ = bench.engine.handle_outcome(bench.now, dispatch.id, not_sent(Cause::Unreachable, wait));
    assert_eq!(bench.account("u"), Account { retry: Some(at(1_700)), ..expected });
    bench.wait(700);
    let again = bench.leaving();
    assert_eq!(bench.account("u"), Account { in_flight, ..expected }, "what is in flight has no next try");
    let _ = bench.engine.handle_outcome(bench.now, again.id, Outcome::Delivered);
    assert_eq!(bench.account("u"), Account { acknowledged: Acknowledged::On, desired: None, ..expected });
    for _ in 0..7 {
        bench.key("u");
        bench.wait(1_000);
        while let Some(dispatch) = bench.engine.poll_dispatch(bench.now) {
            let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
        }
    }
    let silent = Deadlines { check: NEVER, dismissal: NEVER, max_typing: NEVER, pause: at(9_700) };
    let last_key = Some(at(7_700));
    let silenced =
        Account { stage: Stage::Silenced, icon: false, desired: None, last_key, deadlines: silent, ..expected };
    assert_eq!(bench.account("u"), silenced);
    assert_eq!(
        bench.engine.handle_signal(
            bench.now,
            pair("u"),
            Signal { at: Some(5), ..Signal::new(SignalKind::MessageSent) }
        ),
        Ok(Handled::Accepted)
    );
    let none = Deadlines { pause: NEVER, ..silent };
    let remembered = Account { stage: Stage::Remembered, last_key: None, deadlines: none, ..silenced };
    assert_eq!(bench.account("u"), remembered);
}

#[test]
fn a_page_and_an_account_tell_who_is_muted_and_until_when() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let muted = Some((at(301_000), Rejection::Conversation));
    assert_eq!(bench.answered(Outcome::Rejected(Rejection::Conversation)), (First, Some(Notice::ConversationMuted)));
    assert_eq!(bench.account("u").muted, muted);
    bench.wait(1_000);
    bench.key("v");
    assert_eq!(bench.answered(Outcome::Rejected(Rejection::Channel)), (First, Some(Notice::ChannelMuted)));
    let query = PageQuery { start: 0, limit: 9, to: None, icon_on: false };
    let page = bench.engine.page(bench.now, &query);
    let later = Some((at(302_000), Rejection::Channel));
    assert!(
        page.rows.len() == 2 && page.rows.iter().all(|(_, account)| account.muted == later),
        "the longer one counts"
    );
    bench.wait(301_000);
    bench.key("u");
    assert_eq!(bench.account("u").muted, None);
}

#[test]
fn a_stop_is_said_to_leave_when_nothing_holds_it_back() {
    let (pause, long) = (Some(Duration::from_secs(2)), Some(Duration::from_secs(600)));
    let after = |happens: &dyn Fn(&mut Bench)| {
        let mut bench = Bench::new(Policy::default());
        bench.owe_stop("u");
        happens(&mut bench);
        assert_eq!(bench.engine.stop_leaves_after(at(1_000), pair("unknown")), at(1_000));
        bench.engine.stop_leaves_after(at(1_000), pair("u"))
    };
    assert_eq!(after(&|_| ()), at(1_000));
    let in_flight = after(&|bench| assert_eq!(bench.leaving().reason, MessageSent));
    assert_eq!(in_flight, at(1_000));
    let behind_its_started = after(&|bench| {
        bench.key("u");
        assert_eq!(bench.leaving().reason, First);
        bench.signal("u", SignalKind::MessageSent);
        bench.key("v");
        bench.answered(not_sent(Cause::RateLimited, pause));
    });
    assert_eq!(behind_its_started, at(1_000), "its outcome says more");
    // Where the Stopped itself has failed.
    for (cause, retry_after, leaves) in [
        (Cause::Failing, pause, at(3_000)),
        (Cause::RateLimited, pause, at(3_000)),
        (Cause::NoCredentials, long, NEVER),
        (Cause::Token, pause, NEVER),
    ] {
        let failed = after(&|bench| assert_eq!(bench.answered(not_sent(cause, retry_after)).0, MessageSent));
        assert_eq!(failed, leaves, "{cause:?}");
    }
    let mut bench = Bench::new(Policy::default());
    bench.owe_stop("u");
    bench.answered(not_sent(Cause::Token, pause));
    assert_eq!(bench.engine.stop_leaves_after(at(3_000), pair("u")), at(3_000), "there may be one again");
    let muted = after(&|bench| {
        bench.answered(UNREACHABLE);
        bench.key("v");
        bench.answered(Outcome::Rejected(Rejection::Channel));
    });
    assert_eq!(muted, at(301_000));
    let upstream_fails = after(&|bench| {
        (0..20).for_each(|i| bench.key(&format!("v{i}")));
        for _ in 0..25 {
            bench.wait(1);
            let Some(dispatch) = bench.engine.poll_dispatch(bench.now) else { continue };
            let _ = bench.engine.handle_outcome(bench.now, dispatch.id, UNREACHABLE);
        }
    });
    assert_eq!(upstream_fails, NEVER);
}

#[test]
fn sizes_and_counts_follow_what_happens() {
    let mut bench = Bench::new(Policy::default());
    let sizes = |bench: &Bench| {
        let census = bench.engine.census();
        [
            census.conversations,
            census.icons,
            census.unsettled,
            census.blocked,
            census.in_flight,
            census.queued.iter().sum(),
        ]
    };
    bench.key("u");
    assert_eq!(sizes(&bench), [1, 1, 1, 0, 0, 1]);
    let dispatch = bench.leaving();
    assert_eq!(sizes(&bench), [1, 1, 1, 0, 1, 0]);
    let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
    bench.key("v");
    bench.key("v");
    bench.answered(Outcome::Delivered);
    assert_eq!(sizes(&bench), [2, 2, 2, 0, 0, 0]);
    bench.signal("u", SignalKind::Stopped);
    bench.answered(UNREACHABLE);
    assert_eq!(bench.account("u").stage, Stage::Idle, "the user is not typing, and it is not only remembered");
    assert_eq!(sizes(&bench), [2, 1, 2, 0, 0, 0], "a Stopped that waits for its retry is owed, and not blocked");
    bench.signal("v", SignalKind::MessageSent);
    bench.answered(Outcome::Delivered);
    assert_eq!(sizes(&bench), [1, 0, 1, 0, 0, 0]);
    let counts = *bench.engine.counts();
    assert_eq!((counts.signals, counts.sent, counts.delivered, counts.retried), ([3, 1, 1, 0, 0], 4, 3, 0));
    bench.wait(200);
    bench.answered(Outcome::Delivered);
    assert_eq!((sizes(&bench), bench.engine.counts().retried), ([0; 6], 1));
}

#[test]
fn each_rejection_is_counted_and_says_what_becomes_of_the_icon() {
    use Rejection::{Channel, Configuration, Conversation, Request};
    // Of a rejected Stopped: whether it is given up, and how many requests the upstream has called malformed.
    for (rejection, given_up, malformed) in
        [(Channel, 1, 0), (Conversation, 1, 0), (Request, 1, 1), (Configuration, 0, 0)]
    {
        let mut bench = Bench::new(Policy::default());
        bench.owe_stop("u");
        bench.answered(Outcome::Rejected(rejection));
        let counts = *bench.engine.counts();
        assert_eq!((counts.stops_given_up, counts.malformed), (given_up, malformed), "{rejection:?}");
        assert_eq!(bench.engine.is_settled(), given_up == 1, "{rejection:?}");
        assert_eq!(bench.dropped(), vec![(MessageSent, Why::GivenUp); given_up as usize], "{rejection:?}");
    }
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.answered(Outcome::Rejected(Configuration));
    assert_eq!(
        (bench.dropped(), bench.engine.is_settled()),
        (vec![(First, Why::GivenUp)], true),
        "a Started is not owed"
    );
}

#[test]
fn the_upstreams_failure_and_return_are_each_noticed_once() {
    let mut bench = Bench::new(Policy::default());
    let names: Vec<String> = (0..40).map(|i| format!("u{i}")).collect();
    names.iter().for_each(|name| bench.key(name));
    let mut notices = Vec::new();
    for _ in 0..80 {
        bench.wait(1);
        let Some(dispatch) = bench.engine.poll_dispatch(bench.now) else { continue };
        notices.extend(bench.engine.handle_outcome(bench.now, dispatch.id, UNREACHABLE));
    }
    assert_eq!(notices, [Notice::UpstreamFailing]);
    assert!(bench.account("u0").failing);
    bench.wait(1_000);
    assert_eq!(bench.answered(Outcome::Delivered).1, Some(Notice::UpstreamBack));
    bench.wait(1);
    assert_eq!(bench.answered(Outcome::Delivered).1, None);
}

#[test]
fn each_decision_that_comes_to_nothing_is_told_once() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.signal("u", SignalKind::MessageSent);
    assert_eq!(bench.dropped(), [(First, Why::Replaced), (MessageSent, Why::Moot)], "neither has left");

    bench.key("u");
    bench.answered(UNREACHABLE);
    bench.signal("u", SignalKind::MessageSent);
    assert_eq!(bench.dropped(), [(First, Why::Replaced), (MessageSent, Why::Moot)], "it has not been applied");

    bench.key("u");
    let started = bench.leaving();
    bench.signal("u", SignalKind::MessageSent);
    assert_eq!(bench.dropped(), [], "what is in flight may yet be applied");
    let _ = bench.engine.handle_outcome(bench.now, started.id, NO_ANSWER);
    assert_eq!(bench.dropped(), [(First, Why::Replaced)]);
    let stopped = bench.leaving();
    assert_eq!((stopped.reason, stopped.attempt), (MessageSent, 0), "the newer one leaves at once, as a first try");
    let _ = bench.engine.handle_outcome(bench.now, stopped.id, Outcome::Delivered);
    assert_eq!(bench.dropped(), []);

    bench.owe_stop("u");
    bench.key("u");
    assert_eq!(bench.dropped(), [(MessageSent, Why::Replaced)], "the icon is on still");
    assert_eq!(bench.answered(Outcome::Delivered), (First, None));
    for _ in 0..5 {
        bench.wait(1_000);
        bench.key("u");
    }
    assert_eq!(bench.answered(UNREACHABLE), (Check, None));
    assert_eq!(
        (bench.dropped(), bench.engine.counts().shed),
        (vec![(Check, Why::GivenUp)], 1),
        "the next check refreshes"
    );
}

#[test]
fn what_is_lost_unsent_is_told_and_what_is_in_flight_is_not() {
    for in_flight in [false, true] {
        let mut bench = Bench::new(Policy::default());
        bench.key("u");
        let dispatch = in_flight.then(|| bench.leaving());
        let _ = bench.engine.handle_lost(bench.now, pair("u"));
        assert_eq!(bench.dropped(), vec![(First, Why::Replaced); usize::from(!in_flight)]);
        if let Some(dispatch) = dispatch {
            let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
            assert_eq!(bench.dropped(), []);
        }
    }
}

#[test]
fn what_is_muted_is_told_and_counted() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.answered(Outcome::Rejected(Rejection::Channel));
    bench.dropped();
    bench.key("v");
    assert_eq!((bench.dropped(), bench.engine.counts().muted), (vec![(First, Why::Muted)], 1));
    bench.key("w");
    assert_eq!(bench.engine.counts().muted, 2);
}

#[test]
fn a_late_loop_sends_nothing_that_is_stale() {
    let mut policy = Policy::default();
    policy.rules = policy.rules.with_dismiss(Duration::from_secs(10));
    policy.delivery.started_lifespan = Some(Duration::from_secs(1));
    // How late, and what becomes of the decision then.
    for (millis, dropped) in [(999, vec![]), (1_000, vec![(First, Why::Expired)])] {
        let mut bench = Bench::new(policy.clone());
        bench.key("u");
        bench.now = bench.now + Duration::from_millis(millis);
        assert_eq!(bench.engine.poll_dispatch(bench.now).is_none(), !dropped.is_empty(), "{millis}");
        assert_eq!(bench.dropped(), dropped);
    }
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.now = at(3_000);
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "the user has stopped");
    assert_eq!(bench.dropped(), [(First, Why::Replaced), (Reason::Idle, Why::Moot)]);

    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.key("v");
    bench.answered(Outcome::Rejected(Rejection::Channel));
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "the channel has been muted meanwhile");
}

#[test]
fn the_outcome_of_an_answered_request_is_ignored() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let started = bench.leaving();
    let _ = bench.engine.handle_outcome(bench.now, started.id, Outcome::Delivered);
    for in_flight in [0, 1] {
        let _ = bench.engine.handle_outcome(bench.now, started.id, Outcome::Rejected(Rejection::Channel));
        bench.engine.handle_withheld(bench.now, started.id);
        assert_eq!(bench.engine.census().in_flight, in_flight);
        assert_eq!((bench.account("u").acknowledged, bench.account("u").muted), (Acknowledged::On, None));
        if in_flight == 0 {
            bench.signal("u", SignalKind::MessageSent);
            bench.leaving();
        }
    }
}

#[test]
fn a_muted_channel_is_noticed_once_and_forgotten_at_last() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    bench.key("v");
    let [first, second] = [bench.leaving(), bench.leaving()];
    let rejected = Outcome::Rejected(Rejection::Channel);
    assert_eq!(bench.engine.handle_outcome(bench.now, first.id, rejected), Some(Notice::ChannelMuted));
    assert_eq!(bench.engine.handle_outcome(bench.now, second.id, rejected), None);
    let sizes = |bench: &Bench| (bench.engine.census().conversations, bench.engine.census().channels);
    bench.wait(10_000);
    assert_eq!(sizes(&bench), (0, 1), "forgetting it would try it again");
    bench.key("w");
    bench.wait(70_000);
    bench.wait(219_999);
    assert_eq!(sizes(&bench), (0, 1));
    bench.wait(60_000);
    assert_eq!(sizes(&bench), (0, 0));

    let mut policy = Policy::default();
    policy.delivery.mute_for = Duration::ZERO;
    let mut bench = Bench::new(policy);
    bench.key("u");
    assert_eq!(bench.answered(rejected), (First, None), "nothing is muted");
}

#[test]
fn an_ended_session_leaves_nothing_but_a_mute() {
    let mut bench = Bench::new(Policy::default());
    let signal = |bench: &mut Bench, kind, millis| {
        bench.engine.handle_signal(bench.now, pair("u"), Signal { at: Some(millis), ..Signal::new(kind) })
    };
    assert_eq!(signal(&mut bench, SignalKind::MessageSent, 10_000), Ok(Handled::Accepted));
    assert_eq!(signal(&mut bench, SignalKind::Keystroke, 9_000), Ok(Handled::Late));
    assert_eq!((bench.engine.census().retained, bench.engine.census().armed), (1, 1));
    bench.signal("u", SignalKind::Ended);
    assert_eq!(bench.engine.census().conversations, 0);
    assert_eq!(signal(&mut bench, SignalKind::Keystroke, 9_000), Ok(Handled::Accepted), "of another session");
    bench.answered(Outcome::Rejected(Rejection::Conversation));
    bench.signal("u", SignalKind::Ended);
    bench.key("u");
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "the upstream rejects the user, not the session");
    bench.signal("u", SignalKind::Ended);
    bench.wait(299_999);
    bench.key("u");
    assert!(bench.engine.poll_dispatch(bench.now).is_none());
    bench.signal("u", SignalKind::Ended);
    bench.wait(1);
    bench.key("u");
    assert_eq!(bench.leaving().reason, First, "five minutes, not a moment longer");
}

#[test]
fn a_key_after_the_end_of_a_session_is_unopened() {
    let mut policy = Policy::default();
    policy.rules.require_open = true;
    let mut bench = Bench::new(policy);
    bench.signal("u", SignalKind::Opened);
    bench.key("u");
    bench.answered(Outcome::Delivered);
    bench.signal("u", SignalKind::Ended);
    let key = Signal::new(SignalKind::Keystroke);
    assert_eq!(
        bench.engine.handle_signal(bench.now, pair("u"), key),
        Ok(Handled::Unopened),
        "its Stopped is owed still"
    );
    assert_eq!((bench.engine.counts().unopened, bench.answered(Outcome::Delivered).0), (1, Reason::Ended));
}

#[test]
fn signals_other_than_announced_count_for_their_own() {
    let of = |to, from| ConversationRef::new(to, from).expect("a valid pair");
    let announced = of("c", "u");
    let mut bench = Bench::new(Policy::default());
    let key = |bench: &mut Bench, conversation| {
        bench.engine.handle_signal(bench.now, conversation, Signal::new(SignalKind::Keystroke)).expect("there is room");
    };
    key(&mut bench, announced);
    for others in [[of("d", "u"), of("c", "v")], [of("d", "v"), of("e", "u")]] {
        bench.now = bench.now + Duration::from_millis(100);
        bench.engine.look_ahead(std::iter::repeat_n(announced, Engine::LOOK_AHEAD_MAX + 1));
        others.into_iter().for_each(|other| key(&mut bench, other));
    }
    assert_eq!(bench.engine.census().icons, 5, "each of them is typing");
    let account = bench.engine.account(bench.now, announced).expect("it is in memory");
    assert_eq!(account.last_key, Some(at(1_000)), "and none of them for another");
    for _ in 0..=Engine::LOOK_AHEAD_MAX {
        bench.now = bench.now + Duration::from_millis(1);
        key(&mut bench, announced);
    }
    let account = bench.engine.account(bench.now, announced).expect("it is in memory");
    assert_eq!(account.last_key, Some(bench.now));
}

#[test]
fn another_lifespan_holds_for_what_is_owed_already() {
    for which in 0..2 {
        let mut policy = Policy::default();
        let mut bench = Bench::new(policy.clone());
        let wait = Some(Duration::from_secs(4));
        if which == 0 {
            bench.owe_stop("u");
            policy.delivery.stopped_lifespan = Duration::from_secs(2);
        } else {
            policy.delivery.started_lifespan = Some(Duration::from_millis(1_500));
            bench.key("u");
        }
        bench.answered(not_sent(Cause::Failing, wait));
        bench.engine.handle_policy(bench.now, policy);
        bench.engine.handle_timeout(bench.now);
        let given_up = if which == 0 { at(3_000) } else { at(2_500) };
        assert_eq!(bench.engine.poll_timeout(bench.now), given_up, "{which}");
    }
}

#[test]
fn a_started_is_shed_by_a_newer_one_and_not_by_its_stop() {
    let mut policy = Policy::default();
    policy.rules = policy.rules.with_check(Duration::from_secs(1));
    policy.delivery.started_lifespan = Some(Duration::from_secs(30));
    let mut bench = Bench::new(policy);
    bench.key("u");
    bench.wait(500);
    bench.key("u");
    bench.wait(500);
    assert_eq!((bench.dropped(), bench.engine.counts().shed), (vec![(First, Why::Replaced)], 1));
    bench.signal("u", SignalKind::Stopped);
    assert_eq!((bench.dropped().len(), bench.engine.counts().shed), (2, 1));
}
