//! `GET /v1/signals/stream`: the signals as they arrive, as a trace without end users' ids, for recording.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::watch;

use super::options::{bad, id, value};
use super::{Api, PATIENCE, busy, loop_silent};
use crate::driver::NotRecorded;
use crate::http::{Options, Problem};
use crate::model::ChannelAddress;
use crate::observe::recording::{Recording, Scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordQuery {
    to: Option<String>,
    name_channels: Option<String>,
}

impl RecordQuery {
    fn scope(self) -> Result<Scope, Problem> {
        let to = id("to", self.to)?.map(|to| ChannelAddress::new(&to)).transpose();
        let to = to.map_err(|error| bad(format!("`to` {error}")))?;
        let name_channels = self
            .name_channels
            .map_or(Ok(false), |text| value("name_channels", &text, text.parse().ok(), "true or false"))?;
        Ok(Scope { to, name_channels })
    }
}

pub(super) async fn record(
    State(api): State<Arc<Api>>,
    Options(query): Options<RecordQuery>,
) -> Result<Response, Problem> {
    let scope = query.scope()?;
    if !*api.recording.borrow() {
        let detail = "recording is off; `ingest.recording = true` in typingd's configuration allows it";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    match api.controls.record(scope, PATIENCE).await.ok_or_else(loop_silent)? {
        Ok(recording) => Ok(body_of(recording, api.recording.clone())),
        Err(NotRecorded::Busy) => {
            let detail = "a recording is under way, and there is one at a time; end that one first";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Err(NotRecorded::Stopping) => Err(busy("typingd is shutting down")),
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
