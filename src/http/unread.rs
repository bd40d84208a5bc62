//! What whoever sent a request that can't be read is told: hyper answers it by itself, with a status and no more. Here
//! that answer gets its document.

use axum::http::StatusCode;
use bytes::Bytes;

use super::Problem;

/// The answer in place of `written`, if that is one of hyper's own: a head that says there is no body.
pub(super) fn told(written: &[u8]) -> Option<Bytes> {
    if written.len() > BARE_BYTES_MAX {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?.strip_suffix("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(code.as_bytes()).ok()?;
    let detail = match status {
        StatusCode::BAD_REQUEST => "the request can't be read: its first line, or a line of its head, is no HTTP/1.1",
        StatusCode::URI_TOO_LONG => "the address is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too long: 16 KiB and 100 lines are the most"
        }
        _ => return None,
    };
    let (length, rest): (Vec<_>, Vec<_>) =
        head.split("\r\n").partition(|line| line.eq_ignore_ascii_case("content-length: 0"));
    if length.len() != 1 {
        return None;
    }
    let body = Problem::new(status, detail).into_document().to_string();
    let fields = "content-type: application/problem+json\r\ncache-control: no-store\r\n\
                  x-content-type-options: nosniff\r\ncross-origin-resource-policy: same-origin";
    Some(format!("{}\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", rest.join("\r\n"), body.len()).into())
}

/// hyper's own answers have some 120 bytes.
const BARE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_gets_a_document() {
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Tue, 24 Nov 2026 19:00:00 GMT\r\n\r\n";
        let told_text = String::from_utf8(told(bare.as_bytes()).unwrap().to_vec()).unwrap();
        let (head, body) = told_text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ndate: "), "{head}");
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
            assert_eq!(told(other.as_bytes()), None, "{other}");
        }
    }
}
