//! A form that brings its part `json` behind a file: it is forwarded while it is read, and only its end waits for the icon.
//!
//! The upstream can't act on a body whose end it has not seen. So the last frame is held back until it is known whose
//! message it is, and that conversation's icon is off.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::forward_body::longer;
use super::interaction::{Interaction, Search};

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A body whose last frame waits for `settle`, which is given the interaction that the form turned out to be.
pub(super) struct DeferredParse<S> {
    body: Body,
    /// Reads along, until the part `json` has come or can't come any more.
    search: Option<Search>,
    settle: Option<S>,
    settling: Option<Boxed<()>>,
    held: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl<S: FnOnce(Interaction) -> Boxed<()> + Send + Unpin> DeferredParse<S> {
    /// `prefix` was read of `body` before, and is forwarded by itself.
    pub(super) fn new(boundary: &str, prefix: &[Frame<Bytes>], body: Body, settle: S) -> Self {
        let (search, settle) = (Some(Search::new(boundary)), Some(settle));
        let mut this = Self { body, search, settle, settling: None, held: VecDeque::new(), ended: false };
        prefix.iter().for_each(|frame| this.read_along(frame));
        this
    }

    fn read_along(&mut self, frame: &Frame<Bytes>) {
        let (Some(search), Some(data)) = (&mut self.search, frame.data_ref()) else { return };
        let found = search.find(data);
        if !matches!(found, Some(None)) {
            self.search = None;
            self.settling = found.flatten().zip(self.settle.take()).map(|(found, settle)| settle(found));
        }
    }
}

impl<S: FnOnce(Interaction) -> Boxed<()> + Send + Unpin> HttpBody for DeferredParse<S> {
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
            // Trailers are the end as well: what comes before them is held back with them.
            let more_behind = this.held.len() > 1 && this.held.back().is_some_and(Frame::is_data);
            let settled = this.search.is_none() && this.settling.is_none();
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
                    this.read_along(&frame);
                    this.held.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    this.ended = true;
                    this.search = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        longer(self.body.size_hint(), &self.held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    const JSON: &str = r#"{"to":"c","from":"u","interactions":[{"interactionType":"AttachmentInteraction"}]}"#;

    fn form(file: &str) -> String {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"f\"\r\n\r\n{file}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{JSON}\r\n--b--\r\n"
        )
    }

    /// Passes `text` in pieces. Returns what passed in pieces, and how many pieces had passed when the message was known.
    async fn pass(text: &str, piece: usize) -> (Vec<Bytes>, Option<usize>) {
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
        let mut body = DeferredParse::new("b", &[], Body::from_stream(stream::iter(pieces)), settle);
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            all.push(frame.unwrap().into_data().unwrap());
            passed.fetch_add(1, Ordering::Relaxed);
        }
        let known = *known.lock().unwrap();
        (all, known)
    }

    #[tokio::test]
    async fn the_last_piece_waits_for_the_icon_and_no_byte_is_lost() {
        for (length, piece) in [(10, 1), (1_000, 7), (1_000, 10_000), (3_000_000, 16_384), (3_000_000, 1_000)] {
            let text = form(&"x\r\n--".repeat(length / 5));
            let (all, known) = pass(&text, piece).await;
            assert!(all.concat() == text.as_bytes(), "{length} in pieces of {piece}: bytes are lost");
            assert!(known.is_some_and(|passed| passed < all.len()), "{length}/{piece}: {known:?} of {}", all.len());
        }
    }

    #[tokio::test]
    async fn what_is_no_form_passes() {
        for text in ["y".repeat(3_000_000), form("").replace("\r\n\r\n", &"\r\nx: y".repeat(300_000))] {
            let (all, known) = pass(&text, 16_384).await;
            assert!(all.concat() == text.as_bytes());
            assert_eq!(known, None);
        }
    }
}
