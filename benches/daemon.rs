//! The daemon as a whole, where the other benchmarks measure a part of its work: how soon it is ready, how often it wakes
//! while nobody types, how late icons go off while a whole org types, and what a crowd leaves in memory.
//!
//! `cargo bench --bench daemon` takes some three minutes; `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::{
    Subject, id, pour, quantile, quick, resident_bytes_of, start_sandbox, start_typingd_before, start_upstream,
};
use typingd::base::clock::{Stopwatch, stopwatch};

/// The sessions of a whole org.
const ORG: usize = 11_000;
/// Users who cease to type in a second: with the Starteds of the others, within the rate.
const CEASE_PER_SECOND: usize = 900;
const DISMISS_AFTER: Duration = Duration::from_secs(2);
/// Everybody presses a key once in so many ticks.
const TICKS: usize = 500;
const TICK: Duration = Duration::from_millis(2);
/// In front of each user's number.
const MARK: &str = "somebody-";

fn main() {
    ready();
    idle();
    lateness();
    crowd();
}

/// Prints how long the README's first command takes until it is ready, without building.
fn ready() {
    let rounds = if quick() { 1 } else { 20 };
    let mut millis: Vec<f64> = (0..rounds)
        .map(|_| {
            let watch = stopwatch();
            let _sandbox = start_sandbox();
            watch.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    println!("start to ready, sandbox: p50 {:.0} ms, worst {:.0} ms", quantile(&millis, 0.5), quantile(&millis, 1.0));
}

/// Prints how often a daemon wakes that remembers many conversations in which nothing happens.
fn idle() {
    let (conversations, counted) = if quick() { (100, 1) } else { (100_000, 20) };
    let subject = start_sandbox();
    let mut lines = String::new();
    for n in 0..conversations {
        // The times of messages are remembered for minutes.
        let at = 1_700_000_000_000_u64;
        let _ = writeln!(lines, r#"{{"to":"support","from":"{}","signal":"message_sent","at":{at}}}"#, id(2, n));
    }
    pour(subject.address, &lines, 1);
    std::thread::sleep(Duration::from_secs(if quick() { 1 } else { 20 }));
    let before = sleeps(&subject);
    std::thread::sleep(Duration::from_secs(counted));
    let wakes = (sleeps(&subject) - before) as f64 / counted as f64;
    println!("idle, {conversations} silent conversations: wakes {wakes:.2} times a second");
}

/// How often the threads of a process have gone to sleep by themselves.
fn sleeps(subject: &Subject) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", subject.process.id())).into_iter().flatten().flatten();
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    tasks.filter_map(|task| of(std::fs::read_to_string(task.path().join("status")).ok()?)).sum()
}

/// Prints how late icons go off while a whole org types, against a bare timer of the runtime at the same times.
fn lateness() {
    let users = if quick() { 100 } else { ORG };
    let watch = stopwatch();
    let hidden: Arc<Vec<AtomicU64>> = Arc::new((0..users).map(|_| AtomicU64::new(0)).collect());
    let upstream = start_upstream({
        let (watch, hidden) = (watch, hidden.clone());
        move |request| {
            let text = String::from_utf8_lossy(request);
            let user = text.split(MARK).nth(1).and_then(|rest| rest.get(..7)?.parse::<usize>().ok());
            if let Some(hidden) = user.and_then(|user| hidden.get(user))
                && text.contains("TypingStoppedIndicator")
            {
                hidden.store(micros(&watch), Ordering::Relaxed);
            }
        }
    });
    let directory = tempfile::tempdir().expect("a directory for settings");
    let settings = format!("timing = {{ check_interval = '60s', dismiss_after = '{}s' }}", DISMISS_AFTER.as_secs());
    let subject = start_typingd_before(upstream, &settings, directory.path());
    let last_keys = type_and_cease(subject.address, users, &watch);
    std::thread::sleep(DISMISS_AFTER + Duration::from_secs(1));
    let dismiss_after = DISMISS_AFTER.as_micros() as u64;
    let late = |(user, last_key): (usize, &u64)| {
        let hidden = hidden[user].load(Ordering::Relaxed);
        assert!(hidden >= last_key + dismiss_after, "the icon of {user} went off at {hidden} us: early, or never");
        (hidden - last_key - dismiss_after) as f64 / 1e3
    };
    let mut typingd: Vec<f64> = last_keys.iter().enumerate().map(late).collect();
    typingd.sort_by(f64::total_cmp);
    let bare = bare_timers(&last_keys);
    println!(
        "lateness of Stopped, {users} typing: p50 {:.1} ms, p99 {:.1} ms; a bare timer {:.1}, {:.1}; none early",
        quantile(&typingd, 0.5),
        quantile(&typingd, 0.99),
        quantile(&bare, 0.5),
        quantile(&bare, 0.99),
    );
}

/// All press a key a second until their icons are on, and cease one after the other. Returns the time of each one's last key.
fn type_and_cease(address: SocketAddr, users: usize, watch: &Stopwatch) -> Vec<u64> {
    let shown_by = Duration::from_secs(if quick() { 1 } else { 8 });
    let begun = watch.elapsed();
    let ceases = |user: usize| shown_by + Duration::from_secs(1).mul_f64(user as f64 / CEASE_PER_SECOND as f64);
    let mut last_keys = vec![0; users];
    for tick in 0_u32.. {
        let due = TICK * tick;
        if due > ceases(users) {
            break;
        }
        std::thread::sleep((begun + due).saturating_sub(watch.elapsed()));
        let typing: Vec<usize> =
            (tick as usize % TICKS..users).step_by(TICKS).filter(|&user| due < ceases(user)).collect();
        let mut lines = String::new();
        for user in &typing {
            let _ = writeln!(lines, r#"{{"to":"support","from":"{MARK}{user:07}","signal":"keystroke"}}"#);
        }
        let now = micros(watch);
        typing.iter().for_each(|&user| last_keys[user] = now);
        if !lines.is_empty() {
            pour(address, &lines, 1);
        }
    }
    last_keys
}

/// How late a bare sleep ends at the same distances, in milliseconds, sorted.
fn bare_timers(times: &[u64]) -> Vec<f64> {
    let first = times.iter().min().copied().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut late = runtime.block_on(async {
        let watch = stopwatch();
        let sleeps: Vec<_> = times
            .iter()
            .map(|time| {
                let wait = Duration::from_micros(time - first);
                tokio::spawn(async move {
                    tokio::time::sleep(wait.saturating_sub(watch.elapsed())).await;
                    watch.elapsed().saturating_sub(wait).as_secs_f64() * 1e3
                })
            })
            .collect();
        let mut late = Vec::with_capacity(sleeps.len());
        for sleep in sleeps {
            late.push(sleep.await.expect("a sleep ends well"));
        }
        late
    });
    late.sort_by(f64::total_cmp);
    late
}

/// Prints what a crowd takes in memory, and what of it is left a minute after it has fallen silent.
fn crowd() {
    let (crowd, silence) = if quick() { (1_000, 1) } else { (1_000_000, 60) };
    let upstream = start_upstream(|_| {});
    let directory = tempfile::tempdir().expect("a directory for settings");
    let subject = start_typingd_before(upstream, "", directory.path());
    let resident = || resident_bytes_of(&subject.process.id().to_string()) as f64 / f64::from(1 << 20);
    let line = |n: u64| format!("{{\"to\":\"support\",\"from\":\"{}\",\"signal\":\"keystroke\"}}\n", id(2, n));
    // As many as fill what is kept of late, whose bound a crowd doesn't move.
    pour(subject.address, &(0..crowd / 50).map(line).collect::<String>(), 1);
    std::thread::sleep(Duration::from_secs(silence));
    let before = resident();
    for begin in (0..crowd).step_by(50_000) {
        pour(subject.address, &(begin..crowd.min(begin + 50_000)).map(line).collect::<String>(), 1);
    }
    let most = resident();
    std::thread::sleep(Duration::from_secs(silence));
    let after = resident();
    println!(
        "memory with {crowd} conversations: {most:.1} MiB; {silence} s later {after:.1} MiB, {:.2} x of the {before:.1} MiB before",
        after / before
    );
}

fn micros(watch: &Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX)
}
