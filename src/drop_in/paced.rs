//! A body as its sender brings it: it may come slowly, but has to get on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::progress::Broken;
use crate::base::clock;

/// What a request's body must come at, on average, once it has been waited for as long as a silence may last. A third of
/// what the slowest mobile networks carry; 32 MiB may take some two hours.
const BYTES_PER_SECOND_MIN: u64 = 4 * 1024;

/// A body that breaks off when its sender is silent for too long, or sends too slowly.
pub(super) struct Paced {
    body: Body,
    /// How long a silence may last, and how long the body may be waited for before it is measured.
    stall_timeout: Duration,
    measured: bool,
    bytes: u64,
    /// How long its sender has been waited for. The reader's time does not count.
    waited: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Of an answer: how it has broken off. hyper gives up what it has not written yet once it knows, such as the head, so
    /// that it is told a turn later.
    broken: Option<axum::Error>,
}

impl Paced {
    pub(super) fn of_request(body: Body, stall_timeout: Duration) -> Self {
        Self { measured: true, ..Self::of_answer(body, stall_timeout) }
    }

    /// An answer may come as slowly as it likes.
    pub(super) fn of_answer(body: Body, stall_timeout: Duration) -> Self {
        let waited = Duration::ZERO;
        Self { body, stall_timeout, measured: false, bytes: 0, waited, waiting_since: None, timer: None, broken: None }
    }

    /// Ready when the body has been waited for too long, with the way of it.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let since = *self.waiting_since.get_or_insert_with(|| clock::timer_after(Duration::ZERO));
        let granted = self.stall_timeout + Duration::from_millis(self.bytes * 1_000 / BYTES_PER_SECOND_MIN);
        let (stalled, dripped) = (since + self.stall_timeout, since + granted.saturating_sub(self.waited));
        let late = if self.measured { stalled.min(dripped) } else { stalled };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(late)));
        if timer.deadline() != late {
            timer.as_mut().reset(late);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(if late == stalled { Broken::Stalled } else { Broken::Dripped })
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let broken = ready!(this.poll_late(cx));
            return Poll::Ready(Some(Err(axum::Error::new(broken))));
        };
        if let Some(since) = this.waiting_since.take() {
            this.waited += clock::timer_after(Duration::ZERO).saturating_duration_since(since);
        }
        if let Some(Ok(frame)) = &frame {
            this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        match frame {
            Some(Err(error)) if !this.measured => {
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;
    use crate::base::clock::Clock;
    use crate::model::Instant;

    const GRACE: Duration = Duration::from_secs(60);

    /// How many bytes come of so many pieces of `bytes`, one each `spacing`, read with a pause of `pause` after each; how
    /// long that takes; and whether they break off.
    async fn read(pieces: usize, bytes: usize, spacing: Duration, pause: Duration) -> (usize, Duration, bool) {
        let clock = Clock::start();
        let pieces = stream::unfold(pieces, move |left| async move {
            tokio::time::sleep(spacing).await;
            (left > 0).then(|| (Ok::<_, Infallible>(Bytes::from(vec![0; bytes])), left - 1))
        });
        let mut body = Paced::of_request(Body::from_stream(pieces), GRACE);
        let (mut read, mut broken) = (0, false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => read += frame.into_data().unwrap().len(),
                Err(error) => {
                    assert_eq!(Broken::of(&error), Broken::Dripped);
                    broken = true;
                    break;
                }
            }
            tokio::time::sleep(pause).await;
        }
        (read, clock.now().since(Instant::ORIGIN), broken)
    }

    #[tokio::test(start_paused = true)]
    async fn what_drips_ends_and_what_is_slow_does_not() {
        const NO_PAUSE: Duration = Duration::ZERO;
        let second = Duration::from_secs(1);
        let (bytes, took, broken) = read(1_000, 1, 4 * second, NO_PAUSE).await;
        assert!(broken && bytes < 16 && took.as_secs() == GRACE.as_secs(), "{bytes} {took:?}");
        // At the least rate and above it comes whole, however long that takes.
        for piece in [4 * 1024, 5 * 1024] {
            let (bytes, took, broken) = read(1_000, piece, second, NO_PAUSE).await;
            assert!(!broken && bytes == 1_000 * piece && took >= 1_000 * second, "{bytes} {took:?}");
        }
        let (bytes, took, broken) = read(1_000, 3 * 1024, second, NO_PAUSE).await;
        assert!(broken && took > 3 * GRACE && bytes < 300 * 3 * 1024, "{bytes} {took:?}");
        // An upstream that is slow to take it is no fault of its sender.
        let (bytes, _, broken) = read(1_000, 1, second / 20, 10 * second).await;
        assert!(!broken && bytes == 1_000, "{bytes}");
    }
}
