//! All conversations: the table, found by their ids, and the channels they belong to. It knows no rule.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use super::changes::Generation;
use super::id::Id;
use super::index::{Chained, Index};
use super::list::{Link, Links, List, NIL, Neighbours};
use super::outbox::Outbox;
use super::policy::Rules;
use super::slab::Slab;
use super::timing::Timing;
use super::wheel::Place;
use crate::model::{Conversation, ConversationRef, CredentialId, Instant};

/// Everything about one conversation: what would have to be stored if another process were to go on with it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) timing: Timing,
    pub(super) outbox: Outbox,
    /// The latest `at` of a message, plus one; zero for none. A keystroke not later than that is late.
    pub(super) barrier: u64,
    /// Until when it is remembered although nothing is going on, or left alone.
    pub(super) hold_until: Instant,
    /// Until when it is remembered for its owner's sake.
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
    /// Half of the hash of both ids: enough for the index.
    hash: u32,
    /// The next entry of the index's chain.
    next: u32,
    pub(super) channel: u32,
    deadline: Neighbours,
    line: Neighbours,
    pub(super) place: Place,
    pub(super) standing: Standing,
    /// The newest of the changes of all that it has followed.
    pub(super) generation: Generation,
    /// Counted among those whose icon should be on.
    pub(super) lit: bool,
    /// Counted among those that have not told the far side off yet.
    pub(super) unsettled: bool,
    pub(super) state: State,
}

/// Which line a conversation stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In none.
    None,
    /// In the one of that urgency, by its number.
    Ready(u8),
    /// Remembered although nothing is going on; the first to go when the table is full.
    Lingering,
    /// In the channel's: a Stopped that waits until credentials of the channel are accepted.
    Blocked,
}

/// A channel: what its conversations share.
#[derive(Debug)]
pub(super) struct Channel {
    name: Id,
    hash: u32,
    /// The next channel of the index's chain.
    next: u32,
    pub(super) rules: Rules,
    pub(super) muted_until: Instant,
    /// Conversations whose Stopped waits until credentials of this channel are accepted.
    pub(super) blocked: List,
    /// How often credentials of this channel have been accepted that were not before; wraps.
    pub(super) acceptances: u16,
    conversations: u32,
    /// It stands in the list of those that were left while they were muted.
    left_muted: bool,
    /// The change of all since which its rules are these.
    generation: Generation,
}

/// The table.
#[derive(Debug)]
pub(super) struct Tracker {
    entries: Slab<Entry>,
    index: Index,
    channels: Slab<Channel>,
    channel_index: Index,
    /// Channels that were left by their last conversation while they were muted.
    left_muted: Vec<u32>,
    hash: FixedState,
}

impl Tracker {
    /// `seed` keys the hash, for ids come from outside.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Slab::new(),
            index: Index::new(),
            channels: Slab::new(),
            channel_index: Index::new(),
            left_muted: Vec::new(),
            hash: FixedState::with_seed(seed),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn channels_len(&self) -> usize {
        self.channels.len()
    }

    #[inline]
    pub(super) fn find(&self, conversation: ConversationRef<'_>) -> Option<u32> {
        let hash = hash_of(&self.hash, conversation.to(), conversation.from());
        self.index.find(&self.entries, hash, |entry| {
            entry.from.is(conversation.from()) && self.channel_at(entry.channel).name.is(conversation.to())
        })
    }

    /// Adds a conversation that is not in the table. `rules` are those of its channel since the change `generation`.
    pub(super) fn insert(
        &mut self,
        conversation: ConversationRef<'_>,
        generation: Generation,
        rules: impl FnOnce() -> Rules,
    ) -> u32 {
        let hash = hash_of(&self.hash, conversation.to(), conversation.from());
        let channel = self.join_channel(conversation.to(), generation, rules);
        let slot = self.entries.insert(Entry {
            from: Id::new(conversation.from()),
            hash,
            next: NIL,
            channel,
            deadline: Neighbours::NONE,
            line: Neighbours::NONE,
            place: Place::NONE,
            standing: Standing::None,
            generation,
            lit: false,
            unsettled: false,
            state: State {
                timing: Timing::IDLE,
                outbox: Outbox::EMPTY,
                barrier: 0,
                hold_until: Instant::ORIGIN,
                retained_until: Instant::ORIGIN,
                opened: false,
                muted: false,
                acceptances_seen: 0,
                credentials: None,
            },
        });
        self.index.insert(&mut self.entries, slot);
        slot
    }

    /// Forgets a conversation that stands in no line and has no deadline.
    pub(super) fn remove(&mut self, slot: u32, now: Instant) {
        self.index.remove(&mut self.entries, slot);
        let Some(entry) = self.entries.remove(slot) else { return };
        debug_assert!(entry.place == Place::NONE && entry.standing == Standing::None);
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

    /// Gives some of the memory back that those took who have gone. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        let entries = self.entries.trim();
        self.channels.trim() || entries
    }

    /// What is in `slot`, if there is anything.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot)
    }

    /// Whether `slot` holds a conversation at all.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.get(slot).is_some()
    }

    pub(super) fn channel(&self, slot: u32) -> &Channel {
        self.channel_at(self.entry(slot).channel)
    }

    pub(super) fn channel_mut(&mut self, slot: u32) -> &mut Channel {
        let channel = self.entry(slot).channel;
        self.channels.get_mut(channel).expect(KNOWN)
    }

    fn channel_at(&self, channel: u32) -> &Channel {
        self.channels.get(channel).expect(KNOWN)
    }

    pub(super) fn channel_name(&self, slot: u32) -> &str {
        self.channel(slot).name.as_str()
    }

    pub(super) fn conversation(&self, slot: u32) -> Conversation {
        self.conversation_ref(slot).to_owned()
    }

    pub(super) fn conversation_ref(&self, slot: u32) -> ConversationRef<'_> {
        let entry = self.entry(slot);
        ConversationRef::new(self.channel_at(entry.channel).name.as_str(), entry.from.as_str())
            .expect("it was valid when it was put in")
    }

    /// Up to the first slot behind all that are used.
    pub(super) fn slots_end(&self) -> u32 {
        self.entries.end()
    }

    /// The channel of that name, as its conversations have it.
    pub(super) fn find_channel(&self, name: &str) -> Option<u32> {
        self.channel_index.find(&self.channels, hash_of(&self.hash, name, ""), |channel| channel.name.is(name))
    }

    pub(super) fn channel_at_mut(&mut self, channel: u32) -> &mut Channel {
        self.channels.get_mut(channel).expect(KNOWN)
    }

    /// The channel of `slot` has the rules that `rules` says since the change `generation`.
    pub(super) fn refresh_channel(&mut self, slot: u32, generation: Generation, rules: impl FnOnce(&str) -> Rules) {
        let channel = self.channel_mut(slot);
        if channel.generation != generation {
            channel.generation = generation;
            channel.rules = rules(channel.name.as_str());
        }
    }

    fn join_channel(&mut self, name: &str, generation: Generation, rules: impl FnOnce() -> Rules) -> u32 {
        if let Some(found) = self.find_channel(name) {
            let channel = self.channels.get_mut(found).expect(KNOWN);
            // Nobody has told one without conversations of any change.
            if channel.generation != generation || channel.conversations == 0 {
                channel.generation = generation;
                channel.rules = rules();
            }
            channel.conversations += 1;
            return found;
        }
        let new = Channel {
            name: Id::new(name),
            hash: hash_of(&self.hash, name, ""),
            next: NIL,
            rules: rules(),
            muted_until: Instant::ORIGIN,
            blocked: List::EMPTY,
            acceptances: 0,
            conversations: 1,
            left_muted: false,
            generation,
        };
        let channel = self.channels.insert(new);
        self.channel_index.insert(&mut self.channels, channel);
        channel
    }

    fn leave_channel(&mut self, channel: u32, now: Instant) {
        let left = self.channels.get_mut(channel).expect(KNOWN);
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

    /// Forgets the channels that were muted, are no longer, and have no conversation.
    pub(super) fn sweep_channels(&mut self, now: Instant) {
        for channel in std::mem::take(&mut self.left_muted) {
            // One that was dropped meanwhile may have left its place to another.
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
        self.channel_index.remove(&mut self.channels, channel);
        self.channels.remove(channel);
    }
}

impl Links for Tracker {
    fn neighbours(&mut self, link: Link, slot: u32) -> &mut Neighbours {
        let entry = self.entry_mut(slot);
        match link {
            Link::Deadline => &mut entry.deadline,
            Link::Line => &mut entry.line,
        }
    }
}

const KNOWN: &str = "lists, wheel and index only hold conversations of the table, and these only channels of it";

impl Chained for Entry {
    fn hash(&self) -> u32 {
        self.hash
    }
    fn next(&self) -> u32 {
        self.next
    }
    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

impl Chained for Channel {
    fn hash(&self) -> u32 {
        self.hash
    }
    fn next(&self) -> u32 {
        self.next
    }
    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

/// Half of the hash of the ids.
#[inline]
fn hash_of(state: &FixedState, to: &str, from: &str) -> u32 {
    let mut hasher = state.build_hasher();
    to.hash(&mut hasher);
    from.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}
