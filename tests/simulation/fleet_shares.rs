//! The org's rate among several nodes: each sends what its share lets it, strictly within any second, and asks for more
//! or less. Together they never send too much, and what one needs no other keeps for nothing.

use std::collections::VecDeque;
use std::time::Duration;

use typingd::fleet::protocol::{Command, Heartbeat, OwnerId, Reply, Request};
use typingd::fleet::{Demand, Effect, Fleet, State, WhenUnreachable};
use typingd::model::Instant;

use crate::fleet_climate::settings;
use crate::fleet_scene::Scene;
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

/// Node `me` sends its heartbeat at `now`. Returns the share that it is given.
fn share_of(store: &mut Store, now: u64, me: OwnerId, hold: u32, want: u32) -> u32 {
    let lease = Duration::from_millis(2_500);
    let heartbeat = Heartbeat {
        joins: !store.is_alive(now, me),
        was: None,
        lease,
        limit: 2_000,
        hold,
        need: want,
        want,
        timing: 0,
        counts_for: None,
    };
    match store.execute(now, &Request { number: now, me, command: Command::Heartbeat(heartbeat) }) {
        Some(Reply::Heartbeat(membership)) => membership.share,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn half_the_share_of_one_that_is_cut_off_is_kept_a_minute() {
    let mut store = Store::default();
    let (one, other) = (OwnerId::new(1 << 16), OwnerId::new(2 << 16));
    for now in [1_000, 3_000] {
        assert_eq!(share_of(&mut store, now, one, 200, 600), 200, "a young store gives nobody more");
    }
    assert_eq!(share_of(&mut store, 5_000, one, 200, 600), 600);
    assert_eq!(share_of(&mut store, 7_000, one, 600, 600), 600);
    assert_eq!(share_of(&mut store, 8_000, other, 200, 2_000), 1_400);
    assert_eq!(share_of(&mut store, 10_000, other, 1_400, 2_000), 1_400);
    store.execute(10_001, &Request { number: 10_001, me: other, command: Command::Bury { dead: one } });
    for now in (12_000..70_000).step_by(2_000) {
        assert_eq!(share_of(&mut store, now, other, 1_400, 2_000), 1_700);
    }
    assert_eq!(share_of(&mut store, 70_100, other, 1_700, 2_000), 2_000);
}

#[test]
fn what_is_kept_for_many_that_are_cut_off_is_kept_for_all() {
    let mut store = Store::default();
    let [one, other, third] = [1, 2, 3].map(|process| OwnerId::new(process << 16));
    share_of(&mut store, 1_000, one, 200, 200);
    share_of(&mut store, 3_000, one, 200, 200);
    let bury = |store: &mut Store, now, dead| {
        store.execute(now, &Request { number: now, me: third, command: Command::Bury { dead } });
    };
    assert_eq!(share_of(&mut store, 4_000, one, 200, 2_000), 2_000);
    bury(&mut store, 7_000, one);
    assert_eq!(share_of(&mut store, 7_001, other, 0, 2_000), 1_000);
    bury(&mut store, 10_000, other);
    assert_eq!(share_of(&mut store, 10_001, third, 0, 2_000), 500, "1,500 are kept");
}

#[test]
fn one_that_is_cut_off_keeps_to_what_is_kept_for_it() {
    let mut scene = Scene::new(2);
    scene.pass_without(3_000, None);
    let had = scene.hosts[0].node.fleet.share();
    scene.pass_without(8_000, Some(0));
    scene.timeout(0);
    for _ in 0..8 {
        scene.pass(400);
    }
    assert_eq!((scene.state(0), scene.hosts[0].node.fleet.share()), (State::Alone, had.div_ceil(2)));
    scene.talk(0);
    assert_eq!(scene.state(0), State::Tenured);
}

#[test]
fn a_node_that_never_joined_keeps_to_a_tenth() {
    let mut fleet = Fleet::new(settings(2_000, WhenUnreachable::Alone), OwnerId::new(1 << 32), 1);
    let mut now = Instant::from_millis(1_000_000);
    for _ in 0..30 {
        now = now + Duration::from_millis(200);
        fleet.handle_timeout(now);
    }
    assert_eq!((fleet.state(now), fleet.share()), (State::Alone, 200));
}

#[test]
fn what_a_node_keeps_to_is_not_given_away_before_it_knows() {
    let mut store = Store::default();
    let [one, other, late] = [1, 2, 3].map(|process| OwnerId::new(process << 16));
    share_of(&mut store, 1_000, one, 200, 200);
    share_of(&mut store, 3_000, one, 200, 200);
    assert_eq!(share_of(&mut store, 4_000, one, 200, 1_000), 1_000);
    assert_eq!(share_of(&mut store, 4_001, other, 0, 900), 900);
    // It was on its own for long, and keeps to more than is left.
    assert_eq!(share_of(&mut store, 4_002, late, 600, 100), 100);
    // The answer may be lost.
    assert_eq!(share_of(&mut store, 4_003, one, 500, 500), 500);
    assert_eq!(share_of(&mut store, 4_004, other, 900, 1_500), 900);
    assert_eq!(share_of(&mut store, 4_005, late, 100, 100), 100);
    assert_eq!(share_of(&mut store, 4_006, other, 900, 1_500), 1_400);
}

/// The way to the store and back takes one.
const STEP: Duration = Duration::from_millis(5);
/// A request counts for so long after its answer.
const WINDOW: Duration = Duration::from_millis(1_001);

#[test]
fn a_timing_that_stays_another_is_noticed_by_both() {
    let mut scene = Scene::new(2);
    scene.hosts[0].node.fleet.handle_timing(7);
    let differs = |scene: &Scene| {
        let timing = |host: &crate::fleet_scene::Host| host.node.fleet.differences(scene.now).timing;
        [timing(&scene.hosts[0]), timing(&scene.hosts[1])]
    };
    scene.pass_without(3_000, None);
    assert_eq!(differs(&scene), [false; 2], "a change may be on its way");
    scene.pass_without(3_000, None);
    assert_eq!(differs(&scene), [true; 2]);
    scene.hosts[1].node.fleet.handle_timing(7);
    scene.pass_without(1_000, None);
    assert_eq!(differs(&scene), [false; 2]);
    scene.kill(1);
    scene.hosts[1].node.fleet.handle_timing(7);
    scene.pass_without(6_000, None);
    assert_eq!(differs(&scene), [false; 2], "the dead are not compared with");
}

#[test]
fn a_joiner_with_another_timing_has_its_time_to_take_it_over() {
    let mut scene = Scene::with(1, |settings| settings.lease = Duration::from_secs(4));
    scene.add(|settings| settings.lease = Duration::from_secs(3));
    scene.pass_without(6_000, None);
    let differs = |scene: &Scene| {
        let differs = scene.hosts[0].node.fleet.differences(scene.now);
        (differs.lease, differs.timing)
    };
    assert_eq!(differs(&scene), (true, false));
    scene.hosts[1].node.fleet.handle_timing(7);
    scene.pass_without(3_000, None);
    assert_eq!(differs(&scene), (true, false), "it may take over the others' yet");
    scene.pass_without(3_000, None);
    assert_eq!(differs(&scene), (true, true));
}
