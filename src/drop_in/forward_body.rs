//! What is forwarded: headers without those that concern one connection alone, and bodies that are opaque bytes, streamed,
//! bounded in length.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::in_flight::InFlightGuard;
use super::progress::{BODY_BYTES_MAX, Broken, SharedProgress};
use crate::base::clock::Clock;
use crate::salesforce::watched::moment;

/// Whether a header concerns one connection alone and is not forwarded (RFC 9110, section 7.6.1). `Expect` is answered by the
/// reader of the body, which is typingd.
fn is_per_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "proxy-authorization"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "te"
    )
}

/// Removes from a head what concerns one connection alone, and what its `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    // Most heads have none of these: to compare the few names that are there takes less than to look each of these up.
    let mut names: Vec<HeaderName> = headers.keys().filter(|name| is_per_connection(name)).cloned().collect();
    if names.is_empty() {
        return;
    }
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = connection.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    // A client that names these as its connection's own would take a request apart.
    let kept = [header::CONTENT_LENGTH, header::AUTHORIZATION, header::CONTENT_TYPE];
    names.extend(named.filter(|name| !kept.contains(name)));
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    for name in names {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// A request's body.
pub(super) enum RequestBody {
    /// It came in one piece with its head.
    Whole(Bytes),
    /// It comes as it is read.
    Streamed(Body),
}

impl RequestBody {
    pub(super) fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes) => bytes.into(),
            Self::Streamed(body) => body,
        }
    }
}

/// What a body gives when it is polled.
type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

/// A body on its way, frame by frame as they come: what was read ahead of it first.
pub(super) struct ForwardBody {
    prefix: VecDeque<Frame<Bytes>>,
    rest: RequestBody,
    progress: SharedProgress,
    clock: Clock,
    bytes: u64,
    /// Why it broke off, if it has.
    broken: Option<Broken>,
    /// Whether its length is known by its frames; an answer's is known by its head alone.
    sized: bool,
    /// Lives as long as the body.
    _guard: Option<InFlightGuard>,
}

impl ForwardBody {
    pub(super) fn of_request(prefix: Vec<Frame<Bytes>>, rest: RequestBody, clock: Clock) -> Self {
        Self {
            prefix: prefix.into(),
            rest,
            progress: SharedProgress::new(clock.now()),
            clock,
            bytes: 0,
            broken: None,
            sized: true,
            _guard: None,
        }
    }

    /// An answer's body; its request is in flight until the body ends.
    pub(super) fn of_answer(rest: Body, clock: Clock, guard: InFlightGuard) -> Self {
        Self { sized: false, _guard: Some(guard), ..Self::of_request(Vec::new(), RequestBody::Streamed(rest), clock) }
    }

    pub(super) fn progress(&self) -> SharedProgress {
        self.progress.clone()
    }

    /// The next frame, within bounds; and whether its sender is waited for, or has been given up.
    fn next(&mut self, cx: &mut Context<'_>) -> (Polled, bool) {
        let polled = match self.prefix.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => match &mut self.rest {
                RequestBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
                RequestBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
                RequestBody::Streamed(body) => Pin::new(body).poll_frame(cx),
            },
        };
        let awaited = !matches!(polled, Poll::Ready(None | Some(Ok(_))));
        let polled = polled.map(|next| {
            next.map(|frame| {
                let frame = frame.map_err(|error| Broken::of(&error))?;
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.bytes > BODY_BYTES_MAX { Err(Broken::TooLong) } else { Ok(frame) }
            })
        });
        (polled, awaited)
    }
}

impl HttpBody for ForwardBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if let Some(broken) = this.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        let (polled, awaited) = this.next(cx);
        // A connection that knows that this frame is the last does not ask for another.
        let ended = matches!(polled, Poll::Ready(None)) || (polled.is_ready() && this.is_end_stream());
        let mut progress = this.progress.lock();
        // A sender that has been given up was waited for, too: its upstream is not to blame.
        progress.awaited = awaited;
        if let Poll::Ready(Some(frame)) = &polled {
            match frame {
                Ok(_) => progress.moved = this.clock.now(),
                Err(broken) => (this.broken, progress.broken) = (Some(*broken), Some(*broken)),
            }
            progress.given = moment();
        }
        progress.ended |= ended;
        progress.caught_up = ended || polled.is_pending();
        drop(progress);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_empty()
            && match &self.rest {
                RequestBody::Whole(bytes) => bytes.is_empty(),
                RequestBody::Streamed(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        match &self.rest {
            RequestBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            RequestBody::Streamed(body) => longer(body.size_hint(), &self.prefix),
        }
    }
}

/// The size of a body that `frames` come before.
pub(super) fn longer(rest: SizeHint, frames: &VecDeque<Frame<Bytes>>) -> SizeHint {
    let before: u64 = frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(before));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(before));
    }
    hint
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
