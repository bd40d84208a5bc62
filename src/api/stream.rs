//! `GET /v1/signals/stream`: the signals as they are taken, as a trace without ids, for whoever records them.

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;

use super::PATIENCE;
use crate::driver::{Controls, NotRecorded};
use crate::http::{Problem, TokenAuth};
use crate::observe::recording::Recording;

/// When to come again, in seconds, if the daemon is about to stop.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What the handler needs.
#[derive(Clone)]
pub(crate) struct SignalStream {
    controls: Controls,
    gate: TokenAuth,
    allowed: watch::Receiver<bool>,
}

impl SignalStream {
    /// Callers that `gate` lets in may record while `allowed`. A recording under way ends when it is no longer.
    #[must_use]
    pub(crate) fn new(controls: Controls, gate: TokenAuth, allowed: watch::Receiver<bool>) -> Self {
        Self { controls, gate, allowed }
    }

    /// The route of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/signals/stream", get(stream_signals)).with_state(self)
    }
}

async fn stream_signals(
    State(edge): State<SignalStream>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    edge.gate.check(&headers)?;
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the stream of signals takes no options"));
    }
    if !*edge.allowed.borrow() {
        let detail = "recording is off; `ingest.recording = true` in typingd's configuration allows it";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    match edge.controls.record(PATIENCE).await {
        Some(Ok(recording)) => Ok(body_of(recording, edge.allowed)),
        Some(Err(NotRecorded::Busy)) => {
            let detail = "a recording is under way, and there is one at a time; end that one first";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Some(Err(NotRecorded::Stopping)) => {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "typingd is shutting down");
            Err(problem.retry_after(RETRY_AFTER_SECONDS))
        }
        None => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer")),
    }
}

/// A body that ends with the recording: as a whole one, or visibly broken off.
fn body_of(recording: Recording, allowed: watch::Receiver<bool>) -> Response {
    let pieces = stream::unfold(Some((recording, allowed)), |state| async {
        let (mut recording, mut allowed) = state?;
        let piece = tokio::select! {
            biased;
            _ = allowed.wait_for(|allowed| !allowed) => None,
            piece = recording.next() => piece,
        }?;
        let more = piece.is_ok();
        Some((piece, more.then_some((recording, allowed))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response()
}
