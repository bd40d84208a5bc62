//! How long an agent who begins to look waits for something new: the times between what is sent, counted by their length.

/// Times to wait, in milliseconds. Most are one of few: they are counted rather than kept, so that neither memory nor time
/// grows with them.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// How many there are of each length below [`SHORT_MAX`], as far as there are any.
    short: Vec<u32>,
    /// All others.
    long: Vec<u64>,
}

impl Waits {
    pub(super) fn add(&mut self, waits: &[u64]) {
        for wait in waits {
            match usize::try_from(*wait).ok().filter(|wait| *wait < SHORT_MAX) {
                Some(wait) => {
                    if wait >= self.short.len() {
                        self.short.resize((wait + 1).next_power_of_two().max(SHORT_LEAST), 0);
                    }
                    self.short[wait] += 1;
                }
                None => self.long.push(*wait),
            }
        }
    }

    /// The wait that a share `q` of all moments does not exceed: an agent who begins to look within a time of length l waits
    /// for anything up to l.
    pub(super) fn quantile(&mut self, q: f64) -> Option<u64> {
        self.long.sort_unstable();
        let short = self.short.iter().enumerate().filter(|(_, count)| **count > 0);
        let short = short.map(|(wait, count)| (wait as f64, f64::from(*count)));
        let lengths = short.chain(self.long.iter().map(|wait| (*wait as f64, 1.0)));
        let (all, mut longer) =
            lengths.clone().fold((0.0, 0.0), |(all, number), (wait, count)| (all + wait * count, number + count));
        if all == 0.0 {
            return None;
        }
        // Of all moments, min(l, w) of each time wait no longer than w. Between two lengths that sum is a straight line.
        let (mut passed, mut from) = (0.0, 0.0);
        for (wait, count) in lengths {
            let here = (wait - from) * longer;
            if passed + here >= q * all {
                return Some((from + (q * all - passed) / longer).round() as u64);
            }
            (passed, from, longer) = (passed + here, wait, longer - count);
        }
        Some(from as u64)
    }
}

/// Two minutes: with the intervals that are tried by default hardly any wait is longer.
const SHORT_MAX: usize = 1 << 17;
/// What they take, but for those that are longer.
pub(super) const WAITS_BYTES: usize = SHORT_MAX * size_of::<u32>();
/// So many are counted at least, so that the list seldom grows.
const SHORT_LEAST: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_anything_up_to_the_time_to_the_next_news() {
        let quantile = |waits: &[u64], q| {
            let mut all = Waits::default();
            all.add(waits);
            all.quantile(q)
        };
        assert_eq!(quantile(&[], 0.99), None);
        assert_eq!(quantile(&[1_000], 0.99), Some(990));
        assert_eq!(quantile(&[1_000, 1_000], 0.5), Some(500));
        // 1,000 + 3,000 moments: by 1,000 ms 2,000 of them are over, then one for each millisecond.
        assert_eq!(quantile(&[3_000, 1_000], 0.75), Some(2_000));
        assert_eq!(quantile(&[300_000, 1_000, 600_000], 1.0), Some(600_000), "however long");
    }
}
