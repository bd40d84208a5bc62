//! Keystrokes that went to an owner which may die before it has read them: this node keeps the last of each conversation
//! for as long as it says that the user is typing, and plays it as its own where the conversation becomes its own.

use super::protocol::{Answer, OwnerId};
use super::queue::{Post, What};
use super::{Effect, Fleet};
use crate::model::{Conversation, ConversationRef, Instant, SignalKind};

impl Fleet {
    /// The engine is given a signal of a conversation that is owned. Call it once the signal is among the effects.
    pub(super) fn note_signal(&mut self, now: Instant, conversation: ConversationRef<'_>, kind: SignalKind) {
        let Some(holding) = self.holdings.get_mut(&conversation) else { return };
        if kind != SignalKind::Opened {
            holding.typing = kind == SignalKind::Keystroke;
            holding.last_key = if holding.typing { now } else { holding.last_key };
        }
        // One more Stopped might open a session that is over.
        if kind == SignalKind::Ended && holding.suspect_until > Instant::ORIGIN {
            holding.suspect_until = Instant::ORIGIN;
            self.effects.push_back(Effect::Check(conversation.to_owned()));
        }
    }

    /// The signal is in its owner's inbox.
    pub(super) fn keep_posted(&mut self, now: Instant, conversation: Conversation, post: Post) {
        match post.signal.kind {
            SignalKind::Keystroke if now < post.counts_until => {
                if self.posted.len() < POSTED_MAX || self.posted.contains_key(&conversation.as_ref()) {
                    self.posted.insert(conversation, post);
                }
            }
            SignalKind::Keystroke | SignalKind::Opened => {}
            SignalKind::MessageSent | SignalKind::Stopped | SignalKind::Ended => {
                self.posted.remove(&conversation.as_ref());
            }
        }
    }

    /// A signal that has reached this node itself has ended the typing: no survivor is to go on with a key of before. Those
    /// that are posted are counted as they are.
    pub(super) fn end(&mut self, conversation: ConversationRef<'_>) {
        let Some(holding) = self.holdings.get_mut(&conversation) else { return };
        // Of what only this node has heard, no other keeps a key.
        let may_be_kept = holding.poster.is_some() || holding.suspect_until > Instant::ORIGIN;
        if may_be_kept && !std::mem::replace(&mut holding.end_waits, true) {
            self.queue.push(conversation.to_owned(), What::End);
        }
    }

    /// The store has counted so many endings. What was posted before the last of them has no say any more.
    pub(super) fn drop_ended(&mut self, conversation: &Conversation, endings: u32) {
        if self.posted.get(&conversation.as_ref()).is_some_and(|post| post.endings != endings) {
            self.posted.remove(&conversation.as_ref());
        }
    }

    /// The store has said who is alive. What was posted to one that is no more may not have been read.
    pub(super) fn take_over_posted(&mut self, now: Instant, members: &[OwnerId]) {
        self.posted.retain(|_, post| now < post.counts_until);
        let all_are_there = self.sweep.members().iter().all(|member| members.contains(member));
        if all_are_there || self.leaving {
            return;
        }
        // Whose each is the store knows: those of the living are left to them.
        for conversation in self.posted.keys() {
            self.queue.push(conversation.clone(), What::TakeOver { given: None });
        }
    }

    /// Whether a conversation has been taken over, from the dead or from who has given it.
    pub(super) fn handle_take_over(
        &mut self,
        now: Instant,
        conversation: Conversation,
        given: Option<bool>,
        answer: Answer,
    ) {
        if answer == Answer::Done {
            // Its owner has forgotten it, or the typing was ended after the key.
            self.posted.remove(&conversation.as_ref());
        }
        if !matches!(answer, Answer::Granted | Answer::Mine | Answer::TakenOver) || self.holds(conversation.as_ref()) {
            return;
        }
        // What the dead one did not show it has either not read, or been told to end since.
        let is_read = |post: &Post| now.since(post.arrived) > self.settings.lease;
        if answer == Answer::Granted && self.posted.get(&conversation.as_ref()).is_some_and(is_read) {
            self.posted.remove(&conversation.as_ref());
        }
        self.checks.push(conversation.clone());
        if answer == Answer::TakenOver || (answer == Answer::Mine && given.is_none()) {
            self.counts.taken += u64::from(answer == Answer::TakenOver);
            self.recover(now, conversation);
            return;
        }
        let me = Some(self.tenure.me());
        let holding = self.holdings.entry(conversation.clone()).or_default();
        (holding.owner, holding.on) = (me, true);
        // Who gives it lives, and says whatever it has still under way.
        if given == Some(true) && answer == Answer::Mine {
            self.effects.push_back(Effect::Recover(conversation.clone()));
        }
        self.play_posted(now, conversation);
    }

    /// The conversation has become this node's own: the key that was posted counts from when it was pressed.
    pub(super) fn play_posted(&mut self, now: Instant, conversation: Conversation) {
        let Some(post) = self.posted.remove(&conversation.as_ref()) else { return };
        let Some(signal) = post.signal_at(now) else {
            self.counts.stale += 1;
            return;
        };
        self.effects.push_back(Effect::Signal(conversation.clone(), signal, None));
        self.note_signal(now, conversation.as_ref(), signal.kind);
    }
}

/// Conversations of which a keystroke is kept: as many as an org has users at a time, and more.
const POSTED_MAX: usize = 65_536;
