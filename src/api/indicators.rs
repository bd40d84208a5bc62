//! `GET /v1/indicators`: every indicator that is decided and what becomes of it, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::options::{bad, id};
use super::timing::TimingChange;
use super::{Api, events};
use crate::base::clock::{self, Clock};
use crate::http::{Options, Problem};
use crate::model::ConversationRef;
use crate::observe::events::{News, Watch, Watched};

/// Readers at a time: some consoles, some terminals, whatever an operator's machines run.
pub(super) const READERS_MAX: usize = 64;
/// When to try again, in seconds, if as many read already, or the daemon is about to stop.
const RETRY_AFTER_SECONDS: u64 = 5;
/// When nothing happens for this long there is a comment: well within the 75 s after which the server takes a silent
/// connection for idle, and soon enough to notice a reader that has gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it asks again when the daemon has gone, in milliseconds.
const COME_AGAIN_MILLIS: u64 = 1_000;
/// What is handed over at a time, in bytes, is no more than this and one event.
const PIECE_BYTES_MAX: usize = 16 * 1_024;
/// An event is about this long.
const EVENT_BYTES_USUAL: usize = 256;

pub(super) async fn indicators(
    State(api): State<Arc<Api>>,
    Options(filter): Options<Filter>,
) -> Result<Response, Problem> {
    let filter = filter.checked()?;
    let place = api.places.readers.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{READERS_MAX} callers read the indicators already, as many as there may be");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(RETRY_AFTER_SECONDS)
    })?;
    let watch = api.feed.watch().ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "typingd is shutting down").retry_after(RETRY_AFTER_SECONDS)
    })?;
    let mut changes = api.timing_changes.clone();
    changes.mark_unchanged();
    let reader = Reader { watch, changes, filter, clock: api.clock, _place: place };
    let beginning = Bytes::from(format!("retry: {COME_AGAIN_MILLIS}\n\n"));
    let pieces = stream::unfold((reader, Some(beginning)), |(mut reader, beginning)| async {
        let piece = match beginning {
            Some(beginning) => beginning,
            None => reader.next().await?,
        };
        Some((Ok::<_, Infallible>(piece), (reader, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // A proxy must not collect an answer that has no end before it passes it on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Whose indicators are asked for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    to: Option<String>,
    from: Option<String>,
}

impl Filter {
    fn checked(self) -> Result<Self, Problem> {
        if self.from.is_some() && self.to.is_none() {
            return Err(bad("`from` is there without `to`; an end user belongs to a channel"));
        }
        Ok(Self { to: id("to", self.to)?, from: id("from", self.from)? })
    }

    fn takes(&self, conversation: ConversationRef<'_>) -> bool {
        self.to.as_deref().is_none_or(|to| to == conversation.to())
            && self.from.as_deref().is_none_or(|from| from == conversation.from())
    }
}

struct Reader {
    watch: Watch,
    changes: watch::Receiver<Option<Arc<TimingChange>>>,
    filter: Filter,
    clock: Clock,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next events, as many as there are; a comment when there is none for a while; `None` at the daemon's end.
    async fn next(&mut self) -> Option<Bytes> {
        let heartbeat = clock::timer_after(HEARTBEAT);
        let mut piece = Vec::new();
        while piece.is_empty() {
            let received = tokio::select! {
                biased;
                received = tokio::time::timeout_at(heartbeat, self.watch.next()) => received,
                Ok(()) = self.changes.changed() => return self.timing_changed(),
            };
            let Ok(received) = received else { return Some(Bytes::from_static(b": still here\n\n")) };
            self.write(received?, &mut piece);
        }
        while piece.len() < PIECE_BYTES_MAX
            && let Some(received) = self.watch.try_next()
        {
            self.write(received, &mut piece);
        }
        Some(piece.into())
    }

    /// The event of the last change of the timing.
    fn timing_changed(&mut self) -> Option<Bytes> {
        let change = self.changes.borrow_and_update().clone()?;
        Some(format!("event: timing\ndata: {}\n\n", json!(*change)).into())
    }

    fn write(&self, received: Watched, piece: &mut Vec<u8>) {
        match received {
            Watched::News(news) if self.filter.takes(news.event.conversation.as_ref()) => {
                piece.extend_from_slice(news.text.get_or_init(|| text_of(&news, &self.clock)));
            }
            Watched::News(_) => {}
            Watched::Missed(missed) => {
                piece.extend_from_slice(format!("event: lagged\ndata: {}\n\n", json!({"missed": missed})).as_bytes());
            }
        }
    }
}

/// An event as it is sent, the same for all readers.
fn text_of(news: &News, clock: &Clock) -> Bytes {
    let (name, event) = events::event(&news.event, clock);
    let mut text = Vec::with_capacity(EVENT_BYTES_USUAL);
    text.extend_from_slice(b"event: ");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut text, &event).expect("strings and numbers can be written, and a vector takes them");
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::model::{Decision, Reason};
    use crate::observe::events::EventLog;
    use crate::observe::loop_event::LoopEvent;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_broken_by_comments_and_ends_with_the_driver() {
        let (mut history, feed) = EventLog::new(1);
        let clock = Clock::start();
        let router = crate::api::routes(Arc::new(Api { feed, clock, ..crate::api::tests::api() }));
        let request = Request::builder().uri("/v1/indicators?to=c").body(Body::empty()).unwrap();
        let mut body = router.oneshot(request).await.unwrap().into_body();
        let next = async |body: &mut Body| {
            let piece = body.frame().await?.unwrap().into_data().unwrap();
            Some(String::from_utf8(piece.to_vec()).unwrap())
        };
        let decide = |to: &str| {
            let conversation = ConversationRef::new(to, "ann").unwrap().to_owned();
            let decision = Decision { number: 1, at: clock.now(), conversation, reason: Reason::FirstKeystroke };
            LoopEvent::Decided { decision, waited: Duration::ZERO }
        };
        assert_eq!(next(&mut body).await.as_deref(), Some("retry: 1000\n\n"));
        // What is not asked for is no news to this reader, and breaks no silence.
        let start = clock.now();
        let elsewhere = async {
            for _ in 0..14 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                history.observe(clock.now(), decide("d"));
            }
        };
        let (piece, ()) = tokio::join!(next(&mut body), elsewhere);
        assert_eq!(piece.as_deref(), Some(": still here\n\n"));
        assert_eq!(clock.now().since(start).as_secs(), HEARTBEAT.as_secs());
        history.observe(clock.now(), decide("c"));
        let piece = next(&mut body).await.unwrap();
        assert!(piece.starts_with("event: decided\ndata: {\"id\":1,\"at\":") && piece.ends_with("\n\n"), "{piece}");
        drop(history);
        assert!(next(&mut body).await.is_none());
    }

    #[test]
    fn who_is_asked_for_is_read_within_bounds() {
        let filter = |query: &str| {
            let uri = format!("/?{query}").parse().unwrap();
            Options::<Filter>::of(&uri).and_then(|Options(filter)| filter.checked())
        };
        let some = |text: &str| Some(text.to_owned());
        for (query, to, from) in
            [("", None, None), ("to=c", some("c"), None), ("from=a%20b%26&to=%C3%BC%0A", some("ü\n"), some("a b&"))]
        {
            assert_eq!(filter(query).unwrap(), Filter { to, from }, "{query:?}");
        }
        let long = format!("to={}", "x".repeat(256));
        for query in ["from=a", "to=", "to=a&to=b", "channel=c", "to=c&from=", &long] {
            assert_eq!(filter(query).unwrap_err().status(), StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
