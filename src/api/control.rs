//! `POST /v1/reload` and `POST /v1/shutdown`: SIGHUP and SIGTERM over HTTP, with an answer.
//!
//! The owner of the settings carries both out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Api, ask, busy};
use crate::config::KeyChange;
use crate::http::{NoOptions, Options, Problem, read_body};

/// Orders that may wait for the owner; the caller of a further one waits for a place.
pub(crate) const ORDERS_MAX: usize = 16;
/// The longest that reading the configuration again takes: five seconds for a token by the new credentials, four for
/// the loops to adopt the policy; and some more for a reload that is under way already.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A body would say that more is expected of the call than it does.
const NO_BODY: &str = "this call takes no body";

/// A request to the owner of the settings. If the answer's other end is closed, no one waits for it.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Reloaded, Unchanged>>),
    /// Stop, and say how long that may take.
    Shutdown(oneshot::Sender<Duration>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    pub changes: Vec<(KeyChange, TakesHold)>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakesHold {
    Now,
    NextStart,
}

impl TakesHold {
    const fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::NextStart => "next_start",
        }
    }
}

/// Why the configuration that was read is not in force. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unchanged {
    /// All that is wrong with it, or with a file that it names.
    Wrong(Vec<String>),
    /// What keeps it from taking hold at the moment.
    Hindered(Vec<String>),
    /// The loop has not adopted it in time.
    Behind,
}

/// How the daemon has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Icons that may be left on; `None` if unknown.
    pub icons_left: Option<usize>,
    /// Stopped entries that were given up since the start: their icons may be on, too.
    pub given_up: u64,
}

pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    _: Options<NoOptions>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    read_body(&headers, body, 0, NO_BODY).await?;
    match ask(&api.orders, TIMEOUT, Order::Reload).await? {
        Ok(reloaded) => Ok(Json(reloaded.to_json()).into_response()),
        Err(unchanged) => Err(unchanged.into_problem()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    #[serde(default)]
    follow: bool,
}

pub(super) async fn shut_down(
    State(api): State<Arc<Api>>,
    Options(Shutdown { follow }): Options<Shutdown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    read_body(&headers, body, 0, NO_BODY).await?;
    let grace = ask(&api.orders, TIMEOUT, Order::Shutdown).await?;
    let begun = json!({"stopping": true, "grace_ms": grace.as_millis() as u64});
    if !follow {
        return Ok((StatusCode::ACCEPTED, Json(begun)).into_response());
    }
    let mut ending = api.ending.clone();
    let last = async move {
        let ending = *ending.wait_for(Option::is_some).await.ok()?;
        ending.map(|ending| json!({"stopped": true, "icons_left": ending.icons_left, "given_up": ending.given_up}))
    };
    let lines = stream::iter([begun]).chain(stream::once(last).filter_map(std::future::ready));
    let lines = lines.map(|line| Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((StatusCode::ACCEPTED, headers, Body::from_stream(lines)).into_response())
}

impl Reloaded {
    fn to_json(&self) -> serde_json::Value {
        let changes = self.changes.iter().map(|(change, takes_hold)| {
            json!({"key": change.key, "old": change.old, "new": change.new, "takes_hold": takes_hold.name()})
        });
        json!({"changes": changes.collect::<Vec<_>>(), "warnings": self.warnings})
    }
}

impl Unchanged {
    fn into_problem(self) -> Problem {
        let problem = |status, what, problems: Vec<String>| {
            Problem::new(status, format!("{what}; nothing has been changed: {}", problems.join("; ")))
                .with("problems", problems.into())
        };
        match self {
            Self::Wrong(problems) => problem(StatusCode::UNPROCESSABLE_ENTITY, "the configuration is wrong", problems),
            Self::Hindered(problems) => problem(StatusCode::CONFLICT, "the configuration can't take hold", problems),
            Self::Behind => busy("the daemon is behind with its work; nothing has been changed"),
        }
    }
}
