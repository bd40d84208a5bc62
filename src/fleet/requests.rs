//! What a node asks of the store next.

use std::time::Duration;

use super::protocol::{Command, Heartbeat, Op};
use super::queue::{Pending, What};
use super::{Asked, Demand, Effect, Fleet};
use crate::model::Instant;

impl Fleet {
    /// A heartbeat that is due comes first. Where its answer takes longer than the time to the next, what else there is has
    /// its turn in between.
    pub(super) fn next_command(&mut self, now: Instant, demand: Demand) -> Option<(Command, Asked)> {
        let presses = self.share.presses(demand) && self.last_heartbeat + self.share.presses_after() <= now;
        let is_due = self.next_heartbeat <= now || presses;
        let is_first = is_due && !self.heartbeat_was_last;
        if !is_first
            && self.tenure.is_member()
            && let Some(command) = self.next_of_others(now)
        {
            self.heartbeat_was_last = false;
            return Some(command);
        }
        is_due.then(|| (Command::Heartbeat(self.heartbeat(now, demand)), Asked::Heartbeat))
    }

    /// All but heartbeats.
    fn next_of_others(&mut self, now: Instant) -> Option<(Command, Asked)> {
        let sweeps = std::mem::replace(&mut self.sweeps_next, false) && !self.tenure.is_claiming();
        if sweeps && let Some(command) = self.sweep.poll(now) {
            return Some((command, Asked::Other));
        }
        let gathers_since = self.gathers().then(|| self.gathers_since.unwrap_or(now));
        self.gathers_since = gathers_since;
        let waits = gathers_since.is_some_and(|since| now < since + self.settings.gathers_for);
        if !waits && let Some(turn) = self.turn(now) {
            self.gathers_since = None;
            self.sweeps_next = true;
            return Some(turn);
        }
        if self.tenure.is_claiming() {
            return None;
        }
        if let Some(command) = self.sweep.poll(now) {
            return Some((command, Asked::Other));
        }
        // A node that leaves with an icon on lets its lease run out: the others see to it.
        (self.leaving && self.holdings.is_empty() && self.lost_in_flight.is_empty())
            .then_some((Command::Leave, Asked::Other))
    }

    /// Whether nothing is to be asked but what can wait a moment: no one waits for its answer, and a request that is under way
    /// for its sake holds up what comes meanwhile.
    pub(super) fn gathers(&self) -> bool {
        !self.leaving && self.claims.is_empty() && self.queue.has_only_what_can_wait()
    }

    fn heartbeat(&mut self, now: Instant, demand: Demand) -> Heartbeat {
        self.last_heartbeat = now;
        self.heartbeat_was_last = true;
        self.next_heartbeat = now + HEARTBEAT;
        let mut heartbeat = Heartbeat {
            joins: self.tenure.joins(),
            was: self.tenure.was(),
            lease: self.tenure.store_lease(),
            limit: 0,
            hold: 0,
            need: 0,
            want: 0,
            timing: self.agreement.timing(),
            counts_for: self.sends_until.map(|until| until.since(now) + COUNTED_FOR),
        };
        let before = self.share.in_force();
        self.share.before_heartbeat(demand, &mut heartbeat);
        if self.share.in_force() != before {
            self.effects.push_back(Effect::Share(self.share.in_force()));
        }
        heartbeat
    }

    /// Claims before everything else, then what waits.
    fn turn(&mut self, now: Instant) -> Option<(Command, Asked)> {
        let (mut ops, mut asked) = (Vec::new(), Vec::new());
        let claims = !self.claims.is_empty();
        while asked.len() < OPS_MAX {
            let pending = match self.claims.pop_front() {
                Some(conversation) => Pending { conversation, what: What::Claim },
                None if self.tenure.is_claiming() => break,
                None => match self.queue.pop() {
                    Some(pending) => pending,
                    None => break,
                },
            };
            if let Some(op) = self.op_of(now, &pending) {
                ops.push((pending.conversation.clone(), op));
                asked.push(pending);
            }
        }
        if asked.is_empty() {
            if claims {
                self.end_claims();
            }
            return None;
        }
        Some((Command::Turn { inboxes: self.sweep.members().to_vec(), ops }, Asked::Turn(asked)))
    }

    /// What is asked about a conversation in its present state; `None` if there is nothing to ask any more.
    fn op_of(&mut self, now: Instant, pending: &Pending) -> Option<Op> {
        if let (What::End, Some(held)) = (pending.what, self.holdings.get_mut(&pending.conversation.as_ref())) {
            held.end_waits = false;
            return Some(Op::End);
        }
        let holding = self.holdings.get(&pending.conversation.as_ref());
        match pending.what {
            What::Post(post) if post.is_fresh(now) => {
                let from = post.from.unwrap_or(self.tenure.me());
                let mut signal = post.signal;
                if signal.kind.ends_typing() {
                    let waited = u16::try_from(now.since(post.arrived).as_millis()).unwrap_or(u16::MAX);
                    signal.ago_millis = signal.ago_millis.saturating_add(waited);
                }
                Some(Op::Post { signal, hops: post.hops, from, ticket: post.ticket })
            }
            What::Post(_) => {
                self.counts.stale += 1;
                None
            }
            What::Light => holding.map(|_| Op::Light),
            What::Claim => holding.map(|held| Op::Claim { seen: held.owner, strays: held.strays, on: held.on }),
            What::Dim => holding.filter(|held| !held.on).map(|held| Op::Dim { strays: held.strays }),
            What::End => None,
            What::Release { seen, strays } => Some(Op::Release { seen, strays }),
            What::Stray { hops } => Some(Op::Stray { hops }),
            What::Give { to } => holding.filter(|held| held.poster == Some(to)).map(|held| {
                let (on, typing) = (held.left_on, held.typing);
                Op::Give { to, on, typing }
            }),
            What::TakeOver { given } => {
                let endings = self.posted.get(&pending.conversation.as_ref()).map(|post| post.endings);
                let endings = endings.filter(|_| given.is_none());
                let wanted = given.is_some() || endings.is_some();
                (wanted && holding.is_none()).then_some(Op::TakeOver { endings })
            }
            What::Answer { awaited, acknowledged, .. } => {
                Some(Op::Answer { to: awaited.by, number: awaited.ticket.number, acknowledged })
            }
        }
    }
}

/// How often a node gives a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// What was sent counts towards the org's limit for so long.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// Operations in one turn: the store does nothing else meanwhile.
const OPS_MAX: usize = 800;
