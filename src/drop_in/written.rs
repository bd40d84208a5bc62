//! When the bytes of a forwarded request have been written upstream: each connection notes when all that it was given has
//! left it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use tokio::sync::Notify;
use tower::Service;

use super::progress::{SharedProgress, moment};

/// When a connection last had nothing left to write.
#[derive(Clone, Default)]
pub(super) struct Flushes(Arc<Flushed>);

#[derive(Default)]
struct Flushed {
    last: AtomicU64,
    news: Notify,
}

/// Calls `on_written` whenever all that has arrived of a body is written on the connection that carries it. Never ends.
///
/// Over HTTP/1.1 a connection's task takes from the body what there is, writes it, and flushes when its own buffer is
/// empty: a flush after the last frame means that it is with the kernel.
pub(super) async fn written(mut captured: CaptureConnection, body: SharedProgress, mut on_written: impl FnMut()) {
    let flushes = {
        let connected = captured.wait_for_connection_metadata().await;
        let mut extras = axum::http::Extensions::new();
        if let Some(connected) = connected.as_ref() {
            connected.get_extras(&mut extras);
        }
        extras.remove::<Flushes>()
    };
    let Some(Flushes(flushed)) = flushes else { return std::future::pending().await };
    loop {
        let mut news = std::pin::pin!(flushed.news.notified());
        news.as_mut().enable();
        let caught_up = body.caught_up().filter(|moment| flushed.last.load(Ordering::SeqCst) > *moment);
        match caught_up {
            Some(_) if body.lock().ended => {
                tokio::time::sleep(ARRIVAL_SPACING).await;
                on_written();
                return std::future::pending().await;
            }
            Some(moment) => {
                let silent = tokio::time::timeout(SILENCE_MIN, news).await.is_err();
                if silent && body.caught_up() == Some(moment) {
                    on_written();
                    flushed.news.notified().await;
                }
            }
            None => news.await,
        }
    }
}

/// Makes connections that note when they have written what they were given.
#[derive(Clone)]
pub(super) struct Watching<C>(pub(super) C);

impl<C> Service<Uri> for Watching<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = Watched<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        debug_assert!([Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme()));
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(Watched { stream: connecting.await?, flushes: Flushes::default() }) })
    }
}

/// A connection that notes when it has written what it was given.
pub(super) struct Watched<T> {
    stream: T,
    flushes: Flushes,
}

impl<T: Connection> Connection for Watched<T> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.flushes.clone())
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.flushes.0.last.store(moment(), Ordering::SeqCst);
            this.flushes.0.news.notify_waiters();
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

/// What is written on two connections arrives, and is read, in that order only if some time lies between: an upstream may
/// read from a connection that it knows before it has accepted a new one.
const ARRIVAL_SPACING: Duration = Duration::from_millis(10);
/// The rest of a body that was sent in one go is read within this time, though it comes in several pieces. Only after such
/// a silence is a body that has not ended taken for one that has nothing more to give for now.
const SILENCE_MIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio_test::io::Builder;

    use super::*;

    #[tokio::test]
    async fn a_flush_is_noted_once_all_is_written_and_not_before() {
        let stream = Builder::new().write(b"half").write(b" and half").build();
        let mut connection = Watched { stream: TokioIo::new(stream), flushes: Flushes::default() };
        let flushes = connection.flushes.clone();
        let mut news = tokio_test::task::spawn(flushes.0.news.notified());
        tokio_test::assert_pending!(news.poll());
        for piece in [&b"half"[..], b" and half"] {
            let written = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, piece)).await.unwrap();
            assert_eq!((written, flushes.0.last.load(Ordering::SeqCst)), (piece.len(), 0));
        }
        let before = moment();
        poll_fn(|cx| Pin::new(&mut connection).poll_flush(cx)).await.unwrap();
        assert!(flushes.0.last.load(Ordering::SeqCst) > before && news.is_woken());
    }
}
