//! Decisions and what was dropped of them, kept for an observer.

use std::collections::VecDeque;

use super::Engine;
use crate::model::{Decision, Dropped};

/// Kept for an observer that doesn't fetch them.
const OBSERVED_MAX: usize = 100_000;

/// A queue, if it has an observer: without one, nothing is made for it.
#[derive(Debug)]
pub(super) struct Observed<T>(Option<VecDeque<T>>);

impl<T> Observed<T> {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn push(&mut self, item: impl FnOnce() -> T) {
        let Some(queue) = &mut self.0 else { return };
        if queue.len() == OBSERVED_MAX {
            queue.pop_front();
        }
        queue.push_back(item());
    }
}

impl Engine {
    /// Keeps every decision from now on for [`Engine::poll_decision`]; at most 100,000 of them unfetched.
    pub fn observe_decisions(&mut self) {
        self.decisions.0.get_or_insert_default();
    }

    /// The oldest decision that has not been fetched.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.decisions.0.as_mut()?.pop_front()
    }

    /// Keeps what is dropped from now on for [`Engine::poll_dropped`]; at most 100,000 unfetched.
    pub fn observe_dropped(&mut self) {
        self.dropped.0.get_or_insert_default();
    }

    /// The oldest dropped decision that has not been fetched. It has been a [`Decision`] before.
    pub fn poll_dropped(&mut self) -> Option<Dropped> {
        self.dropped.0.as_mut()?.pop_front()
    }
}
