//! All conversations, found by their ids, and the channels they belong to. It knows no rule.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use super::changes::Generation;
use super::id::Id;
use super::list::{Link, Links, List, Neighbours};
use super::outbox::{Outbox, Urgency};
use super::policy::Rules;
use super::table::Table;
use super::timing::Timing;
use super::wheel::Place;
use crate::model::{Conversation, ConversationRef, CredentialId, Instant};

/// The state of one conversation: what another process would need to go on with it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) timing: Timing,
    pub(super) outbox: Outbox,
    /// The latest `at` of a message, plus one; zero for none. A keystroke not later than that is late.
    pub(super) barrier: u64,
    /// Until when it is remembered although nothing is going on, or left alone.
    pub(super) hold_until: Instant,
    /// Until when it is remembered because its owner may be asked for it again.
    pub(super) retained_until: Instant,
    /// The messaging session is known to exist.
    pub(super) opened: bool,
    /// Refused for good: left alone until `hold_until`.
    pub(super) muted: bool,
    /// How often credentials of the channel had been accepted when the request in flight left; wraps.
    pub(super) acceptances_seen: u16,
    /// The newest that a request of this conversation showed.
    pub(super) credentials: Option<CredentialId>,
}

/// A conversation's place in the table.
#[derive(Debug)]
pub(super) struct Entry {
    from: Id,
    pub(super) channel: u32,
    deadline: Neighbours,
    queue_links: Neighbours,
    pub(super) place: Place,
    pub(super) queue: Queue,
    /// The newest of the changes of all that it has followed.
    pub(super) generation: Generation,
    /// Counted in `Engine::icons`.
    pub(super) icon_on: bool,
    /// Counted in `Engine::unsettled`.
    pub(super) unsettled: bool,
    pub(super) state: State,
}

/// The queue that a conversation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    None,
    /// That of this urgency, by its number.
    Ready(u8),
    /// Remembered although nothing is going on; evicted first when the table is full.
    Retained,
    /// The channel's: a Stopped that waits until credentials of the channel are accepted.
    Blocked,
}

/// Queues that are not a channel's: those of each urgency, and the retained conversations.
pub(super) const QUEUES: usize = Urgency::COUNT + 1;
pub(super) const RETAINED: usize = Urgency::COUNT;

impl Queue {
    /// Its number among the queues that are not a channel's.
    pub(super) const fn index(self) -> Option<usize> {
        match self {
            Self::Ready(urgency) => Some(urgency as usize),
            Self::Retained => Some(RETAINED),
            Self::None | Self::Blocked => None,
        }
    }
}

/// A channel: what its conversations share.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Id,
    pub(super) rules: Rules,
    pub(super) muted_until: Instant,
    /// Conversations whose Stopped waits until credentials of this channel are accepted.
    pub(super) blocked: List,
    /// How often credentials of this channel have been accepted that were not before; wraps.
    pub(super) acceptances: u16,
    conversations: u32,
    /// It is in `Tracker::left_muted`.
    left_muted: bool,
    /// The change since which its rules are these.
    generation: Generation,
}

#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) entries: Table<Entry>,
    pub(super) channels: Table<Channel>,
    /// Channels whose last conversation was removed while they were muted.
    left_muted: Vec<u32>,
    /// Channels that have accepted credentials, while there are blocked conversations to go through.
    accepted: Vec<u32>,
    hash: FixedState,
}

impl Tracker {
    /// `seed` keys the hash, for ids come from outside.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Table::new(),
            channels: Table::new(),
            left_muted: Vec::new(),
            accepted: Vec::new(),
            hash: FixedState::with_seed(seed),
        }
    }

    #[inline]
    pub(super) fn find(&self, conversation: ConversationRef<'_>) -> Option<u32> {
        let hash = hash_of(&self.hash, conversation.to(), conversation.from());
        self.entries.find(hash, |entry| {
            entry.from.is(conversation.from()) && self.channel_at(entry.channel).name.is(conversation.to())
        })
    }

    /// Adds a conversation that is not in the table. `rules` are those of its channel since the change `generation`.
    pub(super) fn insert(&mut self, conversation: ConversationRef<'_>, generation: Generation, rules: Rules) -> u32 {
        let hash = hash_of(&self.hash, conversation.to(), conversation.from());
        let channel = self.join_channel(conversation.to(), generation, rules);
        let entry = Entry {
            from: Id::new(conversation.from()),
            channel,
            deadline: Neighbours::NONE,
            queue_links: Neighbours::NONE,
            place: Place::NONE,
            queue: Queue::None,
            generation,
            icon_on: false,
            unsettled: false,
            state: State::default(),
        };
        self.entries.insert(hash, entry)
    }

    /// Forgets a conversation that is in no queue and has no deadline.
    pub(super) fn remove(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.entries.remove(slot) else { return };
        debug_assert!(entry.place == Place::NONE && entry.queue == Queue::None);
        self.leave_channel(entry.channel, now);
    }

    #[inline]
    pub(super) fn entry(&self, slot: u32) -> &Entry {
        self.entries.get(slot).expect(KNOWN)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        self.entries.get_mut(slot).expect(KNOWN)
    }

    /// The conversation's state and the rules of its channel.
    #[inline]
    pub(super) fn state_mut(&mut self, slot: u32) -> (&mut State, &Rules) {
        let entry = self.entries.get_mut(slot).expect(KNOWN);
        (&mut entry.state, &self.channels.get(entry.channel).expect(KNOWN).rules)
    }

    /// Gives some of the memory of removed conversations back. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        let entries = self.entries.trim();
        self.channels.trim() || entries
    }

    pub(super) fn holds(&self, slot: u32) -> bool {
        self.entries.get(slot).is_some()
    }

    pub(super) fn channel(&self, slot: u32) -> &Channel {
        self.channel_at(self.entry(slot).channel)
    }

    pub(super) fn channel_mut(&mut self, slot: u32) -> &mut Channel {
        self.channel_at_mut(self.entry(slot).channel)
    }

    fn channel_at(&self, channel: u32) -> &Channel {
        self.channels.get(channel).expect(KNOWN)
    }

    pub(super) fn conversation(&self, slot: u32) -> Conversation {
        self.conversation_ref(slot).to_owned()
    }

    pub(super) fn conversation_ref(&self, slot: u32) -> ConversationRef<'_> {
        let entry = self.entry(slot);
        ConversationRef::new(self.channel_at(entry.channel).name.as_str(), entry.from.as_str())
            .expect("it was valid when it was put in")
    }

    pub(super) fn find_channel(&self, name: &str) -> Option<u32> {
        self.channels.find(hash_of(&self.hash, name, ""), |channel| channel.name.is(name))
    }

    pub(super) fn channel_at_mut(&mut self, channel: u32) -> &mut Channel {
        self.channels.get_mut(channel).expect(KNOWN)
    }

    /// Gives the channel of `slot` the rules of the change `generation`, if it has older ones.
    pub(super) fn refresh_channel(&mut self, slot: u32, generation: Generation, rules: impl FnOnce(&str) -> Rules) {
        let channel = self.channel_mut(slot);
        if channel.generation != generation {
            channel.generation = generation;
            channel.rules = rules(channel.name.as_str());
        }
    }

    fn join_channel(&mut self, name: &str, generation: Generation, rules: Rules) -> u32 {
        if let Some(found) = self.find_channel(name) {
            let channel = self.channel_at_mut(found);
            // A change reaches a channel through its conversations: one without any may have missed some.
            if channel.generation != generation || channel.conversations == 0 {
                (channel.generation, channel.rules) = (generation, rules);
            }
            channel.conversations += 1;
            return found;
        }
        let new = Channel {
            name: Id::new(name),
            rules,
            muted_until: Instant::ORIGIN,
            blocked: List::EMPTY,
            acceptances: 0,
            conversations: 1,
            left_muted: false,
            generation,
        };
        self.channels.insert(hash_of(&self.hash, name, ""), new)
    }

    fn leave_channel(&mut self, channel: u32, now: Instant) {
        let left = self.channel_at_mut(channel);
        left.conversations -= 1;
        // A muted channel is remembered: forgetting it would try it again with the next conversation.
        if left.conversations == 0 {
            if left.muted_until <= now {
                self.drop_channel(channel);
            } else if !std::mem::replace(&mut left.left_muted, true) {
                self.left_muted.push(channel);
            }
        }
    }

    /// Forgets the channels without conversations that are no longer muted.
    pub(super) fn sweep_channels(&mut self, now: Instant) {
        for channel in std::mem::take(&mut self.left_muted) {
            // Its place may have gone to another channel meanwhile.
            let Some(left) = self.channels.get_mut(channel).filter(|left| left.left_muted) else { continue };
            if left.conversations > 0 {
                left.left_muted = false;
            } else if left.muted_until <= now {
                self.drop_channel(channel);
            } else {
                self.left_muted.push(channel);
            }
        }
    }

    fn drop_channel(&mut self, channel: u32) {
        self.accepted.retain(|accepted| *accepted != channel);
        self.channels.remove(channel);
    }

    /// Credentials of the channel were accepted that were not before.
    pub(super) fn accept(&mut self, channel: u32) {
        let known = self.channel_at_mut(channel);
        known.acceptances = known.acceptances.wrapping_add(1);
        if !known.blocked.is_empty() && !self.accepted.contains(&channel) {
            self.accepted.push(channel);
        }
    }

    /// Whether some conversations have not gone on yet since an acceptance.
    pub(super) const fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// The next conversation that was blocked before an acceptance.
    pub(super) fn next_accepted(&mut self) -> Option<u32> {
        while let Some(channel) = self.accepted.first() {
            let known = self.channel_at(*channel);
            // Those blocked since the acceptance are behind the others.
            let waits = |slot: &u32| self.entry(*slot).state.acceptances_seen != known.acceptances;
            if let Some(slot) = known.blocked.front().filter(waits) {
                return Some(slot);
            }
            self.accepted.remove(0);
        }
        None
    }
}

impl Links for Tracker {
    fn neighbours(&mut self, link: Link, slot: u32) -> &mut Neighbours {
        let entry = self.entry_mut(slot);
        match link {
            Link::Deadline => &mut entry.deadline,
            Link::Queue => &mut entry.queue_links,
        }
    }
}

const KNOWN: &str = "queues and wheel only hold conversations of the table, and these only channels of it";

/// Half of the hash of the ids, which is enough to find them by.
#[inline]
fn hash_of(state: &FixedState, to: &str, from: &str) -> u32 {
    let mut hasher = state.build_hasher();
    to.hash(&mut hasher);
    from.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}
