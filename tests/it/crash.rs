//! kill -9: whatever the process was doing, no icon stays on once its successor has started.

use std::time::Duration;

use serde_json::Value;

use crate::bench::{Daemon, JSON, Sandbox, pair, signal_of};
use crate::process::{run, until};
use crate::wire::Address;

const CROWD: usize = 1_000;
const CRASHES: u64 = 20;

/// Nobody falls idle by himself: whatever is on at a crash stays on unless the next start sees to it.
const SETTINGS: &str = "delivery.state_dir = 'state'\ntiming.dismiss_after = '1m'\ntiming.check_interval = '300ms'";

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Types, sends and leaves at random, until the daemon is gone.
fn type_away(address: &Address, seed: u64) {
    let mut random = Random(seed);
    let all: Vec<Value> = (0..CROWD).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
    let mut body = Value::from(all);
    loop {
        let Some(answer) = address.try_call("POST", "/v1/signals", &[JSON], body.to_string().as_bytes()) else {
            return;
        };
        // Told that it shuts down, a connector has nothing more to say.
        if answer.status != 202 {
            assert_eq!(answer.status, 503);
            return;
        }
        // No faster than the rate lets indicators out: stops go first, and would leave nobody's icon on.
        let some = (0..20).map(|_| {
            let signal = ["keystroke", "keystroke", "keystroke", "message_sent", "stopped"][random.below(5) as usize];
            signal_of("c", &format!("u{}", random.below(CROWD as u64)), signal)
        });
        body = Value::from(some.collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_with_a_thousand_typing_it_leaves_no_icon_on() {
    let sandbox = Sandbox::start(&["--jitter", "20ms"]);
    let mut daemon = Daemon::start(&sandbox.address.url(), SETTINGS);
    let mut random = Random(11);
    let mut recovered = 0;
    for crash in 0..CRASHES {
        let address = daemon.address.clone();
        let typing = std::thread::spawn(move || type_away(&address, crash));
        until("somebody's icon", || sandbox.shown() > 0);
        std::thread::sleep(Duration::from_millis(random.below(700)));
        daemon.crash();
        typing.join().unwrap();
        if crash % 3 == 2 {
            // Once more, while it is still making the first one good.
            std::thread::sleep(Duration::from_millis(random.below(100)));
            daemon.crash();
        }
        recovered += u64::from(daemon.process.log().contains("the last run left icons on"));
        until("every icon off", || sandbox.shown() == 0);
    }
    assert!(recovered > CRASHES / 2, "there was hardly anything to make good: {recovered}");
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn stopped_with_a_thousand_typing_it_leaves_no_icon_on() {
    let (sandbox, mut daemon) = pair(SETTINGS);
    let address = daemon.address.clone();
    let typing = std::thread::spawn(move || type_away(&address, 5));
    until("many icons", || sandbox.shown() > 300);
    daemon.process.tell("TERM");
    assert_eq!(daemon.process.end().code(), Some(0));
    assert_eq!(sandbox.shown(), 0, "{}", daemon.process.log());
    let _ = typing.join();
}

#[test]
fn a_state_directory_has_one_master() {
    let (_sandbox, daemon) = pair(SETTINGS);
    let file = daemon.file("typingd.toml");
    let second = run(&["run", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(73), "{second:?}");
    let holder = format!("is held by the process {}", daemon.process.id());
    assert!(second.stderr.contains(&holder), "{second:?}");
    daemon.give("c", "ann", "keystroke");
}

#[test]
fn a_journal_that_cannot_be_used_does_not_stop_the_service() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'";
    let old = "icons-00000000000000000007.journal";
    for (name, content, words) in [
        ("torn", Some(&b"typingd-journal 1\n\x20\x00torn"[..]), "is broken at byte 18 of 24"),
        ("foreign", Some(b"a diary, not a journal"), "is no journal of this version"),
        ("no directory", None, "can't be used"),
    ] {
        let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, SETTINGS, |dir| {
            let state = dir.path().join("state");
            match content {
                Some(content) => {
                    std::fs::create_dir(&state).unwrap();
                    std::fs::write(state.join(old), content).unwrap();
                }
                None => std::fs::write(&state, "in the way").unwrap(),
            }
        });
        daemon.process.until_logged(words);
        daemon.give("c", name, "keystroke");
        daemon.give("c", name, "message_sent");
        sandbox.until_told("c", name, "+-");
        daemon.process.stop();
    }
}

#[test]
fn what_was_shown_too_long_ago_is_forgotten() {
    let sandbox = Sandbox::start(&[]);
    let mut daemon = Daemon::start(&sandbox.address.url(), &format!("{SETTINGS}\ndelivery.recover_within = '1s'"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    daemon.process.kill();
    std::thread::sleep(Duration::from_millis(1_100));
    daemon.crash();
    daemon.process.until_logged("shown too long ago");
    daemon.process.stop();
    assert_eq!(sandbox.told("c", "ann"), "+", "a late Stopped might open a new session");
}

#[test]
fn a_pipe_in_the_place_of_its_journal_does_not_hold_the_start() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'";
    for name in ["icons-00000000000000000007.journal", "lock"] {
        let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, SETTINGS, |dir| {
            let state = dir.path().join("state");
            std::fs::create_dir(&state).unwrap();
            let made = std::process::Command::new("mkfifo").arg(state.join(name)).status();
            assert!(made.unwrap().success());
        });
        daemon.process.until_logged("not a regular file");
        let user = format!("user of {name}");
        daemon.give("c", &user, "keystroke");
        daemon.give("c", &user, "message_sent");
        sandbox.until_told("c", &user, "+-");
        daemon.process.stop();
    }
}

#[test]
fn a_flipped_bit_in_the_journal_leaves_no_other_icon_on() {
    let sandbox = Sandbox::start(&[]);
    let mut daemon = Daemon::start(&sandbox.address.url(), SETTINGS);
    for user in 0..50 {
        daemon.give("c", &format!("u{user:02}"), "keystroke");
    }
    until("all icons", || sandbox.shown() == 50);
    daemon.process.kill();
    let state = daemon.file("state");
    let journal = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "journal")).unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(3).position(|window| window == b"u20").unwrap();
    bytes[at] ^= 4;
    std::fs::write(&journal, &bytes).unwrap();
    daemon.crash();
    daemon.process.until_logged("is broken at byte");
    until("all other icons off", || sandbox.shown() == 1);
    assert_eq!(sandbox.told("c", "u20"), "+");
    assert_eq!(sandbox.told("c", "u21"), "+-");
    daemon.process.stop();
}
