//! The log: its level changed while the daemon runs, and its lines for systemd's journal.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bench::{Daemon, JSON, Sandbox, pair, signal_of};
use crate::process::{run_with, typingd, until};
use crate::wire::{Address, Answer};

const TOLD: &str = "the level of the log is changed";

fn put(daemon: &Daemon, body: &str) -> Answer {
    daemon.address.call("PUT", "/v1/log", &[("content-type", "application/json")], body.as_bytes())
}

#[test]
fn a_log_level_set_by_a_caller_lasts_until_a_reload() {
    let (sandbox, mut daemon) = pair("");
    assert_eq!(daemon.address.get("/v1/log").json(), json!({"level": "info"}));
    let answer = put(&daemon, r#"{"level": "debug"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({"level": "debug"})));
    daemon.process.until_logged(&format!("{TOLD} old=info new=debug"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    daemon.process.until_logged(" DEBUG request");

    // However often a caller does it: no further line within a minute.
    for level in ["info", "error", "trace", "warn", "debug"] {
        assert_eq!(put(&daemon, &json!({"level": level}).to_string()).json(), json!({"level": level}));
    }
    assert_eq!(daemon.process.log().matches(TOLD).count(), 1, "{}", daemon.process.log());

    // The file, unchanged, holds again.
    daemon.process.tell("HUP");
    until("the level of the file", || daemon.address.get("/v1/log").json() == json!({"level": "info"}));
    daemon.process.until_logged("configuration read again");
    assert_eq!(daemon.process.log().matches(TOLD).count(), 1, "{}", daemon.process.log());
    daemon.reconfigure(|text| text + "log.level = 'warn'\n");
    daemon.process.until_logged(&format!("{TOLD} old=info new=warn"));
    until("the level", || daemon.address.get("/v1/log").json() == json!({"level": "warn"}));
    daemon.process.stop();
}

#[test]
fn what_is_no_level_changes_nothing() {
    let (_sandbox, mut daemon) = pair("");
    for (body, status, words) in [
        (r#"{"level": "loud"}"#.to_owned(), 400, "`level` is \"loud\"; expected error, warn, info, debug or trace"),
        (r#"{"level": 5}"#.to_owned(), 400, "the body is not"),
        (r#"{"level": "info", "text": "x"}"#.to_owned(), 400, "unknown field `text`"),
        (String::new(), 400, "the body is not"),
        (format!("{{\"level\": \"{}\"}}", "x".repeat(1_100)), 413, "longer than 1024 bytes"),
    ] {
        let answer = put(&daemon, &body);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && detail.contains(words), "{body}: {answer:?}");
    }
    assert_eq!(daemon.address.get("/v1/log?x=1").status, 400);
    assert_eq!(daemon.address.call("POST", "/v1/log", &[], b"").status, 405);
    assert_eq!(daemon.address.get("/v1/log").json(), json!({"level": "info"}));
    daemon.process.stop();

    let sandbox = Sandbox::start(&[]);
    let locked = Daemon::start(&sandbox.address.url(), "ingest.token_file = 'token'");
    assert_eq!(locked.address.get("/v1/log").status, 401);
    assert_eq!(put(&locked, r#"{"level": "trace"}"#).status, 401);
}

/// What a daemon writes until it is ready, with its standard error on a pipe that the journal is said to read.
fn journal(format: &str, is_stream: bool) -> Vec<String> {
    let (reader, writer) = std::io::pipe().unwrap();
    let metadata = File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
    let inode = if is_stream { metadata.ino() } else { metadata.ino() + 1 };
    let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev())).env("TYPINGD_LOG__FORMAT", format);
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    // The command's own end of the pipe is closed with it.
    drop(command);
    let mut lines = Vec::new();
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        let ready = line.contains("ready");
        lines.push(line);
        if ready {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines.len() >= 3, "{lines:?}");
    lines
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    for line in journal("text", true) {
        let rest = line.strip_prefix("<6>").unwrap_or_else(|| panic!("no priority: {line}"));
        assert!(rest.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
    for line in journal("json", true) {
        let object: Value = serde_json::from_str(line.strip_prefix("<6>").unwrap()).unwrap();
        assert_eq!(object["level"], "INFO");
    }
    // A standard error that has been redirected is not the journal's, whatever the variable says.
    for line in journal("text", false) {
        assert!(line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" INFO "), "{line}");
    }
}

#[test]
fn with_json_logs_the_fatal_line_is_json() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[ingest]\nlisten = ['{}']\n", taken.local_addr().unwrap());
    let file_arguments = ["--config", file.to_str().unwrap()];
    for (text, by_variable, arguments, code, words) in [
        ("[log]\nformat = 'json'\n[ingest]\ntoken_file = 'none'\n", false, &[][..], 78, "none: can't be read"),
        ("[log]\nformat = 'json'\n[timing]\ncheck_interval = 5\n", false, &[], 78, "timing.check_interval = 5"),
        (&format!("[log]\nformat = 'json'\n{listen}"), false, &[], 1, "another process listens there"),
        // No TOML, whoever says that the log is JSON.
        ("[log]\nformat = 'json'\n[timing\n", false, &[], 78, "typingd.toml:3:8: unclosed table"),
        ("[timing\n", true, &[], 78, "typingd.toml:1:8: unclosed table"),
        ("", true, &["--listen", "localhost"], 2, "is not an address"),
        ("", true, &["--lisen", "localhost"], 2, "unexpected argument '--lisen'"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = typingd(&[&["run", "--sandbox"], &file_arguments[..], arguments].concat());
        if by_variable {
            command.env("TYPINGD_LOG__FORMAT", "json");
        }
        let said = run_with(command, "");
        assert_eq!(said.code, Some(code), "{said:?}");
        let lines: Vec<Value> = said.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let fatal = lines.last().unwrap();
        assert_eq!(fatal["level"], "ERROR", "{said:?}");
        assert!(fatal["message"].as_str().unwrap().contains(words), "{said:?}");
    }
}

#[test]
fn icons_go_on_and_off_while_nobody_reads_the_log() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("typingd.toml"), directory.path().join("s"));
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let text = format!(
        "upstream.base_url = '{}'\nupstream.org_id = '00DXX0000000001'\nupstream.authorization_context = 'A_B'\n\
         upstream.auth.token_file = 'token'\ntiming.dismiss_after = '50ms'\nlog.level = 'debug'\n\
         ingest.listen = ['unix:{}']\n",
        sandbox.address.url(),
        socket.display()
    );
    std::fs::write(&file, text).unwrap();
    let (mut unread, log) = std::io::pipe().unwrap();
    let mut command = typingd(&["run", "--config", file.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).stderr(log.try_clone().unwrap()).spawn().unwrap();
    drop(command);
    let address = Address::Unix(socket);
    until("the daemon", || address.try_call("GET", "/readyz", &[], b"").is_some_and(|answer| answer.status == 200));
    rustix::io::ioctl_fionbio(&log, true).unwrap();
    while std::io::Write::write(&mut &log, &[b'\n'; 512]).is_ok() {}
    rustix::io::ioctl_fionbio(&log, false).unwrap();
    for from in ["ann", "bob", "cyd"] {
        let body = signal_of("c", from, "keystroke").to_string();
        assert_eq!(address.call("POST", "/v1/signals", &[JSON], body.as_bytes()).status, 202);
        sandbox.until_told("c", from, "+-");
    }
    let metrics = address.get("/metrics").body;
    assert!(metrics.contains("\ntypingd_log_lines_dropped_total 0\n"), "{metrics}");
    // The reader reads again, and finds what was logged meanwhile.
    drop(log);
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        std::io::Read::read_to_string(&mut unread, &mut all).map(|_| all)
    });
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let all = reader.join().unwrap().unwrap();
    assert_eq!(all.matches(" DEBUG request ").count(), 6, "{all}");
    assert!(all.ends_with("INFO stopped\n"), "{all}");
}
