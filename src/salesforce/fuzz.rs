//! For fuzzing: answers of the upstream and of the token endpoint.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{self, Body};
use super::settings::{JwtBearer, Places};
use super::token;
use crate::model::Outcome;

const SECRET: &str = "s3cret-t0ken";

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(100 + status % 500).expect("a status has three digits")
}

fn headers_of(headers: &[(&str, &[u8])]) -> HeaderMap {
    let headers = headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
    });
    headers.collect()
}

/// Whatever the Interaction Service answers has a meaning, within bounds and without the token.
pub fn answer(status: u16, headers: &[(&str, &[u8])], body: &[u8], whole: bool) {
    let status = status_of(status);
    let body =
        if whole { Body::Whole(body.to_vec().into()) } else { Body::Cut(String::from_utf8_lossy(body).into_owned()) };
    let verdict = answer::classify(status, &headers_of(headers), &body, || SECRET);
    assert!(verdict.outcome != Outcome::Delivered || status.is_success());
    if let Some(wait) = verdict.outcome.transient().and_then(|transient| transient.retry_after) {
        assert!((500..=60_000).contains(&wait.as_millis()), "{wait:?}");
    }
    if let Some(detail) = verdict.detail {
        assert!(detail.chars().count() <= 200 && !detail.chars().any(char::is_control), "{detail:?}");
        assert!(!detail.contains(SECRET), "{detail:?}");
    }
}

/// Whatever the token endpoint answers is a token or the reason why there is none, without the assertion.
pub fn token_answer(status: u16, headers: &[(&str, &[u8])], body: &[u8]) {
    let jwt = JwtBearer::sample();
    match token::read_answer(&jwt, &Places::default(), status_of(status), &headers_of(headers), body, SECRET) {
        Ok((token, life)) => {
            assert!(life.as_secs() <= 86_400, "{life:?}");
            let _ = token::bearer(&token);
        }
        Err(failure) => {
            assert!(!failure.text.contains(SECRET) && failure.text.len() < 8_192, "{}", failure.text);
            assert!(!failure.text.chars().any(char::is_control), "{:?}", failure.text);
            assert!(failure.retry_after.is_none_or(|wait| (500..=60_000).contains(&wait.as_millis())));
        }
    }
}
