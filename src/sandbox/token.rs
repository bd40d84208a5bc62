//! Access tokens: the JWT bearer flow that issues them, and which of them the sandbox takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::rejection::{Rejection, TOKEN};
use crate::base::clock;

/// The tokens of one sandbox. Its key is made at its start, so that no other sandbox's tokens are its own.
pub(super) struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    life: Duration,
    fixed: Option<String>,
    strict: bool,
    public_key: Option<DecodingKey>,
    /// The number of the last token issued.
    issued: AtomicU64,
    /// The number of the last token revoked; all before it are revoked too.
    revoked: AtomicU64,
    calls: AtomicU64,
}

/// An OAuth error: its name and a sentence.
pub(super) type OAuthError = (&'static str, String);

impl Tokens {
    pub(super) fn new(life: Duration, fixed: Option<String>, strict: bool, public_key: Option<DecodingKey>) -> Self {
        let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Self {
            sign: EncodingKey::from_secret(&secret),
            verify: DecodingKey::from_secret(&secret),
            life,
            fixed,
            strict,
            public_key,
            issued: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }

    /// Counts a call of the token endpoint.
    pub(super) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls of the token endpoint since the reset, answered or not.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn clear_calls(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }

    /// From now on no token issued so far is taken.
    pub(super) fn revoke_all(&self) {
        self.revoked.fetch_max(self.issued.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Answers a token request: a form with `grant_type` and `assertion`.
    pub(super) fn grant(&self, form: &[u8], instance_url: &str) -> Result<Value, OAuthError> {
        let field = |name| url::form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value);
        match field("grant_type").as_deref() {
            None => return Err(("invalid_request", "grant_type is missing".into())),
            Some(GRANT_TYPE) => {}
            Some(_) => return Err(("unsupported_grant_type", format!("grant_type must be {GRANT_TYPE}"))),
        }
        let assertion = field("assertion").ok_or(("invalid_request", "assertion is missing".into()))?;
        let subject = self.check_assertion(&assertion).map_err(|error| ("invalid_grant", error))?;
        let token = self.issue(&subject).map_err(|error| ("server_error", error.to_string()))?;
        // No `expires_in`: the real endpoint leaves it out, and a client has to cope.
        Ok(json!({
            "access_token": token,
            "instance_url": instance_url,
            "token_type": "Bearer",
            "scope": "interaction_api",
        }))
    }

    /// The assertion's subject, if it is what the reference asks for.
    fn check_assertion(&self, assertion: &str) -> Result<String, String> {
        let head = jsonwebtoken::decode_header(assertion).map_err(|error| format!("assertion is no JWT: {error}"))?;
        if head.alg != Algorithm::RS256 {
            return Err(format!("the assertion's alg is {:?}; expected RS256", head.alg));
        }
        let claims = match &self.public_key {
            Some(key) => jsonwebtoken::decode::<Value>(assertion, key, &signature_alone(Algorithm::RS256))
                .map(|token| token.claims)
                .map_err(|error| format!("the assertion's signature does not fit the public key: {error}"))?,
            None => insecure_decode_claims(assertion).map_err(|error| format!("assertion is no JWT: {error}"))?,
        };
        for claim in ["iss", "sub", "aud"] {
            if claims[claim].as_str().is_none_or(str::is_empty) {
                return Err(format!("the claim {claim} is missing, empty or no string"));
            }
        }
        let now = clock::wall_since_epoch().as_secs();
        match claims["exp"].as_u64() {
            None => Err("the claim exp is missing or no integer".into()),
            Some(exp) if exp <= now => Err("the assertion has expired".into()),
            Some(exp) if exp - now > ASSERTION_LIFE_MAX.as_secs() => {
                Err(format!("the claim exp is more than {} s ahead", ASSERTION_LIFE_MAX.as_secs()))
            }
            Some(_) => Ok(claims["sub"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn issue(&self, subject: &str) -> jsonwebtoken::errors::Result<String> {
        let now = clock::wall_since_epoch();
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        let claims = json!({
            "iss": "typingd sandbox",
            "sub": subject,
            "scope": "interaction_api",
            "iat": now.as_secs(),
            "exp": now.saturating_add(self.life).as_secs(),
            "jti": number,
        });
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
    }

    /// Whether a request's `Authorization` is taken. The token is in no message.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let refuse = |message: &str| Err(Rejection::new(TOKEN, message));
        let Some(value) = headers.get(header::AUTHORIZATION) else { return refuse("Authorization is missing") };
        let token = value.to_str().ok().and_then(|text| text.split_once(' '));
        let token = match token {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => token.trim(),
            _ => return refuse("Authorization must be `Bearer <access token>`"),
        };
        if let Some(fixed) = &self.fixed
            && bool::from(fixed.as_bytes().ct_eq(token.as_bytes()))
        {
            return Ok(());
        }
        let now = clock::wall_since_epoch().as_secs();
        let expired = |claims: &Value| claims["exp"].as_f64().is_some_and(|exp| exp <= now as f64);
        match jsonwebtoken::decode::<Value>(token, &self.verify, &signature_alone(Algorithm::HS256)) {
            Ok(own) if expired(&own.claims) => refuse("the access token has expired"),
            Ok(own) if own.claims["jti"].as_u64().is_none_or(|n| n <= self.revoked.load(Ordering::SeqCst)) => {
                refuse("the access token has been revoked")
            }
            Ok(_) => Ok(()),
            Err(_) if self.strict || self.fixed.is_some() => refuse("the access token is not one this sandbox takes"),
            // A developer's placeholder is as good as any; what is a JWT and says itself that it has expired is not.
            Err(_) if insecure_decode_claims::<Value>(token).is_ok_and(|claims| expired(&claims)) => {
                refuse("the access token has expired")
            }
            Err(_) => Ok(()),
        }
    }
}

/// An OAuth error as the real endpoint writes it.
pub(super) fn oauth_error((error, description): OAuthError) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error, "error_description": description }))).into_response()
}

/// Checks nothing but the signature: the claims are held against our own clock.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Salesforce takes assertions that are valid for at most five minutes.
const ASSERTION_LIFE_MAX: Duration = Duration::from_secs(300);
