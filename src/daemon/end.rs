//! How long the end may take: never longer than the grace, whatever hangs.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::clock;

/// What is kept of the grace for the last answers, when icons or messages take all of it: a tenth, and no more than this.
const LAST_WORDS_MAX: Duration = Duration::from_millis(250);
/// How long after the grace a process that hangs is ended: where the log's reader does not read, for one, no thread of
/// the runtime may get on.
const LAST_RESORT: Duration = Duration::from_millis(500);

/// The bounds of an end that has begun.
pub(super) struct End {
    /// Icons and messages are dealt with until then.
    pub(super) work: Instant,
    /// Everything has ended by then.
    pub(super) all: Instant,
}

impl End {
    /// The end begins, and the process ends with it.
    pub(super) fn begin(grace: Duration) -> Self {
        // No task, for these may all be stuck.
        std::thread::spawn(move || {
            std::thread::sleep(grace + LAST_RESORT);
            std::process::exit(0);
        });
        let work = grace - (grace / 10).min(LAST_WORDS_MAX);
        Self { work: clock::timer_after(work), all: clock::timer_after(grace) }
    }

    /// Nothing but the last words is left to be said.
    pub(super) fn hurry(&mut self) {
        self.all = self.all.min(clock::timer_after(LAST_WORDS_MAX));
    }

    /// What is left of the time for icons and messages.
    pub(super) fn left_for_work(&self) -> Duration {
        self.work.saturating_duration_since(clock::timer_after(Duration::ZERO))
    }
}
