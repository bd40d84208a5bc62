//! The timing, read and changed while the daemon runs: `GET` and `PUT /v1/timing`, `PUT` and `DELETE /v1/timing/{to}`.
//!
//! The settings have a single owner elsewhere; what is asked here is handed to it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, put};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Change, Refusal, Report, TIMED_CHANNELS_MAX};
use crate::http::{Problem, TokenAuth, hear_out, read_body};
use crate::model::ChannelAddress;

/// Requests that may wait for the owner; whoever comes with a further one waits for a place.
/// Each takes milliseconds; some tens, with the timing of 2,000 channels in force.
pub(crate) const REQUESTS_MAX: usize = 16;
/// The owner answers in milliseconds. One that takes this long is stuck, or far behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body: five keys with their values come to 150 bytes, however generously they are spaced to less than
/// this.
pub(crate) const BODY_BYTES_MAX: usize = 4 * 1024;
/// Problems told in full; further ones are counted. A setting that goes with no channel's would else tell 2,000.
const PROBLEMS_TOLD_MAX: usize = 20;
/// When to come again, in seconds, if there was no answer.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Something asked of the owner of the settings.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What to change; nothing, if the timing in force alone is asked for.
    pub change: Option<Change>,
    /// Takes the answer. If it is closed, nobody waits for it any more, and nothing is to be changed.
    pub answer: oneshot::Sender<Result<Report, Denial>>,
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It can't be.
    Refused(Refusal),
    /// The driver has not taken it.
    Behind,
}

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Timing {
    gate: TokenAuth,
    owner: mpsc::Sender<Ask>,
}

impl Timing {
    /// Callers that `gate` lets in are heard; the other end is the owner's.
    #[must_use]
    pub(crate) fn new(gate: TokenAuth) -> (Self, mpsc::Receiver<Ask>) {
        let (owner, asked) = mpsc::channel(REQUESTS_MAX);
        (Self { gate, owner }, asked)
    }

    /// The routes of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/timing", get(tell).put(change))
            .route("/v1/timing/{to}", put(change).delete(change))
            .route("/v1/timing/", any(async || bad("the channel address is empty; 1 to 255 characters are right")))
            .with_state(self)
    }

    async fn ask(&self, change: Option<Change>) -> Result<Response, Problem> {
        let (answer, told) = oneshot::channel();
        let asked = async {
            self.owner.send(Ask { change, answer }).await.ok()?;
            told.await.ok()
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            // Not by way of a `Value`, which would forget the order of the members.
            Ok(Some(Ok(report))) => match serde_json::to_string(&report) {
                Ok(body) => Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response()),
                Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
            },
            Ok(Some(Err(Denial::Refused(refusal)))) => Err(refused(&refusal)),
            Ok(None) => Err(unavailable("the daemon is shutting down")),
            Ok(Some(Err(Denial::Behind))) => {
                Err(unavailable("the daemon is behind with its work; nothing was changed"))
            }
            Err(_) => Err(unavailable("the daemon is behind with its work; GET /v1/timing tells what is in force")),
        }
    }
}

async fn tell(
    State(timing): State<Timing>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    timing.gate.check(&headers)?;
    no_options(query.as_deref())?;
    timing.ask(None).await
}

async fn change(
    State(timing): State<Timing>,
    to: Result<Option<Path<String>>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let wanted = async {
        timing.gate.check(&head.headers)?;
        no_options(query.as_deref())?;
        if !is_encoded(head.uri.path()) {
            return Err(bad("the channel address has a % without two hexadecimal digits behind it; %25 stands for %"));
        }
        let to = to.map_err(|_| bad("the channel address is not UTF-8; encode its bytes as %XX"))?;
        let to = to.map(|Path(to)| ChannelAddress::new(&to)).transpose();
        let to = to.map_err(|error| bad(format!("the channel address {error}")))?;
        let body = read_body(&head.headers, &mut body, BODY_BYTES_MAX, "the timing has five keys").await?;
        match to {
            Some(to) if head.method == axum::http::Method::DELETE => Ok(Change::forget(to)),
            to => Change::set(to, &body).map_err(|error| bad(format!("the body {error}"))),
        }
    };
    match wanted.await {
        Ok(change) => timing.ask(Some(change)).await,
        Err(problem) => Err(hear_out(&head.headers, &mut body, problem).await),
    }
}

/// Whether each per cent sign of a path has its two digits. One that has not would be taken for itself.
fn is_encoded(path: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    path.split('%').skip(1).all(|rest| rest.get(..2).is_some_and(is_hex))
}

/// An option that is overlooked may have been meant to name a channel: what was meant for one would hold for all.
fn no_options(query: Option<&str>) -> Result<(), Problem> {
    match query {
        None | Some("") => Ok(()),
        Some(_) => Err(bad("there are no options here; a channel is named in the path, /v1/timing/{to}")),
    }
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Wrong(problems) => {
            let mut told: Vec<_> = problems.iter().take(PROBLEMS_TOLD_MAX).map(ToString::to_string).collect();
            if problems.len() > PROBLEMS_TOLD_MAX {
                told.push(format!("and {} more problems", problems.len() - PROBLEMS_TOLD_MAX));
            }
            bad(told.join("; ")).with("problems", json!(told))
        }
        Refusal::NotTimed => {
            Problem::new(StatusCode::NOT_FOUND, "the channel has no timing of its own: it follows the timing of all")
        }
        Refusal::Full => Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{TIMED_CHANNELS_MAX} channels have timing of their own, as many as an org may have; \
                 DELETE /v1/timing/{{to}} takes one's away"
            ),
        ),
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use tower::ServiceExt;

    use super::*;

    fn request(method: Method, path: &str, body: &'static str) -> Request<Body> {
        Request::builder().method(method).uri(path).body(Body::from(body)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_so_and_the_line_is_no_longer_than_its_bound() {
        let (timing, mut asked) = Timing::new(TokenAuth::default());
        let router = timing.router();
        let many = (0..REQUESTS_MAX + 5).map(|_| {
            let request = request(Method::PUT, "/v1/timing/c", r#"{"dismiss": "idle"}"#);
            router.clone().oneshot(request)
        });
        for answer in futures_util::future::join_all(many).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        }
        let mut left = 0;
        while let Ok(ask) = asked.try_recv() {
            left += 1;
            assert!(ask.answer.is_closed(), "the owner can tell that nobody waits any more");
        }
        assert_eq!(left, REQUESTS_MAX);
    }

    #[tokio::test]
    async fn each_call_asks_for_what_it_says() {
        let (timing, mut asked) = Timing::new(TokenAuth::default());
        let router = timing.router();
        for (method, path, body, wanted) in [
            (Method::GET, "/v1/timing", "", "None"),
            (Method::PUT, "/v1/timing", r#"{"dismiss": "idle"}"#, "to: None, what: Set"),
            (Method::PUT, "/v1/timing/+49%2F1%20%C3%BC", "{}", "to: Some(ChannelAddress(\"+49/1 ü\")), what: Set"),
            (Method::DELETE, "/v1/timing/%00", "", "to: Some(ChannelAddress(\"\\0\")), what: Forget"),
        ] {
            let answer = tokio::spawn(router.clone().oneshot(request(method.clone(), path, body)));
            let ask = asked.recv().await.unwrap();
            assert!(format!("{:?}", ask.change).contains(wanted), "{method} {path}: {:?}", ask.change);
            ask.answer.send(Err(Denial::Refused(Refusal::NotTimed))).unwrap();
            assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::NOT_FOUND);
        }
    }
}
