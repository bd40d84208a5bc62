//! The engine in simulated worlds: no clock, no socket, every history made up and repeatable.

mod exhaustive;
mod oracle;
