//! The record of what the sandbox was sent, and the count of how fast it came.

use std::collections::VecDeque;

use axum::http::HeaderMap;
use serde::Serialize;

use super::interaction::{Facts, cut};
use crate::model::Instant;

/// One request to `/api/v1/interactions`. It holds neither the token nor a message's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Request {
    /// A running number, from 1.
    pub number: u64,
    /// When it arrived, Unix epoch milliseconds.
    pub at: u64,
    /// When it arrived on the sandbox's monotonic clock, in microseconds.
    pub at_us: u64,
    /// The header `RequestId`.
    pub request_id: Option<String>,
    /// The header `OrgId`.
    pub org_id: Option<String>,
    /// The header `AuthorizationContext`.
    pub authorization_context: Option<String>,
    /// What its body says.
    #[serde(flatten)]
    pub facts: Facts,
    /// How far its time stamp was ahead of the arrival, in milliseconds; below zero when it was behind.
    pub skew_ms: Option<i64>,
    /// Whether the agent saw the conversation's icon as it came in; null if it could not be read.
    pub found_shown: Option<bool>,
    /// The status of the answer; null while there is none.
    pub status: Option<u16>,
    /// The error's code, if the answer was an error.
    pub code: Option<i64>,
    /// Whether it took effect.
    pub applied: bool,
    /// The fault that struck it: `close-after`.
    pub fault: Option<String>,
}

/// The last [`REQUESTS_MAX`] requests in the order of their arrival.
#[derive(Default)]
pub(super) struct Requests {
    kept: VecDeque<Request>,
    /// The number of the last one; goes on after a reset, so that a request in flight never writes into another's record.
    last: u64,
    /// The number of the last one before the reset.
    base: u64,
    arrivals: VecDeque<Instant>,
    peak: usize,
}

impl Requests {
    /// Records an arrival, and gives it its number.
    pub(super) fn arrive(&mut self, headers: &HeaderMap, now: Instant, wall: u64) -> u64 {
        self.last += 1;
        self.arrivals.push_back(now);
        while self.arrivals.len() > ARRIVALS_MAX || self.arrivals.front().is_some_and(|first| is_over(*first, now)) {
            self.arrivals.pop_front();
        }
        self.peak = self.peak.max(self.arrivals.len());
        let header = |name| headers.get(name).map(|value| cut(&String::from_utf8_lossy(value.as_bytes())));
        if self.kept.len() == REQUESTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Request {
            number: self.last,
            at: wall,
            at_us: now.as_micros(),
            request_id: header("requestid"),
            org_id: header("orgid"),
            authorization_context: header("authorizationcontext"),
            facts: Facts::default(),
            skew_ms: None,
            found_shown: None,
            status: None,
            code: None,
            applied: false,
            fault: None,
        });
        self.last
    }

    /// The record of that number, unless it has been forgotten.
    pub(super) fn find(&mut self, number: u64) -> Option<&mut Request> {
        let first = self.kept.front()?.number;
        self.kept.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// At most `limit` records: the first ones after the number `since`, or else the last ones.
    pub(super) fn page(&self, since: Option<u64>, limit: usize) -> impl Iterator<Item = &Request> {
        let start = match since {
            Some(since) => self.kept.partition_point(|request| request.number <= since),
            None => self.kept.len().saturating_sub(limit),
        };
        self.kept.iter().skip(start).take(limit)
    }

    /// How many arrived since the reset.
    pub(super) fn total(&self) -> u64 {
        self.last - self.base
    }

    /// The number of the last one, for paging.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The most that arrived in any one-second window since the reset.
    pub(super) fn peak_per_second(&self) -> usize {
        self.peak
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last, base: self.last, ..Self::default() };
    }
}

/// The org's rate: never more than `limit` in any one-second window. Refused requests don't count, so that a client
/// that is a little too fast gets the limit, and not nothing.
pub(super) struct Rate {
    limit: usize,
    /// The last `limit` ones that were let in.
    admitted: VecDeque<Instant>,
}

impl Rate {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit as usize, admitted: VecDeque::new() }
    }

    /// Whether the request that arrives `now` is within the limit.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        while self.admitted.front().is_some_and(|first| is_over(*first, now)) {
            self.admitted.pop_front();
        }
        let admit = self.admitted.len() < self.limit;
        if admit {
            self.admitted.push_back(now);
        }
        admit
    }
}

/// Whether `earlier` lies outside the one-second window that ends `now`. The window holds its end and not its start.
fn is_over(earlier: Instant, now: Instant) -> bool {
    now.as_micros() - earlier.as_micros().min(now.as_micros()) >= 1_000_000
}

/// Requests kept: five seconds at the org's rate, a few megabytes.
pub(super) const REQUESTS_MAX: usize = 10_000;
/// Arrivals that the peak is counted from. More in one second than one machine can send.
const ARRIVALS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_one_second_window_lets_in_more_than_the_limit() {
        let mut rate = Rate::new(2);
        let admitted: Vec<bool> = [0, 600_000, 999_999, 1_000_000, 1_599_999, 1_600_000]
            .map(|at| rate.admit(Instant::from_micros(at)))
            .into();
        assert_eq!(admitted, [true, true, false, true, false, true]);
    }

    #[test]
    fn the_peak_is_that_of_any_window_and_the_record_is_bounded() {
        let mut requests = Requests::default();
        for at in [0, 900_000, 1_000_000, 1_100_000, 1_899_999, 9_000_000] {
            requests.arrive(&HeaderMap::new(), Instant::from_micros(at), 0);
        }
        assert_eq!(requests.peak_per_second(), 4);
        for _ in 0..REQUESTS_MAX {
            requests.arrive(&HeaderMap::new(), Instant::from_micros(20_000_000), 0);
        }
        assert_eq!((requests.kept.len(), requests.total()), (REQUESTS_MAX, REQUESTS_MAX as u64 + 6));
        assert!(requests.find(6).is_none() && requests.find(7).is_some() && requests.find(99_999).is_none());
        assert_eq!(requests.page(Some(10_000), 3).map(|r| r.number).collect::<Vec<_>>(), [10_001, 10_002, 10_003]);
        assert_eq!(requests.page(None, 2).map(|r| r.number).collect::<Vec<_>>(), [10_005, 10_006]);
        requests.clear();
        assert_eq!((requests.total(), requests.last(), requests.peak_per_second()), (0, 10_006, 0));
        assert!(requests.find(7).is_none());
    }
}
