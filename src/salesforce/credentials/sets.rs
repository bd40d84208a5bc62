//! The table of the cache: a plain value, given the time.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use super::{CHANNELS_MAX, Credentials, NoneGood, Rejection, SETS_MAX, SETS_PER_CHANNEL_MAX, Shown, Within, same_org};
use crate::model::{CredentialId, Indicator, Instant};

/// The code of the Interaction Service for a token that it does not accept.
const TOKEN_CODE: i64 = 10_004;
const TOKEN_MESSAGE: &str = "Salesforce does not accept this access token";

/// With a fast hash, keyed all the same: access tokens have up to thousands of bytes, and each message shows one.
type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All sets.
#[derive(Default)]
pub(super) struct Sets {
    sets: FastMap<CredentialId, Set>,
    index: FastMap<Credentials, CredentialId>,
    /// The sets by their last use, the longest ago first.
    uses: BTreeMap<u64, CredentialId>,
    newest: u32,
    channels: FastMap<Box<str>, Channel>,
    /// Numbers uses, acceptances and showings.
    serial: u64,
    news: bool,
}

struct Set {
    credentials: Credentials,
    state: State,
    used: u64,
}

enum State {
    /// Nothing is known of it.
    Untried,
    /// The last that is known is that it was accepted; the number orders the acceptances.
    Accepted(u64),
    Refused(Instant, Rejection),
}

#[derive(Default)]
struct Channel {
    sets: Vec<CredentialId>,
    shown: u64,
    /// It has got a set that was accepted, and that has not been reported.
    news: bool,
}

impl Sets {
    pub(super) fn show(&mut self, now: Instant, channel: &str, credentials: &Credentials) -> Shown {
        // As a rule a channel has one set: to compare it takes less than to hash a token.
        let known = self.channels.get(channel).and_then(|channel| channel.sets.last().copied());
        let id = match known.filter(|id| self.sets.get(id).is_some_and(|set| set.credentials == *credentials)) {
            Some(id) => {
                self.touch(id);
                id
            }
            None => self.intern(credentials),
        };
        self.join(channel, id);
        let rejection = match self.sets.get(&id).map(|set| &set.state) {
            Some(State::Refused(until, rejection)) if *until > now => Some(rejection.clone()),
            _ => None,
        };
        Shown { id, rejection }
    }

    pub(super) fn find(&self, credentials: &Credentials) -> Option<CredentialId> {
        self.index.get(credentials).copied()
    }

    pub(super) fn accept(&mut self, id: CredentialId, channel: Option<&str>) {
        self.touch(id);
        self.serial += 1;
        let serial = self.serial;
        let Some(set) = self.sets.get_mut(&id) else { return };
        let news = !matches!(set.state, State::Accepted(_));
        set.state = State::Accepted(serial);
        if let Some(channel) = channel {
            self.join(channel, id);
        }
        if news {
            for channel in self.channels.values_mut().filter(|channel| channel.sets.contains(&id)) {
                channel.news = true;
                self.news = true;
            }
        }
    }

    pub(super) fn reject(&mut self, id: CredentialId, until: Instant, code: Option<i64>, message: Option<&str>) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        let known = match &set.state {
            State::Refused(_, rejection) if code.is_none() && message.is_none() => Some(rejection.clone()),
            _ => None,
        };
        let rejection = known.unwrap_or_else(|| Rejection {
            code: code.unwrap_or(TOKEN_CODE),
            message: message.unwrap_or(TOKEN_MESSAGE).into(),
        });
        set.state = State::Refused(until, rejection);
    }

    pub(super) fn select(
        &mut self,
        now: Instant,
        channel: &str,
        own: Option<CredentialId>,
        indicator: Indicator,
        within: Within<'_>,
    ) -> Result<(CredentialId, Credentials), NoneGood> {
        let own = own.and_then(|id| Some((id, self.sets.get(&id)?)));
        let again_after = match own {
            Some((_, Set { state: State::Refused(until, _), .. })) if *until > now => Some(until.since(now)),
            Some((id, set)) => {
                let credentials = set.credentials.clone();
                self.touch(id);
                return Ok((id, credentials));
            }
            None => None,
        };
        let other = match indicator {
            Indicator::TypingStarted => None,
            Indicator::TypingStopped => self.accepted(channel, |set| match own {
                Some((_, own)) => {
                    let own = &own.credentials;
                    same_org(set.org_id.as_bytes(), own.org_id.as_bytes())
                        && set.authorization_context == own.authorization_context
                }
                None => {
                    let Within { org_id, authorization_context } = within;
                    (org_id.is_empty() || same_org(set.org_id.as_bytes(), org_id))
                        && (authorization_context.is_empty()
                            || set.authorization_context.as_bytes() == authorization_context)
                }
            }),
        };
        let (id, credentials) = other.ok_or(NoneGood { again_after })?;
        self.touch(id);
        Ok((id, credentials))
    }

    pub(super) const fn has_news(&self) -> bool {
        self.news
    }

    pub(super) fn take_news(&mut self) -> Vec<Box<str>> {
        if !std::mem::take(&mut self.news) {
            return Vec::new();
        }
        let channels = self.channels.iter_mut();
        channels.filter_map(|(name, channel)| std::mem::take(&mut channel.news).then(|| name.clone())).collect()
    }

    /// The set of `channel` that was accepted last, among those that `serves` takes.
    fn accepted(&self, channel: &str, serves: impl Fn(&Credentials) -> bool) -> Option<(CredentialId, Credentials)> {
        let sets = self.channels.get(channel)?.sets.iter().filter_map(|&id| Some((id, self.sets.get(&id)?)));
        let accepted = sets.filter_map(|(id, set)| match set.state {
            State::Accepted(serial) if serves(&set.credentials) => Some((serial, id, set)),
            _ => None,
        });
        let (_, id, set) = accepted.max_by_key(|(serial, ..)| *serial)?;
        Some((id, set.credentials.clone()))
    }

    /// The id of `credentials`; the set that was used longest ago makes room.
    fn intern(&mut self, credentials: &Credentials) -> CredentialId {
        if let Some(&id) = self.index.get(credentials) {
            self.touch(id);
            return id;
        }
        if self.sets.len() >= SETS_MAX
            && let Some((_, oldest)) = self.uses.pop_first()
            && let Some(oldest) = self.sets.remove(&oldest)
        {
            self.index.remove(&oldest.credentials);
        }
        // An id is given again after four thousand million others: that of a set that is gone names no other.
        let id = loop {
            self.newest = self.newest.wrapping_add(1);
            match NonZeroU32::new(self.newest).map(CredentialId::new) {
                Some(id) if !self.sets.contains_key(&id) => break id,
                _ => {}
            }
        };
        self.serial += 1;
        let credentials = credentials.detached();
        self.sets.insert(id, Set { credentials: credentials.clone(), state: State::Untried, used: self.serial });
        self.index.insert(credentials, id);
        self.uses.insert(self.serial, id);
        id
    }

    /// From now on `id` is among the sets of `channel`.
    fn join(&mut self, channel: &str, id: CredentialId) {
        self.serial += 1;
        let serial = self.serial;
        if let Some(known) = self.channels.get_mut(channel) {
            known.shown = serial;
            if known.sets.contains(&id) {
                return;
            }
        } else if self.channels.len() >= CHANNELS_MAX {
            let oldest = self.channels.iter().min_by_key(|(_, channel)| channel.shown);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.channels.remove(&oldest);
            }
        }
        let Self { channels, sets: table, news, .. } = self;
        let known = channels.entry(channel.into()).or_insert_with(|| Channel { shown: serial, ..Channel::default() });
        if known.sets.len() >= SETS_PER_CHANNEL_MAX {
            known.sets.retain(|&id| table.contains_key(&id));
        }
        if known.sets.len() >= SETS_PER_CHANNEL_MAX {
            // Sets that are not accepted are worth the least, then those that were accepted longest ago.
            let worth = |id: CredentialId| match table.get(&id) {
                Some(Set { state: State::Accepted(serial), .. }) => *serial,
                _ => 0,
            };
            let least = (0..known.sets.len()).min_by_key(|&at| worth(known.sets[at]));
            least.map(|at| known.sets.remove(at));
        }
        known.sets.push(id);
        if table.get(&id).is_some_and(|set| matches!(set.state, State::Accepted(_))) {
            (known.news, *news) = (true, true);
        }
    }

    fn touch(&mut self, id: CredentialId) {
        // Most connectors show one set.
        if self.uses.last_key_value().is_some_and(|(_, &last)| last == id) {
            return;
        }
        self.serial += 1;
        let used = self.serial;
        let Some(set) = self.sets.get_mut(&id) else { return };
        let before = std::mem::replace(&mut set.used, used);
        if let Some(set) = self.uses.remove(&before) {
            self.uses.insert(used, set);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.sets.len(), self.index.len(), self.uses.len(), self.channels.len()]
    }
}
