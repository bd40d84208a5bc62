//! Several daemons, one org, and a real store between them. Where there is no `redis-server` they are left out.

use std::fs;
use std::thread;
use std::time::Duration;

use redis::Commands;

use crate::bench::{Daemon, Sandbox};
use crate::process::{Process, run, typingd, until};
use crate::redis_server::Redis;

/// The shortest lease, and timing in which nothing happens by itself while a test runs.
pub(crate) const SETTINGS: &str = "store.lease = '2s'\ntiming.dismiss_after = '1m'\ntiming.check_interval = '1m'\n";

pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Daemon>,
    pub(crate) sandbox: Sandbox,
    pub(crate) redis: Redis,
}

/// So many nodes, each a member.
pub(crate) fn fleet(nodes: usize, settings: &str) -> Option<Fleet> {
    fleet_before(nodes, Sandbox::start(&[]), "upstream.auth.token_file = 'token'", settings)
}

/// The same before this upstream, with these credentials.
pub(crate) fn fleet_before(nodes: usize, sandbox: Sandbox, auth: &str, settings: &str) -> Option<Fleet> {
    let redis = Redis::start()?;
    let settings = format!("store.url = '{}'\n{SETTINGS}{settings}", redis.url());
    let start = || Daemon::start_with(&sandbox.address.url(), auth, &settings, |_| {});
    let mut nodes: Vec<_> = (0..nodes).map(|_| start()).collect();
    for node in &mut nodes {
        node.process.until_logged("the store answers");
    }
    Some(Fleet { nodes, sandbox, redis })
}

impl Fleet {
    pub(crate) fn owner_of(&self, user: &str) -> Option<String> {
        let held = self.held().into_iter().find(|(conversation, _)| conversation.ends_with(user));
        held.map(|(_, value)| value[..16].to_owned())
    }

    /// What the store has of each conversation.
    pub(crate) fn held(&self) -> Vec<(String, String)> {
        self.redis.connect().hgetall("typingd:1:{00DXX0000000001}:held").unwrap()
    }
}

#[test]
fn a_user_whose_keys_hop_has_one_icon() {
    let Some(fleet) = fleet(2, "") else { return };
    for key in 0..20 {
        fleet.nodes[key % 2].give("c", "ann", "keystroke");
        thread::sleep(Duration::from_millis(20));
    }
    fleet.sandbox.until_told("c", "ann", "+");
    let explained = fleet.nodes[1].tell_by("explain", &["c", "ann"]);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert!(explained.stderr.contains(&format!("held by {host} (node ")), "{explained:?}");
    let listed = || fleet.nodes[0].address.get("/v1/conversations").json();
    until("both are members", || listed()["typingd"] == 2);
    assert_eq!(listed()["total"], 1);
    let mut tap = Process::start(typingd(&["tap", "--url", &fleet.nodes[1].address.url()]));
    tap.until_logged("this typingd, of 2 that share a store");
    fleet.nodes[1].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+-+");
    fleet.nodes[1].give("c", "ann", "stopped");
    fleet.sandbox.until_told("c", "ann", "+-+-");
}

#[test]
fn a_killed_node_leaves_no_icon_on() {
    let Some(mut fleet) = fleet(2, "") else { return };
    let users = ["ann", "bob", "eve"];
    for user in users {
        fleet.nodes[0].give("c", user, "keystroke");
        fleet.sandbox.until_told("c", user, "+");
    }
    let dead = fleet.owner_of("ann");
    fleet.nodes[0].process.kill();
    // Whoever types on keeps the icon: another node takes the conversation over.
    until("another node takes ann over", || {
        fleet.nodes[1].give("c", "ann", "keystroke");
        fleet.owner_of("ann") != dead
    });
    for user in ["bob", "eve"] {
        fleet.sandbox.until_told("c", user, "+-");
    }
    until("ann's icon is on", || fleet.sandbox.told("c", "ann").ends_with('+'));
    fleet.nodes[1].process.stop();
    until("all are off", || fleet.sandbox.shown() == 0);
}

#[test]
fn a_node_that_stops_leaves_nothing_behind() {
    let Some(mut fleet) = fleet(2, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.nodes[0].process.stop();
    assert_eq!(fleet.sandbox.told("c", "ann"), "+-");
    assert_eq!(fleet.held(), []);
    // The other need not wait for a lease to run out.
    fleet.nodes[1].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+-+");
}

#[test]
fn nodes_serve_alone_while_the_store_is_away() {
    let Some(mut fleet) = fleet(2, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.redis.kill();
    until("bob is served without the store", || {
        fleet.nodes[1].give("c", "bob", "keystroke");
        fleet.sandbox.told("c", "bob") == "+"
    });
    fleet.redis.restart();
    // Both are told of again.
    until("the store knows of both", || fleet.held().len() == 2);
    for (node, user) in [(1, "ann"), (0, "bob")] {
        fleet.nodes[node].give("c", user, "message_sent");
        until("the icon is off", || fleet.sandbox.told("c", user).ends_with('-'));
    }
}

#[test]
fn a_node_in_the_dark_shows_no_icon() {
    let Some(mut fleet) = fleet(1, "store.when_unreachable = 'dark'") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.redis.kill();
    fleet.nodes[0].process.until_logged("the store can't be used");
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    fleet.nodes[0].give("c", "bob", "keystroke");
    fleet.nodes[0].process.stop();
    assert_eq!(fleet.sandbox.told("c", "bob"), "");
}

#[test]
fn a_node_that_slept_past_its_lease_sends_nothing() {
    let Some(fleet) = fleet(2, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.nodes[0].process.tell("STOP");
    fleet.sandbox.until_told("c", "ann", "+-");
    fleet.nodes[1].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+-+");
    fleet.nodes[0].process.tell("CONT");
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.nodes[0].give("c", "ann", "message_sent");
    until("the icon is off", || fleet.sandbox.told("c", "ann").ends_with('-'));
    assert_eq!(fleet.sandbox.shown(), 0);
}

#[test]
fn a_key_that_was_posted_to_the_dead_is_not_lost() {
    let Some(mut fleet) = fleet(2, "") else { return };
    for user in ["ann", "bob"] {
        fleet.nodes[0].give("c", user, "keystroke");
        fleet.sandbox.until_told("c", user, "+");
    }
    fleet.nodes[0].give("c", "bob", "message_sent");
    fleet.sandbox.until_told("c", "bob", "+-");
    fleet.nodes[0].process.kill();
    // Its lease goes on: the store has these for it.
    for user in ["ann", "bob"] {
        fleet.nodes[1].give("c", user, "keystroke");
    }
    fleet.sandbox.until_told("c", "ann", "++");
    fleet.sandbox.until_told("c", "bob", "+-+");
    fleet.nodes[1].process.until_logged("another typingd has died");
}

#[test]
fn a_crash_of_the_only_node_leaves_no_icon_on() {
    let Some(mut fleet) = fleet(1, "delivery.state_dir = 'state'") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    fleet.nodes[0].crash();
    fleet.sandbox.until_told("c", "ann", "+-");
}

#[test]
fn a_wrong_password_is_said_once_and_signals_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start_in(directory, &["--requirepass", "right-pass"]) else { return };
    let sandbox = Sandbox::start(&[]);
    let settings = format!("store.url = '{}'\nstore.password_file = 'password'\n{SETTINGS}", redis.url());
    let auth = "upstream.auth.token_file = 'token'";
    let start = |password: &str| {
        Daemon::start_with(&sandbox.address.url(), auth, &settings, |directory| {
            fs::write(directory.path().join("password"), password).unwrap();
        })
    };
    let mut wrong = start("wrong-pass\n");
    wrong.process.until_logged("the store can't be used");
    until("ann is served all the same", || {
        wrong.give("c", "ann", "keystroke");
        sandbox.told("c", "ann") == "+"
    });
    let log = wrong.process.log();
    assert_eq!(log.matches("the store can't be used").count(), 1, "{log}");
    assert!(log.contains("it refuses the password or the user"), "{log}");
    assert!(!log.contains("wrong-pass"), "{log}");
    // The file is read again at each connection.
    fs::write(wrong.file("password"), "right-pass").unwrap();
    wrong.process.until_logged("the store answers");
    let mut right = start("right-pass");
    right.process.until_logged("the store answers");
}

#[test]
fn an_access_list_and_tls_are_enough() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let commands = "+evalsha +script|load +hscan +blmpop +hget +hset +hdel +hmget +hgetall +rpush +llen +lrange +del \
                    +pexpire +zadd +zrem +zscore +zrangebyscore +time +select +ping";
    let user = format!("user typingd on >s3cret ~typingd:1:{{00DXX0000000001}}:* {commands}\n");
    fs::write(directory.path().join("users.acl"), user).unwrap();
    let tls = ["--tls-port", &port, "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
    let tls =
        [&tls[..], &["--tls-auth-clients", "no", "--tls-ca-cert-file", "cert.pem", "--aclfile", "users.acl"]].concat();
    let Some(redis) = Redis::start_in(directory, &tls) else { return };
    let sandbox = Sandbox::start(&[]);
    let ca = redis.directory.path().join("cert.pem");
    let settings = format!(
        "store.url = 'rediss://localhost:{port}'\nstore.username = 'typingd'\nstore.password_file = 'password'\n\
         store.ca_file = '{}'\n{SETTINGS}",
        ca.display()
    );
    let auth = "upstream.auth.token_file = 'token'";
    let start = || {
        let mut node = Daemon::start_with(&sandbox.address.url(), auth, &settings, |directory| {
            fs::write(directory.path().join("password"), "s3cret\n").unwrap();
        });
        node.process.until_logged("the store answers");
        node
    };
    let mut nodes = [start(), start()];
    nodes[0].give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    nodes[1].give("c", "ann", "message_sent");
    sandbox.until_told("c", "ann", "+-");
    nodes[0].give("c", "bob", "keystroke");
    sandbox.until_told("c", "bob", "+");
    // Reaping takes the rest of what the access list allows.
    nodes[0].process.kill();
    sandbox.until_told("c", "bob", "+-");
    nodes[1].process.stop();
    let log = nodes[1].process.log();
    assert!(!log.contains("NOPERM") && !log.contains("can't be used"), "{log}");
}

#[test]
fn what_is_wrong_with_the_store_is_said_before_the_start() {
    for (settings, problem) in [
        ("store.url = 'redis://redis.internal'", "would cross the network in clear"),
        ("store.group = 'a'", "store.group is set without a store; expected store.url beside it"),
        ("store.lease = '5s'", "store.lease is set without a store; expected store.url beside it"),
        ("store.when_unreachable = 'dark'", "store.when_unreachable is set without a store"),
        ("store.url = 'redis://localhost'\nstore.ca_file = 'token'", "without TLS; expected rediss:// beside it"),
        ("store.url = 'rediss://localhost'\nstore.ca_file = 'typingd.toml'", "can't take roots from store.ca_file"),
        ("store.url = 'rediss://localhost'\nstore.username = 'a'", "expected store.password_file beside it"),
        ("store.url = 'redis://localhost'\ntiming.require_open = true", "timing has require_open"),
        ("store.url = 'redis://localhost'\nstore.group = 'a}b'", "expected letters, digits, dots, - and _"),
        ("store.url = 'redis://localhost'\nstore.lease = '1s'", "expected a time from \"2s\" to \"30s\""),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("typingd.toml");
        fs::write(&file, settings).unwrap();
        let said = run(&["check", "--sandbox", "--config", file.to_str().unwrap()]);
        assert_eq!(said.code, Some(78), "{said:?}");
        assert!(said.stderr.contains(problem) && said.stderr.lines().count() == 1, "{settings}: {said:?}");
    }
}
