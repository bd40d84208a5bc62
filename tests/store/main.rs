//! The store as it is run: a real server, where one is installed.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

// The model is the simulation's: what the fleet is tested with is what the scripts are held against.
#[path = "../simulation/fleet_store.rs"]
#[allow(dead_code)]
mod fleet_store;
#[path = "../simulation/rng.rs"]
#[allow(dead_code)]
mod rng;
mod scripts;
mod server;
