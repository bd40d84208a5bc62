//! What is studied: the typing of traces, a compact timeline for each conversation, and the users it belongs to.

use hashbrown::HashMap;

use super::plan::Plan;
use super::timeline::{Close, Event, Timeline};
use super::truth::Truth;
use crate::signals::trace::{TraceError, TraceReader};

/// The typing of one or more traces.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// The traces, in the order in which they were read.
    pub inputs: Vec<Input>,
    /// The conversations of all traces. Those of different traces are different ones, whatever their ids.
    pub timelines: Vec<Timeline>,
    /// How many users there are. A user is one `from` of one trace that did more than open a conversation.
    pub users: usize,
    /// Their ids, as the traces have them.
    pub names: Vec<Box<str>>,
    /// The addresses of the channels, in the order in which they were met.
    pub channels: Vec<Box<str>>,
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

/// Why typing can't be studied.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// A trace can't be read on.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// There is more of it than fits the memory that a study may take.
    #[error(
        "{name}: up to here {conversations} conversations of {users} users take more than the {MEGABYTES} MB that tune may use; \
         expected a shorter recording, or one channel of it (--to)"
    )]
    TooLarge {
        /// The trace.
        name: String,
        /// How many conversations had been read.
        conversations: usize,
        /// How many users had been.
        users: usize,
    },
    /// Refreshes of long typing would take more memory than there may be.
    #[error(
        "check: typing told with `lasts` gives up to {refreshes} refreshes with a check of {check_millis} ms, too many to hold; expected a longer check"
    )]
    Refreshes {
        /// How many.
        refreshes: u64,
        /// The shortest check.
        check_millis: u64,
    },
    /// No line is of the channel asked for.
    #[error("to = \"{to}\": no line is of this channel; expected one of {}", channels.join(", "))]
    NoChannel {
        /// The channel.
        to: String,
        /// Some of those that there are.
        channels: Vec<String>,
    },
}

impl Study {
    /// Reads every trace to its end.
    ///
    /// # Errors
    /// At the first line that can't be taken, or that is too much.
    pub fn read(traces: impl IntoIterator<Item = TraceReader>) -> Result<Self, StudyError> {
        Self::read_channel(traces, None)
    }

    /// The same, of the channel `to` alone if one is named.
    ///
    /// # Errors
    /// As those of [`Study::read`], and if there is no such channel.
    pub fn read_channel(traces: impl IntoIterator<Item = TraceReader>, to: Option<&str>) -> Result<Self, StudyError> {
        let mut study = Self::default();
        let mut channels = Channels::default();
        for trace in traces {
            study.read_trace(trace.with_digest(), to, &mut channels)?;
        }
        let mut names: Vec<(Box<str>, u32)> = channels.known.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        if let Some(to) = to
            && !names.iter().any(|(name, _)| **name == *to)
        {
            let channels = names.iter().take(CHANNELS_NAMED_MAX).map(|(name, _)| name.to_string()).collect();
            return Err(StudyError::NoChannel { to: to.to_owned(), channels });
        }
        study.channels = names.into_iter().map(|(name, _)| name).collect();
        Ok(study)
    }

    fn read_trace(
        &mut self,
        mut trace: TraceReader,
        only: Option<&str>,
        channels: &mut Channels,
    ) -> Result<(), StudyError> {
        let (first_timeline, first_user) = (self.timelines.len(), self.users);
        let mut users = Users::default();
        let mut slots: HashMap<(u32, u32), u32, foldhash::fast::RandomState> = HashMap::default();
        let mut origin = None;
        let (mut end, mut keys) = (0, 0);
        let mut bytes = self.bytes();
        while let Some((at, parsed)) = trace.next_line()? {
            let at = (at - *origin.get_or_insert(at)).min(Event::AT_MAX);
            end = at;
            let who = parsed.conversation();
            let channel = channels.number(who.to());
            if only.is_some_and(|only| who.to() != only) {
                continue;
            }
            let user = if let Some(user) = users.get(who.from()) {
                *user
            } else {
                let user = u32::try_from(users.len()).expect("there is no room for as many");
                users.insert(who.from().into(), user);
                bytes += USER_BYTES + who.from().len();
                user
            };
            let slot = *slots.entry((user, channel)).or_insert_with(|| {
                bytes += CONVERSATION_BYTES;
                self.timelines.push(Timeline::new(user, channel, at));
                u32::try_from(self.timelines.len() - 1).expect("there is no room for as many")
            });
            keys += u64::from(self.timelines[slot as usize].enter(at, parsed.signal));
            bytes += EVENT_BYTES;
            if bytes + channels.bytes > STUDY_BYTES_MAX {
                let (conversations, users) = (self.timelines.len(), first_user + users.len());
                return Err(StudyError::TooLarge { name: trace.name().to_owned(), conversations, users });
            }
        }
        drop(slots);
        // A conversation that was only opened has nothing to measure.
        let mut place = first_timeline;
        for at in first_timeline..self.timelines.len() {
            if !self.timelines[at].events.is_empty() {
                self.timelines.swap(place, at);
                place += 1;
            }
        }
        self.timelines.truncate(place);
        // Nor has a user of such conversations alone: to count them as well would blur what is known of the others.
        let mut numbers = vec![None; users.len()];
        for timeline in &mut self.timelines[first_timeline..] {
            timeline.end = end;
            timeline.events.shrink_to_fit();
            let number = numbers[timeline.user as usize].get_or_insert_with(|| {
                self.users += 1;
                self.users - 1
            });
            timeline.user = u32::try_from(*number).expect("numbers only become smaller");
        }
        self.names.resize(self.users, Box::default());
        for (name, user) in users {
            if let Some(number) = numbers[user as usize] {
                self.names[number] = name;
            }
        }
        let input = Input {
            name: trace.name().to_owned(),
            sha256: trace.sha256().expect("the reader was made with a digest"),
            conversations: self.timelines.len() - first_timeline,
            keys,
        };
        self.inputs.push(input);
        Ok(())
    }

    /// Whether what `plan` asks of it fits the memory that a study may take.
    ///
    /// # Errors
    /// If it does not: typing that goes on by itself is refreshed at every check.
    pub fn fits(&self, plan: &Plan) -> Result<(), StudyError> {
        let lasts =
            self.timelines.iter().flat_map(|timeline| &timeline.events).map(|event| u64::from(event.lasts_millis()));
        let checks = plan.grid.iter().chain([&plan.current]).map(|setting| setting.check);
        let check_millis = checks.min().unwrap_or_default().max(1);
        let refreshes = lasts.sum::<u64>() / check_millis;
        if refreshes > REFRESHES_MAX { Err(StudyError::Refreshes { refreshes, check_millis }) } else { Ok(()) }
    }

    /// The study of the conversations that `keep` keeps, and of their users.
    pub(super) fn part(&self, keep: impl Fn(&Timeline) -> bool) -> Self {
        let mut part = Self { channels: self.channels.clone(), ..Self::default() };
        let mut numbers = vec![None; self.users];
        let mut timelines = self.timelines.iter();
        for input in &self.inputs {
            let kept = timelines.by_ref().take(input.conversations).filter(|timeline| keep(timeline));
            let before = part.timelines.len();
            for timeline in kept {
                let user = timeline.user as usize;
                let number = *numbers[user].get_or_insert_with(|| {
                    part.names.push(self.names[user].clone());
                    part.names.len() - 1
                });
                let user = u32::try_from(number).expect("numbers only become smaller");
                part.timelines.push(Timeline { user, ..timeline.clone() });
            }
            let own = &part.timelines[before..];
            let keys = own.iter().map(|timeline| timeline.events.iter().filter(|event| event.is_key()).count() as u64);
            part.inputs.push(Input { conversations: own.len(), keys: keys.sum(), ..input.clone() });
        }
        part.users = part.names.len();
        part
    }

    /// What it takes to study what has been read, in bytes.
    fn bytes(&self) -> usize {
        let events: usize = self.timelines.iter().map(|timeline| timeline.events.len()).sum();
        let names: usize = self.names.iter().map(|name| name.len() + USER_BYTES).sum();
        events * EVENT_BYTES + self.timelines.len() * CONVERSATION_BYTES + names
    }

    /// All keystrokes.
    pub fn keys(&self) -> u64 {
        self.inputs.iter().map(|input| input.keys).sum()
    }

    /// How many times of composing count, and how many ended with an abandoned draft.
    pub(super) fn intervals(&self) -> (usize, usize) {
        let all = || self.timelines.iter().flat_map(|timeline| &timeline.composing);
        (all().filter(|own| own.counts).count(), all().filter(|own| own.close == Close::Abandoned).count())
    }

    /// For how long an icon may be on if each key keeps it on for `longest`, in milliseconds, over all conversations.
    pub fn watched(&self, longest: u64) -> u64 {
        let of = |timeline: &Timeline| {
            let lasts = timeline.events.iter().map(|event| u64::from(event.lasts_millis())).max();
            let longest = longest.saturating_add(lasts.unwrap_or_default());
            let gaps = timeline.events.windows(2).map(|pair| (pair[1].at() - pair[0].at()).min(longest));
            gaps.fold(longest, u64::saturating_add)
        };
        self.timelines.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How many people type at once in the busiest five minutes of any trace, on average over these; at least one.
    pub fn busiest(&self) -> u64 {
        let mut timelines = &self.timelines[..];
        let mut most = 0;
        for input in &self.inputs {
            let (own, others) = timelines.split_at(input.conversations.min(timelines.len()));
            timelines = others;
            let mut windows: HashMap<u64, u64, foldhash::fast::RandomState> = HashMap::default();
            for interval in own.iter().flat_map(|timeline| &timeline.composing) {
                let mut from = interval.from;
                while from < interval.to {
                    let window = from / BUSY_MILLIS;
                    let to = interval.to.min((window + 1) * BUSY_MILLIS);
                    *windows.entry(window).or_default() += to - from;
                    from = to;
                }
            }
            most = most.max(windows.values().copied().max().unwrap_or_default());
        }
        most.div_ceil(BUSY_MILLIS).max(1)
    }

    /// Decides when the users were composing, and takes a share of the sent messages for abandoned ones, drawn by
    /// `seed`: their send falls away, and what follows waits until the user counts as away.
    pub fn find_composing(&mut self, truth: Truth, abandon: Option<f64>, seed: u64) {
        for (number, timeline) in self.timelines.iter_mut().enumerate() {
            if let Some(share) = abandon {
                // Each conversation draws by itself, so that adding a trace leaves the others as they are.
                let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
                timeline.abandon(truth.away, || dice.f64() < share);
            }
            timeline.composing = truth.intervals(&timeline.events, timeline.end);
            timeline.find_runs();
        }
    }
}

/// The time over which people who type at once are counted: five minutes.
const BUSY_MILLIS: u64 = 300_000;

/// The users of one trace by their ids, with their numbers in the order in which they were met.
type Users = HashMap<Box<str>, u32, foldhash::fast::RandomState>;

/// The channels of all traces by their addresses.
#[derive(Default)]
struct Channels {
    known: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Channels {
    fn number(&mut self, to: &str) -> u32 {
        if let Some(number) = self.known.get(to) {
            return *number;
        }
        let number = u32::try_from(self.known.len()).expect("there is no room for as many");
        self.known.insert(to.into(), number);
        self.bytes += CHANNEL_BYTES + to.len();
        number
    }
}

/// What a study may take, in megabytes: what it reads, holds and counts, with the trace itself where a daemon holds that.
const MEGABYTES: usize = 256;
/// Of these, what is left beside a trace of 64 MiB in memory, and some for everything else.
const STUDY_BYTES_MAX: usize = (MEGABYTES - 96) * 1_000_000;
/// An event of eight bytes in a list that doubles, and its share of silences, waits and times of composing.
const EVENT_BYTES: usize = 48;
/// A timeline with its lists and its place in the table.
const CONVERSATION_BYTES: usize = 260;
/// A user's id, and what is counted of each user under a setting.
const USER_BYTES: usize = 440;
/// Refreshes of typing that goes on by itself, each held as it arrives, with the wait that it ends: 32 bytes.
const REFRESHES_MAX: u64 = 2_000_000;
/// A channel's place in the table.
const CHANNEL_BYTES: usize = 80;
/// Channels that an error names.
const CHANNELS_NAMED_MAX: usize = 10;

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
        let users: Vec<_> = found.timelines.iter().map(|t| (&*found.names[t.user as usize], t.user)).collect();
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
        found.find_composing(Truth { kind: crate::tune::truth::Kind::Message, away: 5_000 }, Some(1.0), 42);
        assert_eq!(found.timelines[1].life(), 300, "the message was given up at its last key");
        let mut found = study(&[
            (0, "c", "ada", "keystroke"),
            (300, "c", "ada", "message_sent"),
            (1_000, "c", "ada", "keystroke"),
            (1_500, "c", "ada", "keystroke"),
        ]);
        found.find_composing(Truth { kind: crate::tune::truth::Kind::Message, away: 5_000 }, Some(1.0), 42);
        assert_eq!(found.timelines[0].events[2].at(), 6_501, "the user was away");
        assert_eq!(found.timelines[0].life(), 1_500, "but the chat was no longer for that");
    }
}
