//! `POST /v1/signals` over real sockets: what is taken, what is turned away, and with which words.

use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, pair, signal_of};
use crate::process::{Process, run, typingd, until};
use crate::wire::Headers;

/// A daemon whose icons stay, so that whatever was taken can be seen.
fn steady(settings: &str) -> (Sandbox, Daemon) {
    pair(&format!("timing.dismiss_after = '1m'\n{settings}"))
}

fn line(from: &str) -> String {
    format!("{}\n", signal_of("c", from, "keystroke"))
}

#[test]
fn bad_input_has_one_clear_answer_and_disturbs_nobody() {
    let (sandbox, daemon) = steady("");
    let signal = |member: &str, value: Value| {
        let mut signal = signal_of("c", "u", "keystroke");
        signal[member] = value;
        signal.to_string().into_bytes()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let long = "x".repeat(241);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", text(""), "the body is empty; expected one JSON object"),
        ("half an object", text(r#"{"to": "c", "fr"#), "the body is not JSON: "),
        ("a number", text("5"), "a signal: an object"),
        ("half an array", text(r#"[{"to": "c"},"#), "is not a JSON array"),
        ("two objects", [signal("at", 1.into()), signal("at", 2.into())].concat(), "is not JSON"),
        ("message text", signal("text", "s3cret words".into()), "unknown field `text`"),
        ("no ids", text(r#"{"signal": "keystroke"}"#), "`to` is missing"),
        ("an empty id", signal("to", "".into()), "`to` is empty"),
        ("an overlong id", signal("from", long.into()), "`from` "),
        ("a number for an id", signal("from", 7.into()), "`from` is the number 7"),
        ("an unknown signal", signal("signal", "keypress".into()), "`signal`"),
        ("a negative time", signal("at", (-1).into()), "`at` is the number -1"),
        ("an absurd time", signal("at", u64::MAX.into()), "`at` "),
        ("a time with a fraction", signal("at", 1.5.into()), "`at` is a number with a fraction"),
        (
            "a time in seconds",
            signal("at", 1_700_000_000.into()),
            "`at` is the number 1700000000, which can only be seconds; expected milliseconds since the Unix epoch, such as \
             1700000000000",
        ),
        ("a time as text", signal("at", "1".into()), "`at` "),
        ("a key that lasts too long", signal("lasts", 60_001.into()), "`lasts` is the number 60001; expected"),
        ("what lasts as text", signal("lasts", "5s".into()), "`lasts` is a string"),
        (
            "a message that lasts",
            text(r#"{"to": "c", "from": "u", "signal": "message_sent", "lasts": 5000}"#),
            "`lasts` is given with message_sent; expected with keystroke only",
        ),
        ("broken UTF-8", b"{\"to\": \"c\xff\", \"from\": \"u\", \"signal\": \"keystroke\"}".to_vec(), "UTF-8"),
        ("broken UTF-8 in an array", b"[\"\xff\"]".to_vec(), "UTF-8"),
        ("none but bad ones", text(r#"[{"to": 1}, 5, null]"#), "none of the 3 signals"),
        ("a deep nest", text(&"[".repeat(100_000)), "is not a JSON array"),
    ];
    for (name, body, said) in cases {
        let answer = daemon.address.call("POST", "/v1/signals", &[JSON], &body);
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        assert!(answer.problem().contains(said), "{name}: {answer:?}");
        assert!(!answer.body.contains("s3cret"), "{name}: {answer:?}");
    }
    let good = signal_of("c", "u", "keystroke").to_string();
    let calls: [(&str, &str, Headers<'_>, u16, &str); 9] = [
        ("POST", "/v1/signals", &[], 415, "application/x-ndjson"),
        ("POST", "/v1/signals", &[("content-type", "text/plain")], 415, "application/json"),
        ("POST", "/v1/signals?wait=soon", &[JSON], 400, "`wait` is \"soon\""),
        ("POST", "/v1/signals?wait=1h", &[JSON], 400, "up to 30s"),
        ("POST", "/v1/signals?wiat=1s", &[JSON], 400, "unknown option `wiat`"),
        ("POST", "/v1/signals?wait=1s", &[NDJSON], 400, "application/json"),
        ("PUT", "/v1/signals", &[JSON], 405, "another method"),
        ("POST", "/healthz", &[JSON], 405, "another method"),
        ("POST", "/v2/signals", &[JSON], 404, "/v1/signals"),
    ];
    for (method, path, headers, status, said) in calls {
        let answer = daemon.address.call(method, path, headers, good.as_bytes());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.problem().contains(said), "{method} {path}: {answer:?}");
        if status == 405 {
            let allowed = answer.header("allow").unwrap_or_default();
            assert!(allowed.contains(if path == "/healthz" { "GET" } else { "POST" }), "{answer:?}");
        }
    }
    assert_eq!(sandbox.requests(), Vec::<Value>::new());
    daemon.give("c", "u", "keystroke");
    sandbox.until_told("c", "u", "+");
}

#[test]
fn what_serializers_and_editors_write_is_understood() {
    let (sandbox, daemon) = steady("");
    let marked = |body: &str| [b"\xef\xbb\xbf".as_slice(), body.as_bytes()].concat();
    let whole = line("a").replace('}', ", \"at\": 1700000000123.0}");
    for (kind, body) in [(JSON, whole.clone()), (JSON, format!("[{}]", line("b"))), (NDJSON, line("c") + &line("d"))] {
        let answer = daemon.address.call("POST", "/v1/signals", &[kind], &marked(&body));
        assert_eq!((answer.status, answer.json()["rejected"].as_array().unwrap().len()), (202, 0), "{answer:?}");
    }
    for user in ["a", "b", "c", "d"] {
        sandbox.until_told("c", user, "+");
    }
    let answer = daemon.address.call("PUT", "/v1/timing", &[], &marked(r#"{"check_interval": "3s"}"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = daemon.address.call("POST", "/v1/simulate", &[NDJSON], &marked(&whole));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A channel that reports typing once in a while: one keystroke, refreshed while it lasts, gone after it.
#[test]
fn a_keystroke_that_lasts_counts_as_typing_for_so_long() {
    let (sandbox, daemon) = pair("timing.check_interval = '100ms'\ntiming.dismiss_after = '100ms'");
    let mut key = signal_of("c", "u", "keystroke");
    key["lasts"] = json!(450);
    let stream = format!("{key}\n").replace("\"u\"", "\"v\"");
    let watch = clock::stopwatch();
    assert_eq!(daemon.post("/v1/signals", &key).status, 202);
    assert_eq!(daemon.address.call("POST", "/v1/signals", &[NDJSON], stream.as_bytes()).status, 202);
    for user in ["u", "v"] {
        until("refreshes, and the icon off again", || {
            let told = sandbox.told("c", user);
            told.starts_with("++") && told.ends_with('-')
        });
        assert!(
            sandbox.told("c", user).len() <= 6,
            "first, at most four checks, the stop: {}",
            sandbox.told("c", user)
        );
    }
    assert!(watch.elapsed() >= Duration::from_millis(550), "{:?}", watch.elapsed());
    // While it lasts that is told.
    key["lasts"] = json!(60_000);
    daemon.post("/v1/signals", &key);
    let told = daemon.address.get("/v1/conversations?to=c&from=u").json();
    let said = told["explanation"].as_str().unwrap_or_default();
    assert!(said.contains("According to a signal, the typing lasts for another "), "{told}");
    daemon.give("c", "u", "message_sent");
    until("the icon off at once", || sandbox.told("c", "u").ends_with('-'));
}

#[test]
fn what_lasts_is_replayed_and_recorded() {
    let settings = "ingest.recording = true\ntiming.check_interval = '100ms'\ntiming.dismiss_after = '100ms'";
    let (sandbox, daemon) = pair(settings);
    let path = |name: &str| daemon.file(name).to_str().unwrap().to_owned();
    let (trace, recorded, url) = (path("trace"), path("recorded"), daemon.address.url());
    let key = r#"{"to":"c","from":"u","signal":"keystroke","lasts":450,"at":0}"#;
    let end = r#"{"to":"c","from":"u","signal":"opened","at":900}"#;
    std::fs::write(&trace, format!("{key}\n{end}\n")).unwrap();
    let mut recorder = Process::start(typingd(&["record", "--url", &url, "-o", &recorded]));
    until("the recording's file", || daemon.file("recorded").exists());
    let said = run(&["replay", &trace, "--url", &url]);
    assert_eq!(said.code, Some(0), "{said:?}");
    until("refreshes, and the icon off again", || {
        let told: Vec<_> = sandbox.requests().iter().map(|seen| seen["entry_type"].to_string()).collect();
        told.len() >= 3 && told.last().unwrap().contains("Stopped")
    });
    recorder.tell("INT");
    assert_eq!(recorder.end().code(), Some(0), "{}", recorder.log());
    let text = std::fs::read_to_string(&recorded).unwrap();
    assert!(text.lines().next().unwrap().contains("\"lasts\":450"), "{text}");
}

#[test]
fn good_signals_are_taken_and_bad_ones_named_by_index() {
    let (sandbox, daemon) = steady("");
    let post = |kind: (&str, &str), body: &[u8]| {
        let answer = daemon.address.call("POST", "/v1/signals", &[kind], body);
        assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")), "{answer:?}");
        answer.json()
    };
    let indexes = |answer: &Value| -> Vec<u64> {
        answer["rejected"].as_array().unwrap().iter().map(|reject| reject["index"].as_u64().unwrap()).collect()
    };
    let body = json!([signal_of("c", "a0", "keystroke"), {"to": "c"}, signal_of("c", "a2", "keystroke"), 5]);
    let answer = post(JSON, body.to_string().as_bytes());
    assert_eq!((answer["accepted"].as_u64(), indexes(&answer)), (Some(2), vec![1, 3]));
    assert!(answer["rejected"][0]["error"].as_str().unwrap().contains("`from` is missing"), "{answer}");

    // Blank lines count as lines and are no mistake; the last line has no end and is whole, or is half a line.
    let mut body = format!("{}\r\n\n{{\"to\": \"c\", \"text\": \"s3cret\"}}\n", line("b0").trim()).into_bytes();
    body.extend_from_slice(b"{\"to\": \"\xff\"}\n");
    body.extend_from_slice(line("b4").trim().as_bytes());
    let answer = post(("content-type", "Application/X-NDJSON; charset=utf-8"), &body);
    assert_eq!((answer["accepted"].as_u64(), indexes(&answer)), (Some(2), vec![2, 3]));
    let half = format!("{}{}", line("d0"), &line("d1")[..20]);
    let answer = post(NDJSON, half.as_bytes());
    assert_eq!((answer["accepted"].as_u64(), indexes(&answer)), (Some(1), vec![1]));
    let long = format!("{}{}\n{}", line("e0"), "x".repeat(100_000), line("e2"));
    let answer = post(NDJSON, long.as_bytes());
    assert_eq!((answer["accepted"].as_u64(), indexes(&answer)), (Some(2), vec![1]));
    for from in ["a0", "a2", "b0", "b4", "d0", "e0", "e2"] {
        sandbox.until_told("c", from, "+");
    }
    assert_eq!(sandbox.shown(), 7);

    // The first hundred in full, the others counted.
    let mut many = vec![json!({"to": "c"}); 150];
    let none = daemon.post("/v1/signals", &many.clone().into());
    assert_eq!((none.status, &none.json()["rejected_total"]), (400, &json!(150)), "{}", none.problem());
    assert_eq!(indexes(&none.json()), (0..100).collect::<Vec<_>>());
    many.push(signal_of("c", "a0", "keystroke"));
    let answer = post(JSON, json!(many).to_string().as_bytes());
    assert_eq!(answer["accepted"], 1);
    assert_eq!((answer["rejected_total"].as_u64(), indexes(&answer).len()), (Some(150), 100));
    assert_eq!(post(JSON, b"[]"), json!({"accepted": 0, "rejected": []}));
    assert_eq!(post(NDJSON, b""), json!({"accepted": 0, "rejected": []}));
}

#[test]
fn a_stream_is_handled_line_by_line_whatever_pieces_it_comes_in() {
    let (sandbox, daemon) = steady("");
    let mut wire = daemon.address.connect().unwrap();
    wire.head("POST", "/v1/signals", &[NDJSON], "transfer-encoding: chunked");
    for (piece, from) in [(1, "a"), (2, "b"), (3, "ç"), (7, "d"), (4_096, "e")] {
        for part in line(from).as_bytes().chunks(piece) {
            wire.chunk(part);
        }
        // The stream goes on, and yet the line has taken effect.
        sandbox.until_told("c", from, "+");
    }
    wire.chunk(b"");
    assert_eq!(wire.answer().json(), json!({"accepted": 5, "rejected": []}));

    // Whoever goes away in the middle of a line loses that line alone.
    let mut gone = daemon.address.connect().unwrap();
    gone.head("POST", "/v1/signals", &[NDJSON], "transfer-encoding: chunked");
    gone.chunk(format!("{}{}", line("whole"), line("half").trim_end_matches("}\n")).as_bytes());
    drop(gone);
    sandbox.until_told("c", "whole", "+");
    daemon.give("c", "after", "keystroke");
    sandbox.until_told("c", "after", "+");
    assert_eq!(sandbox.told("c", "half"), "");
}

#[test]
fn a_unix_socket_serves_like_any_other_and_outlives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("typingd.sock");
    let listen = format!("ingest.listen = ['unix:{}', '127.0.0.1:0']", socket.display());
    let (sandbox, mut daemon) = steady(&listen);
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    assert!(socket.exists());
    daemon.process.tell("KILL");
    daemon.process.end();
    assert!(socket.exists(), "a killed daemon can't clean up");
    let mut daemon = Daemon::start(&sandbox.address.url(), &listen);
    assert_eq!(daemon.address.get("/healthz").json(), json!({"status": "alive"}));
    until("ready", || daemon.address.get("/readyz").status == 200);

    // A second daemon does not take the socket away from a living one.
    let file = daemon.file("typingd.toml");
    let second = crate::process::run_with(typingd(&["run", "--config", file.to_str().unwrap()]), "");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains(&format!("unix:{}", socket.display())), "{second:?}");
    daemon.give("c", "bob", "keystroke");
    daemon.process.stop();
    assert!(!socket.exists(), "a daemon that stops cleans up");
}

#[test]
fn callers_show_their_token_if_one_is_asked_for() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "  c4llers\n").unwrap();
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    let body = signal_of("c", "ann", "keystroke").to_string();
    let cases: [(Headers<'_>, u16); 8] = [
        (&[], 401),
        (&[("authorization", "Bearer")], 401),
        (&[("authorization", "Bearer c4ller")], 401),
        (&[("authorization", "Bearer c4llersx")], 401),
        (&[("authorization", "Basic c4llers")], 401),
        (&[("authorization", "Bearer c4llers")], 202),
        (&[("authorization", "bearer  c4llers")], 202),
        (&[("authorization", "bearer c4llers")], 202),
    ];
    for (headers, status) in cases {
        let answer = daemon.address.call("POST", "/v1/signals", &[headers, &[JSON]].concat(), body.as_bytes());
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{answer:?}");
            assert!(answer.problem().contains("bearer token"), "{answer:?}");
        }
    }
    assert_eq!(daemon.address.get("/healthz").status, 200, "health is no secret");
}

#[test]
fn bodies_and_heads_have_a_bound() {
    let (sandbox, daemon) = steady("ingest.max_body = '1KiB'");
    // Said ahead: not a byte of it is waited for.
    let mut said = daemon.address.connect().unwrap();
    said.head("POST", "/v1/signals", &[JSON], "content-length: 1025");
    let answer = said.answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.problem().contains("1024 bytes"), "{answer:?}");
    // Found out on the way.
    let mut found = daemon.address.connect().unwrap();
    found.head("POST", "/v1/signals", &[JSON], "transfer-encoding: chunked");
    found.chunk(&[b' '; 1_025]);
    assert_eq!(found.answer().status, 413);
    // Just within; and a stream has no bound but that of its lines.
    let body = format!("{:<1024}", line("in").trim());
    assert_eq!(daemon.address.call("POST", "/v1/signals", &[JSON], body.as_bytes()).status, 202);
    let body: String = (0..100).map(|i| line(&format!("u{i}"))).collect();
    assert_eq!(daemon.address.call("POST", "/v1/signals", &[NDJSON], body.as_bytes()).json()["accepted"], 100);

    let mut huge = daemon.address.connect().unwrap();
    huge.write(b"GET /healthz HTTP/1.1\r\nhost: typingd\r\nx-junk: ").unwrap();
    // The answer may come, and the connection go, before all of it is written.
    let _ = huge.write(&[b'x'; 40_000]);
    let answer = String::from_utf8(huge.rest()).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let mut large = daemon.address.connect().unwrap();
    large.write(b"GET /healthz HTTP/1.1\r\nhost: typingd\r\nx-junk: ").unwrap();
    large.write(&[b'x'; 16 * 1_024]).unwrap();
    let answer = large.answer();
    assert_eq!(answer.status, 431, "{answer:?}");
    assert!(answer.problem().contains("16 KiB"), "{answer:?}");
    // The address is a part of the head, also where all of it comes at once.
    for (bytes, status) in [(16_000, 404), (17_000, 431), (20_000, 431)] {
        let answer = daemon.address.get(&format!("/{}", "x".repeat(bytes)));
        assert_eq!(answer.status, status, "{bytes}");
        answer.problem();
    }
    until("all icons", || sandbox.shown() == 101);
}

#[test]
fn what_is_no_http_is_told_so() {
    let (_sandbox, daemon) = steady("");
    for garbage in [
        "s3cret\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / x / HTTP/1.1\r\n\r\n",
        "POST /v1/signals HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let mut wire = daemon.address.connect().unwrap();
        wire.write(garbage.as_bytes()).unwrap();
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{garbage:?}: {answer:?}");
        assert!(
            answer.problem().contains("can't be parsed") && !answer.body.contains("s3cret"),
            "{garbage:?}: {answer:?}"
        );
    }
    // Behind a request that can be read, too.
    let mut wire = daemon.address.connect().unwrap();
    wire.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert!(String::from_utf8(wire.some()).unwrap().starts_with("HTTP/1.1 200 "));
    wire.write(b"s3cret\r\n\r\n").unwrap();
    assert!(wire.answer().problem().contains("can't be parsed"));
}

#[test]
fn a_client_that_reads_last_learns_why_it_is_rejected() {
    let (_sandbox, daemon) = steady("ingest.max_body = '1KiB'");
    let body = vec![b' '; 4 << 20];
    let mut wire = daemon.address.connect().unwrap();
    wire.head("POST", "/v1/signals", &[JSON], &format!("content-length: {}", body.len()));
    wire.write(&body).unwrap();
    assert_eq!(wire.answer().status, 413);
}

#[test]
fn a_full_table_says_when_to_retry_and_frees_room() {
    let (sandbox, daemon) = steady("ingest.max_conversations = 2");
    for from in ["a", "b"] {
        daemon.give("c", from, "keystroke");
        sandbox.until_told("c", from, "+");
    }
    let watch = clock::stopwatch();
    let full = daemon.post("/v1/signals", &signal_of("c", "x", "keystroke"));
    assert_eq!((full.status, full.header("retry-after")), (429, Some("1")), "{full:?}");
    assert!(full.problem().contains("full"), "{full:?}");
    let mixed =
        daemon.post("/v1/signals", &json!([signal_of("c", "x", "keystroke"), signal_of("c", "a", "keystroke")]));
    assert_eq!((mixed.status, &mixed.json()["accepted"]), (202, &json!(1)), "{mixed:?}");
    assert!(mixed.json()["rejected"][0]["error"].as_str().unwrap().contains("max_conversations"), "{mixed:?}");
    // A stream is told the same, and goes on.
    let stream = daemon.address.call("POST", "/v1/signals", &[NDJSON], (line("x") + &line("b")).as_bytes());
    assert_eq!((stream.status, &stream.json()["accepted"]), (202, &json!(1)), "{stream:?}");

    let comes = |from: &str| {
        until(from, || daemon.post("/v1/signals", &signal_of("c", from, "keystroke")).status == 202);
        sandbox.until_told("c", from, "+");
    };
    // Whoever is done leaves at once; whoever is only remembered, for the time of its message, makes room.
    daemon.give("c", "a", "stopped");
    comes("x");
    let message = json!({"to": "c", "from": "b", "signal": "message_sent", "at": clock::wall_millis()});
    assert_eq!(daemon.post("/v1/signals", &message).status, 202);
    comes("y");
    assert_eq!(daemon.post("/v1/signals", &signal_of("c", "z", "keystroke")).status, 429);
    assert_eq!(sandbox.shown(), 2, "x and y, after {:?}", watch.elapsed());
    assert!(watch.elapsed() < Duration::from_secs(60), "nobody has gone by time");
}

/// A few conversations below its bound typingd no longer answers a single signal before it has found room for it.
#[test]
fn each_signal_that_is_taken_has_room_up_to_the_last() {
    let (_sandbox, daemon) = steady("ingest.max_conversations = 4100");
    let key = |from: &str| signal_of("c", from, "keystroke");
    for n in 0..10 {
        assert_eq!(daemon.post("/v1/signals", &key(&format!("user-{n}"))).status, 202);
        let found = daemon.address.call("GET", &format!("/v1/conversations?to=c&from=user-{n}"), &[], b"");
        assert_eq!(found.status, 200, "who has been answered finds what has been taken: {found:?}");
    }
    let others: Vec<_> = (10..4_099).map(|n| key(&format!("user-{n}"))).collect();
    assert_eq!(daemon.post("/v1/signals", &Value::from(others)).json()["accepted"], 4_089);
    let statuses = ["last", "one-more", "user-0", "last"].map(|from| daemon.post("/v1/signals", &key(from)).status);
    assert_eq!(statuses, [202, 429, 202, 202]);
}
