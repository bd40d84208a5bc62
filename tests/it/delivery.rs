//! Delivery to a far side that hangs, breaks, refuses and limits, and the token's ways.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use serde_json::json;
use tempfile::TempDir;
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, signal_of, told};
use crate::far_side::{FarSide, write};
use crate::key;
use crate::process::{Process, typingd, until};

#[test]
fn whatever_befalls_the_upstream_no_icon_stays_on() {
    let sandbox = Sandbox::start(&[]);
    let settings = "upstream.request_timeout = '1s'\ntiming.dismiss_after = '1m'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    for fault in [
        "hang-before",
        "hang-after",
        "close-before",
        "close-after",
        "cut-after",
        "garbage-after",
        "unsuccessful-before",
        "503-before",
        "500-after",
        "429-before",
        "code=10094-after",
    ] {
        let (attempts, applied) = (|| sandbox.of("c", fault).len(), || told(&sandbox.of("c", fault)));
        sandbox.set_faults(&json!({}));
        daemon.give("c", fault, "keystroke");
        until(&format!("the icon before {fault}"), || applied().starts_with('+'));
        sandbox.set_faults(&json!({"faults": [fault], "retry_after_seconds": 0}));
        let before = attempts();
        daemon.give("c", fault, "stopped");
        until(&format!("a stop that meets {fault}"), || attempts() > before);
        sandbox.set_faults(&json!({}));
        // Off, by a Stopped that was acknowledged.
        until(&format!("a stop after {fault}"), || {
            applied().ends_with('-') && sandbox.of("c", fault).last().unwrap()["status"] == 202
        });
    }
    // A Started whose fate is unknown owes a Stopped: here it was applied, and the daemon can't know.
    sandbox.set_faults(&json!({"faults": ["hang-after"]}));
    daemon.give("c", "unsure", "keystroke");
    until("a Started", || sandbox.shown() == 1);
    daemon.give("c", "unsure", "stopped");
    sandbox.set_faults(&json!({}));
    until("the Stopped", || sandbox.shown() == 0);
    // One that was refused owes none.
    sandbox.set_faults(&json!({"faults": ["code=10029"]}));
    daemon.give("c", "refused", "keystroke");
    until("a refusal", || sandbox.of("c", "refused").len() == 1);
    sandbox.set_faults(&json!({}));
    daemon.process.stop();
    assert_eq!(sandbox.of("c", "refused").len(), 1);
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_failing_upstream_is_probed_told_of_once_and_caught_up_with() {
    let sandbox = Sandbox::start(&["--fault", "503"]);
    let settings = "timing.dismiss_after = '1m'\ndelivery.started_lifespan = '1m'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    let all: Vec<_> = (0..30).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
    assert_eq!(daemon.post("/v1/signals", &all.into()).status, 202);
    daemon.process.until_logged("the upstream fails");
    until("not ready", || daemon.address.get("/readyz").status == 503);
    assert_eq!(daemon.address.get("/healthz").status, 200);
    sandbox.set_faults(&json!({}));
    until("thirty icons", || sandbox.shown() == 30);
    until("ready", || daemon.address.get("/readyz").status == 200);
    daemon.process.stop();
    assert_eq!((sandbox.shown(), daemon.process.log().matches("the upstream").count()), (0, 2));
}

#[test]
fn a_message_after_a_refused_started_waits_for_nothing() {
    let sandbox = Sandbox::start(&["--refuse-from", "mallory", "--latency", "1s"]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '1m'");
    daemon.give("c", "mallory", "keystroke");
    until("the Started", || sandbox.requests().len() == 1);
    let answer = daemon.post("/v1/signals?wait=20s", &signal_of("c", "mallory", "message_sent"));
    assert_eq!(answer.json()["settled"], true, "no icon is on");
}

#[test]
fn an_upstream_that_resets_and_then_works_gets_the_stop() {
    let requests = AtomicUsize::new(0);
    let upstream = FarSide::start(move |_, stream| match requests.fetch_add(1, Ordering::SeqCst) {
        // Without waiting for what is on its way, a close is a reset.
        1..4 => set_socket_linger(stream, Some(Duration::ZERO)).is_err(),
        _ => write(stream, "202 Accepted", "", b"{}"),
    });
    let daemon = Daemon::start(&upstream.url(), "timing.dismiss_after = '100ms'");
    daemon.give("c", "ann", "keystroke");
    // A Started, three resets, and a Stopped that is answered.
    upstream.await_request(5);
    let bodies = upstream.came().into_iter().map(|came| String::from_utf8(came.body).unwrap());
    assert!(bodies.skip(1).all(|body| body.contains("TypingStoppedIndicator")), "{:?}", upstream.came());
}

#[test]
fn the_log_asks_whether_to_and_from_are_swapped() {
    let sandbox = Sandbox::start(&["--channel", "support"]);
    let settings = "timing.dismiss_after = '1m'\nlog.level = 'trace'\nchannels.support.dismiss = 'idle'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    for i in 0..6 {
        daemon.give(&format!("+155501234{i}"), "support", "keystroke");
    }
    daemon.process.until_logged("are `to` and `from` swapped?");
    daemon.give("support", "+1555012349", "keystroke");
    sandbox.until_told("support", "+1555012349", "+");
    daemon.process.stop();
    let log = daemon.process.log();
    assert_eq!((log.matches("channel muted").count(), log.matches("swapped?").count()), (2, 1), "{log}");
    // Of no end user's number is anything to be read, at any level.
    assert!(log.contains("channel=\"#") && !log.contains("1555012"), "{log}");
}

#[test]
fn a_refused_channel_is_left_alone_and_told_of_once() {
    let sandbox = Sandbox::start(&["--refuse-to", "bad", "--refuse-from", "mallory"]);
    let mut daemon = Daemon::start(
        &sandbox.address.url(),
        "timing.check_interval = '50ms'\ndelivery.started_lifespan = '5s'\ntiming.dismiss_after = '1m'",
    );
    daemon.give("bad", "ann", "keystroke");
    daemon.process.until_logged("channel muted");
    daemon.give("good", "mallory", "keystroke");
    daemon.process.until_logged("conversation muted");
    until("three refreshes elsewhere", || {
        for (to, from) in [("bad", "ann"), ("bad", "bob"), ("good", "mallory"), ("good", "ann")] {
            daemon.give(to, from, "keystroke");
        }
        sandbox.told("good", "ann").starts_with("++++")
    });
    daemon.give("bad", "ann", "stopped");
    daemon.process.stop();
    let requests = sandbox.requests();
    assert_eq!(requests.iter().filter(|seen| seen["to"] == "bad").count(), 1);
    assert_eq!(requests.iter().filter(|seen| seen["from"] == "mallory").count(), 1);
    let log = daemon.process.log();
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert!(!log.contains("mallory"), "{log}");
}

#[test]
fn a_token_file_that_is_mended_is_taken_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let right = directory.path().join("right");
    std::fs::write(&right, "r1ght-token").unwrap();
    let sandbox = Sandbox::start(&["--token-file", right.to_str().unwrap()]);
    let settings = "delivery.started_lifespan = '1m'\ntiming.dismiss_after = '1m'";
    let prepare = |dir: &TempDir| std::fs::write(dir.path().join("token"), "wr0ng-token").unwrap();
    let mut daemon =
        Daemon::start_with(&sandbox.address.url(), "upstream.auth.token_file = 'token'", settings, prepare);
    daemon.give("c", "ann", "keystroke");
    until("a refusal", || sandbox.requests().iter().any(|seen| seen["status"] == 401));
    until("not ready", || daemon.address.get("/readyz").status == 503);
    std::fs::copy(&right, daemon.file("token")).unwrap();
    sandbox.until_told("c", "ann", "+");
    until("ready", || daemon.address.get("/readyz").status == 200);
    daemon.process.stop();
    let (log, refused) = (daemon.process.log(), sandbox.requests().len() - 2);
    assert!(!log.contains("wr0ng") && !log.contains("r1ght"), "{log}");
    assert!(refused <= 5, "a refused token is not tried again and again: {refused}");
}

/// Credentials of the JWT bearer flow.
pub(crate) fn jwt(token_url: &str) -> String {
    [
        ("token_url", token_url),
        ("consumer_key", "consumer"),
        ("subject", "user@example.com"),
        ("audience", "https://login.salesforce.com"),
        ("private_key_file", "key.pem"),
    ]
    .map(|(key, value)| format!("upstream.auth.jwt_bearer.{key} = '{value}'"))
    .join("\n")
}

#[test]
fn the_jwt_bearer_flow_fetches_for_all_and_ahead_of_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("public.pem");
    std::fs::write(&public, key::public()).unwrap();
    let sandbox = Sandbox::start(&["--strict-tokens", "--token-life", "2s", "--public-key", public.to_str().unwrap()]);
    let auth = jwt(&format!("{}/services/oauth2/token", sandbox.address.url()));
    let settings = "timing.check_interval = '100ms'\ntiming.dismiss_after = '1m'\ndelivery.started_lifespan = '5s'";
    let prepare = |dir: &TempDir| std::fs::write(dir.path().join("key.pem"), key::private()).unwrap();
    let watch = clock::stopwatch();
    let mut daemon = Daemon::start_with(&sandbox.address.url(), &auth, settings, prepare);
    let everybody: Vec<_> = (0..50).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
    daemon.post("/v1/signals", &everybody.into());
    until("fifty icons", || sandbox.shown() == 50);
    until("three tokens", || {
        daemon.give("c", "u0", "keystroke");
        sandbox.token_calls() >= 3
    });
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
    // Fifty at once had one fetch, and a token that lives for a second at the least is not fetched more often.
    let calls = sandbox.token_calls();
    assert!(calls <= 2 + watch.elapsed().as_secs(), "{calls} calls in {:?}", watch.elapsed());
    let log = daemon.process.log();
    assert!(!log.contains("eyJ"), "a token in the log:\n{log}");
}

#[test]
fn requests_under_way_are_bounded_and_one_for_each_conversation() {
    let (most, most_of_one, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::default());
    let (all, one, count) = (Arc::clone(&most), Arc::clone(&most_of_one), Arc::<AtomicUsize>::clone(&taken));
    let under_way = Mutex::new(HashMap::<String, usize>::new());
    let upstream = FarSide::start(move |came, stream| {
        let form = String::from_utf8_lossy(&came.body);
        let from = form.split("\"from\":\"").nth(1).unwrap().split('"').next().unwrap();
        {
            let mut under_way = under_way.lock().unwrap();
            *under_way.entry(from.to_owned()).or_default() += 1;
            all.fetch_max(under_way.values().sum(), Ordering::SeqCst);
            one.fetch_max(under_way[from], Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(30));
        *under_way.lock().unwrap().get_mut(from).unwrap() -= 1;
        count.fetch_add(1, Ordering::SeqCst);
        write(stream, "202 Accepted", "", b"{}")
    });
    let settings = "upstream.max_in_flight = 3\ntiming.check_interval = '10ms'\ntiming.dismiss_after = '1m'\n\
                    delivery.started_lifespan = '1m'";
    let mut daemon = Daemon::start(&upstream.url(), settings);
    until("everybody, again and again", || {
        let all: Vec<_> = (0..12).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
        assert_eq!(daemon.post("/v1/signals", &all.into()).status, 202);
        taken.load(Ordering::SeqCst) > 36
    });
    daemon.process.stop();
    assert_eq!((most.load(Ordering::SeqCst), most_of_one.load(Ordering::SeqCst)), (3, 1));
}

#[test]
fn ready_means_that_the_upstream_has_answered() {
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = Daemon::start(&format!("http://{at}"), "timing.check_interval = '50ms'");
    let file = daemon.file("typingd.toml");
    let why = format!("{}:1: upstream.base_url http://{at} can't be reached: ", file.display());
    daemon.process.until_logged(&format!("not ready: {why}"));
    until("the reason", || daemon.address.get("/readyz").problem().starts_with(&why));
    // It serves all the same, and says of each failure where the request was to go.
    daemon.give("c", "ann", "keystroke");
    until("the failure", || {
        let explained = daemon.address.get("/v1/conversations?to=c&from=ann").json();
        explained["explanation"].as_str().unwrap_or_default().contains(&why)
    });
    let sandbox = Process::start(typingd(&["sandbox", "--listen", &at.to_string()]));
    until("ready", || daemon.address.get("/readyz").status == 200);
    assert_eq!(daemon.tell_by("wait", &[]).code, Some(0));
    daemon.process.stop();
    drop(sandbox);
}
