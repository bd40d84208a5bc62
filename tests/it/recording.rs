//! Recording: the stream of signals, and the command that writes it down.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, NDJSON, Sandbox, pair, signal_of};
use crate::process::{Process, Said, run, typingd, until, wait_for};
use crate::wire::{Headers, Wire};

const STREAM: &str = "/v1/signals/stream";
const ON: &str = "ingest.recording = true\ntiming.dismiss_after = '1m'\n";

/// An open stream, with its head read.
fn open(daemon: &Daemon, headers: Headers<'_>) -> (Wire, String) {
    let mut wire = daemon.address.connect().unwrap();
    wire.head("GET", STREAM, headers, "accept: */*");
    let mut head = String::new();
    while !head.contains("\r\n\r\n") {
        head.push_str(&String::from_utf8(wire.some()).unwrap());
    }
    (wire, head)
}

/// Begins to record with the command, once the daemon lets it.
fn record(daemon: &Daemon, file: &Path, more: &[&str]) -> Process {
    let url = daemon.address.url();
    let arguments = [&["record", "--url", &url, "-o", file.to_str().unwrap()], more].concat();
    let process = Process::start(typingd(&arguments));
    until("the recording's file", || file.exists());
    process
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summary(process: &mut Process, code: i32) -> Value {
    let status = process.end();
    assert_eq!(status.code(), Some(code), "{}", process.log());
    wait_for("the summary", || serde_json::from_str(&process.output()).ok())
}

/// Signals enough to fill what a reader that takes nothing may be given: the queue, and what the sockets hold.
fn flood(daemon: &Daemon) -> usize {
    let body: String =
        (0..20_000).map(|i| format!("{}\n", signal_of("c", &format!("u{}", i % 50), "opened"))).collect();
    let mut sent = 0;
    for _ in 0..20 {
        let watch = clock::stopwatch();
        let answer = daemon.address.call("POST", "/v1/signals", &[NDJSON], body.as_bytes());
        assert_eq!(answer.json()["accepted"], 20_000, "{answer:?}");
        assert!(watch.elapsed() < Duration::from_secs(10), "nobody waits for a reader: {:?}", watch.elapsed());
        sent += 20_000;
    }
    sent
}

#[test]
fn who_may_record_is_asked_first_and_then_whether_anybody_may() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "# nothing more", prepare);
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    let get = |path: &str, headers: Headers<'_>| daemon.address.call("GET", path, headers, b"");
    for headers in [&[] as Headers<'_>, &[("authorization", "Bearer c4ller")]] {
        assert_eq!(get(STREAM, headers).status, 401);
    }
    let off = get(STREAM, token);
    assert_eq!(off.status, 403, "{off:?}");
    assert!(off.problem().contains("`ingest.recording = true`"), "{off:?}");
    assert_eq!(get("/v1/signals/stream?for=1h", token).status, 400);
    let posted = daemon.address.call("POST", STREAM, token, b"");
    assert_eq!((posted.status, posted.problem().as_str()), (405, "this address takes another method"));

    // Switched on and off while the daemon runs.
    daemon.reconfigure(|text| text.replace("# nothing more", "ingest.recording = true"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t");
    until("recording is allowed", || daemon.process.log().contains("ingest.recording: false -> true"));
    let token_file = daemon.file("callers");
    let mut process = record(&daemon, &file, &["--token-file", token_file.to_str().unwrap()]);
    daemon.reconfigure(|text| text.replace("ingest.recording = true", "# nothing more"));
    assert_eq!(summary(&mut process, 0)["ended"], "daemon");
    assert_eq!(get(STREAM, token).status, 403);
    assert!(!daemon.process.log().contains("next start"), "{}", daemon.process.log());
}

#[test]
fn one_records_at_a_time_until_that_one_has_gone() {
    let (_sandbox, mut daemon) = pair(ON);
    let (first, head) = open(&daemon, &[]);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: application/x-ndjson\r\n"), "{head}");
    let second = daemon.address.get(STREAM);
    assert_eq!(second.status, 409, "{second:?}");
    assert!(second.problem().contains("one at a time"), "{second:?}");
    drop(first);
    // Noticed without a signal, and long before a heartbeat.
    let watch = clock::stopwatch();
    let (mut next, _) = wait_for("room for the next one", || {
        let (wire, head) = open(&daemon, &[]);
        head.starts_with("HTTP/1.1 200 ").then_some((wire, head))
    });
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    daemon.give("c", "ann", "keystroke");
    let line = String::from_utf8(next.some()).unwrap();
    assert!(line.contains("\"signal\":\"keystroke\"") && !line.contains("ann"), "{line}");
    daemon.process.stop();
    let rest = next.rest();
    assert!(rest.ends_with(b"0\r\n\r\n"), "a shutdown is a proper end: {:?}", String::from_utf8_lossy(&rest));
}

#[test]
fn what_was_not_taken_or_came_late_is_not_recorded() {
    let (_sandbox, daemon) = pair(&format!("{ON}ingest.max_conversations = 2"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t");
    let mut process = record(&daemon, &file, &[]);
    let at = |signal: &str, at: u64| json!({"to": "c", "from": "ann", "signal": signal, "at": at});
    for (signal, status) in [
        (at("keystroke", 1_000), 202),
        (at("message_sent", 2_000), 202),
        (at("keystroke", 1_999), 202),
        (signal_of("c", "bob", "keystroke"), 202),
        (at("keystroke", 2_001), 202),
        (signal_of("c", "cid", "keystroke"), 429),
        (json!({"to": "c"}), 400),
        (signal_of("c", "nobody", "ended"), 202),
    ] {
        assert_eq!(daemon.post("/v1/signals", &signal).status, status, "{signal}");
    }
    until("the last one", || lines(&file).len() >= 5);
    process.tell("INT");
    let summary = summary(&mut process, 0);
    assert_eq!(
        (&summary["signals"], &summary["conversations"], &summary["ended"]),
        (&json!(5), &json!(3), &json!("interrupted"))
    );
    let recorded = lines(&file);
    let kinds: Vec<_> = recorded.iter().map(|line| line["signal"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["keystroke", "message_sent", "keystroke", "keystroke", "ended"]);
    let from: Vec<_> = recorded.iter().map(|line| &line["from"]).collect();
    assert!(from[0] == from[1] && from[1] == from[3] && from[0] != from[2], "{from:?}");
    // The callers' own times are not what is recorded.
    assert!(recorded.iter().all(|line| line["at"].as_u64().unwrap() < 60_000), "{recorded:?}");
}

/// The conversations of a trace, in the order of their first lines: what happened in each, in order.
fn conversations(lines: &[Value]) -> Vec<Vec<&str>> {
    let mut places = HashMap::new();
    let mut found: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        let next = places.len();
        let place = *places.entry((line["to"].to_string(), line["from"].to_string())).or_insert(next);
        if place == found.len() {
            found.push(Vec::new());
        }
        found[place].push(line["signal"].as_str().unwrap());
    }
    found
}

#[test]
fn what_is_replayed_into_a_daemon_is_what_is_recorded_from_it() {
    let (_sandbox, mut daemon) = pair(ON);
    let directory = tempfile::tempdir().unwrap();
    let (played, file) = (directory.path().join("played"), directory.path().join("recorded"));
    let mut text = String::new();
    for i in 0..300_u64 {
        // Seven people in two channels. Of each sixty signals the last fourteen, one for each pair, end what they have
        // typed, and then they rest: a key at the very millisecond of its message would be a late one in a trace.
        let kind = match (i % 60, i % 5) {
            (46.., 0) => "message_sent",
            (46.., 1) => "stopped",
            (46.., 2) => "ended",
            (46.., 3) => "opened",
            _ => "keystroke",
        };
        let mut line = signal_of(&format!("channel-{}", i % 2), &format!("user-{}", i % 7), kind);
        line["at"] = json!(i * 100 + i / 60 * 20_000);
        if kind == "keystroke" && i % 3 == 0 {
            line["lasts"] = json!(1_000 + i);
        }
        text.push_str(&format!("{line}\n"));
    }
    std::fs::write(&played, &text).unwrap();
    let mut process = record(&daemon, &file, &[]);
    let url = daemon.address.url();
    let replayed = run(&["replay", played.to_str().unwrap(), "--url", &url, "--speed", "100"]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    // The daemon's end ends the recording, and all of it is there.
    daemon.process.stop();
    let summary = summary(&mut process, 0);
    let recorded = lines(&file);
    assert_eq!(
        (&summary["signals"], &summary["conversations"], &summary["ended"], &summary["bytes"]),
        (&json!(300), &json!(14), &json!("daemon"), &json!(std::fs::metadata(&file).unwrap().len()))
    );
    assert!(summary["elapsed_ms"].as_u64().unwrap() >= 1_000, "{summary}");
    let original: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds = |lines: &[Value]| -> Vec<String> { lines.iter().map(|line| line["signal"].to_string()).collect() };
    assert_eq!(kinds(&recorded), kinds(&original), "all of them, in their order");
    let lasts = |lines: &[Value]| -> Vec<Value> { lines.iter().map(|line| line["lasts"].clone()).collect() };
    assert_eq!(lasts(&recorded), lasts(&original));
    assert_eq!(conversations(&recorded), conversations(&original));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("user-") && !text.contains("channel-"), "no id leaves the daemon");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // It is a trace: with an icon that stays on for as long as either lasts, both come to the same decisions.
    let decided = |file: &Path| -> Vec<Vec<String>> {
        let said = run(&["simulate", file.to_str().unwrap(), "--dismiss", "4m", "--check", "1h"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        let decisions = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let signals = decisions.map(|mut line| {
            line["signal"] = format!("{} {}", line["indicator"], line["reason"]).into();
            line
        });
        let lines: Vec<_> = signals.collect();
        conversations(&lines).iter().map(|of| of.iter().map(|s| (*s).to_owned()).collect()).collect()
    };
    assert_eq!(decided(&file), decided(&played));
}

#[test]
fn a_recording_ends_as_it_was_told() {
    let (_sandbox, daemon) = pair(ON);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let timed = summary(&mut record(&daemon, &path("time"), &["--for", "200ms"]), 0);
    assert_eq!((&timed["ended"], &timed["bytes"]), (&json!("time"), &json!(0)));
    assert!(timed["elapsed_ms"].as_u64().unwrap() >= 200, "{timed}");

    let mut sized = record(&daemon, &path("size"), &["--max-size", "1KiB", "--round", "1s"]);
    until("enough", || {
        daemon.give("c", "ann", "keystroke");
        lines(&path("size")).len() > 8
    });
    for _ in 0..8 {
        daemon.give("c", "ann", "keystroke");
    }
    assert_eq!(summary(&mut sized, 0)["ended"], "size");
    let size = std::fs::metadata(path("size")).unwrap().len();
    assert!((900..=1_024).contains(&size), "{size}");
    assert!(lines(&path("size")).iter().all(|line| line["at"].as_u64().unwrap().is_multiple_of(1_000)));

    // A terminal that closes ends it, too; to the standard output goes the trace, the summary beside it.
    let url = daemon.address.url();
    let mut shown = Process::start(typingd(&["record", "--url", &url, "-o", "-"]));
    until("a line", || {
        daemon.give("c", "ann", "keystroke");
        shown.output().contains("keystroke")
    });
    shown.tell("HUP");
    assert_eq!(shown.end().code(), Some(0), "{}", shown.log());
    until("the summary", || shown.log().contains(r#""ended":"interrupted"}"#));
    assert!(!shown.output().contains("ended"), "{}", shown.output());
}

#[test]
fn an_old_recording_is_overwritten_only_when_asked() {
    let (_sandbox, mut daemon) = pair(ON);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t");
    std::fs::write(&file, "an old one, rather long, so that something would be left of it").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let url = daemon.address.url();
    let try_it = |more: &[&str]| -> Said {
        run(&[&["record", "--url", &url, "-o", file.to_str().unwrap(), "--for", "50ms"], more].concat())
    };
    let kept = try_it(&[]);
    assert_eq!(kept.code, Some(1), "{kept:?}");
    assert!(kept.stderr.contains("--force"), "{kept:?}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("an old one"));
    let over = try_it(&["--force"]);
    assert_eq!((over.code, over.stderr.as_str()), (Some(0), ""), "{over:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::write(&file, "an old one").unwrap();
    daemon.reconfigure(|text| text.replace("recording = true", "recording = false"));
    until("it is off", || daemon.address.get(STREAM).status == 403);
    let off = try_it(&["--force"]);
    assert_eq!(off.code, Some(1), "{off:?}");
    assert!(off.stderr.contains("403") && off.stderr.contains("ingest.recording = true"), "{off:?}");
    daemon.process.stop();
    let gone = try_it(&["--force"]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("can't be reached") && gone.stderr.contains("--url"), "{gone:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "an old one");
    let nowhere = run(&["record", "-o", "/nowhere/t", "--url", &url, "--for", "1h", "--round", "2s"]);
    assert_eq!((nowhere.code, nowhere.stderr.contains("from 1ms to 1s")), (Some(2), true), "{nowhere:?}");
}

#[test]
fn a_disk_that_is_full_is_told() {
    let (_sandbox, daemon) = pair(ON);
    let mut process = record(&daemon, Path::new("/dev/full"), &["--force"]);
    let ended = wait_for("the end", || {
        daemon.give("c", "ann", "keystroke");
        process.ended()
    });
    assert_eq!(ended.code(), Some(1));
    until("the reason", || process.log().contains("/dev/full: can't be written: No space left"));
}

#[test]
fn a_slow_reader_loses_its_recording_and_nothing_else() {
    let (_sandbox, mut daemon) = pair(ON);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t");
    let mut process = record(&daemon, &file, &[]);
    process.tell("STOP");
    let sent = flood(&daemon);
    // The slot is its own until it has gone: what slow readers hold does not add up.
    assert_eq!(daemon.address.get(STREAM).status, 409);
    process.tell("CONT");
    let summary = summary(&mut process, 1);
    until("the reason", || process.log().contains("broke off"));
    let kept = lines(&file).len();
    assert_eq!((&summary["ended"], summary["signals"].as_u64()), (&json!("broken_off"), Some(kept as u64)));
    assert!((65_536..sent).contains(&kept), "{kept} of {sent}");
    let (mut next, head) = open(&daemon, &[]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");

    // A reader that takes nothing holds up no shutdown, and is not told that it has everything.
    flood(&daemon);
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    assert!(!next.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_daemon_that_dies_is_reported_and_the_recording_kept() {
    let line = r#"{"to":"0","from":"1","signal":"keystroke","at":7}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    for (name, body, words, kept) in [
        ("dies", format!("{head}{}", chunk(&format!("{line}\n\n{}", &line[..20]))), "broke off", 1),
        ("nonsense", format!("{head}{}", chunk(&format!("{line}\nhello\n"))), "an invalid line of a trace", 1),
        ("none", "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope".to_owned(), "404 Not Found: nope", 0),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/below", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /below/v1/signals/stream HTTP/1.1\r\n"));
            stream.write_all(body.as_bytes()).unwrap();
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t");
        let said = run(&["record", "--url", &url, "-o", file.to_str().unwrap()]);
        server.join().unwrap();
        assert_eq!(said.code, Some(1), "{name}: {said:?}");
        assert!(said.stderr.contains(words), "{name}: {said:?}");
        assert_eq!(lines(&file).len(), kept, "{name}");
    }
}

#[test]
fn one_channel_is_recorded_and_keeps_its_address_if_asked() {
    let (_sandbox, daemon) = pair(ON);
    let directory = tempfile::tempdir().unwrap();
    for (more, expected) in [
        (&["--to", "a b"][..], None),
        (&["--to", "a b", "--name-channels"], Some(vec!["a b"])),
        (&["--name-channels"], Some(vec!["a b", "other"])),
    ] {
        let file = directory.path().join(more.concat());
        let mut process = record(&daemon, &file, more);
        for to in ["a b", "other"] {
            daemon.give(to, "ann", "keystroke");
        }
        let count = expected.as_ref().map_or(1, Vec::len);
        until("its signals", || lines(&file).len() == count);
        process.tell("TERM");
        assert_eq!(summary(&mut process, 0)["signals"], count);
        let recorded = lines(&file);
        let to: Vec<_> = recorded.iter().map(|line| line["to"].as_str().unwrap()).collect();
        match expected {
            Some(expected) => assert_eq!(to, expected),
            None => assert!(to[0].len() == 16 && to[0] != "a b", "{to:?}"),
        }
        assert!(recorded.iter().all(|line| line["from"].as_str().unwrap().len() == 16), "{recorded:?}");
    }
    let wrong = daemon.address.get("/v1/signals/stream?name_channels=yes");
    assert_eq!((wrong.status, wrong.problem().as_str()), (400, "`name_channels` is \"yes\"; expected true or false"));
}

#[test]
fn a_channel_that_has_no_signals_is_said_to_have_none() {
    let (_sandbox, daemon) = pair(ON);
    let file = daemon.file("none");
    let mut process = record(&daemon, &file, &["--to", "nosuch", "--for", "100ms"]);
    assert_eq!(summary(&mut process, 0)["signals"], 0);
    assert!(process.log().contains("no signal of the channel \"nosuch\" was seen"), "{}", process.log());
}
