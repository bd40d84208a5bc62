//! An idle daemon sleeps: how often its threads wake, as the system counts it.

use std::time::Duration;

use crate::bench::NDJSON;
use crate::process::{Process, typingd};

/// Requests with messages, and users in each: the times of messages are remembered for minutes.
const REQUESTS: usize = 60;
const USERS: usize = 200;
const SPACING: Duration = Duration::from_millis(40);
/// Remembered conversations are looked at once in a turn of the engine's wheel, 16 s; from shortly before that on it is
/// counted for as long as the requests took, and some more.
const SILENCE: Duration = Duration::from_millis(13_000);
const COUNTED: Duration = Duration::from_millis(5_000);

/// How often the threads of a process have gone to sleep by themselves.
fn sleeps(process: &Process) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    tasks.filter_map(|task| of(std::fs::read_to_string(task.ok()?.path().join("status")).ok()?)).sum()
}

#[test]
fn silent_conversations_wake_the_daemon_once_a_second_at_most() {
    // With its own sandbox: one that has its token in a file looks at the file once a second.
    let mut daemon = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]));
    let address = daemon.address();
    daemon.until_logged("ready");
    for request in 0..REQUESTS {
        let line = |user: usize| {
            format!(
                "{{\"to\":\"c\",\"from\":\"user-{request}-{user}\",\"signal\":\"message_sent\",\"at\":1700000000000}}\n"
            )
        };
        let lines: String = (0..USERS).map(line).collect();
        let answer = address.call("POST", "/v1/signals", &[NDJSON], lines.as_bytes());
        assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(USERS as u64)), "{answer:?}");
        std::thread::sleep(SPACING);
    }
    std::thread::sleep(SILENCE);
    let before = sleeps(&daemon);
    std::thread::sleep(COUNTED);
    let during = sleeps(&daemon) - before;
    // Each look at some of them is one; each slice of many one more on a busy machine.
    assert!(during <= 3 * COUNTED.as_secs(), "{during} times in {COUNTED:?}");
    let in_memory = address.get("/v1/status").json()["conversations"]["in_memory"].as_u64();
    assert_eq!(in_memory, Some((REQUESTS * USERS) as u64), "they are remembered");
    daemon.stop();
}
