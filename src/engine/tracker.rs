//! All conversations: the table, found by their ids, and the channels they belong to. It knows no rule.

use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, Hasher};

use super::list::{Link, Links, List, NIL, Neighbours};
use super::outbox::Outbox;
use super::policy::Rules;
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
    from: Box<str>,
    pub(super) channel: u32,
    deadline: Neighbours,
    line: Neighbours,
    pub(super) place: Place,
    pub(super) standing: Standing,
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

#[derive(Debug)]
enum Slot {
    Used(Entry),
    Free { next: u32 },
}

/// A channel: what its conversations share.
#[derive(Debug)]
pub(super) struct Channel {
    name: Box<str>,
    pub(super) rules: Rules,
    pub(super) muted_until: Instant,
    /// Conversations whose Stopped waits until credentials of this channel are accepted.
    pub(super) blocked: List,
    /// How often credentials of this channel have been accepted that were not before; wraps.
    pub(super) acceptances: u16,
    conversations: u32,
}

/// The table.
#[derive(Debug)]
pub(super) struct Tracker {
    slots: Vec<Slot>,
    free: u32,
    index: HashTable<u32>,
    channels: Vec<Channel>,
    free_channels: Vec<u32>,
    channel_index: HashTable<u32>,
    hash: foldhash::fast::FixedState,
}

impl Tracker {
    /// `seed` keys the hash, for ids come from outside.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            index: HashTable::new(),
            channels: Vec::new(),
            free_channels: Vec::new(),
            channel_index: HashTable::new(),
            hash: foldhash::fast::FixedState::with_seed(seed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn channels_len(&self) -> usize {
        self.channel_index.len()
    }

    pub(super) fn find(&self, conversation: ConversationRef<'_>) -> Option<u32> {
        let hash = hash_of(&self.hash, conversation.to(), conversation.from());
        self.index
            .find(hash, |&slot| {
                let entry = used(&self.slots, slot);
                *entry.from == *conversation.from() && *self.channels[entry.channel as usize].name == *conversation.to()
            })
            .copied()
    }

    /// Adds a conversation that is not in the table. `rules` are those of its channel, should that be new as well.
    pub(super) fn insert(&mut self, conversation: ConversationRef<'_>, rules: impl FnOnce() -> Rules) -> u32 {
        let channel = self.join_channel(conversation.to(), rules);
        let entry = Entry {
            from: conversation.from().into(),
            channel,
            deadline: Neighbours::NONE,
            line: Neighbours::NONE,
            place: Place::NONE,
            standing: Standing::None,
            lit: false,
            unsettled: false,
            state: State {
                timing: Timing::IDLE,
                outbox: Outbox::EMPTY,
                barrier: 0,
                hold_until: Instant::ORIGIN,
                opened: false,
                muted: false,
                acceptances_seen: 0,
                credentials: None,
            },
        };
        let slot = match self.free {
            NIL => {
                self.slots.push(Slot::Used(entry));
                u32::try_from(self.slots.len() - 1).expect("the table's bound is far below four thousand million")
            }
            slot => {
                if let Slot::Free { next } = self.slots[slot as usize] {
                    self.free = next;
                }
                self.slots[slot as usize] = Slot::Used(entry);
                slot
            }
        };
        let (slots, channels, state) = (&self.slots, &self.channels, &self.hash);
        let hash = hash_of(state, conversation.to(), conversation.from());
        self.index.insert_unique(hash, slot, |&slot| {
            let entry = used(slots, slot);
            hash_of(state, &channels[entry.channel as usize].name, &entry.from)
        });
        slot
    }

    /// Forgets a conversation that stands in no line and has no deadline.
    pub(super) fn remove(&mut self, slot: u32, now: Instant) {
        let entry = used(&self.slots, slot);
        debug_assert!(entry.place == Place::NONE && entry.standing == Standing::None);
        let channel = entry.channel;
        let hash = hash_of(&self.hash, &self.channels[channel as usize].name, &entry.from);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.slots[slot as usize] = Slot::Free { next: self.free };
        self.free = slot;
        self.leave_channel(channel, now);
        if self.index.is_empty() {
            self.release();
        }
    }

    /// Gives the memory of a crowd back once the last of it has gone.
    fn release(&mut self) {
        self.slots = Vec::new();
        self.free = NIL;
        self.index = HashTable::new();
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        used(&self.slots, slot)
    }

    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        match &mut self.slots[slot as usize] {
            Slot::Used(entry) => entry,
            Slot::Free { .. } => unreachable!("{FREED}"),
        }
    }

    /// The conversation's state and the rules of its channel.
    pub(super) fn state_mut(&mut self, slot: u32) -> (&mut State, &Rules) {
        match &mut self.slots[slot as usize] {
            Slot::Used(entry) => (&mut entry.state, &self.channels[entry.channel as usize].rules),
            Slot::Free { .. } => unreachable!("{FREED}"),
        }
    }

    /// Whether `slot` holds a conversation at all.
    pub(super) fn holds(&self, slot: u32) -> bool {
        matches!(self.slots.get(slot as usize), Some(Slot::Used(_)))
    }

    pub(super) fn channel(&self, slot: u32) -> &Channel {
        &self.channels[self.entry(slot).channel as usize]
    }

    pub(super) fn channel_mut(&mut self, slot: u32) -> &mut Channel {
        let channel = self.entry(slot).channel;
        &mut self.channels[channel as usize]
    }

    pub(super) fn conversation(&self, slot: u32) -> Conversation {
        self.conversation_ref(slot).to_owned()
    }

    pub(super) fn conversation_ref(&self, slot: u32) -> ConversationRef<'_> {
        let entry = self.entry(slot);
        ConversationRef::new(&self.channels[entry.channel as usize].name, &entry.from)
            .expect("it was valid when it was put in")
    }

    /// The slots of all conversations, in no order that means anything.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.index.iter().copied().collect()
    }

    /// Up to the first slot that has never been used.
    pub(super) fn slots_end(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("the table's bound is far below four thousand million")
    }

    /// The channel of that name, as its conversations have it.
    pub(super) fn find_channel(&self, name: &str) -> Option<u32> {
        let hash = self.hash.hash_one(name);
        self.channel_index.find(hash, |&channel| *self.channels[channel as usize].name == *name).copied()
    }

    pub(super) fn channel_at_mut(&mut self, channel: u32) -> &mut Channel {
        &mut self.channels[channel as usize]
    }

    /// Gives every channel the rules that `rules` has for its name.
    pub(super) fn set_rules(&mut self, rules: impl Fn(&str) -> Rules) {
        for &channel in &self.channel_index {
            let channel = &mut self.channels[channel as usize];
            channel.rules = rules(&channel.name);
        }
    }

    fn join_channel(&mut self, name: &str, rules: impl FnOnce() -> Rules) -> u32 {
        let hash = self.hash.hash_one(name);
        let channels = &self.channels;
        if let Some(&found) = self.channel_index.find(hash, |&channel| *channels[channel as usize].name == *name) {
            self.channels[found as usize].conversations += 1;
            return found;
        }
        let new = Channel {
            name: name.into(),
            rules: rules(),
            muted_until: Instant::ORIGIN,
            blocked: List::EMPTY,
            acceptances: 0,
            conversations: 1,
        };
        let channel = match self.free_channels.pop() {
            Some(channel) => {
                self.channels[channel as usize] = new;
                channel
            }
            None => {
                self.channels.push(new);
                u32::try_from(self.channels.len() - 1).expect("there are no more channels than conversations")
            }
        };
        let (channels, state) = (&self.channels, &self.hash);
        self.channel_index.insert_unique(hash, channel, |&channel| state.hash_one(&*channels[channel as usize].name));
        channel
    }

    fn leave_channel(&mut self, channel: u32, now: Instant) {
        let left = &mut self.channels[channel as usize];
        left.conversations -= 1;
        // A muted channel is remembered: forgetting it would try it again with the next conversation.
        if left.conversations == 0 && left.muted_until <= now {
            self.drop_channel(channel);
        }
    }

    /// Forgets the channels that were muted, are no longer, and have no conversation.
    pub(super) fn sweep_channels(&mut self, now: Instant) {
        let done: Vec<u32> = self
            .channel_index
            .iter()
            .copied()
            .filter(|&channel| {
                let channel = &self.channels[channel as usize];
                channel.conversations == 0 && channel.muted_until <= now
            })
            .collect();
        for channel in done {
            self.drop_channel(channel);
        }
    }

    fn drop_channel(&mut self, channel: u32) {
        let hash = self.hash.hash_one(&*self.channels[channel as usize].name);
        if let Ok(found) = self.channel_index.find_entry(hash, |&other| other == channel) {
            found.remove();
        }
        self.channels[channel as usize].name = Box::default();
        self.free_channels.push(channel);
        if self.channel_index.is_empty() {
            self.channels = Vec::new();
            self.free_channels = Vec::new();
            self.channel_index = HashTable::new();
        }
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

const FREED: &str = "lists, wheel and index only hold conversations of the table";

#[inline]
fn used(slots: &[Slot], slot: u32) -> &Entry {
    match &slots[slot as usize] {
        Slot::Used(entry) => entry,
        Slot::Free { .. } => unreachable!("{FREED}"),
    }
}

#[inline]
fn hash_of(state: &foldhash::fast::FixedState, to: &str, from: &str) -> u64 {
    let mut hasher = state.build_hasher();
    to.hash(&mut hasher);
    from.hash(&mut hasher);
    hasher.finish()
}
