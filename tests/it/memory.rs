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
fn after_a_crowd_and_silence_memory_is_as_without_one() {
    let sandbox = Sandbox::start(&[]);
    let settings = "timing.dismiss_after = '8s'\nupstream.max_requests_per_second = 500";
    let [without, daemon] = [(); 2].map(|()| Daemon::start(&sandbox.address.url(), settings));
    let resident = |daemon: &Daemon| size_of(&daemon.process).0;
    for daemon in [&without, &daemon] {
        type_once(daemon, "usual", USUAL);
    }
    let usual = resident(&daemon);
    type_once(&daemon, "crowd", sized(CROWD, CROWD_FULL));
    let most = resident(&daemon);
    // What is asserted below would hold of a crowd that takes nothing.
    assert!(most > usual * 3 / 2, "{most} kB with the crowd, {usual} before");
    let watch = clock::stopwatch();
    let in_memory =
        |daemon: &Daemon| daemon.address.get("/v1/status").json()["conversations"]["in_memory"].as_u64().unwrap();
    while in_memory(&without) > 0 || resident(&daemon) > resident(&without) * sized(13, 11) / 10 {
        let (after, usual) = (resident(&daemon), resident(&without));
        assert!(watch.elapsed() < SILENCE, "{after} kB after the crowd, {most} with it, {usual} without one");
        std::thread::sleep(LOOK_SPACING);
    }
    let figures = (resident(&without), most, resident(&daemon), watch.elapsed());
    measured("a crowd: kB without one, with it, after, in", figures);
}
