//! How long the end may take: never longer than the grace, whatever hangs.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::os_signals::Signals;
use crate::base::clock;

/// What is kept of the grace for the last answers, when icons or messages take all of it: a tenth, and no more than this.
const LAST_WORDS_MAX: Duration = Duration::from_millis(250);
/// How long after the grace a process that hangs is ended: whatever it hangs in, and with its last lines unwritten where
/// the log's reader does not read.
const LAST_RESORT: Duration = Duration::from_millis(500);

/// Ends the process in time if it is asked to stop by a signal and can't receive it, because the thread that everything
/// runs on is stuck.
pub(super) struct LastResort {
    grace: watch::Sender<Duration>,
}

impl LastResort {
    /// Watches for a signal from now on.
    pub(super) fn watch(grace: Duration) -> io::Result<Self> {
        let (grace, latest) = watch::channel(grace);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = runtime.block_on(async { Signals::new() })?;
        std::thread::spawn(move || {
            runtime.block_on(signals.next_stop());
            let grace = *latest.borrow();
            std::thread::sleep(grace + LAST_RESORT);
            std::process::exit(0);
        });
        Ok(Self { grace })
    }

    /// Another grace is in force.
    pub(super) fn set_grace(&self, grace: Duration) {
        self.grace.send_replace(grace);
    }
}

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
