//! What is refused, and with which code.

use super::*;

#[tokio::test]
async fn each_wrong_head_and_body_is_refused_with_its_code() {
    let bench = bench(Options::default()).await;
    let right = typing("c", "u", STARTED);
    for (header, value, status, code, named) in [
        ("Authorization", "", 401, 10_004, "missing"),
        ("Authorization", "Bearer", 401, 10_004, "Bearer"),
        ("Authorization", "Basic eA==", 401, 10_004, "Bearer"),
        // {"alg":"none"} and {"exp":1}
        ("Authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.AAAA", 401, 10_004, "expired"),
        ("OrgId", "", 400, 10_016, "OrgId"),
        ("OrgId", "00DXX", 400, 10_016, "OrgId"),
        ("OrgId", "00EXX0000000001", 400, 10_016, "OrgId"),
        ("OrgId", "00DXX00000000012AA", 400, 10_016, "15 letters"),
        ("OrgId", "00DXX000000000!", 400, 10_016, "OrgId"),
        ("AuthorizationContext", " ", 403, 10_005, "AuthorizationContext"),
        ("RequestId", "", 400, 10_016, "RequestId"),
        ("RequestId", "42", 400, 10_016, "RequestId"),
    ] {
        let (got, body) = bench.said(bench.head(&[(header, value)]).multipart(form(&right))).await;
        assert_eq!((got, body["code"].as_i64()), (status, Some(code)), "{header}: {value}: {body}");
        assert!(body["message"].as_str().unwrap().contains(named), "{body}");
    }

    let without = bench.head(&[("AuthorizationContext", "")]).multipart(form(&right));
    assert_eq!(bench.said(without).await.0, 202, "there are products that send none");

    let text = |name: &'static str, text: &str| Form::new().text(name, text.to_owned());
    let xml = Part::text(right.to_string()).mime_str("text/xml").unwrap();
    let named = Part::text(right.to_string()).file_name("json.json");
    for (form, status, code) in [
        (text("json", &right.to_string()), 202, None),
        (Form::new().part("json", named), 202, None),
        (text("json", "{"), 400, Some(10_045)),
        (text("json", &"[".repeat(100_000)), 400, Some(10_045)),
        (text("other", "{}"), 400, Some(10_029)),
        (form(&right).text("json", "{}"), 400, Some(10_029)),
        (Form::new().part("json", xml), 400, Some(10_029)),
        (text("json", &" ".repeat((1 << 20) + 1)), 413, Some(413)),
    ] {
        let (got, body) = bench.said(bench.head(&[]).multipart(form)).await;
        assert_eq!((got, body["code"].as_i64()), (status, code), "{body}");
    }
    for content_type in ["application/json", "multipart/form-data", "multipart/mixed; boundary=b"] {
        let (got, body) = bench.said(bench.head(&[]).header("Content-Type", content_type).body("x")).await;
        assert_eq!((got, body["code"].as_i64()), (400, Some(10_029)), "{content_type}: {body}");
    }
    let cut_off = bench.head(&[]).header("Content-Type", "multipart/form-data; boundary=b").body("--b\r\nContent-Disp");
    assert_eq!(bench.said(cut_off).await.1["code"], 10_029);

    let long = "x".repeat(256);
    for (path, value, named) in [
        ("/to", json!(""), "to has 0"),
        ("/to", json!(long[..241]), "to has 241"),
        ("/to", json!(1), "to is missing"),
        ("/from", json!(long), "from has 256"),
        ("/from", Value::Null, "from is missing"),
        ("/routingAttributes", json!({"a": 1}), "routingAttributes.a"),
        ("/routingAttributes", json!([]), "routingAttributes"),
        ("/interactions", json!([]), "exactly 1 item, not 0"),
        ("/interactions", json!([1, 2]), "exactly 1 item, not 2"),
        ("/interactions", json!({}), "no array"),
        ("/interactions/0", json!("x"), "interactions[0]"),
        ("/interactions/0/timestamp", json!("1"), "interactions[0].timestamp"),
        ("/interactions/0/timestamp", json!(1.5), "interactions[0].timestamp"),
        ("/interactions/0/interactionType", json!("Other"), "interactionType `Other`"),
        ("/interactions/0/payload", Value::Null, "payload"),
        ("/interactions/0/payload/id", json!("1"), "payload.id"),
        ("/interactions/0/payload/entryType", json!("TypingIndicator"), "entryType `TypingIndicator`"),
        ("/interactions/0/payload/timestamp", json!(true), "payload.timestamp"),
        ("/interactions/0/payload/entryType", json!("Message"), "abstractMessage"),
        ("/interactions/0/interactionType", json!("AttachmentInteraction"), "interactions[0].id"),
    ] {
        let mut wrong = right.clone();
        wrong["routingAttributes"] = json!({});
        *wrong.pointer_mut(path).unwrap() = value;
        let (got, body) = bench.said(bench.send(&wrong)).await;
        assert_eq!((got, body["code"].as_i64()), (400, Some(10_045)), "{path}: {body}");
        assert!(body["message"].as_str().unwrap().contains(named), "{path}: {body}");
    }
    let mut longest = right.clone();
    longest["from"] = json!(long[..255]);
    longest["to"] = json!("é".repeat(240));
    assert_eq!(bench.said(bench.send(&longest)).await.0, 202);

    for (method, path, status) in [
        (Method::GET, "/api/v1/interactions", 405),
        (Method::POST, "/api/v1/interaction", 404),
        (Method::POST, "/api/v1/conversation", 501),
        (Method::GET, "/icons?shown=perhaps", 400),
        (Method::GET, "/requests?until=1", 400),
    ] {
        let (got, body) = bench.said(bench.call(method, path)).await;
        assert_eq!((got, body["code"].as_u64()), (status, Some(u64::from(status))), "{path}: {body}");
        assert!(body["message"].is_string());
    }
    assert!(bench.call(Method::GET, "/").send().await.unwrap().text().await.unwrap().contains("/icons?watch=true"));
    bench.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let bench = bench(Options::default()).await;
    let head = raw_head("content-length: 99") + "--b";
    let answer = raw(&bench.base, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("5 s"), "{answer}");
    bench.stop().await;
}
