//! What goes to the upstream beside the requests of the loop: who carries it counts it, and the loop looks at each turn.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What the loop has not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Passed {
    count: AtomicUsize,
    /// The longest pause that the upstream has asked for, in milliseconds; 0: none.
    pause_millis: AtomicU64,
}

impl Passed {
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The upstream has refused one, for there are too many, and asks for a pause.
    pub(super) fn pause(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause_millis.fetch_max(millis.max(1), Ordering::Relaxed);
    }

    /// How many have passed since the last call, and the pause that was asked for.
    pub(super) fn take(&self) -> (usize, Option<Duration>) {
        // As a rule there is nothing, and to read takes less than to write.
        let count = match self.count.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.count.swap(0, Ordering::Relaxed),
        };
        let pause = match self.pause_millis.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(Duration::from_millis(self.pause_millis.swap(0, Ordering::Relaxed))),
        };
        (count, pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_tells_what_is_new() {
        let passed = Passed::default();
        assert_eq!(passed.take(), (0, None));
        passed.add();
        passed.add();
        for millis in [3_000, 500] {
            passed.pause(Duration::from_millis(millis));
        }
        assert_eq!(passed.take(), (2, Some(Duration::from_secs(3))), "the longer pause");
        passed.add();
        assert_eq!([passed.take(), passed.take()], [(1, None), (0, None)]);
    }
}
