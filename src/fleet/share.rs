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
    /// What is this node's by what it knows of the store. More than what is in force while requests of the last second
    /// still count.
    granted: u32,
    /// What the last heartbeat asked for.
    wanted: u32,
    most: u32,
    /// Another node could use more than there is.
    is_sought: bool,
    members: u32,
    /// The store knows this node no more, or is silent: the share is half of what was granted.
    is_cut: bool,
    /// Since when the store has been silent.
    alone_since: Option<Instant>,
}

impl Share {
    pub(super) fn new(limit: u32) -> Self {
        let in_force = (limit / UNJOINED_PART).max(1);
        let (granted, wanted) = (in_force, in_force);
        let (own_limit, most, is_sought, members) = (limit, limit, false, 1);
        Self { own_limit, limit, in_force, granted, wanted, most, is_sought, members, is_cut: false, alone_since: None }
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
        self.granted = self.granted.max(self.in_force);
    }

    /// Whether a heartbeat is worth sending before the next is due: more could be had.
    pub(super) fn presses(&self, demand: Demand) -> bool {
        demand.queued > QUEUED_MAX.min(self.in_force as usize / 8) && self.in_force < self.limit.min(self.most)
    }

    /// How long after the last heartbeat it may be sent: later if that has brought all there was.
    pub(super) const fn presses_after(&self) -> Duration {
        if self.granted < self.wanted { VAIN_HEARTBEAT } else { PRESSED_HEARTBEAT }
    }

    /// Whether another node waits for what this one has given up and still has to report.
    pub(super) const fn owes(&self) -> bool {
        self.in_force < self.granted
    }

    /// What the next heartbeat says: what is kept to from now on, and what is wanted.
    pub(super) fn before_heartbeat(&mut self, demand: Demand, heartbeat: &mut Heartbeat) {
        let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let counted = whole(demand.counted);
        let part = |part| self.limit / self.members.saturating_mul(part).max(1);
        let need = counted.saturating_add(whole(demand.queued)).max(part(SOUGHT_PART)).max(1).min(self.limit);
        let want = if self.is_sought { need + counted / 16 } else { (need + counted / 2).max(part(IDLE_PART)) };
        let want = want.min(self.most).min(self.limit);
        // What was sent within the last second can't be given away yet; nothing is added to it.
        let hold = self.granted.min(want.max(counted));
        (self.granted, self.wanted) = (hold, want);
        self.in_force = hold.min(want);
        *heartbeat = Heartbeat { limit: self.own_limit, hold, need, want, ..*heartbeat };
    }

    pub(super) fn granted(&mut self, membership: &Membership) {
        self.granted = membership.share;
        self.in_force = membership.share.min(self.wanted);
        self.limit = membership.limit;
        self.most = membership.most;
        self.is_sought = membership.is_sought;
        self.members = u32::try_from(membership.members.len()).unwrap_or(u32::MAX).max(1);
        (self.is_cut, self.alone_since) = (false, None);
    }

    /// The lease has ended, and nothing leaves before the next is granted or the node is alone. Half of the share is
    /// kept for it in the store, and the rest is for those who are left: however many are gone, some is.
    pub(super) fn cut(&mut self) {
        if !std::mem::replace(&mut self.is_cut, true) {
            self.in_force = self.in_force.div_ceil(2);
            self.granted = self.in_force;
        }
    }

    /// The store is silent. At first the node keeps to what is kept for it, for the others may be as before.
    pub(super) fn go_alone(&mut self, now: Instant) {
        self.cut();
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
            self.granted = self.granted.max(self.in_force);
        }
        over
    }
}

/// A node that has not joined since its start keeps to this part of the limit.
const UNJOINED_PART: u32 = 10;
/// What a node keeps to without demand, of an equal part: a burst, and what comes while the store is silent.
const IDLE_PART: u32 = 2;
/// The same while some node could use more.
const SOUGHT_PART: u32 = 20;
/// With more requests in line, or more than an eighth of a second's, a node asks for more at once.
const QUEUED_MAX: usize = 8;
const PRESSED_HEARTBEAT: Duration = Duration::from_millis(20);
const VAIN_HEARTBEAT: Duration = Duration::from_millis(100);
/// So long a node that is cut off keeps to half of the share that it had.
const ALONE_KEPT: Duration = Duration::from_secs(60);
