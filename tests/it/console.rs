//! The console's page and what is there for it: the page served whole, a trace simulated, the sandbox's icon in view.

use serde_json::{Value, json};

use crate::bench::{Daemon, NDJSON, Sandbox, pair};
use crate::process::{Process, run, typingd};
use crate::wire::{Address, Answer};

fn line(from: &str, signal: &str, at: u64) -> String {
    format!("{}\n", json!({"to": "c", "from": from, "signal": signal, "at": at}))
}

fn simulate(daemon: &Daemon, query: &str, trace: &str) -> Answer {
    daemon.address.call("POST", &format!("/v1/simulate{query}"), &[NDJSON], trace.as_bytes())
}

/// `typingd run --sandbox`, which needs no more.
fn with_sandbox(settings: &str) -> (Process, Address, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("callers"), "t0ken").unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(&file, settings).unwrap();
    let mut process =
        Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]));
    let address = process.address();
    process.until_logged(" INFO ready");
    (process, address, directory)
}

#[test]
fn the_page_comes_from_the_daemon_alone_and_asks_for_no_token() {
    let (_process, address, _directory) = with_sandbox("ingest.token_file = 'callers'");
    let page = address.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page:?}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let mut files: Vec<&str> = page.body.split('"').filter(|text| text.starts_with("console/")).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let got = address.get(&format!("/{file}"));
        assert_eq!(got.status, 200, "{file}");
        // Whatever a script names in its turn is there as well.
        for import in got.body.split('"').filter(|text| text.starts_with("./") && text.ends_with(".js")) {
            assert_eq!(address.get(&format!("/console/{}", &import[2..])).status, 200, "{file}: {import}");
        }
    }
    assert_eq!(address.call("POST", "/", &[], b"").header("content-type"), Some("application/problem+json"));
    // Whoever follows a link from another page gets there, and that page gets nothing of what is behind it.
    let linked = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("accept-language", "en")];
    assert_eq!(address.call("GET", "/", &linked, b"").status, 200);
    assert_eq!(address.call("GET", "/v1/timing", &linked, b"").status, 403);
}

#[test]
fn a_daemon_simulates_a_trace_as_the_command_does() {
    let (_sandbox, daemon) = pair("timing.check_interval = '3s'");
    let trace: String = [0, 900, 1_800, 2_700, 3_600].iter().map(|at| line("u", "keystroke", *at)).collect();
    let trace = trace + &line("u", "message_sent", 4_000);
    let file = daemon.file("trace.ndjson");
    std::fs::write(&file, &trace).unwrap();
    for (query, options) in [
        ("", &["--check", "3s"][..]),
        ("?check=1s&dismiss=500ms", &["--check", "1s", "--dismiss", "500ms"]),
        ("?mode=after_shown&check=2s&dismiss=1s", &["--mode", "after_shown", "--check", "2s", "--dismiss", "1s"]),
    ] {
        let answer = simulate(&daemon, query, &trace);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")), "{answer:?}");
        let said = run(&[&["simulate"], options, &[file.to_str().unwrap()]].concat());
        assert_eq!((said.code, &said.stdout), (Some(0), &answer.body), "{query}: {said:?}");
    }
    // Longer than the longest typing that is believed: a question is no configuration.
    let answer = simulate(&daemon, "?dismiss=1h", &trace);
    assert!(answer.body.ends_with("\"reason\":\"message_sent\"}\n"), "{answer:?}");
    assert_eq!(simulate(&daemon, "", "").body, "");
}

#[test]
fn what_can_not_be_simulated_is_told_and_costs_little() {
    let (_sandbox, daemon) = pair("");
    let key = line("u", "keystroke", 0);
    for (query, trace, status, told) in [
        ("?check=5", &key, 400, "`check` is \"5\"; expected a time from 1ms to 1h, such as 5s"),
        ("?mode=throttle", &key, 400, "`mode` is \"throttle\"; expected idle or after_shown"),
        ("?speed=2", &key, 400, "unknown option `speed`, expected"),
        ("", &(line("u", "keystroke", 5) + &key), 400, "the trace:2: `at` goes back from 5 to 0"),
        ("?check=1ms&dismiss=1h", &(key.clone() + &line("u", "keystroke", 200_000)), 413, "a longer check"),
    ] {
        let answer = simulate(&daemon, query, trace);
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(answer.problem().contains(told), "{query}: {answer:?}");
    }
    let long = key.repeat(256 * 1024 / key.len() + 1);
    assert_eq!(simulate(&daemon, "", &long).status, 413);
    assert_eq!(daemon.address.call("POST", "/v1/simulate", &[], key.as_bytes()).status, 415);
}

#[test]
fn the_icon_of_the_built_in_sandbox_is_in_view() {
    let (mut process, address, _directory) = with_sandbox("timing.dismiss_after = '150ms'");
    let ann = "/v1/sandbox/icons?to=c&from=ann";
    assert_eq!(address.get(ann).json(), json!({"shown": false}));
    let mut watcher = address.connect().unwrap();
    watcher.head("GET", &format!("{ann}&watch=true"), &[], "content-length: 0");
    for from in ["bob", "ann"] {
        let signal = json!({"to": "c", "from": from, "signal": "keystroke"}).to_string();
        let headers = [("content-type", "application/json")];
        assert_eq!(address.call("POST", "/v1/signals", &headers, signal.as_bytes()).status, 202);
    }
    let mut text = String::new();
    while text.matches("\"shown\"").count() < 3 {
        text.push_str(std::str::from_utf8(&watcher.some()).unwrap());
    }
    let told: Vec<Value> =
        text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> = told.iter().map(|line| (line["from"].as_str().unwrap(), line["shown"] == true)).collect();
    assert_eq!(shown, [("ann", false), ("ann", true), ("ann", false)], "as it is, on, off, and nobody else's: {text}");
    for (path, told) in
        [("?to=c", "missing field `from`"), ("?to=&from=u", "`to` is empty"), ("?to=c&from=u&all=1", "all")]
    {
        let answer = address.get(&format!("/v1/sandbox/icons{path}"));
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.problem().contains(told), "{answer:?}");
    }
    // Whoever watches does not hold up the daemon's end.
    process.stop();
    drop(watcher);

    let far = Sandbox::start(&[]);
    let daemon = Daemon::start(&far.address.url(), "");
    assert_eq!(daemon.address.get(ann).status, 404, "what a real org shows, nobody can see");
}

#[test]
fn without_the_token_simulate_and_views_are_closed() {
    let (_process, address, _directory) = with_sandbox("ingest.token_file = 'callers'");
    let key = line("u", "keystroke", 0);
    assert_eq!(address.call("POST", "/v1/simulate", &[NDJSON], key.as_bytes()).status, 401);
    assert_eq!(address.get("/v1/sandbox/icons?to=c&from=u").status, 401);
    let token = ("authorization", "Bearer t0ken");
    assert_eq!(address.call("POST", "/v1/simulate", &[NDJSON, token], key.as_bytes()).status, 200);
    assert_eq!(address.call("GET", "/v1/sandbox/icons?to=c&from=u", &[token], b"").status, 200);
}
