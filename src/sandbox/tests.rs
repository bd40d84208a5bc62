//! The sandbox over a real loopback socket, met with a client of its own.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Faults, Options, Sandbox};
use crate::base::clock::{self, Clock};
use crate::http::{Address, Limits, Listener, serve};

mod fault;
mod refusal;
mod token;

impl Sandbox {
    /// All icons, shown or not, in the order in which their conversations came.
    fn icons(&self) -> Vec<super::icon::Icon> {
        self.state().icons.iter().cloned().collect()
    }

    /// How many icons are shown.
    fn shown(&self) -> usize {
        self.state().icons.shown()
    }

    /// The last 10,000 requests, the newest last.
    fn requests(&self) -> Vec<super::request::Request> {
        self.state().requests.page(None, super::request::REQUESTS_MAX).cloned().collect()
    }

    /// The most requests that arrived in any one-second window.
    fn peak_per_second(&self) -> usize {
        self.state().requests.peak_per_second()
    }
}

struct Bench {
    sandbox: Sandbox,
    base: String,
    client: Client,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

async fn bench(options: Options) -> Bench {
    let sandbox = Sandbox::new(options, Clock::start());
    let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
    let base = listener.address().to_string();
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(serve(listener, sandbox.router(stopped.clone()), Limits::default(), stopped));
    Bench { sandbox, base, client: Client::new(), stop, served }
}

fn faulty(texts: &[&str]) -> Faults {
    Faults { faults: texts.iter().map(|text| text.parse().unwrap()).collect(), ..Faults::default() }
}

fn typing(to: &str, from: &str, entry_type: &str) -> Value {
    let now = clock::wall_millis();
    json!({"to": to, "from": from, "unknown": 1, "interactions": [{
        "timestamp": now,
        "interactionType": "EntryInteraction",
        "payload": {"id": UUID, "entryType": entry_type, "timestamp": now, "unknown": {}}}]})
}

const UUID: &str = "f7904eb6-5352-4c5e-adf6-5f100572cf5d";
const STARTED: &str = "TypingStartedIndicator";
const STOPPED: &str = "TypingStoppedIndicator";

impl Bench {
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// An interaction without a body, its headers in order but for those that `headers` replaces; empty: left out.
    fn head(&self, headers: &[(&str, &str)]) -> RequestBuilder {
        let mut request = self.call(Method::POST, "/api/v1/interactions");
        for (name, right) in [
            ("Authorization", "Bearer placeholder"),
            ("OrgId", "00DXX0000000001"),
            ("AuthorizationContext", "Ctx"),
            ("RequestId", UUID),
        ] {
            match headers.iter().find(|(given, _)| *given == name) {
                Some((_, "")) => {}
                Some((_, value)) => request = request.header(name, *value),
                None => request = request.header(name, right),
            }
        }
        request
    }

    fn send(&self, json: &Value) -> RequestBuilder {
        self.head(&[]).multipart(form(json))
    }

    async fn said(&self, request: RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn tell(&self, to: &str, from: &str, entry_type: &str) -> (u16, Value) {
        self.said(self.send(&typing(to, from, entry_type))).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.said(self.call(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Stops the server, which must not hang on anything that is still open.
    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), self.served).await.expect("the server stops").unwrap();
    }
}

fn form(json: &Value) -> Form {
    Form::new().part("json", Part::text(json.to_string()).mime_str("application/json").unwrap())
}

#[tokio::test]
async fn typing_entries_switch_the_icon_and_nothing_else_does() {
    let bench = bench(Options::default()).await;
    let (status, body) = bench.tell("c", "u", STARTED).await;
    assert_eq!(
        (status, &body["success"], &body["id"], &body["workItemIds"]),
        (202, &json!(true), &json!(UUID), &json!([]))
    );
    let conversation = body["conversationIdentifier"].as_str().unwrap().to_owned();
    assert!(super::interaction::is_uuid(&conversation));
    assert_eq!(bench.get("/icons?shown=true").await["icons"][0]["started"], 1);

    let mut message = typing("c", "u", "Message");
    message["interactions"][0]["payload"]["abstractMessage"] = json!({"id": UUID, "messageType": "StaticContentMessage", "staticContent": {"formatType": "Text", "text": "secret"}});
    let (status, body) = bench.said(bench.send(&message)).await;
    assert_eq!((status, body["conversationIdentifier"].as_str()), (202, Some(conversation.as_str())));
    assert_eq!(bench.get("/icons").await["shown"], 1, "a message does not hide the icon");

    assert_ne!(bench.tell("c", "other", STOPPED).await.1["conversationIdentifier"], conversation.as_str());
    bench.tell("c", "u", STOPPED).await;
    let icons = bench.get("/icons?to=c&from=u").await;
    let icon = &icons["icons"][0];
    assert_eq!(
        (&icons["shown"], &icon["shown"], &icon["stopped"], &icon["messages"]),
        (&json!(0), &json!(false), &json!(1), &json!(1))
    );
    assert_eq!(bench.get("/icons?limit=1").await["icons"].as_array().unwrap().len(), 1);

    let mut sample = typing("c", "u", STARTED);
    sample["interactions"][0]["payload"]["timestamp"] = json!(1_688_190_840_000_u64);
    assert_eq!(bench.said(bench.send(&sample)).await.0, 202, "a constant time stamp is taken");
    let record = bench.get("/requests").await;
    assert_eq!(record["total"], 5);
    assert!((1..=5).contains(&record["peak_per_second"].as_u64().unwrap()));
    let requests = record["requests"].as_array().unwrap();
    assert!(requests[4]["skew_ms"].as_i64().unwrap() < -1_000_000, "{}", requests[4]);
    assert!(requests[0]["skew_ms"].as_i64().unwrap().abs() < 60_000);
    for (field, value) in [
        ("request_id", json!(UUID)),
        ("org_id", json!("00DXX0000000001")),
        ("authorization_context", json!("Ctx")),
        ("to", json!("c")),
        ("entry_type", json!(STARTED)),
        ("payload_id", json!(UUID)),
        ("status", json!(202)),
        ("code", Value::Null),
        ("applied", json!(true)),
    ] {
        assert_eq!(requests[0][field], value, "{field}");
    }
    assert!(!record.to_string().contains("placeholder") && !record.to_string().contains("secret"));
    assert_eq!(bench.get("/requests?since=3").await["requests"][0]["number"], 4);

    for path in ["/requests", "/icons"] {
        assert_eq!(bench.said(bench.call(Method::DELETE, path)).await.0, 204);
    }
    let (icons, requests) = (bench.get("/icons").await, bench.get("/requests").await);
    assert_eq!((&icons["icons"], &requests["total"], &requests["peak_per_second"]), (&json!([]), &json!(0), &json!(0)));
    bench.stop().await;
}

#[tokio::test]
async fn an_attachment_is_counted_and_held_against_its_interaction() {
    let bench = bench(Options::default()).await;
    let interaction = |length: u64| {
        json!({"to": "c", "from": "u", "interactions": [{"timestamp": 1, "interactionType": "AttachmentInteraction",
            "id": UUID, "attachmentIndex": 0, "contentLength": length}]})
    };
    let with = |length: u64, bytes: usize| {
        form(&interaction(length)).part("attachments", Part::bytes(vec![7; bytes]).file_name("a.png"))
    };
    for (form, status, code) in [
        (with(3_000_000, 3_000_000), 202, None),
        (with(2, 3), 400, Some(10_059)),
        (form(&interaction(2)), 400, Some(10_059)),
        (with(1, 1).part("attachments", Part::bytes(vec![7])), 400, Some(10_029)),
        (with(30 << 20, 30 << 20), 202, None),
        (with((30 << 20) + 1, (30 << 20) + 1), 413, Some(413)),
    ] {
        // The 413 may meet a client that is still writing, which then sees a broken connection instead.
        match bench.head(&[]).multipart(form).send().await {
            Ok(answer) => {
                assert_eq!(answer.status().as_u16(), status);
                assert_eq!(answer.json::<Value>().await.unwrap()["code"].as_i64(), code);
            }
            Err(error) => assert_eq!(status, 413, "{error}"),
        }
    }
    assert_eq!(bench.sandbox.requests().last().and_then(|request| request.status), Some(413));
    assert_eq!(bench.sandbox.icons()[0].messages, 2);
    bench.stop().await;
}

/// The head of an interaction whose body is as long as `length` says.
fn raw_head(length: &str) -> String {
    format!(
        "POST /api/v1/interactions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\norgid: 00DXX0000000001\r\n\
         authorizationcontext: c\r\nrequestid: {UUID}\r\ncontent-type: multipart/form-data; boundary=b\r\n{length}\r\n\r\n"
    )
}

/// All that comes back to `request` until the connection closes.
async fn raw(base: &str, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset instead of an end is a closed connection too.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("it closes");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_watcher_is_told_each_change_and_lets_the_server_stop() {
    let bench = bench(Options { icon_ttl: Some(Duration::from_secs(1)), ..Options::default() }).await;
    let mut watch = bench.call(Method::GET, "/icons?watch=true").send().await.unwrap();
    for entry_type in [STARTED, STARTED, STOPPED, STARTED] {
        bench.tell("c", "u", entry_type).await;
    }
    let mut text = String::new();
    while text.lines().count() < 4 {
        let chunk = tokio::time::timeout(Duration::from_secs(5), watch.chunk()).await.expect("a line comes");
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The last one is the icon going off by itself, with nobody asking.
    assert_eq!(
        lines.iter().map(|line| line["shown"].as_bool().unwrap()).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    assert!(lines.iter().all(|line| line["to"] == "c" && line["from"] == "u" && line["at"].is_u64()));
    bench.stop().await;
    assert_eq!(watch.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn who_comes_late_is_told_which_icons_are_on() {
    let bench = bench(Options::default()).await;
    for (from, entry_type) in [("ann", STARTED), ("bob", STARTED), ("bob", STOPPED)] {
        bench.tell("c", from, entry_type).await;
    }
    let mut watch = bench.call(Method::GET, "/icons?watch=true").send().await.unwrap();
    let chunk = tokio::time::timeout(Duration::from_secs(5), watch.chunk()).await.expect("a line comes");
    let line: Value = serde_json::from_slice(&chunk.unwrap().unwrap()).unwrap();
    assert_eq!((&line["from"], &line["shown"]), (&"ann".into(), &true.into()));
    assert!(line["at"].is_u64());
    bench.stop().await;
}
