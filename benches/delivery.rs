//! From the `POST` of a first keystroke to the request's arrival at the upstream, open loop, on loopback: the real
//! binary, without and with `state_dir`, against a bare relay (hyper in, hyper out, one thread), each a process of its own;
//! and beside what Node does in a connector after Salesforce's sample, which is left out where there is no Node.
//!
//! `cargo bench --bench delivery`; `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
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
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Subject, connect, cpu_nanos, quantile, quick, request, resident_bytes_of};
use tokio::net::TcpListener;
use typingd::base::clock::{Stopwatch, stopwatch};

/// Connections to the subject, used in turn.
const CONNECTIONS: usize = 64;
/// Requests before those that count.
const WARM_UP: usize = 300;
/// Conversations of the memory figure: the sessions of a whole org.
const CONVERSATIONS: usize = 11_000;
/// At which what Node does is measured: more of them would make it late for good.
const SAMPLE_RATE: usize = 1_000;
/// In front of each request's number, in the end user's id.
const MARK: &str = "user-";
/// With a journal, in the directory of the settings.
const STATE_DIR: &str = r#"delivery.state_dir = "state""#;
/// How the relay is asked for.
const RELAY: &str = "--relay-to=";

fn main() {
    if let Some(upstream) = std::env::args().find_map(|arg| arg.strip_prefix(RELAY).map(str::to_owned)) {
        return relay(&upstream);
    }
    let (rates, seconds, rounds): (&[usize], usize, usize) =
        if quick() { (&[100], 1, 1) } else { (&[100, 500, 1_000, 2_000], 4, 3) };
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
                    _ => start_relay(upstream),
                };
                kept.push(open_loop(&subject, &journal, rate, rate * seconds));
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
    sample(upstream, directory.path(), &journal, rate, rate * seconds);
    memory(upstream, directory.path(), "");
    memory(upstream, directory.path(), STATE_DIR);
}

/// Prints what the same way costs in Node, and how much more that is.
fn sample(upstream: SocketAddr, directory: &Path, journal: &Journal, rate: usize, count: usize) {
    let measure = |subject: Subject| {
        let figures = open_loop(&subject, journal, rate, count);
        (figures, resident_bytes_of(&subject.process.id().to_string()) as f64)
    };
    let Some(node) = start_sample(upstream) else { return println!("Node is not installed, and left out") };
    let (node, node_bytes) = measure(node);
    let (typingd, bytes) = measure(start_typingd(upstream, directory, ""));
    println!(
        "Node, as in the sample connector, {rate} a second: p50 {:.0} us, p99 {:.0} us, {:.0} us CPU, {:.0} MiB: \
         {:.1} x, {:.1} x, {:.1} x, {:.1} x of typingd",
        node.p50,
        node.p99,
        node.cpu,
        node_bytes / f64::from(1 << 20),
        node.p50 / typingd.p50,
        node.p99 / typingd.p99,
        node.cpu / typingd.cpu,
        node_bytes / bytes,
    );
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

/// Sends `count` first keystrokes at their times, whether or not the ones before have been answered.
fn open_loop(subject: &Subject, journal: &Journal, rate: usize, count: usize) -> Figures {
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
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(journal.now())));
        let request = request(&format!(r#"{{"to":"support","from":"{MARK}{n:07}","signal":"keystroke"}}"#));
        journal.sent[n].store(journal.now(), Ordering::Relaxed);
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
    let token = directory.join("token");
    std::fs::write(&token, "a-token").expect("the directory can be written to");
    let settings = format!(
        r#"
        upstream.base_url = "http://{upstream}"
        upstream.org_id = "00DXX0000000001"
        upstream.authorization_context = "Bench"
        upstream.max_requests_per_second = 100000
        upstream.auth.token_file = "token"
        timing.check_interval = "1h"
        timing.dismiss_after = "1h"
        timing.max_typing = "1h"
        {more}
        "#
    );
    support::start_typingd(&settings, directory)
}

/// This very program, as a relay.
fn start_relay(upstream: SocketAddr) -> Subject {
    let mut relay = Command::new(std::env::current_exe().expect("a path to this program"));
    start(relay.arg(format!("{RELAY}{upstream}"))).expect("the relay starts")
}

/// The sample connector's way, if Node is there.
fn start_sample(upstream: SocketAddr) -> Option<Subject> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/sample.js");
    start(Command::new("node").arg(script).arg(upstream.to_string()))
}

/// A program that prints where it listens.
fn start(program: &mut Command) -> Option<Subject> {
    let mut process = program.stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    let output = process.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    Some(Subject { process, address: line.trim().parse().expect("an address") })
}

/// The least that stands between: a request in, answered; a request with the same body out.
fn relay(upstream: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = legacy::Client::builder(TokioExecutor::new()).build(tcp);
        let target: hyper::Uri = format!("http://{upstream}/api/v1/interactions").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("its address"));
        while let Ok((stream, _)) = listener.accept().await {
            let (client, target) = (client.clone(), target.clone());
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let (client, target) = (client.clone(), target.clone());
                async move {
                    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    tokio::spawn(async move {
                        let request = hyper::Request::post(target).body(Full::new(body)).expect("a request");
                        if let Ok(response) = client.request(request).await {
                            let _ = response.into_body().collect().await;
                        }
                    });
                    Ok::<_, Infallible>(accepted(r#"{"accepted":1,"rejected":[]}"#))
                }
            });
            let _ = stream.set_nodelay(true);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
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
