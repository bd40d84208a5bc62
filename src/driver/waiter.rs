//! One caller that waits until an icon is off, and those whose message has been posted to another node.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::fleet::protocol::{Awaited, Ticket};
use crate::model::{Conversation, ConversationRef, Instant};

/// Awaited conversations before those whose asker has gone are looked for.
pub(super) const WAITERS_SWEEP: usize = 1_024;

/// A caller that waits for a conversation's Stopped.
#[derive(Debug)]
pub(super) struct Waiter {
    /// For so long; [`Instant::NEVER`]: whatever happens.
    pub(super) until: Instant,
    pub(super) answer: Answer,
}

/// What takes whether it was acknowledged.
#[derive(Debug)]
pub(super) enum Answer {
    Caller(oneshot::Sender<bool>),
    /// Another node, which no longer waits from then on.
    Node(Awaited, Instant),
}

impl Waiter {
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        match &self.answer {
            Answer::Caller(answer) => answer.is_closed(),
            Answer::Node(_, until) => *until <= now,
        }
    }
}

/// Callers whose message has been posted, until its owner answers.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    last: u32,
    pub(super) open: HashMap<u32, (Conversation, Waiter)>,
    /// Of the request in hand.
    pub(super) unsettled: Vec<oneshot::Receiver<bool>>,
}

impl Tickets {
    /// A ticket for a caller that waits for so long.
    pub(super) fn next(&mut self, wait: Duration) -> Ticket {
        self.last = self.last.wrapping_add(1);
        let millis = u16::try_from(wait.as_millis()).unwrap_or(Ticket::WITHOUT_END);
        Ticket { number: self.last, millis }
    }

    /// The ticket's answer is awaited; without `posted` it is known: no one takes the message.
    pub(super) fn open(&mut self, number: u32, conversation: ConversationRef<'_>, until: Instant, posted: bool) {
        let (answer, acknowledged) = oneshot::channel();
        self.unsettled.push(acknowledged);
        if !posted {
            let _ = answer.send(false);
            return;
        }
        if self.open.len() >= WAITERS_SWEEP {
            self.open.retain(|_, (_, waiter)| !waiter.is_gone(Instant::ORIGIN));
        }
        self.open.insert(number, (conversation.to_owned(), Waiter { until, answer: Answer::Caller(answer) }));
    }

    /// The conversation has become this node's own: those whose message its former owner has not answered wait here.
    pub(super) fn take(&mut self, conversation: ConversationRef<'_>) -> Vec<Waiter> {
        let taken = self.open.extract_if(|_, (of, _)| of.as_ref() == conversation);
        taken.map(|(_, (_, waiter))| waiter).collect()
    }
}
