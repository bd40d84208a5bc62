//! How long the latest requests of a kind took to be acknowledged: what a wait for one must allow for.

use std::time::Duration;

/// So many are kept: enough that one slow answer decides nothing.
const TRIPS: usize = 32;
/// Of fewer nothing is said.
const TRIPS_MIN: usize = 8;
/// The wait is a multiple of this.
const STEP: Duration = Duration::from_millis(50);
/// Nine in ten took no longer than the usual maximum.
const SHARE_PERCENT: usize = 90;

/// The latest round trips.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trips {
    micros: [u32; TRIPS],
    seen: u64,
}

impl Trips {
    pub(super) fn add(&mut self, trip: Duration) {
        self.micros[(self.seen % TRIPS as u64) as usize] = u32::try_from(trip.as_micros()).unwrap_or(u32::MAX);
        self.seen += 1;
    }

    /// How long to wait for the next one, in steps of 50 ms: a quarter more than nine in ten of the latest took; `None`
    /// while there are too few.
    pub fn wait_needed(&self) -> Option<Duration> {
        let steps = (self.usual_max()? * 5 / 4).as_micros().div_ceil(STEP.as_micros());
        Some(STEP * u32::try_from(steps).unwrap_or(u32::MAX))
    }

    fn usual_max(&self) -> Option<Duration> {
        let seen = usize::try_from(self.seen).map_or(TRIPS, |seen| seen.min(TRIPS));
        if seen < TRIPS_MIN {
            return None;
        }
        let mut sorted = self.micros;
        sorted[..seen].sort_unstable();
        Some(Duration::from_micros(u64::from(sorted[(seen * SHARE_PERCENT).div_ceil(100) - 1])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_ten_of_the_latest_took_no_longer() {
        let mut trips = Trips::default();
        for millis in 1..=7 {
            trips.add(Duration::from_millis(millis));
        }
        assert_eq!(trips.usual_max(), None, "too few");
        for millis in 8..=10 {
            trips.add(Duration::from_millis(millis));
        }
        assert_eq!(trips.usual_max(), Some(Duration::from_millis(9)));
        assert_eq!(trips.wait_needed(), Some(STEP));
        for _ in 0..TRIPS {
            trips.add(Duration::from_secs(1));
        }
        assert_eq!(trips.usual_max(), Some(Duration::from_secs(1)), "the old ones are forgotten");
        assert_eq!(trips.wait_needed(), Some(Duration::from_millis(1_250)));
    }
}
