//! Turns one dispatch into one HTTPS request to the Interaction Service, and its answer into a [`WireResult`].
//!
//! Nothing is retried here, put in order or held back: that is the engine's, of which this module knows nothing. What
//! it does keep is the bearer token, fetched once for all who wait for it and renewed ahead of its end.
//!
//! [`WireResult`]: crate::model::WireResult

mod answer;
mod client;
pub(crate) mod connection;
pub mod credentials;
mod explain;
#[cfg(fuzzing)]
pub mod fuzz;
mod payload;
pub(crate) mod pool;
pub(crate) mod proxy;
mod route;
pub mod settings;
mod token;
pub(crate) mod via;
pub(crate) mod watched;

#[cfg(test)]
mod tests;

pub(crate) use answer::{RETRY_AFTER_MIN, retry_after};
pub use client::Client;
pub(crate) use client::{PrepareError, Prepared, check_roots, error_text};
pub use connection::{Connection, SetupError};
pub(crate) use explain::NO_TLS_ADVICE;
pub use explain::{Explanation, explain};
pub use proxy::Proxy;
pub use settings::Settings;
pub use token::{TokenFigures, TokenState};
pub(crate) use token::{check_key, check_token_file};
