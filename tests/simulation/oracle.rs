//! The timing rules a second time, as plainly as possible: one conversation, tick by tick, nothing clever.
//!
//! It shares no code with the engine, and is slow. The exhaustive tests hold the engine to it.

use typingd::engine::policy::Mode;
use typingd::model::Reason;

/// Everything in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) mode: Mode,
    pub(crate) check: u64,
    pub(crate) dismiss: u64,
    pub(crate) max_typing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Key,
    /// A keystroke whose typing goes on for so long.
    Lasting(u64),
    Message,
    Stopped,
    Ended,
    /// The machine slept: the icon goes off.
    Slept,
    /// From here on these times hold.
    Change(Times),
}

#[derive(Default)]
struct State {
    icon: bool,
    /// Checks fall every so often from here.
    checks_from: Option<u64>,
    shown_at: u64,
    key_since: bool,
    /// When the typing reported so far ends: with the last key, unless one said that it goes on for longer.
    typing_until: Option<u64>,
    typing_since: u64,
    silenced: bool,
}

/// What is decided, and when, given what happens at each tick. Runs on until nothing can happen any more.
pub(crate) fn decisions(times: &Times, events: &[(u64, Event)]) -> Vec<(u64, Reason)> {
    let mut s = State::default();
    let mut decided = Vec::new();
    let mut times = *times;
    debug_assert!(events.is_sorted_by_key(|(at, _)| *at), "in the order of time: {events:?}");
    let last = events.last().map_or(0, |(at, _)| *at);
    let lasting = events.iter().map(|(_, event)| lasts(*event)).max().unwrap_or(0);
    let mut end = last + lasting + times.check + times.dismiss + times.max_typing + 1;
    let mut coming = events.iter().peekable();
    for t in 0.. {
        if t > end {
            break;
        }
        timers(&times, &mut s, t, Checks::Fall, &mut decided);
        while let Some((_, event)) = coming.next_if(|(at, _)| *at == t) {
            let stop = match event {
                Event::Change(changed) => {
                    times = *changed;
                    end = end.max(last + lasting + times.check + times.dismiss + times.max_typing + 1);
                    // What should have happened by now happens now; the next check comes after it.
                    timers(&times, &mut s, t, Checks::HaveFallen, &mut decided);
                    continue;
                }
                Event::Key | Event::Lasting(_) => {
                    key(&times, &mut s, t, t + lasts(*event), &mut decided);
                    continue;
                }
                Event::Message => Reason::MessageSent,
                Event::Stopped => Reason::Stopped,
                Event::Ended => Reason::Ended,
                Event::Slept => Reason::Idle,
            };
            if s.icon {
                decided.push((t, stop));
            }
            s = State::default();
        }
    }
    decided
}

fn lasts(event: Event) -> u64 {
    if let Event::Lasting(lasts) = event { lasts } else { 0 }
}

/// Whether a check may fall at this tick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    Fall,
    /// Those of this tick have.
    HaveFallen,
}

fn timers(times: &Times, s: &mut State, t: u64, checks: Checks, decided: &mut Vec<(u64, Reason)>) {
    let pause = s.typing_until.map_or(u64::MAX, |until| t.saturating_sub(until));
    if s.silenced {
        s.silenced = pause < times.dismiss;
        return;
    }
    let in_burst = s.checks_from.is_some();
    let on_grid = s.checks_from.is_some_and(|from| t > from && (t - from).is_multiple_of(times.check));
    let at_check = on_grid && checks == Checks::Fall;
    if times.mode == Mode::Idle && (in_burst || s.icon) && pause >= times.dismiss {
        if s.icon {
            decided.push((t, Reason::Idle));
        }
        *s = State { typing_until: s.typing_until, ..State::default() };
        return;
    }
    // A change can find the typing broken that was not; it is counted anew from there.
    if checks == Checks::HaveFallen && pause >= times.dismiss {
        s.typing_since = t;
    }
    // Without a pause of D the typing is unbroken; timing rule 7 counts it from its first keystroke.
    if (in_burst || s.icon) && pause < times.dismiss && t >= s.typing_since + times.max_typing {
        if s.icon {
            decided.push((t, Reason::MaxTyping));
        }
        *s = State { silenced: true, typing_until: s.typing_until, ..State::default() };
        return;
    }
    let goes_on = s.typing_until.is_some_and(|until| until > t);
    if at_check && (s.key_since || goes_on) {
        decided.push((t, Reason::Check));
        s.icon = true;
        s.shown_at = t;
        s.key_since = false;
    } else if at_check && times.mode == Mode::AfterShown {
        s.checks_from = None;
    }
    if times.mode == Mode::AfterShown && s.icon && t >= s.shown_at + times.dismiss {
        decided.push((t, Reason::Dismissed));
        s.icon = false;
    }
}

fn key(times: &Times, s: &mut State, t: u64, until: u64, decided: &mut Vec<(u64, Reason)>) {
    let paused = s.typing_until.is_none_or(|before| t >= before + times.dismiss);
    s.typing_until = s.typing_until.max(Some(until));
    if s.silenced {
        return;
    }
    if paused || (s.checks_from.is_none() && !s.icon) {
        s.typing_since = t;
    }
    // A change from after_shown to idle in the midst of typing leaves a burst without an icon; the next key mends that.
    if s.checks_from.is_none() || (times.mode == Mode::Idle && !s.icon) {
        decided.push((t, Reason::FirstKeystroke));
        s.icon = true;
        s.shown_at = t;
        s.checks_from = Some(t);
        s.key_since = false;
    } else {
        s.key_since = true;
    }
}
