//! The bytes of a connection, with a deadline for each thing that a client can be slow at.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::settings::Limits;
use super::slot::{BUSY, ConnectionSlot, FRESH, HEAD, IDLE, SERVED};
use super::socket::Socket;
use super::unreadable;
use crate::base::clock;

/// A stream whose reads fail when a head or the next request takes too long, and whose writes fail when the client does
/// not read.
pub(super) struct Timed {
    socket: Arc<Socket>,
    slot: Arc<ConnectionSlot>,
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    opened: Instant,
    /// When the head has to be complete; `None` between heads, and until one that has begun is waited for.
    head_until: Option<Instant>,
    /// Since when the connection has been unused, if it is.
    idle_since: Option<Instant>,
    stopping_since: Option<Instant>,
    /// How much of the preface of HTTP/2 has been read.
    preface: usize,
    /// Since when the client has had no room for a write, and the time that it has.
    stall: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Timed {
    pub(super) fn new(socket: Arc<Socket>, slot: Arc<ConnectionSlot>, limits: Limits) -> Self {
        let head_until = clock::timer_after(head_timeout(&slot, &limits));
        let timer = Box::pin(tokio::time::sleep_until(head_until));
        Self {
            socket,
            slot,
            limits,
            timer,
            opened: clock::timer_after(Duration::ZERO),
            head_until: Some(head_until),
            idle_since: None,
            stopping_since: None,
            preface: 0,
            stall: None,
        }
    }

    /// Since when the server has been stopping, if it is.
    fn stopping_since(&mut self) -> Option<Instant> {
        if self.stopping_since.is_none() && self.slot.is_stopping() {
            self.stopping_since = Some(clock::timer_after(Duration::ZERO));
        }
        self.stopping_since
    }

    /// When the client will have been silent for too long; `None` while it is not its turn.
    fn deadline(&mut self) -> Option<Instant> {
        let head_until = |this: &mut Self| {
            let (slot, limits) = (&this.slot, &this.limits);
            *this.head_until.get_or_insert_with(|| clock::timer_after(head_timeout(slot, limits)))
        };
        let (deadline, since) = match self.slot.phase.load(Ordering::Relaxed) {
            BUSY => return None,
            HEAD => return Some(head_until(self)),
            FRESH => (head_until(self), self.opened),
            _ => {
                self.slot.phase.store(IDLE, Ordering::Relaxed);
                let since = *self.idle_since.get_or_insert_with(|| clock::timer_after(Duration::ZERO));
                (since + self.limits.idle_timeout, since)
            }
        };
        Some(bounded(deadline, since, self.stopping_since()))
    }

    /// Ready at `deadline`. The timer may be set to an earlier time, that of a deadline before it: it is set anew when it
    /// goes off, once for many requests.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn note_read(&mut self, read: &[u8]) {
        let phase = self.slot.phase.load(Ordering::Relaxed);
        if matches!(phase, SERVED | IDLE) {
            self.head_until = None;
        }
        if matches!(phase, FRESH | SERVED | IDLE) && !read.is_empty() {
            self.idle_since = None;
            self.slot.phase.store(HEAD, Ordering::Relaxed);
        }
        if self.preface == 0 && read.first() == Some(&TLS_HANDSHAKE) {
            self.slot.tls.store(true, Ordering::Relaxed);
        }
        if self.preface < HTTP2_PREFACE.len() {
            let left = &HTTP2_PREFACE[self.preface..];
            let alike = left.iter().zip(read).take_while(|(wanted, read)| wanted == read).count();
            let other = alike < left.len().min(read.len());
            self.preface = if other { usize::MAX } else { self.preface + alike };
            if self.preface == HTTP2_PREFACE.len() {
                self.slot.http2.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether `bufs` are hyper's own answer to an unreadable request. It is withheld: another one is written in its place
    /// once the reason is known.
    fn withholds(&mut self, bufs: &[io::IoSlice<'_>]) -> bool {
        // No handler's answer is written while a head is being read, except one that its client did not take.
        let reading = matches!(self.slot.phase.load(Ordering::Relaxed), FRESH | HEAD) && self.stall.is_none();
        let [buf] = bufs else { return false };
        match reading.then(|| unreadable::status(buf)).flatten() {
            Some(status) => {
                self.slot.unreadable.store(status.as_u16(), Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    fn poll_write_bufs(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.withholds(bufs) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        match self.socket.poll_write(cx, bufs) {
            Poll::Ready(written) => {
                self.stall = None;
                if matches!(self.slot.phase.load(Ordering::Relaxed), SERVED | IDLE) {
                    // A connection on which a long answer is being written is not idle; the idle time begins with the read
                    // behind its end.
                    self.slot.phase.store(SERVED, Ordering::Relaxed);
                    self.idle_since = None;
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                let now = clock::timer_after(Duration::ZERO);
                let stopping = self.stopping_since();
                let limit = self.limits.stall_timeout;
                let (since, timer) = self.stall.get_or_insert_with(|| (now, Box::pin(tokio::time::sleep(limit))));
                let deadline = bounded(*since + limit, *since, stopping);
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

/// How long a head may take. A reserved slot is not left to a silent client.
fn head_timeout(slot: &ConnectionSlot, limits: &Limits) -> Duration {
    if slot.is_reserved() { limits.head_timeout.min(RESERVED_HEAD_MAX) } else { limits.head_timeout }
}

/// `deadline`, or earlier while the server is stopping: the client has been silent since `since`.
fn bounded(deadline: Instant, since: Instant, stopping: Option<Instant>) -> Instant {
    stopping.map_or(deadline, |stopping| deadline.min(since.max(stopping) + STOPPING_SILENCE_MAX))
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(result) = this.socket.poll_read(cx, buf) {
            this.note_read(&buf.filled()[before..]);
            return Poll::Ready(result);
        }
        let Some(deadline) = this.deadline() else { return Poll::Pending };
        ready!(this.poll_deadline(cx, deadline));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_bufs(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The answer in place of the withheld one comes first.
        if self.slot.unreadable.load(Ordering::Relaxed) != 0 {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.socket.shut_down())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut joined = [0; JOINED_BYTES_MAX];
        if bufs.len() < 2 || bytes > JOINED_BYTES_MAX {
            return self.poll_write_bufs(cx, bufs);
        }
        let mut room = &mut joined[..];
        for buf in bufs {
            let (begin, rest) = room.split_at_mut(buf.len());
            begin.copy_from_slice(buf);
            room = rest;
        }
        self.poll_write_bufs(cx, &[io::IoSlice::new(&joined[..bytes])])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// A short answer, its head and its body, is written as one: to copy so few bytes costs less than a list of buffers.
const JOINED_BYTES_MAX: usize = 512;
/// The first byte of a TLS connection (RFC 8446, section 5.1); no request of HTTP begins with it.
const TLS_HANDSHAKE: u8 = 22;
/// The preface of a client that speaks HTTP/2 with prior knowledge (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
const RESERVED_HEAD_MAX: Duration = Duration::from_secs(1);
/// While the server is stopping, a connection on which nothing moves for so long is closed. A client that calls at least
/// once a second learns from an answer that it is the last, and loses none.
const STOPPING_SILENCE_MAX: Duration = Duration::from_secs(1);
