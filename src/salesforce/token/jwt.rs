//! The OAuth 2.0 JWT bearer flow: an assertion, signed with the private key, for an access token.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderMap};
use serde::{Deserialize, Serialize};

use super::pem;
use super::refusal::Refusal;
use super::state::Failure;
use crate::base::{clock, files};
use crate::salesforce::answer::{self, Body};
use crate::salesforce::route::Route;
use crate::salesforce::settings::{JwtBearer, Places};

#[derive(Serialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
}

/// How the token endpoint is reached.
pub(super) struct Endpoint<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) timeout: Duration,
    pub(super) route: &'a Route,
    pub(super) places: &'a Places,
}

/// Whether the private key can be read and is one, for an answer at the start rather than at the first fetch.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn check_key(path: &Path) -> Result<(), String> {
    let file = files::read(path, files::KEY_FILE_BYTES_MAX)
        .map_err(|error| format!("{PRIVATE_KEY_FILE} {} can't be read: {error}", path.display()))?;
    // A key that can be parsed may still be unable to sign: one that is too short.
    let signed = sign(&file, &serde_json::Map::new());
    signed.map(drop).map_err(|why| {
        let expected = if why.contains("expected") { "" } else { "; expected an RSA key in PEM, PKCS#1 or PKCS#8" };
        format!("{PRIVATE_KEY_FILE} {} {why}{expected}", path.display())
    })
}

/// The signed assertion, or why the key in `file` can't sign, to be read after the file's name.
fn sign(file: &[u8], claims: &impl Serialize) -> Result<String, String> {
    let block = pem::private_key(file)?;
    let signed = EncodingKey::from_rsa_pem(block.as_bytes())
        .and_then(|key| jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &key));
    signed.map_err(|error| match error.to_string() {
        error if error.contains("TooSmall") => {
            "is too short a key; expected an RSA key of 2048 bits or more".to_owned()
        }
        error => format!("is damaged, or no RSA key ({error})"),
    })
}

/// The OAuth 2.0 JWT bearer flow: a signed assertion for an access token and the time it is good for.
pub(super) async fn exchange(
    jwt: &JwtBearer,
    file: Vec<u8>,
    endpoint: Endpoint<'_>,
) -> Result<(String, Duration), Failure> {
    let Endpoint { http, timeout, route, places } = endpoint;
    let deadline = clock::timer_after(timeout);
    let claims = Claims {
        iss: jwt.consumer_key.clone(),
        sub: jwt.subject.clone(),
        aud: jwt.audience.clone(),
        exp: (clock::wall_since_epoch() + ASSERTION_LIFE).as_secs(),
    };
    // Parsing the key and signing take up to 50 ms.
    let signed = tokio::task::spawn_blocking(move || sign(&file, &claims)).await;
    let assertion = signed.map_err(|_| Failure::new("signing broke off"))?.map_err(|why| {
        let key = places.before(PRIVATE_KEY_FILE);
        Failure::new(format!("{key} {} {why}", jwt.private_key_file.display()))
    })?;
    let form = [("grant_type", GRANT_TYPE), ("assertion", assertion.as_str())];
    let request = http.post(jwt.token_url.clone()).header(ACCEPT, "application/json").form(&form);
    let response = request.send().await.map_err(|error| {
        let connecting = error.is_connect();
        Failure::new(route.failure(&error.without_url(), connecting))
    })?;
    let (head, body) = axum::http::Response::from(response).into_parts();
    let (status, headers) = (head.status, head.headers);
    match answer::read_body(body, pin!(tokio::time::sleep_until(deadline))).await {
        Body::Whole(bytes) => read(jwt, places, status, &headers, &bytes, &assertion),
        Body::Cut(why) => Err(Failure {
            text: route.no_answer(&format!("the token endpoint answered {status}; {why}")),
            retry_after: answer::retry_after(&headers),
        }),
    }
}

/// The token in an answer, or why there is none. `assertion` is what that must not repeat.
pub(in crate::salesforce) fn read(
    jwt: &JwtBearer,
    places: &Places,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    assertion: &str,
) -> Result<(String, Duration), Failure> {
    let answer = serde_json::from_slice(body).unwrap_or_default();
    match answer {
        TokenAnswer { access_token: Some(token), expires_in, .. } if status.is_success() => {
            let life = life_of(&token, expires_in);
            Ok((token, life))
        }
        TokenAnswer { error, error_description, .. } => {
            let said =
                error.map(|error| format!("{error}: {}", error_description.as_deref().unwrap_or("no description")));
            let said = said.and_then(|said| answer::readable(&said, assertion));
            Err(Refusal { status, headers, body, said }.explain(jwt, places, clock::wall_since_epoch()))
        }
    }
}

#[derive(Default, Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The times in an access token, if it is a JWT.
#[derive(Default, Deserialize)]
struct Times {
    iat: Option<u64>,
    exp: Option<u64>,
}

/// How long a token is good for: by its own `exp`, else by `expires_in`, else [`LIFE_ASSUMED`].
///
/// `exp` is compared with our clock, which may be wrong; with its `iat` it also says how long the token lives at most,
/// whatever our clock says. An end that is already past by our clock says only that our clock is fast.
fn life_of(token: &str, expires_in: Option<serde_json::Value>) -> Duration {
    let times: Times = jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap_or_default();
    let span = |from: u64| times.exp.and_then(|exp| exp.checked_sub(from)).filter(|seconds| *seconds > 0);
    let by_clock = span(clock::wall_since_epoch().as_secs());
    let by_itself = times.iat.and_then(span);
    let stated = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let stated = stated.filter(|seconds| *seconds > 0);
    let seconds = by_clock.into_iter().chain(by_itself).min().or(stated);
    seconds.map_or(LIFE_ASSUMED, Duration::from_secs).min(LIFE_MAX)
}

/// The key that names the private key's file.
pub(super) const PRIVATE_KEY_FILE: &str = "upstream.auth.jwt_bearer.private_key_file";

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Salesforce takes assertions whose end is at most a few minutes ahead; three leave room for a clock that is slow.
const ASSERTION_LIFE: Duration = Duration::from_secs(3 * 60);

/// Salesforce's usual lifetime of tokens for named users.
const LIFE_ASSUMED: Duration = Duration::from_secs(30 * 60);

/// Past a day a lifetime is more likely a mistake than a promise; one fetch a day costs nothing.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_life_comes_from_the_token_the_answer_or_a_default() {
        use base64::Engine as _;
        let jwt = |claims: serde_json::Value| {
            let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{}", part("{}"), part(&claims.to_string()), part("signature"))
        };
        let now = clock::wall_since_epoch().as_secs();
        let life = |token: &str, stated: Option<u64>| life_of(token, stated.map(Into::into)).as_secs();
        assert!((595..=600).contains(&life(&jwt(serde_json::json!({"exp": now + 600})), Some(7))));
        // Our clock is an hour slow, and an hour fast.
        assert_eq!(life(&jwt(serde_json::json!({"iat": now + 3600, "exp": now + 5400})), None), 1800);
        assert_eq!(life(&jwt(serde_json::json!({"iat": now - 3600, "exp": now - 1800})), None), 1800);
        assert_eq!(life("00Dxx!opaque", Some(7)), 7);
        assert_eq!(life_of("opaque", Some("7".into())).as_secs(), 7);
        assert_eq!(life("opaque", Some(0)), 1800);
        assert_eq!(life("a.b.c", None), 1800);
        assert_eq!(life("opaque", Some(u64::MAX)), LIFE_MAX.as_secs());
        let no_life = jwt(serde_json::json!({"iat": now + 600, "exp": now + 600}));
        assert!((595..=600).contains(&life(&no_life, None)), "an end that is its beginning says nothing");
    }

    #[test]
    fn a_token_is_taken_from_a_success_only() {
        let jwt = JwtBearer::sample();
        let body = br#"{"access_token": "t0ken", "expires_in": 60}"#;
        for (status, taken) in [(200, true), (201, true), (302, false), (400, false), (500, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            let found = read(&jwt, &Places::default(), status, &HeaderMap::new(), body, "assertion");
            assert_eq!(found.is_ok_and(|(token, life)| token == "t0ken" && life.as_secs() == 60), taken, "{status}");
        }
    }
}
