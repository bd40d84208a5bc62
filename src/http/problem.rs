//! What is wrong with a request, as `application/problem+json`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// An error as `application/problem+json` (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<u64>,
    accepts_no_coding: bool,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// `detail` is one sentence: the place, the value, what is expected.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            retry_after: None,
            accepts_no_coding: false,
            extra: serde_json::Map::new(),
        }
    }

    /// The answer to a request for an address that typingd does not serve.
    pub(crate) fn of_nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address; signals go to /v1/signals")
    }

    /// The answer to an operator's call on an address of signals, where operators have addresses of their own.
    pub(crate) fn of_operators() -> Self {
        let detail = "this call is served at the addresses of admin.listen; here are signals, /healthz and /readyz";
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The status of the answer.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Asks the caller to try again in `seconds`.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A body has a content encoding; none is accepted (RFC 9110, section 12.5.3).
    pub(crate) fn of_content_encoding() -> Self {
        let detail = "compressed bodies are not accepted; expected no content encoding";
        Self { accepts_no_coding: true, ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail) }
    }

    /// The document as it is sent, with the members that were added.
    pub(super) fn into_document(self) -> serde_json::Value {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.extra);
        }
        body
    }

    /// Adds a member beside the standard ones.
    pub(crate) fn with(mut self, name: &str, value: serde_json::Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }
}

/// Marks the answer to a refused request, the rest of which its connection may read and discard.
#[derive(Clone, Copy)]
pub(super) struct Refused;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after, accepts_no_coding) = (self.status, self.retry_after, self.accepts_no_coding);
        let mut response = (status, self.into_document().to_string()).into_response();
        response.extensions_mut().insert(Refused);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if accepts_no_coding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        with_security_headers(response)
    }
}

/// Tells browsers that the answer is what its type says, is not to be stored, and belongs in no other site's page.
pub(super) fn with_security_headers(mut answer: Response) -> Response {
    add_security_headers(answer.headers_mut());
    answer
}

/// The same for an answer with these headers.
pub(super) fn add_security_headers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
