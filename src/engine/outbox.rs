//! The desired and the acknowledged state of one conversation: what the upstream should show, and what it last
//! acknowledged.
//!
//! Where they differ and nothing is in flight, there is something to send. Order, coalescing, a Started that vanishes
//! with its stop, and owed stops follow from that. There is no queue: a new desired state replaces the one before.

use std::time::Duration;

use crate::model::{
    Cause, Conversation, CredentialId, Dispatch, DispatchId, Indicator, Instant, Outcome, Reason, Rejection, Transient,
    Why,
};

/// The acknowledged state: what the upstream may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledged {
    /// No icon.
    #[default]
    Off,
    /// The icon.
    On,
    /// The last request may or may not have been applied: the icon must be taken for on.
    Unknown,
}

/// How urgent a ready request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A Stopped: an icon that must not stay on.
    Stop,
    /// A Started for an icon that is not on.
    Show,
    /// A refresh of a conversation whose last refresh was shed. It goes before the others, so that shedding goes round.
    Overdue,
    /// A Started for an icon that is on already: the first to be shed.
    Refresh,
}

impl Urgency {
    /// They are numbered in the order in which they are served.
    pub(super) const COUNT: usize = 4;
}

/// What an outcome means for the indicator that was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Acknowledged, or overtaken by a newer decision.
    Done,
    Retry,
    /// Dropped for good.
    Dropped,
}

/// A decision that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) number: u64,
    pub(super) reason: Reason,
    pub(super) why: Why,
}

/// What a step can lose, in this order: a decision that was sent or ready to be, and a stop for an icon that turns out
/// to be off.
pub(super) type Losses = [Option<Loss>; 2];

/// The delivery state of one conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outbox {
    /// When `desired` was decided.
    decided: Instant,
    /// Not to be tried (again) before this.
    not_before: Instant,
    /// The number of the newest decision.
    number: u64,
    in_flight_number: u64,
    /// What is still to be acknowledged.
    desired: Option<Reason>,
    in_flight: Option<Reason>,
    acknowledged: Acknowledged,
    /// Failed tries of `desired`.
    attempt: u8,
    /// The last refresh was shed.
    overdue: bool,
    /// The Stopped waits for credentials, until `not_before` at most.
    blocked: bool,
}

/// How long after its decision an indicator may leave.
pub(super) struct Lifespans {
    pub(super) started: Duration,
    pub(super) stopped: Duration,
}

impl Outbox {
    /// One with nothing to do, for which nothing but the acknowledged state has to be kept. `decided` is the last
    /// decision that is known.
    pub(super) fn at_rest(acknowledged: Acknowledged, decided: Instant) -> Self {
        Self { acknowledged, decided, ..Self::default() }
    }

    /// Whether [`Outbox::at_rest`] with its acknowledged state would be the same from now on.
    pub(super) fn is_at_rest(&self) -> bool {
        // That a refresh was shed only counts as long as the icon is on: a dispatch shows it, and forgets that.
        let overdue = self.overdue && self.acknowledged == Acknowledged::On;
        self.desired.is_none() && self.in_flight.is_none() && !overdue
    }

    /// Whether nothing is desired, in flight, or shown.
    pub(super) const fn is_empty(&self) -> bool {
        self.desired.is_none() && self.in_flight.is_none() && matches!(self.acknowledged, Acknowledged::Off)
    }

    pub(super) const fn acknowledged(&self) -> Acknowledged {
        self.acknowledged
    }

    pub(super) const fn desired(&self) -> Option<Reason> {
        self.desired
    }

    pub(super) const fn in_flight(&self) -> Option<Reason> {
        self.in_flight
    }

    pub(super) const fn in_flight_number(&self) -> u64 {
        self.in_flight_number
    }

    /// When the next try is due, if one is scheduled at a known time.
    pub(super) fn retry(&self) -> Option<Instant> {
        let scheduled = self.attempt > 0 || self.blocked;
        (self.in_flight.is_none() && self.desired.is_some() && scheduled)
            .then_some(self.not_before)
            .filter(|at| *at < Instant::NEVER)
    }

    /// Whether a Stopped waits for credentials.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked && self.in_flight.is_none() && self.owes_stop()
    }

    /// Credentials may have become available: a Stopped that waits for some may be tried at once.
    pub(super) fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.not_before = Instant::ORIGIN;
        }
    }

    pub(super) fn owes_stop(&self) -> bool {
        self.desired.is_some_and(|reason| reason.indicator() == Indicator::TypingStopped)
    }

    /// Takes a decision. Returns the one that it replaces before it was sent, and itself if there is nothing to send.
    pub(super) fn set_desired(&mut self, reason: Reason, at: Instant, number: u64) -> Losses {
        let replaced = self.desired.filter(|_| !self.in_flight_is_newest());
        let replaced = replaced.map(|reason| Loss { number: self.number, reason, why: Why::Replaced });
        // A payload's timestamp never goes back within a conversation.
        self.decided = at.max(self.decided);
        self.number = number;
        self.desired = Some(reason);
        self.attempt = 0;
        self.blocked = false;
        self.not_before = Instant::ORIGIN;
        [replaced, self.drop_moot_stop()]
    }

    /// The decision was just made, long after its time: the process stood still. A Stopped has its whole lifespan from `now`
    /// on, for it could not leave before.
    pub(super) fn revive_stop(&mut self, now: Instant, lifespans: &Lifespans) {
        if self.desired.is_some_and(|reason| self.owes_stop() && now >= self.decided + lifespans.of(reason)) {
            self.decided = now;
        }
    }

    /// Another process, or an earlier one, may have left the icon on.
    pub(super) fn doubt(&mut self) {
        if self.acknowledged == Acknowledged::Off {
            self.acknowledged = Acknowledged::Unknown;
        }
    }

    /// Another process owns the conversation: nothing is desired, and what is shown is its concern. Returns what is lost
    /// before it was sent.
    pub(super) fn disown(&mut self) -> Option<Loss> {
        let unsent = self.desired.take().filter(|_| !self.in_flight_is_newest());
        self.acknowledged = Acknowledged::Off;
        self.blocked = false;
        unsent.map(|reason| Loss { number: self.number, reason, why: Why::Replaced })
    }

    /// The request in flight has not left. It may be tried again at `not_before`, if it is still desired.
    pub(super) fn withdraw(&mut self, not_before: Instant) -> Losses {
        let newest = self.desired.is_some() && self.in_flight_number == self.number;
        let replaced = self.in_flight.take().filter(|_| !newest);
        self.not_before = self.not_before.max(not_before);
        let replaced = replaced.map(|reason| Loss { number: self.in_flight_number, reason, why: Why::Replaced });
        [replaced, self.drop_moot_stop()]
    }

    /// Whether a request is ready at `now`. One past its lifespan has to be dropped first ([`Outbox::expire`]).
    pub(super) fn ready(&self, now: Instant) -> Option<Urgency> {
        if self.in_flight.is_some() || self.not_before > now {
            return None;
        }
        Some(match (self.desired?.indicator(), self.acknowledged) {
            (Indicator::TypingStopped, _) => Urgency::Stop,
            (Indicator::TypingStarted, Acknowledged::On) if self.overdue => Urgency::Overdue,
            (Indicator::TypingStarted, Acknowledged::On) => Urgency::Refresh,
            (Indicator::TypingStarted, _) => Urgency::Show,
        })
    }

    /// When a back-off or a lifespan ends.
    pub(super) fn due(&self, now: Instant, lifespans: &Lifespans) -> Instant {
        let Some(reason) = self.desired.filter(|_| self.in_flight.is_none()) else {
            return Instant::NEVER;
        };
        let expiry = self.decided + lifespans.of(reason);
        if self.not_before > now { self.not_before.min(expiry) } else { expiry }
    }

    /// Whether a decision that is not in flight is past its lifespan.
    pub(super) fn is_expired(&self, now: Instant, lifespans: &Lifespans) -> bool {
        let waiting = self.desired.filter(|_| self.in_flight.is_none());
        waiting.is_some_and(|reason| now >= self.decided + lifespans.of(reason))
    }

    /// Drops a decision past its lifespan that is not in flight. Returns it.
    pub(super) fn expire(&mut self, now: Instant, lifespans: &Lifespans) -> Option<Loss> {
        let reason = self.desired.filter(|_| self.is_expired(now, lifespans))?;
        self.overdue |= self.acknowledged == Acknowledged::On;
        self.give_up();
        let why = match reason.indicator() {
            Indicator::TypingStarted => Why::Expired,
            Indicator::TypingStopped => Why::GivenUp,
        };
        Some(Loss { number: self.number, reason, why })
    }

    /// The request of the conversation in `slot` that is [`ready`](Outbox::ready) leaves.
    pub(super) fn on_dispatch(
        &mut self,
        slot: u32,
        conversation: Conversation,
        credentials: Option<CredentialId>,
    ) -> Option<Dispatch> {
        let reason = self.desired?;
        self.in_flight = Some(reason);
        self.in_flight_number = self.number;
        self.overdue = false;
        self.blocked = false;
        Some(Dispatch {
            id: DispatchId { slot, serial: self.number },
            conversation,
            reason,
            decided: self.decided,
            decision: self.number,
            attempt: u32::from(self.attempt),
            credentials,
        })
    }

    /// What the outcome of the request in flight counts as: one that the upstream doesn't look at time and again has
    /// failed like any other.
    pub(super) const fn weigh(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::NotSent(Transient { cause: Cause::Unprocessed, retry_after })
                if self.attempt >= UNPROCESSED_TRIES_MAX =>
            {
                Outcome::NotSent(Transient { cause: Cause::NoAnswer, retry_after })
            }
            outcome => outcome,
        }
    }

    /// The request in flight has its outcome. `backoff` gives the wait before another try.
    pub(super) fn on_outcome(
        &mut self,
        now: Instant,
        outcome: &Outcome,
        lifespans: &Lifespans,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Losses {
        let Some(sent) = self.in_flight.take() else {
            return [None; 2];
        };
        let lost = |why| Some(Loss { number: self.in_flight_number, reason: sent, why });
        let (given_up, replaced) = (lost(Why::GivenUp), lost(Why::Replaced));
        let current = self.desired.is_some() && self.in_flight_number == self.number;
        let started = sent.indicator() == Indicator::TypingStarted;
        let was_on = self.acknowledged == Acknowledged::On;
        let verdict = match outcome {
            Outcome::Delivered => {
                self.acknowledged = if started { Acknowledged::On } else { Acknowledged::Off };
                Verdict::Done
            }
            Outcome::Unknown(_) => {
                if !(started && was_on) {
                    self.acknowledged = Acknowledged::Unknown;
                }
                Verdict::Retry
            }
            // Only the connector can bring other credentials, and it asks for its icon again.
            Outcome::NotSent(Transient { cause: Cause::Credentials | Cause::NoCredentials, .. }) if started => {
                Verdict::Dropped
            }
            Outcome::NotSent(_) => Verdict::Retry,
            // The operator may yet correct the configuration; the icon is on all the while.
            Outcome::Rejected(Rejection::Configuration) if !started => Verdict::Retry,
            Outcome::Rejected(_) => {
                if !started {
                    self.acknowledged = Acknowledged::Off;
                }
                Verdict::Dropped
            }
        };
        if current && verdict != Verdict::Retry {
            self.desired = None;
        }
        let loss = match verdict {
            Verdict::Done => None,
            Verdict::Dropped => given_up,
            Verdict::Retry if !current => replaced,
            // The next check sends a refresh anyway.
            Verdict::Retry if started && was_on => {
                self.desired = None;
                given_up
            }
            Verdict::Retry => {
                self.schedule_retry(now, outcome, backoff);
                // A Stopped that waits for credentials has its whole lifespan: they may come at any moment.
                if !self.blocked && self.not_before >= self.decided + lifespans.of(sent) {
                    self.give_up();
                    given_up
                } else {
                    None
                }
            }
        };
        [loss, self.drop_moot_stop()]
    }

    fn schedule_retry(&mut self, now: Instant, outcome: &Outcome, backoff: impl FnOnce(u32) -> Duration) {
        let Transient { cause, retry_after } = outcome.transient().unwrap_or(REJECTED);
        if cause == Cause::NoCredentials {
            // Nothing has left: no try was made.
            self.blocked = true;
            self.not_before = retry_after.map_or(Instant::NEVER, |wait| now + wait);
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        let at_once = match cause {
            // A rejected token has been dropped by now, and the next request waits for a fresh one.
            Cause::Token => self.attempt == 1,
            // Rejected credentials are not used again soon: each try has others, or finds none.
            Cause::Credentials => self.attempt <= CREDENTIALS_TRIED_MAX,
            // It goes on another connection.
            Cause::Unprocessed => true,
            _ => false,
        };
        let wait = if at_once { Duration::ZERO } else { backoff(u32::from(self.attempt)) };
        self.not_before = now + wait.max(retry_after.unwrap_or_default());
    }

    /// The channel or the conversation is muted: no icon is to be shown. One that is on is owed its stop all the same.
    pub(super) fn drop_started(&mut self) -> Option<Loss> {
        let started = self.desired.take_if(|reason| reason.indicator() == Indicator::TypingStarted);
        started.map(|reason| Loss { number: self.number, reason, why: Why::Muted })
    }

    /// A Stopped past its lifespan is given up with its icon; a Started leaves what it might have changed to the stop.
    fn give_up(&mut self) {
        if self.owes_stop() {
            self.acknowledged = Acknowledged::Off;
        }
        self.desired = None;
    }

    fn drop_moot_stop(&mut self) -> Option<Loss> {
        let moot = self.in_flight.is_none() && self.acknowledged == Acknowledged::Off && self.owes_stop();
        let reason = self.desired.take_if(|_| moot)?;
        Some(Loss { number: self.number, reason, why: Why::Moot })
    }

    const fn in_flight_is_newest(&self) -> bool {
        self.in_flight.is_some() && self.in_flight_number == self.number
    }
}

impl Lifespans {
    fn of(&self, reason: Reason) -> Duration {
        match reason.indicator() {
            // The connector may not have shown its credentials to this process yet.
            Indicator::TypingStopped if reason == Reason::Recovered => self.stopped.max(RECOVERED_LIFESPAN_MIN),
            Indicator::TypingStarted => self.started,
            Indicator::TypingStopped => self.stopped,
        }
    }
}

/// What a Stopped that is rejected for the configuration is retried as.
const REJECTED: Transient = Transient { cause: Cause::Failing, retry_after: None };

/// Credentials that are tried one after the other without a wait: more than are kept of a channel.
const CREDENTIALS_TRIED_MAX: u8 = 32;

/// Tries at once of a request that the upstream has not looked at. A connection that is about to end is met by chance, and
/// hardly ever twice in a row.
const UNPROCESSED_TRIES_MAX: u8 = 3;

/// A connector that is started together with typingd, and asks for its token first, has shown it by then.
const RECOVERED_LIFESPAN_MIN: Duration = Duration::from_secs(600);
