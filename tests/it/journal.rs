//! The logs: the daemon's own transitions, and nothing that somebody outside could fill them with or read in them.

use serde_json::{Value, json};

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, signal_of};
use crate::process::{Process, typingd, until};

/// Names nobody may find in a log.
const SECRETS: [&str; 4] = ["ann-s3cret", "t0ken-of-the-bench", "c4llers-token", "s3cret words"];

/// A daemon that asks for a token, and the rubbish and traffic that it then gets.
fn besieged(level: &str) -> (Sandbox, Daemon, usize) {
    let sandbox = Sandbox::start(&["--refuse-from", "nobody"]);
    let settings = format!(
        "log.level = '{level}'\ningest.token_file = 'callers'\ningest.max_conversations = 50\n\
         timing.dismiss_after = '50ms'\ntiming.check_interval = '50ms'\nupstream.request_timeout = '200ms'"
    );
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers-token").unwrap();
    let auth = "upstream.auth.token_file = 'token'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, &settings, prepare);
    daemon.process.until_logged("ready");
    let before = daemon.process.log().lines().count();

    let token = ("authorization", "Bearer c4llers-token");
    let post =
        |kind: (&str, &str), body: &[u8]| daemon.address.call("POST", "/v1/signals", &[token, kind], body).status;
    let mut statuses = Vec::new();
    for round in 0..5 {
        let crowd: Vec<_> = (0..100).map(|i| signal_of("c", &format!("ann-s3cret-{round}-{i}"), "keystroke")).collect();
        let rubbish = b"{\"to\": \"c\", \"text\": \"s3cret words\"}\n\xff\xfe\n[]\n{\n";
        statuses.extend([
            post(JSON, json!(crowd).to_string().as_bytes()),
            post(NDJSON, rubbish),
            post(JSON, &rubbish[..20]),
            post(("content-type", "text/s3cret words"), b""),
            daemon
                .address
                .call("POST", "/v1/signals", &[("authorization", "Bearer t0ken-of-the-bench"), JSON], b"")
                .status,
            daemon.address.call("DELETE", "/v1/ann-s3cret", &[], b"").status,
            daemon.address.get("/healthz").status,
        ]);
        for garbage in
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"ann-s3cret\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
        {
            let mut wire = daemon.address.connect().unwrap();
            let _ = wire.write(garbage);
        }
        drop(daemon.address.connect());
        // Some requests fail on the way to the upstream; that it fails for good would be news, so it does not.
        sandbox.set_faults(&json!({"faults": ["503:0.1", "close-after:0.1"]}));
    }
    sandbox.set_faults(&json!({}));
    assert!(statuses.contains(&202) && statuses.contains(&400) && statuses.contains(&401), "{statuses:?}");
    until("peace", || sandbox.shown() == 0 && !sandbox.requests().is_empty());
    (sandbox, daemon, before)
}

#[test]
fn nobody_outside_can_make_it_write_at_info() {
    let (_sandbox, mut daemon, before) = besieged("info");
    let log = daemon.process.log();
    assert_eq!(log.lines().count(), before, "{log}");
    daemon.process.stop();
    let log = daemon.process.log();
    let log: String = log.lines().skip(before).collect();
    assert!(log.contains("stopped") && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn no_log_at_any_level_tells_an_end_user_or_a_token() {
    let (_sandbox, mut daemon, before) = besieged("trace");
    daemon.process.stop();
    let log = daemon.process.log();
    assert!(log.lines().count() > before + 10, "trace tells of requests:\n{log}");
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn on_request_every_line_is_json() {
    let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
    command.envs([("TYPINGD_LOG__FORMAT", "json"), ("TYPINGD_LOG__LEVEL", "trace")]);
    let mut process = Process::start(command);
    process.until_logged("\"ready\"");
    process.stop();
    let log = process.log();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string() && line["message"].is_string(), "{line}");
    }
}
