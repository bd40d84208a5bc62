//! A stand-in for the Salesforce Interaction Service, for connectors without an org and for typingd's own tests.
//!
//! As strict as the reference, as slow and broken as its [`Faults`] say, and it shows what an agent would
//! see: `GET /icons`, or `curl -N 'localhost:7481/icons?watch=true'`. It holds no message text. [`Sandbox::router`] is served
//! with [`crate::http::serve`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::DecodingKey;

use crate::base::clock::Clock;

mod args;
mod endpoint;
mod fault;
mod icon;
mod interaction;
mod rejection;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod token;
mod upload;
mod view;

pub(crate) use args::SandboxArgs;
pub(crate) use fault::Faults;
use icon::Icons;
use request::{Rate, Requests};
use token::Tokens;

/// It has no `Debug`, for it holds a token.
#[derive(Clone)]
pub(crate) struct Options {
    /// The one bearer token accepted besides those the sandbox issues. Without it any token is accepted that is not a
    /// JWT past its `exp`, so that a developer's placeholder works.
    pub token: Option<String>,
    /// Accepts only its own tokens, and `token`.
    pub strict_tokens: bool,
    /// How long a token that it issues is valid, in whole seconds, as `exp` is.
    pub token_life: Duration,
    /// Verifies the assertions of the JWT bearer flow. Without it signatures are not checked.
    pub public_key: Option<DecodingKey>,
    /// The org's rate: requests accepted within any one-second window.
    pub rate_limit: u32,
    /// After how long an icon goes off by itself when no Started comes; `None`: never.
    pub icon_ttl: Option<Duration>,
    pub faults: Faults,
    /// Selects the requests that the faults strike, by the order of arrival.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            strict_tokens: false,
            token_life: Duration::from_secs(30 * 60),
            public_key: None,
            rate_limit: 2_000,
            icon_ttl: None,
            faults: Faults::default(),
            seed: 42,
        }
    }
}

/// The stand-in. Clones are the same sandbox.
#[derive(Clone)]
pub(crate) struct Sandbox {
    core: Arc<Core>,
}

struct Core {
    clock: Clock,
    tokens: Tokens,
    seed: u64,
    rate_limit: u32,
    state: Mutex<State>,
}

struct State {
    icons: Icons,
    requests: Requests,
    rate: Rate,
    faults: Faults,
    /// Requests that arrived since `faults` came into force.
    drawn: u64,
}

impl Sandbox {
    pub(crate) fn new(options: Options, clock: Clock) -> Self {
        let Options { token, strict_tokens, token_life, public_key, rate_limit, icon_ttl, faults, seed } = options;
        let state = State {
            icons: Icons::new(icon_ttl, clock),
            requests: Requests::default(),
            rate: Rate::new(rate_limit),
            faults,
            drawn: 0,
        };
        let tokens = Tokens::new(token_life, token, strict_tokens, public_key);
        Self { core: Arc::new(Core { clock, tokens, seed, rate_limit, state: Mutex::new(state) }) }
    }

    /// Replaces the faults. Their draws start anew, so that the same seed strikes the same requests again.
    pub(crate) fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.drawn = 0;
    }

    /// Forgets the requests, their peak, the rate's window and the token calls.
    pub(crate) fn clear_requests(&self) {
        let mut state = self.state();
        state.requests.clear();
        state.rate = Rate::new(self.core.rate_limit);
        self.core.tokens.clear_calls();
    }

    /// Forgets the icons, without a word to watchers.
    pub(crate) fn clear_icons(&self) {
        self.state().icons.clear();
    }

    /// The state as it is now: icons whose lifespan is over are off.
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, a test is better off with the state than without.
        let mut state = self.core.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.icons.expire(self.core.clock.now());
        state
    }
}
