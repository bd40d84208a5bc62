//! `typingd tune` as its users meet it: the trace that comes with the project, the three ways of telling, the mistakes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bench::{Daemon, JSON, NDJSON, pair};
use crate::process::{Said, run, run_with, typingd};
use crate::wire::{Answer, Headers};

fn shipped() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/typists.ndjson").to_str().unwrap().to_owned()
}

fn tune(arguments: &[&str]) -> Said {
    run(&[&["tune"], arguments].concat())
}

fn json_of(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn line(from: &str, signal: &str, at: u64) -> String {
    format!("{}\n", json!({"to": "c", "from": from, "signal": signal, "at": at}))
}

#[test]
fn the_table_shows_what_is_better_and_how_to_apply_it() {
    let said = tune(&[&shipped()]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(lines.len() <= 25 && lines.iter().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    assert_eq!(lines[0], "not enough data; idle 5s/2s stays in force", "96 messages are too few");
    assert!(lines[1].starts_with("1 file · 12 conversations of 12 users · 3,655 keys"), "{}", lines[1]);
    assert!(lines[3].starts_with("now   idle 5s/2s   icon on 8"), "{}", lines[3]);
    assert_eq!(*lines.last().unwrap(), "nothing to apply");

    let directory = tempfile::tempdir().unwrap();
    let many = many(&directory);
    let said = tune(&[&many, "--current", "after_shown:5s/2s", "--icon-ttl", "none"]);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(lines.len() <= 25 && lines.iter().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    assert!(lines[0].starts_with("change from after_shown 5s/2s to "), "{}", said.stdout);
    let words: Vec<_> = lines.iter().find(|line| line.starts_with(" 1 ")).unwrap().split_whitespace().collect();
    let applied = format!("apply: typingd timing --mode {} --check {} --dismiss {}", words[1], words[2], words[3]);
    assert_eq!(*lines.last().unwrap(), applied);
    let found = json_of(&tune(&[&many, "--current", "after_shown:5s/2s", "--icon-ttl", "none", "--format", "json"]));
    assert_eq!((&found["verdict"], &found["advice"]), (&json!("change"), &found["ranking"][0]));
    assert!(found["gain"]["cost"][0].as_f64().unwrap() > 0.0, "{}", found["gain"]);
    assert_eq!(found["if"], json!([{"icon_ttl_ms": null, "advice": found["advice"]}]));
}

/// A trace of so many made-up typists that there is something to advise.
fn many(directory: &tempfile::TempDir) -> String {
    file(directory, "many.ndjson", &typingd::tune::typist::trace(30, 12, 42))
}

#[test]
fn what_is_in_force_stays_if_none_is_known_to_be_better() {
    let directory = tempfile::tempdir().unwrap();
    let many = many(&directory);
    let of = |options: &[&str]| json_of(&tune(&[&[&many, "--format", "json", "--icon-ttl", "none"], options].concat()));
    let advised = &of(&["--current", "after_shown:5s/2s"])["advice"];
    let [check, dismiss] = ["check_ms", "dismiss_ms"].map(|field| advised[field].as_u64().unwrap());
    let current = format!("{}:{check}ms/{dismiss}ms", advised["mode"].as_str().unwrap());
    let kept = of(&["--current", &current]);
    assert_eq!((&kept["verdict"], &kept["advice"]), (&json!("keep"), &Value::Null), "{}", kept["why"]);
    // A half second of dismissal more or less is no reason to change.
    let near = of(&["--current", &current, "--dismiss", &format!("{}ms", dismiss + 500), "--check", "1s..15s"]);
    assert_eq!(near["verdict"], "keep", "{}", near["why"]);
}

#[test]
fn without_a_draft_given_up_nothing_is_advised() {
    let directory = tempfile::tempdir().unwrap();
    let text = (0..12).flat_map(|user| {
        (0..10).flat_map(move |message| {
            let start = message * 60_000 + user;
            let keys = [0, 300, 3_000, 6_500].map(|key| (start + key, "keystroke"));
            let lines = keys.into_iter().chain([(start + 7_000, "message_sent")]);
            lines.map(move |(at, signal)| (at, user, signal))
        })
    });
    let mut lines: Vec<_> = text.collect();
    lines.sort_unstable();
    let text: String = lines.iter().map(|(at, user, signal)| line(&format!("u{user}"), signal, *at)).collect();
    let sent = file(&directory, "sent", &text);
    let found = json_of(&tune(&[&sent, "--format", "json"]));
    assert_eq!((&found["verdict"], &found["advice"]), (&json!("not_enough_data"), &Value::Null));
    assert!(found["why"][0].as_str().unwrap().contains("no draft was abandoned"), "{}", found["why"]);
    let known = json_of(&tune(&[&sent, "--format", "json", "--abandon", "none"]));
    assert_ne!(known["verdict"], "not_enough_data", "{}", known["why"]);
}

#[test]
fn the_first_row_is_the_one_applied_whatever_is_minimised() {
    let directory = tempfile::tempdir().unwrap();
    let many = many(&directory);
    for measure in ["requests", "missed", "flicker", "check", "late_wait", "late_wait_p99", "dismiss"] {
        let said = tune(&[&many, "--minimise", measure]);
        let first = said.stdout.lines().find(|line| line.starts_with(" 1 ")).unwrap_or_else(|| panic!("{said:?}"));
        let words: Vec<_> = first.split_whitespace().collect();
        let applied = format!("apply: typingd timing --mode {} --check {} --dismiss {}", words[1], words[2], words[3]);
        assert!(said.stdout.trim_end().ends_with(&applied), "{measure}: {}", said.stdout);
    }
}

#[test]
fn one_channel_can_be_tuned_alone_and_each_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let other = typingd::tune::typist::trace(14, 10, 7).replace("\"demo\"", "\"web chat\"");
    let text = typingd::tune::typist::trace(14, 10, 42) + &other;
    let mut lines: Vec<(u64, &str)> =
        text.lines().map(|line| (serde_json::from_str::<Value>(line).unwrap()["at"].as_u64().unwrap(), line)).collect();
    lines.sort();
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let both = file(&directory, "both.ndjson", &text);
    let options =
        ["--check", "5s,10s", "--dismiss", "1s,2s,5s", "--current", "after_shown:5s/2s", "--icon-ttl", "none"];
    let said = tune(&[&options[..], &[&both]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.lines().count() <= 25, "{}", said.stdout);
    let found = json_of(&tune(&[&options[..], &["--format", "json", &both]].concat()));
    for channel in ["demo", "web chat"] {
        let alone = json_of(&tune(&[&options[..], &["--format", "json", "--to", channel, &both]].concat()));
        assert!(alone["channels"].is_null() && alone["study"]["users"] == 14, "{channel}");
        for field in ["verdict", "advice", "gain"] {
            assert_eq!(found["channels"][channel][field], alone[field], "{channel}: {field}");
        }
    }
    let none = tune(&["--to", "fax", &both]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    assert!(
        none.stderr.contains("to = \"fax\": no line is of this channel; expected one of demo, web chat"),
        "{none:?}"
    );
}

#[test]
fn two_recordings_are_compared_user_by_user() {
    let directory = tempfile::tempdir().unwrap();
    let before = many(&directory);
    let after = file(&directory, "after.ndjson", &typingd::tune::typist::trace(20, 12, 7));
    let said = tune(&["--diff", &before, &after, "--current", "10s/5s"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stdout.starts_with("before: 30 users, "), "{}", said.stdout);
    assert!(said.stdout.contains("both under idle 10s/5s"), "{}", said.stdout);
    let found = json_of(&tune(&["--diff", &before, &after, "--format", "json"]));
    assert_eq!((&found["before"]["users"], &found["after"]["users"]), (&json!(30), &json!(20)));
    assert!(found["figures"]["recall"]["difference_ci"].is_array(), "{found}");
    assert_eq!(tune(&["--diff", &before]).code, Some(2));
}

#[test]
fn a_recording_of_too_many_users_is_refused_by_its_memory() {
    let directory = tempfile::tempdir().unwrap();
    let text: String = (0..250_000).map(|user| line(&format!("u{user}"), "keystroke", user)).collect();
    let said = tune(&[&file(&directory, "wide.ndjson", &text)]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.contains("take more than the 256 MB that tune may use"), "{said:?}");
    // So are refreshes without end: a minute of typing, told a thousand times, looked at each millisecond.
    let lasting =
        |at: u64| format!("{}\n", json!({"to": "c", "from": "u", "signal": "keystroke", "at": at, "lasts": 60_000}));
    let text: String = (0..1_000).map(|n| lasting(n * 60_000)).collect();
    let said = tune(&[&file(&directory, "lasting.ndjson", &text), "--check", "1ms", "--dismiss", "2s"]);
    assert!(said.stderr.contains("expected a longer check"), "{said:?}");
}

#[test]
fn typing_told_with_lasts_is_tuned_and_simulated() {
    let directory = tempfile::tempdir().unwrap();
    let text: String = [0, 5_000, 10_000]
        .map(|at| format!("{}\n", json!({"to": "c", "from": "u", "signal": "keystroke", "at": at, "lasts": 5_000})))
        .concat()
        + &line("u", "message_sent", 15_000);
    let lasting = file(&directory, "lasting.ndjson", &text);
    let found = json_of(&tune(&[&lasting, "--check", "5s", "--dismiss", "2s", "--mode", "idle", "--format", "json"]));
    assert_eq!((&found["rows"][0]["recall"], &found["study"]["composing_ms"]), (&json!(1.0), &json!(15_000)));
    let said = run(&["simulate", &lasting]);
    let told: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<_> = told.iter().map(|told| told["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.first().zip(reasons.last()), Some((&"first_keystroke", &"message_sent")), "{said:?}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let grid = ["--check", "5s,10s", "--dismiss", "2s,5s", "--format", "json", &shipped()];
    let said = tune(&grid);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout, tune(&grid).stdout);
    let other = tune(&[&grid[..], &["--seed", "43"]].concat());
    let (one, other) = (json_of(&said), json_of(&other));
    assert_eq!(one["rows"], other["rows"], "chance decides nothing where nothing is drawn");
    assert_ne!(one["config_hash"], other["config_hash"]);
    assert_eq!(one["inputs"], other["inputs"]);
    assert_eq!(one["rows"].as_array().unwrap().len(), 8);
    assert_eq!(one["best"], one["ranking"][0]);
    // The order of the daemon's own simulation: what it decides is what is counted.
    let simulated = run(&["simulate", "--check", "10s", "--dismiss", "5s", &shipped()]);
    let told = |what: &str| simulated.stdout.matches(what).count();
    let row = one["rows"].as_array().unwrap().iter().find(|row| {
        (&row["mode"], &row["check_ms"], &row["dismiss_ms"]) == (&json!("idle"), &json!(10_000), &json!(5_000))
    });
    let row = row.unwrap();
    assert_eq!((&row["started"], &row["stopped"]), (&json!(told("TypingStarted")), &json!(told("TypingStopped"))));
}

#[test]
fn the_setting_in_force_is_the_files_or_the_flags() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "typingd.toml", "[timing]\ncheck_interval = '7s'\ndismiss_after = '3s'\n");
    let one = ["--check", "5s", "--dismiss", "2s", "--want", "none", "--format", "json"];
    let current = |arguments: &[&str]| {
        let said = tune(&[&one[..], arguments, &[&shipped()]].concat());
        let current = &json_of(&said)["current"];
        format!("{} {} {}", current["mode"], current["check_ms"], current["dismiss_ms"]).replace('"', "")
    };
    assert_eq!(current(&[]), "idle 5000 2000");
    assert_eq!(current(&["--config", &config]), "idle 7000 3000");
    assert_eq!(current(&["--config", &config, "--current", "9s/4s"]), "idle 9000 4000");
    assert_eq!(current(&["--current", "after_shown:9s/4s"]), "after_shown 9000 4000");
    assert_eq!(current(&["--current", "9s/4s", "--mode", "after_shown"]), "after_shown 9000 4000");
}

#[test]
fn unmet_limits_name_the_nearest_and_have_an_exit_code() {
    let said = tune(&[&shipped(), "--want", "recall>=99%,off_p95<=1s"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(3), ""), "{said:?}");
    assert!(said.stdout.contains("none of 330 settings keeps recall>=99 %, off_p95<=1s"), "{}", said.stdout);
    assert!(said.stdout.contains("    fails recall>=99 % (it is "), "{}", said.stdout);
    assert!(!said.stdout.contains("apply:"), "{}", said.stdout);
    let said = tune(&[&shipped(), "--want", "recall>=99%,off_p95<=1s", "--format", "json"]);
    assert_eq!((said.code, &json_of(&said)["best"]), (Some(3), &Value::Null));
    assert_eq!(json_of(&said)["nearest"]["fails"], json!(["recall>=99 %"]));
}

#[test]
fn standard_input_and_several_files_are_read_like_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = line("u", "keystroke", 0) + &line("u", "message_sent", 900);
    let (a, b) = (file(&directory, "a", &text), file(&directory, "b", &text));
    let options = ["tune", "--check", "5s", "--dismiss", "2s", "--want", "none", "--format", "json"];
    let piped = run_with(typingd(&[&options[..], &["-"]].concat()), &text);
    assert_eq!(piped.code, Some(0), "{piped:?}");
    let both = json_of(&run(&[&options[..], &[&a, &b]].concat()));
    assert_eq!(json_of(&piped)["study"]["users"], 1);
    assert_eq!((&both["study"]["users"], &both["study"]["messages"]), (&json!(2), &json!(2)), "not the same u");
    assert_eq!(both["inputs"][0]["sha256"], json_of(&piped)["inputs"][0]["sha256"]);
    assert_eq!(both["inputs"][0]["path"], json!(a));
    assert_eq!(both["current"]["recall"], 1.0);
    assert_eq!(
        both["current"]["off_ms"],
        json!({"max": null, "n": 0, "p50": null, "p50_ci": null, "p95": null, "p95_ci": null})
    );
}

#[test]
fn mistakes_are_named_each_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let back = file(&directory, "back", &(line("u", "keystroke", 5) + &line("u", "keystroke", 4)));
    let silent = file(&directory, "silent", &line("u", "message_sent", 5));
    let shipped = shipped();
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "<TRACE>"),
        (&["/nowhere.ndjson"], 1, "/nowhere.ndjson: can't be opened"),
        (&[&back], 1, "back:2: `at` goes back from 5 to 4"),
        (&[&silent], 1, "there is no keystroke in the traces"),
        (&[&shipped, "--check", "5"], 2, "--check = \"5\": expected times and ranges, such as 5s or 1s..15s"),
        (&[&shipped, "--check", "9s..5s"], 2, "from the shorter to the longer"),
        (&[&shipped, "--dismiss", "0s"], 2, "each time from 1ms to 1h"),
        (&[&shipped, "--check", "1ms..1h/1ms"], 2, "more than 20000 times"),
        (
            &[&shipped, "--check", "1s..150s", "--dismiss", "1s..150s"],
            2,
            "--check and dismiss: 45000 settings are too many",
        ),
        (&[&shipped, "--mode", "throttle"], 2, "--mode = \"throttle\": expected idle, after_shown or idle,after_shown"),
        (&[&shipped, "--current", "5s"], 2, "expected CHECK/DISMISS, such as 5s/2s"),
        (&[&shipped, "--want", "recall=1"], 2, "`recall=1` is no limit"),
        (&[&shipped, "--want", "recal>=1"], 2, "there is no measure `recal`; cost, recall, missed,"),
        (&[&shipped, "--want", "off_p95<=5"], 2, "`off_p95<=5`: expected a time with its unit"),
        (&[&shipped, "--minimise", "recall"], 2, "recall is not to be made small"),
        (&[&shipped, "--abandon", "13"], 2, "--abandon = \"13\": expected a share from 0 to 1"),
        (&[&shipped, "--icon-ttl", "2"], 2, "--icon-ttl = \"2\": expected a time with its unit"),
        (&[&shipped, "--loss", "x"], 2, "--loss"),
        (&[&shipped, "--limit", "0/s"], 2, "requests a second from 1 to 100000"),
        (&[&shipped, "--seed", "x"], 2, "a whole number"),
        (&[&shipped, "--format", "xml"], 2, "--format"),
    ];
    for (arguments, code, words) in cases {
        let said = tune(arguments);
        assert_eq!(said.code, Some(*code), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
        assert_eq!(said.stdout, "", "{arguments:?}");
    }
    let said = tune(&[&shipped, "--check", "5", "--loss", "2", "--seed", "x"]);
    assert_eq!(said.stderr.lines().count(), 3, "all at once: {said:?}");
}

#[test]
fn check_tells_what_a_setting_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let config = file(&directory, "typingd.toml", "[channels.sample]\ndismiss = 'after_shown'\n");
    let said = run(&["check", "--sandbox", "--config", &config]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for words in [
        "typingd: warning: channels.\"sample\": dismiss < check: the icon can be on at most 40 % of the time",
        "typingd: timing: idle 5s/2s on made-up typists: recall 8",
        "typingd: channels.\"sample\": after_shown 5s/2s on made-up typists: recall 4",
        "typingd: timing: advice before data: keep idle 5s/2s (on made-up typists",
    ] {
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
}

/// Posts a trace to a daemon.
fn post(daemon: &Daemon, query: &str, headers: Headers<'_>, trace: &[u8]) -> Answer {
    daemon.address.call("POST", &format!("/v1/tune{query}"), headers, trace)
}

#[test]
fn a_running_daemon_tunes_a_trace_as_the_command_does() {
    let (_sandbox, daemon) = pair("timing.check_interval = '7s'\ntiming.dismiss_after = '3s'");
    let trace = std::fs::read(shipped()).unwrap();
    let answer = post(&daemon, "?check=5s,10s&dismiss=2s..5s&want=recall%3E%3D90%25&seed=7", &[NDJSON], &trace);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    let options =
        ["--check", "5s,10s", "--dismiss", "2s..5s", "--want", "recall>=90%", "--seed", "7", "--format", "json"];
    let mut said = json_of(&tune(&[&options[..], &["--current", "7s/3s", &shipped()]].concat()));
    let mut told = answer.json();
    // They call the trace by other names, and otherwise say the same.
    assert_eq!(told["inputs"][0]["path"], "the trace");
    for report in [&mut said, &mut told] {
        report["inputs"].take();
    }
    assert_eq!(told, said);

    let page = post(&daemon, "?check=5s&dismiss=2s&format=html", &[NDJSON], &trace);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page:?}");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{page:?}");
    assert!(page.body.starts_with("<!DOCTYPE html>"), "{page:?}");

    let back = line("u", "keystroke", 5) + &line("u", "keystroke", 4);
    let cases: &[(&str, Headers<'_>, &[u8], u16, &str)] = &[
        ("", &[JSON], b"{}", 415, "application/x-ndjson"),
        ("", &[NDJSON], b"", 400, "there is no keystroke in the trace"),
        ("", &[NDJSON], back.as_bytes(), 400, "the trace:2: `at` goes back from 5 to 4"),
        ("?chek=5s", &[NDJSON], b"", 400, "unknown option `chek`, expected mode, check, dismiss,"),
        ("?chek=5s", &[NDJSON], b"", 400, "truth, seed or format"),
        ("?check=5s&check=6s", &[NDJSON], b"", 400, "repeated option `check`"),
        ("?format=json&format=html", &[NDJSON], b"", 400, "repeated option `format`"),
        (
            "?check=5&format=xml",
            &[NDJSON],
            b"",
            400,
            "`format` is \"xml\"; expected json or html; check = \"5\": expected",
        ),
        ("?check=1s..100s&dismiss=1s..100s", &[NDJSON], &trace, 413, "take too long beside a daemon"),
        ("?check=1ms&dismiss=1h&latency=1ms", &[NDJSON], &trace, 413, "or longer checks"),
    ];
    for (query, headers, body, status, words) in cases {
        let answer = post(&daemon, query, headers, body);
        assert_eq!(answer.status, *status, "{query}");
        assert!(answer.problem().contains(words), "{query}: {answer:?}");
    }
    assert_eq!(daemon.address.call("GET", "/v1/tune", &[], b"").status, 405);
    let too_long = [("content-length", "67108865"), NDJSON];
    let mut wire = daemon.address.connect().unwrap();
    wire.head("POST", "/v1/tune", &too_long, "accept: */*");
    let answer = wire.answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.problem().contains("typingd tune, the command"), "{answer:?}");
}
