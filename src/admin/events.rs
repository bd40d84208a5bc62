//! What happened to indicators, as JSON.

use serde::Serialize;

use crate::chronicle::{Event, Verdict, What};
use crate::clock::Clock;
use crate::model::micros;

/// An event by its own name and fields. Fields that it has not are left out.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    id: u64,
    at: u64,
    to: &'a str,
    from: &'a str,
    indicator: &'static str,
    reason: &'static str,
    #[serde(flatten)]
    result: Option<ToldResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

#[derive(Serialize)]
struct ToldResult<'a> {
    attempt: u32,
    outcome: &'static str,
    status: Option<u16>,
    code: Option<i64>,
    round_trip_ms: f64,
    since_decided_ms: f64,
    detail: Option<&'a str>,
}

/// The name of the event, and what is told of it.
pub(super) fn told<'a>(event: &'a Event, clock: &Clock) -> (&'static str, Told<'a>) {
    let (name, result, why) = match &event.what {
        What::Decided => ("decided", None, None),
        What::Answered(verdict) => ("result", Some(result(verdict)), None),
        What::Dropped(why) => ("dropped", None, Some(why.name())),
    };
    let told = Told {
        id: event.number,
        at: clock.wall_millis(event.at),
        to: event.conversation.to(),
        from: event.conversation.from(),
        indicator: event.reason.indicator().name(),
        reason: event.reason.name(),
        result,
        why,
    };
    (name, told)
}

fn result(verdict: &Verdict) -> ToldResult<'_> {
    ToldResult {
        attempt: verdict.attempt,
        outcome: verdict.outcome.name(),
        status: verdict.status,
        code: verdict.code,
        round_trip_ms: millis(verdict.round_trip),
        since_decided_ms: millis(verdict.since_decided),
        detail: verdict.detail.as_deref(),
    }
}

/// Milliseconds, with what is below them.
pub(super) fn millis(span: std::time::Duration) -> f64 {
    micros(span) as f64 / 1_000.0
}
