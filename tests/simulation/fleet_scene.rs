//! A small scene: a few nodes, one store, one conversation or some, each step chosen by the test. Nothing happens by
//! itself.

use std::time::Duration;

use typingd::engine::policy::Policy;
use typingd::fleet::protocol::{Command, Reply, Request, Status};
use typingd::fleet::{Settings, State, WhenUnreachable};
use typingd::model::{Cause, Dispatch, Indicator, Instant, Outcome, Signal, SignalKind, Transient};

use crate::fleet_climate::{pair, settings};
use crate::fleet_node::Node;
use crate::fleet_store::Store;

/// A request to the upstream.
pub(crate) struct Flight {
    pub(crate) host: usize,
    pub(crate) life: u64,
    pub(crate) dispatch: Dispatch,
    /// It hangs, and is applied at this time. From then on its node may hear that there is no answer.
    pub(crate) late: Option<Instant>,
    applied: bool,
}

pub(crate) struct Host {
    pub(crate) node: Node,
    life: u64,
    /// How far its clock is behind.
    lag: Duration,
    /// When its lease ends in the store.
    lease_until: Instant,
    /// Its clock has stood still, and the store has not told it that it has lapsed.
    pub(crate) fooled: bool,
}

pub(crate) struct Scene {
    pub(crate) now: Instant,
    pub(crate) store: Store,
    /// What the store's clock is ahead, in milliseconds.
    pub(crate) step_millis: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) shown: bool,
    /// What is let go waits for a connection.
    pub(crate) congested: bool,
    departing: Vec<(usize, Dispatch, u32)>,
    /// What has reached the upstream.
    pub(crate) applied: Vec<Indicator>,
    lives: u64,
    settings: Settings,
}

impl Scene {
    /// So many nodes that have joined.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, |_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(nodes: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(2_000, WhenUnreachable::Alone);
        change(&mut settings);
        let mut scene = Self {
            settings,
            now: Instant::from_millis(1_000_000),
            store: Store::default(),
            step_millis: 1_000_000_000,
            hosts: Vec::new(),
            flights: Vec::new(),
            shown: false,
            congested: false,
            departing: Vec::new(),
            applied: Vec::new(),
            lives: 0,
        };
        for _ in 0..nodes {
            let host = scene.born(Duration::ZERO);
            scene.hosts.push(host);
        }
        for _ in 0..2 {
            for host in 0..nodes {
                scene.talk(host);
            }
            scene.pass(300);
        }
        scene
    }

    pub(crate) fn signal(&mut self, host: usize, kind: SignalKind) {
        self.signal_of(host, "user", kind);
    }

    pub(crate) fn signal_of(&mut self, host: usize, from: &str, kind: SignalKind) {
        let now = self.local(host);
        self.hosts[host].node.signal(now, pair(from), Signal::new(kind));
        self.look(host);
    }

    /// A keystroke whose typing goes on for so long.
    pub(crate) fn key_that_lasts(&mut self, host: usize, lasts_millis: u16) {
        self.give(host, Signal { lasts_millis, ..Signal::new(SignalKind::Keystroke) });
    }

    /// A signal of the user, whatever it says.
    pub(crate) fn give(&mut self, host: usize, signal: Signal) {
        let now = self.local(host);
        self.hosts[host].node.signal(now, pair("user"), signal);
        self.look(host);
    }

    /// A message whose Stopped a caller waits for, with a ticket of that number.
    pub(crate) fn awaited_message(&mut self, host: usize, number: u32) {
        let now = self.local(host);
        self.hosts[host].node.signal_with(now, pair("user"), Signal::new(SignalKind::MessageSent), Some(number));
        self.look(host);
    }

    /// The oldest request can't leave: its node knows no credentials that are accepted.
    pub(crate) fn refuse(&mut self) {
        let Flight { host, dispatch, .. } = self.flights.remove(0);
        let now = self.local(host);
        let transient = Transient { cause: Cause::NoCredentials, retry_after: None };
        self.hosts[host].node.outcome(now, &dispatch, Outcome::NotSent(transient));
        self.look(host);
    }

    /// One request to the store and its answer. Returns whether there was one.
    pub(crate) fn ask(&mut self, host: usize) -> bool {
        self.ask_slowly(host, 0)
    }

    /// One request whose answer takes so long.
    pub(crate) fn ask_slowly(&mut self, host: usize, millis: u64) -> bool {
        self.ask_while(host, |scene, _| {
            if millis > 0 {
                scene.pass(millis);
            }
        })
    }

    /// One request; `meanwhile` happens between its execution and the answer.
    pub(crate) fn ask_while(&mut self, host: usize, meanwhile: impl FnOnce(&mut Self, &Command)) -> bool {
        let Some((request, reply)) = self.execute(host) else { return false };
        meanwhile(self, &request.command);
        let now = self.local(host);
        if let Reply::Heartbeat(_) = reply {
            self.hosts[host].fooled = false;
        }
        self.hosts[host].node.reply(now, request.number, reply);
        self.look(host);
        true
    }

    /// One request to the store whose answer is lost, and waited for.
    pub(crate) fn ask_in_vain(&mut self, host: usize) {
        if self.execute(host).is_some() {
            self.pass(1_500);
            self.silence(host);
        }
    }

    /// The store says that it will not serve a node.
    pub(crate) fn refuse_store(&mut self, host: usize) {
        let now = self.local(host);
        self.hosts[host].node.fleet.handle_store_refusal(now);
        self.timeout(host);
    }

    pub(crate) fn silence(&mut self, host: usize) {
        let now = self.local(host);
        self.hosts[host].node.silence(now);
        self.look(host);
    }

    /// The node reads its mail, and asks the store until there is nothing more to ask.
    pub(crate) fn talk(&mut self, host: usize) {
        for _ in 0..200 {
            let mail = self.store.read_inbox(self.hosts[host].node.fleet.me());
            let read = !mail.is_empty();
            if read {
                let now = self.local(host);
                self.hosts[host].node.mail(now, mail);
                self.look(host);
            }
            if !self.ask(host) && !read {
                return;
            }
        }
        panic!("the node asks without end");
    }

    /// All nodes but `absent` talk, in steps in which no lease ends.
    pub(crate) fn pass_without(&mut self, millis: u64, absent: Option<usize>) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(500));
            self.apply_late();
            for host in (0..self.hosts.len()).filter(|host| Some(*host) != absent) {
                self.timeout(host);
                self.talk(host);
            }
        }
    }

    /// Time in which the nodes look at their clocks, and nobody asks the store.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.apply_late();
        for host in 0..self.hosts.len() {
            self.timeout(host);
        }
    }

    /// The machine of a node stands still with its clock, and the others go on.
    pub(crate) fn stand_still(&mut self, host: usize, millis: u64) {
        self.pass_without(millis, Some(host));
        self.stood_still(host, millis);
    }

    /// The machine of a node has stood still with its clock.
    pub(crate) fn stood_still(&mut self, host: usize, millis: u64) {
        self.hosts[host].fooled = true;
        self.hosts[host].lag += Duration::from_millis(millis);
    }

    pub(crate) fn timeout(&mut self, host: usize) {
        let now = self.local(host);
        self.hosts[host].node.timeout(now);
        for Flight { life, dispatch, .. } in self.flights.extract_if(.., |flight| flight.host == host && flight.applied)
        {
            if self.hosts[host].life == life {
                let transient = Transient { cause: Cause::NoAnswer, retry_after: None };
                self.hosts[host].node.outcome(now, &dispatch, Outcome::Unknown(transient));
            }
        }
        self.look(host);
    }

    /// The oldest request arrives, and its node hears of it.
    pub(crate) fn answer(&mut self) {
        let Some(at) = self.flights.iter().position(|flight| flight.late.is_none()) else { return };
        let Flight { host, life, dispatch, .. } = self.flights.remove(at);
        self.apply(dispatch.indicator());
        if self.hosts[host].life == life {
            let now = self.local(host);
            self.hosts[host].node.outcome(now, &dispatch, Outcome::Delivered);
            self.look(host);
        }
    }

    /// What has waited for a connection finds one.
    pub(crate) fn clear(&mut self) {
        self.congested = false;
        for (host, dispatch, tenure) in std::mem::take(&mut self.departing) {
            self.hosts[host].node.sends.push((dispatch, tenure));
            self.look(host);
        }
    }

    /// The oldest request hangs: it is applied when its node gives it up.
    pub(crate) fn hang(&mut self) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.late.is_none()) {
            flight.late = Some(self.now + HANGS);
        }
    }

    /// A node dies, and another begins in its place. What it has sent arrives late.
    pub(crate) fn kill(&mut self, host: usize) {
        for flight in self.flights.iter_mut().filter(|flight| flight.host == host) {
            flight.late.get_or_insert(self.now + HANGS);
        }
        self.hosts[host] = self.born(self.hosts[host].lag);
    }

    /// One more node, with other settings from now on.
    pub(crate) fn add(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        let host = self.born(Duration::ZERO);
        self.hosts.push(host);
    }

    /// Everybody is silent, and everything works: nothing may be left.
    pub(crate) fn check_the_end(&mut self, story: &str) {
        let is_over = |scene: &Self| {
            let idle = |host: &Host| host.node.fleet.is_empty() && host.node.engine.census().conversations == 0;
            scene.flights.is_empty() && scene.store.held.is_empty() && scene.hosts.iter().all(idle)
        };
        for _ in 0..60 {
            self.pass_without(1_000, None);
            while self.flights.iter().any(|flight| flight.late.is_none()) {
                self.answer();
            }
            if is_over(self) {
                break;
            }
        }
        assert!(!self.shown, "an icon is stuck: {story}");
        assert!(self.store.held.is_empty(), "the store still has {:?}: {story}", self.store.held);
        for host in &self.hosts {
            let left = (host.node.fleet.len(), host.node.engine.census().conversations);
            assert_eq!(left, (0, 0), "a node remembers: {story}");
        }
    }

    pub(crate) fn state(&self, host: usize) -> State {
        self.hosts[host].node.fleet.state(self.local(host))
    }

    pub(crate) fn holds(&self, host: usize) -> bool {
        self.hosts[host].node.fleet.holds(pair("user"))
    }

    fn born(&mut self, lag: Duration) -> Host {
        self.lives += 1;
        let now = self.now.before(lag);
        let node = Node::new(now, Policy::default(), self.settings, RETAINED, self.lives << 32);
        Host { node, life: self.lives, lag, lease_until: Instant::ORIGIN, fooled: false }
    }

    fn local(&self, host: usize) -> Instant {
        self.now.before(self.hosts[host].lag)
    }

    fn execute(&mut self, host: usize) -> Option<(Request, Reply)> {
        let now = self.local(host);
        let request = self.hosts[host].node.request(now)?;
        if let Command::Heartbeat(heartbeat) = &request.command {
            let share = self.hosts[host].node.fleet.share();
            assert!(share <= heartbeat.hold, "a share of {share}, and {} is reported", heartbeat.hold);
        }
        let reply = self.store.execute(self.now.as_millis() + self.step_millis, &request).expect("it is the newest");
        if let (Command::Heartbeat(heartbeat), Reply::Heartbeat(membership)) = (&request.command, &reply)
            && membership.status != Status::Lapsed
        {
            self.hosts[host].lease_until = self.now + heartbeat.lease;
        }
        Some((request, reply))
    }

    /// What a node sends leaves at once.
    fn look(&mut self, host: usize) {
        let now = self.local(host);
        loop {
            let sends = std::mem::take(&mut self.hosts[host].node.sends);
            if sends.is_empty() {
                return;
            }
            for (dispatch, tenure) in sends {
                if self.congested {
                    self.departing.push((host, dispatch, tenure));
                } else if self.hosts[host].node.depart(now, &dispatch, tenure) {
                    self.check_departure(host, &dispatch);
                    let life = self.hosts[host].life;
                    self.flights.push(Flight { host, life, dispatch, late: None, applied: false });
                }
            }
        }
    }

    fn check_departure(&self, host: usize, dispatch: &Dispatch) {
        if dispatch.indicator() == Indicator::TypingStopped || self.hosts[host].fooled {
            return;
        }
        if self.state(host) == State::Tenured {
            assert!(self.now < self.hosts[host].lease_until, "a Started past the lease");
            let conversation = dispatch.conversation.as_ref();
            let owners = (0..self.hosts.len()).filter(|other| {
                let own = &self.hosts[*other];
                !own.fooled && self.state(*other) == State::Tenured && own.node.fleet.holds(conversation)
            });
            assert_eq!(owners.count(), 1, "owners");
        }
    }

    fn apply_late(&mut self) {
        for at in 0..self.flights.len() {
            let flight = &mut self.flights[at];
            if !flight.applied && flight.late.is_some_and(|late| late <= self.now) {
                flight.applied = true;
                let indicator = flight.dispatch.indicator();
                self.apply(indicator);
            }
        }
    }

    fn apply(&mut self, indicator: Indicator) {
        self.shown = indicator == Indicator::TypingStarted;
        self.applied.push(indicator);
    }
}

/// A conversation is remembered for so long after its last event.
pub(crate) const RETAINED: Duration = Duration::from_secs(3);
/// What hangs is applied so much later: within the time-out of a request.
const HANGS: Duration = Duration::from_millis(4_500);
