//! Which addresses are typingd's own. All others are the Interaction Service's.
//!
//! A path is passed on as it was written, and so it is judged as it was written; and also as a server may read it that
//! resolves dot segments, percent-encodings and doubled slashes: no spelling of an own address is passed on.

use std::borrow::Cow;

use axum::http::Method;

/// Own addresses, each with all that is under it where it ends in a slash.
const OWN: [&str; 7] = ["/v1", "/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/console/"];

/// Whether a request for `path` is for typingd itself. The root is its own for reading alone: that is the console's page.
pub(super) fn is_own(method: &Method, path: &str) -> bool {
    if path == "/" {
        return *method == Method::GET || *method == Method::HEAD;
    }
    is_own_path(path) || is_own_path(&resolved(path))
}

fn is_own_path(path: &str) -> bool {
    OWN.iter().any(|own| path == *own || (own.ends_with('/') && path.starts_with(own)))
}

/// `path` without percent-encodings, dot segments and empty segments.
fn resolved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let decoded = decoded(path.as_bytes());
    let decoded = String::from_utf8_lossy(&decoded);
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end)) && !segments.is_empty();
    Cow::Owned(format!("/{}{}", segments.join("/"), if is_folder { "/" } else { "" }))
}

/// Decodes once; what is no encoding stays as it is.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_own_in_any_spelling_and_all_others_pass() {
        let own = [
            "/v1",
            "/v1/",
            "/v1/signals",
            "/v1/anything",
            "/healthz",
            "/readyz",
            "/metrics",
            "/openapi.json",
            "/console/",
            "/console/main.js",
            "/v1/../api/v1/interactions",
            "/v1/%2e%2e/api",
            "/api/../v1/signals",
            "/api/%2E%2e/v1",
            "//v1/signals",
            "/v1//signals",
            "/./v1",
            "/%76%31/signals",
            "/v1%2fsignals",
            "/v1%2Fsignals",
            "/api/..//healthz",
            "/metrics/.",
            "/%6detrics",
            "/../../v1/x",
            "//healthz",
            "/console/./main.js",
        ];
        for path in own {
            let judged = is_own(&Method::POST, path);
            // What is under a file is nothing of typingd's.
            assert_eq!(judged, path != "/metrics/.", "{path}");
        }
        for path in [
            "",
            "*",
            "//",
            "/api",
            "/api/v1/interactions",
            "//api/v1/interactions",
            "/api//v1",
            "/telephony/v1/voiceCalls",
            "//telephony/v1",
            "/v1x",
            "/v10/x",
            "/V1/signals",
            "/v1;a/x",
            "/healthz/x",
            "/healthzz",
            "/console",
            "/api/v1/x",
            "/api/%2fv1/x",
            "/%252e%252e/v1x",
            "/api/v1/%",
            "/api/v1/%2",
            "/api/v1/%zz",
            "/%ff%fe/v1",
            "/api/./v1/..",
            "/openapi.json.gz",
            "/v%2531/x",
            "/.well-known/x",
        ] {
            assert!(!is_own(&Method::GET, path), "{path}");
        }
        for (method, expected) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::POST, false),
            (Method::OPTIONS, false),
            (Method::PUT, false),
        ] {
            assert_eq!(is_own(&method, "/"), expected, "{method}");
        }
    }
}
