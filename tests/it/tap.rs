//! `typingd tap`: what happens, on a terminal and in a pipe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bench::{Daemon, Sandbox, pair, signal_of};
use crate::process::{PATIENCE, Process, run, typingd, until, wait_for};

/// A tap that is known to be open: it has told the first key of somebody who is of no further interest.
fn tap(daemon: &Daemon, channel: &str, more: &[&str]) -> Process {
    let url = daemon.address.url();
    let process = Process::start(typingd(&[&["tap", "--url", &url], more].concat()));
    let mut n = 0;
    until("the tap's first line", || {
        n += 1;
        daemon.give(channel, &format!("probe{n}"), "keystroke");
        !process.output().is_empty()
    });
    process
}

fn events(process: &Process, from: &str) -> Vec<Value> {
    let output = process.output();
    let all = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["from"] == from).collect()
}

#[test]
fn it_tells_what_happens_until_it_is_interrupted() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let mut people = tap(&daemon, "c", &[]);
    let mut machines = tap(&daemon, "c", &["--format", "json"]);
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    // What the far side has taken the daemon may not have heard yet.
    until("its result", || events(&machines, "ann").len() == 2);
    daemon.give("c", "ann", "message_sent");
    let told = wait_for("four events", || {
        let told = events(&machines, "ann");
        (told.len() == 4).then_some(told)
    });
    let brief: Vec<_> = told.iter().map(|event| (&event["event"], &event["reason"], &event["outcome"])).collect();
    let [start, stop, done] = ["first_keystroke", "message_sent", "delivered"].map(|text| json!(text));
    let [decided, result] = ["decided", "result"].map(|text| json!(text));
    let expected = [
        (&decided, &start, &Value::Null),
        (&result, &start, &done),
        (&decided, &stop, &Value::Null),
        (&result, &stop, &done),
    ];
    assert_eq!(brief, expected);
    for (signal, at) in [("message_sent", 1_000), ("keystroke", 1_000)] {
        let mut late = signal_of("c", "eve", signal);
        late["at"] = at.into();
        daemon.post("/v1/signals", &late);
    }
    until("a keystroke that is ignored", || {
        let lines = people.output();
        lines.lines().any(|line| line.contains("c/eve ") && line.ends_with("keystroke      ignored: late"))
    });
    until("the same for people", || people.output().matches("c/ann ").count() == 4);
    let output = people.output();
    assert!(!output.contains('\u{1b}'), "no colours in a pipe: {output}");
    let line = output.lines().find(|line| line.contains("c/ann ")).unwrap();
    let columns: Vec<_> = line.split_whitespace().skip(1).collect();
    assert_eq!(columns, ["c/ann", "TypingStarted", "first_keystroke"], "{line}");
    for (process, signal) in [(&mut people, "INT"), (&mut machines, "TERM")] {
        process.tell(signal);
        assert_eq!(process.end().code(), Some(0), "{}", process.log());
        let whom = format!("typingd: watching all conversations of {}; Ctrl-C ends it\n", daemon.address.url());
        assert_eq!(process.log(), whom);
    }
}

#[test]
fn one_conversation_can_be_asked_for() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let url = daemon.address.url();
    let all = tap(&daemon, "c", &["--format", "json"]);
    let one = Process::start(typingd(&["tap", "--url", &url, "--conversation", "c/ann/a", "--format", "json"]));
    let channel = tap(&daemon, "d", &["--to", "d", "--format", "json"]);
    until("the one", || {
        daemon.give("c", "ann/a", "stopped");
        daemon.give("c", "bob", "keystroke");
        daemon.give("c", "ann/a", "keystroke");
        !one.output().is_empty()
    });
    sandbox.until_told("c", "bob", "+");
    until("both for all", || !events(&all, "bob").is_empty() && !events(&all, "ann/a").is_empty());
    assert!(events(&one, "bob").is_empty() && events(&channel, "bob").is_empty());
    for (arguments, words) in [
        (["--from", "ann", "--once"], "--to"),
        (["--conversation", "ann", "--once"], "TO/FROM"),
        (["--conversation", "/ann", "--once"], "its part TO is empty"),
        (["--format", "xml", "--once"], "table"),
    ] {
        let said = run(&[&["tap"], &arguments[..]].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
    }
}

#[test]
fn a_daemon_that_goes_is_looked_for_until_it_is_back() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let settings = format!("ingest.listen = ['127.0.0.1:0', 'unix:{}']\ntiming.dismiss_after = '1m'", socket.display());
    let mut first = Daemon::start(&sandbox.address.url(), &settings);
    let url = format!("unix:{}", socket.display());
    let mut stays = Process::start(typingd(&["tap", "--url", &url]));
    let mut once = Process::start(typingd(&["tap", "--url", &url, "--once"]));
    let mut n = 0;
    until("both are there", || {
        n += 1;
        first.give("c", &format!("u{n}"), "keystroke");
        !stays.output().is_empty() && !once.output().is_empty()
    });
    first.process.stop();
    assert_eq!(once.end().code(), Some(0), "a daemon that has stopped is a good end: {}", once.log());
    assert!(once.output().contains(" shutdown"), "up to its last word: {}", once.output());
    stays.until_logged("has stopped; waiting until it is back");
    let second = Daemon::start(&sandbox.address.url(), &settings);
    stays.until_logged("is back");
    until("what happens there", || {
        n += 1;
        second.give("c", "anew", "stopped");
        second.give("c", "anew", "keystroke");
        stays.output().contains("c/anew ")
    });
    stays.tell("INT");
    assert_eq!(stays.end().code(), Some(0), "{}", stays.log());
    assert_eq!(stays.log().lines().count(), 3, "said once: {}", stays.log());
}

#[test]
fn a_daemon_that_dies_is_no_good_end() {
    let (_sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    let mut once = tap(&daemon, "c", &["--once"]);
    daemon.process.kill();
    assert_eq!(once.end().code(), Some(1), "{}", once.log());
    assert!(once.log().contains("has broken off"), "{}", once.log());
}

#[test]
fn without_a_daemon_or_with_something_else_it_fails() {
    let (sandbox, mut daemon) = pair("");
    let url = daemon.address.url();
    daemon.process.stop();
    let said = run(&["tap", "--url", &url]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("can't be reached"), "{said:?}");
    let said = run(&["tap", "--url", &sandbox.address.url()]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let mut command = typingd(&["tap", "--url", &daemon.address.url()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let asked = std::thread::spawn(move || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    });
    let mut n = 0;
    let mut press = || {
        n += 1;
        daemon.give("c", &format!("u{n}"), "keystroke");
    };
    until("a line", || {
        press();
        asked.is_finished()
    });
    assert!(!asked.join().unwrap().is_empty());
    let status = wait_for("the end", || {
        press();
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    let whom = format!("typingd: watching all conversations of {}; Ctrl-C ends it\n", daemon.address.url());
    assert_eq!(said, whom, "within {PATIENCE:?}");
}
