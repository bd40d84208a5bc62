//! Clients that are slow, silent or half gone: each has its time, and nobody waits for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;
use typingd::base::clock;
use typingd::http::{Limits, Listener, serve};

use crate::bench::{JSON, NDJSON, Sandbox, pair, signal_of};
use crate::faults_bars::{measured, soon_enough};
use crate::process::{Process, binary, until};
use crate::wire::{Address, Wire};

#[test]
fn slow_clients_run_into_their_deadlines_and_hold_nobody_up() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let watch = clock::stopwatch();
    let silent: Vec<_> = (0..50).map(|_| daemon.address.connect().unwrap()).collect();

    // A head that never ends though a byte comes now and then, and bodies that stop in the middle.
    let mut dripping = daemon.address.connect().unwrap();
    let drip = std::thread::spawn(move || {
        dripping.write(b"GET /healthz HTTP/1.1\r\nx-drip: ").unwrap();
        while watch.elapsed() < Duration::from_secs(20) && dripping.write(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        watch.elapsed()
    });
    let stalled: Vec<_> = [
        (JSON, "content-length: 100", "{\"to\"".to_owned(), 408),
        // What was whole is kept.
        (NDJSON, "content-length: 1000", format!("{}\n{{", signal_of("c", "ann", "keystroke")), 408),
    ]
    .into_iter()
    .map(|(kind, framing, start, status)| {
        let mut wire = daemon.address.connect().unwrap();
        wire.head("POST", "/v1/signals", &[kind], framing);
        wire.write(start.as_bytes()).unwrap();
        std::thread::spawn(move || {
            let answer = wire.answer();
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.problem().contains("for 5 s"), "{answer:?}");
            watch.elapsed()
        })
    })
    .collect();

    // Meanwhile the others are served, each long before any deadline could have freed a thing.
    for round in 0..20 {
        let one = clock::stopwatch();
        assert_eq!(daemon.address.get("/healthz").status, 200);
        assert!(one.elapsed() < Duration::from_secs(3), "round {round}: {:?}", one.elapsed());
    }
    sandbox.until_told("c", "ann", "+");

    for (name, thread) in ["head"].into_iter().chain(["json", "ndjson"]).zip([drip].into_iter().chain(stalled)) {
        let took = thread.join().unwrap();
        measured("slow clients: closed after", (name, took));
        assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{name}: {took:?}");
        soon_enough(name, took, Duration::from_millis(5_100));
    }
    for mut wire in silent {
        assert_eq!(wire.rest(), b"", "a connection that says nothing is closed without a word");
    }
    assert!(watch.elapsed() < Duration::from_secs(15), "{:?}", watch.elapsed());
    assert_eq!(sandbox.told("c", "ann"), "+");
}

/// A server with an answer that has no end, and what each such answer holds as long as it is being written.
fn endless(limits: Limits) -> (tokio::runtime::Runtime, Address, Arc<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    let answer = move || {
        let alive = held.upgrade();
        let pieces = stream::repeat_with(move || {
            let _ = &alive;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 * 1_024]))
        });
        async { Body::from_stream(pieces) }
    };
    let address = runtime.block_on(async {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = Address::parse(&listener.address().to_string());
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move {
            let _stop = stop;
            serve(listener, Router::new().route("/", get(answer)), limits, stopping).await;
        });
        address
    });
    (runtime, address, alive)
}

#[test]
fn an_answer_that_nobody_takes_is_not_held_for_ever() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let (_runtime, address, alive) = endless(limits);
    let answers = || Arc::strong_count(&alive) - 1;
    let mut stalled = address.connect().unwrap();
    stalled.head("GET", "/", &[], "x-y: z");
    let mut reading = address.connect().unwrap();
    // A request more in the pipe keeps the server from reading on, and must not keep it from noticing.
    reading.head("GET", "/", &[], "x-y: z");
    reading.head("GET", "/", &[], "x-y: z");
    until("both answers", || answers() == 2);
    let watch = clock::stopwatch();
    let mut taken = 0;
    until("the end of the one that nobody takes", || {
        taken += reading.some().len();
        answers() == 1
    });
    assert!(watch.elapsed() >= Duration::from_millis(250), "{:?}", watch.elapsed());
    assert!(taken > 0 && !reading.some().is_empty(), "whoever goes on reading is served on");
    until("the end of the other, too", || answers() == 0);
}

#[test]
fn five_hundred_idle_connections_hold_nobody_up_and_make_room() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let ask = b"GET /healthz HTTP/1.1\r\nhost: typingd\r\n\r\n";
    // As many as there is room for, and some more: the first have to leave for the last.
    let idle: Vec<_> = (0..540)
        .map(|_| {
            let mut wire = daemon.address.connect().unwrap();
            wire.write(ask).unwrap();
            assert!(wire.some().starts_with(b"HTTP/1.1 200 OK"));
            wire
        })
        .collect();
    let watch = clock::stopwatch();
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    // Whoever has not had to leave is served on.
    let mut last = idle.into_iter().next_back().unwrap();
    last.write(ask).unwrap();
    assert!(last.some().starts_with(b"HTTP/1.1 200 OK"));
}

/// Writes `piece` to all of `wires` each `spacing`, until dropped.
struct Dripping {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<Wire>>>,
}

impl Dripping {
    fn start(mut wires: Vec<Wire>, piece: &'static [u8], spacing: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                for wire in &mut wires {
                    let _ = wire.write(piece);
                }
                std::thread::sleep(spacing);
            }
            wires
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> Vec<Wire> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn silent_streams_and_dripping_bodies_lock_nobody_out() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    for (kind, head, piece, status) in
        [(NDJSON, "transfer-encoding: chunked", &b"1\r\n\n\r\n"[..], 202), (JSON, "content-length: 9999", b" ", 408)]
    {
        // More than there is room for: some of them wait.
        let slow: Vec<_> = (0..530)
            .map(|_| {
                let mut wire = daemon.address.connect().unwrap();
                wire.head("POST", "/v1/signals", &[kind], head);
                wire
            })
            .collect();
        let slow = Dripping::start(slow, piece, Duration::from_millis(500));
        // Health and control are served in any case, and soon; whoever has something to tell before long.
        for path in ["/healthz", "/metrics", "/v1/status"] {
            let watch = clock::stopwatch();
            until(path, || daemon.address.try_call("GET", path, &[], b"").is_some_and(|answer| answer.status == 200));
            assert!(watch.elapsed() < Duration::from_secs(5), "{kind:?} {path}: {:?}", watch.elapsed());
        }
        let body = signal_of("c", kind.1, "keystroke").to_string();
        until("a signal", || {
            let answer = daemon.address.try_call("POST", "/v1/signals", &[JSON], body.as_bytes());
            answer.is_some_and(|answer| answer.status == 202)
        });
        sandbox.until_told("c", kind.1, "+");
        // Whoever has had to leave was told.
        let told = slow.stop().into_iter().filter_map(|mut wire| wire.start_of_answer(Duration::from_millis(1)));
        let told: Vec<_> = told.collect();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(told.iter().any(|start| start.starts_with(&expected)), "{kind:?}: {told:?}");
    }
}

#[test]
fn out_of_file_descriptors_the_daemon_rests_and_heals() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let text = format!(
        "upstream.base_url = '{}'\nupstream.org_id = '00DXX0000000001'\nupstream.authorization_context = 'A'\n\
         upstream.auth.token_file = 'token'\ntiming.dismiss_after = '1m'",
        sandbox.address.url()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(binary()).arg("run");
    command.args(["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]).env_clear();
    let mut process = Process::start(command);
    let address = process.address();
    process.until_logged(" ready");
    let silent: Vec<_> = (0..45).map(|_| address.connect().unwrap()).collect();
    let (watch, before) = (clock::stopwatch(), processor_ticks(process.id()));
    // He stands behind them, whose deadlines let him in.
    let body = signal_of("c", "ann", "keystroke").to_string();
    until("service again", || {
        let answer = address.try_call("POST", "/v1/signals", &[JSON], body.as_bytes());
        answer.is_some_and(|answer| answer.status == 202)
    });
    let (took, worked) = (watch.elapsed(), processor_ticks(process.id()) - before);
    measured("no descriptors: served again after, ticks", (took, worked));
    // A hundredth of a second each: an accept that spins would take nearly all of the time.
    assert!(worked < took.as_millis() as u64 / 10 / 3, "{worked} ticks in {took:?}");
    drop(silent);
    sandbox.until_told("c", "ann", "+");
    process.stop();
}

/// What a process has had of the processor so far.
fn processor_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
