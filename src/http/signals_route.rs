//! The short way of the request that comes with each key: JSON posted to `/v1/signals`, without options. All others, and
//! those whose body does not come with the head, go through layers and routes, with the same answers.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::auth::TokenAuth;
use super::guard::cross_site;
use super::problem::Problem;

/// What is being made of a body: the JSON of a 202, or another answer.
pub(crate) type Taking<'a> = Pin<Box<dyn Future<Output = Result<Bytes, Response>> + Send + 'a>>;

/// Takes signals.
pub(crate) trait TakeSignals: Send + Sync {
    /// Takes the one in `body`, if there is nothing to wait for and nothing wrong with it; the JSON of a 202.
    fn take_at_once(&self, body: &[u8]) -> Option<Bytes>;

    /// Takes those in `body`, which is JSON.
    fn take(&self, body: Bytes) -> Taking<'_>;
}

/// Signals, behind the same checks as by the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SignalsRoute {
    auth: TokenAuth,
    signals: Arc<dyn TakeSignals>,
}

impl SignalsRoute {
    /// Callers show the token of `auth`, if there is one.
    pub(crate) fn new(auth: TokenAuth, signals: impl TakeSignals + 'static) -> Self {
        Self { auth, signals: Arc::new(signals) }
    }

    /// Why a request is refused, whatever is in its body: as in [`guard`](super::guard()) and
    /// [`require_token`](super::require_token).
    pub(super) fn refusal(&self, headers: &HeaderMap, via_unix: bool) -> Option<Problem> {
        let named = !via_unix && self.auth.is_open();
        cross_site(headers, named).or_else(|| self.auth.check(headers).err())
    }

    /// Why a request is refused whose head can be refused for its token alone.
    pub(super) fn refusal_of_token(&self, headers: &HeaderMap) -> Option<Problem> {
        self.auth.check(headers).err()
    }

    pub(super) fn take_at_once(&self, body: &[u8]) -> Option<Bytes> {
        self.signals.take_at_once(body)
    }

    pub(super) fn take(&self, body: Bytes) -> Taking<'_> {
        self.signals.take(body)
    }
}
