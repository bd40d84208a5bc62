//! After each step: a conversation's queue, deadline and counts in line with its state.

use std::time::Duration;

use super::Engine;
use super::list::{Link, List};
use super::outbox::{Lifespans, Losses};
use super::policy::{Delivery, Rules};
use super::tracker::{Parts, Queue};
use super::wheel::{self, Place};
use crate::model::Instant;

impl Engine {
    /// Brings a conversation's queue, deadline and counts in line with its state, and forgets it when there is nothing
    /// left to remember.
    pub(super) fn update(&mut self, now: Instant, slot: u32) {
        if self.ownership.retained_for > Duration::ZERO {
            self.tracker.extras_mut(slot);
        }
        let Parts { entry, rules, channel_muted_until, extras } = self.tracker.parts_mut(slot);
        let idle = entry.timing.is_idle();
        let timing_due = entry.timing.due(rules);
        entry.learn_quiet(rules, timing_due);
        let (icon_on, mut due, mut forgotten) = (entry.timing.icon(), timing_due, false);
        let mut losses = [None; 2];
        let (queue, unsettled) = if let Some(extras) = extras {
            let lifespans = lifespans(&self.policy.delivery, rules);
            losses = extras.drop_unsendable(now, &lifespans, channel_muted_until > now);
            let unsettled = !extras.outbox.is_empty();
            due = due.min(extras.outbox.due(now, &lifespans));
            let busy = unsettled || !idle;
            if busy {
                extras.retained_until = now + self.ownership.retained_for;
            }
            let retained_until = extras.hold_until.max(extras.retained_until);
            let queue = if let Some(urgency) = extras.outbox.ready(now) {
                Queue::Ready(urgency)
            } else if extras.outbox.is_blocked() {
                Queue::Blocked
            } else if !busy && retained_until > now {
                // Forgotten late, it is found to be over when its next signal comes. An owner is told in time.
                let is_owned = self.ownership.retained_for > Duration::ZERO;
                due = due.min(if is_owned { retained_until } else { wheel::gathered(retained_until) });
                Queue::Retained
            } else {
                Queue::None
            };
            (queue, unsettled)
        } else {
            (Queue::None, entry.is_shown_at_rest())
        };
        let queue = match queue {
            Queue::None if unsettled || !idle => Queue::None,
            Queue::None if entry.opened && rules.require_open => Queue::Retained,
            Queue::None => {
                forgotten = true;
                Queue::None
            }
            other => other,
        };
        self.census.icons = self.census.icons + usize::from(icon_on) - usize::from(entry.icon_on);
        self.census.unsettled = self.census.unsettled + usize::from(unsettled) - usize::from(entry.unsettled);
        (entry.icon_on, entry.unsettled) = (icon_on, unsettled);
        let place = entry.place;
        if losses != [None; 2] {
            self.record_unsendable(now, slot, losses);
        }
        if forgotten {
            self.remove(slot, now);
            return;
        }
        self.move_to(slot, queue);
        let new_place = self.wheel.arm(&mut self.tracker, now, slot, place, due);
        if new_place != place {
            self.tracker.entry_mut(slot).place = new_place;
        }
        self.tracker.drop_idle_extras(now, slot);
    }

    /// Forgets a conversation that is remembered no longer, and waits for the timer that forgets several at once. Returns
    /// whether it did.
    pub(super) fn forget_over(&mut self, now: Instant, slot: u32) -> bool {
        let is_over = self.tracker.entry(slot).queue == Queue::Retained
            && self.tracker.extras(slot).is_some_and(|extras| extras.hold_until.max(extras.retained_until) <= now);
        if is_over {
            self.bring_up_to(now, slot);
        }
        is_over && !self.tracker.holds(slot)
    }

    /// Takes note of what [`Extras::drop_unsendable`](super::tracker::Extras::drop_unsendable) has dropped.
    #[cold]
    fn record_unsendable(&mut self, now: Instant, slot: u32, losses: Losses) {
        let [muted, expired] = losses;
        self.counts.muted += u64::from(muted.is_some());
        self.record_dropped(now, slot, losses);
        self.count_dropped(expired.map(|loss| loss.reason));
    }

    /// Moves a conversation to another queue; one that is in it already keeps its place.
    pub(super) fn move_to(&mut self, slot: u32, queue: Queue) {
        let old = std::mem::replace(&mut self.tracker.entry_mut(slot).queue, queue);
        if old == queue {
            return;
        }
        if let Some(index) = old.index() {
            self.queues[index].remove(&mut self.tracker, Link::Queue, slot);
            self.queued[index] -= 1;
        } else if old == Queue::Blocked {
            self.change_blocked(slot, List::remove);
            self.census.blocked -= 1;
        }
        if let Some(index) = queue.index() {
            self.queues[index].push_back(&mut self.tracker, Link::Queue, slot);
            self.queued[index] += 1;
        } else if queue == Queue::Blocked {
            self.change_blocked(slot, List::push_back);
            self.census.blocked += 1;
        }
    }

    pub(super) fn remove(&mut self, slot: u32, now: Instant) {
        self.move_to(slot, Queue::None);
        let place = self.tracker.entry(slot).place;
        self.wheel.disarm(&mut self.tracker, slot, place);
        self.tracker.entry_mut(slot).place = Place::NONE;
        self.ownership.on_released(|| self.tracker.conversation(slot));
        self.tracker.remove(slot, now);
    }
}

/// How long the indicators of a channel with these rules may wait.
pub(super) fn lifespans(delivery: &Delivery, rules: &Rules) -> Lifespans {
    let started = delivery.started_lifespan.unwrap_or_else(|| rules.check_interval().min(STARTED_LIFESPAN_MAX));
    Lifespans { started, stopped: delivery.stopped_lifespan }
}

/// Without an explicit lifespan no Started leaves later than this after its decision.
const STARTED_LIFESPAN_MAX: Duration = Duration::from_secs(5);
