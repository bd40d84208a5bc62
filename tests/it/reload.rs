//! The configuration read again while the daemon runs: what changed holds, what is wrong changes nothing, and both are
//! told.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{Daemon, JSON, Sandbox, pair, signal_of};
use crate::process::{Said, run, until};

impl Daemon {
    /// The command of that name, about this daemon.
    pub(crate) fn tell_by(&self, command: &str, arguments: &[&str]) -> Said {
        run(&[&[command, "--url", &self.address.url()], arguments].concat())
    }

    pub(crate) fn edit(&self, old: &str, new: &str) {
        let file = self.file("typingd.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old}: {text}");
        fs::write(&file, text.replace(old, new)).unwrap();
    }

    fn reload(&self) -> Value {
        let answer = self.address.call("POST", "/v1/reload", &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

#[test]
fn what_has_changed_is_told_to_whoever_asks_and_holds() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\ningest.max_body = '2KiB'\n[log]\nlevel = 'info'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    assert_eq!(daemon.reload(), json!({"changes": [], "warnings": []}));
    assert!(!daemon.process.log().contains("configuration read again"), "a caller can't fill the log");

    daemon.edit("'1m'", "'100ms'");
    daemon.edit("'2KiB'", "'1KiB'");
    daemon.edit("[log]", "[delivery]\nstate_dir = 'state'\n[log]");
    let told = daemon.reload();
    assert_eq!(
        told["changes"],
        json!([
            {"key": "timing.dismiss_after", "old": "\"1m\"", "new": "\"100ms\"", "takes_hold": "now"},
            {"key": "ingest.max_body", "old": "\"2KiB\"", "new": "\"1KiB\"", "takes_hold": "now"},
            {"key": "delivery.state_dir", "old": null, "new": format!("\"{}\"", daemon.file("state").display()),
             "takes_hold": "next_start"},
        ])
    );
    assert!(told["warnings"][0].as_str().unwrap().contains("dismiss_after 100ms"), "{told}");
    sandbox.until_told("c", "ann", "+-");
    let long = format!("[{}]", " ".repeat(1_200));
    assert_eq!(daemon.address.call("POST", "/v1/signals", &[JSON], long.as_bytes()).status, 413);

    daemon.edit("'100ms'", "'90ms'");
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "timing.dismiss_after: \"100ms\" -> \"90ms\"\n"),
        "{said:?}"
    );
    assert!(said.stderr.starts_with("typingd: warning: timing: the icon will blink"), "{said:?}");
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.stdout, "nothing has changed: the configuration is what it was\n", "{said:?}");
    let log = daemon.process.log();
    for line in ["timing.dismiss_after: \"100ms\" -> \"90ms\"", "state_dir: (not set) -> ", "read again changes=1"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.lines().any(|line| line.contains("state_dir") && line.ends_with("(at the next start)")), "{log}");
}

#[test]
fn what_is_wrong_changes_nothing_and_is_told_to_whoever_asks() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let file = daemon.file("typingd.toml");
    daemon.edit("timing.dismiss_after = '1m'", "timing.dismiss_after = 1\ntiming.chek_interval = '9s'");
    let problems = [
        format!(
            "{}:5: timing.dismiss_after = 1: a time needs a unit (h, m, s, ms); expected \"1s\" or \"1ms\"",
            file.display()
        ),
        format!("{}:6: there is no key timing.chek_interval; did you mean timing.check_interval?", file.display()),
    ];
    for _ in 0..3 {
        let answer = daemon.address.call("POST", "/v1/reload", &[], b"");
        assert_eq!((answer.status, &answer.json()["problems"]), (422, &json!(problems)), "{answer:?}");
        assert!(answer.problem().contains("nothing has been changed"), "{answer:?}");
    }
    let said = daemon.tell_by("reload", &[]);
    let told: String = problems.iter().map(|problem| format!("typingd: {problem}\n")).collect();
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(78), "", told.as_str()));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let log = daemon.process.log();
    assert_eq!(log.matches("the configuration is wrong").count(), 1, "said once: {log}");
    let nobody = run(&["reload", "--url", "http://127.0.0.1:1"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("can't be reached"), "{nobody:?}");
}

#[test]
fn the_callers_token_changes_without_a_gap() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "timing.dismiss_after = '1m'", |directory| {
        fs::write(directory.path().join("callers"), "one\n").unwrap();
    });
    let status = |token: &str| {
        let bearer = format!("Bearer {token}");
        let body = signal_of("c", "ann", "keystroke").to_string();
        daemon.address.call("POST", "/v1/signals", &[JSON, ("authorization", &bearer)], body.as_bytes()).status
    };
    let command = |name: &str| {
        fs::write(daemon.file("key"), name).unwrap();
        daemon.tell_by("reload", &["--token-file", daemon.file("key").to_str().unwrap()])
    };
    assert_eq!((status("one"), status("two")), (202, 401));
    // The file's content alone is another.
    fs::write(daemon.file("callers"), "two").unwrap();
    assert_eq!(command("one").code, Some(0));
    assert_eq!((status("one"), status("two")), (401, 202));
    fs::remove_file(daemon.file("callers")).unwrap();
    daemon.edit("'1m'", "'100ms'");
    let said = command("two");
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("ingest.token_file") && said.stderr.contains("can't be read"), "{said:?}");
    assert_eq!((status("one"), status("two")), (401, 202), "what held still holds");
    daemon.process.tell("HUP");
    until("an operator hears of it each time", || daemon.process.log().matches("can't be read").count() == 2);
    // Another file.
    fs::write(daemon.file("other"), "three").unwrap();
    daemon.edit("'callers'", "'other'");
    assert_eq!(command("two").code, Some(0));
    assert_eq!((status("two"), status("three")), (401, 202));
    // None any more.
    daemon.edit("ingest.token_file = 'other'", "");
    assert_eq!(command("three").code, Some(0));
    assert_eq!(status("anything"), 202);
    until("the icon is off in the end", || sandbox.shown() == 0);
    assert!(sandbox.told("c", "ann").starts_with('+'));
}

#[test]
fn a_file_that_blocks_holds_up_no_reload_and_no_stop() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, "", |directory| {
        fs::write(directory.path().join("callers"), "one\n").unwrap();
        fs::write(directory.path().join("key"), "one\n").unwrap();
    });
    let key = daemon.file("key");
    let refused = |told: &str| {
        let said = daemon.tell_by("reload", &["--token-file", key.to_str().unwrap()]);
        assert_eq!(said.code, Some(78), "{said:?}");
        assert!(said.stderr.contains(told), "{said:?}");
    };
    let put = |name: &str, command: &str, arguments: &[&str]| {
        let _ = fs::remove_file(daemon.file(name));
        let made = Command::new(command).args(arguments).arg(daemon.file(name)).status();
        assert!(made.is_ok_and(|status| status.success()), "{command}");
    };
    put("callers", "mkfifo", &[]);
    refused("can't be read: not a regular file");
    put("callers", "ln", &["-s", "/dev/zero"]);
    refused("can't be read: not a regular file");
    put("typingd.toml", "mkfifo", &[]);
    refused("can't be read again: not a regular file");
    daemon.process.stop();
}
