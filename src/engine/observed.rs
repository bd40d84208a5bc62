//! What the engine has decided, and what came to nothing of it, kept for whoever watches.

use std::collections::VecDeque;

use super::Engine;
use super::outbox::Loss;
use crate::model::{Conversation, Decision, Dropped, Instant};

/// Of each kind kept for an observer that doesn't come to fetch them.
const OBSERVED_MAX: usize = 100_000;

/// Two queues, each only if somebody has asked for it: whoever plays a trace pays for no more than it looks at.
#[derive(Debug, Default)]
pub(super) struct Observed {
    decisions: Option<VecDeque<Decision>>,
    dropped: Option<VecDeque<Dropped>>,
}

impl Observed {
    pub(super) fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        if let Some(decisions) = &mut self.decisions {
            push(decisions, decision());
        }
    }

    pub(super) fn dropped(&mut self, at: Instant, loss: Loss, conversation: impl FnOnce() -> Conversation) {
        if let Some(dropped) = &mut self.dropped {
            let Loss { number, reason, why } = loss;
            push(dropped, Dropped { number, at, conversation: conversation(), reason, why });
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == OBSERVED_MAX {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Engine {
    /// Keeps every decision from now on for [`Engine::poll_decision`]; at most 100,000 of them unfetched.
    pub fn observe_decisions(&mut self) {
        self.observed.decisions.get_or_insert_default();
    }

    /// The oldest decision that has not been fetched yet.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.observed.decisions.as_mut()?.pop_front()
    }

    /// Keeps what is dropped from now on for [`Engine::poll_dropped`]; at most 100,000 unfetched.
    pub fn observe_dropped(&mut self) {
        self.observed.dropped.get_or_insert_default();
    }

    /// What was dropped the longest ago and has not been fetched yet. Its decision came before it.
    pub fn poll_dropped(&mut self) -> Option<Dropped> {
        self.observed.dropped.as_mut()?.pop_front()
    }
}
