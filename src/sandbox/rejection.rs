//! Rejections: the documented body `{"code": …, "message": …}`, and the one table of its codes.
//!
//! The reference names classes of codes, not what each is for. The class is what a client acts on; which number of the
//! class means what is the sandbox's choice:
//!
//! | code | status | when | what it is to a client |
//! | --- | --- | --- | --- |
//! | [`TOKEN`] | 401 | `Authorization` missing, malformed, expired, or a token that is not taken | refresh once, retry |
//! | [`CONTEXT`] | 403 | `AuthorizationContext` empty | configuration |
//! | [`CHANNEL`] | 400 | `to` is among the refused | permanent for the channel |
//! | [`END_USER`] | 400 | `from` is among the refused | permanent for the conversation |
//! | [`HEADER`] | 400 | `OrgId` or `RequestId` missing or malformed | a defect of the client |
//! | [`MULTIPART`] | 400 | the content type, or the parts | a defect of the client |
//! | [`JSON`] | 400 | the `json` part's syntax or schema | a defect of the client |
//! | [`ATTACHMENT`] | 400 | an attachment that is missing or of another length than announced | a defect of the client |
//! | 404, 405, 408, 413, 429, 500, 501, 503 | the same | what HTTP means by them | 429: slow down; 5xx: retry |

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The token is not taken.
pub(super) const TOKEN: i64 = 10_004;
/// The authorization context is not valid for the token.
pub(super) const CONTEXT: i64 = 10_005;
/// The channel address is not found.
pub(super) const CHANNEL: i64 = 10_017;
/// The end user is not found.
pub(super) const END_USER: i64 = 10_028;
/// A header of the request is malformed.
pub(super) const HEADER: i64 = 10_016;
/// The multipart body is malformed.
pub(super) const MULTIPART: i64 = 10_029;
/// The `json` part is malformed.
pub(super) const JSON: i64 = 10_045;
/// The attachment does not fit its interaction.
pub(super) const ATTACHMENT: i64 = 10_059;

/// The words by which the real service names its limit, whatever the status.
pub(super) const RATE_MESSAGE: &str = "Interaction request rate limit exceeded";

/// One refusal, as it goes on the wire.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) retry_after: Option<u64>,
}

impl Rejection {
    /// The status follows from the code; `message` names what is wrong.
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { status: status_of(code), code, message: message.into(), retry_after: None }
    }

    /// Where the reference has no code, the status is the code.
    pub(super) fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: i64::from(status.as_u16()), message: message.into(), retry_after: None }
    }

    /// The org's rate is exceeded; the client may retry in `retry_after` seconds.
    pub(super) fn rate(retry_after: Option<u64>) -> Self {
        Self { retry_after, ..Self::status(StatusCode::TOO_MANY_REQUESTS, RATE_MESSAGE) }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let body = Json(json!({ "code": self.code, "message": self.message }));
        match self.retry_after {
            Some(seconds) => (self.status, [(header::RETRY_AFTER, HeaderValue::from(seconds))], body).into_response(),
            None => (self.status, body).into_response(),
        }
    }
}

/// The status that goes with `code`. Codes the reference calls retryable get various statuses, so that a client that
/// looks at the status first is found out.
fn status_of(code: i64) -> StatusCode {
    match code {
        TOKEN => StatusCode::UNAUTHORIZED,
        10_003 | CONTEXT => StatusCode::FORBIDDEN,
        10_019 => StatusCode::SERVICE_UNAVAILABLE,
        10_055 => StatusCode::PRECONDITION_FAILED,
        10_056 => StatusCode::CONFLICT,
        10_094 => StatusCode::GATEWAY_TIMEOUT,
        20_002 | 20_004 => StatusCode::INTERNAL_SERVER_ERROR,
        400..=599 => u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default(),
        _ => StatusCode::BAD_REQUEST,
    }
}
