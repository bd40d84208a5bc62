//! When a user was composing: what an icon is measured against.

use super::timeline::{Close, Event, Happening, Interval};

/// Which typing counts as composing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The rule.
    pub kind: Kind,
    /// The silence after which the user has gone, in milliseconds.
    pub away: u64,
}

/// The rules for what counts as composing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// From a message's first key to its send, pauses included.
    #[default]
    Message,
    /// Only while keys follow each other within [`BURST_GAP_MILLIS`]: pauses are not composing.
    Burst,
    /// As [`Kind::Message`], of messages that were sent alone.
    SentOnly,
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Message, Self::Burst, Self::SentOnly];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Burst => "burst",
            Self::SentOnly => "sent-only",
        }
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The longest gap within a burst, in milliseconds: writing research's customary threshold.
pub const BURST_GAP_MILLIS: u64 = 2_000;

impl Truth {
    /// The times of composing of one conversation, observed until `end`.
    pub fn intervals(&self, events: &[Event], end: u64) -> Vec<Interval> {
        let gap_max = match self.kind {
            Kind::Burst => BURST_GAP_MILLIS.min(self.away),
            Kind::Message | Kind::SentOnly => self.away,
        };
        let mut intervals: Vec<Interval> = Vec::new();
        // The first key of what is being composed, and when the typing that its keys report ends.
        let mut open: Option<(u64, u64)> = None;
        let mut close = |(from, last): (u64, u64), at: u64, how: Close| {
            let (to, close) = match how {
                _ if at.saturating_sub(last) > gap_max => (last, Close::Abandoned),
                Close::Sent => (at, how),
                _ => (last.min(at), how),
            };
            let counts = self.kind != Kind::SentOnly || close == Close::Sent;
            intervals.push(Interval { from, to, close, next: end, counts });
        };
        for event in events {
            let at = event.at();
            let how = match event.happening() {
                Happening::Key => {
                    let until = event.typing_until();
                    open = match open {
                        Some((from, last)) if at.saturating_sub(last) <= gap_max => Some((from, last.max(until))),
                        gone => {
                            if let Some(gone) = gone {
                                close(gone, at, Close::Abandoned);
                            }
                            Some((at, until))
                        }
                    };
                    continue;
                }
                Happening::Sent => Close::Sent,
                Happening::Cleared => Close::Cleared,
                Happening::Closed => Close::Closed,
            };
            if let Some(open) = open.take() {
                close(open, at, how);
            }
        }
        if let Some(open) = open {
            close(open, end, Close::Censored);
        }
        for i in 1..intervals.len() {
            intervals[i - 1].next = intervals[i].from;
        }
        intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Close::{Abandoned, Censored, Cleared, Closed as Shut, Sent};
    use Happening::{Cleared as C, Closed as E, Key as K, Sent as S};

    fn intervals(kind: Kind, events: &[(u64, Happening)], end: u64) -> Vec<(u64, u64, Close, u64, bool)> {
        let events: Vec<Event> = events.iter().map(|(at, what)| Event::new(*at, *what)).collect();
        let truth = Truth { kind, away: 30_000 };
        truth.intervals(&events, end).iter().map(|i| (i.from, i.to, i.close, i.next, i.counts)).collect()
    }

    #[test]
    fn composing_lasts_to_the_send_or_the_last_key() {
        for (name, events, end, expected) in [
            ("nothing", vec![], 9, vec![]),
            ("sent", vec![(0, K), (5_000, K), (5_300, S)], 9_000, vec![(0, 5_300, Sent, 9_000, true)]),
            ("a send inside a silence", vec![(0, K), (30_000, S)], 30_000, vec![(0, 30_000, Sent, 30_000, true)]),
            (
                "a send after the user was away closes at the key",
                vec![(0, K), (30_001, S)],
                30_001,
                vec![(0, 0, Abandoned, 30_001, true)],
            ),
            ("a send with no key before", vec![(7, S), (9, S)], 9, vec![]),
            (
                "a key after 30 s goes on",
                vec![(0, K), (30_000, K), (30_100, S)],
                40_000,
                vec![(0, 30_100, Sent, 40_000, true)],
            ),
            (
                "a key after more than 30 s begins anew",
                vec![(0, K), (500, K), (30_501, K), (30_600, S)],
                40_000,
                vec![(0, 500, Abandoned, 30_501, true), (30_501, 30_600, Sent, 40_000, true)],
            ),
            ("a cleared box", vec![(0, K), (800, K), (1_500, C)], 9_000, vec![(0, 800, Cleared, 9_000, true)]),
            ("a closed chat", vec![(0, K), (1_500, E)], 9_000, vec![(0, 0, Shut, 9_000, true)]),
            ("the trace ends", vec![(0, K), (800, K)], 30_800, vec![(0, 800, Censored, 30_800, true)]),
            ("the trace goes on for others", vec![(0, K), (800, K)], 30_801, vec![(0, 800, Abandoned, 30_801, true)]),
            ("equal times", vec![(5, K), (5, K), (5, S)], 5, vec![(5, 5, Sent, 5, true)]),
        ] {
            assert_eq!(intervals(Kind::Message, &events, end), expected, "{name}");
        }
    }

    #[test]
    fn typing_that_lasts_is_composing_until_its_end() {
        let truth = Truth { kind: Kind::Message, away: 30_000 };
        let key = Event::key;
        let word = Event::new;
        for (name, events, end, expected) in [
            ("left alone", vec![key(0, 5_000)], 90_000, (0, 5_000, Abandoned)),
            ("sent while it lasts", vec![key(0, 5_000), word(4_000, S)], 90_000, (0, 4_000, Sent)),
            ("cleared while it lasts", vec![key(0, 5_000), word(4_000, C)], 90_000, (0, 4_000, Cleared)),
            ("cleared after it", vec![key(0, 5_000), word(9_000, C)], 90_000, (0, 5_000, Cleared)),
            ("the trace ends while it lasts", vec![key(0, 5_000)], 3_000, (0, 3_000, Censored)),
            ("away counts from its end", vec![key(0, 5_000), word(35_000, S)], 90_000, (0, 35_000, Sent)),
            ("a shorter one doesn't shorten it", vec![key(0, 9_000), key(1_000, 2)], 90_000, (0, 9_000, Abandoned)),
        ] {
            let found = truth.intervals(&events, end);
            let seen: Vec<_> = found.iter().map(|i| (i.from, i.to, i.close)).collect();
            assert_eq!(seen, [expected], "{name}");
        }
    }

    #[test]
    fn the_other_truths() {
        let events = [(0, K), (2_000, K), (4_001, K), (4_500, S), (5_000, K), (7_001, S), (9_000, K)];
        assert_eq!(
            intervals(Kind::Burst, &events, 50_000),
            [
                (0, 2_000, Abandoned, 4_001, true),
                (4_001, 4_500, Sent, 5_000, true),
                (5_000, 5_000, Abandoned, 9_000, true),
                (9_000, 9_000, Abandoned, 50_000, true),
            ]
        );
        assert_eq!(
            intervals(Kind::SentOnly, &events, 50_000),
            [
                (0, 4_500, Sent, 5_000, true),
                (5_000, 7_001, Sent, 9_000, true),
                (9_000, 9_000, Abandoned, 50_000, false)
            ]
        );
    }
}
