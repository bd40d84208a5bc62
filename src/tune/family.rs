//! Settings that do most things alike, played at once.
//!
//! - In `idle` a check refreshes the icon and changes nothing else: when it is on depends on the dismissal alone.
//! - In `after_shown` a dismissal hides the icon and changes nothing else: when a TypingStarted is sent depends on the check
//!   alone, as long as no typing is unbroken for `max_typing`.
//!
//! So the state machine plays each conversation once for a family of settings, with a check or a dismissal that never
//! comes; what the missing timer would have done under each of them is worked out here. That this is what the state machine
//! itself does with every setting is what the tests below show.

use super::plan::{Plan, Setting};
use super::play::{Arrival, Play, play};
use super::timeline::{RUN_GAP_MILLIS, Run, Timeline};
use crate::engine::policy::{Mode, Rules};
use crate::model::{Indicator, Reason};

/// What the settings of a family have in common: the mode and the interval that decides most.
pub(super) fn kin(setting: &Setting) -> (Mode, u64) {
    match setting.mode {
        Mode::Idle => (setting.mode, setting.dismiss),
        Mode::AfterShown => (setting.mode, setting.check),
    }
}

/// `settings` in parts of one family each, of at most `together` settings.
pub(super) fn families(settings: &[Setting], together: usize) -> Vec<Vec<Setting>> {
    let mut sorted = settings.to_vec();
    sorted.sort_by_key(kin);
    let families = sorted.chunk_by(|one, other| kin(one) == kin(other));
    families.flat_map(|family| family.chunks(together.max(1))).map(<[Setting]>::to_vec).collect()
}

/// Settings of one family, and what they have in common of one conversation.
pub(super) struct Family {
    /// The rules of the play that they have in common.
    rules: Rules,
    /// The longest dismissal of them, in microseconds.
    dismiss_max: u64,
    /// The least `max_typing` of any of them, in microseconds.
    max_typing: u64,
    away: u64,
    /// What is sent if the other interval never passes. In `after_shown` an icon that nothing else hides is dismissed in
    /// the end, which counts for nothing.
    pub(super) common: Play,
    /// In `idle` the run that each icon begins with, if the refreshes can be worked out from runs.
    places: Vec<u32>,
    /// Whether what each setting does can be worked out from what they have in common.
    pub(super) is_common: bool,
}

impl Family {
    /// The family of `settings`, which has at least one.
    pub(super) fn new(settings: &[Setting], plan: &Plan) -> Self {
        let all = || settings.iter().map(|setting| setting.rules(plan.max_typing));
        let mut rules = all().next().unwrap_or_default();
        let dismiss_max = all().map(|rules| rules.dismiss).max().unwrap_or_default();
        let max_typing = all().map(|rules| rules.max_typing).min().unwrap_or_default();
        match rules.mode {
            Mode::Idle => rules.check = NEVER_MICROS,
            // Typing that is unbroken for as long is left to the state machine.
            Mode::AfterShown => (rules.dismiss, rules.max_typing) = (NEVER_MICROS, 2 * NEVER_MICROS),
        }
        let (common, places) = (Play::default(), Vec::new());
        Self { rules, dismiss_max, max_typing, away: plan.truth.away, common, places, is_common: false }
    }

    /// Plays what the settings have in common of `timeline`.
    pub(super) fn play(&mut self, timeline: &Timeline) {
        self.is_common = self.rules.mode == Mode::Idle || !timeline.may_be_unbroken(self.dismiss_max, self.max_typing);
        if !self.is_common {
            return;
        }
        play(timeline, &self.rules, self.away, &mut self.common);
        self.places.clear();
        if self.rules.mode == Mode::Idle && self.rules.dismiss >= 1_000 * RUN_GAP_MILLIS {
            // An icon comes on after a pause, or after something that is no key: with a run's first key.
            let mut runs = (0..).zip(&timeline.runs);
            for first in self.common.arrivals.iter().step_by(2) {
                let begins = |run: &Run| run.is_of_keys() && run.first == first.at * 1_000;
                self.places.extend(runs.by_ref().find(|(_, run)| begins(run)).map(|(place, _)| place));
            }
        }
    }

    /// What came of `timeline`, which was played last, under `setting` of this family.
    pub(super) fn play_own(&self, timeline: &Timeline, setting: &Setting, rules: &Rules, result: &mut Play) {
        match setting.mode {
            _ if !self.is_common => play(timeline, rules, self.away, result),
            Mode::AfterShown => self.dismiss(timeline, setting.dismiss, result),
            Mode::Idle if setting.check < RUN_GAP_MILLIS || self.places.len() * 2 != self.common.arrivals.len() => {
                play(timeline, rules, self.away, result);
            }
            Mode::Idle => self.refresh(timeline, setting.check, result),
        }
    }

    /// Adds the refreshes of an `idle` setting: at each check before the icon's end, if there was a key since the last
    /// TypingStarted. A check in the very instant of a timer that hides the icon comes too late, one in the instant of a
    /// message does not.
    fn refresh(&self, timeline: &Timeline, check: u64, result: &mut Play) {
        let runs = &timeline.runs[..];
        result.arrivals.clear();
        for (icon, place) in self.common.arrivals.chunks_exact(2).zip(&self.places) {
            let [first, stop] = icon else { continue };
            result.arrivals.push(*first);
            let by_timer = matches!(stop.reason, Reason::Idle | Reason::MaxTyping);
            let end = stop.at + u64::from(!by_timer);
            let (mut latest, mut at, mut place) = (first.at, first.at + check, *place as usize);
            while at < end {
                while runs.get(place + 1).is_some_and(|next| next.first < at * 1_000) {
                    place += 1;
                }
                // Within a run the last key is less than a check ago.
                let last = runs[place].last() / 1_000;
                if last >= at || last > latest || (last == latest && (latest > first.at || is_doubled(timeline, place))) {
                    result.arrivals.push(Arrival { at, reason: Reason::Check });
                    latest = at;
                }
                at += check;
            }
            result.arrivals.push(*stop);
        }
        let Play { stopped, timer_stops, wrong_stops, .. } = self.common;
        let started = result.arrivals.len() as u64 - stopped;
        *result = Play { arrivals: std::mem::take(&mut result.arrivals), started, stopped, timer_stops, wrong_stops };
    }

    /// Adds the dismissals of an `after_shown` setting: `dismiss` after each TypingStarted, if nothing comes before. In the
    /// same instant a check does, a key and a message don't.
    fn dismiss(&self, timeline: &Timeline, dismiss: u64, result: &mut Play) {
        let mut arrivals = std::mem::take(&mut result.arrivals);
        arrivals.clear();
        let mut own = Play { started: self.common.started, ..Play::default() };
        let mut place = 0;
        let all = &self.common.arrivals;
        for (number, start) in all.iter().enumerate() {
            if start.reason.indicator() != Indicator::TypingStarted {
                continue;
            }
            arrivals.push(*start);
            let off = start.at + dismiss;
            let next = all.get(number + 1).filter(|next| next.reason != Reason::Dismissed);
            match next {
                Some(next) if next.at < off || (next.at == off && next.reason == Reason::Check) => {
                    if next.reason.indicator() == Indicator::TypingStopped {
                        own.stopped += 1;
                        arrivals.push(*next);
                    }
                }
                _ => {
                    own.stopped += 1;
                    own.timer_stops += 1;
                    own.wrong_stops += u64::from(timeline.is_key_next(off, self.away, &mut place));
                    arrivals.push(Arrival { at: off, reason: Reason::Dismissed });
                }
            }
        }
        *result = Play { arrivals, ..own };
    }
}

/// Whether the run at `place` begins with two keys in the same instant.
fn is_doubled(timeline: &Timeline, place: usize) -> bool {
    let start = timeline.runs[place].start();
    let same = |event: &super::timeline::Event| event.is_key() && event.at() == timeline.events[start].at();
    timeline.events.get(start + 1).is_some_and(same)
}

/// An interval that never passes, far enough from the largest number to be added to any time, in microseconds.
const NEVER_MICROS: u64 = u64::MAX / 4;
