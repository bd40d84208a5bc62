//! From the `POST` of a first keystroke to the request's arrival at the upstream, open loop, on loopback: the real
//! binary, without and with `state_dir`, against a bare relay (hyper in, hyper out, one thread), each a process of its own;
//! and beside what Node does in a connector after Salesforce's sample, which is left out where there is no Node, or where npm
//! can't install the packages that it stands on.
//!
//! `cargo bench --bench delivery`; `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::relay::{ANSWERS, start_relay, was_relay};
use support::{Subject, connect, cpu_nanos, quantile, quick, request, resident_bytes_of, start, start_typingd_before};
use tokio::net::TcpListener;
use typingd::base::clock::{Stopwatch, stopwatch};

/// Connections to the subject, used in turn.
const CONNECTIONS: usize = 64;
/// Requests before those that count.
const WARM_UP: usize = 300;
/// Conversations of the memory figure: the sessions of a whole org.
const CONVERSATIONS: usize = 11_000;
/// At which what Node does is measured: the sample may fall behind for good.
const SAMPLE_RATE: usize = 1_000;
/// What the sample stands on, in the versions that it names.
const SAMPLE_PACKAGES: [&str; 8] = [
    "axios@^0.27.2",
    "body-parser@^1.20.2",
    "cors@^2.8.5",
    "express@^4.17.1",
    "form-data@^4.0.0",
    "multer@^1.4.5-lts.1",
    "node-cache@^5.1.2",
    "uuid@^9.0.0",
];
/// In front of each request's number, in the end user's id.
const MARK: &str = "user-";
/// With a journal, in the directory of the settings.
const STATE_DIR: &str = r#"delivery.state_dir = "state""#;

fn main() {
    if was_relay() {
        return;
    }
    let (rates, seconds, rounds): (&[usize], usize, usize) =
        if quick() { (&[100], 1, 1) } else { (&[100, 500, 1_000, 2_000], 3, 3) };
    let largest = rates.iter().max().copied().unwrap_or_default() * seconds + WARM_UP;
    let journal = Arc::new(Journal::new(largest));
    let upstream = start_upstream(journal.clone());
    let directory = tempfile::tempdir().expect("a directory for settings");
    for &rate in rates {
        let mut measured = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (subject, kept) in measured.iter_mut().enumerate() {
                let subject = match subject {
                    0 => start_typingd(upstream, directory.path(), ""),
                    1 => start_typingd(upstream, directory.path(), STATE_DIR),
                    _ => start_relay(upstream, ANSWERS),
                };
                kept.push(open_loop(&subject, &journal, signal, rate, rate * seconds));
            }
        }
        let [typingd, with_state_dir, relay] = measured.map(|rounds| Figures::median(&rounds));
        println!(
            "{rate:>5} a second: p50 {:.0} us, p99 {:.0} us, {:.0} us CPU; relay {:.0}, {:.0}, {:.0}: {:.2} x, {:.2} x, {:.2} x; \
             with state_dir {:.0} us CPU, {:.2} x of without",
            typingd.p50,
            typingd.p99,
            typingd.cpu,
            relay.p50,
            relay.p99,
            relay.cpu,
            typingd.p50 / relay.p50,
            typingd.p99 / relay.p99,
            typingd.cpu / relay.cpu,
            with_state_dir.cpu,
            with_state_dir.cpu / typingd.cpu,
        );
    }
    let rate = rates.iter().copied().filter(|rate| *rate <= SAMPLE_RATE).max().unwrap_or(SAMPLE_RATE);
    sample(upstream, directory.path(), &journal, rate, rate * seconds, rounds);
    memory(upstream, directory.path(), "");
    memory(upstream, directory.path(), STATE_DIR);
}

/// Prints what the same way costs in Node, and how much more that is.
fn sample(upstream: SocketAddr, directory: &Path, journal: &Journal, rate: usize, count: usize, rounds: usize) {
    if let Err(why) = install_sample(directory) {
        return println!("Salesforce's sample, in Node: left out: {why}");
    }
    let (mut node, mut typingd) = (Vec::new(), Vec::new());
    let (mut node_bytes, mut bytes) = (0, 0);
    for _ in 0..rounds {
        let subject = start_sample(upstream, directory).expect("Node starts, for npm did");
        node.push(open_loop(&subject, journal, form, rate, count));
        node_bytes = resident_bytes_of(&subject.process.id().to_string()).max(node_bytes);
        drop(subject);
        let subject = start_typingd(upstream, directory, "");
        typingd.push(open_loop(&subject, journal, signal, rate, count));
        bytes = resident_bytes_of(&subject.process.id().to_string()).max(bytes);
    }
    let (node, typingd) = (Figures::median(&node), Figures::median(&typingd));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("Salesforce's sample, in Node, {rate} a second, against typingd:");
    for (what, unit, node, typingd) in [
        ("CPU an event", "us", node.cpu, typingd.cpu),
        ("memory", "MiB", mib(node_bytes), mib(bytes)),
        ("p50", "us", node.p50, typingd.p50),
        ("p99", "us", node.p99, typingd.p99),
    ] {
        println!("{what:>16}: {node:.0} {unit}, typingd {typingd:.0} {unit}: {:.1} x", node / typingd);
    }
}

/// Microseconds.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p99: f64,
    /// Processor time of the subject for each signal.
    cpu: f64,
}

impl Figures {
    fn median(rounds: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            quantile(&values, 0.5)
        };
        Self { p50: of(|f| f.p50), p99: of(|f| f.p99), cpu: of(|f| f.cpu) }
    }
}

/// When each request was sent and arrived, in nanoseconds since `watch` was started; 0: not yet.
struct Journal {
    watch: Stopwatch,
    sent: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
}

impl Journal {
    fn new(requests: usize) -> Self {
        let empty = || (0..requests).map(|_| AtomicU64::new(0)).collect();
        Self { watch: stopwatch(), sent: empty(), arrived: empty() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.watch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn clear(&self) {
        for time in self.sent.iter().chain(&self.arrived) {
            time.store(0, Ordering::Relaxed);
        }
    }
}

/// A signal, as a connector reports it.
fn signal(user: &str) -> String {
    request(&format!(r#"{{"to":"support","from":"{user}","signal":"keystroke"}}"#))
}

/// The form that the sample's page sends.
fn form(user: &str) -> String {
    let mut body = String::new();
    for (name, value) in
        [("interactionType", "EntryInteraction"), ("entryType", "TypingStartedIndicator"), ("user", user)]
    {
        let _ = write!(body, "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body.push_str("--b--\r\n");
    let length = body.len();
    format!(
        "POST /sendmessage HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Sends `count` first keystrokes at their times, whether or not the ones before have been answered. `request` makes that of
/// a user.
fn open_loop(subject: &Subject, journal: &Journal, request: fn(&str) -> String, rate: usize, count: usize) -> Figures {
    journal.clear();
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect(subject.address)).collect();
    let mut answered = [true; CONNECTIONS];
    let (mut cpu, pid) = (0, subject.process.id().to_string());
    let start = journal.now();
    for n in 0..WARM_UP + count {
        if n == WARM_UP {
            cpu = cpu_nanos(&pid, "");
        }
        let (connection, answered) = (&mut connections[n % CONNECTIONS], &mut answered[n % CONNECTIONS]);
        if !std::mem::replace(answered, false) {
            read_answer(connection);
        }
        let due = start + (n as u64 * 1_000_000_000) / rate as u64;
        // One that late answers have held up counts from its time: its user has waited, too.
        let early = due.saturating_sub(journal.now());
        std::thread::sleep(Duration::from_nanos(early));
        let request = request(&format!("{MARK}{n:07}"));
        journal.sent[n].store(if early > 0 { journal.now() } else { due }, Ordering::Relaxed);
        connection.write_all(request.as_bytes()).expect("the subject reads");
    }
    let patience = stopwatch();
    let arrived = |n: usize| journal.arrived[n].load(Ordering::Relaxed) > 0;
    while !(WARM_UP..WARM_UP + count).all(arrived) && patience.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let cpu = (cpu_nanos(&pid, "") - cpu) as f64 / 1e3 / count as f64;
    let mut latencies: Vec<f64> = (WARM_UP..WARM_UP + count)
        .map(|n| {
            let arrived = journal.arrived[n].load(Ordering::Relaxed);
            assert!(arrived > 0, "request {n} at {rate} a second never arrived");
            (arrived - journal.sent[n].load(Ordering::Relaxed)) as f64 / 1e3
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    Figures { p50: quantile(&latencies, 0.5), p99: quantile(&latencies, 0.99), cpu }
}

/// Prints the daemon's memory with a whole org typing.
fn memory(upstream: SocketAddr, directory: &Path, more: &str) {
    let subject = start_typingd(upstream, directory, more);
    let pid = subject.process.id().to_string();
    let idle = resident_bytes_of(&pid);
    let mut connection = connect(subject.address);
    let conversations = if quick() { 100 } else { CONVERSATIONS };
    for chunk in (0..conversations).collect::<Vec<_>>().chunks(1_000) {
        let mut body = String::from("[");
        for n in chunk {
            let comma = if body.len() > 1 { "," } else { "" };
            let _ = write!(body, r#"{comma}{{"to":"support","from":"somebody-{n:027}","signal":"keystroke"}}"#);
        }
        connection.write_all(request(&format!("{body}]")).as_bytes()).expect("the daemon reads");
        read_answer(&mut connection);
    }
    std::thread::sleep(Duration::from_secs(if quick() { 1 } else { 3 }));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "memory of the daemon{}: {:.1} MiB idle, {:.1} MiB with {conversations} conversations typing",
        if more.is_empty() { "" } else { ", with state_dir" },
        mib(idle),
        mib(resident_bytes_of(&pid))
    );
}

/// The answers are small, and come in one piece.
fn read_answer(connection: &mut TcpStream) {
    let mut buffer = [0; 4_096];
    let read = connection.read(&mut buffer).expect("the subject answers");
    assert!(buffer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&buffer[..read]));
}

/// The daemon, with intervals so long that nothing but first Starteds is sent.
fn start_typingd(upstream: SocketAddr, directory: &Path, more: &str) -> Subject {
    let settings = format!(
        "upstream.max_requests_per_second = 100000\n\
         timing = {{ check_interval = '1h', dismiss_after = '1h', max_typing = '1h' }}\n{more}"
    );
    // Without what the one before it left behind, which it would have to put off first.
    let _ = std::fs::remove_dir_all(directory.join("state"));
    start_typingd_before(upstream, &settings, directory)
}

/// Installs what the sample stands on. Without retries: where npm can't be reached, that is soon known.
fn install_sample(directory: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--fetch-retries=0"])
        .args(["--fetch-timeout=20000", "--prefix"])
        .arg(directory)
        .args(SAMPLE_PACKAGES)
        .stdout(Stdio::null());
    match npm.status() {
        Err(error) => Err(format!("npm does not start: {error}")),
        Ok(status) if !status.success() => Err("npm can't install its packages".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// The sample connector's way.
fn start_sample(upstream: SocketAddr, directory: &Path) -> Option<Subject> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/sample.js");
    let mut node = Command::new("node");
    // Its log is thrown away, and it goes by no proxy of the environment.
    node.env("NODE_PATH", directory.join("node_modules"))
        .env("NO_PROXY", "*")
        .env("no_proxy", "*")
        .stderr(Stdio::null());
    start(node.arg(script).arg(upstream.to_string()).arg(directory.join("uploads")))
}

fn accepted(body: &'static str) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    response
}

/// An upstream that notes when each request arrives, and acknowledges it.
fn start_upstream(journal: Arc<Journal>) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("its address")).expect("somebody waits for the address");
            while let Ok((stream, _)) = listener.accept().await {
                let journal = journal.clone();
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let journal = journal.clone();
                    let now = journal.now();
                    async move {
                        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let text = String::from_utf8_lossy(&body);
                        let number = text.split(MARK).nth(1).and_then(|rest| rest.get(..7)?.parse::<usize>().ok());
                        if let Some(arrived) = number.and_then(|number| journal.arrived.get(number)) {
                            arrived.store(now, Ordering::Relaxed);
                        }
                        Ok::<_, Infallible>(accepted(r#"{"success":true}"#))
                    }
                });
                let _ = stream.set_nodelay(true);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    told.recv().expect("the upstream listens")
}
