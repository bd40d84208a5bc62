//! What every floor may use: the clock, timers, durations and sizes as text, files, pseudonyms, text for people, what this
//! build is.

pub mod build_info;
pub mod clock;
pub mod duration;
pub(crate) mod files;
pub(crate) mod memory;
pub(crate) mod pseudonym;
pub(crate) mod size;
pub(crate) mod text;
pub(crate) mod timers;
