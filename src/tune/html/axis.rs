//! An axis: round numbers along a line, and where on it a value lies.

use crate::tune::table::thousands;

/// An axis from one round number to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    /// Its round numbers and how they are written, ascending; two at least.
    ticks: Vec<(f64, String)>,
}

/// What a step along an axis means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// So much more.
    Sums,
    /// So many times more.
    Factors,
}

impl Scale {
    fn along(self, value: f64) -> f64 {
        if self == Self::Sums { value } else { value.max(f64::MIN_POSITIVE).ln() }
    }
}

impl Axis {
    /// The axis that reaches from nought to at least `to` in about `steps` round steps.
    pub(super) fn sums(to: f64, steps: f64) -> Self {
        let length = if to > 0.0 { to } else { 1.0 };
        let power = 10f64.powf((length / steps).log10().floor());
        let rough = length / steps / power;
        let round = [1.0, 2.0, 5.0].into_iter().find(|round| rough <= round * ROUNDING).unwrap_or(10.0);
        let step = round * power;
        // A sum that should be round may miss it by a little.
        let count = (length / step - 1e-9).ceil().max(1.0) as u32;
        let decimals = decimals(step);
        let ticks = (0..=count).map(|number| step * f64::from(number)).map(|value| (value, written(value, decimals)));
        Self { scale: Scale::Sums, ticks: ticks.collect() }
    }

    /// The axis from at most `least` to at least `most` on which the same length is the same factor. What is too small for
    /// that lies at its foot, which says so.
    pub(super) fn factors(least: f64, most: f64) -> Self {
        let (floor, most) = (least.max(FACTORS_LEAST), most.max(FACTORS_LEAST));
        let steps = |rounds: &[f64]| {
            let powers = (floor.log10().floor() as i32)..=(most.log10().ceil() as i32);
            let all: Vec<f64> =
                powers.flat_map(|power| rounds.iter().map(move |round| round * 10f64.powi(power))).collect();
            let from = all.iter().rposition(|value| *value <= floor * (1.0 + 1e-9)).unwrap_or_default();
            let to = all.iter().position(|value| *value >= most * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
            all[from..=to.max(from + 1).min(all.len() - 1)].to_vec()
        };
        let fine = steps(&[1.0, 2.0, 5.0]);
        let values = if fine.len() > FACTORS_TICKS_MAX { steps(&[1.0]) } else { fine };
        let mut ticks: Vec<_> = values.into_iter().map(|value| (value, written(value, decimals(value)))).collect();
        if least < ticks[0].0 {
            ticks[0].1.insert(0, '≤');
        }
        Self { scale: Scale::Factors, ticks }
    }

    fn from(&self) -> f64 {
        self.ticks[0].0
    }

    /// Its last number.
    pub(super) fn to(&self) -> f64 {
        self.ticks[self.ticks.len() - 1].0
    }

    /// Where `value` lies, in hundredths of the axis; at an end, if it lies beyond it.
    pub(super) fn place(&self, value: f64) -> f64 {
        let [from, to, value] = [self.from(), self.to(), value].map(|value| self.scale.along(value));
        (100.0 * (value - from) / (to - from)).clamp(0.0, 100.0)
    }

    /// Its round numbers and how they are written.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(value, text)| (*value, text.as_str()))
    }
}

/// The decimals that a round number needs.
fn decimals(round: f64) -> usize {
    (-(round * (1.0 + 1e-9)).log10().floor()).max(0.0) as usize
}

fn written(value: f64, decimals: usize) -> String {
    if decimals > 0 && value > 0.0 { format!("{value:.decimals$}") } else { thousands(value.round() as u64) }
}

/// A step may be so much too short, for that spares a step of twice the length.
const ROUNDING: f64 = 1.2;
/// An axis of factors goes no further down: there is no end to it, and everything else would be squeezed.
const FACTORS_LEAST: f64 = 0.1;
/// More numbers than that do not fit below a chart on a telephone.
const FACTORS_TICKS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(axis: &Axis) -> Vec<&str> {
        axis.ticks().map(|(_, text)| text).collect()
    }

    #[test]
    fn steps_are_round() {
        for (to, texts) in [
            (100.0, "0 20 40 60 80 100"),
            (2_150.0, "0 500 1,000 1,500 2,000 2,500"),
            (0.31, "0 0.1 0.2 0.3 0.4"),
            (0.0, "0 0.2 0.4 0.6 0.8 1.0"),
            (30.0, "0 5 10 15 20 25 30"),
        ] {
            assert_eq!(written(&Axis::sums(to, 5.0)).join(" "), texts);
        }
        for (least, most, texts) in [
            (6.2, 91.5, "5 10 20 50 100"),
            (1.0, 10.0, "1 2 5 10"),
            (0.3, 96.0, "0.1 1 10 100"),
            (0.11, 4_000.0, "0.1 1 10 100 1,000 10,000"),
            (0.0, 3.0, "≤0.1 0.2 0.5 1 2 5"),
            (0.0, 0.0, "≤0.1 0.2"),
            (5.0, 5.0, "5 10"),
            (100.0, 100.0, "100 200"),
        ] {
            let axis = Axis::factors(least, most);
            assert_eq!(written(&axis).join(" "), texts);
        }
    }

    #[test]
    fn places_are_within() {
        let axis = Axis::sums(30.0, 5.0);
        assert_eq!([-1.0, 0.0, 15.0, 30.0, 31.0].map(|value| axis.place(value)), [0.0, 0.0, 50.0, 100.0, 100.0]);
        let axis = Axis::factors(1.0, 100.0);
        assert_eq!([0.0, 1.0, 10.0, 100.0, 1e9].map(|value| axis.place(value).round()), [0.0, 0.0, 50.0, 100.0, 100.0]);
    }
}
