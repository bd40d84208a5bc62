//! The level of the log, changeable while the process runs.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::info;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Registry, reload};

use crate::base::clock::{self, Stopwatch};

/// Who changes the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The configuration, read again.
    Configuration,
    /// A caller of the running daemon, or the end of what one changed. However often that is, the log gets at most a line a
    /// minute of it.
    Caller,
}

/// Changes by callers are logged no closer than this.
const LINE_SPACING: Duration = Duration::from_secs(60);

struct Kept {
    level: LevelFilter,
    handle: reload::Handle<Targets, Registry>,
    /// Since the last line on a change by a caller, and how many changes have not been logged since.
    logged: Option<Stopwatch>,
    unlogged: u64,
}

/// A process has one log.
static KEPT: OnceLock<Mutex<Kept>> = OnceLock::new();

/// What is logged at `level`: the libraries' own news is of no use to an operator below a warning.
pub(super) fn filter(level: LevelFilter) -> Targets {
    Targets::new().with_target("typingd", level).with_default(level.min(LevelFilter::WARN))
}

pub(super) fn keep(level: LevelFilter, handle: reload::Handle<Targets, Registry>) {
    let _ = KEPT.set(Mutex::new(Kept { level, handle, logged: None, unlogged: 0 }));
}

/// The level in force; `None` where nothing is logged.
pub(crate) fn level() -> Option<LevelFilter> {
    KEPT.get().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).level)
}

/// Puts another level in force, and logs it: before or after, whichever level shows it.
pub(crate) fn set_level(level: LevelFilter, by: Change) {
    let Some(kept) = KEPT.get() else { return };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.level == level {
        return;
    }
    let old = std::mem::replace(&mut kept.level, level);
    let more = match by {
        Change::Configuration => Some(0),
        Change::Caller if kept.logged.is_none_or(|logged| logged.elapsed() >= LINE_SPACING) => {
            kept.logged = Some(clock::stopwatch());
            Some(std::mem::take(&mut kept.unlogged))
        }
        Change::Caller => {
            kept.unlogged += 1;
            None
        }
    };
    let log = || {
        if let Some(more) = more {
            info!(%old, new = %level, more, "the level of the log is changed");
        }
    };
    if level < LevelFilter::INFO {
        log();
    }
    // Fails only when the log has ended.
    let _ = kept.handle.reload(filter(level));
    if level >= LevelFilter::INFO {
        log();
    }
}
