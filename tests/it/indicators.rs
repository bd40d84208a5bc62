//! The indicators as they are decided, and what becomes of them: the stream of server-sent events.

use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, NDJSON, Sandbox, pair, signal_of};
use crate::process::{PATIENCE, until, wait_for};
use crate::wire::{Headers, Wire};

const STREAM: &str = "/v1/indicators";

/// Somebody who reads the stream.
pub(crate) struct Reader {
    wire: Wire,
    pub(crate) head: String,
    text: String,
    read: usize,
}

impl Reader {
    pub(crate) fn open(daemon: &Daemon, query: &str, headers: Headers<'_>) -> Self {
        let mut wire = daemon.address.connect().unwrap();
        wire.head("GET", &format!("{STREAM}{query}"), headers, "accept: text/event-stream");
        let mut text = String::new();
        // The first piece of the body tells that whoever reads misses nothing from here on.
        while !text.contains("retry: ") && !text.contains("\"status\":") {
            text.push_str(&String::from_utf8(wire.some()).unwrap());
        }
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        Self { wire, head: head.to_owned(), text: text.clone(), read: 0 }
    }

    /// The next event: its name and its data.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let watch = clock::stopwatch();
        loop {
            if let Some(event) = self.buffered() {
                return event;
            }
            assert!(watch.elapsed() < PATIENCE, "no further event: {}", self.text);
            let more = self.wire.some();
            assert!(!more.is_empty(), "the stream has ended: {}", self.text);
            self.text.push_str(&String::from_utf8(more).unwrap());
        }
    }

    fn buffered(&mut self) -> Option<(String, Value)> {
        let rest = &self.text[self.read..];
        let start = rest.find("event: ")?;
        let end = start + rest[start..].find("\n\n")?;
        let (name, data) = rest[start..end].split_once("\ndata: ").unwrap();
        // Where pieces of the body meet there are the lengths of the chunks; a piece holds whole events.
        let event = (name.trim_start_matches("event: ").to_owned(), serde_json::from_str(data).unwrap());
        self.read += end + 2;
        Some(event)
    }

    /// The next event of that name.
    pub(crate) fn next_of(&mut self, name: &str) -> Value {
        loop {
            let (next, data) = self.next();
            if next == name {
                return data;
            }
        }
    }

    /// All that comes until the stream ends.
    pub(crate) fn rest(mut self) -> String {
        let rest = String::from_utf8(self.wire.rest()).unwrap();
        format!("{}{rest}", &self.text[self.read..])
    }
}

fn brief(event: &(String, Value)) -> Value {
    let (name, data) = event;
    let last = match name.as_str() {
        "result" => &data["outcome"],
        "dropped" => &data["why"],
        _ => &Value::Null,
    };
    json!([name, data["id"], data["from"], data["indicator"], data["reason"], last])
}

#[test]
fn a_life_of_an_icon_is_told_as_it_happens() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let before = clock::wall_millis();
    let mut reader = Reader::open(&daemon, "", &[]);
    assert!(reader.head.starts_with("HTTP/1.1 200 "), "{}", reader.head);
    assert!(reader.head.contains("content-type: text/event-stream\r\n"), "{}", reader.head);
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let mut told: Vec<_> = (0..2).map(|_| reader.next()).collect();
    daemon.give("c", "ann", "message_sent");
    told.extend((0..2).map(|_| reader.next()));
    let briefly: Vec<_> = told.iter().map(brief).collect();
    assert_eq!(
        json!(briefly),
        json!([
            ["decided", 1, "ann", "TypingStarted", "first_keystroke", null],
            ["result", 1, "ann", "TypingStarted", "first_keystroke", "delivered"],
            ["decided", 2, "ann", "TypingStopped", "message_sent", null],
            ["result", 2, "ann", "TypingStopped", "message_sent", "delivered"],
        ])
    );
    let after = clock::wall_millis();
    for (_, data) in &told {
        // What was decided is dated back by the monotonic clock, which another clock's step may put off by a little.
        let at = data["at"].as_u64().unwrap();
        assert!((before - 1_000..=after + 1_000).contains(&at), "{before} {data} {after}");
        assert_eq!(data["to"], "c");
    }
    let (_, result) = &told[1];
    assert_eq!((&result["status"], &result["code"], &result["attempt"]), (&json!(202), &Value::Null, &json!(0)));
    let of = |name: &str| result[name].as_f64().unwrap();
    assert!(of("round_trip_ms") > 0.0 && of("since_decided_ms") >= of("round_trip_ms"), "{result}");
}

#[test]
fn failures_retries_and_what_comes_to_nothing_are_told() {
    let sandbox = Sandbox::start(&["--refuse-from", "mallory"]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '1m'");
    let mut reader = Reader::open(&daemon, "", &[]);
    daemon.give("c", "mallory", "keystroke");
    reader.next_of("decided");
    let refused = reader.next_of("result");
    assert_eq!((&refused["outcome"], &refused["code"]), (&json!("refused"), &json!(10028)), "{refused}");
    assert!(!refused["detail"].as_str().unwrap().is_empty(), "{refused}");
    assert_eq!(reader.next_of("dropped")["why"], "given_up");

    // The upstream loses the first try; the second has the same number.
    sandbox.set_faults(&json!({"faults": ["503"]}));
    daemon.give("c", "ann", "keystroke");
    let id = reader.next_of("decided")["id"].clone();
    let first = reader.next_of("result");
    assert_eq!((&first["id"], &first["outcome"], &first["attempt"]), (&id, &json!("unsure"), &json!(0)), "{first}");
    sandbox.set_faults(&json!({}));
    let last = wait_for("a try that succeeds", || {
        let result = reader.next_of("result");
        (result["outcome"] == "delivered").then_some(result)
    });
    assert_eq!(last["id"], id);
    assert!(last["attempt"].as_u64().unwrap() >= 1, "{last}");

    // Nothing leaves while the far side hangs on to what is under way: the newest wish takes the place of the others.
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    daemon.give("c", "ann", "message_sent");
    let stopped = reader.next_of("decided")["id"].clone();
    daemon.give("c", "ann", "keystroke");
    let started = reader.next_of("decided")["id"].clone();
    daemon.give("c", "ann", "stopped");
    let dropped = reader.next_of("dropped");
    assert_eq!((&dropped["id"], &dropped["why"]), (&started, &json!("replaced")), "{dropped}");
    assert_ne!(stopped, started);
}

#[test]
fn one_channel_or_one_end_user_can_be_asked_for() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let mut channel = Reader::open(&daemon, "?to=c", &[]);
    let mut person = Reader::open(&daemon, "?to=c&from=bob%20b", &[]);
    let mut heard = Vec::new();
    for (to, from, events) in [("d", "bob b", 0), ("c", "ann", 2), ("c", "bob b", 2)] {
        daemon.give(to, from, "keystroke");
        sandbox.until_told(to, from, "+");
        heard.extend((0..events).map(|_| channel.next().1["from"].clone()));
    }
    assert_eq!(heard, ["ann", "ann", "bob b", "bob b"]);
    let (name, data) = person.next();
    assert_eq!((name.as_str(), &data["to"], &data["from"]), ("decided", &json!("c"), &json!("bob b")));
    for (query, words) in [
        ("?from=ann", "`from` is there without `to`"),
        ("?since=1", "unknown option `since`"),
        ("?to=", "`to` is empty"),
        ("?to=a&to=b", "repeated option `to`"),
    ] {
        let answer = daemon.address.get(&format!("{STREAM}{query}"));
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.problem().contains(words), "{answer:?}");
    }
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    assert_eq!(daemon.address.get(STREAM).status, 401);
    let reader = Reader::open(&daemon, "", &[("authorization", "Bearer c4llers")]);
    assert!(reader.head.starts_with("HTTP/1.1 200 "), "{}", reader.head);
}

#[test]
fn readers_have_a_bound_and_a_place_is_free_when_one_goes() {
    let (_sandbox, daemon) = pair("");
    let mut readers: Vec<_> = (0..64).map(|_| Reader::open(&daemon, "", &[])).collect();
    let further = daemon.address.get(STREAM);
    assert_eq!((further.status, further.header("retry-after")), (429, Some("5")), "{further:?}");
    assert!(further.problem().contains("64"), "{further:?}");
    readers.pop();
    until("a free place", || Reader::open(&daemon, "", &[]).head.starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_hanging_reader_does_not_hold_up_a_shutdown() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    let reader = Reader::open(&daemon, "?to=c", &[]);
    // One that takes nothing of what it is sent, though it is much.
    let _hangs = Reader::open(&daemon, "", &[]);
    let body: String = (0..20_000)
        .map(|i| {
            let (from, signal) = (format!("{}{}", "u".repeat(200), i / 2 % 100), ["keystroke", "stopped"][i % 2]);
            format!("{}\n", signal_of("flood", &from, signal))
        })
        .collect();
    let watch = clock::stopwatch();
    let answer = daemon.address.call("POST", "/v1/signals", &[NDJSON], body.as_bytes());
    assert_eq!(answer.json()["accepted"], 20_000, "{answer:?}");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    daemon.process.stop();
    assert!(watch.elapsed() < PATIENCE + Duration::from_secs(10), "{:?}", watch.elapsed());
    let rest = reader.rest();
    assert!(rest.contains(r#""reason":"shutdown","attempt":0,"outcome":"delivered""#), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "a shutdown is a proper end: {rest}");
}
