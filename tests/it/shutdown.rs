//! The end: icons off, bounds kept, signals told that nobody is in.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use typingd::base::clock;

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, pair, signal_of};
use crate::delivery::jwt;
use crate::far_side::FarSide;
use crate::key;
use crate::process::{Process, typingd, until, wait_for};
use crate::wire::Address;

/// A shutdown that would take ages if nothing bounded it takes less than this.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn two_hundred_icons_go_off_before_the_daemon_does() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    let all: Vec<_> = (0..200).map(|i| signal_of("c", &format!("u{i}"), "keystroke")).collect();
    assert_eq!(daemon.post("/v1/signals", &all.into()).json()["accepted"], 200);
    until("two hundred icons", || sandbox.shown() == 200);
    // Streams without an end, silent or in the middle of a line, hold nobody up.
    let _open: Vec<_> = ["", "{\"to\""]
        .map(|start| {
            let mut wire = daemon.address.connect().unwrap();
            wire.head("POST", "/v1/signals", &[NDJSON], "content-length: 1000");
            wire.write(start.as_bytes()).unwrap();
            wire
        })
        .into();
    let watch = clock::stopwatch();
    daemon.process.tell("INT");
    assert_eq!(daemon.process.end().code(), Some(0));
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert_eq!(sandbox.shown(), 0);
    assert!(daemon.process.log().contains("every icon is off"), "{}", daemon.process.log());
}

/// A daemon with one icon on, whose upstream then hangs.
fn hanging(settings: &str) -> (Sandbox, Daemon) {
    let (sandbox, daemon) = pair(&format!("timing.dismiss_after = '1m'\nupstream.request_timeout = '1m'\n{settings}"));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    (sandbox, daemon)
}

#[test]
fn the_grace_is_a_bound() {
    let (_sandbox, mut daemon) = hanging("delivery.shutdown_grace = '300ms'");
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!((Duration::from_millis(250)..SOON).contains(&watch.elapsed()), "{:?}", watch.elapsed());
    let log = daemon.process.log();
    assert!(log.contains("icons may be left on icons=1"), "{log}");
}

#[test]
fn all_are_answered_and_a_second_signal_ends_at_once() {
    let (sandbox, mut daemon) = hanging("delivery.shutdown_grace = '5m'");
    // Requests that are under way when the end comes: one, and a stream that has no end.
    let body = signal_of("c", "bob", "keystroke").to_string();
    let mut half = daemon.address.connect().unwrap();
    half.head("POST", "/v1/signals", &[JSON], &format!("content-length: {}", body.len()));
    half.write(&body.as_bytes()[..10]).unwrap();
    let mut stream = daemon.address.connect().unwrap();
    stream.head("POST", "/v1/signals", &[NDJSON], "transfer-encoding: chunked");
    stream.chunk(format!("{}\n", signal_of("c", "sue", "stopped")).as_bytes());
    // Connections that are kept, and one that has not said anything yet.
    let ask = b"GET /healthz HTTP/1.1\r\nhost: typingd\r\n\r\n";
    let [mut kept, mut idle] = [(); 2].map(|()| {
        let mut wire = daemon.address.connect().unwrap();
        wire.write(ask).unwrap();
        assert!(wire.some().starts_with(b"HTTP/1.1 200 OK"));
        wire
    });
    let mut fresh = daemon.address.connect().unwrap();
    // Answered on a connection accepted later: those have been accepted too.
    assert_eq!(daemon.address.get("/healthz").status, 200);
    daemon.process.tell("TERM");
    until("the Stopped", || sandbox.of("c", "ann").len() == 2);
    let watch = clock::stopwatch();
    half.write(&body.as_bytes()[10..]).unwrap();
    stream.chunk(format!("{}\n", signal_of("c", "ann", "message_sent")).as_bytes());
    kept.write(ask).unwrap();
    let answer = kept.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    let answer = half.answer();
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{answer:?}");
    assert!(idle.rest().is_empty() && fresh.rest().is_empty(), "nobody who is silent is told anything");
    let answer = stream.answer();
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(2)), "{answer:?}");
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    // So is the first answer on a connection that is new.
    for _ in 0..20 {
        let mut fresh = daemon.address.connect().unwrap();
        fresh.head("POST", "/v1/signals", &[JSON], &format!("content-length: {}", body.len()));
        fresh.write(body.as_bytes()).unwrap();
        let answer = fresh.answer();
        assert_eq!((answer.status, answer.header("connection")), (202, Some("close")), "{answer:?}");
    }
    // Whoever comes now is answered, too. A key is left to the next process.
    for signal in ["keystroke", "message_sent", "stopped", "ended", "opened"] {
        daemon.give("c", "eve", signal);
    }
    daemon.give("c", "ann", "ended");
    assert_eq!(daemon.address.get("/v1/timing").status, 200);
    assert_eq!(daemon.address.call("PUT", "/v1/timing", &[JSON], b"{\"check_interval\": \"9s\"}").status, 503);
    assert_eq!(daemon.address.call("POST", "/v1/shutdown", &[], b"").status, 202);
    assert_eq!(daemon.address.get("/v1/status").json()["state"], "stopping");
    // Readiness alone says that there is better company; it lives, and what it is sent it takes.
    let answer = daemon.address.get("/readyz");
    assert_eq!((answer.status, &answer.json()["detail"]), (503, &json!("typingd is stopping")), "{answer:?}");
    assert_eq!(daemon.address.get("/healthz").status, 200);
    assert_eq!(sandbox.of("c", "eve").len(), 0);
    let watch = clock::stopwatch();
    // The first word's echo, within a second of it, would not count.
    until("the word is taken for a second one", || {
        daemon.process.tell("TERM");
        daemon.process.log().contains("asked to stop twice")
    });
    daemon.process.end();
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert!(daemon.process.log().contains("asked to stop twice"), "{}", daemon.process.log());
}

#[test]
fn a_missing_token_does_not_hold_up_an_idle_shutdown() {
    let sandbox = Sandbox::start(&["--token-fault", "hang"]);
    let auth = jwt(&format!("{}/services/oauth2/token", sandbox.address.url()));
    let settings = "upstream.request_timeout = '1m'\ndelivery.shutdown_grace = '1m'\ntiming.dismiss_after = '1m'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), &auth, settings, |directory| {
        std::fs::write(directory.path().join("key.pem"), key::private()).unwrap();
    });
    // A Started that waits for the token.
    daemon.give("c", "ann", "keystroke");
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert!(daemon.process.log().contains("every icon is off"), "{}", daemon.process.log());
    assert_eq!(sandbox.told("c", "ann"), "");
}

/// What the end may take beyond the grace on a busy machine.
const MARGIN: Duration = Duration::from_secs(2);

#[test]
fn nothing_makes_the_end_longer_than_the_grace() {
    const GRACE: Duration = Duration::from_secs(2);
    let far_side = FarSide::start(|_, stream| {
        // Never answers.
        let _ = std::io::Read::read(stream, &mut [0]);
        false
    });
    let settings = "delivery.shutdown_grace = '2s'\ndrop_in.drain = '1m'\ningest.max_body = '8MiB'";
    let mut daemon = Daemon::start_with(&far_side.url(), "drop_in.enabled = true", settings, |_| {});
    // A slow body, a stream in the midst of a line, a reader of an answer without an end who does not read, a message
    // that is not answered, another that drips.
    let mut slow = daemon.address.connect().unwrap();
    slow.head("POST", "/v1/signals", &[JSON], "content-length: 1000");
    let mut stream = daemon.address.connect().unwrap();
    stream.head("POST", "/v1/signals", &[NDJSON], "content-length: 1000");
    let mut watching = daemon.address.connect().unwrap();
    watching.head("GET", "/v1/indicators", &[], "x-y: z");
    let mut message = daemon.address.connect().unwrap();
    message.head("GET", "/api/v1/x", &[], "x-y: z");
    let mut dripping = daemon.address.connect().unwrap();
    dripping.head("POST", "/api/v1/x", &[], "content-length: 1000");
    far_side.until_begun(1);
    let drip = std::thread::spawn(move || {
        while [&mut slow, &mut stream, &mut dripping].iter_mut().any(|wire| wire.write(b"{").is_ok()) {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!(watch.elapsed() < GRACE + MARGIN, "{:?}", watch.elapsed());
    until("the number", || daemon.process.log().contains("through the drop-in have been cut requests=2"));
    let answer = message.answer();
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.problem().contains("has stopped before"), "{answer:?}");
    drip.join().unwrap();
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_end() {
    // The daemon waits for the reader from its end on, or from its start: then it never gets to see the signal.
    for last_read in [" ready\n", "listening"] {
        ends_though_nobody_reads_its_log_after(last_read);
    }
}

fn ends_though_nobody_reads_its_log_after(last_read: &str) {
    let sandbox = Sandbox::start(&["--latency", "300ms"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    let socket = directory.path().join("s");
    let text = format!(
        "upstream.base_url = '{}'\ndrop_in.enabled = true\ndelivery.shutdown_grace = '1s'\n\
         ingest.listen = ['unix:{}']",
        sandbox.address.url(),
        socket.display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = typingd(&["run", "--config", file.to_str().unwrap()]);
    let (mut unread, log) = std::io::pipe().unwrap();
    let mut child = command.stderr(log.try_clone().unwrap()).spawn().unwrap();
    let address = Address::Unix(socket);
    until("the daemon", || address.try_call("GET", "/healthz", &[], b"").is_some());
    let mut start = String::new();
    until("all that it says at its start", || {
        let mut piece = [0; 1_024];
        let length = std::io::Read::read(&mut unread, &mut piece).unwrap();
        start.push_str(&String::from_utf8_lossy(&piece[..length]));
        start.contains(last_read)
    });
    // Nobody reads its log, which is full from now on.
    rustix::io::ioctl_fionbio(&log, true).unwrap();
    while std::io::Write::write(&mut &log, &[b'\n'; 1_024]).is_ok() {}
    rustix::io::ioctl_fionbio(&log, false).unwrap();
    let watch = clock::stopwatch();
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let ended = wait_for("its end", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert!(watch.elapsed() < Duration::from_secs(1) + MARGIN, "{:?}", watch.elapsed());
    drop(unread);
}

/// `unshare` with these flags, where the machine lets it.
#[expect(clippy::print_stderr, reason = "what is left out is told")]
fn unshare(flags: &[&str]) -> Option<Command> {
    let mut command = Command::new("unshare");
    command.args(flags);
    let allowed = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("left out: unshare {flags:?} is not allowed here");
        return None;
    }
    Some(command)
}

#[test]
fn a_resolver_that_is_silent_holds_up_no_end() {
    // Takes what is asked, and says nothing.
    let Ok(_silent) = UdpSocket::bind("127.0.0.77:53") else {
        eprintln!("left out: the port of name servers is not to be had");
        return;
    };
    let Some(mut command) = unshare(&["-rm"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let resolver = write("resolv.conf", "nameserver 127.0.0.77\noptions timeout:30 attempts:5\n");
    write("token", "t");
    let configuration = write(
        "typingd.toml",
        "upstream.base_url = 'https://salesforce.example'\nupstream.org_id = '00DXX0000000001'\n\
         upstream.authorization_context = 'A'\nupstream.auth.token_file = 'token'\n\
         delivery.shutdown_grace = '1s'\nupstream.request_timeout = '1m'\n",
    );
    command.args(["sh", "-c", "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"", "sh", &resolver]);
    command.args([env!("CARGO_BIN_EXE_typingd"), "run", "--config", &configuration, "--listen", "127.0.0.1:0"]);
    command.env_remove("TYPINGD_CONFIG");
    let mut process = Process::start(command);
    let address = process.address();
    let body = signal_of("c", "ann", "keystroke").to_string();
    assert_eq!(address.call("POST", "/v1/signals", &[JSON], body.as_bytes()).status, 202);
    until("the request that waits for a name", || address.get("/v1/status").json()["requests"]["in_flight"] == 1);
    let watch = clock::stopwatch();
    process.tell("TERM");
    assert_eq!(process.end().code(), Some(0));
    assert!(watch.elapsed() < Duration::from_secs(1) + MARGIN, "{:?}", watch.elapsed());
}

#[test]
fn signals_end_a_command_that_is_process_1() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let made = Command::new("mkfifo").arg(&trace).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let trace = trace.to_str().unwrap();
    for (arguments, signal, code) in [
        (&["wait", "--url", "http://127.0.0.1:9", "--for", "1m"][..], "TERM", 143),
        (&["simulate", "-"], "INT", 130),
        (&["tune", "-"], "TERM", 143),
        (&["replay", trace, "--url", "http://127.0.0.1:9"], "TERM", 143),
        (&["sandbox", "--listen", "127.0.0.1:0"], "TERM", 0),
        (&["run", "--sandbox", "--listen", "127.0.0.1:0"], "TERM", 0),
    ] {
        let Some(mut command) = unshare(&["-rpf", "--kill-child"]) else { return };
        command.arg(env!("CARGO_BIN_EXE_typingd")).args(arguments).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut outside = command.spawn().unwrap();
        // The signals that it is about to watch for must be watched for: until then it ignores them.
        let inside = wait_for("the first process", || {
            let id = outside.id();
            let child = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            let child = child.trim().to_owned();
            let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (status.contains("Name:\ttypingd") && caught & (1 << 14) != 0).then_some(child)
        });
        let sent = Command::new("kill").args([&format!("-{signal}"), &inside]).status().unwrap();
        assert!(sent.success(), "{arguments:?}");
        let ended = wait_for("its end", || outside.try_wait().unwrap());
        assert_eq!(ended.code(), Some(code), "{arguments:?}");
    }
}
