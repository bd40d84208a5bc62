//! Whose credentials a conversation has, and what waits for others. The engine carries their names; what they are worth is
//! told to it.

use super::list::Link;
use super::{Engine, Queue};
use crate::model::{ConversationRef, CredentialId, Instant};

impl Engine {
    /// The request that brought the signal just handled showed these credentials: from now on they are the
    /// conversation's own. Ignored for a conversation that is not in memory.
    pub fn handle_credentials(&mut self, now: Instant, conversation: ConversationRef<'_>, credentials: CredentialId) {
        let Some(slot) = self.tracker.find(conversation) else { return };
        let (state, _) = self.tracker.state_mut(slot);
        if state.credentials.replace(credentials) == Some(credentials) {
            return;
        }
        // What was refused to the old ones may be granted to these.
        state.muted = false;
        if state.outbox.is_blocked() {
            state.outbox.unblock();
            self.update(now, slot);
        }
    }

    /// Credentials of the channel `to` were accepted that were not before: every Stopped of the channel that waits for
    /// some may leave.
    pub fn handle_acceptance(&mut self, now: Instant, to: &str) {
        let Some(channel) = self.tracker.find_channel(to) else { return };
        let known = self.tracker.channel_at_mut(channel);
        known.acceptances = known.acceptances.wrapping_add(1);
        while let Some(slot) = self.tracker.channel_at_mut(channel).blocked.front() {
            let (state, _) = self.tracker.state_mut(slot);
            state.outbox.unblock();
            // Out of the list first, whatever its timers have done to it meanwhile: each is looked at once.
            self.move_to(slot, Queue::None);
            self.advance(now, slot);
            self.update(now, slot);
            // The last conversation of a channel takes the channel with it.
            if self.tracker.find_channel(to) != Some(channel) {
                return;
            }
        }
    }

    /// A request that found no credentials may have looked before some were accepted, and come back after.
    pub(super) fn unblock_if_accepted_since(&mut self, slot: u32) {
        let acceptances = self.tracker.channel(slot).acceptances;
        let (state, _) = self.tracker.state_mut(slot);
        if state.acceptances_seen != acceptances {
            state.outbox.unblock();
        }
    }

    pub(super) fn join_blocked(&mut self, slot: u32) {
        let channel = self.tracker.entry(slot).channel;
        let mut blocked = self.tracker.channel_at_mut(channel).blocked;
        blocked.push_back(&mut self.tracker, Link::Queue, slot);
        self.tracker.channel_at_mut(channel).blocked = blocked;
        self.blocked += 1;
    }

    pub(super) fn leave_blocked(&mut self, slot: u32) {
        let channel = self.tracker.entry(slot).channel;
        let mut blocked = self.tracker.channel_at_mut(channel).blocked;
        blocked.remove(&mut self.tracker, Link::Queue, slot);
        self.tracker.channel_at_mut(channel).blocked = blocked;
        self.blocked -= 1;
    }
}
