//! The timing, read and changed while the daemon runs: `GET`, `PUT` and `DELETE /v1/timing`, `PUT` and `DELETE /v1/timing/{to}`.
//!
//! The owner of the settings is asked for both.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::candidates;
use super::options::bad;
use super::{Api, ask, busy};
use crate::config::{Change, Changed, Refusal, Report, TIMED_CHANNELS_MAX};
use crate::http::{NoOptions, Options, Problem, read_body};
use crate::model::ChannelAddress;
use crate::observe::typing::candidates::report::CandidateReport;

/// Requests that may wait for the owner; the caller of a further one waits for a place. Each takes milliseconds; some tens, with the timing of 2,000 channels in force.
pub(crate) const REQUESTS_MAX: usize = 16;
/// The owner answers in milliseconds. One that takes this long is stuck, or far behind.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest body: five keys with their values come to 150 bytes, however generously they are spaced to less than
/// this.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Changed keys in one event; further ones are counted.
const CHANGES_SHOWN_MAX: usize = 100;
/// Problems reported in full; further ones are counted. A setting that fits no channel's would report 2,000.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// A request to the owner of the settings.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What to change; `None` asks for the timing in force.
    pub change: Option<Change>,
    /// If it is closed, no one waits for the answer any more, and nothing is to be changed.
    pub answer: oneshot::Sender<Result<Report, Denial>>,
}

/// A change that has been made, as readers of the indicators see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TimingChange {
    at: u64,
    by: &'static str,
    changed: Vec<Changed>,
    /// Changed keys that are left out.
    more: usize,
}

impl TimingChange {
    /// `at` is in Unix epoch milliseconds, `by` the way it came.
    pub(crate) fn new(at: u64, by: &'static str, changed: &[Changed]) -> Self {
        let shown = changed.iter().take(CHANGES_SHOWN_MAX).cloned().collect();
        Self { at, by, changed: shown, more: changed.len().saturating_sub(CHANGES_SHOWN_MAX) }
    }
}

#[derive(Debug)]
pub(crate) enum Denial {
    Refused(Refusal),
    /// The loop has not adopted it in time.
    Behind,
}

/// The timing in force, and the candidates that are measured beside it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<CandidateReport>,
}

pub(super) async fn read(State(api): State<Arc<Api>>, _: Options<NoOptions>) -> Result<Json<Answer>, Problem> {
    answer(&api, None).await
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    _: Options<NoOptions>,
    to: Result<Option<Path<String>>, PathRejection>,
    request: Request<Body>,
) -> Result<Json<Answer>, Problem> {
    let (head, body) = request.into_parts();
    if !is_encoded(head.uri.path()) {
        return Err(bad(
            "the channel address has a % without two hexadecimal digits behind it; expected %25 for a plain %",
        ));
    }
    let to = to.map_err(|_| bad("the channel address is not UTF-8; encode its bytes as %XX"))?;
    let to = to.map(|Path(to)| ChannelAddress::new(&to)).transpose();
    let to = to.map_err(|error| bad(format!("the channel address {error}")))?;
    let body = read_body(&head.headers, body, BODY_BYTES_MAX, "the timing has five keys").await?;
    let change = match to {
        Some(to) if head.method == Method::DELETE => Change::forget(to),
        None if head.method == Method::DELETE => Change::reset(),
        to => Change::set(to, &body).map_err(|error| bad(format!("the body {error}")))?,
    };
    answer(&api, Some(change)).await
}

pub(super) async fn unnamed() -> Problem {
    bad("the channel address is empty; expected 1 to 240 characters")
}

async fn answer(api: &Api, change: Option<Change>) -> Result<Json<Answer>, Problem> {
    // What was begun while running ends with what was changed.
    let ends = change.as_ref().is_some_and(Change::is_reset);
    match ask(&api.timing, TIMEOUT, |answer| Ask { change, answer }).await? {
        Ok(report) => {
            let candidates = candidates::measured(api, ends.then(Vec::new)).await?;
            Ok(Json(Answer { report, candidates }))
        }
        Err(Denial::Refused(refusal)) => Err(refused(&refusal)),
        Err(Denial::Behind) => Err(busy("the daemon is behind with its work; nothing was changed")),
    }
}

/// Whether each per cent sign of a path has its two digits. One that has not would be taken for itself.
fn is_encoded(path: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    path.split('%').skip(1).all(|rest| rest.get(..2).is_some_and(is_hex))
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Wrong(problems) => {
            let mut shown: Vec<_> = problems.iter().take(PROBLEMS_SHOWN_MAX).map(ToString::to_string).collect();
            if problems.len() > PROBLEMS_SHOWN_MAX {
                shown.push(format!("and {} more problems", problems.len() - PROBLEMS_SHOWN_MAX));
            }
            bad(shown.join("; ")).with("problems", json!(shown))
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header;
    use tokio::sync::mpsc;
    use tower::ServiceExt;

    use super::*;

    fn request(method: Method, path: &str, body: &'static str) -> Request<Body> {
        Request::builder().method(method).uri(path).body(Body::from(body)).unwrap()
    }

    fn router() -> (Router, mpsc::Receiver<Ask>) {
        let (timing, asked) = mpsc::channel(REQUESTS_MAX);
        (crate::api::routes(Arc::new(Api { timing, ..crate::api::tests::api() })), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_a_bound_and_so_has_the_queue() {
        let (router, mut asked) = router();
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
            assert!(ask.answer.is_closed(), "the owner knows that no one waits any more");
        }
        assert_eq!(left, REQUESTS_MAX);
    }

    #[tokio::test]
    async fn each_call_asks_for_what_it_says() {
        let (router, mut asked) = router();
        for (method, path, body, wanted) in [
            (Method::GET, "/v1/timing", "", "None"),
            (Method::PUT, "/v1/timing", r#"{"dismiss": "idle"}"#, "to: None, what: Set"),
            (Method::PUT, "/v1/timing/+49%2F1%20%C3%BC", "{}", "to: Some(ChannelAddress(\"+49/1 ü\")), what: Set"),
            (Method::DELETE, "/v1/timing", "", "to: None, what: Forget"),
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
