//! A daemon with its configuration, and the sandbox that it delivers to.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, typingd, until};
use crate::secrets;
use crate::wire::{Address, Answer};

/// What a sandbox takes without more ado.
const TOKEN: &str = "t0ken-of-the-bench";

/// The sandbox as a process of its own.
pub(crate) struct Sandbox {
    pub(crate) process: Process,
    pub(crate) address: Address,
}

/// A request that the sandbox has seen.
pub(crate) type Seen = Value;

impl Sandbox {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let process = Process::start(typingd(&[&["sandbox", "--listen", "127.0.0.1:0"], arguments].concat()));
        until("the sandbox's address", || process.output().contains("base_url"));
        let output = process.output();
        let address = Address::parse(output.split('"').nth(1).unwrap());
        Self { process, address }
    }

    /// What it was sent, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        match self.address.get("/requests").json()["requests"].take() {
            Value::Array(requests) => requests,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn of(&self, to: &str, from: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen["to"] == to && seen["from"] == from).collect()
    }

    /// What a conversation was told: `+` for a Started, `-` for a Stopped; only what took effect.
    pub(crate) fn told(&self, to: &str, from: &str) -> String {
        told(&self.of(to, from))
    }

    /// Waits until a conversation was told just this.
    pub(crate) fn until_told(&self, to: &str, from: &str, what: &str) {
        until(&format!("{what} for {to}/{from}"), || self.told(to, from) == what);
    }

    pub(crate) fn shown(&self) -> u64 {
        self.address.get("/icons").json()["shown"].as_u64().unwrap()
    }

    pub(crate) fn token_calls(&self) -> u64 {
        self.address.get("/requests").json()["token_calls"].as_u64().unwrap()
    }

    /// Puts faults in force; `{}` for none.
    pub(crate) fn set_faults(&self, faults: &Value) {
        let answer = self.address.call("PUT", "/faults", &[], faults.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The indicators among `requests` that took effect.
pub(crate) fn told(requests: &[Seen]) -> String {
    let applied = requests.iter().filter(|seen| seen["applied"] == true);
    applied.map(|seen| if seen["entry_type"] == "TypingStartedIndicator" { '+' } else { '-' }).collect()
}

/// A daemon in a directory of its own.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) address: Address,
    pub(crate) directory: TempDir,
}

impl Daemon {
    /// A daemon that delivers to `upstream`; `settings` are lines of TOML with dotted keys.
    pub(crate) fn start(upstream: &str, settings: &str) -> Self {
        Self::start_with(upstream, "upstream.auth.token_file = 'token'", settings, |_| {})
    }

    /// The same with credentials of its own; `prepare` makes the files that the configuration names.
    pub(crate) fn start_with(upstream: &str, auth: &str, settings: &str, prepare: impl FnOnce(&TempDir)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();
        secrets::note(TOKEN);
        prepare(&directory);
        let text = format!(
            "upstream.base_url = '{upstream}'\nupstream.org_id = '00DXX0000000001'\n\
             upstream.authorization_context = 'Partner1_ChannelDefinition1'\n{auth}\n{settings}\n"
        );
        let file = directory.path().join("typingd.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = typingd(&["run", "--config", file.to_str().unwrap()]);
        if !settings.contains("ingest.listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut process = Process::start(command);
        let address = process.address();
        Self { process, address, directory }
    }

    /// Kills it where it stands, and starts it anew over what it left behind.
    pub(crate) fn crash(&mut self) {
        self.process.kill();
        let file = self.file("typingd.toml");
        let mut process =
            Process::start(typingd(&["run", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]));
        self.address = process.address();
        self.process = process;
    }

    /// Changes the configuration file as `change` says, and says so to the daemon.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let file = self.file("typingd.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(text)).unwrap();
        self.process.tell("HUP");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Posts one signal or many.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.address.call("POST", path, &[JSON], body.to_string().as_bytes())
    }

    /// Gives one signal, which must be taken.
    pub(crate) fn give(&self, to: &str, from: &str, signal: &str) {
        let answer = self.post("/v1/signals", &signal_of(to, from, signal));
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{answer:?}");
    }
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

pub(crate) fn signal_of(to: &str, from: &str, signal: &str) -> Value {
    json!({"to": to, "from": from, "signal": signal})
}

/// A daemon and a sandbox without peculiarities.
pub(crate) fn pair(settings: &str) -> (Sandbox, Daemon) {
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start(&sandbox.address.url(), settings);
    (sandbox, daemon)
}
