//! How sure a difference is that was measured on the same users.
//!
//! The ratio of two sums over users, with Student's interval of its linearisation: where users are few it is wider than
//! resampling them would make it, and it needs no memory however many they are.

use super::bootstrap::Interval;

/// A difference with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paired {
    pub(super) value: f64,
    pub(super) interval: Interval,
}

/// The sum of the differences of all users over the sum of their bases; each user is a difference and a base. None of fewer
/// than five users: their interval would say nothing.
pub(super) fn paired(users: &[(f64, f64)]) -> Option<Paired> {
    let count = users.len() as f64;
    let (differences, bases) = users.iter().fold((0.0, 0.0), |(a, b), (difference, base)| (a + difference, b + base));
    if users.len() < USERS_MIN || bases <= 0.0 {
        return None;
    }
    let value = differences / bases;
    let mean = bases / count;
    let squares: f64 = users.iter().map(|(difference, base)| ((difference - value * base) / mean).powi(2)).sum();
    let half = student(count - 1.0) * (squares / (count * (count - 1.0))).sqrt();
    Some(Paired { value, interval: [value - half, value + half] })
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

/// Fewer users say nothing of others.
pub(super) const USERS_MIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_percentiles_are_those_of_the_tables() {
        for (freedom, expected) in [(4.0, 2.776), (9.0, 2.262), (24.0, 2.064), (99.0, 1.984), (100_000.0, 1.960)] {
            assert!((student(freedom) - expected).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn users_who_are_alike_leave_no_doubt_and_few_say_nothing() {
        assert_eq!(paired(&[(1.0, 2.0); 4]), None);
        assert_eq!(paired(&[(0.0, 0.0); 9]), None, "no one composed");
        assert_eq!(paired(&[(1.0, 2.0); 9]), Some(Paired { value: 0.5, interval: [0.5, 0.5] }));
    }

    #[test]
    fn intervals_of_few_users_hold_the_truth_as_often_as_they_say() {
        let mut dice = fastrand::Rng::with_seed(7);
        let rounds = 2_000;
        let mut held = 0;
        for _ in 0..rounds {
            let users: Vec<_> = (0..8).map(|_| ((0..6).map(|_| dice.f64() - 0.5).sum::<f64>(), 1.0)).collect();
            let [low, high] = paired(&users).unwrap().interval;
            held += u32::from(low <= 0.0 && high >= 0.0);
        }
        assert!((1_860..=1_940).contains(&held), "{held} of {rounds}");
    }
}
