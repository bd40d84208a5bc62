//! typingd tells Salesforce when an end user types: on at the first key, gone soon after the user stops, never stuck.
//!
//! One pure value and one loop. The value, [`engine::Engine`], knows everything about typing, order, retries and rate;
//! it is given events and the time, and is asked what to send and when to wake. The loop, [`driver::run`], owns it.
//! Everything else is an adapter at the edge, and adapters don't know each other.
//!
//! # The way of a keystroke
//!
//! ```text
//!  connector ── POST /v1/signals ──▶ ingest ── SignalBatch ──▶ inbox ──▶ driver ──▶ Engine::handle_signal
//!                                      ▲                                  │ ▲          timing: is it the first? a check?
//!                                      └───────── Receipt ────────────────┘ │          outbox: wish ≠ belief?
//!                                                                           │          pace: may a request leave?
//!  Salesforce ◀── HTTPS ── salesforce::Client ◀── Dispatch ── driver ◀──────┴──────── Engine::poll_dispatch
//!       └────────────────── WireResult ──────────────────────▶ driver ──▶ Engine::handle_outcome
//! ```
//!
//! # The modules, in reading order
//!
//! - [`model`]: the nouns that cross seams.
//! - [`engine`]: the pure part: `timing` (one conversation's check and dismiss), `outbox` (its wish and belief),
//!   `tracker` (all conversations; `slab` and `index` keep them), `wheel` (their deadlines), `changes` (of all at once),
//!   `pace` (rate, gate, back-off), `policy` (what it is told).
//! - [`clock`], [`inbox`], [`driver`], [`herald`]: the one clock, the bounded hand-over, the one loop, and what it tells
//!   operators.
//! - [`signal`], [`lines`], [`ingest`]: bytes to signals.
//! - [`salesforce`]: dispatches to HTTPS, and the token.
//! - [`drop_in`], [`credentials`], [`via`]: what connectors send to Salesforce, passed on; the credentials that they show;
//!   the header by which a request that comes back is known.
//! - [`journal`]: icons told on and not yet off, on disk: what a crash must not lose.
//! - [`recording`]: the bounded hand-over to whoever records the signals, without their ids.
//! - [`pulse`], [`systemd`]: the sign of life of the loop; what a service manager is told.
//! - [`ledger`]: what the timing costs and gives, measured as users type.
//! - [`measures`]: how long the daemon's own work takes, and what becomes of requests.
//! - [`chronicle`]: what is decided and what becomes of it, told to whoever watches.
//! - [`http`], [`admin`]: the server's edge; health, metrics, the streams of signals and of indicators, the
//!   timing changed while running, the trace studied and simulated.
//! - [`console`]: the page for people, which calls the rest.
//! - [`config`], [`files`], [`telemetry`], [`build_info`]: settings, logs, what this build is. `spans`, with the feature `otlp`: from
//!   signal to acknowledgement, for a collector.
//! - [`daemon`], [`cli`]: the parts put together, the commands.
//! - [`trace`], [`mod@record`], [`mod@simulate`], [`mod@replay`]: recorded typing, taken down, in virtual and in real time.
//! - [`tune`]: what each setting costs and gives on recorded typing, by the same engine.
//! - [`client`], [`interrupt`], [`mod@timing`], [`mod@tap`]: what the commands that call a running daemon have in common,
//!   the one that changes its timing, the one that watches it.
//! - [`probe`], [`sandbox`]: one icon on and off for a trial; the stand-in Interaction Service.
//!
//! # Invariants
//!
//! 1. `engine` names nothing but `std`, `model` and the hash table's crates; no clock is read outside `clock`.
//! 2. Only `driver` holds the engine; there is no lock around it.
//! 3. A Started is only ever sent for somebody typing at that instant; a Stopped only for somebody who is not.
//! 4. At most one request per conversation is in flight; the newest wish wins.
//! 5. If the far side may show an icon that should be off, a Stopped is owed until acknowledged or its lifespan is over.
//! 6. Losing any single signal is harmless. A lost keystroke is repaired by the next one.
//! 7. No type can carry message text. It enters the process by the drop-in alone, which forwards bytes it doesn't read:
//!    nothing of them is parsed, logged or kept.
//! 8. Every queue, table, line, head, body, wait and retry has a named bound.
//! 9. Modules own their settings; `config` fills them in; no module sees the whole configuration but `daemon` and `cli`.
//! 10. Nothing listens before the configuration is valid. Nothing a peer sends can panic, or write a log line at info.
//! 11. The loop never works longer than some milliseconds without looking at its inbox: wide work goes in slices.

pub mod api;
pub mod base;
pub mod cli;
pub mod config;
pub mod console;
pub mod daemon;
pub mod driver;
pub mod drop_in;
pub mod engine;
pub mod http;
pub mod journal;
pub mod model;
pub mod observe;
pub mod salesforce;
pub mod sandbox;
pub mod signals;
pub mod telemetry;
pub mod tune;
