//! An accepted connection's socket. It is shared, so that a connection can be watched and drained beside its reading
//! and writing.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::Request;
use futures_util::FutureExt;
use rustix::net::Shutdown;
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// Marks a request that arrived over a Unix socket. No browser can open one, so a proxy in between has chosen its callers.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaUnix {
    /// Whether the caller may send this process a signal: it is root, or the user that the process runs as.
    pub(super) may_signal: bool,
}

impl ViaUnix {
    /// Whether the request's caller may send this process a signal, as the kernel says.
    pub(super) fn may_signal(request: &Request) -> bool {
        request.extensions().get::<Self>().is_some_and(|via| via.may_signal)
    }
}

/// A stream socket, whichever kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($socket:expr, $stream:ident => $do:expr) => {
        match $socket {
            Socket::Tcp($stream) => $do,
            Socket::Unix($stream) => $do,
        }
    };
}

impl Socket {
    /// What is known of the client of a Unix socket.
    pub(super) fn via_unix(&self) -> Option<ViaUnix> {
        let Self::Unix(stream) = self else { return None };
        let own = rustix::process::geteuid().as_raw();
        Some(ViaUnix { may_signal: stream.peer_cred().is_ok_and(|peer| may_signal(peer.uid(), own)) })
    }

    /// Reads what has come. When that is less than there was room for, no more has, and the system is not asked again
    /// before it says so: one call less for each request.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(either!(self, stream => stream.poll_read_ready(cx)))?;
            let before = buf.filled().len();
            let result = either!(self, stream => stream.try_io(Interest::READABLE, || read_all(stream.as_fd(), buf)));
            match (result, buf.filled().len() > before) {
                (Err(error), false) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What comes behind the bytes, an end or an error, is met by the next read.
                (_, true) => return Poll::Ready(Ok(())),
                (result, false) => return Poll::Ready(result),
            }
        }
    }

    /// Writes what there is room for of `bufs`, of one buffer or many.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(self, stream => stream.poll_write_ready(cx)))?;
            let written = match bufs {
                // One call of the system is cheaper with one buffer than with a list of them.
                [buf] => either!(self, stream => stream.try_write(buf)),
                _ => either!(self, stream => stream.try_write_vectored(bufs)),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Closes the writing side: the client reads an end after what has been written.
    pub(super) fn shut_down(&self) -> io::Result<()> {
        match either!(self, stream => rustix::net::shutdown(stream, Shutdown::Write)) {
            // The client has gone already.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the client has closed its side, or all of the connection.
    pub(super) async fn half_closed(&self) {
        // Priority reports the closed side too, and nothing else here: no one asks for urgent data.
        let _ = self.ready(Interest::PRIORITY | Interest::ERROR).await;
    }

    /// Waits until nothing that is written can reach the client any more. A client that has closed all of a TCP connection
    /// is only recognised by its answer to the next byte.
    pub(super) async fn reset(&self) {
        self.half_closed().await;
        while !self.is_hung_up() {
            // The system reports an error at once, but not that a Unix socket's other end has gone.
            if tokio::time::timeout(HANG_UP_CHECK_INTERVAL, self.ready(Interest::ERROR)).await.is_ok() {
                return;
            }
        }
    }

    /// Reads and discards until the client closes its side or `bytes_max` have been read.
    pub(super) async fn drain(&self, bytes_max: usize) {
        let mut buffer = vec![0; DRAIN_BUFFER_BYTES];
        let mut bytes = 0;
        while bytes <= bytes_max && self.ready(Interest::READABLE).await.is_ok() {
            match either!(self, stream => stream.try_read(&mut buffer)) {
                Ok(0) => return,
                Ok(read) => bytes += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    fn is_hung_up(&self) -> bool {
        match self.ready(Interest::WRITABLE | Interest::ERROR).now_or_never() {
            Some(Ok(ready)) => ready.is_write_closed() || ready.is_error(),
            Some(Err(_)) => true,
            None => false,
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        either!(self, stream => stream.ready(interest).await)
    }
}

/// Reads what has come, as far as there is room for it. A blocking error with bytes read: no more has come, which tokio takes
/// as not ready until the next event. One that has come meanwhile counts.
fn read_all(stream: BorrowedFd<'_>, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    let mut bytes = [MaybeUninit::uninit(); PIECE_BYTES_MAX];
    while buf.remaining() > 0 {
        let room = &mut bytes[..buf.remaining().min(PIECE_BYTES_MAX)];
        let room_bytes = room.len();
        let (data, _) = rustix::io::read(stream, room)?;
        buf.put_slice(data);
        match data.len() {
            0 => break,
            read if read < room_bytes => return Err(io::ErrorKind::WouldBlock.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a process of the user `peer` may send signals to one of the user `own`.
fn may_signal(peer: u32, own: u32) -> bool {
    peer == ROOT || (peer == own && own != OVERFLOW)
}

const ROOT: u32 = 0;
/// What the kernel calls every user that has no number in the user namespace of this process.
const OVERFLOW: u32 = 65_534;

/// How often typingd checks whether a Unix socket's other end has gone.
const HANG_UP_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// What is read of a connection before it is handled: some hundred lines of a stream. hyper's buffer grows to it as long as
/// reads fill it.
pub(super) const READ_BYTES_MAX: usize = 64 * 1024;
/// What one call of the system reads.
const PIECE_BYTES_MAX: usize = 16 * 1024;
const DRAIN_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_signal_and_no_one_else() {
        assert!(may_signal(0, 996) && may_signal(996, 996) && may_signal(0, 0));
        assert!(!may_signal(1_000, 996) && !may_signal(1_000, 0) && !may_signal(OVERFLOW, 996));
        assert!(!may_signal(OVERFLOW, OVERFLOW), "it may be anybody of another namespace");
    }
}
