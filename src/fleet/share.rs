//! The part of the org's rate that a node keeps to. No request waits for the store: a node sends within what it has,
//! and asks for more or less with each heartbeat. The sum of all shares is never above the limit, for a share is
//! lowered before that is reported, and raised after it has been granted.

use std::time::Duration;

use super::protocol::{Heartbeat, Membership};
use crate::model::Instant;

/// What a node sends, and would like to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests that count towards the rate: in flight, or answered in the last second.
    pub counted: usize,
    /// Requests that wait for their turn.
    pub queued: usize,
}

/// A node's share.
#[derive(Debug)]
pub(super) struct Share {
    /// The node's own limit, and the smallest of all members'.
    own_limit: u32,
    limit: u32,
    in_force: u32,
    fair: Option<u32>,
    members: u32,
    /// Since when the store has been silent.
    alone_since: Option<Instant>,
}

impl Share {
    pub(super) fn new(limit: u32) -> Self {
        let in_force = (limit / UNJOINED_PART).max(1);
        Self { own_limit: limit, limit, in_force, fair: None, members: 1, alone_since: None }
    }

    pub(super) const fn in_force(&self) -> u32 {
        self.in_force
    }

    /// The node's own limit has changed. `alone`: no store says what the others' is.
    pub(super) fn set_limit(&mut self, limit: u32, alone: bool) {
        if self.limit == self.own_limit || limit < self.limit {
            self.limit = limit;
        }
        self.own_limit = limit;
        if alone && self.alone_since.is_none() {
            self.in_force = self.limit / self.members;
        }
        self.in_force = self.in_force.min(limit).max(1);
    }

    /// Whether more could be had before the next heartbeat is due.
    pub(super) fn presses(&self, demand: Demand) -> bool {
        demand.queued > QUEUED_MAX && self.in_force < self.limit
    }

    /// What the next heartbeat says: what is kept to from now on, and what is wanted.
    pub(super) fn before_heartbeat(&mut self, demand: Demand, heartbeat: &mut Heartbeat) {
        let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let counted = whole(demand.counted);
        let least = self.limit / self.members.saturating_mul(4).max(1);
        let want = counted.saturating_add(counted / 2).saturating_add(whole(demand.queued)).max(least).max(1);
        let want = want.min(self.fair.unwrap_or(self.limit)).min(self.limit);
        // What was sent within the last second can't be given away yet.
        let hold = self.in_force.min(want.max(counted));
        self.in_force = hold;
        *heartbeat = Heartbeat { limit: self.own_limit, hold, want, ..*heartbeat };
    }

    pub(super) fn granted(&mut self, membership: &Membership) {
        self.in_force = membership.share;
        self.limit = membership.limit;
        self.fair = membership.fair;
        self.members = u32::try_from(membership.members.len()).unwrap_or(u32::MAX).max(1);
        self.alone_since = None;
    }

    /// The store is silent. At first the node keeps to what it has, for the others may be as before.
    pub(super) fn go_alone(&mut self, now: Instant) {
        self.alone_since = Some(now);
    }

    /// When the others' shares are no longer kept for them as they were.
    pub(super) fn next_look(&self) -> Instant {
        self.alone_since.map_or(Instant::NEVER, |since| since + ALONE_KEPT)
    }

    /// Returns whether the share has changed.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let over = self.next_look() <= now;
        if over {
            self.alone_since = None;
            self.in_force = self.in_force.max(self.limit / self.members);
        }
        over
    }
}

/// A node that has not joined since its start keeps to this part of the limit.
const UNJOINED_PART: u32 = 10;
/// With more requests in line a node asks for more at once.
const QUEUED_MAX: usize = 8;
/// So long a node that is cut off keeps to the share that it had.
const ALONE_KEPT: Duration = Duration::from_secs(60);
