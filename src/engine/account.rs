//! What the engine tells of itself: sizes, counts, news, a conversation explained.

use super::outbox::Acknowledged;
use crate::model::{Instant, Reason};

/// What an operator should hear of once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The upstream refuses the channel for good: its conversations are left alone for `mute_for`.
    ChannelMuted,
    /// The upstream refuses the end user for good: the conversation is left alone for `mute_for`.
    ConversationMuted,
    /// The upstream has failed many times in a row: only probes are sent.
    UpstreamFailing,
    /// The upstream answers again.
    UpstreamBack,
    /// The upstream says that the org's rate is exceeded: fewer requests are sent for a while.
    RateCut,
}

/// Sizes, for gauges and leak tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Conversations in the table, those that linger included.
    pub conversations: usize,
    /// Of these, how many are only remembered.
    pub retained: usize,
    /// Channels in the table.
    pub channels: usize,
    /// Conversations whose icon should be on.
    pub icons: usize,
    /// Conversations that have something to send, or have not told the upstream off yet.
    pub unsettled: usize,
    /// Conversations whose Stopped waits for credentials that are good.
    pub blocked: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Conversations with a request that may leave as soon as the rate lets it: Stoppeds, Starteds for an icon that is
    /// not on, refreshes that have been shed before, other refreshes.
    pub queued: [usize; 4],
    /// Conversations with a deadline.
    pub armed: usize,
}

/// What has happened so far, for metrics. All of them only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signals taken, by their kind in the order of [`SignalKind::ALL`](crate::model::SignalKind::ALL).
    pub signals: [u64; 5],
    /// Keystrokes ignored because a later message had gone out (timing rule 6).
    pub late: u64,
    /// Keystrokes ignored because the session was not open (timing rule 8).
    pub unopened: u64,
    /// Signals not taken because the table was full, or the engine was stopping.
    pub rejected: u64,
    /// TypingStarted decided.
    pub started: u64,
    /// TypingStopped decided.
    pub stopped: u64,
    /// Requests sent, retries included.
    pub sent: u64,
    /// Requests that were a second or later try.
    pub retried: u64,
    /// Requests acknowledged.
    pub delivered: u64,
    /// Requests refused for good.
    pub refused: u64,
    /// Requests that were a defect of typingd by the upstream's word.
    pub malformed: u64,
    /// Starteds that were replaced or expired before they left: shed.
    pub shed: u64,
    /// Stoppeds that were refused, or never acknowledged within their lifespan: their icons may be on.
    pub stops_given_up: u64,
    /// Indicators not sent because their channel or conversation is muted.
    pub muted: u64,
}

/// A conversation explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether the icon should be on.
    pub icon: bool,
    /// What the upstream was last told.
    pub acknowledged: Acknowledged,
    /// What is still to be told.
    pub desired: Option<Reason>,
    /// What is being told.
    pub in_flight: Option<Reason>,
    /// Whether what is still to be told is a Stopped that waits for credentials that are good.
    pub blocked: bool,
    /// The next timer of the typing itself.
    pub due: Instant,
}

impl Snapshot {
    /// Whether the upstream is known to show no icon, and nothing is on its way to change that.
    #[must_use]
    pub fn is_settled_off(&self) -> bool {
        self.acknowledged == Acknowledged::Off && self.in_flight.is_none() && self.desired.is_none()
    }
}
