//! When the agent sees the icon.

use super::play::Arrival;
use crate::model::{Indicator, Reason};

/// A time during which the icon is shown, from its first up to, not including, its last millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IconSpan {
    /// When it came on.
    pub from: u64,
    /// When it went off.
    pub to: u64,
    /// It was on as the message was sent that ended it, or outlasted the observation.
    pub by_send: bool,
}

/// When the icon is shown, and for how long after each TypingStarted nothing new was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// In order; two that touch are one.
    pub spans: Vec<IconSpan>,
    /// From a TypingStarted to the next one, or to the icon's end, in milliseconds: an agent who begins to look within that
    /// time waits for its end.
    pub waits: Vec<u64>,
}

impl Shown {
    /// Works out what `arrivals` show until `end`, if the receiver drops an icon by itself `ttl` after its latest
    /// TypingStarted.
    pub(crate) fn follow(&mut self, arrivals: &[Arrival], ttl: Option<u64>, end: u64) {
        self.spans.clear();
        self.waits.clear();
        let expiry = |started: u64| ttl.map_or(u64::MAX, |ttl| started.saturating_add(ttl));
        // Since when the icon is on, and its latest TypingStarted.
        let mut on: Option<(u64, u64)> = None;
        for arrival in arrivals {
            let at = arrival.at;
            let started = arrival.reason.indicator() == Indicator::TypingStarted;
            // An expiry is a timer, and runs first; but an icon that is turned on in the same instant does not flicker.
            if let Some((since, latest)) = on
                && (expiry(latest) < at || expiry(latest) == at && !started)
            {
                self.end(since, latest, expiry(latest), false, end);
                on = None;
            }
            on = match (on, started) {
                (Some((since, latest)), true) => {
                    self.wait(latest, at, end);
                    Some((since, at))
                }
                (None, true) => Some((at, at)),
                (Some((since, latest)), false) => {
                    self.end(since, latest, at, arrival.reason == Reason::MessageSent, end);
                    None
                }
                (None, false) => None,
            };
        }
        if let Some((since, latest)) = on {
            self.end(since, latest, expiry(latest), false, end);
        }
    }

    /// Works out the waits alone, with a receiver that keeps icons. Returns the longest.
    pub(crate) fn find_waits(&mut self, arrivals: &[Arrival], end: u64) -> u64 {
        self.waits.clear();
        let mut longest = 0;
        for (number, arrival) in arrivals.iter().enumerate() {
            if arrival.reason.indicator() == Indicator::TypingStarted {
                let to = arrivals.get(number + 1).map_or(u64::MAX, |next| next.at).min(end);
                if arrival.at < to {
                    self.waits.push(to - arrival.at);
                    longest = longest.max(to - arrival.at);
                }
            }
        }
        longest
    }

    fn wait(&mut self, from: u64, to: u64, end: u64) {
        if from < to.min(end) {
            self.waits.push(to.min(end) - from);
        }
    }

    fn end(&mut self, since: u64, latest: u64, to: u64, by_send: bool, end: u64) {
        self.wait(latest, to, end);
        let by_send = by_send || to > end;
        // What lies beyond the observation is not counted: what the user did then is not known.
        let to = to.min(end);
        if since >= to {
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.to == since => *last = IconSpan { from: last.from, to, by_send },
            _ => self.spans.push(IconSpan { from: since, to, by_send }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arrivals: &[(u64, Reason)], ttl: Option<u64>, end: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
        let arrivals: Vec<_> = arrivals.iter().map(|&(at, reason)| Arrival { at, reason }).collect();
        let mut shown = Shown::default();
        shown.follow(&arrivals, ttl, end);
        (shown.spans.iter().map(|span| (span.from, span.to)).collect(), shown.waits)
    }

    use Reason::{Check, Dismissed, FirstKeystroke as First, Idle, MessageSent};

    #[test]
    fn an_icon_is_on_from_its_started_to_its_stopped() {
        for (name, arrivals, ttl, end, spans, waits) in [
            ("nothing", vec![], None, 9, vec![], vec![]),
            ("on and off", vec![(1, First), (5, Idle)], None, 9, vec![(1, 5)], vec![4]),
            ("refreshed", vec![(1, First), (5, Check), (8, Idle)], None, 9, vec![(1, 8)], vec![4, 3]),
            ("touching", vec![(1, First), (5, Idle), (5, First), (8, Idle)], None, 9, vec![(1, 8)], vec![4, 3]),
            ("beyond the end", vec![(1, First), (50, Idle)], None, 9, vec![(1, 9)], vec![8]),
            ("never turned off", vec![(1, First)], None, 9, vec![(1, 9)], vec![8]),
            ("begun at the end", vec![(9, First), (11, Idle)], None, 9, vec![], vec![]),
            ("turned off in the same instant", vec![(1, First), (1, MessageSent)], None, 9, vec![], vec![]),
            ("dropped", vec![(1, First), (8, Dismissed)], Some(3), 9, vec![(1, 4)], vec![3]),
            (
                "dropped and turned on",
                vec![(1, First), (6, Check), (8, Idle)],
                Some(3),
                9,
                vec![(1, 4), (6, 8)],
                vec![3, 2],
            ),
            ("turned on as it drops", vec![(1, First), (4, Check), (6, Idle)], Some(3), 9, vec![(1, 6)], vec![3, 2]),
            ("turned off as it drops", vec![(1, First), (4, Idle)], Some(3), 9, vec![(1, 4)], vec![3]),
        ] {
            assert_eq!(shown(&arrivals, ttl, end), (spans, waits), "{name}");
        }
    }

    #[test]
    fn an_icon_that_drops_as_the_message_goes_out_was_off() {
        let arrivals = [Arrival { at: 1, reason: First }, Arrival { at: 4, reason: MessageSent }];
        let mut shown = Shown::default();
        shown.follow(&arrivals, Some(3), 9);
        assert!(!shown.spans[0].by_send);
        shown.follow(&arrivals, None, 9);
        assert!(shown.spans[0].by_send);
        // Turned off too late to be seen: the last thing that is known of it is that it was on.
        let late = [Arrival { at: 1, reason: First }, Arrival { at: 12, reason: Idle }];
        for (end, on) in [(9, true), (11, true), (12, false)] {
            shown.follow(&late, None, end);
            assert_eq!(shown.spans[0].by_send, on, "observed until {end}");
        }
    }
}
