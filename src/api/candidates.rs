//! Candidate timings, measured beside the one in force: `PUT /v1/timing/candidates`; `GET /v1/timing` and `GET /v1/status`
//! have what was measured.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::options::{bad, cut};
use super::{Api, PATIENCE, loop_silent};
use crate::http::{NoOptions, Options, Problem, read_body};
use crate::observe::typing::candidates::report::CandidateReport;
use crate::observe::typing::candidates::{CANDIDATE_MILLIS_MIN, CANDIDATES_MAX};
use crate::tune::plan::Setting;

/// The longest body: three candidates come to a hundred bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// How much of an unexpected value is repeated.
const VALUE_CHARS_MAX: usize = 40;
const EXPECTED: &str =
    r#"a JSON array of at most 3 timings, such as ["idle 10s/5s", "after_shown 5s/2s"]; an empty one ends them"#;

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    _: Options<NoOptions>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Option<CandidateReport>>, Problem> {
    let body = read_body(&headers, body, BODY_BYTES_MAX, "there are at most three candidates").await?;
    let settings = settings(&body).map_err(bad)?;
    measured(&api, Some(settings)).await.map(Json)
}

/// Begins to measure `settings`, if any are given. What is measured, if anything is.
pub(super) async fn measured(api: &Api, settings: Option<Vec<Setting>>) -> Result<Option<CandidateReport>, Problem> {
    let figures = api.controls.candidates(settings, PATIENCE).await.ok_or_else(loop_silent)?;
    Ok(figures.map(|figures| CandidateReport::new(&figures, &api.clock)))
}

/// The settings that a body names.
fn settings(body: &[u8]) -> Result<Vec<Setting>, String> {
    let texts: Vec<String> = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => format!("the body is something else than expected; expected {EXPECTED}"),
        _ => format!("the body is not JSON: {error}; expected {EXPECTED}"),
    })?;
    if texts.len() > CANDIDATES_MAX {
        return Err(format!("the body has {} candidates; expected {EXPECTED}", texts.len()));
    }
    let mut settings: Vec<Setting> = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let wrong =
            |why: &str| format!("candidate {}: \"{}\": {why}", number + 1, cut(text, VALUE_CHARS_MAX).escape_debug());
        let setting: Setting = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        if setting.check.min(setting.dismiss) < CANDIDATE_MILLIS_MIN {
            return Err(wrong(&format!("expected times from {CANDIDATE_MILLIS_MIN}ms on")));
        }
        if settings.contains(&setting) {
            return Err(wrong("it is given twice; expected it once"));
        }
        settings.push(setting);
    }
    Ok(settings)
}
