//! Values of options as people write them: times, ranges of them, shares, rates.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::duration::{self, Written};

/// What is wrong with a value, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("{0}, or none")]
    OrNone(Box<ValueError>),
    #[error("expected a time with its unit, such as 2s or 500ms, from {} to {}", written(*least), written(*most))]
    Time { least: u64, most: u64 },
    #[error("these are more than {RANGE_MAX} times; expected a longer step after a /")]
    Range,
    #[error("there is no such option; {0} are")]
    NoOption(String),
    #[error("there is no measure `{name}`; {all} are")]
    NoMeasure { name: String, all: String },
    #[error("`{0}` is no limit; expected such as recall>=85%,off_p95<=5s")]
    NoLimit(String),
    #[error("`{item}`: {why}")]
    Limit { item: String, why: Box<ValueError> },
    #[error("{name} is not to be made small; expected one of {small}")]
    NotSmall { name: String, small: String },
}

fn written(millis: u64) -> Written {
    Written(Duration::from_millis(millis))
}

/// As much of a wrong value as is repeated.
pub(super) fn shortened(value: &str) -> String {
    value.chars().take(VALUE_CHARS_MAX).collect::<String>().escape_debug().to_string()
}

pub(super) fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, ValueError>) -> Result<Vec<T>, ValueError> {
    text.split(',').map(|item| read(item.trim())).collect()
}

/// `none`, or a value.
pub(super) fn maybe<T>(text: &str, read: impl Fn(&str) -> Result<T, ValueError>) -> Result<Option<T>, ValueError> {
    if text == "none" { Ok(None) } else { read(text).map(Some).map_err(|why| ValueError::OrNone(Box::new(why))) }
}

/// Times of a list of times and ranges, in milliseconds.
pub(super) fn times(text: &str) -> Result<Vec<u64>, ValueError> {
    let time = |text: &str| time(text.trim()).map_err(|_| TIMES);
    let mut found = Vec::new();
    for item in text.split(',') {
        let Some((from, rest)) = item.split_once("..") else {
            found.push(time(item)?);
            continue;
        };
        let (to, step) = rest.split_once('/').map_or((rest, None), |(to, step)| (to, Some(step)));
        let (from, to) = (time(from)?, time(to)?);
        let step = match step {
            Some(step) => time(step)?,
            None if to.saturating_sub(from) < 2_000 => 100,
            None => 1_000,
        };
        if from > to {
            return Err(ValueError::Expected("a range from the shorter to the longer time"));
        }
        if (to - from) / step > RANGE_MAX {
            return Err(ValueError::Range);
        }
        // The ends, and the whole steps between them.
        found.push(from);
        found.extend((from / step + 1..).map(|n| n * step).take_while(|at| *at < to));
        found.push(to);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// A time from 1 ms to 1 h, as in the configuration, in milliseconds.
pub(super) fn time(text: &str) -> Result<u64, ValueError> {
    millis(text, 1..=TIME_MILLIS_MAX)
}

pub(super) fn millis(text: &str, within: RangeInclusive<u64>) -> Result<u64, ValueError> {
    let millis = duration::parse(text).and_then(|span| u64::try_from(span.as_millis()).ok());
    let (least, most) = (*within.start(), *within.end());
    millis.filter(|millis| within.contains(millis)).ok_or(ValueError::Time { least, most })
}

/// A number within bounds.
fn number(text: &str, within: RangeInclusive<f64>, expected: &'static str) -> Result<f64, ValueError> {
    let number = text.trim_end().parse::<f64>().ok().filter(|number| within.contains(number));
    number.ok_or(ValueError::Expected(expected))
}

/// A share: `0.13`, `13%` or `13 %`.
pub(super) fn share(text: &str) -> Result<f64, ValueError> {
    let expected = "a share from 0 to 1, or from 0% to 100%";
    match text.strip_suffix('%') {
        Some(hundredths) => number(hundredths, 0.0..=100.0, expected).map(|share| share / 100.0),
        None => number(text, 0.0..=1.0, expected),
    }
}

/// Any number from 0 on.
pub(super) fn amount(text: &str) -> Result<f64, ValueError> {
    number(text, 0.0..=f64::MAX, "a number from 0 on")
}

/// Requests a second: `2000/s` or `2000`.
pub(super) fn rate(text: &str) -> Result<f64, ValueError> {
    let expected = "requests a second from 1 to 100000, such as 2000/s";
    number(text.strip_suffix("/s").unwrap_or(text), 1.0..=100_000.0, expected)
}

pub(super) fn whole(text: &str) -> Result<u64, ValueError> {
    text.parse().map_err(|_| ValueError::Expected("a whole number"))
}

const TIMES: ValueError = ValueError::Expected(
    "times and ranges, such as 5s or 1s..15s or 2s..10s/500ms or 2s,5s,10s, each time from 1ms to 1h",
);
/// The longest interval that the configuration takes.
const TIME_MILLIS_MAX: u64 = 3_600_000;
/// More times than there may be settings.
const RANGE_MAX: u64 = 20_000;
/// How much of a wrong value is repeated.
const VALUE_CHARS_MAX: usize = 60;
