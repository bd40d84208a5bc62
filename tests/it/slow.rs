//! Clients that are slow, silent or half gone: each has its time, and nobody waits for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;
use typingd::clock;
use typingd::http::{Limits, Listener, serve};

use crate::bench::{JSON, NDJSON, pair, signal_of};
use crate::process::until;
use crate::wire::Address;

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
        assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{name}: {took:?}");
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
