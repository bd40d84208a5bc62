//! The server's edge: listening addresses, connections with a deadline for everything, bodies read within
//! bounds, callers' tokens, problem documents.
//!
//! It knows no route but those of signals and of what is forwarded, which have a short way. `axum::serve` is not used: it
//! lets a silent client hold its connection for ever.

mod address;
mod answer;
mod auth;
mod body;
mod connection;
mod forward_route;
mod guard;
mod listener;
pub(crate) mod multipart;
mod options;
mod passed;
mod problem;
mod request;
mod server;
mod serving;
mod settings;
mod signals_route;
mod slot;
mod socket;
#[cfg(test)]
mod tests;
mod timed;
mod traffic;
mod unreadable;

pub use address::Address;
pub(crate) use answer::AnswerBody;
pub use auth::TokenAuth;
pub(crate) use auth::{CallerTokens, Gates, read_token};
pub(crate) use auth::{require_signaller, require_token, require_token_or_signaller};
pub(crate) use body::{BODY_STALL_MAX, announced_bytes, check_encoding, media_type, next_data, read_body, too_large};
pub(crate) use forward_route::{Forward, ForwardRoute, Forwarding};
pub(crate) use guard::guard;
pub use listener::Listener;
pub(crate) use options::{NoOptions, Options};
pub(crate) use passed::{Passed, passed};
pub use problem::Problem;
pub(crate) use request::{StreamControl, until};
pub use server::serve;
pub(crate) use server::serve_on;
pub(crate) use serving::{Ends, Serving, stopped};
pub use settings::{AdminSettings, Limits, Settings};
pub(crate) use signals_route::{SignalsRoute, TakeSignals, Taking};
pub(crate) use traffic::{ANSWERS, Connections, Route, Traffic};
