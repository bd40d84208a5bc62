//! The token endpoint, and which tokens are taken.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use super::*;

fn assertion(claims: &Value, algorithm: Algorithm) -> String {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(include_bytes!("test_key.pem")).unwrap(),
        _ => EncodingKey::from_secret(b"x"),
    };
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

#[tokio::test]
async fn the_sandbox_grants_tokens_and_takes_them() {
    let public_key = DecodingKey::from_rsa_pem(include_bytes!("test_key.pub.pem")).unwrap();
    let bench = bench(Options { public_key: Some(public_key), strict_tokens: true, ..Options::default() }).await;
    let now = clock::wall_since_epoch().as_secs();
    let claims = json!({"iss": "key", "sub": "user", "aud": "https://login.salesforce.com", "exp": now + 180});
    let with = |claim: &str, value: Value| {
        let mut claims = claims.clone();
        claims[claim] = value;
        assertion(&claims, Algorithm::RS256)
    };
    let ask = |grant_type: &str, assertion: String| {
        let form = [("grant_type", grant_type.to_owned()), ("assertion", assertion)];
        bench.said(bench.call(Method::POST, "/services/oauth2/token").form(&form))
    };
    let bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    for (grant_type, assertion, error) in [
        ("password", with("iss", json!("key")), "unsupported_grant_type"),
        (bearer, "x".into(), "invalid_grant"),
        (bearer, assertion(&claims, Algorithm::HS256), "invalid_grant"),
        (bearer, with("iss", json!("")), "invalid_grant"),
        (bearer, with("sub", Value::Null), "invalid_grant"),
        (bearer, with("aud", json!(1)), "invalid_grant"),
        (bearer, with("exp", json!(now - 1)), "invalid_grant"),
        (bearer, with("exp", json!(now + 400)), "invalid_grant"),
        (bearer, with("exp", Value::Null), "invalid_grant"),
        (bearer, with("iss", json!("key")) + "A", "invalid_grant"),
    ] {
        let (status, body) = ask(grant_type, assertion).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(error)), "{body}");
        assert!(body["error_description"].is_string());
    }
    let (status, body) = ask(bearer, with("iss", json!("key"))).await;
    assert_eq!((status, &body["token_type"], &body["instance_url"]), (200, &json!("Bearer"), &json!(bench.base)));
    let token = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let told: Value = jsonwebtoken::dangerous::insecure_decode_claims(token.trim_start_matches("Bearer ")).unwrap();
    assert!((now + 1_800..now + 1_810).contains(&told["exp"].as_u64().unwrap()));
    let with_token = |token: &str| bench.head(&[("Authorization", token)]).multipart(form(&typing("c", "u", STARTED)));
    assert_eq!(bench.said(with_token(&token)).await.0, 202);
    assert_eq!(bench.said(with_token("Bearer placeholder")).await.0, 401, "strict");

    assert_eq!(bench.said(bench.call(Method::DELETE, "/tokens")).await.0, 204);
    let (status, body) = bench.said(with_token(&token)).await;
    assert_eq!((status, &body["message"]), (401, &json!("the access token has been revoked")));
    let (_, body) = ask(bearer, with("iss", json!("key"))).await;
    assert_eq!(bench.said(with_token(&format!("bearer {}", body["access_token"].as_str().unwrap()))).await.0, 202);

    for (fault, status, error) in [("invalid_grant", 400, Some("invalid_grant")), ("unavailable", 503, None)] {
        let put = bench.call(Method::PUT, "/faults").json(&json!({"token": fault}));
        assert_eq!(bench.said(put).await.0, 200);
        let (got, body) = ask(bearer, with("iss", json!("key"))).await;
        assert_eq!((got, body["error"].as_str()), (status, error));
    }
    assert_eq!(bench.get("/requests").await["token_calls"], 14);
    bench.stop().await;
}

#[tokio::test]
async fn tokens_expire_and_a_fixed_one_stands_alone() {
    let key = DecodingKey::from_rsa_pem(include_bytes!("test_other.pub.pem")).unwrap();
    let options = Options { token: Some("right".into()), public_key: Some(key), ..Options::default() };
    let bench = bench(options).await;
    for (token, status) in [("Bearer right", 202), ("Bearer wrong", 401), ("Bearer rightt", 401)] {
        let request = bench.head(&[("Authorization", token)]).multipart(form(&typing("c", "u", STARTED)));
        assert_eq!(bench.said(request).await.0, status, "{token}");
    }
    let claims = json!({"iss": "k", "sub": "u", "aud": "a", "exp": clock::wall_since_epoch().as_secs() + 100});
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
        ("assertion", assertion(&claims, Algorithm::RS256)),
    ];
    let (status, body) = bench.said(bench.call(Method::POST, "/services/oauth2/token").form(&form)).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "signed with another key");
    bench.stop().await;

    let bench = super::bench(Options { token_life: Duration::ZERO, ..Options::default() }).await;
    let (_, body) = bench.said(bench.call(Method::POST, "/services/oauth2/token").form(&form)).await;
    let token = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let request = bench.head(&[("Authorization", &token)]).multipart(super::form(&typing("c", "u", STARTED)));
    let (status, body) = bench.said(request).await;
    assert_eq!((status, &body["message"]), (401, &json!("the access token has expired")));
    bench.stop().await;
}
