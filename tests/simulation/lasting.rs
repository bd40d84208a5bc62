//! Typing that lasts is the same as a key pressed at every moment of it.

use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::{Mode, Policy, Rules};
use typingd::engine::timing::Timing;
use typingd::model::{ConversationRef, Instant, Outcome, Reason, Signal, SignalKind};

use crate::rng::Rng;
use Reason::{Check, FirstKeystroke as First, Idle, MaxTyping, MessageSent};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Key,
    Lasting(u64),
    Stop,
}

/// Plays events, each at its millisecond, and lets everything run out.
fn play(rules: &Rules, events: &[(u64, Event)]) -> Vec<(u64, Reason)> {
    let mut timing = Timing::IDLE;
    let mut decided = Vec::new();
    for &(at, event) in events {
        let now = Instant::from_millis(at);
        while let Some((at, reason)) = timing.step(rules, now) {
            decided.push((at.as_millis(), reason));
        }
        let decision = match event {
            Event::Stop => timing.stop(MessageSent),
            Event::Key => timing.keystroke(rules, now),
            Event::Lasting(millis) => {
                let decision = timing.keystroke(rules, now);
                timing.prolong(now, Duration::from_millis(millis));
                decision
            }
        };
        decided.extend(decision.map(|reason| (at, reason)));
    }
    while !timing.is_idle() {
        let due = timing.due(rules);
        decided.extend(timing.step(rules, due).map(|(at, reason)| (at.as_millis(), reason)));
    }
    decided
}

/// The same with a key at every millisecond of what lasts, up to the next stop.
fn dense(events: &[(u64, Event)]) -> Vec<(u64, Event)> {
    let mut all = Vec::new();
    for (index, &(at, event)) in events.iter().enumerate() {
        let Event::Lasting(millis) = event else {
            all.push((at, event));
            continue;
        };
        let stop = events[index..].iter().find(|(_, event)| *event == Event::Stop).map_or(u64::MAX, |(at, _)| *at);
        all.extend((at..=at + millis).filter(|moment| *moment < stop).map(|moment| (moment, Event::Key)));
    }
    // Keys of an instant before its stop, as they were given.
    all.sort_by_key(|(at, event)| (*at, *event == Event::Stop));
    all
}

/// Everything begins at even milliseconds and lasts for odd ones, so that no end of an activity falls on a check: there
/// the two would differ by the one key that a moment has.
#[test]
fn typing_that_lasts_is_a_key_at_every_moment() {
    let mut rng = Rng::new(9);
    let mut checks = 0;
    for round in 0..4_000 {
        let mode = [Mode::Idle, Mode::AfterShown][usize::from(round % 2 == 0)];
        let mut even = |from: u64, to: u64| 2 * (from + rng.below(to - from));
        let millis = Duration::from_millis;
        let rules = Rules::new(mode, millis(even(5, 60)), millis(even(2, 60)), millis(even(60, 400)));
        let mut at = 0;
        let events: Vec<_> = (0..8)
            .map(|_| {
                at += even(1, 70);
                let event = match even(0, 6) / 2 {
                    0 => Event::Stop,
                    1 => Event::Key,
                    _ => Event::Lasting(even(0, 60) + 1),
                };
                (at, event)
            })
            .collect();
        let expected = play(&rules, &dense(&events));
        assert_eq!(play(&rules, &events), expected, "{rules:?} {events:?}");
        checks += expected.iter().filter(|(_, reason)| *reason == Check).count();
    }
    assert!(checks > 4_000, "there was hardly anything to refresh: {checks}");
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

fn lasting(engine: &mut Engine, at: u64, seconds: u64) {
    let lasts = Duration::from_secs(seconds);
    engine.handle_typing(Instant::from_millis(at), pair(), lasts).expect("there is room");
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
    // The last one lasts from 15.3 s to 20.3 s; two seconds after that the icon goes off.
    let expected = [(0, First), (5_000, Check), (10_000, Check), (15_000, Check), (20_000, Check), (22_300, Idle)];
    assert_eq!(all, expected);
    assert_eq!(engine.census().conversations, 0);
}

#[test]
fn a_message_ends_what_would_have_lasted_and_the_next_started_begins_anew() {
    let mut engine = Engine::new(Policy::default(), 3);
    lasting(&mut engine, 0, 60);
    assert_eq!(sent(&mut engine, 0, 12_000), [(0, First), (5_000, Check), (10_000, Check)]);
    let message = Signal { kind: SignalKind::MessageSent, at: None };
    engine.handle_signal(Instant::from_millis(12_500), pair(), message).expect("there is room");
    assert_eq!(sent(&mut engine, 12_500, 60_000), [(12_500, MessageSent)], "and nothing after it");
    lasting(&mut engine, 80_000, 1);
    assert_eq!(sent(&mut engine, 80_000, 60_000), [(80_000, First), (83_000, Idle)]);
    assert_eq!(engine.census().conversations, 0);
}

#[test]
fn what_lasts_too_long_is_not_believed() {
    let mut engine = Engine::new(Policy::default(), 3);
    lasting(&mut engine, 0, 3_600);
    let all = sent(&mut engine, 0, 7_200_000);
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
    engine
        .handle_signal(Instant::from_millis(20_000), pair(), Signal { kind: SignalKind::Opened, at: None })
        .expect("there is room");
    lasting(&mut engine, 20_000, 5);
    assert_eq!(sent(&mut engine, 20_000, 20_000), [(20_000, First), (25_000, Check), (27_000, Idle)]);
}
