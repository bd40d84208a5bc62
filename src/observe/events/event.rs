//! What can happen to a conversation and to its indicators.

use std::time::Duration;

use crate::engine::Handled;
use crate::model::{Conversation, Instant, Outcome, Reason, SignalKind, Why};

/// Keystrokes of one conversation that are ignored for the same reason are one event in this time.
pub const IGNORED_SPACING: Duration = Duration::from_secs(1);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// Whose icon.
    pub conversation: Conversation,
    /// How long the signal that led to a decision had waited for its turn; zero where none did, and with all else.
    pub waited: Duration,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A signal came, other than a keystroke.
    Signal(SignalKind),
    /// A keystroke came that does not count, and why. Of several within [`IGNORED_SPACING`] the first is kept.
    Ignored(Handled),
    /// An indicator was decided.
    Decided(Subject),
    /// A request with it has come to its end.
    Answered(Subject, Box<Verdict>),
    /// It came to nothing.
    Dropped(Subject, Why),
}

/// Which indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The number of the decision, within one life of the engine. A retry has that of what it retries.
    pub number: u64,
    /// Why it was decided; it names the indicator too.
    pub reason: Reason,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// 0 for the first try.
    pub attempt: u32,
    /// As the engine got it.
    pub outcome: Outcome,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Salesforce's error code, if the answer had one.
    pub code: Option<i64>,
    /// What the upstream or the transport said, cut to a bound.
    pub detail: Option<Box<str>>,
    /// From the request's leaving to its end.
    pub round_trip: Duration,
    /// From the decision to the request's end.
    pub since_decided: Duration,
}
