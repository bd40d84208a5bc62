//! What the daemon's own state machine makes of one conversation, and when the upstream comes to know of it.
//!
//! Over a perfect link the timing alone is stepped, for nothing else can matter. Where requests take time or get lost, the
//! whole engine runs, with its order, its retries and its owed stops; there is no second implementation of either.

use std::time::Duration;

use super::timeline::{Event, Happening, RUN_GAP_MILLIS, Timeline};
use crate::engine::Engine;
use crate::engine::policy::{Delivery, Policy, Rules};
use crate::engine::timing::Timing;
use crate::model::{
    Cause, ConversationRef, DispatchId, Indicator, Instant, Outcome, Reason, Signal, SignalKind, Transient,
};

/// How requests get to the upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// What a request takes to get there, in milliseconds. Its answer takes as long.
    pub latency: u64,
    /// The share of requests that get lost on the way.
    pub loss: f64,
}

impl Link {
    /// At once, and always.
    pub const PERFECT: Self = Self { latency: 0, loss: 0.0 };

    /// Plays one conversation over this link, whose losses `seed` decides.
    pub(super) fn play(self, timeline: &Timeline, rules: &Rules, away: u64, seed: u64, result: &mut Play) {
        if self == Self::PERFECT {
            play(timeline, rules, away, result);
        } else {
            play_over(self, timeline, rules, away, seed, result);
        }
    }
}

/// Something that reached the upstream. Milliseconds since the trace's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: u64,
    /// What it says, and why.
    pub reason: Reason,
}

/// What came of one conversation under one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Play {
    /// What reached the upstream, in order.
    pub arrivals: Vec<Arrival>,
    /// TypingStarted sent, retries included.
    pub started: u64,
    /// TypingStopped sent, retries included.
    pub stopped: u64,
    /// Stops that a timer decided.
    pub timer_stops: u64,
    /// Those that a key followed within `away`, before anything else happened.
    pub wrong_stops: u64,
}

impl Play {
    fn clear(&mut self) {
        let arrivals = std::mem::take(&mut self.arrivals);
        *self = Self { arrivals, ..Self::default() };
        self.arrivals.clear();
    }

    /// A timer stopped the icon at `at`, and the next thing to happen is `next`.
    fn judge(&mut self, at: u64, reason: Reason, next: Option<Event>, away: u64) {
        if matches!(reason, Reason::Idle | Reason::Dismissed | Reason::MaxTyping) {
            self.timer_stops += 1;
            let resumed = next.is_some_and(|next| next.happening() == Happening::Key && next.at() - at <= away);
            self.wrong_stops += u64::from(resumed);
        }
    }
}

/// Why an icon ends at once, if `happening` ends it.
fn end_reason(happening: Happening) -> Option<Reason> {
    match happening {
        Happening::Key => None,
        Happening::Sent => Some(Reason::MessageSent),
        Happening::Cleared => Some(Reason::Stopped),
        Happening::Closed => Some(Reason::Ended),
    }
}

/// Plays one conversation under `rules` over a perfect link. `away` is what decides on a wrong stop, in milliseconds.
pub fn play(timeline: &Timeline, rules: &Rules, away: u64, play: &mut Play) {
    play.clear();
    let mut stage = Stage { timing: Timing::default(), rules, away, play, skipped: None };
    if timeline.runs.is_empty() || rules.dismiss_after() < Duration::from_millis(RUN_GAP_MILLIS) {
        for event in &timeline.events {
            stage.take(*event);
        }
    } else {
        stage.take_runs(timeline);
    }
    stage.finish();
}

/// The state machine, while a conversation is played.
struct Stage<'a> {
    timing: Timing,
    rules: &'a Rules,
    away: u64,
    play: &'a mut Play,
    /// The latest key that the machine has not been told, for it decides nothing.
    skipped: Option<u64>,
}

impl Stage<'_> {
    /// Takes the runs of `timeline`. Keys that decide nothing, which most are, are passed over together.
    fn take_runs(&mut self, timeline: &Timeline) {
        let events = &timeline.events[..];
        let pause = self.rules.dismiss;
        // Keys before this decide nothing, if they come without a pause after `last`; in microseconds.
        let (mut unbroken_until, mut last) = (0, 0);
        for (number, run) in timeline.runs.iter().enumerate() {
            let last_of_run = run.last();
            if run.is_of_keys() && last_of_run < unbroken_until && run.first - last < pause {
                last = last_of_run;
                self.skipped = Some(last);
                continue;
            }
            let end = timeline.runs.get(number + 1).map_or(events.len(), |next| next.start());
            let mut place = run.start();
            while place < end {
                let event = events[place];
                let at = micros(event);
                if !event.is_key() || at >= unbroken_until || at - last >= pause {
                    self.take(event);
                    unbroken_until = self.timing.unbroken_until(self.rules).as_micros();
                    last = at;
                    place += 1;
                    continue;
                }
                // Within a run there is no pause.
                place = if last_of_run < unbroken_until {
                    end
                } else {
                    place + events[place..end].partition_point(|event| micros(*event) < unbroken_until)
                };
                last = micros(events[place - 1]);
                self.skipped = Some(last);
            }
        }
    }

    fn take(&mut self, event: Event) {
        let now = Instant::from_millis(event.at());
        if let Some(until) = self.skipped.take() {
            self.timing.keystrokes_skipped(Instant::from_micros(until));
        }
        while let Some((due, reason)) = self.timing.step(self.rules, now) {
            self.play.judge(due.as_millis(), reason, Some(event), self.away);
            self.note(due.as_millis(), reason);
        }
        let decided = if event.is_key() {
            self.timing.keystroke(self.rules, now, Instant::from_millis(event.typing_until()))
        } else {
            end_reason(event.happening()).and_then(|reason| self.timing.stop(reason))
        };
        if let Some(reason) = decided {
            self.note(event.at(), reason);
        }
    }

    fn finish(mut self) {
        if let Some(until) = self.skipped.take() {
            self.timing.keystrokes_skipped(Instant::from_micros(until));
        }
        while !self.timing.is_idle() {
            let Some((due, reason)) = self.timing.step(self.rules, self.timing.due(self.rules)) else { continue };
            self.play.judge(due.as_millis(), reason, None, self.away);
            self.note(due.as_millis(), reason);
        }
    }

    fn note(&mut self, at: u64, reason: Reason) {
        match reason.indicator() {
            Indicator::TypingStarted => self.play.started += 1,
            Indicator::TypingStopped => self.play.stopped += 1,
        }
        self.play.arrivals.push(Arrival { at, reason });
    }
}

fn micros(event: Event) -> u64 {
    event.at() * 1_000
}

/// Plays one conversation under `rules` over `link`, whose losses `seed` decides.
pub fn play_over(link: Link, timeline: &Timeline, rules: &Rules, away: u64, seed: u64, play: &mut Play) {
    play.clear();
    let who = ConversationRef::new("c", "u").expect("both have one character");
    let delivery = Delivery::default();
    let policy = Policy { rules: *rules, delivery, ..Policy::default() };
    let mut engine = Engine::new(policy, seed);
    engine.observe_decisions();
    let mut dice = fastrand::Rng::with_seed(seed ^ LOSSES);
    // One request is in flight at a time.
    let mut flight: Option<(Instant, DispatchId, Outcome)> = None;
    let mut events = timeline.events.iter().copied().peekable();
    let latency = Duration::from_millis(link.latency);
    let mut now = Instant::ORIGIN;
    loop {
        let signal_at = events.peek().map_or(Instant::NEVER, |event| Instant::from_millis(event.at()));
        let answer_at = flight.as_ref().map_or(Instant::NEVER, |(at, ..)| *at);
        let next = signal_at.min(answer_at).min(engine.poll_timeout(now));
        if next == Instant::NEVER {
            return;
        }
        now = now.max(next);
        engine.handle_timeout(now);
        while let Some(decision) = engine.poll_decision() {
            play.judge(decision.at.as_millis(), decision.reason, events.peek().copied(), away);
        }
        if let Some((_, id, outcome)) = flight.take_if(|(at, ..)| *at <= now) {
            let _ = engine.handle_outcome(now, id, outcome);
        }
        // Timers due at an instant run before the signals of that instant, and what they decide leaves before them.
        loop {
            while let Some(dispatch) = engine.poll_dispatch(now) {
                match dispatch.indicator() {
                    Indicator::TypingStarted => play.started += 1,
                    Indicator::TypingStopped => play.stopped += 1,
                }
                let (answer, outcome) = if dice.f64() < link.loss {
                    (now + ANSWER_TIMEOUT, Outcome::Unknown(Transient { cause: Cause::NoAnswer, retry_after: None }))
                } else {
                    play.arrivals.push(Arrival { at: (now + latency).as_millis(), reason: dispatch.reason });
                    (now + latency + latency, Outcome::Delivered)
                };
                if answer == now {
                    let _ = engine.handle_outcome(now, dispatch.id, outcome);
                } else {
                    flight = Some((answer, dispatch.id, outcome));
                }
            }
            let Some(event) = events.next_if(|event| Instant::from_millis(event.at()) <= now) else { break };
            let kind = match event.happening() {
                Happening::Key => SignalKind::Keystroke,
                Happening::Sent => SignalKind::MessageSent,
                Happening::Cleared => SignalKind::Stopped,
                Happening::Closed => SignalKind::Ended,
            };
            let signal = Signal { lasts_millis: event.lasts_millis(), ..Signal::new(kind) };
            let taken = engine.handle_signal(now, who, signal);
            debug_assert!(taken.is_ok(), "one conversation has room");
            while let Some(decision) = engine.poll_decision() {
                play.judge(decision.at.as_millis(), decision.reason, Some(event), away);
            }
        }
    }
}

/// Keeps the draws of lost requests apart from those of abandoned messages, which begin with the same seed: or else the
/// first message of a conversation would be given up just when its first request is lost.
const LOSSES: u64 = u64::from_be_bytes(*b"requests");
/// How long a request waits for its answer: the daemon's own default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
