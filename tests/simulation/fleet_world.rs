//! A made-up world around a fleet: people whose keys reach any node, a store behind a network with weather, processes
//! that are stopped and killed, an upstream that keeps its own account. The same seed gives the same history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use typingd::engine::policy::{Delivery, Policy};
use typingd::fleet::Settings;
use typingd::fleet::protocol::{Command, Heartbeat, Mail, Reply, Request, Status};
use typingd::model::{Cause, Dispatch, Indicator, Instant, Outcome, Signal, SignalKind, Transient};

use crate::fleet_climate::{Climate, Fault, History, REQUEST_TIMEOUT, pair, settings};
use crate::fleet_faults::Tickets;
use crate::fleet_node::Node;
use crate::fleet_store::Store;
use crate::rng::Rng;
use crate::typist::Typist;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Person(usize),
    Fault,
    /// The weather of that number ends.
    Fair(u64),
    StoreUp,
    Execute(u64),
    /// For a process: its host, its life, and what.
    Process(usize, u32, Happening),
    Arrive(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    Tick,
    Wake,
    Healed,
    Start,
    Exit,
    Replied(u64),
    TimedOut(u64),
    Reconnected,
    ReadMail,
    Delivered(u64),
    Depart(u64),
    Answer(u64),
}

pub(crate) struct Host {
    pub(crate) node: Option<Node>,
    pub(crate) life: u32,
    /// How far its clock is behind.
    pub(crate) lag: Duration,
    pub(crate) paused: bool,
    /// What happens to it once it goes on.
    pub(crate) deferred: Vec<Happening>,
    pub(crate) partitioned: bool,
    pub(crate) call: Option<u64>,
    pub(crate) reconnecting: bool,
    pub(crate) reads: bool,
    pub(crate) tick_at: Instant,
    /// When its lease ends in the store, by a clock that never jumps.
    pub(crate) lease_until: Instant,
    /// Its clock has stood still, and it has not heard the store since.
    pub(crate) fooled: bool,
    /// What it asked before that: the answer tells it nothing new.
    pub(crate) fooled_call: Option<u64>,
}

pub(crate) struct Person {
    pub(crate) typist: Typist,
    pub(crate) name: String,
    pub(crate) keys_left: u64,
    pub(crate) last_key: Option<Instant>,
    /// The session is over.
    pub(crate) ended: bool,
    /// Its icon was left on by a node that died while the store had lost its memory: no one knows of it.
    pub(crate) forgotten: bool,
    pub(crate) home: usize,
    /// How long the typing goes on that each key tells of.
    pub(crate) lasts_millis: u16,
}

pub(crate) struct Flight {
    dispatch: Dispatch,
    tenure: u32,
    host: usize,
    life: u32,
    person: usize,
    outcome: Outcome,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) climate: Climate,
    pub(crate) now: Instant,
    pub(crate) events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pub(crate) sequence: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) people: Vec<Person>,
    pub(crate) by_name: BTreeMap<String, usize>,
    pub(crate) shown: Vec<bool>,
    pub(crate) store: Store,
    pub(crate) store_down: bool,
    /// What the store's clock is ahead of the true time.
    pub(crate) step_millis: u64,
    pub(crate) calls: BTreeMap<u64, (usize, u32, Request, Option<Reply>)>,
    pub(crate) letters: BTreeMap<u64, Vec<Mail>>,
    pub(crate) flights: BTreeMap<u64, Flight>,
    pub(crate) weather: Option<Fault>,
    pub(crate) weathers: u64,
    pub(crate) typing_until: Instant,
    /// Until then two nodes may believe in good faith that they own the same.
    pub(crate) excused_until: Instant,
    pub(crate) wiped: bool,
    /// When the store's clock has jumped.
    pub(crate) stepped: Instant,
    pub(crate) history: History,
    pub(crate) tickets: Tickets,
}

impl World {
    pub(crate) fn new(seed: u64, climate: Climate) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::from_millis(10_000_000);
        let people: Vec<_> = (0..climate.people)
            .map(|i| Person {
                typist: Typist::new(&mut rng),
                name: format!("user-{i}"),
                keys_left: 0,
                last_key: None,
                ended: false,
                forgotten: false,
                home: i % climate.nodes,
                lasts_millis: if i % 4 == 3 && !climate.faults.is_empty() { LASTS_MILLIS } else { 0 },
            })
            .collect();
        let mut world = Self {
            seed,
            now,
            events: BinaryHeap::new(),
            sequence: 0,
            hosts: (0..climate.nodes).map(|_| Host::new()).collect(),
            by_name: people.iter().enumerate().map(|(i, person)| (person.name.clone(), i)).collect(),
            shown: vec![false; people.len()],
            people,
            store: Store::default(),
            store_down: false,
            step_millis: 10_000_000,
            calls: BTreeMap::new(),
            letters: BTreeMap::new(),
            flights: BTreeMap::new(),
            weather: None,
            weathers: 0,
            typing_until: now + climate.typing,
            excused_until: now,
            wiped: false,
            stepped: Instant::ORIGIN,
            history: History::default(),
            tickets: Tickets::default(),
            rng,
            climate,
        };
        for host in 0..world.hosts.len() {
            world.start(host);
        }
        for i in 0..world.people.len() {
            let wait = 3_000 + world.rng.below(5_000);
            world.after(wait, Event::Person(i));
        }
        if !world.climate.faults.is_empty() {
            world.after(6_000, Event::Fault);
        }
        world
    }

    /// Lives through the whole history, until nothing is left to happen.
    pub(crate) fn run(mut self) -> History {
        self.run_until(self.typing_until + QUIET);
        self.check_the_end();
        self.history
    }

    pub(crate) fn run_until(&mut self, until: Instant) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > until {
                self.events.push(Reverse((at, 0, event)));
                break;
            }
            self.now = at;
            self.happen(event);
        }
        self.now = until;
    }

    /// Nobody presses a key any more.
    pub(crate) fn cease(&mut self) {
        self.typing_until = self.now;
    }

    pub(crate) fn after(&mut self, millis: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + Duration::from_millis(millis), self.sequence, event)));
    }

    pub(crate) fn process(&mut self, host: usize, millis: u64, what: Happening) {
        self.after(millis, Event::Process(host, self.hosts[host].life, what));
    }

    pub(crate) fn local(&self, host: usize) -> Instant {
        self.now.before(self.hosts[host].lag)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Person(i) => self.person_acts(i),
            Event::Fault => {
                let faults = &self.climate.faults;
                let fault = faults[self.rng.below(faults.len() as u64) as usize];
                let host = self.rng.below(self.hosts.len() as u64) as usize;
                if self.now < self.typing_until {
                    self.strike(fault, host);
                    let wait = 500 + self.rng.below(12_000);
                    self.after(wait, Event::Fault);
                }
            }
            Event::Fair(number) => {
                if number == self.weathers {
                    self.weather = None;
                }
            }
            Event::StoreUp => self.store_down = false,
            Event::Execute(call) => self.execute(call),
            Event::Arrive(flight) => self.arrive(flight),
            Event::Process(host, life, what) => {
                if self.hosts[host].life == life {
                    self.happen_to(host, what);
                }
            }
        }
    }

    fn happen_to(&mut self, host: usize, what: Happening) {
        let now = self.local(host);
        let own = &mut self.hosts[host];
        let outside = matches!(what, Happening::Wake | Happening::Healed | Happening::Start | Happening::ReadMail);
        if own.paused && !outside {
            own.deferred.push(what);
            return;
        }
        match what {
            Happening::Start => return self.start(host),
            Happening::Healed => own.partitioned = false,
            Happening::Wake => {
                own.paused = false;
                // What has piled up is looked at in any order with the timers.
                let mut deferred = std::mem::take(&mut own.deferred);
                let at = self.rng.below(deferred.len() as u64 + 1) as usize;
                deferred.retain(|what| *what != Happening::Tick);
                deferred.insert(at.min(deferred.len()), Happening::Tick);
                own.tick_at = self.now;
                for (late, what) in deferred.into_iter().enumerate() {
                    self.process(host, late as u64 / 4, what);
                }
                return;
            }
            Happening::ReadMail => return self.read_mail(host),
            _ => {}
        }
        let own = &mut self.hosts[host];
        let Some(node) = &mut own.node else { return };
        match what {
            Happening::Tick => {
                if own.tick_at > self.now {
                    return;
                }
                own.tick_at = Instant::NEVER;
                node.timeout(now);
            }
            Happening::Replied(call) => {
                if let Some((.., request, reply)) = self.calls.remove(&call).filter(|_| own.call == Some(call)) {
                    own.call = None;
                    let tells = matches!(request.command, Command::Heartbeat(_));
                    own.fooled &= !tells || own.fooled_call.take() == Some(call);
                    node.reply(now, call_number(call), reply.expect("it was executed"));
                }
            }
            Happening::TimedOut(call) if own.call == Some(call) => {
                own.call = None;
                own.reconnecting = true;
                node.silence(now);
                let wait = 100 + self.rng.below(1_900);
                self.process(host, wait, Happening::Reconnected);
            }
            Happening::Reconnected => own.reconnecting = false,
            Happening::Delivered(letter) => {
                if let Some(mail) = self.letters.remove(&letter) {
                    node.mail(now, mail);
                }
            }
            Happening::Depart(flight) => self.depart(host, flight),
            Happening::Answer(flight) => {
                if let Some(flight) = self.flights.remove(&flight) {
                    node.outcome(now, &flight.dispatch, flight.outcome);
                }
            }
            Happening::Exit => return self.kill(host),
            _ => {}
        }
        self.drive(host);
    }

    /// What a process does after anything has happened to it.
    fn drive(&mut self, host: usize) {
        let now = self.local(host);
        let life = self.hosts[host].life;
        let own = &mut self.hosts[host];
        let Some(node) = &mut own.node else { return };
        let request = if own.call.is_none() && !own.reconnecting { node.request(now) } else { None };
        let sends = std::mem::take(&mut node.sends);
        let answers = std::mem::take(&mut node.answers);
        let (due, left) = (node.due(now), node.fleet.has_left());
        for (dispatch, tenure) in sends {
            let person = self.by_name[dispatch.conversation.from()];
            self.sequence += 1;
            let flight = Flight { dispatch, tenure, host, life, person, outcome: Outcome::Delivered };
            self.flights.insert(self.sequence, flight);
            // Most find a connection and a token; some wait.
            let wait = if self.rng.below(20) == 0 && self.is_rough() { self.rng.below(1_000) } else { 1 };
            self.process(host, wait, Happening::Depart(self.sequence));
        }
        if let Some(request) = request {
            // Its number within the process, and the process's.
            let call = request.number * 1_000 + host as u64 * 100 + u64::from(life % 100);
            self.hosts[host].call = Some(call);
            self.calls.insert(call, (host, life, request, None));
            let delay = self.delay();
            self.after(delay, Event::Execute(call));
            self.process(host, RESPONSE_TIMEOUT, Happening::TimedOut(call));
        }
        let due = due + self.hosts[host].lag;
        let own = &mut self.hosts[host];
        let idle_call = own.call.is_none() && own.reconnecting;
        if left {
            return self.kill(host);
        }
        let due = due.max(if idle_call { self.now + Duration::from_millis(20) } else { self.now });
        if due < own.tick_at {
            own.tick_at = due;
            let wait = due.since(self.now).as_micros().div_ceil(1_000) as u64;
            self.process(host, wait.max(1), Happening::Tick);
        }
        self.check_answers(&answers);
        self.check_shares();
    }

    fn is_rough(&self) -> bool {
        !self.climate.faults.is_empty()
    }

    /// The way to the store or back, in milliseconds.
    fn delay(&mut self) -> u64 {
        if self.weather == Some(Fault::Slow) && self.rng.below(10) == 0 { self.rng.below(2_000) } else { 1 }
    }

    fn execute(&mut self, call: u64) {
        let Some((host, life, request, _)) = self.calls.get(&call) else { return };
        let (host, life) = (*host, *life);
        if self.store_down || self.hosts[host].partitioned {
            return;
        }
        let Some(reply) = self.store.execute(self.store_millis(), request) else { return };
        if let (Command::Heartbeat(Heartbeat { lease, .. }), Reply::Heartbeat(membership)) = (&request.command, &reply)
            && membership.status != Status::Lapsed
            && self.hosts[host].life == life
        {
            self.hosts[host].lease_until = self.now + *lease;
        }
        self.calls.get_mut(&call).expect("it is there").3 = Some(reply);
        let lost = self.weather == Some(Fault::Slow) && self.rng.below(10) == 0;
        let delay = self.delay();
        if !lost {
            self.after(delay, Event::Process(host, life, Happening::Replied(call)));
        }
        for host in 0..self.hosts.len() {
            self.expect_mail(host);
        }
    }

    fn store_millis(&self) -> u64 {
        self.now.as_millis() + self.step_millis
    }

    fn expect_mail(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        let Some(node) = &own.node else { return };
        if !own.reads && self.store.has_mail(node.fleet.me()) {
            own.reads = true;
            self.process(host, 1, Happening::ReadMail);
        }
    }

    fn read_mail(&mut self, host: usize) {
        self.hosts[host].reads = false;
        if self.store_down || self.hosts[host].partitioned || self.hosts[host].paused {
            return;
        }
        let Some(node) = &self.hosts[host].node else { return };
        let mail = self.store.read_inbox(node.fleet.me());
        self.sequence += 1;
        let letter = self.sequence;
        self.letters.insert(letter, mail);
        let delay = self.delay();
        if !(self.weather == Some(Fault::Slow) && self.rng.below(10) == 0) {
            self.process(host, delay, Happening::Delivered(letter));
        }
    }

    fn person_acts(&mut self, i: usize) {
        if self.now >= self.typing_until {
            return;
        }
        let person = &mut self.people[i];
        let (kind, wait) = if person.keys_left > 0 {
            person.keys_left -= 1;
            person.last_key = Some(self.now);
            self.history.keys += 1;
            (SignalKind::Keystroke, person.typist.gap(&mut self.rng))
        } else {
            person.keys_left = person.typist.keys(&mut self.rng);
            let kind = match self.rng.below(10) {
                0 => SignalKind::Stopped,
                1 => SignalKind::Ended,
                // An abandoned draft: nothing at all is said.
                2 => SignalKind::Opened,
                _ => SignalKind::MessageSent,
            };
            if kind != SignalKind::Opened {
                person.last_key = None;
            }
            (kind, 500 + self.rng.below(8_000))
        };
        person.ended = kind == SignalKind::Ended;
        let hosts = self.hosts.len() as u64;
        let host = if self.climate.hops { self.rng.below(hosts) as usize } else { self.people[i].home };
        // The balancer passes over a process that is gone; what reaches one that is stopped comes too late.
        let alive = (0..self.hosts.len()).map(|k| (host + k) % self.hosts.len());
        let host = alive.into_iter().find(|host| self.hosts[*host].node.is_some());
        if let Some(host) = host.filter(|host| !self.hosts[*host].paused) {
            let now = self.local(host);
            let node = self.hosts[host].node.as_mut().expect("it is there");
            let ticket = (kind == SignalKind::MessageSent).then(|| self.tickets.next(i));
            let Person { name, lasts_millis, .. } = &self.people[i];
            let lasts_millis = if kind == SignalKind::Keystroke { *lasts_millis } else { 0 };
            node.signal_with(now, pair(name), Signal { lasts_millis, ..Signal::new(kind) }, ticket);
            self.drive(host);
        }
        self.after(wait.max(1), Event::Person(i));
    }

    fn depart(&mut self, host: usize, number: u64) {
        let now = self.local(host);
        let Some(flight) = self.flights.get(&number) else { return };
        let (dispatch, tenure, person) = (flight.dispatch.clone(), flight.tenure, flight.person);
        let node = self.hosts[host].node.as_mut().expect("it lives");
        if !node.depart(now, &dispatch, tenure) {
            self.history.refused_departures += 1;
            self.flights.remove(&number);
            return;
        }
        if dispatch.indicator() == Indicator::TypingStarted {
            self.check_started(host, person);
        }
        let hangs = self.weather == Some(Fault::Hang) && self.rng.below(4) == 0;
        let arrival = 5 + self.rng.below(if hangs { REQUEST_TIMEOUT.as_millis() as u64 - 10 } else { 60 });
        let answer = arrival + 1 + self.rng.below(if hangs { 2_000 } else { 20 });
        let timeout = REQUEST_TIMEOUT.as_millis() as u64;
        if answer > timeout {
            let transient = Transient { cause: Cause::NoAnswer, retry_after: None };
            self.flights.get_mut(&number).expect("it is there").outcome = Outcome::Unknown(transient);
        }
        self.after(arrival, Event::Arrive(number));
        self.process(host, answer.min(timeout), Happening::Answer(number));
    }

    fn arrive(&mut self, number: u64) {
        let Some(flight) = self.flights.get(&number) else { return };
        let (person, reason, gone) =
            (flight.person, flight.dispatch.reason, self.hosts[flight.host].life != flight.life);
        let shown = self.shown[person];
        let on = reason.indicator() == Indicator::TypingStarted;
        self.shown[person] = on;
        if on {
            self.history.starteds += 1;
            self.history.repeated += u64::from(shown && reason == typingd::model::Reason::FirstKeystroke);
        } else {
            self.history.stoppeds += 1;
            self.history.extra_stops += u64::from(!shown);
            // By the time the key had reached its owner the Stopped was decided.
            let decided = flight.dispatch.decided + self.hosts[flight.host].lag;
            let since = self.people[person].last_key.map(|key| decided.since(key));
            let types = since.is_some_and(|since| since > HEARD_WITHIN && since < Duration::from_millis(1_800));
            self.history.flickers += u64::from(shown && types);
        }
        self.people[person].forgotten &= on;
        if gone {
            self.flights.remove(&number);
            self.note_forgotten();
        }
    }

    fn start(&mut self, host: usize) {
        let now = self.local(host);
        let policy = Policy {
            delivery: Delivery { requests_per_second_max: self.climate.limit, ..Delivery::default() },
            ..Policy::default()
        };
        let settings = settings(self.climate.limit, self.climate.when_unreachable);
        let settings = Settings { gathers_for: Duration::from_millis(10), ..settings };
        let random = self.rng.next();
        let own = &mut self.hosts[host];
        if own.node.is_none() {
            own.tick_at = Instant::NEVER;
            own.node = Some(Node::new(now, policy, settings, RETAINED, random));
            self.drive(host);
        }
    }

    pub(crate) fn kill(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        if let Some(node) = own.node.take() {
            let counts = node.fleet.counts();
            self.history.add(counts);
        }
        *own = Host { life: own.life + 1, lag: own.lag, ..Host::new() };
        self.note_forgotten();
        let own = &self.hosts[host];
        let life = own.life;
        // What has not departed never does.
        let hosts = &self.hosts;
        let arriving = |Reverse((_, _, event)): &Reverse<(Instant, u64, Event)>| match event {
            Event::Arrive(flight) => Some(*flight),
            _ => None,
        };
        let departing: BTreeSet<_> = self.events.iter().filter_map(arriving).collect();
        self.flights.retain(|number, flight| hosts[flight.host].life == flight.life || departing.contains(number));
        if self.is_rough() {
            let wait = 200 + self.rng.below(15_000);
            self.after(wait, Event::Process(host, life, Happening::Start));
        }
    }
}

impl Host {
    fn new() -> Self {
        Self {
            node: None,
            life: 0,
            lag: Duration::ZERO,
            paused: false,
            deferred: Vec::new(),
            partitioned: false,
            call: None,
            reconnecting: false,
            reads: false,
            tick_at: Instant::NEVER,
            lease_until: Instant::ORIGIN,
            fooled: false,
            fooled_call: None,
        }
    }
}

fn call_number(call: u64) -> u64 {
    call / 1_000
}

/// A key that hops has reached its owner within this, if all is well.
const HEARD_WITHIN: Duration = Duration::from_millis(20);
/// Longer than a lease: such keys are played by who takes over.
const LASTS_MILLIS: u16 = 6_000;
/// A conversation is remembered for so long after its last event.
const RETAINED: Duration = Duration::from_secs(30);
/// The store is taken for silent after so many milliseconds.
const RESPONSE_TIMEOUT: u64 = 1_500;
/// Everything that is owed, kept back, reserved or remembered is over by then.
const QUIET: Duration = Duration::from_secs(200);
