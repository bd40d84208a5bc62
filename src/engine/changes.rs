//! Changes of all conversations at once: another policy, a suspension, shutdown.
//!
//! A change is recorded with its instant, and holds from there. Each conversation follows when it is next touched, or
//! in its slice of [`Engine::handle_timeout`]: it decides what it would have decided had all of them changed at that
//! instant. So no change keeps the loop from its other work, however many conversations there are.

use super::Engine;
use super::policy::{Policy, Rules};
use crate::model::{Instant, Reason};

/// The number of a change. It wraps: no conversation is ever more than a few changes behind.
pub(super) type Generation = u8;

/// Changes under way, before another policy has to wait until all conversations have followed.
const CHANGES_MAX: usize = 16;
/// Slots that are looked at in one call: less than a millisecond's work.
const SLOTS_PER_CALL: usize = 8_192;
/// A conversation that has a change to follow costs as much as so many that have none.
const FOLLOW_COST: usize = 16;

/// The changes under way.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Those that some conversation may not have followed, the oldest first.
    under_way: Vec<Change>,
    /// That of the newest.
    pub(super) generation: Generation,
    /// The slot to look at next; `None` if all conversations have followed.
    next: Option<u32>,
}

#[derive(Debug)]
struct Change {
    at: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Another policy than `before` holds.
    Policy { before: Box<Policy>, lifespans_differ: bool },
    /// Every icon goes off.
    Stop(Reason),
}

impl Changes {
    /// Whether a conversation may have a change to follow.
    pub(super) const fn are_under_way(&self) -> bool {
        self.next.is_some()
    }
}

impl Engine {
    /// New timing and new bounds. They hold from `now` on, for conversations under way too; none is lost. Ask first
    /// whether there is room for a further change ([`Engine::has_room_for_policy`]).
    pub fn handle_policy(&mut self, now: Instant, policy: Policy) {
        self.pace.set_limits(policy.delivery);
        let (old, new) = (&self.policy.delivery, &policy.delivery);
        // What decides how long a request may wait decides deadlines.
        let lifespans_differ =
            old.started_lifespan != new.started_lifespan || old.stopped_lifespan != new.stopped_lifespan;
        let concerns = lifespans_differ || self.concerns(&policy);
        let before = Box::new(std::mem::replace(&mut self.policy, policy));
        if concerns {
            self.record_change(now, What::Policy { before, lifespans_differ });
        }
    }

    /// Whether another policy may be given now. A few may be under way at a time; each takes a second with a million
    /// conversations.
    pub const fn has_room_for_policy(&self) -> bool {
        self.changes.under_way.len() < CHANGES_MAX
    }

    /// The machine slept, and the monotonic clock with it: users who typed before have long stopped. Every icon goes
    /// off.
    pub fn handle_suspension(&mut self, now: Instant) {
        self.record_change(now, What::Stop(Reason::Idle));
    }

    /// No further signal is taken, and every icon goes off. Drive the engine on until [`Engine::is_settled`].
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.stopping = true;
        self.record_change(now, What::Stop(Reason::Shutdown));
    }

    /// Whether any conversation has other timing under `policy` than under the one in force.
    fn concerns(&self, policy: &Policy) -> bool {
        if self.policy.rules != policy.rules {
            return true;
        }
        // Beside the default timing there is that of a few channels.
        let names = self.policy.channels.keys().chain(policy.channels.keys()).map(|name| name.as_str());
        let mut differ = names.filter(|name| self.policy.rules_of(name) != policy.rules_of(name));
        differ.any(|name| self.tracker.find_channel(name).is_some())
    }

    fn record_change(&mut self, at: Instant, what: What) {
        if self.tracker.entries.len() == 0 {
            return;
        }
        self.changes.under_way.push(Change { at, what });
        self.changes.generation = self.changes.generation.wrapping_add(1);
        self.changes.next = Some(0);
    }

    /// Lets some more conversations follow the changes under way.
    pub(super) fn follow_some(&mut self, now: Instant) {
        let Some(mut next) = self.changes.next else { return };
        let mut budget = SLOTS_PER_CALL;
        while budget > 0 {
            if next >= self.tracker.entries.end() {
                self.changes.next = None;
                self.changes.under_way = Vec::new();
                return;
            }
            budget -= 1;
            if self.tracker.entries.get(next).is_some_and(|entry| entry.generation != self.changes.generation) {
                budget = budget.saturating_sub(FOLLOW_COST);
                self.catch_up(now, next);
            }
            next += 1;
        }
        self.changes.next = Some(next);
    }

    /// Lets a conversation follow before it is touched. Returns whether it is still in the table.
    #[inline]
    pub(super) fn follow(&mut self, now: Instant, slot: u32) -> bool {
        if self.tracker.entry(slot).generation == self.changes.generation {
            return true;
        }
        self.catch_up(now, slot);
        self.tracker.holds(slot)
    }

    #[cold]
    fn catch_up(&mut self, now: Instant, slot: u32) {
        let Changes { generation, .. } = self.changes;
        let entry = self.tracker.entry_mut(slot);
        let missed = usize::from(generation.wrapping_sub(std::mem::replace(&mut entry.generation, generation)));
        let changes = std::mem::take(&mut self.changes.under_way);
        let mut concerned = false;
        for number in changes.len().saturating_sub(missed)..changes.len() {
            let at = changes[number].at;
            let name = self.tracker.channels.name(self.tracker.entry(slot).channel);
            let before = rules_before(&changes[number..], &self.policy, name);
            match &changes[number].what {
                What::Policy { lifespans_differ, .. } => {
                    let after = rules_before(&changes[number + 1..], &self.policy, name);
                    concerned |= before != after || *lifespans_differ;
                    if before != after {
                        self.change_rules(at, slot, &before, &after);
                    }
                }
                What::Stop(reason) => {
                    concerned = true;
                    self.advance_under(at, slot, &before);
                    if let Some(reason) = self.tracker.timing_mut(slot).0.stop(*reason) {
                        self.decide(slot, at, reason);
                    }
                }
            }
        }
        self.changes.under_way = changes;
        let Self { tracker, policy, .. } = self;
        let channel = tracker.entry(slot).channel;
        tracker.channels.refresh(channel, generation, |name| policy.rules_of(name));
        if concerned {
            self.advance(now, slot);
            self.update(now, slot);
        }
    }

    fn change_rules(&mut self, at: Instant, slot: u32, before: &Rules, after: &Rules) {
        // What was due under the old rules happens under the old rules.
        self.advance_under(at, slot, before);
        // A conversation that was served without `opened` so far must not fall silent in mid-session.
        self.tracker.entry_mut(slot).opened |= !before.require_open;
        while let Some(reason) = self.tracker.timing_mut(slot).0.change(after, at) {
            self.decide(slot, at, reason);
        }
    }

    fn advance_under(&mut self, until: Instant, slot: u32, rules: &Rules) {
        while let Some((at, reason)) = self.tracker.timing_mut(slot).0.step_late(rules, until) {
            self.decide(slot, at, reason);
        }
    }
}

/// The timing of a channel before the first of `changes`; `policy` holds after the last.
fn rules_before(changes: &[Change], policy: &Policy, name: &str) -> Rules {
    let before = changes.iter().find_map(|change| match &change.what {
        What::Policy { before, .. } => Some(&**before),
        What::Stop(_) => None,
    });
    before.unwrap_or(policy).rules_of(name)
}
