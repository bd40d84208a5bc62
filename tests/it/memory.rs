//! What a crowd takes in memory goes with it: the whole process, as the system sees it.

use std::time::Duration;

use typingd::base::clock;

use crate::bench::{Daemon, NDJSON, Sandbox};
use crate::faults_bars::{measured, sized};
use crate::soak::size_of;

const CROWD: usize = 100_000;
const CROWD_FULL: usize = 1_000_000;
/// As many fill what is kept of late, whose bound a crowd doesn't move.
const USUAL: usize = 15_000;
/// Typing counts as left alone after 30 s; the rest is for a busy machine.
const SILENCE: Duration = Duration::from_secs(90);
const LOOK_SPACING: Duration = Duration::from_millis(200);

fn type_once(daemon: &Daemon, who: &str, users: usize) {
    let line = |user: usize| format!("{{\"to\":\"c\",\"from\":\"{who}-{user}\",\"signal\":\"keystroke\"}}\n");
    let lines: String = (0..users).map(line).collect();
    let answer = daemon.address.call("POST", "/v1/signals", &[NDJSON], lines.as_bytes());
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(users as u64)), "{answer:?}");
}

#[test]
fn after_a_crowd_and_silence_memory_is_as_before() {
    let sandbox = Sandbox::start(&[]);
    let settings = "timing.dismiss_after = '8s'\nupstream.max_requests_per_second = 500";
    let daemon = Daemon::start(&sandbox.address.url(), settings);
    let in_memory = || daemon.address.get("/v1/status").json()["conversations"]["in_memory"].as_u64().unwrap();
    let resident = || size_of(&daemon.process).0;
    type_once(&daemon, "usual", USUAL);
    let watch = clock::stopwatch();
    while in_memory() > 0 {
        assert!(watch.elapsed() < SILENCE, "{} of the usual are left", in_memory());
        std::thread::sleep(LOOK_SPACING);
    }
    let before = resident();
    type_once(&daemon, "crowd", sized(CROWD, CROWD_FULL));
    let most = resident();
    // What is asserted below would hold of a crowd that takes nothing.
    assert!(most > before * 3 / 2, "{most} kB with the crowd, {before} before");
    let watch = clock::stopwatch();
    while resident() > before * sized(13, 11) / 10 {
        let after = resident();
        assert!(watch.elapsed() < SILENCE, "{after} kB after the crowd, {most} with it, {before} before");
        std::thread::sleep(LOOK_SPACING);
    }
    measured("a crowd: kB before, with it, after, in", (before, most, resident(), watch.elapsed()));
}
