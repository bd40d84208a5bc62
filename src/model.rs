//! The nouns that cross seams: instants, signals, conversations, indicators, dispatches and their outcomes.
//!
//! Plain values without behaviour beyond their own rules. Nothing here can carry message text.

mod credential;

use std::fmt;
use std::ops::Add;
use std::time::Duration;

pub use credential::CredentialId;

/// A moment on the monotonic clock, in microseconds since an origin that the clock's owner chose.
///
/// The daemon's origin is its start (`clock.rs`), a trace's is its first line. Eight bytes instead of sixteen, and
/// constructible, which is what lets the same machine run in real and in virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ORIGIN: Self = Self(0);
    /// Later than every moment that occurs: the deadline of what has none.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the origin; saturates.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The moment `span` before this one; the origin, if that is later.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::NEVER`].
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

/// A duration in whole microseconds; saturates.
#[must_use]
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The longest channel address identifier and end-user client identifier, in characters. Salesforce's manual says 240,
/// and its OpenAPI description allows an interaction's `from` 255: what a connector may send must be kept apart.
pub const ID_CHARS_MAX: usize = 255;

/// Why a text can't be a channel address or an end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError {
    /// How many characters it has; none, or more than `chars_max`.
    pub chars: usize,
    /// How many would be right at most.
    pub chars_max: usize,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { chars: 0, chars_max } => write!(f, "is empty; 1 to {chars_max} characters are right"),
            Self { chars, chars_max } => write!(f, "has {chars} characters; 1 to {chars_max} are right"),
        }
    }
}

impl std::error::Error for IdError {}

/// Whether `text` has 1 to `chars_max` characters.
///
/// # Errors
/// When it has not.
pub fn check_id(text: &str, chars_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError { chars: 0, chars_max });
    }
    // A text of no more bytes has no more characters, so that the count is needed for few.
    if text.len() > chars_max {
        let chars = text.chars().count();
        if chars > chars_max {
            return Err(IdError { chars, chars_max });
        }
    }
    Ok(())
}

/// `to`: the identifier of a messaging channel's address (MessagingChannel.ChannelAddressIdentifier).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelAddress(Box<str>);

impl ChannelAddress {
    /// # Errors
    /// When `text` is not 1 to [`ID_CHARS_MAX`] characters long.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_id(text, ID_CHARS_MAX)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ChannelAddress {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A conversation, borrowed: the pair of a channel address (`to`) and an end user (`from`), each 1 to [`ID_CHARS_MAX`]
/// characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConversationRef<'a> {
    to: &'a str,
    from: &'a str,
}

impl<'a> ConversationRef<'a> {
    /// # Errors
    /// Names the field (`to` or `from`) that is empty or too long.
    pub fn new(to: &'a str, from: &'a str) -> Result<Self, (&'static str, IdError)> {
        check_id(to, ID_CHARS_MAX).map_err(|e| ("to", e))?;
        check_id(from, ID_CHARS_MAX).map_err(|e| ("from", e))?;
        Ok(Self { to, from })
    }

    /// The channel address identifier.
    #[must_use]
    pub fn to(self) -> &'a str {
        self.to
    }

    /// The end-user client identifier.
    #[must_use]
    pub fn from(self) -> &'a str {
        self.from
    }

    /// The same conversation, owned.
    #[must_use]
    pub fn to_owned(self) -> Conversation {
        Conversation { to: self.to.into(), from: self.from.into() }
    }
}

impl fmt::Debug for ConversationRef<'_> {
    /// Leaves the end user out: a debug print is what reaches a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationRef({}, …)", self.to)
    }
}

/// A conversation, owned. Made from a [`ConversationRef`], so that it is always valid.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conversation {
    to: Box<str>,
    from: Box<str>,
}

impl Conversation {
    /// The same conversation, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ConversationRef<'_> {
        ConversationRef { to: &self.to, from: &self.from }
    }

    /// The channel address identifier.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The end-user client identifier.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// What the connector says about an end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalKind {
    /// A key was pressed.
    Keystroke,
    /// The user's message has gone out.
    MessageSent,
    /// The user cleared the box or left it.
    Stopped,
    /// The messaging session exists.
    Opened,
    /// The session is over; forget it.
    Ended,
}

impl SignalKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Keystroke, Self::MessageSent, Self::Stopped, Self::Opened, Self::Ended];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keystroke => "keystroke",
            Self::MessageSent => "message_sent",
            Self::Stopped => "stopped",
            Self::Opened => "opened",
            Self::Ended => "ended",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The latest `at`: the end of the year 9999, in milliseconds since the Unix epoch. Beyond it a caller has most likely
/// sent microseconds.
pub const AT_MILLIS_MAX: u64 = 253_402_300_799_999;

/// The longest `lasts` of a keystroke, in milliseconds.
pub const LASTS_MILLIS_MAX: u16 = 60_000;

/// One signal, without its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What happened.
    pub kind: SignalKind,
    /// Of a keystroke: the typing goes on for so long after it, in milliseconds, at most [`LASTS_MILLIS_MAX`]. It comes
    /// from a channel that reports typing once in a while. 0: the moment of the key.
    pub lasts_millis: u16,
    /// When it happened by the caller's wall clock, Unix epoch milliseconds, at most [`AT_MILLIS_MAX`]. It only ever
    /// tells a late keystroke from a fresh one; it drives no timer.
    pub at: Option<u64>,
}

impl Signal {
    /// A signal of that kind without a time of its own, for the moment at which it arrives.
    #[must_use]
    pub const fn new(kind: SignalKind) -> Self {
        Self { kind, lasts_millis: 0, at: None }
    }

    /// When the typing that it reports ends, if it arrives at `now`.
    #[must_use]
    pub const fn typing_until(self, now: Instant) -> Instant {
        Instant(now.0.saturating_add(self.lasts_millis as u64 * 1_000))
    }
}

/// Signals on their way from an edge to the driver: one allocation for the ids of all of them.
#[derive(Debug, Default)]
pub struct SignalBatch {
    ids: String,
    items: Vec<BatchItem>,
    credentials: Option<CredentialId>,
}

#[derive(Clone, Copy, Debug)]
struct BatchItem {
    start: u32,
    to_bytes: u16,
    from_bytes: u16,
    signal: Signal,
}

impl SignalBatch {
    /// Adds a signal at the end.
    pub fn push(&mut self, conversation: ConversationRef<'_>, signal: Signal) {
        let start = u32::try_from(self.ids.len()).expect("a batch is cut long before four gigabytes");
        self.ids.push_str(conversation.to);
        self.ids.push_str(conversation.from);
        let bytes = |text: &str| u16::try_from(text.len()).expect("255 characters are at most 1,020 bytes");
        self.items.push(BatchItem {
            start,
            to_bytes: bytes(conversation.to),
            from_bytes: bytes(conversation.from),
            signal,
        });
    }

    /// The request that brought it showed these credentials.
    #[must_use]
    pub fn with_credentials(self, credentials: Option<CredentialId>) -> Self {
        Self { credentials, ..self }
    }

    /// The credentials of the request that brought it, if they are cached.
    #[must_use]
    pub const fn credentials(&self) -> Option<CredentialId> {
        self.credentials
    }

    /// The signals in the order they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ConversationRef<'_>, Signal)> {
        self.items.iter().map(|item| self.item(item))
    }

    /// The same signals in batches of at most `signals_max`.
    pub fn parts(&self, signals_max: usize) -> impl Iterator<Item = Self> {
        self.items.chunks(signals_max).map(|items| {
            let mut part = Self::default().with_credentials(self.credentials);
            for item in items {
                let (conversation, signal) = self.item(item);
                part.push(conversation, signal);
            }
            part
        })
    }

    fn item(&self, item: &BatchItem) -> (ConversationRef<'_>, Signal) {
        let to_end = item.start as usize + usize::from(item.to_bytes);
        let from_end = to_end + usize::from(item.from_bytes);
        let conversation =
            ConversationRef { to: &self.ids[item.start as usize..to_end], from: &self.ids[to_end..from_end] };
        (conversation, item.signal)
    }

    /// How many signals it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// What typingd tells Salesforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Indicator {
    /// The icon goes on, or stays on.
    TypingStarted,
    /// The icon goes off.
    TypingStopped,
}

impl Indicator {
    /// The name in typingd's own formats.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TypingStarted => "TypingStarted",
            Self::TypingStopped => "TypingStopped",
        }
    }

    /// The `entryType` of the Interaction Service.
    #[must_use]
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
    /// Stopped: the client said so.
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
    #[must_use]
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

    /// The indicator that this is a reason for.
    #[must_use]
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

/// A decision that came to nothing. Every other one is acknowledged in the end, or under way.
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
    /// Stopped: the far side is known to show no icon.
    Moot,
    /// Started: it was too old to leave.
    Expired,
    /// Started: the channel or the conversation is muted.
    Muted,
    /// It was refused, or failed until its time was over. The icon of a Stopped may be left on.
    GivenUp,
}

impl Why {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Replaced, Self::Moot, Self::Expired, Self::Muted, Self::GivenUp];

    /// The name in typingd's own formats.
    #[must_use]
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
    /// Tells this request from an older one of the same place.
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
    /// What is to be told.
    #[must_use]
    pub const fn indicator(&self) -> Indicator {
        self.reason.indicator()
    }
}

/// What became of a request: whose fault a failure was, and whether the far side may have acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Delivered,
    /// Certainly not applied, and worth another try.
    NotSent(Setback),
    /// Perhaps applied, and worth another try.
    Unsure(Setback),
    /// Certainly not applied, and never will be.
    Refused(Refusal),
}

impl Outcome {
    /// The name in typingd's own formats.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotSent(_) => "not_sent",
            Self::Unsure(_) => "unsure",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a request failed that may succeed another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setback {
    /// What stood in the way.
    pub cause: Cause,
    /// How long the far side asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// What stood in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The token was not taken, or none could be had. A fresh one is being fetched.
    Token,
    /// The cached credentials were refused. Others may be taken.
    Credentials,
    /// Nothing has left: no cached credentials are known that may be taken. `retry_after` is when to look again, if no
    /// others are accepted before.
    NoCredentials,
    /// The org's rate limit.
    RateLimited,
    /// No connection: name resolution, refusal, TLS.
    Unreachable,
    /// No answer in time, or the connection broke after the request had left.
    NoAnswer,
    /// The far side said that it can't at the moment (5xx and its retryable codes).
    Failing,
}

/// Whom a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The channel address or its authorization context: every conversation of that channel.
    Channel,
    /// The end user: this conversation alone.
    Conversation,
    /// The request itself: a defect of typingd.
    Request,
    /// The credentials or their scope: the operator's configuration.
    Configuration,
}

/// What the wire said to one request; for people and metrics, never for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireResult {
    /// What the engine is told.
    pub outcome: Outcome,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Salesforce's error code, if the answer had one.
    pub code: Option<i64>,
    /// What a person would want to read: the far side's message, cut to a bound, or the transport's error.
    pub detail: Option<String>,
    /// From the request's leaving to its answer or failure.
    pub elapsed: Duration,
}

impl WireResult {
    /// Whether anything of the request may have reached the far side: not without a token or a connection.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.status.is_some() || matches!(self.outcome, Outcome::Unsure(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_to_255_characters_whatever_their_bytes() {
        let wrong = |field, chars| Err((field, IdError { chars, chars_max: 255 }));
        for (text, result) in [
            (String::new(), wrong("to", 0)),
            ("x".into(), Ok(())),
            ("x".repeat(255), Ok(())),
            ("é".repeat(255), Ok(())),
            ("x".repeat(256), wrong("to", 256)),
            ("é".repeat(256), wrong("to", 256)),
        ] {
            assert_eq!(ConversationRef::new(&text, "u").map(|_| ()), result, "{} bytes", text.len());
        }
        assert_eq!(ConversationRef::new("c", "").map(|_| ()), wrong("from", 0));
    }

    #[test]
    fn a_batch_gives_back_what_was_pushed_in_order() {
        let mut batch = SignalBatch::default();
        let long = "é".repeat(255);
        let signal = |kind| Signal::new(kind);
        let pushed = [("c", "u", SignalKind::Keystroke), (long.as_str(), "ü", SignalKind::Ended)];
        for (to, from, kind) in pushed {
            batch.push(ConversationRef::new(to, from).unwrap(), signal(kind));
        }
        let read: Vec<_> = batch.iter().map(|(c, s)| (c.to(), c.from(), s.kind)).collect();
        assert_eq!(read, pushed);
    }

    #[test]
    fn a_debug_print_leaves_the_end_user_out() {
        let conversation = ConversationRef::new("channel", "secret-user").unwrap().to_owned();
        assert!(!format!("{conversation:?}").contains("secret"));
    }
}
