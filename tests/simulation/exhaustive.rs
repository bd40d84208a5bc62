//! Every sequence of a few events: what people don't think of writing a test for.

use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Mode, Policy, Rules};
use typingd::model::{
    Cause, Conversation, ConversationRef, Dispatch, Indicator, Instant, Outcome, Reason, Rejection, Signal, SignalKind,
    Transient,
};

use crate::oracle::{self, Event, Times};

/// A tick of the oracle in the engine's time.
const TICK: u64 = 500;

fn policy(times: &Times) -> Policy {
    let ticks = |n: u64| Duration::from_millis(n * TICK);
    Policy {
        rules: Rules::new(times.mode, ticks(times.check), ticks(times.dismiss), ticks(times.max_typing)),
        delivery: Delivery { requests_per_second_max: 100_000, ..Delivery::default() },
        ..Policy::default()
    }
}

fn conversation(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

fn signal(kind: SignalKind) -> Signal {
    Signal::new(kind)
}

/// All sequences of `len` letters out of `0..letters`.
fn sequences(letters: usize, len: u32) -> impl Iterator<Item = Vec<usize>> {
    (0..letters.pow(len)).map(move |mut number| {
        (0..len)
            .map(|_| {
                let letter = number % letters;
                number /= letters;
                letter
            })
            .collect()
    })
}

const GRID: [(u64, u64, u64); 6] = [(2, 1, 100), (2, 2, 5), (2, 3, 4), (3, 2, 4), (1, 2, 3), (4, 1, 6)];

fn all_times() -> impl Iterator<Item = Times> {
    [Mode::Idle, Mode::AfterShown].into_iter().flat_map(|mode| {
        GRID.into_iter().map(move |(check, dismiss, max_typing)| Times { mode, check, dismiss, max_typing })
    })
}

fn signal_of(event: Event) -> Signal {
    match event {
        Event::Key => signal(SignalKind::Keystroke),
        Event::Lasting(ticks) => {
            let lasts_millis = u16::try_from(ticks * TICK).expect("a few ticks");
            Signal { lasts_millis, ..signal(SignalKind::Keystroke) }
        }
        Event::Message => signal(SignalKind::MessageSent),
        Event::Stopped => signal(SignalKind::Stopped),
        Event::Ended => signal(SignalKind::Ended),
        Event::Slept | Event::Change(_) => unreachable!("here the rules stay as they are"),
    }
}

/// Two conversations, every sequence of keys, a message and ticks: each must decide what the oracle says of it alone
/// (timing rules 1 to 5, 7, 9 and 12), whether the timers are run at their times or late, by the next signal. The keys
/// of one of them last for a while.
#[test]
fn the_timing_rules_hold_for_every_sequence_of_two_users() {
    // A key of either, an end of either, a tick, three ticks.
    const LETTERS: usize = 6;
    let mut checked = 0u64;
    for times in all_times() {
        let mut engine = Engine::new(policy(&times), 1);
        engine.observe_decisions();
        let mut base = 0u64;
        for (number, letters) in sequences(LETTERS, 6).enumerate() {
            let punctual = number % 2 == 0;
            let end = [Event::Message, Event::Stopped, Event::Ended][number % 3];
            let lasts = [0, 1, times.check, times.check + 1][number / 6 % 4];
            let (mut events_a, mut events_b) = (Vec::new(), Vec::new());
            let mut tick = 0;
            for letter in &letters {
                match letter {
                    0 => events_a.push((tick, Event::Key)),
                    1 => events_b.push((tick, Event::Lasting(lasts))),
                    2 => events_a.push((tick, end)),
                    3 => events_b.push((tick, end)),
                    4 => tick += 1,
                    _ => tick += 3,
                }
            }
            let mut all: Vec<_> =
                events_a.iter().map(|e| ("a", *e)).chain(events_b.iter().map(|e| ("b", *e))).collect();
            all.sort_by_key(|(_, (at, _))| *at);
            for (from, (at, event)) in all {
                let now = Instant::from_millis(base + at * TICK);
                if punctual {
                    run_timers(&mut engine, now);
                }
                engine.handle_signal(now, conversation(from), signal_of(event)).expect("there is room");
            }
            run_timers(&mut engine, Instant::from_millis(base + (tick + 1_000) * TICK));
            let mut decided = Vec::new();
            let mut latest = 0;
            while let Some(decision) = engine.poll_decision() {
                let at = (decision.at.as_millis() - base) / TICK;
                assert!(!punctual || at >= latest, "{times:?}: decided in the wrong order: {letters:?}");
                latest = at;
                decided.push((decision.conversation.from().to_owned(), at, decision.reason));
            }
            for (from, events) in [("a", &events_a), ("b", &events_b)] {
                let got: Vec<(u64, Reason)> =
                    decided.iter().filter(|(name, ..)| name == from).map(|(_, at, reason)| (*at, *reason)).collect();
                assert_eq!(got, oracle::decisions(&times, events), "{times:?} {from}: {events:?}, punctual {punctual}");
            }
            let census = engine.census();
            assert_eq!((census.conversations, census.icons, census.armed), (0, 0, 0), "everything is forgotten");
            base += (tick + 2_000) * TICK;
            checked += 1;
        }
    }
    assert_eq!(checked, 12 * 6u64.pow(6));
}

/// Runs every timer up to and including `until` at its own time.
fn run_timers(engine: &mut Engine, until: Instant) {
    loop {
        let due = engine.next_deadline();
        if due > until {
            return;
        }
        engine.handle_timeout(due);
    }
}

/// What the upstream really shows of one conversation, and what the rules of delivery forbid.
#[derive(Default)]
struct Upstream {
    shown: bool,
    in_flight: Option<Dispatch>,
    /// A Started has been applied, or may have been, and no Stopped since.
    maybe_on: bool,
    /// Indicators acknowledged, in order.
    acknowledged: Vec<Indicator>,
    last_key: Option<Instant>,
    sent_since_key: bool,
    /// How often credentials had been accepted when its last request left.
    acceptances_seen: usize,
}

const TRANSIENT: Transient = Transient { cause: Cause::NoAnswer, retry_after: None };
const NO_CREDENTIALS: Transient = Transient { cause: Cause::NoCredentials, retry_after: None };

/// Every sequence of keys, ends, outcomes, acceptances and time steps over two conversations: never two in flight, no
/// Started that is not true when it leaves, wire order, nothing that waits for credentials past an acceptance, and once
/// the world is quiet no icon is on and nothing is left in memory.
#[test]
fn delivery_holds_for_every_sequence_of_outcomes() {
    const LETTERS: usize = 11;
    let depth = std::env::var("TYPINGD_EXHAUSTIVE_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(5);
    for mode in [Mode::Idle, Mode::AfterShown] {
        let times = Times { mode, check: 4, dismiss: 2, max_typing: 1_000 };
        let mut engine = Engine::new(policy(&times), 1);
        let mut now = Instant::from_millis(1_000);
        for letters in sequences(LETTERS, depth) {
            let mut sides = [Upstream::default(), Upstream::default()];
            let mut acceptances = 0;
            for letter in &letters {
                match letter {
                    0 | 1 => {
                        sides[*letter].last_key = Some(now);
                        sides[*letter].sent_since_key = false;
                        let key = signal(SignalKind::Keystroke);
                        engine.handle_signal(now, conversation(NAMES[*letter]), key).expect("there is room");
                    }
                    2 | 3 => {
                        let message = signal(SignalKind::MessageSent);
                        engine.handle_signal(now, conversation(NAMES[*letter - 2]), message).expect("there is room");
                        sides[*letter - 2].sent_since_key = true;
                    }
                    4 => now = now + Duration::from_millis(TICK),
                    5 => answer(&mut engine, now, &mut sides, Outcome::Delivered, false),
                    6 => answer(&mut engine, now, &mut sides, Outcome::NotSent(TRANSIENT), false),
                    7 => answer(&mut engine, now, &mut sides, Outcome::Rejected(Rejection::Request), false),
                    8 => answer(&mut engine, now, &mut sides, Outcome::NotSent(NO_CREDENTIALS), false),
                    9 => {
                        acceptances += 1;
                        engine.handle_acceptance(now, conversation(NAMES[0]).to());
                    }
                    // Whether a request of unknown effect was applied is the adversary's choice: by turns.
                    _ => {
                        let applied = (now.as_millis() / TICK).is_multiple_of(2);
                        answer(&mut engine, now, &mut sides, Outcome::Unknown(TRANSIENT), applied);
                    }
                }
                engine.handle_timeout(now);
                send(&mut engine, now, &mut sides, &times, &letters, acceptances);
                for (name, side) in NAMES.iter().zip(&sides) {
                    let blocked = engine.account(now, conversation(name)).is_some_and(|account| account.blocked);
                    assert!(!blocked || side.acceptances_seen == acceptances, "it waits on: {mode:?} {letters:?}");
                }
            }
            // The world grows quiet: whatever is asked is granted.
            engine.handle_acceptance(now, conversation(NAMES[0]).to());
            acceptances += 1;
            for _ in 0..200 {
                while sides.iter().any(|side| side.in_flight.is_some()) {
                    answer(&mut engine, now, &mut sides, Outcome::Delivered, false);
                }
                send(&mut engine, now, &mut sides, &times, &letters, acceptances);
                if engine.census().conversations == 0 {
                    break;
                }
                now = now.max(engine.poll_timeout(now).min(now + Duration::from_secs(1)));
                engine.handle_timeout(now);
            }
            let census = engine.census();
            assert_eq!((census.conversations, census.unsettled, census.armed), (0, 0, 0), "{mode:?} {letters:?}");
            for side in &sides {
                assert!(!side.shown, "an icon is stuck: {mode:?} {letters:?}");
                let order: Vec<_> = side.acknowledged.iter().collect();
                for pair in order.windows(2) {
                    let twice = *pair[0] == Indicator::TypingStopped && *pair[1] == Indicator::TypingStopped;
                    assert!(!twice, "stopped twice: {mode:?} {letters:?}");
                }
            }
        }
    }
}

const NAMES: [&str; 2] = ["a", "b"];

fn index_of(conversation: &Conversation) -> usize {
    NAMES.iter().position(|name| *name == conversation.from()).expect("a known conversation")
}

/// The oldest request in flight is answered.
fn answer(engine: &mut Engine, now: Instant, sides: &mut [Upstream; 2], outcome: Outcome, applied: bool) {
    let Some(side) = sides.iter_mut().find(|side| side.in_flight.is_some()) else { return };
    let Some(dispatch) = side.in_flight.take() else { return };
    if applied || outcome == Outcome::Delivered {
        side.shown = dispatch.indicator() == Indicator::TypingStarted;
    }
    match (dispatch.indicator(), outcome) {
        (Indicator::TypingStarted, Outcome::Delivered | Outcome::Unknown(_)) => side.maybe_on = true,
        (Indicator::TypingStopped, Outcome::Delivered | Outcome::Rejected(_)) => side.maybe_on = false,
        _ => {}
    }
    if outcome == Outcome::Delivered {
        side.acknowledged.push(dispatch.indicator());
    }
    // A Stopped that is rejected as malformed is given up: that icon can't be hidden.
    if outcome == Outcome::Rejected(Rejection::Request) && dispatch.indicator() == Indicator::TypingStopped {
        side.shown = false;
    }
    let _ = engine.handle_outcome(now, dispatch.id, outcome);
}

fn send(
    engine: &mut Engine,
    now: Instant,
    sides: &mut [Upstream; 2],
    times: &Times,
    letters: &[usize],
    acceptances: usize,
) {
    while let Some(dispatch) = engine.poll_dispatch(now) {
        let side = &mut sides[index_of(&dispatch.conversation)];
        assert!(side.in_flight.is_none(), "two in flight: {letters:?}");
        if dispatch.indicator() == Indicator::TypingStarted && times.mode == Mode::Idle {
            assert!(!side.sent_since_key, "a Started after the message: {letters:?}");
            let last = side.last_key.expect("a Started follows keys");
            let pause = now.since(last);
            assert!(pause < Duration::from_millis(times.dismiss * TICK), "a Started {pause:?} after the last key");
        }
        if dispatch.indicator() == Indicator::TypingStopped {
            assert!(side.maybe_on, "a Stopped for what was never shown: {letters:?}");
        }
        if dispatch.reason == Reason::Idle {
            let last = side.last_key.expect("an idle stop follows keys");
            assert!(now.since(last) >= Duration::from_millis(times.dismiss * TICK), "stopped early: {letters:?}");
        }
        side.acceptances_seen = acceptances;
        side.in_flight = Some(dispatch);
    }
}
