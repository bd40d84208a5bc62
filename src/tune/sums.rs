//! What a setting gives and costs, counted: sums for each user, from which every measure is a ratio.

use super::icon::{IconSpan, Shown};
use super::play::Play;
use super::timeline::{Close, Timeline};

/// What is counted of one user. Times in milliseconds. Kept as floating point, for ratios; whole numbers below
/// 2^53 are exact there, in whatever order they are added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// The icon was on.
    pub on: f64,
    /// The icon was on while the user was composing.
    pub on_composing: f64,
    /// Off and on again within one composing interval.
    pub flickers: f64,
    /// Messages sent while the icon was off.
    pub sent_unannounced: f64,
    /// The icon was on for an abandoned draft: after its last key, or from its first if it does not count as composing.
    pub on_abandoned: f64,
    /// TypingStarted.
    pub started: f64,
    /// TypingStopped.
    pub stopped: f64,
    /// Stops that a timer decided.
    pub timer_stops: f64,
    /// Those that a key followed within `away`, before anything else happened.
    pub wrong_stops: f64,
    /// The squares of the times between something new and the next: half of it, over [`Sums::waited`], is the mean wait
    /// of an agent who begins to look.
    pub waits_squared: f64,
    /// The sum of those times.
    pub waited: f64,
}

/// What is counted of one user whatever the setting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Typed {
    /// The user was composing.
    pub composing: f64,
    /// Messages begun, whatever became of them.
    pub messages: f64,
    /// Those that count as composing: what is told for each message is told for each of these.
    pub counted: f64,
    /// Those that ended with their send.
    pub sent: f64,
    /// Those that the user abandoned.
    pub abandoned: f64,
    /// From the beginning of each conversation to the last thing that happened in it.
    pub life: f64,
}

impl Typed {
    /// The sums of all users.
    pub fn total(users: &[Self]) -> Self {
        let mut all = Self::default();
        for user in users {
            all.composing += user.composing;
            all.messages += user.messages;
            all.counted += user.counted;
            all.sent += user.sent;
            all.abandoned += user.abandoned;
            all.life += user.life;
        }
        all
    }

    /// Counts one conversation.
    pub fn add(&mut self, timeline: &Timeline) {
        for interval in &timeline.composing {
            self.messages += 1.0;
            if interval.counts {
                self.counted += 1.0;
                self.composing += (interval.to - interval.from) as f64;
            }
            match interval.close {
                Close::Sent => self.sent += 1.0,
                Close::Abandoned => self.abandoned += 1.0,
                Close::Cleared | Close::Closed | Close::Censored => {}
            }
        }
        self.life += timeline.life() as f64;
    }
}

/// A delay with the user who caused it, in eight bytes: there may be one for each message, and they are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delay(u64);

impl Delay {
    /// A delay of `millis`. One of more than 49 days is taken for that.
    pub(crate) fn new(millis: u64, user: u32) -> Self {
        Self(millis.min(u64::from(u32::MAX)) << 32 | u64::from(user))
    }

    pub(crate) const fn millis(self) -> u64 {
        self.0 >> 32
    }

    pub(crate) const fn user(self) -> usize {
        (self.0 & u32::MAX as u64) as usize
    }
}

/// Delays of one kind.
pub(crate) type Delays = Vec<Delay>;

/// Delays that are read as quantiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lags {
    /// From the end of an abandoned draft to the moment at which the icon is off for good.
    pub off: Delays,
    /// From an interval's first key to the icon, of those that saw one before the next interval.
    pub on: Delays,
}

impl Sums {
    /// The sums of all users.
    pub(crate) fn total(users: &[Self]) -> Self {
        let mut all = Self::default();
        for user in users {
            all += *user;
        }
        all
    }

    /// Counts one conversation of which `play` was sent and `shown` was seen.
    pub(crate) fn add(&mut self, timeline: &Timeline, play: &Play, shown: &Shown, lags: &mut Lags) {
        self.add_play(play, &shown.waits);
        self.add_sight(timeline, shown, lags);
    }

    /// Counts what was sent of one conversation, with the `waits` for something new.
    pub(crate) fn add_play(&mut self, play: &Play, waits: &[u64]) {
        self.started += play.started as f64;
        self.stopped += play.stopped as f64;
        self.timer_stops += play.timer_stops as f64;
        self.wrong_stops += play.wrong_stops as f64;
        for wait in waits {
            let wait = *wait as f64;
            self.waited += wait;
            self.waits_squared += wait * wait;
        }
    }

    /// Counts what the agent sees of one conversation.
    pub(crate) fn add_sight(&mut self, timeline: &Timeline, shown: &Shown, lags: &mut Lags) {
        self.on += shown.spans.iter().map(|span| span.to - span.from).sum::<u64>() as f64;
        let mut spans = &shown.spans[..];
        for interval in &timeline.composing {
            while spans.first().is_some_and(|span| span.to < interval.from) {
                spans = &spans[1..];
            }
            let before_next = spans.iter().take_while(|span| span.from < interval.next);
            let within = spans.iter().take_while(|span| span.from < interval.to).filter(|span| span.to > interval.from);
            if interval.counts {
                let mut times = 0u64;
                // An icon that comes on only after the message is as late as it is.
                let seen = |span: &&IconSpan| span.from.max(interval.from) < span.to.min(interval.next);
                if let Some(first) = before_next.clone().find(seen) {
                    lags.on.push(Delay::new(first.from.saturating_sub(interval.from), timeline.user));
                }
                for span in within {
                    times += 1;
                    self.on_composing += (span.to.min(interval.to) - span.from.max(interval.from)) as f64;
                }
                self.flickers += times.saturating_sub(1) as f64;
            }
            match interval.close {
                Close::Sent => {
                    let sent = interval.to;
                    let is_on =
                        |span: &IconSpan| span.from < sent && (span.to > sent || span.to == sent && span.by_send);
                    self.sent_unannounced += f64::from(u8::from(!before_next.clone().any(is_on)));
                }
                Close::Abandoned => {
                    let gone = interval.to;
                    // A draft that doesn't count as composing is falsely shown from its first key on.
                    let false_from = if interval.counts { gone } else { interval.from };
                    let mut off = gone;
                    for span in before_next {
                        let (from, to) = (span.from.max(false_from), span.to.min(interval.next));
                        self.on_abandoned += to.saturating_sub(from) as f64;
                        off = off.max(to);
                    }
                    lags.off.push(Delay::new(off - gone, timeline.user));
                }
                Close::Cleared | Close::Closed | Close::Censored => {}
            }
        }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.on += other.on;
        self.on_composing += other.on_composing;
        self.flickers += other.flickers;
        self.sent_unannounced += other.sent_unannounced;
        self.on_abandoned += other.on_abandoned;
        self.started += other.started;
        self.stopped += other.stopped;
        self.timer_stops += other.timer_stops;
        self.wrong_stops += other.wrong_stops;
        self.waits_squared += other.waits_squared;
        self.waited += other.waited;
    }
}

/// `numerator / denominator`; none where there is nothing to divide by.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator > 0.0).then(|| numerator / denominator)
}

/// The least of `sorted` that a share `q` of them does not exceed (nearest rank); none of none.
pub(crate) fn quantile<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::timeline::{Event, Happening};
    use crate::tune::truth::{Kind, Truth};
    use Happening::{Key as K, Sent as S};

    /// What is counted of one conversation, observed until `end`, in which the icon was `on`.
    fn counted(kind: Kind, events: &[(u64, Happening)], on: &[IconSpan], end: u64) -> (Typed, Sums, Lags) {
        let events: Vec<Event> = events.iter().map(|(at, what)| Event::new(*at, *what)).collect();
        let composing = Truth { kind, away: 30_000 }.intervals(&events, end);
        let timeline =
            Timeline { user: 0, channel: 0, begin: 0, inserted: 0, events, end, composing, runs: Vec::new() };
        let (mut typed, mut sums, mut lags) = (Typed::default(), Sums::default(), Lags::default());
        typed.add(&timeline);
        let shown = Shown { spans: on.to_vec(), waits: Vec::new() };
        sums.add_sight(&timeline, &shown, &mut lags);
        (typed, sums, lags)
    }

    #[test]
    fn an_icon_that_comes_after_its_message_is_as_late_as_it_is() {
        let late = [IconSpan { from: 500, to: 1_000, by_send: true }];
        let (_, sums, lags) = counted(Kind::Message, &[(0, K), (300, S), (2_000, K)], &late, 2_000);
        assert_eq!(lags.on, [Delay::new(500, 0)], "the second message sees none within the observation");
        assert_eq!((sums.on_composing, sums.sent_unannounced), (0.0, 1.0));
        let (_, _, lags) = counted(Kind::Message, &[(0, K), (300, S), (400, K)], &late, 2_000);
        assert_eq!(lags.on, [Delay::new(100, 0)], "by then the next message has begun, and it is that one's");
    }

    #[test]
    fn what_is_told_for_each_message_is_told_for_those_that_count() {
        let on = [IconSpan { from: 0, to: 2_000, by_send: false }, IconSpan { from: 5_000, to: 7_000, by_send: true }];
        let events = [(0, K), (1_000, K), (40_000, K), (50_000, S)];
        let (typed, sums, lags) = counted(Kind::Message, &events, &on, 50_000);
        assert_eq!((typed.messages, typed.counted, typed.abandoned, typed.sent), (2.0, 2.0, 1.0, 1.0));
        assert_eq!((sums.on_abandoned, lags.off), (3_000.0, vec![Delay::new(6_000, 0)]));
        // "Will a message come?": the draft's icon was wrong from the start, but goes off as late as before.
        let (typed, sums, lags) = counted(Kind::SentOnly, &events, &on, 50_000);
        assert_eq!((typed.messages, typed.counted, typed.abandoned, typed.sent), (2.0, 1.0, 1.0, 1.0));
        assert_eq!((sums.on_abandoned, lags.off), (4_000.0, vec![Delay::new(6_000, 0)]));
    }
}
