//! `GET /v1/status`: how things stand, in one answer for people and scripts that keep no metrics.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Serialize, Serializer};

use super::options::{NoOptions, Options};
use super::reading::Reload;
use super::status_source::{Look, Seen};
use super::{JournalState, PATIENCE, journal_state, loop_silent};
use crate::base::build_info;
use crate::driver::{Controls, Vitals};
use crate::http::Problem;
use crate::model::SignalKind;
use crate::observe::histogram::Histogram;

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Status {
    controls: Controls,
    look: Look,
}

impl Status {
    #[must_use]
    pub(crate) fn new(controls: Controls, look: Look) -> Self {
        Self { controls, look }
    }

    /// The route of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/status", get(tell)).with_state(self)
    }
}

async fn tell(State(status): State<Status>, _: Options<NoOptions>) -> Result<Response, Problem> {
    let vitals = status.controls.vitals(PATIENCE).await.ok_or_else(loop_silent)?;
    let seen = (status.look)();
    Ok(Json(Answer::new(&vitals, &seen)).into_response())
}

#[derive(Serialize)]
struct Answer<'a> {
    version: &'static str,
    commit: Option<&'static str>,
    features: &'static [&'static str],
    pid: u32,
    started_at: u64,
    uptime_ms: u64,
    state: &'static str,
    why: Option<&'a str>,
    sandbox: bool,
    upstream: Upstream<'a>,
    listening: &'a [String],
    conversations: Conversations,
    requests: Requests,
    deliveries: Deliveries,
    latency: Latency,
    signals: Signals,
    journal: &'static str,
    recording: bool,
    drop_in: bool,
    configuration: Configuration<'a>,
}

#[derive(Serialize)]
struct Upstream<'a> {
    base_url: &'a str,
    token: &'static str,
}

#[derive(Serialize)]
struct Conversations {
    in_memory: usize,
    lingering: usize,
    unsettled: usize,
    icons: usize,
    max: usize,
}

#[derive(Serialize)]
struct Requests {
    in_last_second: u64,
    allowed_per_second: u32,
    max_per_second: u32,
    in_flight: usize,
    max_in_flight: usize,
}

#[derive(Serialize)]
struct Deliveries {
    delivered: u64,
    not_sent: u64,
    unsure: u64,
    refused: u64,
    malformed: u64,
    retried: u64,
    shed: u64,
    muted: u64,
    stops_given_up: u64,
}

#[derive(Serialize)]
struct Latency {
    round_trip_ms: Option<Quantiles>,
    signal_to_wire_ms: Option<Quantiles>,
    timer_lateness_ms: Option<Quantiles>,
}

#[derive(Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

#[derive(Serialize)]
struct Configuration<'a> {
    file: Option<&'a std::path::Path>,
    read_at: u64,
    last_reload: Option<Reload>,
}

/// By kind, as many as the engine knows.
struct Signals([u64; SignalKind::ALL.len()]);

impl Serialize for Signals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(SignalKind::ALL.map(|kind| (kind.name(), self.0[kind as usize])))
    }
}

impl<'a> Answer<'a> {
    fn new(vitals: &'a Vitals, seen: &'a Seen) -> Self {
        let Vitals { census, counts, measures, .. } = vitals;
        let why = match seen.stopping {
            true => Some("typingd is shutting down"),
            false => seen.token.trouble.as_deref().or(vitals.trouble.as_deref()),
        };
        Self {
            version: build_info::VERSION,
            commit: build_info::COMMIT,
            features: build_info::FEATURES,
            pid: std::process::id(),
            started_at: seen.started_at,
            uptime_ms: u64::try_from(seen.uptime.as_millis()).unwrap_or(u64::MAX),
            state: match (seen.stopping, why) {
                (true, _) => "stopping",
                (false, None) => "ready",
                (false, Some(_)) => "not_ready",
            },
            why,
            sandbox: seen.sandbox,
            upstream: Upstream { base_url: &seen.upstream, token: seen.token.state.name() },
            listening: &seen.listening,
            conversations: Conversations {
                in_memory: census.conversations,
                lingering: census.retained,
                unsettled: census.unsettled,
                icons: census.icons,
                max: vitals.conversations_max,
            },
            requests: Requests {
                in_last_second: vitals.requests_in_last_second,
                allowed_per_second: vitals.rate_in_force,
                max_per_second: vitals.delivery.requests_per_second_max,
                in_flight: census.in_flight,
                max_in_flight: vitals.delivery.in_flight_max,
            },
            deliveries: Deliveries {
                delivered: measures.ended_as("delivered"),
                not_sent: measures.ended_as("not_sent"),
                unsure: measures.ended_as("unsure"),
                refused: measures.ended_as("refused"),
                malformed: counts.malformed,
                retried: counts.retried,
                shed: counts.shed,
                muted: counts.muted,
                stops_given_up: counts.stops_given_up,
            },
            latency: Latency {
                round_trip_ms: quantiles(&measures.round_trip),
                signal_to_wire_ms: quantiles(&measures.signal_to_wire),
                timer_lateness_ms: quantiles(&measures.timer_lateness),
            },
            signals: Signals(counts.signals),
            journal: match journal_state(vitals, seen) {
                JournalState::None => "none",
                JournalState::Kept => "ok",
                JournalState::Degraded => "degraded",
            },
            recording: vitals.recording,
            drop_in: seen.drop_in.is_some(),
            configuration: Configuration {
                file: seen.configuration.file.as_deref(),
                read_at: seen.configuration.read_at,
                last_reload: seen.configuration.last_reload,
            },
        }
    }
}

/// To a microsecond: what lies between two bounds is interpolated, and not known as exactly as that.
fn quantiles(histogram: &Histogram) -> Option<Quantiles> {
    let millis = |share| Some((histogram.quantile(share)?.as_secs_f64() * 1e6).round() / 1e3);
    Some(Quantiles { p50: millis(0.5)?, p99: millis(0.99)? })
}
