//! Deliveries with credentials that connectors have shown.

use std::time::Duration;

use axum::http::{HeaderMap, header};

use super::stub::{Reply, Stub, accepted, answer};
use super::*;
use crate::model::CredentialId;
use crate::salesforce::credentials::{AUTHORIZATION_CONTEXT, CredentialCache, Credentials, ORG_ID, REFUSED_FOR, Shown};

fn set(token: &str) -> Credentials {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(ORG_ID, "00DXX0000000001AAA".parse().unwrap());
    headers.insert(AUTHORIZATION_CONTEXT, "Partner1_ChannelDefinition1".parse().unwrap());
    Credentials::of(&headers).unwrap()
}

async fn upstream() -> Stub {
    Stub::start(|seen| match seen.header("authorization") {
        Some(token) if token.starts_with("Bearer good") => accepted(),
        _ => Reply::Send(answer("401 Unauthorized", "", r#"{"code":10004,"message":"bad stale, says Salesforce"}"#)),
    })
    .await
}

#[tokio::test]
async fn own_credentials_serve_a_start_and_accepted_ones_a_stop() {
    let stub = upstream().await;
    let clock = Clock::start();
    let cache = CredentialCache::new(clock, REFUSED_FOR);
    let settings = Settings { auth: Auth::Cached, ..settings(&stub.url()) };
    let client = Client::with_cache(settings, clock, cache.clone()).unwrap();
    assert_eq!(client.warm_up().await, TokenState::Held, "with cached credentials there is nothing to wait for");
    let send = async |credentials: Option<CredentialId>, reason: Reason, to: &str| {
        client.deliver(&Dispatch { credentials, ..dispatch(&clock, to, 1, reason) }, &Permit::default()).await
    };

    let result = send(None, Reason::Idle, "channel").await;
    assert_eq!((result.outcome, result.status), (not_sent(Cause::NoCredentials), None));
    assert!(stub.seen().is_empty(), "without credentials nothing leaves");

    let stale = cache.show("channel", &set("stale")).id;
    let result = send(Some(stale), Reason::FirstKeystroke, "channel").await;
    assert_eq!((result.outcome, result.status), (not_sent(Cause::Credentials), Some(401)));
    assert_eq!(result.detail.as_deref(), Some("bad …, says Salesforce"), "the token is not repeated");
    let Shown { rejection, .. } = cache.show("channel", &set("stale"));
    let rejection = rejection.expect("the refusal is remembered");
    assert_eq!((rejection.code, &*rejection.message), (10_004, "bad …, says Salesforce"));

    let result = send(Some(stale), Reason::Idle, "channel").await;
    let Outcome::NotSent(Transient { cause: Cause::NoCredentials, retry_after: Some(wait) }) = result.outcome else {
        panic!("{result:?}");
    };
    assert!(wait <= REFUSED_FOR && wait > REFUSED_FOR - Duration::from_secs(10), "{wait:?}");
    assert_eq!(stub.seen().len(), 1, "refused ones are not tried again");

    let good = cache.show("channel", &set("good")).id;
    let result = send(Some(stale), Reason::Idle, "channel").await;
    assert_eq!(result.status, None, "nobody has accepted them yet");
    assert_eq!(send(Some(good), Reason::FirstKeystroke, "channel").await.outcome, Outcome::Delivered);
    assert_eq!(send(Some(stale), Reason::FirstKeystroke, "channel").await.status, None, "a Started has its own");
    assert_eq!(send(Some(stale), Reason::Idle, "channel").await.outcome, Outcome::Delivered);
    assert_eq!(send(None, Reason::Recovered, "channel").await.outcome, Outcome::Delivered);
    let seen = stub.seen().pop().unwrap();
    assert_eq!(seen.header("orgid"), Some("00DXX0000000001AAA"));
    assert_eq!(seen.header("authorization"), Some("Bearer good"));

    // Another channel has none; one with another context configured takes these for none of its own.
    assert_eq!(send(None, Reason::Recovered, "other").await.status, None);
    cache.show("special", &set("good"));
    assert_eq!(send(None, Reason::Recovered, "special").await.status, None);
    assert_eq!(send(Some(good), Reason::Idle, "special").await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn configured_credentials_take_precedence_over_shown_ones() {
    let stub = Stub::start(|_| accepted()).await;
    let clock = Clock::start();
    let cache = CredentialCache::new(clock, REFUSED_FOR);
    cache.show("channel", &set("other"));
    let client = Client::with_cache(settings(&stub.url()), clock, cache).unwrap();
    assert_eq!(deliver(&client).await.outcome, Outcome::Delivered);
    let seen = stub.seen().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken.t0ken"));
    assert_eq!(seen.header("orgid"), Some("00DXX0000000001"));
}
