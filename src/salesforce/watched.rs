//! A stream that notes when it has written what it was given.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One count for the whole process: what got a later number happened later.
static MOMENTS: AtomicU64 = AtomicU64::new(1);

/// A moment between all others.
pub(crate) fn moment() -> u64 {
    MOMENTS.fetch_add(1, Ordering::SeqCst)
}

/// The stream.
///
/// Over HTTP/1.1 a connection takes from a body what there is, writes it, and flushes when its own buffer is empty: a flush
/// after the last frame means that it is with the kernel.
pub(super) struct Watched<S = MaybeHttpsStream<TokioIo<TcpStream>>> {
    stream: S,
    flushed: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    /// Notes in `flushed` the [`moment`] at which it last had nothing left to write.
    pub(super) fn new(stream: S, flushed: &Arc<AtomicU64>) -> Self {
        Self { stream, flushed: Arc::clone(flushed) }
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.flushed.store(moment(), Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio_test::io::Builder;

    use super::*;

    #[tokio::test]
    async fn a_flush_is_noted_once_all_is_written_and_not_before() {
        let stream = Builder::new().write(b"half").write(b" and half").build();
        let flushed = Arc::default();
        let mut connection = Watched::new(TokioIo::new(stream), &flushed);
        for piece in [&b"half"[..], b" and half"] {
            let written = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, piece)).await.unwrap();
            assert_eq!((written, flushed.load(Ordering::Relaxed)), (piece.len(), 0));
        }
        let before = moment();
        poll_fn(|cx| Pin::new(&mut connection).poll_flush(cx)).await.unwrap();
        assert!(flushed.load(Ordering::Relaxed) > before);
    }
}
