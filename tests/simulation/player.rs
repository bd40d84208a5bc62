//! Plays what happens to one conversation to the timing alone, each event at its time.

use std::time::Duration;

use typingd::engine::policy::Rules;
use typingd::engine::timing::Timing;
use typingd::model::{Instant, Reason};

use crate::oracle::{Event, Times};

/// One tick of the oracle is a millisecond.
pub(crate) fn rules(times: &Times) -> Rules {
    let Times { mode, check, dismiss, max_typing } = *times;
    let millis = Duration::from_millis;
    Rules::new(mode, millis(check), millis(dismiss), millis(max_typing))
}

/// Plays events, each at its millisecond, and lets everything run out.
pub(crate) fn play(rules: &Rules, events: &[(u64, Event)]) -> Vec<(u64, Reason)> {
    let mut rules = *rules;
    let mut timing = Timing::default();
    let mut decided = Vec::new();
    for &(at, event) in events {
        let now = Instant::from_millis(at);
        while let Some((at, reason)) = timing.step(&rules, now) {
            decided.push((at.as_millis(), reason));
        }
        let decision = match event {
            Event::Key => timing.keystroke(&rules, now, now),
            Event::Lasting(millis) => timing.keystroke(&rules, now, now + Duration::from_millis(millis)),
            Event::Message => timing.stop(Reason::MessageSent),
            Event::Stopped => timing.stop(Reason::Stopped),
            Event::Ended => timing.stop(Reason::Ended),
            Event::Slept => timing.stop(Reason::Idle),
            Event::Change(times) => {
                rules = self::rules(&times);
                while let Some(reason) = timing.change(&rules, now) {
                    decided.push((at, reason));
                }
                None
            }
        };
        decided.extend(decision.map(|reason| (at, reason)));
    }
    while !timing.is_idle() {
        let due = timing.due(&rules);
        decided.extend(timing.step(&rules, due).map(|(at, reason)| (at.as_millis(), reason)));
    }
    decided
}
