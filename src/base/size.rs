//! Numbers of bytes as people write them: `64KiB`, `1MiB`.

use std::fmt;

/// Reads a whole number with a unit (`B`, `KiB`, `MiB`, `GiB`). `None` for everything else, a bare number above all.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Writes a number of bytes so that [`parse`] reads the same: in the coarsest unit that makes it whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written(pub u64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 > 0 && self.0.is_multiple_of(unit);
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// The units and their bytes, the coarsest first.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_writes_what_it_reads() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1 << 20)),
            ("3GiB", Some(3 << 30)),
            ("1000B", Some(1_000)),
            ("1024", None),
            ("", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("-1MiB", None),
            ("1 MiB", None),
            ("1MB", None),
            ("1mib", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text:?}");
            if let Some(bytes) = bytes {
                assert_eq!(Written(bytes).to_string(), text);
            }
        }
        assert_eq!(Written(1_024).to_string(), "1KiB");
    }
}
