//! One request on a connection: what no handler need look at, and what its answer says of the connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

use super::Problem;
use super::seat::{BUSY, SERVED, Seat};
use super::server::{Serving, stopped};
use super::socket::Socket;
use super::traffic::Route;

/// A request that may go on for as long as its client likes hears by this when it should come to its end. It is among the
/// request's extensions.
#[derive(Clone)]
pub struct Stay {
    stop: watch::Receiver<bool>,
    seat: Arc<Seat>,
}

impl Stay {
    /// Waits until the request should be answered with what there is: the server has been stopping for a second, or
    /// nothing has been told for a while, and others wait for a connection.
    pub async fn over(mut self) {
        tokio::select! {
            () = async {
                stopped(&mut self.stop).await;
                tokio::time::sleep(STAY_MAX).await;
            } => {}
            () = self.seat.give_way.notified() => {}
        }
    }

    /// The client has told something. From the first time on it counts by that how long it is silent, instead of how fast
    /// its body comes.
    pub fn note_told(&self) {
        self.seat.note_told();
    }
}

/// How long a request without an end of its own goes on when the server stops. What is on its way then still arrives.
const STAY_MAX: Duration = Duration::from_secs(1);

/// Answers a request by the router in force.
///
/// # Errors
/// When the client has gone meanwhile: the request is dropped with its connection.
pub(super) async fn answer(
    mut request: Request<Incoming>,
    serving: watch::Receiver<Serving>,
    stop: watch::Receiver<bool>,
    seat: Arc<Seat>,
    socket: Arc<Socket>,
) -> io::Result<Response<Body>> {
    if let Some(via_unix) = seat.via_unix {
        request.extensions_mut().insert(via_unix);
    }
    request.extensions_mut().insert(Stay { stop, seat: Arc::clone(&seat) });
    seat.phase.store(BUSY, Ordering::Relaxed);
    let Serving { router, traffic, limits } = serving.borrow().clone();
    let route = Route::of(request.uri().path());
    let (head, body) = request.into_parts();
    let heard = Arc::new(AtomicBool::new(body.is_end_stream()));
    seat.note_body(!body.is_end_stream());
    let body = Heard { body, seat: Arc::clone(&seat), to_its_end: Arc::clone(&heard) };
    let answer = async {
        if let Some(problem) = misunderstood(&head) {
            return problem.into_response();
        }
        if let Some(problem) = no_room(&seat, route).await {
            return problem.into_response();
        }
        let answer: Result<_, Infallible> = router.oneshot(Request::from_parts(head, body)).await;
        answer.unwrap_or_else(|never| match never {})
    };
    let gone = async {
        socket.half_closed().await;
        let _ = tokio::time::timeout(limits.half_closed_timeout, socket.reset()).await;
    };
    let mut answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = seat.cut.notified() => {
            let detail = "the body came too slowly, and others wait for a connection";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
        () = gone => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    seat.note_body(false);
    // Whoever answers knows better than the path.
    traffic.note(answer.extensions().get().copied().unwrap_or(route), answer.status());
    let heard = heard.load(Ordering::Relaxed);
    seat.unheard.store(!heard, Ordering::Relaxed);
    if seat.is_last() || !heard {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    seat.phase.store(SERVED, Ordering::Relaxed);
    if answer.body().size_hint().exact().is_some() {
        return Ok(answer);
    }
    // Whoever reads a stream that has no end by itself has gone when its side is closed; any other answer is written on
    // for as long as it can reach somebody.
    Ok(answer.map(|body| match route {
        Route::Streams => until(body, async move { socket.half_closed().await }),
        _ => until(body, async move { socket.reset().await }),
    }))
}

/// Why a request on a seat that is kept for health and control can't be handled: it is neither, and no other seat becomes
/// free.
async fn no_room(seat: &Seat, route: Route) -> Option<Problem> {
    if !seat.is_reserved() {
        return None;
    }
    let control = matches!(route, Route::Health | Route::Metrics | Route::Operation);
    let patience = if control { CONTROL_PATIENCE } else { ROOM_PATIENCE };
    if seat.take_ordinary(patience).await || control {
        return None;
    }
    let detail = "every connection of this address is taken; come again";
    Some(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS))
}

/// How long a request waits for a connection to become free, if it came when all were taken: longer than an idle one needs
/// to leave, shorter than a client waits for its answer.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that is answered in any case, with the last answer of its connection.
const CONTROL_PATIENCE: Duration = Duration::from_millis(200);
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request can't be understood, though it could be read.
fn misunderstood(head: &Parts) -> Option<Problem> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    // RFC 9112, section 3.2: whatever stands before us may have taken another of them for the one that is meant.
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        let detail = format!("the request has {hosts} `Host` lines; one is right");
        return Some(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    // hyper sees to it that `chunked` is the last, and takes no notice of others.
    let codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let known = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.into_iter().any(|coding| !known(coding)) {
        return Some(Problem::new(StatusCode::NOT_IMPLEMENTED, UNKNOWN_CODING));
    }
    None
}

/// What is said of a transfer coding that is not known.
pub(super) const UNKNOWN_CODING: &str = "no transfer coding but `chunked` is understood; a content encoding passes";

/// A request's body, of which it is known whether it was read to its end.
struct Heard {
    body: Incoming,
    seat: Arc<Seat>,
    to_its_end: Arc<AtomicBool>,
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.seat.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.to_its_end.store(true, Ordering::Relaxed);
            self.seat.note_body(false);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `body`, which breaks off when `end` has come.
pub fn until(body: Body, end: impl Future<Output = ()> + Send + 'static) -> Body {
    Body::new(Awaited { body, gone: Box::pin(end) })
}

/// An answer's body that breaks off when nobody waits for it any more.
struct Awaited {
    body: Body,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Awaited {
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
