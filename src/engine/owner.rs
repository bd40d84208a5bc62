//! Inputs and outputs of the engine where several processes serve one org, and a conversation has one owner at a
//! time. The rules of typing are the same; who owns what is decided elsewhere.

use std::time::Duration;

use super::Engine;
use super::observed::Observed;
use super::outbox::Acknowledged;
use crate::model::{Conversation, ConversationRef, DispatchId, Instant, Reason};

/// What is left of a conversation that another process owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The upstream may show an icon because of this process.
    pub maybe_on: bool,
    /// A request is in flight. Its outcome may still change what is shown.
    pub in_flight: bool,
}

/// What is only needed where conversations have owners.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// How long a conversation is remembered after its last event.
    pub(super) retained_for: Duration,
    released: Observed<Conversation>,
}

impl Ownership {
    /// How long a message's time is remembered, to recognise late keystrokes.
    pub(super) const fn barrier_kept(&self) -> Duration {
        if self.released.is_observed() { self.retained_for } else { BARRIER_KEPT }
    }

    pub(super) fn on_released(&mut self, conversation: impl FnOnce() -> Conversation) {
        self.released.push_all(conversation);
    }
}

impl Engine {
    /// From now on each conversation is remembered for `retained_for` after its last event, and each that is
    /// forgotten is kept for [`Engine::poll_released`]. Fetch them after each call: nothing else bounds their number.
    pub fn observe_released(&mut self, retained_for: Duration) {
        self.ownership = Ownership { retained_for, released: Observed::new() };
    }

    /// A conversation that has been forgotten. It may be in memory again.
    pub fn poll_released(&mut self) -> Option<Conversation> {
        self.ownership.released.pop()
    }

    /// Whether the conversation is in memory.
    pub fn holds(&self, conversation: ConversationRef<'_>) -> bool {
        self.tracker.find(conversation).is_some()
    }

    /// Another process owns the conversation: nothing more is sent for it. One with a request in flight stays in
    /// memory until its outcome; call this again then.
    pub fn handle_lost(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Remains {
        let slot = self.tracker.find(conversation).filter(|slot| self.follow(now, *slot));
        let Some(slot) = slot else { return Remains { maybe_on: false, in_flight: false } };
        let entry = self.tracker.entry_mut(slot);
        // The owner decides on a Stopped.
        let _ = entry.timing.stop(Reason::Ended);
        entry.opened = false;
        let extras = self.tracker.extras_mut(slot);
        extras.forget_session();
        extras.retained_until = Instant::ORIGIN;
        let remains = Remains {
            maybe_on: extras.outbox.acknowledged() != Acknowledged::Off,
            in_flight: extras.outbox.in_flight().is_some(),
        };
        let loss = extras.outbox.disown();
        self.record_dropped(now, slot, [loss, None]);
        self.update(now, slot);
        remains
    }

    /// The request in flight under `id` has not left and will not: it is taken back as if it had never been polled,
    /// and may be tried again in a moment. An unknown `id` is ignored.
    pub fn handle_withheld(&mut self, now: Instant, id: DispatchId) {
        if !self.is_in_flight(id) {
            return;
        }
        self.pace.withdraw(now, id.slot);
        self.follow(now, id.slot);
        self.advance(now, id.slot);
        let losses = self.tracker.extras_mut(id.slot).outbox.withdraw(now + WITHHELD_WAIT);
        self.record_dropped(now, id.slot, losses);
        self.update(now, id.slot);
    }

    /// How many of the org's requests a second are this process's. Above the policy's limit it changes nothing.
    pub fn handle_share(&mut self, share: u32) {
        self.pace.set_share(share);
    }

    /// Requests that count towards the rate: in flight, or answered in the last second, and those that pass beside them.
    #[must_use]
    pub fn counted(&mut self, now: Instant) -> usize {
        self.pace.counted(now)
    }
}

const BARRIER_KEPT: Duration = Duration::from_secs(600);
/// The time until a withheld request is tried again. A process that has lost its lease has another by then.
const WITHHELD_WAIT: Duration = Duration::from_millis(250);
