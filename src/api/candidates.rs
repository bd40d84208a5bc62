//! Candidate timings, measured beside the one in force: `PUT /v1/timing/candidates`; `GET /v1/timing` and `GET /v1/status`
//! have what was measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::options::{bad, cut};
use super::{Api, PATIENCE, loop_silent};
use crate::http::{NoOptions, Options, Problem, read_body};
use crate::observe::candidates::{
    CANDIDATE_MILLIS_MIN, CANDIDATES_MAX, CandidateFigures, ChannelFigures, TimingCounts,
};
use crate::tune::plan::Setting;

/// The longest body: three candidates come to a hundred bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// How much of an unexpected value is repeated.
const VALUE_CHARS_MAX: usize = 40;
const EXPECTED: &str =
    r#"a JSON array of at most 3 timings, such as ["idle 10s/5s", "after_shown 5s/2s"]; an empty one ends them"#;

/// The candidates, and what was measured of them.
#[derive(Debug, Serialize)]
pub(super) struct Candidates {
    /// As they were given, such as `idle 10s/5s`.
    timings: Vec<String>,
    /// When they were given, in Unix epoch milliseconds.
    since: u64,
    /// By channel.
    channels: BTreeMap<String, Channel>,
}

#[derive(Debug, Serialize)]
struct Channel {
    /// When the counting began: with the candidates, or with the last change of the channel's timing.
    since: u64,
    composing_s: f64,
    in_force: Measured,
    /// In the order of the timings.
    candidates: Vec<Measured>,
}

/// What a timing would have shown and sent; that of the timing in force is worked out in the same way.
#[derive(Debug, Serialize)]
struct Measured {
    timing: String,
    /// Of the seconds composing, those with the icon on.
    shown_s: f64,
    /// Seconds with the icon on while the user was not composing.
    false_s: f64,
    flicker: u64,
    timer_stops: u64,
    stops_too_early: u64,
    /// Both kinds together.
    requests: u64,
    started: u64,
    stopped: u64,
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    _: Options<NoOptions>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Option<Candidates>>, Problem> {
    let body = read_body(&headers, body, BODY_BYTES_MAX, "there are at most three candidates").await?;
    let settings = settings(&body).map_err(bad)?;
    measured(&api, Some(settings)).await.map(Json)
}

/// Begins to measure `settings`, if any are given. What is measured, if anything is.
pub(super) async fn measured(api: &Api, settings: Option<Vec<Setting>>) -> Result<Option<Candidates>, Problem> {
    let figures = api.controls.candidates(settings, PATIENCE).await.ok_or_else(loop_silent)?;
    Ok(figures.map(|figures| Candidates::new(&figures, api)))
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

impl Candidates {
    fn new(figures: &CandidateFigures, api: &Api) -> Self {
        let channel = |channel: &ChannelFigures| {
            let mut counts = channel.counts.each.iter();
            let mut next = |setting: &Setting| Measured::new(setting, counts.next().copied().unwrap_or_default());
            let in_force = next(&channel.in_force);
            let figures = Channel {
                since: api.clock.wall_millis(channel.since),
                composing_s: seconds(channel.counts.composing_micros),
                in_force,
                candidates: figures.settings.iter().map(next).collect(),
            };
            (channel.name.to_string(), figures)
        };
        Self {
            timings: figures.settings.iter().map(Setting::to_string).collect(),
            since: api.clock.wall_millis(figures.since),
            channels: figures.channels.iter().map(channel).collect(),
        }
    }
}

impl Measured {
    fn new(setting: &Setting, counts: TimingCounts) -> Self {
        Self {
            timing: setting.to_string(),
            shown_s: seconds(counts.shown_micros),
            false_s: seconds(counts.shown_falsely_micros),
            flicker: counts.flickers,
            timer_stops: counts.timer_stops,
            stops_too_early: counts.wrong_stops,
            requests: counts.started + counts.stopped,
            started: counts.started,
            stopped: counts.stopped,
        }
    }
}

/// To a millisecond.
fn seconds(micros: u64) -> f64 {
    (micros as f64 / 1e3).round() / 1e3
}
