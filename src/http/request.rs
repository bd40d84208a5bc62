//! One request on a connection: the checks before any handler, and what the answer says of the connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tower::ServiceExt;

use super::answer::AnswerBody;
use super::body::{drain, is_drainable, media_type};
use super::forward_route::ForwardRoute;
use super::problem::{Problem, Refused, add_security_headers};
use super::serving::{Serving, stopped};
use super::settings::Limits;
use super::signals_route::SignalsRoute;
use super::slot::{BUSY, ConnectionSlot, SERVED};
use super::socket::Socket;
use super::traffic::{Route, Traffic};
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

/// What the requests of a connection have in common.
pub(super) struct Shared {
    pub(super) serving: watch::Receiver<Serving>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) slot: Arc<ConnectionSlot>,
    pub(super) socket: Arc<Socket>,
}

/// Answers a request with what is served at present.
///
/// # Errors
/// When the client has gone: the request is dropped with its connection.
pub(super) async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Response<AnswerBody>> {
    shared.slot.phase.store(BUSY, Ordering::Relaxed);
    let route = Route::of(request.uri().path());
    let (mut head, mut body) = request.into_parts();
    let begun = match shared.begin(&mut head, &mut body, route) {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Signals(signals, traffic, whole) => {
            return Ok(Box::pin(answer_signals(head, whole, &signals, &traffic, &shared)).await);
        }
        Begun::Forwarded(forward, served, whole) => {
            let answer = match malformed(&head) {
                Some(problem) => Err(problem),
                None => tokio::select! {
                    biased;
                    answer = forward.forward(head, whole) => answer,
                    () = gone(&shared.slot, &shared.socket, served.limits) => {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                },
            };
            return Ok(shared.finish_forwarded(answer, &served.traffic));
        }
        Begun::Other(part) => part,
    };
    let answer = answer_routed(head, TrackedBody::new(begun, body, Arc::clone(&shared.slot)), route, &shared);
    // Boxed: most requests on a connection are signals, and its memory is that of the largest.
    Ok(Box::pin(answer).await?.map(AnswerBody::Routed))
}

/// What the first look at a request has come to.
enum Begun {
    Answered(Response<AnswerBody>),
    /// The whole of its body, and what takes its signals.
    Signals(SignalsRoute, Traffic, Bytes),
    /// The whole of its body, and what forwards it.
    Forwarded(ForwardRoute, Forwarded, Bytes),
    /// It goes to the router, with what has been read of its body.
    Other(Option<Piece>),
}

/// What is served to a request that is forwarded.
struct Forwarded {
    traffic: Traffic,
    limits: Limits,
}

impl Shared {
    /// What comes most often, and needs no more than its head and a body in hand, takes a way of its own.
    fn begin(&self, head: &mut Parts, body: &mut Incoming, route: Route) -> Begun {
        match route {
            Route::Signals => self.begin_signals(head, body),
            Route::DropIn => self.begin_forwarded(head, body),
            _ => Begun::Other(None),
        }
    }

    /// Whether the connection ends with the answer in hand. The connection itself may not have looked yet whether the
    /// server stops: it reads a request first.
    fn is_last(&self) -> bool {
        self.slot.is_last() || *self.stop.borrow()
    }

    fn begin_forwarded(&self, head: &Parts, body: &mut Incoming) -> Begun {
        if head.method != Method::POST || head.headers.contains_key(header::EXPECT) || self.slot.is_reserved() {
            return Begun::Other(None);
        }
        let serving = self.serving.borrow();
        let forward = serving.forward.as_ref().filter(|forward| forward.path() == head.uri.path());
        let Some(forward) = forward.filter(|_| !body.is_end_stream()) else { return Begun::Other(None) };
        match whole(body) {
            Ok(whole) => {
                let served = Forwarded { traffic: serving.traffic.clone(), limits: serving.limits };
                Begun::Forwarded(forward.clone(), served, whole)
            }
            Err(part) => Begun::Other(part),
        }
    }

    /// Answers a single signal at once, if there is nothing to wait for and nothing wrong with it.
    fn begin_signals(&self, head: &mut Parts, body: &mut Incoming) -> Begun {
        let is_bare = is_bare(&head.headers);
        if !self.takes_signals(head, is_bare) {
            return Begun::Other(None);
        }
        let serving = self.serving.borrow();
        let Some(signals) = &serving.signals else { return Begun::Other(None) };
        let whole = match whole(body) {
            Ok(whole) => whole,
            Err(part) => return Begun::Other(part),
        };
        let refusal = if is_bare { signals.refusal_of_token(&head.headers) } else { self.refusal(head, signals) };
        match refusal.map_or_else(|| signals.take_at_once(&whole), |_| None) {
            Some(json) => {
                let answer = accepted(std::mem::take(&mut head.headers), json);
                Begun::Answered(self.finish(answer, &serving.traffic))
            }
            None => Begun::Signals(signals.clone(), serving.traffic.clone(), whole),
        }
    }

    /// Whether a request brings signals and needs no more: JSON without options.
    fn takes_signals(&self, head: &Parts, is_bare: bool) -> bool {
        let is_plain = |headers: &HeaderMap| {
            media_type(headers).is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
                && !headers.contains_key(header::CONTENT_ENCODING)
                // To read of its body would ask for it.
                && !headers.contains_key(header::EXPECT)
        };
        head.method == Method::POST
            && head.uri.query().is_none()
            && (is_bare || is_plain(&head.headers))
            && !self.slot.is_reserved()
    }

    /// Why a request is refused, whatever is in its body.
    fn refusal(&self, head: &Parts, signals: &SignalsRoute) -> Option<Problem> {
        malformed(head).or_else(|| signals.refusal(&head.headers, self.slot.via_unix.is_some()))
    }

    /// The answer to signals, counted, with what it says of the connection.
    fn finish(&self, mut answer: Response<AnswerBody>, traffic: &Traffic) -> Response<AnswerBody> {
        add_security_headers(answer.headers_mut());
        traffic.note(Route::Signals, answer.status());
        if self.is_last() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.slot.phase.store(SERVED, Ordering::Relaxed);
        answer
    }

    /// The answer to a request that was forwarded whole, without the layers and the routes that others go through: counted,
    /// with what it says of the connection.
    fn finish_forwarded(
        &self,
        answer: Result<Response<AnswerBody>, Problem>,
        traffic: &Traffic,
    ) -> Response<AnswerBody> {
        let mut answer = answer.unwrap_or_else(|problem| problem.into_response().map(AnswerBody::Routed));
        traffic.note(Route::DropIn, answer.status());
        self.slot.body_unread.store(false, Ordering::Relaxed);
        if self.is_last() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.slot.phase.store(SERVED, Ordering::Relaxed);
        let socket = Arc::clone(&self.socket);
        answer.map(|body| match body {
            AnswerBody::Routed(body) if body.size_hint().exact().is_none() => {
                AnswerBody::Routed(until(body, async move { socket.reset().await }))
            }
            whole => whole,
        })
    }
}

/// Whether a head has one host and JSON and nothing but what most programs send beside: there is nothing in it to refuse but
/// a token, and no look-up is needed to know that.
fn is_bare(headers: &HeaderMap) -> bool {
    let (mut hosts, mut is_json) = (0, false);
    let is_known = headers.iter().all(|(name, value)| {
        if name == header::HOST {
            hosts += 1;
        } else if name == header::CONTENT_TYPE {
            is_json = value == "application/json";
            return is_json;
        } else if name == header::USER_AGENT {
            return !value.as_bytes().starts_with(b"Mozilla/");
        } else {
            return name == header::CONTENT_LENGTH
                || name == header::ACCEPT
                || name == header::CONNECTION
                || name == header::ACCEPT_ENCODING
                || name == header::AUTHORIZATION;
        }
        true
    });
    is_known && is_json && hosts == 1
}

/// The whole of a body that has arrived with its head.
///
/// # Errors
/// When it has not: what of it has been read, or that it broke off.
fn whole(body: &mut Incoming) -> Result<Bytes, Option<Piece>> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) if body.is_end_stream() => Ok(frame.into_data().unwrap_or_default()),
        Poll::Ready(begun) => Err(begun),
        Poll::Pending => Err(None),
    }
}

/// Answers a request whose signals are in hand, without the layers and the routes that others go through. It checks what
/// they check.
async fn answer_signals(
    mut head: Parts,
    body: Bytes,
    signals: &SignalsRoute,
    traffic: &Traffic,
    shared: &Shared,
) -> Response<AnswerBody> {
    let answer = match shared.refusal(&head, signals) {
        Some(problem) => Err(problem.into_response()),
        None => signals.take(body).await,
    };
    let answer = match answer {
        Ok(json) => accepted(std::mem::take(&mut head.headers), json),
        Err(other) => other.map(AnswerBody::Routed),
    };
    shared.finish(answer, traffic)
}

/// A 202 with this JSON. `headers` are those of the request: a map that need not be made.
fn accepted(mut headers: HeaderMap, json: Bytes) -> Response<AnswerBody> {
    headers.clear();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut answer = Response::new(AnswerBody::Ready(json));
    *answer.status_mut() = StatusCode::ACCEPTED;
    *answer.headers_mut() = headers;
    answer
}

/// Ends when a request's client has gone, or has closed its side and been waited for.
async fn gone(slot: &ConnectionSlot, socket: &Socket, limits: Limits) {
    // The connection watches its socket once for all of its requests, and polls the one in hand when this comes.
    let half_closed = || slot.half_closed.load(Ordering::Relaxed);
    poll_fn(|_| if half_closed() { Poll::Ready(()) } else { Poll::Pending }).await;
    // Boxed: few clients do, and all connections have the room for it.
    let _ = Box::pin(tokio::time::timeout(limits.half_closed_timeout, socket.reset())).await;
}

/// Answers a request with the router.
async fn answer_routed(
    mut head: Parts,
    mut rest: TrackedBody,
    route: Route,
    shared: &Shared,
) -> io::Result<Response<Body>> {
    let (slot, socket) = (&shared.slot, Arc::clone(&shared.socket));
    if let Some(via_unix) = slot.via_unix {
        head.extensions.insert(via_unix);
    }
    head.extensions.insert(StreamControl { stop: shared.stop.clone(), slot: Arc::clone(slot) });
    let Serving { router, traffic, limits, .. } = shared.serving.borrow().clone();
    let drainable = is_drainable(&head.headers);
    let body = rest.share();
    let answer = async {
        if let Some(problem) = malformed(&head) {
            return problem.into_response();
        }
        if let Some(problem) = no_room(slot, route).await {
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
    let mut answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = slot.cut.notified() => {
            let detail = "the body came too slowly, and others wait for a connection";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
        () = gone(slot, &socket, limits) => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    slot.note_body(false);
    // The handler's route wins over that of the path.
    traffic.note(answer.extensions().get().copied().unwrap_or(route), answer.status());
    let at_end = rest.lock().at_end;
    slot.body_unread.store(!at_end, Ordering::Relaxed);
    if shared.is_last() || !at_end {
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

/// A piece of a body.
type Piece = Result<Frame<Bytes>, hyper::Error>;

/// A request's body, shared by its handler and its connection: what the handler leaves is the connection's to read.
struct TrackedBody {
    shared: Arc<Mutex<Tracked>>,
    slot: Arc<ConnectionSlot>,
}

struct Tracked {
    /// What has been read of it already.
    begun: Option<Piece>,
    body: Incoming,
    at_end: bool,
}

impl TrackedBody {
    fn new(begun: Option<Piece>, body: Incoming, slot: Arc<ConnectionSlot>) -> Self {
        let at_end = begun.is_none() && body.is_end_stream();
        slot.note_body(!at_end);
        Self { shared: Arc::new(Mutex::new(Tracked { begun, body, at_end })), slot }
    }

    fn share(&self) -> Body {
        Body::new(Self { shared: Arc::clone(&self.shared), slot: Arc::clone(&self.slot) })
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut shared = self.lock();
        let polled = match shared.begun.take() {
            begun @ Some(_) => Poll::Ready(begun),
            None => Pin::new(&mut shared.body).poll_frame(cx),
        };
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
        let shared = self.lock();
        shared.begun.is_none() && shared.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.lock();
        let data = shared.begun.as_ref().and_then(|begun| begun.as_ref().ok()?.data_ref());
        let begun = data.map_or(0, |data| data.len() as u64);
        let rest = shared.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun);
        }
        hint
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
