//! One agent's view of the daemon's own sandbox, at the daemon's address: `GET /v1/sandbox/icons`.
//!
//! A page that the daemon has served may call only the daemon; this is how it sees what an agent would see.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::Sandbox;
use super::endpoint::{Edge, Next, json_line};
use crate::http::Problem;
use crate::model::ConversationRef;

impl Sandbox {
    /// The route. Watchers are let go when `stop` becomes true.
    pub(crate) fn view(&self, stop: watch::Receiver<bool>) -> Router {
        let edge = Edge { sandbox: self.clone(), stop };
        Router::new().route("/v1/sandbox/icons", get(icon)).with_state(edge)
    }

    fn shows(&self, to: &str, from: &str) -> bool {
        self.state().icons.find(to, from).is_some_and(|icon| icon.shown)
    }

    /// The icon of a conversation, as a line for watchers.
    fn icon_line(&self, to: &str, from: &str) -> Bytes {
        let at = self.core.clock.wall_millis(self.core.clock.now());
        json_line(&json!({ "at": at, "from": from, "shown": self.shows(to, from), "to": to }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    to: String,
    from: String,
    #[serde(default)]
    watch: bool,
}

async fn icon(State(edge): State<Edge>, query: Result<Query<Asked>, QueryRejection>) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(asked) = query.map_err(|error| {
        bad(format!("{}; ?to= and ?from= name the conversation, watch=true goes on", error.body_text()))
    })?;
    ConversationRef::new(&asked.to, &asked.from).map_err(|(name, error)| bad(format!("`{name}` {error}")))?;
    if asked.watch {
        return Ok(watch_icon(edge, asked));
    }
    let body = json!({ "shown": edge.sandbox.shows(&asked.to, &asked.from) });
    Ok(([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

/// The icon as it is, then a line for each change of it, and an empty one now and then so that the connection is not
/// taken for idle.
fn watch_icon(edge: Edge, asked: Asked) -> Response {
    // Subscribed before the icon is read: a change in between is sent twice rather than never.
    let changes = edge.sandbox.state().icons.watch();
    let first = edge.sandbox.icon_line(&asked.to, &asked.from);
    let rest = stream::unfold((edge, changes, asked), |(mut edge, mut changes, asked)| async move {
        let line = loop {
            match edge.next_change(&mut changes).await? {
                Next::Change(change) if change.to == asked.to && change.from == asked.from => {
                    break json_line(&*change);
                }
                Next::Change(_) => {}
                Next::Lost(_) => break edge.sandbox.icon_line(&asked.to, &asked.from),
                Next::Beat => break Bytes::from_static(b"\n"),
            }
        };
        Some((line, (edge, changes, asked)))
    });
    let lines = stream::once(async { first }).chain(rest).map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
