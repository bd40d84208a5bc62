//! The answers to requests that can't be parsed: hyper answers them with a bare status, which gets its document here.

use axum::http::StatusCode;
use bytes::Bytes;

use super::problem::Problem;

/// The status of `written`, if that is one of hyper's own answers: a head that says there is no body.
pub(super) fn status(written: &[u8]) -> Option<StatusCode> {
    if written.len() > BARE_BYTES_MAX {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(code.as_bytes()).ok()?;
    let bare = head.split("\r\n").filter(|line| line.eq_ignore_ascii_case("content-length: 0")).count() == 1;
    (bare && detail(status).is_some()).then_some(status)
}

/// The answer to a request that can't be read. It is the last on its connection.
pub(super) fn answer(status: StatusCode) -> Bytes {
    with_detail(status, detail(status).unwrap_or("the request can't be parsed"))
}

/// The answer to TLS. Its client can't read it, but shows or records what came instead of TLS.
pub(super) fn answer_tls() -> Bytes {
    with_detail(StatusCode::BAD_REQUEST, "https was spoken to an http port: expected http:// in the address")
}

fn with_detail(status: StatusCode, detail: &str) -> Bytes {
    let body = Problem::new(status, detail).into_document().to_string();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\ncross-origin-resource-policy: same-origin\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// The answer to the preface of HTTP/2: GOAWAY with HTTP_1_1_REQUIRED (RFC 9113, sections 6.8 and 7): the
/// only answer that a client of HTTP/2 reads.
pub(super) fn answer_http2() -> Bytes {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    const HTTP_1_1_REQUIRED: u8 = 13;
    let words = detail(StatusCode::HTTP_VERSION_NOT_SUPPORTED).unwrap_or_default();
    // No stream was processed: the number of the last is zero.
    let length = u8::try_from(8 + words.len()).expect("a sentence");
    let head = [0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
    [&SETTINGS[..], &head, &[0; 4], &[0, 0, 0, HTTP_1_1_REQUIRED], words.as_bytes()].concat().into()
}

fn detail(status: StatusCode) -> Option<&'static str> {
    Some(match status {
        StatusCode::BAD_REQUEST => {
            "the request can't be parsed: its first line, or a line of its head, is not HTTP/1.1"
        }
        StatusCode::URI_TOO_LONG => "the address is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too long: expected at most 16 KiB and 100 lines"
        }
        StatusCode::NOT_IMPLEMENTED => UNKNOWN_CODING,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            "typingd speaks HTTP/1.1; HTTP/2 without having agreed on it (prior knowledge) is not understood"
        }
        _ => return None,
    })
}

pub(super) const UNKNOWN_CODING: &str = "expected no transfer coding but `chunked`; content encodings pass";

/// hyper's own answers have some 120 bytes.
const BARE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_gets_a_document() {
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Tue, 24 Nov 2026 19:00:00 GMT\r\n\r\n";
        assert_eq!(status(bare.as_bytes()), Some(StatusCode::BAD_REQUEST));
        let text = String::from_utf8(answer(StatusCode::BAD_REQUEST).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("\"status\":400"), "{body}");
        for other in [
            &bare.replace("400", "200"),
            &bare.replace("400", "404"),
            &bare.replace("length: 0", "length: 1"),
            &format!("{bare}x"),
            &format!("{}\r\n\r\n", "x".repeat(300)),
            "",
        ] {
            assert_eq!(status(other.as_bytes()), None, "{other}");
        }
    }
}
