//! Requests that others send to the same upstream beside ours, and how much of the rate is kept for them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Instant;

/// The window of the rate, and a millisecond for the difference between our clock and the upstream's.
pub(super) const WINDOW: Duration = Duration::from_millis(1_001);
/// For so long, and until it has gone by again, the most that have passed in one window are expected once more.
const PEAK_PERIOD: Duration = Duration::from_secs(5);

/// Counts what passes. It is never held back: what is ours gives way.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// When the requests of the last window left, no more of them than the rate has room for. An answer says nothing: one
    /// that never comes must not keep room for ever.
    left: VecDeque<Instant>,
    /// The most that have counted at once in this period, and in the one before.
    peak: usize,
    peak_before: usize,
    period_end: Instant,
}

impl Passed {
    /// So many have left since the last call. Of more than `max` none but the last are kept: there is room for nothing beside
    /// them.
    pub(super) fn on_passed(&mut self, now: Instant, count: usize, max: usize) {
        self.left.extend(std::iter::repeat_n(now, count.min(max)));
        let excess = self.left.len().saturating_sub(max);
        self.left.drain(..excess);
        self.look(now);
    }

    /// Requests that left within the window.
    pub(super) fn counted(&mut self, now: Instant) -> usize {
        self.look(now);
        self.left.len()
    }

    /// How many of `max` requests a window are kept for them: those that count, and, where more have passed at once of
    /// late, as many again and one; but half of what is left is ours, and one in any case: what is owed must leave.
    pub(super) fn kept(&mut self, now: Instant, max: usize) -> usize {
        let counted = self.counted(now);
        let peak = self.peak.max(self.peak_before);
        // And one: those that come evenly are now one less, now one more.
        let expected = if peak == 0 { 0 } else { peak + 1 - counted };
        (counted + expected.min(max.saturating_sub(counted) / 2)).min(max.saturating_sub(1))
    }

    /// When fewer than [`Passed::kept`] at `now` may be kept, if nothing else passes until then.
    pub(super) fn eases_at(&self) -> Instant {
        self.left.front().map_or(self.period_end, |at| (*at + WINDOW).min(self.period_end))
    }

    fn look(&mut self, now: Instant) {
        while self.left.front().is_some_and(|at| *at + WINDOW <= now) {
            self.left.pop_front();
        }
        if self.period_end <= now {
            self.peak_before = if now < self.period_end + PEAK_PERIOD { self.peak } else { 0 };
            self.peak = 0;
            self.period_end = now + PEAK_PERIOD;
        }
        self.peak = self.peak.max(self.left.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn room_is_kept_for_as_many_as_of_late_and_half_is_left() {
        let mut passed = Passed::default();
        assert_eq!(passed.kept(at(0), 100), 0);
        passed.on_passed(at(1_000), 30, 100);
        assert_eq!((passed.counted(at(1_000)), passed.kept(at(1_000), 100)), (30, 31));
        // They have left the window, and may come again.
        assert_eq!((passed.counted(at(2_000)), passed.counted(at(2_001))), (30, 0));
        assert_eq!((passed.kept(at(2_001), 100), passed.kept(at(2_001), 40)), (31, 20), "half of what is left is ours");
        assert_eq!(passed.kept(at(9_000), 100), 31, "the period before this one counts");
        assert_eq!(passed.kept(at(14_000), 100), 0, "they are forgotten");
        // More than there is room for.
        passed.on_passed(at(15_000), 1_000, 100);
        assert_eq!((passed.kept(at(15_000), 100), passed.left.len()), (99, 100));
        passed.on_passed(at(15_000), 1, 1);
        assert_eq!((passed.kept(at(15_000), 1), passed.left.len()), (0, 1), "one a window is ours");
    }

    #[test]
    fn less_is_kept_when_it_says_so() {
        let mut passed = Passed::default();
        passed.on_passed(at(0), 3, 10);
        passed.on_passed(at(400), 2, 10);
        let mut next = || {
            let now = passed.eases_at();
            (now, passed.kept(now, 10))
        };
        assert_eq!([next(), next()], [(at(1_001), 6), (at(1_401), 5)]);
        assert_eq!([next(), next()], [(at(5_000), 5), (at(10_000), 0)], "two periods");
    }
}
