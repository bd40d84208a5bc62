//! The text of an id, without a block of memory of its own as long as it has a usual length; and the hash of a pair.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::pace::Rng;

/// Bytes of a UUID as text. Most ids are one, so that hashing and comparing them has a way without loops and calls.
const UUID_BYTES: usize = 36;
const UUID_LEN: u8 = UUID_BYTES as u8;
const INLINE_BYTES: usize = UUID_BYTES + 2;

pub(super) struct Id(Text);

enum Text {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<str>),
}

impl Id {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        Self(match bytes.get_mut(..text.len()) {
            Some(begin) => {
                begin.copy_from_slice(text.as_bytes());
                Text::Inline { len: text.len() as u8, bytes }
            }
            None => Text::Heap(text.into()),
        })
    }

    /// Whether it is this text.
    #[inline]
    pub(super) fn is(&self, text: &str) -> bool {
        match &self.0 {
            Text::Inline { len: UUID_LEN, bytes } => {
                match (words(text.as_bytes()), bytes.first_chunk::<UUID_BYTES>()) {
                    (Some(uuid), Some(own)) => words(own) == Some(uuid),
                    _ => false,
                }
            }
            _ => self.is_other(text),
        }
    }

    #[inline(never)]
    fn is_other(&self, text: &str) -> bool {
        self.as_bytes() == text.as_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Text::Heap(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Text::Inline { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).expect("it was a text when it was put in")
            }
            Text::Heap(text) => text,
        }
    }
}

/// How pairs of ids are hashed: keyed, for ids come from outside.
#[derive(Debug)]
pub(crate) struct IdHash {
    state: FixedState,
    /// What is hashed in words has them mixed with this first: the hash function's own constants are known to everybody.
    key: u128,
}

impl IdHash {
    /// `seed` is the key.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng(!seed);
        let key = (u128::from(random.below(u64::MAX)) << 64) | u128::from(random.below(u64::MAX));
        Self { state: FixedState::with_seed(seed), key }
    }

    /// Half of the hash of the ids, which is enough to find them by.
    #[inline]
    pub(super) fn of(&self, to: &str, from: &str) -> u32 {
        (self.whole(to, from) >> 32) as u32
    }

    /// The hash of the ids.
    #[inline]
    pub(crate) fn whole(&self, to: &str, from: &str) -> u64 {
        let (Some(to), Some(from)) = (words(to.as_bytes()), words(from.as_bytes())) else {
            return self.of_others(to, from);
        };
        let mut hasher = self.state.build_hasher();
        for word in [to.0, to.1, from.0, from.1] {
            hasher.write_u128(word ^ self.key);
        }
        hasher.write_u64((u64::from(to.2) << 32) | u64::from(from.2));
        hasher.finish()
    }

    #[inline(never)]
    fn of_others(&self, to: &str, from: &str) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(to.as_bytes());
        hasher.write(from.as_bytes());
        // Two pairs may be one text.
        hasher.write_usize(to.len());
        hasher.finish()
    }
}

/// The bytes of a UUID as numbers.
#[inline]
fn words(text: &[u8]) -> Option<(u128, u128, u32)> {
    let uuid: &[u8; UUID_BYTES] = text.try_into().ok()?;
    let ([first, second], rest) = uuid.as_chunks() else { return None };
    Some((u128::from_le_bytes(*first), u128::from_le_bytes(*second), u32::from_le_bytes(rest.try_into().ok()?)))
}

impl std::fmt::Debug for Id {
    /// Leaves the text out: a debug print is what reaches a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Id(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_whatever_its_length() {
        for text in ["a", "ü", &"x".repeat(INLINE_BYTES), &"ü".repeat(19), &"ü".repeat(20), &"x".repeat(39)] {
            let id = Id::new(text);
            assert_eq!(id.as_str(), text);
            assert!(id.is(text) && !id.is("") && !id.is(&format!("{text}x")));
            assert!(!format!("{id:?}").contains(text));
        }
        assert_eq!(size_of::<Id>(), 40);
    }

    #[test]
    fn each_byte_of_a_uuid_counts() {
        let (uuid, hash) = ("67e55044-10b1-426f-9247-bb680e5fe0c8", IdHash::new(1));
        let id = Id::new(uuid);
        assert!(id.is(uuid) && id.as_str() == uuid);
        let mut hashes = vec![hash.of(uuid, uuid), hash.of(uuid, "u"), hash.of("u", uuid)];
        for place in 0..UUID_BYTES {
            let other = format!("{}x{}", &uuid[..place], &uuid[place + 1..]);
            assert!(!id.is(&other) && !Id::new(&other).is(uuid), "{other}");
            hashes.extend([hash.of(&other, uuid), hash.of(uuid, &other)]);
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count, "of so few none has the hash of another");
        assert_ne!(IdHash::new(2).of(uuid, uuid), hash.of(uuid, uuid), "the hash is keyed");
    }
}
