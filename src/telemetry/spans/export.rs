//! Spans on their way to the collector: gathered, sent in batches one at a time, tried again, or lost and counted.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::story::{Stories, attribute};
use crate::base::build_info;
use crate::base::clock::{self, Stopwatch};
use crate::base::text::root_cause;
use crate::observe::events::{Watch, Watched};

/// Spans sent at a time: some 300 kB.
const BATCH_MAX: usize = 512;
/// A batch that is not full leaves after this long.
const LINGER: Duration = Duration::from_secs(1);
/// Spans that wait while the collector is busy, slow or away: two seconds of 2,000 requests, each with its decision; some
/// four megabytes. Further ones are lost.
const WAITING_MAX: usize = 8_192;
/// What one try may take. It delays nothing but the next one.
const TRY_MAX: Duration = Duration::from_secs(5);
/// Between two tries of a batch: doubling, from and to.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Tries of one batch; then it is lost, and the next one has its turn.
const TRIES_MAX: u32 = 5;
/// A collector that fails is logged no more often than this, however often it comes back.
const COMPLAINT_SPACING: Duration = Duration::from_secs(60);
/// What is left at the end has so long.
const LAST_WORDS_MAX: Duration = Duration::from_millis(800);

/// Where spans go.
#[derive(Clone)]
pub(super) struct Collector {
    http: reqwest::Client,
    traces: Url,
    /// Which typingd they are from.
    resource: Resource,
}

/// Spans on their way.
struct Batch {
    body: Bytes,
    spans: u64,
    tries: u32,
}

/// What came of a try.
enum Came {
    /// The collector has them.
    Accepted,
    /// It may take them another time.
    Later(String, Option<Duration>),
    /// It never will.
    Refused(String),
}

/// A try under way.
type Trying = Pin<Box<dyn Future<Output = (Batch, Came)> + Send>>;

impl Collector {
    pub(super) fn new(endpoint: &Url) -> Result<Self, String> {
        // The environment's proxies are not used, for the file is where settings come from.
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        // Loading the system's roots takes time, and fails where there are none.
        let http = if endpoint.scheme() == "https" { http } else { http.tls_certs_only([]) };
        let http = http.build().map_err(|e| format!("log.otlp_endpoint: can't set up https: {}", root_cause(&e)))?;
        let mut traces = endpoint.clone();
        if !traces.path().ends_with("/v1/traces")
            && let Ok(mut segments) = traces.path_segments_mut()
        {
            segments.pop_if_empty().extend(["v1", "traces"]);
        }
        let text = |key, value: &str| attribute(key, any_value::Value::StringValue(value.to_owned()));
        let resource = Resource {
            attributes: vec![
                text("service.name", "typingd"),
                text("service.version", build_info::VERSION),
                text("service.instance.id", &Uuid::new_v4().to_string()),
            ],
            ..Resource::default()
        };
        Ok(Self { http, traces, resource })
    }

    /// The first spans of `waiting`, as many as a batch holds.
    fn batch(&self, waiting: &mut Vec<Span>) -> Batch {
        let spans: Vec<Span> = waiting.drain(..waiting.len().min(BATCH_MAX)).collect();
        let count = spans.len() as u64;
        let scope = InstrumentationScope {
            name: "typingd".to_owned(),
            version: build_info::VERSION.to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let all = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        };
        let body = ExportTraceServiceRequest { resource_spans: vec![all] }.encode_to_vec().into();
        Batch { body, spans: count, tries: 0 }
    }

    /// Sends a batch once, after `pause`.
    fn send(&self, mut batch: Batch, pause: Duration) -> Trying {
        batch.tries += 1;
        let request = self.http.post(self.traces.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let request = request.body(batch.body.clone());
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let came = match tokio::time::timeout(TRY_MAX, request.send()).await {
                Ok(Ok(response)) => came(&response),
                Ok(Err(error)) => Came::Later(root_cause(&error), None),
                Err(_) => Came::Later("no answer in time".to_owned(), None),
            };
            (batch, came)
        })
    }
}

/// What an answer means, as the protocol says.
fn came(response: &reqwest::Response) -> Came {
    let status = response.status();
    match status.as_u16() {
        200..=299 => Came::Accepted,
        429 | 502 | 503 | 504 => {
            let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Came::Later(format!("status {status}"), pause.map(Duration::from_secs))
        }
        _ => Came::Refused(format!("status {status}")),
    }
}

/// Exports until the watch ends, and then what is left.
pub(super) async fn run(mut watch: Watch, mut stories: Stories, collector: Collector) {
    let mut waiting: Vec<Span> = Vec::new();
    let mut losses = Losses::default();
    let mut trying: Option<Trying> = None;
    let leave = tokio::time::sleep(LINGER);
    tokio::pin!(leave);
    loop {
        if trying.is_none() && waiting.len() >= BATCH_MAX {
            trying = Some(collector.send(collector.batch(&mut waiting), Duration::ZERO));
        }
        tokio::select! {
            item = watch.next() => match item {
                Some(Watched::News(news)) => {
                    if waiting.is_empty() {
                        leave.as_mut().reset(clock::timer_after(LINGER));
                    }
                    stories.observe(&news.event, &mut waiting);
                    losses.cut(&mut waiting);
                }
                Some(Watched::Missed(events)) => losses.lost += events,
                None => break,
            },
            (batch, came) = of(&mut trying) => {
                trying = losses.on_try(batch, came).map(|(batch, pause)| collector.send(batch, pause));
            }
            () = leave.as_mut(), if trying.is_none() && !waiting.is_empty() => {
                trying = Some(collector.send(collector.batch(&mut waiting), Duration::ZERO));
            }
        }
    }
    // The last words: one try for each batch, and all of them together have little time.
    let last = async {
        if trying.is_some() {
            let (batch, came) = of(&mut trying).await;
            losses.on_try(batch, came);
        }
        while !waiting.is_empty() {
            let (batch, came) = collector.send(collector.batch(&mut waiting), Duration::ZERO).await;
            losses.on_try(batch, came);
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS_MAX, last).await;
}

/// The end of the try under way; never, if there is none.
async fn of(trying: &mut Option<Trying>) -> (Batch, Came) {
    match trying {
        Some(trying) => trying.await,
        None => std::future::pending().await,
    }
}

/// What was lost, and what was said of it.
#[derive(Default)]
struct Losses {
    lost: u64,
    /// That the collector takes nothing has been logged: the end of that will be, too.
    logged: bool,
    logged_last: Option<Stopwatch>,
}

impl Losses {
    /// Keeps as many spans as may wait: the oldest, which the collector will be sent first.
    fn cut(&mut self, waiting: &mut Vec<Span>) {
        self.lost += waiting.len().saturating_sub(WAITING_MAX) as u64;
        waiting.truncate(WAITING_MAX);
    }

    /// Takes what came of a try; returns a batch that is to be tried again, and after how long.
    fn on_try(&mut self, batch: Batch, came: Came) -> Option<(Batch, Duration)> {
        let (reason, again) = match came {
            Came::Accepted => {
                if std::mem::take(&mut self.logged) {
                    let lost = std::mem::take(&mut self.lost);
                    info!(lost, "spans are exported again");
                } else if self.lost > 0 && self.may_complain() {
                    let lost = std::mem::take(&mut self.lost);
                    warn!(lost, "the collector of log.otlp_endpoint is too slow: spans are lost");
                }
                return None;
            }
            Came::Later(reason, asked) => {
                let pause = (PAUSE_MIN * 2u32.pow(batch.tries - 1)).max(asked.unwrap_or_default()).min(PAUSE_MAX);
                (reason, (batch.tries < TRIES_MAX).then_some(pause))
            }
            Came::Refused(reason) => (reason, None),
        };
        if !self.logged && self.may_complain() {
            self.logged = true;
            warn!(reason, "the collector of log.otlp_endpoint takes no spans");
        }
        let Some(pause) = again else {
            self.lost += batch.spans;
            return None;
        };
        Some((batch, pause))
    }

    /// Whether a complaint may be logged now; then none may for a while.
    fn may_complain(&mut self) -> bool {
        let may = self.logged_last.is_none_or(|last| last.elapsed() >= COMPLAINT_SPACING);
        if may {
            self.logged_last = Some(clock::stopwatch());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(tries: u32) -> Batch {
        Batch { body: Bytes::new(), spans: 7, tries }
    }

    #[test]
    fn a_batch_is_retried_with_growing_pauses_and_then_lost() {
        let mut losses = Losses::default();
        let later = |asked: Option<u64>| Came::Later("away".to_owned(), asked.map(Duration::from_secs));
        let mut pauses = Vec::new();
        for tries in 1..=TRIES_MAX {
            let again = losses.on_try(batch(tries), later(None));
            pauses.extend(again.map(|(_, pause)| pause.as_secs()));
        }
        assert_eq!((pauses.as_slice(), losses.lost), (&[1, 2, 4, 8][..], 7));
        // The collector may ask for more, within bounds.
        let pause = |losses: &mut Losses, asked| losses.on_try(batch(1), later(Some(asked))).map(|(_, pause)| pause);
        assert_eq!(pause(&mut losses, 5), Some(Duration::from_secs(5)));
        assert_eq!(pause(&mut losses, 86_400), Some(PAUSE_MAX));
        assert!(losses.on_try(batch(1), Came::Refused("no".to_owned())).is_none());
        assert_eq!(losses.lost, 14);
        assert!(losses.logged && losses.on_try(batch(1), Came::Accepted).is_none());
        assert_eq!((losses.logged, losses.lost), (false, 0));
        // One that is merely too slow is logged, too, but not at once again.
        losses.lost = 3;
        losses.on_try(batch(1), Came::Accepted);
        assert_eq!(losses.lost, 3);
        losses.logged_last = None;
        losses.on_try(batch(1), Came::Accepted);
        assert_eq!(losses.lost, 0);
    }

    #[test]
    fn spans_beyond_the_bound_are_lost_and_the_oldest_sent() {
        let mut losses = Losses::default();
        let span = |number: usize| Span { start_time_unix_nano: number as u64, ..Span::default() };
        let mut waiting: Vec<Span> = (0..WAITING_MAX + 3).map(span).collect();
        losses.cut(&mut waiting);
        assert_eq!((waiting.len(), losses.lost), (WAITING_MAX, 3));
        let collector = Collector::new(&"http://127.0.0.1:4318".parse().unwrap()).unwrap();
        let batch = collector.batch(&mut waiting);
        assert_eq!((batch.spans, waiting.len()), (BATCH_MAX as u64, WAITING_MAX - BATCH_MAX));
        assert_eq!(waiting[0].start_time_unix_nano, BATCH_MAX as u64);
    }

    #[test]
    fn the_path_of_traces_is_put_to_an_address_that_has_it_not() {
        for (endpoint, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/otlp", "http://127.0.0.1:4318/otlp/v1/traces"),
            ("http://127.0.0.1:4318/otlp/v1/traces", "http://127.0.0.1:4318/otlp/v1/traces"),
        ] {
            assert_eq!(Collector::new(&endpoint.parse().unwrap()).unwrap().traces.as_str(), traces);
        }
    }
}
