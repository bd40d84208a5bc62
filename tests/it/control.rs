//! The commands that wait for a daemon and stop one.

use std::fs;
use std::time::Duration;

use serde_json::json;
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, pair};
use crate::process::{PATIENCE, Process, run, typingd};

#[test]
fn shutdown_ends_once_every_icon_is_off() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'\ndelivery.state_dir = 'state'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    // The Stopped takes its time, and the command as much.
    sandbox.set_faults(&json!({"latency_ms": 500}));
    let watch = clock::stopwatch();
    let said = daemon.tell_by("shutdown", &[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "stopped, every icon off\n"), "{said:?}");
    assert_eq!(said.stderr, "typingd: stopping; every icon goes off, within 10s\n");
    assert!(watch.elapsed() >= Duration::from_millis(500), "{:?}", watch.elapsed());
    assert_eq!(sandbox.told("c", "ann"), "+-");
    // It is gone a moment later, and what it held is free: another could start in its place.
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(daemon.address.connect().is_err());
    let again = daemon.tell_by("shutdown", &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
}

#[test]
fn a_unix_socket_works_and_icons_left_on_are_a_failure() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let place = format!("unix:{}", directory.path().join("s").display());
    let settings = format!(
        "timing.dismiss_after = '1m'\nupstream.request_timeout = '1m'\ndelivery.shutdown_grace = '300ms'\n\
         ingest.listen = ['{place}']"
    );
    let mut daemon = Daemon::start(&sandbox.address.url(), &settings);
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    let said = run(&["shutdown", "--url", &place]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("within 300ms") && said.stderr.contains("stopped, but 1 icon may be left on"),
        "{said:?}"
    );
    assert_eq!(daemon.process.end().code(), Some(0));
}

#[test]
fn control_takes_no_body_and_a_shutdown_is_answered() {
    let (_sandbox, mut daemon) = pair("");
    for (method, path, body, status) in [
        ("GET", "/v1/reload", "", 405),
        ("GET", "/v1/shutdown", "", 405),
        ("POST", "/v1/shutdown", "{}", 413),
        ("POST", "/v1/reload", "{}", 413),
        ("POST", "/v1/shutdown?folow=true", "", 400),
        ("POST", "/v1/reload?x", "", 400),
    ] {
        let answer = daemon.address.call(method, path, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        answer.problem();
    }
    let answer = daemon.address.call("POST", "/v1/shutdown", &[], b"");
    assert_eq!((answer.status, answer.json()), (202, json!({"stopping": true, "grace_ms": 10_000})));
    assert_eq!(daemon.process.end().code(), Some(0));
}

#[test]
fn wait_says_what_it_waits_for_until_ready_or_late() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let place = format!("unix:{}", directory.path().join("s").display());
    let said = run(&["wait", "--url", &place, "--for", "150ms"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.contains("typingd: waiting: ") && said.stderr.contains("not ready within 150ms"), "{said:?}");

    // Nobody listens, then somebody has no token yet, then there is one.
    let mut waiting = Process::start(typingd(&["wait", "--url", &place]));
    waiting.until_logged("can't be reached");
    let settings = format!("ingest.listen = ['{place}']");
    let daemon = Daemon::start_with(&sandbox.address.url(), "upstream.auth.token_file = 'later'", &settings, |_| {});
    waiting.until_logged("not ready: ");
    let said = run(&["wait", "--alive", "--url", &place, "--for", "5m"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "alive\n"), "{said:?}");
    fs::write(daemon.file("later"), "t0ken").unwrap();
    assert_eq!(waiting.end().code(), Some(0), "{}", waiting.log());
    assert_eq!(waiting.output(), "ready\n");
    let watch = clock::stopwatch();
    assert_eq!(run(&["wait", "--url", &place, "--for", "5m"]).code, Some(0));
    assert!(watch.elapsed() < PATIENCE, "{:?}", watch.elapsed());
}
