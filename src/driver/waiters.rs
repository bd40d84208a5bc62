//! Callers that wait until an icon is off: this process's own, and those of other nodes whose messages it was posted.

use std::time::Duration;

use tokio::sync::oneshot;

use super::inbox::Receipt;
use super::state::LoopState;
use super::waiter::{Answer, WAITERS_SWEEP, Waiter};
use crate::fleet::protocol::{Awaited, Ticket};
use crate::model::{Conversation, ConversationRef, Instant, SignalBatch, SignalKind};

/// Another node's caller is waited for no longer: as long as `wait` may be at most.
const NODE_WAIT_MAX: Duration = Duration::from_secs(30);

impl LoopState {
    /// Adds to the receipt what the caller has to wait for.
    pub(super) fn await_stoppeds(&mut self, now: Instant, batch: &SignalBatch, wait: Duration, receipt: &mut Receipt) {
        for (conversation, signal) in batch.iter() {
            if signal.kind != SignalKind::MessageSent {
                continue;
            }
            if !self.engine.is_settled_off(conversation) {
                let until = now + wait;
                receipt.blocked |= self.engine.stop_leaves_after(now, conversation) > until;
                let (answer, acknowledged) = oneshot::channel();
                self.add_waiter(now, conversation.to_owned(), Waiter { until, answer: Answer::Caller(answer) });
                receipt.unsettled.push(acknowledged);
            } else if self.is_unsure_of(conversation) {
                let (answer, acknowledged) = oneshot::channel();
                let _ = answer.send(false);
                receipt.unsettled.push(acknowledged);
            }
        }
        if let Some(node) = &mut self.node {
            receipt.unsettled.append(&mut node.tickets.unsettled);
        }
    }

    /// A message has been taken whose Stopped a caller waits for who came before its owner was known, or at another
    /// node.
    pub(super) fn on_awaited(&mut self, now: Instant, conversation: Conversation, awaited: Awaited) {
        let Some(node) = &mut self.node else { return };
        let waiter = if node.fleet.is_self(awaited.by) {
            // Its caller may have gone.
            let Some((_, waiter)) = node.tickets.open.remove(&awaited.ticket.number) else { return };
            waiter
        } else {
            let millis = awaited.ticket.millis;
            let wait = Duration::from_millis(millis.into());
            let until = if millis == Ticket::WITHOUT_END { Instant::NEVER } else { now + wait };
            Waiter { until, answer: Answer::Node(awaited, until.min(now + NODE_WAIT_MAX)) }
        };
        if self.engine.is_settled_off(conversation.as_ref()) {
            let is_sure = !self.is_unsure_of(conversation.as_ref());
            self.answer(conversation.as_ref(), waiter, is_sure);
        } else if self.engine.stop_leaves_after(now, conversation.as_ref()) > waiter.until {
            self.answer(conversation.as_ref(), waiter, false);
        } else {
            self.add_waiter(now, conversation, waiter);
        }
    }

    /// What ends the typing of another node's conversations goes there, though this process stops.
    pub(super) fn pass_on(&mut self, now: Instant, batch: &SignalBatch, wait: Option<Duration>) {
        if self.node.is_none() {
            return;
        }
        for (conversation, signal) in batch.iter() {
            if signal.kind != SignalKind::Keystroke {
                self.takes(now, conversation, signal, batch.credentials(), wait);
            }
        }
        self.settle_ownership(now);
    }

    pub(super) fn answer_waiters(&mut self, conversation: &Conversation, acknowledged: bool) {
        for waiter in self.waiters.remove(conversation).unwrap_or_default() {
            self.answer(conversation.as_ref(), waiter, acknowledged);
        }
    }

    fn answer(&mut self, conversation: ConversationRef<'_>, waiter: Waiter, acknowledged: bool) {
        match waiter.answer {
            // A caller that has gone takes no answer.
            Answer::Caller(answer) => drop(answer.send(acknowledged)),
            Answer::Node(awaited, _) => {
                if let Some(node) = &mut self.node {
                    node.fleet.handle_answered(conversation, awaited, acknowledged);
                }
            }
        }
    }

    pub(super) fn add_waiter(&mut self, now: Instant, conversation: Conversation, waiter: Waiter) {
        if self.waiters.len() >= WAITERS_SWEEP {
            self.waiters.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.is_gone(now));
                !waiters.is_empty()
            });
        }
        self.waiters.entry(conversation).or_default().push(waiter);
    }

    /// Those who wait for this Stopped wait no longer, but those who wait whatever happens.
    pub(super) fn dismiss_waiters_of(&mut self, conversation: &Conversation) {
        let Some(waiters) = self.waiters.get_mut(conversation) else { return };
        let dismissed: Vec<_> = waiters.extract_if(.., |waiter| waiter.until != Instant::NEVER).collect();
        for waiter in dismissed {
            self.answer(conversation.as_ref(), waiter, false);
        }
    }

    /// None waits for a Stopped that can't leave any more in the time for which it waits.
    pub(super) fn dismiss_waiters(&mut self, now: Instant) {
        let Self { engine, waiters, .. } = self;
        let mut dismissed = Vec::new();
        waiters.retain(|conversation, waiters| {
            let leaves_after = engine.stop_leaves_after(now, conversation.as_ref());
            let late = waiters.extract_if(.., |waiter| waiter.until < leaves_after);
            dismissed.extend(late.map(|waiter| (conversation.clone(), waiter)));
            !waiters.is_empty()
        });
        for (conversation, waiter) in dismissed {
            self.answer(conversation.as_ref(), waiter, false);
        }
    }
}
