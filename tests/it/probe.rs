//! `typingd probe`: a real icon on and off, each answer explained, and never an icon left on.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::Sandbox;
use crate::process::{Process, Said, run, typingd, until};

/// A configuration that delivers to `upstream`.
fn configuration(upstream: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let text = format!(
        "upstream.base_url = '{upstream}'\nupstream.org_id = '00DXX0000000001'\n\
         upstream.authorization_context = 'A_B'\nupstream.auth.token_file = 'token'\n"
    );
    let file = directory.path().join("typingd.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

fn arguments<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["probe", "--config", file, "--to", "c", "--from", "ann"], more].concat()
}

fn probe(upstream: &str, more: &[&str]) -> Said {
    let (_directory, file) = configuration(upstream);
    run(&arguments(&file, more))
}

#[test]
fn a_set_up_that_works_shows_one_icon_and_takes_it_away() {
    let sandbox = Sandbox::start(&["--icon-ttl", "2s"]);
    let upstream = sandbox.address.url();
    let said = probe(&upstream, &["--hold", "50ms"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines: Vec<_> = said.stdout.lines().collect();
    let expected = [
        "token: in hand after ",
        "TypingStarted: status 202, after ",
        "icon: left alone for ",
        "TypingStopped: status 202, after ",
        "the set-up works",
    ];
    assert_eq!(lines.len(), expected.len(), "{said:?}");
    for (line, beginning) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning), "{line}: {said:?}");
    }
    assert!(said.stderr.contains("this is for real") && said.stderr.contains("creates one"), "{said:?}");
    assert_eq!((sandbox.told("c", "ann").as_str(), sandbox.shown()), ("+-", 0));

    let said = probe(&upstream, &["--hold", "0s", "--format", "json"]);
    let steps: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["token", "request", "hold", "request", "end"], "{said:?}");
    assert_eq!((&steps[1]["outcome"], &steps[1]["status"]), (&json!("delivered"), &json!(202)));
    assert_eq!((&steps[2]["ended"], &steps[2]["icon_ttl_ms"]), (&json!("time_over"), &Value::Null));
    assert_eq!(steps[4], json!({"step": "end", "ok": true, "icon_may_be_on": false}));
}

#[test]
fn each_failure_is_explained_and_shows_nothing() {
    let sandbox = Sandbox::start(&["--refuse-to", "c"]);
    let said = probe(&sandbox.address.url(), &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in
        ["status 400, code 10017, after ", "it says: ", "what to do: the channel address must be", "no icon is on"]
    {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    assert_eq!(sandbox.requests().len(), 1, "a Started that was refused owes no Stopped");

    // Nobody is there: nothing has left, and nothing is owed.
    let said = probe("http://127.0.0.1:1", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("TypingStarted: no answer, after ") && said.stdout.contains("because: "), "{said:?}");
    let place = "typingd.toml:1: upstream.base_url http://127.0.0.1:1 can't be reached: ";
    assert!(said.stdout.contains(place) && !said.stdout.contains("TypingStopped"), "{said:?}");

    // Another token than the one that is taken: a fresh one is tried once.
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other");
    std::fs::write(&other, "another").unwrap();
    let strict = Sandbox::start(&["--token-file", other.to_str().unwrap()]);
    let said = probe(&strict.address.url(), &[]);
    assert_eq!((said.code, said.stdout.matches("TypingStarted: ").count()), (Some(1), 2), "{said:?}");
    assert!(said.stdout.contains("code 10004") && said.stdout.contains("the token is not accepted"), "{said:?}");
    assert_eq!(strict.told("c", "ann"), "");
}

#[test]
fn what_is_wrong_before_anything_is_sent_is_told_so() {
    let sandbox = Sandbox::start(&[]);
    let (directory, file) = configuration(&sandbox.address.url());
    let cases: [(&[&str], i32, &str); 5] = [
        (&["probe", "--config", "/nowhere.toml", "--to", "c", "--from", "a"], 78, "/nowhere.toml"),
        (&["probe", "--config", &file, "--to", "c", "--from", ""], 2, "--from is empty"),
        (&["probe", "--config", &file, "--to", "c", "--from", &"x".repeat(241)], 2, "--from has 241 characters"),
        (&["probe", "--config", &file, "--to", "c", "--from", "a", "--hold", "1h"], 2, "expected a time up to 10m"),
        (&["probe", "--config", &file, "--to", "c"], 2, "--from"),
    ];
    for (arguments, code, words) in cases {
        let said = run(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
    std::fs::remove_file(directory.path().join("token")).unwrap();
    let said = run(&arguments(&file, &[]));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.starts_with("token: none: ") && said.stdout.contains("check upstream.auth"), "{said:?}");

    let text = format!("drop_in.enabled = true\nupstream.base_url = '{}'\n", sandbox.address.url());
    std::fs::write(&file, text).unwrap();
    let said = run(&arguments(&file, &[]));
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("no connector whose credentials it could use"), "{said:?}");
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn an_icon_that_may_be_on_is_switched_off_whatever_happens() {
    let sandbox = Sandbox::start(&[]);
    let (_directory, file) = configuration(&sandbox.address.url());
    // The Started takes effect, and nobody says so.
    sandbox.set_faults(&json!({"faults": ["close-after"]}));
    let mut process = Process::start(typingd(&arguments(&file, &["--hold", "10m"])));
    // So does each Stopped, until somebody says so.
    until("the icon", || sandbox.told("c", "ann").starts_with("+-"));
    sandbox.set_faults(&json!({}));
    assert_eq!(process.end().code(), Some(1), "{}", process.log());
    until("the last word", || process.output().contains("no icon is on"));
    assert!(process.output().contains("it may have been applied or not"), "{}", process.output());
    assert_eq!(sandbox.shown(), 0);

    // Told to stop while the icon is on.
    for signal in ["INT", "TERM"] {
        let mut process = Process::start(typingd(&arguments(&file, &["--hold", "10m"])));
        until("the icon", || sandbox.shown() == 1);
        process.tell(signal);
        assert_eq!(process.end().code(), Some(0), "{}", process.log());
        until("the last word", || process.output().contains("the set-up works"));
        assert!(process.output().contains("then interrupted"), "{}", process.output());
        assert_eq!(sandbox.shown(), 0);
    }
}

#[test]
fn a_person_at_the_terminal_says_when_the_icon_goes_off() {
    // It makes a terminal; where it is missing there is none to be had.
    if !Path::new("/usr/bin/script").is_file() {
        return;
    }
    let sandbox = Sandbox::start(&["--icon-ttl", "200ms"]);
    let (_directory, file) = configuration(&sandbox.address.url());
    let line = format!("'{}' {}", env!("CARGO_BIN_EXE_typingd"), arguments(&file, &["--hold", "10m"]).join(" "));
    let mut child = Command::new("/usr/bin/script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the icon", || sandbox.told("c", "ann") == "+");
    until("its end", || sandbox.shown() == 0);
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(b"\n").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("Press Enter as soon as it goes off"), "{said}");
    let ttl = said.split("--icon-ttl ").nth(1).unwrap().split_whitespace().next().unwrap();
    let ttl = typingd::base::duration::parse(ttl).unwrap();
    assert!(ttl.as_millis() >= 100, "{ttl:?}: {said}");
    assert_eq!(sandbox.told("c", "ann"), "+-");
}
