//! What passes through: headers without those that concern one connection alone, and bodies that are opaque bytes,
//! streamed, bounded in length and in silence.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::written::moment;
use crate::base::clock::{self, Clock};
use crate::base::text::find_cause;
use crate::model::Instant;

/// The longest body, either way: the largest file that the Interaction Service takes on any channel (30 MiB), and room
/// for the other parts of its form.
pub(super) const BODY_BYTES_MAX: u64 = 32 << 20;

/// What concerns one connection alone and is not passed on (RFC 9110, section 7.6.1). `Expect` is answered by whoever
/// reads the body, which is typingd; `Host` is the far side's own name.
const PER_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes out of a head what concerns one connection alone, and what that connection says does.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    for name in named.iter().chain(&PER_CONNECTION) {
        // Who names these as his connection's own would take a request apart.
        if ![header::CONTENT_LENGTH, header::AUTHORIZATION, header::CONTENT_TYPE].contains(name) {
            headers.remove(name);
        }
    }
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// Nothing came for too long.
    Stalled,
    /// It came, but too slowly.
    Dripped,
    /// Its connection ended.
    Off,
}

impl Broken {
    /// What `error` of a body says.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        find_cause(error).copied().unwrap_or(Self::Off)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the body is longer than {BODY_BYTES_MAX} bytes"),
            Self::Stalled => f.write_str("nothing came for too long in the midst of the body"),
            Self::Dripped => f.write_str("the body came too slowly"),
            Self::Off => f.write_str("the body broke off"),
        }
    }
}

impl std::error::Error for Broken {}

/// What is known of a body while somebody else reads it.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    moved: AtomicU64,
    /// It is its sender's turn: the silence is watched by the body itself.
    awaited: AtomicBool,
    /// When its last piece was given ([`moment`]).
    given: AtomicU64,
    /// It has nothing more to give for now.
    caught_up: AtomicBool,
    ended: AtomicBool,
    broken: OnceLock<Broken>,
}

impl Watch {
    fn new(clock: Clock) -> Arc<Self> {
        let moved = AtomicU64::new(clock.now().as_micros());
        Arc::new(Self {
            clock,
            moved,
            awaited: AtomicBool::new(false),
            given: AtomicU64::new(moment()),
            caught_up: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            broken: OnceLock::new(),
        })
    }

    /// When the last that has arrived of it was taken to be written, if all has been.
    pub(super) fn caught_up(&self) -> Option<u64> {
        self.caught_up.load(Ordering::SeqCst).then(|| self.given.load(Ordering::SeqCst))
    }

    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn note_caught_up(&self, ended: bool) {
        self.ended.fetch_or(ended, Ordering::SeqCst);
        self.caught_up.store(true, Ordering::SeqCst);
    }

    /// When its last byte moved on.
    pub(super) fn moved(&self) -> Instant {
        Instant::from_micros(self.moved.load(Ordering::Relaxed))
    }

    /// Whether its sender is waited for.
    pub(super) fn awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Why it did not come to its end, if it didn't.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.get().copied()
    }

    fn note_moved(&self) {
        self.moved.store(self.clock.now().as_micros(), Ordering::Relaxed);
    }
}

/// A body on its way, in pieces as they come: what was read ahead of it first.
pub(super) struct Passage {
    ahead: VecDeque<Frame<Bytes>>,
    rest: Arc<Mutex<Body>>,
    watch: Arc<Watch>,
    bytes: u64,
    stall_timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    silent: bool,
    /// Whether its length is told by its frames; an answer's is told by its head alone.
    sized: bool,
    /// Lives as long as the body.
    _hold: Option<Hold>,
}

/// What is kept until a body has gone.
pub(super) type Hold = Box<dyn std::any::Any + Send>;

impl Passage {
    /// A request's body.
    pub(super) fn of_request(ahead: Vec<Frame<Bytes>>, rest: Body, clock: Clock, stall_timeout: Duration) -> Self {
        Self {
            ahead: ahead.into(),
            rest: Arc::new(Mutex::new(rest)),
            watch: Watch::new(clock),
            bytes: 0,
            stall_timeout,
            silence: None,
            silent: false,
            sized: true,
            _hold: None,
        }
    }

    /// An answer's body; `hold` goes with it.
    pub(super) fn of_answer(rest: Body, clock: Clock, stall_timeout: Duration, hold: Hold) -> Self {
        let passage = Self::of_request(Vec::new(), rest, clock, stall_timeout);
        Self { sized: false, _hold: Some(hold), ..passage }
    }

    pub(super) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// What has not been read when somebody else has dropped the body.
    pub(super) fn remains(&self) -> Arc<Mutex<Body>> {
        Arc::clone(&self.rest)
    }

    fn fail(&mut self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let _ = self.watch.broken.set(broken);
        Poll::Ready(Some(Err(broken)))
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.bytes > BODY_BYTES_MAX {
            return self.fail(Broken::TooLong);
        }
        self.watch.note_moved();
        Poll::Ready(Some(Ok(frame)))
    }
}

pub(super) fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Passage {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        this.watch.caught_up.store(false, Ordering::SeqCst);
        let polled = this.poll_piece(cx);
        if matches!(polled, Poll::Ready(Some(_))) {
            this.watch.given.store(moment(), Ordering::SeqCst);
        }
        // A connection that has been told that this piece is the last does not ask for another.
        let ended = matches!(polled, Poll::Ready(None)) || (polled.is_ready() && this.is_end_stream());
        if ended || polled.is_pending() {
            this.watch.note_caught_up(ended);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && lock(&self.rest).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let ahead: u64 = self.ahead.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = lock(&self.rest).size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint
    }
}

impl Passage {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self;
        if let Some(broken) = this.watch.broken() {
            return Poll::Ready(Some(Err(broken)));
        }
        if let Some(frame) = this.ahead.pop_front() {
            return this.pass(frame);
        }
        let polled = Pin::new(&mut *lock(&this.rest)).poll_frame(cx);
        // A sender that has been given up was waited for, too: its upstream is not to blame.
        this.watch.awaited.store(!matches!(polled, Poll::Ready(None | Some(Ok(_)))), Ordering::Relaxed);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.silent = false;
                this.pass(frame)
            }
            Poll::Ready(Some(Err(error))) => this.fail(Broken::of(&error)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = || clock::timer_after(this.stall_timeout);
                let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline())));
                if !std::mem::replace(&mut this.silent, true) {
                    silence.as_mut().reset(deadline());
                }
                match silence.as_mut().poll(cx) {
                    Poll::Ready(()) => this.fail(Broken::Stalled),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_alone_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, authorization, content-length"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("authorization", "Bearer t"),
            ("content-length", "5"),
            ("trailer", "x-sum"),
            ("x-other", "kept"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        let expected =
            ["authorization: Bearer t", "content-length: 5", "te: trailers", "trailer: x-sum", "x-other: kept"];
        assert_eq!(left, expected);
    }
}
