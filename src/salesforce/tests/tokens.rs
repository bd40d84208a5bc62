//! The token's ways over real sockets and files.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::stub::Seen;
use super::*;
use crate::salesforce::settings::JwtBearer;

/// A key made for this run: in PKCS#8, and its public half as PKCS#1.
static KEY: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = pair.as_der().unwrap();
    (der.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
});

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn pkcs8() -> String {
    pem("PRIVATE KEY", &KEY.0)
}

/// PKCS#8 ends in an octet string that holds the PKCS#1 key, itself a sequence with a two-byte length.
fn pkcs1() -> String {
    let start = KEY.0.windows(2).enumerate().skip(1).find(|(_, window)| *window == [0x30, 0x82]).unwrap().0;
    pem("RSA PRIVATE KEY", &KEY.0[start..])
}

struct Bench {
    stub: Stub,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// One stub is both the token endpoint and the Interaction Service.
    async fn start(
        key: &str,
        token: impl Fn(usize) -> String + Send + Sync + 'static,
        interaction: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let calls = AtomicUsize::new(0);
        let stub = Stub::start(move |seen| {
            if is_token_call(seen) {
                Reply::Send(token(calls.fetch_add(1, Ordering::SeqCst)))
            } else {
                interaction(seen)
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let private_key_file: PathBuf = dir.path().join("key.pem");
        std::fs::write(&private_key_file, key).unwrap();
        let auth = Auth::JwtBearer(JwtBearer {
            token_url: format!("{}/token", stub.url()).parse().unwrap(),
            consumer_key: "consumer".into(),
            subject: "user@example.com".into(),
            audience: "https://login.salesforce.com".into(),
            private_key_file,
        });
        let client = client(Settings { auth, ..settings(&stub.url()) }).0;
        Self { stub, client, _dir: dir }
    }

    fn token_calls(&self) -> usize {
        self.stub.seen().iter().filter(|seen| is_token_call(seen)).count()
    }
}

fn is_token_call(seen: &Seen) -> bool {
    seen.head.starts_with("POST /token ")
}

fn granted(token: &str) -> String {
    answer("200 OK", "", &serde_json::json!({"access_token": token, "token_type": "Bearer"}).to_string())
}

fn unauthorized() -> Reply {
    Reply::Send(answer("401 Unauthorized", "", r#"{"code":10004,"message":"invalid token"}"#))
}

/// Waits for `condition`, with a deadline that only a failure meets.
async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the condition never came true");
}

#[tokio::test]
async fn an_assertion_is_signed_with_either_form_of_key() {
    for key in [pkcs1(), pkcs8()] {
        let bench = Bench::start(&key, |_| granted("abc"), |_| accepted()).await;
        assert_eq!(deliver(&bench.client).await.outcome, Outcome::Delivered);
        assert_eq!(bench.client.token_state(), TokenState::Held);
        let seen = bench.stub.seen();
        assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
        let fields: HashMap<_, _> = url::form_urlencoded::parse(seen[0].body.as_bytes()).into_owned().collect();
        assert_eq!((fields.len(), &*fields["grant_type"]), (2, "urn:ietf:params:oauth:grant-type:jwt-bearer"));
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["https://login.salesforce.com"]);
        let public = DecodingKey::from_rsa_der(&KEY.1);
        let claims =
            jsonwebtoken::decode::<serde_json::Value>(&fields["assertion"], &public, &validation).unwrap().claims;
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("consumer"), Some("user@example.com")));
        let ahead = claims["exp"].as_u64().unwrap() - clock::wall_since_epoch().as_secs();
        assert!((150..=180).contains(&ahead), "{ahead}");
        assert_eq!(seen[1].header("authorization"), Some("Bearer abc"));
    }
}

#[tokio::test]
async fn two_hundred_deliveries_wait_for_one_token() {
    let bench = Bench::start(&pkcs8(), |_| granted("abc"), |_| accepted()).await;
    let results = join_all((0..200).map(|_| deliver(&bench.client))).await;
    assert!(results.iter().all(|result| result.outcome == Outcome::Delivered));
    assert_eq!((bench.token_calls(), bench.stub.seen().len()), (1, 201));
}

#[tokio::test]
async fn a_refused_token_costs_one_fetch_however_many_were_in_flight() {
    let interaction =
        |seen: &Seen| if seen.header("authorization") == Some("Bearer t0") { unauthorized() } else { accepted() };
    let bench = Bench::start(&pkcs8(), |call| granted(&format!("t{call}")), interaction).await;
    let results = join_all((0..100).map(|_| deliver(&bench.client))).await;
    assert!(
        results.iter().all(|result| matches!(result.outcome, Outcome::NotSent(Transient { cause: Cause::Token, .. })))
    );
    assert_eq!(results[0].code, Some(10004));
    until(async || deliver(&bench.client).await.outcome == Outcome::Delivered).await;
    assert_eq!(bench.token_calls(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_though_nobody_types() {
    let token = |call: usize| {
        let now = clock::wall_since_epoch().as_secs();
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let claims = serde_json::json!({"exp": now + 3, "iat": now, "call": call}).to_string();
        granted(&format!("{}.{}.{}", part("{}".into()), part(claims), part("s".into())))
    };
    let bench = Bench::start(&pkcs8(), token, |_| accepted()).await;
    let keeping = tokio::spawn(bench.client.clone().keep_token_fresh());
    until(async || bench.token_calls() >= 3).await;
    assert_eq!(deliver(&bench.client).await.outcome, Outcome::Delivered);
    keeping.abort();
}

#[tokio::test]
async fn a_grant_that_is_refused_is_told_and_not_hammered() {
    let token = |_| {
        let body = r#"{"error":"invalid_grant","error_description":"user hasn't approved this consumer"}"#;
        answer("400 Bad", "retry-after: 30\r\n", body)
    };
    let bench = Bench::start(&pkcs8(), token, |_| accepted()).await;
    let text = "invalid_grant: user hasn't approved this consumer";
    let TokenState::Failing(told) = bench.client.warm_up().await else { panic!() };
    assert!(told.starts_with(text) && told.contains("Permitted Users"), "{told}");
    for _ in 0..50 {
        let result = deliver(&bench.client).await;
        let Outcome::NotSent(Transient { cause: Cause::Token, retry_after: Some(wait) }) = result.outcome else {
            panic!()
        };
        assert_eq!(wait, Duration::from_secs(1), "looking again is cheap, asking again is not");
        assert_eq!(result.detail, Some(told.clone()));
    }
    assert_eq!((bench.token_calls(), bench.stub.seen().len()), (1, 1), "it asked for half a minute");
}

#[tokio::test]
async fn a_grant_that_was_refused_is_asked_for_again_soon() {
    let token = |call| match call {
        0 => answer("400 Bad", "", r#"{"error":"invalid_grant","error_description":"user is inactive"}"#),
        _ => granted("abc"),
    };
    let bench = Bench::start(&pkcs8(), token, |_| accepted()).await;
    assert!(matches!(bench.client.warm_up().await, TokenState::Failing(_)));
    let watch = clock::stopwatch();
    until(async || deliver(&bench.client).await.outcome == Outcome::Delivered).await;
    assert!(watch.elapsed() < Duration::from_secs(15), "not after a minute: {:?}", watch.elapsed());
}

#[tokio::test]
async fn a_key_that_is_none_and_an_endpoint_that_is_none_are_told() {
    let bench = Bench::start("nonsense", |_| granted("abc"), |_| accepted()).await;
    let TokenState::Failing(text) = bench.client.warm_up().await else { panic!() };
    assert!(text.contains("key.pem") && text.contains("is no RSA key"), "{text}");
    for reply in
        ["", "<html>", "[]", "{}", r#"{"access_token":7}"#, r#"{"access_token":""}"#, r#"{"access_token":"a b"}"#]
    {
        let bench = Bench::start(&pkcs8(), |_| answer("200 OK", "", reply), |_| accepted()).await;
        assert!(matches!(bench.client.warm_up().await, TokenState::Failing(_)), "{reply}");
    }
}

#[tokio::test]
async fn a_changed_token_file_is_noticed_with_and_without_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let refuse = std::sync::Arc::new(AtomicBool::new(false));
    let stub = Stub::start({
        let refuse = std::sync::Arc::clone(&refuse);
        move |_| if refuse.load(Ordering::SeqCst) { unauthorized() } else { accepted() }
    })
    .await;
    let client = client(Settings { auth: Auth::TokenFile(path.clone()), ..settings(&stub.url()) }).0;
    let TokenState::Failing(text) = client.warm_up().await else { panic!() };
    assert!(text.contains(path.to_str().unwrap()), "{text}");

    let keeping = tokio::spawn(client.clone().keep_token_fresh());
    std::fs::write(&path, "  first\n").unwrap();
    until(async || client.token_state() == TokenState::Held).await;
    let last = || stub.seen().last().unwrap().header("authorization").unwrap().to_owned();
    assert_eq!(deliver(&client).await.outcome, Outcome::Delivered);
    assert_eq!(last(), "Bearer first");

    std::fs::write(&path, "other").unwrap();
    until(async || deliver(&client).await.outcome == Outcome::Delivered && last() == "Bearer other").await;

    // Refused, and the file unchanged: not ready. The waits are the state's own, and tested there.
    refuse.store(true, Ordering::SeqCst);
    assert_eq!(deliver(&client).await.outcome, not_sent(Cause::Token));
    until(async || matches!(client.token_state(), TokenState::Failing(_))).await;

    refuse.store(false, Ordering::SeqCst);
    std::fs::write(&path, "third").unwrap();
    until(async || deliver(&client).await.outcome == Outcome::Delivered && last() == "Bearer third").await;
    keeping.abort();
}
