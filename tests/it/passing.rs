//! What passes through: bytes, untouched, and every way in which either side can fail them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use typingd::base::clock;

use crate::bench::{Daemon, signal_of};
use crate::connector::{Connector, INTERACTIONS, attachment, connect, form, message, read_until};
use crate::far_side::{Came, FarSide, write};
use crate::process::until;

const AUTH: &str = "drop_in.enabled = true";

fn daemon(far_side: &FarSide, settings: &str) -> Daemon {
    Daemon::start_with(&far_side.url(), AUTH, settings, |_| {})
}

/// A request as it is, its connection closed after it; and the whole answer.
fn exchange(daemon: &Daemon, request: &[u8]) -> String {
    let mut stream = connect(&daemon.address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_request_and_its_answer_pass_untouched_whatever_they_are() {
    let far_side = FarSide::start(|came, stream| match came.line().split(' ').next().unwrap() {
        "PATCH" => {
            let answer = "HTTP/1.1 299 Just So\r\nX-Odd-Case: 1\r\nDATE: then\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                          Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\ncontent-length: 3\r\n\r\n\0\r\n";
            stream.write_all(answer.as_bytes()).is_ok()
        }
        "DELETE" => stream.write_all(b"HTTP/1.1 204 No Content\r\ndate: then\r\n\r\n").is_ok(),
        "HEAD" if came.line().contains("bare") => stream.write_all(b"HTTP/1.1 200 OK\r\ndate: then\r\n\r\n").is_ok(),
        "GET" => stream.write_all(b"HTTP/1.1 304 Not Modified\r\ndate: then\r\netag: \"x\"\r\n\r\n").is_ok(),
        "HEAD" => stream.write_all(b"HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 1234\r\n\r\n").is_ok(),
        _ => {
            let answer = "HTTP/1.1 200 OK\r\ndate: then\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                          4\r\nabcd\r\n2\r\nef\r\n0\r\nx-sum: 6\r\n\r\n";
            stream.write_all(answer.as_bytes()).is_ok()
        }
    });
    let upstream = format!("{}/base", far_side.url());
    let daemon = Daemon::start_with(&upstream, AUTH, "", |_| {});
    let request = b"PATCH /api/v1/consent?a=%2f&b=%C3%BC&&c HTTP/1.1\r\nHOST: typingd\r\nX-CASE: 1\r\nx-twice: 1\r\nX-Twice: 2\r\n\
                    AuthorizationContext: A b\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nContent-Length: 5\r\n\r\n\0\xff\r\n\0";
    let answer = exchange(&daemon, request);
    assert_eq!(
        answer,
        "HTTP/1.1 299 Just So\r\nX-Odd-Case: 1\r\nDATE: then\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         content-length: 3\r\nConnection: close\r\n\r\n\0\r\n"
    );
    let came = far_side.await_request(1);
    assert_eq!(came.line(), "PATCH /base/api/v1/consent?a=%2f&b=%C3%BC&&c HTTP/1.1");
    let host = format!("HOST: {}", far_side.url().trim_start_matches("http://"));
    let expected = ["AuthorizationContext: A b", "Content-Length: 5", &host, "X-CASE: 1", "X-Twice: 2", "x-twice: 1"];
    let (added, passed): (Vec<_>, Vec<_>) = came.fields().into_iter().partition(|field| field.starts_with("via: "));
    assert_eq!(passed, expected);
    assert!(matches!(added[..], [via] if via.starts_with("via: 1.1 typingd-")), "{added:?}");
    assert_eq!(came.body, b"\0\xff\r\n\0");

    let answer = exchange(&daemon, b"DELETE /api/v1/route HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\ndate: then\r\nconnection: close\r\n\r\n");
    let answer = exchange(&daemon, b"HEAD /api/v1/conversationEntry HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 1234\r\nconnection: close\r\n\r\n");

    let answer = exchange(&daemon, b"HEAD /api/v1/bare HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ndate: then\r\nconnection: close\r\n\r\n");
    let answer = exchange(&daemon, b"GET /api/v1/bare HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 304 Not Modified\r\ndate: then\r\netag: \"x\"\r\nconnection: close\r\n\r\n");

    let chunked =
        b"POST /api/v1/route HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: close, te\r\ntrailer: x-end\r\n\
                    transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nx-end: 1\r\n\r\n";
    let answer = exchange(&daemon, chunked);
    assert!(answer.to_ascii_lowercase().contains("transfer-encoding: chunked\r\n"), "{answer}");
    assert!(answer.ends_with("4\r\nabcd\r\n2\r\nef\r\n0\r\nx-sum: 6\r\n\r\n"), "{answer}");
    let came = far_side.await_request(6);
    assert_eq!((came.body, came.trailers), (b"abcd".to_vec(), "x-end: 1\r\n".to_owned()));
}

#[test]
fn a_connection_is_reused_and_expect_continue_is_answered() {
    let far_side = FarSide::start(|came, stream| write(stream, "202 Accepted", "", &came.body));
    let daemon = daemon(&far_side, "");
    let mut stream = connect(&daemon.address);
    for i in 0..3 {
        let head = "POST /api/v1/route HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let asked = read_until(&mut stream, b"\r\n\r\n").unwrap();
        assert_eq!(asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&[b'0' + i]).unwrap();
        let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n").unwrap()).unwrap();
        assert!(head.starts_with("HTTP/1.1 202 Accepted\r\n"), "{head}");
        let mut body = [0];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(body, [b'0' + i]);
    }
    assert!(far_side.came().iter().all(|came| !came.head.contains("expect")), "{:?}", far_side.came());
}

fn peak_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[test]
fn a_file_of_25_megabytes_passes_unchanged_in_little_memory() {
    let far_side = FarSide::start(|came, stream| write(stream, "202 Accepted", "", &came.body));
    let daemon = daemon(&far_side, "");
    let connector = Connector::new(&daemon.address, "t");
    connector.message("warm up");
    let before = peak_bytes(&daemon);
    let mut file = vec![0; 25 << 20];
    for (i, byte) in file.iter_mut().enumerate() {
        *byte = (i / 7 + i / 65_536) as u8;
    }
    let form = attachment("c", "u", &file);
    let mut stream = connect(&daemon.address);
    let mut head =
        format!("POST {INTERACTIONS} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {}\r\n", form.len());
    for (name, value) in connector.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&form).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&form), "the answer is not the bytes that were sent");
    assert!(far_side.await_request(2).body == form, "the upstream was not sent the bytes that were sent");
    let grown = peak_bytes(&daemon).saturating_sub(before);
    assert!(grown < 5 << 20, "{grown} bytes for a file of 25 MiB");
}

#[test]
fn a_failing_upstreams_answer_is_passed_or_replaced() {
    let far_side = FarSide::start(|came, stream| match came.line().split(' ').nth(1).unwrap() {
        "/api/v1/cut" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            false
        }
        "/api/v1/reset" => false,
        "/api/v1/still" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            let _ = stream.read(&mut [0]);
            false
        }
        "/api/v1/silent" => {
            let _ = stream.read(&mut [0]);
            false
        }
        _ => stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy").is_ok(),
    });
    let stall = daemon(&far_side, "drop_in.stall_timeout = '200ms'");
    for path in ["/api/v1/cut", "/api/v1/still"] {
        let answer = stall.address.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "half"), "{path}: {answer:?}");
        assert_eq!(answer.header("content-length"), Some("100"), "its reader knows that something is missing");
    }
    let answer = stall.address.get("/api/v1/busy");
    assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
    let answer = stall.address.get("/api/v1/reset");
    assert_eq!(answer.status, 502);
    assert!(answer.problem().starts_with("the Interaction Service broke off before its answer"), "{answer:?}");
    let answer = stall.address.get("/api/v1/silent");
    assert_eq!((answer.status, answer.problem().as_str()), (504, "the Interaction Service has not answered for 0.2 s"));

    let nobody = Daemon::start_with("http://127.0.0.1:9", AUTH, "", |_| {});
    let answer = Connector::new(&nobody.address, "t").message("u");
    assert_eq!(answer.status, 502);
    assert!(answer.problem().starts_with("the Interaction Service can't be reached"), "{answer:?}");
    // Whoever sends a whole file that nobody wants reads why.
    let answer = Connector::new(&nobody.address, "t").send(&attachment("c", "u", &[7; 10 << 20]));
    assert_eq!(answer.status, 502, "{answer:?}");
    let report = nobody.address.get("/v1/drop_in").json();
    assert_eq!((&report["messages"], &report["unanswered"]), (&1.into(), &2.into()), "{report}");
    let log = nobody.process.log();
    assert!(log.lines().all(|line| !line.contains("WARN") || line.contains("WARN not ready: ")), "{log}");
}

#[test]
fn a_client_that_goes_takes_its_request_with_it() {
    let far_side = FarSide::start(|_, stream| {
        // Ends when typingd closes the connection.
        let _ = stream.read(&mut [0]);
        false
    });
    let daemon = daemon(&far_side, "");
    let half_sent = |path: &str| {
        let mut stream = connect(&daemon.address);
        let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[7; 50_000]).unwrap();
        stream
    };
    let stream = half_sent("/api/v1/route");
    far_side.until_begun(1);
    drop(stream);
    assert!(far_side.await_request(1).cut);
    // As a chunked body has no length, its end must not be made up.
    let mut stream = connect(&daemon.address);
    stream
        .write_all(b"POST /api/v1/route HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .unwrap();
    far_side.until_begun(2);
    drop(stream);
    assert!(far_side.await_request(2).cut);
    // And in the midst of a form that is being read ahead.
    let connector = Connector::new(&daemon.address, "t");
    let mut stream = connect(&daemon.address);
    let form = form(&message("c", "u"));
    let mut head = format!("POST {INTERACTIONS} HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n");
    for (name, value) in connector.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n40\r\n").as_bytes()).unwrap();
    stream.write_all(&form[..64]).unwrap();
    stream.write_all(b"\r\n").unwrap();
    drop(stream);
    // While it waits for the answer: known at once when the connection is reset. Whoever only closes it looks like one that
    // has closed its own side and waits, and is answered first.
    let mut stream = connect(&daemon.address);
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream.write_all(b"GET /api/v1/route HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    far_side.await_request(3);
    until("a request under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 1);
    drop(stream);
    until("nothing under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 0);
    assert_eq!(far_side.came().len(), 3, "the broken form went nowhere");
}

/// A message that comes whole with its head goes a shorter way.
#[test]
fn a_message_passes_the_same_whole_and_in_pieces() {
    let far_side = FarSide::start(|came, stream| {
        if came.body.windows(5).any(|bytes| bytes == b"leave") {
            // Ends when typingd closes the connection.
            let _ = stream.read(&mut [0]);
            return false;
        }
        stream.write_all(b"HTTP/1.1 202 Fine\r\nX-Odd: 1\r\nDATE: then\r\ncontent-length: 2\r\n\r\n{}").is_ok()
    });
    let daemon = daemon(&far_side, "");
    let connector = Connector::new(&daemon.address, "t");
    let mut head = format!("POST {INTERACTIONS} HTTP/1.1\r\nHOST: t\r\nX-CASE: 1\r\n");
    for (name, value) in connector.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let request = |user: &str, rest: &str| {
        let form = form(&message("c", user));
        let head = format!("{head}{rest}content-length: {}\r\n\r\n", form.len());
        (head.into_bytes(), form)
    };
    let (head, form) = request("u", "connection: close\r\n");
    let whole = exchange(&daemon, &[&head[..], &form[..]].concat());
    assert_eq!(
        whole,
        "HTTP/1.1 202 Fine\r\nX-Odd: 1\r\nDATE: then\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    );
    let mut stream = connect(&daemon.address);
    stream.write_all(&head).unwrap();
    until("the message under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 1);
    stream.write_all(&form[..100]).unwrap();
    stream.write_all(&form[100..]).unwrap();
    let mut in_pieces = String::new();
    stream.read_to_string(&mut in_pieces).unwrap();
    assert_eq!(in_pieces, whole);
    let came = far_side.came();
    assert_eq!((came[0].fields(), &came[0].body), (came[1].fields(), &form));
    assert_eq!(came[1].body, form);
    assert!(came[0].fields().contains(&"X-CASE: 1"), "{:?}", came[0].fields());
    assert_eq!(daemon.address.get("/v1/drop_in").json()["messages"], 2);
    // One whose client resets its connection is given up.
    let mut stream = connect(&daemon.address);
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    let (head, form) = request("leave", "");
    stream.write_all(&[head, form].concat()).unwrap();
    far_side.await_request(3);
    drop(stream);
    until("nothing under way", || daemon.address.get("/v1/drop_in").json()["under_way"] == 0);
}

#[test]
fn an_answer_that_breaks_off_passes_as_far_as_it_came() {
    let far_side = FarSide::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 202 Fine\r\ncontent-length: 16\r\n\r\n{\"a\":");
        false
    });
    let daemon = daemon(&far_side, "");
    let connector = Connector::new(&daemon.address, "t");
    for round in 0..30 {
        let form = form(&message("c", &format!("user {round}")));
        let mut head = format!("POST {INTERACTIONS} HTTP/1.1\r\nHost: t\r\ncontent-length: {}\r\n", form.len());
        for (name, value) in connector.headers() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = connect(&daemon.address);
        stream.write_all(&[head.as_bytes(), b"\r\n", &form].concat()).unwrap();
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came);
        let came = String::from_utf8(came).unwrap();
        assert!(came.starts_with("HTTP/1.1 202 Fine\r\n") && came.ends_with("\r\n\r\n{\"a\":"), "{round}: {came:?}");
    }
}

fn refused(daemon: &Daemon, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(&daemon.address);
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    status_of(&mut stream)
}

fn status_of(stream: &mut TcpStream) -> (u16, String) {
    let head = String::from_utf8(read_until(stream, b"\r\n\r\n").unwrap()).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let far_side = FarSide::start(|_, stream| write(stream, "202 Accepted", "", b""));
    let daemon = daemon(&far_side, "");
    let head = "POST /api/v1/route HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";
    let length = (32 << 20) + 1;
    assert_eq!(refused(&daemon, &format!("{head}content-length: {length}\r\n\r\n"), b"").0, 413);
    let mut chunk = b"2000001\r\n".to_vec();
    chunk.resize(chunk.len() + length, b'x');
    assert_eq!(refused(&daemon, &format!("{head}transfer-encoding: chunked\r\n\r\n"), &chunk).0, 413);
    until("the connection's end at the far side", || far_side.came().len() == 1);
    assert!(far_side.came()[0].cut);
}

#[test]
fn a_body_that_stands_still_is_refused_and_a_slow_one_passes() {
    const STILL: Duration = Duration::from_secs(1);
    let far_side = FarSide::start(|_, stream| write(stream, "202 Accepted", "", b""));
    let daemon = daemon(&far_side, "drop_in.stall_timeout = '1s'");
    let watch = clock::stopwatch();
    let head = "POST /api/v1/route HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";
    assert_eq!(refused(&daemon, &format!("{head}content-length: 10\r\n\r\n"), b"half").0, 408);
    let connector = Connector::new(&daemon.address, "t");
    let mut head = format!("POST {INTERACTIONS} HTTP/1.1\r\nhost: t\r\ncontent-length: 1000\r\n");
    for (name, value) in connector.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    assert_eq!(refused(&daemon, &format!("{head}\r\n"), b"----").0, 408, "while it is read ahead");
    assert!(watch.elapsed() >= 2 * STILL, "{:?}", watch.elapsed());
    // Slow is not still.
    let mut stream = connect(&daemon.address);
    stream.write_all(b"POST /api/v1/route HTTP/1.1\r\nhost: t\r\ncontent-length: 32768\r\n\r\n").unwrap();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(160));
        stream.write_all(&[b'x'; 4_096]).unwrap();
    }
    assert_eq!(status_of(&mut stream).0, 202);
    let whole: Vec<Came> = far_side.came().into_iter().filter(|came| !came.cut).collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
}

#[test]
fn what_would_arrive_changed_is_refused_without_a_log_line() {
    let far_side =
        FarSide::start(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok());
    let mut daemon = daemon(&far_side, "");
    // The last of what a start tells.
    daemon.process.until_logged(" ready");
    let lines = daemon.process.log().lines().count();
    for (request, status, words) in [
        (
            "CONNECT /api/v1/x?secret=abc HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
            "405",
            "CONNECT is for forward proxies",
        ),
        (
            "POST /api/v1/x HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
            "no transfer coding but `chunked`",
        ),
    ] {
        let answer = exchange(&daemon, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words), "{answer}");
    }
    assert!(far_side.came().is_empty());
    assert_eq!(daemon.process.log().lines().count(), lines, "{}", daemon.process.log());
}

#[test]
fn typing_gives_way_to_what_passes() {
    const RATE: usize = 20;
    let far_side = FarSide::start(|came, stream| {
        let limited = came.line().contains("limited");
        let status = if limited { "429 Too Many Requests" } else { "202 Accepted" };
        write(stream, status, if limited { "retry-after: 2\r\n" } else { "" }, b"{}")
    });
    let settings = "drop_in.enabled = true\ndrop_in.borrow_credentials = false\nupstream.max_requests_per_second = 20\n\
                    delivery.started_lifespan = '1m'\ntiming = { check_interval = '1m', dismiss_after = '1m' }";
    let daemon = Daemon::start(&far_side.url(), settings);
    let (keys, messages) = (5 * RATE, 2 * RATE);
    let signals: Vec<_> = (0..keys).map(|user| signal_of("c", &format!("u{user}"), "keystroke")).collect();
    let watch = clock::stopwatch();
    assert_eq!(daemon.post("/v1/signals", &signals.into()).json()["accepted"], keys);
    let connector = Connector::new(&daemon.address, "t");
    for user in 0..messages {
        assert_eq!(connector.message(&format!("m{user}")).status, 202);
        std::thread::sleep(Duration::from_millis(60));
    }
    let came = far_side.came().len();
    let windows = watch.elapsed().as_secs_f64() + 1.0;
    assert!((came as f64) < RATE as f64 * windows + 10.0, "{came} in {windows} windows, {messages} of them messages");
    until("all the icons", || far_side.came().len() == keys + messages);

    let watch = clock::stopwatch();
    let answer = exchange(&daemon, b"GET /api/v1/limited HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    until("the rate that is left", || daemon.address.get("/v1/status").json()["requests"]["allowed_per_second"] == 10);
    daemon.give("c", "late", "keystroke");
    until("one that was held back", || far_side.came().len() == keys + messages + 2);
    assert!(watch.elapsed() >= Duration::from_secs(2), "{:?}", watch.elapsed());
}
