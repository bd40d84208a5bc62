//! What one timing would do in one conversation, counted as it happens: the measures of [`tune`](crate::tune), with its
//! definitions, without the trace.
//!
//! The daemon's own state machine is stepped by the same signals. Nothing of it is sent.

use super::{AWAY_MICROS, Counts, TimingCounts};
use crate::engine::policy::Rules;
use crate::engine::timing::Timing;
use crate::model::{Indicator, Instant, Reason};
use crate::observe::typing::End;

/// The conversation as every timing sees it. Times in microseconds.
#[derive(Debug)]
pub(in crate::observe) struct Trials {
    /// The channel's figures that it counts for.
    pub(super) generation: u32,
    /// A composing interval is under way.
    composing: bool,
    /// Until when the composing has been counted.
    counted: u64,
    /// When the typing that the keys so far have reported ends.
    until: u64,
    /// Keys have come that the timings have not been told.
    skipped: bool,
    each: Box<[Trial]>,
}

/// The conversation as one timing would have it.
#[derive(Clone, Debug, Default)]
struct Trial {
    timing: Timing,
    /// How long the icon was on since the composing was last counted, up to `seen`.
    on: u64,
    /// While the icon is on: until when it has been added to `on`.
    seen: u64,
    /// The present or last time that the icon is or was on.
    span: (u64, u64),
    /// That is among `spans`.
    span_counted: bool,
    /// Times that the icon was on within the present composing interval.
    spans: u32,
    /// Further ones, of which it is not known yet whether the user was composing.
    spans_open: u32,
}

impl Trials {
    pub(super) fn new(generation: u32, timings: usize) -> Self {
        let each = vec![Trial::default(); timings].into();
        Self { generation, composing: false, counted: 0, until: 0, skipped: false, each }
    }

    /// Keys have come up to `last_key`, of which the timings need not have been told: it moved the end of the typing, and
    /// nothing else.
    pub(super) fn skip_to(&mut self, last_key: u64) {
        self.skipped |= last_key > self.until;
        self.until = self.until.max(last_key);
    }

    /// A keystroke at `now` whose typing goes on until `until`; `goes_on`: in the composing interval that is under way. Returns
    /// until when no timing decides anything, as long as keys come without a pause.
    pub(super) fn key(&mut self, now: u64, until: u64, goes_on: bool, rules: &[Rules], counts: &mut Counts) -> u64 {
        if self.composing && goes_on {
            self.count(now, now, true, rules, counts);
            self.until = self.until.max(until);
        } else {
            self.close(now, End::Abandoned, true, rules, counts);
            (self.composing, self.counted, self.until) = (true, now, until);
        }
        let mut unbroken_until = u64::MAX;
        for (trial, (rules, counts)) in self.each.iter_mut().zip(rules.iter().zip(&mut counts.each)) {
            let (now, until) = (Instant::from_micros(now), Instant::from_micros(until));
            if let Some(reason) = trial.timing.keystroke(rules, now, until) {
                trial.decide(self.counted, now, reason, counts);
            }
            unbroken_until = unbroken_until.min(trial.timing.unbroken_until(rules).as_micros());
        }
        unbroken_until
    }

    /// An explicit stop at `now`, after which nothing is left to count.
    pub(super) fn stop(mut self, now: u64, end: End, rules: &[Rules], counts: &mut Counts) {
        self.close(now, end, false, rules, counts);
        for (trial, counts) in self.each.iter_mut().zip(&mut counts.each) {
            counts.stopped += u64::from(trial.timing.stop(Reason::Stopped).is_some());
        }
    }

    /// Whether nothing is left to count if no signal has come until `now`: no icon is on, and no key can make a stop one
    /// that came too early.
    pub(super) fn is_over(&self, now: u64, away: u64, rules: &[Rules]) -> bool {
        self.each.iter().zip(rules).all(|(trial, rules)| {
            let mut timing = trial.timing;
            if self.skipped {
                timing.keystrokes_skipped(Instant::from_micros(self.until));
            }
            let mut stopped = 0;
            while let Some((at, _)) = timing.step_late(rules, Instant::from_micros(now)) {
                stopped = at.as_micros();
            }
            timing.is_idle() && now.saturating_sub(stopped) > away
        })
    }

    /// Counts what is left. The user has not typed for long.
    pub(super) fn finish(&mut self, now: u64, rules: &[Rules], counts: &mut Counts) {
        self.close(now, End::Abandoned, false, rules, counts);
    }

    /// Runs all timings up to `now`, the time of a signal, and ends the composing interval, if one is under way.
    fn close(&mut self, now: u64, end: End, key: bool, rules: &[Rules], counts: &mut Counts) {
        let to = match end {
            End::Abandoned | End::Cleared | End::Ended if self.composing => self.until.min(now),
            _ => now,
        };
        self.count(to, now, key, rules, counts);
        for (trial, counts) in self.each.iter_mut().zip(&mut counts.each) {
            if trial.timing.icon() {
                trial.on += now - trial.seen;
                trial.seen = now;
            }
            counts.shown_falsely_micros += std::mem::take(&mut trial.on);
            counts.flickers += u64::from(trial.spans.saturating_sub(1));
            (trial.spans, trial.spans_open, trial.span_counted) = (0, 0, false);
        }
        self.composing = false;
    }

    /// Runs all timings up to `now`, the time of a signal, and counts the composing up to `to`, which is not later.
    fn count(&mut self, to: u64, now: u64, key: bool, rules: &[Rules], counts: &mut Counts) {
        if self.composing {
            counts.composing_micros += to - self.counted;
        }
        let skipped = std::mem::take(&mut self.skipped);
        for (trial, (rules, counts)) in self.each.iter_mut().zip(rules.iter().zip(&mut counts.each)) {
            if skipped {
                trial.timing.keystrokes_skipped(Instant::from_micros(self.until));
            }
            let key = key.then_some(now);
            if self.composing {
                // What falls due at that very instant shows or hides nothing before it.
                trial.run(self.counted, to.saturating_sub(1), key, rules, counts);
                trial.count(self.counted, to, counts);
            }
            trial.run(to, now, key, rules, counts);
        }
        self.counted = to;
    }
}

impl Trial {
    /// Runs the timers that are due by `until`. `key`: when a key comes as the next signal.
    fn run(&mut self, counted: u64, until: u64, key: Option<u64>, rules: &Rules, counts: &mut TimingCounts) {
        while let Some((at, reason)) = self.timing.step(rules, Instant::from_micros(until)) {
            if matches!(reason, Reason::Idle | Reason::Dismissed | Reason::MaxTyping) {
                counts.timer_stops += 1;
                let resumed = key.is_some_and(|key| key - at.as_micros() <= AWAY_MICROS);
                counts.wrong_stops += u64::from(resumed);
            }
            self.decide(counted, at, reason, counts);
        }
    }

    /// The icon goes on, stays on, or goes off.
    fn decide(&mut self, counted: u64, at: Instant, reason: Reason, counts: &mut TimingCounts) {
        let at = at.as_micros();
        match reason.indicator() {
            Indicator::TypingStarted => {
                counts.started += 1;
                if self.is_on() {
                    return;
                }
                let (from, to) = self.span;
                // Two that touch are one.
                if to != at || from == to {
                    self.spans_open += u32::from(!self.span_counted && to > from.max(counted));
                    self.span_counted = false;
                    self.span.0 = at;
                }
                self.span.1 = ON;
                self.seen = at;
            }
            Indicator::TypingStopped => {
                counts.stopped += 1;
                self.on += at - self.seen;
                self.span.1 = at;
            }
        }
    }

    const fn is_on(&self) -> bool {
        self.span.1 == ON
    }

    /// The user was composing from `from` to `to`.
    fn count(&mut self, from: u64, to: u64, counts: &mut TimingCounts) {
        if self.is_on() && to > self.seen {
            self.on += to - self.seen;
            self.seen = to;
        }
        counts.shown_micros += std::mem::take(&mut self.on);
        self.spans += std::mem::take(&mut self.spans_open);
        if !self.span_counted && self.span.0.max(from) < self.span.1.min(to) {
            self.spans += 1;
            self.span_counted = true;
        }
    }
}

/// The end of a span that has not ended.
const ON: u64 = u64::MAX;
