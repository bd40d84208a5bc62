//! The table of failures, with real processes, a real store, and an upstream that keeps its own account. Some rows are
//! tried always; `cargo test --test it -- --ignored --nocapture --test-threads 1 fleet_table` prints all of them, and
//! what a store costs.
//!
//! How much is tried is a matter of the environment: `TYPINGD_FLEET_KILLS` (100), `TYPINGD_FLEET_PAUSES` (3),
//! `TYPINGD_FLEET_EPISODES` (1000), `TYPINGD_FLEET_NODES` (4), `TYPINGD_FLEET_PEOPLE` (300).
#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::account::{Account, Tally};
use crate::bench::{Daemon, JSON, signal_of};
use crate::process::{until, wait_for};
use crate::redis_server::Redis;
use crate::wire::Address;

const LEASE: Duration = Duration::from_secs(3);
const CHECK: Duration = Duration::from_secs(5);
const DISMISS: Duration = Duration::from_secs(2);
/// People press a key this often.
const GAP: Duration = Duration::from_millis(300);
/// The keys of so many at a time are one call.
const SLICES: usize = 6;

/// Some nodes before one upstream, with people whose every key reaches another of them.
struct Trial {
    nodes: Vec<Daemon>,
    account: Arc<Account>,
    redis: Option<Redis>,
    /// The balancer leaves out the others.
    up: Arc<[AtomicBool]>,
    addresses: Arc<Mutex<Vec<Address>>>,
    typing: Arc<AtomicBool>,
    people: usize,
    typists: Option<JoinHandle<()>>,
}

impl Trial {
    fn new(nodes: usize, people: usize, settings: &str) -> Option<Self> {
        let redis = Redis::start()?;
        let settings = format!("store.url = '{}'\nstore.lease = '3s'\n{settings}", redis.url());
        Some(Self::before(nodes, people, &settings, Some(redis)))
    }

    fn before(nodes: usize, people: usize, settings: &str, redis: Option<Redis>) -> Self {
        let account = Arc::new(Account::start(CHECK, DISMISS));
        let mut nodes: Vec<_> = (0..nodes).map(|_| Daemon::start(&account.url(), settings)).collect();
        for node in nodes.iter_mut().filter(|_| redis.is_some()) {
            node.process.until_logged("the store answers");
        }
        let up = nodes.iter().map(|_| AtomicBool::new(true)).collect();
        let addresses = Arc::new(Mutex::new(nodes.iter().map(|node| node.address.clone()).collect()));
        Self { nodes, account, redis, up, addresses, typing: Arc::default(), people, typists: None }
    }

    /// All begin to type, and their icons are on.
    fn begin(&mut self, hops: bool) {
        self.typing.store(true, Ordering::SeqCst);
        let (up, typing, account) = (self.up.clone(), self.typing.clone(), self.account.clone());
        let (addresses, people) = (self.addresses.clone(), self.people);
        let turn = AtomicUsize::new(0);
        self.typists = Some(thread::spawn(move || {
            while typing.load(Ordering::SeqCst) {
                let slice = turn.fetch_add(1, Ordering::SeqCst);
                let addresses = addresses.lock().unwrap().clone();
                let mut bodies = vec![Vec::new(); addresses.len()];
                for person in (slice % SLICES..people).step_by(SLICES) {
                    let first = person + if hops { slice / SLICES } else { 0 };
                    let node = (0..addresses.len()).map(|k| (first + k) % addresses.len());
                    let Some(node) = node.into_iter().find(|node| up[*node].load(Ordering::SeqCst)) else { continue };
                    let name = format!("user-{person}");
                    account.key(&name);
                    bodies[node].push(signal_of("c", &name, "keystroke"));
                }
                for (address, body) in addresses.iter().zip(bodies).filter(|(_, body)| !body.is_empty()) {
                    // One that has just died.
                    let _ = address.try_call("POST", "/v1/signals", &[JSON], Value::from(body).to_string().as_bytes());
                }
                thread::sleep(GAP / SLICES as u32);
            }
        }));
        let people = self.people;
        until("all icons are on", || self.account.shown() == people);
    }

    fn pass(&self, time: Duration) {
        let end = self.account.now() + time;
        wait_for("some time", || (self.account.now() >= end).then_some(()));
    }

    /// The balancer passes the node over from now on.
    fn leave_out(&self, node: usize) {
        self.up[node].store(false, Ordering::SeqCst);
    }

    /// Kills a node and starts it anew.
    fn crash(&mut self, node: usize) {
        self.leave_out(node);
        self.nodes[node].crash();
        self.addresses.lock().unwrap()[node] = self.nodes[node].address.clone();
        self.up[node].store(true, Ordering::SeqCst);
    }

    /// Keystrokes that owners have taken.
    fn keys(&self) -> u64 {
        let signals = |node: &Daemon| node.address.get("/v1/status").json()["signals"]["keystroke"].as_u64().unwrap();
        self.nodes.iter().map(signals).sum()
    }

    /// Everybody stops typing at once.
    fn cease(&mut self) -> Duration {
        self.typing.store(false, Ordering::SeqCst);
        self.typists.take().unwrap().join().unwrap();
        self.account.cease();
        self.account.now()
    }

    /// Waits until no icon is on. Returns how long after `since` the last one went off.
    fn until_off(&self, since: Duration) -> Duration {
        until("all icons are off", || self.account.shown() == 0);
        self.account.last_off().saturating_sub(since)
    }
}

fn row(name: &str, trial: &mut Trial) {
    let since = trial.cease();
    let off = trial.until_off(since);
    print_row(name, off, &trial.account.tally());
}

/// No icon is on by now.
fn print_row(name: &str, off: Duration, tally: &Tally) {
    println!("| {name} | 0 | {} | {} | {} | {off:.2?} | {} |", tally.flickers, tally.repeated, tally.extra, tally.peak);
}

fn print_head() {
    println!("| what fails | icons left | flickers | Starteds twice | extra Stoppeds | off after | peak a second |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
}

fn people() -> usize {
    from_environment("TYPINGD_FLEET_PEOPLE", 300)
}

/// Some nodes, as many as the environment says, for a row of its own.
fn many_nodes() -> Option<Trial> {
    let trial = Trial::new(from_environment("TYPINGD_FLEET_NODES", 4), people(), "")?;
    print_head();
    Some(trial)
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn keys_that_hop_show_each_icon_once_and_without_flicker() {
    let Some(mut trial) = Trial::new(3, 60, "") else { return };
    trial.begin(true);
    trial.pass(Duration::from_secs(7));
    let since = trial.cease();
    trial.until_off(since);
    let tally = trial.account.tally();
    assert_eq!((tally.repeated, tally.extra, tally.flickers), (0, 0, 0), "{tally:?}");
}

#[test]
fn icons_of_two_dead_of_three_are_off_in_time() {
    let Some(mut trial) = Trial::new(3, 60, "") else { return };
    trial.begin(true);
    trial.pass(Duration::from_secs(1));
    let since = trial.cease();
    for node in 0..2 {
        trial.nodes[node].process.kill();
    }
    let off = trial.until_off(since);
    assert!(off <= LEASE + Duration::from_secs(1), "{off:?}");
    // A second Stopped each, against what the dead may have sent, comes later.
    let tally = trial.account.tally();
    assert!(tally.extra <= 60, "{tally:?}");
}

#[test]
fn the_limit_holds_for_all_in_any_second() {
    let Some(mut trial) = Trial::new(3, 80, "upstream.max_requests_per_second = 60\n") else { return };
    trial.begin(true);
    trial.leave_out(2);
    trial.nodes[2].process.kill();
    trial.pass(Duration::from_secs(4));
    let since = trial.cease();
    trial.until_off(since);
    let tally = trial.account.tally();
    assert!((20..=60).contains(&tally.peak), "{tally:?}");
}

#[test]
#[ignore = "prints measurements"]
fn measure() {
    if Trial::new(1, 1, "").is_none() {
        return;
    }
    print_head();
    let second = Duration::from_secs(1);
    let people = people();
    let start = |settings: &str| {
        let mut trial = Trial::new(3, people, settings).unwrap();
        trial.begin(true);
        trial.pass(2 * second);
        trial
    };
    let mut trial = start("");
    trial.pass(10 * second);
    row("nothing, 14 s", &mut trial);

    let mut trial = start("");
    let since = trial.cease();
    trial.nodes[0].process.kill();
    trial.nodes[1].process.kill();
    let off = trial.until_off(since);
    print_row("2 of 3 killed as all cease", off, &trial.account.tally());

    let mut trial = start("");
    trial.leave_out(0);
    trial.nodes[0].process.kill();
    trial.pass(8 * second);
    row("1 of 3 killed, all type on", &mut trial);

    let mut trial = start("");
    trial.leave_out(0);
    trial.nodes[0].process.stop();
    trial.pass(5 * second);
    row("1 of 3 stopped by SIGTERM", &mut trial);

    let mut trial = start("");
    trial.leave_out(0);
    trial.nodes[0].process.tell("STOP");
    trial.pass(LEASE + 3 * second);
    trial.nodes[0].process.tell("CONT");
    trial.pass(2 * second);
    row("1 of 3 paused for 6 s", &mut trial);

    for (name, settings) in [("alone", ""), ("dark", "store.when_unreachable = 'dark'\n")] {
        let mut trial = start(settings);
        trial.redis.as_mut().unwrap().kill();
        trial.pass(8 * second);
        trial.redis.as_mut().unwrap().restart();
        trial.pass(5 * second);
        row(&format!("store killed, back empty after 8 s, {name}"), &mut trial);
    }

    let mut trial = start("");
    trial.redis.as_ref().unwrap().tell("STOP");
    trial.pass(6 * second);
    trial.redis.as_ref().unwrap().tell("CONT");
    trial.pass(5 * second);
    row("store hangs for 6 s", &mut trial);

    let mut trial = start("");
    trial.redis.as_ref().unwrap().tell("STOP");
    trial.pass(second / 2);
    trial.redis.as_ref().unwrap().tell("CONT");
    trial.pass(5 * second);
    row("store blinks for 0.5 s", &mut trial);
}

/// Kills one node after the other, with a third of a second between them, and starts each anew.
#[test]
#[ignore = "prints measurements"]
fn kills() {
    let Some(mut trial) = many_nodes() else { return };
    let (kills, nodes) = (from_environment("TYPINGD_FLEET_KILLS", 100), trial.nodes.len());
    trial.begin(true);
    for kill in 0..kills {
        trial.pass(Duration::from_millis(333));
        trial.crash(kill * 7 % nodes);
    }
    row(&format!("{kills} times 1 of {nodes} killed and started anew"), &mut trial);
}

/// Pauses one node after the other past its lease. No Started leaves when it goes on.
#[test]
#[ignore = "prints measurements"]
fn pauses() {
    let Some(mut trial) = many_nodes() else { return };
    let (pauses, nodes) = (from_environment("TYPINGD_FLEET_PAUSES", 3), trial.nodes.len());
    trial.begin(true);
    for pause in 0..pauses {
        let node = pause * 7 % nodes;
        trial.leave_out(node);
        trial.nodes[node].process.tell("STOP");
        trial.pass(LEASE + Duration::from_secs(1));
        trial.nodes[node].process.tell("CONT");
        trial.pass(Duration::from_millis(500));
        trial.up[node].store(true, Ordering::SeqCst);
    }
    row(&format!("{pauses} times 1 of {nodes} paused past its lease"), &mut trial);
}

/// Icons that go on at a key and off at a message, each signal at another node, without any failure.
#[test]
#[ignore = "prints measurements"]
fn episodes() {
    let Some(trial) = many_nodes() else { return };
    let (episodes, nodes, people) = (from_environment("TYPINGD_FLEET_EPISODES", 1_000), trial.nodes.len(), people());
    let rounds = episodes.div_ceil(people);
    for round in 0..rounds {
        for (turn, kind) in ["keystroke", "keystroke", "message_sent"].into_iter().enumerate() {
            for node in 0..nodes {
                let users = (0..people).filter(|user| (user + round + turn) % nodes == node);
                let names: Vec<_> = users.map(|user| format!("user-{user}")).collect();
                if kind == "keystroke" {
                    names.iter().for_each(|name| trial.account.key(name));
                } else {
                    names.iter().for_each(|name| trial.account.end(name));
                }
                let body: Vec<_> = names.iter().map(|name| signal_of("c", name, kind)).collect();
                trial.nodes[node].address.call(
                    "POST",
                    "/v1/signals",
                    &[JSON],
                    Value::from(body).to_string().as_bytes(),
                );
            }
            // What goes to two nodes at once has no order.
            let keys = people * (2 * round + 2.min(turn + 1));
            until("all keys are with their owners", || trial.keys() == keys as u64);
            let shown = if kind == "keystroke" { people } else { 0 };
            until("all icons are as the signals say", || trial.account.shown() == shown);
        }
    }
    let tally = trial.account.tally();
    let name = format!("{} episodes, each signal at another of {nodes}", rounds * people);
    print_row(&name, Duration::ZERO, &tally);
    // A machine that is too busy is a failure, too.
    let lapses: usize =
        trial.nodes.iter().map(|node| node.process.log().matches("the lease was not renewed").count()).sum();
    assert_eq!((tally.repeated, tally.extra, tally.flickers), (0, 0, 0), "{tally:?}, {lapses} leases lapsed");
}

/// What a store costs: the first Started's way, and the server's time.
#[test]
#[ignore = "prints measurements"]
fn costs() {
    if Trial::new(1, 1, "").is_none() {
        return;
    }
    // Each user's first key; or one at another node than the owner's, which remembers the user.
    let first = |name: &str, trial: &Trial, known: bool| {
        let mut took: Vec<_> = (0..200)
            .map(|n| {
                let user = format!("user-{n}");
                let give = |node: usize, signal| trial.nodes[node % trial.nodes.len()].give("c", &user, signal);
                if known {
                    give(n + 1, "keystroke");
                    until("the icon", || trial.account.shown_since(&user).is_some());
                    give(n + 1, "message_sent");
                    until("no icon", || trial.account.shown_since(&user).is_none());
                }
                let given = trial.account.now();
                give(n, "keystroke");
                wait_for("the icon", || trial.account.shown_since(&user)) - given
            })
            .collect();
        took.sort();
        println!("first Started, {name}: p50 {:.2?}, p95 {:.2?}", took[took.len() / 2], took[took.len() * 95 / 100]);
    };
    first("without a store", &Trial::before(2, 0, "", None), false);
    let trial = Trial::new(2, 0, "").unwrap();
    trial.pass(Duration::from_secs(1));
    first("sticky", &trial, false);
    let trial = Trial::new(2, 0, "").unwrap();
    trial.pass(Duration::from_secs(1));
    first("hopping", &trial, true);
    for hops in [false, true] {
        let mut trial = Trial::new(2, 3_000, "").unwrap();
        trial.begin(hops);
        trial.pass(Duration::from_secs(3));
        let redis = trial.redis.as_ref().unwrap();
        let (busy, keys, since) = (redis.busy(), trial.keys(), trial.account.now());
        trial.pass(Duration::from_secs(10));
        let (busy, keys) = (redis.busy() - busy, trial.keys() - keys);
        let time = trial.account.now() - since;
        println!(
            "store, {}: {:.0} keys a second, {:.1} % of a core",
            if hops { "hopping" } else { "sticky" },
            keys as f64 / time.as_secs_f64(),
            100.0 * busy.as_secs_f64() / time.as_secs_f64()
        );
        trial.cease();
    }
}
