//! The bars of `docs/faults.md` that are numbers, before callers: reloads, floods, slow clients and bodies that are too
//! large. Their sizes are those of `faults_bars.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use typingd::base::clock;

use crate::bench::{Daemon, JSON, Sandbox, pair, signal_of};
use crate::faults_bars::{is_full, measured, sized, soon_enough, spread};
use crate::process::until;
use crate::soak::size_of;
use crate::wire::Address;

#[test]
fn a_reload_is_over_in_a_moment_and_drops_nothing() {
    let reloads = sized(10, 100);
    let sandbox = Sandbox::start(&[]);
    let mut daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '300ms'");
    let (over, given, address) = (AtomicBool::new(false), AtomicU64::new(0), daemon.address.clone());
    let took = std::thread::scope(|scope| {
        let typing = scope.spawn(|| {
            for round in 0_u64.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let body = signal_of("c", &format!("user-{}", round % 50), "keystroke").to_string();
                let answer = address.call("POST", "/v1/signals", &[JSON], body.as_bytes());
                assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(1)), "{answer:?}");
                given.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let took: Vec<_> = (0..reloads)
            .map(|round| {
                let (from, to) = if round % 2 == 0 { ("'300ms'", "'250ms'") } else { ("'250ms'", "'300ms'") };
                daemon.edit(from, to);
                let watch = clock::stopwatch();
                let answer = address.call("POST", "/v1/reload", &[], b"");
                assert_eq!(answer.status, 200, "{answer:?}");
                let took = watch.elapsed();
                let before = given.load(Ordering::SeqCst);
                until("more typing", || typing.is_finished() || given.load(Ordering::SeqCst) > before + 4);
                took
            })
            .collect();
        over.store(true, Ordering::SeqCst);
        took
    });
    let keystrokes = daemon.address.get("/v1/status").json()["signals"]["keystroke"].as_u64();
    assert_eq!(keystrokes, Some(given.load(Ordering::SeqCst)), "none is dropped");
    let took = spread(took);
    measured("reloads (p50, p99, most), keystrokes meanwhile", (took, keystrokes));
    soon_enough("a reload", took[0], Duration::from_millis(50));
    until("every icon goes off", || sandbox.shown() == 0);
    daemon.process.stop();
}

#[test]
fn with_an_address_full_the_unix_socket_answers() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("s").display());
    let sandbox = Sandbox::start(&[]);
    let settings = format!("timing.dismiss_after = '1m'\ningest.listen = ['127.0.0.1:0', '{socket}']");
    let daemon = Daemon::start(&sandbox.address.url(), &settings);
    let at = daemon.address.get("/v1/status").json()["listening"].take();
    let at = at.as_array().unwrap().iter().filter_map(Value::as_str).find(|at| !at.starts_with("unix:")).unwrap();
    let tcp = Address::parse(at);
    // Each with a body that doesn't come: seats are taken.
    let stalled: Vec<_> = (0..520)
        .map(|_| {
            let mut wire = tcp.connect().unwrap();
            wire.head("POST", "/v1/signals", &[JSON], "content-length: 9");
            wire
        })
        .collect();
    let unix = Address::parse(&socket);
    let waits: Vec<_> = (0..sized(20, 100))
        .map(|_| {
            let watch = clock::stopwatch();
            assert_eq!(unix.get("/healthz").status, 200);
            watch.elapsed()
        })
        .collect();
    drop(stalled);
    let waits = spread(waits);
    measured("the Unix socket beside 520 slow connections (p50, p99, most)", waits);
    soon_enough("an answer over the Unix socket", waits[2], Duration::from_secs(1));
}

#[test]
fn what_is_too_large_takes_no_memory() {
    let (_sandbox, daemon) = pair("ingest.max_body = '64KiB'");
    let deep = "[".repeat(60_000);
    let fields = "a: b\r\n".repeat(1_000);
    let round = || {
        let large = daemon.address.call("POST", "/v1/signals", &[JSON], &[b' '; 90_000]);
        assert_eq!(large.status, 413);
        assert_eq!(daemon.address.call("POST", "/v1/signals", &[JSON], deep.as_bytes()).status, 400);
        assert_eq!(daemon.address.get(&format!("/{}", "x".repeat(20_000))).status, 431);
        // Of a million header fields; the connection may go before all of them are written.
        let mut many = daemon.address.connect().unwrap();
        let mut written = many.write(b"GET /healthz HTTP/1.1\r\nhost: typingd\r\n");
        for _ in 0..1_000 {
            written = written.and_then(|()| many.write(fields.as_bytes()));
        }
        let answer = String::from_utf8(many.rest()).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    };
    (0..5).for_each(|_| round());
    let before = size_of(&daemon.process).0;
    (0..sized(10, 200)).for_each(|_| round());
    let after = size_of(&daemon.process).0;
    measured("too large: kB before and after", (before, after));
    assert!(after <= before + 2 * 1_024, "{after} kB, {before} before");
}

/// How many signals of so many users, each of whom presses a key once in `spacing`, are taken in some seconds.
fn goodput(daemon: &Daemon, name: &str, users: usize, seconds: u64) -> f64 {
    const PIECE: usize = 50;
    let spacing = Duration::from_millis(500);
    let (watch, mut taken) = (clock::stopwatch(), 0);
    let pieces = users / PIECE;
    for piece in 0.. {
        let due = spacing.mul_f64(piece as f64 / pieces as f64);
        if due > Duration::from_secs(seconds) {
            break;
        }
        std::thread::sleep(due.saturating_sub(watch.elapsed()));
        let some =
            (0..PIECE).map(|user| signal_of("c", &format!("{name}-{}", piece % pieces * PIECE + user), "keystroke"));
        let answer = daemon.post("/v1/signals", &some.collect::<Vec<_>>().into());
        match answer.status {
            202 => taken += answer.json()["accepted"].as_u64().unwrap(),
            429 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    taken as f64 / watch.elapsed().as_secs_f64()
}

#[test]
fn a_flood_takes_nothing_from_those_who_were_there() {
    let (room, seconds) = sized((100, 2), (1_000, 10));
    let sandbox = Sandbox::start(&[]);
    let settings = format!(
        "ingest.max_conversations = {room}\ntiming.dismiss_after = '2m'\ntiming.check_interval = '5s'\n\
         delivery.started_lifespan = '1m'"
    );
    let mut ratios = Vec::new();
    for round in 0..sized(1, 3) {
        let daemon = Daemon::start(&sandbox.address.url(), &settings);
        let once = goodput(&daemon, &format!("round-{round}"), room, seconds);
        // Ten times as many, of whom there is room for a tenth.
        let flooded = goodput(&daemon, &format!("round-{round}"), 10 * room, seconds);
        let status = daemon.address.get("/v1/status").json();
        assert_eq!(status["conversations"]["in_memory"], room, "{status}");
        measured(
            "goodput at capacity, at ten times that, latency",
            (once, flooded, &status["latency"]["signal_to_wire_ms"]),
        );
        ratios.push(flooded / once);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    assert!(ratio >= if is_full() { 0.9 } else { 0.6 }, "{ratio} of the goodput");
}
