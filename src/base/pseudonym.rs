//! Keyed hashes in place of ids, for logs, spans and recordings.

use std::hash::{BuildHasher, Hasher, RandomState};

use uuid::Uuid;

/// SipHash under a key of its own and beginning with a secret of its own, both kept nowhere: no one can try out ids, nor
/// find out whether two values have seen the same ones. Clones give the same names.
#[derive(Clone, Debug)]
pub(crate) struct Pseudonyms {
    key: RandomState,
    /// The standard library's keys within a thread differ from each other by one alone.
    secret: [u8; 16],
}

impl Default for Pseudonyms {
    fn default() -> Self {
        Self { key: RandomState::new(), secret: *Uuid::new_v4().as_bytes() }
    }
}

impl Pseudonyms {
    pub(crate) fn of_channel(&self, to: &str) -> u64 {
        self.of(0, to)
    }

    pub(crate) fn of_end_user(&self, from: &str) -> u64 {
        self.of(1, from)
    }

    /// An end user's name in logs and spans: short, such as `#0a1b2c3d`.
    pub(crate) fn log_name(&self, from: &str) -> String {
        format!("#{:08x}", self.of_end_user(from) >> 32)
    }

    /// The name in logs of a channel of which it is not known whether it is one: it may be an end user's id, where a caller
    /// has swapped the two.
    pub(crate) fn channel_log_name(&self, to: &str) -> String {
        format!("#{:08x}", self.of_channel(to) >> 32)
    }

    /// The same text means another thing in another `field`.
    fn of(&self, field: u8, id: &str) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write(&self.secret);
        hasher.write_u8(field);
        hasher.write(id.as_bytes());
        hasher.finish()
    }
}
