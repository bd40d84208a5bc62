//! What is going on, for operators and their machines, and what they may change of it.

pub(crate) mod control;
pub(crate) mod conversations;
mod events;
pub(crate) mod health;
pub(crate) mod indicators;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod query;
pub mod signals;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod timing;
pub(crate) mod tune;

use std::time::Duration;

/// The loop answers within microseconds; one that takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
