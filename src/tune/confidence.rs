//! How sure a figure is that was measured on some users: what it would have been with others of the same kind.
//!
//! Every figure is the ratio of two sums over users, with Student's interval of its linearisation. Users are what differs,
//! not messages: those of one user are alike, and counting them singly would promise too much. Where users are few such an
//! interval is wider than resampling them would make it, and it needs no memory and no chance, however many they are.

use super::sums::{Delay, Delays, quantile};

/// The bounds of a 95 % confidence interval.
pub(crate) type Interval = [f64; 2];

/// The ratio of two sums over users, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub value: f64,
    /// The standard error.
    pub error: f64,
    /// How many users it rests on.
    pub users: usize,
    pub interval: Interval,
}

impl Ratio {
    /// The sum of the first over the sum of the second of each user. None of fewer than five users who have any of either:
    /// their interval would say nothing.
    pub(crate) fn of(users: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let whole = users.clone().fold((0.0, 0.0), |(a, b), (part, base)| (a + part, b + base));
        Self::all(users.map(|user| [user]), &[whole])[0]
    }

    /// The same of `N` ratios at once, with their sums.
    pub(crate) fn all<const N: usize>(
        users: impl Iterator<Item = [(f64, f64); N]>,
        whole: &[(f64, f64); N],
    ) -> [Option<Self>; N] {
        let values = whole.map(|(part, base)| part / base);
        let (mut squares, mut counts) = ([0.0; N], [0usize; N]);
        for user in users {
            for (i, (part, base)) in user.into_iter().enumerate() {
                let off = part - values[i] * base;
                squares[i] += off * off;
                counts[i] += usize::from(part != 0.0 || base != 0.0);
            }
        }
        std::array::from_fn(|i| {
            let (value, users, base) = (values[i], counts[i], whole[i].1);
            if users < USERS_MIN || base <= 0.0 {
                return None;
            }
            let number = users as f64;
            let error = (squares[i] * number / (number - 1.0)).sqrt() / base;
            let half = student(number - 1.0) * error;
            Some(Self { value, error, users, interval: [value - half, value + half] })
        })
    }

    /// What is left to one.
    pub(crate) fn complement(self) -> Self {
        let [low, high] = self.interval;
        Self { value: 1.0 - self.value, interval: [1.0 - high, 1.0 - low], ..self }
    }
}

/// The chance that what was measured with `error` on `users` is positive, if it was measured to be `value`.
pub(crate) fn chance(value: f64, error: f64, users: usize) -> f64 {
    if error <= 0.0 {
        return f64::from(u8::from(value >= 0.0));
    }
    // Student's distribution as the normal one, to a hundredth, which is what is shown.
    let (t, freedom) = (value / error, users.saturating_sub(1).max(1) as f64);
    normal(t * (1.0 - 1.0 / (4.0 * freedom)) / (1.0 + t * t / (2.0 * freedom)).sqrt())
}

/// The share of a normal distribution below `z` (Abramowitz and Stegun 26.2.17, to 1e-7).
fn normal(z: f64) -> f64 {
    let k = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum: f64 = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * k);
    let above = sum * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if z > 0.0 { 1.0 - above } else { above }
}

/// The 97.5th percentile of Student's t with `freedom` degrees of freedom, four at least, to a hundredth (Cornish and
/// Fisher's expansion about the normal distribution's).
pub(super) fn student(freedom: f64) -> f64 {
    let z: f64 = 1.959_964;
    let terms = [
        z,
        (z.powi(3) + z) / (4.0 * freedom),
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2)),
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * freedom.powi(3)),
    ];
    terms.iter().sum()
}

/// What each user has of some delays: how many, and how many of them are no longer than a quantile. Kept from one setting to
/// the next, for there may be many users.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Vec<(u32, u32)>,
}

impl Tally {
    /// The interval of the quantile `q` of `delays`, which are sorted: the quantiles at both ends of the interval of the
    /// share that does not exceed it. Where the upper end is no share, it is `longest`: no delay exceeds that.
    pub(super) fn interval(&mut self, delays: &Delays, q: f64, users: usize, longest: u64) -> Option<Interval> {
        let (least, most) = (delays.first()?.millis(), delays.last()?.millis());
        let value = quantile(delays, q)?.millis();
        self.counts.resize(users, (0, 0));
        for delay in delays {
            let (all, below) = &mut self.counts[delay.user()];
            *all += 1;
            *below += u32::from(delay.millis() <= value);
        }
        // Each user once: whoever has been taken has none left.
        let mut own: Vec<(f64, f64)> = Vec::new();
        for delay in delays {
            let (all, below) = std::mem::take(&mut self.counts[delay.user()]);
            if all > 0 {
                own.push((f64::from(below), f64::from(all)));
            }
        }
        if own.len() < USERS_MIN {
            return None;
        }
        if least == most {
            return Some([least as f64; 2]);
        }
        let share = Ratio::of(own.iter().copied())?;
        // Alike users are no reason to be surer than single delays would make it.
        let least = student(share.users as f64 - 1.0) * (q * (1.0 - q) / delays.len() as f64).sqrt();
        let half = ((share.interval[1] - share.interval[0]) / 2.0).max(least);
        let at = |q: f64| quantile(delays, q).map(Delay::millis);
        let high = if q + half < 1.0 { at(q + half)? } else { most.max(longest) };
        Some([at((q - half).max(0.0))? as f64, high as f64])
    }
}

/// Fewer users say nothing of others.
pub(super) const USERS_MIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(users: &[(f64, f64)]) -> Option<Ratio> {
        Ratio::of(users.iter().copied())
    }

    #[test]
    fn students_percentiles_are_those_of_the_tables() {
        for (freedom, expected) in [(4.0, 2.776), (9.0, 2.262), (24.0, 2.064), (99.0, 1.984), (100_000.0, 1.960)] {
            assert!((student(freedom) - expected).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn chances_are_those_of_the_tables() {
        for (t, users, expected) in
            [(0.0, 9, 0.5), (1.96, 100_001, 0.975), (-1.96, 100_001, 0.025), (2.262, 10, 0.975), (2.776, 5, 0.975)]
        {
            let found = chance(t, 1.0, users);
            assert!((found - expected).abs() < 0.007, "{t} of {users}: {found}");
        }
        assert_eq!((chance(0.0, 0.0, 9), chance(-1.0, 0.0, 9)), (1.0, 0.0));
    }

    #[test]
    fn users_who_are_alike_leave_no_doubt_and_few_say_nothing() {
        assert_eq!(ratio(&[(1.0, 2.0); 4]), None);
        assert_eq!(ratio(&[(0.0, 0.0); 9]), None, "no one composed");
        let alike = ratio(&[(1.0, 2.0); 9]).unwrap();
        assert_eq!((alike.value, alike.interval), (0.5, [0.5, 0.5]));
        let mut some = vec![(0.0, 0.0); 9];
        some.extend([(1.0, 2.0), (1.0, 3.0), (1.0, 1.0), (2.0, 2.0)]);
        assert_eq!(ratio(&some), None, "four users have any of it");
    }

    #[test]
    fn users_without_any_of_it_change_nothing() {
        let some = [(1.0, 2.0), (1.0, 3.0), (1.0, 1.0), (2.0, 2.0), (0.0, 4.0)];
        let mut more = some.to_vec();
        more.extend([(0.0, 0.0); 100]);
        assert_eq!(ratio(&some), ratio(&more));
    }

    #[test]
    fn intervals_of_few_users_hold_the_truth_as_often_as_they_say() {
        let mut dice = fastrand::Rng::with_seed(7);
        let rounds = 2_000;
        let mut held = 0;
        for _ in 0..rounds {
            let users: Vec<_> = (0..8).map(|_| ((0..6).map(|_| dice.f64() - 0.5).sum::<f64>(), 1.0)).collect();
            let [low, high] = ratio(&users).unwrap().interval;
            held += u32::from(low <= 0.0 && high >= 0.0);
        }
        assert!((1_860..=1_940).contains(&held), "{held} of {rounds}");
    }

    #[test]
    fn quantiles_have_intervals_too() {
        let mut tally = Tally::default();
        assert_eq!(tally.interval(&Vec::new(), 0.5, 10, 9_000), None);
        let alike: Delays = (0..10).map(|user| Delay::new(2_000, user)).collect();
        assert_eq!(tally.interval(&alike, 0.5, 10, 9_000), Some([2_000.0; 2]));
        assert_eq!(tally.interval(&alike[..4].to_vec(), 0.5, 10, 9_000), None, "four users are too few");
        let spread: Delays = (0..1_000).map(|i| Delay::new(i, (i / 30 % 10) as u32)).collect();
        let [low, high] = tally.interval(&spread, 0.5, 10, 9_000).unwrap();
        assert!((400.0..499.0).contains(&low) && (500.0..600.0).contains(&high), "{low} {high}");
        // Of ten drafts nobody can say what 95 % do: only the setting bounds it.
        let few: Delays = (0..10).map(|i| Delay::new(u64::from(i) * 100, i)).collect();
        assert_eq!(tally.interval(&few, 0.95, 10, 9_000).unwrap()[1], 9_000.0);
    }
}
