//! The journal as an observer of the loop: what a crash must not lose, and a new generation when the file has grown or
//! failed.

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::base::clock;
use crate::engine::Engine;
use crate::journal::{Figures, Journal};
use crate::model::{Indicator, Instant};
use crate::observe::loop_event::LoopEvent;

/// A journal that could not be written is tried again this often.
const RENEWAL_SPACING: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct JournalKeeper {
    journal: Journal,
    /// Not before this is a journal that could not be written tried again.
    renew_at: Instant,
    /// The slot up to which the journal's new generation has what is shown.
    renewed_to: u32,
}

impl JournalKeeper {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, renew_at: Instant::ORIGIN, renewed_to: 0 }
    }

    #[inline]
    pub(super) fn observe(&mut self, event: &LoopEvent<'_>) {
        match event {
            LoopEvent::Sent(dispatch) if dispatch.indicator() == Indicator::TypingStarted => {
                self.journal.showing(dispatch.conversation.as_ref(), clock::wall_millis());
            }
            LoopEvent::Answered { dispatch, icon_off: true, .. } => {
                self.journal.gone(dispatch.conversation.as_ref());
            }
            _ => {}
        }
    }

    /// Hands the journal's records to the kernel, and lets it begin anew when it has grown or failed. A journal that
    /// can't be written costs its protection, never the service.
    pub(super) fn write(&mut self, now: Instant, engine: &Engine) {
        let journal = &mut self.journal;
        if let Err(error) = journal.flush() {
            warn!(%error, "the journal can't be written: until it can, a crash may leave icons on");
        }
        let was_degraded = journal.is_degraded();
        let renewed = if journal.is_renewing() {
            let (shown, next) = engine.shown(self.renewed_to);
            let written = journal.renew_some(shown, clock::wall_millis());
            match (written, next) {
                (Ok(()), Some(next)) => {
                    self.renewed_to = next;
                    return;
                }
                (Ok(()), None) => journal.finish_renewal(),
                (Err(error), _) => Err(error),
            }
        } else if journal.wants_renewal() && self.renew_at <= now {
            self.renew_at = now + RENEWAL_SPACING;
            self.renewed_to = 0;
            match journal.begin_renewal() {
                Ok(()) => return,
                Err(error) => Err(error),
            }
        } else {
            return;
        };
        match renewed {
            Ok(()) if was_degraded => info!("the journal is written again"),
            Ok(()) => debug!("the journal has begun a new generation"),
            Err(error) if was_degraded => debug!(%error, "the journal still can't be written"),
            Err(error) => warn!(%error, "the journal can't be renewed: until it can, a crash may leave icons on"),
        }
    }

    /// When [`JournalKeeper::write`] has something to do, whatever happens: the next part of a new generation, or the next
    /// try of one.
    pub(super) fn due(&self) -> Instant {
        match (self.journal.is_renewing(), self.journal.wants_renewal()) {
            (true, _) => Instant::ORIGIN,
            (false, true) => self.renew_at,
            (false, false) => Instant::NEVER,
        }
    }

    pub(super) fn figures(&self) -> Figures {
        self.journal.figures()
    }
}
