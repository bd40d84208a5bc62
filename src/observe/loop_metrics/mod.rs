//! How the daemon does its work, measured in the loop: how long things take, what becomes of requests, what is turned
//! away. What the timing costs and gives is the `stats`'s.
//!
//! A plain value: it reads no clock, and an event costs an addition.

mod recent;
mod trips;

use crate::model::{Cause, Indicator, Instant, Outcome, Reason, Rejection, SignalKind, WireResult};
use crate::observe::histogram::Latencies;
use crate::observe::loop_event::LoopEvent;
use recent::Recent;
pub(crate) use trips::Trips;

/// The measuring, and what it has come to. All but the recent requests only ever grows.
#[derive(Clone, Debug, Default)]
pub struct LoopMetrics {
    /// From a signal's being taken over from its edge to the loop's turn.
    pub inbox_wait: Latencies,
    /// From a signal's turn to the leaving of the request that it asks for: what the rate and the requests under way
    /// hold up. First tries alone, and none that a timer decided.
    pub signal_to_wire: Latencies,
    /// From a request's leaving to its answer, or to its being given up without one.
    pub round_trip: Latencies,
    /// The same of the latest Stoppeds that were acknowledged: what a message that waits for one must allow for.
    pub stopped_trips: Trips,
    /// From the moment a timer was due to its turn.
    pub timer_lateness: Latencies,
    /// Requests that have come to their end, by [`End`] in the order of [`End::ALL`].
    pub ended: [u64; End::ALL.len()],
    /// Their answers, by the class of the HTTP status in the order of [`ANSWERS`].
    pub answers: [u64; ANSWERS.len()],
    /// Signals not taken, by kind and by [`Rejected`](crate::engine::Rejected) in the order of [`TURNED_AWAY`].
    pub turned_away: [[u64; TURNED_AWAY.len()]; SignalKind::ALL.len()],
    recent: Recent,
}

/// The names of the reasons for which a signal is turned away, in the order of their declaration.
pub(crate) const TURNED_AWAY: [&str; 2] = ["table_full", "stopping"];
/// The classes of answers: those without a final status, or without any, last.
pub(crate) const ANSWERS: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// How a request ended: what became of it, and whose fault that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Acknowledged.
    Delivered,
    /// Certainly not applied, and worth another try.
    NotSent(Cause),
    /// Perhaps applied, and worth another try.
    Unsure(Cause),
    /// Certainly not applied, and never will be.
    Refused(Rejection),
}

impl End {
    /// All ends.
    pub(crate) const ALL: [Self; 18] = [
        Self::Delivered,
        Self::NotSent(Cause::Token),
        Self::NotSent(Cause::Credentials),
        Self::NotSent(Cause::NoCredentials),
        Self::NotSent(Cause::RateLimited),
        Self::NotSent(Cause::Unreachable),
        Self::NotSent(Cause::Unprocessed),
        Self::NotSent(Cause::NoAnswer),
        Self::NotSent(Cause::Failing),
        Self::Unsure(Cause::Token),
        Self::Unsure(Cause::RateLimited),
        Self::Unsure(Cause::Unreachable),
        Self::Unsure(Cause::NoAnswer),
        Self::Unsure(Cause::Failing),
        Self::Refused(Rejection::Channel),
        Self::Refused(Rejection::Conversation),
        Self::Refused(Rejection::Request),
        Self::Refused(Rejection::Configuration),
    ];

    /// What became of it: a name for metrics.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotSent(_) => "not_sent",
            Self::Unsure(_) => "unsure",
            Self::Refused(_) => "refused",
        }
    }

    /// Whose fault that was: a name for metrics.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Delivered => "none",
            Self::NotSent(cause) | Self::Unsure(cause) => match cause {
                Cause::Token => "token",
                Cause::Credentials => "credentials",
                Cause::NoCredentials => "no_credentials",
                Cause::RateLimited => "rate_limited",
                Cause::Unreachable => "unreachable",
                Cause::Unprocessed => "unprocessed",
                Cause::NoAnswer => "no_answer",
                Cause::Failing => "failing",
            },
            Self::Refused(refusal) => match refusal {
                Rejection::Channel => "channel",
                Rejection::Conversation => "conversation",
                Rejection::Request => "request",
                Rejection::Configuration => "configuration",
            },
        }
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::NotSent(setback) => Self::NotSent(setback.cause),
            Outcome::Unknown(setback) => Self::Unsure(setback.cause),
            Outcome::Rejected(refusal) => Self::Refused(refusal),
        }
    }
}

impl LoopMetrics {
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, event: &LoopEvent<'_>) {
        match event {
            LoopEvent::Batch { waited } => self.inbox_wait.add(*waited),
            LoopEvent::Received { signals, taken: Err(why) } => {
                for (_, signal) in *signals {
                    self.turned_away[signal.kind as usize][*why as usize] += 1;
                }
            }
            LoopEvent::Decided { decision, .. } => {
                if matches!(decision.reason, Reason::Check | Reason::Idle | Reason::Dismissed | Reason::MaxTyping) {
                    self.timer_lateness.add(now.since(decision.at));
                }
            }
            LoopEvent::Sent(dispatch) => {
                self.recent.add(now);
                if dispatch.reason.is_of_signal() && dispatch.attempt == 0 {
                    self.signal_to_wire.add(now.since(dispatch.decided));
                }
            }
            LoopEvent::Answered { dispatch, result, .. } => self.count_result(dispatch.indicator(), result),
            LoopEvent::Received { .. } | LoopEvent::Dropped(_) => {}
        }
    }

    fn count_result(&mut self, indicator: Indicator, result: &WireResult) {
        if indicator == Indicator::TypingStopped && result.outcome == Outcome::Delivered {
            self.stopped_trips.add(result.elapsed);
        }
        let end = End::from(result.outcome);
        if let Some(place) = End::ALL.iter().position(|known| *known == end) {
            self.ended[place] += 1;
        }
        let class = match result.status {
            Some(status @ 200..=599) => usize::from(status / 100 - 2),
            _ => ANSWERS.len() - 1,
        };
        self.answers[class] += 1;
        if result.has_left() {
            self.round_trip.add(result.elapsed);
        }
    }

    /// Requests that have left in the second before `now`, to a tenth of a second.
    pub fn requests_in_last_second(&self, now: Instant) -> u64 {
        self.recent.count(now)
    }

    /// Requests that ended so.
    pub fn ended_as(&self, outcome: &str) -> u64 {
        let all = End::ALL.iter().zip(self.ended);
        all.filter(|(end, _)| end.outcome() == outcome).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::Rejected;
    use crate::model::{ConversationRef, Decision, Dispatch, DispatchId, Signal, Transient};

    fn result(outcome: Outcome, status: Option<u16>) -> WireResult {
        WireResult { outcome, status, code: None, detail: None, elapsed: Duration::from_millis(20) }
    }

    #[test]
    fn each_end_and_each_class_of_answer_is_counted_once() {
        let mut metrics = LoopMetrics::default();
        let setback = |cause| Transient { cause, retry_after: None };
        for (outcome, status) in [
            (Outcome::Delivered, Some(202)),
            (Outcome::Rejected(Rejection::Channel), Some(404)),
            (Outcome::NotSent(setback(Cause::RateLimited)), Some(429)),
            (Outcome::NotSent(setback(Cause::Token)), None),
            (Outcome::NotSent(setback(Cause::Unreachable)), None),
            (Outcome::Unknown(setback(Cause::NoAnswer)), None),
            (Outcome::Unknown(setback(Cause::Failing)), Some(503)),
            (Outcome::Unknown(setback(Cause::Failing)), Some(700)),
        ] {
            metrics.count_result(Indicator::TypingStarted, &result(outcome, status));
        }
        assert_eq!(metrics.answers, [1, 0, 2, 1, 4]);
        let ended = ["delivered", "not_sent", "unsure", "refused"].map(|outcome| metrics.ended_as(outcome));
        assert_eq!(ended, [1, 3, 3, 1]);
        assert_eq!(metrics.round_trip.count(), 6, "those without a token or a connection went nowhere");
    }

    #[test]
    fn lateness_is_of_timers_and_waiting_of_signals() {
        let mut metrics = LoopMetrics::default();
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        let conversation = ConversationRef::new("c", "u").unwrap().to_owned();
        for reason in Reason::ALL {
            let decision = Decision { at: at(1_000), conversation: conversation.clone(), reason, number: 1 };
            let decided = LoopEvent::Decided { decision, waited: Duration::ZERO };
            metrics.observe(at(1_003), &decided);
            for attempt in 0..2 {
                let (id, conversation) = (DispatchId { slot: 0, serial: 0 }, conversation.clone());
                let dispatch =
                    Dispatch { id, conversation, reason, decided: at(1_000), decision: 1, attempt, credentials: None };
                metrics.observe(at(1_020), &LoopEvent::Sent(&dispatch));
            }
        }
        assert_eq!((metrics.timer_lateness.count(), metrics.timer_lateness.sum_micros), (4, 12_000));
        assert_eq!((metrics.signal_to_wire.count(), metrics.signal_to_wire.sum_micros), (4, 80_000));
        assert_eq!(metrics.requests_in_last_second(at(1_100)), 20);
        assert_eq!(metrics.requests_in_last_second(at(2_200)), 0);
    }

    #[test]
    fn names_of_rejections_are_in_the_order_of_the_reasons() {
        for (why, name) in [(Rejected::TableFull, "table_full"), (Rejected::Stopping, "stopping")] {
            let mut metrics = LoopMetrics::default();
            let conversation = ConversationRef::new("c", "u").unwrap();
            let signal = Signal::new(SignalKind::Opened);
            let event = LoopEvent::Received { signals: &[(conversation, signal)], taken: Err(why) };
            metrics.observe(Instant::ORIGIN, &event);
            assert_eq!(TURNED_AWAY[why as usize], name);
            assert_eq!(metrics.turned_away[SignalKind::Opened as usize][why as usize], 1);
        }
    }
}
