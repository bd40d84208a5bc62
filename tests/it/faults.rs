//! What goes wrong around a daemon: its disk is full, its clock jumps. It serves, within its bounds, and says so once.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use typingd::base::clock;

use crate::bench::{Daemon, JSON, Sandbox, signal_of};
use crate::far_side::{self, FarSide};
use crate::faults_bars::{measured, soon_enough};
use crate::process::{Process, binary, typingd, until};
use crate::wire::Address;
use crate::{https, secrets};

/// A daemon's files: what it delivers to, and how.
fn configured(sandbox: &Sandbox, settings: &str) -> (TempDir, String) {
    configured_for(&sandbox.address.url(), settings)
}

fn configured_for(upstream: &str, settings: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let text = format!(
        "upstream.base_url = '{upstream}'\nupstream.org_id = '00DXX0000000001'\nupstream.authorization_context = 'A'\n\
         upstream.auth.token_file = 'token'\n{settings}\n",
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

fn give(address: &Address, from: &str, signal: &str) {
    let answer = address.call("POST", "/v1/signals", &[JSON], signal_of("c", from, signal).to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{answer:?}");
}

/// How often the log says `words` at warn or above.
fn warned(process: &Process, words: &str) -> usize {
    process
        .log()
        .lines()
        .filter(|line| (line.contains(" WARN ") || line.contains("ERROR")) && line.contains(words))
        .count()
}

/// Whether this machine lets a process have mounts of its own.
fn may_mount() -> bool {
    let tried =
        Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// A daemon in a mount namespace of its own, in which `script` has run with `arguments`; its last command is to run the
/// rest of them.
fn in_namespace(script: &str, arguments: &[&str], file: &str) -> Process {
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script, "sh"]).args(arguments).arg(binary()).arg("run");
    command.args(["--config", file, "--listen", "127.0.0.1:0"]).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Process::start(command)
}

/// A daemon whose state is on a disk of sixteen pages, which nobody but it sees; and where that is mounted for it.
fn on_a_small_disk(directory: &TempDir, file: &str) -> (Process, Address, PathBuf) {
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$1\" && shift && exec \"$@\"";
    let mut process = in_namespace(script, &[state.to_str().unwrap()], file);
    let address = process.address();
    (process, address, state)
}

#[test]
fn a_full_disk_keeps_nobody_from_serving_and_is_said_once() {
    if !may_mount() {
        eprintln!("left out: no disk of a few pages can be mounted here");
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let (directory, file) = configured(&sandbox, "timing.dismiss_after = '1m'\ndelivery.state_dir = 'state'");
    let (mut process, address, state) = on_a_small_disk(&directory, &file);
    let journal = || address.get("/v1/status").json()["journal"].as_str().unwrap().to_owned();
    assert_eq!(journal(), "ok");
    give(&address, "before", "keystroke");

    let filler = Path::new("/proc")
        .join(process.id().to_string())
        .join("root")
        .join(state.strip_prefix("/").unwrap())
        .join("filler");
    let mut full = std::fs::File::create(&filler).unwrap();
    while full.write(&[0; 4_096]).is_ok() {}
    drop(full);
    // More than what is left of the journal's last page.
    let crowd: Vec<_> = (0..60).map(|i| signal_of("c", &format!("{i:0>200}"), "keystroke")).collect();
    let answer = address.call("POST", "/v1/signals", &[JSON], json!(crowd).to_string().as_bytes());
    assert_eq!(answer.json()["accepted"], 60, "{answer:?}");
    until("all icons", || sandbox.shown() == 61);
    until("a journal that is behind", || journal() == "degraded");
    assert!(address.get("/metrics").body.contains("\ntypingd_journal_degraded 1\n"));
    assert_eq!(address.get("/readyz").status, 200, "it delivers all the same");
    // It goes on, with a try a second, and has said it all.
    let watch = clock::stopwatch();
    let mut rounds = (0..).map(|round: u32| format!("{:0>200}", round % 10));
    until("some tries", || {
        let from = rounds.next().unwrap();
        give(&address, &from, "stopped");
        give(&address, &from, "keystroke");
        watch.elapsed() > Duration::from_millis(2_500)
    });
    assert_eq!(warned(&process, "the journal can't be"), 1, "{}", process.log());

    std::fs::remove_file(&filler).unwrap();
    until("a journal that is whole again", || journal() == "ok");
    process.until_logged("the journal is written again");
    give(&address, "after", "keystroke");
    sandbox.until_told("c", "after", "+");
    process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_disk_that_the_journal_filled_is_given_back_when_all_is_off() {
    if !may_mount() {
        eprintln!("left out: no disk of a few pages can be mounted here");
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let (directory, file) = configured(&sandbox, "timing.dismiss_after = '1m'\ndelivery.state_dir = 'state'");
    let (mut process, address, _) = on_a_small_disk(&directory, &file);
    let journal = || address.get("/v1/status").json()["journal"].as_str().unwrap().to_owned();
    let mut rounds = 0;
    // Its own records alone fill it.
    until("a full disk", || {
        let crowd =
            |signal| (0..20).map(|i| signal_of("c", &format!("{rounds}-{i:0>200}"), signal)).collect::<Vec<_>>();
        for signal in ["keystroke", "stopped"] {
            let answer = address.call("POST", "/v1/signals", &[JSON], json!(crowd(signal)).to_string().as_bytes());
            assert_eq!(answer.json()["accepted"], 20, "{answer:?}");
            until("the icons", || sandbox.shown() == if signal == "keystroke" { 20 } else { 0 });
        }
        rounds += 1;
        process.log().contains("the journal can't be")
    });
    // Nothing is on and nobody types: it is whole again all the same.
    process.until_logged("the journal is written again");
    assert_eq!(journal(), "ok");
    give(&address, "after", "keystroke");
    sandbox.until_told("c", "after", "+");
    process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_read_only_disk_keeps_nobody_from_serving() {
    if !may_mount() {
        eprintln!("left out: no disk can be mounted here");
        return;
    }
    let sandbox = Sandbox::start(&[]);
    let (directory, file) = configured(&sandbox, "timing.dismiss_after = '1m'\ndelivery.state_dir = 'state'");
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("lock"), "").unwrap();
    let mut process = in_namespace(
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"",
        &[state.to_str().unwrap()],
        &file,
    );
    let address = process.address();
    process.until_logged("can't be written; until it can, a crash may leave icons on");
    give(&address, "user-1", "keystroke");
    sandbox.until_told("c", "user-1", "+");
    assert_eq!(address.get("/v1/status").json()["journal"], "degraded");
    assert_eq!(address.get("/readyz").status, 200, "it delivers all the same");
    process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_retry_after_of_nothing_is_a_pause_all_the_same() {
    for retry_after in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let upstream = FarSide::start(move |_, stream| {
            let fields = format!("retry-after: {retry_after}\r\n");
            far_side::write(stream, "429 Too Many Requests", &fields, b"")
        });
        let daemon = Daemon::start(&upstream.url(), "upstream.max_in_flight = 4");
        for user in 0..30 {
            daemon.give("c", &format!("user-{user}"), "keystroke");
        }
        let _ = upstream.await_request(4);
        let (watch, before) = (clock::stopwatch(), upstream.came().len());
        until("some pauses", || {
            daemon.give("c", "user-1", "keystroke");
            watch.elapsed() > Duration::from_millis(1_600)
        });
        let (came, seconds) = (upstream.came().len() - before, watch.elapsed().as_secs_f64());
        // As many as may be in flight at a time, each half second.
        assert!(came as f64 <= 4.0 * (seconds / 0.5 + 1.0), "{came} requests in {seconds} s");
    }
}

#[test]
fn an_upstream_that_stood_still_is_served_on_when_it_goes_on() {
    let sandbox = Sandbox::start(&[]);
    let settings = "upstream.request_timeout = '300ms'\ntiming.dismiss_after = '1m'";
    let mut daemon = Daemon::start(&sandbox.address.url(), settings);
    daemon.give("c", "user-1", "keystroke");
    sandbox.until_told("c", "user-1", "+");
    sandbox.process.tell("STOP");
    daemon.give("c", "user-1", "message_sent");
    daemon.give("c", "user-2", "keystroke");
    let timeouts = || {
        let metrics = daemon.address.get("/metrics").body;
        metrics.lines().any(|line| line.starts_with("typingd_") && line.contains("no_answer") && !line.ends_with(" 0"))
    };
    until("a request without an answer", timeouts);
    sandbox.process.tell("CONT");
    daemon.give("c", "user-2", "message_sent");
    until("every icon off", || {
        sandbox.shown() == 0 && daemon.address.get("/v1/status").json()["conversations"]["unsettled"] == 0
    });
    daemon.give("c", "user-3", "keystroke");
    sandbox.until_told("c", "user-3", "+");
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn a_name_that_comes_back_is_delivered_to() {
    if !may_mount() {
        eprintln!("left out: no file can be mounted here");
        return;
    }
    let upstream = https::FarSide::start(&["h2"]);
    let settings = "timing.dismiss_after = '1m'\nupstream.ca_file = 'root.pem'";
    let url = format!("https://{}:{}", https::NAME, upstream.address.port());
    let (directory, file) = configured_for(&url, settings);
    std::fs::write(directory.path().join("root.pem"), &upstream.certificate).unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    let mut process = in_namespace(script, &[hosts.to_str().unwrap()], &file);
    let address = process.address();
    for user in 0..6 {
        give(&address, &format!("user-{user}"), "keystroke");
    }
    process.until_logged("no indicator is delivered");
    assert!(upstream.came().is_empty());
    // In place: this file is mounted.
    let line = format!("127.0.0.1 {}\n", https::NAME);
    OpenOptions::new().append(true).open(&hosts).unwrap().write_all(line.as_bytes()).unwrap();
    let watch = clock::stopwatch();
    until("an icon", || {
        give(&address, "user-1", "message_sent");
        give(&address, "user-1", "keystroke");
        std::thread::sleep(Duration::from_millis(50));
        !upstream.came().is_empty()
    });
    measured("a name that comes back: delivered after", watch.elapsed());
    soon_enough("a delivery", watch.elapsed(), Duration::from_secs(5));
    process.stop();
}

#[test]
fn each_fault_of_the_manual_has_the_test_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 30, "{rows:?}");
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        let named: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            let (file, function) = name.split_once("::").unzip();
            let file = file.unwrap_or(name);
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_there = match function {
                Some(function) => ["fn", "def"].iter().any(|word| text.contains(&format!("{word} {function}()"))),
                None => text.contains("fuzz_target!("),
            };
            assert!(is_there, "docs/faults.md names {name}, which is not there");
        }
    }
}

#[test]
fn what_a_daemon_was_given_is_found_in_a_log() {
    secrets::note_body(br#"{"to": "c", "from" : "sought-1", "signal": "keystroke"}"#);
    secrets::note_body(b"{\"from\":\"tel:+1555\"}\n{\"from\":\"before\"}");
    secrets::note_header("Bearer sought-t0ken");
    for (log, told) in [
        ("INFO a line of sought-1", "sought-1"),
        ("WARN from=tel:+1555 x", "tel:+1555"),
        ("DEBUG authorization: Bearer sought-t0ken", "sought-t0ken"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
    ] {
        assert_eq!(secrets::told_in(log), [told], "{log}");
    }
    assert!(secrets::told_in("INFO ready before sought-12 and #1f0c9a3e").is_empty());
}

/// A library that tells a process another wall clock: as many seconds later as the file says that it is given.
const OTHER_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *time) {
    static volatile int64_t *offset;
    if (!offset) {
        int file = open(getenv("OTHER_CLOCK"), O_RDONLY);
        offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
        close(file);
    }
    int result = syscall(SYS_clock_gettime, id, time);
    if (id == CLOCK_REALTIME) time->tv_sec += *offset;
    return result;
}
"#;

#[test]
fn a_wall_clock_that_jumps_moves_no_icon() {
    const DAY_SECONDS: i64 = 86_400;
    let sandbox = Sandbox::start(&[]);
    let (directory, file) = configured(&sandbox, "timing.dismiss_after = '300ms'\ntiming.check_interval = '10s'");
    let (source, library) = (directory.path().join("clock.c"), directory.path().join("clock.so"));
    std::fs::write(&source, OTHER_CLOCK).unwrap();
    // What compiles the cryptography compiles this, too.
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.unwrap().success());
    let offset = directory.path().join("offset");
    std::fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
    // In place: the process has mapped it.
    let jump = |seconds: i64| {
        let mut file = OpenOptions::new().write(true).open(&offset).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    };
    let mut command = typingd(&["run", "--config", &file, "--listen", "127.0.0.1:0"]);
    command.env("LD_PRELOAD", &library).env("OTHER_CLOCK", &offset);
    let mut process = Process::start(command);
    let address = process.address();
    process.until_logged(" ready");
    // When the daemon thinks that it was asked.
    let days_ahead = || {
        let reloaded = address.call("POST", "/v1/reload", &[], b"");
        assert_eq!(reloaded.status, 200, "{reloaded:?}");
        let read_at = address.get("/v1/status").json()["configuration"]["read_at"].as_u64().unwrap();
        (read_at as f64 - clock::wall_millis() as f64) / 1e3 / DAY_SECONDS as f64
    };
    let before = warned(&process, "");

    let mut told = String::new();
    for days in [0, 1, -2, 3_650, -3_650] {
        // In the midst of typing, too.
        give(&address, "ann", "keystroke");
        jump(days * DAY_SECONDS);
        told.push_str("+-");
        sandbox.until_told("c", "ann", &told);
        assert!((days_ahead() - days as f64).abs() < 0.1, "the daemon did not see the jump of {days} days");
        // And what was settled is settled: a message waits for no other clock.
        give(&address, "ann", "keystroke");
        let message = signal_of("c", "ann", "message_sent").to_string();
        let answer = address.call("POST", "/v1/signals?wait=10s", &[JSON], message.as_bytes());
        assert_eq!(answer.json()["settled"], true, "{answer:?}");
        told.push_str("+-");
        assert_eq!(sandbox.told("c", "ann"), told);
    }
    assert_eq!(address.get("/readyz").status, 200);
    assert_eq!(warned(&process, ""), before, "{}", process.log());
    process.stop();
}
