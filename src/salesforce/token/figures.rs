//! How the token fares, in numbers for operators.

use std::time::Duration;

use super::{State, TokenState};
use crate::model::Instant;

/// How the token fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFigures {
    /// Whether there is one.
    pub state: TokenState,
    /// Tokens obtained since the start, each counted once however often its source gave it out.
    pub obtained: u64,
    /// Fetches that brought none.
    pub failures: u64,
    /// Tokens that the far side did not take.
    pub refusals: u64,
    /// How long ago the one in hand was obtained.
    pub age: Option<Duration>,
    /// How long the one in hand is good for; `None` if that is not known.
    pub expires_in: Option<Duration>,
}

impl State {
    /// The numbers at `now`.
    pub(super) fn figures(&self, now: Instant) -> TokenFigures {
        let held = self.held.as_ref().filter(|held| now < held.expires);
        TokenFigures {
            state: self.public(now),
            obtained: self.generation,
            failures: self.failures_total,
            refusals: self.refusals_total,
            age: held.map(|held| now.since(held.obtained)),
            expires_in: held.filter(|held| held.expires != Instant::NEVER).map(|held| held.expires.since(now)),
        }
    }
}
