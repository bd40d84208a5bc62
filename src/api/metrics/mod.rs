//! `GET /metrics`: all numbers, as Prometheus or OpenMetrics text.

mod families;
mod page;
mod proc;
mod process;
mod state;
mod traffic;
mod typing;
mod work;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::{Api, PATIENCE, loop_silent};
use crate::http::{NoOptions, Options, Problem};
use families::{Machine, Numbers, PREFIX, PROCESS_PREFIX};
use proc::Process;

pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
    _: Options<NoOptions>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = api.controls.statistics(PATIENCE).await.ok_or_else(loop_silent)?;
    // Off the async threads: the system may have thousands of descriptors to count.
    let process = tokio::task::spawn_blocking(Process::look).await.unwrap_or_default();
    let machine = Machine { process, started_at: snapshot.runtime.started_at };
    let mut registry = Registry::default();
    registry
        .sub_registry_with_prefix(PREFIX)
        .register_collector(Box::new(Numbers { snapshot, traffic: api.traffic.clone() }));
    registry.sub_registry_with_prefix(PROCESS_PREFIX).register_collector(Box::new(machine));
    let format = Format::asked_for(&headers);
    // Whole before a byte of it leaves: a reader that hangs holds a text, and nothing else.
    let mut page = String::new();
    let (written, kind) = match format {
        Format::OpenMetrics => (text::encode(&mut page, &registry), OPEN_METRICS),
        Format::Prometheus => (prometheus_text::encode(&mut page, &registry), prometheus_text::CONTENT_TYPE),
    };
    written.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written"))?;
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Prometheus text, version 0.0.4: what everything reads.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics if the reader asks for it by name, and not for plain text rather.
    fn asked_for(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut weight, mut version) = (1.0, "1.0.0");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") && version == "1.0.0" {
                open = open.max(weight);
            } else if media.eq_ignore_ascii_case("text/plain") {
                plain = plain.max(weight);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        // The first is what a Prometheus server sends as it comes.
        let usual = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (usual, Format::OpenMetrics),
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html, */*;q=0.8", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.1", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text; version=2.0.0", Format::Prometheus),
            ("application/openmetrics-text; q=0", Format::Prometheus),
            ("application/openmetrics-text; q=much", Format::Prometheus),
            ("text/plain;version=0.0.4;q=0.6, application/openmetrics-text;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;q=NaN", Format::Prometheus),
            (";;;=,,=;q", Format::Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::asked_for(&headers), format, "{accept}");
        }
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Prometheus);
    }
}
