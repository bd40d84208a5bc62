//! The table of the cache: a plain value, given the time.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use super::{CHANNELS_MAX, Credentials, NoneGood, Rejection, SETS_MAX, SETS_PER_CHANNEL_MAX, Shown, Within, same_org};
use crate::model::{CredentialId, Indicator, Instant};

/// The bits of an id that are the place in the table; the others count who had it before, so that an id of a set that is
/// gone names no other.
const PLACE_BITS: u32 = 14;
const GENERATION_MAX: u32 = (1 << (u32::BITS - PLACE_BITS)) - 1;
const _: () = assert!(SETS_MAX <= 1 << PLACE_BITS);

/// The code of the Interaction Service for a token that it does not accept.
const TOKEN_CODE: i64 = 10_004;
const TOKEN_MESSAGE: &str = "Salesforce does not accept this access token";

/// All sets.
#[derive(Default)]
pub(super) struct Sets {
    places: Vec<Place>,
    index: HashMap<Credentials, usize>,
    /// The places by their last use, the longest ago first.
    uses: BTreeMap<u64, usize>,
    channels: HashMap<Box<str>, Channel>,
    /// Numbers uses, acceptances and showings.
    serial: u64,
    news: bool,
}

struct Place {
    generation: u32,
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
        let id = self.intern(credentials);
        self.join(channel, id);
        let rejection = match self.place(id).map(|place| &place.state) {
            Some(State::Refused(until, rejection)) if *until > now => Some(rejection.clone()),
            _ => None,
        };
        Shown { id, rejection }
    }

    pub(super) fn find(&self, credentials: &Credentials) -> Option<CredentialId> {
        self.index.get(credentials).map(|&place| self.id(place))
    }

    pub(super) fn accept(&mut self, id: CredentialId, channel: Option<&str>) {
        self.touch(id);
        self.serial += 1;
        let serial = self.serial;
        let Some(place) = self.place_mut(id) else { return };
        let news = !matches!(place.state, State::Accepted(_));
        place.state = State::Accepted(serial);
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
        let Some(place) = self.place_mut(id) else { return };
        let known = match &place.state {
            State::Refused(_, rejection) if code.is_none() && message.is_none() => Some(rejection.clone()),
            _ => None,
        };
        let rejection = known.unwrap_or_else(|| Rejection {
            code: code.unwrap_or(TOKEN_CODE),
            message: message.unwrap_or(TOKEN_MESSAGE).into(),
        });
        place.state = State::Refused(until, rejection);
    }

    pub(super) fn select(
        &mut self,
        now: Instant,
        channel: &str,
        own: Option<CredentialId>,
        indicator: Indicator,
        within: Within<'_>,
    ) -> Result<(CredentialId, Credentials), NoneGood> {
        let own = own.and_then(|id| Some((id, self.place(id)?)));
        let again_after = match own {
            Some((_, Place { state: State::Refused(until, _), .. })) if *until > now => Some(until.since(now)),
            Some((id, place)) => {
                let credentials = place.credentials.clone();
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
        let sets = self.channels.get(channel)?.sets.iter().filter_map(|&id| Some((id, self.place(id)?)));
        let accepted = sets.filter_map(|(id, place)| match place.state {
            State::Accepted(serial) if serves(&place.credentials) => Some((serial, id, place)),
            _ => None,
        });
        let (_, id, place) = accepted.max_by_key(|(serial, ..)| *serial)?;
        Some((id, place.credentials.clone()))
    }

    /// The id of `credentials`; the set that was used longest ago makes room.
    fn intern(&mut self, credentials: &Credentials) -> CredentialId {
        if let Some(&place) = self.index.get(credentials) {
            let id = self.id(place);
            self.touch(id);
            return id;
        }
        self.serial += 1;
        let used = self.serial;
        let new = |generation| Place { generation, credentials: credentials.clone(), state: State::Untried, used };
        let place = if self.places.len() < SETS_MAX {
            self.places.push(new(1));
            self.places.len() - 1
        } else {
            let (_, place) = self.uses.pop_first().expect("the table is full, and each place has its last use");
            let old = &self.places[place];
            self.index.remove(&old.credentials);
            let generation = if old.generation == GENERATION_MAX { 1 } else { old.generation + 1 };
            self.places[place] = new(generation);
            place
        };
        self.index.insert(credentials.clone(), place);
        self.uses.insert(used, place);
        self.id(place)
    }

    /// From now on `id` is among the sets of `channel`.
    fn join(&mut self, channel: &str, id: CredentialId) {
        self.serial += 1;
        let serial = self.serial;
        if !self.channels.contains_key(channel) && self.channels.len() >= CHANNELS_MAX {
            let oldest = self.channels.iter().min_by_key(|(_, channel)| channel.shown);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.channels.remove(&oldest);
            }
        }
        let Self { channels, places, news, .. } = self;
        let known = channels.entry(channel.into()).or_default();
        known.shown = serial;
        if known.sets.contains(&id) {
            return;
        }
        if known.sets.len() >= SETS_PER_CHANNEL_MAX {
            known.sets.retain(|&id| place_of(places, id).is_some());
        }
        if known.sets.len() >= SETS_PER_CHANNEL_MAX {
            // Sets that are not accepted are worth the least, then those that were accepted longest ago.
            let worth = |id: CredentialId| match place_of(places, id) {
                Some(Place { state: State::Accepted(serial), .. }) => *serial,
                _ => 0,
            };
            let least = (0..known.sets.len()).min_by_key(|&at| worth(known.sets[at]));
            least.map(|at| known.sets.remove(at));
        }
        known.sets.push(id);
        if place_of(places, id).is_some_and(|place| matches!(place.state, State::Accepted(_))) {
            (known.news, *news) = (true, true);
        }
    }

    fn touch(&mut self, id: CredentialId) {
        self.serial += 1;
        let used = self.serial;
        let Some(place) = self.place_mut(id) else { return };
        let before = std::mem::replace(&mut place.used, used);
        if let Some(place) = self.uses.remove(&before) {
            self.uses.insert(used, place);
        }
    }

    fn id(&self, place: usize) -> CredentialId {
        let low = u32::try_from(place).expect("a place is below SETS_MAX");
        let number = (self.places[place].generation << PLACE_BITS) | low;
        CredentialId::new(NonZeroU32::new(number).expect("generations begin with 1"))
    }

    fn place(&self, id: CredentialId) -> Option<&Place> {
        place_of(&self.places, id)
    }

    fn place_mut(&mut self, id: CredentialId) -> Option<&mut Place> {
        self.places.get_mut(index_of(id)).filter(|place| place.generation == id.get() >> PLACE_BITS)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.places.len(), self.index.len(), self.uses.len(), self.channels.len()]
    }
}

/// What `id` names, unless that is gone.
fn place_of(places: &[Place], id: CredentialId) -> Option<&Place> {
    places.get(index_of(id)).filter(|place| place.generation == id.get() >> PLACE_BITS)
}

const fn index_of(id: CredentialId) -> usize {
    (id.get() & ((1 << PLACE_BITS) - 1)) as usize
}
