//! `POST /v1/simulate`: a trace in, the indicators that the daemon's engine decides of it in virtual time.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::options::{bad, repeated, unexpected, unknown};
use super::{Api, PATIENCE, busy, read_trace};
use crate::base::duration;
use crate::engine::policy::{Mode, Policy, Rules};
use crate::http::{Options, Problem};
use crate::signals::trace::TraceReader;
use crate::tune::simulate::{SimulateError, simulate_within};

/// The longest trace: some 3,500 signals, half an hour of one user's keys. What is decided of it is held in memory, at
/// most twice as much.
const TRACE_BYTES_MAX: usize = 256 * 1024;
/// A few milliseconds for anybody's typing; a second at most, for a check of a millisecond.
const STEPS_MAX: u64 = 1_000_000;
/// One simulation at a time, on one core; further ones wait for up to [`PATIENCE`].
pub(super) const SIMULATIONS_MAX: usize = 1;
/// The bounds that the configuration sets to both times.
const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_secs(3_600);

pub(super) async fn simulate(
    State(api): State<Arc<Api>>,
    Options(options): Options<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let rules = rules(api.snapshot().await?.rules, &options)?;
    let trace = read_trace(&headers, body, TRACE_BYTES_MAX, "simulate").await?;
    let place = tokio::time::timeout(PATIENCE, api.places.simulations.clone().acquire_owned()).await;
    let Ok(Ok(place)) = place else { return Err(busy("other traces are being simulated; try again")) };
    let simulated = tokio::task::spawn_blocking(move || {
        let answer = indicators(trace, rules);
        drop(place);
        answer
    });
    simulated.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the simulation failed"))?
}

/// The timing in force, changed by the options of the query.
fn rules(mut rules: Rules, options: &[(String, String)]) -> Result<Rules, Problem> {
    let mut problems: Vec<_> = repeated(options).into_iter().collect();
    let mut dismiss_asked = false;
    for (name, value) in options {
        let time = || duration::parse(value).filter(|time| (TIME_MIN..=TIME_MAX).contains(time));
        let taken = match &**name {
            "check" => time().map(|check| rules = rules.with_check(check)),
            "dismiss" => time().map(|dismiss| {
                dismiss_asked = true;
                rules = rules.with_dismiss(dismiss);
            }),
            "mode" => Mode::from_name(value).map(|mode| rules.mode = mode),
            _ => {
                problems.push(unknown(name, "check, dismiss or mode"));
                continue;
            }
        };
        if taken.is_none() {
            let expected = if name == "mode" { "idle or after_shown" } else { "a time from 1ms to 1h, such as 5s" };
            problems.push(unexpected(name, value, expected));
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
    Err(bad(problems.join("; ")).with("problems", json!(problems)))
}

/// The indicators as `typingd simulate` prints them.
fn indicators(trace: Bytes, rules: Rules) -> Result<Response, Problem> {
    let policy = Policy { rules, ..Policy::default() };
    let trace = TraceReader::new("the trace", Cursor::new(trace));
    let mut lines = Vec::new();
    match simulate_within(STEPS_MAX, vec![trace], &policy, &mut lines) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()),
        Err(SimulateError::Trace(error)) => Err(bad(error.to_string())),
        Err(SimulateError::Output(error)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(SimulateError::Endless) => {
            let detail = "with so short a check this takes too long beside a daemon's work; expected a longer check or a \
                          shorter trace; typingd simulate, the command, takes both";
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
    }
}
