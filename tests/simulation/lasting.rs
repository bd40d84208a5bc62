//! Typing that a keystroke reports for a while: timing rule 12.

use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::{Mode, Policy};
use typingd::model::{ConversationRef, Instant, Outcome, Reason, Signal, SignalKind};

use crate::oracle::{self, Event, Times};
use crate::player::{play, rules};
use crate::rng::Rng;
use crate::typist::Typist;
use Event::{Key, Lasting, Message};
use Reason::{Check, Dismissed, FirstKeystroke as First, Idle, MaxTyping, MessageSent};

const SECOND: u64 = 1_000;
const IDLE: Times = Times { mode: Mode::Idle, check: 5 * SECOND, dismiss: 2 * SECOND, max_typing: 300 * SECOND };
const AFTER_SHOWN: Times = Times { mode: Mode::AfterShown, ..IDLE };

#[test]
fn a_check_counts_a_new_signal_or_typing_beyond_it() {
    let entry = |at| (at, Lasting(5_000));
    for (name, times, events, expected) in [
        ("one entry, then nothing", IDLE, vec![entry(0)], vec![(0, First), (7_000, Idle)]),
        ("one entry, then nothing", AFTER_SHOWN, vec![entry(0)], vec![(0, First), (2_000, Dismissed)]),
        ("one key", AFTER_SHOWN, vec![(0, Key)], vec![(0, First), (2_000, Dismissed)]),
        (
            "a second one just before the check",
            IDLE,
            vec![entry(0), entry(4_900)],
            vec![(0, First), (5_000, Check), (11_900, Idle)],
        ),
        (
            "a second one at the check counts for the next one",
            IDLE,
            vec![entry(0), entry(5_000)],
            vec![(0, First), (10_000, Check), (12_000, Idle)],
        ),
        (
            "a second one at the check, when the burst is over",
            AFTER_SHOWN,
            vec![entry(0), entry(5_000)],
            vec![(0, First), (2_000, Dismissed), (5_000, First), (7_000, Dismissed)],
        ),
        (
            "one that goes on beyond two checks, to the third",
            IDLE,
            vec![(0, Lasting(15_000))],
            vec![(0, First), (5_000, Check), (10_000, Check), (17_000, Idle)],
        ),
        (
            "one that goes on beyond two checks, to the third",
            AFTER_SHOWN,
            vec![(0, Lasting(15_000))],
            vec![
                (0, First),
                (2_000, Dismissed),
                (5_000, Check),
                (7_000, Dismissed),
                (10_000, Check),
                (12_000, Dismissed),
            ],
        ),
        ("shorter than the check", IDLE, vec![(0, Lasting(3_000))], vec![(0, First), (5_000, Idle)]),
        (
            "a later signal doesn't shorten it",
            IDLE,
            vec![(0, Lasting(9_000)), (1_000, Key), (2_000, Lasting(1_000))],
            vec![(0, First), (5_000, Check), (11_000, Idle)],
        ),
        (
            "a message ends it",
            IDLE,
            vec![(0, Lasting(60_000)), (6_000, Message), (7_000, Lasting(1_000))],
            vec![(0, First), (5_000, Check), (6_000, MessageSent), (7_000, First), (10_000, Idle)],
        ),
        (
            "max_typing counts through it, and a pause counts from its end",
            Times { max_typing: 8_000, ..IDLE },
            vec![(0, Lasting(20_000)), (21_900, Lasting(100)), (23_999, Key), (26_000, Key)],
            vec![(0, First), (5_000, Check), (8_000, MaxTyping), (26_000, First), (28_000, Idle)],
        ),
    ] {
        assert_eq!(play(&rules(&times), &events), expected, "{name}, {:?}", times.mode);
        assert_eq!(oracle::decisions(&times, &events), expected, "the oracle: {name}, {:?}", times.mode);
    }
}

/// Every sequence of a few keys, entries, ends and waits: ends of what lasts before, upon and after checks.
#[test]
fn every_short_sequence_is_decided_as_the_oracle_says() {
    const LETTERS: usize = 7;
    const LENGTH: u32 = 6;
    let mut checked = 0;
    for (mode, (check, dismiss, max_typing)) in [Mode::Idle, Mode::AfterShown]
        .into_iter()
        .flat_map(|mode| [(5, 2, 100), (2, 3, 9), (3, 3, 7), (4, 1, 6)].map(|times| (mode, times)))
    {
        let times = Times { mode, check, dismiss, max_typing };
        let rules = rules(&times);
        for mut number in 0..LETTERS.pow(LENGTH) {
            let (mut events, mut at) = (vec![(0, Lasting(check))], 0);
            for _ in 0..LENGTH {
                match number % LETTERS {
                    0 => events.push((at, Key)),
                    1 => events.push((at, Lasting(1))),
                    2 => events.push((at, Lasting(check))),
                    3 => events.push((at, Lasting(2 * check + 1))),
                    4 => events.push((at, Message)),
                    5 => at += 1,
                    _ => at += check - 1,
                }
                number /= LETTERS;
            }
            assert_eq!(play(&rules, &events), oracle::decisions(&times, &events), "{times:?} {events:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 8 * 7usize.pow(LENGTH));
}

#[test]
fn long_made_up_typing_is_decided_as_the_oracle_says() {
    let mut rng = Rng::new(9);
    let mut checks = 0;
    for round in 0..4_000 {
        let mode = [Mode::Idle, Mode::AfterShown][usize::from(round % 2 == 0)];
        let mut some = |from: u64, to: u64| from + rng.below(to - from);
        let times = Times { mode, check: some(5, 60), dismiss: some(2, 60), max_typing: some(60, 400) };
        let mut at = 0;
        let events: Vec<_> = (0..12)
            .map(|_| {
                at += some(0, 70);
                let event = match some(0, 6) {
                    0 => Message,
                    1 => Key,
                    2 => Lasting(times.check),
                    _ => Lasting(some(0, 120)),
                };
                (at, event)
            })
            .collect();
        let expected = oracle::decisions(&times, &events);
        assert_eq!(play(&rules(&times), &events), expected, "{times:?} {events:?}");
        checks += expected.iter().filter(|(_, reason)| *reason == Check).count();
    }
    assert!(checks > 4_000, "there was hardly anything to refresh: {checks}");
}

/// What Salesforce's sample connector sends for one person: a Started at the first input, none for 5 s, one at the next
/// input; a Stopped just before each message, after which the next input sends at once.
struct Sample {
    entries: Vec<(u64, Event)>,
    started: usize,
    stopped: usize,
    /// Icons that nothing but typingd takes away: drafts left alone, and pauses longer than what an entry lasts and the
    /// dismissal after it.
    left_on: usize,
}

/// An entry counts for so long, and the sample keeps silent for as long after it.
const THROTTLE: u64 = 5_000;

fn sample(rng: &mut Rng) -> Sample {
    let typist = Typist::new(rng);
    let mut sample = Sample { entries: Vec::new(), started: 0, stopped: 0, left_on: 0 };
    let (mut now, mut arrived) = (0, 0);
    let mut last: Option<u64> = None;
    for _ in 0..6 {
        let mut armed = 0;
        for _ in 0..typist.keys(rng) {
            if now >= armed {
                armed = now + THROTTLE;
                // On the way it takes a moment, and none overtakes another.
                arrived = (now + rng.below(80)).max(arrived);
                let over = |last| arrived >= last + THROTTLE + IDLE.dismiss;
                sample.left_on += usize::from(last.is_some_and(over));
                last = Some(arrived);
                sample.entries.push((arrived, Lasting(THROTTLE)));
                sample.started += 1;
            }
            now += typist.gap(rng);
        }
        if rng.below(5) > 0 {
            arrived = (now + rng.below(80)).max(arrived);
            sample.left_on += usize::from(last.is_some_and(|last| arrived >= last + THROTTLE + IDLE.dismiss));
            last = None;
            sample.entries.extend([(arrived, Event::Stopped), (arrived, Message)]);
            sample.stopped += 1;
        }
        now += rng.below(20_000);
    }
    sample.left_on += usize::from(last.is_some());
    sample
}

#[test]
fn the_sample_gets_a_stopped_for_each_icon_it_leaves_on() {
    let mut rng = Rng::new(11);
    let (mut started, mut checks, mut extra) = (0, 0, 0);
    for round in 0..10_000 {
        let sample = sample(&mut rng);
        for times in [IDLE, AFTER_SHOWN] {
            let sent = play(&rules(&times), &sample.entries);
            let starts = sent.iter().filter(|(_, reason)| matches!(reason, First | Check)).count();
            assert!(starts <= sample.started, "round {round}: {:?} {sent:?}", sample.entries);
            if times.mode == Mode::Idle {
                let stops = sent.len() - starts;
                let bound = sample.stopped + sample.left_on;
                assert!(stops <= bound, "round {round}: {:?} {sent:?}", sample.entries);
                started += starts;
                checks += sent.iter().filter(|(_, reason)| *reason == Check).count();
                extra += sample.left_on;
            }
        }
    }
    assert!(started > 50_000 && checks > 10_000 && extra > 10_000, "{started} {checks} {extra}");
}

/// What an engine with the usual rules sends within `millis`, every request being answered at once.
fn sent(engine: &mut Engine, from: u64, millis: u64) -> Vec<(u64, Reason)> {
    let mut now = Instant::from_millis(from);
    let end = now + Duration::from_millis(millis);
    let mut sent = Vec::new();
    loop {
        while let Some(dispatch) = engine.poll_dispatch(now) {
            sent.push((now.as_millis(), dispatch.reason));
            let _ = engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
        }
        let due = engine.poll_timeout(now);
        if due > end {
            return sent;
        }
        now = now.max(due);
        engine.handle_timeout(now);
    }
}

fn pair() -> ConversationRef<'static> {
    ConversationRef::new("channel", "user").expect("a valid pair")
}

fn lasting(engine: &mut Engine, at: u64, seconds: u16) {
    let key = Signal { lasts_millis: seconds * 1_000, ..Signal::new(SignalKind::Keystroke) };
    engine.handle_signal(Instant::from_millis(at), pair(), key).expect("there is room");
}

#[test]
fn a_started_every_five_seconds_keeps_the_icon_on_without_a_gap() {
    let mut engine = Engine::new(Policy::default(), 3);
    let mut all = Vec::new();
    for i in 0..4 {
        lasting(&mut engine, i * 5_100, 5);
        all.extend(sent(&mut engine, i * 5_100, 5_099));
    }
    all.extend(sent(&mut engine, 20_400, 20_000));
    // The first one ends with the check at 5 s. The last one lasts from 15.3 s to 20.3 s; two seconds after that the
    // icon goes off.
    let expected = [(0, First), (10_000, Check), (15_000, Check), (20_000, Check), (22_300, Idle)];
    assert_eq!(all, expected);
    assert_eq!(engine.census().conversations, 0);
}

#[test]
fn a_message_ends_lasting_typing_and_the_next_key_starts_anew() {
    let mut engine = Engine::new(Policy::default(), 3);
    lasting(&mut engine, 0, 60);
    assert_eq!(sent(&mut engine, 0, 12_000), [(0, First), (5_000, Check), (10_000, Check)]);
    let message = Signal::new(SignalKind::MessageSent);
    engine.handle_signal(Instant::from_millis(12_500), pair(), message).expect("there is room");
    assert_eq!(sent(&mut engine, 12_500, 60_000), [(12_500, MessageSent)], "and nothing after it");
    lasting(&mut engine, 80_000, 1);
    assert_eq!(sent(&mut engine, 80_000, 60_000), [(80_000, First), (83_000, Idle)]);
    assert_eq!(engine.census().conversations, 0);
}

#[test]
fn what_lasts_too_long_is_not_believed() {
    let mut engine = Engine::new(Policy::default(), 3);
    let mut all = Vec::new();
    for entry in 0..10 {
        lasting(&mut engine, entry * 50_000, 60);
        all.extend(sent(&mut engine, entry * 50_000, 49_999));
    }
    all.extend(sent(&mut engine, 500_000, 3_600_000));
    assert_eq!(all.last(), Some(&(300_000, MaxTyping)));
    assert_eq!(engine.census().conversations, 0, "and it is forgotten in the end");
}

#[test]
fn who_is_not_open_is_not_served_by_what_lasts_either() {
    let mut policy = Policy::default();
    policy.rules.require_open = true;
    let mut engine = Engine::new(policy, 3);
    lasting(&mut engine, 0, 5);
    assert_eq!(sent(&mut engine, 0, 20_000), []);
    engine.handle_signal(Instant::from_millis(20_000), pair(), Signal::new(SignalKind::Opened)).expect("there is room");
    lasting(&mut engine, 20_000, 5);
    assert_eq!(sent(&mut engine, 20_000, 20_000), [(20_000, First), (27_000, Idle)]);
}
