//! A connector that runs as replicas: what a user does at one of them concerns what another has shown.

use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, signal_of};
use crate::connector::Connector;
use crate::credentials::{issue, revoke, strict_sandbox};
use crate::fleet::{fleet, fleet_before};
use crate::process::until;

const TOKEN: &str = "upstream.auth.token_file = 'token'";
const DROP_IN: &str = "drop_in.enabled = true";
const LASTS: &str = "drop_in.activity_lasts = '1m'\ndrop_in.settle = '20s'\n";

fn settled(node: &Daemon, wait: &str, user: &str) -> Value {
    let answer = node.post(&format!("/v1/signals?wait={wait}"), &signal_of("c", user, "message_sent"));
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["settled"].take()
}

#[test]
fn a_message_at_another_replica_waits_for_the_icon() {
    let Some(fleet) = fleet_before(2, Sandbox::start(&["--latency", "200ms"]), TOKEN, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    let watch = clock::stopwatch();
    assert_eq!(settled(&fleet.nodes[1], "20s", "ann"), json!(true));
    assert_eq!(fleet.sandbox.told("c", "ann"), "+-");
    assert!(watch.elapsed() >= Duration::from_millis(200), "{:?}", watch.elapsed());
    // One that ends nothing, whoever is asked, and one that comes too soon.
    assert_eq!(settled(&fleet.nodes[0], "20s", "ann"), json!(true));
    assert_eq!(settled(&fleet.nodes[1], "20s", "eve"), json!(true));
    fleet.nodes[0].give("c", "bob", "keystroke");
    fleet.sandbox.until_told("c", "bob", "+");
    assert_eq!(settled(&fleet.nodes[1], "20ms", "bob"), json!(false));
    fleet.sandbox.until_told("c", "bob", "+-");
}

#[test]
fn a_message_for_an_owner_that_is_silent_waits_no_longer() {
    let Some(fleet) = fleet(2, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.nodes[0].process.tell("STOP");
    let watch = clock::stopwatch();
    assert_eq!(settled(&fleet.nodes[1], "300ms", "ann"), json!(false));
    assert!(watch.elapsed() >= Duration::from_millis(300), "{:?}", watch.elapsed());
    // A survivor answers for it, and for the message.
    fleet.sandbox.until_told("c", "ann", "+-");
    fleet.nodes[0].process.tell("CONT");
}

#[test]
fn a_message_waits_for_who_takes_over_from_its_owner() {
    let Some(mut fleet) = fleet(2, "") else { return };
    let key = json!({"to": "c", "from": "ann", "signal": "keystroke", "lasts": 30_000});
    assert_eq!(fleet.nodes[0].post("/v1/signals", &key).status, 202);
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.nodes[0].process.kill();
    let watch = clock::stopwatch();
    assert_eq!(settled(&fleet.nodes[1], "25s", "ann"), json!(true));
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
    assert_eq!(fleet.sandbox.told("c", "ann"), "+-");
}

#[test]
fn a_message_is_not_settled_while_the_store_is_silent() {
    let Some(mut fleet) = fleet(2, "") else { return };
    let key = json!({"to": "c", "from": "ann", "signal": "keystroke", "lasts": 30_000});
    assert_eq!(fleet.nodes[0].post("/v1/signals", &key).status, 202);
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.redis.tell("STOP");
    for node in &mut fleet.nodes {
        node.process.until_logged("this typingd serves alone");
    }
    // Neither knows whether another shows an icon.
    for user in ["ann", "eve"] {
        assert_eq!(settled(&fleet.nodes[1], "1s", user), json!(false), "{user}");
    }
    assert!(!fleet.sandbox.told("c", "ann").ends_with('-'));
    fleet.redis.tell("CONT");
    until("its owner is told", || fleet.sandbox.told("c", "ann").ends_with('-'));
}

#[test]
fn a_message_that_passes_elsewhere_finds_no_icon() {
    let Some(fleet) = fleet_before(2, Sandbox::start(&["--latency", "50ms"]), DROP_IN, LASTS) else { return };
    let [first, second] = [0, 1].map(|node| Connector::new(&fleet.nodes[node].address, "t0ken"));
    assert_eq!(first.started("ann").status, 202);
    fleet.sandbox.until_told("c", "ann", "+");
    assert_eq!(second.message("ann").status, 202);
    let seen = fleet.sandbox.of("c", "ann");
    let entries: Vec<_> = seen.iter().map(|seen| seen["entry_type"].as_str().unwrap()).collect();
    assert_eq!(entries, ["TypingStartedIndicator", "TypingStoppedIndicator", "Message"]);
    assert_eq!(seen[2]["found_shown"], false);
    let report = fleet.nodes[1].address.get("/v1/drop_in").json();
    assert_eq!((&report["settled"], &report["unsettled"]), (&json!(1), &json!(0)), "{report}");
}

#[test]
fn a_replica_with_a_dead_token_gives_its_icon_away() {
    let Some(fleet) = fleet_before(2, strict_sandbox(), DROP_IN, LASTS) else { return };
    let expiring = Connector::new(&fleet.nodes[0].address, &issue(&fleet.sandbox));
    let good = Connector::new(&fleet.nodes[1].address, "good");
    assert_eq!(expiring.started("ann").status, 202);
    fleet.sandbox.until_told("c", "ann", "+");
    let owner = fleet.owner_of("ann");
    assert_eq!(good.started("ann").status, 202);
    revoke(&fleet.sandbox);
    assert_eq!(good.stopped("ann").status, 202);
    fleet.sandbox.until_told("c", "ann", "+-");
    assert_ne!(fleet.owner_of("ann"), owner);
    assert_eq!(good.started("ann").status, 202);
    fleet.sandbox.until_told("c", "ann", "+-+");
}

#[test]
fn an_icon_of_a_dead_replica_goes_off_by_who_has_a_token() {
    let Some(mut fleet) = fleet_before(3, strict_sandbox(), DROP_IN, LASTS) else { return };
    let [first, second] = [0, 1].map(|node| Connector::new(&fleet.nodes[node].address, "good"));
    assert_eq!(first.started("ann").status, 202);
    fleet.sandbox.until_told("c", "ann", "+");
    let dead = fleet.owner_of("ann");
    // Of the others one has been shown a token, and the last none.
    assert_eq!(second.started("bob").status, 202);
    fleet.sandbox.until_told("c", "bob", "+");
    let owner = fleet.owner_of("bob");
    fleet.nodes[0].process.kill();
    fleet.sandbox.until_told("c", "ann", "+-");
    let now = fleet.owner_of("ann");
    assert!(now != dead && (now.is_none() || now == owner), "{now:?}");
}

#[test]
fn a_new_limit_holds_for_all_replicas_at_once() {
    let Some(mut fleet) = fleet(2, "upstream.max_requests_per_second = 1000\n") else { return };
    let share = |node: &Daemon| {
        let status = node.address.get("/v1/status").json();
        status["store"]["requests_per_second"].as_u64().unwrap_or_else(|| panic!("{status}"))
    };
    until("both have their shares", || fleet.nodes.iter().map(share).sum::<u64>() > 200);
    fleet.nodes[0].reconfigure(|text| text.replace("= 1000", "= 90"));
    fleet.nodes[0].process.until_logged("configuration read again");
    until("the shares are small", || fleet.nodes.iter().map(share).sum::<u64>() <= 90);
    fleet.nodes[0].reconfigure(|text| text.replace("= 90", "= 1000"));
    until("they are as before", || fleet.nodes.iter().map(share).sum::<u64>() > 200);
}

#[test]
fn an_icon_of_a_crash_goes_off_though_the_store_hangs() {
    let Some(mut fleet) = fleet(1, "delivery.state_dir = 'state'") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    // The store can't say that nobody answers for it.
    fleet.redis.tell("STOP");
    fleet.nodes[0].crash();
    fleet.sandbox.until_told("c", "ann", "+-");
    fleet.redis.tell("CONT");
    fleet.nodes[0].process.until_logged("the store answers");
    fleet.nodes[0].give("c", "ann", "keystroke");
    until("the icon", || fleet.sandbox.told("c", "ann").ends_with('+'));
}

#[test]
fn the_timing_can_be_changed_while_the_store_hangs() {
    let Some(fleet) = fleet(2, "") else { return };
    let check = |node: &Daemon| node.address.get("/v1/timing").json()["timing"]["check_interval"].take();
    put_check(&fleet.nodes[0], "7s");
    until("the other has it", || check(&fleet.nodes[1]) == "7s");
    fleet.redis.tell("STOP");
    for interval in ["8s", "9s"] {
        put_check(&fleet.nodes[0], interval);
        assert_eq!(check(&fleet.nodes[0]), interval);
    }
    let answer = fleet.nodes[1].address.call("POST", "/v1/reload", &[], b"");
    assert_eq!((answer.status, check(&fleet.nodes[1])), (200, "1m".into()), "{answer:?}");
    put_check(&fleet.nodes[0], "6s");
    fleet.redis.tell("CONT");
    until("both have one timing", || check(&fleet.nodes[0]) == check(&fleet.nodes[1]));
}

fn put_check(node: &Daemon, interval: &str) {
    let body = format!(r#"{{"check_interval": "{interval}"}}"#);
    let answer = node.address.call("PUT", "/v1/timing", &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_change_of_the_timing_holds_for_all_replicas() {
    let Some(mut fleet) = fleet(2, "") else { return };
    let check = |node: &Daemon| node.address.get("/v1/timing").json()["timing"]["check_interval"].take();
    let put = |node: &Daemon, path: &str, body: &str| {
        let answer = node.address.call("PUT", path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let whole = |node: &Daemon| {
        let timing = node.address.get("/v1/timing").json();
        (timing["timing"].clone(), timing["channels"].clone())
    };
    put(&fleet.nodes[0], "/v1/timing", r#"{"check_interval": "7s"}"#);
    until("the other has it, too", || check(&fleet.nodes[1]) == "7s");
    fleet.nodes[1].process.until_logged("another typingd of the store");
    // Both at once, and of a channel.
    put(&fleet.nodes[1], "/v1/timing/c", r#"{"dismiss_after": "9s"}"#);
    put(&fleet.nodes[0], "/v1/timing", r#"{"dismiss_after": "8s"}"#);
    until("both have all", || {
        let both = [0, 1].map(|node| whole(&fleet.nodes[node]));
        both[0] == both[1] && both[0].0["dismiss_after"] == "8s" && both[0].1.to_string().contains("9s")
    });
    // One that comes later, and a store that has forgotten it.
    let settings = std::fs::read_to_string(fleet.nodes[0].file("typingd.toml")).unwrap();
    let settings = settings.lines().filter(|line| !line.starts_with("upstream.")).collect::<Vec<_>>().join("\n");
    let late = Daemon::start(&fleet.sandbox.address.url(), &settings);
    until("the late one has it", || check(&late) == "7s");
    fleet.redis.kill();
    fleet.redis.restart();
    let last = Daemon::start(&fleet.sandbox.address.url(), &settings);
    until("the last one has it", || check(&last) == "7s");
    let answer = fleet.nodes[0].address.call("DELETE", "/v1/timing", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    until("all are as they were", || [&fleet.nodes[1], &late, &last].iter().all(|node| check(node) == "1m"));
}
