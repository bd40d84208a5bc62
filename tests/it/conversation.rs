//! Conversations end to end: signals in by HTTP, and what the sandbox was told of them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use typingd::base::clock;

use crate::bench::{pair, signal_of, told};
use crate::process::until;

#[test]
fn the_icon_shows_at_the_first_key_and_hides_after_a_pause() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '300ms'");
    let watch = clock::stopwatch();
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    sandbox.until_told("c", "ann", "+-");
    assert!(watch.elapsed() >= Duration::from_millis(300), "it went after {:?}", watch.elapsed());
    // The next key starts anew.
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-+-");
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn the_icon_is_off_before_a_waiting_caller_is_answered() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let wait = "/v1/signals?wait=20s";
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let answer = daemon.post(wait, &signal_of("c", "ann", "message_sent"));
    assert_eq!(answer.json(), json!({"accepted": 1, "rejected": [], "settled": true}));
    // Not waited for: it must be so by now.
    assert_eq!((sandbox.told("c", "ann").as_str(), sandbox.shown()), ("+-", 0));

    // A key and its message in one breath: whether or not the Started got away, no icon is left.
    let both = json!([signal_of("c", "bob", "keystroke"), signal_of("c", "bob", "message_sent")]);
    assert_eq!(daemon.post(wait, &both).json(), json!({"accepted": 2, "rejected": [], "settled": true}));
    assert!(["", "+-"].contains(&sandbox.told("c", "bob").as_str()), "{}", sandbox.told("c", "bob"));

    // Nothing to settle, and nobody to wait for.
    let nothing = daemon.post(wait, &signal_of("c", "cid", "message_sent"));
    assert_eq!(nothing.json()["settled"], true);

    // An upstream that does not answer in time is not waited for.
    daemon.give("c", "dan", "keystroke");
    sandbox.until_told("c", "dan", "+");
    sandbox.set_faults(&json!({"faults": ["503"]}));
    let late = daemon.post("/v1/signals?wait=50ms", &signal_of("c", "dan", "message_sent"));
    assert_eq!(late.json()["settled"], false);
    sandbox.set_faults(&json!({}));
    sandbox.until_told("c", "dan", "+-");
}

#[test]
fn checks_refresh_only_those_who_type_on() {
    let (sandbox, mut daemon) =
        pair("delivery.started_lifespan = '5s'\ntiming.check_interval = '150ms'\ntiming.dismiss_after = '1m'");
    daemon.give("c", "once", "keystroke");
    until("three refreshes", || {
        daemon.give("c", "often", "keystroke");
        sandbox.told("c", "often").len() > 3
    });
    daemon.give("c", "often", "stopped");
    daemon.process.stop();
    let often = sandbox.told("c", "often");
    assert_eq!(often.trim_start_matches('+'), "-", "{often}");
    assert_eq!(sandbox.told("c", "once"), "+-", "one key, and no check that had news");
    // Refreshes come a check apart. Arrivals jitter; the mean of many does not.
    let seen = sandbox.of("c", "often");
    let at = |index: usize| seen[index]["at_us"].as_u64().unwrap();
    let refreshes = often.len() - 2;
    assert!((at(refreshes) - at(0)) as usize > refreshes * 100_000, "{often} in {} us", at(refreshes) - at(0));
}

#[test]
fn after_shown_hides_while_typing_and_shows_at_the_check() {
    let settings = "timing.dismiss = 'after_shown'\ntiming.check_interval = '400ms'\n\
                    timing.dismiss_after = '150ms'\ndelivery.started_lifespan = '5s'";
    let (sandbox, daemon) = pair(settings);
    until("three times on", || {
        daemon.give("c", "ann", "keystroke");
        sandbox.told("c", "ann").starts_with("+-+-+")
    });
    until("off in the end", || sandbox.shown() == 0 && sandbox.told("c", "ann").ends_with('-'));
}

#[test]
fn a_channel_has_its_own_timing_and_context() {
    let settings = "timing.dismiss_after = '1m'\nchannels.quick.dismiss_after = '100ms'\n\
                    channels.other.authorization_context = 'Other_Context'";
    let (sandbox, daemon) = pair(settings);
    for channel in ["usual", "other", "quick"] {
        daemon.give(channel, "ann", "keystroke");
    }
    sandbox.until_told("quick", "ann", "+-");
    for (channel, context) in [("usual", "Partner1_ChannelDefinition1"), ("other", "Other_Context")] {
        sandbox.until_told(channel, "ann", "+");
        assert_eq!(sandbox.of(channel, "ann")[0]["authorization_context"], context);
    }
}

#[test]
fn a_keystroke_of_before_the_message_is_ignored() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    let at = |from: &str, signal: &str, at: u64| json!({"to": "c", "from": from, "signal": signal, "at": at});
    for signal in [
        at("late", "message_sent", 1_000),
        at("late", "keystroke", 999),
        at("late", "keystroke", 1_000),
        at("new", "message_sent", 1_000),
        at("new", "keystroke", 1_001),
        at("none", "message_sent", 1_000),
        signal_of("c", "none", "keystroke"),
    ] {
        assert_eq!(daemon.post("/v1/signals", &signal).status, 202);
    }
    for from in ["new", "none"] {
        sandbox.until_told("c", from, "+");
    }
    let told = daemon.address.get("/v1/conversations?to=c&from=late").json();
    let said = told["explanation"].as_str().unwrap_or_default();
    assert!(said.contains(" ago: its `at` is not later than that of a message already sent."), "{told}");
    let ignored: Vec<_> =
        told["transitions"].as_array().unwrap().iter().filter(|it| it["event"] == "ignored").collect();
    assert!(!ignored.is_empty() && ignored.iter().all(|it| it["why"] == "late"), "{told}");
    let told = daemon.address.get("/v1/conversations?to=c&from=new").json();
    assert!(!told["explanation"].as_str().unwrap_or_default().contains("ignored"), "{told}");
    daemon.process.stop();
    assert_eq!(sandbox.told("c", "late"), "");
}

#[test]
fn require_open_sends_nothing_for_a_session_not_open() {
    let (sandbox, mut daemon) = pair("timing.require_open = true\ntiming.dismiss_after = '1m'");
    daemon.give("c", "ann", "keystroke");
    daemon.give("c", "never", "keystroke");
    daemon.give("c", "ann", "opened");
    daemon.give("c", "ann", "keystroke");
    daemon.give("c", "bob", "message_sent");
    daemon.give("c", "bob", "keystroke");
    for from in ["ann", "bob"] {
        sandbox.until_told("c", from, "+");
    }
    let told = daemon.address.get("/v1/conversations?to=c&from=never").json();
    let said = told["explanation"].as_str().unwrap_or_default();
    assert!(
        said.contains("A keystroke was ignored ") && said.contains("`opened` or `message_sent` comes first"),
        "{told}"
    );
    let explained = daemon.tell_by("explain", &["c", "never"]).stdout;
    assert!(explained.contains("keystroke      ignored: unopened"), "{explained}");
    daemon.give("c", "ann", "ended");
    sandbox.until_told("c", "ann", "+-");
    daemon.give("c", "ann", "keystroke");
    daemon.process.stop();
    let all = ["ann", "bob", "never"].map(|from| sandbox.told("c", from));
    assert_eq!(all, ["+-", "+-", ""]);
}

#[test]
fn conversations_that_share_an_id_share_nothing_else() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    for (to, from) in [("c", "ann"), ("c", "bob"), ("d", "ann")] {
        daemon.give(to, from, "keystroke");
        sandbox.until_told(to, from, "+");
    }
    daemon.give("c", "ann", "ended");
    sandbox.until_told("c", "ann", "+-");
    assert_eq!((sandbox.told("c", "bob").as_str(), sandbox.told("d", "ann").as_str()), ("+", "+"));
    assert_eq!(sandbox.shown(), 2);
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_strict_upstream_takes_every_request_in_order() {
    let (sandbox, mut daemon) = pair("timing.check_interval = '100ms'\ntiming.dismiss_after = '60ms'");
    let mut dice = 1_u64;
    for _ in 0..40 {
        let batch: Vec<_> = (0..25)
            .map(|_| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (roll, kind) = (dice >> 33, (dice >> 50) % 10);
                let signal = ["message_sent", "stopped", "ended"].get(kind as usize).unwrap_or(&"keystroke");
                signal_of(&format!("c{}", roll % 3), &format!("u{}", roll / 3 % 10), signal)
            })
            .collect();
        assert_eq!(daemon.post("/v1/signals", &batch.into()).status, 202);
    }
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
    let requests = sandbox.requests();
    let mut conversations: HashMap<String, Vec<_>> = HashMap::new();
    let (mut request_ids, mut payload_ids) = (HashSet::new(), HashSet::new());
    for seen in requests {
        assert_eq!((&seen["status"], &seen["applied"]), (&json!(202), &json!(true)), "{seen}");
        assert_eq!(seen["org_id"], "00DXX0000000001");
        assert_eq!(seen["authorization_context"], "Partner1_ChannelDefinition1");
        assert!(request_ids.insert(seen["request_id"].as_str().unwrap().to_owned()), "used twice: {seen}");
        assert!(payload_ids.insert(seen["payload_id"].as_str().unwrap().to_owned()), "used twice: {seen}");
        // Decided, then sent.
        assert!(seen["payload_timestamp"].as_i64() <= seen["timestamp"].as_i64(), "{seen}");
        let skew = seen["skew_ms"].as_i64().unwrap();
        assert!((-10_000..=10).contains(&skew), "{seen}");
        conversations.entry(format!("{}/{}", seen["to"], seen["from"])).or_default().push(seen);
    }
    assert!(conversations.len() >= 20, "{}", conversations.len());
    for (name, seen) in conversations {
        let told = told(&seen);
        assert!(told.starts_with('+') && told.ends_with('-') && !told.contains("--"), "{name}: {told}");
        let times: Vec<_> = seen.iter().map(|seen| seen["payload_timestamp"].as_i64().unwrap()).collect();
        assert!(times.is_sorted(), "{name}: {times:?}");
    }
}
