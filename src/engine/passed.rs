//! Requests that others send to the same upstream beside ours, and how many of the rate are kept for them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Instant;

/// The window of the rate, and a millisecond for the difference between our clock and the upstream's.
pub(super) const WINDOW: Duration = Duration::from_millis(1_001);
/// For so long, and until it has gone by again, the most that have passed in one window are expected once more.
const PEAK_PERIOD: Duration = Duration::from_secs(5);
/// While only requests without an answer are counted, it is looked this often whether they have one.
const LOOK_SPACING: Duration = Duration::from_millis(50);

/// Counts what passes. It is never held back: what is ours gives way.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// When the requests of the last window were answered, no more of them than the rate has room for.
    answered: VecDeque<Instant>,
    in_flight: usize,
    /// The most that have counted at once in this period, and in the one before.
    peak: usize,
    peak_before: usize,
    period_end: Instant,
}

impl Passed {
    /// So many are in flight now, and so many have been answered since the last call. Of more than `max` answers none but
    /// the last are kept: there is room for nothing beside them.
    pub(super) fn on_passed(&mut self, now: Instant, in_flight: usize, answered: usize, max: usize) {
        self.in_flight = in_flight;
        self.answered.extend(std::iter::repeat_n(now, answered.min(max)));
        let excess = self.answered.len().saturating_sub(max);
        self.answered.drain(..excess);
        self.look(now);
    }

    /// How many have left, since the last time, if `in_flight` are in flight now and `answered` have come back meanwhile.
    pub(super) const fn begun(&self, in_flight: usize, answered: usize) -> usize {
        (in_flight + answered).saturating_sub(self.in_flight)
    }

    /// Requests that are in flight, or were answered within the window.
    pub(super) fn counted(&mut self, now: Instant) -> usize {
        self.look(now);
        self.in_flight + self.answered.len()
    }

    /// How many of `max` requests a window are kept for them: those that count, and, where more have passed at once of
    /// late, as many again and one; but half of what is left is ours.
    pub(super) fn kept(&mut self, now: Instant, max: usize) -> usize {
        let counted = self.counted(now);
        let peak = self.peak.max(self.peak_before);
        // And one: those that come evenly are now one less, now one more.
        let expected = if peak == 0 { 0 } else { peak + 1 - counted };
        counted + expected.min(max.saturating_sub(counted) / 2)
    }

    /// When fewer than [`Passed::kept`] at `now` may be kept, if nothing else passes until then.
    pub(super) fn eases_at(&self, now: Instant) -> Instant {
        let leaves = match self.answered.front() {
            Some(at) => *at + WINDOW,
            None if self.in_flight > 0 => now + LOOK_SPACING,
            None => Instant::NEVER,
        };
        leaves.min(self.period_end)
    }

    fn look(&mut self, now: Instant) {
        while self.answered.front().is_some_and(|at| *at + WINDOW <= now) {
            self.answered.pop_front();
        }
        if self.period_end <= now {
            self.peak_before = if now < self.period_end + PEAK_PERIOD { self.peak } else { 0 };
            self.peak = 0;
            self.period_end = now + PEAK_PERIOD;
        }
        self.peak = self.peak.max(self.in_flight + self.answered.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn a_request_counts_until_a_window_after_its_answer() {
        let mut passed = Passed::default();
        let steps = [
            // At, in flight, answered since the last time; counted then.
            (0, 3, 0, 3),
            (5_000, 1, 2, 3),
            (6_000, 1, 0, 3),
            (6_001, 1, 0, 1),
            (6_001, 0, 1, 1),
            (7_001, 0, 0, 1),
            (7_002, 0, 0, 0),
        ];
        for (millis, in_flight, answered, counted) in steps {
            passed.on_passed(at(millis), in_flight, answered, 100);
            assert_eq!(passed.counted(at(millis)), counted, "at {millis}");
        }
    }

    #[test]
    fn room_is_kept_for_as_many_as_of_late_and_half_is_left() {
        let mut passed = Passed::default();
        assert_eq!(passed.kept(at(0), 100), 0);
        passed.on_passed(at(1_000), 0, 30, 100);
        assert_eq!(passed.kept(at(1_000), 100), 31);
        // They have left the window, and may come again.
        assert_eq!((passed.counted(at(2_001)), passed.kept(at(2_001), 100)), (0, 31));
        assert_eq!(passed.kept(at(2_001), 40), 20, "half of what is left is ours");
        assert_eq!(passed.kept(at(9_000), 100), 31, "the period before this one counts");
        assert_eq!(passed.kept(at(14_000), 100), 0, "they are forgotten");
        // More than there is room for.
        passed.on_passed(at(15_000), 7, 1_000, 100);
        assert_eq!((passed.kept(at(15_000), 100), passed.answered.len()), (107, 100));
    }

    #[test]
    fn less_is_kept_when_it_says_so() {
        let mut passed = Passed::default();
        passed.on_passed(at(0), 0, 3, 10);
        passed.on_passed(at(400), 1, 2, 10);
        let mut now = at(400);
        let mut next = |in_flight| {
            now = passed.eases_at(now);
            passed.on_passed(now, in_flight, 0, 10);
            (now, passed.kept(now, 10))
        };
        assert_eq!([next(1), next(1)], [(at(1_001), 6), (at(1_401), 5)]);
        assert_eq!([next(1), next(0)], [(at(1_451), 5), (at(1_501), 5)], "nobody tells of an answer");
        assert_eq!([next(0), next(0)], [(at(5_000), 5), (at(10_000), 0)], "two periods");
    }
}
