//! What typingd that share an org should have the same: noticed by the heartbeat, and told if it lasts.

use std::time::Duration;

use super::Fleet;
use super::protocol::Differences;
use crate::model::Instant;

/// What is known of others' settings.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// A digest of this node's timing.
    timing: u32,
    /// Since when others have another lease, and another timing.
    lease_since: Option<Instant>,
    timing_since: Option<Instant>,
}

impl Agreement {
    pub(super) const fn timing(&self) -> u32 {
        self.timing
    }

    pub(super) fn compared(&mut self, now: Instant, differs: Differences) {
        let noted = |differs: bool, since: Option<Instant>| differs.then(|| since.unwrap_or(now));
        self.lease_since = noted(differs.lease, self.lease_since);
        self.timing_since = noted(differs.timing, self.timing_since);
    }
}

impl Fleet {
    /// Another timing is in force: a digest of it.
    pub fn handle_timing(&mut self, digest: u32) {
        self.agreement.timing = digest;
    }

    /// What others have otherwise than this node, and not just for as long as a change takes to reach all.
    pub fn differences(&self, now: Instant) -> Differences {
        let lasts = |since: Option<Instant>| since.is_some_and(|since| since + SPREAD_MAX <= now);
        Differences { lease: lasts(self.agreement.lease_since), timing: lasts(self.agreement.timing_since) }
    }
}

/// A change of the timing has reached all nodes long before: they ask with each heartbeat.
const SPREAD_MAX: Duration = Duration::from_secs(5);
