//! One conversation as it was recorded: what happened in it, and when the user was composing.

use crate::model::{Signal, SignalKind};

/// One conversation as it was recorded. Times are milliseconds since the trace's first line.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The user's number, below the study's count of users.
    pub user: u32,
    /// The channel's number: its place among the study's channels.
    pub channel: u32,
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
    /// Its runs, in order; none where keys report typing that lasts.
    pub(super) runs: Vec<Run>,
}

/// Keys that follow each other by less than [`RUN_GAP_MILLIS`], or anything else by itself, in sixteen bytes: of most runs
/// nothing else need be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// When the first of its events happened, in microseconds.
    pub(super) first: u64,
    /// From its first event to its last, in milliseconds.
    length: u32,
    /// The place of the first event, and in the highest bit whether it is a key.
    start: u32,
}

impl Run {
    const KEY: u32 = 1 << 31;

    /// The place of its first event.
    pub(super) const fn start(self) -> usize {
        (self.start & !Self::KEY) as usize
    }

    /// Whether it is of keys.
    pub(super) const fn is_of_keys(self) -> bool {
        self.start & Self::KEY != 0
    }

    /// When the last of its events happened, in microseconds.
    pub(super) const fn last(self) -> u64 {
        self.first + self.length as u64 * 1_000
    }
}

/// Less than any dismissal that is tried by default.
pub(super) const RUN_GAP_MILLIS: u64 = 500;

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
    pub const fn new(at: u64, happening: Happening) -> Self {
        let at = if at < Self::AT_MAX { at } else { Self::AT_MAX };
        Self(at << 18 | happening as u64)
    }

    /// A key at `at` milliseconds whose typing goes on for `lasts_millis`.
    pub const fn key(at: u64, lasts_millis: u16) -> Self {
        Self(Self::new(at, Happening::Key).0 | (lasts_millis as u64) << 2)
    }

    /// When, in milliseconds.
    #[inline]
    pub const fn at(self) -> u64 {
        self.0 >> 18
    }

    /// How long the typing goes on that a key reports, in milliseconds.
    #[inline]
    pub const fn lasts_millis(self) -> u16 {
        (self.0 >> 2) as u16
    }

    /// When the typing that a key reports ends, in milliseconds.
    #[inline]
    pub const fn typing_until(self) -> u64 {
        self.at() + self.lasts_millis() as u64
    }

    /// What.
    #[inline]
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
    pub const fn is_key(self) -> bool {
        self.0 & 3 == Happening::Key as u64
    }

    /// The same, `millis` later.
    pub const fn later(self, millis: u64) -> Self {
        let at = Self::new(self.at().saturating_add(millis), Happening::Key).0;
        Self(at | self.0 & !(u64::MAX << 18))
    }
}

impl Timeline {
    /// The timeline of a conversation that begins at `begin`.
    pub(super) fn new(user: u32, channel: u32, begin: u64) -> Self {
        Self { user, channel, begin, inserted: 0, events: Vec::new(), end: 0, composing: Vec::new(), runs: Vec::new() }
    }

    /// Enters a signal; whether it was a keystroke that counts.
    pub(super) fn enter(&mut self, at: u64, signal: Signal) -> bool {
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

    /// Finds the runs, once all events are as they are to be.
    pub(super) fn find_runs(&mut self) {
        self.runs.clear();
        if self.events.iter().any(|event| event.is_key() && event.lasts_millis() > 0) {
            return;
        }
        let mut before: Option<Event> = None;
        for (place, event) in (0..Run::KEY).zip(&self.events) {
            let is_near =
                |before: Event| before.is_key() && event.is_key() && event.at() - before.at() < RUN_GAP_MILLIS;
            let run = self.runs.last_mut().filter(|_| before.is_some_and(is_near));
            let grown = run.and_then(|run| {
                run.length = u32::try_from(event.at() - run.first / 1_000).ok()?;
                Some(())
            });
            if grown.is_none() {
                let start = if event.is_key() { place | Run::KEY } else { place };
                self.runs.push(Run { first: event.at() * 1_000, length: 0, start });
            }
            before = Some(*event);
        }
        self.runs.shrink_to_fit();
    }

    /// Whether the user may have typed for `max_typing` without a pause of `dismiss` or anything else in between, that pause
    /// included; both in microseconds. It is never denied if it is so.
    pub(super) fn may_be_unbroken(&self, dismiss: u64, max_typing: u64) -> bool {
        if let ([first, ..], [.., last]) = (&self.runs[..], &self.runs[..]) {
            // All of it may be too short for that; else its runs tell, within which there is no such pause.
            return last.last() - first.first + dismiss >= max_typing
                && self.are_runs_unbroken(dismiss.max(RUN_GAP_MILLIS * 1_000), max_typing);
        }
        let mut since = 0;
        let mut until = None;
        self.events.iter().any(|event| {
            let at = event.at() * 1_000;
            if !event.is_key() {
                until = None;
                return false;
            }
            if until.is_none_or(|until| at.saturating_sub(until) >= dismiss) {
                since = at;
            }
            let typing = until.unwrap_or_default().max(event.typing_until() * 1_000);
            until = Some(typing);
            (typing - since).saturating_add(dismiss) >= max_typing
        })
    }

    fn are_runs_unbroken(&self, dismiss: u64, max_typing: u64) -> bool {
        let mut since = 0;
        let mut last = None;
        self.runs.iter().any(|run| {
            if !run.is_of_keys() {
                last = None;
                return false;
            }
            if last.is_none_or(|last| run.first - last >= dismiss) {
                since = run.first;
            }
            last = Some(run.last());
            (run.last() - since).saturating_add(dismiss) >= max_typing
        })
    }

    /// Whether the next thing to happen at `at` or later is a key within `away`. The run at `place` is none of those that are
    /// over by then; the first such is left there for a later time.
    pub(super) fn is_key_next(&self, at: u64, away: u64, place: &mut usize) -> bool {
        if self.runs.is_empty() {
            let next = self.events.get(self.events.partition_point(|event| event.at() < at));
            return next.is_some_and(|next| next.is_key() && next.at() - at <= away);
        }
        while self.runs.get(*place).is_some_and(|run| run.last() < at * 1_000) {
            *place += 1;
        }
        let Some(run) = self.runs.get(*place) else { return false };
        if !run.is_of_keys() || run.first >= at * 1_000 {
            return run.is_of_keys() && run.first - at * 1_000 <= away * 1_000;
        }
        away >= RUN_GAP_MILLIS || {
            let own = &self.events[run.start()..];
            own[own.partition_point(|event| event.at() < at)].at() - at <= away
        }
    }

    pub(super) fn abandon(&mut self, away: u64, mut drawn: impl FnMut() -> bool) {
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

    /// From its beginning to the last thing that happened, in milliseconds, without the silences in which no one chats.
    pub fn life(&self) -> u64 {
        let mut until = self.begin;
        let mut silent = 0;
        for event in &self.events {
            let silence = event.at().saturating_sub(until);
            silent += if silence > LIFELESS_MILLIS { silence } else { 0 };
            until = event.typing_until().max(until);
        }
        self.events.last().map_or(0, |last| (last.at() - self.begin).saturating_sub(silent + self.inserted))
    }
}

/// A longer silence is no part of a chat's life: ten minutes.
const LIFELESS_MILLIS: u64 = 600_000;

/// A time of composing, from its first key up to, not including, its end. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first key.
    pub from: u64,
    /// The send, or the end of the typing that its keys reported: for most the last key.
    pub to: u64,
    /// How it ended.
    pub close: Close,
    /// The first key of the next interval, or the end of the observation.
    pub next: u64,
    /// Whether it counts as composing; one that does not still is a draft whose icon must go off.
    pub counts: bool,
}

/// How a time of composing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// With the message's send.
    Sent,
    /// The user went away.
    Abandoned,
    /// The box was cleared.
    Cleared,
    /// The chat was closed.
    Closed,
    /// The trace ends here; how it went on is not known.
    Censored,
}
