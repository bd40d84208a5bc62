//! Deliveries with credentials that a connector has shown.

use axum::http::{HeaderMap, header};

use super::stub::{Reply, Stub, accepted, answer};
use super::*;
use crate::credentials::{AUTHORIZATION_CONTEXT, CredentialCache, Credentials, ORG_ID};

fn shown(token: &str) -> Credentials {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(ORG_ID, "00DBB0000000001".parse().unwrap());
    headers.insert(AUTHORIZATION_CONTEXT, "Shown_Context".parse().unwrap());
    Credentials::of(&headers).unwrap()
}

#[tokio::test]
async fn what_the_connector_showed_for_the_channel_is_used_and_dropped_when_refused() {
    let stub = Stub::start(|seen| match seen.header("authorization") {
        Some("Bearer good") => accepted(),
        _ => Reply::Send(answer("401 Unauthorized", "", r#"{"code":10004,"message":"bad stale, says Salesforce"}"#)),
    })
    .await;
    let (cache, clock) = (CredentialCache::default(), Clock::start());
    let settings = Settings { auth: Auth::Cached, ..settings(&stub.url()) };
    let client = Client::with_cache(settings, clock, cache.clone()).unwrap();
    assert_eq!(client.warm_up().await, TokenState::Held, "with cached credentials there is nothing to wait for");

    let result = deliver(&client).await;
    assert_eq!((result.outcome, result.status), (not_sent(Cause::Token), None));
    assert!(stub.seen().is_empty(), "without credentials nothing leaves");

    cache.show("channel", &shown("stale"));
    let result = deliver(&client).await;
    assert_eq!((result.outcome, result.status), (not_sent(Cause::Token), Some(401)));
    assert_eq!(result.detail.as_deref(), Some("bad …, says Salesforce"), "the token is not repeated");
    assert_eq!(cache.of_channel("channel"), None);

    cache.show("channel", &shown("stale"));
    deliver(&client).await;
    assert_eq!(stub.seen().len(), 1, "refused ones are not tried again");

    cache.show("channel", &shown("good"));
    assert_eq!(deliver(&client).await.outcome, Outcome::Delivered);
    let seen = stub.seen().pop().unwrap();
    assert_eq!(seen.header("orgid"), Some("00DBB0000000001"));
    assert_eq!(seen.header("authorizationcontext"), Some("Shown_Context"));

    let other = client.deliver(&dispatch(&clock, "special", 2, Reason::FirstKeystroke)).await;
    assert_eq!(other.outcome, not_sent(Cause::Token), "another channel has none");
}

#[tokio::test]
async fn configured_credentials_take_precedence_over_shown_ones() {
    let stub = Stub::start(|_| accepted()).await;
    let cache = CredentialCache::default();
    cache.show("channel", &shown("other"));
    let client = Client::with_cache(settings(&stub.url()), Clock::start(), cache).unwrap();
    assert_eq!(deliver(&client).await.outcome, Outcome::Delivered);
    let seen = stub.seen().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken.t0ken"));
    assert_eq!(seen.header("orgid"), Some("00DXX0000000001"));
}
