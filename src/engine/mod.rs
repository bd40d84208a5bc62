//! Everything typingd knows about typing, order, retries and rate, in one pure value.
//!
//! [`Engine`] reads no clock, does no I/O, never awaits, logs nothing and can't fail. It names nothing but `std`, `model`
//! and the hash table. Time is an argument. Whoever drives it tells it what happened (`handle_*`), then asks it what to
//! do (`poll_*`):
//!
//! 1. after any `handle_*`, call [`Engine::poll_dispatch`] until it returns `None`, and send what it returned;
//! 2. hand each outcome back with [`Engine::handle_outcome`], exactly once;
//! 3. call [`Engine::handle_timeout`] when the instant of [`Engine::poll_timeout`] has come. Early, late and spurious
//!    calls are harmless.
//!
//! No call does more than some milliseconds' work: what is wide goes in slices, and [`Engine::poll_timeout`] asks for the
//! next one at once.

mod account;
mod changes;
mod credentials;
mod id;
mod index;
mod inquiry;
mod list;
mod observed;
pub mod order;
pub mod outbox;
mod owner;
mod pace;
pub mod policy;
mod receipt;
mod slab;
pub mod timing;
mod tracker;
mod wheel;

use std::time::Duration;

use crate::model::{
    ConversationRef, Decision, Dispatch, DispatchId, Indicator, Instant, Outcome, Reason, Refusal, Signal, SignalKind,
};
use changes::Changes;
use list::{Link, List};
use observed::Observed;
use outbox::{Lifespans, Losses, Urgency, Verdict};
use owner::Ownership;
use pace::Pace;
use policy::Policy;
use tracker::{Standing, Tracker};
use wheel::{Place, Wheel};

pub use account::{Census, Counts, Notice, Snapshot};
pub use inquiry::{Account, LOOKS_MAX, Page, PageQuery, Row, Stage};
pub use owner::Remains;
pub use receipt::{Taken, TurnedAway};

/// Channels that were muted and have no conversation are looked for this often.
const SWEEP_SPACING: Duration = Duration::from_secs(60);
/// Conversations whose timers run in one call of [`Engine::handle_timeout`]; the others have their turn in the next one.
const TIMERS_PER_CALL: usize = 512;
/// Conversations that turn out to have nothing to send any more in one call of [`Engine::poll_dispatch`].
const STALE_PER_CALL: usize = 512;
/// Without an explicit lifespan no Started leaves later than this, however long the check interval is.
const STARTED_LIFESPAN_MAX: Duration = Duration::from_secs(5);

/// The engine. See the module for the order of calls.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    tracker: Tracker,
    wheel: Wheel,
    lines: [List; Urgency::COUNT],
    queued: [usize; Urgency::COUNT],
    lingering: List,
    pace: Pace,
    changes: Changes,
    /// Numbers the decisions.
    numbers: u64,
    icons: usize,
    unsettled: usize,
    lingerers: usize,
    blocked: usize,
    counts: Counts,
    observed: Observed,
    ownership: Ownership,
    swept: Instant,
    /// There is memory to be given back.
    untidy: bool,
    stopping: bool,
}

impl Engine {
    /// `seed` keys the hash of the ids and spreads the retries: random in the daemon, fixed in a test.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        let pace = Pace::new(policy.delivery, seed);
        Self {
            policy,
            tracker: Tracker::new(seed),
            wheel: Wheel::new(),
            lines: [List::EMPTY; Urgency::COUNT],
            queued: [0; Urgency::COUNT],
            lingering: List::EMPTY,
            pace,
            changes: Changes::default(),
            numbers: 0,
            icons: 0,
            unsettled: 0,
            lingerers: 0,
            blocked: 0,
            counts: Counts::default(),
            observed: Observed::default(),
            ownership: Ownership::default(),
            swept: Instant::ORIGIN,
            untidy: false,
            stopping: false,
        }
    }

    /// A signal arrived at `now`.
    ///
    /// # Errors
    /// When it would need a new conversation and there is no room for one, or the engine is stopping.
    pub fn handle_signal(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
    ) -> Result<Taken, TurnedAway> {
        if self.stopping {
            self.counts.turned_away += 1;
            return Err(TurnedAway::Stopping);
        }
        let found = self.tracker.find(conversation);
        let Some(slot) = found.filter(|slot| self.follow(now, *slot)) else {
            return self.handle_newcomer(now, conversation, signal);
        };
        self.counts.signals[signal.kind as usize] += 1;
        if signal.kind == SignalKind::Keystroke {
            return Ok(self.handle_keystroke(now, slot, signal));
        }
        self.handle_word(now, slot, signal);
        Ok(Taken::Counts)
    }

    /// The upstream may still show an icon of the conversation that this process doesn't know of: it is owed a Stopped,
    /// unless the user is typing.
    pub fn handle_recovered(&mut self, now: Instant, conversation: ConversationRef<'_>) {
        let found = self.tracker.find(conversation).filter(|slot| self.follow(now, *slot));
        let slot = found.unwrap_or_else(|| {
            let rules = self.policy.rules_of(conversation.to());
            self.tracker.insert(conversation, self.changes.generation(), || rules)
        });
        self.advance(now, slot);
        let (state, _) = self.tracker.state_mut(slot);
        state.outbox.doubt();
        if !state.timing.icon() {
            self.decide(slot, now, Reason::Recovered);
        }
        self.settle(now, slot);
    }

    /// What came of the request in flight under `id`. An unknown or settled `id` is ignored. Returns what is news.
    pub fn handle_outcome(&mut self, now: Instant, id: DispatchId, outcome: Outcome) -> Option<Notice> {
        if !self.is_in_flight(id) {
            return None;
        }
        let was_shut = self.pace.is_shut();
        let rate = self.pace.rate();
        self.pace.settle(now, id.slot, &outcome);
        // The timers first: an outcome must not send a Started for somebody whose deadline has passed. What has a request
        // in flight stays in the table.
        self.follow(now, id.slot);
        self.advance(now, id.slot);
        let lifespans = self.lifespans(id.slot);
        let Self { tracker, pace, .. } = self;
        let (state, _) = tracker.state_mut(id.slot);
        let sent = state.outbox.in_flight();
        let (verdict, losses) = state.outbox.settle(now, &outcome, &lifespans, |attempt| pace.backoff(attempt));
        self.unblock_if_accepted_since(id.slot);
        self.note_losses(now, id.slot, losses);
        let mut notice = match (was_shut, self.pace.is_shut()) {
            (false, true) => Some(Notice::UpstreamFailing),
            (true, false) => Some(Notice::UpstreamBack),
            _ if self.pace.rate() < rate => Some(Notice::RateCut),
            _ => None,
        };
        match outcome {
            Outcome::Delivered => self.counts.delivered += 1,
            Outcome::Refused(refusal) => {
                self.counts.refused += 1;
                let stop = sent.is_some_and(|reason| reason.indicator() == Indicator::TypingStopped);
                self.counts.stops_given_up += u64::from(stop && verdict == Verdict::Dropped);
                notice = notice.or(self.handle_refusal(now, id.slot, refusal));
            }
            Outcome::NotSent(_) | Outcome::Unsure(_) => {
                if verdict == Verdict::Dropped {
                    self.count_dropped(sent);
                }
            }
        }
        self.settle(now, id.slot);
        notice
    }

    /// Runs what is due at `now`, and lets conversations follow what has changed, a slice of either at a time.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(slot) = self.wheel.pop(&mut self.tracker, now) else { break };
            self.tracker.entry_mut(slot).place = Place::NONE;
            if self.follow(now, slot) {
                self.advance(now, slot);
                self.settle(now, slot);
            }
        }
        self.follow_some(now);
        self.untidy = self.tracker.trim();
        if self.swept + SWEEP_SPACING <= now {
            self.swept = now;
            self.tracker.sweep_channels(now);
        }
    }

    /// The next request that may leave at `now`.
    #[must_use]
    pub fn poll_dispatch(&mut self, now: Instant) -> Option<Dispatch> {
        for _ in 0..STALE_PER_CALL {
            let slot = self.lines.iter().find_map(List::front)?;
            if self.pace.ready_at(now) > now {
                return None;
            }
            // Whoever stood in line while the driver was late may have fallen idle, been muted or expired meanwhile.
            let standing = self.tracker.entry(slot).standing;
            if self.follow(now, slot) {
                self.advance(now, slot);
                self.settle(now, slot);
            }
            if !self.tracker.holds(slot) || self.tracker.entry(slot).standing != standing {
                continue;
            }
            self.stand(slot, Standing::None);
            let acceptances = self.tracker.channel(slot).acceptances;
            let (state, _) = self.tracker.state_mut(slot);
            let Some(leaving) = state.outbox.leave() else { continue };
            state.acceptances_seen = acceptances;
            let credentials = state.credentials;
            self.pace.leave(now, slot);
            self.counts.sent += 1;
            self.counts.retried += u64::from(leaving.attempt > 0);
            self.settle(now, slot);
            return Some(Dispatch {
                id: DispatchId { slot, serial: leaving.number },
                conversation: self.tracker.conversation(slot),
                reason: leaving.reason,
                decided: leaving.decided,
                decision: leaving.number,
                attempt: leaving.attempt,
                credentials,
            });
        }
        None
    }

    /// When to call [`Engine::handle_timeout`] and [`Engine::poll_dispatch`] again, if nothing happens before;
    /// [`Instant::NEVER`]: not at all.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Instant {
        if self.changes.are_under_way() || self.untidy {
            return now;
        }
        let waiting = self.lines.iter().any(|line| !line.is_empty());
        let ready = if waiting { self.pace.ready_at(now) } else { Instant::NEVER };
        ready.min(self.wheel.next())
    }

    /// When the next timer of any conversation is due, whatever waits to be sent: for whoever asks for decisions alone
    /// and never calls [`Engine::poll_dispatch`].
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.wheel.next()
    }

    /// Whether nothing is typed, owed or in flight any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pace.in_flight() == 0 && self.unsettled == 0 && !self.changes.are_under_way()
    }

    /// Whether the upstream has failed so often in a row that only probes are sent.
    #[must_use]
    pub const fn is_upstream_failing(&self) -> bool {
        self.pace.is_shut()
    }

    /// Requests a second that may leave at present.
    #[must_use]
    pub const fn rate_in_force(&self) -> u32 {
        self.pace.rate()
    }

    /// What it was told last.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sizes of everything that could grow.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            conversations: self.tracker.len(),
            lingering: self.lingerers,
            channels: self.tracker.channels_len(),
            icons: self.icons,
            unsettled: self.unsettled,
            blocked: self.blocked,
            in_flight: self.pace.in_flight(),
            queued: self.queued,
            armed: self.wheel.armed(),
        }
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The earliest instant at which a Stopped of the conversation may leave, as far as is known at `now`: later while the
    /// upstream fails, asks for patience or refuses the channel. [`Instant::NEVER`]: not before another answer.
    pub fn stop_leaves_after(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Instant {
        let Some(slot) = self.tracker.find(conversation) else { return now };
        let muted_until = self.tracker.channel(slot).muted_until;
        let entry = self.tracker.entry(slot);
        if entry.standing == Standing::Blocked {
            return Instant::NEVER;
        }
        let outbox = &entry.state.outbox;
        // A Started under way is answered first, and that tells more.
        if outbox.in_flight().is_some_and(|reason| reason.indicator() == Indicator::TypingStarted) {
            return now.max(muted_until);
        }
        let retry = outbox.retry().unwrap_or(now);
        let pace = if outbox.in_flight().is_some() { now } else { self.pace.held_until(now) };
        now.max(muted_until).max(retry).max(pace)
    }

    fn is_in_flight(&self, id: DispatchId) -> bool {
        self.tracker.get(id.slot).is_some_and(|entry| {
            let outbox = &entry.state.outbox;
            outbox.in_flight().is_some() && outbox.flight_number() == id.serial
        })
    }

    fn handle_newcomer(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
    ) -> Result<Taken, TurnedAway> {
        let rules = self.policy.rules_of(conversation.to());
        let (remembered, needed) = match signal.kind {
            SignalKind::Keystroke => (!rules.require_open, true),
            // Losing the time of a message at worst shows an icon for a keystroke that came late.
            SignalKind::MessageSent => (rules.require_open || signal.at.is_some(), rules.require_open),
            SignalKind::Opened => (rules.require_open, true),
            SignalKind::Stopped | SignalKind::Ended => (false, false),
        };
        if remembered && !self.make_room(now) {
            if !needed {
                return Ok(Taken::Counts);
            }
            self.counts.turned_away += 1;
            return Err(TurnedAway::TableFull);
        }
        self.counts.signals[signal.kind as usize] += 1;
        if !remembered {
            let unopened = signal.kind == SignalKind::Keystroke;
            self.counts.unopened += u64::from(unopened);
            return Ok(if unopened { Taken::Unopened } else { Taken::Counts });
        }
        let slot = self.tracker.insert(conversation, self.changes.generation(), || rules);
        if signal.kind == SignalKind::Keystroke {
            return Ok(self.handle_keystroke(now, slot, signal));
        }
        self.handle_word(now, slot, signal);
        Ok(Taken::Counts)
    }

    /// Whether there is room for one more conversation; whoever only lingers makes room, the longest first.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.tracker.len() < self.policy.conversations_max {
            return true;
        }
        let Some(oldest) = self.lingering.front() else { return false };
        self.remove(oldest, now);
        true
    }

    fn handle_keystroke(&mut self, now: Instant, slot: u32, signal: Signal) -> Taken {
        let (state, rules) = self.tracker.state_mut(slot);
        if signal.at.is_some_and(|at| at < state.barrier) {
            self.counts.late += 1;
            return Taken::Late;
        }
        if rules.require_open && !state.opened {
            self.counts.unopened += 1;
            return Taken::Unopened;
        }
        let due = state.timing.due(rules);
        let fell_due = due <= now;
        if fell_due {
            self.advance(now, slot);
        }
        let (state, rules) = self.tracker.state_mut(slot);
        match state.timing.keystroke(rules, now, signal.typing_until(now)) {
            // The common keystroke, of somebody who is typing already, has moved one field and no timer. Only a key that
            // keeps a typing unbroken which was about to break can bring a deadline nearer: that of max_typing.
            None if !fell_due && state.timing.due(rules) >= due => return Taken::Counts,
            None => {}
            Some(reason) => self.decide(slot, now, reason),
        }
        self.settle(now, slot);
        Taken::Counts
    }

    /// Any signal but a keystroke.
    fn handle_word(&mut self, now: Instant, slot: u32, signal: Signal) {
        self.advance(now, slot);
        let (state, rules) = self.tracker.state_mut(slot);
        let reason = match signal.kind {
            SignalKind::Keystroke | SignalKind::Opened => None,
            SignalKind::MessageSent => Some(Reason::MessageSent),
            SignalKind::Stopped => Some(Reason::Stopped),
            SignalKind::Ended => Some(Reason::Ended),
        };
        match signal.kind {
            SignalKind::Keystroke | SignalKind::Stopped => {}
            SignalKind::Opened => state.opened = rules.require_open,
            SignalKind::MessageSent => {
                state.opened |= rules.require_open;
                if let Some(at) = signal.at {
                    state.barrier = state.barrier.max(at.saturating_add(1));
                    state.hold_until = state.hold_until.max(now + self.ownership.barrier_kept());
                }
            }
            SignalKind::Ended => {
                state.opened = false;
                state.barrier = 0;
                if !state.muted {
                    state.hold_until = Instant::ORIGIN;
                }
            }
        }
        if let Some(reason) = reason.and_then(|reason| state.timing.stop(reason)) {
            self.decide(slot, now, reason);
        }
        self.settle(now, slot);
    }

    fn handle_refusal(&mut self, now: Instant, slot: u32, refusal: Refusal) -> Option<Notice> {
        let until = now + self.policy.delivery.mute_for;
        match refusal {
            Refusal::Channel => {
                let channel = self.tracker.channel_mut(slot);
                let news = channel.muted_until <= now && until > now;
                channel.muted_until = until;
                news.then_some(Notice::ChannelMuted)
            }
            Refusal::Conversation => {
                let (state, _) = self.tracker.state_mut(slot);
                state.muted = true;
                state.hold_until = state.hold_until.max(until);
                Some(Notice::ConversationMuted)
            }
            Refusal::Request => {
                self.counts.malformed += 1;
                None
            }
            Refusal::Configuration => None,
        }
    }

    /// Runs the timers of one conversation that are due at `now`.
    fn advance(&mut self, now: Instant, slot: u32) {
        loop {
            let (state, rules) = self.tracker.state_mut(slot);
            let Some((at, reason)) = state.timing.step_late(rules, now) else { return };
            self.decide(slot, at, reason);
        }
    }

    fn decide(&mut self, slot: u32, at: Instant, reason: Reason) {
        self.numbers += 1;
        let (state, _) = self.tracker.state_mut(slot);
        let losses = state.outbox.wish_for(reason, at, self.numbers);
        match reason.indicator() {
            Indicator::TypingStarted => {
                self.counts.started += 1;
                let [replaced, _] = losses;
                let shed = replaced.is_some_and(|loss| loss.reason.indicator() == Indicator::TypingStarted);
                self.counts.shed += u64::from(shed);
            }
            Indicator::TypingStopped => self.counts.stopped += 1,
        }
        let Self { observed, tracker, numbers, .. } = self;
        observed.decided(|| Decision { number: *numbers, at, conversation: tracker.conversation(slot), reason });
        self.note_losses(at, slot, losses);
    }

    fn note_losses(&mut self, at: Instant, slot: u32, losses: Losses) {
        let Self { observed, tracker, .. } = self;
        for loss in losses.into_iter().flatten() {
            observed.dropped(at, loss, || tracker.conversation(slot));
        }
    }

    /// Brings everything around a conversation in line with its state: its place in line, its deadline, the counts;
    /// and forgets it when there is nothing left to remember.
    fn settle(&mut self, now: Instant, slot: u32) {
        let lifespans = self.lifespans(slot);
        let channel_muted = self.tracker.channel(slot).muted_until > now;
        let (state, rules) = self.tracker.state_mut(slot);
        state.muted &= state.hold_until > now;
        let (mut muted, mut expired) = (None, None);
        if state.outbox.in_flight().is_none() {
            if state.muted || channel_muted {
                muted = state.outbox.drop_started();
                self.counts.muted += u64::from(muted.is_some());
            }
            expired = state.outbox.expire(now, &lifespans);
        }
        let lit = state.timing.icon();
        let unsettled = !state.outbox.is_empty();
        if unsettled || !state.timing.is_idle() {
            state.retained_until = now + self.ownership.retained_for;
        }
        let hold_until = state.hold_until.max(state.retained_until);
        let ready = state.outbox.ready(now);
        let mut due = state.timing.due(rules).min(state.outbox.due(now, &lifespans));
        let standing = if let Some(urgency) = ready {
            Standing::Ready(urgency as u8)
        } else if state.outbox.is_blocked() {
            Standing::Blocked
        } else if unsettled || !state.timing.is_idle() {
            Standing::None
        } else if hold_until > now {
            due = due.min(hold_until);
            Standing::Lingering
        } else if state.opened && rules.require_open {
            Standing::Lingering
        } else {
            self.note(slot, lit, unsettled);
            self.note_losses(now, slot, [muted, expired]);
            self.count_dropped(expired.map(|loss| loss.reason));
            self.remove(slot, now);
            return;
        };
        self.note_losses(now, slot, [muted, expired]);
        self.count_dropped(expired.map(|loss| loss.reason));
        self.note(slot, lit, unsettled);
        self.stand(slot, standing);
        let place = self.tracker.entry(slot).place;
        let place = self.wheel.arm(&mut self.tracker, now, slot, place, due);
        self.tracker.entry_mut(slot).place = place;
    }

    fn note(&mut self, slot: u32, lit: bool, unsettled: bool) {
        let entry = self.tracker.entry_mut(slot);
        self.icons = self.icons + usize::from(lit) - usize::from(entry.lit);
        self.unsettled = self.unsettled + usize::from(unsettled) - usize::from(entry.unsettled);
        entry.lit = lit;
        entry.unsettled = unsettled;
    }

    /// Moves a conversation to another line; one that stands there already keeps its place.
    fn stand(&mut self, slot: u32, standing: Standing) {
        let old = self.tracker.entry(slot).standing;
        if old == standing {
            return;
        }
        match old {
            Standing::None => {}
            Standing::Ready(line) => {
                self.lines[usize::from(line)].remove(&mut self.tracker, Link::Line, slot);
                self.queued[usize::from(line)] -= 1;
            }
            Standing::Lingering => {
                self.lingering.remove(&mut self.tracker, Link::Line, slot);
                self.lingerers -= 1;
            }
            Standing::Blocked => self.leave_blocked(slot),
        }
        match standing {
            Standing::None => {}
            Standing::Ready(line) => {
                self.lines[usize::from(line)].push_back(&mut self.tracker, Link::Line, slot);
                self.queued[usize::from(line)] += 1;
            }
            Standing::Lingering => {
                self.lingering.push_back(&mut self.tracker, Link::Line, slot);
                self.lingerers += 1;
            }
            Standing::Blocked => self.join_blocked(slot),
        }
        self.tracker.entry_mut(slot).standing = standing;
    }

    fn remove(&mut self, slot: u32, now: Instant) {
        self.stand(slot, Standing::None);
        let place = self.tracker.entry(slot).place;
        self.wheel.disarm(&mut self.tracker, slot, place);
        self.tracker.entry_mut(slot).place = Place::NONE;
        self.ownership.released(|| self.tracker.conversation(slot));
        self.tracker.remove(slot, now);
    }

    fn lifespans(&self, slot: u32) -> Lifespans {
        let delivery = &self.policy.delivery;
        let check = self.tracker.channel(slot).rules.check_interval();
        Lifespans {
            started: delivery.started_lifespan.unwrap_or(check.min(STARTED_LIFESPAN_MAX)),
            stopped: delivery.stopped_lifespan,
        }
    }

    fn count_dropped(&mut self, wish: Option<Reason>) {
        match wish.map(Reason::indicator) {
            Some(Indicator::TypingStarted) => self.counts.shed += 1,
            Some(Indicator::TypingStopped) => self.counts.stops_given_up += 1,
            None => {}
        }
    }
}
