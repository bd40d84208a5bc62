//! What the timing costs and what it gives, measured on the daemon's own users as they type: on them it answers what
//! `tune` answers on a trace.
//!
//! A plain value like the engine: it reads no clock, and takes the events of the loop in their order. What falls silent is
//! noticed when something else happens, or some seconds later ([`TypingStats::due`]).
//!
//! The truth it measures against is that of a person composing a message. A composing interval begins with the first key
//! after the last one's end. It ends with its message; or with its last key, or what that lasts, when [`AWAY`] goes by without another, the
//! user clears the box, or the session ends.

pub(crate) mod candidates;
mod channels;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;

use crate::engine::Handled;
use crate::engine::id::IdHash;
use crate::engine::policy::Policy;
use crate::model::{
    ChannelAddress, ConversationRef, Decision, Dispatch, Indicator, Instant, Outcome, Reason, Signal, SignalKind,
    micros,
};
use crate::observe::histogram::Histogram;
use crate::observe::loop_event::LoopEvent;
use crate::tune::plan::Setting;
use candidates::{CandidateFigures, Candidates, Trials};
use channels::Channels;
pub(crate) use channels::is_readable;
pub use channels::{CHANNELS_NAMED_MAX, CHANNELS_OTHER_MAX, OTHER};

/// A longer silence means that the user has left the message alone. `tune` takes the same by default: the share of time
/// that an icon misses depends on it, the order of settings does not.
pub const AWAY: Duration = Duration::from_secs(30);
/// Conversations that are measured at a time, in some ten megabytes: eighteen times the sessions that an org may have.
pub const CONVERSATIONS_MAX: usize = 200_000;
/// Silent conversations that are looked through at a signal. It brings at most one new one: more than one looked through
/// is enough to keep up.
const LOOKS_PER_SIGNAL: usize = 4;
/// Silent conversations that are looked through when a client reads the figures: about a millisecond's work. The next
/// reader looks through the next ones.
const LOOKS_PER_READING: usize = 20_000;

/// What is silent for longer than [`AWAY`] by this is looked through though nothing happens.
const LOOK_SPACING: Duration = Duration::from_secs(1);
/// Tables with room for no more than this are not shrunk.
const SMALL: usize = 4_096;
/// A table shrinks when it has room for more than this many times as many conversations as are in it.
const SHRINK_AT: usize = 8;

/// The measuring.
#[derive(Debug)]
pub struct TypingStats {
    channels: Channels,
    entries: HashTable<Entry>,
    /// Each entry once, with the time of its last look; the longest ago first.
    looks: VecDeque<(Instant, u64)>,
    hash: IdHash,
    unmeasured: u64,
    /// Timings that are measured beside the one in force.
    candidates: Option<Candidates>,
    /// That of the candidates before them.
    last_generation: u32,
}

/// The figures so far.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of each channel that has a name of its own here, and of the others together ([`OTHER`]).
    pub channels: Vec<(Arc<str>, Tally)>,
    /// Conversations that are measured at present.
    pub measured: usize,
    /// Keystrokes of conversations for which there was no room. While they come, the other figures are too small.
    pub unmeasured: u64,
    /// Of the candidates, if there are any.
    pub candidates: Option<CandidateFigures>,
}

/// What happened in a channel. All of it only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Indicators decided, by [`Reason`] in the order of [`Reason::ALL`].
    pub decided: [u64; Reason::ALL.len()],
    /// Requests that left, retries included: TypingStarted, TypingStopped.
    pub requests: [u64; 2],
    /// How long icons were off in the midst of a composing interval.
    pub gaps: Gaps,
    /// Icons that a timer switched off.
    pub timer_stops: u64,
    /// Of these, how many were followed by a key of the same composing interval, that is within [`AWAY`]: they came too early,
    /// as `tune` counts them.
    pub timer_stops_resumed: u64,
    /// The length of all composing intervals, in microseconds. It grows with each key and each message.
    pub composing_micros: u64,
    /// Composing intervals that have ended, by [`End`] in the order of [`End::ALL`].
    pub messages: [u64; End::ALL.len()],
    /// Messages that ended no composing interval: not typed, or typed where another typingd was told of it.
    pub untyped: u64,
}

/// How a composing interval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The message went out.
    Sent,
    /// Nothing was typed for [`AWAY`].
    Abandoned,
    /// The user cleared the box or left it.
    Cleared,
    /// The session ended.
    Ended,
}

impl End {
    /// All ends, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Abandoned, Self::Cleared, Self::Ended];

    /// The name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Abandoned => "abandoned",
            Self::Cleared => "cleared",
            Self::Ended => "ended",
        }
    }
}

/// How long icons were off.
pub(crate) type Gaps = Histogram<10>;

/// The last one is [`AWAY`]: what is longer is no gap in a message.
const GAPS: [Duration; 10] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    AWAY,
];

impl Default for Gaps {
    fn default() -> Self {
        Self::new(&GAPS)
    }
}

/// A conversation in which the user has typed of late.
#[derive(Debug)]
struct Entry {
    /// The hash of its ids. Two that share one would be measured as one: with as many as there is room for, the odds
    /// are one to a thousand million.
    key: u64,
    last_key: Instant,
    /// When a timer switched the icon off, if `hidden`.
    stopped: Instant,
    channel: u16,
    /// How long after the last key the typing goes on that the keys so far have reported.
    lasts_millis: u16,
    /// A composing interval is under way.
    composing: bool,
    /// A timer has switched the icon off, and it has not come on again.
    hidden: bool,
    /// Times that a timer has switched the icon off since the last key.
    awaited: u16,
    /// The conversation as other timings would have it, while there are candidates.
    trials: Option<Box<Trials>>,
    /// Until when keys mean nothing to them, as long as they come without a pause.
    quiet_until: Instant,
}

impl Entry {
    /// When the typing that the keys so far have reported ends.
    fn typing_until(&self) -> Instant {
        self.last_key + Duration::from_millis(u64::from(self.lasts_millis))
    }

    /// A keystroke. Returns whether it goes on with the composing interval that was under way.
    fn press(&mut self, now: Instant, lasts_millis: u16, tally: &mut Tally) -> bool {
        let until = self.typing_until();
        let goes_on = self.composing && now.since(until) <= AWAY;
        if goes_on {
            tally.composing_micros += micros(now.since(self.last_key));
            tally.timer_stops_resumed += u64::from(self.awaited);
        } else {
            self.abandon(tally);
        }
        // A later key never shortens what an earlier one reported.
        let left = if self.composing { until.since(now).as_millis() } else { 0 };
        self.lasts_millis = u16::try_from(left).unwrap_or(u16::MAX).max(lasts_millis);
        self.last_key = now;
        self.composing = true;
        self.awaited = 0;
        goes_on
    }

    /// Whatever ends an interval. Returns whether that comes within the one that was under way.
    fn finish(&mut self, now: Instant, end: End, tally: &mut Tally) -> bool {
        let until = self.typing_until();
        let in_time = self.composing && now.since(until) <= AWAY;
        if in_time {
            // A user who sends has looked at the message until then; one who clears it may have left it long before.
            let composed = if end == End::Sent { now } else { until.min(now) };
            tally.composing_micros += micros(composed.since(self.last_key));
            tally.messages[end as usize] += 1;
            self.close();
        } else {
            tally.untyped += u64::from(end == End::Sent);
            self.abandon(tally);
        }
        in_time
    }

    /// Its interval, if one is under way, has ended with its last key, or what that lasted.
    fn abandon(&mut self, tally: &mut Tally) {
        if self.composing {
            tally.messages[End::Abandoned as usize] += 1;
            tally.composing_micros += u64::from(self.lasts_millis) * 1_000;
        }
        self.close();
    }

    fn close(&mut self) {
        (self.composing, self.hidden, self.awaited) = (false, false, 0);
    }

    fn hide(&mut self, at: Instant) {
        if self.composing {
            (self.hidden, self.awaited, self.stopped) = (true, self.awaited.saturating_add(1), at);
        }
    }

    fn show(&mut self, at: Instant, tally: &mut Tally) {
        let gap = at.since(self.stopped);
        if std::mem::take(&mut self.hidden) && at.since(self.typing_until()) <= AWAY && gap <= AWAY {
            tally.gaps.add(gap);
        }
    }
}

impl TypingStats {
    /// `seed` keys the hash of the ids: random in the daemon, fixed in a test.
    pub fn new(seed: u64) -> Self {
        Self {
            channels: Channels::new(seed),
            entries: HashTable::new(),
            looks: VecDeque::new(),
            hash: IdHash::new(seed),
            unmeasured: 0,
            candidates: None,
            last_generation: 0,
        }
    }

    /// Measures `settings` beside the timing of `policy`, from now on, in place of the candidates before; of no settings:
    /// none. The same candidates as before are measured on.
    pub fn measure_beside(&mut self, now: Instant, settings: Vec<Setting>, policy: &Policy) {
        if self.candidates.as_ref().is_some_and(|candidates| candidates.settings() == settings) {
            return;
        }
        if let Some(before) = self.candidates.take() {
            self.last_generation = before.last_generation();
        }
        if !settings.is_empty() {
            self.candidates = Some(Candidates::new(now, settings, policy, self.last_generation));
        }
    }

    /// The figures of the candidates, if there are any.
    pub(crate) fn candidates(&mut self, now: Instant) -> Option<CandidateFigures> {
        self.look_through(now, LOOKS_PER_READING);
        self.candidates.as_ref().map(Candidates::figures)
    }

    /// Another policy is in force.
    pub(crate) fn on_policy(&mut self, policy: &Policy) {
        self.name_channels(policy.channels.keys().map(ChannelAddress::as_str));
        if let Some(candidates) = &mut self.candidates {
            candidates.change_policy(policy);
        }
    }

    /// Channels that have figures of their own from now on, whatever others there are; up to [`CHANNELS_NAMED_MAX`] of
    /// all that were ever named.
    pub fn name_channels<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.channels.name(name);
        }
    }

    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, event: &LoopEvent<'_>) {
        match event {
            LoopEvent::Received { signals, taken: Ok(Handled::Accepted) } => self.on_signals(now, signals),
            LoopEvent::Decided { decision, .. } => self.on_decision(decision),
            // Without a token or a connection it was no request that anybody counts.
            LoopEvent::Answered { dispatch, result, .. } if result.has_left() => {
                if result.outcome == Outcome::Delivered {
                    self.channels.confirm(dispatch.conversation.to());
                }
                self.on_request(dispatch);
            }
            _ => {}
        }
    }

    fn on_request(&mut self, dispatch: &Dispatch) {
        let channel = self.channels.find(dispatch.conversation.to());
        self.channels.tally_mut(channel).requests[dispatch.indicator() as usize] += 1;
    }

    /// Signals that count were taken at `now`.
    pub fn on_signals(&mut self, now: Instant, signals: &[(ConversationRef<'_>, Signal)]) {
        self.look_through(now, LOOKS_PER_SIGNAL * signals.len());
        signals.iter().for_each(|(conversation, signal)| self.on_signal(now, *conversation, *signal));
    }

    fn on_signal(&mut self, now: Instant, conversation: ConversationRef<'_>, signal: Signal) {
        let end = match signal.kind {
            SignalKind::Keystroke => None,
            SignalKind::MessageSent => Some(End::Sent),
            SignalKind::Stopped => Some(End::Cleared),
            SignalKind::Ended => Some(End::Ended),
            SignalKind::Opened => return,
        };
        let key = self.key_of(conversation);
        match (self.entries.find_mut(key, |entry| entry.key == key), end) {
            (Some(entry), None) => {
                if !entry.composing {
                    // Its channel may have been given a name since the last interval.
                    entry.channel = self.channels.find(conversation.to());
                }
                let (last_key, is_plain) = (entry.last_key, entry.lasts_millis == 0 && signal.lasts_millis == 0);
                let goes_on = entry.press(now, signal.lasts_millis, self.channels.tally_mut(entry.channel));
                let Some(candidates) = &mut self.candidates else { return };
                let may_be_quiet = is_plain && goes_on;
                if !(may_be_quiet && candidates.is_quiet(now, entry.channel, last_key, entry.quiet_until)) {
                    let channel = (entry.channel, self.channels.name_of(entry.channel));
                    // One that was posted to the dead counts as of now.
                    let until = signal.typing_until(now).max(now);
                    let trials = (last_key, &mut entry.trials);
                    entry.quiet_until = candidates.key(now, until, goes_on, channel, trials);
                }
            }
            (Some(entry), Some(end)) => {
                let in_time = entry.finish(now, end, self.channels.tally_mut(entry.channel));
                if let Some(candidates) = &mut self.candidates {
                    candidates.stop(now, in_time, end, entry.channel, (entry.last_key, &mut entry.trials));
                }
            }
            (None, None) => self.begin(now, signal.lasts_millis, key, conversation.to()),
            (None, Some(End::Sent)) => {
                let channel = self.channels.find(conversation.to());
                self.channels.tally_mut(channel).untyped += 1;
            }
            (None, Some(_)) => {}
        }
    }

    fn on_decision(&mut self, decision: &Decision) {
        let conversation = decision.conversation.as_ref();
        let channel = self.channels.find(conversation.to());
        let tally = self.channels.tally_mut(channel);
        tally.decided[decision.reason as usize] += 1;
        let timer = matches!(decision.reason, Reason::Idle | Reason::Dismissed | Reason::MaxTyping);
        tally.timer_stops += u64::from(timer);
        let starts = decision.reason.indicator() == Indicator::TypingStarted;
        if !starts && !timer {
            return;
        }
        let key = self.key_of(conversation);
        let Some(entry) = self.entries.find_mut(key, |entry| entry.key == key) else { return };
        if starts {
            entry.show(decision.at, self.channels.tally_mut(entry.channel));
        } else {
            entry.hide(decision.at);
        }
    }

    /// The figures at `now`.
    pub fn figures(&mut self, now: Instant) -> Figures {
        self.look_through(now, LOOKS_PER_READING);
        Figures {
            channels: self.channels.copy(),
            measured: self.entries.len(),
            unmeasured: self.unmeasured,
            candidates: self.candidates.as_ref().map(Candidates::figures),
        }
    }

    /// When to call [`TypingStats::look`], though nothing happens before.
    pub(crate) fn due(&self) -> Instant {
        self.looks.front().map_or(Instant::NEVER, |(looked, _)| *looked + AWAY + LOOK_SPACING)
    }

    /// Looks through conversations that have fallen silent, a slice at a time.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.due() <= now {
            self.look_through(now, LOOKS_PER_READING);
        }
    }

    fn key_of(&self, conversation: ConversationRef<'_>) -> u64 {
        self.hash.whole(conversation.to(), conversation.from())
    }

    /// The first key of a conversation that nothing is known of.
    fn begin(&mut self, now: Instant, lasts_millis: u16, key: u64, to: &str) {
        if self.entries.len() >= CONVERSATIONS_MAX {
            self.unmeasured += 1;
            return;
        }
        let channel = self.channels.find(to);
        let mut entry = Entry {
            key,
            last_key: now,
            stopped: now,
            channel,
            lasts_millis,
            composing: true,
            hidden: false,
            awaited: 0,
            trials: None,
            quiet_until: Instant::ORIGIN,
        };
        if let Some(candidates) = &mut self.candidates {
            let until = now + Duration::from_millis(u64::from(lasts_millis));
            let (channel, trials) = ((channel, self.channels.name_of(channel)), (now, &mut entry.trials));
            entry.quiet_until = candidates.key(now, until, false, channel, trials);
        }
        self.entries.insert_unique(key, entry, |entry| entry.key);
        self.looks.push_back((now, key));
    }

    /// Looks through the conversations that have not been looked at for [`AWAY`], at most `most` of them, and forgets
    /// those in which the user is not typing any more. A key moves nothing here: it is seen at the next look.
    fn look_through(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some(&(looked, key)) = self.looks.front() else { break };
            if now.since(looked) <= AWAY {
                break;
            }
            self.looks.pop_front();
            let Ok(mut found) = self.entries.find_entry(key, |entry| entry.key == key) else { continue };
            let entry = found.get_mut();
            let is_typing = entry.composing && now.since(entry.typing_until()) <= AWAY;
            if !is_typing {
                entry.abandon(self.channels.tally_mut(entry.channel));
            }
            let is_over = match &mut self.candidates {
                None => {
                    entry.trials = None;
                    true
                }
                Some(_) if is_typing => false,
                Some(candidates) => candidates.look(now, entry.channel, (entry.last_key, &mut entry.trials)),
            };
            if is_typing || !is_over {
                self.looks.push_back((now, key));
            } else {
                found.remove();
            }
        }
        self.shrink();
    }

    /// The memory of a crowd goes with the crowd, whoever of it is still typing. What is left is moved, and is little.
    fn shrink(&mut self) {
        if self.entries.is_empty() && self.looks.is_empty() {
            (self.entries, self.looks) = (HashTable::new(), VecDeque::new());
        }
        let room = |len: usize| len.max(SMALL / SHRINK_AT) * SHRINK_AT;
        if self.entries.capacity() > room(self.entries.len()) {
            self.entries.shrink_to(self.entries.len() * 2, |entry| entry.key);
        }
        if self.looks.capacity() > room(self.looks.len()) {
            self.looks.shrink_to(self.looks.len() * 2);
        }
    }
}
