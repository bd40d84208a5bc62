//! The bars of `docs/faults.md` that are numbers, before the upstream: how soon, how often, how late. As a rule each is held
//! in a size that takes seconds, with slack for a busy machine; `TYPINGD_BARS=full` takes the whole size and no slack, and
//! with `--nocapture` the tests tell what they measured.

use std::collections::HashMap;
use std::fmt::Debug;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use typingd::base::clock;

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, signal_of};
use crate::delivery::jwt;
use crate::exposition::{Page, Text};
use crate::key;
use crate::process::{Process, binary, exists, until};
use crate::soak::size_of;
use crate::wire::Address;

pub(crate) fn is_full() -> bool {
    std::env::var_os("TYPINGD_BARS").is_some_and(|value| value == "full")
}

/// What a test takes as a rule, or for its bar in full.
pub(crate) fn sized<T>(usual: T, full: T) -> T {
    if is_full() { full } else { usual }
}

#[expect(clippy::print_stdout, reason = "goes to the output of the test, which --nocapture shows")]
pub(crate) fn measured(bar: &str, what: impl Debug) {
    println!("measured: {bar}: {what:?}");
}

/// Nothing may take longer than its bar, or a few times that on a machine that does much else.
pub(crate) fn soon_enough(what: &str, took: Duration, bar: Duration) {
    let bar = if is_full() { bar } else { bar * 8 };
    assert!(took <= bar, "{what}: {took:?}, expected at most {bar:?}");
}

/// The middle, the 99th percentile and the greatest.
pub(crate) fn spread(mut all: Vec<Duration>) -> [Duration; 3] {
    assert!(!all.is_empty(), "nothing was measured");
    all.sort_unstable();
    [all.len() / 2, (all.len() - 1) * 99 / 100, all.len() - 1].map(|at| all[at])
}

pub(crate) fn lines(users: impl Iterator<Item = usize>, signal: &str) -> String {
    let line = |user: usize| format!("{{\"to\":\"c\",\"from\":\"user-{user}\",\"signal\":\"{signal}\"}}\n");
    users.map(line).collect()
}

/// Gives a signal of each, all of which must be taken.
fn give_all(address: &Address, users: std::ops::Range<usize>, signal: &str) {
    let count = users.len();
    let answer = address.call("POST", "/v1/signals", &[NDJSON], lines(users, signal).as_bytes());
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(count as u64)), "{answer:?}");
}

fn shown(upstream: &Address) -> u64 {
    upstream.get("/icons").json()["shown"].as_u64().unwrap()
}

/// 500 events a second of all kinds, until the daemon is gone.
fn type_until_it_is_gone(address: &Address) {
    for round in 0.. {
        let some = (0..10).map(|i| {
            let kind = if (round + i) % 5 == 4 { "stopped" } else { "keystroke" };
            signal_of("c", &format!("user-{}", (round * 10 + i) * 7 % 1_000), kind)
        });
        let body = Value::from(some.collect::<Vec<_>>()).to_string();
        if address.try_call("POST", "/v1/signals", &[JSON], body.as_bytes()).is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn after_a_kill_the_icons_go_off_within_moments() {
    let sandbox = Sandbox::start(&[]);
    let settings = "delivery.state_dir = 'state'\ntiming.dismiss_after = '1m'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    let (mut first, mut all, mut recovered) = (Vec::new(), Vec::new(), 0);
    for kill in 0..sized(4, 200) {
        let address = daemon.address.clone();
        let typing = std::thread::spawn(move || type_until_it_is_gone(&address));
        until("an icon", || sandbox.shown() > 0);
        std::thread::sleep(Duration::from_millis(kill * 7_919 % 700));
        daemon.process.kill();
        typing.join().unwrap();
        let on = sandbox.shown();
        let watch = clock::stopwatch();
        let upstream = sandbox.address.clone();
        let looking = std::thread::spawn(move || {
            until("the first Stopped", || shown(&upstream) < on);
            let first = watch.elapsed();
            until("every icon off", || shown(&upstream) == 0);
            (first, watch.elapsed())
        });
        if on > 0 {
            daemon.crash();
            let (took_first, took_all) = looking.join().unwrap();
            let bar = Duration::from_secs_f64(2.0 + on as f64 / 2_000.0);
            soon_enough("every icon off", took_all, bar);
            first.push(took_first);
            all.push(took_all);
            recovered += on;
        }
    }
    let spread_first = spread(first);
    measured("kills: first Stopped after the start, all off (p50, p99, most)", (spread_first, spread(all), recovered));
    soon_enough("the first Stopped", spread_first[1], Duration::from_millis(250));
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_stop_hides_thousands_of_icons_as_fast_as_the_rate() {
    let users = sized(1_500, 11_000);
    let sandbox = Sandbox::start(&[]);
    let settings = "upstream.max_requests_per_second = 1900\ntiming.dismiss_after = '2m'\n\
                    timing.check_interval = '2m'\ndelivery.started_lifespan = '1m'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    give_all(&daemon.address, 0..users, "keystroke");
    until("every icon on", || sandbox.shown() == users as u64);
    // It goes on typing all the while.
    let (over, address) = (AtomicBool::new(false), &daemon.address.clone());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let _ = address.try_call("POST", "/v1/signals", &[NDJSON], lines(0..20, "keystroke").as_bytes());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let watch = clock::stopwatch();
        daemon.process.stop();
        let took = watch.elapsed();
        over.store(true, Ordering::SeqCst);
        measured("stop: all off", (users, took));
        soon_enough(
            "the end",
            took,
            Duration::from_secs_f64(2.0 + users as f64 / 1_900.0).min(Duration::from_secs(10)),
        );
    });
    assert_eq!(sandbox.shown(), 0, "{}", daemon.process.log());
}

#[test]
fn first_keys_leave_at_once_and_no_stop_is_early_or_late() {
    let seconds = sized(2, 10);
    let sandbox = Sandbox::start(&[]);
    let dismiss = Duration::from_millis(2_000);
    let daemon = Daemon::start(&sandbox.address.url(), "delivery.started_lifespan = '5s'");
    let mut typed = HashMap::new();
    let watch = clock::stopwatch();
    for tick in 0..seconds * 50 {
        let due = Duration::from_millis(20 * tick as u64);
        std::thread::sleep(due.saturating_sub(watch.elapsed()));
        for user in tick * 10..(tick + 1) * 10 {
            typed.insert(format!("user-{user}"), clock::wall_millis());
        }
        give_all(&daemon.address, tick * 10..(tick + 1) * 10, "keystroke");
    }
    until("every icon off", || daemon.address.get("/v1/status").json()["conversations"]["unsettled"] == 0);
    for seen in sandbox.requests().iter().filter(|seen| seen["entry_type"] == "TypingStoppedIndicator") {
        let after = seen["at"].as_u64().unwrap() - typed[seen["from"].as_str().unwrap()];
        assert!(after >= dismiss.as_millis() as u64, "a Stopped after {after} ms: {seen}");
    }
    let latency = daemon.address.get("/v1/status").json()["latency"].take();
    measured("500 first keys a second: from a signal to the wire, and how late timers are", &latency);
    // A busy machine lets some wait for long, whoever asks for it.
    let part = sized("p50", "p99");
    let millis = |of: &str| Duration::from_secs_f64(latency[of][part].as_f64().unwrap() / 1e3);
    soon_enough("from a key to the wire", millis("signal_to_wire_ms"), Duration::from_millis(5));
    soon_enough("a timer", millis("timer_lateness_ms"), Duration::from_millis(50));
}

#[test]
fn beyond_the_rate_refreshes_are_shed_and_no_stop_waits() {
    // A tenth more refreshes than the rate has room for.
    let (rate, check, seconds) = sized((190, 1, 4), (1_900, 5, 40));
    let users = rate * check * 11 / 10;
    let sandbox = Sandbox::start(&[]);
    let settings = format!(
        "upstream.max_requests_per_second = {rate}\ntiming.check_interval = '{check}s'\ntiming.dismiss_after = '1m'"
    );
    let daemon = Daemon::start(&sandbox.address.url(), &settings);
    let (watch, mut typed_at, mut waits) = (clock::stopwatch(), Duration::ZERO, Vec::new());
    give_all(&daemon.address, 0..users, "keystroke");
    for round in 0.. {
        if watch.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        if watch.elapsed() - typed_at > Duration::from_millis(check as u64 * 400) {
            typed_at = watch.elapsed();
            give_all(&daemon.address, 0..users, "keystroke");
        }
        let user = format!("user-{}", round * 31 % users);
        let one = clock::stopwatch();
        let answer = daemon.post("/v1/signals?wait=20s", &signal_of("c", &user, "message_sent"));
        waits.push(one.elapsed());
        assert_eq!(answer.json()["settled"], true, "{answer:?}");
        daemon.give("c", &user, "keystroke");
        std::thread::sleep(Duration::from_millis(40));
    }
    let status = daemon.address.get("/v1/status").json();
    let peak = sandbox.address.get("/requests?limit=1").json()["peak_per_second"].take();
    let waits = spread(waits);
    let shed = &status["deliveries"]["shed"];
    measured(
        "pressure: users, rate, peak, shed, Stopped acknowledged (p50, p99, most)",
        (users, rate, &peak, shed, waits),
    );
    assert!(peak.as_u64().unwrap() <= rate as u64, "{peak} requests in a second, at most {rate} may leave");
    assert!(shed.as_u64() > Some(0), "that was no pressure: {status}");
    assert_eq!(status["deliveries"]["stops_given_up"], 0, "{status}");
    soon_enough("a Stopped", waits[1], Duration::from_secs(1));
}

#[test]
fn in_the_pause_of_a_rate_limit_hardly_anything_leaves() {
    let (limit, check, seconds) = sized((50, 2, 6), (1_000, 5, 40));
    let sandbox = Sandbox::start(&["--rate-limit", &limit.to_string()]);
    let settings = format!(
        "upstream.max_requests_per_second = {}\ntiming.check_interval = '{check}s'\ntiming.dismiss_after = '1m'",
        2 * limit
    );
    let daemon = Daemon::start(&sandbox.address.url(), &settings);
    let watch = clock::stopwatch();
    while watch.elapsed() < Duration::from_secs(seconds) {
        give_all(&daemon.address, 0..limit * check * 3 / 2, "keystroke");
        std::thread::sleep(Duration::from_millis(300));
    }
    let requests = sandbox.requests();
    // From the first 429 on nothing leaves for a second; what was on its way by then may still come.
    let on_their_way = sized(500, 100);
    let (mut pauses, mut most) = (0, 0);
    let mut until = 0;
    for limited in requests.iter().filter(|seen| seen["status"] == 429) {
        let at = limited["at"].as_u64().unwrap();
        if at >= until {
            until = at + 1_000;
            pauses += 1;
            let within = |seen: &&Value| (at + on_their_way..until).contains(&seen["at"].as_u64().unwrap());
            most = most.max(requests.iter().filter(within).count());
        }
    }
    let status = daemon.address.get("/v1/status").json();
    let total = sandbox.address.get("/requests?limit=1").json()["total"].as_u64().unwrap();
    let retried = status["deliveries"]["retried"].as_u64().unwrap();
    let share = retried as f64 / total as f64;
    measured("rate limit: pauses, most requests in one, retried, of all", (pauses, most, retried, total, share));
    assert!(pauses > 0, "the limit was none: {status}");
    assert!(most <= 10, "{most} requests in a pause of a second");
    assert!(share <= 0.1, "{retried} of {total} requests were retries");
}

#[test]
fn a_failing_upstream_sees_two_requests_a_second_at_most() {
    let (users, seconds) = sized((100, 3), (1_000, 30));
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '2m'\ntiming.check_interval = '2m'");
    give_all(&daemon.address, 0..users, "keystroke");
    until("every icon on", || sandbox.shown() == users as u64);
    sandbox.set_faults(&json!({"faults": ["503"]}));
    give_all(&daemon.address, 0..users, "message_sent");
    let is_open = || daemon.address.get("/v1/status").json()["why"].as_str().is_some();
    until("an open circuit breaker", || daemon.address.get("/readyz").status == 503 && is_open());
    let settled = || daemon.address.get("/v1/status").json()["requests"]["in_flight"].as_u64() <= Some(1);
    until("an end of what was in flight", settled);
    let total = || sandbox.address.get("/requests?limit=1").json()["total"].as_u64().unwrap();
    let (watch, before) = (clock::stopwatch(), total());
    std::thread::sleep(Duration::from_secs(seconds));
    let (came, took) = (total() - before, watch.elapsed().as_secs_f64());
    sandbox.set_faults(&json!({}));
    let watch = clock::stopwatch();
    until("every icon off", || sandbox.shown() == 0);
    measured("failing upstream: requests, in seconds, all owed after", (came, took, users, watch.elapsed()));
    // Of a machine that does much else, some of those before arrive late.
    let late = sized(10.0, 0.0);
    assert!(came as f64 <= 2.0 * took + 2.0 + late, "{came} requests in {took} s");
    soon_enough("what was owed", watch.elapsed(), Duration::from_secs(5));
}

#[test]
fn a_revoked_token_is_renewed_once_for_all_in_flight() {
    let users = sized(200, 1_000);
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("public.pem");
    std::fs::write(&public, key::public()).unwrap();
    let latency = ["--latency", "800ms", "--strict-tokens", "--public-key", public.to_str().unwrap()];
    let sandbox = Sandbox::start(&latency);
    let auth = jwt(&format!("{}/services/oauth2/token", sandbox.address.url()));
    let settings = "timing.dismiss_after = '2m'\ntiming.check_interval = '2m'\nupstream.max_in_flight = 1000\n\
                    delivery.started_lifespan = '1m'";
    let prepare = |dir: &TempDir| std::fs::write(dir.path().join("key.pem"), key::private()).unwrap();
    let daemon = Daemon::start_with(&sandbox.address.url(), &auth, settings, prepare);
    give_all(&daemon.address, 0..users, "keystroke");
    until("every icon on", || sandbox.shown() == users as u64);
    let before = sandbox.token_calls();
    assert!(sandbox.address.call("DELETE", "/tokens", &[], b"").status < 300);
    give_all(&daemon.address, 0..users, "message_sent");
    until("every icon off", || sandbox.shown() == 0);
    let status = daemon.address.get("/v1/status").json();
    let calls = sandbox.token_calls() - before;
    let refused = &status["deliveries"]["not_sent"];
    measured("revoked token: in flight with it, calls", (refused, calls));
    assert!(refused.as_u64().unwrap() > users as u64 / 2, "they were in flight: {status}");
    assert_eq!(calls, 1);
    assert_eq!(status["deliveries"]["stops_given_up"], 0, "{status}");
}

#[test]
fn a_token_endpoint_that_fails_is_asked_once_a_second_at_most() {
    let seconds = sized(4, 30);
    for fault in ["unavailable", "invalid_grant"] {
        let sandbox = Sandbox::start(&[]);
        sandbox.set_faults(&json!({"token": fault}));
        let auth = jwt(&format!("{}/services/oauth2/token", sandbox.address.url()));
        let prepare = |dir: &TempDir| std::fs::write(dir.path().join("key.pem"), key::private()).unwrap();
        let watch = clock::stopwatch();
        let daemon = Daemon::start_with(&sandbox.address.url(), &auth, "timing.dismiss_after = '1m'", prepare);
        while watch.elapsed() < Duration::from_secs(seconds) {
            give_all(&daemon.address, 0..20, "keystroke");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (calls, took) = (sandbox.token_calls(), watch.elapsed());
        measured("failing token endpoint: calls, in", (fault, calls, took));
        assert!((1..=took.as_secs() + 1).contains(&calls), "{fault}: {calls} calls in {took:?}");
        assert_eq!(daemon.address.get("/readyz").status, 503, "{fault}");
    }
}

#[test]
fn an_upstream_that_never_answers_costs_no_memory() {
    let (users, seconds) = sized((300, 3), (3_000, 30));
    let sandbox = Sandbox::start(&[]);
    let settings = "upstream.request_timeout = '300ms'\nupstream.max_in_flight = 64\ntiming.dismiss_after = '2m'";
    let daemon = Daemon::start(&sandbox.address.url(), settings);
    give_all(&daemon.address, 0..users, "keystroke");
    until("every icon on", || sandbox.shown() == users as u64);
    let before = size_of(&daemon.process).0;
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    give_all(&daemon.address, 0..users, "message_sent");
    let (watch, mut most, mut most_in_flight) = (clock::stopwatch(), 0, 0);
    while watch.elapsed() < Duration::from_secs(seconds) {
        most = most.max(size_of(&daemon.process).0);
        let status = daemon.address.get("/v1/status").json();
        most_in_flight = most_in_flight.max(status["requests"]["in_flight"].as_u64().unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    sandbox.set_faults(&json!({}));
    until("every icon off", || sandbox.shown() == 0);
    measured("silent upstream: kB before, most, most in flight", (before, most, most_in_flight));
    assert!(most_in_flight <= 64, "{most_in_flight} in flight");
    assert!(most <= before + 12 * 1_024, "{most} kB, {before} before");
}

#[test]
fn a_process_that_stood_still_hides_its_icons_at_once() {
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '1s'");
    give_all(&daemon.address, 0..100, "keystroke");
    until("every icon on", || sandbox.shown() == 100);
    daemon.process.tell("STOP");
    std::thread::sleep(Duration::from_secs(sized(3, 120)));
    assert_eq!(sandbox.shown(), 100);
    daemon.process.tell("CONT");
    let watch = clock::stopwatch();
    until("every icon off", || sandbox.shown() == 0);
    measured("stood still: all off after", watch.elapsed());
    soon_enough("every icon off", watch.elapsed(), Duration::from_secs(2));
}

/// The ports from which a process has connections to a port over IPv4.
fn ports_to(process: u32, port: u16) -> Vec<u16> {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let port_of = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let established = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = established.filter(|fields| fields[3] == "01" && port_of(fields[2]) == port);
    established.map(|fields| port_of(fields[1])).collect()
}

#[test]
fn a_connection_that_goes_dead_costs_one_timeout() {
    let rule = "ip link set lo up && ip rule add pref 10 from all lookup local && ip rule del pref 0";
    let tried = Command::new("unshare").args(["-Urn", "sh", "-c", rule]).status();
    if !exists("nsenter") || !tried.is_ok_and(|status| status.success()) {
        eprintln!("left out: there is no network of its own here");
        return;
    }
    // Both have a network of their own, in which routes can be taken away.
    let mut command = Command::new("unshare");
    command.args(["-Urn", "sh", "-c", &format!("{rule} && exec \"$@\""), "sh"]).arg(binary());
    command.args(["sandbox", "--listen", "127.0.0.1:7000"]);
    let upstream = Process::start(command);
    until("the sandbox's address", || upstream.output().contains("base_url"));
    let within = |program: &std::ffi::OsStr| {
        let mut command = Command::new("nsenter");
        command.args(["-t", &upstream.id().to_string(), "-U", "-n", "--preserve-credentials"]).arg(program);
        command
    };
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("typingd.toml"), directory.path().join("s"));
    let text = "upstream.base_url = 'http://127.0.0.1:7000'\nupstream.org_id = '00DXX0000000001'\n\
                upstream.authorization_context = 'A'\nupstream.auth.token_file = 'token'\ntiming.dismiss_after = '1m'";
    std::fs::write(&file, text).unwrap();
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let mut command = within(&binary());
    command.args(["run", "--config", file.to_str().unwrap(), "--listen", &format!("unix:{}", socket.display())]);
    let mut daemon = Process::start(command);
    let address = daemon.address();
    daemon.until_logged(" ready");
    give_all(&address, 0..1, "keystroke");
    let unsettled = || address.get("/v1/status").json()["conversations"]["unsettled"].as_u64().unwrap();
    let delivered = || address.get("/v1/status").json()["deliveries"]["delivered"].as_u64().unwrap();
    until("the icon", || delivered() == 1);
    for port in ports_to(daemon.id(), 7_000) {
        let rule = format!("rule add pref 5 ipproto tcp sport {port} blackhole");
        let status = within("ip".as_ref()).args(rule.split(' ')).status();
        assert!(status.unwrap().success());
    }
    let watch = clock::stopwatch();
    give_all(&address, 0..1, "message_sent");
    until("the Stopped", || unsettled() == 0);
    let took = watch.elapsed();
    let page = Page::read(&address.get("/metrics").body, Text::Prometheus);
    let timeouts = page.value("typingd_deliveries_total", &[("outcome", "unsure"), ("cause", "no_answer")]);
    measured("dead connection: the Stopped is acknowledged after, timeouts", (took, timeouts));
    assert_eq!((delivered(), timeouts), (2, Some(1.0)), "{}", daemon.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    daemon.stop();
}
