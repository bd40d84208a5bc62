//! When the next request may leave: the rate, the pause that a rate limit asks for, the gate before a failing upstream.
//! And the seeded randomness that spreads retries.

use std::collections::VecDeque;
use std::time::Duration;

use super::policy::Delivery;
use crate::model::{Cause, Instant, Outcome, Refusal, Setback};

/// The window of the rate, and a millisecond for the difference between our clock and the far side's.
const WINDOW: Duration = Duration::from_millis(1_001);
/// At most this part of a second's requests may leave in one instant: starts and stops don't wait for a tick, and the
/// far side sees no second's worth at once.
const BURST_PART: u32 = 50;
/// A rate limit without `Retry-After` is believed for this long.
const RATE_PAUSE: Duration = Duration::from_millis(500);
/// Refusals that reach us within this time of a cut belong to the same excess.
const CUT_SPACING: Duration = Duration::from_secs(1);
/// After a cut the rate rises by a hundredth of its maximum each time this has passed: half of it in five seconds.
const RECOVERY_STEP: Duration = Duration::from_millis(100);
/// So many failures of different conversations in a row shut the gate.
const GATE_FAILURES: u32 = 20;
/// While the gate is shut one request in this time tries whether the far side is back.
const PROBE_SPACING: Duration = Duration::from_secs(1);
/// The first retry comes within this time.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// No retry waits longer: what is owed leaves within this time of the far side's return.
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// Decides when the next request may leave.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Delivery,
    /// The rate in force: `requests_per_second_max`, less after the far side has complained.
    rate: u32,
    /// What this process may take of the org's rate.
    share: u32,
    /// The generic cell rate algorithm's theoretical arrival time.
    arrival: Instant,
    /// When the requests of the last window were answered. A request counts from its leaving until a window after its
    /// answer, for it may have arrived at any moment between the two.
    answered: VecDeque<Instant>,
    in_flight: usize,
    paused_until: Instant,
    /// The part of the pause that is for want of a token.
    no_token_until: Instant,
    last_cut: Option<Instant>,
    last_rise: Instant,
    gate: Gate,
    rng: Rng,
}

#[derive(Debug)]
enum Gate {
    Open { failures: u32, last_failed: u32 },
    Shut { probe_at: Instant, probe: Option<u32> },
}

const OPEN: Gate = Gate::Open { failures: 0, last_failed: u32::MAX };

impl Pace {
    pub(super) fn new(limits: Delivery, seed: u64) -> Self {
        Self {
            limits,
            rate: limits.requests_per_second_max,
            share: u32::MAX,
            arrival: Instant::ORIGIN,
            answered: VecDeque::new(),
            in_flight: 0,
            paused_until: Instant::ORIGIN,
            no_token_until: Instant::ORIGIN,
            last_cut: None,
            last_rise: Instant::ORIGIN,
            gate: OPEN,
            rng: Rng(seed),
        }
    }

    /// Takes new limits; a rate that had been cut starts anew.
    pub(super) fn set_limits(&mut self, limits: Delivery) {
        if limits.requests_per_second_max != self.limits.requests_per_second_max {
            self.rate = limits.requests_per_second_max.min(self.share);
            self.last_cut = None;
        }
        self.limits = limits;
    }

    /// What may leave of the org's requests a second; a rate that has been cut stays cut.
    pub(super) fn set_share(&mut self, share: u32) {
        let is_cut = self.rate < self.max();
        self.share = share;
        self.rate = if is_cut { self.rate.min(self.max()) } else { self.max() };
    }

    fn max(&self) -> u32 {
        self.limits.requests_per_second_max.min(self.share)
    }

    /// Requests in flight or answered within the window.
    pub(super) fn counted(&mut self, now: Instant) -> usize {
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

    /// Whether the far side has failed so often that only probes are sent.
    pub(super) const fn is_shut(&self) -> bool {
        matches!(self.gate, Gate::Shut { .. })
    }

    /// When the next request may leave, if nothing else happens until then; [`Instant::NEVER`]: not before an answer.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        self.recover(now);
        let counted = self.counted(now);
        if self.in_flight >= self.limits.in_flight_max {
            return Instant::NEVER;
        }
        let mut ready = self.paused_until;
        if let Gate::Shut { probe_at, probe } = self.gate {
            ready = ready.max(if probe.is_some() { Instant::NEVER } else { probe_at });
        }
        let max = self.max() as usize;
        if counted >= max {
            // Enough of the answered ones must have left the window; those in flight can't be waited for by time.
            ready = ready.max(match self.answered.get(counted - max) {
                Some(at) => *at + WINDOW,
                None => Instant::NEVER,
            });
        }
        let burst = (self.rate / BURST_PART).max(1);
        let tolerance = self.spacing() * (burst - 1);
        ready.max(Instant::from_micros(
            self.arrival.as_micros().saturating_sub(u64::try_from(tolerance.as_micros()).unwrap_or(u64::MAX)),
        ))
    }

    /// Until when nothing leaves, whatever there is to send; [`Instant::NEVER`] while there is no token or the upstream
    /// fails, for nobody knows how long that takes. The rate and the requests under way hold a request up for a moment
    /// only, and are not counted.
    pub(super) fn held_until(&self, now: Instant) -> Instant {
        if self.is_shut() || now < self.no_token_until { Instant::NEVER } else { self.paused_until.max(now) }
    }

    /// A request of the conversation in `slot` leaves.
    pub(super) fn leave(&mut self, now: Instant, slot: u32) {
        self.in_flight += 1;
        self.arrival = self.arrival.max(now) + self.spacing();
        if let Gate::Shut { probe, .. } = &mut self.gate {
            *probe = Some(slot);
        }
    }

    /// A request of the conversation in `slot` has come to its end. Says whether the gate has just shut or opened.
    pub(super) fn settle(&mut self, now: Instant, slot: u32, outcome: &Outcome) {
        self.in_flight -= 1;
        if matches!(outcome, Outcome::NotSent(Setback { cause: Cause::NoCredentials, .. })) {
            self.take_back(slot);
            return;
        }
        self.answered.push_back(now);
        let setback = match outcome {
            Outcome::NotSent(setback) | Outcome::Unsure(setback) => Some(*setback),
            _ => None,
        };
        if let Some(setback) = setback {
            match setback.cause {
                Cause::RateLimited => self.cut(now, setback.retry_after),
                // No request can do without a token.
                Cause::Token => {
                    if let Some(wait) = setback.retry_after {
                        self.paused_until = self.paused_until.max(now + wait);
                        self.no_token_until = self.paused_until;
                    }
                }
                // They say something about one connector, and nothing about the others.
                Cause::Credentials | Cause::NoCredentials => {}
                Cause::Unreachable | Cause::NoAnswer | Cause::Failing => {}
            }
        }
        let failed = match outcome {
            Outcome::Refused(refusal) => *refusal == Refusal::Configuration,
            Outcome::NotSent(setback) | Outcome::Unsure(setback) => {
                matches!(setback.cause, Cause::Unreachable | Cause::NoAnswer | Cause::Failing)
            }
            Outcome::Delivered => false,
        };
        self.judge(now, slot, failed);
    }

    /// A request of the conversation in `slot` has not left, and will not.
    pub(super) fn withdraw(&mut self, slot: u32) {
        self.in_flight -= 1;
        self.take_back(slot);
    }

    /// Nothing has left for the conversation in `slot`: nothing is to be counted, and nothing is known of the upstream.
    fn take_back(&mut self, slot: u32) {
        let spacing = u64::try_from(self.spacing().as_micros()).unwrap_or(u64::MAX);
        self.arrival = Instant::from_micros(self.arrival.as_micros().saturating_sub(spacing));
        if let Gate::Shut { probe, .. } = &mut self.gate {
            probe.take_if(|probe| *probe == slot);
        }
    }

    fn judge(&mut self, now: Instant, slot: u32, failed: bool) {
        match &mut self.gate {
            Gate::Open { .. } if !failed => self.gate = OPEN,
            Gate::Open { failures, last_failed } => {
                // One poisoned conversation that fails again and again says nothing about the upstream.
                if *last_failed != slot {
                    *last_failed = slot;
                    *failures += 1;
                }
                if *failures >= GATE_FAILURES {
                    self.gate = Gate::Shut { probe_at: now + PROBE_SPACING, probe: None };
                }
            }
            Gate::Shut { .. } if !failed => self.gate = OPEN,
            Gate::Shut { probe_at, probe } => {
                if *probe == Some(slot) {
                    *probe = None;
                    *probe_at = now + PROBE_SPACING;
                }
            }
        }
    }

    fn cut(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.paused_until = self.paused_until.max(now + retry_after.unwrap_or(RATE_PAUSE));
        if self.last_cut.is_none_or(|at| at + CUT_SPACING <= now) {
            self.rate = (self.rate / 2).max(1);
            self.last_cut = Some(now);
        }
        self.last_rise = self.paused_until;
    }

    fn recover(&mut self, now: Instant) {
        let max = self.max();
        if self.rate < max {
            let steps = now.since(self.last_rise).as_micros() / RECOVERY_STEP.as_micros();
            if steps > 0 {
                let rise = u64::from(max.div_ceil(100)).saturating_mul(u64::try_from(steps).unwrap_or(u64::MAX));
                self.rate = u32::try_from(u64::from(self.rate).saturating_add(rise)).map_or(max, |rate| rate.min(max));
                self.last_rise = now;
            }
        }
    }

    fn spacing(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }

    /// How long to wait before try number `attempt` (1: the first retry): anything up to a bound that doubles, so that
    /// those who failed together don't come back together.
    pub(super) fn backoff(&mut self, attempt: u32) -> Duration {
        let bound = BACKOFF_BASE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(BACKOFF_MAX);
        Duration::from_micros(self.rng.below(u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// SplitMix64: small, seeded, good enough to spread retries, and nothing else is drawn from it.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}
