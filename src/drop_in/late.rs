//! A form that brings its part `json` behind a file: it passes while it is read, and only its end waits for the icon.
//!
//! The far side can't act on a body whose end it has not seen. So the last piece is held back until it is known whose
//! message it was, and that conversation's icon is off.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::interaction::{self, Interaction};

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A body whose last piece waits for `settle`, which is given the interaction that the form turned out to be.
pub(super) struct Late<S> {
    body: Body,
    pieces: Pieces,
    /// Reads along.
    reader: Option<Boxed<Option<Interaction>>>,
    settle: Option<S>,
    settling: Option<Boxed<()>>,
    held: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl<S: FnOnce(Interaction) -> Boxed<()> + Send + Unpin> Late<S> {
    /// `ahead` was read of `body` before, and passes by itself.
    pub(super) fn new(boundary: String, ahead: &[Frame<Bytes>], body: Body, settle: S) -> Self {
        let pieces = Pieces::default();
        for data in ahead.iter().filter_map(Frame::data_ref) {
            pieces.push(data.clone());
        }
        let reader = Box::pin(interaction::find_late(boundary, pieces.clone()));
        let (reader, settle) = (Some(reader as Boxed<_>), Some(settle));
        Self { body, pieces, reader, settle, settling: None, held: VecDeque::new(), ended: false }
    }

    /// Lets the reader read what there is.
    fn read_along(&mut self, cx: &mut Context<'_>) {
        let Some(reader) = &mut self.reader else { return };
        if let Poll::Ready(found) = reader.as_mut().poll(cx) {
            self.reader = None;
            self.pieces.with(|queue| *queue = Queue::default());
            self.settling = found.zip(self.settle.take()).map(|(found, settle)| settle(found));
        }
    }
}

impl<S: FnOnce(Interaction) -> Boxed<()> + Send + Unpin> HttpBody for Late<S> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(settling) = &mut this.settling
                && settling.as_mut().poll(cx).is_ready()
            {
                this.settling = None;
            }
            // Trailers are the end as well: what stands before them is held back with them.
            let more_behind = this.held.len() > 1 && this.held.back().is_some_and(Frame::is_data);
            let settled = this.reader.is_none() && this.settling.is_none();
            if (more_behind || settled)
                && let Some(frame) = this.held.pop_front()
            {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.ended {
                return if settled { Poll::Ready(None) } else { Poll::Pending };
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref()
                        && this.reader.is_some()
                    {
                        this.pieces.push(data.clone());
                        this.read_along(cx);
                    }
                    this.held.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    this.ended = true;
                    this.pieces.end();
                    this.read_along(cx);
                    this.reader = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held: u64 = self.held.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

/// What the reader has not read yet: the pieces that came since it last looked. It looks whenever one comes.
#[derive(Clone, Default)]
pub(super) struct Pieces(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    ended: bool,
}

impl Pieces {
    fn push(&self, data: Bytes) {
        self.with(|queue| queue.waiting.push_back(data));
    }

    fn end(&self) {
        self.with(|queue| queue.ended = true);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, std::convert::Infallible>;

    /// Nobody is woken for the next piece: whoever pushes it asks the reader to look.
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.with(|queue| match queue.waiting.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(data))),
            None if queue.ended => Poll::Ready(None),
            None => Poll::Pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;
    use crate::drop_in::interaction::AHEAD_BYTES_MAX;

    const JSON: &str = r#"{"to":"c","from":"u","interactions":[{"interactionType":"AttachmentInteraction"}]}"#;

    fn form(file: &str) -> String {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"f\"\r\n\r\n{file}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{JSON}\r\n--b--\r\n"
        )
    }

    /// Passes `text` in pieces. Returns what passed in pieces, how many pieces had passed when the message was known, and
    /// the most that waited for the reader.
    async fn pass(text: &str, piece: usize) -> (Vec<Bytes>, Option<usize>, usize) {
        let pieces: Vec<_> =
            text.as_bytes().chunks(piece).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let passed = Arc::new(AtomicUsize::new(0));
        let (known, seen) = (Arc::new(Mutex::new(None)), Arc::clone(&passed));
        let note = Arc::clone(&known);
        let settle = move |found: Interaction| -> Boxed<()> {
            assert_eq!(found.conversation.to(), "c");
            Box::pin(async move {
                tokio::task::yield_now().await;
                *note.lock().unwrap() = Some(seen.load(Ordering::Relaxed));
            })
        };
        let mut late = Late::new("b".to_owned(), &[], Body::from_stream(stream::iter(pieces)), settle);
        let (mut all, mut waiting) = (Vec::new(), 0);
        while let Some(frame) = late.frame().await {
            all.push(frame.unwrap().into_data().unwrap());
            passed.fetch_add(1, Ordering::Relaxed);
            waiting = waiting.max(late.pieces.with(|queue| queue.waiting.iter().map(Bytes::len).sum()));
        }
        let known = *known.lock().unwrap();
        (all, known, waiting)
    }

    #[tokio::test]
    async fn the_last_piece_waits_for_the_icon_and_no_byte_is_lost() {
        for (length, piece) in [(10, 1), (1_000, 7), (1_000, 10_000), (3_000_000, 16_384), (3_000_000, 1_000)] {
            let text = form(&"x\r\n--".repeat(length / 5));
            let (all, known, waiting) = pass(&text, piece).await;
            assert!(all.concat() == text.as_bytes(), "{length} in pieces of {piece}: bytes are lost");
            assert!(known.is_some_and(|passed| passed < all.len()), "{length}/{piece}: {known:?} of {}", all.len());
            assert!(waiting < AHEAD_BYTES_MAX, "{length} in pieces of {piece}: {waiting} bytes kept");
        }
    }

    #[tokio::test]
    async fn what_is_no_form_passes_and_is_not_kept() {
        for text in ["y".repeat(3_000_000), form("").replace("\r\n\r\n", &"\r\nx: y".repeat(300_000))] {
            let (all, known, waiting) = pass(&text, 16_384).await;
            assert!(all.concat() == text.as_bytes());
            assert_eq!(known, None);
            assert!(waiting < AHEAD_BYTES_MAX, "{waiting} bytes kept");
        }
    }
}
