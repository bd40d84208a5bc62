//! Several typingd for one org: who owns which conversation. One value that knows one node's part; the store that all
//! share is behind [`protocol::Command`]s and [`protocol::Reply`]s.
//!
//! Each conversation has at most one owner at a time. Its owner's engine has an entry for it, decides and sends; the
//! other nodes post signals to it. A node owns what it owns as long as its lease lasts; from then on another may take
//! it over.
//!
//! [`Fleet`] reads no clock, does no I/O, never awaits and logs nothing. Time is an argument, of a clock that goes on
//! while the machine sleeps. Its driver:
//!
//! 1. asks [`Fleet::handle_signal`] about each signal, and gives those that are [`Route::Here`] to the engine;
//! 2. after any `handle_*`, does what [`Fleet::poll_effect`] returns until it is `None`; then hands what the engine
//!    has released to [`Fleet::handle_released`];
//! 3. asks the engine for dispatches only while [`Fleet::may_send`], hands each to [`Fleet::handle_dispatch`], and
//!    sends what that returns; asks [`Fleet::may_depart`] once more where the bytes of a Started leave;
//! 4. after each outcome, calls [`Fleet::handle_outcome`];
//! 5. sends what [`Fleet::poll_request`] returns, and hands the reply to [`Fleet::handle_reply`], or calls
//!    [`Fleet::handle_silence`] where there is none in time or the connection broke. At most one request is under
//!    way. Calls [`Fleet::handle_store_refusal`] each time that the store says that it will not serve. Hands what it
//!    finds in its inbox ([`Fleet::me`]) to [`Fleet::handle_mail`];
//! 6. calls [`Fleet::handle_timeout`] when the instant of [`Fleet::poll_timeout`] has come.

mod agreement;
mod answers;
mod deadlines;
mod giving;
mod posted;
pub mod protocol;
mod queue;
mod requests;
mod share;
mod sweep;
mod tenure;

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap, HashSet};

use crate::model::{Conversation, ConversationRef, Dispatch, DispatchId, Indicator, Instant, Signal, SignalKind};
use agreement::Agreement;
use protocol::{Awaited, OwnerId, Request, Ticket};
use queue::{FRESH_MAX, Pending, Post, Queue, What};
use share::Share;
use sweep::Sweep;
use tenure::Tenure;

pub use share::Demand;
pub use tenure::{State, WhenUnreachable};

/// The settings of a node.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Icons of a node that dies are off a second after this.
    pub lease: Duration,
    /// What it does while the store is silent.
    pub when_unreachable: WhenUnreachable,
    /// The org's requests a second.
    pub limit: u32,
    /// No request is under way for longer, nor applied later.
    pub request_timeout: Duration,
    /// For how long an icon that was left on is owed a Stopped.
    pub recover_within: Duration,
    /// Credentials are shown by callers, channel by channel: icons of the dead are taken over only where some are known
    /// ([`Fleet::handle_accepted`]).
    pub needs_credentials: bool,
    /// What can wait, waits so long for what is asked beside it.
    pub gathers_for: Duration,
}

/// What is to be done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The engine takes it now.
    Here,
    /// The store is asked; perhaps the engine takes it later.
    Posted,
    /// It is dropped: the node is leaving, overloaded, or in the dark.
    Dropped,
}

/// What is to be done with the engine, or for it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The engine takes a signal. If its answer is awaited, [`Fleet::handle_answered`] once the icon is off, or it is
    /// sure that no one will know of that in time.
    Signal(Conversation, Signal, Option<Awaited>),
    /// [`Fleet::handle_released`] if the engine has no entry by now, [`Fleet::handle_outcome`] if its icon is off.
    Check(Conversation),
    /// `Engine::handle_recovered`: the upstream may show the icon because of another node.
    Recover(Conversation),
    /// `Engine::handle_lost`, and its answer to [`Fleet::handle_lost`].
    Lose(Conversation),
    /// `Engine::handle_lost`: another node has been given the conversation, and knows of its icon. Of the answer only
    /// whether a request is in flight goes to [`Fleet::handle_lost`].
    Yield(Conversation),
    /// The answer to the ticket of that number, one of this node's own: whether the Stopped was acknowledged.
    Answer(u32, bool),
    /// A dispatch leaves that [`Fleet::handle_dispatch`] has kept back.
    Send(Dispatch),
    /// `Engine::handle_withheld`: a dispatch does not leave.
    Withhold(DispatchId),
    /// `Engine::handle_share`.
    Share(u32),
}

/// What has happened so far. All of them only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signals that went to another owner.
    pub posted: u64,
    /// Signals of other nodes that were taken.
    pub received: u64,
    /// Keystrokes that were too old when they could have counted.
    pub stale: u64,
    /// Signals that were dropped otherwise.
    pub dropped: u64,
    /// Conversations taken over from a lapsed owner with a signal in hand.
    pub taken: u64,
    /// Conversations taken over from a lapsed owner in which no one was typing.
    pub reaped: u64,
    /// Conversations lost to another owner.
    pub lost: u64,
    /// Strays posted.
    pub strays: u64,
    /// Starteds that were kept back until the store knew of them, or for good.
    pub withheld: u64,
}

/// What this node owns.
#[derive(Debug, Default)]
struct Holding {
    /// The owner as which the store has it; `None` if the store does not know of it.
    owner: Option<OwnerId>,
    /// The store knows that the icon may be on, or will know with the next claim.
    on: bool,
    strays: u32,
    /// The node that last posted a signal of it.
    poster: Option<OwnerId>,
    /// The last request could not leave for want of credentials that the upstream accepts.
    refused: bool,
    /// Then the upstream may show the icon all the same.
    left_on: bool,
    /// The last signal was a keystroke.
    typing: bool,
    /// When the last keystroke was taken.
    last_key: Instant,
    /// A Started that waits until the store knows of it.
    waiting: Option<Dispatch>,
    /// Until then a request of another node may still switch the icon on.
    suspect_until: Instant,
    /// That the typing was ended waits to be told to the store.
    end_waits: bool,
    /// What ended the typing while the node was not sure that it owns the conversation, and when: another owner would
    /// have to be told.
    untold: Option<(Signal, Instant)>,
}

/// The request under way.
#[derive(Debug)]
struct UnderWay {
    number: u64,
    sent: Instant,
    what: Asked,
}

#[derive(Debug)]
enum Asked {
    Heartbeat,
    Turn(Vec<Pending>),
    /// Any other.
    Other,
}

/// One node's part. See the module for the order of calls.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    tenure: Tenure,
    share: Share,
    agreement: Agreement,
    sweep: Sweep,
    holdings: HashMap<Conversation, Holding, FixedState>,
    /// Lost with a request in flight.
    lost_in_flight: HashSet<Conversation, FixedState>,
    /// Refused, and no node is known that could be given them.
    refused: HashSet<Conversation, FixedState>,
    queue: Queue,
    /// The last keystroke that was posted of each conversation that another owns, while it says that the user is typing.
    posted: HashMap<Conversation, Post, FixedState>,
    /// What is still to be claimed.
    claims: VecDeque<Conversation>,
    /// Everything is to be claimed after the next heartbeat: an answer was lost.
    reclaims: bool,
    /// When the Starteds that wait are given up, in that order.
    waits: VecDeque<(Instant, Conversation)>,
    /// When those that were taken over are owed another Stopped, in that order.
    suspects: VecDeque<(Instant, Conversation)>,
    under_way: Option<UnderWay>,
    requests: u64,
    next_heartbeat: Instant,
    last_heartbeat: Instant,
    /// Since when there is only what can wait.
    gathers_since: Option<Instant>,
    /// The sweep has its turn before the queue has its next.
    sweeps_next: bool,
    /// Nothing else was asked since.
    heartbeat_was_last: bool,
    /// What the store's clock said, and a moment not later than that.
    store_clock: Option<(u64, Instant)>,
    leaving: bool,
    /// A node that leaves sends nothing after that.
    sends_until: Option<Instant>,
    left: bool,
    effects: VecDeque<Effect>,
    /// Taken with a signal that the engine may not remember: to be looked at once all have been delivered.
    checks: Vec<Conversation>,
    counts: Counts,
}

impl Equivalent<Conversation> for ConversationRef<'_> {
    fn equivalent(&self, key: &Conversation) -> bool {
        *self == key.as_ref()
    }
}

impl Fleet {
    /// `me` is random, and `seed` keys the hash of the ids.
    pub fn new(settings: Settings, me: OwnerId, seed: u64) -> Self {
        let share = Share::new(settings.limit);
        Self {
            settings,
            tenure: Tenure::new(me, settings.lease, settings.when_unreachable),
            effects: VecDeque::from([Effect::Share(share.in_force())]),
            share,
            agreement: Agreement::default(),
            sweep: Sweep::new(settings.recover_within, settings.needs_credentials),
            holdings: HashMap::with_hasher(FixedState::with_seed(seed)),
            lost_in_flight: HashSet::with_hasher(FixedState::with_seed(seed)),
            refused: HashSet::with_hasher(FixedState::with_seed(seed)),
            queue: Queue::default(),
            posted: HashMap::with_hasher(FixedState::with_seed(seed)),
            claims: VecDeque::new(),
            reclaims: false,
            waits: VecDeque::new(),
            suspects: VecDeque::new(),
            under_way: None,
            requests: 0,
            next_heartbeat: Instant::ORIGIN,
            last_heartbeat: Instant::ORIGIN,
            gathers_since: None,
            sweeps_next: false,
            heartbeat_was_last: false,
            store_clock: None,
            leaving: false,
            sends_until: None,
            left: false,
            checks: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// A signal has reached this node. A keystroke says for `dismiss_after` that the user is typing. With a `ticket` and
    /// [`Route::Posted`] an [`Effect::Answer`] or an awaited [`Effect::Signal`] follows, unless all who know of it go
    /// silent.
    pub fn handle_signal(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
        dismiss_after: Duration,
        ticket: Option<Ticket>,
    ) -> Route {
        self.look(now);
        let sure = self.tenure.state(now) == State::Tenured;
        if let Some(holding) = self.holdings.get_mut(&conversation) {
            if signal.kind == SignalKind::Keystroke || signal.kind.ends_typing() {
                holding.untold = (!sure && signal.kind.ends_typing()).then_some((signal, now));
            }
            // What waits has not left: it need not be followed by a Stopped.
            if signal.kind != SignalKind::Keystroke
                && let Some(dispatch) = holding.waiting.take()
            {
                self.effects.push_back(Effect::Withhold(dispatch.id));
            }
            if signal.kind.ends_typing() {
                self.end(conversation);
            }
            self.note_signal(now, conversation, signal.kind);
            return Route::Here;
        }
        let alone = self.tenure.state(now) == State::Alone;
        if alone && !self.leaving {
            let untold = signal.kind.ends_typing().then_some((signal, now));
            self.holdings.insert(conversation.to_owned(), Holding { untold, ..Holding::default() });
            self.effects.push_back(Effect::Check(conversation.to_owned()));
            return Route::Here;
        }
        // A node that leaves still passes on what ends the typing. What it is granted with that, it gives up at once.
        let leaves = self.left || (self.leaving && (alone || signal.kind == SignalKind::Keystroke));
        let dark = self.tenure.state(now) == State::Dark;
        if leaves || (dark && !signal.kind.ends_typing()) || !self.queue.has_room() {
            self.counts.dropped += 1;
            return Route::Dropped;
        }
        // Its owner is told once the store answers; who waits is told now.
        let ticket = if dark { self.answer_no(ticket) } else { ticket };
        let counts_until = signal.typing_until(now) + dismiss_after;
        self.queue.push(conversation.to_owned(), What::Post(Post { counts_until, ..Post::new(signal, now, ticket) }));
        Route::Posted
    }

    /// Whether another node may show the icon although this one's engine knows of none: it serves the conversation without
    /// having asked the store whose it is. Alone it does so with each, also with those that it forgets at once.
    pub fn is_unsure_of(&self, now: Instant, conversation: ConversationRef<'_>) -> bool {
        match self.tenure.state(now) {
            State::Tenured => false,
            State::Alone => true,
            State::InDoubt | State::Dark => self.holds(conversation),
        }
    }

    /// Whether another node may switch the icon on again after this one's Stopped was acknowledged: the store does not say
    /// who owns what, and this node was not the only one when it last did.
    pub fn may_come_on_again(&self, now: Instant) -> bool {
        self.tenure.state(now) != State::Tenured && self.members() != 1
    }

    /// Who waits with a ticket of this node is told that it is not known when the icon will be off.
    fn answer_no(&mut self, ticket: Option<Ticket>) -> Option<Ticket> {
        self.effects.extend(ticket.map(|ticket| Effect::Answer(ticket.number, false)));
        None
    }

    /// What is awaited has come, or will not: whether the Stopped was acknowledged.
    pub fn handle_answered(&mut self, conversation: ConversationRef<'_>, awaited: Awaited, acknowledged: bool) {
        if self.is_self(awaited.by) {
            self.effects.push_back(Effect::Answer(awaited.ticket.number, acknowledged));
        } else {
            self.queue.push(conversation.to_owned(), What::Answer { awaited, acknowledged, again: false });
        }
    }

    /// The configuration has another limit of requests a second.
    pub fn handle_limit(&mut self, now: Instant, limit: u32) {
        self.settings.limit = limit;
        let alone = matches!(self.tenure.state(now), State::Alone | State::Dark);
        self.share.set_limit(limit, alone);
        self.effects.push_back(Effect::Share(self.share.in_force()));
    }

    /// Mail may have been lost on its way. What it said of icons is found in the store.
    pub fn handle_mail_lost(&mut self) {
        self.sweep.want();
    }

    /// The store has said for certain that it will not serve this node: waiting for it is in vain. [`Fleet::handle_silence`]
    /// follows for a request that is under way.
    pub fn handle_store_refusal(&mut self, now: Instant) {
        self.tenure.refuse(now);
    }

    /// The engine has forgotten a conversation.
    pub fn handle_released(&mut self, now: Instant, conversation: ConversationRef<'_>) {
        // What is under suspicion is owed another Stopped.
        if self.holdings.get(&conversation).is_some_and(|holding| holding.suspect_until <= now) {
            self.release(conversation);
        }
    }

    /// The engine lets a request go. Returns it if it may leave at once; a Started may have to wait until the store
    /// knows of it.
    #[must_use]
    pub fn handle_dispatch(&mut self, now: Instant, dispatch: Dispatch) -> Option<Dispatch> {
        if dispatch.indicator() == Indicator::TypingStopped {
            return Some(dispatch);
        }
        let state = self.tenure.state(now);
        match self.holdings.get_mut(&dispatch.conversation) {
            Some(holding) if state == State::Alone || (state == State::Tenured && holding.on) => {
                holding.on = true;
                return Some(dispatch);
            }
            Some(holding) if state == State::Tenured => {
                self.queue.push(dispatch.conversation.clone(), What::Light);
                self.waits.push_back((now + FRESH_MAX, dispatch.conversation.clone()));
                holding.waiting = Some(dispatch);
            }
            _ => self.effects.push_back(Effect::Withhold(dispatch.id)),
        }
        self.counts.withheld += 1;
        None
    }

    /// A request of the conversation has come to its end. `is_off`: the engine knows that the upstream shows no icon,
    /// and nothing is on its way to change that.
    pub fn handle_outcome(&mut self, now: Instant, conversation: ConversationRef<'_>, is_off: bool) {
        let was_lost = self.lost_in_flight.remove(&conversation);
        let Some(holding) = self.holdings.get_mut(&conversation) else {
            if was_lost {
                self.effects.push_back(Effect::Lose(conversation.to_owned()));
            }
            return;
        };
        holding.refused = false;
        if !is_off || now < holding.suspect_until {
            return;
        }
        let was_on = std::mem::replace(&mut holding.on, false);
        if self.leaving {
            self.release(conversation);
        } else if was_on && self.tenure.is_member() {
            self.queue.push(conversation.to_owned(), What::Dim);
        }
    }

    /// What [`Effect::Lose`] has left: whether the upstream may show an icon because of this node, and whether a
    /// request is in flight.
    pub fn handle_lost(&mut self, conversation: ConversationRef<'_>, maybe_on: bool, in_flight: bool) {
        if maybe_on {
            self.handle_left_on(conversation);
        }
        if in_flight {
            self.lost_in_flight.insert(conversation.to_owned());
        }
    }

    /// The upstream may show an icon that this node, or an earlier life of it, has left on. The conversation's
    /// owner is notified.
    pub fn handle_left_on(&mut self, conversation: ConversationRef<'_>) {
        self.counts.strays += 1;
        self.queue.push(conversation.to_owned(), What::Stray { hops: 0 });
    }

    /// The node leaves: it owns nothing new, and gives up what is off. Call [`Fleet::handle_stopped`] once the engine lets
    /// no Started go any more, and drive it on until [`Fleet::has_left`], or until the time is over: then its lease runs
    /// out. It sends nothing after `until`.
    pub fn handle_leaving(&mut self, until: Instant) {
        self.leaving = true;
        self.sends_until = (until != Instant::NEVER).then_some(until);
        let waiting = self.holdings.values_mut().filter_map(|holding| holding.waiting.take());
        self.effects.extend(waiting.map(|dispatch| Effect::Withhold(dispatch.id)));
        let off = self.holdings.iter().filter(|(_, holding)| !holding.on);
        let off: Vec<_> = off.map(|(conversation, _)| conversation.clone()).collect();
        for conversation in off {
            self.release(conversation.as_ref());
        }
    }

    /// No Started leaves any more: what was to be shown, and never has been, is given up too.
    pub fn handle_stopped(&mut self) {
        self.effects.extend(self.holdings.keys().cloned().map(Effect::Check));
    }

    /// Whether nothing in the store is this node's any more.
    pub const fn has_left(&self) -> bool {
        self.left
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look(now);
    }

    /// The next request to the store, if none is under way.
    pub fn poll_request(&mut self, now: Instant, demand: Demand) -> Option<Request> {
        self.look(now);
        if self.under_way.is_some() || self.left {
            return None;
        }
        let (command, what) = self.next_command(now, demand)?;
        self.requests += 1;
        self.under_way = Some(UnderWay { number: self.requests, sent: now, what });
        Some(Request { number: self.requests, me: self.tenure.me(), command })
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Fleet::handle_timeout`] and [`Fleet::poll_request`] again, if nothing happens before.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let mut due = self.tenure.next_look(now).min(self.share.next_look());
        for first in [self.waits.front(), self.suspects.front()].into_iter().flatten() {
            due = due.min(first.0);
        }
        if self.under_way.is_none() && !self.left {
            due = due.min(self.next_heartbeat);
            if self.tenure.is_member() {
                due = due.min(self.sweep.due());
                if self.gathers() {
                    due = due.min(self.gathers_since.map_or(now, |since| since + self.settings.gathers_for));
                } else if !self.queue.is_empty() || !self.claims.is_empty() {
                    due = now;
                }
            }
        }
        due
    }

    /// What the node may do.
    pub fn state(&self, now: Instant) -> State {
        self.tenure.state(now)
    }

    /// Whether the engine may be asked for dispatches. In doubt nothing leaves.
    pub fn may_send(&self, now: Instant) -> bool {
        self.tenure.state(now) != State::InDoubt
    }

    /// The number of the tenure, to be kept with each Started until it departs.
    pub const fn tenure(&self) -> u32 {
        self.tenure.number()
    }

    /// Whether a Started that was dispatched under the tenure of that number may leave now: the last look, where the
    /// bytes leave. If not, call `Engine::handle_withheld`.
    pub fn may_depart(&self, now: Instant, tenure: u32) -> bool {
        tenure == self.tenure.number() && matches!(self.tenure.state(now), State::Tenured | State::Alone)
    }

    /// Until when [`Fleet::may_depart`] is true for what is dispatched now, if nothing else happens: for those who can't
    /// ask.
    pub fn departs_until(&self) -> Instant {
        self.tenure.departs_until()
    }

    /// The owner as which this node acts.
    pub const fn me(&self) -> OwnerId {
        self.tenure.me()
    }

    /// Whether this node owns the conversation, as far as it knows.
    pub fn holds(&self, conversation: ConversationRef<'_>) -> bool {
        self.holdings.contains_key(&conversation)
    }

    /// Whether `owner` is this process, now or in an earlier tenure.
    pub fn is_self(&self, owner: OwnerId) -> bool {
        owner.is_same_process(self.tenure.me())
    }

    /// How many conversations this node owns.
    pub fn len(&self) -> usize {
        self.holdings.len()
    }

    /// Whether this node owns none.
    pub fn is_empty(&self) -> bool {
        self.holdings.is_empty()
    }

    /// The requests a second that this node keeps to.
    pub const fn share(&self) -> u32 {
        self.share.in_force()
    }

    /// How many nodes were alive, this one included, when the store said so last.
    pub fn members(&self) -> usize {
        self.sweep.members().len()
    }

    /// How long ago the heartbeat was sent that the store answered last; `None` if it never has.
    pub fn answered(&self, now: Instant) -> Option<Duration> {
        self.store_clock.map(|(_, sent)| now.since(sent))
    }

    /// What has happened so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Gives a conversation up that is off.
    fn release(&mut self, conversation: ConversationRef<'_>) {
        let Some(holding) = self.holdings.remove(&conversation) else { return };
        if let Some((signal, arrived)) = holding.untold.filter(|_| self.queue.has_room()) {
            self.queue.push(conversation.to_owned(), What::Post(Post::new(signal, arrived, None)));
        }
        if let Some(seen) = holding.owner {
            let what = What::Release { seen, strays: holding.strays };
            self.queue.push(conversation.to_owned(), what);
        }
    }
}
