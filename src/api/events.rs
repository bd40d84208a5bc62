//! What happened to conversations and their indicators, as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Clock;
use crate::model::{Instant, Reason, SignalKind, micros};
use crate::observe::events::{Event, Verdict, What};

/// An event among those of all conversations.
#[derive(Serialize)]
pub(super) struct EventJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    at: u64,
    to: &'a str,
    from: &'a str,
    #[serde(flatten)]
    what: Details<'a>,
}

/// An event among those of one conversation.
#[derive(Serialize)]
pub(super) struct Transition<'a> {
    at: u64,
    ago_ms: f64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(flatten)]
    what: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'static str>,
    #[serde(flatten)]
    subject: Option<SubjectJson>,
    #[serde(flatten)]
    result: Option<ResultJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// An indicator and why it was decided.
#[derive(Serialize)]
pub(super) struct SubjectJson {
    indicator: &'static str,
    reason: &'static str,
}

#[derive(Serialize)]
struct ResultJson<'a> {
    attempt: u32,
    outcome: &'static str,
    status: Option<u16>,
    code: Option<i64>,
    round_trip_ms: f64,
    since_decided_ms: f64,
    detail: Option<&'a str>,
}

/// The name of the event, and the event.
pub(super) fn event<'a>(event: &'a Event, clock: &Clock) -> (&'static str, EventJson<'a>) {
    let (name, id, what) = what(event);
    let (to, from) = (event.conversation.to(), event.conversation.from());
    (name, EventJson { id, at: clock.wall_millis(event.at), to, from, what })
}

pub(super) fn transition<'a>(event: &'a Event, now: Instant, clock: &Clock) -> Transition<'a> {
    let (name, id, what) = what(event);
    let ago_ms = millis(now.since(event.at));
    Transition { at: clock.wall_millis(event.at), ago_ms, event: name, id, what }
}

fn what(event: &Event) -> (&'static str, Option<u64>, Details<'_>) {
    let none = Details { signal: None, subject: None, result: None, why: None };
    match &event.what {
        What::Signal(kind) => ("signal", None, Details { signal: Some(kind.name()), ..none }),
        What::Ignored(handled) => {
            let signal = Some(SignalKind::Keystroke.name());
            ("ignored", None, Details { signal, why: handled.ignored(), ..none })
        }
        What::Decided(decided) => {
            ("decided", Some(decided.number), Details { subject: Some(subject(decided.reason)), ..none })
        }
        What::Answered(decided, verdict) => {
            let (subject, result) = (Some(subject(decided.reason)), Some(result(verdict)));
            ("result", Some(decided.number), Details { subject, result, ..none })
        }
        What::Dropped(decided, why) => {
            let (subject, why) = (Some(subject(decided.reason)), Some(why.name()));
            ("dropped", Some(decided.number), Details { subject, why, ..none })
        }
    }
}

/// The indicator that `reason` is for.
pub(super) fn subject(reason: Reason) -> SubjectJson {
    SubjectJson { indicator: reason.indicator().name(), reason: reason.name() }
}

fn result(verdict: &Verdict) -> ResultJson<'_> {
    ResultJson {
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
pub(super) fn millis(span: Duration) -> f64 {
    micros(span) as f64 / 1_000.0
}
