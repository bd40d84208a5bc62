//! Where the daemon listens, and sockets that another process has opened for it.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use serde_json::json;
use tempfile::TempDir;
use typingd::base::clock;

use crate::bench::{Daemon, JSON, Sandbox, signal_of};
use crate::connector::{connect, read_until};
use crate::process::{Process, Said, run, typingd, until};
use crate::wire::Address;

/// Calls without a pause, each on a connection of its own, until told to stop; how many were answered.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Callers {
    fn start(address: &Address, headers: &'static [(&'static str, &'static str)]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..3).map(|caller| {
            let (address, stop, answered) = (address.clone(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let body = signal_of("c", &format!("u{caller}"), "keystroke").to_string();
                while !stop.load(Ordering::Relaxed) {
                    // Fails when it is refused or cut.
                    let answer = address.call("POST", "/v1/signals", headers, body.as_bytes());
                    assert_eq!(answer.status, 202, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { threads: threads.collect(), stop, answered }
    }

    /// Waits until some more calls have been answered.
    fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", || {
            assert!(!self.threads.iter().any(std::thread::JoinHandle::is_finished), "a call failed");
            self.answered.load(Ordering::Relaxed) > before + 20
        });
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn other_addresses_wait_for_the_next_start() {
    let sandbox = Sandbox::start(&[]);
    let port = free_port();
    let settings = format!("timing.dismiss_after = '1m'\ningest.listen = ['127.0.0.1:{port}']");
    let mut daemon = Daemon::start(&sandbox.address.url(), &settings);
    let callers = Callers::start(&daemon.address, &[JSON]);
    callers.go_on();
    let path = daemon.file("s").display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    daemon.edit(&format!("'127.0.0.1:{port}'"), &format!("'unix:{path}', '{taken}'"));
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("ingest.listen: [") && said.stdout.contains("next start"), "{said:?}");
    assert!(!fs::exists(&path).unwrap(), "nothing is bound");
    let listening = daemon.address.get("/v1/status").json()["listening"].clone();
    assert_eq!(listening, json!([format!("http://127.0.0.1:{port}")]));
    callers.go_on();
    callers.stop();
    // No second daemon listens beside it.
    let second = run(&["run", "--sandbox", "--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("perhaps a typingd"), "{second:?}");
    daemon.process.stop();
}

/// A reload must not open to other machines what the running process still listens on.
#[test]
fn addresses_in_force_keep_the_token_that_guards_them() {
    let sandbox = Sandbox::start(&[]);
    let port = free_port();
    let settings = format!(
        "ingest.listen = ['0.0.0.0:{port}']\ningest.token_file = 'callers'\nadmin.token_file = 'operators'\n\
         timing.dismiss_after = '1m'"
    );
    let auth = "upstream.auth.token_file = 'token'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, &settings, |directory| {
        fs::write(directory.path().join("callers"), "c4llers").unwrap();
        fs::write(directory.path().join("operators"), "0perators").unwrap();
    });
    let reload = || daemon.address.call("POST", "/v1/reload", &[("authorization", "Bearer 0perators")], b"");
    daemon.edit(&format!("'0.0.0.0:{port}'"), &format!("'127.0.0.1:{port}'"));
    daemon.edit("ingest.token_file = 'callers'\nadmin.token_file = 'operators'\n", "");
    for changes in [3, 0] {
        let answer = reload();
        assert_eq!(answer.status, 200, "{answer:?}");
        let report = answer.json();
        assert_eq!(report["changes"].as_array().unwrap().len(), changes, "{report}");
        for change in report["changes"].as_array().unwrap() {
            assert_eq!(change["takes_hold"], "next_start", "{report}");
        }
        let warnings = report["warnings"].to_string();
        let waiting = "hold until the next start: admin.token_file, ingest.listen, ingest.token_file";
        assert!(warnings.contains(waiting), "it is said as long as it is so: {report}");
        for path in ["/v1/status", "/v1/timing"] {
            assert_eq!(daemon.address.get(path).status, 401, "{path}");
        }
    }
    assert!(!daemon.process.log().contains("WARN"), "what waits is logged once, with the change");
    // Nor does a drop-in open there, which has no token of its own.
    daemon.edit("timing.dismiss_after = '1m'", "timing.dismiss_after = '1m'\ndrop_in.enabled = true");
    let answer = reload();
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.problem().contains("until the next start typingd listens at"), "{answer:?}");
    // What goes back waits for nothing.
    daemon.edit("\ndrop_in.enabled = true", "\ningest.token_file = 'callers'\nadmin.token_file = 'operators'");
    daemon.edit(&format!("'127.0.0.1:{port}'"), &format!("'0.0.0.0:{port}'"));
    let report = reload().json();
    assert!(report["changes"].as_array().unwrap().iter().all(|change| change["takes_hold"] == "now"), "{report}");
    assert_eq!(report["warnings"], json!([]));
    daemon.process.stop();
}

/// A daemon to which `socket` is passed as systemd would.
fn activated(socket: impl Into<OwnedFd>, sandbox: &Sandbox, settings: &str, arguments: &[&str]) -> (TempDir, Command) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    let text = format!(
        "upstream.base_url = '{}'\nupstream.org_id = '00DXX0000000001'\n\
         upstream.authorization_context = 'A'\nupstream.auth.token_file = 'token'\n{settings}",
        sandbox.address.url()
    );
    fs::write(&file, text).unwrap();
    for name in ["token", "callers"] {
        fs::write(directory.path().join(name), "key").unwrap();
    }
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=typingd.socket exec \"$@\"",
            "sh",
        ])
        .args([env!("CARGO_BIN_EXE_typingd"), "run", "--config", file.to_str().unwrap()])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::from(socket.into()));
    (directory, command)
}

#[test]
fn sockets_passed_by_systemd_are_used_and_left_in_place() {
    let sandbox = Sandbox::start(&[]);
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let address = Address::Unix(path.clone());
    // Somebody calls before there is a daemon: the socket holds him.
    let early = {
        let address = address.clone();
        std::thread::spawn(move || address.get("/healthz").status)
    };
    let (directory, command) =
        activated(socket.try_clone().unwrap(), &sandbox, "ingest.listen = ['127.0.0.1:1']\n[timing]", &[]);
    let mut process = Process::start(command);
    assert!(matches!(process.address(), Address::Unix(at) if at == path));
    assert_eq!(early.join().unwrap(), 200);
    let file = directory.path().join("typingd.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("127.0.0.1:1'", "127.0.0.1:2'") + "\ncheck_interval = '9s'").unwrap();
    process.tell("HUP");
    process.until_logged("configuration read again changes=1");
    let (to, from) = ("c", "ann");
    let body = signal_of(to, from, "keystroke").to_string();
    assert_eq!(address.call("POST", "/v1/signals", &[JSON], body.as_bytes()).status, 202);
    sandbox.until_told(to, from, "+-");
    process.stop();
    assert!(path.exists(), "it is systemd's to take away");
    // And the next daemon takes whoever came meanwhile.
    let between = std::thread::spawn(move || address.get("/healthz").status);
    let (_directory, command) = activated(socket, &sandbox, "", &[]);
    let mut next = Process::start(command);
    assert_eq!(between.join().unwrap(), 200);
    next.stop();
}

/// Signals of users of its own without a pause, on a connection that is used again until it is closed or on a new one for
/// each call. Fails on the first that is refused, cut, or answered with anything but 202.
fn call_on(address: std::net::SocketAddr, caller: usize, kept: bool, stop: &AtomicBool, answered: &AtomicUsize) {
    let body = signal_of("c", &format!("u{caller}"), ["keystroke", "message_sent"][caller % 2]).to_string();
    let close = if kept { "" } else { "connection: close\r\n" };
    let head = "POST /v1/signals HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n";
    let request = format!("{head}{close}content-length: {}\r\n\r\n{body}", body.len());
    let mut open = None;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = open.take().unwrap_or_else(|| connect(&Address::Tcp(address)));
        stream.write_all(request.as_bytes()).unwrap_or_else(|error| panic!("{caller} is cut: {error}"));
        let head = read_until(&mut stream, b"\r\n\r\n").unwrap_or_else(|error| panic!("{caller} is cut: {error}"));
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 202 "), "{caller}: {head}");
        read_until(&mut stream, b"}").unwrap_or_else(|error| panic!("{caller} is cut: {error}"));
        answered.fetch_add(1, Ordering::Relaxed);
        if kept && !head.contains("connection: close") {
            open = Some(stream);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_restart_behind_a_passed_socket_loses_no_call() {
    // Slow enough for the icons to take their time at the end.
    let sandbox = Sandbox::start(&["--latency", "300ms"]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (_first, command) = activated(socket.try_clone().unwrap(), &sandbox, "timing.dismiss_after = '1m'", &[]);
    let mut process = Process::start(command);
    process.address();
    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || call_on(address, caller, caller < 40, &stop, &answered))
        })
        .collect();
    let go_on = || {
        let before = answered.load(Ordering::Relaxed);
        until("more answers", || {
            assert!(!callers.iter().any(std::thread::JoinHandle::is_finished), "a call failed");
            answered.load(Ordering::Relaxed) > before + 200
        });
    };
    go_on();
    for _ in 0..3 {
        process.tell("TERM");
        let status = process.end();
        assert_eq!(status.code(), Some(0), "{}", process.log());
        assert!(process.log().contains("every icon is off"), "{}", process.log());
        let (_directory, command) =
            activated(socket.try_clone().unwrap(), &sandbox, "timing.dismiss_after = '1m'", &[]);
        let mut next = Process::start(command);
        next.address();
        go_on();
        process = next;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    process.stop();
    assert_eq!(sandbox.shown(), 0);
}

#[test]
fn passed_sockets_are_held_to_the_same_rules() {
    let sandbox = Sandbox::start(&[]);
    let all = || TcpListener::bind("0.0.0.0:0").unwrap();
    let (_directory, command) = activated(all(), &sandbox, "", &[]);
    let said = ended(command);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("sockets passed by systemd: ingest.listen: http://0.0.0.0:"), "{said:?}");
    let (_directory, command) = activated(all(), &sandbox, "ingest.token_file = 'callers'", &[]);
    let mut process = Process::start(command);
    let Address::Tcp(at) = process.address() else { panic!() };
    let here = Address::Tcp(([127, 0, 0, 1], at.port()).into());
    assert_eq!(here.call("POST", "/v1/signals", &[JSON], b"[]").status, 401);
    process.stop();
    // A flag has the last word.
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = passed.local_addr().unwrap();
    let (_directory, command) = activated(passed, &sandbox, "", &["--listen", "127.0.0.1:0"]);
    let mut process = Process::start(command);
    let Address::Tcp(elsewhere) = process.address() else { panic!() };
    assert_ne!(elsewhere, at);
    assert!(Address::Tcp(at).connect().is_err(), "it is closed");
    process.stop();
    // No listening stream socket. A start lasts a while all the same, for it is tried again with the next datagram.
    let watch = clock::stopwatch();
    let (_directory, command) = activated(UdpSocket::bind("127.0.0.1:0").unwrap(), &sandbox, "", &[]);
    let said = ended(command);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("the passed socket 3 (typingd.socket) is not a stream socket"), "{said:?}");
    assert!(watch.elapsed() >= HELD_MIN, "{:?}", watch.elapsed());
}

/// A daemon that can't start for this `reason` answers the callers of the socket that it was passed, and ends with `code`.
fn is_held_for_a_while(sandbox: &Sandbox, settings: &str, arguments: &[&str], code: i32, reason: &str) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(socket.local_addr().unwrap());
    // One calls before there is a process.
    let early = std::thread::spawn({
        let address = address.clone();
        move || address.get("/healthz")
    });
    let (_directory, command) = activated(socket, sandbox, settings, arguments);
    let watch = clock::stopwatch();
    let mut process = Process::start(command);
    // The reason is in the log before anybody is told to look there.
    process.until_logged(reason);
    for answer in [early.join().unwrap(), address.call("POST", "/v1/signals", &[JSON], b"{}")] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("3")), "{answer:?}");
        let said = answer.json()["detail"].to_string();
        assert!(said.contains("typingd is not configured, see its log"), "{said}");
    }
    assert_eq!(process.end().code(), Some(code), "{}", process.log());
    assert!(watch.elapsed() >= HELD_MIN, "{:?}", watch.elapsed());
    assert_eq!(process.log().matches(reason).count(), 1, "{}", process.log());
}

/// How long a daemon that is not configured holds the sockets that it was passed, at least.
const HELD_MIN: Duration = Duration::from_millis(2_900);

#[test]
fn callers_of_a_wrong_configuration_are_told_so_for_a_while() {
    let sandbox = &Sandbox::start(&[]);
    let cases = [
        ("timing.check_interval = 'often'", &[][..], 78, "timing.check_interval"),
        ("ingest.token_file = 'gone'", &[], 78, "ingest.token_file"),
        ("upstream.ca_file = 'token'", &[], 78, "ca_file"),
        ("", &["--verbose"], 2, "unexpected argument"),
    ];
    std::thread::scope(|scope| {
        for (settings, arguments, code, reason) in cases {
            scope.spawn(move || is_held_for_a_while(sandbox, settings, arguments, code, reason));
        }
    });
    // An operator who stops it does not wait.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_directory, command) = activated(socket, sandbox, "timing.check_interval = 'often'", &[]);
    let watch = clock::stopwatch();
    let mut process = Process::start(command);
    process.until_logged("timing.check_interval");
    until("it is stopped", || {
        process.tell("TERM");
        process.ended().is_some()
    });
    assert!(watch.elapsed() < HELD_MIN, "{:?}", watch.elapsed());
}

#[test]
fn many_reloads_under_load_lose_no_signal_and_leave_no_icon_on() {
    let sandbox = Sandbox::start(&[]);
    let mut daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '150ms'");
    let callers = Callers::start(&daemon.address, &[JSON]);
    for round in 0..24 {
        match round % 3 {
            0 => daemon.edit("'150ms'", "'160ms'\ningest.max_body = '2KiB'\ndrop_in.enabled = true"),
            1 => daemon.edit("'160ms'\ningest.max_body = '2KiB'\ndrop_in.enabled = true", "'150ms'"),
            _ => daemon.edit("dismiss_after", "chek_interval = '1s' # "),
        }
        let said = daemon.tell_by("reload", &[]);
        assert_eq!(said.code, Some(if round % 3 == 2 { 78 } else { 0 }), "{said:?}");
        if round % 3 == 2 {
            daemon.edit("chek_interval = '1s' # ", "dismiss_after");
        }
        callers.go_on();
    }
    callers.stop();
    until("every icon goes off", || sandbox.shown() == 0);
    assert_eq!(daemon.post("/v1/signals", &json!([])).status, 202);
    daemon.process.stop();
}

#[test]
fn a_living_socket_is_not_taken_away_and_a_dead_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listen = format!("unix:{}", path.display());
    let inode = || fs::symlink_metadata(&path).ok().map(|meta| meta.ino());
    let refused = |what: &str| {
        let before = inode();
        let said = run(&["run", "--sandbox", "--listen", &listen]);
        assert_eq!(said.code, Some(1), "{what}: {said:?}");
        assert!(said.stderr.contains("can't listen on unix:"), "{what}: {said:?}");
        assert!(before.is_some() && inode() == before, "{what}: its file has been taken away");
    };
    // One that listens, one whose queue is full, and one of another kind.
    let living = UnixListener::bind(&path).unwrap();
    refused("listening");
    rustix::net::listen(&living, 0).unwrap();
    let _waiting: Vec<_> = (0..8)
        .map(|_| {
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            rustix::io::ioctl_fionbio(&socket, true).unwrap();
            let _ = rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap());
            socket
        })
        .collect();
    refused("full");
    fs::remove_file(&path).unwrap();
    let _datagrams = UnixDatagram::bind(&path).unwrap();
    refused("datagrams");
    fs::remove_file(&path).unwrap();
    // One that nobody listens on any more.
    drop(UnixListener::bind(&path).unwrap());
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", &listen]));
    let address = process.address();
    assert_eq!(address.get("/healthz").status, 200);
    // What a successor has bound in its place is not taken away with it.
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    let successor = inode();
    process.stop();
    assert_eq!(inode(), successor);
}

#[test]
fn a_thousand_may_wait_to_be_accepted() {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if most.trim().parse::<u32>().unwrap() < 1_024 {
        eprintln!("left out: net.core.somaxconn is {most}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let unix = format!("unix:{}", path.display());
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0", "--listen", &unix]));
    let address = process.address();
    process.until_logged(&format!("listening address={unix}"));
    process.tell("STOP");
    for address in [address, Address::Unix(path)] {
        let connected = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connected);
        std::thread::spawn(move || {
            let mut all = Vec::new();
            while let Ok(wire) = address.connect() {
                all.push(wire);
                count.store(all.len(), Ordering::Relaxed);
                if all.len() == 900 {
                    break;
                }
            }
            std::thread::park();
        });
        until("nine hundred connections", || connected.load(Ordering::Relaxed) == 900);
    }
    process.tell("CONT");
    process.stop();
}

/// Runs a command to its end, whose standard input is what it was given already.
fn ended(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
