//! What is typingd's own where the drop-in is on, what passes, and what does neither: a circle, and typingd's own token.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use serde_json::json;
use typingd::base::clock;

use crate::bench::Daemon;
use crate::connector::{Connector, connect, form, message, read_until};
use crate::far_side::{FarSide, write};
use crate::process::until;
use crate::wire::{Address, Headers};

const AUTH: &str = "drop_in.enabled = true";

fn far_side() -> FarSide {
    FarSide::start(|came, stream| {
        let head = came.line().starts_with("HEAD");
        write(stream, "299 Far Side", "", if head { b"" } else { came.line().as_bytes() })
    })
}

/// The status of the answer to a request that is written as it is.
fn status(daemon: &Daemon, request: &str) -> (u16, String) {
    let mut stream = connect(&daemon.address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn all_but_typingds_own_addresses_passes_as_it_was_written() {
    let far_side = far_side();
    let daemon = Daemon::start_with(&format!("{}/base", far_side.url()), AUTH, "", |_| {});
    let passes = [
        ("GET", "/api", "/api"),
        ("GET", "/api/v2/x?y=%20", "/api/v2/x?y=%20"),
        ("POST", "/telephony/v1/voiceCalls", "/telephony/v1/voiceCalls"),
        ("PATCH", "//telephony/v1/voiceCalls/a%2Fb", "//telephony/v1/voiceCalls/a%2Fb"),
        ("POST", "//api/v1/interactions", "//api/v1/interactions"),
        ("POST", "/api/v1/interactions/", "/api/v1/interactions/"),
        ("POST", "/api/v1/./interactions", "/api/v1/./interactions"),
        ("POST", "/", "/"),
        ("POST", "/?v1", "/?v1"),
        ("OPTIONS", "/", "/"),
        ("OPTIONS", "/api/v1/interactions", "/api/v1/interactions"),
        ("HEAD", "/telephony", "/telephony"),
        ("TRACE", "/v1x", "/v1x"),
        ("BREW", "/console", "/console"),
        ("DELETE", "/a/%2e%2e/b/../c", "/a/%2e%2e/b/../c"),
        ("GET", "/V1/signals", "/V1/signals"),
        ("GET", "/%ff\"{}|^", "/%ff\"{}|^"),
        ("GET", "//", "//"),
        ("OPTIONS", "*", "*"),
        ("POST", "http://other.example:81/api/x?y", "/api/x?y"),
        ("POST", "http://other.example", "/"),
        ("POST", "http://other.example?x", "/?x"),
    ];
    for (number, (method, target, path)) in passes.iter().enumerate() {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: any.example\r\nconnection: close\r\n\r\n");
        let (status, answer) = status(&daemon, &request);
        assert_eq!(status, 299, "{method} {target}: {answer}");
        let came = far_side.await_request(number + 1);
        let prefix = if *path == "*" { "" } else { "/base" };
        assert_eq!(came.line(), format!("{method} {prefix}{path} HTTP/1.1"));
        let host = format!("host: {}", far_side.url().trim_start_matches("http://"));
        assert!(came.fields().contains(&host.as_str()), "{came:?}");
    }
    let report = daemon.address.get("/v1/drop_in").json();
    assert_eq!((&report["others"], &report["unread"]), (&json!(passes.len()), &json!(0)), "{report}");
    let metrics = daemon.address.get("/metrics").body;
    let counted = format!("typingd_http_requests_total{{route=\"drop_in\",status=\"2xx\"}} {}", passes.len());
    assert!(metrics.contains(&counted), "{metrics}");
}

#[test]
fn typingds_own_addresses_never_pass_however_they_are_written() {
    let far_side = far_side();
    let daemon = Daemon::start_with(&far_side.url(), AUTH, "", |_| {});
    until("ready", || daemon.address.get("/readyz").status == 200);
    for (method, target, expected) in [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/?api", 200),
        ("GET", "http://other.example", 200),
        ("GET", "http://other.example/v1/timing", 200),
        ("GET", "/console/main.js", 200),
        ("POST", "/healthz", 405),
        ("DELETE", "/console/main.js", 405),
        ("OPTIONS", "/v1/timing", 204),
        // There, but for nobody who asks for it: switched off, or misspelt.
        ("GET", "/v1/sandbox/icons", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("POST", "/v1/signal", 404),
        ("GET", "/console/nothing.js", 404),
        ("GET", "/console/", 404),
        ("POST", "//v1/signals", 404),
        ("POST", "/v1//signals", 404),
        ("POST", "/v1/../api/v1/interactions", 404),
        ("POST", "/v1/%2e%2e/api/v1/interactions", 404),
        ("POST", "/api/../v1/signals", 404),
        ("POST", "/api/%2E%2e/v1/signals", 404),
        ("POST", "/%76%31/signals", 404),
        ("POST", "/v1%2Fsignals", 404),
        ("GET", "/./metrics", 404),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: typingd\r\nconnection: close\r\n\r\n");
        let (status, answer) = status(&daemon, &request);
        assert_eq!(status, expected, "{method} {target}: {answer}");
    }
    assert!(far_side.came().is_empty(), "{:?}", far_side.came());
}

#[test]
fn typingds_own_token_neither_guards_nor_passes_the_drop_in() {
    let far_side = far_side();
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers.s3cret\n").unwrap();
    let auth = "drop_in.enabled = true\ningest.token_file = 'callers'";
    let mut daemon = Daemon::start_with(&far_side.url(), auth, "", prepare);
    let passes: [Headers<'_>; 5] = [
        &[],
        &[("authorization", "Bearer 00Dxx!other")],
        &[("authorization", "Bearer c4llers.s3cret2")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://page.example")],
        &[("accept-language", "*"), ("user-agent", "Mozilla/5.0"), ("x-forwarded-host", "scrt.example")],
    ];
    for headers in passes {
        assert_eq!(daemon.address.call("GET", "/api/v1/x", headers, b"").status, 299, "{headers:?}");
    }
    let multipart = ("content-type", "multipart/form-data; boundary=b");
    for shown in ["Bearer c4llers.s3cret", "bearer   c4llers.s3cret", "c4llers.s3cret", "Token\tc4llers.s3cret "] {
        let headers = [("authorization", "Bearer 00Dxx!other"), ("authorization", shown), multipart];
        for (method, path) in [("GET", "/api/v1/x"), ("POST", "/api/v1/interactions"), ("POST", "//v2")] {
            let answer = daemon.address.call(method, path, &headers, &form(&message("c", "u")));
            assert_eq!(answer.status, 403, "{shown}: {answer:?}");
            assert!(answer.problem().starts_with("this is the token of ingest.token_file"), "{answer:?}");
        }
    }
    assert_eq!(far_side.came().len(), passes.len());
    daemon.process.stop();
    assert!(!daemon.process.log().contains("s3cret"), "{}", daemon.process.log());
}

#[test]
fn neither_of_two_own_tokens_passes() {
    let far_side = far_side();
    let prepare = |dir: &tempfile::TempDir| {
        std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
        std::fs::write(dir.path().join("admins"), "4dmins").unwrap();
    };
    for apart in ["", "\nadmin.listen = ['127.0.0.1:0']"] {
        let auth = format!("drop_in.enabled = true\ningest.token_file = 'callers'\nadmin.token_file = 'admins'{apart}");
        let daemon = Daemon::start_with(&far_side.url(), &auth, "", prepare);
        for shown in ["Bearer c4llers", "Bearer 4dmins"] {
            let answer = daemon.address.call("GET", "/api/v1/x", &[("authorization", shown)], b"");
            assert_eq!(answer.status, 403, "{shown}{apart}: {answer:?}");
        }
    }
    assert_eq!(far_side.came().len(), 0);
}

#[test]
fn what_passes_gains_a_via_and_a_third_typingd_refuses() {
    let far_side = far_side();
    let daemon = Daemon::start_with(&far_side.url(), AUTH, "", |_| {});
    let other = "1.1 typingd-0123456789abcdef";
    let two = format!("1.0 gate (a, b), {other}");
    let passed: [(Headers<'_>, Vec<String>); 3] = [
        (&[], vec![]),
        (&[("VIA", "1.1 a")], vec!["VIA: 1.1 a, ".into()]),
        (&[("Via", &two), ("via", other)], vec![format!("Via: {two}"), format!("via: {other}, ")]),
    ];
    for (number, (headers, lines)) in passed.iter().enumerate() {
        assert_eq!(daemon.address.call("GET", "/api/v1/x", headers, b"").status, 299);
        let came = far_side.await_request(number + 1);
        let vias: Vec<_> = came.head.lines().filter(|line| line.to_ascii_lowercase().starts_with("via: ")).collect();
        let last = lines.last().map_or("via: ", String::as_str);
        assert_eq!(vias.len(), lines.len().max(1), "{vias:?}");
        let name = vias.last().unwrap().strip_prefix(last).unwrap().strip_prefix("1.1 typingd-").unwrap();
        assert!(name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{vias:?}");
        assert!(lines.len() < 2 || vias[0] == lines[0], "{vias:?}");
    }
    let three = format!("{two}, {other}");
    for (method, path) in [("GET", "/telephony/v1"), ("POST", "/api/v1/interactions")] {
        let answer = daemon.address.call(method, path, &[("via", &three), ("via", other)], b"");
        assert_eq!(answer.status, 508, "{answer:?}");
        assert!(answer.problem().starts_with("the request has passed three typingd already"), "{answer:?}");
    }
    assert_eq!(far_side.came().len(), passed.len());
}

/// Carries bytes on to an address that is told later.
fn relay() -> (SocketAddr, Arc<OnceLock<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, target) = (listener.local_addr().unwrap(), Arc::new(OnceLock::new()));
    let told: Arc<OnceLock<SocketAddr>> = Arc::clone(&target);
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let to = TcpStream::connect(told.wait()).unwrap();
            for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (address, target)
}

#[test]
fn a_way_that_leads_back_to_typingd_ends_at_once() {
    let (address, target) = relay();
    let settings = "delivery.stopped_lifespan = '2s'\nlog.level = 'debug'";
    let mut daemon = Daemon::start_with(&format!("http://{address}"), AUTH, settings, |_| {});
    let Address::Tcp(own) = &daemon.address else { panic!("{:?}", daemon.address) };
    target.set(*own).unwrap();
    let connector = Connector::new(&daemon.address, "t");
    let watch = clock::stopwatch();
    for answer in [daemon.address.get("/telephony/v1/x"), connector.message("u")] {
        assert_eq!(answer.status, 508, "{answer:?}");
        assert!(answer.problem().contains("see to upstream.base_url and upstream.connect_to"), "{answer:?}");
    }
    // typingd's own requests come back too, and are taken for what they are: a wrong address, not a busy one.
    assert_eq!(connector.started("v").status, 202);
    until("its end", || daemon.process.log().contains("outcome=Rejected(Configuration) status=508"));
    assert!(watch.elapsed().as_secs() < 10, "{:?}", watch.elapsed());
    let report = daemon.address.get("/v1/drop_in").json();
    assert_eq!((&report["others"], &report["messages"], &report["under_way"]), (&json!(1), &json!(1), &json!(0)));
    daemon.process.stop();
}

#[test]
fn what_passes_streams_both_ways_at_once() {
    let far_side = FarSide::start(|came, stream| {
        assert_eq!(came.body, b"x");
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").unwrap();
        // The rest never comes.
        let _ = stream.read(&mut [0]);
        false
    });
    let daemon = Daemon::start_with(&far_side.url(), AUTH, "", |_| {});
    let mut stream = connect(&daemon.address);
    stream.write_all(b"POST /telephony/v1/x HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    // The head is there before the body.
    far_side.until_begun(1);
    stream.write_all(b"1\r\nx\r\n0\r\n\r\n").unwrap();
    read_until(&mut stream, b"3\r\none\r\n").unwrap();
}
