//! What is due by time alone: the end of the lease, of the silence in which a node waits for the store, of what is kept
//! back.

use std::collections::VecDeque;

use super::queue::{Post, What};
use super::{Effect, Fleet, State};
use crate::model::{Conversation, Instant};

impl Fleet {
    /// Looks at the clock: what is due by time alone.
    pub(super) fn look(&mut self, now: Instant) {
        if self.tenure.look(now) {
            self.go_alone(now);
        }
        if self.share.look(now) {
            self.effects.push_back(Effect::Share(self.share.in_force()));
        }
        while let Some((_, conversation)) = pop_due(&mut self.waits, now) {
            // It may have left, and another may wait by now.
            let holding = self.holdings.get_mut(&conversation.as_ref());
            if let Some(dispatch) = holding.and_then(|holding| holding.waiting.take()) {
                self.effects.push_back(Effect::Withhold(dispatch.id));
            }
        }
        while let Some((at, conversation)) = pop_due(&mut self.suspects, now) {
            if self.holdings.get(&conversation.as_ref()).is_some_and(|holding| holding.suspect_until == at) {
                self.effects.push_back(Effect::Recover(conversation));
            }
        }
    }

    /// The store is silent: signals that waited for it are this node's to serve.
    fn go_alone(&mut self, now: Instant) {
        self.end_tenure();
        self.share.go_alone(now);
        self.effects.push_back(Effect::Share(self.share.in_force()));
        let serves = self.tenure.state(now) == State::Alone && !self.leaving;
        for (conversation, post) in self.queue.take_posts(|_| true) {
            let ends = post.signal.kind.ends_typing() && !self.leaving;
            let Some(signal) = post.signal_at(now).filter(|_| serves || ends) else {
                self.drop_post(&conversation, &post);
                continue;
            };
            // Another owner shows the icon, perhaps: nothing of it is known here.
            if let Some(awaited) = self.awaited(&post) {
                self.handle_answered(conversation.as_ref(), awaited, false);
            }
            if !serves {
                // It is told once the store answers.
                self.queue.push(conversation, What::Post(Post { ticket: None, ..post }));
                continue;
            }
            let holding = self.holdings.entry(conversation.clone()).or_default();
            holding.untold = ends.then_some((post.signal, post.arrived));
            self.checks.push(conversation.clone());
            self.effects.push_back(Effect::Signal(conversation, signal, None));
        }
        // No owner can be told. If the icon is on because of this node, or of an earlier life of it, it goes off.
        for conversation in self.queue.take_strays() {
            self.recover(now, conversation);
        }
        self.effects.extend(self.checks.drain(..).map(Effect::Check));
    }

    /// What was dispatched or asked for under the tenure that is over.
    pub(super) fn end_tenure(&mut self) {
        for (_, conversation) in self.waits.drain(..) {
            let holding = self.holdings.get_mut(&conversation.as_ref());
            if let Some(dispatch) = holding.and_then(|holding| holding.waiting.take()) {
                self.effects.push_back(Effect::Withhold(dispatch.id));
            }
        }
        self.queue.drop_flags();
        // What else reaches their owners is not known any more.
        self.posted.clear();
        self.claims.clear();
        self.sweep.abort();
    }
}

fn pop_due(queue: &mut VecDeque<(Instant, Conversation)>, now: Instant) -> Option<(Instant, Conversation)> {
    if queue.front()?.0 > now { None } else { queue.pop_front() }
}
