//! The client against real sockets: what leaves, and what every kind of answer and failure becomes.

mod cached;
mod stub;
mod tokens;

use std::collections::HashMap;
use std::time::Duration;

use self::stub::{Reply, Stub, accepted, answer};
use super::settings::{Auth, Secret, Settings};
use super::{Client, SetupError, TokenState};
use crate::base::clock::{self, Clock};
use crate::driver::Permit;
use crate::model::{
    Cause, ChannelAddress, ConversationRef, Dispatch, DispatchId, Outcome, Reason, Rejection, Transient, WireResult,
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn settings(base_url: &str) -> Settings {
    Settings {
        base_url: base_url.parse().unwrap(),
        org_id: "00DXX0000000001".into(),
        authorization_context: "Partner1_ChannelDefinition1".into(),
        channel_contexts: HashMap::from([(ChannelAddress::new("special").unwrap(), "Other_Context".into())]),
        authorization_context_type: None,
        request_timeout: Duration::from_secs(10),
        in_flight_max: 16,
        ca_file: None,
        proxy: None,
        connect_to: None,
        places: Default::default(),
        auth: Auth::Fixed(Secret::new("t0ken.t0ken")),
    }
}

fn client(settings: Settings) -> (Client, Clock) {
    let clock = Clock::start();
    (Client::new(settings, clock).unwrap(), clock)
}

/// A client that gives up soon, for far sides that never answer.
fn hasty(base_url: &str) -> Client {
    client(Settings { request_timeout: TIMEOUT, ..settings(base_url) }).0
}

fn dispatch(clock: &Clock, to: &str, decision: u64, reason: Reason) -> Dispatch {
    Dispatch {
        id: DispatchId { slot: 0, serial: decision },
        conversation: ConversationRef::new(to, "end-user \"ü\"").unwrap().to_owned(),
        reason,
        decided: clock.now(),
        decision,
        attempt: 0,
        credentials: None,
    }
}

async fn deliver(client: &Client) -> WireResult {
    client.deliver(&dispatch(&Clock::start(), "channel", 1, Reason::FirstKeystroke), &Permit::default()).await
}

fn not_sent(cause: Cause) -> Outcome {
    Outcome::NotSent(Transient { cause, retry_after: None })
}

fn unknown(cause: Cause) -> Outcome {
    Outcome::Unknown(Transient { cause, retry_after: None })
}

#[tokio::test]
async fn a_request_is_what_the_reference_says() {
    let stub = Stub::start(|_| accepted()).await;
    let (client, clock) = client(settings(&format!("{}/", stub.url())));
    let before = clock::wall_millis();
    for (to, decision, reason) in [("channel", 1, Reason::FirstKeystroke), ("special", 2, Reason::Idle)] {
        let result = client.deliver(&dispatch(&clock, to, decision, reason), &Permit::default()).await;
        assert_eq!((result.outcome, result.status, result.code), (Outcome::Delivered, Some(202), None));
    }
    // The same decision once more: a retry.
    client.deliver(&dispatch(&clock, "channel", 1, Reason::FirstKeystroke), &Permit::default()).await;
    let after = clock::wall_millis();

    let seen = stub.seen();
    assert_eq!(seen.iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 0, 0], "one connection for all");
    let mut ids = Vec::new();
    for (request, (to, context, entry_type)) in seen.iter().zip([
        ("channel", "Partner1_ChannelDefinition1", "TypingStartedIndicator"),
        ("special", "Other_Context", "TypingStoppedIndicator"),
        ("channel", "Partner1_ChannelDefinition1", "TypingStartedIndicator"),
    ]) {
        assert!(request.head.starts_with("POST /api/v1/interactions HTTP/1.1\r\n"), "{}", request.head);
        let content_type = request.header("content-type").unwrap();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let request_id = request.header("requestid").unwrap();
        let mut names: Vec<_> = request.head.lines().filter_map(|line| line.split_once(": ")).map(|(k, _)| k).collect();
        names.sort_unstable();
        let expected =
            "accept authorization authorizationcontext content-length content-type host orgid requestid user-agent via";
        assert_eq!(names.join(" "), expected);
        assert_eq!(request.header("authorization"), Some("Bearer t0ken.t0ken"));
        assert_eq!(request.header("orgid"), Some("00DXX0000000001"));
        assert_eq!(request.header("authorizationcontext"), Some(context));
        assert_eq!(request.header("accept"), Some("application/json"));
        assert_eq!(request.header("via"), crate::salesforce::via::own().to_str().ok());

        let opening = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n"
        );
        let json =
            request.body.strip_prefix(&opening).and_then(|rest| rest.strip_suffix(&format!("\r\n--{boundary}--\r\n")));
        let json: serde_json::Value = serde_json::from_str(json.expect("one part")).unwrap();
        let interaction = &json["interactions"][0];
        let (left, decided) =
            (interaction["timestamp"].as_u64().unwrap(), interaction["payload"]["timestamp"].as_u64().unwrap());
        assert!(before <= decided + 1 && decided <= left && left <= after, "{before} {decided} {left} {after}");
        let payload_id = &interaction["payload"]["id"];
        let expected = serde_json::json!({"to": to, "from": "end-user \"ü\"", "interactions": [{
            "timestamp": left,
            "interactionType": "EntryInteraction",
            "payload": {"id": payload_id, "entryType": entry_type, "timestamp": decided},
        }]});
        assert_eq!(json, expected);
        ids.push((request_id.to_owned(), payload_id.as_str().unwrap().to_owned()));
    }
    assert!(ids.iter().flat_map(|(a, b)| [a, b]).all(|id| uuid::Uuid::parse_str(id).unwrap().get_version_num() == 4));
    assert_eq!(ids[0], ids[2]);
    assert!(ids[0].0 != ids[0].1 && ids[0].0 != ids[1].0 && ids[0].1 != ids[1].1);
}

#[tokio::test]
async fn an_answer_is_what_its_code_body_and_headers_say() {
    let after = |seconds| Some(Duration::from_secs(seconds));
    let limited = |retry_after| Outcome::NotSent(Transient { cause: Cause::RateLimited, retry_after });
    let date = "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n";
    for (status, headers, body, outcome, code, detail) in [
        ("202 Accepted", "", r#"{"success":false,"id":"x"}"#, unknown(Cause::Failing), None, None),
        (
            "400 Bad",
            "",
            r#"{"code":10017,"message":"no channel"}"#,
            Outcome::Rejected(Rejection::Channel),
            Some(10017),
            Some("no (channel)"),
        ),
        ("429 Slow", "Retry-After: 3\r\n", "", limited(after(3)), None, None),
        ("429 Slow", date, "", limited(after(60)), None, None),
        (
            "500 Oops",
            "Retry-After: 2\r\n",
            "<p>",
            Outcome::Unknown(Transient { cause: Cause::Failing, retry_after: after(2) }),
            None,
            Some("<p>"),
        ),
        ("302 Found", "Location: /elsewhere\r\n", "", Outcome::Rejected(Rejection::Configuration), None, None),
        ("404 Not Found", "", "t0ken.t0ken?", Outcome::Rejected(Rejection::Configuration), None, Some("…?")),
    ] {
        let text = answer(status, headers, body);
        let stub = Stub::start(move |_| Reply::Send(text.clone())).await;
        let result = deliver(&client(settings(&stub.url())).0).await;
        assert_eq!((result.outcome, result.code, result.detail.as_deref()), (outcome, code, detail), "{status}");
        assert_eq!(result.status, status[..3].parse().ok());
        assert_eq!(stub.seen().len(), 1, "{status}: nothing is followed or tried again");
    }
}

#[tokio::test]
async fn what_broke_after_the_request_had_left_is_unsure() {
    for (name, reply) in [
        ("silence", (|| Reply::Hang(String::new())) as fn() -> Reply),
        ("silence in the head", || Reply::Hang("HTTP/1.1 2".into())),
        ("end", || Reply::Close(String::new())),
        ("end in the head", || Reply::Close("HTTP/1.1 202 Accepted\r\ncontent-le".into())),
        ("reset", || Reply::Reset(String::new())),
        ("reset in the head", || Reply::Reset("HTTP/1.1 202 Accepted\r\ncontent-le".into())),
        ("not HTTP", || Reply::Close("220 smtp ready\r\n".into())),
        ("endless head", || Reply::Endless("HTTP/1.1 202 Accepted\r\nx: ".into())),
    ] {
        let stub = Stub::start(move |_| reply()).await;
        let result = deliver(&hasty(&stub.url())).await;
        assert_eq!((result.outcome, result.status), (unknown(Cause::NoAnswer), None), "{name}");
        assert!(result.detail.is_some() && result.elapsed < TIMEOUT * 4, "{name} {result:?}");
        assert_eq!(stub.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_bounded_and_leaves_a_success_unsure() {
    for (status, outcome) in [
        ("202 Accepted", unknown(Cause::NoAnswer)),
        ("200 OK", unknown(Cause::NoAnswer)),
        ("500 Oops", unknown(Cause::Failing)),
    ] {
        for (kind, reply) in [
            ("endless", Reply::Endless as fn(String) -> Reply),
            ("hanging", Reply::Hang),
            ("closing", Reply::Close),
            ("reset", Reply::Reset),
        ] {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 1000000000\r\n\r\nx");
            let stub = Stub::start(move |_| reply(head.clone())).await;
            let result = deliver(&hasty(&stub.url())).await;
            // A reset may overtake the head that was sent before it.
            if kind != "reset" || result.status.is_some() {
                assert_eq!((result.outcome, result.status), (outcome, status[..3].parse().ok()), "{kind} {status}");
            }
            assert!(result.elapsed < TIMEOUT * 4, "{kind} {result:?}");
        }
    }
}

#[tokio::test]
async fn what_never_left_is_not_sent() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Speaks no TLS.
    let stub = Stub::start(|_| accepted()).await;
    // Takes the connection and never shakes hands.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for url in [
        format!("http://{free}"),
        format!("https://{}", stub.address),
        format!("https://{}", mute.local_addr().unwrap()),
    ] {
        let result = deliver(&hasty(&url)).await;
        assert_eq!((result.outcome, result.status), (not_sent(Cause::Unreachable), None), "{url} {result:?}");
        assert!(result.detail.is_some() && result.elapsed < TIMEOUT * 4, "{url} {result:?}");
    }
}

#[tokio::test]
async fn an_empty_context_sends_no_header_and_a_type_sends_one() {
    let stub = Stub::start(|_| accepted()).await;
    let settings = Settings {
        authorization_context: String::new(),
        authorization_context_type: Some("EmbeddedMessagingChannel".to_owned()),
        ..settings(&stub.url())
    };
    let (client, clock) = client(settings);
    for (to, decision) in [("channel", 1), ("special", 2)] {
        client.deliver(&dispatch(&clock, to, decision, Reason::FirstKeystroke), &Permit::default()).await;
    }
    let contexts: Vec<_> =
        stub.seen().iter().map(|seen| seen.header("authorizationcontext").map(str::to_owned)).collect();
    assert_eq!(contexts, [None, Some("Other_Context".to_owned())]);
    assert!(stub.seen().iter().all(|seen| seen.header("authorizationcontexttype") == Some("EmbeddedMessagingChannel")));
}

#[tokio::test]
async fn a_setting_that_can_not_work_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let make = |text: Option<&str>| {
        let path = dir.path().join("roots.pem");
        let _ = std::fs::remove_file(&path);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        Client::new(Settings { ca_file: Some(path), ..settings("https://127.0.0.1:1") }, Clock::start())
    };
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [None, Some(""), Some("nonsense"), Some("-----BEGIN CERTIFICATE-----\n!\n"), Some(not_a_certificate)] {
        let error = make(text).unwrap_err();
        assert!(
            matches!(error, SetupError::CaFile { .. }) && error.to_string().contains("roots.pem"),
            "{text:?} {error}"
        );
    }
    let error =
        Client::new(Settings { org_id: "a\nb".into(), ..settings("http://127.0.0.1") }, Clock::start()).unwrap_err();
    assert!(error.to_string().starts_with("org_id "), "{error}");
}

#[tokio::test]
async fn nothing_printed_holds_the_token() {
    let settings = settings("http://127.0.0.1:1");
    assert!(!format!("{settings:?}").contains("t0ken"));
    let client = client(settings).0;
    assert!(!format!("{client:?}").contains("t0ken"));
    assert_eq!(client.token_state(), TokenState::Pending);
    assert_eq!(client.warm_up().await, TokenState::Held);
}
