//! Connections to the upstream, kept for the next request: one over HTTP/2 where the server chose it, else as many over
//! HTTP/1.1 as there are requests at a time.
//!
//! No task stands behind a connection over HTTP/1.1: whoever waits for an answer moves the bytes of both, so that a request
//! wakes no one. Wakers that only such a task would need are no-ops; a socket wakes whoever waits for its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::watched::Watched;
use crate::base::clock;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Makes connections, TLS included.
pub(super) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// The body of a request.
pub(crate) trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> RequestBody for B {}

/// The connections to one server. Cheap to clone; clones are the same.
pub(crate) struct Pool<B: RequestBody>(Arc<Shared<B>>);

struct Shared<B: RequestBody> {
    connector: Connector,
    /// The server's address, with `/` for a path.
    server: Uri,
    host: HeaderValue,
    protocols: Protocols,
    idle_max: usize,
    idle: Mutex<Idle<B>>,
    /// A connection has become idle, or can be shared.
    returned: Notify,
}

/// How the protocols are spoken.
pub(super) struct Protocols {
    pub(super) http1: http1::Builder,
    /// For servers that choose it, if it is offered.
    pub(super) http2: http2::Builder<TokioExecutor>,
}

struct Idle<B: RequestBody> {
    /// Over HTTP/1.1, each with the time since when it has been idle; the one that was used last is last.
    links: Vec<(Instant, Link<B>)>,
    /// Over HTTP/2, and when it was used last.
    shared: Option<(Instant, http2::SendRequest<B>)>,
    /// Whether a task closes what is idle for too long.
    swept: bool,
}

/// The head of an answer, or the request that got none.
type Answered<B> = Result<Response<Incoming>, TrySendError<Request<B>>>;

/// A connection for a request.
enum Carrier<B: RequestBody> {
    Http1(Link<B>),
    Http2(http2::SendRequest<B>),
}

impl<B: RequestBody> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: RequestBody> Pool<B> {
    /// No connection yet to `server`. At most `idle_max` are kept.
    pub(super) fn new(connector: Connector, server: Uri, protocols: Protocols, idle_max: usize) -> Self {
        let host = server.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).expect("a host and a port are visible characters");
        let idle = Mutex::new(Idle { links: Vec::new(), shared: None, swept: false });
        Self(Arc::new(Shared { connector, server, host, protocols, idle_max, idle, returned: Notify::new() }))
    }

    /// What requests name as their host.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.0.host
    }

    /// Sends a request for a path of the server's, and again if it met a connection that was being closed, before a byte of
    /// it had left. `watch` is called whenever something may have moved, with the [`moment`](super::watched::moment) at which
    /// all that the connection had been given had last left it (over HTTP/1.1). `is_sent` says whether all of the request
    /// is on its way.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn request(
        &self,
        mut request: Request<B>,
        mut watch: impl FnMut(&mut Context<'_>, u64),
        is_sent: impl FnOnce() -> bool,
    ) -> Result<Response<AnswerBody<B>>, Error> {
        loop {
            let (carrier, reused) = match self.0.take() {
                Some(carrier) => (carrier, true),
                None => self.carrier().await?,
            };
            self.0.address(&mut request, &carrier);
            let failed = match carrier {
                Carrier::Http1(mut link) => {
                    let answer = pin!(link.send(request));
                    match link.carry(answer, &mut watch).await {
                        Ok(answer) => return Ok(answer.map(|body| self.receive(link, body, is_sent()))),
                        Err(failed) => failed,
                    }
                }
                Carrier::Http2(mut sender) => match sender.try_send_request(request).await {
                    Ok(answer) => return Ok(answer.map(AnswerBody::Carried)),
                    Err(failed) => failed,
                },
            };
            request = Error::unless_unsent(failed, reused)?;
        }
    }

    /// A connection for one request, where none is idle: a new one, or one that becomes idle before that is made. And
    /// whether another request has used it.
    async fn carrier(&self) -> Result<(Carrier<B>, bool), Error> {
        let pool = self.clone();
        let mut connecting = Box::pin(async move { pool.connect().await });
        loop {
            tokio::select! {
                biased;
                made = connecting.as_mut() => return made.map(|carrier| (carrier, false)),
                () = self.0.returned.notified() => {
                    if let Some(carrier) = self.0.take() {
                        // The next request finds what is made all the same.
                        let pool = self.clone();
                        tokio::spawn(async move {
                            if let Ok(Carrier::Http1(link)) = connecting.await {
                                pool.0.keep(link);
                            }
                        });
                        return Ok((carrier, true));
                    }
                }
            }
        }
    }

    async fn connect(&self) -> Result<Carrier<B>, Error> {
        let Shared { connector, server, protocols, .. } = &*self.0;
        let connected = connector.clone().oneshot(server.clone()).await;
        let stream = connected.map_err(|source| Error { kind: Kind::Connect, source })?;
        let failed = |error: hyper::Error| Error { kind: Kind::SendRequest, source: error.into() };
        if stream.connected().is_negotiated_h2() {
            let (mut sender, connection) = protocols.http2.handshake(stream).await.map_err(failed)?;
            // Its senders see its end.
            tokio::spawn(async move { drop(connection.await) });
            sender.ready().await.map_err(failed)?;
            return Ok(Carrier::Http2(self.0.share(sender)));
        }
        let flushed = Arc::new(AtomicU64::new(0));
        let stream = Watched::new(stream, &flushed);
        let (sender, connection) = protocols.http1.handshake(stream).await.map_err(failed)?;
        Ok(Carrier::Http1(Link::new(sender, connection, flushed)))
    }

    /// The body of an answer to a request, of which all has been `sent` or not. Its connection is free for the next one with
    /// its end.
    fn receive(&self, mut link: Link<B>, mut body: Incoming, sent: bool) -> AnswerBody<B> {
        if !sent {
            // The rest goes on its way while the answer waits for its reader.
            self.release(link);
            return AnswerBody::Carried(body);
        }
        // Most answers are short, and come with their head.
        let mut first = None;
        for _ in 0..3 {
            // It asks the connection for more, which brings it when it is polled after that.
            match Pin::new(&mut body).poll_frame(&mut unwoken()) {
                Poll::Ready(Some(Ok(frame))) if body.is_end_stream() && frame.is_data() => {
                    self.release(link);
                    return AnswerBody::Whole(frame.into_data().unwrap_or_default());
                }
                Poll::Ready(frame) => {
                    first = Some(frame);
                    break;
                }
                Poll::Pending => drop(link.poll(&mut unwoken())),
            }
        }
        AnswerBody::Polled { first, body, link: Some((link, self.clone())) }
    }

    /// Keeps a connection when its exchange is over: as a rule, that is now.
    fn release(&self, mut link: Link<B>) {
        if !link.is_idle() {
            let _ = link.poll(&mut unwoken());
        }
        if link.is_idle() {
            self.0.keep(link);
        } else if link.connection.is_some() {
            let pool = self.clone();
            tokio::spawn(async move {
                poll_fn(|cx| link.poll_idle(cx)).await;
                if link.poll(&mut unwoken()).is_pending() {
                    pool.0.keep(link);
                }
            });
        }
    }
}

impl<B: RequestBody> Shared<B> {
    /// Addresses a request for a path to the server.
    fn address(&self, request: &mut Request<B>, carrier: &Carrier<B>) {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if let Carrier::Http1(_) = carrier {
            request.headers_mut().insert(header::HOST, self.host.clone());
            *request.uri_mut() = path.into();
        } else {
            request.headers_mut().remove(header::HOST);
            let mut whole = self.server.clone().into_parts();
            whole.path_and_query = Some(path);
            *request.uri_mut() = Uri::from_parts(whole).expect("a server and a path are an address");
        }
    }

    /// The connection that can be shared, or the idle one that was used last, if it has not been idle for too long. Whether
    /// its server has closed it is seen when it is used.
    fn take(&self) -> Option<Carrier<B>> {
        let mut idle = self.idle();
        if let Some((used, sender)) = &mut idle.shared {
            if !sender.is_closed() && idle_for(*used) < IDLE_TIMEOUT {
                *used = clock::timer_after(Duration::ZERO);
                return Some(Carrier::Http2(sender.clone()));
            }
            idle.shared = None;
        }
        let (since, link) = idle.links.pop()?;
        if idle_for(since) < IDLE_TIMEOUT {
            return Some(Carrier::Http1(link));
        }
        // The others have been idle for longer.
        let old = std::mem::take(&mut idle.links);
        drop(idle);
        old.into_iter().map(|(_, link)| link).chain([link]).for_each(Link::close);
        None
    }

    /// All requests share `sender`, unless they share another one already. Returns the one that they share.
    fn share(self: &Arc<Self>, sender: http2::SendRequest<B>) -> http2::SendRequest<B> {
        let mut idle = self.idle();
        let shared = idle.shared.take().map(|(_, shared)| shared).filter(|shared| !shared.is_closed());
        let sender = shared.unwrap_or(sender);
        idle.shared = Some((clock::timer_after(Duration::ZERO), sender.clone()));
        self.keep_sweeping(&mut idle);
        drop(idle);
        self.returned.notify_waiters();
        sender
    }

    fn keep(self: &Arc<Self>, link: Link<B>) {
        let mut idle = self.idle();
        if idle.links.len() >= self.idle_max {
            drop(idle);
            return link.close();
        }
        idle.links.push((clock::timer_after(Duration::ZERO), link));
        self.keep_sweeping(&mut idle);
        drop(idle);
        self.returned.notify_one();
    }

    fn keep_sweeping(self: &Arc<Self>, idle: &mut Idle<B>) {
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has been idle for too long, what of many has not been needed of late, and what the server has closed, for
    /// as long as there is something idle.
    async fn sweep(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(SWEEP_SPACING).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = pool.idle();
            let count = too_old(idle.links.iter().map(|(since, _)| idle_for(*since)));
            let old: Vec<_> = idle.links.drain(..count).collect();
            idle.links.retain_mut(|(_, link)| link.poll(&mut unwoken()).is_pending());
            idle.shared.take_if(|(used, sender)| sender.is_closed() || idle_for(*used) >= IDLE_TIMEOUT);
            idle.swept = !idle.links.is_empty() || idle.shared.is_some();
            let goes_on = idle.swept;
            drop(idle);
            old.into_iter().for_each(|(_, link)| link.close());
            if !goes_on {
                return;
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection over HTTP/1.1, which moves when it is polled. Dropped before its answer has come, it is cut.
pub(crate) struct Link<B: RequestBody> {
    sender: http1::SendRequest<B>,
    /// `None` once it has ended. Boxed: it has two thousand bytes, and goes from hand to hand.
    connection: Option<Box<http1::Connection<Watched, B>>>,
    flushed: Arc<AtomicU64>,
    /// Whoever waits for its answer.
    waiter: Arc<Waiter>,
    /// Wakes the waiter. The connection's only one, so that what it has registered need not be registered anew for each
    /// request, and the next request wakes no one who waited for the one before.
    waker: Waker,
}

/// The task that waits for a connection, if there is one.
#[derive(Default)]
struct Waiter(AtomicWaker);

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

impl<B: RequestBody> Link<B> {
    fn new(sender: http1::SendRequest<B>, connection: http1::Connection<Watched, B>, flushed: Arc<AtomicU64>) -> Self {
        let waiter = Arc::<Waiter>::default();
        let waker = Arc::clone(&waiter).into();
        Self { sender, connection: Some(Box::new(connection)), flushed, waiter, waker }
    }

    /// Sends a request, and gives the head of its answer: only while the connection is polled. Without a budget, which would
    /// put it off to a time when no one is woken for it.
    fn send(&mut self, request: Request<B>) -> impl Future<Output = Answered<B>> + use<B> {
        unconstrained(self.sender.try_send_request(request))
    }

    /// Moves the bytes of both until the head of the answer is there. No `async fn`: that would keep the request twice.
    fn carry(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = Answered<B>>>,
        watch: &mut impl FnMut(&mut Context<'_>, u64),
    ) -> impl Future<Output = Answered<B>> {
        let Self { connection, flushed, waiter, waker, .. } = self;
        poll_fn(move |cx| {
            waiter.0.register(cx.waker());
            let _ = poll(connection, waker);
            watch(cx, flushed.load(Ordering::Relaxed));
            let polled = answer.as_mut().poll(&mut unwoken());
            if polled.is_ready() {
                waiter.0.take();
            }
            polled
        })
    }

    /// Moves what can be moved. Ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiter.0.register(cx.waker());
        poll(&mut self.connection, &self.waker)
    }

    /// Ready when it can carry the next request, or has ended.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll(cx).is_ready() || self.sender.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_idle(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Says goodbye, where that takes no time.
    fn close(self) {
        let Self { sender, mut connection, .. } = self;
        drop(sender);
        let _ = poll(&mut connection, Waker::noop());
    }
}

/// Moves what can be moved on a connection. Ready once it has ended; its request is told why.
fn poll<B: RequestBody>(connection: &mut Option<Box<http1::Connection<Watched, B>>>, waker: &Waker) -> Poll<()> {
    let cx = &mut Context::from_waker(waker);
    let polled = connection.as_mut().map_or(Poll::Ready(()), |connection| Pin::new(connection).poll(cx).map(drop));
    if polled.is_ready() {
        *connection = None;
    }
    polled
}

/// The body of an answer.
pub(crate) enum AnswerBody<B: RequestBody> {
    /// It came in one piece with its head.
    Whole(Bytes),
    /// It comes as its connection is polled by its reader.
    Polled {
        /// What has been read of it already.
        first: Option<Option<Result<Frame<Bytes>, hyper::Error>>>,
        /// The rest.
        body: Incoming,
        /// The connection, and where it belongs; `None` at the end.
        link: Option<(Link<B>, Pool<B>)>,
    },
    /// A task brings it.
    Carried(Incoming),
}

impl<B: RequestBody> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (first, body, link) = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Carried(body) => return Pin::new(body).poll_frame(cx),
            Self::Polled { first, body, link } => (first, body, link),
        };
        let mut polled = first.take().map_or(Poll::Pending, Poll::Ready);
        if polled.is_pending() {
            // This asks the connection for more, which brings it.
            polled = Pin::new(&mut *body).poll_frame(&mut unwoken());
        }
        if polled.is_pending()
            && let Some((link, _)) = link
        {
            let _ = link.poll(cx);
            polled = Pin::new(&mut *body).poll_frame(&mut unwoken());
        }
        let ended = matches!(polled, Poll::Ready(None | Some(Err(_)))) || (polled.is_ready() && body.is_end_stream());
        if ended && let Some((link, pool)) = link.take() {
            pool.release(link);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Carried(body) => body.is_end_stream(),
            Self::Polled { first, body, .. } => first.is_none() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // It is known by its head alone.
            Self::Carried(_) | Self::Polled { .. } => SizeHint::default(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("client error ({kind:?})")]
pub(crate) struct Error {
    kind: Kind,
    source: BoxError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connect,
    SendRequest,
    Canceled,
}

impl Error {
    /// The request, if it can be sent again: not a byte of it has left, and its connection was one of others before.
    fn unless_unsent<B>(mut failed: TrySendError<Request<B>>, reused: bool) -> Result<Request<B>, Self> {
        match failed.take_message() {
            Some(request) if reused => Ok(request),
            Some(_) => Err(Self { kind: Kind::Canceled, source: failed.into_error().into() }),
            None => Err(Self { kind: Kind::SendRequest, source: failed.into_error().into() }),
        }
    }

    /// Whether the server says that it has not looked at the request: it ended the connection in order and named an
    /// earlier request as its last, or refused the stream (RFC 9113, 6.8 and 8.7).
    pub(crate) fn is_unprocessed(&self) -> bool {
        let error = self.source.downcast_ref::<hyper::Error>().and_then(std::error::Error::source);
        error.and_then(|error| error.downcast_ref::<h2::Error>()).is_some_and(|error| {
            error.is_remote()
                && ((error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
                    || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
        })
    }

    /// Whether there was no connection yet.
    pub(crate) fn is_connect(&self) -> bool {
        self.kind == Kind::Connect
    }
}

/// How many of the first idle connections are to be closed; each has been idle for no longer than the one before it.
fn too_old(idle: impl ExactSizeIterator<Item = Duration>) -> usize {
    let count = idle.len();
    let timeout = |place: usize| if count - place > READY { SPARE_TIMEOUT } else { IDLE_TIMEOUT };
    idle.enumerate().take_while(|(place, idle)| *idle >= timeout(*place)).count()
}

fn idle_for(since: Instant) -> Duration {
    clock::timer_after(Duration::ZERO).saturating_duration_since(since)
}

/// The context of what is polled again in any case by whoever waits.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Well under the 60 s after which load balancers commonly close an idle connection: a message that meets a closing one
/// is lost, and only its connector can send it again.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// After which a connection is not kept that would be one of more than [`READY`]: the last ones used are taken first, so that
/// since then there have never been as many requests at a time. Each takes 38 kB, which after a burst comes to 10 MB; the
/// next burst makes it anew.
const SPARE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are kept although they are not needed for some time: enough for 160 requests a second at a round trip of
/// 100 ms, so that a usual load makes none anew.
const READY: usize = 16;
/// How often connections that their server has closed are looked for among the idle ones.
const SWEEP_SPACING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_idle_connections_those_not_needed_go_first() {
        let millisecond = Duration::from_millis(1);
        let (young, spare) = (SPARE_TIMEOUT - millisecond, IDLE_TIMEOUT - millisecond);
        for (idle, closed) in [
            (vec![], 0),
            (vec![spare; READY], 0),
            (vec![IDLE_TIMEOUT; READY], READY),
            (vec![SPARE_TIMEOUT; READY + 9], 9),
            (vec![young; READY + 9], 0),
            ([vec![spare; 9], vec![young; READY - 2]].concat(), 7),
            ([vec![spare; 9], vec![young; READY + 2]].concat(), 9),
            ([vec![IDLE_TIMEOUT; 3], vec![young; READY - 3]].concat(), 3),
        ] {
            assert_eq!(too_old(idle.iter().copied()), closed, "{idle:?}");
        }
    }
}
