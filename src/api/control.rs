//! `POST /v1/reload` and `POST /v1/shutdown`: what SIGHUP and SIGTERM say, said over HTTP, and answered.
//!
//! Both are carried out elsewhere, by the owner of the settings.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::KeyChange;
use crate::http::{Problem, TokenAuth, hear_out, read_body};

/// Orders that may wait for the owner; whoever comes with a further one waits for a place.
const ORDERS_MAX: usize = 16;
/// The longest that reading the configuration again takes: five seconds for a token by the new credentials, four for
/// the loops to hold to the policy; and some more for one that was under way already.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to come again, in seconds, if there was no answer.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Something that the owner of the settings is to do. If the answer's other end is closed nobody waits for it.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Reloaded, Unchanged>>),
    /// Stop, and say how long that may take.
    Shutdown(oneshot::Sender<Duration>),
}

/// The configuration has been read again, and is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// What has changed, and from when on it holds.
    pub changes: Vec<(KeyChange, TakesHold)>,
    /// What the new settings will do badly.
    pub warnings: Vec<String>,
}

/// From when on a changed key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakesHold {
    /// From now on.
    Now,
    /// When the daemon is started again.
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
    /// It is wrong, or a file that it names is: all that is.
    Wrong(Vec<String>),
    /// It may be right, but what it asks for can't be had at the moment.
    Hindered(Vec<String>),
    /// The driver has not taken it.
    Behind,
}

/// How the daemon has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Icons that may be left on; `None` if that is not known.
    pub icons_left: Option<usize>,
    /// Stops that were given up since the start: their icons may be on, too.
    pub given_up: u64,
}

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    gate: TokenAuth,
    owner: mpsc::Sender<Order>,
    ending: watch::Receiver<Option<Ending>>,
}

impl Control {
    /// Callers that `gate` lets in are heard; the other end is the owner's. Whoever follows a shutdown to its end hears
    /// of the `ending`.
    #[must_use]
    pub(crate) fn new(gate: TokenAuth, ending: watch::Receiver<Option<Ending>>) -> (Self, mpsc::Receiver<Order>) {
        let (owner, orders) = mpsc::channel(ORDERS_MAX);
        (Self { gate, owner, ending }, orders)
    }

    /// The routes of this edge.
    pub(crate) fn router(self) -> Router {
        let only_post = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is done by POST");
        Router::new()
            .route("/v1/reload", post(reload).fallback(only_post))
            .route("/v1/shutdown", post(shut_down).fallback(only_post))
            .with_state(self)
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Problem> {
        let (answer, told) = oneshot::channel();
        let ordered = async {
            self.owner.send(order(answer)).await.ok()?;
            told.await.ok()
        };
        match tokio::time::timeout(PATIENCE, ordered).await {
            Ok(Some(told)) => Ok(told),
            Ok(None) => Err(unavailable("the daemon is shutting down")),
            Err(_) => {
                Err(unavailable("the daemon is behind with its work; this may still be done, and its log will tell"))
            }
        }
    }
}

async fn reload(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    admit(&control, request).await?;
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "there are no options here"));
    }
    match control.order(Order::Reload).await? {
        Ok(reloaded) => Ok(answer_json(StatusCode::OK, &reloaded.to_json())),
        Err(unchanged) => Err(unchanged.into_problem()),
    }
}

async fn shut_down(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    admit(&control, request).await?;
    let follow = match query.as_deref().unwrap_or_default() {
        "" | "follow=false" => false,
        "follow=true" => true,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "`follow=true` is the only option")),
    };
    let grace = control.order(Order::Shutdown).await?;
    let begun = json!({"stopping": true, "grace_ms": grace.as_millis() as u64});
    if !follow {
        return Ok(answer_json(StatusCode::ACCEPTED, &begun));
    }
    let mut ending = control.ending;
    let last = async move {
        let ending = *ending.wait_for(Option::is_some).await.ok()?;
        ending.map(|ending| json!({"stopped": true, "icons_left": ending.icons_left, "given_up": ending.given_up}))
    };
    let lines = stream::iter([begun]).chain(stream::once(last).filter_map(std::future::ready));
    let lines = lines.map(|line| Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((StatusCode::ACCEPTED, headers, Body::from_stream(lines)).into_response())
}

/// A body would say that more is expected of this than is done.
async fn admit(control: &Control, request: Request<Body>) -> Result<(), Problem> {
    let (head, mut body) = request.into_parts();
    let admitted = async {
        control.gate.check(&head.headers)?;
        read_body(&head.headers, &mut body, 0, "this takes none").await.map(drop)
    };
    match admitted.await {
        Ok(()) => Ok(()),
        Err(problem) => Err(hear_out(&head.headers, &mut body, problem).await),
    }
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
        let told = |status, what, problems: Vec<String>| {
            Problem::new(status, format!("{what}; nothing has been changed: {}", problems.join("; ")))
                .with("problems", problems.into())
        };
        match self {
            Self::Wrong(problems) => told(StatusCode::UNPROCESSABLE_ENTITY, "the configuration is wrong", problems),
            Self::Hindered(problems) => told(StatusCode::CONFLICT, "the configuration can't take hold", problems),
            Self::Behind => unavailable("the daemon is behind with its work; nothing has been changed"),
        }
    }
}

fn answer_json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
}
