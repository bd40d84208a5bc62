//! How the journal fares, in numbers for operators.

use super::Journal;

/// How the journal fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes in the present generation.
    pub bytes: u64,
    /// Records written since the start, without those that began a generation.
    pub records: u64,
    /// Writes that failed since the start.
    pub writes_failed: u64,
    /// The last write failed: a crash may leave icons on.
    pub degraded: bool,
}

impl Journal {
    /// How it fares.
    #[must_use]
    pub(crate) fn figures(&self) -> Figures {
        let (bytes, records) = (self.bytes, self.records[1]);
        Figures { bytes, records, writes_failed: self.writes_failed, degraded: self.degraded }
    }

    pub(super) fn note_failure(&mut self) {
        self.writes_failed += 1;
        self.degraded = true;
    }
}
