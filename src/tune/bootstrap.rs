//! Confidence by resampling users: what a measure would have been with other users of the same kind.
//!
//! Users are drawn, not messages: those of one user are alike, and resampling them would promise too much.

use super::sums::{Delays, Sums, Typed, quantile};

/// Confidence intervals hold 95 of 100 resamples.
const OUTSIDE: f64 = 0.025;
/// Resamples of a study of up to 200 users; fewer of more, for their sums vary less.
const RESAMPLES_MAX: usize = 1_000;
const RESAMPLES_MIN: usize = 200;
const DRAWS: usize = 200_000;
/// Resamples of a quantile, whose every one goes through all delays.
const QUANTILE_RESAMPLES: usize = 100;

/// Draws of users with replacement, the same for every setting, so that settings are compared on the same users.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    users: usize,
    /// How often each user was drawn, resample after resample.
    weights: Vec<f64>,
    /// What all users typed, in each resample.
    typed: Vec<Typed>,
}

/// The bounds of a 95 % confidence interval.
pub(crate) type Interval = [f64; 2];

impl Bootstrap {
    /// Draws by `seed`. None of fewer than two users: one says nothing about others.
    pub(crate) fn new(typed: &[Typed], seed: u64) -> Option<Self> {
        let users = typed.len();
        if users < 2 {
            return None;
        }
        let resamples = (DRAWS / users).clamp(RESAMPLES_MIN, RESAMPLES_MAX);
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut weights = vec![0.0; users * resamples];
        for resample in weights.chunks_exact_mut(users) {
            for _ in 0..users {
                resample[dice.usize(..users)] += 1.0;
            }
        }
        let typed = weights.chunks_exact(users).map(|weights| Typed::weighted(typed, weights)).collect();
        Some(Self { users, weights, typed })
    }

    fn resamples(&self) -> impl Iterator<Item = (&[f64], &Typed)> {
        self.weights.chunks_exact(self.users).zip(&self.typed)
    }

    /// The interval of each of `N` measures, which `measures` reads off the sums of a resample. None where the measure
    /// is undefined in too many of them.
    pub(crate) fn intervals<const N: usize>(
        &self,
        sums: &[Sums],
        measures: impl Fn(&Sums, &Typed) -> [Option<f64>; N],
    ) -> [Option<Interval>; N] {
        let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(self.typed.len()));
        for (weights, typed) in self.resamples() {
            let measured = measures(&Sums::weighted(sums, weights), typed);
            for (values, measured) in values.iter_mut().zip(measured) {
                values.extend(measured);
            }
        }
        values.map(|values| interval(values, self.typed.len()))
    }

    /// The intervals of the median and of the 95th percentile of `delays`, which are sorted.
    pub(crate) fn quantile_intervals(&self, delays: &Delays) -> [Option<Interval>; 2] {
        let (Some((least, _)), Some((most, _))) = (delays.first(), delays.last()) else { return [None; 2] };
        if least == most {
            // Every resample would say the same.
            return [Some([*least as f64; 2]); 2];
        }
        let resamples = self.typed.len().min(QUANTILE_RESAMPLES);
        let mut values = [Vec::with_capacity(resamples), Vec::with_capacity(resamples)];
        for (weights, _) in self.resamples().take(resamples) {
            let weight = |user: &u32| weights[*user as usize];
            let all: f64 = delays.iter().map(|(_, user)| weight(user)).sum();
            if all == 0.0 {
                continue;
            }
            let mut bounds = [(0.5 * all).ceil(), (0.95 * all).ceil()].into_iter().zip(&mut values).peekable();
            let mut seen = 0.0;
            for (delay, user) in delays {
                seen += weight(user);
                while let Some((_, values)) = bounds.next_if(|(bound, _)| seen >= *bound) {
                    values.push(*delay as f64);
                }
            }
        }
        values.map(|values| interval(values, resamples))
    }
}

/// The interval that `values` span; none if more than one in twenty resamples has no value.
fn interval(mut values: Vec<f64>, resamples: usize) -> Option<Interval> {
    if values.len() * 20 < resamples * 19 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    Some([quantile(&values, OUTSIDE)?, quantile(&values, 1.0 - OUTSIDE)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(users: usize) -> Vec<Typed> {
        (0..users).map(|user| Typed { composing: 100.0 + user as f64, messages: 1.0, ..Typed::default() }).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_for_each_user() {
        assert!(Bootstrap::new(&typed(1), 42).is_none());
        let [a, b, c] = [42, 42, 43].map(|seed| Bootstrap::new(&typed(9), seed).unwrap().weights);
        assert!(a == b && a != c);
        assert!(a.chunks_exact(9).all(|weights| weights.iter().sum::<f64>() == 9.0));
    }

    #[test]
    fn an_interval_covers_what_users_differ_by() {
        // Forty users with 0 or 1 flicker each: the standard error of the mean is 0.079.
        let typed = typed(40);
        let sums: Vec<Sums> = (0..40).map(|user| Sums { flickers: f64::from(user % 2), ..Sums::default() }).collect();
        let bootstrap = Bootstrap::new(&typed, 42).unwrap();
        let [found, none] = bootstrap.intervals(&sums, |sums, typed| [Some(sums.flickers / typed.messages), None]);
        let [low, high] = found.unwrap();
        assert!((0.30..0.40).contains(&low) && (0.60..0.70).contains(&high), "{low} {high}");
        assert_eq!(none, None);
    }

    #[test]
    fn quantiles_have_intervals_too() {
        let bootstrap = Bootstrap::new(&typed(10), 42).unwrap();
        assert_eq!(bootstrap.quantile_intervals(&Vec::new()), [None; 2]);
        let alike: Delays = (0..10).map(|user| (2_000, user)).collect();
        assert_eq!(bootstrap.quantile_intervals(&alike), [Some([2_000.0; 2]); 2]);
        let spread: Delays = (0..1_000).map(|i| (i, (i % 10) as u32)).collect();
        let [p50, p95] = bootstrap.quantile_intervals(&spread).map(Option::unwrap);
        assert!((480.0..=500.0).contains(&p50[0]) && (498.0..=520.0).contains(&p50[1]), "{p50:?}");
        assert!((940.0..=950.0).contains(&p95[0]) && (948.0..=960.0).contains(&p95[1]), "{p95:?}");
    }
}
