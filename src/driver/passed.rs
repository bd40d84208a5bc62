//! What goes to the upstream beside the requests of the loop: who carries it counts it, and the loop looks at each turn.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Passed {
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// The longest pause that the upstream has asked for since the last look, in milliseconds; 0: none.
    pause_millis: AtomicU64,
}

/// What the loop has not looked at yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) in_flight: usize,
    /// Since the last look.
    pub(super) answered: usize,
    /// The upstream has refused one for there are too many.
    pub(super) pause: Option<Duration>,
}

impl Passed {
    /// `answered_before` is the count of the last look, and becomes that of this one.
    pub(super) fn look(&self, answered_before: &mut usize) -> Look {
        // In this order: none is answered before it has begun.
        let answered = self.answered.load(Ordering::Acquire);
        let in_flight = self.begun.load(Ordering::Relaxed).wrapping_sub(answered);
        let since = answered.wrapping_sub(std::mem::replace(answered_before, answered));
        let pause = match self.pause_millis.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(Duration::from_millis(self.pause_millis.swap(0, Ordering::Relaxed))),
        };
        Look { in_flight, answered: since, pause }
    }

    pub(super) fn begin(&self) -> Passing<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Passing(self)
    }
}

/// A request that passes. It counts as without an answer until it is dropped.
#[derive(Debug)]
pub struct Passing<'a>(&'a Passed);

impl Passing<'_> {
    /// The upstream has refused it, for there are too many, and asks for a pause.
    pub fn refused(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.0.pause_millis.fetch_max(millis.max(1), Ordering::Relaxed);
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_tells_what_is_new() {
        let (passed, mut before) = (Passed::default(), 0);
        let look = |in_flight, answered, pause: Option<u64>| Look {
            in_flight,
            answered,
            pause: pause.map(Duration::from_millis),
        };
        assert_eq!(passed.look(&mut before), look(0, 0, None));
        let (one, two) = (passed.begin(), passed.begin());
        assert_eq!(passed.look(&mut before), look(2, 0, None));
        drop(one);
        drop(passed.begin());
        assert_eq!(passed.look(&mut before), look(1, 2, None));
        for millis in [3_000, 500] {
            two.refused(Duration::from_millis(millis));
        }
        assert_eq!(passed.look(&mut before), look(1, 0, Some(3_000)), "the longer one");
        drop(two);
        assert_eq!(passed.look(&mut before), look(0, 1, None));
    }
}
