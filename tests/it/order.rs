//! The order of one end user's requests through the drop-in: what the connector has sent first arrives first, whatever
//! happens to icons.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::Daemon;
use crate::connector::{Connector, INTERACTIONS, attachment, connect, form, message};
use crate::process::until;
use crate::recorder::Recorder;

const AUTH: &str = "drop_in.enabled = true";

fn pair(recorder: Recorder, settings: &str) -> (Recorder, Daemon, Connector) {
    let daemon = Daemon::start_with(&recorder.url(), AUTH, settings, |_| {});
    let connector = Connector::new(&daemon.address, "t");
    (recorder, daemon, connector)
}

fn message_of(from: &str, id: &str) -> Vec<u8> {
    let mut message = message("c", from);
    message["interactions"][0]["payload"]["id"] = json!(id);
    form(&message)
}

/// Writes the whole of a request, which comes after those that have been posted before it, and leaves its answer for later.
fn post(connector: &Connector, body: &[u8]) -> TcpStream {
    let stream = post_beside(connector, body);
    until("the system has handed it over", || is_handed_over(&stream));
    stream
}

/// Writes the whole of a request whose order to others is of no matter, and leaves its answer for later.
fn post_beside(connector: &Connector, body: &[u8]) -> TcpStream {
    let mut stream = connect(&connector.address);
    let mut head = format!("POST {INTERACTIONS} HTTP/1.1\r\nHost: typingd\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in connector.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat()).unwrap();
    stream
}

/// Whether all that was written on a connection is at its other end. On a busy machine the system may keep it back for a
/// while, and hand over first what was written on another connection later.
fn is_handed_over(stream: &TcpStream) -> bool {
    let port = format!(":{:04X}", stream.local_addr().unwrap().port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = sockets.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next()?.ends_with(&port).then(|| columns.nth(2)).flatten()
    });
    // One that is gone has been read.
    queues.is_none_or(|queues| queues.starts_with("00000000:"))
}

fn status(mut stream: TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8(head[9..].to_vec()).unwrap()
}

fn report(daemon: &Daemon) -> Value {
    daemon.address.get("/v1/drop_in").json()
}

/// The sample's burst: three short lines, sent without waiting for an answer, the icon being on.
#[test]
fn messages_in_a_burst_arrive_in_order() {
    for latency in [0, 50, 150] {
        let recorder = Recorder::start(Duration::from_millis(latency));
        let settings = "drop_in.order_wait = '1m'\ndrop_in.settle = '20s'\ndrop_in.activity_lasts = '1m'";
        let (recorder, daemon, connector) = pair(recorder, settings);
        std::thread::scope(|scope| {
            for user in 0..12 {
                let (connector, recorder) = (&connector, &recorder);
                scope.spawn(move || {
                    let from = &format!("user {user}");
                    for round in 0..3 {
                        connector.started(from);
                        until("the icon", || recorder.of(from).last().is_some_and(|what| what == "+"));
                        let ids = ["a", "b", "c"].map(|letter| format!("{round}{letter}"));
                        let sent = ids.clone().map(|id| post(connector, &message_of(from, &id)));
                        assert_eq!(sent.map(status), ["202"; 3]);
                        let arrived = recorder.of(from);
                        let messages: Vec<_> = arrived.iter().filter(|what| !"+-".contains(*what)).collect();
                        assert_eq!(messages[messages.len() - 3..], ids.each_ref(), "{latency} ms: {arrived:?}");
                        let first = arrived.iter().position(|what| *what == ids[0]).unwrap();
                        assert_eq!(arrived[first - 1], "-", "{latency} ms: {arrived:?}");
                    }
                });
            }
        });
        assert_eq!(report(&daemon)["overdue"], 0, "{latency} ms");
    }
}

#[test]
fn a_key_after_a_message_never_shows_before_it() {
    // The Stopped is acknowledged within `settle`, or it is not: the message is before the next icon all the same.
    for (latency, before_message, before_key) in [(100, 300, 40), (300, 80, 150), (30, 0, 0)] {
        let recorder = Recorder::start(Duration::from_millis(latency));
        let (recorder, _daemon, connector) = pair(recorder, "drop_in.activity_lasts = '1m'\ndrop_in.order_wait = '1m'");
        let wait = |millis| std::thread::sleep(Duration::from_millis(millis));
        assert_eq!(connector.started("u").status, 202);
        until("the icon", || !recorder.of("u").is_empty());
        wait(before_message);
        let message = post(&connector, &message_of("u", "m"));
        wait(before_key);
        let watch = clock::stopwatch();
        assert_eq!(connector.started("u").status, 202, "a typing entry is answered at once");
        assert!(latency < 300 || watch.elapsed() < Duration::from_millis(250), "{:?}", watch.elapsed());
        assert_eq!(status(message), "202");
        until("the icon again", || recorder.of("u").len() == 4);
        assert_eq!(recorder.of("u"), ["+", "-", "m", "+"], "{latency} ms");
    }
}

#[test]
fn an_attachment_and_a_message_keep_their_order() {
    let recorder = Recorder::start(Duration::from_millis(100));
    let (recorder, daemon, connector) = pair(recorder, "drop_in.activity_lasts = '1m'\ndrop_in.order_wait = '1m'");
    connector.started("u");
    until("the icon", || !recorder.of("u").is_empty());
    // The file is longer than what is read ahead, and comes before its description.
    let file = post(&connector, &attachment("c", "u", &vec![b'-'; 200_000]));
    std::thread::sleep(Duration::from_millis(100));
    let message = post(&connector, &message_of("u", "m"));
    assert_eq!([status(file), status(message)], ["202", "202"]);
    let id = crate::connector::REQUEST_ID;
    assert_eq!(recorder.of("u"), ["+", "-", id, "m"]);

    connector.started("v");
    until("the icon", || !recorder.of("v").is_empty());
    drop(post(&connector, &message_of("v", "gone")));
    assert_eq!(status(post(&connector, &message_of("v", "m"))), "202");
    assert_eq!(recorder.of("v").last().unwrap(), "m");
    assert_eq!(report(&daemon)["overdue"], 0);
}

#[test]
fn a_message_waits_at_most_order_wait_for_the_one_before() {
    let recorder = Recorder::start(Duration::ZERO);
    let (recorder, mut daemon, connector) = pair(recorder, "drop_in.order_wait = '400ms'");
    let whole = message_of("u", "first");
    let mut slow = connect(&connector.address);
    let head = |length: usize| {
        let headers: String = connector.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("POST {INTERACTIONS} HTTP/1.1\r\nHost: typingd\r\nContent-Length: {length}\r\n{headers}\r\n")
    };
    slow.write_all(&[head(whole.len() + 100_000).as_bytes(), &whole].concat()).unwrap();
    // Its rest does not come: what has come is written, and the next message goes on.
    assert_eq!(status(post(&connector, &message_of("u", "second"))), "202");
    assert_eq!(report(&daemon)["overdue"], 0);

    // The rest of another comes byte by byte. A busy machine may keep the bytes back for so long that they count as missing:
    // then one more has to try.
    let overdue = (0..20).any(|attempt| {
        let user = format!("v{attempt}");
        let mut drips = connect(&connector.address);
        drips.write_all(&[head(whole.len() + 100_000).as_bytes(), &message_of(&user, "first")].concat()).unwrap();
        std::thread::spawn(move || {
            while drips.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let watch = clock::stopwatch();
        assert_eq!(status(post(&connector, &message_of(&user, "second"))), "202");
        assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
        let waited = watch.elapsed() >= Duration::from_millis(400);
        if waited {
            assert_eq!(recorder.of(&user), ["second"]);
        }
        waited
    });
    assert!(overdue, "none of them waited for its order");
    until("the count", || report(&daemon)["overdue"].as_u64() > Some(0));
    daemon.process.until_logged("their order may be wrong");
    assert_eq!(daemon.process.log().matches("order may be wrong").count(), 1);
}

#[test]
fn a_message_does_not_wait_where_no_stopped_can_leave() {
    const SETTLE: Duration = Duration::from_secs(20);
    // A single Stopped that fails says enough.
    let recorder = Recorder::judging(Duration::ZERO, |entry| if entry.what == "-" { 503 } else { 202 });
    let settings = "upstream.auth.token_file = 'token'\ndrop_in.settle = '20s'\ndrop_in.activity_lasts = '1m'";
    let (recorder, _daemon, connector) = pair(recorder, settings);
    connector.started("u");
    until("the icon", || !recorder.of("u").is_empty());
    let watch = clock::stopwatch();
    assert_eq!(status(post(&connector, &message_of("u", "m"))), "202");
    assert!(watch.elapsed() < SETTLE / 2, "{:?}", watch.elapsed());

    // 503: the circuit breaker opens; 401: the token is refused; in both cases only what typingd sends itself.
    for status_of_stops in [503, 401] {
        let recorder = Recorder::judging(Duration::ZERO, move |entry| match &*entry.what {
            "-" => status_of_stops,
            _ => 202,
        });
        let settings = "upstream.auth.token_file = 'token'\ndrop_in.settle = '20s'\ndrop_in.activity_lasts = '1m'";
        let (recorder, daemon, connector) = pair(recorder, settings);
        for user in 0..25 {
            let from = format!("user {user}");
            connector.started(&from);
            until("the icon", || !recorder.of(&from).is_empty());
        }
        let watch = clock::stopwatch();
        let sent: Vec<_> =
            (0..25).map(|user| post_beside(&connector, &message_of(&format!("user {user}"), "m"))).collect();
        for message in sent {
            assert_eq!(status(message), "202");
        }
        assert!(watch.elapsed() < SETTLE / 2, "{status_of_stops}: {:?}", watch.elapsed());
        let report = report(&daemon);
        let [unsettled, unwaited] = ["unsettled", "unwaited"].map(|name| report[name].as_u64().unwrap());
        assert_eq!(unsettled + unwaited, 25, "{report}");
    }
}

#[test]
fn a_settle_that_is_too_short_is_pointed_out_with_what_to_set() {
    let recorder = Recorder::start(Duration::from_millis(120));
    let (recorder, mut daemon, connector) = pair(recorder, "drop_in.settle = '40ms'");
    for user in 0..10 {
        let from = format!("user {user}");
        connector.started(&from);
        until("the icon", || !recorder.of(&from).is_empty());
        assert_eq!(status(post(&connector, &message_of(&from, "m"))), "202");
        until("the icon off", || recorder.of(&from).contains(&"-".to_owned()));
        // Its answer is what is measured.
        until("its answer", || daemon.address.get("/metrics").body.contains("typingd_conversations_unsettled 0"));
    }
    daemon.process.until_logged("expected drop_in.settle = ");
    let page = daemon.address.get("/metrics").body;
    let needed = page.lines().find_map(|line| line.strip_prefix("typingd_drop_in_settle_needed_seconds "));
    let needed: f64 = needed.unwrap().parse().unwrap();
    assert!((0.15..2.0).contains(&needed), "{needed}");
    let log = daemon.process.log();
    assert_eq!(log.matches("expected drop_in.settle").count(), 1, "{log}");
}
