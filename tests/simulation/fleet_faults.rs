//! What goes wrong in a simulated fleet, and what must hold all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use typingd::fleet::State;
use typingd::model::Instant;

use crate::fleet_climate::{Fault, pair};
use crate::fleet_store::Store;
use crate::fleet_world::{Event, Happening, World};

/// Messages whose Stopped is waited for: whose, until each is answered.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    last: u32,
    open: BTreeMap<u32, usize>,
}

impl Tickets {
    pub(crate) fn next(&mut self, person: usize) -> u32 {
        self.last += 1;
        self.open.insert(self.last, person);
        self.last
    }
}

impl World {
    /// Where all is well each ticket is answered once, and with the truth.
    pub(crate) fn check_answers(&mut self, answers: &[(u32, bool)]) {
        let (seed, all_is_well) = (self.seed, self.climate.faults.is_empty());
        for (number, acknowledged) in answers {
            let Some(person) = self.tickets.open.remove(number) else {
                // A request whose answer is lost is executed twice, and who has an answer takes no other.
                assert!(!all_is_well, "seed {seed}: answered twice");
                continue;
            };
            self.history.answers += 1;
            let typed_on = self.people[person].last_key.is_some();
            assert!(!all_is_well || *acknowledged, "seed {seed}: a message is not settled, at {:?}", self.now);
            assert!(
                !all_is_well || typed_on || !self.shown[person],
                "seed {seed}: an icon that is told to be off is on"
            );
        }
    }

    /// Lets a fault happen, and sees to its end.
    pub(crate) fn strike(&mut self, fault: Fault, host: usize) {
        self.history.faults += 1;
        let lasts = 200 + self.rng.below(10_000);
        match fault {
            Fault::Kill => self.kill(host),
            Fault::Leave => {
                let now = self.local(host);
                let paused = self.hosts[host].paused;
                if let Some(node) = self.hosts[host].node.as_mut().filter(|_| !paused) {
                    node.leave(now);
                    self.process(host, 0, Happening::Tick);
                    self.process(host, SHUTDOWN_GRACE, Happening::Exit);
                }
            }
            Fault::Pause => self.pause(host, lasts),
            Fault::Standstill => {
                if !self.hosts[host].paused {
                    self.pause(host, lasts);
                    self.hosts[host].lag += Duration::from_millis(lasts);
                    self.hosts[host].fooled = true;
                    self.hosts[host].fooled_call = self.hosts[host].call;
                    self.excuse(lasts + CONVERGES);
                }
            }
            Fault::Partition => {
                self.hosts[host].partitioned = true;
                self.process(host, 2 * lasts, Happening::Healed);
            }
            Fault::Slow | Fault::Hang => {
                self.weather = Some(fault);
                self.weathers += 1;
                self.after(lasts, Event::Fair(self.weathers));
            }
            Fault::Step => {
                let step = self.rng.below(STEP_MAX);
                let back = self.rng.below(2) == 0 && self.step_millis > step;
                self.step_millis = if back { self.step_millis - step } else { self.step_millis + step };
                self.stepped = self.now;
                self.excuse(CONVERGES);
            }
            Fault::Outage | Fault::Wipe => {
                self.store_down = true;
                self.after(lasts, Event::StoreUp);
                if fault == Fault::Wipe {
                    self.store = Store::default();
                    self.wiped = true;
                    self.note_forgotten();
                    self.excuse(lasts + CONVERGES);
                }
            }
        }
    }

    /// What is not promised: icons of a node that dies while the store has lost its memory.
    pub(crate) fn note_forgotten(&mut self) {
        for (person, shown) in self.people.iter_mut().zip(&self.shown) {
            let conversation = pair(&person.name);
            let mut nodes = self.hosts.iter().filter_map(|host| host.node.as_ref());
            let recorded = self.store.held.get(&conversation.to_owned()).is_some_and(|value| value.on);
            let known = recorded || nodes.any(|node| node.fleet.holds(conversation));
            person.forgotten |= self.wiped && *shown && !known;
        }
    }

    pub(crate) fn pause(&mut self, host: usize, millis: u64) {
        if !std::mem::replace(&mut self.hosts[host].paused, true) {
            self.process(host, millis, Happening::Wake);
        }
    }

    fn excuse(&mut self, millis: u64) {
        self.excused_until = self.excused_until.max(self.now + Duration::from_millis(millis));
    }

    /// The sum of what all keep to is never above the limit, whoever is cut off. A node that has not joined yet, and a
    /// store that has lost its memory or its idea of time, are other matters; and so is one whose clock stood still,
    /// until it hears the store.
    pub(crate) fn check_shares(&self) {
        if self.wiped || self.now < self.stepped + RESERVED {
            return;
        }
        let mut sum = 0;
        for host in self.hosts.iter().filter(|host| host.lease_until > Instant::ORIGIN) {
            // One that has not heard yet that it has joined sends nothing.
            let Some(node) = host.node.as_ref().filter(|node| node.fleet.members() > 0) else { continue };
            // In doubt nothing leaves, and what follows is granted, or half.
            let is_sure = node.fleet.state(self.now.before(host.lag)) != State::InDoubt && !host.fooled;
            sum += if is_sure { node.fleet.share() } else { node.fleet.share() / 2 };
        }
        let limit = self.climate.limit;
        assert!(sum <= limit, "seed {}: shares of {sum} at {:?}", self.seed, self.now);
    }

    pub(crate) fn check_started(&self, host: usize, person: usize) {
        let (own, seed) = (&self.hosts[host], self.seed);
        let now = self.local(host);
        let node = own.node.as_ref().expect("it lives");
        if own.fooled {
            return;
        }
        // One that is alone is as it would be without a store.
        if node.fleet.state(now) != State::Tenured {
            return;
        }
        // By a clock that has stood still a key is younger than it is.
        let lasts = Duration::from_millis(self.people[person].lasts_millis.into());
        let most = STALE_MAX + lasts + own.lag;
        let typed = self.people[person].last_key.is_none_or(|key| self.now.since(key) < most);
        assert!(typed, "seed {seed}: a Started for a key of long ago, at {:?}", self.now);
        assert!(self.now < own.lease_until, "seed {seed}: a Started past the lease, at {:?}", self.now);
        let conversation = pair(&self.people[person].name);
        let owners = self.hosts.iter().filter(|other| {
            let now = self.now.before(other.lag);
            let node = other.node.as_ref().filter(|_| !other.fooled);
            node.is_some_and(|node| node.fleet.state(now) == State::Tenured && node.fleet.holds(conversation))
        });
        assert!(
            owners.count() <= 1 || self.now < self.excused_until,
            "seed {seed}: two owners at {:?} of {}",
            self.now,
            self.people[person].name
        );
    }

    pub(crate) fn check_the_end(&mut self) {
        let seed = self.seed;
        // A Started of the dead that comes after the end of a session is left: another Stopped might open one.
        let excused = |i: usize| self.people[i].ended || self.people[i].forgotten;
        let stuck: Vec<_> = (0..self.shown.len()).filter(|i| self.shown[*i] && !excused(*i)).collect();
        let open = &self.tickets.open;
        assert!(!self.climate.faults.is_empty() || open.is_empty(), "seed {seed}: never answered: {open:?}");
        assert!(stuck.is_empty(), "seed {seed}: icons stuck on {stuck:?}");
        assert!(self.store.held.is_empty(), "seed {seed}: the store still has {:?}", self.store.held);
        for host in &self.hosts {
            let node = host.node.as_ref().expect("every process is started again");
            let now = self.now.before(host.lag);
            assert_eq!(node.fleet.state(now), State::Tenured, "seed {seed}: it has not found back");
            assert_eq!((node.fleet.len(), node.engine.census().conversations), (0, 0), "seed {seed}: it remembers");
            self.history.add(node.fleet.counts());
        }
    }
}

/// The same time for all to notice what has happened to the store's clock or memory, in milliseconds: a lease, the
/// doubt after it, a time-out, a reconnect.
const CONVERGES: u64 = 9_000;
/// For so long the store reserves shares.
const RESERVED: Duration = Duration::from_secs(70);
/// How far the store's clock jumps, in milliseconds.
const STEP_MAX: u64 = 300_000;
/// A process that is told to end is ended after so many milliseconds.
const SHUTDOWN_GRACE: u64 = 8_000;
/// No Started leaves so long after the last key: the dismissal, and what a key may wait in a queue, in an inbox, at
/// both ends of the network, for the store to know of it, and for a connection.
const STALE_MAX: Duration = Duration::from_millis(8_500);
