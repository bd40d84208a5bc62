//! Messages that pass through with no icon on: through typingd, through nginx as reverse proxy, through a
//! bare relay (hyper in, hyper out), and straight. Requests a
//! second, latency, and processor time of what stands between. On loopback, each a process of its own with one thread that
//! works. What stands between has one processor for itself, the clients and the upstream another: they cost less than it, so
//! that its own thread bounds what it carries. Where `taskset` is missing, the system places them.
//!
//! `cargo bench --bench drop_in`; `BENCH_QUICK=1` only shows that it works. Without nginx, nginx is left out.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use support::relay::{PASSES, start_relay, was_relay};
use support::{Subject, connect, cpu_nanos, quantile, quick, resident_bytes_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use typingd::base::clock::stopwatch;

/// Clients at a time, each with one request under way, and each an end user of its own: one end user's go one by one.
const CONNECTIONS: usize = 16;
/// Requests of each client before those that count.
const WARM_UP: usize = 20;
/// The processor of the clients and the upstream, and that of what stands between.
const CLIENTS_CPU: &str = "0";
const SUBJECT_CPU: &str = "1";
const TEXT: &str = "a message of the usual length, as somebody types it on a telephone";

fn main() {
    if was_relay() {
        return;
    }
    let (requests, rounds) = if quick() { (200, 1) } else { (24_000, 5) };
    place(std::process::id(), CLIENTS_CPU);
    let upstream = start_upstream();
    let directory = tempfile::tempdir().expect("a directory for settings");
    let typingd = start_typingd(upstream, directory.path());
    let nginx = start_nginx(upstream, directory.path());
    let relay = start_relay(upstream, PASSES);
    let mut subjects = vec![
        ("straight", upstream, None),
        ("typingd", typingd.address, Some(&typingd)),
        ("relay", relay.address, Some(&relay)),
    ];
    match &nginx {
        Some(nginx) => subjects.push(("nginx", nginx.address, Some(nginx))),
        None => println!("nginx is not installed, and left out"),
    }
    for (.., subject) in &subjects {
        subject.inspect(|subject| place(subject.process.id(), SUBJECT_CPU));
    }
    let mut measured = vec![Vec::new(); subjects.len()];
    for round in 0..=rounds {
        for ((_, address, subject), kept) in subjects.iter().zip(&mut measured) {
            let one_by_one = closed_loop(*address, 1, requests / 8);
            let pid = subject.map(|subject| subject.process.id().to_string());
            let cpu = || pid.as_deref().map_or(0, |pid| cpu_nanos(pid, ""));
            let before = cpu();
            let crowd = closed_loop(*address, CONNECTIONS, requests);
            let cpu = (cpu() - before) as f64 / 1e3 / (requests + CONNECTIONS * WARM_UP) as f64;
            // The first round warms up.
            if round > 0 {
                kept.push([one_by_one.p50, one_by_one.p99, crowd.rate, crowd.p99, cpu]);
            }
        }
    }
    for ((name, ..), rounds) in subjects.iter().zip(&measured) {
        let median = |field: usize| median(rounds.iter().map(|round| round[field]));
        println!(
            "{name:>8}: one at a time p50 {:.0} us, p99 {:.0} us; {CONNECTIONS} at a time {:.0} a second, p99 {:.0} us, {:.1} us CPU each",
            median(0),
            median(1),
            median(2),
            median(3),
            median(4),
        );
    }
    // Of each round, so that a noisy neighbour meets both.
    let between = |other: usize, field: usize, of: fn(f64, f64) -> f64| {
        let pairs = measured[1].iter().zip(&measured[other]);
        median(pairs.map(|(typingd, other)| of(typingd[field], other[field])))
    };
    let added = |field| between(0, field, |typingd, straight| typingd - straight);
    println!("typingd adds {:.0} us to the median and {:.0} us to the p99 of one at a time", added(0), added(1));
    let ratio = |other, field| between(other, field, |typingd, other| typingd / other);
    for (other, (name, ..)) in subjects.iter().enumerate().skip(2) {
        let (rate, cpu) = (ratio(other, 2), ratio(other, 4));
        println!("typingd carries {rate:.2} x the {name}'s requests a second at {cpu:.2} x its processor time");
    }
    file(&typingd, upstream);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Keeps all threads of a process on one processor, if there is another.
fn place(pid: u32, cpu: &str) {
    let alone = std::thread::available_parallelism().map_or(1, usize::from) < 2;
    if !alone {
        let _ = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", cpu, &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Prints what a file of 25 MB costs.
fn file(typingd: &Subject, upstream: SocketAddr) {
    let body = form(0, &"x".repeat(if quick() { 1 << 20 } else { 25_000_000 }));
    let request = request(&body);
    let once = |address| {
        let mut connection = connect(address);
        let watch = stopwatch();
        connection.write_all(&request).expect("the subject reads");
        read_answer(&mut connection);
        watch.elapsed().as_secs_f64() * 1e3
    };
    let pid = typingd.process.id().to_string();
    let before = resident_bytes_of(&pid);
    let times = |address| median((0..9).map(|_| once(address)));
    let (passed, straight) = (times(typingd.address), times(upstream));
    let grown = resident_bytes_of(&pid).saturating_sub(before) as f64 / f64::from(1 << 20);
    println!(
        "a form of {:.1} MB: {passed:.1} ms, straight {straight:.1} ms; typingd's memory has grown by {grown:.1} MiB",
        body.len() as f64 / 1e6
    );
}

struct Figures {
    /// Microseconds.
    p50: f64,
    p99: f64,
    /// Requests a second.
    rate: f64,
}

/// Each client sends its next request when the one before has been answered. One thread drives all.
fn closed_loop(address: SocketAddr, clients: usize, requests: usize) -> Figures {
    let each = requests / clients;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let watch = stopwatch();
    let mut latencies: Vec<f64> = runtime.block_on(async {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                tokio::spawn(async move {
                    let request = request(&form(client, ""));
                    let mut connection = tokio::net::TcpStream::connect(address).await.expect("it listens");
                    connection.set_nodelay(true).expect("a socket takes its options");
                    let mut latencies = Vec::with_capacity(WARM_UP + each);
                    for _ in 0..WARM_UP + each {
                        let watch = stopwatch();
                        connection.write_all(&request).await.expect("the subject reads");
                        read_whole(&mut connection).await;
                        latencies.push(watch.elapsed().as_secs_f64() * 1e6);
                    }
                    latencies.split_off(WARM_UP)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.await.expect("a client ends well"));
        }
        latencies
    });
    let rate = (latencies.len() + clients * WARM_UP) as f64 / watch.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    Figures { p50: quantile(&latencies, 0.5), p99: quantile(&latencies, 0.99), rate }
}

/// Reads an answer whose body ends in a brace.
async fn read_whole(connection: &mut tokio::net::TcpStream) {
    let mut answer = [0; 1_024];
    let mut filled = 0;
    while !answer[..filled].ends_with(b"}") {
        let read = connection.read(&mut answer[filled..]).await.expect("the subject answers");
        filled += read;
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..filled]));
    }
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer[..filled]));
}

/// A message of the end user of this number; with a `file`, behind an attachment.
fn form(user: usize, file: &str) -> String {
    const ID: &str = "8a3c9a30-8c5f-4e6a-9a8e-30a44ad2f0a1";
    let attachments = match file {
        "" => String::new(),
        file => {
            format!("--b\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"f\"\r\n\r\n{file}\r\n")
        }
    };
    let json = format!(
        r#"{{"to":"support","from":"somebody-{user}","interactions":[{{"timestamp":1688190840000,"interactionType":"EntryInteraction","payload":{{"id":"{ID}","entryType":"Message","abstractMessage":{{"messageType":"StaticContentMessage","id":"{ID}","staticContent":{{"formatType":"Text","text":"{TEXT}"}}}}}}}}]}}"#
    );
    format!(
        "{attachments}--b\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n{json}\r\n--b--\r\n"
    )
}

fn request(form: &str) -> Vec<u8> {
    let length = form.len();
    format!(
        "POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nAuthorization: Bearer {}\r\n\
         OrgId: 00DXX0000000001\r\nAuthorizationContext: Bench\r\nRequestId: f8f26b52-47e7-4b1a-8d1b-2a3d0a2d2c33\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n{form}",
        "t".repeat(900)
    )
    .into_bytes()
}

/// Reads an answer whose body ends in a brace.
fn read_answer(connection: &mut TcpStream) {
    let mut answer = Vec::with_capacity(1_024);
    let mut buffer = [0; 1_024];
    while !answer.ends_with(b"}") {
        let read = connection.read(&mut buffer).expect("the subject answers");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer));
}

fn start_typingd(upstream: SocketAddr, directory: &Path) -> Subject {
    let settings = format!("upstream.base_url = \"http://{upstream}\"\ndrop_in.enabled = true\n");
    support::start_typingd(&settings, directory)
}

/// nginx with the settings that its manual gives for this, in one process, as typingd is one.
fn start_nginx(upstream: SocketAddr, directory: &Path) -> Option<Subject> {
    Command::new("nginx").arg("-v").stderr(Stdio::null()).status().ok().filter(std::process::ExitStatus::success)?;
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let directory = directory.display();
    let settings = format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 32m; tcp_nodelay on;\n\
         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;\n\
         uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n\
         upstream service {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen {address}; location /api/v1/ {{ proxy_pass http://service; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_request_buffering off; proxy_buffering off; }} }} }}\n"
    );
    let file = format!("{directory}/nginx.conf");
    std::fs::write(&file, settings).expect("the directory can be written to");
    let process = Command::new("nginx").args(["-c", &file]).stderr(Stdio::null()).spawn().expect("nginx starts");
    let subject = Subject { process, address };
    let patience = stopwatch();
    while TcpStream::connect(address).is_err() {
        assert!(patience.elapsed() < Duration::from_secs(10), "nginx does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(subject)
}

/// An upstream that reads what it is sent, and acknowledges it: no more than it must, for it has its processor together with
/// the clients.
fn start_upstream() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("its address")).expect("somebody waits for the address");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(acknowledge(stream));
            }
        });
    });
    told.recv().expect("the upstream listens")
}

/// Answers each request on a connection once all of it has come. Its length is on its head, if it has a body.
async fn acknowledge(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    const ANSWER: &[u8] =
        b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"success\":true}";
    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
    loop {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let mut left = (end + length).saturating_sub(filled);
        filled = 0;
        while left > 0 {
            let room = left.min(buffer.len());
            match stream.read(&mut buffer[..room]).await? {
                0 => return Ok(()),
                read => left -= read,
            }
        }
        stream.write_all(ANSWER).await?;
    }
}
