//! What `tune` measures, proved by an independent brute force, and every edge of its definitions pinned.
//!
//! Of `tune` itself nothing is used but the call and its report. What a measure is stands in `brute.rs`, worked out from
//! the definitions alone; the indicators come from `simulate`, that is from the engine.

mod brute;
mod compare;
mod edges;
mod exhaustive;
mod link;
mod random;
mod relations;
mod report;
#[expect(dead_code, reason = "a part of it is needed")]
#[path = "../simulation/rng.rs"]
mod rng;
mod sureness;
mod terminal;
mod traces;
mod verdict;
