//! Figures as people read them. What is undefined is a dash, never a nought.

use crate::tune::confidence::Interval;
use crate::tune::measure::{Measure, Unit};
use crate::tune::plan::{Side, Want};
use crate::tune::table::thousands;

/// What stands for a figure that is undefined; why it is, is told beside or beneath it.
pub(super) const UNDEFINED: &str = "–";

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A share, as hundredths with so many decimals.
    Share(usize),
    /// Milliseconds, as seconds with so many decimals.
    Seconds(usize),
    /// A number with so many decimals.
    Number(usize),
    /// A whole number, its thousands set apart.
    Count,
}

impl Shape {
    /// The bare figure, without its unit.
    pub(super) fn bare(self, value: Option<f64>) -> String {
        let Some(value) = value.filter(|value| value.is_finite()) else { return UNDEFINED.to_owned() };
        match self {
            Self::Share(places) => format!("{:.places$}", 100.0 * value),
            Self::Seconds(places) => format!("{:.places$}", value / 1_000.0),
            Self::Number(places) => format!("{value:.places$}"),
            Self::Count => thousands(value.max(0.0) as u64),
        }
    }

    /// The unit, with the space before it that no line breaks at.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Share(_) => "\u{a0}%",
            Self::Seconds(_) => "\u{a0}s",
            Self::Number(_) | Self::Count => "",
        }
    }

    /// The figure with its unit.
    pub(super) fn full(self, value: Option<f64>) -> String {
        match value.filter(|value| value.is_finite()) {
            Some(_) => format!("{}{}", self.bare(value), self.unit()),
            None => UNDEFINED.to_owned(),
        }
    }

    /// Both ends of an interval, without the unit.
    pub(super) fn bare_interval(self, [low, high]: Interval) -> String {
        format!("{}–{}", self.bare(Some(low)), self.bare(Some(high)))
    }

    /// Whether two figures look the same.
    pub(super) fn alike(self, one: f64, other: f64) -> bool {
        self.bare(Some(one)) == self.bare(Some(other))
    }
}

/// A time of a setting in a sentence.
pub(super) fn time(millis: u64) -> String {
    let (value, unit) = match millis {
        60_000.. if millis.is_multiple_of(60_000) => (millis as f64 / 60_000.0, "min"),
        1_000.. => (millis as f64 / 1_000.0, "s"),
        _ => (millis as f64, "ms"),
    };
    format!("{value}\u{a0}{unit}")
}

/// A value of a measure in a sentence.
pub(super) fn said(measure: Measure, value: f64) -> String {
    match measure.unit() {
        Unit::Time => time(value.max(0.0).round() as u64),
        unit => unit.show(value).replace(' ', "\u{a0}"),
    }
}

/// A limit in words.
pub(super) fn limit(want: &Want) -> String {
    let side = if want.side == Side::AtLeast { "at least" } else { "at most" };
    format!("{} {side} {}", want.measure.words(), said(want.measure, want.bound))
}

/// Milliseconds as seconds, as short as can be.
pub(super) fn in_seconds(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name that a client chose, its control characters replaced.
pub(super) fn visible(name: &str) -> String {
    name.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}")
}

/// So many of something.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{}\u{a0}{noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Parts of a sentence with commas and a last `and`.
pub(super) fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_their_unit_or_as_a_dash() {
        for (shape, value, text) in [
            (Shape::Share(1), Some(0.9094), "90.9\u{a0}%"),
            (Shape::Seconds(1), Some(5_000.0), "5.0\u{a0}s"),
            (Shape::Number(2), Some(1.079), "1.08"),
            (Shape::Count, Some(12_085.0), "12,085"),
            (Shape::Share(1), None, "–"),
            (Shape::Number(1), Some(f64::NAN), "–"),
        ] {
            assert_eq!(shape.full(value), text);
        }
        assert_eq!(Shape::Share(1).bare_interval([0.88, 0.938]), "88.0–93.8");
    }

    #[test]
    fn times_are_written_for_people() {
        for (millis, text) in [(500, "500 ms"), (1_500, "1.5 s"), (5_000, "5 s"), (90_000, "90 s"), (120_000, "2 min")]
        {
            assert_eq!(time(millis), text.replace(' ', "\u{a0}"));
        }
        assert_eq!(said(Measure::Recall, 0.85), "85\u{a0}%");
        assert_eq!(said(Measure::OffP95, 5_000.0), "5\u{a0}s");
        assert_eq!(said(Measure::Flicker, 1.5), "1.5");
    }

    #[test]
    fn seconds_are_short_and_names_have_no_control_characters() {
        assert_eq!([500, 1_000, 1_250, 60_000, 1].map(in_seconds), ["0.5", "1", "1.25", "60", "0.001"]);
        assert_eq!(visible("a\u{1}\n\u{202e}"), "a\u{fffd}\u{fffd}\u{202e}");
    }

    #[test]
    fn words_agree_with_their_number() {
        assert_eq!(counted(1, "key"), "1\u{a0}key");
        assert_eq!(counted(2_000, "key"), "2,000\u{a0}keys");
        let parts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!((joined(&parts[..1]), joined(&parts)), ("a".to_owned(), "a, b and c".to_owned()));
    }
}
