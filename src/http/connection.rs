//! One connection: HTTP/1.1 on it, and its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::request;
use super::serving::{Serving, stopped};
use super::slot::ConnectionSlot;
use super::socket::{READ_BYTES_MAX, Socket};
use super::timed::Timed;
use super::unreadable;
use crate::base::clock;

/// Serves one connection to its end.
pub(super) async fn connection(
    socket: Socket,
    serving: watch::Receiver<Serving>,
    slot: Arc<ConnectionSlot>,
    stop: watch::Receiver<bool>,
) {
    let limits = serving.borrow().limits;
    let socket = Arc::new(socket);
    let io = Timed::new(Arc::clone(&socket), Arc::clone(&slot), limits);
    let shared = request::Shared { serving, stop: stop.clone(), slot: Arc::clone(&slot), socket: Arc::clone(&socket) };
    let shared = Arc::new(shared);
    let service = service_fn(move |request| request::answer(request, Arc::clone(&shared)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        // The buffer's bound alone admits a longer head if it arrives whole with the last read.
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(READ_BYTES_MAX))
        // Some clients close their side behind the request; the socket is watched for those that have gone.
        .half_close(true)
        .preserve_header_case(limits.keep_header_case)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    // Polled only when it is woken: the connection is polled for each request, and what it waits for beside comes once.
    let mut endings = FuturesUnordered::from_iter([ending(&slot, &socket, stop.clone())]);
    let ended = loop {
        tokio::select! {
            biased;
            ended = served.as_mut() => break ended,
            Some(end) = endings.next() => {
                match end {
                    // Idle connections are not closed at once when the server stops: a request in flight would be lost.
                    Ending::Stop => slot.stop(),
                    Ending::Leave => served.as_mut().graceful_shutdown(),
                    // The request in hand sees it as it is polled next, which is now.
                    Ending::HalfClosed => slot.half_closed.store(true, Ordering::Relaxed),
                }
                endings.push(ending(&slot, &socket, stop.clone()));
            }
        }
    };
    // Errors of a client's own connection end it, and are not logged.
    if let Err(error) = &ended
        && let Some(answer) = answer_unreadable(&slot, error)
    {
        let written = write_all(&socket, &answer);
        let _ = tokio::time::timeout_at(clock::timer_after(limits.stall_timeout), written).await;
    }
    if slot.body_unread.load(Ordering::Relaxed) {
        let _ = socket.shut_down();
        let linger = if *stop.borrow() { LINGER_STOPPING_MAX } else { LINGER_MAX };
        let _ = tokio::time::timeout(linger, socket.drain(LINGER_BYTES_MAX)).await;
    }
}

/// Waits for the next of what brings a connection nearer to its end.
async fn ending(slot: &ConnectionSlot, socket: &Socket, mut stop: watch::Receiver<bool>) -> Ending {
    tokio::select! {
        () = stopped(&mut stop), if !slot.is_stopping() => Ending::Stop,
        () = slot.leave.notified() => Ending::Leave,
        () = socket.half_closed(), if !slot.half_closed.load(Ordering::Relaxed) => Ending::HalfClosed,
    }
}

/// What brings a connection nearer to its end.
enum Ending {
    /// The server stops.
    Stop,
    /// Others need the room.
    Leave,
    /// The client has closed its side.
    HalfClosed,
}

/// The answer to a request that hyper could not read.
fn answer_unreadable(slot: &ConnectionSlot, error: &hyper::Error) -> Option<bytes::Bytes> {
    let status = StatusCode::from_u16(slot.unreadable.load(Ordering::Relaxed)).ok();
    if error.is_parse_version_h2() || (status.is_some() && slot.http2.load(Ordering::Relaxed)) {
        slot.body_unread.store(true, Ordering::Relaxed);
        return Some(unreadable::answer_http2());
    }
    let status =
        if status.is_some() && error.to_string() == UNKNOWN_CODING { StatusCode::NOT_IMPLEMENTED } else { status? };
    slot.body_unread.store(true, Ordering::Relaxed);
    let tls = slot.tls.load(Ordering::Relaxed);
    Some(if tls { unreadable::answer_tls() } else { unreadable::answer(status) })
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::future::poll_fn(|cx| socket.poll_write(cx, &[io::IoSlice::new(bytes)])).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// hyper's message for an unknown transfer coding; a test pins it.
const UNKNOWN_CODING: &str = "invalid transfer-encoding parsed";
/// A connection that is closed while its client is still sending is reset, and the answer lost. So the rest is read and
/// discarded: for as long as a client on the same network needs to notice the answer,
const LINGER_MAX: Duration = Duration::from_secs(2);
/// at the end, which is waited for, only for as long as a client on the same machine needs,
const LINGER_STOPPING_MAX: Duration = Duration::from_millis(100);
/// and up to twice the largest body that is accepted, for clients that read only after they have sent everything.
const LINGER_BYTES_MAX: usize = 64 << 20;
