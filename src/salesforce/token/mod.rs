//! The bearer token: one for all requests, fetched once however many wait, renewed ahead of its end, dropped when refused.
//!
//! `State` is the whole machine and is handed the time; `Tokens` puts a lock, the clock and the fetching around it.

mod jwt;
mod pem;
mod refusal;
mod source;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::model::Instant;
use crate::salesforce::settings::Auth;
pub(crate) use jwt::check_key;
pub(super) use source::Source;
pub(crate) use source::check_token_file;
use state::{Ask, State};
pub(super) use state::{Denied, Fetched, Token};
pub use state::{TokenFigures, TokenState};
#[cfg(fuzzing)]
pub(super) use {jwt::read as read_answer, source::bearer};

/// The shared token. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens(Arc<Shared>);

struct Shared {
    clock: Clock,
    inner: Mutex<Inner>,
    /// Notified of everything that could end a wait.
    changed: watch::Sender<()>,
}

struct Inner {
    source: Source,
    /// Counts restarts, so that a fetch from an earlier source brings nothing.
    epoch: u64,
    state: State,
}

impl Inner {
    /// When the next fetch is to begin; never where connectors show their own credentials.
    fn due(&self) -> Instant {
        if self.source.auth == Auth::Cached { Instant::NEVER } else { self.state.due() }
    }
}

/// What becomes of the token in hand when its source is replaced.
#[derive(Debug)]
pub(super) enum Replacement {
    /// It stays: the new source would give out the same.
    Keep,
    /// It is fetched anew.
    Restart,
    /// This one of the new source takes its place.
    With(Fetched),
}

impl Tokens {
    pub(super) fn new(source: Source, clock: Clock) -> Self {
        let state = State::new(source.polls());
        let inner = Mutex::new(Inner { source, epoch: 0, state });
        Self(Arc::new(Shared { clock, inner, changed: watch::Sender::new(()) }))
    }

    /// From now on tokens come from `source`.
    pub(super) fn replace(&self, source: Source, replacement: Replacement) {
        let mut inner = self.lock();
        if !matches!(replacement, Replacement::Keep) {
            inner.epoch += 1;
            inner.state.restart(source.polls());
        }
        if let Replacement::With(fetched) = replacement {
            inner.state.fetched(self.0.clock.now(), Ok(fetched));
        }
        inner.source = source;
        drop(inner);
        self.0.changed.send_replace(());
    }

    /// Whether `fetched` is the token in hand.
    pub(super) fn holds(&self, fetched: &Fetched) -> bool {
        self.lock().state.holds(&fetched.bearer)
    }

    /// The token in hand, if none has to be waited for.
    pub(super) fn in_hand(&self) -> Option<Token> {
        let now = self.0.clock.now();
        match self.tend(now).state.ask(now) {
            Ask::Have(token) => Some(token),
            Ask::Denied(_) | Ask::Wait => None,
        }
    }

    /// The token; waits while one is being fetched, and only then. Cancel safe: the fetch is a task of its own, and goes on
    /// for the others.
    pub(super) async fn current(&self) -> Result<Token, Denied> {
        // Before the question, lest an answer between question and wait be missed.
        let mut changed = self.0.changed.subscribe();
        loop {
            let now = self.0.clock.now();
            match self.tend(now).state.ask(now) {
                Ask::Have(token) => return Ok(token),
                Ask::Denied(denied) => return Err(denied),
                Ask::Wait => {}
            }
            // Fails only without a sender, which `self` holds.
            let _ = changed.changed().await;
        }
    }

    /// The upstream accepted this token.
    pub(super) fn accepted(&self, token: &Token) {
        self.lock().state.accepted(token.generation);
    }

    /// The upstream refused this token.
    pub(super) fn refused(&self, token: &Token) {
        self.lock().state.refused(self.0.clock.now(), token.generation);
        self.0.changed.send_replace(());
    }

    pub(super) fn state(&self) -> TokenState {
        self.lock().state.public(self.0.clock.now())
    }

    pub(super) fn figures(&self) -> TokenFigures {
        self.lock().state.figures(self.0.clock.now())
    }

    /// Fetches whenever a fetch falls due. Never returns.
    pub(super) async fn keep_fresh(&self) {
        let mut changed = self.0.changed.subscribe();
        loop {
            let due = self.tend(self.0.clock.now()).due();
            tokio::select! {
                () = self.0.clock.sleep_until(due) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Starts a fetch if one is due.
    fn tend(&self, now: Instant) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        if now >= inner.due() {
            inner.state.fetching = true;
            let (this, source, epoch) = (self.clone(), inner.source.clone(), inner.epoch);
            tokio::spawn(async move {
                let result = source.fetch().await;
                let mut inner = this.lock();
                if inner.epoch == epoch {
                    inner.state.fetched(this.0.clock.now(), result);
                }
                drop(inner);
                this.0.changed.send_replace(());
            });
        }
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
