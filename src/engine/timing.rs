//! The timing rules for one conversation: check, dismiss, both modes. A small plain value, stepped by pure functions.
//!
//! It knows nothing of delivery, nor of other conversations. `tune` drives it alone, the daemon inside the engine.

use super::policy::{Mode, Rules};
use crate::model::{Instant, Reason};

/// The timing of one conversation.
///
/// The caller first lets the timers run ([`Timing::step`], until it returns `None`) up to and including an instant,
/// then hands over the signals of that instant. Stepping early, late or twice is harmless: every decision carries the
/// instant at which it fell due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Ahead of the clock while typing that was reported with `lasts` goes on.
    last_key: u64,
    /// The first keystroke of the present unbroken typing: no two neighbours are a pause of `dismiss_after` apart.
    run_start: u64,
    last_started: u64,
    /// The first keystroke of the burst. The grid of checks is anchored here, whatever becomes of the interval.
    burst_start: u64,
    /// Checks of that grid that have passed.
    checks: u32,
    phase: Phase,
    icon: bool,
    /// A keystroke arrived after the last TypingStarted.
    key_since: bool,
}

/// How far the typing of a conversation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The next keystroke is a first keystroke. In `after_shown` the icon may still be on.
    #[default]
    Idle,
    /// Checks fall.
    Burst,
    /// `max_typing` has been reached, and the typing has not paused yet.
    Silent,
}

/// When each timer falls due if no key comes; [`Instant::NEVER`] for those that don't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The next check.
    pub check: Instant,
    /// The icon goes off by itself.
    pub dismissal: Instant,
    /// The typing has been unbroken for `max_typing`.
    pub max_typing: Instant,
    /// The silence after `max_typing` is over.
    pub pause: Instant,
}

#[derive(Clone, Copy)]
enum Timer {
    /// `dismiss_after` since the last keystroke: the icon goes off (idle mode), or the silence ends.
    Paused,
    MaxTyping,
    Check,
    Dismissal,
}

impl Timing {
    /// Whether the icon should be on.
    #[inline]
    pub const fn icon(&self) -> bool {
        self.icon
    }

    /// Whether nothing is left to remember: no icon, no timer.
    pub const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && !self.icon
    }

    /// The last time the icon was shown or refreshed.
    pub(super) const fn last_started(&self) -> Instant {
        Instant::from_micros(self.last_started)
    }

    /// How far the typing has come.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The last key since the last explicit stop; in the future while typing reported with `lasts` goes on.
    pub fn last_key(&self) -> Option<Instant> {
        (self.last_key > 0).then(|| Instant::from_micros(self.last_key))
    }

    /// When the next timer is due; [`Instant::NEVER`] if none runs.
    #[inline]
    pub fn due(&self, rules: &Rules) -> Instant {
        Instant::from_micros(self.next(rules, 0).0)
    }

    /// All timers that run. The first of them is that of [`Timing::due`].
    pub fn deadlines(&self, rules: &Rules) -> Deadlines {
        let never = Instant::NEVER;
        let mut deadlines = Deadlines { check: never, dismissal: never, max_typing: never, pause: never };
        self.for_each_timer(rules, |at, timer| {
            let deadline = match timer {
                Timer::Paused if self.phase == Phase::Silent => &mut deadlines.pause,
                Timer::Paused | Timer::Dismissal => &mut deadlines.dismissal,
                Timer::MaxTyping => &mut deadlines.max_typing,
                Timer::Check => &mut deadlines.check,
            };
            *deadline = Instant::from_micros(at);
        });
        deadlines
    }

    /// An instant before which keystrokes decide nothing, and no timer but the icon's idle deadline falls due, as long as no two
    /// keystrokes are a pause of `dismiss_after` apart: then that deadline moves on with each of them. [`Instant::ORIGIN`] if the
    /// next keystroke decides something. For callers that step through millions of keys: most need not be looked at.
    #[inline]
    pub fn unbroken_until(&self, rules: &Rules) -> Instant {
        let never = u64::MAX;
        let check = self.burst_start.saturating_add((u64::from(self.checks) + 1).saturating_mul(rules.check));
        let max_typing = self.run_start.saturating_add(rules.max_typing);
        let until = match (self.phase, rules.mode) {
            (Phase::Idle, _) => 0,
            (Phase::Silent, _) => never,
            (Phase::Burst, Mode::Idle) => {
                if self.icon {
                    check.min(max_typing)
                } else {
                    0
                }
            }
            (Phase::Burst, Mode::AfterShown) => {
                let dismissal = if self.icon { self.last_started.saturating_add(rules.dismiss) } else { never };
                check.min(max_typing).min(dismissal)
            }
        };
        Instant::from_micros(until)
    }

    /// Keystrokes came before [`Timing::unbroken_until`], no two of them a pause apart, and what they report goes on until
    /// `until`: as [`Timing::keystroke`] for each of them, for callers that skip them.
    #[inline]
    pub fn keystrokes_skipped(&mut self, until: Instant) {
        self.last_key = until.as_micros().max(self.last_key);
        self.key_since |= self.phase == Phase::Burst;
    }

    /// As [`Timing::unbroken_until`], where no such keystroke makes a timer due before `due` either, which is
    /// [`Timing::due`]: it moves one field, and nothing has to be armed.
    #[inline]
    pub(super) fn quiet_until(&self, rules: &Rules, due: Instant) -> Instant {
        let until = self.unbroken_until(rules);
        // In after_shown a key that keeps typing unbroken which was about to break brings `max_typing` into play.
        if until < due { Instant::ORIGIN } else { until }
    }

    /// How long before `now` the last key was; nothing while typing reported with `lasts` goes on.
    #[inline]
    pub(super) const fn micros_since_key(&self, now: Instant) -> u64 {
        now.as_micros().saturating_sub(self.last_key)
    }

    /// The timer that runs next, where one that would be due before `floor` is due at `floor`. Of several due at one
    /// instant the one that wins comes first: an idle deadline over `max_typing`, that over a check, a check over a
    /// dismissal (timing rules 3, 4, 7).
    #[inline]
    fn next(&self, rules: &Rules, floor: u64) -> (u64, Timer) {
        let mut next = (u64::MAX, Timer::Paused);
        self.for_each_timer(rules, |at, timer| {
            let at = at.max(floor);
            if at < next.0 {
                next = (at, timer);
            }
        });
        next
    }

    /// The timers that run, in the order in which they win.
    #[inline]
    fn for_each_timer(&self, rules: &Rules, mut each: impl FnMut(u64, Timer)) {
        let paused = self.last_key.saturating_add(rules.dismiss);
        let max_typing = self.run_start.saturating_add(rules.max_typing);
        let check = self.burst_start.saturating_add((u64::from(self.checks) + 1).saturating_mul(rules.check));
        match (self.phase, rules.mode) {
            (Phase::Idle, _) if !self.icon => {}
            (Phase::Silent, _) => each(paused, Timer::Paused),
            (phase, Mode::Idle) => {
                each(paused, Timer::Paused);
                each(max_typing, Timer::MaxTyping);
                if phase == Phase::Burst {
                    each(check, Timer::Check);
                }
            }
            (phase, Mode::AfterShown) => {
                // A pause of `dismiss_after` breaks the typing, whether or not it hides the icon.
                if max_typing < paused {
                    each(max_typing, Timer::MaxTyping);
                }
                if phase == Phase::Burst {
                    each(check, Timer::Check);
                }
                if self.icon {
                    each(self.last_started.saturating_add(rules.dismiss), Timer::Dismissal);
                }
            }
        }
    }

    /// Runs the timers due at or before `now`, in order, up to the first that decides something. Returns that with the
    /// instant at which it fell due; `None` once nothing due is left.
    #[inline]
    pub fn step(&mut self, rules: &Rules, now: Instant) -> Option<(Instant, Reason)> {
        self.run_due::<false>(rules, 0, now)
    }

    /// As [`Timing::step`], for a caller who may come late. Of several checks that have passed by `now` at most one
    /// decides something: the last at which the icon would have been refreshed.
    #[inline]
    pub fn step_late(&mut self, rules: &Rules, now: Instant) -> Option<(Instant, Reason)> {
        self.run_due::<true>(rules, 0, now)
    }

    #[inline]
    fn run_due<const LATE: bool>(&mut self, rules: &Rules, floor: u64, now: Instant) -> Option<(Instant, Reason)> {
        let now = now.as_micros();
        loop {
            let (mut due, timer) = self.next(rules, floor);
            if due > now {
                return None;
            }
            if LATE && matches!(timer, Timer::Check) && now - due >= rules.check {
                due = self.skip_checks(rules, due, now);
            }
            if let Some(reason) = self.run(rules, due, timer) {
                return Some((Instant::from_micros(due), reason));
            }
        }
    }

    /// Of the checks from `due`, the next one, up to `now`: passes over those before the one that counts, and returns
    /// that.
    fn skip_checks(&mut self, rules: &Rules, due: u64, now: u64) -> u64 {
        let last = if self.key_since || self.last_key > due {
            // Later ones refresh only while the typing goes on beyond them, within `max_typing`.
            let max_typing = self.run_start.saturating_add(rules.max_typing);
            now.min(self.last_key.saturating_sub(1)).min(max_typing.saturating_sub(1))
        } else {
            // None of them shows the icon. In after_shown each of them ends the burst as well as the first.
            now
        };
        let skipped = last.saturating_sub(due) / rules.check;
        let check = due + skipped * rules.check;
        self.pass_checks(rules, check - rules.check);
        check
    }

    /// All checks up to `now` have passed.
    fn pass_checks(&mut self, rules: &Rules, now: u64) {
        let passed = now.saturating_sub(self.burst_start) / rules.check;
        match u32::try_from(passed) {
            Ok(passed) => self.checks = passed,
            // Anchored anew at one of its own instants the grid stays where it is.
            Err(_) => {
                self.burst_start += passed * rules.check;
                self.checks = 0;
            }
        }
    }

    /// The rules are `rules` from `at` on; the timers have been stepped to `at` under those before. The checks fall on
    /// the new grid, the next one after `at`. What by the new rules should have happened already happens now: to be
    /// called until it returns `None`, with the same arguments.
    pub fn change(&mut self, rules: &Rules, at: Instant) -> Option<Reason> {
        let floor = at.as_micros();
        if self.phase == Phase::Burst {
            self.pass_checks(rules, floor);
        }
        if rules.mode == Mode::AfterShown && self.last_key.saturating_add(rules.dismiss) <= floor {
            // Broken by the new rules, the typing is not measured against `max_typing`.
            self.run_start = floor;
        }
        self.run_due::<false>(rules, floor, at).map(|(_, reason)| reason)
    }

    fn run(&mut self, rules: &Rules, due: u64, timer: Timer) -> Option<Reason> {
        match timer {
            Timer::Paused => {
                self.phase = Phase::Idle;
                self.hide(Reason::Idle)
            }
            Timer::MaxTyping => {
                self.phase = Phase::Silent;
                self.hide(Reason::MaxTyping)
            }
            Timer::Dismissal => self.hide(Reason::Dismissed),
            Timer::Check => {
                match self.checks.checked_add(1) {
                    Some(checks) => self.checks = checks,
                    None => (self.burst_start, self.checks) = (due, 0),
                }
                // Typing that goes on beyond the check counts; typing that ends with it needs a signal of its own, or
                // one entry and then nothing would be refreshed at its own end.
                if self.key_since || self.last_key > due {
                    self.show(due);
                    return Some(Reason::Check);
                }
                if rules.mode == Mode::AfterShown {
                    self.phase = Phase::Idle;
                }
                None
            }
        }
    }

    /// A keystroke at `now` whose typing goes on until `until`, which is `now` for a plain key; the timers have been
    /// stepped to `now`. Returns what it decides. A check before `until` refreshes the icon, and a pause counts from
    /// there; a later keystroke never brings it nearer.
    #[inline]
    pub fn keystroke(&mut self, rules: &Rules, now: Instant, until: Instant) -> Option<Reason> {
        let now = now.as_micros();
        let paused = now.saturating_sub(self.last_key) >= rules.dismiss;
        self.last_key = self.last_key.max(until.as_micros());
        match self.phase {
            Phase::Silent => None,
            // A change from after_shown to idle in mid-typing leaves a burst without its icon, until the next key.
            Phase::Burst if self.icon || rules.mode == Mode::AfterShown => {
                if paused {
                    self.run_start = now;
                }
                self.key_since = true;
                None
            }
            Phase::Burst | Phase::Idle => {
                if paused || (self.phase == Phase::Idle && !self.icon) {
                    self.run_start = now;
                }
                self.phase = Phase::Burst;
                self.burst_start = now;
                self.checks = 0;
                self.show(now);
                Some(Reason::FirstKeystroke)
            }
        }
    }

    /// The user's message went out, the box was left, the session ended (timing rule 5). Returns `reason` if the icon
    /// was on.
    #[inline]
    pub fn stop(&mut self, reason: Reason) -> Option<Reason> {
        self.phase = Phase::Idle;
        // Typing that would have lasted longer ends here too.
        self.last_key = 0;
        self.hide(reason)
    }

    fn show(&mut self, at: u64) {
        self.icon = true;
        self.last_started = at;
        self.key_since = false;
    }

    fn hide(&mut self, reason: Reason) -> Option<Reason> {
        std::mem::take(&mut self.icon).then_some(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What happens to one conversation, with its time in milliseconds.
    #[derive(Clone, Copy)]
    enum Event {
        Key(u64),
        Stop(u64, Reason),
    }
    use Event::{Key, Stop};

    fn rules(mode: Mode, check: u64, dismiss: u64) -> Rules {
        Rules::new(mode, Duration::from_millis(check), Duration::from_millis(dismiss), Duration::from_secs(300))
    }

    fn trace(rules: &Rules, events: &[Event]) -> Vec<(u64, Reason)> {
        let mut timing = Timing::default();
        let mut decided = Vec::new();
        for event in events {
            let (Key(at) | Stop(at, _)) = *event;
            let now = Instant::from_millis(at);
            while let Some((at, reason)) = timing.step(rules, now) {
                decided.push((at.as_millis(), reason));
            }
            let decision = match *event {
                Key(_) => timing.keystroke(rules, now, now),
                Stop(_, reason) => timing.stop(reason),
            };
            decided.extend(decision.map(|reason| (at, reason)));
        }
        // The wheel in front of the machine may only ever ask it too early; the deadlines must all be found from `due`.
        while !timing.is_idle() {
            let due = timing.due(rules);
            assert_ne!(due, Instant::NEVER, "a conversation that is not idle has a deadline");
            let Deadlines { check, dismissal, max_typing, pause } = timing.deadlines(rules);
            assert_eq!(check.min(dismissal).min(max_typing).min(pause), due, "what is shown is what will happen");
            decided.extend(timing.step(rules, due).map(|(at, reason)| (at.as_millis(), reason)));
        }
        assert_eq!(timing.due(rules), Instant::NEVER);
        let never = Instant::NEVER;
        let none = Deadlines { check: never, dismissal: never, max_typing: never, pause: never };
        assert_eq!(timing.deadlines(rules), none);
        decided
    }

    use Reason::{Check, Dismissed, Ended, FirstKeystroke as First, Idle, MaxTyping, MessageSent};

    #[test]
    fn idle_mode_follows_the_rules() {
        let r = rules(Mode::Idle, 5_000, 2_000);
        let steady: Vec<Event> = (0..=60).map(|i| Key(i * 200)).collect();
        for (name, events, expected) in [
            ("one key", vec![Key(0)], vec![(0, First), (2_000, Idle)]),
            ("a second key only moves the end", vec![Key(0), Key(1_500)], vec![(0, First), (3_500, Idle)]),
            (
                "steady typing is refreshed at each check",
                steady,
                vec![(0, First), (5_000, Check), (10_000, Check), (14_000, Idle)],
            ),
            (
                "a key at the very end comes after the stop",
                vec![Key(0), Key(2_000)],
                vec![(0, First), (2_000, Idle), (2_000, First), (4_000, Idle)],
            ),
            (
                "an idle deadline at a check wins over it",
                vec![Key(0), Key(1_500), Key(3_000)],
                vec![(0, First), (5_000, Idle)],
            ),
            (
                "a key at the very check counts for the next one",
                vec![Key(0), Key(1_900), Key(3_800), Key(5_000)],
                vec![(0, First), (5_000, Check), (7_000, Idle)],
            ),
            ("a message stops it at once", vec![Key(0), Stop(700, MessageSent)], vec![(0, First), (700, MessageSent)]),
            (
                "and the next key starts it at once",
                vec![Key(0), Stop(700, Ended), Key(701)],
                vec![(0, First), (700, Ended), (701, First), (2_701, Idle)],
            ),
            ("a stop while idle is nothing", vec![Stop(5, MessageSent), Stop(6, Ended)], vec![]),
        ] {
            assert_eq!(trace(&r, &events), expected, "{name}");
        }
    }

    #[test]
    fn a_check_without_a_key_since_the_last_started_sends_nothing() {
        let r = rules(Mode::Idle, 2_000, 7_000);
        assert_eq!(trace(&r, &[Key(0)]), [(0, First), (7_000, Idle)]);
        assert_eq!(trace(&r, &[Key(0), Key(100)]), [(0, First), (2_000, Check), (7_100, Idle)]);
        assert_eq!(trace(&r, &[Key(0), Key(4_500)]), [(0, First), (6_000, Check), (11_500, Idle)]);
    }

    #[test]
    fn after_shown_mode_follows_the_rules() {
        let r = rules(Mode::AfterShown, 5_000, 2_000);
        let steady: Vec<Event> = (0..=30).map(|i| Key(i * 200)).collect();
        for (name, events, expected) in [
            ("one key", vec![Key(0)], vec![(0, First), (2_000, Dismissed)]),
            (
                "the icon goes off although the user types, and comes back at the check",
                steady,
                vec![
                    (0, First),
                    (2_000, Dismissed),
                    (5_000, Check),
                    (7_000, Dismissed),
                    (10_000, Check),
                    (12_000, Dismissed),
                ],
            ),
            (
                "no key by the check: the next one is a first",
                vec![Key(0), Key(5_000)],
                vec![(0, First), (2_000, Dismissed), (5_000, First), (7_000, Dismissed)],
            ),
            (
                "a message with the icon off sends nothing, and re-arms",
                vec![Key(0), Key(2_500), Stop(3_000, MessageSent), Key(3_100)],
                vec![(0, First), (2_000, Dismissed), (3_100, First), (5_100, Dismissed)],
            ),
        ] {
            assert_eq!(trace(&r, &events), expected, "{name}");
        }
    }

    #[test]
    fn a_dismissal_at_a_check_falls_away_when_the_user_types() {
        let r = rules(Mode::AfterShown, 5_000, 5_000);
        assert_eq!(trace(&r, &[Key(0), Key(4_000)]), [(0, First), (5_000, Check), (10_000, Dismissed)]);
        assert_eq!(trace(&r, &[Key(0)]), [(0, First), (5_000, Dismissed)]);
    }

    #[test]
    fn a_first_keystroke_after_the_burst_meets_an_icon_still_on() {
        let r = rules(Mode::AfterShown, 2_000, 5_000);
        assert_eq!(trace(&r, &[Key(0), Key(3_000)]), [(0, First), (3_000, First), (8_000, Dismissed)]);
    }

    #[test]
    fn max_typing_silences_until_a_pause_or_an_explicit_stop() {
        let mut r = rules(Mode::Idle, 5_000, 2_000);
        r.max_typing = 6_000_000;
        let keys = |from: u64, to: u64| (from..=to).step_by(500).map(Key);
        let held: Vec<Event> = keys(0, 20_000).collect();
        assert_eq!(trace(&r, &held), [(0, First), (5_000, Check), (6_000, MaxTyping)]);

        let paused: Vec<Event> = keys(0, 7_000).chain([Key(8_999), Key(10_999)]).collect();
        let expected = [(0, First), (5_000, Check), (6_000, MaxTyping), (10_999, First), (12_999, Idle)];
        assert_eq!(trace(&r, &paused), expected, "a pause of D, not one less, ends the silence");

        let sent: Vec<Event> = keys(0, 7_000).chain([Stop(7_001, MessageSent), Key(7_002)]).collect();
        let expected = [(0, First), (5_000, Check), (6_000, MaxTyping), (7_002, First), (9_002, Idle)];
        assert_eq!(trace(&r, &sent), expected, "an explicit stop ends it too, and sends nothing");
    }

    #[test]
    fn max_typing_wins_over_check_and_dismissal_but_not_over_idle() {
        let mut r = rules(Mode::Idle, 5_000, 2_000);
        r.max_typing = 5_000_000;
        assert_eq!(trace(&r, &[Key(0), Key(1_500), Key(3_001)]), [(0, First), (5_000, MaxTyping)]);
        assert_eq!(trace(&r, &[Key(0), Key(1_500), Key(3_000)]), [(0, First), (5_000, Idle)]);
        let mut r = rules(Mode::AfterShown, 5_000, 5_000);
        r.max_typing = 5_000_000;
        assert_eq!(trace(&r, &[Key(0), Key(1)]), [(0, First), (5_000, MaxTyping)]);
    }

    #[test]
    fn in_after_shown_a_pause_breaks_what_max_typing_counts() {
        let mut r = rules(Mode::AfterShown, 5_000, 2_000);
        r.max_typing = 8_000_000;
        let broken: Vec<Event> = [0, 1_000, 3_000, 4_500, 6_000, 7_500, 9_000].map(Key).to_vec();
        let expected =
            [(0, First), (2_000, Dismissed), (5_000, Check), (7_000, Dismissed), (10_000, Check), (12_000, Dismissed)];
        assert_eq!(trace(&r, &broken), expected, "counted from 3 s, the limit would fall at 11 s, after a pause");
        let unbroken: Vec<Event> = (0..=9).map(|i| Key(i * 1_000)).collect();
        let expected = [(0, First), (2_000, Dismissed), (5_000, Check), (7_000, Dismissed)];
        assert_eq!(trace(&r, &unbroken), expected, "the icon is off when the limit falls: silence without a stop");
    }

    #[test]
    fn keys_that_are_skipped_would_have_decided_nothing() {
        // Every gap and every rule that could bring a deadline nearer, in both modes.
        for (mode, max_typing, gaps) in [Mode::Idle, Mode::AfterShown]
            .into_iter()
            .flat_map(|mode| [3u64, 7, 20].map(|max| (mode, max)))
            .flat_map(|(mode, max)| (0..4u64.pow(6)).map(move |gaps| (mode, max, gaps)))
        {
            let mut r = rules(mode, 5, 2);
            r.max_typing = max_typing * 1_000;
            // One is told every key, the other those that may decide something.
            let (mut told, mut spared) = (Timing::default(), Timing::default());
            let (mut now, mut last, mut unbroken_until, mut skipped) = (0, 0, Instant::ORIGIN, None);
            for place in 0..6 {
                now += gaps / 4u64.pow(place) % 4;
                let at = Instant::from_millis(now);
                let what = format!("{mode:?} {max_typing} {gaps}");
                if at < unbroken_until && now - last < 2 {
                    assert_eq!((told.step(&r, at), told.keystroke(&r, at, at)), (None, None), "{what}");
                    skipped = Some(at);
                } else {
                    if let Some(until) = skipped.take() {
                        spared.keystrokes_skipped(until);
                    }
                    let timers = |timing: &mut Timing| std::iter::from_fn(|| timing.step(&r, at)).collect::<Vec<_>>();
                    assert_eq!(timers(&mut told), timers(&mut spared), "{what}");
                    assert_eq!(told.keystroke(&r, at, at), spared.keystroke(&r, at, at), "{what}");
                    assert_eq!(told, spared, "{what}");
                    unbroken_until = spared.unbroken_until(&r);
                }
                last = now;
            }
        }
    }
}
