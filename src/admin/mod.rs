//! What is going on, for operators and their machines, and what they may change of it.

pub mod control;
pub mod conversations;
mod events;
mod explain;
mod families;
mod health;
pub mod indicators;
pub mod log;
pub mod metrics;
mod options;
pub mod reading;
pub mod simulate;
pub mod stream;
pub mod timing;
pub mod tune;

use std::time::Duration;

pub use health::{Health, Obstacle};

/// The loop answers within microseconds; one that takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
