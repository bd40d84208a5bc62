//! Signals as text: one JSON object, a stream of lines, a trace file.

pub mod json;
pub(crate) mod lines;
mod plain;
pub mod trace;
