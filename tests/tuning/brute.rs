//! What each measure of `tune` means, told from its definition and nothing else: one cell a millisecond, nothing clever.
//!
//! It shares no code with `tune`. The indicators come from `simulate`, that is from the engine; the truth, the icon and
//! everything that is counted are worked out here, slowly. A cell `t` is the time from `t` to `t + 1`.
//!
//! The measures, for one conversation with its keys, its sends, its other endings and the end of its observation, which
//! is the last line of its trace:
//!
//! - A keystroke may say that the typing goes on for a while (`lasts`): whatever is said below of the last key's time is
//!   then said of the latest such end of those pressed so far, cut off by the next happening that is no key.
//! - A keystroke in the millisecond of a message before it is late (rule 6) and no key; an `ended` in between makes the
//!   daemon forget the message. `opened` is no happening, but a chat's life begins with it.
//! - Truth `message`: a composing interval opens at the first key after the last one closed. It closes as sent at its
//!   send; as abandoned at its last key when more than `away` passes before anything else happens, be that the send; as
//!   neither at its last key when the box is cleared, the chat closes or the observation ends before that.
//! - Truth `sent-only`: of these the sent ones count as composing. Truth `burst`: as `message`, with two seconds in the
//!   place of a longer `away`, so that every longer silence ends an interval.
//! - Icon: from a Started to the next Stopped, or to `icon_ttl` after the latest Started. Cells beyond the observation
//!   count for nothing, but requests and the timers' stops do.
//! - recall: of the composing cells those with the icon on. false-on: of the icon's cells those in which nobody composes;
//!   for each abandoned interval, those between its end (its start, if it does not count) and the next interval.
//! - flicker: in the cells of an interval, how often the icon goes on after it has been on and off again. Two stretches
//!   that touch are one. An icon that lasts no time is not seen, nor is one that comes on with an interval's last key a
//!   part of that interval: what it costs is in the off-latency.
//! - off-early: of the sent intervals, those whose send finds no icon that has been seen: one that was there in the cell
//!   before, and that no timer of that very instant has put out, for timers run first.
//! - off-latency: of each abandoned interval, from its end to the end of the last cell with the icon on before the next
//!   interval. Whoever types on while the icon is on ends it there.
//! - on-latency: of each interval that counts, to the first cell with the icon on before the next interval.
//! - wrong stop: a timer's stop, if the next thing to happen is a key within `away` of it.
//! - late-view wait: of every moment with the icon on, the time to the next Started, to the icon's end, or to the
//!   observation's.
//! - resume curve: of all silences after a key that lasted as long as g, and whose end is known or lies beyond `away`,
//!   those which a key or a send ended within `away` of the last key. Break-even: the first g with less than
//!   lambda / (1 + lambda) of them.
//! - Quantiles are the nearest rank. Everything is pooled: sums over sums.

use std::collections::BTreeMap;

use typingd::engine::policy::{Policy, Rules};
use typingd::tune::simulate::simulate;

use crate::traces::{File, Kind, Line};

/// When a user counts as composing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    Message,
    Burst,
    SentOnly,
}

/// The pause that parts bursts.
const BURST_GAP: u64 = 2_000;

/// How an interval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    Sent,
    Abandoned,
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) close: Close,
    /// Whether it is composing in the truth chosen.
    pub(crate) counts: bool,
}

/// How the world is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lens {
    pub(crate) truth: Truth,
    pub(crate) away: u64,
    pub(crate) ttl: Option<u64>,
}

/// One conversation of one file.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The file that it is in, counted from 0.
    pub(crate) file: usize,
    /// Whoever has one `from` in one file.
    pub(crate) user: usize,
    pub(crate) to: String,
    pub(crate) from: String,
    /// Its first line, even if that only opened it.
    pub(crate) begin: u64,
    /// What happened, late keys and `opened` left out.
    pub(crate) events: Vec<(u64, Kind)>,
    pub(crate) end: u64,
}

/// An indicator as `simulate` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) at: u64,
    pub(crate) started: bool,
    pub(crate) reason: String,
}

impl Told {
    fn is_timer_stop(&self) -> bool {
        ["idle", "dismissed", "max_typing"].contains(&self.reason.as_str())
    }
}

/// The conversations of all files, in their order, and how many users they have. One that was only opened is none.
pub(crate) fn conversations(files: &[File]) -> (Vec<Conversation>, usize) {
    let mut all: Vec<Conversation> = Vec::new();
    for (file, lines) in files.iter().enumerate() {
        let origin = lines.first().map_or(0, |line| line.at);
        let end = lines.last().map_or(0, |line| line.at - origin);
        for line in lines {
            let at = line.at - origin;
            let found = all.iter_mut().find(|c| c.file == file && c.to == line.to && c.from == line.from);
            let conversation = match found {
                Some(conversation) => conversation,
                None => {
                    let (to, from) = (line.to.clone(), line.from.clone());
                    all.push(Conversation { file, user: 0, to, from, begin: at, events: Vec::new(), end });
                    all.last_mut().expect("it was pushed")
                }
            };
            if line.kind != Kind::Opened && !is_late(&conversation.events, at, line.kind) {
                conversation.events.push((at, line.kind));
            }
        }
    }
    all.retain(|conversation| !conversation.events.is_empty());
    let mut known: Vec<(usize, String)> = Vec::new();
    for conversation in &mut all {
        let who = (conversation.file, conversation.from.clone());
        conversation.user = known.iter().position(|other| *other == who).unwrap_or(known.len());
        if conversation.user == known.len() {
            known.push(who);
        }
    }
    (all, known.len())
}

fn is_late(events: &[(u64, Kind)], at: u64, kind: Kind) -> bool {
    let mut message = None;
    for (when, what) in events {
        match what {
            Kind::Sent => message = Some(*when),
            Kind::Ended => message = None,
            _ => {}
        }
    }
    kind.is_key() && message == Some(at)
}

/// What the daemon would tell about each conversation of `lines`, by (`to`, `from`), times from the first line on.
pub(crate) fn told(lines: &[Line], rules: &Rules) -> BTreeMap<(String, String), Vec<Told>> {
    let origin = lines.first().map_or(0, |line| line.at);
    let policy = Policy { rules: *rules, ..Policy::default() };
    let mut output = Vec::new();
    simulate(vec![crate::traces::reader("t.ndjson", lines)], &policy, &mut output).expect("the trace is right");
    let mut all: BTreeMap<_, Vec<Told>> = BTreeMap::new();
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: serde_json::Value = serde_json::from_slice(line).expect("simulate prints JSON");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let indicator = text("indicator");
        assert!(indicator == "TypingStarted" || indicator == "TypingStopped", "{indicator}");
        let told = Told {
            at: line["at"].as_u64().expect("a time") - origin,
            started: indicator == "TypingStarted",
            reason: text("reason"),
        };
        all.entry((text("to"), text("from"))).or_default().push(told);
    }
    all
}

/// When somebody was composing.
pub(crate) fn composing(conversation: &Conversation, truth: Truth, away: u64) -> Vec<Interval> {
    let Conversation { events, end, .. } = conversation;
    // The longest silence that is still composing.
    let pause = if truth == Truth::Burst { away.min(BURST_GAP) } else { away };
    let mut all = Vec::new();
    // The ends of what the keys so far have reported, behind the time of the first.
    let mut keys: Vec<u64> = Vec::new();
    let close = |keys: &mut Vec<u64>, all: &mut Vec<Interval>, sent: Option<u64>, now: u64| {
        let (Some(start), Some(last)) = (keys.first().copied(), keys.iter().max().copied()) else { return };
        let (end, close) = match sent {
            _ if last + pause < now => (last, Close::Abandoned),
            Some(sent) => (sent, Close::Sent),
            None => (last.min(now), Close::Open),
        };
        let counts = truth != Truth::SentOnly || close == Close::Sent;
        all.push(Interval { start, end, close, counts });
        keys.clear();
    };
    for (at, kind) in events {
        match kind {
            Kind::Key | Kind::Lasting(_) => {
                if keys.iter().all(|key| key + pause < *at) {
                    close(&mut keys, &mut all, None, *at);
                    keys.push(*at);
                }
                keys.push(at + kind.lasts());
            }
            Kind::Sent => close(&mut keys, &mut all, Some(*at), *at),
            Kind::Stopped | Kind::Ended => close(&mut keys, &mut all, None, *at),
            Kind::Opened => unreachable!("it is no happening"),
        }
    }
    close(&mut keys, &mut all, None, *end);
    all
}

/// The time of a chat from its beginning to the last thing that happened, without silences of more than ten minutes.
fn lived(conversation: &Conversation) -> u64 {
    let events = &conversation.events;
    let silence = |place: usize| {
        let until = events[..place].iter().map(|(at, kind)| at + kind.lasts()).max();
        let silence = events[place].0.saturating_sub(until.unwrap_or(conversation.begin));
        if silence > 600_000 { silence } else { 0 }
    };
    let silent: u64 = (0..events.len()).map(silence).sum();
    events[events.len() - 1].0 - conversation.begin - silent
}

/// Which cells have the icon on, in which a Started falls, and which begin with the receiver dropping the icon.
struct Icon {
    on: Vec<bool>,
    started: Vec<bool>,
    dropped: Vec<bool>,
}

impl Icon {
    fn new(told: &[Told], ttl: Option<u64>, cells: u64) -> Self {
        let cells = usize::try_from(cells).expect("a test's trace is short");
        let (mut on, mut started, mut dropped) = (vec![false; cells], vec![false; cells], vec![false; cells]);
        let mut told = told.iter().peekable();
        let mut shown = false;
        let mut expires = None;
        for t in 0..cells {
            if shown && expires == Some(t as u64) {
                shown = false;
                dropped[t] = true;
            }
            while let Some(told) = told.next_if(|told| told.at == t as u64) {
                shown = told.started;
                started[t] |= told.started;
                expires = ttl.filter(|_| told.started).map(|ttl| told.at + ttl);
            }
            on[t] = shown;
        }
        assert!(told.next().is_none(), "told out of order");
        Self { on, started, dropped }
    }
}

/// What is counted, over any number of conversations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) stopped: u64,
    pub(crate) composing: u64,
    pub(crate) on: u64,
    pub(crate) both: u64,
    /// Intervals, and those that count as composing.
    pub(crate) begun: u64,
    pub(crate) messages: u64,
    pub(crate) sent: u64,
    pub(crate) abandoned: u64,
    /// The icon's cells after abandoned intervals.
    pub(crate) false_abandoned: u64,
    pub(crate) flickers: u64,
    pub(crate) early: u64,
    pub(crate) timer_stops: u64,
    pub(crate) wrong_stops: u64,
    pub(crate) off: Vec<u64>,
    pub(crate) on_after: Vec<u64>,
    /// Of every cell with the icon on: from its beginning to the next Started or to the icon's or the observation's end.
    pub(crate) waits: Vec<u64>,
    pub(crate) life: u64,
}

impl Counts {
    /// Adds what one conversation gives, when it was told `told`.
    pub(crate) fn add(&mut self, conversation: &Conversation, told: &[Told], lens: Lens) {
        let Conversation { events, end, .. } = conversation;
        let Lens { truth, away, ttl } = lens;
        let intervals = composing(conversation, truth, away);
        let cells = told.last().map_or(0, |told| told.at).max(*end) + ttl.unwrap_or(0) + 2;
        let icon = Icon::new(told, ttl, cells);
        let on = |t: u64| icon.on[t as usize];
        let mut composes = vec![false; cells as usize];
        for interval in intervals.iter().filter(|interval| interval.counts) {
            composes[interval.start as usize..interval.end as usize].fill(true);
        }
        self.life += lived(conversation);
        self.started += told.iter().filter(|told| told.started).count() as u64;
        self.stopped += told.iter().filter(|told| !told.started).count() as u64;
        for t in 0..*end {
            self.on += u64::from(on(t));
            self.composing += u64::from(composes[t as usize]);
            self.both += u64::from(on(t) && composes[t as usize]);
        }
        let stops: Vec<&Told> = told.iter().filter(|told| told.is_timer_stop()).collect();
        for (place, interval) in intervals.iter().enumerate() {
            let Interval { start, end: close, .. } = *interval;
            let until = intervals.get(place + 1).map_or(*end, |next| next.start);
            self.begun += 1;
            if interval.counts {
                self.messages += 1;
                let mut seen = false;
                for t in start..close {
                    let went_on = on(t) && (t == 0 || !on(t - 1));
                    self.flickers += u64::from(went_on && seen);
                    seen |= on(t);
                }
                self.on_after.extend((start..until).find(|t| on(*t)).map(|t| t - start));
            }
            match interval.close {
                Close::Sent => {
                    self.sent += 1;
                    let here = told.iter().filter(|told| told.at == close);
                    let mut before = here.clone().take_while(|told| told.reason != "message_sent");
                    let gone = before.any(|told| !told.started)
                        || icon.dropped[close as usize] && !here.clone().any(|told| told.started);
                    let seen = close > 0 && on(close - 1) && (on(close) || !gone);
                    self.early += u64::from(!seen);
                }
                Close::Abandoned => {
                    self.abandoned += 1;
                    let last = (close..until).rev().find(|t| on(*t));
                    self.off.push(last.map_or(0, |last| last + 1 - close));
                    let false_from = if interval.counts { close } else { start };
                    self.false_abandoned += (false_from..until).filter(|t| on(*t)).count() as u64;
                }
                Close::Open => {}
            }
        }
        for stop in stops {
            self.timer_stops += 1;
            let next = events.iter().find(|(at, _)| *at >= stop.at);
            let resumed = next.is_some_and(|(at, kind)| kind.is_key() && at - stop.at <= away);
            self.wrong_stops += u64::from(resumed);
        }
        let mut news = *end;
        for t in (0..*end).rev() {
            if on(t) {
                self.waits.push(news - t);
            }
            if !on(t) || icon.started[t as usize] {
                news = t;
            }
        }
    }
}

/// `part / whole`, undefined without a whole.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The least value that so many of a hundred do not exceed.
pub(crate) fn percentile<T: Copy + PartialOrd>(values: &[T], per_cent: usize) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("numbers have an order"));
    (1..=sorted.len()).find(|rank| 100 * rank >= per_cent * sorted.len()).map(|rank| sorted[rank - 1])
}

/// How likely a key or the send ends a silence that has lasted `millis`, before the user counts as away; none if no
/// silence is known to have lasted that long and how it went on.
pub(crate) fn resumes(conversations: &[Conversation], away: u64, millis: u64) -> Option<f64> {
    let (mut resumed, mut all) = (0, 0);
    for Conversation { events, end, .. } in conversations {
        for place in (0..events.len()).filter(|place| events[*place].1.is_key()) {
            let next = events.get(place + 1);
            let run = events[..=place].iter().rev().take_while(|(_, kind)| kind.is_key());
            let until = run.map(|(at, kind)| at + kind.lasts()).max().expect("this key");
            let silent = next.map_or(*end, |(at, _)| *at).saturating_sub(until);
            // A trace that ends before the user counts as away doesn't tell how it went on.
            if silent < millis || next.is_none() && silent <= away {
                continue;
            }
            all += 1;
            resumed += u64::from(silent <= away && next.is_some_and(|(_, kind)| kind.is_key() || *kind == Kind::Sent));
        }
    }
    share(resumed, all)
}
