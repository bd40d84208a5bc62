//! The end: icons off, bounds kept, signals told that nobody is in.

use std::time::Duration;

use serde_json::json;
use typingd::clock;

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, pair, signal_of};
use crate::delivery::jwt;
use crate::key;
use crate::process::until;

/// A shutdown that would take ages if nothing bounded it takes less than this.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn two_hundred_icons_go_off_before_the_daemon_does() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    let all: Vec<_> = (0..200).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
    assert_eq!(daemon.post("/v1/signals", &all.into()).json()["accepted"], 200);
    until("two hundred icons", || sandbox.shown() == 200);
    // Streams without an end, silent or in the middle of a line, hold nobody up.
    let _open: Vec<_> = ["", "{\"to\""]
        .map(|start| {
            let mut wire = daemon.address.connect().unwrap();
            wire.head("POST", "/v1/signals", &[NDJSON], "content-length: 1000");
            wire.write(start.as_bytes()).unwrap();
            wire
        })
        .into();
    let watch = clock::stopwatch();
    daemon.process.tell("INT");
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert_eq!(sandbox.shown(), 0);
    assert!(daemon.process.log().contains("every icon is off"), "{}", daemon.process.log());
}

/// A daemon with one icon on, whose upstream then hangs.
fn hanging(settings: &str) -> (Sandbox, Daemon) {
    let (sandbox, daemon) = pair(&format!("timing.dismiss_after = '1m'\nupstream.request_timeout = '1m'\n{settings}"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    (sandbox, daemon)
}

#[test]
fn the_grace_is_a_bound() {
    let (_sandbox, mut daemon) = hanging("delivery.shutdown_grace = '300ms'");
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!((Duration::from_millis(300)..SOON).contains(&watch.elapsed()), "{:?}", watch.elapsed());
    let log = daemon.process.log();
    assert!(log.contains("icons may be left on icons=1"), "{log}");
}

#[test]
fn meanwhile_signals_are_turned_away_and_a_second_word_ends_it_at_once() {
    let (sandbox, mut daemon) = hanging("delivery.shutdown_grace = '5m'");
    // Two requests that are under way when the end comes.
    let body = signal_of("c", "bob", "keystroke").to_string();
    let open: Vec<_> = (0..2)
        .map(|_| {
            let mut wire = daemon.address.connect().unwrap();
            wire.head("POST", "/v1/signals", &[JSON], &format!("content-length: {}", body.len()));
            wire.write(&body.as_bytes()[..10]).unwrap();
            wire
        })
        .collect();
    // Answered on a connection accepted later: those two have been accepted too.
    assert_eq!(daemon.address.get("/healthz").status, 200);
    daemon.process.tell("TERM");
    until("the Stopped", || sandbox.of("c", "ann").len() == 2);
    for mut wire in open {
        wire.write(&body.as_bytes()[10..]).unwrap();
        let answer = wire.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
        assert!(answer.problem().contains("shutting down"), "{answer:?}");
    }
    assert!(daemon.address.connect().is_err(), "nobody listens any more");
    let watch = clock::stopwatch();
    // The first word's echo, within a second of it, would not count.
    until("the word is taken for a second one", || {
        daemon.process.tell("TERM");
        daemon.process.log().contains("told twice")
    });
    daemon.process.end();
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert!(daemon.process.log().contains("told twice"), "{}", daemon.process.log());
}

#[test]
fn a_token_that_never_comes_holds_up_nothing_that_is_owed_to_nobody() {
    let sandbox = Sandbox::start(&["--token-fault", "hang"]);
    let auth = jwt(&format!("{}/services/oauth2/token", sandbox.address.url()));
    let settings = "upstream.request_timeout = '1m'\ndelivery.shutdown_grace = '1m'\ntiming.dismiss_after = '1m'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), &auth, settings, |directory| {
        std::fs::write(directory.path().join("key.pem"), key::private()).unwrap();
    });
    // A Started that waits for the token.
    daemon.give("c", "ann", "keystroke");
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert!(daemon.process.log().contains("every icon is off"), "{}", daemon.process.log());
    assert_eq!(sandbox.told("c", "ann"), "");
}
