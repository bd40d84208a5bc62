//! This process as one node of several: its part of the fleet, and its way to the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::permit::{Lease, Permit, SleeplessClock};
use super::waiter::Tickets;
use crate::base::clock::Clock;
use crate::engine::Engine;
use crate::fleet::{Fleet, State};
use crate::model::{Conversation, CredentialId, Dispatch, Indicator};
use crate::observe::snapshot::StoreFigures;
use crate::store::{Link, LinkState, SharedText};

/// How long a node remembers a conversation after its last event: one owner serves whoever pauses for less. It is the
/// silence after which a message counts as given up.
const RETAINED_FOR: Duration = Duration::from_secs(30);

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
}

impl Node {
    /// The engine is told that its conversations have owners. `left_on` are icons that an earlier life of this process
    /// may have left on.
    pub fn new(mut fleet: Fleet, link: Link, clock: Clock, engine: &mut Engine, left_on: &[Conversation]) -> Self {
        engine.observe_released(RETAINED_FOR);
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

    pub(super) fn figures(&self) -> StoreFigures {
        let link = self.link.state();
        let LinkState { up, problem } = link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        StoreFigures {
            state: self.fleet.state(self.clock.now()),
            up,
            problem,
            members: self.fleet.members(),
            owned: self.fleet.len(),
            share: self.fleet.share(),
            counts: *self.fleet.counts(),
        }
    }

    /// Whether nothing in the store is this node's any more, or the store can't be told.
    pub(super) fn has_left(&self) -> bool {
        self.fleet.has_left() || self.fleet.state(self.clock.now()) != State::Tenured
    }
}
