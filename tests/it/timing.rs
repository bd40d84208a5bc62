//! The timing, changed while the daemon runs: by HTTP and by its command, by friends and by others.

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, pair};
use crate::process::{Process, Said, run, run_with, typingd, until};
use crate::wire::Answer;

impl Daemon {
    fn timing(&self) -> Value {
        let answer = self.address.get("/v1/timing");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        answer.json()
    }

    fn put(&self, path: &str, body: &str) -> Answer {
        self.address.call("PUT", path, &[], body.as_bytes())
    }

    /// A change that must be made.
    fn retime(&self, path: &str, body: &Value) -> Value {
        let answer = self.put(path, &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// `typingd timing` at this daemon.
    fn command(&self, arguments: &[&str]) -> Said {
        run(&[&["timing", "--url", &self.address.url()], arguments].concat())
    }
}

/// A daemon whose icons would stay on for a minute, with that of `c`/`ann` on.
fn typing(settings: &str) -> (Sandbox, Daemon) {
    let (sandbox, daemon) = pair(&format!("timing.dismiss_after = '1m'\n{settings}"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    (sandbox, daemon)
}

#[test]
fn each_change_is_seen_whoever_made_it() {
    let (_sandbox, mut daemon) = pair("timing.dismiss_after = '2s'");
    let gauge = |name: &str, channel: &str| {
        let page = daemon.address.get("/metrics").body;
        let start = format!("typingd_timing_{name}{{channel=\"{channel}\",dismiss=\"idle\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned);
        value.unwrap_or_default()
    };
    let changed_at = || {
        let page = daemon.address.get("/metrics").body;
        page.lines().find_map(|line| line.strip_prefix("typingd_timing_changed_timestamp_seconds ").map(str::to_owned))
    };
    let before = changed_at();
    assert_eq!((gauge("check_interval_seconds", ""), gauge("dismiss_after_seconds", "")), ("5.0".into(), "2.0".into()));
    let report = daemon.retime("/v1/timing", &json!({"check_interval": "3s", "dismiss_after": "400ms"}));
    let warnings = report["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains("the icon will blink"), "{report}");
    assert!(daemon.command(&[]).stdout.contains("warning: timing: the icon will blink"));
    assert_ne!(changed_at(), before);
    let url = daemon.address.url();
    let tap = Process::start(typingd(&["tap", "--url", &url]));
    until("the watcher's line", || {
        daemon.retime("/v1/timing/d", &json!({"dismiss_after": "4s"}));
        daemon.address.call("DELETE", "/v1/timing/d", &[], b"");
        tap.output().contains("timing changed by DELETE /v1/timing/{to}: channels.\"d\".dismiss_after from 4s to")
    });
    daemon.retime("/v1/timing", &json!({"max_typing": "4m"}));
    daemon.address.call("DELETE", "/v1/timing", &[], b"");
    until("the reset's line", || tap.output().contains("timing changed by DELETE /v1/timing: "));
    daemon.retime("/v1/timing", &json!({"check_interval": "3s", "dismiss_after": "400ms"}));
    daemon.retime("/v1/timing/c", &json!({"dismiss_after": "4s"}));
    assert_eq!(
        (gauge("check_interval_seconds", "c"), gauge("dismiss_after_seconds", "c")),
        ("3.0".into(), "4.0".into())
    );
    daemon.process.until_logged(
        "timing changed: timing.check_interval from 5s to 3s, timing.dismiss_after from 2s to 400ms by=\"PUT /v1/timing\"",
    );
    daemon.process.until_logged("channels.\"c\".dismiss_after from (as for all) to 4s");
    daemon.process.tell("HUP");
    daemon.process.until_logged("timing.check_interval from 3s to 5s");
    assert!(daemon.process.log().contains("SIGHUP"), "{}", daemon.process.log());
    // However many there are, at most one line a second.
    let lines = |daemon: &Daemon| daemon.process.log().matches("timing changed: ").count();
    let (before, watch) = (lines(&daemon), clock::stopwatch());
    for i in 0..50 {
        daemon.retime("/v1/timing", &json!({"check_interval": format!("{}ms", 6_000 + i)}));
    }
    daemon.process.until_logged("to 6049ms");
    let more = (lines(&daemon) - before) as f64;
    assert!(more <= watch.elapsed().as_secs_f64() + 2.0, "{more} lines in {:?}", watch.elapsed());
}

#[test]
fn a_change_holds_at_once_for_icons_that_are_on() {
    let (sandbox, mut daemon) = typing("");
    daemon.give("other", "bob", "keystroke");
    sandbox.until_told("other", "bob", "+");
    let report = daemon.retime("/v1/timing/c", &json!({"dismiss_after": "100ms"}));
    assert_eq!(report["changed"], json!([{"key": "channels.\"c\".dismiss_after", "old": null, "new": "100ms"}]));
    sandbox.until_told("c", "ann", "+-");
    assert_eq!(sandbox.told("other", "bob"), "+", "another channel's timing is another");
    let report = daemon.retime("/v1/timing", &json!({"dismiss_after": "200ms", "dismiss": "idle"}));
    assert_eq!(report["changed"], json!([{"key": "timing.dismiss_after", "old": "1m", "new": "200ms"}]));
    sandbox.until_told("other", "bob", "+-");

    // Nobody is lost: the same conversations go on under what holds now, longer again for one.
    assert_eq!(daemon.address.call("DELETE", "/v1/timing/c", &[], b"").status, 200);
    daemon.retime("/v1/timing/other", &json!({"dismiss_after": "1m"}));
    for (to, from) in [("c", "ann"), ("other", "bob")] {
        daemon.give(to, from, "keystroke");
    }
    sandbox.until_told("c", "ann", "+-+-");
    sandbox.until_told("other", "bob", "+-+");
    daemon.process.stop();
    assert_eq!((sandbox.shown(), sandbox.told("other", "bob")), (0, "+-+-".to_owned()));
}

#[test]
fn timing_shows_its_origin_and_what_a_restart_undoes() {
    let (_sandbox, mut daemon) = typing("channels.c.check_interval = '3s'");
    let file = daemon.file("typingd.toml").display().to_string();
    let before = daemon.timing();
    assert_eq!(
        before,
        json!({
            "timing": {"check_interval": "5s", "dismiss": "idle", "dismiss_after": "1m", "max_typing": "5m", "require_open": false},
            "channels": {"c": {"check_interval": "3s"}},
            "origins": {
                "timing": {
                    "check_interval": "default", "dismiss": "default", "dismiss_after": format!("{file}:5"),
                    "max_typing": "default", "require_open": "default",
                },
                "channels": {"c": {"check_interval": format!("{file}:6")}},
            },
            "survives_restart": true,
            "warnings": [],
        })
    );
    daemon.retime("/v1/timing", &json!({"dismiss_after": "50s"}));
    daemon.retime("/v1/timing/%C3%BC%2F%22%00", &json!({"require_open": true}));
    let report = daemon.address.call("DELETE", "/v1/timing/c", &[], b"").json();
    assert_eq!(
        report["keep"],
        json!({
            "file": file,
            "toml": "[timing]\ndismiss_after = \"50s\"\n\n[channels.\"ü/\\\"\\u0000\"]\nrequire_open = true\n",
            "notes": [
                format!("{file}:5: the new line replaces timing.dismiss_after there"),
                format!("{file}:6: channels.\"c\".check_interval must be removed there"),
            ],
        })
    );
    assert_eq!(report["survives_restart"], false);
    assert_eq!(report["channels"], json!({"ü/\"\0": {"require_open": true}}));
    let gone = daemon.address.call("DELETE", "/v1/timing/c", &[], b"");
    assert_eq!(gone.status, 404);
    assert!(gone.problem().contains("follows the timing of all"), "{gone:?}");

    // What the daemon says to keep is kept over a restart.
    let mut held = daemon.timing();
    let keep = held["keep"]["toml"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let (kept, _) = text.split_once("timing.dismiss_after").unwrap();
    std::fs::write(&file, format!("{kept}\n{keep}")).unwrap();
    daemon.crash();
    let again = daemon.timing();
    assert_eq!((&again["survives_restart"], &again["timing"]), (&json!(true), &held["timing"].take()));
    assert_eq!(again["channels"], held["channels"].take());
}

#[test]
fn a_wrong_change_changes_nothing_and_all_of_it_is_told() {
    let (sandbox, daemon) = typing("channels.c.max_typing = '2m'");
    let before = daemon.timing();
    let long = format!("/v1/timing/{}", "%C3%BC".repeat(241));
    let deep = format!("{{\"dismiss\": {}", "[".repeat(4_000));
    let cases: &[(&str, &str, u16, &str)] = &[
        ("/v1/timing", r#"{"check_interval": 5}"#, 400, "timing.check_interval = 5: a time needs a unit"),
        ("/v1/timing", r#"{"chek_interval": "5s"}"#, 400, "did you mean timing.check_interval?"),
        ("/v1/timing", r#"{"dismiss": "idle", "dismiss": "idle"}"#, 400, "timing.dismiss is given twice"),
        // Right by itself, and not with what the file says.
        (
            "/v1/timing",
            r#"{"dismiss_after": "3m"}"#,
            400,
            "channels.\"c\".max_typing = \"2m\": expected at least dismiss_after",
        ),
        (
            "/v1/timing/c",
            r#"{"max_typing": "10s"}"#,
            400,
            "channels.\"c\".max_typing = \"10s\": expected at least dismiss_after",
        ),
        ("/v1/timing", "", 400, "the body is empty; expected a JSON object such as"),
        ("/v1/timing", "[1]", 400, "the body is not an object"),
        ("/v1/timing", &deep, 400, "the body is not JSON"),
        ("/v1/timing?to=c", "{}", 400, "unknown option `to`, expected none"),
        ("/v1/timing/", "{}", 400, "the channel address is empty"),
        (&long, "{}", 400, "the channel address has 241 characters; expected 1 to 240"),
        ("/v1/timing/%ff", "{}", 400, "the channel address is not UTF-8"),
        ("/v1/timing/%zz", "{}", 400, "two hexadecimal digits"),
        ("/v1/timing/a%2", "{}", 400, "two hexadecimal digits"),
        ("/v1/timing/a/b", "{}", 404, "nothing at this address"),
    ];
    for (path, body, status, words) in cases {
        let answer = daemon.put(path, body);
        assert_eq!(answer.status, *status, "{path} {body}: {answer:?}");
        assert!(answer.problem().contains(words), "{path} {body}: {answer:?}");
    }
    let all = daemon.put("/v1/timing", r#"{"dismiss": 1, "max_typing": "2d", "text": "s3cret"}"#);
    let problems = all.json()["problems"].take();
    assert_eq!(problems.as_array().unwrap().len(), 3, "{all:?}");
    assert!(all.problem().matches("; ").count() >= 2 && !all.body.contains("s3cret"), "{all:?}");
    for (method, path) in [("POST", "/v1/timing"), ("POST", "/v1/timing/c"), ("GET", "/v1/timing/c")] {
        let answer = daemon.address.call(method, path, &[], b"");
        assert_eq!(answer.status, 405, "{answer:?}");
        answer.problem();
    }
    assert_eq!(daemon.timing(), before);
    assert_eq!(sandbox.told("c", "ann"), "+");
}

#[test]
fn bodies_channels_and_told_problems_have_bounds() {
    const BODY_BYTES_MAX: usize = 4 * 1024;
    const CHANNELS_MAX: usize = 2_000;
    let channels: String = (1..CHANNELS_MAX).map(|i| format!("channels.c{i}.max_typing = '2m'\n")).collect();
    let (_sandbox, daemon) = typing(&channels);
    let spaced = |bytes: usize| format!("{}{}", " ".repeat(bytes - 2), "{}");
    assert_eq!(daemon.put("/v1/timing", &spaced(BODY_BYTES_MAX)).status, 200);
    for bytes in [BODY_BYTES_MAX + 1, 1 << 20] {
        let answer = daemon.put("/v1/timing", &spaced(bytes));
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.problem().contains("longer than 4096 bytes"), "{answer:?}");
    }
    let one = json!({"dismiss_after": "2s"});
    daemon.retime("/v1/timing/last", &one);
    let beyond = daemon.put("/v1/timing/beyond", &one.to_string());
    assert_eq!(beyond.status, 409, "{beyond:?}");
    assert!(beyond.problem().starts_with("2000 channels have timing of their own"), "{beyond:?}");
    assert_eq!(daemon.timing()["channels"].as_object().unwrap().len(), CHANNELS_MAX);
    assert_eq!(daemon.address.call("DELETE", "/v1/timing/c1", &[], b"").status, 200);
    daemon.retime("/v1/timing/beyond", &one);

    let clash = daemon.put("/v1/timing", r#"{"dismiss_after": "3m"}"#);
    let problems = clash.json()["problems"].take();
    assert_eq!((clash.status, problems.as_array().unwrap().len()), (400, 21), "{clash:?}");
    assert_eq!(problems[20], "and 1978 more problems");
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let (_sandbox, daemon) = typing("");
    std::thread::scope(|scope| {
        for i in 0..40 {
            let daemon = &daemon;
            scope.spawn(move || daemon.retime(&format!("/v1/timing/c{i}"), &json!({"check_interval": "7s"})));
        }
        for body in [json!({"dismiss_after": "50s"}), json!({"max_typing": "20m"}), json!({"check_interval": "9s"})] {
            let daemon = &daemon;
            scope.spawn(move || daemon.retime("/v1/timing", &body));
        }
    });
    let report = daemon.timing();
    assert_eq!(report["channels"].as_object().unwrap().len(), 40);
    assert_eq!(
        report["timing"],
        json!({"check_interval": "9s", "dismiss": "idle", "dismiss_after": "50s", "max_typing": "20m", "require_open": false})
    );
}

#[test]
fn a_sighup_restores_the_file_unless_it_is_wrong() {
    let (sandbox, mut daemon) = typing("");
    daemon.retime("/v1/timing", &json!({"dismiss_after": "5m"}));
    daemon.retime("/v1/timing/c", &json!({"check_interval": "1s"}));
    daemon.reconfigure(|text| format!("{text}[timing"));
    daemon.process.until_logged("nothing has been changed");
    let report = daemon.timing();
    assert_eq!((&report["timing"]["dismiss_after"], &report["survives_restart"]), (&json!("5m"), &json!(false)));

    daemon.reconfigure(|text| text.replace("[timing", "").replace("'1m'", "'100ms'"));
    daemon.process.until_logged("configuration read again changes=2");
    let log = daemon.process.log();
    for line in [
        "configuration: timing.dismiss_after: \"5m\" -> \"100ms\"",
        "configuration: channels.\"c\".check_interval: \"1s\" -> (not set)",
        "what was changed while running has fallen away: the configuration holds settings=2",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    sandbox.until_told("c", "ann", "+-");
    let report = daemon.timing();
    assert_eq!((&report["channels"], &report["survives_restart"]), (&json!({}), &json!(true)));
    // Now that nothing has been changed while running, nothing is said of it.
    daemon.reconfigure(|text| text.replace("'100ms'", "'101ms'"));
    daemon.process.until_logged("configuration read again changes=1");
    assert_eq!(daemon.process.log().matches("fallen away").count(), 1);
}

#[test]
fn the_token_of_callers_is_asked_for_on_every_call() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", |directory| {
        std::fs::write(directory.path().join("callers"), "s3cret").unwrap();
    });
    let calls = [("GET", "/v1/timing"), ("PUT", "/v1/timing"), ("PUT", "/v1/timing/c"), ("DELETE", "/v1/timing/c")];
    let change = br#"{"dismiss_after": "1s"}"#;
    for (method, path) in calls {
        for headers in [&[][..], &[("authorization", "Bearer s3cre")], &[("authorization", "Bearer s3cret2")]] {
            let answer = daemon.address.call(method, path, headers, change);
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{answer:?}");
            assert!(answer.problem().contains("expected the bearer token"), "{answer:?}");
        }
        let answer = daemon.address.call(method, path, &[("authorization", "Bearer s3cret")], change);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    }
    let said = daemon.command(&["--dismiss", "3s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("name its file with --token-file"), "{said:?}");
    let said = daemon.command(&["--dismiss", "3s", "--token-file", daemon.file("callers").to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn during_a_shutdown_nothing_is_changed_any_more() {
    let (sandbox, mut daemon) = typing("upstream.request_timeout = '1m'\ndelivery.shutdown_grace = '5m'");
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    let body = r#"{"dismiss_after": "2m"}"#;
    let mut open = daemon.address.connect().unwrap();
    open.head("PUT", "/v1/timing", &[], &format!("content-length: {}", body.len()));
    open.write(&body.as_bytes()[..5]).unwrap();
    // Answered on a connection accepted later: the other has been accepted too.
    assert_eq!(daemon.address.get("/healthz").status, 200);
    daemon.process.tell("TERM");
    until("the Stopped", || sandbox.of("c", "ann").len() == 2);
    open.write(&body.as_bytes()[5..]).unwrap();
    let answer = open.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.problem().contains("shutting down"), "{answer:?}");
    daemon.process.kill();
}

#[test]
fn the_command_tells_changes_and_resets() {
    let (sandbox, daemon) = typing("channels.c.check_interval = '3s'");
    let file = daemon.file("typingd.toml").display().to_string();
    let told = |arguments: &[&str]| {
        let said = daemon.command(arguments);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        said.stdout
    };
    let all = told(&[]);
    for line in [
        "all channels\n  check_interval  5s           default\n",
        &format!("  dismiss_after   1m           {file}:5\n"),
        &format!(
            "\nchannel \"c\"\n  check_interval  3s           {file}:6\n  dismiss         idle         as for all\n"
        ),
        "\nAll that is in force survives a restart.\n",
    ] {
        assert!(all.contains(line), "{line}\n{all}");
    }
    assert_eq!(
        told(&["--dismiss", "50s", "--check", "10s", "--mode", "after_shown", "--max-typing", "1h"]),
        format!(
            "timing.check_interval: 5s -> 10s\ntiming.dismiss_after: 1m -> 50s\ntiming.dismiss: idle -> after_shown\n\
             timing.max_typing: 5m -> 1h\n\n\
             A restart or a SIGHUP undoes what was changed while running. To keep it, write to {file}:\n\n    \
             [timing]\n    check_interval = \"10s\"\n    dismiss_after = \"50s\"\n    dismiss = \"after_shown\"\n    \
             max_typing = \"1h\"\n\n\
             - if the file has a table already, add the lines to it; a table can't be written twice\n\
             - {file}:5: the new line replaces timing.dismiss_after there\n"
        )
    );
    // A channel whose name a terminal would obey, and a path misread.
    let odd = "../a\u{1b}[1m/b?x#%";
    assert!(told(&["--to", odd, "--dismiss", "100ms"]).contains(".dismiss_after: (as for all) -> 100ms\n"));
    let shown = told(&["--to", odd]);
    assert!(shown.starts_with("channel \"../a\\u{1b}[1m/b?x#%\"\n") && !shown.contains('\u{1b}'), "{shown}");
    let json: Value = serde_json::from_str(&told(&["--format", "json"])).unwrap();
    assert_eq!(json, daemon.timing());
    assert_eq!(json["channels"][odd], json!({"dismiss_after": "100ms"}));
    assert!(told(&["--to", odd, "--dismiss", "100ms"]).starts_with("nothing has changed: it was so already\n"));
    assert!(told(&["--to", odd, "--reset"]).contains("dismiss_after: 100ms -> (as for all)"));
    told(&["--to", "c", "--mode", "idle", "--dismiss", "100ms"]);
    sandbox.until_told("c", "ann", "+-");

    for (arguments, code, words) in [
        (&["--to", odd, "--reset"][..], 1, "404 Not Found: the channel has no timing of its own"),
        (&["--max-typing", "49s"], 1, "timing.max_typing = \"49s\": expected at least dismiss_after, \"50s\""),
        (&["--dismiss", "2"], 2, "flag --dismiss: timing.dismiss_after = 2: a time needs a unit"),
        (&["--mode", "x", "--check", "2h"], 2, "flag --check: timing.check_interval = \"2h\": expected a time from"),
        (&["--reset", "--check", "1s"], 2, "cannot be used with"),
        (&["--to", "c", "--reset", "--check", "1s"], 2, "cannot be used with"),
        (&["--to", "", "--check", "1s"], 2, "is empty; expected 1 to 240 characters"),
        (&["--to", "..", "--check", "1s"], 2, "can't be part of a URL's path"),
        (&["--format", "xml"], 2, "table, json"),
    ] {
        let said = daemon.command(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
    }

    let url = daemon.address.url();
    drop(daemon);
    let mut command = typingd(&["timing"]);
    command.env("TYPINGD_URL", &url);
    let said = run_with(command, "");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(&format!("{url} can't be reached: Connection refused")), "{said:?}");
}

#[test]
fn a_reset_undoes_all_that_was_changed_while_running() {
    let (_sandbox, daemon) = typing("channels.c.check_interval = '7s'");
    let before = daemon.timing();
    daemon.retime("/v1/timing", &json!({"check_interval": "9s"}));
    daemon.retime("/v1/timing/c", &json!({"check_interval": "8s", "dismiss_after": "3s"}));
    daemon.retime("/v1/timing/other", &json!({"dismiss": "after_shown"}));
    let said = daemon.command(&["--reset"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "timing.check_interval: 9s -> 5s",
        "channels.\"c\".check_interval: 8s -> 7s",
        "channels.\"other\".dismiss: after_shown -> (as for all)",
        "All that is in force survives a restart.",
    ] {
        assert!(said.stdout.contains(line), "{line}: {said:?}");
    }
    assert_eq!(daemon.timing(), before);
    assert!(daemon.command(&["--reset"]).stdout.starts_with("nothing has changed"));
}
