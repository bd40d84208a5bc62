//! The names under which end users appear in logs and traces.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// Gives end users the names under which they may appear in logs: short keyed hashes. The key is drawn at the start and
/// kept nowhere, so that the lines of one run belong together and those of two runs don't. Clones give the same names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pseudonyms(std::hash::RandomState);

/// An end user's name in the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pseudonym(u32);

impl Pseudonyms {
    /// The name of the end user `from`.
    #[must_use]
    pub(crate) fn of(&self, from: &str) -> Pseudonym {
        let mut hasher = self.0.build_hasher();
        hasher.write(from.as_bytes());
        Pseudonym((hasher.finish() >> 32) as u32)
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0)
    }
}
