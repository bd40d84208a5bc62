//! `POST /v1/tune`: a trace in, what `typingd tune` finds out, while the daemon goes on with its work.

use std::io::Cursor;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::options::{bad, repeated, unexpected, unknown};
use super::{Api, PATIENCE, loop_silent, read_trace};
use crate::http::{Options, Problem};
use crate::signals::trace::TraceReader;
use crate::tune::plan::{Plan, Setting};
use crate::tune::study::{Study, StudyError};
use crate::tune::{self, json};

/// The longest trace: some 800,000 signals. It is held in memory, with a third of it again for what is read from it.
const TRACE_BYTES_MAX: usize = 64 << 20;
/// Keystrokes and checks, times settings: a million keys under the default grid keep one core busy for a few seconds.
const STEPS_MAX: u64 = 500_000_000;
/// What a setting takes however little was typed, as keystrokes.
const SETTING_COST: u64 = 30_000;
/// What counting a user or a conversation takes for each setting, as keystrokes.
const COUNTING_COST: u64 = 20;
/// Channels that are studied by themselves are measured once more.
const CHANNELS_COST: u64 = 2;
/// Over a link that delays or loses requests the whole engine runs, at some twenty times the cost.
const LINK_COST: u64 = 20;
/// A trace is studied on one core, one at a time: the others are for those who type.
pub(super) const STUDIES_MAX: usize = 1;
const THREADS_MAX: usize = 1;
/// When to try again, in seconds, if another trace is being studied.
const RETRY_AFTER_SECONDS: u64 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Html,
}

pub(super) async fn study(
    State(api): State<Arc<Api>>,
    Options(options): Options<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // With the timing of channels that have their own.
    let snapshot = api.controls.statistics(PATIENCE).await.ok_or_else(loop_silent)?;
    let own = snapshot.channel_rules.iter().map(|(to, rules)| (to, rules));
    let (plan, format) = plan(Plan::new(&snapshot.rules).with_channels(own), &options)?;
    let place = api.places.studies.clone().try_acquire_owned().map_err(|_| {
        let detail = "another trace is being studied; try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
    })?;
    let trace = read_trace(&headers, body, TRACE_BYTES_MAX, "tune").await?;
    let studied = tokio::task::spawn_blocking(move || {
        let answer = answer(trace, &plan, format);
        drop(place);
        answer
    });
    studied.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the study failed"))?
}

/// The options of the query: those of the command, and `format`.
fn plan(in_force: Plan, options: &[(String, String)]) -> Result<(Plan, Format), Problem> {
    let mut problems: Vec<_> = repeated(options).into_iter().collect();
    let mut format = Format::Json;
    let mut choices = Vec::new();
    for (name, value) in options {
        match (&**name, &**value) {
            ("format", "json") => format = Format::Json,
            ("format", "html") => format = Format::Html,
            ("format", _) => problems.push(unexpected("format", value, "json or html")),
            (name, value) if Plan::OPTIONS.contains(&name) => choices.push((name, value)),
            _ => problems.push(unknown(name, &format!("{} or format", Plan::OPTIONS.join(", ")))),
        }
    }
    match in_force.with(choices) {
        Ok(plan) if problems.is_empty() => Ok((plan, format)),
        planned => {
            problems.extend(planned.err().iter().flatten().map(ToString::to_string));
            Err(bad(problems.join("; ")).with("problems", json!(problems)))
        }
    }
}

fn answer(trace: Bytes, plan: &Plan, format: Format) -> Result<Response, Problem> {
    let trace = TraceReader::new("the trace", Cursor::new(trace));
    let study = Study::read_channel([trace], plan.to.as_deref()).map_err(unfit)?;
    if study.keys() == 0 {
        return Err(bad("there is no keystroke in the trace: nothing can be measured"));
    }
    study.fits(plan).map_err(unfit)?;
    if steps(&study, plan) > STEPS_MAX {
        let detail = format!(
            "{} keystrokes under {} settings take too long beside a daemon's work; expected fewer settings or longer checks; \
             typingd tune, the command, takes any",
            study.keys(),
            plan.grid.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let report = tune::tune(study, plan, THREADS_MAX, &|| {});
    Ok(match format {
        Format::Json => Json(json::report(&report)).into_response(),
        Format::Html => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
            ];
            (headers, tune::html::report(&report)).into_response()
        }
    })
}

fn unfit(error: StudyError) -> Problem {
    match error {
        StudyError::TooLarge { .. } | StudyError::Refreshes { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        StudyError::Trace(_) | StudyError::NoChannel { .. } => bad(error.to_string()),
    }
}

/// How many steps the study takes, at most: every keystroke under every setting, and every check while an icon may be on.
fn steps(study: &Study, plan: &Plan) -> u64 {
    let settings = || plan.grid.iter().chain([&plan.current]);
    let longest = settings().map(|setting| setting.dismiss.max(setting.check)).max().unwrap_or_default();
    let watched = study.watched(longest);
    let cost = if plan.link == tune::play::Link::PERFECT { 1 } else { LINK_COST };
    let counted = study.timelines.len().min(2 * tune::USERS_MEASURED_MAX) as u64 * COUNTING_COST + SETTING_COST;
    let of = |setting: &Setting| (study.keys() + watched / setting.check.max(1)).saturating_mul(cost) + counted;
    let again = if plan.by_channel && study.channels.len() > 1 { CHANNELS_COST } else { 1 };
    settings().map(of).fold(0, u64::saturating_add).saturating_mul(again)
}
