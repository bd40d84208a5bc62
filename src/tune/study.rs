//! What is studied: the typing of traces, a compact timeline for each conversation, and the users it belongs to.

use hashbrown::HashMap;

use super::timeline::{Event, Timeline};
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
        let mut users = Users::default();
        let mut origin = None;
        let mut end = 0;
        let mut keys = 0;
        while let Some((at, parsed)) = trace.next_line()? {
            let at = (at - *origin.get_or_insert(at)).min(Event::AT_MAX);
            end = at;
            let who = parsed.conversation();
            let count = first_user + users.len();
            let user = users.entry_ref(who.from()).or_insert_with(|| User {
                number: u32::try_from(count).expect("a trace of four thousand million users does not fit a machine"),
                timelines: HashMap::default(),
            });
            let slot = *user.timelines.entry_ref(who.to()).or_insert_with(|| {
                self.timelines.push(Timeline::new(user.number, who.from(), at));
                self.timelines.len() - 1
            });
            keys += u64::from(self.timelines[slot].enter(at, parsed.signal));
        }
        for timeline in &mut self.timelines[first_timeline..] {
            timeline.end = end;
            timeline.events.shrink_to_fit();
        }
        // A conversation that was only opened has nothing to measure.
        let read = self.timelines.split_off(first_timeline);
        self.timelines.extend(read.into_iter().filter(|timeline| !timeline.events.is_empty()));
        // Nor has a user of such conversations alone: to draw them as well would blur what is known of the others.
        let mut numbers = vec![None; users.len()];
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
            conversations: self.timelines.len() - first_timeline,
            keys,
        };
        self.inputs.push(input);
        Ok(())
    }

    /// All keystrokes.
    pub fn keys(&self) -> u64 {
        self.inputs.iter().map(|input| input.keys).sum()
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
        }
    }
}

/// The time over which people who type at once are counted: five minutes.
const BUSY_MILLIS: u64 = 300_000;

/// The users of one trace by their ids.
type Users = HashMap<String, User, foldhash::fast::RandomState>;

struct User {
    number: u32,
    /// Its timelines, by channel address.
    timelines: HashMap<String, usize, foldhash::fast::RandomState>,
}

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
