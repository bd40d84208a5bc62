//! An upstream that ends its HTTP/2 connections after a few requests, as load balancers do, or refuses streams: every
//! indicator arrives all the same, no icon is left on, and nothing counts as a failure.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::bench::{Daemon, JSON, signal_of};
use crate::exposition::{Page, Text};
use crate::https;
use crate::process::until;

const USERS: usize = 16;
/// Streams that a connection serves; those above are not looked at, and the client is told so.
const STREAMS: usize = 5;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status` 202, which stands in no table.
const ACCEPTED: [u8; 5] = [0x08, 3, b'2', b'0', b'2'];
const REFUSED_STREAM: u32 = 7;
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// What becomes of streams that the upstream does not look at.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    /// Those above the first [`STREAMS`] meet the end of the connection.
    Goaway,
    /// Every third is refused.
    Refused,
}

/// The indicators that were taken, by whom: `+` for a Started, `-` for a Stopped.
type Taken = Arc<Mutex<Vec<(String, char)>>>;

fn frame(stream: &mut impl Write, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes)
}

/// What a typing entry tells, of whom; nothing of any other request.
fn indicator(body: &[u8]) -> Option<(String, char)> {
    let text = String::from_utf8_lossy(body);
    let json: Value = serde_json::from_str(text.get(text.find('{')?..=text.rfind('}')?)?).ok()?;
    let mark = if text.contains("TypingStartedIndicator") { '+' } else { '-' };
    Some((json["from"]["id"].as_str().or(json["from"].as_str())?.to_owned(), mark))
}

/// Serves what `beyond` leaves of the streams, and reads on until the client has gone.
fn serve(mut stream: impl Read + Write, taken: &Taken, beyond: Beyond) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE])?;
    frame(&mut stream, SETTINGS, 0, 0, &[])?;
    let (mut bodies, mut last) = (std::collections::HashMap::<u32, Vec<u8>>::new(), 0);
    let mut count = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        match head[3] {
            SETTINGS if head[4] & ACK == 0 => frame(&mut stream, SETTINGS, ACK, 0, &[])?,
            PING if head[4] & ACK == 0 => frame(&mut stream, PING, ACK, 0, &payload)?,
            HEADERS if beyond == Beyond::Refused && id / 2 % 3 == 2 => {
                frame(&mut stream, RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes())?;
            }
            HEADERS if beyond == Beyond::Refused || count < STREAMS => {
                (count, last) = (count + 1, id);
                bodies.insert(id, Vec::new());
            }
            DATA => {
                // None of a stream that is not served.
                bodies.entry(id).and_modify(|body| body.extend(&payload));
            }
            _ => {}
        }
        if head[4] & END_STREAM != 0
            && matches!(head[3], HEADERS | DATA)
            && id <= last
            && let Some(body) = bodies.remove(&id)
        {
            taken.lock().unwrap().extend(indicator(&body));
            frame(&mut stream, HEADERS, END_HEADERS | END_STREAM, id, &ACCEPTED)?;
            if id == last && count == STREAMS && beyond == Beyond::Goaway {
                // NO_ERROR.
                frame(&mut stream, GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())?;
            }
        }
    }
}

/// Returns its address and its certificate.
fn start(taken: &Taken, beyond: Beyond) -> (u16, String) {
    let (certificate, tls) = https::server_tls(&["h2"]);
    let (listener, tls) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(tls));
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::clone(taken);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (tls, taken) = (Arc::clone(&tls), Arc::clone(&taken));
            std::thread::spawn(move || {
                let stream: TcpStream = stream.unwrap();
                let session = rustls::ServerConnection::new(tls).unwrap();
                // How a connection ends is the client's affair.
                let _ = serve(rustls::StreamOwned::new(session, stream), &taken, beyond);
            });
        }
    });
    (port, certificate)
}

#[test]
fn connections_that_say_goaway_lose_no_indicator() {
    lose_no_indicator(Beyond::Goaway);
}

#[test]
fn streams_that_are_refused_lose_no_indicator() {
    lose_no_indicator(Beyond::Refused);
}

fn lose_no_indicator(beyond: Beyond) {
    let taken = Taken::default();
    let (port, certificate) = start(&taken, beyond);
    let settings = "timing.dismiss_after = '1m'\ntiming.check_interval = '300ms'\nupstream.ca_file = 'root.pem'";
    let auth = "upstream.auth.token_file = 'token'";
    let mut daemon = Daemon::start_with(&format!("https://localhost:{port}"), auth, settings, |directory| {
        std::fs::write(directory.path().join("root.pem"), &certificate).unwrap();
    });
    let give = |signal: &str| {
        let all: Vec<_> = (0..USERS).map(|user| signal_of("c", &format!("user-{user}"), signal)).collect();
        let body = Value::from(all).to_string();
        assert_eq!(daemon.address.call("POST", "/v1/signals", &[JSON], body.as_bytes()).status, 202);
    };
    let of = |user: usize| -> String {
        let taken = taken.lock().unwrap();
        taken.iter().filter(|(from, _)| *from == format!("user-{user}")).map(|(_, mark)| *mark).collect()
    };
    // Far more at once than a connection serves.
    give("keystroke");
    until("every icon on", || {
        give("keystroke");
        (0..USERS).all(|user| of(user).ends_with('+'))
    });
    give("message_sent");
    until("every icon off", || (0..USERS).all(|user| of(user).ends_with('-')));
    until("nothing owed", || daemon.address.get("/v1/status").json()["conversations"]["unsettled"] == 0);
    let status = daemon.address.get("/v1/status").json();
    assert_eq!(status["deliveries"]["stops_given_up"], 0, "{status}");
    // What the upstream did not look at is known not to have been applied, so that nothing is sent twice for it.
    assert_eq!(status["deliveries"]["unsure"], 0, "{status}");
    let metrics = Page::read(&daemon.address.get("/metrics").body, Text::Prometheus);
    let ended = |cause| metrics.value("typingd_deliveries_total", &[("outcome", "not_sent"), ("cause", cause)]);
    assert!(ended("unprocessed") > Some(0.0), "{status}");
    assert_eq!(["unreachable", "no_answer", "failing"].map(ended), [Some(0.0); 3], "{status}");
    for user in 0..USERS {
        assert!(of(user).ends_with("+-"), "{user}: {}", of(user));
    }
    daemon.process.stop();
    assert!(!daemon.process.log().contains("the upstream"), "{}", daemon.process.log());
}
