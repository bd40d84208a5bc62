//! `GET` and `PUT /v1/log`: how much is logged, changed while the daemon runs.

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::http::{Problem, TokenAuth, hear_out, read_body};
use crate::telemetry::{self, Change};

/// The longest body: one key with its value, however generously it is spaced.
pub(crate) const BODY_BYTES_MAX: usize = 1024;

/// This edge. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    gate: TokenAuth,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    level: String,
}

impl Log {
    /// Callers that `gate` lets in are heard.
    #[must_use]
    pub(crate) fn new(gate: TokenAuth) -> Self {
        Self { gate }
    }

    /// The route of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/log", get(answer).put(answer)).with_state(self)
    }
}

async fn answer(
    State(log): State<Log>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let heard = async {
        log.gate.check(&head.headers)?;
        if query.is_some_and(|query| !query.is_empty()) {
            return Err(bad("this address takes no options".to_owned()));
        }
        if head.method == Method::PUT {
            let body = read_body(&head.headers, &mut body, BODY_BYTES_MAX, "there is one key, `level`").await?;
            telemetry::set_level(wanted(&body)?, Change::Caller);
        }
        Ok(())
    };
    match heard.await {
        Ok(()) => {}
        Err(problem) => return Err(hear_out(&head.headers, &mut body, problem).await),
    }
    let level = telemetry::level().unwrap_or(LevelFilter::OFF);
    let body = json!({"level": level.to_string()}).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn wanted(body: &[u8]) -> Result<LevelFilter, Problem> {
    let Wish { level } = serde_json::from_slice(body)
        .map_err(|error| bad(format!(r#"the body is not {{"level": "debug"}} or the like: {error}"#)))?;
    let known = LEVELS.iter().find(|(name, _)| *name == level);
    known.map(|(_, level)| *level).ok_or_else(|| {
        let shown: String = level.chars().take(40).collect();
        bad(format!("`level` is \"{}\"; error, warn, info, debug or trace is right", shown.escape_debug()))
    })
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// As log.level takes them.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
