//! `POST /v1/tune`: a trace in, what `typingd tune` finds out, while the daemon goes on with its work.

use std::io::Cursor;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::sync::Semaphore;

use super::PATIENCE;
use super::query::{NAME_CHARS_MAX, twice};
use crate::driver::Controls;
use crate::engine::policy::Rules;
use crate::http::{Gate, Problem, hear_out, media_type, read_body};
use crate::signals::trace::TraceReader;
use crate::tune::plan::{Plan, Setting};
use crate::tune::study::Study;
use crate::tune::{self, json};

/// The longest trace: some 800,000 signals. It is held in memory, with a third of it again for what is read from it.
const TRACE_BYTES_MAX: usize = 64 << 20;
/// Keystrokes and checks, times settings: a million keys under the default grid keep one core busy for a few seconds.
const STEPS_MAX: u64 = 500_000_000;
/// What resampling the users takes for each setting, as keystrokes.
const RESAMPLING_COST: u64 = 100_000;
/// Over a link that delays or loses requests the whole engine runs, at some twenty times the cost.
const LINK_COST: u64 = 20;
/// A trace is studied on one core, one at a time: the others are for those who type.
const STUDIES_MAX: usize = 1;
const THREADS_MAX: usize = 1;
/// When to come again, in seconds, if another trace is being studied.
const RETRY_AFTER_SECONDS: u64 = 5;

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tuning {
    gate: Gate,
    controls: Controls,
    studies: Arc<Semaphore>,
}

impl Tuning {
    /// Callers that `gate` lets in are heard; the loop behind `controls` knows the timing in force.
    #[must_use]
    pub(crate) fn new(gate: Gate, controls: Controls) -> Self {
        Self { gate, controls, studies: Arc::new(Semaphore::new(STUDIES_MAX)) }
    }

    /// The routes of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/tune", post(study)).with_state(self)
    }
}

/// How the result is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Html,
}

async fn study(
    State(tuning): State<Tuning>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let asked = async {
        tuning.gate.admit(&head.headers)?;
        let snapshot = tuning.controls.snapshot(PATIENCE).await;
        let snapshot =
            snapshot.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer"))?;
        let (plan, format) = asked(&snapshot.rules, query.as_deref())?;
        let media = media_type(&head.headers);
        if !media.is_some_and(|media| media.eq_ignore_ascii_case("application/x-ndjson")) {
            let detail = "the content type must be application/x-ndjson: a trace, one signal a line";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let permit = tuning.studies.clone().try_acquire_owned().map_err(|_| {
            let detail = "another trace is being studied; come again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
        })?;
        let advice = "typingd tune, the command, takes traces of any length";
        let trace = read_body(&head.headers, &mut body, TRACE_BYTES_MAX, advice).await?;
        Ok((permit, plan, format, trace))
    };
    let (permit, plan, format, trace) = match asked.await {
        Ok(asked) => asked,
        Err(problem) => return Err(hear_out(&head.headers, &mut body, problem).await),
    };
    let studied = tokio::task::spawn_blocking(move || {
        let told = answer(trace, &plan, format);
        drop(permit);
        told
    });
    studied.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the study broke down"))?
}

/// The options of the query: those of the command, and `format`.
fn asked(rules: &Rules, query: Option<&str>) -> Result<(Plan, Format), Problem> {
    let options: Vec<_> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let mut problems: Vec<_> =
        twice(&options).map(|name| format!("{name}: is there twice; once is right")).into_iter().collect();
    let (formats, choices): (Vec<_>, Vec<_>) = options.iter().partition(|(name, _)| name == "format");
    let (choices, unknown): (Vec<_>, Vec<_>) =
        choices.into_iter().partition(|(name, _)| Plan::OPTIONS.contains(&&**name));
    if let Some((name, _)) = unknown.first() {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        problems.push(format!("{name}: there is no such option; {}, format are", Plan::OPTIONS.join(", ")));
    }
    let mut format = Format::Json;
    for (_, value) in formats {
        match &**value {
            "json" => format = Format::Json,
            "html" => format = Format::Html,
            _ => problems.push("format: json or html would be right".to_owned()),
        }
    }
    let choices = choices.iter().map(|(name, value)| (&**name, &**value));
    match Plan::new(rules).with(choices) {
        Ok(plan) if problems.is_empty() => Ok((plan, format)),
        planned => {
            problems.extend(planned.err().iter().flatten().map(ToString::to_string));
            let detail = problems.join("; ");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail).with("problems", json!(problems)))
        }
    }
}

fn answer(trace: Bytes, plan: &Plan, format: Format) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let study = Study::read([TraceReader::new("the trace", Cursor::new(trace))]).map_err(|e| bad(e.to_string()))?;
    if study.keys() == 0 {
        return Err(bad("there is no keystroke in the trace: nothing can be measured".to_owned()));
    }
    if steps(&study, plan) > STEPS_MAX {
        let detail = format!(
            "{} keystrokes under {} settings are more than a daemon should take on beside its work; fewer settings or \
             longer checks would be right, or typingd tune, the command",
            study.keys(),
            plan.grid.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let report = tune::tune(study, plan, THREADS_MAX, &|| {});
    Ok(match format {
        Format::Json => {
            ([(header::CONTENT_TYPE, "application/json")], json::report(&report).to_string()).into_response()
        }
        Format::Html => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
            ];
            (headers, tune::html::report(&report)).into_response()
        }
    })
}

/// How many steps the study takes, at most: every keystroke under every setting, and every check while an icon may be on.
fn steps(study: &Study, plan: &Plan) -> u64 {
    let settings = || plan.grid.iter().chain([&plan.current]);
    let longest = settings().map(|setting| setting.dismiss.max(setting.check)).max().unwrap_or_default();
    let watched = study.watched(longest);
    let cost = if plan.link == tune::play::Link::PERFECT { 1 } else { LINK_COST };
    let of = |setting: &Setting| (study.keys() + watched / setting.check.max(1)).saturating_mul(cost) + RESAMPLING_COST;
    settings().map(of).fold(0, u64::saturating_add)
}
