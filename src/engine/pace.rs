//! When the next request may leave: the rate, the pause that a rate limit asks for, the circuit breaker before a
//! failing upstream. And the seeded randomness that spreads retries.

use std::collections::VecDeque;
use std::time::Duration;

use super::passed::{Passed, WINDOW};
use super::policy::Delivery;
use crate::model::{Cause, Instant, Outcome, Rejection, Transient, micros};

/// At most this part of a second's requests may leave in one instant: starts and stops don't wait for a tick, and the
/// upstream sees no second's worth at once.
const BURST_PART: u32 = 50;
/// What passes beside ours at once delays the next of ours by no more than this; the rest of it counts by its window.
const PASSED_DELAY_MAX: Duration = Duration::from_millis(100);
/// How long a rate limit without `Retry-After` is taken to last.
const RATE_PAUSE: Duration = Duration::from_millis(500);
/// Answers that arrive within this time of a cut belong to the same excess.
const CUT_SPACING: Duration = Duration::from_secs(1);
/// After a cut the rate rises by a hundredth of its maximum each time this has passed: half of it in five seconds.
const RECOVERY_STEP: Duration = Duration::from_millis(100);
/// So many failures of different conversations in a row open the circuit breaker.
const BREAKER_FAILURES: u32 = 20;
/// While the circuit breaker is open, one request in this time probes whether the upstream is back.
const PROBE_SPACING: Duration = Duration::from_secs(1);
/// The first retry comes within this time.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// No retry waits longer: what is owed leaves within this time of the upstream's return.
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// Decides when the next request may leave.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Delivery,
    /// The rate in force: `requests_per_second_max`, less after a rate limit.
    rate: u32,
    /// What this process may take of the org's rate.
    share: u32,
    /// The generic cell rate algorithm's theoretical arrival time, with what passes beside ours.
    arrival: Instant,
    /// The same of ours alone: whatever passes, one of ours leaves within a window of it.
    own_arrival: Instant,
    /// When the requests of the last window were answered. A request counts from its outgoing until a window after its
    /// answer, for it may have arrived at any moment between the two.
    answered: VecDeque<Instant>,
    in_flight: usize,
    /// What counts beside them.
    passed: Passed,
    paused_until: Instant,
    /// The part of the pause that is for want of a token.
    no_token_until: Instant,
    last_cut: Option<Instant>,
    last_rise: Instant,
    breaker: Breaker,
    rng: Rng,
}

#[derive(Debug)]
enum Breaker {
    Closed { failures: u32, last_failed: u32 },
    Open { probe_at: Instant },
    HalfOpen { probe: u32 },
}

const CLOSED: Breaker = Breaker::Closed { failures: 0, last_failed: u32::MAX };

impl Pace {
    pub(super) fn new(limits: Delivery, seed: u64) -> Self {
        Self {
            limits,
            rate: limits.requests_per_second_max,
            share: u32::MAX,
            arrival: Instant::ORIGIN,
            own_arrival: Instant::ORIGIN,
            answered: VecDeque::new(),
            in_flight: 0,
            passed: Passed::default(),
            paused_until: Instant::ORIGIN,
            no_token_until: Instant::ORIGIN,
            last_cut: None,
            last_rise: Instant::ORIGIN,
            breaker: CLOSED,
            rng: Rng(seed),
        }
    }

    /// Takes new limits. A rate that was cut starts again at the new maximum.
    pub(super) fn set_limits(&mut self, limits: Delivery) {
        if limits.requests_per_second_max != self.limits.requests_per_second_max {
            self.rate = limits.requests_per_second_max.min(self.share);
            self.last_cut = None;
        }
        self.limits = limits;
    }

    /// Takes a share of the org's requests a second. A rate that was cut stays cut.
    pub(super) fn set_share(&mut self, share: u32) {
        let is_cut = self.rate < self.rate_max();
        self.share = share;
        self.rate = if is_cut { self.rate.min(self.rate_max()) } else { self.rate_max() };
    }

    fn rate_max(&self) -> u32 {
        self.limits.requests_per_second_max.min(self.share)
    }

    /// Requests that are in flight, or were answered within the window, with those that pass beside ours.
    pub(super) fn counted(&mut self, now: Instant) -> usize {
        self.own(now) + self.passed.counted(now)
    }

    /// As [`Pace::counted`], of ours alone.
    fn own(&mut self, now: Instant) -> usize {
        while self.answered.front().is_some_and(|at| *at + WINDOW <= now) {
            self.answered.pop_front();
        }
        self.in_flight + self.answered.len()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) const fn rate(&self) -> u32 {
        self.rate
    }

    /// Whether the upstream has failed so often that only probes are sent.
    pub(super) const fn is_breaker_open(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    /// When the next request may leave, if nothing else happens until then; [`Instant::NEVER`]: not before an answer.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        self.recover(now);
        if self.in_flight >= self.limits.in_flight_max {
            return Instant::NEVER;
        }
        let mut ready = self.paused_until.max(match self.breaker {
            Breaker::Closed { .. } => Instant::ORIGIN,
            Breaker::Open { probe_at } => probe_at,
            Breaker::HalfOpen { .. } => Instant::NEVER,
        });
        ready = ready.max(self.room_at(now));
        let burst = (self.rate / BURST_PART).max(1);
        let tolerance = self.spacing() * (burst - 1);
        ready.max(self.arrival.min(self.own_arrival + WINDOW).before(tolerance))
    }

    /// When there is room for one more in the window, if nothing else happens until then; [`Instant::NEVER`]: not before an
    /// answer.
    fn room_at(&mut self, now: Instant) -> Instant {
        let max = self.rate_max() as usize;
        let (own, kept) = (self.own(now), self.passed.kept(now, max));
        let room = max - kept;
        if own < room {
            return now;
        }
        // Enough of the answered ones must leave the window; how long those in flight take is not known.
        let leaves = self.answered.get(own - room).map_or(Instant::NEVER, |at| *at + WINDOW);
        if kept > 0 { leaves.min(self.passed.eases_at()) } else { leaves }
    }

    /// Until when nothing leaves, whatever there is to send; [`Instant::NEVER`] while there is no token or the upstream
    /// fails, for how long that takes is not known. The rate and the requests in flight delay a request for a moment
    /// only, and are not counted, but what passes beside ours and has taken the rate.
    pub(super) fn held_until(&mut self, now: Instant) -> Instant {
        if self.is_breaker_open() || now < self.no_token_until {
            return Instant::NEVER;
        }
        let room = if self.passed.counted(now) > 0 { self.room_at(now) } else { now };
        self.paused_until.max(room)
    }

    /// So many requests have left beside ours since the last call. Nothing holds them back.
    pub(super) fn on_passed(&mut self, now: Instant, count: usize) {
        if count > 0 {
            let passed = self.spacing().saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
            self.arrival = self.arrival.max((self.arrival.max(now) + passed).min(now + PASSED_DELAY_MAX));
            // All of them, though this process has a smaller share: by this it asks for a larger one.
            self.passed.on_passed(now, count, self.limits.requests_per_second_max as usize);
        }
    }

    /// A request of the conversation in `slot` leaves.
    pub(super) fn on_dispatch(&mut self, now: Instant, slot: u32) {
        self.in_flight += 1;
        self.arrival = self.arrival.max(now) + self.spacing();
        self.own_arrival = self.own_arrival.max(now) + self.spacing();
        if self.is_breaker_open() {
            self.breaker = Breaker::HalfOpen { probe: slot };
        }
    }

    /// A request of the conversation in `slot` has this outcome.
    pub(super) fn on_outcome(&mut self, now: Instant, slot: u32, outcome: &Outcome) {
        self.in_flight -= 1;
        let transient = outcome.transient();
        if transient.is_some_and(|transient| transient.cause == Cause::NoCredentials) {
            self.take_back(now, slot);
            return;
        }
        self.answered.push_back(now);
        let failed = match transient {
            Some(Transient { cause: Cause::RateLimited, retry_after }) => {
                self.cut(now, retry_after);
                false
            }
            // No request can do without a token.
            Some(Transient { cause: Cause::Token, retry_after }) => {
                if let Some(wait) = retry_after {
                    self.paused_until = self.paused_until.max(now + wait);
                    self.no_token_until = self.paused_until;
                }
                false
            }
            // They say something about one connector, and nothing about the others.
            Some(Transient { cause: Cause::Credentials | Cause::NoCredentials, .. }) => false,
            // Neither a failure nor a success; a probe that finds out nothing leaves the circuit breaker open.
            Some(Transient { cause: Cause::Unprocessed, .. }) => {
                if let Breaker::HalfOpen { probe } = self.breaker
                    && probe == slot
                {
                    self.breaker = Breaker::Open { probe_at: now + PROBE_SPACING };
                }
                return;
            }
            Some(Transient { cause: Cause::Unreachable | Cause::NoAnswer | Cause::Failing, .. }) => true,
            None => *outcome == Outcome::Rejected(Rejection::Configuration),
        };
        if failed { self.on_failure(now, slot) } else { self.breaker = CLOSED }
    }

    /// A request of the conversation in `slot` has not left, and will not.
    pub(super) fn withdraw(&mut self, now: Instant, slot: u32) {
        self.in_flight -= 1;
        self.take_back(now, slot);
    }

    /// Nothing has left for the conversation in `slot`: nothing is counted, and nothing is known of the upstream.
    fn take_back(&mut self, now: Instant, slot: u32) {
        self.arrival = self.arrival.before(self.spacing());
        self.own_arrival = self.own_arrival.before(self.spacing());
        if matches!(self.breaker, Breaker::HalfOpen { probe } if probe == slot) {
            self.breaker = Breaker::Open { probe_at: now };
        }
    }

    fn on_failure(&mut self, now: Instant, slot: u32) {
        let opens = match &mut self.breaker {
            Breaker::Closed { failures, last_failed } => {
                // One poisoned conversation that fails again and again says nothing about the upstream.
                if *last_failed != slot {
                    *last_failed = slot;
                    *failures += 1;
                }
                *failures >= BREAKER_FAILURES
            }
            Breaker::HalfOpen { probe } => *probe == slot,
            Breaker::Open { .. } => false,
        };
        if opens {
            self.breaker = Breaker::Open { probe_at: now + PROBE_SPACING };
        }
    }

    /// The upstream says that there are too many.
    pub(super) fn cut(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.paused_until = self.paused_until.max(now + retry_after.unwrap_or(RATE_PAUSE));
        if self.last_cut.is_none_or(|at| at + CUT_SPACING <= now) {
            self.rate = (self.rate / 2).max(1);
            self.last_cut = Some(now);
        }
        self.last_rise = self.paused_until;
    }

    fn recover(&mut self, now: Instant) {
        let max = self.rate_max();
        let steps = micros(now.since(self.last_rise)) / micros(RECOVERY_STEP);
        if self.rate < max && steps > 0 {
            let rise = u64::from(max.div_ceil(100)).saturating_mul(steps);
            self.rate = u32::try_from(u64::from(self.rate).saturating_add(rise)).map_or(max, |rate| rate.min(max));
            self.last_rise = now;
        }
    }

    fn spacing(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }

    /// How long to wait before try number `attempt` (1: the first retry): anything up to a bound that doubles, so that
    /// requests that failed together are not retried together.
    pub(super) fn backoff(&mut self, attempt: u32) -> Duration {
        let bound = BACKOFF_BASE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(BACKOFF_MAX);
        Duration::from_micros(self.rng.below(micros(bound)))
    }
}

/// SplitMix64: small, seeded, good enough to spread retries, and for tests.
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}
