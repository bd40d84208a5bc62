//! What happened of late, found by its conversation: bounded by number, by memory and by age.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::kept::Kept;
use super::{Event, What};
use crate::model::{Conversation, ConversationRef, Instant, SignalKind};

/// Events kept over all conversations: some four megabytes with ids of usual lengths. At 50 requests a second they reach
/// back for five minutes, at 2,000 for eight seconds.
pub const EVENTS_MAX: usize = 32_768;
/// What they may take in memory, whatever the ids' lengths.
pub const BYTES_MAX: usize = 16 << 20;
/// Nothing is kept for longer: a conversation that has ended is to be forgotten.
pub const AGE_MAX: Duration = Duration::from_secs(3_600);
/// Events of one conversation that are shown.
pub const PAST_EVENTS_MAX: usize = 50;
/// Events of one conversation that are looked at in search of its last result and its last signal.
const LOOKS_MAX: usize = 1_000;

/// The history.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// The number of the first entry. They are numbered as they come.
    first: u64,
    /// The newest entry of each conversation that has any.
    newest: HashTable<u64>,
    bytes: usize,
    hash: FixedState,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    conversation: Conversation,
    /// How many entries back the one before it of the same conversation is, which may be gone; 0 if there was none.
    back: u32,
    kept: Kept,
}

/// What is known of a conversation's past.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The newest, at most [`PAST_EVENTS_MAX`], the newest last.
    pub events: Vec<Event>,
    /// The newest end of a request.
    pub result: Option<Event>,
    /// The newest signal, keystrokes left out.
    pub signal: Option<Event>,
    /// The newest keystroke that was ignored, among the events that are shown.
    pub ignored: Option<Event>,
}

impl History {
    /// `seed` keys the hash, for ids come from outside.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            newest: HashTable::new(),
            bytes: 0,
            hash: FixedState::with_seed(seed),
        }
    }

    /// Keeps `event`, and lets go of the oldest to make room.
    pub(super) fn push(&mut self, event: Event) {
        let Event { at, conversation, waited, what } = event;
        self.keep(at, conversation.as_ref(), Kept::new(waited, what), || conversation.clone());
    }

    /// Keeps a signal, as [`Self::push`] does.
    pub(super) fn push_signal(&mut self, at: Instant, conversation: ConversationRef<'_>, kind: SignalKind) {
        self.keep(at, conversation, Kept::Signal(kind), || conversation.to_owned());
    }

    /// Keeps what happened to `conversation`, which is `owned` if there is nothing of it yet.
    fn keep(
        &mut self,
        at: Instant,
        conversation: ConversationRef<'_>,
        kept: Kept,
        owned: impl FnOnce() -> Conversation,
    ) {
        self.forget(at);
        let bytes = bytes(conversation, &kept);
        while self.entries.len() >= EVENTS_MAX || (self.bytes + bytes > BYTES_MAX && !self.entries.is_empty()) {
            self.pop();
        }
        let number = self.first + self.entries.len() as u64;
        let hash = self.hash.hash_one(conversation);
        let Self { entries, first, newest, hash: state, .. } = self;
        let of = |number: u64| &entries[(number - *first) as usize].conversation;
        let (back, conversation) = match newest.find_mut(hash, |&other| of(other).as_ref() == conversation) {
            Some(newest) => {
                let newest = std::mem::replace(newest, number);
                // Those that are kept are fewer than 2^32. The events of a conversation share its text.
                ((number - newest) as u32, of(newest).clone())
            }
            None => {
                newest.insert_unique(hash, number, |&other| {
                    // The new one is not in its place yet, and is only hashed when the table grows.
                    if other == number { hash } else { state.hash_one(of(other).as_ref()) }
                });
                (0, owned())
            }
        };
        self.bytes += bytes;
        self.entries.push_back(Entry { at, conversation, back, kept });
    }

    /// Lets go of what is too old at `now`.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| entry.at + AGE_MAX <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= bytes(entry.conversation.as_ref(), &entry.kept);
        let hash = self.hash.hash_one(entry.conversation.as_ref());
        if let Ok(found) = self.newest.find_entry(hash, |&number| number == self.first) {
            found.remove();
        }
        self.first += 1;
        if self.entries.is_empty() {
            // The memory of a crowd goes with the last of it.
            self.entries = VecDeque::new();
            self.newest = HashTable::new();
        }
    }

    /// The same conversation, with the text of its newest event, if there is one.
    pub(super) fn shared(&self, conversation: Conversation) -> Conversation {
        match self.find(conversation.as_ref()) {
            Some(newest) => self.entry(newest).conversation.clone(),
            None => conversation,
        }
    }

    /// The newest event of one conversation.
    pub(super) fn newest(&self, conversation: ConversationRef<'_>) -> Option<Event> {
        self.find(conversation).map(|number| self.entry(number).event())
    }

    /// The past of one conversation.
    pub(super) fn past(&self, conversation: ConversationRef<'_>) -> Past {
        let mut past = Past::default();
        let mut next = self.find(conversation);
        for _ in 0..LOOKS_MAX {
            let Some(number) = next.filter(|&number| number >= self.first) else { break };
            let entry = self.entry(number);
            let event = entry.event();
            if past.events.len() < PAST_EVENTS_MAX {
                past.events.push(event.clone());
                if past.ignored.is_none() && matches!(event.what, What::Ignored(_)) {
                    past.ignored = Some(event.clone());
                }
            } else if past.result.is_some() && past.signal.is_some() {
                break;
            }
            match event.what {
                What::Signal(_) => past.signal = past.signal.or(Some(event)),
                What::Answered(..) => past.result = past.result.or(Some(event)),
                What::Ignored(_) | What::Decided(_) | What::Dropped(..) => {}
            }
            next = number.checked_sub(entry.back.into()).filter(|_| entry.back > 0);
        }
        past.events.reverse();
        past
    }

    /// The number of the newest entry of one conversation.
    fn find(&self, conversation: ConversationRef<'_>) -> Option<u64> {
        let hash = self.hash.hash_one(conversation);
        self.newest.find(hash, |&number| self.entry(number).conversation.as_ref() == conversation).copied()
    }

    fn entry(&self, number: u64) -> &Entry {
        &self.entries[(number - self.first) as usize]
    }
}

impl Entry {
    fn event(&self) -> Event {
        let (waited, what) = self.kept.what();
        Event { at: self.at, conversation: self.conversation.clone(), waited, what }
    }
}

/// What an entry takes in memory, about.
fn bytes(conversation: ConversationRef<'_>, kept: &Kept) -> usize {
    size_of::<Entry>() + conversation.to().len() + conversation.from().len() + kept.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, SignalKind};
    use crate::observe::events::Subject;

    fn event(from: &str, at: u64, what: What) -> Event {
        let conversation = ConversationRef::new("c", from).unwrap().to_owned();
        Event { at: Instant::from_millis(at), conversation, waited: Duration::ZERO, what }
    }

    fn decided(number: u64) -> What {
        What::Decided(Subject { number, reason: Reason::Check })
    }

    fn past(history: &History, from: &str) -> Past {
        history.past(ConversationRef::new("c", from).unwrap())
    }

    fn numbers(past: &Past) -> Vec<u64> {
        let number = |event: &Event| match event.what {
            What::Decided(subject) => subject.number,
            _ => 0,
        };
        past.events.iter().map(number).collect()
    }

    #[test]
    fn each_conversation_has_its_newest_last() {
        let mut history = History::new(1);
        for number in 1..=200 {
            history.push(event(["ann", "bob"][number as usize % 2], number, decided(number)));
        }
        history.push(event("ann", 201, What::Signal(SignalKind::Ended)));
        let ann = numbers(&past(&history, "ann"));
        assert_eq!((ann.len(), ann.last(), ann[PAST_EVENTS_MAX - 2]), (PAST_EVENTS_MAX, Some(&0), 200));
        assert_eq!(numbers(&past(&history, "bob"))[PAST_EVENTS_MAX - 1], 199);
        assert!(past(&history, "cid").events.is_empty());
        assert!(past(&history, "bob").signal.is_none());
        assert_eq!(past(&history, "ann").signal.unwrap().at, Instant::from_millis(201));
    }

    #[test]
    fn the_last_signal_is_found_behind_what_is_told() {
        let mut history = History::new(1);
        history.push(event("ann", 1, What::Signal(SignalKind::Opened)));
        for number in 1..=200 {
            history.push(event("ann", number, decided(number)));
        }
        let past = past(&history, "ann");
        assert_eq!((past.events.len(), past.signal.unwrap().at), (PAST_EVENTS_MAX, Instant::from_millis(1)));
    }

    #[test]
    fn it_is_bounded_by_number_by_memory_and_by_age() {
        let mut history = History::new(1);
        for number in 0..EVENTS_MAX as u64 + 1_000 {
            history.push(event(&format!("u{number}"), 1, decided(number)));
            assert!(history.entries.len() <= EVENTS_MAX && history.newest.len() == history.entries.len());
        }
        assert_eq!(history.entries.len(), EVENTS_MAX);
        assert!(past(&history, "u999").events.is_empty(), "the oldest have gone");
        assert_eq!(numbers(&past(&history, "u1000")), [1_000]);

        let long = "ü".repeat(235);
        for number in 0..EVENTS_MAX as u64 * 2 {
            history.push(event(&format!("{long}{}", number % 1_000), 2, decided(number)));
            assert!(history.bytes <= BYTES_MAX);
        }
        assert!(history.entries.len() < EVENTS_MAX && history.newest.len() == 1_000, "{}", history.entries.len());
        let bytes: usize = history.entries.iter().map(|entry| bytes(entry.conversation.as_ref(), &entry.kept)).sum();
        assert_eq!(history.bytes, bytes);

        history.push(event("ann", AGE_MAX.as_millis() as u64 + 2, decided(1)));
        assert_eq!((history.entries.len(), history.newest.len()), (1, 1), "everything else is too old");
        history.forget(Instant::from_millis(2 * AGE_MAX.as_millis() as u64 + 2));
        assert_eq!((history.entries.len(), history.newest.len(), history.bytes), (0, 0, 0));
    }
}
