//! The credentials that connectors show, each distinct set once: what Salesforce said of it, and which channels it is shown
//! for. In memory only, and nothing of it is ever printed.
//!
//! A conversation's TypingStarted leaves with the set that its own requests showed, and with no other. An owed
//! TypingStopped may also leave with one that was accepted for its channel, within the same org and authorization context:
//! a connector whose token has expired must not leave its icons on.

mod sets;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::Notify;

use crate::base::clock::Clock;
use crate::model::{CredentialId, Indicator};
use sets::Sets;

/// Sets that are kept. Beyond it the one that was used longest ago goes.
pub const SETS_MAX: usize = 10_000;
/// The values of a set, in bytes; a longer one is not cached. Access tokens have 100 to 2,000 bytes.
pub const SET_BYTES_MAX: usize = 8 * 1024;
/// Channels whose sets are known: as many as an org may have. Beyond it the one that was shown longest ago goes.
pub const CHANNELS_MAX: usize = 2_000;
/// Sets known of one channel: the processes of a connector, each with a token of its own. Beyond it one goes that is not
/// accepted, or the one that was accepted longest ago.
pub const SETS_PER_CHANNEL_MAX: usize = 16;
/// How long a refusal is believed. Then the set is tried again, for a refusal may have been a mistake.
pub const REFUSED_FOR: Duration = Duration::from_secs(30);

/// The org's id.
pub const ORG_ID: HeaderName = HeaderName::from_static("orgid");
/// The developer name of the ConversationChannelDefinition.
pub const AUTHORIZATION_CONTEXT: HeaderName = HeaderName::from_static("authorizationcontext");

/// The headers of a set, in the order of its fields.
static NAMES: [HeaderName; 3] = [header::AUTHORIZATION, ORG_ID, AUTHORIZATION_CONTEXT];

/// The part of an org's id that identifies it: the form of 18 characters adds a checksum.
const ORG_ID_BYTES: usize = 15;

/// What a request to the Interaction Service is authorized with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `Authorization`, marked as sensitive.
    pub authorization: HeaderValue,
    /// `OrgId`.
    pub org_id: HeaderValue,
    /// `AuthorizationContext`.
    pub authorization_context: HeaderValue,
}

impl Credentials {
    /// What a request shows; `None` unless each of the three is there once and not empty, and they keep to
    /// [`SET_BYTES_MAX`]. It holds on to the head that it came in.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut shown = [None; NAMES.len()];
        for (name, value) in headers {
            if let Some(at) = NAMES.iter().position(|own| own == name)
                && (value.as_bytes().trim_ascii().is_empty() || shown[at].replace(value).is_some())
            {
                return None;
            }
        }
        let [Some(authorization), Some(org_id), Some(authorization_context)] = shown else { return None };
        if authorization.len() + org_id.len() + authorization_context.len() > SET_BYTES_MAX {
            return None;
        }
        let mut set = Self {
            authorization: authorization.clone(),
            org_id: org_id.clone(),
            authorization_context: authorization_context.clone(),
        };
        set.authorization.set_sensitive(true);
        Some(set)
    }

    /// The same, which holds on to nothing else.
    fn detached(&self) -> Self {
        let copy = |value: &HeaderValue| {
            let mut copy = HeaderValue::from_bytes(value.as_bytes()).expect("it is the value of a header");
            copy.set_sensitive(value.is_sensitive());
            copy
        };
        let Self { authorization, org_id, authorization_context } = self;
        Self {
            authorization: copy(authorization),
            org_id: copy(org_id),
            authorization_context: copy(authorization_context),
        }
    }

    /// The secret in it, without its scheme: what no log and no answer may repeat.
    pub fn secret(&self) -> &str {
        let text = self.authorization.to_str().unwrap_or_default();
        text.split_once(' ').map_or(text, |(_, secret)| secret.trim())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Whether two ids name the same org, each with 15 or 18 characters.
pub fn same_org(a: &[u8], b: &[u8]) -> bool {
    let decisive = |id: &[u8]| id.len().min(ORG_ID_BYTES);
    a[..decisive(a)] == b[..decisive(b)]
}

/// Why a set is refused, as a caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code of the Interaction Service.
    pub code: i64,
    /// A sentence, bounded and without the secret.
    pub message: Arc<str>,
}

/// A set that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name in the cache.
    pub id: CredentialId,
    /// Why it is refused, as long as that is believed.
    pub rejection: Option<Rejection>,
}

/// What a request may be authorized with if its conversation has no set of its own. Empty: any will do.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    /// The org.
    pub org_id: &'a [u8],
    /// The authorization context.
    pub authorization_context: &'a [u8],
}

/// No set is known that may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoneGood {
    /// When the conversation's own is tried again, if it is refused.
    pub again_after: Option<Duration>,
}

/// The cache. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct CredentialCache(Arc<Shared>);

struct Shared {
    sets: Mutex<Sets>,
    /// Channels have sets that were accepted, and that has not been reported.
    news: Notify,
    clock: Clock,
    refused_for: Duration,
}

impl CredentialCache {
    /// An empty one, which believes a refusal for so long ([`REFUSED_FOR`] but in tests).
    pub fn new(clock: Clock, refused_for: Duration) -> Self {
        Self(Arc::new(Shared { sets: Mutex::default(), news: Notify::new(), clock, refused_for }))
    }

    /// A request for `channel` showed `credentials`.
    pub fn show(&self, channel: &str, credentials: &Credentials) -> Shown {
        let now = self.0.clock.now();
        self.with(|sets| sets.show(now, channel, credentials))
    }

    /// The name of `credentials`, if they are cached.
    pub fn find(&self, credentials: &Credentials) -> Option<CredentialId> {
        self.lock().find(credentials)
    }

    /// A request that showed this set was accepted, whatever was said of it before. `channel` is the request's, if it is
    /// known.
    pub fn accept(&self, id: CredentialId, channel: Option<&str>) {
        self.with(|sets| sets.accept(id, channel));
    }

    /// A request that showed this set was refused (401). It says nothing of any other set.
    pub fn reject(&self, id: CredentialId, code: Option<i64>, message: Option<&str>) {
        let until = self.0.clock.now() + self.0.refused_for;
        self.with(|sets| sets.reject(id, until, code, message));
    }

    /// The set that an indicator of a conversation leaves with, whose newest set is `own`.
    ///
    /// # Errors
    /// When none is known that may be accepted.
    pub fn select(
        &self,
        channel: &str,
        own: Option<CredentialId>,
        indicator: Indicator,
        within: Within<'_>,
    ) -> Result<(CredentialId, Credentials), NoneGood> {
        let now = self.0.clock.now();
        self.lock().select(now, channel, own, indicator, within)
    }

    /// The channels that have got a set that was accepted, and had not before; waits until there are some. To be called
    /// by one task.
    pub async fn acceptances(&self) -> Vec<Box<str>> {
        loop {
            let channels = self.lock().take_news();
            if !channels.is_empty() {
                return channels;
            }
            // What happens between the two is remembered.
            self.0.news.notified().await;
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Sets) -> T) -> T {
        let mut sets = self.lock();
        let result = change(&mut sets);
        if sets.has_news() {
            self.0.news.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialCache(…)")
    }
}
