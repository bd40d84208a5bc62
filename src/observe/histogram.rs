//! How long something took, each time it happened: counts between fixed bounds, from which quantiles can be told.

use std::time::Duration;

use crate::model::micros;

/// A histogram of times. All of its numbers only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were at most as long as the bound of the same place and longer than the one before it; the last ones
    /// were longer than every bound.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// Their sum, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// The upper bounds: three in each power of ten, from a tenth of a millisecond, which the loop is to keep below, to
    /// ten seconds, after which no request is waited for by default.
    pub const BOUNDS: [Duration; 16] = [
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
    ];

    /// It took so long, once more.
    pub fn add(&mut self, span: Duration) {
        let place = Self::BOUNDS.partition_point(|bound| *bound < span);
        self.counts[place] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros(span));
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What a share of all were at most as long as, by interpolation between two bounds, as PromQL's
    /// `histogram_quantile` does it; the highest bound if it lies beyond that. `None` while there is nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        let mut lower = Duration::ZERO;
        for (bound, inside) in Self::BOUNDS.into_iter().zip(self.counts) {
            if inside > 0 && (below + inside) as f64 >= rank {
                let part = ((rank - below as f64) / inside as f64).clamp(0.0, 1.0);
                return Some(lower + (bound - lower).mul_f64(part));
            }
            below += inside;
            lower = bound;
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_stands_below_it() {
        let mut histogram = Histogram::default();
        for micros in [0, 100, 101, 250, 10_000_000, 10_000_001, 3_600_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        assert_eq!((histogram.counts[0], histogram.counts[1]), (2, 2));
        assert_eq!((histogram.counts[15], histogram.counts[16]), (1, 2));
        assert_eq!((histogram.count(), histogram.sum_micros), (7, 3_620_000_452));
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_what_was_seen() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..100 {
            histogram.add(Duration::from_millis(7));
        }
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_millis(5)));
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(7_500)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_millis(10)));
        for _ in 0..100 {
            histogram.add(Duration::from_millis(600));
        }
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_millis(10)));
        assert_eq!(histogram.quantile(0.75), Some(Duration::from_millis(750)));
        for _ in 0..1_000 {
            histogram.add(Duration::from_secs(3_600));
        }
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_secs(10)), "beyond every bound");
    }

    #[test]
    fn a_sum_too_long_to_hold_stands_still() {
        let mut histogram = Histogram::default();
        for _ in 0..3 {
            histogram.add(Duration::from_micros(u64::MAX / 2));
        }
        assert_eq!((histogram.count(), histogram.sum_micros), (3, u64::MAX));
    }
}
