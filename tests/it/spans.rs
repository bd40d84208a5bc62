//! Spans over OTLP: what a collector is told of, and what happens when it is away, hangs or says no.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::json;
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox};
use crate::process::{until, wait_for};

/// What a collector does with an export.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Takes,
    Answers(u16),
    Hangs,
}

/// A collector: HTTP by hand, protobuf by the library.
struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Collector {
    fn start(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (bodies, manner) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(manner)));
        let (into, how) = (Arc::clone(&bodies), Arc::clone(&manner));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (into, how) = (Arc::clone(&into), Arc::clone(&how));
                std::thread::spawn(move || while serve(&stream, &into, &how).is_some() {});
            }
        });
        Self { address, bodies, manner }
    }

    fn endpoint(&self) -> String {
        format!("log.otlp_endpoint = 'http://{}'", self.address)
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap().clone();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    fn until_spans(&self, count: usize) -> Vec<Span> {
        wait_for("the spans", || Some(self.spans()).filter(|spans| spans.len() >= count))
    }
}

/// Serves one request; `None` when the connection has ended.
fn serve(mut stream: &TcpStream, into: &Mutex<Vec<Vec<u8>>>, how: &Mutex<Manner>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let manner = *how.lock().unwrap();
    match manner {
        Manner::Takes => {
            into.lock().unwrap().push(body);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
        }
        Manner::Answers(status) => {
            stream.write_all(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()
        }
        // Until the other side has had enough.
        Manner::Hangs => stream.read(&mut [0]).ok().filter(|_| false).map(|_| ()),
    }
}

fn text(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|attribute| attribute.key == key);
    match value.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Attribute::StringValue(text)) => text,
        Some(Attribute::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

fn code(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

#[test]
fn a_collector_is_told_from_signal_to_acknowledgement() {
    let (sandbox, collector) = (Sandbox::start(&[]), Collector::start("127.0.0.1:0", Manner::Takes));
    let mut daemon = Daemon::start(&sandbox.address.url(), &collector.endpoint());
    daemon.give("c", "a-secret-user", "keystroke");
    sandbox.until_told("c", "a-secret-user", "+");
    daemon.give("c", "a-secret-user", "message_sent");
    sandbox.until_told("c", "a-secret-user", "+-");
    let spans = collector.until_spans(4);
    assert_eq!(spans.len(), 4, "{spans:?}");
    let seen = sandbox.of("c", "a-secret-user");
    for (indicator, reason, seen) in
        [("TypingStarted", "first_keystroke", &seen[0]), ("TypingStopped", "message_sent", &seen[1])]
    {
        let root = spans.iter().find(|span| span.name == indicator).unwrap();
        let request = spans.iter().find(|span| span.parent_span_id == root.span_id).unwrap();
        assert_eq!(request.name, "POST /api/v1/interactions");
        assert_eq!(request.trace_id, root.trace_id);
        let id = seen["request_id"].as_str().unwrap();
        let bytes: String = root.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, id.replace('-', ""), "the trace has the number of the request");
        for span in [root, request] {
            assert_eq!(
                (text(span, "typingd.channel"), text(span, "typingd.reason")),
                ("c".to_owned(), reason.to_owned())
            );
            assert_eq!((text(span, "typingd.request_id").as_str(), code(span)), (id, StatusCode::Ok.into()));
            let user = text(span, "typingd.end_user");
            assert!(user.starts_with('#') && user.len() == 9, "{user}");
        }
        assert_eq!(text(root, "typingd.end"), "delivered");
        assert_eq!(text(request, "http.response.status_code"), "202");
        assert_eq!(
            (text(request, "typingd.attempt"), text(request, "typingd.outcome")),
            ("0".into(), "delivered".into())
        );
        assert!(root.start_time_unix_nano <= request.start_time_unix_nano, "{root:?} {request:?}");
        assert!(request.start_time_unix_nano < request.end_time_unix_nano, "{request:?}");
        let now = u64::try_from(clock::wall_since_epoch().as_nanos()).unwrap();
        assert!(root.end_time_unix_nano <= now && now - root.end_time_unix_nano < 60_000_000_000, "{root:?}");
        assert_eq!(root.events[0].name, "decided");
    }
    let bodies = collector.bodies.lock().unwrap().concat();
    let holds = |text: &[u8]| bodies.windows(text.len()).any(|window| window == text);
    assert!(holds(b"service.name") && !holds(b"a-secret-user"), "an end user has no name outside");

    // What failed, and what became of it.
    sandbox.set_faults(&json!({"faults": ["503-before"]}));
    daemon.give("c", "bob", "keystroke");
    let failed = wait_for("a failed request", || {
        collector
            .spans()
            .into_iter()
            .find(|span| code(span) == i32::from(StatusCode::Error) && !span.parent_span_id.is_empty())
    });
    assert_eq!(
        (text(&failed, "http.response.status_code"), text(&failed, "error.type")),
        ("503".into(), "failing".into())
    );
    sandbox.set_faults(&json!({}));

    // The last words are not lost.
    let before = collector.spans().len();
    daemon.give("c", "cleo", "keystroke");
    sandbox.until_told("c", "cleo", "+");
    daemon.process.stop();
    let spans = collector.spans();
    assert!(spans.len() > before && spans.iter().any(|span| text(span, "typingd.reason") == "shutdown"), "{spans:?}");
}

#[test]
fn a_missing_collector_delays_nothing_and_is_logged_once() {
    let sandbox = Sandbox::start(&[]);
    // A port where nobody listens for now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = Daemon::start(
        &sandbox.address.url(),
        &format!("log.otlp_endpoint = 'http://{address}'\ntiming.dismiss_after = '50ms'"),
    );
    const COMPLAINT: &str = "the collector of log.otlp_endpoint takes no spans";
    daemon.give("c", "u", "keystroke");
    sandbox.until_told("c", "u", "+-");
    daemon.process.until_logged(COMPLAINT);
    assert!(daemon.process.log().contains("Connection refused"), "{}", daemon.process.log());
    let collector = Collector::start(&address.to_string(), Manner::Takes);
    daemon.process.until_logged("spans are exported again");
    assert!(!collector.until_spans(1).is_empty());

    for manner in [Manner::Answers(503), Manner::Answers(400), Manner::Hangs] {
        collector.set(manner);
        daemon.give("c", "v", "keystroke");
        until("the icon on and off", || sandbox.told("c", "v").ends_with("+-"));
    }
    // With a collector that hangs, the end comes as soon as ever.
    let watch = clock::stopwatch();
    daemon.process.stop();
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    assert_eq!(daemon.process.log().matches(COMPLAINT).count(), 1, "{}", daemon.process.log());
    assert_eq!(sandbox.shown(), 0);
}
