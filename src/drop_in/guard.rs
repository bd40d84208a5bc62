//! What is not passed on, for it would not arrive as it was sent; and what passes unread.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::http::Problem;

/// What browsers say of the page that a request is made for; no page can leave it out.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What would not arrive as it was sent: a tunnel has no path, and of a coding beside `chunked` the far side would not
/// learn.
pub(super) fn refuse_what_cannot_pass(head: &Parts) -> Result<(), Problem> {
    if head.method == Method::CONNECT {
        let detail = "CONNECT is for proxies that are asked for a host; typingd stands in front of one";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        let detail = "no transfer coding but `chunked` is understood; a content encoding passes";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
    }
    Ok(())
}

/// Whether a browser sends this on behalf of a web page. Such a request passes as any other, but typingd doesn't act on
/// it: no page that a person visits may switch icons. Browsers say so with every POST; programs don't.
pub(super) fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}
