//! The credentials of conversations, and Stoppeds that wait for accepted ones. The engine carries the names of
//! credentials only; it is given notice when some are accepted.

use super::Engine;
use super::list::{Link, List};
use super::tracker::{Queue, Tracker};
use crate::model::{ConversationRef, CredentialId, Instant};

/// Conversations that are unblocked in one call when credentials are accepted; the others follow in the next ones.
const UNBLOCKED_PER_CALL: usize = 512;

impl Engine {
    /// The request that brought the signal just handled showed these credentials: from now on they are the
    /// conversation's own. Ignored for a conversation that is not in memory.
    pub fn handle_credentials(&mut self, now: Instant, conversation: ConversationRef<'_>, credentials: CredentialId) {
        let Some(slot) = self.tracker.find(conversation).filter(|slot| self.follow(now, *slot)) else { return };
        if self.tracker.entry_mut(slot).credentials.replace(credentials) == Some(credentials) {
            return;
        }
        let Some(extras) = self.tracker.known_extras_mut(slot) else { return };
        // What was rejected with the old ones may be accepted with these.
        extras.muted = false;
        if extras.outbox.is_blocked() {
            extras.outbox.unblock();
            self.update(now, slot);
        }
    }

    /// Credentials of the channel `to` were accepted that were not before: every Stopped of the channel that waits for
    /// some may leave, a slice at a time.
    pub fn handle_acceptance(&mut self, now: Instant, to: &str) {
        if let Some(channel) = self.tracker.find_channel(to) {
            self.tracker.channels.accept(channel);
            self.unblock_some(now);
        }
    }

    /// Lets some conversations go on that waited for credentials which have been accepted.
    pub(super) fn unblock_some(&mut self, now: Instant) {
        for _ in 0..UNBLOCKED_PER_CALL {
            let Some(slot) = self.tracker.next_accepted() else { return };
            self.tracker.extras_mut(slot).outbox.unblock();
            // Out of the queue first, whatever its timers have done to it meanwhile: each is looked at once.
            self.move_to(slot, Queue::None);
            self.bring_up_to(now, slot);
        }
    }

    /// The earliest instant at which a Stopped of the conversation may leave, as far as is known at `now`: later while
    /// the upstream fails, limits the rate or rejects the channel. [`Instant::NEVER`]: not before another outcome.
    pub fn stop_leaves_after(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Instant {
        let Some(slot) = self.tracker.find(conversation) else { return now };
        let entry = self.tracker.entry(slot);
        let muted_until = self.tracker.channels.muted_until(entry.channel);
        if entry.queue == Queue::Blocked {
            return Instant::NEVER;
        }
        let outbox = self.tracker.outbox(slot);
        let retry = outbox.retry().unwrap_or(now);
        // The outcome of what is in flight comes first, and says more.
        let pace = if outbox.in_flight().is_some() { now } else { self.pace.held_until(now) };
        now.max(muted_until).max(retry).max(pace)
    }

    /// A request that found no credentials may have looked before some were accepted, and come back after.
    pub(super) fn unblock_if_accepted_since(&mut self, slot: u32) {
        let acceptances = self.tracker.channels.acceptances(self.tracker.entry(slot).channel);
        let extras = self.tracker.extras_mut(slot);
        if extras.acceptances_seen != acceptances {
            extras.outbox.unblock();
        }
    }

    /// Changes the queue of blocked conversations of the channel of `slot`.
    pub(super) fn change_blocked(&mut self, slot: u32, change: fn(&mut List, &mut Tracker, Link, u32)) {
        let channel = self.tracker.entry(slot).channel;
        let mut blocked = self.tracker.channels.extras_mut(channel).blocked;
        change(&mut blocked, &mut self.tracker, Link::Queue, slot);
        self.tracker.channels.extras_mut(channel).blocked = blocked;
    }
}
