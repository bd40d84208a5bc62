//! Observers of the loop: statistics of typing, metrics of the loop, event history, recording; and the snapshot that operators
//! see.

pub mod events;
pub(crate) mod histogram;
pub(crate) mod loop_event;
pub(crate) mod loop_metrics;
pub(crate) mod recording;
pub(crate) mod snapshot;
pub mod typing;
