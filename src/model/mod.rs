//! The nouns that cross seams: instants, signals, conversations, indicators, dispatches and their outcomes.
//!
//! Plain values without behaviour beyond their own rules. Nothing here can carry message text.

mod conversation;
mod credential;
mod signal;
mod time;

use std::time::Duration;

pub use conversation::{
    CHANNEL_CHARS_MAX, ChannelAddress, Conversation, ConversationRef, IdError, USER_CHARS_MAX, check_id,
};
pub use credential::CredentialId;
pub use signal::{AT_MILLIS_MAX, LASTS_MILLIS_MAX, Signal, SignalBatch, SignalKind};
pub use time::{Instant, micros};

/// What typingd sends to Salesforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Indicator {
    /// The icon goes on, or stays on.
    TypingStarted,
    /// The icon goes off.
    TypingStopped,
}

impl Indicator {
    /// The name in typingd's own formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TypingStarted => "TypingStarted",
            Self::TypingStopped => "TypingStopped",
        }
    }

    /// The `entryType` of the Interaction Service.
    pub const fn entry_type(self) -> &'static str {
        match self {
            Self::TypingStarted => "TypingStartedIndicator",
            Self::TypingStopped => "TypingStoppedIndicator",
        }
    }
}

/// Why an indicator was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Started: the first keystroke after silence.
    FirstKeystroke,
    /// Started: at a check the user was still typing (a refresh).
    Check,
    /// Stopped: no keystroke for `dismiss_after`.
    Idle,
    /// Stopped: `dismiss_after` since the icon was shown.
    Dismissed,
    /// Stopped: the message went out.
    MessageSent,
    /// Stopped: the client reported it.
    Stopped,
    /// Stopped: the session is over.
    Ended,
    /// Stopped: typing went on for `max_typing`.
    MaxTyping,
    /// Stopped: typingd is going down.
    Shutdown,
    /// Stopped: an earlier typingd died with the icon on.
    Recovered,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::FirstKeystroke,
        Self::Check,
        Self::Idle,
        Self::Dismissed,
        Self::MessageSent,
        Self::Stopped,
        Self::Ended,
        Self::MaxTyping,
        Self::Shutdown,
        Self::Recovered,
    ];

    /// The name in typingd's own formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstKeystroke => "first_keystroke",
            Self::Check => "check",
            Self::Idle => "idle",
            Self::Dismissed => "dismissed",
            Self::MessageSent => "message_sent",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::MaxTyping => "max_typing",
            Self::Shutdown => "shutdown",
            Self::Recovered => "recovered",
        }
    }

    /// Whether a signal asked for it, rather than the time.
    pub const fn is_of_signal(self) -> bool {
        matches!(self, Self::FirstKeystroke | Self::MessageSent | Self::Stopped | Self::Ended)
    }

    /// The indicator that this is a reason for.
    pub const fn indicator(self) -> Indicator {
        match self {
            Self::FirstKeystroke | Self::Check => Indicator::TypingStarted,
            _ => Indicator::TypingStopped,
        }
    }
}

/// One decision of the engine, whether or not it is ever sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its number within one life of the engine; the first is 1.
    pub number: u64,
    /// When it fell due.
    pub at: Instant,
    /// Whose icon.
    pub conversation: Conversation,
    /// Why; it names the indicator too.
    pub reason: Reason,
}

/// A decision that came to nothing. Every other one is acknowledged in the end, or in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The number of the decision.
    pub number: u64,
    /// When it was dropped.
    pub at: Instant,
    /// Whose icon.
    pub conversation: Conversation,
    /// Why it was decided; it names the indicator too.
    pub reason: Reason,
    /// Why it was dropped.
    pub why: Why,
}

/// Why a decision came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A newer decision took its place before it was sent, or before it could be tried again.
    Replaced,
    /// Stopped: the upstream is known to show no icon.
    Moot,
    /// Started: it was too old to leave.
    Expired,
    /// Started: the channel or the conversation is muted.
    Muted,
    /// It was rejected, or failed until its lifespan was over. The icon of a Stopped may be left on.
    GivenUp,
}

impl Why {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Replaced, Self::Moot, Self::Expired, Self::Muted, Self::GivenUp];

    /// The name in typingd's own formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Moot => "moot",
            Self::Expired => "expired",
            Self::Muted => "muted",
            Self::GivenUp => "given_up",
        }
    }
}

/// Names one request while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DispatchId {
    /// The conversation's place in the engine's table.
    pub(crate) slot: u32,
    /// That of its decision: tells it from older ones of the same place, if not from an earlier try of the same.
    pub(crate) serial: u64,
}

/// One request that is to leave now.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// To be handed back with the outcome.
    pub id: DispatchId,
    /// Whose icon.
    pub conversation: Conversation,
    /// Why; it names the indicator too.
    pub reason: Reason,
    /// When the indicator was decided: the payload's timestamp. Never decreases within a conversation.
    pub decided: Instant,
    /// Numbers the decision: a retry has the number of what it retries, everything else has a fresh one. Request and
    /// payload ids are made from it.
    pub decision: u64,
    /// 0 for the first try.
    pub attempt: u32,
    /// The newest credentials that a request of the conversation showed.
    pub credentials: Option<CredentialId>,
}

impl Dispatch {
    /// The indicator of its reason.
    pub const fn indicator(&self) -> Indicator {
        self.reason.indicator()
    }
}

/// What became of a request: what a failure is about, and whether the upstream may have applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Delivered,
    /// Certainly not applied, and worth another try.
    NotSent(Transient),
    /// Perhaps applied, and worth another try.
    Unknown(Transient),
    /// Certainly not applied; another try will not succeed.
    Rejected(Rejection),
}

impl Outcome {
    /// The name in typingd's own formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unsure",
            Self::Rejected(_) => "refused",
        }
    }

    /// Why it failed, if another try may succeed.
    pub const fn transient(&self) -> Option<Transient> {
        match self {
            Self::NotSent(transient) | Self::Unknown(transient) => Some(*transient),
            Self::Delivered | Self::Rejected(_) => None,
        }
    }
}

/// Why a request failed that may succeed another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transient {
    /// What the failure is about.
    pub cause: Cause,
    /// `Retry-After` of the upstream.
    pub retry_after: Option<Duration>,
}

/// What a transient failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The token was rejected, or none could be obtained. A fresh one is being fetched.
    Token,
    /// The cached credentials were rejected. Others may be accepted.
    Credentials,
    /// Nothing has left: no cached credentials are known that may be used. `retry_after` is when to look again, if no
    /// others are accepted before.
    NoCredentials,
    /// The org's rate limit.
    RateLimited,
    /// No connection: name resolution, rejection, TLS.
    Unreachable,
    /// The upstream ended the connection, or refused the stream, and says that it has not looked at the request.
    Unprocessed,
    /// No answer in time, or the connection broke after the request had left.
    NoAnswer,
    /// The upstream can't process it at the moment (5xx and its retryable codes).
    Failing,
}

/// What a rejection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// The channel address or its authorization context: every conversation of that channel.
    Channel,
    /// The end user: this conversation alone.
    Conversation,
    /// The request itself: a defect of typingd.
    Request,
    /// The credentials or their scope: the operator's configuration.
    Configuration,
}

/// The result of one request; for operators and metrics, never for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireResult {
    /// What the engine is given.
    pub outcome: Outcome,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Salesforce's error code, if the answer had one.
    pub code: Option<i64>,
    /// For operators: the upstream's message, cut to a bound, or the transport's error.
    pub detail: Option<String>,
    /// From the request's leaving to its answer or failure.
    pub elapsed: Duration,
}

impl WireResult {
    /// Whether anything of the request may have reached the upstream: not without a token or a connection.
    pub const fn has_left(&self) -> bool {
        self.status.is_some() || matches!(self.outcome, Outcome::Unknown(_))
    }
}
