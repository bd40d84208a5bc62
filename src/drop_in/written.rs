//! When the bytes of a forwarded request have been written upstream: once its connection has nothing left to write of all
//! that has arrived.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::progress::{Progress, SharedProgress};
use super::turns::HeldPlace;
use crate::base::clock;

/// Gives up a request's place when all of it that has arrived is written.
pub(super) struct Written<'a> {
    body: SharedProgress,
    place: &'a HeldPlace,
    /// That all which had been given at this moment was written, and how long nothing may come after that.
    silence: Option<(u64, Pin<Box<Sleep>>)>,
    /// All of it is written, and that has been noted.
    noted: bool,
}

impl<'a> Written<'a> {
    pub(super) fn new(body: SharedProgress, place: &'a HeldPlace) -> Self {
        Self { body, place, silence: None, noted: false }
    }

    /// The connection has been polled: it last had nothing left to write at `flushed`
    /// ([`moment`](crate::salesforce::watched::moment)).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, flushed: u64) {
        if self.noted {
            return;
        }
        let Progress { given, caught_up, ended, .. } = *self.body.lock();
        if !caught_up || flushed <= given {
            self.silence = None;
            return;
        }
        if ended {
            self.noted = true;
            self.place.note_written();
            return;
        }
        let (since, silence) = self.silence.get_or_insert_with(|| (given, Box::pin(tokio::time::sleep(SILENCE_MIN))));
        if *since != given {
            *since = given;
            silence.as_mut().reset(clock::timer_after(SILENCE_MIN));
        }
        if silence.as_mut().poll(cx) == Poll::Ready(()) {
            self.place.release();
        }
    }
}

/// The rest of a body that was sent in one go is read within this time, though it comes in several pieces. Only after such
/// a silence is a body that has not ended taken for one that has nothing more to give for now.
const SILENCE_MIN: Duration = Duration::from_millis(50);
