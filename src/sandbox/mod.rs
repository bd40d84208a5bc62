//! A stand-in for the Salesforce Interaction Service, for connectors without an org and for typingd's own tests.
//!
//! As strict as the reference, as slow and broken as it is told to be ([`Faults`]), and it shows what an agent would
//! see: `GET /icons`, or `curl -N 'localhost:7481/icons?watch=true'`. It holds no message text. Whoever runs it serves
//! [`Sandbox::router`] with [`crate::http::serve`].

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
#[cfg(test)]
use icon::Icon;
#[cfg(test)]
use request::Request;

use icon::Icons;
use request::{Rate, Requests};
use token::Tokens;

/// What a sandbox is like. It has no `Debug`, for it holds a token.
#[derive(Clone)]
pub(crate) struct Options {
    /// The one bearer token taken besides those the sandbox issues. Without it any token is taken that is not a JWT
    /// past its `exp`, so that a developer's placeholder works.
    pub token: Option<String>,
    /// Takes no tokens but its own (and `token`).
    pub strict_tokens: bool,
    /// How long a token that it issues is valid; in whole seconds, for such is `exp`.
    pub token_life: Duration,
    /// What the assertions of the JWT bearer flow are signed with. Without it signatures go unchecked.
    pub public_key: Option<DecodingKey>,
    /// The org's rate: requests let in within any one-second window.
    pub rate_limit: u32,
    /// After how long an icon goes off by itself when no Started comes; `None`: never.
    pub icon_ttl: Option<Duration>,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Decides which requests the faults strike, by the order of arrival.
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
    /// A sandbox that has seen nothing yet.
    #[must_use]
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

    /// Calls of the token endpoint.
    #[must_use]
    pub(crate) fn token_calls(&self) -> u64 {
        self.core.tokens.calls()
    }

    /// The faults in force.
    #[must_use]
    pub(crate) fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// Replaces the faults. Their draws start anew, so that the same seed strikes the same requests again.
    pub(crate) fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.drawn = 0;
    }

    /// From now on no token that the sandbox has issued is taken.
    pub(crate) fn revoke_tokens(&self) {
        self.core.tokens.revoke_all();
    }

    /// Forgets the requests, their peak, the rate's window and the token calls.
    pub(crate) fn clear_requests(&self) {
        let mut state = self.state();
        state.requests.clear();
        state.rate = Rate::new(self.core.rate_limit);
        self.core.tokens.clear_calls();
    }

    /// Forgets the icons. Nobody who watches is told.
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

/// What the tests of this module look at.
#[cfg(test)]
impl Sandbox {
    /// All icons, shown or not, in the order in which their conversations came.
    pub(crate) fn icons(&self) -> Vec<Icon> {
        self.state().icons.iter().cloned().collect()
    }

    /// How many icons are shown.
    pub(crate) fn shown(&self) -> usize {
        self.state().icons.shown()
    }

    /// The last 10,000 requests, the newest last.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.page(None, request::REQUESTS_MAX).cloned().collect()
    }

    /// The most requests that arrived in any one-second window.
    pub(crate) fn peak_per_second(&self) -> usize {
        self.state().requests.peak_per_second()
    }
}
