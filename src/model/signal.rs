//! What a connector reports about its end users: single signals, and batches of them.

use super::{ConversationRef, CredentialId, Instant};

/// What the connector reports about an end user.
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
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keystroke => "keystroke",
            Self::MessageSent => "message_sent",
            Self::Stopped => "stopped",
            Self::Opened => "opened",
            Self::Ended => "ended",
        }
    }

    /// Whether the user is not typing any more after it.
    pub const fn ends_typing(self) -> bool {
        matches!(self, Self::MessageSent | Self::Stopped | Self::Ended)
    }

    /// The kind of that name.
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
    /// It happened so long before it reaches the engine, in milliseconds. Of a keystroke 0 but where the owner that it was
    /// posted to has died, of others 0 but on their way to another node.
    pub ago_millis: u16,
    /// When it happened by the caller's wall clock, Unix epoch milliseconds, at most [`AT_MILLIS_MAX`]. It only
    /// separates late keystrokes from fresh ones; it drives no timer.
    pub at: Option<u64>,
}

impl Signal {
    /// A signal of that kind without a time of its own, for the moment at which it arrives.
    pub const fn new(kind: SignalKind) -> Self {
        Self { kind, lasts_millis: 0, ago_millis: 0, at: None }
    }

    /// When the typing that it reports ends, if it arrives at `now`.
    pub const fn typing_until(self, now: Instant) -> Instant {
        let until = now.as_micros().saturating_add(self.lasts_millis as u64 * 1_000);
        Instant::from_micros(until.saturating_sub(self.ago_millis as u64 * 1_000))
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
    /// One with room for so many signals, and for so many bytes of their ids.
    pub fn with_room(id_bytes: usize, signals: usize) -> Self {
        Self { ids: String::with_capacity(id_bytes), items: Vec::with_capacity(signals), credentials: None }
    }

    /// Adds a signal at the end.
    pub fn push(&mut self, conversation: ConversationRef<'_>, signal: Signal) {
        let start = u32::try_from(self.ids.len()).expect("a batch is cut long before four gigabytes");
        self.ids.reserve(conversation.to.len() + conversation.from.len());
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
    pub fn with_credentials(self, credentials: Option<CredentialId>) -> Self {
        Self { credentials, ..self }
    }

    /// The credentials of the request that brought it, if they are cached.
    pub const fn credentials(&self) -> Option<CredentialId> {
        self.credentials
    }

    /// The signals in the order they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ConversationRef<'_>, Signal)> + Clone {
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

    /// Forgets the signals, and keeps their memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.items.clear();
        self.credentials = None;
    }

    /// How many bytes the ids have.
    pub const fn id_bytes(&self) -> usize {
        self.ids.len()
    }

    /// How many signals it holds.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_what_was_pushed_in_order() {
        let mut batch = SignalBatch::default();
        let long = "é".repeat(240);
        let signal = |kind| Signal::new(kind);
        let pushed = [("c", "u", SignalKind::Keystroke), (long.as_str(), "ü", SignalKind::Ended)];
        for (to, from, kind) in pushed {
            batch.push(ConversationRef::new(to, from).unwrap(), signal(kind));
        }
        let read: Vec<_> = batch.iter().map(|(c, s)| (c.to(), c.from(), s.kind)).collect();
        assert_eq!(read, pushed);
    }
}
