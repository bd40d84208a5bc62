//! The daemon as a service: what a service manager is told, and the units that are shipped. Nothing is installed.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use typingd::base::clock;

use crate::bench::Sandbox;
use crate::key;
use crate::process::{PATIENCE, Process, run_with, typingd, until};

/// What the unit promises of its exposure.
const EXPOSURE_MAX: f64 = 1.1;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// The settings of a unit, in order, a repeated one each time.
fn unit(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(shipped(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn all<'a>(unit: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    unit.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
}

fn one<'a>(unit: &'a [(String, String)], key: &str) -> &'a str {
    let [value] = all(unit, key)[..] else { panic!("{key} is there once: {unit:?}") };
    value
}

/// The command line of the unit that calls typingd, run by the binary under test.
fn command(unit: &[(String, String)], key: &str) -> Command {
    let commands = all(unit, key).into_iter().filter_map(|command| command.strip_prefix("/usr/bin/typingd "));
    let [words] = commands.collect::<Vec<_>>()[..] else { panic!("{key} calls typingd once: {unit:?}") };
    typingd(&words.split_whitespace().collect::<Vec<_>>())
}

/// Hears what a service manager would.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// Hears on until there is such a line, and returns it. Lines before it have been heard then.
    fn until(&mut self, what: &str) -> String {
        let watch = clock::stopwatch();
        loop {
            if let Some(index) = self.heard.iter().position(|line| line.starts_with(what)) {
                return self.heard.drain(..=index).next_back().unwrap();
            }
            assert!(watch.elapsed() < PATIENCE, "never told: {what}");
            self.listen();
        }
    }

    fn listen(&mut self) {
        let mut message = [0; 4_096];
        if let Ok(length) = self.socket.recv(&mut message) {
            let message = std::str::from_utf8(&message[..length]).unwrap();
            self.heard.extend(message.lines().map(str::to_owned));
        }
    }
}

#[test]
fn the_manager_hears_of_readiness_life_reload_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let sandbox = Sandbox::start(&[]);
    let configuration = format!(
        "upstream.base_url = '{}'\nupstream.org_id = '00DXX0000000001'\nupstream.authorization_context = 'A_B'\n\
         upstream.auth.token_file = 'token'\ntiming.dismiss_after = '1m'\ningest.listen = ['127.0.0.1:0']\n\
         delivery.state_dir = 'state'\n",
        sandbox.address.url()
    );
    std::fs::write(file("typingd.toml"), configuration).unwrap();
    let mut manager = Manager::at(&file("notify"));
    let unit = unit("typingd.service");
    assert_eq!((one(&unit, "Type"), one(&unit, "NotifyAccess")), ("notify", "main"));
    let mut start = command(&unit, "ExecStart");
    start.env("TYPINGD_CONFIG", file("typingd.toml")).env("NOTIFY_SOCKET", file("notify"));
    start.env("WATCHDOG_USEC", "400000");
    let mut process = Process::start(start);
    let address = process.address();

    // It is up as soon as it listens, whatever Salesforce does; that it has no token is a matter of its status.
    manager.until("READY=1");
    manager.until("STATUS=Not ready");
    assert_eq!(address.get("/readyz").status, 503);
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    assert!(!manager.heard.iter().any(|line| line.starts_with("EXTEND")), "{:?}", manager.heard);
    std::fs::write(file("token"), "t0ken").unwrap();
    manager.until("STATUS=Ready: 0 icons on");
    let answer = address.call(
        "POST",
        "/v1/signals",
        &[("content-type", "application/json")],
        json!({"to": "c", "from": "ann", "signal": "keystroke"}).to_string().as_bytes(),
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    let status = manager.until("STATUS=Ready: 1 icon on, 1 conversation");
    assert!(status.ends_with(" delivered") && !status.contains("ann"), "{status}");
    // It says once that it is ready, and asks for no more time.
    manager.heard.clear();
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    assert!(!manager.heard.iter().any(|line| line.starts_with("EXTEND") || line == "READY=1"), "{:?}", manager.heard);

    let before = clock::monotonic_micros();
    let mut hears_of_a_reload = || {
        manager.until("RELOADING=1");
        let at = manager.until("MONOTONIC_USEC=");
        let at: u64 = at.trim_start_matches("MONOTONIC_USEC=").parse().unwrap();
        assert!((before..=clock::monotonic_micros()).contains(&at), "{at}");
        manager.until("READY=1");
        manager.until("WATCHDOG=1");
    };
    process.tell("HUP");
    hears_of_a_reload();
    let reload = || {
        let mut reload = command(&unit, "ExecReload");
        reload.env("TYPINGD_URL", address.url());
        run_with(reload, "")
    };
    let text = std::fs::read_to_string(file("typingd.toml")).unwrap();
    for (new, code) in [("timing.dismiss_after = '2m'", 0), ("timing.dismiss_after = 2", 78)] {
        std::fs::write(file("typingd.toml"), text.replace("timing.dismiss_after = '1m'", new)).unwrap();
        let said = reload();
        assert_eq!(said.code, Some(code), "{said:?}");
        hears_of_a_reload();
    }

    process.tell("TERM");
    manager.until("STOPPING=1");
    manager.until("EXTEND_TIMEOUT_USEC=20000000");
    assert_eq!(process.end().code(), Some(0), "{}", process.log());
    assert_eq!(sandbox.told("c", "ann"), "+-");
}

#[test]
fn who_has_no_manager_or_one_that_has_gone_serves_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    for (name, complaints) in [("", 0), ("vsock:1:2", 1), (directory.path().join("gone").to_str().unwrap(), 1)] {
        let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "100000");
        let mut process = Process::start(command);
        let address = process.address();
        assert_eq!(address.get("/healthz").status, 200);
        until("it has been missed", || process.log().matches("service manager").count() == complaints);
        process.stop();
        assert_eq!(process.log().matches("service manager").count(), complaints, "{}", process.log());
    }
}

#[test]
fn the_units_the_user_and_the_configuration_fit_together() {
    let (service, socket) = (unit("typingd.service"), unit("typingd.socket"));
    let sysusers = std::fs::read_to_string(shipped("typingd.sysusers")).unwrap();
    let configuration = std::fs::read_to_string(shipped("typingd.toml")).unwrap();
    let user = one(&service, "User");
    assert!(sysusers.lines().any(|line| line.starts_with(&format!("u {user} "))), "{sysusers}");
    for (unit, key) in [(&service, "Group"), (&socket, "SocketUser"), (&socket, "SocketGroup")] {
        assert_eq!(one(unit, key), user, "{key}");
    }
    // With the socket unit or without it, typingd is found at the same addresses.
    let listen: Vec<_> = all(&socket, "ListenStream")
        .iter()
        .map(|address| if address.starts_with('/') { format!("unix:{address}") } else { (*address).to_owned() })
        .collect();
    assert!(configuration.contains(&format!("listen = {listen:?}")), "{listen:?}");
    assert!(listen.contains(&one(&service, "Environment").replace("TYPINGD_URL=", "")), "{listen:?}");
    let state = format!("state_dir = \"/var/lib/{}\"", one(&service, "StateDirectory"));
    assert!(configuration.contains(&state), "{state}");
    let runtime = format!("/run/{}/", one(&service, "RuntimeDirectory"));
    assert!(listen.iter().any(|address| address.contains(&runtime)), "{runtime}");
    for credential in all(&service, "LoadCredential") {
        assert!(configuration.contains(&format!("\"${{CREDENTIALS_DIRECTORY}}/{credential}\"")), "{credential}");
    }
}

/// What `typingd check` says of this configuration with the credentials that the unit loads.
fn check(text: &str, credentials: &TempDir) -> crate::process::Said {
    std::fs::write(credentials.path().join("typingd.toml"), text).unwrap();
    let mut command = typingd(&["check"]);
    command.env("TYPINGD_CONFIG", credentials.path().join("typingd.toml"));
    command.env("CREDENTIALS_DIRECTORY", credentials.path());
    run_with(command, "")
}

#[test]
fn the_sample_configuration_and_all_it_offers_are_valid() {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("typingd.pem"), key::private()).unwrap();
    for name in ["ingest-token", "admin-token", "store-password"] {
        std::fs::write(credentials.path().join(name), format!("s3cret-{name}")).unwrap();
    }
    let text = std::fs::read_to_string(shipped("typingd.toml")).unwrap();
    let said = check(&text, &credentials);
    assert_eq!(said.code, Some(0), "{said:?}");
    // A comment has a space behind its sign, what is offered has none.
    let offered =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).is_some();
    let count = text.lines().filter(|line| offered(line)).count();
    assert!(count > 10, "{count}");
    let open: Vec<_> = text.lines().map(|line| if offered(line) { &line[1..] } else { line }).collect();
    let said = check(&open.join("\n"), &credentials);
    assert_eq!(said.code, Some(0), "{said:?}");
    // What is offered as a default is one.
    let plain = check(&text, &credentials).stdout;
    for line in text.lines().filter(|line| offered(line)) {
        let (key, value) = line[1..].split_once(" = ").unwrap_or((&line[1..], ""));
        let default = plain.lines().any(|line| line.starts_with(&format!("{key} = {value} ")));
        let mut own = vec!["[channels.", "check_interval = \"10s\"", "dismiss_after = \"5s\"", "token_file"];
        own.extend(["url = \"rediss://", "username = \"typingd\"", "password_file"]);
        assert!(default || own.iter().any(|own| line[1..].starts_with(own)), "{line}\n{plain}");
    }
}

/// A run of systemd-analyze; `None` where there is none. `.ci/run` sees to it that there is.
fn analyze(arguments: &[&str]) -> Option<(String, bool)> {
    let output = match Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout) + &text(&output.stderr), output.status.success()))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = tempfile::tempdir().unwrap();
    // The program is not where it will be; the page of the manual neither.
    for name in ["typingd.service", "typingd.socket"] {
        let text = std::fs::read_to_string(shipped(name)).unwrap();
        let here = text.replace("/usr/bin/typingd", env!("CARGO_BIN_EXE_typingd"));
        std::fs::write(directory.path().join(name), here).unwrap();
    }
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (service, socket) = (path("typingd.service"), path("typingd.socket"));
    let Some((said, _)) = analyze(&["verify", "--man=no", &service, &socket]) else {
        eprintln!("left out: there is no systemd-analyze");
        return;
    };
    assert_eq!(said, "");
    let (said, kept) = analyze(&["security", "--offline=true", "--threshold=11", &service]).unwrap();
    let level = said.lines().find_map(|line| line.split_once("exposure level for ")).expect("a level").1;
    let level: f64 = level.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kept && level <= EXPOSURE_MAX, "{said}");
    // Every directive that is counted against the unit has its reason there.
    let text = std::fs::read_to_string(shipped("typingd.service")).unwrap();
    for line in said.lines().filter_map(|line| line.strip_prefix("✗ ")) {
        let directive = line.split('=').next().unwrap();
        assert!(text.lines().any(|line| line.starts_with('#') && line.contains(&format!("{directive}="))), "{line}");
    }
}
