//! Observers of the loop: what the timing costs and gives, how long the work takes, what was decided, the recording.

pub mod events;
pub mod histogram;
pub mod recording;
pub mod typing;
pub mod work;
