//! Those who observe the loop, and the stream of events that it emits to them.

use crate::driver::delivery_log::DeliveryLog;
use crate::driver::heartbeat::Heartbeat;
use crate::driver::journal_keeper::JournalKeeper;
use crate::model::Instant;
use crate::observe::events::EventLog;
use crate::observe::loop_event::LoopEvent;
use crate::observe::loop_metrics::LoopMetrics;
use crate::observe::recording::Recorder;
use crate::observe::snapshot::RuntimeInfo;
use crate::observe::typing::TypingStats;

/// By default nothing is kept, and no one watches.
pub struct Observers {
    pub(crate) stats: TypingStats,
    pub(crate) delivery_log: DeliveryLog,
    /// What becomes of indicators, kept for a while and shown to watchers.
    pub history: Option<EventLog>,
    pub(crate) journal: Option<JournalKeeper>,
    pub(crate) heartbeat: Heartbeat,
    /// Asks the parts beside the loop for their share of a snapshot. It never waits.
    pub(crate) runtime: Box<dyn Fn() -> RuntimeInfo + Send>,
    pub(crate) metrics: LoopMetrics,
    pub(crate) recorder: Option<Recorder>,
}

impl Default for Observers {
    fn default() -> Self {
        Self {
            stats: TypingStats::new(0),
            delivery_log: DeliveryLog::default(),
            history: None,
            journal: None,
            heartbeat: Heartbeat::default(),
            runtime: Box::new(RuntimeInfo::default),
            metrics: LoopMetrics::default(),
            recorder: None,
        }
    }
}

impl Observers {
    /// Each observer has one line here. The history comes last: it keeps the event.
    #[inline]
    pub(super) fn emit(&mut self, now: Instant, event: LoopEvent<'_>) {
        self.stats.observe(now, &event);
        self.metrics.observe(now, &event);
        self.delivery_log.observe(now, &event);
        if let Some(recorder) = &mut self.recorder {
            recorder.observe(now, &event);
        }
        if let Some(journal) = &mut self.journal {
            journal.observe(&event);
        }
        if let Some(history) = &mut self.history {
            history.observe(now, event);
        }
    }
}
