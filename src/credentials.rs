//! The credentials that connectors have shown, the newest of each channel: in memory only, never printed.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Channels whose credentials are kept: as many as an org may have. Beyond it the one that was shown longest ago goes.
const CHANNELS_MAX: usize = 2_000;

/// The org's id.
pub const ORG_ID: HeaderName = HeaderName::from_static("orgid");
/// The developer name of the ConversationChannelDefinition.
pub const AUTHORIZATION_CONTEXT: HeaderName = HeaderName::from_static("authorizationcontext");

/// What a request to the Interaction Service is authorized with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `Authorization`, marked as sensitive.
    pub authorization: HeaderValue,
    /// `OrgId`.
    pub org_id: HeaderValue,
    /// `AuthorizationContext`.
    pub authorization_context: HeaderValue,
}

impl Credentials {
    /// What a request shows; `None` unless each of the three stands there once and is not empty.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let one = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().filter(|value| !value.as_bytes().trim_ascii().is_empty())?;
            // Copied: the original holds on to the whole head that it came in.
            values.next().is_none().then(|| HeaderValue::from_bytes(value.as_bytes()).ok())?
        };
        let mut authorization = one(header::AUTHORIZATION)?;
        authorization.set_sensitive(true);
        Some(Self { authorization, org_id: one(ORG_ID)?, authorization_context: one(AUTHORIZATION_CONTEXT)? })
    }

    /// The secret in it, without its scheme: what no log and no answer may repeat.
    #[must_use]
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

/// Whether credentials are worth anything, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are taken, or have not been tried.
    Good,
    /// The far side has refused just these.
    Refused,
}

/// The newest credentials of each channel. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct CredentialCache(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    channels: Mutex<Channels>,
    /// Keyed at random: of refused credentials only a hash is kept.
    hash: RandomState,
}

#[derive(Default)]
struct Channels {
    by_name: HashMap<Box<str>, Channel>,
    shown: u64,
}

#[derive(Default)]
struct Channel {
    held: Option<Credentials>,
    refused: Option<u64>,
    /// The number of the last showing.
    shown: u64,
}

impl CredentialCache {
    /// A connector has shown `credentials` for `channel`. They are kept, unless they are those that were refused.
    pub fn show(&self, channel: &str, credentials: &Credentials) -> Standing {
        let fingerprint = self.fingerprint(credentials);
        let mut channels = self.lock();
        channels.shown += 1;
        let shown = channels.shown;
        let place = channels.place(channel);
        place.shown = shown;
        if place.refused == Some(fingerprint) {
            return Standing::Refused;
        }
        if place.held.as_ref() != Some(credentials) {
            place.held = Some(credentials.clone());
            place.refused = None;
        }
        Standing::Good
    }

    /// The far side has taken `credentials`, whatever it said of them before.
    pub fn accepted(&self, channel: &str, credentials: &Credentials) {
        let fingerprint = self.fingerprint(credentials);
        let mut channels = self.lock();
        if let Some(place) = channels.by_name.get_mut(channel)
            && place.refused == Some(fingerprint)
        {
            place.refused = None;
            place.held = Some(credentials.clone());
        }
    }

    /// The far side has refused `credentials` (401): they are dropped until the connector shows others.
    pub fn refused(&self, channel: &str, credentials: &Credentials) {
        let fingerprint = self.fingerprint(credentials);
        let mut channels = self.lock();
        // A late refusal of older ones says nothing of those that have come since.
        if let Some(place) = channels.by_name.get_mut(channel)
            && place.held.as_ref().is_none_or(|held| held == credentials)
        {
            place.held = None;
            place.refused = Some(fingerprint);
        }
    }

    /// The credentials to use for `channel`.
    #[must_use]
    pub fn of_channel(&self, channel: &str) -> Option<Credentials> {
        self.lock().by_name.get(channel)?.held.clone()
    }

    fn fingerprint(&self, credentials: &Credentials) -> u64 {
        self.0.hash.hash_one(credentials.authorization.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialCache(…)")
    }
}

impl Channels {
    /// The place of `channel`; somebody else's, if there is no room for another.
    fn place(&mut self, channel: &str) -> &mut Channel {
        if !self.by_name.contains_key(channel) && self.by_name.len() >= CHANNELS_MAX {
            let oldest = self.by_name.iter().min_by_key(|(_, channel)| channel.shown);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.by_name.remove(&oldest);
            }
        }
        self.by_name.entry(channel.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers.insert(ORG_ID, "00DXX0000000001".parse().unwrap());
        headers.insert(AUTHORIZATION_CONTEXT, "A".parse().unwrap());
        headers
    }

    fn credentials(token: &str) -> Credentials {
        Credentials::of(&headers(token)).unwrap()
    }

    #[test]
    fn credentials_are_three_headers_each_once_and_not_empty() {
        assert_eq!(credentials("t").secret(), "t");
        for name in [header::AUTHORIZATION, ORG_ID, AUTHORIZATION_CONTEXT] {
            let mut without = headers("t");
            without.remove(&name);
            assert_eq!(Credentials::of(&without), None, "no {name}");
            without.insert(&name, HeaderValue::from_static(" "));
            assert_eq!(Credentials::of(&without), None, "empty {name}");
            let mut twice = headers("t");
            twice.append(&name, HeaderValue::from_static("other"));
            assert_eq!(Credentials::of(&twice), None, "two of {name}");
        }
    }

    #[test]
    fn the_newest_are_lent_and_refused_ones_only_after_others_or_an_acceptance() {
        let (cache, old, new) = (CredentialCache::default(), credentials("old"), credentials("new"));
        assert_eq!(cache.of_channel("c"), None);
        cache.show("c", &old);
        assert_eq!(cache.show("c", &new), Standing::Good);
        assert_eq!((cache.of_channel("c"), cache.of_channel("d")), (Some(new.clone()), None));
        cache.refused("c", &old);
        assert_eq!(cache.of_channel("c"), Some(new.clone()), "a late refusal of older ones");
        cache.refused("c", &new);
        assert_eq!(cache.of_channel("c"), None);
        assert_eq!(cache.show("c", &new), Standing::Refused);
        assert_eq!(cache.of_channel("c"), None, "still the refused ones");
        cache.accepted("c", &new);
        assert_eq!(cache.of_channel("c"), Some(new.clone()), "Salesforce has changed its mind");
        cache.refused("c", &new);
        assert_eq!(cache.show("c", &old), Standing::Good);
        assert_eq!(cache.of_channel("c"), Some(old));
    }

    #[test]
    fn no_more_channels_are_kept_than_an_org_has_and_nothing_prints_a_secret() {
        let cache = CredentialCache::default();
        let token = credentials("s3cret");
        for i in 0..=CHANNELS_MAX {
            cache.show(&i.to_string(), &token);
        }
        assert_eq!(cache.lock().by_name.len(), CHANNELS_MAX);
        assert_eq!((cache.of_channel("0"), cache.of_channel("1")), (None, Some(token.clone())));
        assert!(!format!("{cache:?}{token:?}{:?}", token.authorization).contains("s3cret"));
    }
}
