//! `POST /v1/signals`: bytes in, signals to the driver, what became of them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::base::clock;
use crate::base::duration;
use crate::driver::inbox::{Inbox, Receipt, Undeliverable};
use crate::engine::Rejected;
use crate::http::{BODY_STALL_MAX, Gate, Problem, Stay, check_encoding, hear_out, media_type, next_data, read_body};
use crate::model::{SignalBatch, SignalKind};
use crate::signals::json::{self, LINE_BYTES_MAX};
use crate::signals::lines::{Lines, Overlong};

/// Rejects told in full; further ones are counted.
const REJECTS_TOLD_MAX: usize = 100;
/// What to do instead of sending too long a body.
const TOO_LARGE_ADVICE: &str = "send fewer signals at a time, or a stream (application/x-ndjson)";
/// A stream may be silent between two lines for this long.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(300);
/// The longest `wait` that can be asked for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A caller's clock may be ahead of ours by so much. What is further ahead is not believed: the signal counts, its time
/// does not.
const AHEAD_MILLIS_MAX: u64 = 60_000;
/// When to come again, in seconds, if there was no room.
const RETRY_AFTER_SECONDS: u64 = 1;

/// How much was refused that was no signal. Cheap to clone; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Malformed(Arc<AtomicU64>);

impl Malformed {
    /// Since the start.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct Ingest {
    malformed: Malformed,
    inbox: Inbox,
    gate: Gate,
    body_bytes_max: watch::Receiver<usize>,
}

impl Ingest {
    /// Signals of callers that `gate` lets in go to `inbox`. `body_bytes_max` is looked at with every request.
    #[must_use]
    pub fn new(inbox: Inbox, gate: Gate, body_bytes_max: watch::Receiver<usize>) -> Self {
        Self { malformed: Malformed::default(), inbox, gate, body_bytes_max }
    }

    /// How much was refused that was no signal.
    #[must_use]
    pub fn malformed(&self) -> Malformed {
        self.malformed.clone()
    }

    /// Counts what could not be read since the last time: a stream may go on for long.
    fn count_malformed(&self, tally: &mut Tally) {
        self.malformed.0.fetch_add(std::mem::take(&mut tally.malformed), Ordering::Relaxed);
    }

    /// The routes of this edge.
    pub fn router(self) -> Router {
        Router::new()
            .route(
                "/v1/signals",
                post(take_signals)
                    .fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "signals are taken by POST")),
            )
            .with_state(self)
    }
}

async fn take_signals(
    State(ingest): State<Ingest>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let stay = head.extensions.get::<Stay>().cloned();
    match take(&ingest, query.as_deref(), &head.headers, &mut body, stay).await {
        Ok(tally) => tally.answer(),
        Err(problem) => Err(hear_out(&head.headers, &mut body, problem).await),
    }
}

async fn take(
    ingest: &Ingest,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &mut Body,
    stay: Option<Stay>,
) -> Result<Tally, Problem> {
    ingest.gate.admit(headers)?;
    let wait = wait_of(query)?;
    check_encoding(headers)?;
    match media_type(headers) {
        Some(media) if media.eq_ignore_ascii_case("application/json") => take_json(ingest, headers, body, wait).await,
        Some(media) if media.eq_ignore_ascii_case("application/x-ndjson") => {
            if wait.is_some() {
                let detail = "`wait` goes with application/json: a stream is answered at its end";
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
            }
            take_stream(ingest, body, stay).await
        }
        _ => {
            let detail =
                "the content type must be application/json (a signal or an array) or application/x-ndjson (a stream)";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

fn wait_of(query: Option<&str>) -> Result<Option<Duration>, Problem> {
    let mut wait = None;
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if key != "wait" {
            let shown: String = key.chars().take(40).collect();
            let detail = format!("unknown option `{}`; `wait` is the only one", shown.escape_debug());
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        let span = duration::parse(&value).filter(|span| *span <= WAIT_MAX).ok_or_else(|| {
            let shown: String = value.chars().take(40).collect();
            let detail = format!(
                "`wait` is \"{}\"; a duration up to {}s, such as 250ms, is right",
                shown.escape_debug(),
                WAIT_MAX.as_secs()
            );
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?;
        if wait.replace(span).is_some() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "`wait` stands there twice"));
        }
    }
    Ok(wait)
}

/// A signal or an array of them, read as a whole.
async fn take_json(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: &mut Body,
    wait: Option<Duration>,
) -> Result<Tally, Problem> {
    let bytes_max = *ingest.body_bytes_max.borrow();
    let body = read_body(headers, body, bytes_max, TOO_LARGE_ADVICE).await?;
    let mut tally = Tally::default();
    let mut batch = Batch::default();
    if body.trim_ascii_start().starts_with(b"[") {
        let text = std::str::from_utf8(&body).map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body is not UTF-8 from byte {} on", e.valid_up_to()))
        })?;
        let items: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not a JSON array: {e}")))?;
        for (index, item) in items.iter().enumerate() {
            batch.read(index, item.get().as_bytes(), &mut tally);
        }
    } else {
        batch.read(0, &body, &mut tally);
    }
    ingest.count_malformed(&mut tally);
    let messages = batch.signals.iter().any(|(_, signal)| signal.kind == SignalKind::MessageSent);
    let receipt = ingest
        .inbox
        .deliver(batch.signals, (wait.is_some() && messages).then_some(Duration::MAX))
        .await
        .map_err(undeliverable)?;
    let unsettled = tally.enter(&batch.indexes, receipt);
    if let Some(wait) = wait {
        tally.settled = Some(all_acknowledged(unsettled, wait).await);
    }
    Ok(tally)
}

async fn all_acknowledged(unsettled: Vec<tokio::sync::oneshot::Receiver<bool>>, wait: Duration) -> bool {
    let all = futures_util::future::join_all(unsettled);
    tokio::time::timeout(wait, all).await.is_ok_and(|told| told.into_iter().all(|told| told == Ok(true)))
}

/// Lines, handled as they arrive. A line that is half there at the end counts if it is whole as JSON. One that has no end
/// is answered when its stay is over.
async fn take_stream(ingest: &Ingest, body: &mut Body, stay: Option<Stay>) -> Result<Tally, Problem> {
    let mut tally = Tally::default();
    let mut lines = Lines::default();
    let note_told = || stay.iter().for_each(Stay::note_told);
    note_told();
    let over = async {
        match stay.clone() {
            Some(stay) => stay.over().await,
            None => std::future::pending().await,
        }
    };
    let mut over = std::pin::pin!(over);
    loop {
        let patience = if lines.is_between() { STREAM_SILENCE_MAX } else { BODY_STALL_MAX };
        let data = tokio::select! {
            biased;
            () = over.as_mut() => return Ok(tally),
            data = next_data(body, patience) => data?,
        };
        let mut batch = Batch::default();
        match &data {
            Some(data) => lines.feed(data, |index, line| batch.read_line(index, line, &mut tally)),
            None => lines.finish(|index, line| batch.read_line(index, line, &mut tally)),
        }
        ingest.count_malformed(&mut tally);
        if !batch.signals.is_empty() {
            let receipt = ingest.inbox.deliver_when_possible(batch.signals).await.map_err(undeliverable)?;
            tally.enter(&batch.indexes, receipt);
            note_told();
        }
        if data.is_none() {
            return Ok(tally);
        }
    }
}

/// Signals that could be read, and their places in what the caller sent.
#[derive(Default)]
struct Batch {
    signals: SignalBatch,
    indexes: Vec<usize>,
}

impl Batch {
    fn read(&mut self, index: usize, json: &[u8], tally: &mut Tally) {
        match json::parse(json) {
            Ok(mut parsed) => {
                // A message from the future would silence its conversation until then.
                parsed.signal.at = parsed.signal.at.filter(|at| *at <= clock::wall_millis() + AHEAD_MILLIS_MAX);
                self.signals.push(parsed.conversation(), parsed.signal);
                self.indexes.push(index);
            }
            Err(error) => tally.reject_malformed(index, error.to_string()),
        }
    }

    fn read_line(&mut self, index: usize, line: Result<&[u8], Overlong>, tally: &mut Tally) {
        match line {
            // Blank lines are common at a stream's end, and no mistake.
            Ok(line) if line.trim_ascii().is_empty() => {}
            Ok(line) => self.read(index, line, tally),
            Err(Overlong) => tally
                .reject_malformed(index, format!("is longer than {LINE_BYTES_MAX} bytes; one signal a line is right")),
        }
    }
}

/// What became of a request's signals so far.
#[derive(Default)]
struct Tally {
    accepted: usize,
    rejected: Vec<(usize, String)>,
    rejected_total: usize,
    /// Those that were no signals, and have not been counted for the operator yet.
    malformed: u64,
    turned_away: Option<Rejected>,
    settled: Option<bool>,
}

impl Tally {
    fn reject_malformed(&mut self, index: usize, error: String) {
        self.malformed += 1;
        self.reject(index, error);
    }

    fn reject(&mut self, index: usize, error: String) {
        self.rejected_total += 1;
        if self.rejected.len() < REJECTS_TOLD_MAX {
            self.rejected.push((index, error));
        }
    }

    /// Enters what the driver said of a batch whose signals stood at `indexes`.
    fn enter(&mut self, indexes: &[usize], receipt: Receipt) -> Vec<tokio::sync::oneshot::Receiver<bool>> {
        self.accepted += indexes.len() - receipt.turned_away.len();
        for (place, why) in receipt.turned_away {
            self.turned_away = Some(why);
            let error = match why {
                Rejected::TableFull => {
                    "no room for another conversation; come again, or raise ingest.max_conversations"
                }
                Rejected::Stopping => "typingd is shutting down",
            };
            self.reject(indexes[place], error.to_owned());
        }
        receipt.unsettled
    }

    fn answer(mut self) -> Result<Response, Problem> {
        // Found while reading or when handing over, told in the order of the request.
        self.rejected.sort_by_key(|(index, _)| *index);
        let rejected: Vec<_> =
            self.rejected.iter().map(|(index, error)| serde_json::json!({"index": index, "error": error})).collect();
        let more = self.rejected_total > rejected.len();
        if self.accepted == 0 && self.rejected_total > 0 {
            let (status, detail) = match (self.turned_away, &self.rejected[..]) {
                (Some(Rejected::TableFull), _) => {
                    (StatusCode::TOO_MANY_REQUESTS, "the table of conversations is full".to_owned())
                }
                (Some(Rejected::Stopping), _) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "typingd is shutting down".to_owned())
                }
                (None, [(_, only)]) => (StatusCode::BAD_REQUEST, only.clone()),
                (None, _) => {
                    (StatusCode::BAD_REQUEST, format!("none of the {} signals can be taken", self.rejected_total))
                }
            };
            let mut problem = Problem::new(status, detail).with("accepted", 0.into()).with("rejected", rejected.into());
            if more {
                problem = problem.with("rejected_total", self.rejected_total.into());
            }
            if self.turned_away.is_some() {
                problem = problem.retry_after(RETRY_AFTER_SECONDS);
            }
            return Err(problem);
        }
        let mut body = serde_json::json!({"accepted": self.accepted, "rejected": rejected});
        if more {
            body["rejected_total"] = self.rejected_total.into();
        }
        if let Some(settled) = self.settled {
            body["settled"] = settled.into();
        }
        Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
    }
}

fn undeliverable(why: Undeliverable) -> Problem {
    let detail = match why {
        Undeliverable::Full => "typingd is behind with its work; come again",
        Undeliverable::Closed => "typingd is shutting down",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
}
