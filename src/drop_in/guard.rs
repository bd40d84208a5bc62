//! What is not forwarded: what would not arrive as it was sent, typingd's own secret, and loops.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::http::{Problem, TokenAuth};
use crate::salesforce::via::{self, Loop};

/// What browsers say of the page that a request is made for; no page can leave it out.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what must not be forwarded. `gate` knows the token that typingd's own callers show.
pub(super) fn refuse_what_cannot_pass(head: &Parts, gate: &TokenAuth) -> Result<(), Problem> {
    if head.method == Method::CONNECT {
        let detail = "CONNECT is for forward proxies; typingd is a reverse proxy";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
    }
    if gate.is_shown(&head.headers) {
        let detail = "this is the token of ingest.token_file or admin.token_file, which opens typingd itself and must not reach Salesforce; \
                      what passes needs a token of Salesforce's";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    match via::find_loop(&head.headers) {
        None => Ok(()),
        Some(Loop::Own) => {
            let detail = "the request has been here before: the way to Salesforce leads back to typingd; see to \
                          upstream.base_url and upstream.connect_to";
            Err(Problem::new(StatusCode::LOOP_DETECTED, detail))
        }
        Some(Loop::Many) => {
            let detail = "the request has passed three typingd already; one beside the connector is enough";
            Err(Problem::new(StatusCode::LOOP_DETECTED, detail))
        }
    }
}

/// Whether a browser sends this on behalf of a web page. Such a request passes as any other, but typingd doesn't act on
/// it: no page that a person visits may switch icons. Browsers say so with every POST; programs don't.
pub(super) fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}
