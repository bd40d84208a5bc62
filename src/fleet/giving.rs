//! An owner whose credentials the upstream refuses gives the conversation to the node that last posted for it.

use super::queue::What;
use super::{Effect, Fleet};
use crate::model::{Conversation, ConversationRef, Instant};

impl Fleet {
    /// No credentials are known that the upstream accepts for the conversation's request; call it after
    /// [`Fleet::handle_outcome`]. The node that last posted for it may have been shown some: it is given the
    /// conversation. `left_on`: the upstream may show its icon.
    pub fn handle_refused(&mut self, conversation: ConversationRef<'_>, left_on: bool) {
        if let Some(holding) = self.holdings.get_mut(&conversation) {
            (holding.refused, holding.left_on) = (true, left_on);
            self.refused.insert(conversation.to_owned());
            self.give_refused();
        }
    }

    /// Gives away what can be given, and keeps in mind what can't yet.
    pub(super) fn give_refused(&mut self) {
        let Self { refused, holdings, queue, sweep, .. } = self;
        refused.retain(|conversation| {
            let holding = holdings.get(&conversation.as_ref()).filter(|holding| holding.refused);
            let to = holding.and_then(|holding| holding.poster).filter(|to| sweep.members().contains(to));
            if let Some(to) = to {
                queue.push(conversation.clone(), What::Give { to });
            }
            holding.is_some() && to.is_none()
        });
    }

    /// Credentials were accepted for the channel.
    pub fn handle_accepted(&mut self, channel: &str) {
        self.sweep.handle_accepted(channel);
    }

    /// Another node has been given the conversation.
    pub(super) fn give(&mut self, conversation: Conversation) {
        if self.let_go(&conversation).is_some() {
            self.effects.push_back(Effect::Yield(conversation));
        }
    }

    /// Another node has given the conversation to this one.
    pub(super) fn handle_given(&mut self, now: Instant, conversation: Conversation, on: bool, typing: bool) {
        if !typing {
            self.posted.remove(&conversation.as_ref());
        }
        if !self.holds(conversation.as_ref()) {
            self.queue.push(conversation, What::TakeOver { given: Some(on) });
        } else if on {
            self.recover(now, conversation);
        }
    }
}
