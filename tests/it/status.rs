//! `GET /v1/status`: how things stand, in one answer.

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, pair};
use crate::process::{Process, typingd, until, wait_for};
use crate::wire::Headers;

fn status(daemon: &Daemon) -> Value {
    let answer = daemon.address.get("/v1/status");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.json()
}

#[test]
fn it_tells_what_happened_and_what_is_in_force() {
    let before = clock::wall_millis();
    let settings = "timing.dismiss_after = '1m'\nupstream.max_in_flight = 7\nupstream.max_requests_per_second = 50\n\
                    ingest.max_conversations = 9\ndelivery.state_dir = 'state'";
    let (sandbox, daemon) = pair(settings);
    until("a token", || status(&daemon)["state"] == "ready");
    daemon.give("c", "ann", "keystroke");
    daemon.give("c", "bob", "keystroke");
    daemon.give("c", "bob", "stopped");
    sandbox.until_told("c", "ann", "+");
    let status = wait_for("all of it settled", || {
        let status = status(&daemon);
        (status["conversations"]["unsettled"] == 1 && status["requests"]["in_flight"] == 0).then_some(status)
    });
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["pid"].as_u64() > Some(1) && status["features"].is_array());
    let started_at = status["started_at"].as_u64().unwrap();
    assert!((before..=clock::wall_millis()).contains(&started_at), "{started_at}");
    assert!(status["uptime_ms"].as_u64().unwrap() <= clock::wall_millis() - before);
    assert_eq!((&status["why"], &status["sandbox"]), (&Value::Null, &json!(false)));
    assert_eq!(status["upstream"], json!({"base_url": format!("{}/", sandbox.address.url()), "token": "held"}));
    assert_eq!(status["listening"], json!([daemon.address.url()]));
    assert_eq!(status["conversations"], json!({"in_memory": 1, "lingering": 0, "unsettled": 1, "icons": 1, "max": 9}));
    let requests = &status["requests"];
    assert_eq!((&requests["allowed_per_second"], &requests["max_per_second"]), (&json!(50), &json!(50)));
    assert_eq!(requests["max_in_flight"], 7);
    let seen = sandbox.requests().len();
    assert!(requests["in_last_second"].as_u64().unwrap() <= seen as u64);
    assert_eq!(status["deliveries"]["delivered"], seen);
    for none in ["not_sent", "unsure", "refused", "malformed", "retried", "muted", "stops_given_up"] {
        assert_eq!(status["deliveries"][none], 0, "{none}");
    }
    for measured in ["round_trip_ms", "signal_to_wire_ms"] {
        let [p50, p99] = ["p50", "p99"].map(|part| status["latency"][measured][part].as_f64().unwrap());
        assert!(p50 > 0.0 && p50 <= p99, "{measured}: {p50} {p99}");
    }
    assert_eq!(status["latency"]["timer_lateness_ms"], Value::Null, "no timer has decided anything");
    let signals = json!({"keystroke": 2, "message_sent": 0, "stopped": 1, "opened": 0, "ended": 0});
    assert_eq!(status["signals"], signals);
    assert_eq!(
        (&status["journal"], &status["recording"], &status["drop_in"]),
        (&json!("ok"), &json!(false), &json!(false))
    );
    let configuration = &status["configuration"];
    assert!(configuration["file"].as_str().unwrap().ends_with("typingd.toml"));
    assert_eq!((&configuration["read_at"], &configuration["last_reload"]), (&json!(started_at), &Value::Null));
}

#[test]
fn it_tells_what_came_of_the_last_reload() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'\ntiming.check_interval = '5s'");
    let start = status(&daemon);
    daemon.reconfigure(|text| text.replace("'1m'", "'2m'").replace("'5s'", "'6s'"));
    let first = wait_for("a reload", || {
        let status = status(&daemon);
        status["configuration"]["last_reload"].is_object().then_some(status)
    });
    let reload = &first["configuration"]["last_reload"];
    assert_eq!((&reload["ok"], &reload["changes"]), (&json!(true), &json!(2)));
    assert_eq!(reload["at"], first["configuration"]["read_at"]);
    assert!(reload["at"].as_u64() > start["started_at"].as_u64());
    daemon.reconfigure(|text| text.replace("'2m'", "'never'"));
    let second = wait_for("a failure", || {
        let status = status(&daemon);
        (status["configuration"]["last_reload"]["ok"] == false).then_some(status)
    });
    assert_eq!(second["configuration"]["read_at"], first["configuration"]["read_at"]);
    assert_eq!(second["configuration"]["last_reload"]["changes"], 0);
}

#[test]
fn what_keeps_it_from_delivering_is_told() {
    let sandbox = Sandbox::start(&[]);
    let token = "upstream.auth.token_file = 'none yet'";
    let settings = "delivery.state_dir = 'typingd.toml'";
    let daemon = Daemon::start_with(&sandbox.address.url(), token, settings, |_| {});
    let status = wait_for("a missing token", || {
        let status = status(&daemon);
        (status["upstream"]["token"] == "failing").then_some(status)
    });
    assert_eq!(status["state"], "not_ready");
    assert!(status["why"].as_str().unwrap().contains("none yet"), "{status}");
    assert_eq!(status["journal"], "degraded", "a file is no directory");
    assert_eq!(daemon.address.get("/readyz").problem(), status["why"].as_str().unwrap());
}

#[test]
fn the_rate_of_the_last_second_rises_and_falls() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let recent = || status(&daemon)["requests"]["in_last_second"].as_u64().unwrap();
    assert_eq!(recent(), 0);
    // Somebody is always typing anew, until it shows.
    let mut users = 0;
    until("requests", || {
        users += 1;
        daemon.give("c", &format!("u{users}"), "keystroke");
        recent() > 0
    });
    until("silence", || recent() == 0);
}

#[test]
fn callers_show_the_token_and_options_are_refused() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    assert_eq!(daemon.address.get("/v1/status").status, 401);
    let answer = daemon.address.call("GET", "/v1/status", token, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.body.contains("c4llers") && !answer.body.contains("t0ken"), "{answer:?}");
    let asked = daemon.address.call("GET", "/v1/status?verbose=1", token, b"");
    assert_eq!((asked.status, asked.problem().as_str()), (400, "unknown option `verbose`, expected none"));
}

#[test]
fn a_sandbox_and_cached_credentials_are_told() {
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]));
    let address = process.address();
    process.until_logged("ready");
    let status = address.get("/v1/status").json();
    assert_eq!(
        (&status["sandbox"], &status["journal"], &status["upstream"]["token"]),
        (&json!(true), &json!("none"), &json!("held"))
    );
    process.stop();
    let sandbox = Sandbox::start(&[]);
    let mut daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", "", |_| {});
    daemon.process.until_logged("ready");
    let status = self::status(&daemon);
    assert_eq!((&status["drop_in"], &status["upstream"]["token"]), (&json!(true), &json!("borrowed")));
    assert_eq!(status["state"], "ready");
}
