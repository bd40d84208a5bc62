//! Spans of time as people write them: `5s`, `250ms`, `1.5s`, `1m30s`.

use std::fmt;
use std::time::Duration;

/// Reads numbers with units (`h`, `m`, `s`, `ms`), each unit at most once and the coarser first. A fraction is fine if
/// it comes to whole milliseconds. `None` for everything else, a bare number above all.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0u64;
    let mut coarser = u64::MAX;
    loop {
        let (number, tail) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        let millis = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        if millis >= coarser {
            return None;
        }
        total = total.checked_add(scaled(number, millis)?)?;
        if tail.is_empty() {
            return Some(Duration::from_millis(total));
        }
        (rest, coarser) = (tail, millis);
    }
}

/// `number` times `unit`, if that is a whole number.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let Some((whole, part)) = number.split_once('.') else {
        return digits(number)?.checked_mul(unit);
    };
    let scale = 10u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = digits(part)?.checked_mul(unit)?;
    let whole = digits(whole)?.checked_mul(unit)?;
    (part % scale == 0).then(|| whole.checked_add(part / scale))?
}

/// Writes a span of time so that [`parse`] reads the same: one number, in the coarsest unit that makes it whole.
#[derive(Clone, Copy, Debug)]
pub struct Written(pub Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let fits = |unit: u64| millis > 0 && millis.is_multiple_of(u128::from(unit));
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("s", 1_000));
        write!(f, "{}{name}", millis / u128::from(unit))
    }
}

/// The units and their milliseconds, the coarsest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("5s", Some(5_000)),
            ("1500ms", Some(1_500)),
            ("1.5s", Some(1_500)),
            ("0s", Some(0)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("0.001s", Some(1)),
            ("0.0001s", None),
            ("5", None),
            ("", None),
            ("s", None),
            (".5s", None),
            ("5.s", None),
            ("-5s", None),
            ("+5s", None),
            ("5 s", None),
            ("5S", None),
            ("5sec", None),
            ("1s1m", None),
            ("1s1s", None),
            ("1s5", None),
            ("5s ", None),
            ("५s", None),
            ("99999999999999999999h", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for (millis, text) in [(0, "0s"), (1, "1ms"), (1_500, "1500ms"), (90_000, "90s"), (300_000, "5m")] {
            let span = Duration::from_millis(millis);
            assert_eq!(Written(span).to_string(), text);
            assert_eq!(parse(text), Some(span));
        }
    }
}
