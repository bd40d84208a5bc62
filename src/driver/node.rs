//! This process as one node of several: its part of the fleet, and its way to the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

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
    /// It leaves, and gives up whatever is off.
    pub(super) gives_up_all: bool,
    logged: Logged,
}

/// What the log has said of the node.
#[derive(Debug)]
struct Logged {
    state: State,
    /// The dead of which something may be left, and what had been taken over before the first of them.
    lapsed: usize,
    taken: u64,
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
            gives_up_all: false,
            logged: Logged { state: State::InDoubt, lapsed: 0, taken: 0 },
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
        let (state, lapsed, members) = (self.fleet.state(self.clock.now()), self.fleet.lapsed(), self.fleet.members());
        let before = std::mem::replace(&mut self.logged.state, state);
        if state != before {
            match state {
                State::Tenured => info!(members, "this typingd shares the org by the store"),
                State::InDoubt if before == State::Tenured => {
                    info!("the lease was not renewed in time: nothing is sent for now");
                }
                State::InDoubt => info!("what this typingd owns is claimed again"),
                State::Alone => warn!("without a store: this typingd serves alone"),
                State::Dark => warn!("without a store: this typingd shows no icon"),
            }
        }
        let taken = self.fleet.counts().taken + self.fleet.counts().reaped;
        if lapsed > self.logged.lapsed {
            if self.logged.lapsed == 0 {
                self.logged.taken = taken;
            }
            info!(members, "another typingd has died, or is cut off from the store");
        } else if lapsed == 0 && self.logged.lapsed > 0 {
            info!(icons = taken - self.logged.taken, "what it owned is taken over");
        }
        self.logged.lapsed = lapsed;
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
