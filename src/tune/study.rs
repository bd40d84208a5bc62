//! What is studied: the typing of traces, a compact timeline for each conversation, and the users it belongs to.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::truth::{Interval, Truth};
use crate::model::{ConversationRef, Signal, SignalKind};
use crate::signals::trace::{TraceError, TraceReader};

/// The typing of one or more traces.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// The traces, in the order in which they were read.
    pub inputs: Vec<Input>,
    /// The conversations of all traces. Those of different traces are different ones, whatever their ids.
    pub timelines: Vec<Timeline>,
    /// How many users there are. A user is whoever has one `from` in one trace, and did more than open a conversation.
    pub users: usize,
}

/// A trace that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As it was named.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its conversations.
    pub conversations: usize,
    /// Its keystrokes, those ignored as late (rule 6) left out.
    pub keys: u64,
}

/// One conversation as it was recorded. Times are milliseconds since the trace's first line.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The user's number, below [`Study::users`].
    pub user: u32,
    /// The end user's id, as the trace has it.
    pub from: Box<str>,
    /// When the conversation began: with its first line, even if that only opened it.
    pub begin: u64,
    /// The absences that were put in after messages taken for abandoned ones, in milliseconds: no part of its life.
    pub inserted: u64,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When the observation ended: the last line of the trace.
    pub end: u64,
    /// When the user was composing.
    pub composing: Vec<Interval>,
}

/// Something that happened in a conversation, in eight bytes: a trace of a million keys is gone through hundreds of
/// times. Two bits say what, sixteen for how long it lasts, the rest when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(u64);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A key was pressed.
    Key,
    /// The message went out.
    Sent,
    /// The box was cleared or left.
    Cleared,
    /// The chat was closed.
    Closed,
}

impl Event {
    /// The latest there is, in milliseconds: more than two thousand years from the first line. What is later is taken for
    /// that.
    pub const AT_MAX: u64 = u64::MAX >> 18;

    /// `happening` at `at` milliseconds.
    #[must_use]
    pub const fn new(at: u64, happening: Happening) -> Self {
        let at = if at < Self::AT_MAX { at } else { Self::AT_MAX };
        Self(at << 18 | happening as u64)
    }

    /// A key at `at` milliseconds whose typing goes on for `lasts_millis`.
    #[must_use]
    pub const fn key(at: u64, lasts_millis: u16) -> Self {
        Self(Self::new(at, Happening::Key).0 | (lasts_millis as u64) << 2)
    }

    /// When, in milliseconds.
    #[inline]
    #[must_use]
    pub const fn at(self) -> u64 {
        self.0 >> 18
    }

    /// How long the typing goes on that a key reports, in milliseconds.
    #[inline]
    #[must_use]
    pub const fn lasts_millis(self) -> u16 {
        (self.0 >> 2) as u16
    }

    /// When the typing that a key reports ends, in milliseconds.
    #[inline]
    #[must_use]
    pub const fn typing_until(self) -> u64 {
        self.at() + self.lasts_millis() as u64
    }

    /// What.
    #[inline]
    #[must_use]
    pub const fn happening(self) -> Happening {
        match self.0 & 3 {
            0 => Happening::Key,
            1 => Happening::Sent,
            2 => Happening::Cleared,
            _ => Happening::Closed,
        }
    }

    /// Whether it is a key: nearly everything is, and need not be told from the others.
    #[inline]
    #[must_use]
    pub const fn is_key(self) -> bool {
        self.0 & 3 == Happening::Key as u64
    }

    /// The same, `millis` later.
    #[must_use]
    pub const fn later(self, millis: u64) -> Self {
        let at = Self::new(self.at().saturating_add(millis), Happening::Key).0;
        Self(at | self.0 & !(u64::MAX << 18))
    }
}

impl Study {
    /// Reads every trace to its end.
    ///
    /// # Errors
    /// At the first line that can't be taken.
    pub fn read(traces: impl IntoIterator<Item = TraceReader>) -> Result<Self, TraceError> {
        let mut study = Self::default();
        for trace in traces {
            study.read_trace(trace.with_digest())?;
        }
        Ok(study)
    }

    fn read_trace(&mut self, mut trace: TraceReader) -> Result<(), TraceError> {
        let (first_timeline, first_user) = (self.timelines.len(), self.users);
        let mut index = Index::default();
        let mut origin = None;
        let mut end = 0;
        let mut keys = 0;
        while let Some((at, parsed)) = trace.next_line()? {
            let at = (at - *origin.get_or_insert(at)).min(Event::AT_MAX);
            end = at;
            let slot = index.find(parsed.conversation(), at, &mut self.timelines, &mut self.users);
            keys += u64::from(self.timelines[slot].enter(at, parsed.signal));
        }
        for timeline in &mut self.timelines[first_timeline..] {
            timeline.end = end;
            timeline.events.shrink_to_fit();
        }
        // A conversation that was only opened has nothing to tell.
        let mut conversations = 0;
        let mut at = 0;
        self.timelines.retain(|timeline| {
            at += 1;
            let kept = at <= first_timeline || !timeline.events.is_empty();
            conversations += usize::from(kept && at > first_timeline);
            kept
        });
        // Nor has a user of such conversations alone: to draw them as well would blur what is known of the others.
        let mut numbers = vec![None; self.users - first_user];
        self.users = first_user;
        for timeline in &mut self.timelines[first_timeline..] {
            let number = numbers[timeline.user as usize - first_user].get_or_insert_with(|| {
                self.users += 1;
                self.users - 1
            });
            timeline.user = u32::try_from(*number).expect("numbers only become smaller");
        }
        let input = Input {
            name: trace.name().to_owned(),
            sha256: trace.sha256().expect("the reader was made with a digest"),
            conversations,
            keys,
        };
        self.inputs.push(input);
        Ok(())
    }

    /// All keystrokes.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.inputs.iter().map(|input| input.keys).sum()
    }

    /// For how long an icon may be on if each key keeps it on for `longest`, in milliseconds, over all conversations.
    #[must_use]
    pub fn watched(&self, longest: u64) -> u64 {
        let of = |timeline: &Timeline| {
            let lasts = timeline.events.iter().map(|event| u64::from(event.lasts_millis())).max();
            let longest = longest.saturating_add(lasts.unwrap_or_default());
            let gaps = timeline.events.windows(2).map(|pair| (pair[1].at() - pair[0].at()).min(longest));
            gaps.fold(longest, u64::saturating_add)
        };
        self.timelines.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Decides when the users were composing, and takes a share of the sent messages for abandoned ones, drawn by
    /// `seed`: their send falls away, and what follows waits until the user counts as away.
    pub fn settle(&mut self, truth: Truth, abandon: Option<f64>, seed: u64) {
        for (number, timeline) in self.timelines.iter_mut().enumerate() {
            if let Some(share) = abandon {
                // Each conversation draws by itself, so that adding a trace leaves the others as they are.
                let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
                timeline.abandon(truth.away, || dice.f64() < share);
            }
            timeline.composing = truth.intervals(&timeline.events, timeline.end);
        }
    }
}

impl Timeline {
    /// Enters a signal; whether it was a keystroke that counts.
    fn enter(&mut self, at: u64, signal: Signal) -> bool {
        let happening = match signal.kind {
            SignalKind::Keystroke => Happening::Key,
            SignalKind::MessageSent => Happening::Sent,
            SignalKind::Stopped => Happening::Cleared,
            SignalKind::Ended => Happening::Closed,
            // It says that the session exists; whether anybody types is another matter.
            SignalKind::Opened => return false,
        };
        let key = happening == Happening::Key;
        // A keystroke not later than a message is late (rule 6); an `ended` makes the daemon forget the message's time.
        let late = |event: &&Event| event.at() == at && event.happening() != Happening::Closed;
        let sent = |event: &Event| event.happening() == Happening::Sent;
        if key && self.events.iter().rev().take_while(late).any(sent) {
            return false;
        }
        self.events.push(if key { Event::key(at, signal.lasts_millis) } else { Event::new(at, happening) });
        key
    }

    fn abandon(&mut self, away: u64, mut drawn: impl FnMut() -> bool) {
        let (mut delay, mut inserted) = (0, 0);
        let mut typed: Option<u64> = None;
        let mut moved: Vec<Event> = Vec::with_capacity(self.events.len());
        for event in &self.events {
            let event = event.later(delay);
            match event.happening() {
                Happening::Key => typed = typed.max(Some(event.typing_until())),
                Happening::Sent => {
                    let composed = typed.take().filter(|until| event.at().saturating_sub(*until) <= away);
                    if let Some(until) = composed
                        && drawn()
                    {
                        // Away begins where the typing ends.
                        delay += until.saturating_sub(event.at()) + away + 1;
                        continue;
                    }
                }
                Happening::Cleared | Happening::Closed => typed = None,
            }
            inserted = delay;
            moved.push(event);
        }
        self.end += delay;
        self.inserted += inserted;
        self.events = moved;
    }

    /// From its beginning to the last thing that happened, in milliseconds.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.events.last().map_or(0, |last| last.at() - self.begin - self.inserted)
    }
}

/// Finds the conversations and users of one trace by their ids.
#[derive(Default)]
struct Index {
    hash: foldhash::fast::RandomState,
    conversations: HashTable<(Box<str>, u32)>,
    users: HashTable<(Box<str>, u32)>,
}

impl Index {
    /// The place of the timeline of `who`, which begins `at` this moment if there is none yet.
    fn find(&mut self, who: ConversationRef<'_>, at: u64, timelines: &mut Vec<Timeline>, users: &mut usize) -> usize {
        let same = |entry: &(Box<str>, u32)| {
            let (to, timeline) = entry;
            **to == *who.to() && *timelines[*timeline as usize].from == *who.from()
        };
        let hash = self.hash.hash_one(Pair(who.to(), who.from()));
        if let Some((_, found)) = self.conversations.find(hash, same) {
            return *found as usize;
        }
        let state = &self.hash;
        let user_hash = state.hash_one(who.from());
        let user = match self.users.find(user_hash, |(from, _)| **from == *who.from()) {
            Some((_, user)) => *user,
            None => {
                let user =
                    u32::try_from(*users).expect("a trace of four thousand million users does not fit a machine");
                *users += 1;
                let rehash = |entry: &(Box<str>, u32)| state.hash_one(&*entry.0);
                self.users.insert_unique(user_hash, (who.from().into(), user), rehash);
                user
            }
        };
        let slot = u32::try_from(timelines.len()).expect("there are no more conversations than that either");
        let from = who.from().into();
        timelines.push(Timeline {
            user,
            from,
            begin: at,
            inserted: 0,
            events: Vec::new(),
            end: 0,
            composing: Vec::new(),
        });
        let rehash = |entry: &(Box<str>, u32)| state.hash_one(Pair(&entry.0, &timelines[entry.1 as usize].from));
        self.conversations.insert_unique(hash, (who.to().into(), slot), rehash);
        slot as usize
    }
}

#[derive(std::hash::Hash)]
struct Pair<'a>(&'a str, &'a str);

#[cfg(test)]
mod tests {
    use super::*;

    fn study(lines: &[(u64, &str, &str, &str)]) -> Study {
        let line = |(at, to, from, signal): &(u64, &str, &str, &str)| {
            format!("{{\"to\":\"{to}\",\"from\":\"{from}\",\"signal\":\"{signal}\",\"at\":{at}}}\n")
        };
        let text: String = lines.iter().map(line).collect();
        Study::read([TraceReader::new("t", std::io::Cursor::new(text))]).unwrap()
    }

    #[test]
    fn whoever_only_opened_is_no_user() {
        let found = study(&[
            (0, "c", "idler", "opened"),
            (1, "c", "ada", "keystroke"),
            (2, "c", "silent", "opened"),
            (3, "d", "bob", "keystroke"),
            (4, "d", "ada", "opened"),
            (5, "d", "idler", "opened"),
            (6, "c", "bob", "keystroke"),
        ]);
        let users: Vec<_> = found.timelines.iter().map(|t| (&*t.from, t.user)).collect();
        assert_eq!((found.users, users), (2, vec![("ada", 0), ("bob", 1), ("bob", 1)]));
        assert_eq!(found.inputs[0].conversations, 3);
    }

    #[test]
    fn a_chat_lives_from_its_opening_to_the_last_thing_that_happens() {
        let mut found = study(&[
            (70, "c", "ada", "keystroke"),
            (100, "c", "bob", "opened"),
            (400, "c", "bob", "keystroke"),
            (700, "c", "bob", "message_sent"),
            (900, "c", "bob", "opened"),
        ]);
        assert_eq!(found.timelines.iter().map(Timeline::life).collect::<Vec<_>>(), [0, 600]);
        found.settle(Truth { kind: crate::tune::truth::Kind::Message, away: 5_000 }, Some(1.0), 42);
        assert_eq!(found.timelines[1].life(), 300, "the message was given up at its last key");
        let mut found = study(&[
            (0, "c", "ada", "keystroke"),
            (300, "c", "ada", "message_sent"),
            (1_000, "c", "ada", "keystroke"),
            (1_500, "c", "ada", "keystroke"),
        ]);
        found.settle(Truth { kind: crate::tune::truth::Kind::Message, away: 5_000 }, Some(1.0), 42);
        assert_eq!(found.timelines[0].events[2].at(), 6_501, "the user was away");
        assert_eq!(found.timelines[0].life(), 1_500, "but the chat was no longer for that");
    }
}
