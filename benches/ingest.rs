//! Taking signals in: processor time of the server for each signal, one a request and as a stream, against servers that
//! do the least: hyper that parses the same JSON, and a reader of lines that parses and stores.
//!
//! Each server is a thread with a runtime of its own, so that what it costs can be told from what its clients cost,
//! and driver and edge share one core. `cargo bench --bench ingest`, with ` -- request` or ` -- stream` for a part of it;
//! `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use divan::counter::ItemsCount;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use support::{Pair, Random, cpu_nanos, id, quick};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use typingd::api::signals::Ingest;
use typingd::base::clock::Clock;
use typingd::driver::inbox;
use typingd::driver::{self, Carrier, Observers, Permit};
use typingd::engine::Engine;
use typingd::engine::policy::Policy;
use typingd::http::{Address, Listener};
use typingd::model::{Dispatch, Outcome, WireResult};
use typingd::observe::events::EventLog;
use typingd::signals::json;

/// The sessions of a whole org.
const CONVERSATIONS: usize = 11_000;
/// Clients at a time, each with one request under way.
const CONNECTIONS: usize = 32;
/// What a client writes at a time into a stream.
const PIECE_BYTES: usize = 64 * 1_024;
const BODY_BYTES_MAX: usize = 1 << 20;
/// Names of threads; the system keeps 15 characters.
const TYPINGD: &str = "typingd-server";
const BARE: &str = "bare-server";

fn main() {
    let directory = tempfile::tempdir().expect("a directory for sockets");
    let lines = lines();
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| only.as_deref().is_none_or(|only| part.contains(only));
    for (unix, part) in [(false, "request_tcp"), (true, "request_unix")] {
        if is_wanted(part) {
            one_signal_a_request(unix, directory.path(), &lines);
        }
    }
    if is_wanted("stream") {
        stream(directory.path(), &lines);
    }
    let divan = divan::Divan::from_args();
    if quick() { divan.sample_count(1).sample_size(1).main() } else { divan.main() }
}

/// Prints the signals a second and core, one signal a request.
fn one_signal_a_request(unix: bool, directory: &Path, lines: &[String]) {
    let (name, path) = if unix { ("Unix socket", Some(directory)) } else { ("TCP", None) };
    let socket = |name: &str| path.map(|path| path.join(name));
    let typingd = start_typingd(socket("typingd.sock"));
    let bare = start_bare(socket("bare.sock"));
    let requests: Arc<Vec<Vec<u8>>> = Arc::new(lines.iter().map(|line| request(line.as_bytes())).collect());
    let count = if quick() { 1_000 } else { 200_000 };
    let each = |server: &Server| {
        let before = cpu_nanos("self", server.thread);
        ask(&server.address, &requests, count);
        (cpu_nanos("self", server.thread) - before) as f64 / count as f64
    };
    let pair = Pair::measure(if quick() { 1 } else { 5 }, || each(&typingd), || each(&bare));
    tell(&format!("one signal a request, {name}"), &pair);
}

/// Prints the signals a second and core, in an NDJSON stream over a Unix socket.
fn stream(directory: &Path, lines: &[String]) {
    let typingd = start_typingd(Some(directory.join("typingd-stream.sock")));
    let Address::Unix(path) = &typingd.address else { return };
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let repeats = if quick() { 2 } else { 200 };
    let count = repeats * lines.len();
    let pair = Pair::measure(
        if quick() { 1 } else { 5 },
        || {
            let before = cpu_nanos("self", typingd.thread);
            let head = format!(
                "POST /v1/signals HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
                text.len() * repeats
            );
            let answer = pour(path, &head, &text, repeats);
            assert!(answer.contains(&format!("\"accepted\":{count},")), "{answer}");
            (cpu_nanos("self", typingd.thread) - before) as f64 / count as f64
        },
        || {
            let path = directory.join("bare-stream.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
            let server = named(BARE, move || {
                let watch = cpu_nanos("self", BARE);
                let stored = store_lines(&listener.accept().expect("a client").0);
                (stored, cpu_nanos("self", BARE) - watch)
            });
            pour(&path, "", &text, repeats);
            let (stored, nanos) = server.join().expect("the bare server ends well");
            assert_eq!(stored, count);
            let _ = std::fs::remove_file(path);
            nanos as f64 / count as f64
        },
    );
    tell("NDJSON stream, Unix socket", &pair);
}

/// Signals a second and core, and how the daemon stands to the bare server; above 1 it is the faster one.
fn tell(what: &str, nanos: &Pair) {
    println!(
        "{what}: {:.0} thousand signals a second and core, bare {:.0}; the daemon takes {nanos} the time: {:.2} of its rate",
        1e6 / nanos.subject,
        1e6 / nanos.baseline,
        nanos.baseline / nanos.subject
    );
}

/// Keystrokes of everybody, in no order.
fn lines() -> Vec<String> {
    let mut random = Random(3);
    let count = if quick() { 500 } else { 2 * CONVERSATIONS };
    (0..count)
        .map(|_| {
            let n = random.below(CONVERSATIONS) as u64;
            format!(r#"{{"to":"{}","from":"{}","signal":"keystroke","at":1700000000123}}"#, id(1, n / 200), id(2, n))
        })
        .collect()
}

fn request(body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/signals HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A server on a thread of its own. It ends with the process.
struct Server {
    address: Address,
    thread: &'static str,
}

fn named<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The daemon's edge, inbox, driver and engine, with an upstream that acknowledges everything at once.
fn start_typingd(path: Option<PathBuf>) -> Server {
    let (tell, told) = mpsc::channel();
    named(TYPINGD, move || {
        runtime().block_on(async {
            let address = path.map_or(Address::Tcp(([127, 0, 0, 1], 0).into()), Address::Unix);
            let listener = Listener::bind(&address).await.expect("an address to listen on");
            tell.send(listener.address().clone()).expect("somebody waits for the address");
            let (inbox, requests) = inbox::inbox();
            let (_controls, commands) = driver::controls();
            let mut engine = Engine::new(Policy::default(), 1);
            engine.observe_decisions();
            engine.observe_dropped();
            let (history, _feed) = EventLog::new(1);
            let mut observers = Observers::default();
            observers.history = Some(history);
            let driver = driver::run(engine, Clock::start(), Nowhere, requests, commands, observers, None);
            tokio::spawn(driver);
            let (_stop, stopping) = watch::channel(false);
            Ingest::new(inbox, watch::Sender::new(BODY_BYTES_MAX).subscribe()).serve(listener, stopping).await;
        });
    });
    Server { address: told.recv().expect("the server listens"), thread: TYPINGD }
}

/// Acknowledges everything at once.
#[derive(Clone)]
struct Nowhere;

impl Carrier for Nowhere {
    async fn carry(&self, _: &Dispatch, _: &Permit) -> WireResult {
        WireResult {
            outcome: Outcome::Delivered,
            status: Some(202),
            code: None,
            detail: None,
            elapsed: std::time::Duration::ZERO,
        }
    }
}

/// Hyper with a handler that parses the signal and answers the same.
fn start_bare(path: Option<PathBuf>) -> Server {
    let (tell, told) = mpsc::channel();
    named(BARE, move || {
        runtime().block_on(async {
            match path {
                Some(path) => {
                    let listener = UnixListener::bind(&path).expect("a socket");
                    tell.send(Address::Unix(path)).expect("somebody waits for the address");
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve_bare(stream));
                    }
                }
                None => {
                    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                    let address = listener.local_addr().expect("its address");
                    tell.send(Address::Tcp(address)).expect("somebody waits for the address");
                    while let Ok((stream, _)) = listener.accept().await {
                        let _ = stream.set_nodelay(true);
                        tokio::spawn(serve_bare(stream));
                    }
                }
            }
        });
    });
    Server { address: told.recv().expect("the server listens"), thread: BARE }
}

async fn serve_bare(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let accepted = serde_json::from_slice::<Line<'_>>(&body).is_ok_and(|line| !line.is_blank());
        let answer = if accepted { r#"{"accepted":1,"rejected":[]}"# } else { "{}" };
        let mut response = hyper::Response::new(Full::new(Bytes::from_static(answer.as_bytes())));
        *response.status_mut() = hyper::StatusCode::ACCEPTED;
        let json = hyper::header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
        Ok::<_, Infallible>(response)
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[derive(Deserialize)]
struct Line<'a> {
    to: &'a str,
    from: &'a str,
    signal: &'a str,
    at: Option<u64>,
}

impl Line<'_> {
    fn is_blank(&self) -> bool {
        self.to.is_empty() || self.from.is_empty() || self.signal.is_empty() || self.at == Some(0)
    }
}

/// Reads lines until the end, parses each and stores its time in a table of conversations. How many there were.
fn store_lines(mut input: impl Read) -> usize {
    let hash = FixedState::with_seed(1);
    let mut table: HashTable<(Box<str>, Box<str>, u64)> = HashTable::new();
    let (mut buffer, mut filled, mut stored) = (vec![0; 4 * PIECE_BYTES], 0, 0);
    loop {
        let read = input.read(&mut buffer[filled..]).unwrap_or(0);
        if read == 0 {
            return stored;
        }
        filled += read;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..filled]) {
            let Ok(line) = serde_json::from_slice::<Line<'_>>(&buffer[start..start + length]) else { return stored };
            start += length + 1;
            stored += usize::from(!line.is_blank());
            let key = hash.hash_one((line.to, line.from));
            let same = |(to, from, _): &(Box<str>, Box<str>, u64)| **to == *line.to && **from == *line.from;
            match table.find_mut(key, same) {
                Some(entry) => entry.2 = line.at.unwrap_or_default(),
                None => {
                    let entry = (line.to.into(), line.from.into(), line.at.unwrap_or_default());
                    table.insert_unique(key, entry, |(to, from, _)| hash.hash_one((&**to, &**from)));
                }
            }
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// Sends `count` requests over many connections, each waiting for its answer.
fn ask(address: &Address, requests: &Arc<Vec<Vec<u8>>>, count: usize) {
    runtime().block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for n in 0..CONNECTIONS {
            let (requests, count) = (requests.clone(), count / CONNECTIONS + usize::from(n < count % CONNECTIONS));
            match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.expect("the server listens");
                    stream.set_nodelay(true).expect("a socket takes its options");
                    clients.spawn(converse(stream, requests, n, count));
                }
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.expect("the server listens");
                    clients.spawn(converse(stream, requests, n, count));
                }
            }
        }
        clients.join_all().await;
    });
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: Arc<Vec<Vec<u8>>>,
    first: usize,
    count: usize,
) {
    let mut buffer = [0; 4_096];
    // All answers are alike, so that the first one's length is that of all.
    let mut length = None;
    for n in 0..count {
        let request = &requests[(first + n * CONNECTIONS) % requests.len()];
        stream.write_all(request).await.expect("the server reads");
        let mut filled = 0;
        while filled == 0 || length.is_some_and(|length| filled < length) {
            let read = stream.read(&mut buffer[filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            filled += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&buffer[..filled]));
        length = Some(filled);
    }
}

/// Writes `head`, and `text` so many times; returns what is answered.
fn pour(path: &Path, head: &str, text: &str, repeats: usize) -> String {
    use std::io::Write;
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("the server listens");
    stream.write_all(head.as_bytes()).expect("the server reads");
    for _ in 0..repeats {
        for piece in text.as_bytes().chunks(PIECE_BYTES) {
            stream.write_all(piece).expect("the server reads");
        }
    }
    let mut answer = vec![0; 4_096];
    if head.is_empty() {
        return String::new();
    }
    let read = stream.read(&mut answer).expect("the server answers");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// One line, with everything that is asked of it.
#[divan::bench]
fn parse_a_signal(bencher: divan::Bencher<'_, '_>) {
    let lines = lines();
    bencher
        .counter(ItemsCount::new(lines.len()))
        .bench_local(|| lines.iter().filter(|line| json::parse(divan::black_box(line.as_bytes())).is_ok()).count());
}

/// The same line by a derived parser that asks nothing.
#[divan::bench]
fn parse_a_signal_bare(bencher: divan::Bencher<'_, '_>) {
    let lines = lines();
    bencher.counter(ItemsCount::new(lines.len())).bench_local(|| {
        lines.iter().filter(|line| serde_json::from_str::<Line<'_>>(divan::black_box(line)).is_ok()).count()
    });
}
