//! The commands: what they print where, and what their end means to a shell.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{pair, signal_of};
use crate::process::{PATIENCE, Process, run, run_with, typingd, until};
use crate::wire::Address;

fn trace(keys: &[(u64, &str, &str)]) -> String {
    keys.iter().fold(String::new(), |mut text, (at, from, signal)| {
        let mut line = signal_of("c", from, signal);
        line["at"] = json!(at);
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[test]
fn help_and_version_are_results_and_wrong_usage_is_not() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--version"], 0, "typingd 0."),
        (&["--help"], 0, "simulate"),
        (&["help", "run"], 0, "--sandbox"),
        (&["sandbox", "--help"], 0, "--fault"),
        (&[], 2, "Usage"),
        (&["rnu"], 2, "'rnu'"),
        (&["run", "--speed", "1"], 2, "--speed"),
        (&["replay", "t", "--speed", "0"], 2, "0.001 to 1000"),
        (&["replay", "t", "--url", "nowhere"], 2, "--url"),
        (&["sandbox", "--latency", "5"], 2, "500ms, 5s or 30m"),
        (&["sandbox", "--token-file", "/nowhere/token"], 1, "/nowhere/token"),
        (&["simulate", "/nowhere.ndjson"], 1, "/nowhere.ndjson: can't be opened"),
        (&["simulate", "/"], 1, "can't be opened"),
        (&["simulate", "--check", "5"], 2, "flag --check"),
        (&["simulate", "--mode", "x"], 2, "flag --mode"),
        (&["replay", "/nowhere.ndjson"], 1, "/nowhere.ndjson"),
    ];
    for (arguments, code, words) in cases {
        let said = run(arguments);
        assert_eq!(said.code, Some(*code), "{arguments:?}: {said:?}");
        let (told, silent) = if *code == 0 { (&said.stdout, &said.stderr) } else { (&said.stderr, &said.stdout) };
        assert!(told.contains(words), "{arguments:?}: {said:?}");
        assert_eq!(silent, "", "{arguments:?}");
    }
}

#[test]
fn simulate_merges_traces_and_names_the_line_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let lines = |stdout: &str| -> Vec<String> {
        let line = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
        let short = |line: Value| {
            format!("{} {} {} {}", line["at"], line["from"], line["indicator"], line["reason"]).replace('"', "")
        };
        stdout.lines().map(line).map(short).collect()
    };
    let keys = trace(&[(0, "u", "keystroke"), (5_500, "u", "keystroke"), (6_000, "u", "message_sent")]);
    let idle = ["0 u TypingStarted first_keystroke", "2000 u TypingStopped idle"];
    let said = run_with(typingd(&["simulate", "-"]), &keys);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let expected = [idle[0], idle[1], "5500 u TypingStarted first_keystroke", "6000 u TypingStopped message_sent"];
    assert_eq!(lines(&said.stdout), expected);
    assert!(
        said.stdout
            .starts_with(r#"{"at":0,"to":"c","from":"u","indicator":"TypingStarted","reason":"first_keystroke"}"#)
    );

    // Two files: merged by time, and the same ids are other conversations.
    let (a, b) = (file("a", &trace(&[(0, "u", "keystroke")])), file("b", &trace(&[(1_000, "u", "keystroke")])));
    let said = run(&["simulate", &a, &b, "--dismiss", "3s"]);
    let expected = [
        "0 u TypingStarted first_keystroke",
        "1000 u TypingStarted first_keystroke",
        "3000 u TypingStopped idle",
        "4000 u TypingStopped idle",
    ];
    assert_eq!(lines(&said.stdout), expected);
    let config = file("c.toml", "[timing]\ndismiss_after = '7s'\n");
    let said = run(&["simulate", &a, "--config", &config]);
    assert_eq!(lines(&said.stdout).last().unwrap(), "7000 u TypingStopped idle");
    let said = run(&["simulate", &a, "--config", &config, "--dismiss", "1s", "--mode", "after_shown"]);
    assert_eq!(lines(&said.stdout).last().unwrap(), "1000 u TypingStopped dismissed");
    assert_eq!(run(&["simulate", &file("empty", "")]).stdout, "");

    for (name, second, words) in [
        ("back", trace(&[(4, "u", "keystroke")]), "`at` goes back from 5 to 4"),
        ("bare", format!("{}\n", signal_of("c", "u", "keystroke")), "`at` is missing"),
        ("text", "{\"to\": \"c\", \"text\": \"s3cret\"}\n".to_owned(), "unknown field `text`"),
    ] {
        let bad = file(name, &(trace(&[(5, "u", "keystroke")]) + &second));
        let said = run(&["simulate", &bad]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(&format!("{bad}:2: ")) && said.stderr.contains(words), "{said:?}");
        assert!(!said.stderr.contains("s3cret"), "{said:?}");
        let replayed = run(&["replay", &bad]);
        assert_eq!(replayed.code, Some(1), "{replayed:?}");
        assert!(replayed.stderr.contains(&format!("{bad}:2: ")), "{replayed:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    // Far more results than a pipe holds.
    let keys: Vec<_> = (0..20_000).map(|i| (i * 10_000, "u", "keystroke")).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.ndjson");
    std::fs::write(&path, trace(&keys)).unwrap();
    for (arguments, reads) in
        [(["simulate", path.to_str().unwrap()], true), (["check", "--sandbox"], false), (["help", "run"], false)]
    {
        let mut child = typingd(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if reads {
            stdout.read_line(&mut String::new()).unwrap();
        }
        drop(stdout);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("can't write"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn replay_plays_a_trace_and_leaves_no_icon_on() {
    let (sandbox, mut daemon) =
        pair("timing.dismiss_after = '100ms'\ntiming.check_interval = '200ms'\ndelivery.started_lifespan = '5s'");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.ndjson");
    let mut keys: Vec<_> = (0..20).map(|i| (i * 1_000, if i % 2 == 0 { "ann" } else { "bob" }, "keystroke")).collect();
    keys.push((20_000, "ann", "message_sent"));
    std::fs::write(&path, trace(&keys)).unwrap();
    let (trace, url) = (path.to_str().unwrap(), daemon.address.url());
    let mut command = typingd(&["replay", trace, "--speed", "50"]);
    command.env("TYPINGD_URL", &url);
    let said = run_with(command, "");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&summary["signals"], &summary["accepted"], &summary["conversations"]),
        (&json!(21), &json!(21), &json!(2))
    );
    assert!(summary["elapsed_ms"].as_u64().unwrap() >= 400, "{summary}");
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
    assert!(sandbox.told("c", "ann").starts_with('+') && sandbox.told("c", "bob").starts_with('+'));

    // Nobody is there any more.
    let said = run(&["replay", trace, "--speed", "50", "--url", &url]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("can't be reached"), "{said:?}");
}

#[test]
fn a_daemon_is_called_by_its_socket_and_with_its_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let socket = format!("unix:{}/s", directory.path().display());
    let callers = file("callers", "s3cret\n");
    let config = file("c.toml", &format!("[ingest]\nlisten = ['{socket}']\ntoken_file = '{callers}'\n"));
    let mut process = Process::start(typingd(&["run", "--sandbox", "--config", &config]));
    process.address();
    let trace = file("t.ndjson", &trace(&[(0, "u", "keystroke"), (1, "u", "message_sent")]));
    let said = run(&["replay", &trace, "--url", &socket, "--token-file", &callers]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stdout.contains("\"accepted\":2"), "{said:?}");

    let other = file("other", "another");
    let words = file("words", "two words");
    for (arguments, words) in [
        (vec![], "requires a bearer token; name its file with --token-file"),
        (vec!["--token-file", &other], "rejects the token of --token-file"),
        (vec!["--token-file", &words], "holds more than one token"),
        (vec!["--token-file", "/nowhere"], "--token-file /nowhere: can't be read"),
    ] {
        let said = run(&[&["replay", &trace, "--url", &socket], arguments.as_slice()].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(words) && !said.stderr.contains("another"), "{words}: {said:?}");
    }
    process.stop();
    let said = run(&["replay", &trace, "--url", &socket]);
    assert!(said.stderr.contains(&format!("{socket} can't be reached: No such file")), "{said:?}");
}

#[test]
fn whoever_says_nothing_or_too_much_is_no_daemon() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut endless, _) = listener.accept().unwrap();
        // A request without a body comes in one piece.
        assert!(endless.read(&mut [0; 4_096]).unwrap() > 0);
        endless.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        // Until the command hangs up.
        while endless.write_all(&[b' '; 1 << 16]).is_ok() {}
        listener.accept().unwrap()
    });
    let call = || run(&["timing", "--url", &url]);
    for words in ["answers with more than 16 MiB; is it typingd?", "has not answered for 10 s"] {
        let watch = clock::stopwatch();
        let said = call();
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.stderr.contains(&format!("{url} {words}")), "{said:?}");
        assert!(watch.elapsed() < PATIENCE, "{words}: {:?}", watch.elapsed());
    }
    drop(served.join().unwrap());
}

#[test]
fn run_sandbox_prints_a_guide_that_works() {
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]));
    let address = process.address();
    process.until_logged("ready");
    until("the guide", || process.output().contains("Ctrl-C"));
    let guide = process.output();
    // The guide's own words do what they say.
    let body = guide.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    assert!(guide.contains(&format!("{}/v1/signals", address.url())), "{guide}");
    let answer = address.call("POST", "/v1/signals", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(answer.json()["accepted"], 1, "{answer:?}");
    let icons = guide.lines().find_map(|line| line.trim().strip_prefix("curl ")?.strip_suffix("/icons")).unwrap();
    let sandbox = Address::parse(icons);
    until("the icon", || sandbox.get("/icons").json()["icons"][0]["started"] == 1);
    until("its end", || sandbox.get("/icons").json()["shown"] == 0);
    process.stop();
}
