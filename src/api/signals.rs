//! `POST /v1/signals`: reads signals, hands them to the loop, and answers with the result of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::options::{bad, value};
use super::{RETRY_AFTER_SECONDS, busy};
use crate::base::clock;
use crate::base::duration;
use crate::base::text::without_bom;
use crate::driver::inbox::{Inbox, Receipt, Undeliverable};
use crate::engine::Rejected;
use crate::http::{self, Ends, Limits, Listener, Serving, SignalsRoute, TakeSignals, Taking, TokenAuth, Traffic};
use crate::http::{BODY_STALL_MAX, Options, Problem, StreamControl};
use crate::http::{check_encoding, media_type, next_data, read_body, require_token, too_large};
use crate::model::{SignalBatch, SignalKind};
use crate::signals::json::{self, LINE_BYTES_MAX};
use crate::signals::lines::{Lines, Overlong};

/// Rejects reported in full; further ones are counted.
const REJECTS_SHOWN_MAX: usize = 100;
/// What to do instead of sending too long a body.
const TOO_LARGE_ADVICE: &str = "send fewer signals at a time, or a stream (application/x-ndjson)";
/// A stream may be silent between two lines for this long.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(300);
/// A line with two short ids. Where lines are shorter, a batch grows once or twice.
const LINE_BYTES_USUAL: usize = 80;
/// The longest `wait` that can be asked for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How far a caller's clock may be ahead of ours. Of a signal that is further ahead the time is ignored.
const AHEAD_MILLIS_MAX: u64 = 60_000;

/// The count of malformed signals. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Malformed(Arc<AtomicU64>);

impl Malformed {
    /// Since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct Ingest {
    malformed: Malformed,
    inbox: Inbox,
    body_bytes_max: watch::Receiver<usize>,
}

impl Ingest {
    /// Signals go to `inbox`. `body_bytes_max` is read with every request.
    pub fn new(inbox: Inbox, body_bytes_max: watch::Receiver<usize>) -> Self {
        Self { malformed: Malformed::default(), inbox, body_bytes_max }
    }

    /// The count of malformed signals.
    pub fn malformed(&self) -> Malformed {
        self.malformed.clone()
    }

    /// Counts the malformed signals since the last call: a stream may go on for long.
    fn count_malformed(&self, tally: &mut Tally) {
        self.malformed.0.fetch_add(std::mem::take(&mut tally.malformed), Ordering::Relaxed);
    }

    /// The route that takes signals.
    pub fn router(self) -> Router {
        Router::new().route("/v1/signals", post(take_signals)).with_state(self)
    }

    /// The short way of a single signal, for callers that show the token of `auth`, if there is one.
    pub(crate) fn short_way(self, auth: TokenAuth) -> SignalsRoute {
        SignalsRoute::new(auth, self)
    }

    /// Serves signals on `listener`, and nothing else, until `stop` becomes true. Callers need no token.
    pub async fn serve(self, listener: Listener, stop: watch::Receiver<bool>) {
        let auth = TokenAuth::default();
        let router = self.clone().router().route_layer(from_fn_with_state(auth.clone(), require_token));
        let router = http::guard(router, auth.clone());
        let signals = Some(self.short_way(auth));
        let serving =
            Serving { router, signals, forward: None, limits: Limits::default(), traffic: Traffic::default() };
        let (_serving, serving) = watch::channel(serving);
        http::serve_on(listener, serving, Ends { stop: stop.clone(), close: stop }).await;
    }
}

impl TakeSignals for Ingest {
    fn take_at_once(&self, body: &[u8]) -> Option<Bytes> {
        if body.len() > *self.body_bytes_max.borrow() {
            return None;
        }
        let parsed = json::parse(without_bom(body)).ok()?;
        let mut signal = parsed.signal;
        if let Some(at) = signal.at {
            if json::AT_SECONDS.contains(&(at as f64)) {
                return None;
            }
            signal.at = Some(at).filter(|at| *at <= latest_at());
        }
        self.inbox.gather(parsed.conversation(), signal).then_some(ONE_ACCEPTED)
    }

    fn take(&self, body: Bytes) -> Taking<'_> {
        Box::pin(async move {
            let bytes_max = *self.body_bytes_max.borrow();
            let taken = match body.len() > bytes_max {
                true => Err(too_large(bytes_max, TOO_LARGE_ADVICE)),
                false => take_json(self, body.slice_ref(without_bom(&body)), None).await,
            };
            taken.and_then(Tally::answer).map_err(IntoResponse::into_response)
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalOptions {
    wait: Option<String>,
}

async fn take_signals(
    State(ingest): State<Ingest>,
    Options(SignalOptions { wait }): Options<SignalOptions>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let wait = wait.map(|text| {
        let wait = duration::parse(&text).filter(|span| *span <= WAIT_MAX);
        value("wait", &text, wait, &format!("a duration up to {}s, such as 250ms", WAIT_MAX.as_secs()))
    });
    let wait = wait.transpose()?;
    check_encoding(&head.headers)?;
    let tally = match media_type(&head.headers) {
        Some(media) if media.eq_ignore_ascii_case("application/json") => {
            let bytes_max = *ingest.body_bytes_max.borrow();
            let body = read_body(&head.headers, body, bytes_max, TOO_LARGE_ADVICE).await?;
            take_json(&ingest, body, wait).await?
        }
        Some(media) if media.eq_ignore_ascii_case("application/x-ndjson") => {
            if wait.is_some() {
                return Err(bad("`wait` goes with application/json: a stream is answered at its end"));
            }
            take_stream(&ingest, body, head.extensions.get()).await?
        }
        _ => {
            let detail =
                "the content type must be application/json (a signal or an array) or application/x-ndjson (a stream)";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let json = tally.answer()?;
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// A signal or an array of them, in a whole body.
async fn take_json(ingest: &Ingest, body: Bytes, wait: Option<Duration>) -> Result<Tally, Problem> {
    let mut tally = Tally::default();
    let mut batch = Batch::default();
    if body.trim_ascii_start().starts_with(b"[") {
        let text = std::str::from_utf8(&body)
            .map_err(|error| bad(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))?;
        let items: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| bad(format!("the body is not a JSON array: {error}")))?;
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
    tokio::time::timeout(wait, all).await.is_ok_and(|settled| settled.into_iter().all(|settled| settled == Ok(true)))
}

/// Lines, handled as they arrive. A line that is incomplete at the end counts if it is whole as JSON. `control` ends a
/// stream that has no end of its own.
async fn take_stream(ingest: &Ingest, mut body: Body, control: Option<&StreamControl>) -> Result<Tally, Problem> {
    let mut tally = Tally::default();
    let mut lines = Lines::default();
    let note_activity = || control.iter().for_each(|control| control.note_activity());
    note_activity();
    let end = async {
        match control.cloned() {
            Some(control) => control.until_end().await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    loop {
        let timeout = if lines.is_between() { STREAM_SILENCE_MAX } else { BODY_STALL_MAX };
        let data = tokio::select! {
            biased;
            () = end.as_mut() => return Ok(tally),
            data = next_data(&mut body, timeout) => data?,
        };
        let mut batch = Batch::with_room(data.as_ref().map_or(0, Bytes::len));
        match &data {
            Some(data) => lines.feed(data, |index, line| batch.read_line(index, line, &mut tally)),
            None => lines.finish(|index, line| batch.read_line(index, line, &mut tally)),
        }
        ingest.count_malformed(&mut tally);
        if !batch.signals.is_empty() {
            let receipt = ingest.inbox.deliver_when_possible(batch.signals).await.map_err(undeliverable)?;
            tally.enter(&batch.indexes, receipt);
            note_activity();
        }
        if data.is_none() {
            return Ok(tally);
        }
    }
}

/// The latest time that is taken at present: a message from the future would silence its conversation until then.
fn latest_at() -> u64 {
    clock::wall_millis() + AHEAD_MILLIS_MAX
}

/// The answer to one signal.
const ONE_ACCEPTED: Bytes = Bytes::from_static(br#"{"accepted":1,"rejected":[]}"#);

/// Signals that could be parsed, and their indexes in the request.
#[derive(Default)]
struct Batch {
    signals: SignalBatch,
    indexes: Indexes,
    /// The latest time that is taken, by the clock when the first signal with a time was read.
    latest_at: Option<u64>,
}

/// The indexes of a batch's signals in their request: the first, and the others while they follow it one by one.
#[derive(Default)]
struct Indexes {
    first: usize,
    count: usize,
    /// Each of them, as soon as one is left out.
    each: Vec<usize>,
}

impl Indexes {
    fn push(&mut self, index: usize) {
        if self.count == 0 {
            self.first = index;
        } else if self.each.is_empty() && index != self.first + self.count {
            self.each = (self.first..self.first + self.count).collect();
        }
        if !self.each.is_empty() {
            self.each.push(index);
        }
        self.count += 1;
    }

    /// That of the signal at `place` of the batch.
    fn of(&self, place: usize) -> usize {
        self.each.get(place).copied().unwrap_or(self.first + place)
    }
}

impl Batch {
    /// One with room for the signals of so many bytes, so that it need not grow.
    fn with_room(bytes: usize) -> Self {
        Self { signals: SignalBatch::with_room(bytes, bytes / LINE_BYTES_USUAL), ..Self::default() }
    }

    fn read(&mut self, index: usize, json: &[u8], tally: &mut Tally) {
        match json::parse(json) {
            Ok(parsed) if parsed.signal.at.is_some_and(|at| json::AT_SECONDS.contains(&(at as f64))) => {
                let at = parsed.signal.at.unwrap_or_default();
                tally.reject_malformed(index, json::at_in_seconds(at, 1_000 * at));
            }
            Ok(mut parsed) => {
                let latest = &mut self.latest_at;
                parsed.signal.at = parsed.signal.at.filter(|at| *at <= *latest.get_or_insert_with(latest_at));
                self.signals.push(parsed.conversation(), parsed.signal);
                self.indexes.push(index);
            }
            Err(error) => tally.reject_malformed(index, error.to_string()),
        }
    }

    fn read_line(&mut self, index: usize, line: Result<&[u8], Overlong>, tally: &mut Tally) {
        let line = if index == 0 { line.map(without_bom) } else { line };
        match line {
            // Blank lines are common at a stream's end, and no mistake.
            Ok(line) if line.trim_ascii().is_empty() => {}
            Ok(line) => self.read(index, line, tally),
            Err(Overlong) => tally
                .reject_malformed(index, format!("is longer than {LINE_BYTES_MAX} bytes; expected one signal a line")),
        }
    }
}

/// The results of a request's signals so far.
#[derive(Default)]
struct Tally {
    accepted: usize,
    rejected: Vec<(usize, String)>,
    rejected_total: usize,
    /// Malformed ones that are not counted for operators yet.
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
        if self.rejected.len() < REJECTS_SHOWN_MAX {
            self.rejected.push((index, error));
        }
    }

    /// Enters the loop's receipt for a batch whose signals have these `indexes`.
    fn enter(&mut self, indexes: &Indexes, receipt: Receipt) -> Vec<tokio::sync::oneshot::Receiver<bool>> {
        self.accepted += indexes.count - receipt.turned_away.len();
        for (place, why) in receipt.turned_away {
            self.turned_away = Some(why);
            let error = match why {
                Rejected::TableFull => "no room for another conversation; try again, or raise ingest.max_conversations",
                Rejected::Stopping => "typingd is shutting down",
            };
            self.reject(indexes.of(place), error.to_owned());
        }
        receipt.unsettled
    }

    /// The JSON of a 202.
    ///
    /// # Errors
    /// When no signal could be taken.
    fn answer(mut self) -> Result<Bytes, Problem> {
        if self.rejected_total == 0 && self.settled.is_none() {
            return Ok(match self.accepted {
                1 => ONE_ACCEPTED,
                accepted => format!(r#"{{"accepted":{accepted},"rejected":[]}}"#).into(),
            });
        }
        // Found while reading or when handing over; answered in the order of the request.
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
                // What is wrong with a whole line or body is said without naming it.
                (None, [(_, only)]) if only.starts_with("is ") => (StatusCode::BAD_REQUEST, format!("the body {only}")),
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
        Ok(body.to_string().into())
    }
}

fn undeliverable(why: Undeliverable) -> Problem {
    busy(match why {
        Undeliverable::Full => "typingd is behind with its work; try again",
        Undeliverable::Closed => "typingd is shutting down",
    })
}
