//! The name of cached credentials. Only the cache knows what it names.

use std::num::NonZeroU32;

/// Names the credentials that a request showed, while they are cached. Opaque to all but the cache: the engine carries
/// the newest of each conversation and hands it out with what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialId(NonZeroU32);

impl CredentialId {
    /// The id of this number.
    pub const fn new(number: NonZeroU32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}
