//! The timing, changed while the daemon runs: by friends and by others.

use serde_json::{Value, json};

use crate::bench::{Daemon, Sandbox, pair};
use crate::process::until;
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
}

/// A daemon whose icons would stay on for a minute, with that of `c`/`ann` on.
fn typing(settings: &str) -> (Sandbox, Daemon) {
    let (sandbox, daemon) = pair(&format!("timing.dismiss_after = '1m'\n{settings}"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    (sandbox, daemon)
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
    assert!(!daemon.process.log().contains("timing"), "a caller writes to the log: {}", daemon.process.log());
    daemon.process.stop();
    assert_eq!((sandbox.shown(), sandbox.told("other", "bob")), (0, "+-+-".to_owned()));
}

#[test]
fn it_is_told_what_holds_where_from_and_what_a_restart_would_undo() {
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
                format!("{file}:5: the new line takes the place of timing.dismiss_after there"),
                format!("{file}:6: channels.\"c\".check_interval has to be removed there"),
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
        ("/v1/timing", r#"{"check_interval": 5}"#, 400, "timing.check_interval = 5: it needs a unit"),
        ("/v1/timing", r#"{"chek_interval": "5s"}"#, 400, "did you mean timing.check_interval?"),
        ("/v1/timing", r#"{"dismiss": "idle", "dismiss": "idle"}"#, 400, "timing.dismiss stands there twice"),
        // Right by itself, and not with what the file says.
        ("/v1/timing", r#"{"dismiss_after": "3m"}"#, 400, "channels.\"c\".max_typing = \"2m\": at least dismiss_after"),
        (
            "/v1/timing/c",
            r#"{"max_typing": "10s"}"#,
            400,
            "channels.\"c\".max_typing = \"10s\": at least dismiss_after",
        ),
        ("/v1/timing", "", 400, "the body is empty; a JSON object such as"),
        ("/v1/timing", "[1]", 400, "the body is no object"),
        ("/v1/timing", &deep, 400, "the body is not JSON"),
        ("/v1/timing?to=c", "{}", 400, "a channel is named in the path"),
        ("/v1/timing/", "{}", 400, "the channel address is empty"),
        (&long, "{}", 400, "the channel address has 241 characters; 1 to 240 are right"),
        ("/v1/timing/%ff", "{}", 400, "the channel address is not UTF-8"),
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
    for (method, path) in [("POST", "/v1/timing"), ("DELETE", "/v1/timing"), ("GET", "/v1/timing/c")] {
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
fn a_sighup_brings_back_what_the_file_says_and_a_wrong_file_does_not() {
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
            assert!(answer.problem().contains("a bearer token is needed"), "{answer:?}");
        }
        let answer = daemon.address.call(method, path, &[("authorization", "Bearer s3cret")], change);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    }
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
