//! What the drop-in has counted since the start (`GET /v1/drop_in`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::snapshot::DropInFigures;

/// Counts since the start. All of them only ever grow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// TypingStartedIndicators that were answered here.
    pub(crate) started_taken: Count,
    /// TypingStoppedIndicators that were answered here.
    pub(crate) stopped_taken: Count,
    /// Typing entries that went on to the upstream, for they lack headers, or in shadow mode.
    pub(crate) typing_passed: Count,
    /// Typing entries that were refused here, for Salesforce has just refused their credentials.
    pub(crate) typing_rejected: Count,
    /// Messages that found an icon that had to go off first.
    pub(crate) settled: Count,
    /// Messages that went on although the icon was perhaps still on: `settle` was over.
    pub(crate) unsettled: Count,
    /// Messages that did not wait, for no Stopped can leave at present.
    pub(crate) unwaited: Count,
    /// Messages and attachments. Each is counted before what became of it, and so is read after that.
    pub(crate) messages: Count,
    /// Interactions that could not be read.
    pub(crate) unread: Count,
    pub(crate) others: Count,
    /// Requests for which there was no answer to pass on.
    pub(crate) unanswered: Count,
    /// Requests that were cut by the end of the process.
    pub(super) cut: Count,
}

impl Tally {
    pub(super) fn figures(&self, overdue: u64, under_way: usize) -> DropInFigures {
        // Each message is counted before what became of it: read in the other order, no part is more than the whole.
        let (settled, unsettled, unwaited) = (self.settled.get(), self.unsettled.get(), self.unwaited.get());
        DropInFigures {
            started_taken: self.started_taken.get(),
            stopped_taken: self.stopped_taken.get(),
            typing_passed: self.typing_passed.get(),
            typing_rejected: self.typing_rejected.get(),
            messages: self.messages.get(),
            settled,
            unsettled,
            unwaited,
            overdue,
            unread: self.unread.get(),
            others: self.others.get(),
            unanswered: self.unanswered.get(),
            cut: self.cut.get(),
            under_way,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    pub(crate) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
