//! This process as one node of several: its part of the fleet, and its way to the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use tracing::{info, warn};

use super::permit::{Lease, Permit, SleeplessClock};
use super::waiter::Tickets;
use crate::base::clock::Clock;
use crate::engine::Engine;
use crate::engine::policy::Policy;
use crate::fleet::protocol::{Differences, OwnerId};
use crate::fleet::{Fleet, State};
use crate::model::{Conversation, CredentialId, Dispatch, Indicator, Instant};
use crate::observe::snapshot::StoreFigures;
use crate::store::{Link, LinkState, SharedText};

/// How long a node remembers a conversation after its last event: one owner serves whoever pauses for less. It is the
/// silence after which a message counts as given up.
const RETAINED_FOR: Duration = Duration::from_secs(30);

/// After the store was away all that reach it have joined anew by then: the time-out of a request, the longest wait before a
/// new connection, a heartbeat.
const OTHERS_JOIN_WITHIN: Duration = Duration::from_millis(2_500);

/// A node: its part of the fleet, and its connection to the store.
#[derive(Debug)]
pub struct Node {
    pub(super) fleet: Fleet,
    pub(super) link: Link,
    pub(super) clock: SleeplessClock,
    pub(super) lease: Arc<Lease>,
    /// Requests that leave with this turn.
    pub(super) leaving: VecDeque<(Dispatch, Permit)>,
    /// What was shown with signals that wait for the store's answer.
    pub(super) credentials: HashMap<Conversation, CredentialId>,
    pub(super) tickets: Tickets,
    /// It leaves, and gives up whatever is off.
    pub(super) gives_up_all: bool,
    logged: Logged,
}

/// What the log has said of the node.
#[derive(Debug)]
struct Logged {
    state: State,
    /// What others have otherwise.
    differs: Differences,
    /// Until then others may still be joining anew.
    settles_at: Instant,
    /// Owners that have lapsed, before it is said that they have died.
    missing: BTreeSet<OwnerId>,
    /// The dead of which something may be left, and what had been taken over before the first of them.
    dead: BTreeSet<OwnerId>,
    taken: u64,
}

impl Node {
    /// The engine is told that its conversations have owners. `left_on` are icons that an earlier life of this process
    /// may have left on.
    pub fn new(mut fleet: Fleet, link: Link, clock: Clock, engine: &mut Engine, left_on: &[Conversation]) -> Self {
        engine.observe_released(RETAINED_FOR);
        fleet.handle_timing(digest(engine.policy()));
        for conversation in left_on {
            fleet.handle_left_on(conversation.as_ref());
        }
        let clock = SleeplessClock::new(clock);
        let lease = Arc::new(Lease::new(clock));
        Self {
            fleet,
            link,
            clock,
            lease,
            leaving: VecDeque::new(),
            credentials: HashMap::new(),
            tickets: Tickets::default(),
            gives_up_all: false,
            logged: Logged {
                state: State::InDoubt,
                differs: Differences::default(),
                settles_at: Instant::ORIGIN,
                missing: BTreeSet::new(),
                dead: BTreeSet::new(),
                taken: 0,
            },
        }
    }

    /// A handle to the changes of the timing that hold for all nodes.
    pub(crate) fn shared_timing(&self) -> SharedText {
        self.link.shared_timing()
    }

    pub(super) fn permit(&self, dispatch: &Dispatch) -> Permit {
        match dispatch.indicator() {
            Indicator::TypingStarted => Permit::new(&self.lease, self.fleet.tenure()),
            // An icon that goes off does so whoever owns it.
            Indicator::TypingStopped => Permit::default(),
        }
    }

    /// Logs what has changed of the node, and which others have died.
    pub(super) fn log_changes(&mut self) {
        let now = self.clock.now();
        let (state, members) = (self.fleet.state(now), self.fleet.members());
        let before = std::mem::replace(&mut self.logged.state, state);
        if state != before {
            match state {
                State::Tenured => {
                    self.logged.settles_at = now + OTHERS_JOIN_WITHIN;
                    info!(members, "this typingd shares the org by the store");
                }
                State::InDoubt if before == State::Tenured => {
                    info!("the lease was not renewed in time: nothing is sent for now");
                }
                State::InDoubt => info!("what this typingd owns is claimed again"),
                State::Alone => warn!("without a store: this typingd serves alone"),
                State::Dark => warn!("without a store: this typingd switches no icon on"),
            }
        }
        if state == State::Tenured {
            self.log_deaths(now, members);
            let differs = self.fleet.differences(now);
            let before = std::mem::replace(&mut self.logged.differs, differs);
            if (differs.lease && !before.lease) || (differs.timing && !before.timing) {
                let keys = differs.names().join(" and ");
                warn!(keys, "another typingd that shares the org has other settings; expected the same for all");
            }
        }
    }

    /// Logs which others have died. After trouble with the store all of them lapse, and join anew.
    fn log_deaths(&mut self, now: Instant, members: usize) {
        let Self { fleet, logged, .. } = self;
        let taken = fleet.counts().taken + fleet.counts().reaped;
        if logged.missing.is_empty() && logged.dead.is_empty() {
            logged.taken = taken;
        }
        logged.missing.extend(fleet.lapsed().filter(|owner| !logged.dead.contains(owner) && !fleet.is_self(*owner)));
        if now < logged.settles_at {
            return;
        }
        let before = logged.dead.len();
        let missing = std::mem::take(&mut logged.missing);
        logged.dead.extend(missing.into_iter().filter(|owner| !fleet.is_alive(*owner)));
        if logged.dead.len() > before {
            info!(members, "another typingd has died, or is cut off from the store");
        }
        if !logged.dead.is_empty() && !fleet.lapsed().any(|owner| logged.dead.contains(&owner)) {
            info!(icons = taken - logged.taken, "what it owned is taken over");
            logged.dead.clear();
        }
    }

    pub(super) fn figures(&self) -> StoreFigures {
        let link = self.link.state();
        let LinkState { up, problem } = link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        StoreFigures {
            state: self.fleet.state(self.clock.now()),
            up,
            problem,
            node: self.fleet.me(),
            group: self.link.group().to_owned(),
            members: self.fleet.members(),
            answered: self.fleet.answered(self.clock.now()),
            owned: self.fleet.len(),
            share: self.fleet.share(),
            differs: self.fleet.differences(self.clock.now()),
            counts: *self.fleet.counts(),
        }
    }

    /// Whether nothing in the store is this node's any more, or the store can't be told.
    pub(super) fn has_left(&self) -> bool {
        match self.fleet.state(self.clock.now()) {
            State::Tenured => self.fleet.has_left(),
            // Under load an answer may come late.
            State::InDoubt => self.fleet.has_left() || !self.is_up(),
            State::Alone | State::Dark => true,
        }
    }

    fn is_up(&self) -> bool {
        self.link.state().lock().unwrap_or_else(PoisonError::into_inner).up
    }
}

/// Tells whether the timing is the same, channel by channel.
pub(super) fn digest(policy: &Policy) -> u32 {
    let channels: BTreeMap<_, _> = policy.channels.iter().map(|(to, rules)| (to.as_str(), rules)).collect();
    let hash = FixedState::with_seed(0).hash_one((policy.rules, channels));
    u32::try_from(hash >> 32).unwrap_or_default()
}
