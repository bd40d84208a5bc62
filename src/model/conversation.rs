//! Conversations and the ids that name them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest channel address identifier, in characters. Salesforce allows no more.
pub const CHANNEL_CHARS_MAX: usize = 240;
/// The longest end-user client identifier, in characters. Salesforce's manual says 240, and its OpenAPI description allows
/// an interaction 255: what a connector may send must be kept apart.
pub const USER_CHARS_MAX: usize = 255;

/// Why a text can't be a channel address or an end user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError {
    /// Its length: zero, or more than `chars_max`.
    pub chars: usize,
    /// The most that it may have.
    pub chars_max: usize,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { chars: 0, chars_max } => write!(f, "is empty; expected 1 to {chars_max} characters"),
            Self { chars, chars_max } => write!(f, "has {chars} characters; expected 1 to {chars_max}"),
        }
    }
}

impl std::error::Error for IdError {}

/// Whether `text` has 1 to `chars_max` characters.
///
/// # Errors
/// When it has not.
#[inline]
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
    /// When `text` is not 1 to [`CHANNEL_CHARS_MAX`] characters long.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_id(text, CHANNEL_CHARS_MAX)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
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

/// A conversation, borrowed: the pair of a channel address (`to`) of 1 to [`CHANNEL_CHARS_MAX`] characters and an end user
/// (`from`) of 1 to [`USER_CHARS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationRef<'a> {
    pub(super) to: &'a str,
    pub(super) from: &'a str,
}

impl<'a> ConversationRef<'a> {
    /// # Errors
    /// Names the field (`to` or `from`) that is empty or too long.
    pub fn new(to: &'a str, from: &'a str) -> Result<Self, (&'static str, IdError)> {
        check_id(to, CHANNEL_CHARS_MAX).map_err(|e| ("to", e))?;
        check_id(from, USER_CHARS_MAX).map_err(|e| ("from", e))?;
        Ok(Self { to, from })
    }

    /// The channel address identifier.
    pub fn to(self) -> &'a str {
        self.to
    }

    /// The end-user client identifier.
    pub fn from(self) -> &'a str {
        self.from
    }

    /// The same conversation, owned.
    pub fn to_owned(self) -> Conversation {
        let mut ids = String::with_capacity(self.to.len() + self.from.len());
        ids.push_str(self.to);
        ids.push_str(self.from);
        Conversation { ids: ids.into(), to_bytes: self.to.len() as u16 }
    }
}

impl fmt::Debug for ConversationRef<'_> {
    /// Leaves the end user out: a debug print is what reaches a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationRef({}, …)", self.to)
    }
}

/// A conversation, owned. Made from a [`ConversationRef`], so that it is always valid. Clones share the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Both, one behind the other: thousands are kept.
    ids: Arc<str>,
    to_bytes: u16,
}

impl Conversation {
    /// The same conversation, borrowed.
    pub fn as_ref(&self) -> ConversationRef<'_> {
        let (to, from) = self.ids.split_at(self.to_bytes.into());
        ConversationRef { to, from }
    }

    /// The channel address identifier.
    pub fn to(&self) -> &str {
        self.as_ref().to
    }

    /// The end-user client identifier.
    pub fn from(&self) -> &str {
        self.as_ref().from
    }
}

impl Hash for Conversation {
    /// As that of the borrowed one, so that tables can be asked with either.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl PartialOrd for Conversation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Conversation {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn an_id_has_a_bound_in_characters_whatever_their_bytes() {
        let wrong = |field, chars, chars_max| Err((field, IdError { chars, chars_max }));
        for (text, to, from) in [
            (String::new(), wrong("to", 0, 240), wrong("from", 0, 255)),
            ("x".into(), Ok(()), Ok(())),
            ("é".repeat(240), Ok(()), Ok(())),
            ("x".repeat(241), wrong("to", 241, 240), Ok(())),
            ("é".repeat(241), wrong("to", 241, 240), Ok(())),
            ("é".repeat(255), wrong("to", 255, 240), Ok(())),
            ("é".repeat(256), wrong("to", 256, 240), wrong("from", 256, 255)),
        ] {
            assert_eq!(ConversationRef::new(&text, "u").map(|_| ()), to, "{} bytes", text.len());
            assert_eq!(ConversationRef::new("c", &text).map(|_| ()), from, "{} bytes", text.len());
            assert_eq!(ChannelAddress::new(&text).is_ok(), to.is_ok(), "{} bytes", text.len());
        }
    }

    #[test]
    fn where_one_id_ends_and_the_other_begins_makes_a_difference() {
        let of = |to, from| ConversationRef::new(to, from).unwrap().to_owned();
        let all = [of("a", "bc"), of("ab", "c"), of("ab", "d"), of("b", "a")];
        assert_eq!(
            all.each_ref().map(|one| (one.to(), one.from())),
            [("a", "bc"), ("ab", "c"), ("ab", "d"), ("b", "a")]
        );
        let hash = RandomState::new();
        assert!(
            all.iter().all(|one| hash.hash_one(one) == hash.hash_one(one.as_ref())),
            "tables are asked with either"
        );
        assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]));
        let longest = of(&"\u{1F5E8}".repeat(CHANNEL_CHARS_MAX), &"\u{1F5E8}".repeat(USER_CHARS_MAX));
        assert_eq!((longest.to().chars().count(), longest.from().chars().count()), (CHANNEL_CHARS_MAX, USER_CHARS_MAX));
    }

    #[test]
    fn a_debug_print_leaves_the_end_user_out() {
        let conversation = ConversationRef::new("channel", "secret-user").unwrap().to_owned();
        assert!(!format!("{conversation:?}").contains("secret"));
    }
}
