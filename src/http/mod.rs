//! The server's edge: listening addresses, connections with a deadline for everything, bodies read within
//! bounds, callers' tokens, problem documents.
//!
//! It knows no route. `axum::serve` is not used: it lets a client that says nothing hold its connection for ever.

mod body;
mod gate;
mod guard;
mod listener;
pub mod multipart;
mod passed;
mod problem;
#[cfg(test)]
mod tests;
mod traffic;
mod unread;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use bytes::{Buf, Bytes};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

use crate::clock;
use guard::ViaUnix;

pub use body::{BODY_STALL_MAX, announced_bytes, hear_out, media_type, next_data, read_body};
pub use gate::{Gate, read_token};
pub use guard::guard;
pub use listener::Listener;
pub use passed::{Passed, passed};
pub use problem::Problem;
use traffic::Door;
pub use traffic::{ANSWERS, Connections, Route, Traffic};

/// Where to listen: `127.0.0.1:7480` or `unix:/run/typingd/typingd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            // An IPv4 address that is written as an IPv6 one is what it is.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!(
                    "`{text}` is not an address: a Unix socket needs an absolute path, such as unix:/run/typingd/typingd.sock"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is not an address: an IP address with a port (127.0.0.1:7480) or unix:/path is right")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time. A further one takes the place of one that lies idle, or waits in the system's queue.
    pub connections_max: usize,
    /// A request's head in bytes.
    pub head_bytes_max: usize,
    /// From a connection's opening, or a head's first byte, to the head's end.
    pub head_timeout: Duration,
    /// How long a connection may lie unused between two requests. Longer than the 60 s after which common clients
    /// drop an idle connection, so that it is they who close it and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer that is being written. What it holds up meanwhile is a piece of
    /// the answer and a place among the connections.
    pub stall_timeout: Duration,
    /// Whether header names keep the case in which they came and are set: for what passes through untouched.
    pub keep_header_case: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            keep_header_case: false,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is served to whom: looked at with every connection and every request, so that it can be changed.
#[derive(Clone)]
pub struct Serving {
    /// Where requests go that come from now on.
    pub router: Router,
    /// What connections are granted that come from now on.
    pub limits: Limits,
    /// Where they are counted.
    pub traffic: Traffic,
}

/// Serves `router` on `listener` until `stop` becomes true; then open requests are finished, idle connections closed,
/// and the future ends when the last one has gone.
pub async fn serve(listener: Listener, router: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let (_serving, serving) = watch::channel(Serving { router, limits, traffic: Traffic::default() });
    let (_retire, retire) = watch::channel(false);
    serve_on(Arc::new(listener), serving, stop, retire).await;
}

/// The same with what can be changed meanwhile. When `retire` becomes true nobody new is let in, and whoever is in has
/// time to leave: each connection is closed with its next answer, or when its idle time or [`RETIREMENT_MAX`] is over.
/// `listener` is let go as soon as everybody has been let in who had knocked before.
pub async fn serve_on(
    listener: Arc<Listener>,
    serving: watch::Receiver<Serving>,
    stop: watch::Receiver<bool>,
    retire: watch::Receiver<bool>,
) {
    let connections_max = serving.borrow().limits.connections_max;
    let door = serving.borrow().traffic.door(listener.address());
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut seats: VecDeque<Arc<Seat>> = VecDeque::new();
    let via_unix = matches!(listener.address(), Address::Unix(_)).then_some(ViaUnix);
    let let_in = |stream, slot: OwnedSemaphorePermit, seats: &mut VecDeque<Arc<Seat>>| {
        let seat = Arc::new(Seat { phase: AtomicU8::new(FRESH), leave: Notify::new(), via_unix });
        if seats.len() >= 2 * connections_max {
            seats.retain(|seat| seat.phase.load(Ordering::Relaxed) != GONE);
        }
        seats.push_back(seat.clone());
        let visit = door.enter();
        let connection = connection(stream, serving.clone(), seat.clone(), stop.clone(), retire.clone());
        tokio::spawn(async move {
            connection.await;
            seat.phase.store(GONE, Ordering::Relaxed);
            drop((slot, visit));
        });
    };
    let (mut told_to_stop, mut told_to_retire) = (stop.clone(), retire.clone());
    loop {
        let full = slots.available_permits() == 0;
        if full {
            make_room(&mut seats, &door);
        }
        let accepted = tokio::select! {
            () = stopped(&mut told_to_stop) => break,
            () = stopped(&mut told_to_retire) => break,
            // Whoever is asked to leave takes a moment, and others may become idle meanwhile.
            () = tokio::time::sleep(CROWD_LOOK_SPACING), if full => continue,
            accepted = async {
                let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
                (slot, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (slot, Ok(stream)) => let_in(stream, slot, &mut seats),
            // Out of file descriptors, most likely: give the deadlines time to free some, and don't spin.
            (_, Err(_)) => {
                door.note_failed();
                tokio::time::sleep(CROWD_LOOK_SPACING).await;
            }
        }
    }
    if !*stop.borrow() {
        // Who has knocked is let in, also whoever does so while another listener takes over the address.
        let late = clock::timer_after(KNOCK_MAX);
        while let Ok(Ok(stream)) = tokio::time::timeout_at(late, listener.accept()).await {
            let Ok(slot) = slots.clone().try_acquire_owned() else { break };
            let_in(stream, slot, &mut seats);
        }
        while let (Ok(slot), Some(stream)) = (slots.clone().try_acquire_owned(), listener.accept_waiting()) {
            let_in(stream, slot, &mut seats);
        }
    }
    drop(listener);
    let all = u32::try_from(connections_max).expect("a connection bound fits 32 bits");
    let _ = slots.acquire_many(all).await;
}

/// Asks the connection that has been open for longest and lies idle to leave: whoever comes when all seats are taken
/// gets the seat of somebody who only sits there.
fn make_room(seats: &mut VecDeque<Arc<Seat>>, door: &Door) {
    seats.retain(|seat| seat.phase.load(Ordering::Relaxed) != GONE);
    let idle = seats.iter().position(|seat| seat.phase.load(Ordering::Relaxed) == IDLE);
    if let Some(seat) = idle.and_then(|place| seats.remove(place)) {
        seat.leave.notify_one();
        door.note_displaced();
    }
}

/// What the listener knows of a connection.
struct Seat {
    phase: AtomicU8,
    /// Asks an idle connection to make room.
    leave: Notify,
    via_unix: Option<ViaUnix>,
}

/// When every seat is taken it is looked this often whether one has become free or idle.
const CROWD_LOOK_SPACING: Duration = Duration::from_millis(50);

/// How long a listener that retires still lets in who knocks.
const KNOCK_MAX: Duration = Duration::from_millis(100);
/// How long a connection may go on after its listener has retired: longer than any wait but that for the next line of a
/// stream, whose caller connects anew.
pub const RETIREMENT_MAX: Duration = Duration::from_secs(600);

/// Waits until `stop` becomes true, or nobody is left who could say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: Box<dyn Stream>,
    serving: watch::Receiver<Serving>,
    seat: Arc<Seat>,
    mut stop: watch::Receiver<bool>,
    mut retire: watch::Receiver<bool>,
) {
    let limits = serving.borrow().limits;
    let asked_to_leave = seat.clone();
    let timer = Box::pin(tokio::time::sleep(limits.head_timeout));
    let io = Timed { stream, seat: seat.clone(), timer, stall: None, unread: Bytes::new(), limits };
    let retiring = retire.clone();
    let service = tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        if let Some(via_unix) = seat.via_unix {
            request.extensions_mut().insert(via_unix);
        }
        seat.phase.store(BUSY, Ordering::Relaxed);
        let Serving { router, traffic, .. } = serving.borrow().clone();
        let route = Route::of(request.uri().path());
        let answer = tower::ServiceExt::oneshot(router, request);
        let (seat, retiring) = (seat.clone(), retiring.clone());
        async move {
            let mut answer = answer.await;
            if let Ok(answer) = &answer {
                // Whoever answers knows better than the path.
                traffic.note(answer.extensions().get().copied().unwrap_or(route), answer.status());
            }
            // Idle connections are not closed at once: a request that is on its way would be lost with them.
            if let Ok(answer) = &mut answer
                && *retiring.borrow()
            {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            seat.phase.store(SERVED, Ordering::Relaxed);
            answer
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        // The buffer alone would let a longer one in, if it comes whole with the last read.
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(8 * 1024))
        .half_close(false)
        .preserve_header_case(limits.keep_header_case)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    // What a client does to its own connection is nobody's news: errors end it, and that is all.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
        () = async {
            stopped(&mut retire).await;
            tokio::time::sleep(RETIREMENT_MAX).await;
        } => {}
        () = asked_to_leave.leave.notified() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

/// Nothing has been read yet: the head's deadline runs.
const FRESH: u8 = 0;
/// A part of a head has been read: the head's deadline runs.
const HEAD: u8 = 1;
/// A request is being handled: its handler watches the body's deadline.
const BUSY: u8 = 2;
/// A request has just been answered: the idle time starts anew with the next read.
const SERVED: u8 = 3;
/// Between requests: the idle time runs.
const IDLE: u8 = 4;

/// The connection has ended.
const GONE: u8 = 5;

/// A stream whose reads fail when a head or the next request is too long in coming, and its writes when nobody takes
/// what is written.
struct Timed {
    stream: Box<dyn Stream>,
    seat: Arc<Seat>,
    timer: Pin<Box<Sleep>>,
    /// Runs from the first write that the client's side had no room for.
    stall: Option<Pin<Box<Sleep>>>,
    /// What is left of the answer to a request that can't be read.
    unread: Bytes,
    limits: Limits,
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let phase = this.seat.phase.load(Ordering::Relaxed);
                if phase == SERVED || phase == IDLE {
                    this.seat.phase.store(HEAD, Ordering::Relaxed);
                    this.timer.as_mut().reset(clock::timer_after(this.limits.head_timeout));
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                match this.seat.phase.load(Ordering::Relaxed) {
                    BUSY => return Poll::Pending,
                    SERVED => {
                        this.seat.phase.store(IDLE, Ordering::Relaxed);
                        this.timer.as_mut().reset(clock::timer_after(this.limits.idle_timeout));
                    }
                    _ => {}
                }
                ready!(this.timer.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes_for_unread(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_unread(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_unread(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs
            && self.takes_for_unread(buf)
        {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Timed {
    /// Whether `buf` is hyper's own answer to a request that it could not read: another one is written in its place.
    fn takes_for_unread(&mut self, buf: &[u8]) -> bool {
        // No answer of a handler's is written while a head is being read, but for one that whoever asked did not take.
        if !matches!(self.seat.phase.load(Ordering::Relaxed), FRESH | HEAD) || self.stall.is_some() {
            return false;
        }
        match unread::told(buf) {
            Some(told) => self.unread = told,
            None => return false,
        }
        true
    }

    fn write_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unread.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.unread);
            match ready!(self.note_write(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.unread.advance(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            // A long answer that is still being written is no idle connection.
            let _ = self.seat.phase.compare_exchange(IDLE, SERVED, Ordering::Relaxed, Ordering::Relaxed);
            return written;
        }
        let limit = self.limits.stall_timeout;
        ready!(self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
