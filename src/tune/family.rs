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

    /// Whether a receiver that keeps icons shows the same with all of them.
    pub(super) fn is_shown_alike(&self) -> bool {
        self.rules.mode == Mode::Idle
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
                if last >= at || last > latest || (last == latest && (latest > first.at || is_doubled(timeline, place)))
                {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tune::icon::Shown;
    use crate::tune::timeline::{Event, Happening};

    /// Pauses about those that decide something, and short ones between them.
    const GAPS_MILLIS: [u64; 12] = [0, 1, 120, 250, 300, 499, 500, 501, 999, 1_000, 1_500, 2_000];
    const INTERVALS_MILLIS: [u64; 7] = [300, 499, 500, 1_000, 1_500, 2_000, 5_000];

    fn timeline(dice: &mut fastrand::Rng) -> Timeline {
        let mut timeline = Timeline::new(0, 0, 0);
        // Some report typing that lasts, some hardly ever pause.
        let (lasts, gaps) = (dice.u8(..8) == 0, &GAPS_MILLIS[..if dice.bool() { 12 } else { 5 }]);
        let mut at = dice.u64(..3_000);
        for _ in 0..dice.usize(1..40) {
            timeline.events.push(match dice.u8(..14) {
                0 => Event::new(at, Happening::Sent),
                1 => Event::new(at, [Happening::Cleared, Happening::Closed][dice.usize(..2)]),
                _ => Event::key(at, if lasts { dice.u16(..3_000) } else { 0 }),
            });
            at += gaps[dice.usize(..gaps.len())];
        }
        timeline.end = at + dice.u64(..3) * 1_000;
        timeline.find_runs();
        timeline
    }

    fn plan(dice: &mut fastrand::Rng) -> Plan {
        let away = [200, 700, 30_000][dice.usize(..3)];
        let max_typing = Duration::from_millis([3_000, 7_500, 300_000][dice.usize(..3)]);
        let plan = Plan::new(&Rules::default());
        Plan { max_typing, truth: crate::tune::truth::Truth { away, ..plan.truth }, ..plan }
    }

    #[test]
    fn each_setting_of_a_family_does_what_it_does_alone() {
        let mut dice = fastrand::Rng::with_seed(16);
        let settings: Vec<Setting> = [Mode::Idle, Mode::AfterShown]
            .into_iter()
            .flat_map(|mode| INTERVALS_MILLIS.map(|check| (mode, check)))
            .flat_map(|(mode, check)| INTERVALS_MILLIS.map(|dismiss| Setting { mode, check, dismiss }))
            .collect();
        let (mut own, mut alone, mut shared) = (Play::default(), Play::default(), 0);
        for round in 0..2_000 {
            let (plan, timeline) = (plan(&mut dice), timeline(&mut dice));
            for block in families(&settings, 16) {
                let mut family = Family::new(&block, &plan);
                family.play(&timeline);
                shared += u32::from(family.is_common);
                for setting in block {
                    let rules = setting.rules(plan.max_typing);
                    family.play_own(&timeline, &setting, &rules, &mut own);
                    play(&timeline, &rules, plan.truth.away, &mut alone);
                    assert_eq!(own, alone, "round {round}: {setting} of {timeline:?} and {plan:?}");
                }
            }
        }
        assert!(shared > 20_000, "only {shared} of 28000 have something in common");
    }

    #[test]
    fn an_icon_dropped_before_its_dismissal_is_seen_alike() {
        let mut dice = fastrand::Rng::with_seed(17);
        let (mut own, mut alike, mut alone) = (Play::default(), Shown::default(), Shown::default());
        for round in 0..2_000 {
            let (plan, timeline) = (plan(&mut dice), timeline(&mut dice));
            let block = INTERVALS_MILLIS.map(|dismiss| Setting { mode: Mode::AfterShown, check: 1_000, dismiss });
            let mut family = Family::new(&block, &plan);
            family.play(&timeline);
            for (setting, ttl) in block.iter().flat_map(|setting| INTERVALS_MILLIS.map(|ttl| (setting, ttl))) {
                family.play_own(&timeline, setting, &setting.rules(plan.max_typing), &mut own);
                alone.follow(&own.arrivals, Some(ttl), timeline.end);
                match ttl < setting.dismiss {
                    _ if !family.is_common => continue,
                    true => alike.follow(&family.common.arrivals, Some(ttl), timeline.end),
                    false => alike.follow(&own.arrivals, None, timeline.end),
                }
                assert_eq!(alike.spans, alone.spans, "round {round}: {setting} and {ttl} ms of {timeline:?}");
            }
        }
    }
}
