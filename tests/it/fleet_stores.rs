//! Stores that won't do: each is said in a sentence, signals are served all the same, and no icon stays on.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use redis::Commands;

use crate::bench::{Daemon, Sandbox};
use crate::fleet::{Fleet, SETTINGS, fleet};
use crate::process::{exists, run, until};
use crate::redis_server::Redis;

fn node(sandbox: &Sandbox, store: &str, settings: &str) -> Daemon {
    Daemon::start(&sandbox.address.url(), &format!("store.url = '{store}'\n{SETTINGS}{settings}"))
}

fn configure(redis: &Redis, name: &str, value: &str) {
    let _: () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut redis.connect()).unwrap();
}

/// What `check --online` says of the node's configuration.
fn checked(node: &Daemon) -> (Option<i32>, String) {
    let said = run(&["check", "--online", "--config", node.file("typingd.toml").to_str().unwrap()]);
    (said.code, said.stderr)
}

/// The node says why it has no store, once, and serves a user alone.
fn serves_alone(sandbox: &Sandbox, node: &mut Daemon, user: &str, why: &str) {
    node.process.until_logged(why);
    until("the user is served", || {
        node.give("c", user, "keystroke");
        sandbox.told("c", user).ends_with('+')
    });
    node.give("c", user, "message_sent");
    until("the icon is off", || sandbox.told("c", user).ends_with('-'));
    // Up to there what is left of its lease may have served the user.
    node.process.until_logged("this typingd serves alone");
    let log = node.process.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("the store can't be used")).collect();
    assert!(said.len() == 1 && said[0].contains(why), "one cause is one line: {log}");
    let status = node.tell_by("status", &[]);
    assert!(status.stdout.contains(why), "{status:?}");
    let (code, said) = checked(node);
    assert!(code == Some(1) && said.contains(why), "{said}");
}

#[test]
fn a_store_that_fills_up_leaves_no_icon_on() {
    let Some(mut fleet) = fleet(2, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    configure(&fleet.redis, "maxmemory", "1");
    for node in &mut fleet.nodes {
        node.process.until_logged("it is full: its maxmemory is reached; expected more memory");
    }
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    serves_alone(&fleet.sandbox, &mut fleet.nodes[1], "bob", "it is full");
    configure(&fleet.redis, "maxmemory", "0");
    for node in &mut fleet.nodes {
        until("the store answers again", || node.process.log().matches("the store answers").count() == 2);
    }
}

#[test]
fn a_key_before_a_dead_store_is_given_up_shows_its_icon() {
    let sandbox = Sandbox::start(&[]);
    // Nothing listens there.
    let mut node = node(&sandbox, "redis://127.0.0.1:1", "");
    node.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    node.process.until_logged("this typingd serves alone");
    let status = node.tell_by("status", &[]).stdout;
    assert!(status.contains("nothing listens at its address"), "{status}");
    assert!(status.contains("how many typingd share it is not known yet"), "{status}");
}

#[test]
fn a_store_that_becomes_a_replica_leaves_no_icon_on() {
    let Some(mut fleet) = fleet(1, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").query(&mut fleet.redis.connect()).unwrap();
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    serves_alone(&fleet.sandbox, &mut fleet.nodes[0], "bob", "it is a replica, which takes no writes");
    let log = fleet.nodes[0].process.log();
    assert!(!log.contains("UNBLOCKED"), "one cause, and not in the server's words: {log}");
}

#[test]
fn a_store_without_its_replicas_leaves_no_icon_on() {
    let Some(mut fleet) = fleet(1, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    configure(&fleet.redis, "min-replicas-to-write", "1");
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    serves_alone(&fleet.sandbox, &mut fleet.nodes[0], "bob", "it takes no writes while it has too few replicas");
}

#[test]
fn a_store_that_hands_over_no_mail_is_not_used() {
    let Some(mut fleet) = fleet(1, "") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    let _: () = redis::cmd("ACL").arg(&["SETUSER", "default", "-blmpop"]).query(&mut fleet.redis.connect()).unwrap();
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    serves_alone(&fleet.sandbox, &mut fleet.nodes[0], "bob", "blmpop");
    let _: () = redis::cmd("ACL").arg(&["SETUSER", "default", "+blmpop"]).query(&mut fleet.redis.connect()).unwrap();
    let node = &mut fleet.nodes[0];
    until("it is used again", || node.process.log().matches("the store answers").count() == 2);
    assert_eq!(node.process.log().matches("the store can't be used").count(), 1, "{}", node.process.log());
}

#[test]
fn a_store_that_dies_or_cuts_the_way_is_told_once() {
    let Some(mut fleet) = fleet(1, "") else { return };
    let node = &mut fleet.nodes[0];
    let told = |log: &str| -> Vec<String> {
        log.lines().filter(|line| line.contains("the store can't be used")).map(str::to_owned).collect()
    };
    let _: () = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query(&mut fleet.redis.connect()).unwrap();
    until("the store answers again", || node.process.log().matches("the store answers").count() == 2);
    let log = node.process.log();
    assert!(told(&log).len() == 1 && told(&log)[0].contains("it has closed the connection"), "{log}");
    fleet.redis.kill();
    node.process.until_logged("this typingd serves alone");
    let log = node.process.log();
    assert!(told(&log).len() == 2 && told(&log)[1].contains("nothing listens at its address"), "{log}");
}

/// The only node serves alone, and everything that tells why says `why`.
fn is_why_everywhere(fleet: &mut Fleet, why: &str) {
    serves_alone(&fleet.sandbox, &mut fleet.nodes[0], "bob", why);
    let explained = fleet.nodes[0].tell_by("explain", &["c", "nobody"]);
    assert!(explained.stderr.contains(why), "{explained:?}");
}

#[test]
fn keys_that_the_access_list_refuses_are_named() {
    let Some(mut fleet) = fleet(1, "") else { return };
    let forbid = ["SETUSER", "default", "resetkeys", "~others:*"];
    let _: () = redis::cmd("ACL").arg(&forbid).query(&mut fleet.redis.connect()).unwrap();
    let why = "its user may not access the keys typingd:1:{00DXX0000000001}:*; expected in its access list: \
               ~typingd:1:{00DXX0000000001}:*";
    is_why_everywhere(&mut fleet, why);
}

#[test]
fn a_revoked_permission_is_the_same_sentence_everywhere() {
    let Some(mut fleet) = fleet(1, "") else { return };
    let _: () = redis::cmd("ACL").arg(&["SETUSER", "default", "-hget"]).query(&mut fleet.redis.connect()).unwrap();
    let why = "its user may not execute hget; expected in its access list: +hget";
    is_why_everywhere(&mut fleet, why);
}

#[test]
fn a_permission_that_no_heartbeat_needs_is_missed_at_once() {
    let Some(mut fleet) = fleet(1, "") else { return };
    let acl = |redis: &Redis, rules: &[&str]| {
        let _: () = redis::cmd("ACL").arg("SETUSER").arg("default").arg(rules).query(&mut redis.connect()).unwrap();
    };
    acl(&fleet.redis, &["-rpush", "-hmget"]);
    let _: () = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query(&mut fleet.redis.connect()).unwrap();
    serves_alone(&fleet.sandbox, &mut fleet.nodes[0], "bob", "may not execute hmget, rpush");
    acl(&fleet.redis, &["+rpush", "+hmget"]);
    let node = &mut fleet.nodes[0];
    until("it is used again", || node.process.log().matches("the store answers").count() == 2);
}

#[test]
fn a_check_names_all_that_the_access_list_forbids() {
    let Some(fleet) = fleet(1, "") else { return };
    let mut forbid = redis::cmd("ACL");
    forbid.arg(&["SETUSER", "default", "-hscan", "-zscore", "-lrange"]);
    let _: () = forbid.query(&mut fleet.redis.connect()).unwrap();
    let (code, said) = checked(&fleet.nodes[0]);
    let expected =
        "its user may not execute hscan, lrange, zscore; expected in its access list: +hscan +lrange +zscore";
    assert!(code == Some(1) && said.contains(expected), "{said}");
    let left: Vec<String> = redis::cmd("KEYS").arg("*check*").query(&mut fleet.redis.connect()).unwrap();
    assert_eq!(left, [""; 0], "the check leaves nothing behind");
}

#[test]
fn a_check_finds_another_schema_in_the_group() {
    let Some(fleet) = fleet(1, "") else { return };
    // With someone alive who goes on with that schema.
    let key = |name: &str| format!("typingd:1:{{00DXX0000000001}}:{name}");
    let mut both = redis::pipe();
    both.atomic().zadd(key("nodes"), "00000000000f0000", 99_999_999_999_999_u64);
    both.hset(key("names"), "@", "9:00DXX0000000001");
    let _: () = both.query(&mut fleet.redis.connect()).unwrap();
    let (code, said) = checked(&fleet.nodes[0]);
    assert!(code == Some(1) && said.contains("typingd of another schema (9, and this is 1) share the group"), "{said}");
}

#[test]
fn two_orgs_do_not_share_a_group() {
    let Some(fleet) = fleet(1, "store.group = 'shared'") else { return };
    fleet.nodes[0].give("c", "ann", "keystroke");
    fleet.sandbox.until_told("c", "ann", "+");
    let other = Sandbox::start(&[]);
    let mut stranger = node(&other, &fleet.redis.url(), "store.group = 'shared'");
    stranger.edit("00DXX0000000001", "00DXX0000000002");
    stranger.crash();
    let why = "another org (00DXX0000000001) shares the group; expected a store.group of its own";
    stranger.process.until_logged(why);
    let (code, said) = checked(&stranger);
    assert!(code == Some(1) && said.contains(why), "{said}");
    until("ann is served in both", || {
        stranger.give("c", "ann", "keystroke");
        other.told("c", "ann").ends_with('+')
    });
    stranger.give("c", "ann", "message_sent");
    until("the icon is off", || other.told("c", "ann").ends_with('-'));
    assert_eq!(fleet.sandbox.told("c", "ann"), "+");
    fleet.nodes[0].give("c", "ann", "message_sent");
    fleet.sandbox.until_told("c", "ann", "+-");
    assert!(!fleet.nodes[0].process.log().contains("can't be used"));
}

#[test]
fn typingd_of_two_schemas_do_not_share_a_group() {
    let Some(fleet) = fleet(1, "") else { return };
    let names = "typingd:1:{00DXX0000000001}:names";
    let other = node(&fleet.sandbox, &fleet.redis.url(), "");
    until("it is refused", || {
        // The first one says as often which schema it has.
        let _: () = fleet.redis.connect().hset(names, "@", "9:00DXX0000000001").unwrap();
        other.process.log().contains("typingd of another schema (9, and this is 1) share the group")
    });
    until("ann is served", || {
        other.give("c", "ann", "keystroke");
        fleet.sandbox.told("c", "ann").ends_with('+')
    });
    other.give("c", "ann", "message_sent");
    until("the icon is off", || fleet.sandbox.told("c", "ann").ends_with('-'));
}

#[test]
fn an_old_store_is_called_old() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_like_an_old_one(stream));
        }
    });
    let sandbox = Sandbox::start(&[]);
    let mut node = node(&sandbox, &url, "");
    serves_alone(&sandbox, &mut node, "ann", "it is version 6.2.14; expected 7.0 or newer");
}

/// The number in the next line, which says how much follows; `None` at the end.
fn number(reader: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

/// Commands come as arrays of texts.
fn answer_like_an_old_one(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = number(&mut reader) {
        let mut word = || {
            let mut text = vec![0; number(&mut reader)? + 2];
            reader.read_exact(&mut text).ok()?;
            String::from_utf8(text).ok().map(|text| text.trim_end().to_owned())
        };
        let command: Vec<_> = (0..words).filter_map(|_| word()).collect();
        let info = "redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n";
        let answer = match command.first().map(String::as_str) {
            Some("INFO") => format!("${}\r\n{info}\r\n", info.len()),
            Some("BLMPOP") => "-ERR unknown command 'BLMPOP'\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_store_that_may_forget_is_warned_of_once() {
    let directory = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start_in(directory, &["--maxmemory-policy", "allkeys-lru"]) else { return };
    let sandbox = Sandbox::start(&[]);
    let mut node = node(&sandbox, &redis.url(), "");
    let warning = "its maxmemory-policy is allkeys-lru";
    node.process.until_logged(warning);
    let (code, said) = checked(&node);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(warning) && said.contains("store: redis+unix://"), "{said}");
    let kept: Vec<String> = redis.connect().hkeys("typingd:1:{00DXX0000000001}:names").unwrap();
    assert_eq!(kept.len(), 2, "the check leaves nothing behind: {kept:?}");
    assert_eq!(node.process.log().matches(warning).count(), 1);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn what_is_wrong_with_the_way_to_the_store_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let tls = free_port();
    let port = tls.to_string();
    let arguments = ["--tls-port", &port, "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
    let files = ["--tls-auth-clients", "no", "--tls-ca-cert-file", "cert.pem"];
    let Some(redis) = Redis::start_in(directory, &[&arguments[..], &files].concat()) else { return };
    let sandbox = Sandbox::start(&[]);
    // What answers there speaks in clear.
    let plain = sandbox.address.url().replace("http://127.0.0.1", "rediss://localhost");
    let trusted = format!("store.ca_file = '{}'\n", redis.directory.path().join("cert.pem").display());
    for (url, settings, why) in [
        (format!("rediss://localhost:{tls}"), "", "its certificate is not trusted; expected the certificate that"),
        (format!("rediss://127.0.0.1:{tls}"), &trusted[..], "its certificate is for another name; expected the name"),
        (plain, &trusted, "it does not speak TLS; expected its port for TLS"),
        (format!("redis://localhost:{tls}"), "", "if it speaks TLS, expected rediss:// in store.url"),
        (format!("rediss://localhost:{tls}/99"), &trusted, "it has no database of that number; expected a lower one"),
    ] {
        let node = node(&sandbox, &url, settings);
        let (code, said) = checked(&node);
        assert!(code == Some(1) && said.contains(why), "{url}: {said}");
    }
}

/// Carries what comes, so much later.
fn carry(mut from: impl Read, mut to: impl Write, late: Duration) {
    let mut bytes = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        thread::sleep(late);
        if to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

/// The address of a store that is so far away in each direction.
fn far_away(redis: &Redis, late: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let socket = redis.directory.path().join("s");
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = UnixStream::connect(&socket).unwrap();
            let (back, there) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            thread::spawn(move || carry(near, far, late));
            thread::spawn(move || carry(back, there, late));
        }
    });
    url
}

/// An answer takes longer than a heartbeat may; the connection alone takes longer than a request may.
#[test]
fn a_store_that_is_far_away_is_used() {
    let Some(redis) = Redis::start() else { return };
    for millis in [150, 350] {
        let url = far_away(&redis, Duration::from_millis(millis));
        let sandbox = Sandbox::start(&[]);
        let settings = SETTINGS.replace("'2s'", "'6s'");
        let mut node = Daemon::start(&sandbox.address.url(), &format!("store.url = '{url}'\n{settings}"));
        let (code, said) = checked(&node);
        assert_eq!(code, Some(0), "{said}");
        node.process.until_logged("this typingd shares the org by the store");
        // A key that took longer than a second counts no more; the next one does.
        until("the icon is on", || {
            node.give("c", "ann", "keystroke");
            sandbox.told("c", "ann").ends_with('+')
        });
        node.give("c", "ann", "message_sent");
        until("the icon is off", || sandbox.told("c", "ann").ends_with('-'));
        let explained = node.tell_by("explain", &["c", "nobody"]);
        assert!(explained.stderr.contains("this conversation is not known"), "{explained:?}");
        assert!(!node.process.log().contains("the lease was not renewed in time"), "{}", node.process.log());
        node.process.stop();
    }
}

#[test]
fn a_store_that_wants_a_certificate_of_clients_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let Some((code, said)) = checked_with(directory, "cert.pem", "key.pem", "yes") else { return };
    assert!(code == Some(1) && said.contains("if it wants a certificate of its clients, expected"), "{said}");
}

/// A server that shows the certificate and the key of these files, and what is checked of it with the certificate trusted.
fn checked_with(directory: tempfile::TempDir, cert: &str, key: &str, clients: &str) -> Option<(Option<i32>, String)> {
    let port = free_port();
    let arguments = ["--tls-port", &port.to_string(), "--tls-cert-file", cert, "--tls-key-file", key];
    let files = ["--tls-auth-clients", clients, "--tls-ca-cert-file", cert];
    let redis = Redis::start_in(directory, &[&arguments[..], &files].concat())?;
    let trusted = format!("store.ca_file = '{}'\n", redis.directory.path().join(cert).display());
    Some(checked(&node(&Sandbox::start(&[]), &format!("rediss://localhost:{port}"), &trusted)))
}

#[test]
fn an_authoritys_own_certificate_is_told_from_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(directory.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
    let Some((code, said)) = checked_with(directory, "cert.pem", "key.pem", "no") else { return };
    let why = "its certificate is a certificate authority's, which no server may show as its own; expected one with";
    assert!(code == Some(1) && said.contains(why), "{said}");
}

#[test]
fn the_certificate_of_the_manual_serves_a_store() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/drop-in.md")).unwrap();
    let command = &page[page.find("openssl req").unwrap()..];
    let command = &command[..command.find("\ncat ").unwrap()];
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    let command = command.replace("$host", "localhost").replace("/etc/stunnel", here);
    if !exists("openssl") {
        return;
    }
    let made = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(made.status.success(), "{command}: {made:?}");
    let Some((code, said)) = checked_with(directory, "typingd.crt", "typingd.key", "no") else { return };
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn no_one_is_called_dead_for_the_stores_silence() {
    let Some(mut fleet) = fleet(2, "") else { return };
    fleet.redis.tell("STOP");
    for node in &mut fleet.nodes {
        node.process.until_logged("this typingd serves alone");
    }
    fleet.redis.tell("CONT");
    let shares = "this typingd shares the org by the store";
    for node in &mut fleet.nodes {
        until("it shares the org again", || node.process.log().matches(shares).count() == 2);
    }
    // Whatever has lapsed meanwhile is buried by then.
    fleet.nodes[0].give("c", "ann", "keystroke");
    let nodes = || fleet.redis.connect().zcard::<_, usize>("typingd:1:{00DXX0000000001}:nodes").unwrap();
    until("nothing is left of their former selves", || nodes() == 2);
    fleet.nodes[1].process.kill();
    fleet.nodes[0].process.until_logged("another typingd has died");
    let log = fleet.nodes[0].process.log();
    assert_eq!(log.matches("another typingd has died").count(), 1, "{log}");
}

#[test]
fn other_settings_than_those_of_the_others_are_told_once() {
    let Some(mut fleet) = fleet(1, "") else { return };
    let url = fleet.sandbox.address.url();
    let settings = format!("store.url = '{}'\nstore.lease = '3s'\ntiming.check_interval = '9s'", fleet.redis.url());
    let mut other = Daemon::start(&url, &settings);
    for node in [&mut other, &mut fleet.nodes[0]] {
        node.process.until_logged("has other settings; expected the same for all");
        let status = node.tell_by("status", &[]).stdout;
        assert!(status.contains("; another typingd has other values for store.lease and timing"), "{status}");
    }
    // Once it holds for all there is nothing to tell of.
    other.process.stop();
    let node = &fleet.nodes[0];
    until("nothing differs", || !node.tell_by("status", &[]).stdout.contains("other values"));
    assert_eq!(node.process.log().matches("has other settings").count(), 1);
}
