//! What operators see, at one moment. The loop makes it; metrics, status, health, the service manager and the calls that
//! need the timing in force use it as it is.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::engine::policy::{Delivery, Rules};
use crate::engine::{Census, Counts};
use crate::fleet;
use crate::fleet::protocol::{Differences, OwnerId};
use crate::journal;
use crate::model::{ChannelAddress, Instant};
use crate::observe::loop_metrics::LoopMetrics;
use crate::observe::typing::Figures;

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub at: Instant,
    pub census: Census,
    pub counts: Counts,
    pub metrics: LoopMetrics,
    /// Only for those who ask for it: it costs the loop more than all else.
    pub typing: Option<Figures>,
    /// The timing of channels that have none of their own.
    pub rules: Rules,
    /// That of channels which have their own; only beside [`Snapshot::typing`].
    pub channel_rules: Vec<(ChannelAddress, Rules)>,
    pub delivery: Delivery,
    pub conversations_max: usize,
    /// Requests a second that may leave at present.
    pub rate_in_force: u32,
    /// Why no indicator is delivered at the moment.
    pub not_ready: Option<String>,
    pub journal: Option<journal::Figures>,
    /// Where several typingd share a store.
    pub store: Option<StoreFigures>,
    /// A client records the signals.
    pub recording: bool,
    pub stopping: bool,
    pub runtime: RuntimeInfo,
}

/// What the parts beside the loop report.
#[derive(Clone, Debug, Default)]
pub struct RuntimeInfo {
    /// In Unix epoch milliseconds.
    pub started_at: u64,
    /// The upstream is the daemon's own sandbox.
    pub sandbox: bool,
    pub upstream: String,
    /// Why the upstream has not answered the daemon's first call yet.
    pub unanswered: Option<String>,
    pub listening: Vec<String>,
    /// Lines and items that were to be signals and were none.
    pub malformed: u64,
    /// Icons are to be remembered on disk.
    pub state_dir: bool,
    pub drop_in: Option<DropInFigures>,
    pub token: TokenStatus,
    pub configuration: ConfigurationInfo,
}

/// This typingd as one of several.
#[derive(Clone, Debug)]
pub struct StoreFigures {
    pub state: fleet::State,
    /// The store answered the last request.
    pub up: bool,
    /// Why not.
    pub problem: Option<String>,
    /// The name by which the store knows this one.
    pub node: OwnerId,
    /// Those that share the org have it in the names of their keys.
    pub group: String,
    /// Nodes that are alive, this one included, when the store said so last.
    pub members: usize,
    /// How long ago that was; `None`: never.
    pub answered: Option<Duration>,
    /// Conversations that are this one's.
    pub owned: usize,
    /// Requests a second of the org's that are this one's.
    pub share: u32,
    /// What others have otherwise, and should not.
    pub differs: Differences,
    pub counts: fleet::Counts,
}

/// What has passed through the drop-in. All but the last number only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DropInFigures {
    /// TypingStartedIndicators that were answered here.
    pub started_taken: u64,
    /// TypingStoppedIndicators that were answered here.
    pub stopped_taken: u64,
    /// Typing entries that went on to the upstream.
    pub typing_passed: u64,
    /// Typing entries that were refused here.
    pub typing_rejected: u64,
    /// Messages and attachments.
    pub messages: u64,
    /// Of these, how many found an icon that had to be hidden first.
    pub settled: u64,
    /// Of these, how many went on although the icon was perhaps still on.
    pub unsettled: u64,
    /// Of these, how many did not wait, because no Stopped could leave.
    pub unwaited: u64,
    /// Requests that went on although the one of the same end user before them was not written yet.
    pub overdue: u64,
    /// Interactions that could not be read.
    pub unread: u64,
    pub others: u64,
    /// Requests for which there was no answer to pass on.
    pub unanswered: u64,
    /// Requests that were cut by the end of the process.
    pub cut: u64,
    pub under_way: usize,
}

#[derive(Clone, Debug, Default)]
pub struct TokenStatus {
    pub state: TokenState,
    /// Why there is none.
    pub problem: Option<String>,
    /// Tokens obtained since the start.
    pub obtained: u64,
    /// Fetches that brought none.
    pub failures: u64,
    /// Tokens that Salesforce did not take.
    pub refusals: u64,
    /// How long ago the one in hand was obtained.
    pub age: Option<Duration>,
    /// How long the one in hand is good for; `None` if that is not known.
    pub expires_in: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenState {
    Held,
    #[default]
    Pending,
    Failing,
    /// Connectors show theirs.
    Cached,
}

impl TokenState {
    pub(crate) const ALL: [Self; 4] = [Self::Held, Self::Pending, Self::Failing, Self::Cached];

    /// The name in the status and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Cached => "borrowed",
        }
    }
}

/// The configuration in force, as the status shows it. Moments are Unix epoch milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigurationInfo {
    pub file: Option<PathBuf>,
    pub read_at: u64,
    pub last_reload: Option<Reload>,
    /// When the timing was last changed; at first, when the daemon started.
    #[serde(skip)]
    pub timing_changed_at: u64,
}

impl ConfigurationInfo {
    /// What a daemon starts with at `at`.
    pub(crate) const fn new(file: Option<PathBuf>, at: u64) -> Self {
        Self { file, read_at: at, last_reload: None, timing_changed_at: at }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reload {
    pub at: u64,
    /// Whether what was read is in force; if not, nothing was changed.
    pub ok: bool,
    /// How many keys had changed.
    pub changes: usize,
}

/// Whether icons are remembered over a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalState {
    /// No `state_dir` is configured.
    None,
    Ok,
    Degraded,
}

impl Snapshot {
    pub(crate) fn journal_state(&self) -> JournalState {
        match (self.runtime.state_dir, self.journal) {
            (false, None) => JournalState::None,
            (_, Some(journal)) if !journal.degraded => JournalState::Ok,
            // A directory that could not be used at the start has no journal at all.
            _ => JournalState::Degraded,
        }
    }
}
