//! Clients that are slow, silent or half gone: each has its time, and nobody waits for them.

use std::time::Duration;

use typingd::clock;

use crate::bench::{JSON, NDJSON, pair, signal_of};

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
