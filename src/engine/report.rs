//! What the engine reports: what became of a signal, sizes, counts, notices.

/// What became of a signal that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It counts.
    Accepted,
    /// A keystroke from before a message that has been sent (timing rule 6): ignored.
    Late,
    /// A keystroke of a session that is not open (timing rule 8): ignored.
    Unopened,
}

impl Handled {
    /// Why the signal was ignored, in one word of typingd's own formats; `None` if it counts.
    pub const fn ignored(self) -> Option<&'static str> {
        match self {
            Self::Accepted => None,
            Self::Late => Some("late"),
            Self::Unopened => Some("unopened"),
        }
    }
}

/// Why a signal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The table holds as many conversations as it may, all of them active.
    TableFull,
    /// The engine is shutting down.
    Stopping,
}

/// A transition that an operator should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The upstream rejects the channel permanently: its conversations are left alone for `mute_for`.
    ChannelMuted,
    /// The upstream rejects the end user permanently: the conversation is left alone for `mute_for`.
    ConversationMuted,
    /// The upstream has failed many times in a row: only probes are sent.
    UpstreamFailing,
    /// The upstream works again.
    UpstreamBack,
    /// The upstream limits the rate: fewer requests are sent for a while.
    RateCut,
}

/// Sizes, for gauges and leak tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Conversations in the table, retained ones included.
    pub conversations: usize,
    /// Conversations that are only remembered.
    pub retained: usize,
    /// Channels in the table.
    pub channels: usize,
    /// Conversations whose icon should be on.
    pub icons: usize,
    /// Conversations that have something to send, or whose icon the upstream may show.
    pub unsettled: usize,
    /// Conversations whose Stopped waits for credentials.
    pub blocked: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Conversations with a request that may leave as soon as the rate lets it: Stoppeds, Starteds for an icon that is
    /// not on, refreshes after a shed one, other refreshes.
    pub queued: [usize; 4],
    /// Conversations with a deadline.
    pub armed: usize,
}

/// Counts since the start, for metrics. They only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signals taken, by their kind in the order of [`SignalKind::ALL`](crate::model::SignalKind::ALL).
    pub signals: [u64; 5],
    /// Signals that were [`Handled::Late`].
    pub late: u64,
    /// Signals that were [`Handled::Unopened`].
    pub unopened: u64,
    /// Requests sent, retries included.
    pub sent: u64,
    /// Requests that were a second or later try.
    pub retried: u64,
    /// Requests acknowledged.
    pub delivered: u64,
    /// Requests that the upstream called malformed: a defect of typingd.
    pub malformed: u64,
    /// Starteds that were replaced or expired before they left.
    pub shed: u64,
    /// Stoppeds that were rejected, or never acknowledged within their lifespan: their icons may be on.
    pub stops_given_up: u64,
    /// Indicators not sent because their channel or conversation is muted.
    pub muted: u64,
}
