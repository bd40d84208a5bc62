//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// A body in one piece, which is kept as it is, or that of a handler.
pub(crate) enum AnswerBody {
    Ready(Bytes),
    Routed(Body),
    /// One that has broken off. hyper gives up what it has not written yet once it knows: it is told a turn later.
    Broken(Option<axum::Error>),
}

impl AnswerBody {
    /// As that of a handler.
    pub(crate) fn into_body(self) -> Body {
        match self {
            Self::Ready(bytes) => bytes.into(),
            Self::Routed(body) => body,
            broken @ Self::Broken(_) => Body::new(broken),
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Ready(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Ready(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Routed(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => {
                    *this = Self::Broken(Some(error));
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                polled => polled,
            },
            Self::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(bytes) => bytes.is_empty(),
            Self::Routed(body) => body.is_end_stream(),
            Self::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Routed(body) => body.size_hint(),
            Self::Broken(_) => SizeHint::new(),
        }
    }
}
