//! The channels of the conversations: their rules, and what few of them have beside. Most channels of a table may have one
//! conversation each, so that a channel is kept as small as a conversation.

use std::collections::HashMap;

use super::changes::Generation;
use super::id::Id;
use super::list::{List, NIL};
use super::policy::Rules;
use super::slab::Slab;
use super::table::{Chain, Chained, Table};
use crate::model::Instant;

#[derive(Debug)]
struct Channel {
    name: Id,
    chain: Chain,
    conversations: u32,
    /// Their place in `Channels::timings`.
    rules: u32,
    /// [`NIL`] while there is nothing to keep in them.
    extras: u32,
    /// The change since which its rules are these.
    generation: Generation,
}

/// What few channels have: those that are muted, or whose credentials are those of requests.
#[derive(Debug, Default)]
pub(super) struct ChannelExtras {
    pub(super) muted_until: Instant,
    /// Conversations whose Stopped waits until credentials of this channel are accepted.
    pub(super) blocked: List,
    /// How often credentials of this channel have been accepted that were not before; wraps.
    pub(super) acceptances: u16,
    /// It is in `Channels::left_muted`.
    left_muted: bool,
}

#[derive(Debug)]
pub(super) struct Channels {
    table: Table<Channel>,
    extras: Slab<ChannelExtras>,
    timings: Timings,
    /// Channels whose last conversation was removed while they were muted.
    left_muted: Vec<u32>,
    /// Channels that have accepted credentials, while there are blocked conversations to go through.
    accepted: Vec<u32>,
}

impl Channels {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            extras: Slab::new(),
            timings: Timings::default(),
            left_muted: Vec::new(),
            accepted: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.table.len()
    }

    /// The channel of that name, of which `hash` is the hash.
    pub(super) fn find(&self, hash: u32, name: &str) -> Option<u32> {
        self.table.find(hash, |channel| channel.name.is(name))
    }

    #[inline]
    pub(super) fn is(&self, channel: u32, name: &str) -> bool {
        self.table.get(channel).is_some_and(|channel| channel.name.is(name))
    }

    pub(super) fn name(&self, channel: u32) -> &str {
        self.get(channel).name.as_str()
    }

    #[inline]
    pub(super) fn rules(&self, channel: u32) -> &Rules {
        self.timings.get(self.get(channel).rules)
    }

    pub(super) fn muted_until(&self, channel: u32) -> Instant {
        self.extras(channel).map_or(Instant::ORIGIN, |extras| extras.muted_until)
    }

    pub(super) fn acceptances(&self, channel: u32) -> u16 {
        self.extras(channel).map_or(0, |extras| extras.acceptances)
    }

    fn extras(&self, channel: u32) -> Option<&ChannelExtras> {
        self.extras.get(self.get(channel).extras)
    }

    /// The extras, made where there are none. They stay as long as the channel.
    pub(super) fn extras_mut(&mut self, channel: u32) -> &mut ChannelExtras {
        let channel = self.table.get_mut(channel).expect(KNOWN);
        if channel.extras == NIL {
            channel.extras = self.extras.insert(ChannelExtras::default());
        }
        self.extras.get_mut(channel.extras).expect(KNOWN)
    }

    /// Gives a channel the rules of the change `generation`, if it has older ones.
    pub(super) fn refresh(&mut self, channel: u32, generation: Generation, rules: impl FnOnce(&str) -> Rules) {
        let known = self.get(channel);
        if known.generation != generation {
            let rules = rules(known.name.as_str());
            self.set_rules(channel, generation, rules);
        }
    }

    /// Adds a conversation to the channel of that name, which is made where there is none.
    pub(super) fn join(&mut self, hash: u32, name: &str, generation: Generation, rules: Rules) -> u32 {
        if let Some(found) = self.find(hash, name) {
            let channel = self.get(found);
            // A change reaches a channel through its conversations: one without any may have missed some.
            if channel.generation != generation || channel.conversations == 0 {
                self.set_rules(found, generation, rules);
            }
            self.table.get_mut(found).expect(KNOWN).conversations += 1;
            return found;
        }
        let rules = self.timings.take(rules);
        let name = Id::new(name);
        let new = Channel { name, chain: Chain::NONE, conversations: 1, rules, extras: NIL, generation };
        self.table.insert(hash, new)
    }

    /// Takes a conversation from a channel.
    pub(super) fn leave(&mut self, channel: u32, now: Instant) {
        let left = self.table.get_mut(channel).expect(KNOWN);
        left.conversations -= 1;
        if left.conversations > 0 {
            return;
        }
        // A muted channel is remembered: forgetting it would try it again with the next conversation.
        if self.muted_until(channel) <= now {
            self.remove(channel);
        } else if !std::mem::replace(&mut self.extras_mut(channel).left_muted, true) {
            self.left_muted.push(channel);
        }
    }

    /// Forgets the channels without conversations that are no longer muted.
    pub(super) fn sweep(&mut self, now: Instant) {
        for channel in std::mem::take(&mut self.left_muted) {
            // Its place may have gone to another channel meanwhile.
            let Some(left) = self.table.get(channel) else { continue };
            let Some(extras) = self.extras.get_mut(left.extras).filter(|extras| extras.left_muted) else { continue };
            if left.conversations > 0 {
                extras.left_muted = false;
            } else if extras.muted_until <= now {
                self.remove(channel);
            } else {
                self.left_muted.push(channel);
            }
        }
    }

    fn remove(&mut self, channel: u32) {
        self.accepted.retain(|accepted| *accepted != channel);
        if let Some(removed) = self.table.remove(channel) {
            self.extras.remove(removed.extras);
            self.timings.release(removed.rules);
        }
    }

    /// Gives some of the memory of removed channels back. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        let extras = self.extras.trim();
        self.table.trim() || extras
    }

    /// Credentials of the channel were accepted that were not before.
    pub(super) fn accept(&mut self, channel: u32) {
        let extras = self.extras_mut(channel);
        extras.acceptances = extras.acceptances.wrapping_add(1);
        if !extras.blocked.is_empty() && !self.accepted.contains(&channel) {
            self.accepted.push(channel);
        }
    }

    /// Whether some conversations have not gone on yet since an acceptance.
    pub(super) const fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// The next conversation that waits for credentials of a channel which has accepted some, and how often it has.
    pub(super) fn first_accepted(&self) -> Option<(Option<u32>, u16)> {
        let channel = *self.accepted.first()?;
        Some((self.extras(channel).and_then(|extras| extras.blocked.front()), self.acceptances(channel)))
    }

    /// No conversation of the channel of [`Channels::first_accepted`] waits any more.
    pub(super) fn drop_accepted(&mut self) {
        self.accepted.remove(0);
    }

    fn set_rules(&mut self, channel: u32, generation: Generation, rules: Rules) {
        let taken = self.timings.take(rules);
        let channel = self.table.get_mut(channel).expect(KNOWN);
        channel.generation = generation;
        let before = std::mem::replace(&mut channel.rules, taken);
        self.timings.release(before);
    }

    #[inline]
    fn get(&self, channel: u32) -> &Channel {
        self.table.get(channel).expect(KNOWN)
    }
}

impl Chained for Channel {
    fn chain(&self) -> &Chain {
        &self.chain
    }

    fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }
}

/// The rules of all channels, each distinct set once.
#[derive(Debug)]
struct Timings {
    /// With the number of their channels.
    sets: Slab<(Rules, u32)>,
    places: HashMap<Rules, u32>,
    /// Where the last rules are that were asked for: most likely the next are the same. They stay until others are.
    last: u32,
}

impl Default for Timings {
    fn default() -> Self {
        Self { sets: Slab::new(), places: HashMap::new(), last: NIL }
    }
}

impl Timings {
    #[inline]
    fn get(&self, place: u32) -> &Rules {
        &self.sets.get(place).expect(KNOWN).0
    }

    /// The place of these rules, for one more channel.
    fn take(&mut self, rules: Rules) -> u32 {
        if let Some((last, channels)) = self.sets.get_mut(self.last) {
            if *last == rules {
                *channels += 1;
                return self.last;
            }
            if *channels == 0 {
                self.places.remove(last);
                self.sets.remove(self.last);
            }
        }
        self.last = *self.places.entry(rules).or_insert_with(|| self.sets.insert((rules, 0)));
        self.sets.get_mut(self.last).expect(KNOWN).1 += 1;
        self.last
    }

    /// One channel fewer has the rules at `place`.
    fn release(&mut self, place: u32) {
        let Some((rules, channels)) = self.sets.get_mut(place) else { return };
        *channels -= 1;
        if *channels == 0 && place != self.last {
            self.places.remove(rules);
            self.sets.remove(place);
        }
    }
}

const KNOWN: &str = "conversations only have channels of the table, and these only rules that are kept";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_muted_channel_stays_without_conversations_until_it_is_not() {
        let at = Instant::from_millis;
        let mut channels = Channels::new();
        let rules = |seconds| Rules::default().with_check(Duration::from_secs(seconds));
        let place = channels.join(1, "c", 0, rules(5));
        channels.extras_mut(place).muted_until = at(100);
        channels.leave(place, at(10));
        channels.sweep(at(99));
        assert_eq!((channels.len(), channels.muted_until(place)), (1, at(100)));
        // A change that reaches no conversation of it does not reach it, until it has one.
        assert_eq!(channels.join(1, "c", 0, rules(6)), place);
        assert_eq!(*channels.rules(place), rules(6));
        channels.sweep(at(100));
        assert_eq!(channels.len(), 1, "it has a conversation");
        channels.leave(place, at(99));
        channels.sweep(at(100));
        assert_eq!(channels.len(), 0);
        let place = channels.join(1, "c", 0, rules(5));
        channels.extras_mut(place).muted_until = at(200);
        channels.leave(place, at(110));
        channels.sweep(at(200));
        assert_eq!(channels.len(), 0, "whether or not it was swept before");
    }

    #[test]
    fn rules_are_kept_once_and_go_with_their_last_channel() {
        let mut channels = Channels::new();
        let rules = |seconds| Rules::default().with_check(Duration::from_secs(seconds));
        let places: Vec<u32> = (0..100).map(|n| channels.join(n, &n.to_string(), 0, rules(u64::from(n) % 2))).collect();
        assert_eq!(channels.timings.places.len(), 2);
        assert_eq!(*channels.rules(places[7]), rules(1));
        channels.refresh(places[1], 1, |_| rules(9));
        assert_eq!(
            (*channels.rules(places[1]), *channels.rules(places[7])),
            (rules(9), rules(1)),
            "the others keep theirs"
        );
        assert_eq!((channels.timings.places.len(), channels.timings.sets.len()), (3, 3));
        for place in &places {
            channels.refresh(*place, 1, |_| rules(9));
        }
        assert_eq!((channels.timings.places.len(), channels.timings.sets.len()), (1, 1));
        assert_eq!(*channels.rules(places[7]), rules(9));
        for place in places {
            channels.leave(place, Instant::ORIGIN);
        }
        channels.join(0, "0", 0, rules(2));
        assert_eq!((channels.len(), channels.timings.places.len(), channels.timings.sets.len()), (1, 1, 1));
    }
}
