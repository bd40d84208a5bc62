//! What is going on, for operators and their machines, and what they may change of it.

pub(crate) mod control;
pub(crate) mod conversations;
mod events;
mod health;
pub(crate) mod indicators;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod query;
pub(crate) mod reading;
pub mod signals;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod status_source;
pub(crate) mod stream;
pub(crate) mod timing;
pub(crate) mod tune;

use std::time::Duration;

use crate::driver::Vitals;
pub use health::{Health, Obstacle};
use status_source::Seen;

/// The loop answers within microseconds; one that takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether icons are remembered over a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JournalState {
    /// Nobody wants it.
    None,
    Kept,
    /// They are to be, and can't.
    Degraded,
}

fn journal_state(vitals: &Vitals, seen: &Seen) -> JournalState {
    match (seen.state_dir, vitals.journal) {
        (false, _) => JournalState::None,
        (true, Some(journal)) if !journal.degraded => JournalState::Kept,
        // A directory that could not be used at the start has no journal at all.
        (true, _) => JournalState::Degraded,
    }
}
