//! `GET /v1/status`: the snapshot in one answer, for people and scripts that keep no metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use super::{Api, candidates};
use crate::base::build_info;
use crate::http::{NoOptions, Options, Problem};
use crate::model::SignalKind;
use crate::observe::histogram::Latencies;
use crate::observe::snapshot::{ConfigurationInfo, JournalState, Snapshot};
use crate::observe::typing::candidates::report::CandidateReport;

pub(super) async fn status(State(api): State<Arc<Api>>, _: Options<NoOptions>) -> Result<Response, Problem> {
    let (snapshot, candidates) = (api.snapshot().await?, candidates::measured(&api, None).await?);
    Ok(Json(Answer::new(&snapshot, candidates)).into_response())
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
    store: Option<Store<'a>>,
    recording: bool,
    drop_in: bool,
    candidates: Option<CandidateReport>,
    configuration: &'a ConfigurationInfo,
}

#[derive(Serialize)]
struct Upstream<'a> {
    base_url: &'a str,
    token: &'static str,
}

/// This typingd as one of several.
#[derive(Serialize)]
struct Store<'a> {
    state: &'static str,
    up: bool,
    problem: Option<&'a str>,
    node: String,
    group: &'a str,
    members: usize,
    /// How old the number of members is.
    members_age_ms: Option<u64>,
    owned: usize,
    requests_per_second: u32,
    /// The settings that another typingd of the group has otherwise.
    differs: Vec<&'static str>,
    posted: u64,
    received: u64,
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

/// By kind, as many as the engine knows.
struct Signals([u64; SignalKind::ALL.len()]);

impl Serialize for Signals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(SignalKind::ALL.map(|kind| (kind.name(), self.0[kind as usize])))
    }
}

impl<'a> Answer<'a> {
    fn new(snapshot: &'a Snapshot, candidates: Option<CandidateReport>) -> Self {
        let Snapshot { census, counts, metrics, runtime, stopping, .. } = snapshot;
        let why = if *stopping { Some("typingd is shutting down") } else { snapshot.not_ready.as_deref() };
        Self {
            version: build_info::VERSION,
            commit: build_info::COMMIT,
            features: build_info::FEATURES,
            pid: std::process::id(),
            started_at: runtime.started_at,
            uptime_ms: snapshot.at.as_millis(),
            state: match (stopping, why) {
                (true, _) => "stopping",
                (false, None) => "ready",
                (false, Some(_)) => "not_ready",
            },
            why,
            sandbox: runtime.sandbox,
            upstream: Upstream { base_url: &runtime.upstream, token: runtime.token.state.name() },
            listening: &runtime.listening,
            conversations: Conversations {
                in_memory: census.conversations,
                lingering: census.retained,
                unsettled: census.unsettled,
                icons: census.icons,
                max: snapshot.conversations_max,
            },
            requests: Requests {
                in_last_second: metrics.requests_in_last_second(snapshot.at),
                allowed_per_second: snapshot.rate_in_force,
                max_per_second: snapshot.delivery.requests_per_second_max,
                in_flight: census.in_flight,
                max_in_flight: snapshot.delivery.in_flight_max,
            },
            deliveries: Deliveries {
                delivered: metrics.ended_as("delivered"),
                not_sent: metrics.ended_as("not_sent"),
                unsure: metrics.ended_as("unsure"),
                refused: metrics.ended_as("refused"),
                malformed: counts.malformed,
                retried: counts.retried,
                shed: counts.shed,
                muted: counts.muted,
                stops_given_up: counts.stops_given_up,
            },
            latency: Latency {
                round_trip_ms: quantiles(&metrics.round_trip),
                signal_to_wire_ms: quantiles(&metrics.signal_to_wire),
                timer_lateness_ms: quantiles(&metrics.timer_lateness),
            },
            signals: Signals(counts.signals),
            journal: match snapshot.journal_state() {
                JournalState::None => "none",
                JournalState::Ok => "ok",
                JournalState::Degraded => "degraded",
            },
            store: snapshot.store.as_ref().map(|store| Store {
                state: store.state.name(),
                up: store.up,
                problem: store.problem.as_deref(),
                node: store.node.to_string(),
                group: &store.group,
                members: store.members,
                members_age_ms: store.answered.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
                owned: store.owned,
                requests_per_second: store.share,
                differs: store.differs.names(),
                posted: store.counts.posted,
                received: store.counts.received,
            }),
            recording: snapshot.recording,
            drop_in: runtime.drop_in.is_some(),
            candidates,
            configuration: &runtime.configuration,
        }
    }
}

/// To a microsecond: what lies between two bounds is interpolated, and not known as exactly as that.
fn quantiles(histogram: &Latencies) -> Option<Quantiles> {
    let millis = |share| Some((histogram.quantile(share)?.as_secs_f64() * 1e6).round() / 1e3);
    Some(Quantiles { p50: millis(0.5)?, p99: millis(0.99)? })
}
