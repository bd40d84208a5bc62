//! The server's edge against what real clients do: bodies that are too long or drip, sides that are closed behind the
//! request, clients that have gone, versions that are not spoken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustix::net::sockopt::set_socket_linger;
use tokio::sync::watch;
use typingd::base::clock;
use typingd::http::{Limits, Listener, serve};

use crate::bench::{Daemon, pair, signal_of};
use crate::connector::{Connector, INTERACTIONS, connect, form, message, read_until};
use crate::far_side::{FarSide, write};
use crate::process::{PATIENCE, run, until};
use crate::wire::Address;

fn drop_in(far_side: &FarSide, settings: &str) -> Daemon {
    Daemon::start_with(&far_side.url(), "drop_in.enabled = true", settings, |_| {})
}

/// All that comes until the connection is closed, which it must be without a reset.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A status and the words of its problem document.
fn problem(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), json["detail"].as_str().unwrap().to_owned())
}

/// A call of `/v1/signals`, whose body's length is told, or which comes in chunks: the first may go the short way.
fn call_signals(daemon: &Daemon, fields: &str, body: &[u8], in_chunks: bool) -> Vec<String> {
    let mut stream = connect(&daemon.address);
    let length = match in_chunks {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", body.len()),
    };
    let mut call = format!("POST /v1/signals HTTP/1.1\r\nconnection: close\r\n{fields}{length}\r\n\r\n").into_bytes();
    if in_chunks && !body.is_empty() {
        call.extend(format!("{:x}\r\n", body.len()).into_bytes());
    }
    call.extend(body);
    if in_chunks {
        call.extend(if body.is_empty() { &b"0\r\n\r\n"[..] } else { b"\r\n0\r\n\r\n" });
    }
    stream.write_all(&call).unwrap();
    let mut lines: Vec<_> = rest(&mut stream).split("\r\n").map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("date: "));
    // The status stays first, and the body last.
    let last = lines.len() - 1;
    lines[1..last].sort();
    lines
}

#[test]
fn a_signal_is_answered_alike_whichever_way_it_goes() {
    let far_side = FarSide::start(|_, stream| write(stream, "202 Accepted", "", b"{\"success\":true}"));
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |directory: &tempfile::TempDir| {
        std::fs::write(directory.path().join("callers"), "t0ken").unwrap();
        crate::secrets::note("t0ken");
    };
    let guarded = Daemon::start_with(&far_side.url(), auth, "ingest.max_body = '1KiB'", prepare);
    let open = Daemon::start(&far_side.url(), "ingest.max_conversations = 1\ningest.max_body = '1KiB'");
    let good = br#"{"to":"c","from":"u","signal":"keystroke"}"#;
    let many = br#"[{"to":"c","from":"u","signal":"keystroke"},{"to":"c"},{"to":"c","from":"u","signal":"stopped"}]"#;
    let (json, host, token) =
        ("content-type: application/json\r\n", "host: localhost\r\n", "authorization: Bearer t0ken\r\n");
    let mut answers = std::collections::BTreeMap::new();
    for (daemon, fields, bodies) in [
        (
            &open,
            format!("{host}{json}"),
            &[&good[..], many, b"", b"{", b"[]", b"\xef\xbb\xbf{}", b"\xff", &[b' '; 2_000]][..],
        ),
        (&open, format!("{host}{json}"), &[br#"{"to":"c","from":"another","signal":"keystroke"}"#]),
        (&open, format!("{host}content-type: Application/JSON; charset=utf-8\r\n"), &[good]),
        (&open, format!("{host}content-type: text/plain\r\n"), &[good]),
        (&open, host.to_owned(), &[good]),
        (&open, format!("{host}{json}content-encoding: gzip\r\n"), &[good]),
        (&open, json.to_owned(), &[good]),
        (&open, format!("{host}{host}{json}"), &[good]),
        (&open, format!("{host}{json}origin: https://evil.example\r\n"), &[good]),
        (&open, format!("host: rebound.example\r\n{json}user-agent: Mozilla/5.0\r\n"), &[good]),
        (&guarded, format!("{host}{json}"), &[good]),
        (&guarded, format!("{host}{json}authorization: Bearer wr0ng\r\n"), &[good]),
        (&guarded, format!("{host}{json}{token}"), &[good, many]),
        (&guarded, format!("host: rebound.example\r\n{json}{token}user-agent: Mozilla/5.0\r\n"), &[good]),
        (&guarded, format!("{host}{json}{token}sec-fetch-site: cross-site\r\n"), &[good]),
    ] {
        for body in bodies {
            let [short, long] = [false, true].map(|in_chunks| call_signals(daemon, &fields, body, in_chunks));
            assert_eq!(short, long, "{fields} {}", String::from_utf8_lossy(body));
            *answers.entry(short[0].split(' ').nth(1).unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    let statuses: Vec<_> = answers.keys().map(String::as_str).collect();
    assert_eq!(statuses, ["202", "400", "401", "403", "413", "415", "429"], "{answers:?}");
}

#[test]
fn a_body_announced_as_too_long_is_refused_at_once() {
    let far_side = FarSide::start(|_, stream| write(stream, "202 Accepted", "", b""));
    let daemon = drop_in(&far_side, "");
    let connector = Connector::new(&daemon.address, "t");
    let fields: String = connector.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let json = "content-type: application/json\r\n".to_owned();
    for (path, fields, length) in [
        (INTERACTIONS, &fields, 100 << 20),
        ("/api/v1/route", &fields, (32 << 20) + 1),
        ("/v1/signals", &json, (1 << 20) + 1),
    ] {
        // Whoever asks first is not told to go on.
        let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\n{fields}content-length: {length}\r\n");
        let mut asking = connect(&daemon.address);
        asking.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
        let start = read_until(&mut asking, b"\r\n").unwrap();
        assert!(start.starts_with(b"HTTP/1.1 413 "), "{path}: {}", String::from_utf8_lossy(&start));
        drop(asking);
        // Whoever just writes is answered while it does, and can read that.
        let mut writing = connect(&daemon.address);
        let mut answers = writing.try_clone().unwrap();
        let form = form(&message("c", "u"));
        writing.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let writer = std::thread::spawn(move || {
            let _ = writing.write_all(&form);
            let mut left: usize = 40 << 20;
            while left > 0 && writing.write_all(&[b'x'; 64 * 1024]).is_ok() {
                left = left.saturating_sub(64 * 1024);
            }
            left
        });
        let answer = rest(&mut answers);
        let (status, detail) = problem(&answer);
        assert!(status == 413 && detail.contains("is longer than"), "{path}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{path}: {answer}");
        assert_eq!(writer.join().unwrap(), 0, "{path}: a client that first writes all is not reset");
    }
    assert!(far_side.came().is_empty(), "{:?}", far_side.came());
    assert_eq!(daemon.address.get("/v1/drop_in").json()["unanswered"], 4);
}

#[test]
fn an_upload_that_drips_ends_though_no_silence_is_long() {
    let far_side = FarSide::start(|_, stream| write(stream, "202 Accepted", "", b""));
    let daemon = drop_in(&far_side, "drop_in.stall_timeout = '1s'");
    let connector = Connector::new(&daemon.address, "t");
    let fields: String = connector.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    for path in ["/api/v1/route", INTERACTIONS] {
        let mut stream = connect(&daemon.address);
        let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\n{fields}content-length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let watch = clock::stopwatch();
        let mut answers = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || rest(&mut answers));
        // Ends when the answer is there.
        while !reader.is_finished() && watch.elapsed() < PATIENCE {
            let _ = stream.write_all(b"-");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (status, detail) = problem(&reader.join().unwrap());
        assert_eq!((status, detail.as_str()), (408, "the body came too slowly"), "{path}");
        assert!(watch.elapsed() >= Duration::from_secs(1), "{:?}", watch.elapsed());
    }
}

#[test]
fn who_closes_its_side_behind_the_request_is_answered() {
    let far_side = FarSide::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(50));
        write(stream, "202 Accepted", "", b"passed")
    });
    let daemon = drop_in(&far_side, "");
    let connector = Connector::new(&daemon.address, "t");
    let fields: String = connector.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let signal = signal_of("c", "ann", "keystroke").to_string().into_bytes();
    let json = "content-type: application/json\r\n".to_owned();
    for (path, fields, body, expected) in
        [(INTERACTIONS, &fields, form(&message("c", "u")), "passed"), ("/v1/signals", &json, signal, "\"accepted\":1")]
    {
        let mut request =
            format!("POST {path} HTTP/1.1\r\nhost: t\r\n{fields}content-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(&body);
        for round in 0..50 {
            let mut stream = connect(&daemon.address);
            stream.write_all(&request).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = rest(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains(expected), "{round}: {answer:?}");
        }
    }
    assert_eq!(daemon.address.get("/v1/drop_in").json()["under_way"], 0);
}

/// A server whose one answer never comes, and what each request to it holds.
fn unanswering(limits: Limits) -> (tokio::runtime::Runtime, Address, Arc<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let answer = move || {
        let alive = Arc::clone(&held);
        async move {
            std::future::pending::<()>().await;
            drop(alive);
        }
    };
    let address = runtime.block_on(async {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = Address::parse(&listener.address().to_string());
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move {
            let _stop = stop;
            serve(listener, Router::new().route("/", get(answer)), limits, stopping).await;
        });
        address
    });
    (runtime, address, alive)
}

#[test]
fn who_has_gone_holds_nothing_for_long() {
    let limits = Limits { half_closed_timeout: Duration::from_secs(2), ..Limits::default() };
    let (_runtime, address, alive) = unanswering(limits);
    // The router has one, and each request another.
    let requests = || Arc::strong_count(&alive) - 2;
    let ask = || {
        let mut stream = connect(&address);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
        stream
    };
    let (waiting, reset, closed, half_closed) = (ask(), ask(), ask(), ask());
    until("four requests", || requests() == 4);
    let watch = clock::stopwatch();
    set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
    drop(reset);
    until("the end of the one that was reset", || requests() == 3);
    assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
    let watch = clock::stopwatch();
    drop(closed);
    half_closed.shutdown(Shutdown::Write).unwrap();
    until("the end of those that closed their sides", || requests() == 1);
    assert!(watch.elapsed() >= Duration::from_secs(2), "{:?}", watch.elapsed());
    drop((waiting, half_closed));
}

#[test]
fn what_can_be_read_and_not_understood_is_told_what_is_wrong() {
    let (_sandbox, daemon) = pair("");
    let post = "POST /v1/signals HTTP/1.1\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let ask = |request: &str| {
        let mut stream = connect(&daemon.address);
        stream.write_all(request.as_bytes()).unwrap();
        rest(&mut stream)
    };
    for (request, status, words) in [
        (format!("{post}content-length: 2\r\n\r\n[]"), 400, "0 `Host` lines"),
        (format!("{post}host: a\r\nhost: a\r\ncontent-length: 2\r\n\r\n[]"), 400, "2 `Host` lines"),
        (format!("{post}host: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501, "transfer coding"),
        (format!("{post}host: a\r\ntransfer-encoding: gzip\r\n\r\n"), 501, "transfer coding"),
        ("GET /healthz HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(), 400, "not HTTP/1.1"),
        ("GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "can't be parsed"),
        ("\u{16}\u{3}\u{1}\0\u{7a}\u{1}".to_owned(), 400, "https was spoken to an http port"),
    ] {
        let answer = ask(&request);
        let (told, detail) = problem(&answer);
        assert!(told == status && detail.contains(words), "{request}: {answer}");
    }
    let secure = daemon.address.url().replace("http:", "https:");
    let said = run(&["timing", "--url", &secure]);
    assert!(said.code == Some(1) && said.stderr.contains("https was spoken to an http port"), "{said:?}");
    // HTTP/1.0 knows no hosts.
    assert!(ask("GET /healthz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    for (encoding, status) in [("gzip", 415), ("identity", 202)] {
        let coded = &[("content-type", "application/json"), ("content-encoding", encoding)];
        let answer = daemon.address.call("POST", "/v1/signals", coded, b"[]");
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("accept-encoding"), (status == 415).then_some("identity"), "{answer:?}");
    }
    let other = daemon.address.call("POST", "/v1/signals", &[("content-type", "text/plain")], b"[]");
    assert_eq!((other.status, other.header("accept-encoding")), (415, None), "{other:?}");
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    // The time of the first head is over in the midst of the idle time, and must not begin it anew.
    let limits = Limits {
        head_timeout: Duration::from_millis(1_500),
        idle_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let (_runtime, address, _alive) = unanswering(limits);
    let mut stream = connect(&address);
    stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    read_until(&mut stream, b"\r\n\r\n").unwrap();
    let watch = clock::stopwatch();
    rest(&mut stream);
    let took = watch.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_millis(3_400)).contains(&took), "{took:?}");
}

#[test]
fn http_2_without_having_asked_is_refused_in_words() {
    let (_sandbox, daemon) = pair("");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for pieces in [&[preface.len()][..], &[3, 13, preface.len()]] {
        let mut stream = connect(&daemon.address);
        stream.set_nodelay(true).unwrap();
        let mut from = 0;
        for &to in pieces {
            let _ = stream.write_all(&preface[from..to]);
            std::thread::sleep(Duration::from_millis(20));
            from = to;
        }
        // SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED, for a client of HTTP/2 reads nothing else.
        let answer = rest(&mut stream);
        let (settings, goaway) = answer.as_bytes().split_at(9);
        assert_eq!(settings, b"\0\0\0\x04\0\0\0\0\0");
        assert_eq!((usize::from(goaway[2]), goaway[3], goaway[16]), (goaway.len() - 9, 7, 13), "{answer:?}");
        assert!(answer.contains("HTTP/1.1") && answer.contains("prior knowledge"), "{answer:?}");
    }
}
