//! How many of something there were in the last second: a ring of counts, each of a tenth of a second.

use std::time::Duration;

use crate::model::Instant;

/// A tenth of a second: what the count may be wrong by.
const STEP: Duration = Duration::from_millis(100);
/// A second's worth: nine whole ones, and the one that has only begun.
const STEPS: usize = 10;

/// The ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    counts: [u64; STEPS],
    /// The number of the step that was counted in last, from the clock's origin.
    step: u64,
}

impl Recent {
    pub(super) fn add(&mut self, now: Instant) {
        let step = step_of(now);
        if step > self.step {
            // After a long silence these are all places.
            for passed in (self.step + 1..=step).take(STEPS) {
                self.counts[place(passed)] = 0;
            }
            self.step = step;
        }
        self.counts[place(self.step)] += 1;
    }

    pub(super) fn count(&self, now: Instant) -> u64 {
        let passed = step_of(now).saturating_sub(self.step);
        let left = (STEPS as u64).saturating_sub(passed);
        (0..left).filter_map(|back| self.step.checked_sub(back)).map(|step| self.counts[place(step)]).sum()
    }
}

fn step_of(now: Instant) -> u64 {
    now.as_micros() / STEP.as_micros() as u64
}

fn place(step: u64) -> usize {
    (step % STEPS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_second_is_forgotten() {
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        let mut recent = Recent::default();
        assert_eq!(recent.count(at(0)), 0);
        for millis in (0..5_000).step_by(10) {
            recent.add(at(millis));
            let count = recent.count(at(millis));
            let true_count = (millis / 10 + 1).min(100);
            assert!(count <= true_count && count + 11 >= true_count, "{count} of {true_count} at {millis}");
        }
        assert_eq!(recent.count(at(5_500)), 40, "of the last half second, less what its first step lacks");
        assert_eq!(recent.count(at(6_100)), 0);
        recent.add(at(3_600_000));
        assert_eq!(recent.count(at(3_600_000)), 1, "nothing comes back after a long silence");
        recent.add(at(3_599_000));
        assert_eq!(recent.count(at(3_600_000)), 2, "a clock that goes back loses nothing");
    }
}
