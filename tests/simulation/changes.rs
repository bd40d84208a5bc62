//! A change of the timing while people are typing: timing rule 11.

use std::collections::BTreeMap;
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::{Mode, Policy, Rules};
use typingd::engine::timing::Timing;
use typingd::model::{ChannelAddress, ConversationRef, Decision, Instant, Reason, Signal, SignalKind};

use crate::oracle::{self, Event, Times};
use crate::player::{play, rules};
use crate::rng::Rng;
use Event::{Change, Key, Lasting, Message};
use Reason::{Check, Dismissed, FirstKeystroke as First, Idle, MaxTyping};

fn times(mode: Mode, check: u64, dismiss: u64) -> Times {
    Times { mode, check, dismiss, max_typing: 300_000 }
}

fn keys(from: u64, to: u64, every: usize) -> impl Iterator<Item = (u64, Event)> {
    (from..=to).step_by(every).map(|at| (at, Key))
}

#[test]
fn a_change_holds_from_its_instant_and_keeps_the_grid() {
    let slow = times(Mode::Idle, 60_000, 2_000);
    let quick = times(Mode::Idle, 1_000, 2_000);
    for (name, before, events, expected) in [
        (
            "a shorter check: the next one is the first of the new grid",
            slow,
            keys(0, 7_000, 700).chain([(7_300, Change(quick))]).collect::<Vec<_>>(),
            vec![(0, First), (8_000, Check), (9_000, Idle)],
        ),
        (
            "one at the very instant of the change has passed",
            slow,
            keys(0, 7_000, 700).chain([(8_000, Change(quick)), (8_100, Key)]).collect(),
            vec![(0, First), (9_000, Check), (10_100, Idle)],
        ),
        (
            "a longer check: anchored at the first key all the same",
            quick,
            [(0, Key), (500, Key), (1_500, Key), (2_200, Change(times(Mode::Idle, 1_500, 2_000))), (2_300, Key)].into(),
            vec![(0, First), (1_000, Check), (2_000, Check), (3_000, Check), (4_300, Idle)],
        ),
        (
            "a shorter dismissal that is over already is at the change",
            times(Mode::Idle, 5_000, 8_000),
            [(0, Key), (3_000, Change(times(Mode::Idle, 5_000, 500)))].into(),
            vec![(0, First), (3_000, Idle)],
        ),
        (
            "a shorter max_typing as well, and the silence after it lasts until the pause",
            times(Mode::Idle, 5_000, 2_000),
            keys(0, 4_000, 500)
                .chain([(4_200, Change(Times { max_typing: 3_000, ..times(Mode::Idle, 5_000, 2_000) })), (4_300, Key)])
                .chain([(7_000, Key)])
                .collect(),
            vec![(0, First), (4_200, MaxTyping), (7_000, First), (9_000, Idle)],
        ),
        (
            "of all that is over an idle deadline wins",
            times(Mode::Idle, 5_000, 8_000),
            [(0, Key), (3_000, Change(Times { max_typing: 1_000, ..times(Mode::Idle, 1_000, 500) }))].into(),
            vec![(0, First), (3_000, Idle)],
        ),
        (
            "to after_shown: what has been shown for long enough goes off",
            times(Mode::Idle, 5_000, 2_000),
            keys(0, 3_500, 500).chain([(3_700, Change(times(Mode::AfterShown, 5_000, 2_000)))]).collect(),
            vec![(0, First), (3_700, Dismissed), (5_000, Check), (7_000, Dismissed)],
        ),
        (
            "to idle: the next key shows what had been dismissed",
            times(Mode::AfterShown, 5_000, 2_000),
            keys(0, 3_000, 500).chain([(3_200, Change(times(Mode::Idle, 5_000, 2_000))), (3_300, Key)]).collect(),
            vec![(0, First), (2_000, Dismissed), (3_300, First), (5_300, Idle)],
        ),
        (
            "typing that lasts",
            slow,
            [(0, Lasting(10_000)), (4_500, Change(times(Mode::Idle, 3_000, 2_000)))].into(),
            vec![(0, First), (6_000, Check), (9_000, Check), (12_000, Idle)],
        ),
        (
            "the same once more changes nothing",
            quick,
            [(0, Key), (900, Key), (1_000, Change(quick)), (1_800, Change(quick))].into(),
            vec![(0, First), (1_000, Check), (2_900, Idle)],
        ),
    ] {
        assert_eq!(play(&rules(&before), &events), expected, "{name}");
        assert_eq!(oracle::decisions(&before, &events), expected, "the oracle: {name}");
    }
}

/// Every sequence of a few keys, an end, waits and changes to two other timings.
#[test]
fn every_short_sequence_is_decided_as_the_oracle_says() {
    const LETTERS: usize = 7;
    const LENGTH: u32 = 5;
    let all = |mode| {
        [(6, 4, 100), (2, 1, 9), (3, 5, 7)].map(|(check, dismiss, max_typing)| Times {
            mode,
            check,
            dismiss,
            max_typing,
        })
    };
    let (idle, shown) = (all(Mode::Idle), all(Mode::AfterShown));
    let mut checked = 0;
    for [before, one, other] in [
        [idle[0], idle[1], idle[2]],
        [idle[2], idle[0], shown[1]],
        [shown[0], shown[1], shown[2]],
        [shown[2], idle[1], shown[0]],
    ] {
        for mut number in 0..LETTERS.pow(LENGTH) {
            let (mut events, mut at) = (vec![(0, Key)], 0);
            for _ in 0..LENGTH {
                match number % LETTERS {
                    0 => events.push((at, Key)),
                    1 => events.push((at, Lasting(before.check + 1))),
                    2 => events.push((at, Message)),
                    3 => events.push((at, Change(one))),
                    4 => events.push((at, Change(other))),
                    5 => at += 1,
                    _ => at += before.check - 1,
                }
                number /= LETTERS;
            }
            assert_eq!(play(&rules(&before), &events), oracle::decisions(&before, &events), "{before:?} {events:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 4 * 7usize.pow(LENGTH));
}

#[test]
fn long_made_up_typing_is_decided_as_the_oracle_says() {
    let mut rng = Rng::new(3);
    for _ in 0..3_000 {
        let mut some = |from: u64, to: u64| from + rng.below(to - from);
        let mut any = || Times {
            mode: [Mode::Idle, Mode::AfterShown][some(0, 2) as usize],
            check: some(1, 60),
            dismiss: some(1, 60),
            max_typing: some(1, 400),
        };
        let (before, others) = (any(), [any(), any(), any()]);
        let mut at = 0;
        let events: Vec<_> = (0..20)
            .map(|_| {
                at += some(0, 50);
                let event = match some(0, 9) {
                    0 => Message,
                    1 => Lasting(some(0, 120)),
                    2 | 3 => Change(others[some(0, 3) as usize]),
                    _ => Key,
                };
                (at, event)
            })
            .collect();
        assert_eq!(play(&rules(&before), &events), oracle::decisions(&before, &events), "{before:?} {events:?}");
    }
}

const PEOPLE: usize = 2_000;

/// An engine in which many are typing, each with a key every 200 ms for `millis` under a check of a minute.
fn crowd(millis: u64) -> Engine {
    let mut engine = Engine::new(Policy { rules: of_check(60_000), ..Policy::default() }, 1);
    engine.observe_decisions();
    for at in (0..=millis).step_by(200) {
        for person in 0..PEOPLE {
            key(&mut engine, at, person, 0);
        }
    }
    engine
}

fn of_check(millis: u64) -> Rules {
    let millis = Duration::from_millis(millis);
    Rules::new(Mode::Idle, millis, Duration::from_secs(2), Duration::from_secs(300))
}

fn key(engine: &mut Engine, at: u64, person: usize, lasts_millis: u16) {
    let from = format!("user-{person}");
    let who = ConversationRef::new("channel", &from).expect("a valid pair");
    let signal = Signal { lasts_millis, ..Signal::new(SignalKind::Keystroke) };
    engine.handle_signal(Instant::from_millis(at), who, signal).expect("there is room");
}

fn decided(engine: &mut Engine) -> Vec<Decision> {
    std::iter::from_fn(|| engine.poll_decision()).collect()
}

#[test]
fn a_far_shorter_check_refreshes_each_icon_once() {
    let mut engine = crowd(30_000);
    assert_eq!(decided(&mut engine).len(), PEOPLE);
    let change = Instant::from_millis(30_001);
    engine.handle_policy(change, Policy { rules: of_check(5), ..Policy::default() });
    // The loop is late by far more than the check.
    for at in [30_001, 30_300, 30_900] {
        // A slice at a time.
        for _ in 0..2 * PEOPLE.div_ceil(500) {
            engine.handle_timeout(Instant::from_millis(at));
        }
    }
    let checks = decided(&mut engine);
    assert!(checks.iter().all(|decision| decision.reason == Check && decision.at > change), "{:?}", checks.first());
    assert_eq!(checks.len(), PEOPLE);
}

#[test]
fn a_late_loop_decides_one_refresh_the_last_that_was_due() {
    let rules = of_check(10);
    let mut engine = Engine::new(Policy { rules, ..Policy::default() }, 1);
    engine.observe_decisions();
    key(&mut engine, 0, 0, 500);
    key(&mut engine, 0, 1, 60_000);
    decided(&mut engine);
    engine.handle_timeout(Instant::from_millis(995));
    let decisions: Vec<_> =
        decided(&mut engine).iter().map(|decision| (decision.at.as_millis(), decision.reason)).collect();
    // Of the one whose typing ended at 500 ms the last refresh was due just before.
    assert_eq!(decisions, [(490, Check), (990, Check)]);
    engine.handle_timeout(Instant::from_millis(1_000));
    let decisions: Vec<_> =
        decided(&mut engine).iter().map(|decision| (decision.at.as_millis(), decision.reason)).collect();
    assert_eq!(decisions, [(1_000, Check)]);
}

/// What a made-up world changes: the timing of all, that of two channels, or that the machine sleeps.
#[derive(Clone, Copy)]
enum Wide {
    Timing { all: Times, of: [Option<Times>; 2] },
    Sleep,
}

const CHANNELS: [&str; 3] = ["plain", "own", "other"];

fn policy(all: Times, of: [Option<Times>; 2]) -> Policy {
    let own = CHANNELS[1..]
        .iter()
        .zip(of)
        .filter_map(|(name, times)| Some((ChannelAddress::new(name).expect("a valid name"), rules(&times?))));
    Policy { rules: rules(&all), channels: own.collect(), ..Policy::default() }
}

/// What the engine decides, each conversation followed by itself, when its loop comes late and changes are followed in
/// slices, against the oracle, for which everything changes at its instant. `people` over the three channels.
fn late_and_in_slices(seed: u64, people: usize, events: usize) -> usize {
    let mut rng = Rng::new(seed);
    let any = |rng: &mut Rng| Times {
        mode: [Mode::Idle, Mode::AfterShown][rng.below(2) as usize],
        check: 1 + rng.below(80),
        dismiss: 1 + rng.below(60),
        max_typing: 1 + rng.below(300),
    };
    let first = any(&mut rng);
    let few: Vec<Times> = (0..3).map(|_| any(&mut rng)).collect();
    let mut engine = Engine::new(policy(first, [None; 2]), seed);
    engine.observe_decisions();
    let mut happened: Vec<Vec<(u64, Event)>> = vec![Vec::new(); people];
    let mut found: BTreeMap<String, Vec<(u64, Reason)>> = BTreeMap::new();
    let mut at = 0;
    for _ in 0..events {
        at += [0, 1, 3, 20][rng.below(4) as usize] * rng.below(8);
        let now = Instant::from_millis(at);
        if rng.below(3) == 0 {
            engine.handle_timeout(now);
        }
        if rng.below(12) == 0 {
            let own = |rng: &mut Rng| (rng.below(2) == 0).then(|| few[rng.below(3) as usize]);
            let wide = match rng.below(5) {
                0 => Wide::Sleep,
                _ => Wide::Timing { all: few[rng.below(3) as usize], of: [own(&mut rng), own(&mut rng)] },
            };
            // A change may be waiting for room; then it is made in the end.
            match wide {
                Wide::Timing { all, of } if engine.has_room_for_policy() => {
                    engine.handle_policy(now, policy(all, of));
                    for (person, happened) in happened.iter_mut().enumerate() {
                        let times = match person % 3 {
                            0 => all,
                            channel => of[channel - 1].unwrap_or(all),
                        };
                        happened.push((at, Change(times)));
                    }
                }
                Wide::Timing { .. } => {}
                Wide::Sleep => {
                    engine.handle_suspension(now);
                    happened.iter_mut().for_each(|happened| happened.push((at, Event::Slept)));
                }
            }
        }
        for _ in 0..=rng.below(people as u64 / 8 + 2) {
            let person = rng.below(people as u64) as usize;
            let (event, kind) = match rng.below(8) {
                0 => (Message, SignalKind::MessageSent),
                1 => (Event::Stopped, SignalKind::Stopped),
                _ => (Key, SignalKind::Keystroke),
            };
            let from = person.to_string();
            let who = ConversationRef::new(CHANNELS[person % 3], &from).expect("a valid pair");
            engine.handle_signal(now, who, Signal::new(kind)).expect("there is room");
            happened[person].push((at, event));
        }
        collect(&mut engine, &mut found);
    }
    while engine.census().icons > 0 || engine.next_deadline() < Instant::from_millis(at + 20_000) {
        at += 1;
        engine.handle_timeout(Instant::from_millis(at));
        collect(&mut engine, &mut found);
    }
    let mut decided = 0;
    for (person, happened) in happened.iter().enumerate() {
        let found = found.remove(&person.to_string()).unwrap_or_default();
        decided += found.len();
        assert_eq!(found, oracle::decisions(&first, happened), "seed {seed}, person {person}: {first:?} {happened:?}");
    }
    decided
}

fn collect(engine: &mut Engine, found: &mut BTreeMap<String, Vec<(u64, Reason)>>) {
    while let Some(Decision { at, conversation, reason, .. }) = engine.poll_decision() {
        found.entry(conversation.from().to_owned()).or_default().push((at.as_millis(), reason));
    }
}

#[test]
fn changes_in_slices_equal_changes_of_all_at_their_instant() {
    let few: usize = (0..300).map(|seed| late_and_in_slices(seed, 7, 150)).sum();
    // More than follow in one slice.
    let many: usize = (0..6).map(|seed| late_and_in_slices(1_000 + seed, 1_500, 80)).sum();
    assert!(few > 20_000 && many > 20_000, "{few} {many}");
}

#[test]
fn what_concerns_all_is_done_in_slices_as_of_its_instant() {
    let mut engine = Engine::new(Policy { rules: of_check(60_000), ..Policy::default() }, 1);
    engine.observe_decisions();
    let people = 5_000;
    let mut at = 0;
    for wide in 0..3 {
        at += 10_000;
        for person in 0..people {
            key(&mut engine, at, person, 0);
        }
        // The one that was touched before has fallen idle by itself.
        assert_eq!(decided(&mut engine).len(), people + usize::from(wide > 0));
        at += [50, 50, 10][wide];
        let now = Instant::from_millis(at);
        let reason = match wide {
            0 => {
                engine.handle_suspension(now);
                Idle
            }
            1 => {
                let short = Rules::new(Mode::Idle, Duration::from_secs(5), Duration::from_millis(20), Duration::MAX);
                engine.handle_policy(now, Policy { rules: short, ..Policy::default() });
                Idle
            }
            _ => {
                engine.handle_shutdown(now);
                Reason::Shutdown
            }
        };
        assert_eq!(decided(&mut engine).len(), 0, "it is only recorded");
        // One that is touched doesn't wait for its slice. Its key comes after the change.
        if wide < 2 {
            key(&mut engine, at, people - 1, 0);
            let decisions: Vec<_> = decided(&mut engine).iter().map(|decision| decision.reason).collect();
            assert_eq!(decisions, [reason, First]);
        }
        let touched = usize::from(wide < 2);
        let (mut slices, mut stopped) = (0, 0);
        while engine.poll_timeout(now) <= now && stopped + touched < people {
            // Later all the same: when it is done changes nothing.
            engine.handle_timeout(Instant::from_millis(at + 5));
            let decisions = decided(&mut engine);
            assert!(decisions.len() <= 2_100, "{} in one slice", decisions.len());
            assert!(
                decisions.iter().all(|decision| (decision.at, decision.reason) == (now, reason)),
                "{:?}",
                decisions.first()
            );
            stopped += decisions.len();
            slices += 1;
        }
        assert!(stopped + touched == people && slices > 2, "{wide}: {stopped} in {slices}");
    }
}

#[test]
fn a_change_that_concerns_nobody_is_no_work() {
    let mut engine = crowd(0);
    decided(&mut engine);
    while engine.poll_dispatch(Instant::ORIGIN).is_some() {}
    let idle = engine.poll_timeout(Instant::ORIGIN);
    for _ in 0..100 {
        let unused = (ChannelAddress::new("unused").expect("a valid name"), of_check(7));
        let policy = Policy { rules: of_check(60_000), channels: [unused].into(), ..Policy::default() };
        engine.handle_policy(Instant::ORIGIN, policy);
        assert!(engine.has_room_for_policy() && engine.poll_timeout(Instant::ORIGIN) == idle);
    }
    for _ in 0..16 {
        assert!(engine.has_room_for_policy());
        let turn = [of_check(60_000), of_check(50_000)][usize::from(engine.policy().rules == of_check(60_000))];
        engine.handle_policy(Instant::ORIGIN, Policy { rules: turn, ..Policy::default() });
    }
    assert!(!engine.has_room_for_policy(), "so many are under way");
    for _ in 0..5 {
        engine.handle_timeout(Instant::ORIGIN);
    }
    assert!(engine.has_room_for_policy());
}

#[test]
fn a_change_to_very_many_checks_in_the_past_keeps_their_grid() {
    let long = Duration::from_secs(100_000);
    let rules = |check| Rules::new(Mode::Idle, check, Duration::from_secs(2), long);
    let mut timing = Timing::default();
    let (first, change) = (Instant::from_millis(7_000), Instant::from_millis(5_007_000));
    let _ = timing.keystroke(&rules(long), first, change + Duration::from_secs(60));
    // More checks of a microsecond have passed than are counted.
    let fine = rules(Duration::from_micros(1));
    assert_eq!(timing.change(&fine, change), None);
    assert_eq!(timing.deadlines(&fine).check, change + Duration::from_micros(1));
}
