//! What the benchmarks share: quick mode, ratios of paired rounds, seeded choices, and what the system says of time and
//! memory.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod crowd;
pub(crate) mod relay;

use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is written at a time into a stream.
const PIECE_BYTES: usize = 64 * 1_024;

/// Whether only to see that the benchmark works: small sizes, few rounds, no figure worth anything.
pub(crate) fn quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some_and(|value| !value.is_empty())
}

/// A subject and its baseline, measured in turns, so that a noisy neighbour meets both.
pub(crate) struct Pair {
    /// The median of the subject, in its own unit.
    pub(crate) subject: f64,
    /// The median of the baseline, in the same unit.
    pub(crate) baseline: f64,
    /// The ratio of each round, sorted.
    ratios: Vec<f64>,
}

impl Pair {
    /// Measures both `rounds` times. The first round warms up, and is not counted unless it is the only one.
    pub(crate) fn measure(rounds: usize, mut subject: impl FnMut() -> f64, mut baseline: impl FnMut() -> f64) -> Self {
        let mut measured: Vec<(f64, f64)> = (0..=rounds).map(|_| (subject(), baseline())).collect();
        measured.remove(0);
        let sorted = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = measured.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (subjects, baselines) = (sorted(&|pair| pair.0), sorted(&|pair| pair.1));
        Self {
            subject: quantile(&subjects, 0.5),
            baseline: quantile(&baselines, 0.5),
            ratios: sorted(&|pair| pair.0 / pair.1),
        }
    }
}

impl fmt::Display for Pair {
    /// The median of the ratios, and the least and greatest one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, greatest) = (quantile(&self.ratios, 0.0), quantile(&self.ratios, 1.0));
        write!(f, "{:.2} x ({least:.2} to {greatest:.2})", quantile(&self.ratios, 0.5))
    }
}

/// The value below which `share` of `sorted` lies, by nearest rank; not a number if there is none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

/// SplitMix64: the same choices in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from 0 up to but without `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Evenly from 0 up to but without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// An id of 36 characters, the same for the same `kind` and `number`, with nothing in common with its neighbour's.
pub(crate) fn id(kind: u64, number: u64) -> String {
    let mut random = Random(number ^ (kind << 56));
    let (a, b) = (random.next(), random.next());
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

/// Bytes of this process that are in memory.
pub(crate) fn resident_bytes() -> u64 {
    resident_bytes_of("self")
}

/// Bytes of the process `pid` that are in memory.
pub(crate) fn resident_bytes_of(pid: &str) -> u64 {
    // In kilobytes, unlike statm, whose pages differ from machine to machine.
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Processor time that the threads of process `pid` have used, in nanoseconds; only those whose names start with
/// `prefix`. A thread that has ended is not counted.
pub(crate) fn cpu_nanos(pid: &str, prefix: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with(prefix)))
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A process under measurement; ends with its value.
pub(crate) struct Subject {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program that prints where it listens.
pub(crate) fn start(program: &mut Command) -> Option<Subject> {
    let mut process = program.stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    let output = process.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    Some(Subject { process, address: line.trim().parse().expect("an address") })
}

/// The daemon, ready, with a configuration file in `directory` and nothing of the environment. `settings` are TOML;
/// where it listens and how it logs is added in front of them.
pub(crate) fn start_typingd(settings: &str, directory: &Path) -> Subject {
    let file = directory.join("typingd.toml");
    let settings = format!("ingest.listen = [\"127.0.0.1:0\"]\nlog.format = \"json\"\n{settings}");
    std::fs::write(&file, settings).expect("the directory can be written to");
    let mut command = Command::new(env!("CARGO_BIN_EXE_typingd"));
    until_ready(command.env_clear().args(["run", "--config"]).arg(&file))
}

/// The daemon with its own sandbox, ready.
pub(crate) fn start_sandbox() -> Subject {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typingd"));
    let command = command.env_clear().env("TYPINGD_LOG__FORMAT", "json");
    until_ready(command.args(["run", "--sandbox", "--listen", "127.0.0.1:0"]))
}

/// Starts the daemon, whose log is JSON, and waits until it is ready.
fn until_ready(command: &mut Command) -> Subject {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the daemon starts");
    let log = BufReader::new(process.stderr.take().expect("its log is piped"));
    let (mut address, mut ready, mut said) = (None, false, String::new());
    for line in log.lines().map_while(Result::ok) {
        let _ = writeln!(said, "{line}");
        if line.contains(r#""listening""#) {
            let told = line.split("http://").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
            address = address.or(told);
        }
        ready = line.contains(r#""ready""#);
        if ready {
            break;
        }
    }
    let address = address.filter(|_| ready).unwrap_or_else(|| panic!("the daemon did not come up: {said}"));
    Subject { process, address }
}

/// The daemon, as by [`start_typingd`], with a token and an `upstream`.
pub(crate) fn start_typingd_before(upstream: SocketAddr, settings: &str, directory: &Path) -> Subject {
    std::fs::write(directory.join("token"), "a-token").expect("the directory can be written to");
    let upstream = format!(
        "upstream.base_url = \"http://{upstream}\"\nupstream.org_id = \"00DXX0000000001\"\n\
         upstream.authorization_context = \"Bench\"\nupstream.auth.token_file = \"token\"\n"
    );
    start_typingd(&format!("{upstream}{settings}"), directory)
}

/// An upstream that acknowledges everything; `on_request` sees what came.
pub(crate) fn start_upstream(on_request: impl Fn(&[u8]) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let on_request = on_request.clone();
            std::thread::spawn(move || {
                let (mut bytes, mut filled) = (vec![0; 64 * 1_024], 0);
                while let Ok(read @ 1..) = stream.read(&mut bytes[filled..]) {
                    filled += read;
                    // The last boundary ends a form, and one request waits for the answer to the one before.
                    let is_head = bytes.starts_with(b"HEAD ") && bytes[..filled].ends_with(b"\r\n\r\n");
                    if is_head || bytes[..filled].ends_with(b"--\r\n") {
                        on_request(&bytes[..filled]);
                        filled = 0;
                        let body = if is_head { "" } else { r#"{"success":true,"id":"x","workItemIds":[]}"# };
                        let head = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(head.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Pours the lines so many times into one stream, until it is answered.
pub(crate) fn pour(address: SocketAddr, lines: &str, repeats: usize) {
    let mut connection = connect(address);
    let head = "POST /v1/signals HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length:";
    let head = format!("{head} {}\r\n\r\n", lines.len() * repeats);
    connection.write_all(head.as_bytes()).expect("the daemon reads");
    for piece in (0..repeats).flat_map(|_| lines.as_bytes().chunks(PIECE_BYTES)) {
        connection.write_all(piece).expect("the daemon reads");
    }
    let mut answer = [0; 4_096];
    let read = connection.read(&mut answer).expect("the daemon answers");
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer[..read]));
}

/// A connection to the daemon or its baseline.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket takes its options");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes its options");
    stream
}

/// A request that brings one signal, `body`.
pub(crate) fn request(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/signals HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
