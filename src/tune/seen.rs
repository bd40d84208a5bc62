//! How long the icon was on, and how long of that while the user was composing: what a setting costs.

use super::play::Arrival;
use super::sums::Sums;
use super::timeline::{Interval, Timeline};
use crate::model::Indicator;

/// How long the icon was on, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) on: f64,
    pub(super) on_composing: f64,
}

impl Seen {
    pub(super) fn of_sums(sums: &Sums) -> Self {
        Self { on: sums.on, on_composing: sums.on_composing }
    }

    /// What [`Sums::add_sight`] counts of the icon's time, and nothing else, with a receiver that drops an icon `ttl` after its
    /// latest TypingStarted.
    pub(super) fn of_arrivals(composing: &[Interval], end: u64, arrivals: &[Arrival], ttl: u64) -> Self {
        let (mut on, mut on_composing) = (0, 0);
        let mut intervals = composing.iter().filter(|interval| interval.counts).peekable();
        let mut shown = |from: u64, to: u64| {
            let to = to.min(from.saturating_add(ttl)).min(end);
            if from >= to {
                return;
            }
            on += to - from;
            while intervals.next_if(|interval| interval.to <= from).is_some() {}
            // The next icon may be within the last of these intervals, too.
            while let Some(interval) = intervals.peek().filter(|interval| interval.from < to) {
                on_composing += interval.to.min(to) - interval.from.max(from);
                if interval.to >= to {
                    break;
                }
                intervals.next();
            }
        };
        let mut latest = None;
        for arrival in arrivals {
            if let Some(from) = latest {
                shown(from, arrival.at);
            }
            latest = (arrival.reason.indicator() == Indicator::TypingStarted).then_some(arrival.at);
        }
        if let Some(from) = latest {
            shown(from, u64::MAX);
        }
        Self { on: on as f64, on_composing: on_composing as f64 }
    }

    /// What is left of it with a receiver that drops an icon `ttl` after its latest TypingStarted: as [`Seen::of_arrivals`],
    /// where few icons get so old.
    pub(super) fn without_dropped(self, timeline: &Timeline, arrivals: &[Arrival], ttl: u64) -> Self {
        let (mut on, mut on_composing) = (0, 0);
        for (number, arrival) in arrivals.iter().enumerate() {
            let to = arrivals.get(number + 1).map_or(u64::MAX, |next| next.at).min(timeline.end);
            if to.saturating_sub(arrival.at) <= ttl || arrival.reason.indicator() != Indicator::TypingStarted {
                continue;
            }
            let from = arrival.at + ttl;
            on += to - from;
            let first = timeline.composing.partition_point(|interval| interval.to <= from);
            let within = timeline.composing[first..].iter().take_while(|interval| interval.from < to);
            on_composing += within
                .filter(|interval| interval.counts)
                .map(|interval| interval.to.min(to) - interval.from.max(from))
                .sum::<u64>();
        }
        Self { on: self.on - on as f64, on_composing: self.on_composing - on_composing as f64 }
    }

    /// What `add` adds to `sums`.
    pub(super) fn added(sums: &mut Sums, add: impl FnOnce(&mut Sums)) -> Self {
        let (on, on_composing) = (sums.on, sums.on_composing);
        add(sums);
        Self { on: sums.on - on, on_composing: sums.on_composing - on_composing }
    }

    /// What is missed of `composing`, and what is falsely shown by its weight, in milliseconds.
    pub(super) fn cost(&self, composing: f64, false_cost: f64) -> f64 {
        composing - self.on_composing + false_cost * (self.on - self.on_composing)
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.on += other.on;
        self.on_composing += other.on_composing;
    }
}

impl UserShare {
    /// What is missed, and falsely shown by its weight: divided by the composing time, in seconds for each minute.
    pub(super) fn cost(&self, false_cost: f64) -> f64 {
        self.seen.cost(self.composing, false_cost) * SECONDS_PER_MINUTE
    }
}

const SECONDS_PER_MINUTE: f64 = 60.0;

/// What one user gets from one setting. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct UserShare {
    pub(super) composing: f64,
    pub(super) requests: f64,
    pub(super) seen: Seen,
}
