//! Decisions and what was dropped of them, kept for an observer.

use std::collections::VecDeque;

use super::Engine;
use crate::model::{Decision, Dropped};

/// Kept for an observer that doesn't fetch them.
const OBSERVED_MAX: usize = 100_000;

/// Room that an empty queue keeps: what one turn of the loop usually decides.
const KEPT: usize = 1_024;

/// A queue, if it has an observer: without one, nothing is made for it.
#[derive(Debug)]
pub(super) struct Observed<T>(Option<VecDeque<T>>);

impl<T> Default for Observed<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> Observed<T> {
    pub(super) const NONE: Self = Self(None);

    pub(super) const fn new() -> Self {
        Self(Some(VecDeque::new()))
    }

    pub(super) const fn is_observed(&self) -> bool {
        self.0.is_some()
    }

    /// Adds an item; the oldest gives way where [`OBSERVED_MAX`] have not been fetched.
    pub(super) fn push(&mut self, item: impl FnOnce() -> T) {
        if self.0.as_ref().is_some_and(|queue| queue.len() == OBSERVED_MAX) {
            self.pop();
        }
        self.push_all(item);
    }

    /// Adds an item, of which none may be lost.
    pub(super) fn push_all(&mut self, item: impl FnOnce() -> T) {
        if let Some(queue) = &mut self.0 {
            queue.push_back(item());
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(VecDeque::is_empty)
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let queue = self.0.as_mut()?;
        let item = queue.pop_front();
        if queue.is_empty() && queue.capacity() > KEPT {
            *queue = VecDeque::new();
        }
        item
    }
}

impl Engine {
    /// Keeps every decision from now on for [`Engine::poll_decision`]; at most 100,000 of them unfetched.
    pub fn observe_decisions(&mut self) {
        self.decisions.0.get_or_insert_default();
    }

    /// The oldest decision that has not been fetched.
    #[inline]
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.decisions.pop()
    }

    /// Whether there is something for [`Engine::poll_decision`] or [`Engine::poll_dropped`].
    #[inline]
    pub fn has_decided(&self) -> bool {
        !self.decisions.is_empty() || !self.dropped.is_empty()
    }

    /// Keeps what is dropped from now on for [`Engine::poll_dropped`]; at most 100,000 unfetched.
    pub fn observe_dropped(&mut self) {
        self.dropped.0.get_or_insert_default();
    }

    /// The oldest dropped decision that has not been fetched. It has been a [`Decision`] before.
    #[inline]
    pub fn poll_dropped(&mut self) -> Option<Dropped> {
        self.dropped.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_crowd_goes_when_all_is_fetched() {
        let mut observed = Observed::new();
        for number in 0..50_000 {
            observed.push(|| number);
        }
        for number in 0..50_000 {
            assert_eq!(observed.pop(), Some(number));
        }
        assert_eq!(observed.pop(), None);
        assert_eq!(observed.0.map(|queue| queue.capacity()), Some(0));
    }
}
