//! The answers of `POST /api/v1/interactions`, the broken ones among them.

use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::fault::What;
use super::interaction::Facts;
use super::rejection::{self, Rejection};
use crate::http::stopped;

/// What a request is answered with.
pub(super) enum Reply {
    Accepted(String),
    Rejected(Rejection),
    Close,
    Cut(String),
    Hang,
    Garbage,
}

impl Reply {
    /// What is answered to an interaction that was applied.
    pub(super) fn accepted(facts: &Facts) -> Self {
        Self::Accepted(body(facts, true))
    }

    /// What a fault makes of the answer.
    pub(super) fn faulty(what: What, facts: &Facts, retry_after: Option<u64>) -> Self {
        match what {
            What::Status(429) => Self::Rejected(Rejection::rate(retry_after)),
            What::Status(401) => Self::Rejected(Rejection::new(rejection::TOKEN, "a fault: the token is not taken")),
            What::Status(status) => Self::Rejected(Rejection::status(
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                "a fault that the sandbox was asked for",
            )),
            What::Code(code) => {
                Self::Rejected(Rejection::new(i64::from(code), "a fault that the sandbox was asked for"))
            }
            What::Close => Self::Close,
            What::Cut => Self::Cut(body(facts, true)),
            What::Hang => Self::Hang,
            What::Garbage => Self::Garbage,
            What::Unsuccessful => Self::Accepted(body(facts, false)),
        }
    }

    /// The status that goes on the wire, if any does.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted(_) | Self::Cut(_) | Self::Garbage => Some(StatusCode::ACCEPTED.as_u16()),
            Self::Rejected(rejection) => Some(rejection.status.as_u16()),
            Self::Close | Self::Hang => None,
        }
    }

    /// The error's code, if it is an error.
    pub(super) fn code(&self) -> Option<i64> {
        match self {
            Self::Rejected(rejection) => Some(rejection.code),
            _ => None,
        }
    }

    /// Answers. A hanging answer ends, without having begun, when the sandbox stops.
    pub(super) async fn send(self, stop: &mut watch::Receiver<bool>) -> Response {
        match self {
            Self::Accepted(body) => accepted(Body::from(body)),
            Self::Rejected(rejection) => rejection.into_response(),
            Self::Garbage => accepted(Body::from("<html>a fault that the sandbox was asked for</html>")),
            Self::Cut(body) => cut(body),
            Self::Close => close(),
            Self::Hang => {
                stopped(stop).await;
                close()
            }
        }
    }
}

/// Closes the connection without a byte of an answer: hyper writes a head only together with the body's first piece or
/// wait, and here the body fails before either.
pub(super) fn close() -> Response {
    Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(aborted())])))
}

/// Promises the whole body, sends the head and half of it, and closes the connection.
fn cut(body: String) -> Response {
    let (length, body_half) = (HeaderValue::from(body.len()), body.len() / 2);
    let half = Bytes::from(body).split_to(body_half);
    let pieces = stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
            // The wait in between is what makes hyper send what it has.
            Some(_) => {
                tokio::task::yield_now().await;
                Some((Err(aborted()), None))
            }
            None => None,
        }
    });
    let mut response = accepted(Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn aborted() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

fn accepted(body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn body(facts: &Facts, success: bool) -> String {
    json!({
        "conversationIdentifier": conversation_identifier(facts),
        "id": facts.payload_id,
        "success": success,
        "workItemIds": [],
    })
    .to_string()
}

/// A UUID that is the same for the same `to` and `from`, in every run.
fn conversation_identifier(facts: &Facts) -> Uuid {
    use std::hash::BuildHasher;
    let half = |seed| foldhash::quality::FixedState::with_seed(seed).hash_one((&facts.to, &facts.from));
    uuid::Builder::from_random_bytes(Uuid::from_u64_pair(half(1), half(2)).into_bytes()).into_uuid()
}
