//! The daemon as its users meet it: the real binary, real sockets, settings in milliseconds.
//!
//! Nothing here sleeps and hopes. A test waits for a condition, with a deadline that a busy machine can keep, and what
//! it asserts of time is an order or a bound.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod admin;
mod allocations;
mod browser;
mod candidates;
mod clients;
mod command;
mod configuration;
mod console;
mod control;
mod conversation;
mod conversations;
mod crash;
mod credentials;
mod delivery;
mod doors;
mod drop_in;
mod edge;
mod faults;
mod faults_bars;
mod faults_callers;
mod fleet;
mod fleet_guide;
mod fleet_replicas;
mod fleet_stores;
mod fleet_table;
mod forms;
mod front;
mod goaway;
mod harness;
mod https;
mod idle;
mod indicators;
mod ingest;
mod journal;
mod log;
mod manual;
mod memory;
mod metrics;
mod monitoring;
mod node;
mod openapi;
mod operate;
mod order;
mod package;
mod passing;
mod probe;
mod proxy;
mod recording;
#[path = "../store/server.rs"]
mod redis_server;
mod reference;
mod reload;
mod report;
mod schema;
mod service;
mod shutdown;
mod slow;
mod soak;
#[cfg(feature = "otlp")]
mod spans;
mod status;
mod tap;
mod tidy;
mod timing;
mod tune;
mod turning;

use harness::{account, bench, connector, exposition, far_side, key, process, recorder, secrets, wire};
