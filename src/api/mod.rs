//! What is going on, for operators and their machines, and what they may change of it.

pub mod control;
pub mod conversations;
mod events;
mod health;
pub mod indicators;
pub mod log;
pub mod metrics;
pub mod openapi;
pub mod query;
pub mod reading;
pub mod signals;
pub mod simulate;
pub mod status;
pub mod status_source;
pub mod stream;
pub mod timing;
pub mod tune;

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
