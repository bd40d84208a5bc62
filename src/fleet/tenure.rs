//! Whether a node may act for what it owns: its lease by its own clock, and what it does while the store is silent.

use std::time::Duration;

use super::protocol::OwnerId;
use crate::model::Instant;

/// What a node does once the store has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// It serves every signal that reaches it, as without a store.
    Alone,
    /// It shows no icon. Stoppeds that are owed leave.
    Dark,
}

/// What a node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It acts for what it owns.
    Tenured,
    /// Its lease may have ended: what it owns is stepped, and nothing leaves.
    InDoubt,
    /// The store is silent: it acts for every signal.
    Alone,
    /// The store is silent: only Stoppeds leave.
    Dark,
}

impl State {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Tenured, Self::InDoubt, Self::Alone, Self::Dark];

    /// The name in the status and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenured => "tenured",
            Self::InDoubt => "in_doubt",
            Self::Alone => "alone",
            Self::Dark => "dark",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not joined.
    Apart,
    /// It has joined, and claims what it owned before.
    Claiming,
    /// It has joined. Whether it is tenured is a matter of the time.
    Joined,
    /// The store is silent.
    Alone,
}

/// A node's tenure.
#[derive(Debug)]
pub(super) struct Tenure {
    when_unreachable: WhenUnreachable,
    /// How long the store lets a lease last.
    store_lease: Duration,
    /// The owner of the process's tenure before this one.
    was: Option<OwnerId>,
    me: OwnerId,
    /// `me` has joined, as far as is known.
    joined: bool,
    phase: Phase,
    lease_until: Instant,
    doubt_since: Option<Instant>,
    /// Since when the store has said that it will not serve, and nothing else.
    refused_since: Option<Instant>,
    looked: Instant,
    /// Grows with each tenure, and with each time between two.
    number: u32,
}

impl Tenure {
    pub(super) fn new(me: OwnerId, lease: Duration, when_unreachable: WhenUnreachable) -> Self {
        Self {
            when_unreachable,
            store_lease: lease.saturating_sub(STORE_MARGIN),
            was: None,
            me,
            joined: false,
            phase: Phase::Apart,
            lease_until: Instant::ORIGIN,
            doubt_since: None,
            refused_since: None,
            looked: Instant::ORIGIN,
            number: 0,
        }
    }

    pub(super) const fn me(&self) -> OwnerId {
        self.me
    }

    pub(super) const fn was(&self) -> Option<OwnerId> {
        self.was
    }

    pub(super) const fn joins(&self) -> bool {
        !self.joined
    }

    pub(super) const fn store_lease(&self) -> Duration {
        self.store_lease
    }

    /// What has been dispatched under another number must not leave any more.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Joined if now < self.lease_until => State::Tenured,
            Phase::Alone if self.when_unreachable == WhenUnreachable::Dark => State::Dark,
            Phase::Alone => State::Alone,
            _ => State::InDoubt,
        }
    }

    /// Until when what is dispatched now may leave, if nothing else happens.
    pub(super) fn departs_until(&self) -> Instant {
        match self.phase {
            Phase::Joined => self.lease_until,
            Phase::Alone if self.when_unreachable == WhenUnreachable::Alone => Instant::NEVER,
            _ => Instant::ORIGIN,
        }
    }

    /// Whether it takes part: what it asks of the store may be granted.
    pub(super) fn is_member(&self) -> bool {
        matches!(self.phase, Phase::Claiming | Phase::Joined)
    }

    pub(super) fn is_claiming(&self) -> bool {
        self.phase == Phase::Claiming
    }

    /// Looks at the clock. Returns whether the node is alone from now on.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        // A process that was stopped had no answer because it did not read.
        let paused = now.since(std::mem::replace(&mut self.looked, now)) > PAUSE_MIN;
        self.refused_since = self.refused_since.filter(|_| !paused);
        if self.state(now) != State::InDoubt {
            self.doubt_since = None;
            return false;
        }
        let since = self.doubt_since.filter(|_| !paused).unwrap_or(now);
        self.doubt_since = Some(since);
        // From a store that serves no one leases are renewed no more: once the last has ended, no other node acts on its own.
        let ended = self.refused_since.map_or(Instant::NEVER, |refused| refused + self.store_lease);
        let alone = now >= ended.min(since + self.doubt_max());
        if alone {
            self.phase = Phase::Alone;
            self.number += 1;
        }
        alone
    }

    /// When to look again, while the node is in doubt or will be.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        match self.state(now) {
            State::Tenured => self.lease_until,
            State::InDoubt => now + PAUSE_MIN / 2,
            State::Alone | State::Dark => Instant::NEVER,
        }
    }

    /// The store has renewed the lease with a heartbeat that was sent at `sent`. Returns whether what is owned must
    /// be claimed.
    pub(super) fn renew(&mut self, now: Instant, sent: Instant) -> bool {
        self.lease_until = sent + self.store_lease.saturating_sub(LOCAL_MARGIN);
        self.refused_since = None;
        self.extend_doubt(now);
        self.was = None;
        self.joined = true;
        match self.phase {
            Phase::Claiming | Phase::Joined => return false,
            Phase::Alone => self.number += 1,
            Phase::Apart => {}
        }
        self.phase = Phase::Claiming;
        true
    }

    /// The store answers, and what is owned is being claimed: doubt begins anew.
    pub(super) fn extend_doubt(&mut self, now: Instant) {
        if self.doubt_since.is_some() {
            self.doubt_since = Some(now);
        }
    }

    /// The store has said that it will not serve.
    pub(super) fn refuse(&mut self, now: Instant) {
        self.refused_since.get_or_insert(now);
    }

    /// Everything that was owned has been claimed.
    pub(super) fn claimed(&mut self) {
        if self.phase == Phase::Claiming {
            self.phase = Phase::Joined;
        }
    }

    /// The store has let the lease lapse.
    pub(super) fn lapse(&mut self) {
        self.was = Some(self.me);
        self.me = self.me.next();
        self.joined = false;
        self.phase = Phase::Apart;
        self.number += 1;
    }

    fn doubt_max(&self) -> Duration {
        (self.store_lease + STORE_MARGIN).min(DOUBT_MAX)
    }
}

/// The store's lease is shorter than the one that is promised: so long a survivor may take until it has noticed.
const STORE_MARGIN: Duration = Duration::from_millis(500);
/// A node's own lease ends before the store's: what leaves at the last moment has arrived before another node acts.
const LOCAL_MARGIN: Duration = Duration::from_millis(700);
/// Doubt lasts no longer, for no icon changes meanwhile.
const DOUBT_MAX: Duration = Duration::from_secs(3);
/// A node looks more often than this. One that has not was stopped.
const PAUSE_MIN: Duration = Duration::from_millis(500);
