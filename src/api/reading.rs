//! Which configuration is in force since when, and how it went when it was last to be read again.

use std::path::PathBuf;

/// The reading of the configuration in force. Its owner keeps it up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The file, as it was named; `None` if there was none.
    pub file: Option<PathBuf>,
    /// When what is in force was read, in milliseconds since the Unix epoch.
    pub read_at: u64,
    /// The last time that it was to be read again.
    pub last_reload: Option<Reload>,
}

/// One time that the configuration was to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Reload {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Whether what was read is in force; if not, nothing was changed.
    pub ok: bool,
    /// How many keys had changed.
    pub changes: usize,
}
