//! How long something took, each time it happened: counts between fixed bounds, from which quantiles are estimated.

use std::time::Duration;

use crate::model::micros;

/// A histogram of times. All of its numbers only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// The upper bounds, ascending.
    pub(crate) bounds: &'static [Duration; N],
    /// How many were at most as long as the bound of the same place and longer than the one before it.
    pub(crate) counts: [u64; N],
    /// How many were longer than every bound.
    pub(crate) beyond: u64,
    pub(crate) sum_micros: u64,
}

/// How long the work of the loop and of the upstream takes.
pub(crate) type Latencies = Histogram<16>;

/// Three in each power of ten, from a tenth of a millisecond, which the loop is to keep below, to ten seconds, after which
/// no request is waited for by default.
const LATENCIES: [Duration; 16] = [
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

impl Default for Latencies {
    fn default() -> Self {
        Self::new(&LATENCIES)
    }
}

impl<const N: usize> Histogram<N> {
    pub(crate) const fn new(bounds: &'static [Duration; N]) -> Self {
        Self { bounds, counts: [0; N], beyond: 0, sum_micros: 0 }
    }

    pub(crate) fn add(&mut self, span: Duration) {
        let place = self.bounds.partition_point(|bound| *bound < span);
        *self.counts.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros(span));
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// What a share of all were at most as long as, by interpolation between two bounds, as PromQL's
    /// `histogram_quantile` does it; the highest bound if it lies beyond that. `None` while there is nothing.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        let mut lower = Duration::ZERO;
        for (bound, inside) in self.bounds.iter().copied().zip(self.counts) {
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
        let mut histogram = Latencies::default();
        for micros in [0, 100, 101, 250, 10_000_000, 10_000_001, 3_600_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        assert_eq!((histogram.counts[0], histogram.counts[1]), (2, 2));
        assert_eq!((histogram.counts[15], histogram.beyond), (1, 2));
        assert_eq!((histogram.count(), histogram.sum_micros), (7, 3_620_000_452));
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_what_was_seen() {
        let mut histogram = Latencies::default();
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
        let mut histogram = Latencies::default();
        for _ in 0..3 {
            histogram.add(Duration::from_micros(u64::MAX / 2));
        }
        assert_eq!((histogram.count(), histogram.sum_micros), (3, u64::MAX));
    }
}
