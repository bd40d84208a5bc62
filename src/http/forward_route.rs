//! The short way of a message that passes through the drop-in: an interaction whose body has come with its head. All others
//! go through layers and routes, with the same answers.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;

use super::answer::AnswerBody;
use super::problem::Problem;

/// An answer on its way.
pub(crate) type Forwarding<'a> = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Problem>> + Send + 'a>>;

/// Forwards requests.
pub(crate) trait Forward: Send + Sync {
    /// The path for which it does so.
    fn path(&self) -> &'static str;

    /// Forwards a `POST` to [`path`](Self::path), with all of its body.
    fn forward(&self, head: Parts, body: Bytes) -> Forwarding<'_>;
}

/// What forwards interactions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ForwardRoute(Arc<dyn Forward>);

impl ForwardRoute {
    pub(crate) fn new(forward: impl Forward + 'static) -> Self {
        Self(Arc::new(forward))
    }

    pub(super) fn path(&self) -> &'static str {
        self.0.path()
    }

    pub(super) fn forward(&self, head: Parts, body: Bytes) -> Forwarding<'_> {
        self.0.forward(head, body)
    }
}
