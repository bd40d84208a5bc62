//! typingd tells Salesforce when an end user is typing: the icon goes on at the first key, off soon after the user
//! stops, and never stays on.
//!
//! One pure value and one loop. The value, [`engine::Engine`], knows everything about typing, order, retries and rate;
//! it is given events and the time, and is asked what to send and when to wake. The loop, [`driver::run`], owns it.
//! Everything else is an adapter at the edge. The adapters that serve callers don't know each other.
//!
//! # The way of a keystroke
//!
//! ```text
//!  connector ── POST /v1/signals ──▶ api ─── SignalBatch ──▶ inbox ──▶ driver ──▶ Engine::handle_signal
//!                                      ▲                                │ ▲          timing: the first key? a check?
//!                                      └──────── Receipt ───────────────┘ │          outbox: desired ≠ acknowledged?
//!                                                                         │          pace: may a request leave?
//!  Salesforce ◀── HTTPS ── salesforce::Client ◀── Dispatch ── driver ◀────┴───────── Engine::poll_dispatch
//!       └────────────────── WireResult ────────────────────▶ driver ──▶ Engine::handle_outcome
//! ```
//!
//! A single signal is answered without the receipt while the table has room for whatever a turn of the loop can bring: it
//! can't be turned away then, and the loop takes all that have gathered at once.
//!
//! # The house, floor by floor
//!
//! A folder imports only what stands above it in this list; `tests/it/tidy.rs` holds it to that.
//!
//! - [`model`]: the nouns that cross seams: time, conversation, signal, indicator, dispatch and outcome.
//! - [`base`]: what every floor may use: the one clock, durations and sizes as text, files, what this build is.
//! - [`engine`]: pure. `timing` (one conversation's check and dismiss), `outbox` (its desired and acknowledged state),
//!   `tracker` (all conversations; `table` and `slab` keep them), `channels` (theirs), `upkeep` (after each step), `wheel`
//!   (their deadlines), `changes` (of all at once),
//!   `pace` (rate, circuit breaker, back-off), `order` (of the messages that pass through the drop-in), `policy` (its
//!   settings).
//! - [`signals`]: signals as text: one object, a stream of lines, a trace file.
//! - `journal`: icons on disk: what a crash must not lose.
//! - [`fleet`]: several typingd for one org: who owns which conversation. Pure.
//! - [`store`]: what they share, on an existing server: the fleet's commands as scripts.
//! - [`tune`]: what each setting costs and gives on recorded typing, by the same engine; `simulate`.
//! - [`observe`]: observers of the loop: statistics of typing, metrics of the loop, event history, recording; and the
//!   snapshot that operators see.
//! - `telemetry`: log lines, pseudonyms, spans.
//! - [`driver`]: the loop, its state and observers, inbox, heartbeat, delivery log.
//! - [`salesforce`]: dispatches to HTTPS; answers, tokens, credentials.
//! - [`http`]: the server's edge: listeners, connections, authentication, bodies, problems. It knows no route.
//! - [`drop_in`]: `/api/v1/` in front of the real one.
//! - [`config`]: file, environment and flags to validated settings.
//! - [`api`]: the routes of `/v1`, health, metrics, the description of the interface.
//! - `console`: the page for people. `sandbox`: the stand-in Interaction Service.
//! - `daemon`: the parts put together: build, serve, drain; reload; the service manager.
//! - [`cli`]: each command whole, and the client that they share.
//!
//! # Words
//!
//! - **signal**: what the connector reports about an end user: `keystroke`, `message_sent`, `stopped`, `opened`, `ended`.
//! - **indicator**: what Salesforce is sent: `TypingStarted`, `TypingStopped`.
//! - **conversation**: one pair of channel address (`to`) and end user (`from`).
//! - **check**: every `check_interval`, whether the user is still typing. A Started sent at a check is a **refresh**.
//! - **dismiss**: the icon going off by itself, `dismiss_after`.
//! - **desired state, acknowledged state**: whether a conversation's icon should be on, and what the upstream has
//!   acknowledged. A Stopped is **owed** while the upstream may show an icon that should be off.
//! - **dispatch, outcome**: a request that the engine lets go, and what became of it.
//! - **upstream**: the Interaction Service, or whatever stands in for it.
//! - **circuit breaker**: closed while the upstream works; open after failures; half-open while one request tries it.
//! - **muted**: left alone for `mute_for`, because the upstream refuses it permanently.
//! - **node, owner, lease**: where several typingd serve one org, each is a node. A conversation's owner decides and sends
//!   for it, as long as its lease lasts. A **stray** is an icon that a node may have switched on without owning it.
//! - **store**: the server that several typingd share: register of owners, post office, clock of the leases.
//! - **sandbox**: the built-in stand-in for the Interaction Service. **trace**: a file of recorded signals.
//!
//! The twelve rules of timing are in the README, under "The timing rules"; code and tests cite them by number, as in
//! "timing rule 7".
//!
//! # Invariants
//!
//! 1. `engine` and `fleet` name nothing but `std`, `model` and a hash table; no clock is read outside `base/clock`.
//! 2. Only the loop holds the engine; there is no lock around it.
//! 3. A Started is sent only by the rules of timing in force; a Stopped whenever they, a limit or the end say so.
//! 4. At most one request per conversation is in flight; the newest desired state wins.
//! 5. If the upstream may show an icon that should be off, a Stopped is owed until acknowledged or its lifespan is over.
//! 6. Losing any single signal is harmless. A lost keystroke is repaired by the next one.
//! 7. No type can carry message text. It enters the process by the drop-in alone, which forwards bytes that it doesn't
//!    read: nothing of them is parsed, logged or kept.
//! 8. Every queue, table, line, head, body, wait and retry has a named bound. So has memory that a caller can make us use.
//! 9. Modules own their settings; `config` fills them in; no module sees the whole configuration but `daemon` and `cli`.
//! 10. Nothing listens before the configuration is valid. Nothing a peer sends can panic, or write a log line at info.
//! 11. Messages of one end user leave the drop-in in the order in which they came, whatever happens to icons, within
//!     `drop_in.order_wait`.
//! 12. The loop never works longer than 10 ms without looking at its inbox: wide work goes in slices.

pub mod api;
pub mod base;
pub mod cli;
pub mod config;
mod console;
mod daemon;
pub mod driver;
pub mod drop_in;
pub mod engine;
pub mod fleet;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod http;
mod journal;
pub mod model;
pub mod observe;
pub mod salesforce;
mod sandbox;
pub mod signals;
pub mod store;
mod telemetry;
pub mod tune;
