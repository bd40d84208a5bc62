//! Observers of the loop: what the timing costs and gives, how long the work takes, what was decided, the recording.

pub mod events;
pub(crate) mod histogram;
pub(crate) mod recording;
pub mod typing;
pub(crate) mod work;
