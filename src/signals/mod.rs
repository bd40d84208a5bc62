//! Signals as text: one JSON object, a stream of lines, a trace file.

pub mod json;
pub mod lines;
pub mod trace;
