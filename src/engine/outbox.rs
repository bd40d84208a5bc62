//! A wish and a belief for one conversation: what the far side should show, and what it was last told.
//!
//! Where they differ and nothing is in flight, there is something to send. Order, coalescing, a Started that vanishes
//! with its stop, and owed stops follow from that. There is no queue: the newest wish replaces the one before.

use std::time::Duration;

use crate::model::{Cause, Indicator, Instant, Outcome, Reason, Refusal, Setback, Why};

/// What the far side may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// No icon.
    Off,
    /// The icon.
    On,
    /// The last word may or may not have been applied: the icon must be taken for on.
    Unsure,
}

/// How urgent what stands ready is.
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
    /// How many there are. They are numbered in the order in which they are served.
    pub(super) const COUNT: usize = 4;
}

/// What became of a wish, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Acknowledged, or overtaken by a newer wish.
    Done,
    /// To be tried again.
    Again,
    /// Dropped for good.
    Dropped,
}

/// A wish that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) number: u64,
    pub(super) reason: Reason,
    pub(super) why: Why,
}

/// What a step can lose, in this order: a wish that was sent or stood ready to be, and a stop for an icon that turns out
/// to be off.
pub(super) type Losses = [Option<Loss>; 2];

/// The delivery of one conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outbox {
    /// When the wish was decided.
    decided: Instant,
    /// Not to be tried (again) before this.
    not_before: Instant,
    /// The number of the newest wish.
    number: u64,
    /// The number of the wish in flight.
    flight_number: u64,
    /// What is still to be told.
    wish: Option<Reason>,
    /// What is being told.
    flight: Option<Reason>,
    belief: Belief,
    /// Failed tries of the newest wish.
    attempt: u8,
    /// The last refresh was shed.
    overdue: bool,
    /// The Stopped waits for credentials, until `not_before` at most.
    blocked: bool,
}

/// What a failure needs to know about time.
pub(super) struct Lifespans {
    pub(super) started: Duration,
    pub(super) stopped: Duration,
}

impl Outbox {
    pub(super) const EMPTY: Self = Self {
        decided: Instant::ORIGIN,
        not_before: Instant::ORIGIN,
        number: 0,
        flight_number: 0,
        wish: None,
        flight: None,
        belief: Belief::Off,
        attempt: 0,
        overdue: false,
        blocked: false,
    };

    /// Whether nothing is wanted, in flight, or shown.
    pub(super) const fn is_empty(&self) -> bool {
        self.wish.is_none() && self.flight.is_none() && matches!(self.belief, Belief::Off)
    }

    pub(super) const fn belief(&self) -> Belief {
        self.belief
    }

    pub(super) const fn wish(&self) -> Option<Reason> {
        self.wish
    }

    pub(super) const fn in_flight(&self) -> Option<Reason> {
        self.flight
    }

    pub(super) const fn flight_number(&self) -> u64 {
        self.flight_number
    }

    /// When the wish may be tried, if nothing is in flight and it has been put off until a moment that is known.
    pub(super) fn retry(&self) -> Option<Instant> {
        let put_off = self.attempt > 0 || self.blocked;
        (self.flight.is_none() && self.wish.is_some() && put_off)
            .then_some(self.not_before)
            .filter(|at| *at < Instant::NEVER)
    }

    /// Whether a Stopped waits for credentials.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked && self.flight.is_none() && self.owes_stop()
    }

    /// There may be credentials for what waits for some: it may be tried at once.
    pub(super) fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.not_before = Instant::ORIGIN;
        }
    }

    /// Whether a Stopped is owed: wanted, or sure to be wanted once the request in flight has been answered.
    pub(super) fn owes_stop(&self) -> bool {
        self.wish.is_some_and(|reason| reason.indicator() == Indicator::TypingStopped)
    }

    /// A new wish. Returns the one that it replaces before it was sent, and itself if there is nothing to tell.
    pub(super) fn wish_for(&mut self, reason: Reason, at: Instant, number: u64) -> Losses {
        let replaced = self.wish.filter(|_| !self.flies_current());
        let replaced = replaced.map(|reason| Loss { number: self.number, reason, why: Why::Replaced });
        // A payload's timestamp never goes back within a conversation.
        self.decided = at.max(self.decided);
        self.number = number;
        self.wish = Some(reason);
        self.attempt = 0;
        self.blocked = false;
        self.not_before = Instant::ORIGIN;
        [replaced, self.drop_moot_stop()]
    }

    /// The upstream may show an icon that another process, or an earlier one, has left on.
    pub(super) fn doubt(&mut self) {
        if self.belief == Belief::Off {
            self.belief = Belief::Unsure;
        }
    }

    /// Forgets what is still to be told and what is shown; what is in flight has its outcome later. Returns what is lost
    /// before it was sent: the owner's decisions replace it.
    pub(super) fn disown(&mut self) -> Option<Loss> {
        let unsent = self.wish.take().filter(|_| !self.flies_current());
        self.belief = Belief::Off;
        self.blocked = false;
        unsent.map(|reason| Loss { number: self.number, reason, why: Why::Replaced })
    }

    /// The request in flight has not left: what it was to tell may be tried again at `not_before`.
    pub(super) fn withdraw(&mut self, not_before: Instant) -> Losses {
        let current = self.wish.is_some() && self.flight_number == self.number;
        let replaced = self.flight.take().filter(|_| !current);
        self.not_before = self.not_before.max(not_before);
        let replaced = replaced.map(|reason| Loss { number: self.flight_number, reason, why: Why::Replaced });
        [replaced, self.drop_moot_stop()]
    }

    /// What stands ready at `now`, if nothing is in flight. A wish past its lifespan has to be dropped first
    /// ([`Outbox::expire`]).
    pub(super) fn ready(&self, now: Instant) -> Option<Urgency> {
        if self.flight.is_some() || self.not_before > now {
            return None;
        }
        Some(match (self.wish?.indicator(), self.belief) {
            (Indicator::TypingStopped, _) => Urgency::Stop,
            (Indicator::TypingStarted, Belief::On) if self.overdue => Urgency::Overdue,
            (Indicator::TypingStarted, Belief::On) => Urgency::Refresh,
            (Indicator::TypingStarted, _) => Urgency::Show,
        })
    }

    /// When to look again by time: the end of a back-off or of a Stopped's lifespan.
    pub(super) fn due(&self, now: Instant, lifespans: &Lifespans) -> Instant {
        let Some(reason) = self.wish.filter(|_| self.flight.is_none()) else {
            return Instant::NEVER;
        };
        let expiry = self.decided + lifespans.of(reason);
        if self.not_before > now { self.not_before.min(expiry) } else { expiry }
    }

    /// Drops a wish past its lifespan that is not in flight. Returns it.
    pub(super) fn expire(&mut self, now: Instant, lifespans: &Lifespans) -> Option<Loss> {
        let reason = self.wish.filter(|_| self.flight.is_none())?;
        if now < self.decided + lifespans.of(reason) {
            return None;
        }
        self.overdue |= self.belief == Belief::On;
        self.give_up();
        let why = match reason.indicator() {
            Indicator::TypingStarted => Why::Expired,
            Indicator::TypingStopped => Why::GivenUp,
        };
        Some(Loss { number: self.number, reason, why })
    }

    /// Sends the wish. The caller has seen [`Outbox::ready`].
    pub(super) fn leave(&mut self) -> Option<Leaving> {
        let reason = self.wish?;
        self.flight = Some(reason);
        self.flight_number = self.number;
        self.overdue = false;
        self.blocked = false;
        Some(Leaving { reason, decided: self.decided, number: self.number, attempt: u32::from(self.attempt) })
    }

    /// The request in flight has come to its end. `backoff` is asked for the wait before another try.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        outcome: &Outcome,
        lifespans: &Lifespans,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> (Verdict, Losses) {
        let Some(sent) = self.flight.take() else {
            return (Verdict::Done, [None; 2]);
        };
        let lost = |why| Some(Loss { number: self.flight_number, reason: sent, why });
        let (given_up, replaced) = (lost(Why::GivenUp), lost(Why::Replaced));
        let current = self.wish.is_some() && self.flight_number == self.number;
        let was_shown = self.belief == Belief::On;
        let verdict = match (sent.indicator(), outcome) {
            (indicator, Outcome::Delivered) => {
                self.belief = if indicator == Indicator::TypingStarted { Belief::On } else { Belief::Off };
                if current {
                    self.wish = None;
                }
                Verdict::Done
            }
            (Indicator::TypingStarted, Outcome::Refused(_)) => {
                if current {
                    self.wish = None;
                }
                Verdict::Dropped
            }
            // Only the connector can bring others, and it asks for its icon anew.
            (
                Indicator::TypingStarted,
                Outcome::NotSent(Setback { cause: Cause::Credentials | Cause::NoCredentials, .. }),
            ) => {
                if current {
                    self.wish = None;
                }
                Verdict::Dropped
            }
            // The operator may yet mend the configuration; the icon is on all the while.
            (Indicator::TypingStopped, Outcome::Refused(Refusal::Configuration)) | (_, Outcome::NotSent(_)) => {
                Verdict::Again
            }
            (Indicator::TypingStopped, Outcome::Refused(_)) => {
                self.belief = Belief::Off;
                if current {
                    self.wish = None;
                }
                Verdict::Dropped
            }
            (Indicator::TypingStarted, Outcome::Unsure(_)) => {
                if self.belief == Belief::Off {
                    self.belief = Belief::Unsure;
                }
                Verdict::Again
            }
            (Indicator::TypingStopped, Outcome::Unsure(_)) => {
                self.belief = Belief::Unsure;
                Verdict::Again
            }
        };
        let (verdict, loss) = match verdict {
            Verdict::Again if !current => (Verdict::Done, replaced),
            // The next check sends a refresh anyway.
            Verdict::Again if sent.indicator() == Indicator::TypingStarted && was_shown => {
                self.wish = None;
                (Verdict::Dropped, given_up)
            }
            Verdict::Again => {
                self.put_off(now, outcome, backoff);
                // What waits for credentials has its whole lifespan: they may come at any moment.
                if !self.blocked && self.not_before >= self.decided + lifespans.of(sent) {
                    self.give_up();
                    (Verdict::Dropped, given_up)
                } else {
                    (Verdict::Again, None)
                }
            }
            Verdict::Dropped => (Verdict::Dropped, given_up),
            Verdict::Done => (Verdict::Done, None),
        };
        (verdict, [loss, self.drop_moot_stop()])
    }

    fn put_off(&mut self, now: Instant, outcome: &Outcome, backoff: impl FnOnce(u32) -> Duration) {
        let setback = match outcome {
            Outcome::NotSent(setback) | Outcome::Unsure(setback) => Some(setback),
            _ => None,
        };
        let cause = setback.map(|setback| setback.cause);
        if cause == Some(Cause::NoCredentials) {
            // Nothing has left: no try was made.
            self.blocked = true;
            let wait = setback.and_then(|setback| setback.retry_after);
            self.not_before = wait.map_or(Instant::NEVER, |wait| now + wait);
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        let at_once = match cause {
            // A refused token has been thrown away by now, and a fresh one is waited for by whoever sends next.
            Some(Cause::Token) => self.attempt == 1,
            // Refused ones are not used again soon: each try has others, or finds none.
            Some(Cause::Credentials) => self.attempt <= CREDENTIALS_TRIED_MAX,
            _ => false,
        };
        let wait = if at_once { Duration::ZERO } else { backoff(u32::from(self.attempt)) };
        let asked = setback.and_then(|setback| setback.retry_after).unwrap_or_default();
        self.not_before = now + wait.max(asked);
    }

    /// The channel or the conversation is muted: no icon is to be shown. One that is on is owed its stop all the same.
    pub(super) fn drop_started(&mut self) -> Option<Loss> {
        let started = self.wish.take_if(|reason| reason.indicator() == Indicator::TypingStarted);
        started.map(|reason| Loss { number: self.number, reason, why: Why::Muted })
    }

    /// A Stopped past its lifespan is given up with its icon; a Started leaves what it might have changed to the stop.
    fn give_up(&mut self) {
        if self.owes_stop() {
            self.belief = Belief::Off;
        }
        self.wish = None;
    }

    fn drop_moot_stop(&mut self) -> Option<Loss> {
        let moot = self.flight.is_none() && self.belief == Belief::Off && self.owes_stop();
        let reason = self.wish.take_if(|_| moot)?;
        Some(Loss { number: self.number, reason, why: Why::Moot })
    }

    const fn flies_current(&self) -> bool {
        self.flight.is_some() && self.flight_number == self.number
    }
}

impl Lifespans {
    fn of(&self, reason: Reason) -> Duration {
        match reason.indicator() {
            // What an earlier process left on may have to wait for somebody who shows credentials.
            Indicator::TypingStopped if reason == Reason::Recovered => self.stopped.max(RECOVERED_LIFESPAN_MIN),
            Indicator::TypingStarted => self.started,
            Indicator::TypingStopped => self.stopped,
        }
    }
}

/// Credentials that are tried one after the other without a wait: more than are kept of a channel.
const CREDENTIALS_TRIED_MAX: u8 = 32;

/// A connector that is started together with typingd, and asks for its token first, has shown it by then.
const RECOVERED_LIFESPAN_MIN: Duration = Duration::from_secs(600);

/// What leaves.
pub(super) struct Leaving {
    pub(super) reason: Reason,
    pub(super) decided: Instant,
    pub(super) number: u64,
    pub(super) attempt: u32,
}
