//! Messages that pass through with no icon on: through typingd, through nginx as reverse proxy, and straight. Requests a
//! second, latency, and processor time of what stands between. On loopback, each a process of its own.
//!
//! `cargo bench --bench drop_in`; `BENCH_QUICK=1` only shows that it works. Without nginx, nginx is left out.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::{Subject, connect, cpu_nanos, quantile, quick, resident_bytes_of};
use typingd::base::clock::stopwatch;

/// Clients at a time, each with one request under way, and each an end user of its own: one end user's go one by one.
const CONNECTIONS: usize = 16;
/// Requests of each client before those that count.
const WARM_UP: usize = 20;
const TEXT: &str = "a message of the usual length, as somebody types it on a telephone";

fn main() {
    let (requests, rounds) = if quick() { (200, 1) } else { (24_000, 5) };
    let upstream = start_upstream();
    let directory = tempfile::tempdir().expect("a directory for settings");
    let typingd = start_typingd(upstream, directory.path());
    let nginx = start_nginx(upstream, directory.path());
    let mut subjects = vec![("straight", upstream, None), ("typingd", typingd.address, Some(&typingd))];
    match &nginx {
        Some(nginx) => subjects.push(("nginx", nginx.address, Some(nginx))),
        None => println!("nginx is not installed, and left out"),
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
    let median = |rounds: &[[f64; 5]], field: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[field]).collect();
        values.sort_by(f64::total_cmp);
        quantile(&values, 0.5)
    };
    for ((name, ..), rounds) in subjects.iter().zip(&measured) {
        println!(
            "{name:>8}: one at a time p50 {:.0} us, p99 {:.0} us; {CONNECTIONS} at a time {:.0} a second, p99 {:.0} us, {:.0} us CPU each",
            median(rounds, 0),
            median(rounds, 1),
            median(rounds, 2),
            median(rounds, 3),
            median(rounds, 4),
        );
    }
    let added = |field| median(&measured[1], field) - median(&measured[0], field);
    println!("typingd adds {:.0} us to the median and {:.0} us to the p99 of one at a time", added(0), added(1));
    if let Some(nginx) = measured.get(2) {
        let ratio = |field| median(&measured[1], field) / median(nginx, field);
        println!("typingd carries {:.2} x nginx's requests a second at {:.2} x its processor time", ratio(2), ratio(4));
    }
    file(&typingd, upstream);
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
    let median = |address| {
        let mut times: Vec<f64> = (0..9).map(|_| once(address)).collect();
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.5)
    };
    let (passed, straight) = (median(typingd.address), median(upstream));
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

/// Each client sends its next request when the one before has been answered.
fn closed_loop(address: SocketAddr, clients: usize, requests: usize) -> Figures {
    let each = requests / clients;
    let watch = stopwatch();
    let mut latencies: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn(move || {
                    let request = request(&form(client, ""));
                    let mut connection = connect(address);
                    let mut one = || {
                        let watch = stopwatch();
                        connection.write_all(&request).expect("the subject reads");
                        read_answer(&mut connection);
                        watch.elapsed().as_secs_f64() * 1e6
                    };
                    for _ in 0..WARM_UP {
                        one();
                    }
                    (0..each).map(|_| one()).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client ends well")).collect()
    });
    let rate = (latencies.len() + clients * WARM_UP) as f64 / watch.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    Figures { p50: quantile(&latencies, 0.5), p99: quantile(&latencies, 0.99), rate }
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

/// An upstream that reads what it is sent, and acknowledges it.
fn start_upstream() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("its address")).expect("somebody waits for the address");
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(async |request: hyper::Request<Incoming>| {
                    let mut body = request.into_body();
                    while let Some(Ok(_)) = body.frame().await {}
                    let mut response = hyper::Response::new(Full::new(Bytes::from_static(br#"{"success":true}"#)));
                    *response.status_mut() = hyper::StatusCode::ACCEPTED;
                    Ok::<_, Infallible>(response)
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
