//! What a store costs: the load on a real `redis-server` at 55,000 keys a second, by 2 and 8 typingd, with each key at
//! another one (hopping) or each user at one (sticky); the most requests in any second against the org's limit; and what it
//! adds to the way of a first key. All are processes of their own, before an upstream that keeps its own account.
//!
//! `cargo bench --bench fleet`; `BENCH_QUICK=1` only shows that it works. Without a `redis-server` it is left out.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[allow(dead_code, clippy::unwrap_used, reason = "the tests use the rest, and fail as tests do")]
#[path = "../tests/it/harness/account.rs"]
mod account;
#[allow(dead_code, clippy::unwrap_used, reason = "the tests use the rest, and fail as tests do")]
#[path = "../tests/store/server.rs"]
mod server;
mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use account::Account;
use server::Redis;
use support::{Random, Subject, connect, quantile, quick, request};
use tempfile::TempDir;

/// All of an org's sessions, each with five keys a second.
const TYPISTS: usize = 11_000;
/// The keys of so many at a time are one call to each node, and each types so often.
const SLICES: usize = 10;
const GAP: Duration = Duration::from_millis(200);
/// Of one org.
const LIMIT: u32 = 2_000;
const CHECK: Duration = Duration::from_secs(5);
const DISMISS: Duration = Duration::from_secs(2);

fn main() {
    let Some(redis) = Redis::start() else {
        println!("left out: there is no redis-server here");
        return;
    };
    let trip = round_trip(&redis);
    println!("a round trip to the store: {:.0} us", micros(trip));
    drop(redis);
    latency(trip);
    let (typists, time) = if quick() { (200, 1) } else { (TYPISTS, 10) };
    for nodes in [2, 8] {
        for routing in [Routing::Sticky, Routing::Hopping] {
            load(nodes, routing, typists, Duration::from_secs(time));
        }
    }
}

/// Which node a user's next key reaches.
#[derive(Clone, Copy, Debug)]
enum Routing {
    Sticky,
    Hopping,
}

struct Trial {
    account: Account,
    redis: Option<Redis>,
    nodes: Vec<(Subject, TcpStream)>,
    _directories: Vec<TempDir>,
}

impl Trial {
    /// So many nodes that share the org, or one without a store.
    fn new(nodes: usize, redis: Option<Redis>) -> Self {
        let account = Account::start(CHECK, DISMISS);
        let (mut started, mut directories) = (Vec::new(), Vec::new());
        for _ in 0..nodes {
            let directory = tempfile::tempdir().expect("a directory for settings");
            std::fs::write(directory.path().join("token"), "a-token").expect("the directory can be written to");
            let store = redis.as_ref().map_or_else(String::new, |redis| format!("store.url = '{}'", redis.url()));
            let settings = format!(
                "upstream.base_url = '{}'\nupstream.org_id = '00DXX0000000001'\nupstream.auth.token_file = 'token'\n\
                 upstream.authorization_context = 'Bench'\nupstream.max_requests_per_second = {LIMIT}\n{store}\n",
                account.url()
            );
            let subject = support::start_typingd(&settings, directory.path());
            let connection = connect(subject.address);
            started.push((subject, connection));
            directories.push(directory);
        }
        let trial = Self { account, redis, nodes: started, _directories: directories };
        if trial.redis.is_some() {
            // What the store may have forgotten has been reported by then.
            std::thread::sleep(Duration::from_secs(4));
        }
        trial
    }

    fn post(&mut self, node: usize, body: &str) {
        let connection = &mut self.nodes[node].1;
        connection.write_all(request(body).as_bytes()).expect("the daemon reads");
        let mut buffer = [0; 4_096];
        let read = connection.read(&mut buffer).expect("the daemon answers");
        assert!(buffer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&buffer[..read]));
    }

    /// Each user presses a key each [`GAP`]. Returns how many were pressed, and how far behind the last were.
    fn type_on(&mut self, typists: usize, time: Duration, routing: Routing, random: &mut Random) -> (usize, Duration) {
        let start = self.account.now();
        let (mut keys, mut slice, mut late) = (0, 0, Duration::ZERO);
        while self.account.now() < start + time {
            let mut bodies = vec![String::from("["); self.nodes.len()];
            for user in (slice % SLICES..typists).step_by(SLICES) {
                let node = match routing {
                    Routing::Sticky => user % self.nodes.len(),
                    Routing::Hopping => random.below(self.nodes.len()),
                };
                self.account.key(&name(user));
                let comma = if bodies[node].len() > 1 { "," } else { "" };
                let _ = write!(bodies[node], "{comma}{}", signal(user, "keystroke"));
                keys += 1;
            }
            for (node, body) in bodies.iter().enumerate().filter(|(_, body)| body.len() > 1) {
                self.post(node, &format!("{body}]"));
            }
            slice += 1;
            let due = start + GAP * slice as u32 / SLICES as u32;
            late = self.account.now().saturating_sub(due);
            std::thread::sleep(due.saturating_sub(self.account.now()));
        }
        (keys, late)
    }
}

fn load(nodes: usize, routing: Routing, typists: usize, time: Duration) {
    let mut trial = Trial::new(nodes, Redis::start());
    let mut random = Random(1);
    // Each icon is on by then, and the next refreshes are spread as the limit spreads the first.
    let warm_up = if quick() { Duration::from_secs(1) } else { 2 * CHECK };
    trial.type_on(typists, warm_up, routing, &mut random);
    let commands = |trial: &Trial| {
        let redis = trial.redis.as_ref().expect("it has one");
        let info: String = redis::cmd("INFO").arg("stats").query(&mut redis.connect()).expect("it answers");
        let count = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        let count = count.and_then(|count| count.trim().parse::<u64>().ok()).expect("it counts commands");
        (redis.busy(), count)
    };
    let (busy, count) = commands(&trial);
    let start = trial.account.now();
    let (keys, late) = trial.type_on(typists, time, routing, &mut random);
    let seconds = (trial.account.now() - start).as_secs_f64();
    let (busy, count) = { (commands(&trial).0 - busy, commands(&trial).1 - count) };
    let tally = trial.account.tally();
    println!(
        "{nodes} typingd, {}: {:.0} keys a second ({:.0} ms late); redis-server {:.1} % of a core, {:.0} commands a second; \
         peak {} of {LIMIT} requests in a second; {} Starteds twice, {} Stoppeds while typing",
        format!("{routing:?}").to_lowercase(),
        keys as f64 / seconds,
        late.as_secs_f64() * 1e3,
        100.0 * busy.as_secs_f64() / seconds,
        count as f64 / seconds,
        tally.peak,
        tally.repeated,
        tally.flickers,
    );
    // The figure depends on nothing of the machine.
    assert!(tally.peak <= LIMIT as usize, "the org's limit is exceeded");
}

/// A first key's way to the upstream: without a store, of a user that no node knows, and of one whom another owns.
fn latency(trip: Duration) {
    let count = if quick() { 20 } else { 2_000 };
    let control = first_keys(&mut Trial::new(1, None), count, None);
    let sticky = first_keys(&mut Trial::new(2, Redis::start()), count, None);
    let hopping = first_keys(&mut Trial::new(2, Redis::start()), count, Some(1));
    let bar = control.0 + 2.0 * micros(trip);
    for (name, (p50, p99)) in [("without a store", control), ("sticky", sticky), ("hopping", hopping)] {
        println!("a first key, {name}: p50 {p50:.0} us, p99 {p99:.0} us");
    }
    let (sticky, hopping) = (sticky.0 / bar, hopping.0 / bar);
    println!(
        "the bar, p50 without a store and two round trips: {bar:.0} us; sticky {sticky:.2} x, hopping {hopping:.2} x"
    );
}

/// The median and the 99th percentile, in microseconds. `owner` has heard of each user before.
fn first_keys(trial: &mut Trial, count: usize, owner: Option<usize>) -> (f64, f64) {
    if let Some(owner) = owner {
        for user in 0..count {
            trial.post(owner, &signal(user, "message_sent"));
        }
    }
    let mut took: Vec<_> = (0..count)
        .map(|user| {
            let given = trial.account.now();
            trial.post(0, &signal(user, "keystroke"));
            let shown = loop {
                if let Some(shown) = trial.account.shown_since(&name(user)) {
                    break shown;
                }
                assert!(trial.account.now() < given + Duration::from_secs(10), "the icon of {user} never came");
                std::thread::sleep(Duration::from_micros(500));
            };
            micros(shown.saturating_sub(given))
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (quantile(&took, 0.5), quantile(&took, 0.99))
}

fn round_trip(redis: &Redis) -> Duration {
    let mut connection = redis.connect();
    let watch = typingd::base::clock::stopwatch();
    let count = 1_000;
    for _ in 0..count {
        let _: String = redis::cmd("PING").query(&mut connection).expect("it answers");
    }
    watch.elapsed() / count
}

fn name(user: usize) -> String {
    format!("user-{user:07}")
}

fn signal(user: usize, kind: &str) -> String {
    format!(r#"{{"to":"support","from":"{}","signal":"{kind}"}}"#, name(user))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
