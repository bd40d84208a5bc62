//! The commands that ask a running daemon: its state, one conversation, its log level; what it can carry; the sample configuration.

use serde_json::Value;

use crate::bench::{Daemon, Sandbox, pair};
use crate::key;
use crate::process::{Process, Said, run, run_with, typingd, until, wait_for};

fn call(daemon: &Daemon, arguments: &[&str]) -> Said {
    run(&[arguments, &["--url", &daemon.address.url()]].concat())
}

#[test]
fn status_says_how_a_daemon_is_doing() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\ndelivery.state_dir = 'state'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let said = call(&daemon, &["status"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "state          ready\n",
        "token held",
        &daemon.address.url(),
        "1 icons on",
        "1 keystroke\n",
        "journal        ok\n",
    ] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    let json = call(&daemon, &["status", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap()["state"], "ready");
}

#[test]
fn status_says_why_a_daemon_is_not_ready() {
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start_with(&sandbox.address.url(), "upstream.auth.token_file = 'none'", "", |_| {});
    until("the reason", || {
        let said = call(&daemon, &["status"]);
        said.stdout.starts_with("state          not ready: ") && said.stdout.contains("none")
    });
    let gone = run(&["status", "--url", "http://127.0.0.1:1"]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("can't be reached"), "{gone:?}");
}

#[test]
fn explain_says_why_an_icon_is_as_it_is() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let unknown = call(&daemon, &["explain", "c", "ann"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("this conversation is not known"), "{unknown:?}");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    until("the answer's being seen", || call(&daemon, &["explain", "c", "ann"]).stdout.contains("delivered, 202"));
    let said = call(&daemon, &["explain", "c", "ann"]);
    for words in ["should be on; Salesforce has acknowledged: on", "off in 5", "keystroke, 0.", "first_keystroke"] {
        assert!(said.stdout.contains(words), "{words}: {said:?}");
    }
    let json: Value =
        serde_json::from_str(&call(&daemon, &["explain", "c", "ann", "--format", "json"]).stdout).unwrap();
    assert!(said.stdout.starts_with(&json["explanation"].as_str().unwrap()[..20]), "{said:?}");
    let empty = call(&daemon, &["explain", "", "ann"]);
    assert_eq!(empty.code, Some(2), "{empty:?}");
}

#[test]
fn log_shows_and_changes_the_level() {
    let (_sandbox, daemon) = pair("");
    assert_eq!(call(&daemon, &["log"]).stdout, "info\n");
    let said = call(&daemon, &["log", "debug"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "debug\n"), "{said:?}");
    assert!(said.stderr.contains("log.level keeps it"), "{said:?}");
    assert_eq!(call(&daemon, &["log"]).stdout, "debug\n");
    assert_eq!(call(&daemon, &["log", "loud"]).code, Some(2));
}

#[test]
fn config_prints_the_sample_that_the_package_installs() {
    let said = run(&["config"]);
    let installed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/typingd.toml")).unwrap();
    assert_eq!((said.code, &said.stdout), (Some(0), &installed));
    // It is a configuration that works, once its key is there.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(&file, &said.stdout).unwrap();
    std::fs::write(directory.path().join("typingd.pem"), key::private()).unwrap();
    let mut command = typingd(&["check", "--config", file.to_str().unwrap()]);
    command.env("CREDENTIALS_DIRECTORY", directory.path());
    let checked = run_with(command, "");
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn bench_lets_people_type_and_leaves_no_icon_on() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '100ms'\ntiming.check_interval = '200ms'");
    let said = call(&daemon, &["bench", "--typists", "20", "--for", "2s", "--format", "json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&report["typists"], &report["rejected"]), (&Value::from(20), &Value::from(0)), "{report}");
    assert!(report["signals"].as_u64() > Some(40) && report["indicators_delivered"].as_u64() > Some(0), "{report}");
    for measured in ["answer_ms", "sent_late_ms", "signal_to_wire_ms", "round_trip_ms"] {
        assert!(report[measured]["p99"].as_f64() > Some(0.0), "{measured}: {report}");
    }
    assert!(report["resident_bytes"].as_f64() > Some(1e6) && report["processors"].is_number(), "{report}");
    until("every icon off", || sandbox.shown() == 0);
    let text = call(&daemon, &["bench", "--typists", "1", "--for", "100ms"]);
    assert!(text.stdout.contains(" a second, 0 rejected"), "{text:?}");
}

#[test]
fn bench_fails_where_no_indicator_is_delivered() {
    // Nobody listens at port 1.
    let daemon = Daemon::start("http://127.0.0.1:1", "");
    let said = call(&daemon, &["bench", "--typists", "20", "--for", "2s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("the daemon delivered no indicator; `typingd status` tells why"), "{said:?}");
}

#[test]
fn bench_refuses_an_org_where_it_would_make_sessions() {
    let daemon = Daemon::start("https://mydomain.my.salesforce-scrt.invalid", "");
    let said = call(&daemon, &["bench", "--for", "100ms"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("would have a messaging session created"), "{said:?}");
    assert!(daemon.address.get("/v1/conversations").json()["total"] == 0);
}

#[test]
fn a_sandbox_prints_a_configuration_that_it_takes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key.pem"), key::private()).unwrap();
    std::fs::write(path("token"), "w0rd").unwrap();
    let token = path("token");
    for more in [&[][..], &["--strict-tokens"], &["--token-file", &token], &["--strict-tokens", "--token-file", &token]]
    {
        let mut sandbox = Process::start(typingd(&[&["sandbox", "--listen", "127.0.0.1:0"], more].concat()));
        let text = wait_for("the configuration", || {
            let output = sandbox.output();
            let (_, rest) = output.split_once("[upstream]")?;
            Some(format!("[upstream]{}", rest.split_once("\n\n")?.0))
        });
        std::fs::write(path("typingd.toml"), text).unwrap();
        let said = run(&["probe", "--config", &path("typingd.toml"), "--to", "c", "--from", "ann", "--hold", "10ms"]);
        assert_eq!(said.code, Some(0), "{more:?}: {said:?}");
        sandbox.stop();
    }
}
