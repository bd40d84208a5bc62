//! Browsers: what web pages can't make them do, what everybody else may, and what an answer tells them.

use serde_json::json;

use crate::bench::{Daemon, JSON, Sandbox, pair, signal_of};
use crate::connector::{Connector, REQUEST_ID, form, typing};
use crate::process::until;
use crate::wire::{Address, Answer, Headers};

/// One request whose caller says of itself which host it means.
fn ask(address: &Address, call: &str, host: &str, headers: Headers<'_>, body: &str) -> Answer {
    let mut wire = address.connect().unwrap();
    let mut head = format!("{call} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    wire.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    wire.answer()
}

const CROSS_SITE: Headers<'_> = &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
const FROM_ELSEWHERE: Headers<'_> = &[("origin", "http://127.0.0.1:3000")];
/// What a browser sends for a page whose name was made to point here.
const REBOUND: Headers<'_> = &[("accept-language", "en"), ("user-agent", "Mozilla/5.0")];
const TYPED: Headers<'_> = &[("sec-fetch-site", "none"), ("accept-language", "en"), ("user-agent", "Mozilla/5.0")];

fn is_refused(answer: &Answer) -> bool {
    answer.status == 403 && ["a web page", "a browser"].iter().any(|who| answer.problem().contains(who))
}

#[test]
fn no_web_page_can_read_from_a_daemon_or_steer_it() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\ningest.recording = true");
    let keystroke = signal_of("c", "ann", "keystroke").to_string();
    // A form or a `text/plain` body needs no leave of the daemon; it must fail all the same, and before it is looked at.
    let calls = [
        ("POST /v1/signals", keystroke.as_str()),
        ("PUT /v1/timing", r#"{"dismiss_after": "1ms"}"#),
        ("DELETE /v1/timing/c", ""),
        ("POST /v1/tune", ""),
        ("GET /v1/timing", ""),
        ("GET /v1/signals/stream", ""),
        ("GET /metrics", ""),
        ("GET /healthz", ""),
        ("GET /nothing/here", ""),
        ("OPTIONS /v1/signals", ""),
    ];
    for (call, body) in calls {
        for (host, headers) in
            [("127.0.0.1:7480", CROSS_SITE), ("localhost:7480", FROM_ELSEWHERE), ("rebound.example:7480", REBOUND)]
        {
            let answer = ask(&daemon.address, call, host, &[headers, &[JSON]].concat(), body);
            assert!(is_refused(&answer), "{call} {host} {headers:?}: {answer:?}");
            assert!(!answer.head.to_ascii_lowercase().contains("access-control-"), "{answer:?}");
        }
    }
    assert_eq!(daemon.address.get("/v1/timing").json()["timing"]["dismiss_after"], "1m");
    assert_eq!(sandbox.told("c", "ann"), "");
    // Nobody holds the one recording that there may be.
    let mut recorder = daemon.address.connect().unwrap();
    recorder.head("GET", "/v1/signals/stream", &[], "accept: */*");
    assert!(String::from_utf8(recorder.some()).unwrap().starts_with("HTTP/1.1 200 "));

    // The user's own address bar, the daemon's own pages, and everything that is no browser.
    for (host, headers) in [
        ("127.0.0.1:7480", TYPED),
        ("localhost:7480", &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:7480")]),
        ("localhost:7480", &[("origin", "http://localhost:7480")]),
        ("10.1.2.3:7480", &[("user-agent", "kube-probe/1.31"), ("accept", "*/*")]),
        ("typingd.internal", &[("user-agent", "curl/8.5.0"), ("accept", "*/*")]),
        ("typingd.internal", &[("x-forwarded-for", "10.1.2.3"), ("via", "1.1 envoy")]),
    ] {
        let answer = ask(&daemon.address, "POST /v1/signals", host, &[headers, &[JSON]].concat(), &keystroke);
        assert_eq!(answer.status, 202, "{host} {headers:?}: {answer:?}");
    }
    sandbox.until_told("c", "ann", "+");
}

#[test]
fn with_a_token_or_a_unix_socket_any_host_name_serves() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let socket = Address::Unix(directory.path().join("s"));
    let listen = format!("ingest.listen = ['127.0.0.1:0', 'unix:{}/s']", directory.path().display());
    let daemon = Daemon::start(&sandbox.address.url(), &listen);
    until("its socket", || directory.path().join("s").exists());
    assert_eq!(ask(&socket, "GET /v1/timing", "console.example", TYPED, "").status, 200);
    assert!(is_refused(&ask(&socket, "GET /v1/timing", "console.example", CROSS_SITE, "")));
    assert!(is_refused(&ask(&daemon.address, "GET /v1/timing", "console.example", TYPED, "")));

    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    let call = |headers: Headers<'_>| ask(&daemon.address, "GET /v1/timing", "console.example", headers, "");
    assert_eq!(call(&[TYPED, token].concat()).status, 200);
    assert_eq!(call(TYPED).status, 401, "a name alone opens nothing");
    assert!(is_refused(&call(&[CROSS_SITE, token].concat())));
}

#[test]
fn requests_of_web_pages_pass_and_show_no_icon() {
    let sandbox = Sandbox::start(&[]);
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let auth = "drop_in.enabled = true\ningest.token_file = 'callers'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    let connector = Connector::new(&daemon.address, "t");
    let entry = form(&typing("c", "u", "TypingStartedIndicator"));
    let of = |page: Headers<'static>| connector.headers().into_iter().chain(page.iter().copied()).collect::<Vec<_>>();
    for page in [CROSS_SITE, &[("origin", "http://rebound.example")], &[("origin", "null")]] {
        let answer = daemon.address.call("POST", "/api/v1/interactions", &of(page), &entry);
        assert_eq!(answer.status, 202, "{page:?}: {answer:?}");
    }
    let ids: Vec<_> = sandbox.of("c", "u").iter().map(|seen| seen["request_id"].clone()).collect();
    assert_eq!(ids, [REQUEST_ID; 3], "its own requests, and none of typingd's");
    let report = daemon.address.call("GET", "/v1/drop_in", &[("authorization", "Bearer c4llers")], b"").json();
    assert_eq!((&report["others"], &report["started_taken"]), (&json!(3), &json!(0)), "{report}");
    // The `fetch` of Node, by whatever name it calls, is a program.
    let node = of(&[("accept-language", "*"), ("sec-fetch-mode", "cors"), ("user-agent", "node")]);
    let answer = daemon.address.call("POST", "/api/v1/interactions", &node, &entry);
    assert_eq!(answer.json()["workItemIds"], json!([]), "typingd's own answer: {answer:?}");
    // Whatever the far side says of itself is left as it is.
    let answer = ask(&daemon.address, "GET /api/v1/nothing", "typingd", &[], "");
    assert!(answer.status >= 400 && answer.header("x-content-type-options").is_none(), "{answer:?}");
}

#[test]
fn answers_carry_security_headers_and_allowed_methods() {
    let (_sandbox, daemon) = pair("");
    let nothing = b"";
    for (method, path, status, allowed) in [
        ("GET", "/healthz", 200, None),
        ("GET", "/metrics", 200, None),
        ("GET", "/nowhere", 404, None),
        ("OPTIONS", "/nowhere", 404, None),
        ("POST", "/v1/signals", 415, None),
        ("GET", "/v1/signals", 405, Some("POST")),
        ("POST", "/healthz", 405, Some("GET,HEAD")),
        ("OPTIONS", "/healthz", 204, Some("GET,HEAD")),
        ("OPTIONS", "/v1/signals", 204, Some("POST")),
        ("OPTIONS", "/v1/timing", 204, Some("GET,HEAD,PUT,DELETE")),
        ("OPTIONS", "/v1/timing/c", 204, Some("PUT,DELETE")),
    ] {
        let answer = daemon.address.call(method, path, &[], nothing);
        assert_eq!((answer.status, answer.header("allow")), (status, allowed), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{method} {path}: {answer:?}");
        assert_eq!(answer.body.is_empty(), status == 204, "{method} {path}: {answer:?}");
        if status >= 400 {
            answer.problem();
        }
    }
    // The drop-in's own refusals, and those of requests that no route sees, are typingd's too.
    let own = Daemon::start_with("http://127.0.0.1:1", "drop_in.enabled = true", "", |_| {});
    for (method, path, headers, status) in [
        ("GET", "/api/v1/x", [("x-y", "z")], 502),
        ("CONNECT", "/api/v1/x", [("x-y", "z")], 405),
        ("GET", "/api/v1/x", [("host", "two")], 400),
    ] {
        let answer = own.address.call(method, path, &headers, nothing);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{method} {path}: {answer:?}");
    }
    // HEAD is GET without the body, its length and type included.
    let (head, get) = (daemon.address.call("HEAD", "/healthz", &[], nothing), daemon.address.get("/healthz"));
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    for name in ["content-length", "content-type", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(get.json(), json!({"status": "alive"}));
}
