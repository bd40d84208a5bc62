//! What the engine is told and asked where several processes serve one org, and a conversation has one owner at a time.
//! The rules of typing are the same; who owns what is decided elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use super::Engine;
use super::outbox::Belief;
use crate::model::{Conversation, ConversationRef, DispatchId, Instant, Reason};

/// What is left of a conversation that another process owns now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The upstream may show an icon because of this process.
    pub maybe_on: bool,
    /// A request is in flight. Its outcome may still change what is shown.
    pub in_flight: bool,
}

/// What is only asked for where conversations have owners.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// A conversation is remembered for so long after its last event.
    pub(super) retained_for: Duration,
    released: Option<VecDeque<Conversation>>,
}

impl Ownership {
    /// How long a message's time is remembered, to know a late keystroke by.
    pub(super) const fn barrier_kept(&self) -> Duration {
        if self.released.is_some() { self.retained_for } else { BARRIER_KEPT }
    }

    pub(super) fn released(&mut self, conversation: impl FnOnce() -> Conversation) {
        if let Some(released) = &mut self.released {
            released.push_back(conversation());
        }
    }
}

impl Engine {
    /// From now on each conversation is remembered for `retained_for` after its last event, and every one that is
    /// forgotten is kept for [`Engine::poll_released`]. Fetch them: nothing else bounds how many are kept.
    pub fn observe_released(&mut self, retained_for: Duration) {
        self.ownership = Ownership { retained_for, released: Some(VecDeque::new()) };
    }

    /// A conversation that has been forgotten. It may be in memory again.
    pub fn poll_released(&mut self) -> Option<Conversation> {
        self.ownership.released.as_mut()?.pop_front()
    }

    /// Another process owns the conversation: nothing more is sent for it. One with a request in flight stays in memory
    /// until its outcome; call this again then.
    pub fn handle_lost(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Remains {
        let slot = self.tracker.find(conversation).filter(|slot| self.follow(now, *slot));
        let Some(slot) = slot else { return Remains { maybe_on: false, in_flight: false } };
        let (state, _) = self.tracker.state_mut(slot);
        // Its owner decides on a Stopped.
        let _ = state.timing.stop(Reason::Ended);
        state.barrier = 0;
        state.retained_until = Instant::ORIGIN;
        state.opened = false;
        if !state.muted {
            state.hold_until = Instant::ORIGIN;
        }
        let remains =
            Remains { maybe_on: state.outbox.belief() != Belief::Off, in_flight: state.outbox.in_flight().is_some() };
        let loss = state.outbox.disown();
        self.note_losses(now, slot, [loss, None]);
        self.settle(now, slot);
        remains
    }

    /// The request in flight under `id` has not left and will not: it is taken back as if it had never been asked for, and
    /// what it was to tell may be tried again in a moment. An unknown `id` is ignored.
    pub fn handle_withheld(&mut self, now: Instant, id: DispatchId) {
        if !self.is_in_flight(id) {
            return;
        }
        self.pace.withdraw(id.slot);
        self.follow(now, id.slot);
        self.advance(now, id.slot);
        let losses = self.tracker.state_mut(id.slot).0.outbox.withdraw(now + WITHHELD_WAIT);
        self.note_losses(now, id.slot, losses);
        self.settle(now, id.slot);
    }

    /// Of the org's requests a second, `share` are this process's. It lies below the policy's limit, or changes nothing.
    pub fn handle_share(&mut self, share: u32) {
        self.pace.set_share(share);
    }

    /// Requests that count towards the rate: in flight, or answered in the last second.
    #[must_use]
    pub fn counted(&mut self, now: Instant) -> usize {
        self.pace.counted(now)
    }
}

const BARRIER_KEPT: Duration = Duration::from_secs(600);
/// The time until what was withheld is tried again: the store answers within less.
const WITHHELD_WAIT: Duration = Duration::from_millis(50);
