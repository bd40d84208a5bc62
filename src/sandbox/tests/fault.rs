//! The rate, and what goes wrong on purpose.

use reqwest::StatusCode;

use super::*;

#[tokio::test]
async fn the_rate_is_never_exceeded_in_any_second() {
    let bench = bench(Options { rate_limit: 5, ..Options::default() }).await;
    let started = typing("c", "u", STARTED);
    let sent = futures_util::future::join_all((0..8).map(|_| bench.send(&started).send())).await;
    let (mut accepted, mut refused) = (0, 0);
    for answer in sent.into_iter().map(Result::unwrap) {
        match answer.status() {
            StatusCode::ACCEPTED => accepted += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                refused += 1;
                assert_eq!(answer.headers()["retry-after"], "1");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["message"], "Interaction request rate limit exceeded");
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((accepted, refused, bench.sandbox.peak_per_second(), bench.sandbox.icons()[0].started), (5, 3, 8, 5));
    bench.stop().await;
}

#[tokio::test]
async fn each_fault_does_what_its_name_says() {
    let bench = bench(Options::default()).await;
    let started = typing("c", "u", STARTED);
    // What: the status if there is an answer, whether its body is JSON, its code, and `success`.
    for (fault, status, code, success) in [
        ("503", Some(503), Some(503), None),
        ("429", Some(429), Some(429), None),
        ("401", Some(401), Some(10_004), None),
        ("code=10094", Some(504), Some(10_094), None),
        ("garbage", Some(202), None, None),
        ("unsuccessful", Some(202), None, Some(false)),
        ("close", None, None, None),
        ("cut", Some(202), None, None),
    ] {
        for (when, applied) in [("before", false), ("after", true)] {
            let name = format!("{fault}-{when}");
            bench.sandbox.clear_icons();
            bench.sandbox.set_faults(faulty(&[&name]));
            let answer = bench.send(&started).send().await;
            assert_eq!(answer.as_ref().ok().map(|answer| answer.status().as_u16()), status, "{name}");
            if let Ok(answer) = answer {
                assert_eq!(answer.headers().contains_key("retry-after"), fault == "429");
                let body = answer.bytes().await;
                assert_eq!(body.is_err(), fault == "cut", "{name}");
                let body: Value = body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
                assert_eq!((body["code"].as_i64(), body["success"].as_bool()), (code, success), "{name}: {body}");
            }
            assert_eq!(bench.sandbox.shown(), usize::from(applied), "{name}");
            let record = bench.sandbox.requests().pop().unwrap();
            assert_eq!(
                (record.applied, record.status, record.fault.as_deref()),
                (applied, status, Some(name.as_str()))
            );
            assert_eq!(record.facts.to.as_deref(), Some("c"), "{name}");
        }
    }

    let request = raw_head("transfer-encoding: chunked") + "0\r\n\r\n";
    bench.sandbox.set_faults(faulty(&["close"]));
    assert_eq!(raw(&bench.base, &request).await, "", "not a byte of an answer");
    bench.sandbox.set_faults(faulty(&["cut"]));
    let cut = raw(&bench.base, &request).await;
    assert!(cut.starts_with("HTTP/1.1 202") && cut.contains("content-length: ") && !cut.ends_with('}'), "{cut}");

    for (when, applied) in [("hang", 0), ("hang-after", 1)] {
        bench.sandbox.clear_icons();
        bench.sandbox.set_faults(faulty(&[when]));
        let error = bench.send(&started).timeout(Duration::from_millis(200)).send().await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(bench.sandbox.shown(), applied);
    }
    // A hanging answer does not keep the server from stopping.
    let hanging = tokio::spawn(bench.send(&started).send());
    let arrived = bench.sandbox.requests().last().unwrap().number + 1;
    let deadline = clock::timer_after(Duration::from_secs(5));
    while bench.sandbox.requests().last().unwrap().number < arrived {
        tokio::time::timeout_at(deadline, tokio::task::yield_now()).await.expect("the request arrives");
    }
    bench.stop().await;
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn changed_faults_strike_the_same_requests_again() {
    let bench = bench(Options { seed: 7, ..Options::default() }).await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let wanted = json!({"faults": ["503:0.5"], "jitter_ms": 2, "refused_to": ["bad"], "refused_from": ["bad"]});
        let (status, faults) = bench.said(bench.call(Method::PUT, "/faults").json(&wanted)).await;
        assert_eq!((status, &faults["faults"], &faults["latency_ms"]), (200, &json!(["503-before:0.5"]), &json!(0)));
        assert_eq!(bench.get("/faults").await, faults);
        let mut statuses = Vec::new();
        for _ in 0..32 {
            statuses.push(bench.tell("c", "u", STARTED).await.0);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&202) && runs[0].contains(&503));

    let wanted = json!({"latency_ms": 60, "refused_to": ["bad"], "refused_from": ["worse"]});
    assert_eq!(bench.said(bench.call(Method::PUT, "/faults").json(&wanted)).await.0, 200);
    let watch = clock::stopwatch();
    assert_eq!(bench.tell("bad", "u", STARTED).await.1["code"], 10_017);
    assert!(watch.elapsed() >= Duration::from_millis(60));
    assert_eq!(bench.tell("c", "worse", STARTED).await.1["code"], 10_028);
    assert_eq!(bench.said(bench.call(Method::DELETE, "/faults")).await.0, 204);
    assert_eq!(bench.tell("bad", "worse", STARTED).await.0, 202);

    for wrong in ["{", "[]", r#"{"fault": []}"#, r#"{"faults": ["200"]}"#, r#"{"faults": ["503:0.6", "close:0.6"]}"#] {
        let (status, body) = bench.said(bench.call(Method::PUT, "/faults").body(wrong)).await;
        assert_eq!((status, &body["code"]), (400, &json!(400)), "{wrong}");
    }
    bench.stop().await;
}
