//! Everything typingd knows about typing, order, retries and rate, in one pure value.
//!
//! [`Engine`] reads no clock, does no I/O, never awaits, logs nothing and can't fail. It names nothing but `std`,
//! `model` and the hash function. Time is an argument. Its driver reports what happened (`handle_*`), then asks what to
//! do (`poll_*`):
//!
//! 1. after any `handle_*`, call [`Engine::poll_dispatch`] until it returns `None`, and send what it returned;
//! 2. hand each outcome back with [`Engine::handle_outcome`], exactly once;
//! 3. call [`Engine::handle_timeout`] at the instant of [`Engine::poll_timeout`]. Early, late and spurious calls are
//!    harmless.
//!
//! No call takes more than some milliseconds: wide work goes in slices, and [`Engine::poll_timeout`] asks for the next
//! one at once.

mod changes;
mod channels;
mod credentials;
pub(crate) mod id;
mod inquiry;
mod list;
mod observed;
pub mod order;
pub mod outbox;
mod owner;
mod pace;
mod passed;
pub mod policy;
mod report;
mod slab;
mod table;
pub mod timing;
mod tracker;
mod upkeep;
mod wheel;

use std::time::Duration;

use crate::model::{
    ConversationRef, Decision, Dispatch, DispatchId, Dropped, Indicator, Instant, Outcome, Reason, Rejection, Signal,
    SignalKind, Why,
};
use changes::Changes;
use list::List;
use observed::Observed;
use outbox::{Loss, Losses, Urgency};
use owner::Ownership;
use pace::Pace;
use policy::Policy;
use tracker::{Parts, QUEUES, Queue, RETAINED, Tracker};
use upkeep::lifespans;
use wheel::{Place, Wheel};

pub use inquiry::{Account, Page, PageQuery, Stage};
pub use owner::Remains;
pub use report::{Census, Counts, Handled, Notice, Rejected};

/// How often channels that were muted and have no conversation are removed.
const SWEEP_SPACING: Duration = Duration::from_secs(60);
/// Conversations whose timers run in one call of [`Engine::handle_timeout`]; the others follow in the next one.
const TIMERS_PER_CALL: usize = 512;
/// Conversations that turn out to have nothing to send in one call of [`Engine::poll_dispatch`].
const STALE_PER_CALL: usize = 512;

/// The engine. See the module for the order of calls.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    tracker: Tracker,
    wheel: Wheel,
    /// The queues of [`Queue::index`], and their lengths.
    queues: [List; QUEUES],
    queued: [usize; QUEUES],
    pace: Pace,
    changes: Changes,
    last_decision: u64,
    /// Icons, unsettled and blocked conversations; the other sizes are known elsewhere.
    census: Census,
    counts: Counts,
    decisions: Observed<Decision>,
    dropped: Observed<Dropped>,
    ownership: Ownership,
    swept_at: Instant,
    /// There is more memory to give back.
    trim_pending: bool,
    stopping: bool,
}

impl Engine {
    /// Conversations that [`Engine::look_ahead`] looks at in one call.
    pub const LOOK_AHEAD_MAX: usize = tracker::LOOK_AHEAD_MAX;

    /// `seed` keys the hash of the ids and spreads the retries: random in the daemon, fixed in a test.
    pub fn new(policy: Policy, seed: u64) -> Self {
        let pace = Pace::new(policy.delivery, seed);
        Self {
            policy,
            tracker: Tracker::new(seed),
            wheel: Wheel::new(),
            queues: [List::EMPTY; QUEUES],
            queued: [0; QUEUES],
            pace,
            changes: Changes::default(),
            last_decision: 0,
            census: Census::default(),
            counts: Counts::default(),
            decisions: Observed::NONE,
            dropped: Observed::NONE,
            ownership: Ownership::default(),
            swept_at: Instant::ORIGIN,
            trim_pending: false,
            stopping: false,
        }
    }

    /// The signals that are handled next are of these conversations, in this order; no more than [`Engine::LOOK_AHEAD_MAX`]
    /// of them are taken. It changes nothing but speed: memory is read for all of them at once.
    pub fn look_ahead<'a>(&mut self, conversations: impl Iterator<Item = ConversationRef<'a>>) {
        self.tracker.look_ahead(conversations);
    }

    /// A signal arrived at `now`.
    ///
    /// # Errors
    /// When it needs a new conversation and there is no room for one, or the engine is stopping.
    pub fn handle_signal(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
    ) -> Result<Handled, Rejected> {
        if self.stopping {
            return Err(Rejected::Stopping);
        }
        let place = self.tracker.place_of_next(conversation);
        if signal.kind == SignalKind::Keystroke
            && self.tracker.take_quiet_key(now, (place, conversation), signal, self.changes.generation)
        {
            self.counts.signals[SignalKind::Keystroke as usize] += 1;
            return Ok(Handled::Accepted);
        }
        self.handle_other(now, (place, conversation), signal)
    }

    /// A signal that may change more than the last key, of a conversation that most likely is at `place`.
    #[inline(never)]
    fn handle_other(
        &mut self,
        now: Instant,
        (place, conversation): (u32, ConversationRef<'_>),
        signal: Signal,
    ) -> Result<Handled, Rejected> {
        let found = self.tracker.find_at(place, conversation).filter(|slot| self.follow(now, *slot));
        let Some(slot) = found.filter(|slot| !self.forget_over(now, *slot)) else {
            return self.handle_first(now, conversation, signal);
        };
        self.counts.signals[signal.kind as usize] += 1;
        Ok(self.handle_known(now, slot, signal))
    }

    /// The upstream may still show an icon because of another process, or an earlier one: a Stopped is owed, unless the
    /// user is typing.
    pub fn handle_recovered(&mut self, now: Instant, conversation: ConversationRef<'_>) {
        let found = self.tracker.find(conversation).filter(|slot| self.follow(now, *slot));
        let slot = found.unwrap_or_else(|| {
            let rules = self.policy.rules_of(conversation.to());
            self.tracker.insert(conversation, self.changes.generation, rules)
        });
        self.advance(now, slot);
        self.tracker.extras_mut(slot).outbox.doubt();
        if !self.tracker.entry(slot).timing.icon() {
            self.decide(slot, now, Reason::Recovered);
        }
        self.update(now, slot);
    }

    /// The outcome of the request in flight under `id`. An unknown or answered `id` is ignored. Returns a transition
    /// that an operator should know of.
    pub fn handle_outcome(&mut self, now: Instant, id: DispatchId, outcome: Outcome) -> Option<Notice> {
        if !self.is_in_flight(id) {
            return None;
        }
        let was_open = self.pace.is_breaker_open();
        let rate = self.pace.rate();
        let outcome = self.tracker.extras_mut(id.slot).outbox.weigh(outcome);
        self.pace.on_outcome(now, id.slot, &outcome);
        // The timers first: an outcome must not send a Started for a user whose deadline has passed. A conversation
        // with a request in flight stays in the table.
        self.follow(now, id.slot);
        self.advance(now, id.slot);
        let lifespans = lifespans(&self.policy.delivery, self.tracker.rules(id.slot));
        let Self { tracker, pace, .. } = self;
        let outbox = &mut tracker.extras_mut(id.slot).outbox;
        let losses = outbox.on_outcome(now, &outcome, &lifespans, |attempt| pace.backoff(attempt));
        let given_up = losses[0].filter(|loss| loss.why == Why::GivenUp).map(|loss| loss.reason);
        self.unblock_if_accepted_since(id.slot);
        self.record_dropped(now, id.slot, losses);
        let mut notice = match (was_open, self.pace.is_breaker_open()) {
            (false, true) => Some(Notice::UpstreamFailing),
            (true, false) => Some(Notice::UpstreamBack),
            _ if self.pace.rate() < rate => Some(Notice::RateCut),
            _ => None,
        };
        match outcome {
            Outcome::Delivered => self.counts.delivered += 1,
            Outcome::Rejected(rejection) => {
                let stop = given_up.is_some_and(|reason| reason.indicator() == Indicator::TypingStopped);
                self.counts.stops_given_up += u64::from(stop);
                notice = notice.or(self.handle_rejection(now, id.slot, rejection));
            }
            Outcome::NotSent(_) | Outcome::Unknown(_) => self.count_dropped(given_up),
        }
        self.update(now, id.slot);
        notice
    }

    /// So many requests have been sent to the same upstream by others since the last call, which nothing holds back. They count
    /// towards the rate for as long as its window: typing gives way to them.
    pub fn handle_passed(&mut self, now: Instant, count: usize) {
        self.pace.on_passed(now, count);
    }

    /// The upstream has refused one of them, for there are too many: nothing leaves during `pause`.
    pub fn handle_rate_limit(&mut self, now: Instant, pause: Duration) {
        self.pace.cut(now, Some(pause));
    }

    /// Runs the timers due at `now`, and applies what has changed to conversations, a slice of either at a time.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(slot) = self.wheel.pop(&mut self.tracker, now) else { break };
            self.tracker.entry_mut(slot).place = Place::NONE;
            self.bring_up_to(now, slot);
        }
        self.follow_some(now);
        self.unblock_some(now);
        self.trim_pending = self.tracker.trim();
        if self.swept_at + SWEEP_SPACING <= now {
            self.swept_at = now;
            self.tracker.channels.sweep(now);
        }
    }

    /// The next request that may leave at `now`.
    #[must_use]
    pub fn poll_dispatch(&mut self, now: Instant) -> Option<Dispatch> {
        for _ in 0..STALE_PER_CALL {
            let slot = self.queues[..Urgency::COUNT].iter().find_map(List::front)?;
            if self.pace.ready_at(now) > now {
                return None;
            }
            // While the driver was late the conversation may have fallen idle, been muted or expired.
            let queue = self.tracker.entry(slot).queue;
            if !self.follow(now, slot) {
                continue;
            }
            if !self.is_ready(now, slot) {
                self.bring_up_to(now, slot);
            }
            if !self.tracker.holds(slot) || self.tracker.entry(slot).queue != queue {
                continue;
            }
            self.move_to(slot, Queue::None);
            let acceptances = self.tracker.channels.acceptances(self.tracker.entry(slot).channel);
            let conversation = self.tracker.conversation(slot);
            let credentials = self.tracker.entry(slot).credentials;
            let extras = self.tracker.extras_mut(slot);
            let Some(dispatch) = extras.outbox.on_dispatch(slot, conversation, credentials) else { continue };
            extras.acceptances_seen = acceptances;
            self.pace.on_dispatch(now, slot);
            self.counts.sent += 1;
            self.counts.retried += u64::from(dispatch.attempt > 0);
            self.update(now, slot);
            return Some(dispatch);
        }
        None
    }

    /// When to call [`Engine::handle_timeout`] and [`Engine::poll_dispatch`] again, if nothing happens before;
    /// [`Instant::NEVER`]: not at all.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Instant {
        if self.changes.are_under_way() || self.trim_pending || self.tracker.channels.has_accepted() {
            return now;
        }
        let waiting = self.queued[..Urgency::COUNT].iter().any(|queued| *queued > 0);
        let ready = if waiting { self.pace.ready_at(now) } else { Instant::NEVER };
        ready.min(self.wheel.next())
    }

    /// When the next timer of any conversation is due, whatever waits to be sent: for a caller that only needs
    /// decisions and never calls [`Engine::poll_dispatch`].
    pub fn next_deadline(&self) -> Instant {
        self.wheel.next()
    }

    /// Whether nothing is typed, owed or in flight.
    pub fn is_settled(&self) -> bool {
        self.pace.in_flight() == 0 && self.census.unsettled == 0 && !self.changes.are_under_way()
    }

    /// Whether every conversation has been told of the shutdown: no Started leaves any more.
    pub const fn is_stopped(&self) -> bool {
        self.stopping && !self.changes.are_under_way()
    }

    /// Whether the circuit breaker is open: only probes are sent.
    pub const fn is_upstream_failing(&self) -> bool {
        self.pace.is_breaker_open()
    }

    /// Requests a second that may leave at present.
    pub const fn rate_in_force(&self) -> u32 {
        self.pace.rate()
    }

    /// The policy in force.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sizes of everything that could grow.
    pub fn census(&self) -> Census {
        Census {
            conversations: self.tracker.entries.len(),
            retained: self.queued[RETAINED],
            channels: self.tracker.channels.len(),
            in_flight: self.pace.in_flight(),
            queued: *self.queued.first_chunk().expect("there is one more"),
            armed: self.wheel.armed(),
            ..self.census
        }
    }

    /// Counts since the start.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether [`Engine::bring_up_to`] would leave a conversation in its queue of those that are ready.
    fn is_ready(&mut self, now: Instant, slot: u32) -> bool {
        let Parts { entry, rules, channel_muted_until, extras } = self.tracker.parts_mut(slot);
        let lifespans = lifespans(&self.policy.delivery, rules);
        let sendable = extras.is_some_and(|extras| {
            let ready = extras.outbox.ready(now).is_some_and(|urgency| entry.queue == Queue::Ready(urgency));
            ready && !extras.muted && !extras.outbox.is_expired(now, &lifespans)
        });
        sendable && channel_muted_until <= now && entry.timing.due(rules) > now
    }

    fn is_in_flight(&self, id: DispatchId) -> bool {
        let Some(extras) = self.tracker.known_extras(id.slot) else { return false };
        extras.outbox.in_flight().is_some() && extras.outbox.in_flight_number() == id.serial
    }

    /// A signal of a conversation that is not in the table.
    fn handle_first(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
    ) -> Result<Handled, Rejected> {
        let rules = self.policy.rules_of(conversation.to());
        let (remembered, needed) = match signal.kind {
            SignalKind::Keystroke => (!rules.require_open, true),
            // Losing the time of a message at worst shows an icon for a keystroke that came late.
            SignalKind::MessageSent => (rules.require_open || signal.at.is_some(), rules.require_open),
            SignalKind::Opened => (rules.require_open, true),
            SignalKind::Stopped | SignalKind::Ended => (false, false),
        };
        if remembered && !self.make_room(now) {
            return if needed { Err(Rejected::TableFull) } else { Ok(Handled::Accepted) };
        }
        self.counts.signals[signal.kind as usize] += 1;
        if !remembered {
            let unopened = signal.kind == SignalKind::Keystroke;
            self.counts.unopened += u64::from(unopened);
            return Ok(if unopened { Handled::Unopened } else { Handled::Accepted });
        }
        let slot = self.tracker.insert(conversation, self.changes.generation, rules);
        Ok(self.handle_known(now, slot, signal))
    }

    /// Whether there is room for one more conversation. The one that has been retained longest makes room.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.tracker.entries.len() < self.policy.conversations_max {
            return true;
        }
        let Some(oldest) = self.queues[RETAINED].front() else { return false };
        self.remove(oldest, now);
        true
    }

    /// A signal of a conversation that is in the table.
    #[inline]
    fn handle_known(&mut self, now: Instant, slot: u32, signal: Signal) -> Handled {
        if signal.kind == SignalKind::Keystroke {
            return self.handle_keystroke(now, slot, signal);
        }
        self.handle_control(now, slot, signal);
        Handled::Accepted
    }

    fn handle_keystroke(&mut self, now: Instant, slot: u32, signal: Signal) -> Handled {
        let barrier = self.tracker.extras(slot).map_or(0, |extras| extras.barrier);
        if signal.at.is_some_and(|at| at < barrier) {
            self.counts.late += 1;
            return Handled::Late;
        }
        let require_open = self.tracker.rules(slot).require_open;
        if require_open && !self.tracker.entry(slot).opened {
            self.counts.unopened += 1;
            return Handled::Unopened;
        }
        self.advance(now, slot);
        let (timing, rules) = self.tracker.timing_mut(slot);
        if let Some(reason) = timing.keystroke(rules, now, signal.typing_until(now)) {
            self.decide(slot, now, reason);
        }
        self.update(now, slot);
        Handled::Accepted
    }

    /// Any signal but a keystroke.
    fn handle_control(&mut self, now: Instant, slot: u32, signal: Signal) {
        self.advance(now, slot);
        let require_open = self.tracker.rules(slot).require_open;
        let reason = match signal.kind {
            SignalKind::Keystroke => None,
            SignalKind::Opened => {
                self.tracker.entry_mut(slot).opened = require_open;
                None
            }
            SignalKind::Stopped => Some(Reason::Stopped),
            SignalKind::MessageSent => {
                self.tracker.entry_mut(slot).opened |= require_open;
                if let Some(at) = signal.at {
                    let extras = self.tracker.extras_mut(slot);
                    extras.barrier = extras.barrier.max(at.saturating_add(1));
                    extras.hold_until = extras.hold_until.max(now + self.ownership.barrier_kept());
                }
                Some(Reason::MessageSent)
            }
            SignalKind::Ended => {
                self.tracker.entry_mut(slot).opened = false;
                if let Some(extras) = self.tracker.known_extras_mut(slot) {
                    extras.forget_session();
                }
                Some(Reason::Ended)
            }
        };
        let (timing, _) = self.tracker.timing_mut(slot);
        if let Some(reason) = reason.and_then(|reason| timing.stop(reason)) {
            self.decide(slot, now, reason);
        }
        self.update(now, slot);
    }

    fn handle_rejection(&mut self, now: Instant, slot: u32, rejection: Rejection) -> Option<Notice> {
        let until = now + self.policy.delivery.mute_for;
        match rejection {
            Rejection::Channel => {
                let channel = self.tracker.channels.extras_mut(self.tracker.entry(slot).channel);
                let news = channel.muted_until <= now && until > now;
                channel.muted_until = until;
                news.then_some(Notice::ChannelMuted)
            }
            Rejection::Conversation => {
                let extras = self.tracker.extras_mut(slot);
                extras.muted = true;
                extras.hold_until = extras.hold_until.max(until);
                Some(Notice::ConversationMuted)
            }
            Rejection::Request => {
                self.counts.malformed += 1;
                None
            }
            Rejection::Configuration => None,
        }
    }

    /// Runs the timers of one conversation that are due at `now`.
    fn advance(&mut self, now: Instant, slot: u32) {
        loop {
            let (timing, rules) = self.tracker.timing_mut(slot);
            let Some((at, reason)) = timing.step_late(rules, now) else { return };
            let lifespans = lifespans(&self.policy.delivery, rules);
            self.decide(slot, at, reason);
            self.tracker.extras_mut(slot).outbox.revive_stop(now, &lifespans);
        }
    }

    /// Applies changes to a conversation and runs its timers.
    fn bring_up_to(&mut self, now: Instant, slot: u32) {
        if self.follow(now, slot) {
            self.advance(now, slot);
            self.update(now, slot);
        }
    }

    fn decide(&mut self, slot: u32, at: Instant, reason: Reason) {
        self.last_decision += 1;
        let losses = self.tracker.extras_mut(slot).outbox.set_desired(reason, at, self.last_decision);
        if reason.indicator() == Indicator::TypingStarted {
            let [replaced, _] = losses;
            let shed = replaced.is_some_and(|loss| loss.reason.indicator() == Indicator::TypingStarted);
            self.counts.shed += u64::from(shed);
        }
        let (tracker, number) = (&self.tracker, self.last_decision);
        self.decisions.push(|| Decision { number, at, conversation: tracker.conversation(slot), reason });
        self.record_dropped(at, slot, losses);
    }

    fn record_dropped(&mut self, at: Instant, slot: u32, losses: Losses) {
        for Loss { number, reason, why } in losses.into_iter().flatten() {
            self.dropped.push(|| Dropped { number, at, conversation: self.tracker.conversation(slot), reason, why });
        }
    }

    fn count_dropped(&mut self, desired: Option<Reason>) {
        match desired.map(Reason::indicator) {
            Some(Indicator::TypingStarted) => self.counts.shed += 1,
            Some(Indicator::TypingStopped) => self.counts.stops_given_up += 1,
            None => {}
        }
    }
}
