//! typingd tells Salesforce when an end user types: on at the first key, gone soon after the user stops, never stuck.
//!
//! One pure value and one loop. The value, [`engine::Engine`], knows everything about typing, order, retries and rate;
//! it is given events and the time, and is asked what to send and when to wake. The loop, [`driver::run`], owns it.
//! Everything else is an adapter at the edge, and adapters don't know each other.
pub mod clock;
pub mod config;
pub mod engine;
pub mod http;
pub mod inbox;
pub mod ingest;
pub mod model;
pub mod salesforce;
pub mod sandbox;
pub mod signal;
pub mod simulate;
pub mod telemetry;
pub mod trace;
