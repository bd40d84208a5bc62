//! The org's rate among several nodes: each sends what its share lets it, strictly within any second, and asks for more
//! or less. Together they never send too much, and what one needs no other keeps for nothing.

use std::collections::VecDeque;
use std::time::Duration;

use typingd::fleet::protocol::{OwnerId, Reply};
use typingd::fleet::{Demand, Effect, Fleet, WhenUnreachable};
use typingd::model::Instant;

use crate::fleet_climate::settings;
use crate::fleet_store::Store;
use crate::rng::Rng;

/// A node that sends, and whose requests are answered at once.
struct Sender {
    fleet: Fleet,
    share: u32,
    /// What comes in each second.
    demand: u32,
    /// Thousandths of a request.
    arrived: u32,
    queued: usize,
    sent: VecDeque<Instant>,
    reply: Option<(u64, Option<Reply>)>,
    heartbeats: u64,
}

struct Senders {
    now: Instant,
    limit: u32,
    store: Store,
    all: Vec<Sender>,
    lives: u64,
}

impl Senders {
    /// A store that is older than whatever it may have forgotten, and so many nodes.
    fn new(nodes: usize, limit: u32) -> Self {
        let mut senders = Self::before_a_young_store(1, limit);
        senders.pass(3_000);
        for _ in 1..nodes {
            senders.join();
        }
        senders.pass(3_000);
        senders
    }

    fn before_a_young_store(nodes: usize, limit: u32) -> Self {
        let now = Instant::from_millis(1_000_000);
        let mut senders = Self { now, limit, store: Store::default(), all: Vec::new(), lives: 0 };
        for _ in 0..nodes {
            senders.join();
        }
        senders
    }

    fn join(&mut self) {
        self.lives += 1;
        let settings = settings(self.limit, WhenUnreachable::Alone);
        let fleet = Fleet::new(settings, OwnerId::new(self.lives << 32), self.lives);
        let (share, sent, reply) = (0, VecDeque::new(), None);
        self.all.push(Sender { fleet, share, demand: 0, arrived: 0, queued: 0, sent, reply, heartbeats: 0 });
    }

    /// Time goes on, in steps that are the way to the store and back.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = self.now + STEP;
            for sender in &mut self.all {
                sender.step(self.now, &mut self.store);
            }
            assert!(self.sent() <= self.limit as usize, "{} of {} in one second", self.sent(), self.limit);
        }
    }

    /// Requests within the last second.
    fn sent(&self) -> usize {
        self.all.iter().map(|sender| sender.sent.len()).sum()
    }
}

impl Sender {
    fn step(&mut self, now: Instant, store: &mut Store) {
        if let Some((number, reply)) = self.reply.take() {
            self.fleet.handle_reply(now, number, reply.expect("it is the newest"));
        }
        self.fleet.handle_timeout(now);
        self.arrived += self.demand * STEP.as_millis() as u32;
        // What waits too long is given up.
        self.queued = (self.queued + (self.arrived / 1_000) as usize).min(5 * self.demand as usize);
        self.arrived %= 1_000;
        while self.sent.front().is_some_and(|at| *at + WINDOW <= now) {
            self.sent.pop_front();
        }
        self.take_share();
        while self.queued > 0 && self.sent.len() < self.share as usize {
            self.sent.push_back(now);
            self.queued -= 1;
        }
        let demand = Demand { counted: self.sent.len(), queued: self.queued };
        if let Some(request) = self.fleet.poll_request(now, demand) {
            self.heartbeats += 1;
            self.reply = Some((request.number, store.execute(now.as_millis(), &request)));
        }
        self.take_share();
    }

    fn take_share(&mut self) {
        while let Some(effect) = self.fleet.poll_effect() {
            if let Effect::Share(share) = effect {
                self.share = share;
            }
        }
    }
}

#[test]
fn a_fleet_that_starts_has_the_whole_rate_soon() {
    let mut senders = Senders::before_a_young_store(1, 2_000);
    senders.all[0].demand = 5_000;
    senders.pass(1_000);
    assert_eq!(senders.sent(), 200, "what others keep to may have been forgotten");
    senders.pass(3_000);
    assert_eq!(senders.sent(), 2_000);
}

#[test]
fn a_node_that_joins_an_idle_fleet_has_its_share_at_once() {
    let mut senders = Senders::new(2, 2_000);
    senders.join();
    senders.all[2].demand = 5_000;
    senders.pass(1_000);
    assert!(senders.sent() > 1_000, "{}", senders.sent());
    senders.pass(1_000);
    assert!(senders.sent() > 1_900, "{}", senders.sent());
}

#[test]
fn no_share_lies_idle_while_someone_starves() {
    for (nodes, limit) in [(2, 2_000), (8, 2_000), (3, 100)] {
        let mut senders = Senders::new(nodes, limit);
        senders.all[0].demand = 3 * limit;
        senders.pass(2_500);
        let sent = senders.sent();
        assert!(sent * 100 >= 94 * limit as usize, "{sent} of {limit}, {nodes} nodes");
    }
}

#[test]
fn who_has_too_little_has_a_fair_part_within_two_seconds() {
    for (nodes, limit) in [(2, 2_000), (8, 2_000), (3, 100)] {
        let mut senders = Senders::new(nodes, limit);
        senders.all[0].demand = 3 * limit;
        senders.pass(3_000);
        for sender in &mut senders.all {
            sender.demand = 3 * limit;
        }
        senders.pass(2_000);
        let fair = limit as usize / nodes;
        let least = senders.all.iter().map(|sender| sender.sent.len()).min().unwrap();
        assert!(least * 10 >= fair * 9, "{least} of {fair}, {nodes} nodes");
        senders.pass(4_000);
        let sent = senders.sent();
        assert!(sent * 100 >= 97 * limit as usize, "{sent} of {limit}, {nodes} nodes");
    }
}

#[test]
fn a_lower_limit_is_kept_and_used_by_all() {
    let mut senders = Senders::new(3, 2_000);
    for sender in &mut senders.all {
        sender.demand = 1_000;
    }
    senders.pass(4_000);
    for at in 0..3 {
        let now = senders.now;
        senders.all[at].fleet.handle_limit(now, 100);
    }
    senders.pass(1_500);
    senders.limit = 100;
    senders.pass(4_000);
    assert!(senders.sent() >= 97, "{} of 100", senders.sent());
}

#[test]
fn a_demand_that_moves_finds_what_is_there() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let nodes = 2 + rng.below(7) as usize;
        let limit = [60, 500, 2_000][rng.below(3) as usize];
        let mut senders = Senders::new(nodes, limit);
        for _ in 0..20 {
            for sender in &mut senders.all {
                sender.demand = rng.below(2) as u32 * rng.below(2 * u64::from(limit)) as u32;
            }
            senders.pass(1_000 + rng.below(2_500));
            // Whoever has starved for seconds has what the others don't use.
            senders.pass(2_500);
            let starves = senders.all.iter().any(|sender| sender.queued > 20);
            let sent = senders.sent();
            assert!(!starves || sent * 100 >= 85 * limit as usize, "seed {seed}: {sent} of {limit}, {nodes} nodes");
        }
    }
}

#[test]
fn shares_cost_the_store_little() {
    let mut senders = Senders::new(8, 2_000);
    let asked = |senders: &Senders| senders.all.iter().map(|sender| sender.heartbeats).sum::<u64>();
    let before = asked(&senders);
    senders.pass(10_000);
    assert!(asked(&senders) - before <= 8 * 45, "{} heartbeats of idle nodes", asked(&senders) - before);
    for sender in &mut senders.all {
        sender.demand = 1_000;
    }
    senders.pass(5_000);
    let before = asked(&senders);
    senders.pass(10_000);
    assert!(asked(&senders) - before <= 8 * 110, "{} heartbeats of busy nodes", asked(&senders) - before);
}

/// The way to the store and back takes one.
const STEP: Duration = Duration::from_millis(5);
/// A request counts for so long after its answer.
const WINDOW: Duration = Duration::from_millis(1_001);
