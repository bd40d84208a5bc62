//! Hours of mixed load with a fault every few seconds, in as short a time as CI has: no icon is left on, and memory and
//! descriptors stay where they are. `TYPINGD_SOAK_SECONDS=3600` makes it an hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, JSON, Sandbox, signal_of};
use crate::faults_bars::measured;
use crate::process::{Process, typingd, until};
use crate::wire::Address;

/// Without the variable.
const SECONDS: u64 = 12;
/// A fault comes this often, and there are so many kinds that each has its turn within half a minute.
const FAULT_SPACING: Duration = Duration::from_millis(1_500);
const PEOPLE: u64 = 400;
/// What a daemon may have more than at its first look: the allocator's room, and connections for all requests in flight, of
/// which some have just been given up.
const KILOBYTES_MORE_MAX: u64 = 24 * 1024;
const DESCRIPTORS_MORE_MAX: usize = 48;
/// From here on memory and descriptors are held to the slopes that they may have.
const SLOPES_SECONDS_MIN: u64 = 1_800;

const SETTINGS: &str = "delivery.state_dir = 'state'\ntiming.dismiss_after = '300ms'\ntiming.check_interval = '200ms'\n\
                        upstream.request_timeout = '500ms'\ningest.max_conversations = 1000\n\
                        upstream.max_in_flight = 16";

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Types, sends and leaves at random until it is over, whether or not there is a daemon.
fn type_away(address: &Address, over: &AtomicBool, taken: &AtomicU64) {
    let mut random = Random(5);
    while !over.load(Ordering::SeqCst) {
        let some = (0..20).map(|_| {
            let kind = ["keystroke", "keystroke", "keystroke", "message_sent", "stopped", "ended"];
            let (user, channel) = (random.below(PEOPLE), random.below(3));
            signal_of(&format!("c{channel}"), &format!("user-{user}"), kind[random.below(6) as usize])
        });
        let body = Value::from(some.collect::<Vec<_>>()).to_string();
        if let Some(answer) = address.try_call("POST", "/v1/signals", &[JSON], body.as_bytes()) {
            assert!([202, 429, 503].contains(&answer.status), "{answer:?}");
            taken.fetch_add(u64::from(answer.status == 202), Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kilobytes in memory, and open descriptors.
pub(crate) fn size_of(process: &Process) -> (u64, usize) {
    let directory = format!("/proc/{}", process.id());
    let status = std::fs::read_to_string(format!("{directory}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (kilobytes, std::fs::read_dir(format!("{directory}/fd")).unwrap().count())
}

fn faults(sandbox: &Sandbox, faults: &[&str]) {
    sandbox.set_faults(&json!({"faults": faults}));
}

/// One fault of each kind in turn. Returns whether the process is another one since.
fn befall(kind: u64, sandbox: &Sandbox, daemon: &mut Daemon, options: &[&str]) -> bool {
    match kind {
        0 => faults(sandbox, &["429:1.0"]),
        1 => faults(sandbox, &["503:0.5", "close-after:0.2"]),
        2 => faults(sandbox, &["401:1.0"]),
        3 => daemon.reconfigure(|text| match text.contains("'300ms'") {
            true => text.replace("'300ms'", "'250ms'"),
            false => text.replace("'250ms'", "'300ms'"),
        }),
        // An upstream that stands still is one that restarts, to those who have connections to it.
        4 => sandbox.process.tell("STOP"),
        5 => {
            daemon.process.kill();
            restart(daemon, options);
            return true;
        }
        6 => {
            daemon.process.tell("TERM");
            daemon.process.end();
            restart(daemon, options);
            return true;
        }
        _ => {}
    }
    false
}

fn recover(kind: u64, sandbox: &Sandbox) {
    match kind {
        0..=2 => faults(sandbox, &[]),
        4 => sandbox.process.tell("CONT"),
        _ => {}
    }
}

/// At the same address, as a service manager does it.
fn restart(daemon: &mut Daemon, options: &[&str]) {
    let file = daemon.file("typingd.toml");
    let arguments = [&["run", "--config", file.to_str().unwrap()], options].concat();
    daemon.process = Process::start(typingd(&arguments));
    daemon.address = daemon.process.address();
}

/// How much a figure rises in an hour, by the line that is nearest to all of its values, each at its second.
fn slope(values: &[(f64, f64)]) -> f64 {
    let count = values.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| values.iter().map(of).sum::<f64>() / count;
    let (time, value) = (mean(|(time, _)| *time), mean(|(_, value)| *value));
    let rise: f64 = values.iter().map(|(at, seen)| (at - time) * (seen - value)).sum();
    let run: f64 = values.iter().map(|(at, _)| (at - time).powi(2)).sum();
    3_600.0 * rise / run.max(f64::EPSILON)
}

#[test]
fn an_hour_of_faults_leaves_no_icon_on_and_no_memory_used() {
    let seconds = std::env::var("TYPINGD_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let sandbox = Sandbox::start(&["--jitter", "10ms"]);
    let socket = tempfile::tempdir().unwrap();
    let listen = format!("unix:{}", socket.path().join("typingd.sock").display());
    let options = ["--listen", &listen];
    let settings = format!("{SETTINGS}\ningest.listen = ['{listen}']");
    let mut daemon = Daemon::start(&sandbox.address.url(), &settings);
    let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let typing = std::thread::spawn({
        let (address, over, taken) = (daemon.address.clone(), Arc::clone(&over), Arc::clone(&taken));
        move || type_away(&address, &over, &taken)
    });
    let (watch, mut random) = (clock::stopwatch(), Random(3));
    let mut first_look: Option<(u64, usize)> = None;
    let mut count = 0;
    let mut sizes = Vec::new();
    while watch.elapsed() < Duration::from_secs(seconds) {
        // Those that end the process come once in a while only, and not in the second half: memory that grows needs one
        // that lives.
        let half = Duration::from_secs(seconds) / 2;
        let kind = if random.below(6) == 0 && watch.elapsed() < half { 5 + random.below(2) } else { count % 5 };
        count += 1;
        if befall(kind, &sandbox, &mut daemon, &options) {
            first_look = None;
        }
        std::thread::sleep(FAULT_SPACING / 2);
        recover(kind, &sandbox);
        std::thread::sleep(FAULT_SPACING / 2);
        let (kilobytes, descriptors) = size_of(&daemon.process);
        // After the first tenth of that half its tables and buffers have their size.
        if watch.elapsed() > half * 11 / 10 {
            sizes.push((watch.elapsed().as_secs_f64(), kilobytes as f64, descriptors as f64));
        }
        let (kilobytes_first, descriptors_first) = *first_look.get_or_insert((kilobytes, descriptors));
        assert!(kilobytes <= kilobytes_first + KILOBYTES_MORE_MAX, "{kilobytes} kB, {kilobytes_first} at first");
        assert!(descriptors <= descriptors_first + DESCRIPTORS_MORE_MAX, "{descriptors}, {descriptors_first} at first");
    }
    over.store(true, Ordering::SeqCst);
    typing.join().unwrap();
    let kilobytes = slope(&sizes.iter().map(|(at, kilobytes, _)| (*at, *kilobytes)).collect::<Vec<_>>());
    let descriptors = slope(&sizes.iter().map(|(at, _, descriptors)| (*at, *descriptors)).collect::<Vec<_>>());
    measured("soak: kB and descriptors more in an hour, faults", (kilobytes, descriptors, count, sizes.last()));
    // In less time the noise is greater than what is sought.
    if seconds >= SLOPES_SECONDS_MIN {
        assert!(kilobytes < 1_024.0 && descriptors < 4.0, "{kilobytes} kB and {descriptors} descriptors in an hour");
    }
    assert!(taken.load(Ordering::SeqCst) > seconds, "hardly anybody typed");
    // Nobody types any more, and all goes well: every icon goes off by itself.
    until("every icon off", || sandbox.shown() == 0);
    until("nothing owed", || daemon.address.get("/v1/status").json()["conversations"]["unsettled"] == 0);
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}
