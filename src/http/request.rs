//! One request on a connection: the checks before any handler, and what the answer says of the connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tower::ServiceExt;

use super::body::{drain, is_drainable};
use super::problem::{Problem, Refused};
use super::serving::{Serving, stopped};
use super::slot::{BUSY, ConnectionSlot, SERVED};
use super::socket::Socket;
use super::traffic::Route;
use super::unreadable::UNKNOWN_CODING;

/// Among a request's extensions: tells a stream without an end of its own when to end.
#[derive(Clone)]
pub(crate) struct StreamControl {
    stop: watch::Receiver<bool>,
    slot: Arc<ConnectionSlot>,
}

impl StreamControl {
    /// Waits until the stream should be answered with what there is: the server has been stopping for a second, or the
    /// stream has been silent for a while and other clients wait for a connection.
    pub(crate) async fn until_end(mut self) {
        tokio::select! {
            () = async {
                stopped(&mut self.stop).await;
                tokio::time::sleep(STREAM_END_MAX).await;
            } => {}
            () = self.slot.give_way.notified() => {}
        }
    }

    /// Something has arrived. From the first call on, silence displaces the connection instead of a slow body.
    pub(crate) fn note_activity(&self) {
        self.slot.note_activity();
    }
}

/// How long a stream without an end of its own goes on when the server stops, for what is still in flight.
const STREAM_END_MAX: Duration = Duration::from_secs(1);

/// Answers a request with the router in force.
///
/// # Errors
/// When the client has gone: the request is dropped with its connection.
pub(super) async fn answer(
    mut request: Request<Incoming>,
    serving: watch::Receiver<Serving>,
    stop: watch::Receiver<bool>,
    slot: Arc<ConnectionSlot>,
    socket: Arc<Socket>,
) -> io::Result<Response<Body>> {
    if let Some(via_unix) = slot.via_unix {
        request.extensions_mut().insert(via_unix);
    }
    request.extensions_mut().insert(StreamControl { stop, slot: Arc::clone(&slot) });
    slot.phase.store(BUSY, Ordering::Relaxed);
    let Serving { router, traffic, limits } = serving.borrow().clone();
    let route = Route::of(request.uri().path());
    let (head, body) = request.into_parts();
    let drainable = is_drainable(&head.headers);
    let mut rest = TrackedBody::new(body, Arc::clone(&slot));
    let body = rest.share();
    let answer = async {
        if let Some(problem) = malformed(&head) {
            return problem.into_response();
        }
        if let Some(problem) = no_room(&slot, route).await {
            return problem.into_response();
        }
        let answer: Result<_, Infallible> = router.oneshot(Request::from_parts(head, body)).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        let refused = answer.extensions().get::<Refused>().is_some() && answer.status() != StatusCode::REQUEST_TIMEOUT;
        if refused && drainable && !rest.is_shared() {
            drain(&mut rest).await;
        }
        answer
    };
    let gone = async {
        socket.half_closed().await;
        let _ = tokio::time::timeout(limits.half_closed_timeout, socket.reset()).await;
    };
    let mut answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = slot.cut.notified() => {
            let detail = "the body came too slowly, and others wait for a connection";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
        () = gone => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    slot.note_body(false);
    // The handler's route wins over that of the path.
    traffic.note(answer.extensions().get().copied().unwrap_or(route), answer.status());
    let at_end = rest.lock().at_end;
    slot.body_unread.store(!at_end, Ordering::Relaxed);
    if slot.is_last() || !at_end {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    slot.phase.store(SERVED, Ordering::Relaxed);
    if answer.body().size_hint().exact().is_some() {
        return Ok(answer);
    }
    // The reader of an endless stream has gone when its side is closed; any other answer is written for as long as it can
    // reach its client.
    Ok(answer.map(|body| match route {
        Route::Streams => until(body, async move { socket.half_closed().await }),
        _ => until(body, async move { socket.reset().await }),
    }))
}

/// Why a request on a reserved slot can't be handled: it is neither health nor control, and no other slot becomes free.
async fn no_room(slot: &ConnectionSlot, route: Route) -> Option<Problem> {
    if !slot.is_reserved() {
        return None;
    }
    let control = matches!(route, Route::Health | Route::Metrics | Route::Operation);
    let timeout = if control { CONTROL_TIMEOUT } else { ROOM_TIMEOUT };
    if slot.take_ordinary(timeout).await || control {
        return None;
    }
    let detail = "every connection of this address is in use; try again";
    Some(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS))
}

/// How long a request waits for a free slot: longer than an idle connection needs to leave, shorter than a client waits
/// for its answer.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a request that is answered in any case, with the last answer of its connection.
const CONTROL_TIMEOUT: Duration = Duration::from_millis(200);
const RETRY_AFTER_SECONDS: u64 = 1;

/// What is wrong with a request that could be parsed.
fn malformed(head: &Parts) -> Option<Problem> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    // RFC 9112, section 3.2: a proxy in front may have chosen another of them.
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        let detail = format!("the request has {hosts} `Host` lines; expected one");
        return Some(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    // hyper ensures that `chunked` is the last, and ignores others.
    let codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let known = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.into_iter().any(|coding| !known(coding)) {
        return Some(Problem::new(StatusCode::NOT_IMPLEMENTED, UNKNOWN_CODING));
    }
    None
}

/// A request's body, shared by its handler and its connection: what the handler leaves is the connection's to read.
struct TrackedBody {
    shared: Arc<Mutex<Shared>>,
    slot: Arc<ConnectionSlot>,
}

struct Shared {
    body: Incoming,
    at_end: bool,
}

impl TrackedBody {
    fn new(body: Incoming, slot: Arc<ConnectionSlot>) -> Self {
        let at_end = body.is_end_stream();
        slot.note_body(!at_end);
        Self { shared: Arc::new(Mutex::new(Shared { body, at_end })), slot }
    }

    fn share(&self) -> Body {
        Body::new(Self { shared: Arc::clone(&self.shared), slot: Arc::clone(&self.slot) })
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut shared = self.lock();
        let polled = Pin::new(&mut shared.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.slot.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if matches!(polled, Poll::Ready(None)) || shared.body.is_end_stream() {
            shared.at_end = true;
            self.slot.note_body(false);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// `body`, broken off once `end` completes.
pub(crate) fn until(body: Body, end: impl Future<Output = ()> + Send + 'static) -> Body {
    Body::new(AbortableBody { body, gone: Box::pin(end) })
}

struct AbortableBody {
    body: Body,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for AbortableBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending if this.gone.as_mut().poll(cx).is_ready() => {
                let gone = io::Error::from(io::ErrorKind::ConnectionAborted);
                Poll::Ready(Some(Err(axum::Error::new(gone))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
