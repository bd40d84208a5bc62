//! The drop-in in front of the sandbox: a connector changes its base URL and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, Seen, told};
use crate::connector::{Connector, REQUEST_ID, TEXT, attachment, form, typing};
use crate::far_side::{FarSide, write};
use crate::process::{Said, run, until};

/// Without credentials of its own, typingd uses those that connectors show.
const AUTH: &str = "drop_in.enabled = true";

fn pair(sandbox: &[&str], settings: &str) -> (Sandbox, Daemon, Connector) {
    let sandbox = Sandbox::start(sandbox);
    let daemon = Daemon::start_with(&sandbox.address.url(), AUTH, settings, |_| {});
    let connector = Connector::new(&daemon.address, "t0ken-of-the-connector");
    (sandbox, daemon, connector)
}

fn entries(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen["entry_type"].as_str().unwrap_or("?")).collect()
}

fn report(daemon: &Daemon) -> Value {
    daemon.address.get("/v1/drop_in").json()
}

#[test]
fn typing_is_answered_at_once_and_goes_off_by_itself() {
    let settings = "drop_in.activity_lasts = '300ms'\ntiming.dismiss_after = '200ms'\ntiming.check_interval = '200ms'";
    let (sandbox, mut daemon, connector) = pair(&[], settings);
    let watch = clock::stopwatch();
    let answer = connector.started("u");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), json!({"id": REQUEST_ID, "success": true, "workItemIds": []}));
    until("the icon off again", || {
        let told = sandbox.told("c", "u");
        // Refreshed while it lasts, and not only until the pause that counts from the Started itself.
        told.ends_with('-') && told.starts_with("++")
    });
    assert!(watch.elapsed() >= Duration::from_millis(500), "{:?}", watch.elapsed());
    let seen = sandbox.of("c", "u");
    assert!(seen.iter().all(|seen| seen["request_id"] != REQUEST_ID), "they are typingd's own: {seen:?}");
    assert!(seen.iter().all(|seen| seen["authorization_context"] == "Partner1_ChannelDefinition1"));

    assert_eq!(connector.started("v").status, 202);
    until("the icon", || sandbox.shown() == 1);
    assert_eq!(connector.stopped("v").status, 202);
    until("no icon", || sandbox.shown() == 0);
    let report = report(&daemon);
    assert_eq!((&report["started_taken"], &report["stopped_taken"]), (&json!(2), &json!(1)), "{report}");
    daemon.process.stop();
    assert!(!daemon.process.log().contains("t0ken"), "{}", daemon.process.log());
}

#[test]
fn a_message_arrives_when_the_icon_is_off_and_not_much_later() {
    let (sandbox, mut daemon, connector) = pair(&["--latency", "20ms"], "drop_in.settle = '20s'\nlog.level = 'debug'");
    connector.started("u");
    until("the icon", || sandbox.shown() == 1);
    let answer = connector.message("u");
    assert_eq!((answer.status, &answer.json()["success"]), (202, &json!(true)), "{answer:?}");
    let seen = sandbox.of("c", "u");
    assert_eq!(entries(&seen), ["TypingStartedIndicator", "TypingStoppedIndicator", "Message"]);
    assert_eq!(seen[2]["found_shown"], false);
    assert_eq!(seen[2]["request_id"], REQUEST_ID);
    let report = report(&daemon);
    assert_eq!((&report["settled"], &report["unsettled"]), (&json!(1), &json!(0)), "{report}");
    daemon.process.stop();
    assert!(!daemon.process.log().contains(TEXT) && !daemon.process.log().contains("t0ken"));

    // The same for files, small and large, which come before their description.
    let sandbox = Sandbox::start(&["--latency", "20ms"]);
    let daemon = Daemon::start_with(&sandbox.address.url(), AUTH, "drop_in.settle = '20s'", |_| {});
    let connector = Connector::new(&daemon.address, "t");
    for (from, bytes) in [("small", 100), ("middling", 100_000), ("large", 5 << 20)] {
        connector.started(from);
        until("the icon", || sandbox.shown() == 1);
        let answer = connector.send(&attachment("c", from, &vec![b'-'; bytes]));
        assert_eq!(answer.status, 202, "{from}: {answer:?}");
        let seen = sandbox.of("c", from);
        let file = seen.iter().find(|seen| seen["interaction_type"] == "AttachmentInteraction").unwrap();
        assert_eq!((&file["found_shown"], sandbox.shown()), (&json!(false), 0), "{from}: {seen:?}");
    }
    let report = daemon.address.get("/v1/drop_in").json();
    assert_eq!((&report["messages"], &report["settled"]), (&json!(3), &json!(3)), "{report}");

    // An upstream that doesn't answer a Stopped holds a message up for `settle` and no longer.
    let far_side = FarSide::start(|came, stream| {
        let stop = came.body.windows(13).any(|bytes| bytes == b"TypingStopped");
        if stop {
            std::thread::sleep(Duration::from_secs(3));
        }
        write(stream, "202 Accepted", "", b"{\"success\":true}")
    });
    let daemon = Daemon::start_with(&far_side.url(), AUTH, "drop_in.settle = '150ms'", |_| {});
    let connector = Connector::new(&daemon.address, "t");
    connector.started("u");
    far_side.await_request(1);
    let watch = clock::stopwatch();
    assert_eq!(connector.message("u").status, 202);
    let elapsed = watch.elapsed();
    assert!(elapsed >= Duration::from_millis(150) && elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(daemon.address.get("/v1/drop_in").json()["unsettled"], 1);
}

/// What the sample does: a Started at the first input and no sooner than every so often after, a Stopped without waiting
/// just before each message, then the message.
#[test]
fn no_message_of_the_sample_connector_arrives_under_an_icon() {
    const RUNS: usize = 200;
    const THROTTLE: Duration = Duration::from_millis(100);
    let settings = "drop_in.activity_lasts = '2s'\ntiming.dismiss_after = '20s'\ndrop_in.settle = '20s'\n\
                    delivery.started_lifespan = '20s'";
    let (sandbox, mut daemon, connector) = pair(&["--jitter", "60ms", "--rate-limit", "100000"], settings);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (connector, sandbox) = (&connector, &sandbox);
            scope.spawn(move || {
                for run in (worker..RUNS).step_by(8) {
                    let from = format!("user-{run}");
                    for _ in 0..1 + run % 3 {
                        assert_eq!(connector.started(&from).status, 202);
                        std::thread::sleep(THROTTLE);
                    }
                    if run % 2 == 0 {
                        until("the icon", || sandbox.told("c", &from) == "+");
                    }
                    let stop = {
                        let (connector, from) = (connector.clone(), from.clone());
                        std::thread::spawn(move || connector.stopped(&from))
                    };
                    assert_eq!(connector.message(&from).status, 202);
                    assert_eq!(stop.join().unwrap().status, 202);
                }
            });
        }
    });
    for run in 0..RUNS {
        let from = format!("user-{run}");
        let seen = sandbox.of("c", &from);
        let (typing, messages): (Vec<_>, Vec<_>) =
            seen.iter().cloned().partition(|seen| seen["entry_type"] != "Message");
        assert_eq!(messages.len(), 1, "{from}");
        assert_eq!(messages[0]["found_shown"], false, "{from}: {seen:#?}");
        // It may be that the user was so quick, or the upstream so slow, that there was never an icon to show.
        let told = told(&typing);
        assert!(told == "+-" || told.is_empty(), "{from}: {told}");
        assert!(run % 2 == 1 || told == "+-", "{from}: {told}");
    }
    daemon.process.stop();
    let icons = sandbox.address.get("/icons?limit=1000").json();
    let flickers: u64 = icons["icons"].as_array().unwrap().iter().map(|icon| icon["flickers"].as_u64().unwrap()).sum();
    assert_eq!((&icons["shown"], flickers), (&json!(0), 0));
}

#[test]
fn a_connector_that_repeats_keeps_the_icon_on_without_a_blink() {
    let settings = "drop_in.activity_lasts = '500ms'\ntiming.dismiss_after = '2s'\ntiming.check_interval = '300ms'\n\
                    drop_in.settle = '20s'";
    let (sandbox, _daemon, connector) = pair(&["--jitter", "20ms"], settings);
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the icon", || sandbox.shown() == 1);
            while !gone.load(Ordering::Relaxed) {
                assert_eq!(sandbox.shown(), 1, "the icon went off in the midst of typing");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        for _ in 0..6 {
            connector.started("u");
            std::thread::sleep(Duration::from_millis(500));
        }
        gone.store(true, Ordering::Relaxed);
    });
    connector.message("u");
    assert_eq!(sandbox.of("c", "u").last().unwrap()["found_shown"], false);
}

#[test]
fn what_cannot_be_read_passes_unchanged() {
    let (sandbox, daemon, connector) = pair(&[], "");
    let entry = typing("c", "u", "TypingStartedIndicator");
    let wrong_id = entry.to_string().replace(&format!("\"{REQUEST_ID}\""), "5");
    let answer = connector.send(&form(&serde_json::from_str(&wrong_id).unwrap()));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.json()["code"].is_i64(), "Salesforce's own words: {answer:?}");
    let broken = connector.send(b"no form at all");
    assert_eq!(broken.status, 400, "{broken:?}");

    let body = form(&entry);
    for missing in ["Authorization", "OrgId", "AuthorizationContext", "RequestId"] {
        let mut headers: Vec<_> = connector.headers().into_iter().filter(|(name, _)| *name != missing).collect();
        // There are products that send none; an empty one is wrong.
        headers.extend((missing == "AuthorizationContext").then_some((missing, "")));
        let answer = daemon.address.call("POST", "/api/v1/interactions", &headers, &body);
        assert!(answer.status >= 400 && answer.json()["code"].is_i64(), "{missing}: {answer:?}");
    }
    assert_eq!(sandbox.requests().len(), 6);
    assert_eq!(sandbox.shown(), 0);
    let answer = daemon.address.get("/api/v1/conversationHistory");
    assert_eq!(answer.status, 501, "the sandbox's answer: {answer:?}");
    let report = report(&daemon);
    assert_eq!((&report["unread"], &report["typing_passed"]), (&json!(2), &json!(4)), "{report}");
    assert_eq!(report["others"], 1);
}

#[test]
fn rejected_credentials_are_dropped_until_others_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "good").unwrap();
    let strict = Sandbox::start(&["--token-file", token.to_str().unwrap()]);
    let mut daemon = Daemon::start_with(&strict.address.url(), AUTH, "delivery.state_dir = 'state'", |_| {});
    let stale = Connector::new(&daemon.address, "stale-s3cret");
    assert_eq!(stale.started("u").status, 202, "nobody knows yet");
    until("a refusal", || strict.requests().len() == 1);
    // From then on the connector hears from Salesforce itself that it needs a new token.
    until("a 401", || stale.started("u").status == 401);
    let good = Connector::new(&daemon.address, "good");
    assert_eq!(good.started("u").status, 202);
    until("the icon", || strict.shown() == 1);
    assert_eq!(good.message("u").status, 202);
    assert_eq!(strict.shown(), 0);
    // Older ones are refused again, and the newest stay the newest.
    assert_eq!(stale.message("u").status, 401);
    assert_eq!(good.started("u").status, 202);
    until("the icon", || strict.shown() == 1);
    daemon.process.stop();
    assert_eq!(strict.shown(), 0);
    let log = daemon.process.log();
    assert!(!log.contains("s3cret") && !log.contains("Bearer"), "{log}");
    for file in std::fs::read_dir(daemon.file("state")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("s3cret") && !text.contains("good"), "credentials on disk: {text}");
    }
}

#[test]
fn after_a_crash_icons_go_off_with_the_next_credentials() {
    let (sandbox, mut daemon, connector) = pair(&[], "delivery.state_dir = 'state'\ndrop_in.activity_lasts = '1m'");
    connector.started("u");
    until("the icon", || sandbox.shown() == 1);
    daemon.crash();
    daemon.process.until_logged("the last run left icons on");
    daemon.process.until_logged("ready");
    assert_eq!(sandbox.shown(), 1, "nobody has shown credentials yet");
    let connector = Connector::new(&daemon.address, "t0ken-of-the-connector");
    connector.message("somebody else");
    until("no icon", || sandbox.shown() == 0);
}

#[test]
fn without_room_typing_is_turned_away_and_messages_pass() {
    let settings = "ingest.max_conversations = 1\ndrop_in.activity_lasts = '1m'";
    let (sandbox, daemon, connector) = pair(&[], settings);
    assert_eq!(connector.started("u").status, 202);
    let answer = connector.started("v");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(answer.problem(), "the table of conversations is full");
    assert_eq!(connector.stopped("v").status, 202, "there is nothing to stop");
    assert_eq!(connector.message("v").status, 202);
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(connector.started("v").status, 202);
    until("the icon", || sandbox.told("c", "v") == "-+");
    assert_eq!(report(&daemon)["started_taken"], 2);
}

#[test]
fn a_message_on_its_way_is_waited_for_at_the_end() {
    let (sandbox, mut daemon, connector) = pair(&["--latency", "1500ms"], "");
    let sending = std::thread::spawn(move || connector.message("u").status);
    until("the message at the sandbox", || sandbox.requests().len() == 1);
    daemon.process.stop();
    assert_eq!(sending.join().unwrap(), 202);
}

#[test]
fn in_shadow_mode_everything_passes_and_the_difference_is_told() {
    let settings = "drop_in.shadow = true\ndrop_in.activity_lasts = '100ms'\ntiming.dismiss_after = '100ms'";
    let (sandbox, mut daemon, connector) = pair(&[], settings);
    for _ in 0..3 {
        assert_eq!(connector.started("u").status, 202);
    }
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(connector.stopped("u").status, 202);
    let seen = sandbox.of("c", "u");
    let (started, stopped) = ("TypingStartedIndicator", "TypingStoppedIndicator");
    assert_eq!(entries(&seen), [started, started, started, "Message", stopped], "the connector's own, in its order");
    assert!(seen.iter().all(|seen| seen["request_id"] == REQUEST_ID));
    assert_eq!(connector.started("v").status, 202);
    until("what typingd would have told", || report(&daemon)["shadow"]["typingd"]["requests"] == 4);
    let report = report(&daemon);
    let expected = json!({
        "connector": {"requests": 5, "started": 4, "stopped": 1, "flickers": 0, "left_on": 0},
        "typingd": {"requests": 4, "started": 2, "stopped": 2, "flickers": 0, "left_on": 0},
        "requests_saved": 1,
        "messages": 1,
        "messages_under_icon": 1,
        "not_compared": 0,
    });
    assert_eq!(report["shadow"], expected, "{report}");
    daemon.process.stop();
    assert_eq!(sandbox.requests().len(), 6, "typingd itself has sent nothing");
    assert_eq!(sandbox.shown(), 1, "as without typingd, the icon of somebody who went away stays on");
}

#[test]
fn run_sandbox_needs_no_token_but_counts_need_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(directory.path().join("token"), "callers").unwrap();
    std::fs::write(&file, "drop_in.enabled = true\ningest.token_file = 'token'\n").unwrap();
    let file = file.to_str().unwrap();
    let mut process = crate::process::Process::start(crate::process::typingd(&[
        "run",
        "--sandbox",
        "--config",
        file,
        "--listen",
        "127.0.0.1:0",
    ]));
    let address = process.address();
    let connector = Connector::new(&address, "any");
    assert_eq!(connector.started("u").status, 202);
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(address.get("/v1/drop_in").status, 401);
    let answer = address.call("GET", "/v1/drop_in", &[("authorization", "Bearer callers")], b"");
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!(1)));
    process.stop();
    let Said { code, stdout, .. } = run(&["check", "--sandbox", "--config", file]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("stall_timeout = \"1m\""), "{stdout}");
}

#[test]
fn messages_pass_during_the_drain_and_the_rest_is_counted() {
    let sandbox = Sandbox::start(&["--latency", "700ms"]);
    let mut daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", "", |_| {});
    let connector = Connector::new(&daemon.address, "t");
    assert_eq!(connector.message("before").status, 202);
    let send = |from: &'static str| {
        let connector = connector.clone();
        std::thread::spawn(move || connector.message(from))
    };
    let under_way = send("under way");
    until("a message under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 1);
    daemon.process.tell("TERM");
    daemon.process.until_logged("stopping");
    let later = send("later");
    assert_eq!(under_way.join().unwrap().status, 202);
    assert_eq!(later.join().unwrap().status, 202);
    // As long as somebody calls, one message after the other.
    assert_eq!(connector.message("last").status, 202);
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(!daemon.process.log().contains("cut"), "{}", daemon.process.log());
    for from in ["before", "under way", "later", "last"] {
        assert_eq!(sandbox.of("c", from).len(), 1, "{from}");
    }

    // But no longer than they may.
    sandbox.set_faults(&json!({"latency_ms": 60_000}));
    let settings = "drop_in.drain = '500ms'\ndelivery.shutdown_grace = '2s'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", settings, |_| {});
    let connector = Connector::new(&daemon.address, "t");
    let message = std::thread::spawn(move || connector.message("cut"));
    until("a message under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 1);
    let watch = clock::stopwatch();
    daemon.process.tell("TERM");
    assert_eq!(message.join().unwrap().status, 504);
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    until("the number", || daemon.process.log().contains("have been cut requests=1"));
}

#[test]
fn what_passes_when_the_drain_ends_has_the_rest_of_the_grace() {
    let sandbox = Sandbox::start(&["--latency", "1500ms"]);
    let settings = "drop_in.drain = '300ms'\ndelivery.shutdown_grace = '1m'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", settings, |_| {});
    let connector = Connector::new(&daemon.address, "t");
    let message = std::thread::spawn(move || connector.message("under way"));
    until("a message under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 1);
    let watch = clock::stopwatch();
    daemon.process.tell("TERM");
    until("the drain's end", || daemon.address.connect().is_err());
    assert!(!message.is_finished(), "{:?}", watch.elapsed());
    assert_eq!(message.join().unwrap().status, 202);
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(!daemon.process.log().contains("cut"), "{}", daemon.process.log());
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
}
