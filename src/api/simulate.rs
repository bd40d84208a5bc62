//! `POST /v1/simulate`: a trace in, the indicators that the daemon's engine decides of it in virtual time.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::sync::Semaphore;

use super::PATIENCE;
use super::query::twice;
use crate::base::duration;
use crate::driver::Controls;
use crate::engine::policy::{Mode, Policy, Rules};
use crate::http::{Gate, Problem, hear_out, media_type, read_body};
use crate::signals::trace::TraceReader;
use crate::tune::simulate::{SimulateError, simulate_within};

/// The longest trace: some 3,500 signals, half an hour of one user's keys. What is decided of it is held in memory, at
/// most twice as much.
pub(crate) const TRACE_BYTES_MAX: usize = 256 * 1024;
/// A few milliseconds for anybody's typing; a second at most, for a check of a millisecond.
const STEPS_MAX: u64 = 1_000_000;
/// One simulation at a time, on one core; whoever comes meanwhile waits for as long as the loop would be waited for.
const SIMULATIONS_MAX: usize = 1;
/// When to come again, in seconds, if the others take too long.
const RETRY_AFTER_SECONDS: u64 = 1;
/// The bounds that the configuration sets to both times.
const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_secs(3_600);

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Simulation {
    gate: Gate,
    controls: Controls,
    places: Arc<Semaphore>,
}

impl Simulation {
    /// Callers that `gate` lets in are heard; the loop behind `controls` knows the timing in force.
    #[must_use]
    pub(crate) fn new(gate: Gate, controls: Controls) -> Self {
        Self { gate, controls, places: Arc::new(Semaphore::new(SIMULATIONS_MAX)) }
    }

    /// The route of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/simulate", post(simulate)).with_state(self)
    }
}

async fn simulate(
    State(simulation): State<Simulation>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let asked = async {
        simulation.gate.admit(&head.headers)?;
        let snapshot = simulation.controls.snapshot(PATIENCE).await;
        let snapshot =
            snapshot.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer"))?;
        let rules = asked(snapshot.rules, query.as_deref())?;
        let media = media_type(&head.headers);
        if !media.is_some_and(|media| media.eq_ignore_ascii_case("application/x-ndjson")) {
            let detail = "the content type must be application/x-ndjson: a trace, one signal a line";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let advice = "typingd simulate, the command, takes traces of any length";
        let trace = read_body(&head.headers, &mut body, TRACE_BYTES_MAX, advice).await?;
        let place = tokio::time::timeout(PATIENCE, simulation.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "other traces are being simulated; come again");
            return Err(problem.retry_after(RETRY_AFTER_SECONDS));
        };
        Ok((place, rules, trace))
    };
    let (place, rules, trace) = match asked.await {
        Ok(asked) => asked,
        Err(problem) => return Err(hear_out(&head.headers, &mut body, problem).await),
    };
    let simulated = tokio::task::spawn_blocking(move || {
        let told = indicators(trace, rules);
        drop(place);
        told
    });
    simulated.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the simulation broke down"))?
}

/// The timing in force, changed as the options of the query say.
fn asked(mut rules: Rules, query: Option<&str>) -> Result<Rules, Problem> {
    let options: Vec<_> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let mut problems: Vec<_> =
        twice(&options).map(|name| format!("{name} is there twice; once is right")).into_iter().collect();
    let mut dismiss_asked = false;
    for (name, value) in options {
        let time = || duration::parse(&value).filter(|time| (TIME_MIN..=TIME_MAX).contains(time));
        let taken = match &*name {
            "check" => time().map(|check| rules = rules.with_check(check)),
            "dismiss" => time().map(|dismiss| {
                dismiss_asked = true;
                rules = rules.with_dismiss(dismiss);
            }),
            "mode" => Mode::from_name(&value).map(|mode| rules.mode = mode),
            _ => {
                problems.push(format!("there is no option {name}; check, dismiss and mode would be right"));
                continue;
            }
        };
        if taken.is_none() {
            let right = if name == "mode" { "idle or after_shown" } else { "a time from 1ms to 1h, such as 5s," };
            problems.push(format!("{name} = {value:?}: {right} would be right"));
        }
    }
    if dismiss_asked && rules.dismiss_after() > rules.max_typing() {
        // The configuration refuses it; here it is only a question of what would be.
        let Rules { require_open, mode, .. } = rules;
        rules = Rules::new(mode, rules.check_interval(), rules.dismiss_after(), rules.dismiss_after());
        rules.require_open = require_open;
    }
    if problems.is_empty() {
        return Ok(rules);
    }
    let detail = problems.join("; ");
    Err(Problem::new(StatusCode::BAD_REQUEST, detail).with("problems", json!(problems)))
}

/// The indicators as `typingd simulate` prints them.
fn indicators(trace: Bytes, rules: Rules) -> Result<Response, Problem> {
    let policy = Policy { rules, ..Policy::default() };
    let trace = TraceReader::new("the trace", Cursor::new(trace));
    let mut lines = Vec::new();
    match simulate_within(STEPS_MAX, vec![trace], &policy, &mut lines) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()),
        Err(SimulateError::Trace(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, error.to_string())),
        Err(SimulateError::Output(error)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(SimulateError::Endless) => {
            let detail = "so short a check is looked at too often for a daemon to take on beside its work; a longer check \
                          or a shorter trace would be right, or typingd simulate, the command";
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
    }
}
