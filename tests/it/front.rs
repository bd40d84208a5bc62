//! What is typingd's own where the drop-in is on, and what passes.

use std::io::{Read, Write};

use serde_json::json;

use crate::bench::Daemon;
use crate::connector::{connect, read_until};
use crate::far_side::{FarSide, write};

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
