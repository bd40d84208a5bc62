//! `GET` and `PUT /v1/log`: how much is logged, changed while the daemon runs.

use axum::Json;
use axum::body::Body;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use super::options::{bad, value};
use crate::http::{NoOptions, Options, Problem, read_body};
use crate::telemetry::{self, Change};

/// The longest body: one key with its value, however generously it is spaced.
const BODY_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

pub(super) async fn read(_: Options<NoOptions>) -> Json<Value> {
    let level = telemetry::level().unwrap_or(LevelFilter::OFF);
    Json(json!({"level": level.to_string()}))
}

pub(super) async fn change(
    options: Options<NoOptions>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body = read_body(&headers, body, BODY_BYTES_MAX, "there is one key, `level`").await?;
    let Level { level } = serde_json::from_slice(&body)
        .map_err(|error| bad(format!(r#"the body is not {{"level": "debug"}} or the like: {error}"#)))?;
    let known = LEVELS.into_iter().find(|(name, _)| *name == level).map(|(_, level)| level);
    telemetry::set_level(value("level", &level, known, "error, warn, info, debug or trace")?, Change::Caller);
    Ok(read(options).await)
}

/// As log.level takes them.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
