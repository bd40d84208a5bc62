//! The console: `GET /`, a page that shows the daemon at work and changes its timing, for people.
//!
//! It is served from memory, loads nothing from elsewhere, and calls the daemon's interface as any caller does: what it
//! shows and does needs the same token, the page itself does not. Its files are in `page`, as they are served.

use aws_lc_rs::digest;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;

use crate::http::Problem;
use crate::tune::html;

/// A file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($kind:literal: $($name:literal),* $(,)?) => {
        [$(File { name: $name, kind: $kind, text: include_str!(concat!("page/", $name)) }),*]
    };
}

const PAGE: File = File { name: "", kind: "text/html; charset=utf-8", text: include_str!("page/index.html") };
const STYLES: [File; 2] = files!["text/css; charset=utf-8": "console.css", "watch.css"];
const PICTURES: [File; 1] = files!["image/svg+xml": "icon.svg"];
const SCRIPTS: [File; 23] = files![
    "text/javascript; charset=utf-8":
    "agent.js", "box.js", "candidates.js", "conversation.js", "daemon.js", "dialogs.js", "dom.js", "figures.js", "followed.js", "lanes.js",
    "layout.js", "main.js", "newest.js", "paint.js", "replay.js", "report.js", "setting.js", "signals.js", "sliders.js", "strip.js", "timeline.js",
    "typist.js", "words.js",
];

/// The routes of this edge: the page at `/`, what it consists of under `/console/`.
pub(crate) fn router() -> Router {
    let policy = policy();
    let mut router = Router::new().route("/", route(&PAGE, Some(&policy)));
    for file in STYLES.iter().chain(&PICTURES).chain(&SCRIPTS) {
        router = router.route(&format!("/console/{}", file.name), route(file, None));
    }
    router.method_not_allowed_fallback(async || {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes GET and HEAD alone")
    })
}

/// Answers 304 to a client that has the file already, by its tag. A tag changes with the file, so that a page never runs
/// with scripts of another version.
fn route(file: &'static File, policy: Option<&HeaderValue>) -> MethodRouter {
    let hash: String = sha256(file.text).iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::try_from(format!("\"{hash}\"")).expect("a hash is visible ASCII");
    let policy = policy.cloned();
    get(async move |headers: HeaderMap| -> Response {
        let fixed = [
            (header::CONTENT_TYPE, HeaderValue::from_static(file.kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, tag.clone()),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
        let known = known.split(',').any(|known| known.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes());
        let mut answer =
            if known { (StatusCode::NOT_MODIFIED, fixed).into_response() } else { (fixed, file.text).into_response() };
        if let Some(policy) = policy {
            answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        answer
    })
}

/// What the page may do: load its own scripts and styles, and call the daemon. A frame holds a report of `tune`, which has
/// no script and one style of its own.
fn policy() -> HeaderValue {
    let report = base64::engine::general_purpose::STANDARD.encode(sha256(html::STYLE));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{report}'; connect-src 'self'; \
         img-src 'self' data:; frame-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is visible ASCII")
}

fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

/// Enough of a hash to tell two versions of a file apart.
const TAG_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn fetch(path: &str, known: Option<&HeaderValue>) -> Response {
        let mut request = Request::builder().uri(path);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[test]
    fn every_file_of_the_page_is_served_and_is_one_thing() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
        let mut there: Vec<_> = std::fs::read_dir(page)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        let mut served: Vec<_> = STYLES.iter().chain(&PICTURES).chain(&SCRIPTS).map(|file| file.name).collect();
        there.sort_unstable();
        served.sort_unstable();
        assert_eq!(there, served);
        for file in STYLES.iter().chain(&PICTURES).chain(&SCRIPTS).chain([&PAGE]) {
            let lines = file.text.lines().count();
            assert!(lines <= 700, "{} has {lines} lines; 700 are the most", file.name);
            assert!(!file.text.contains("innerHTML"), "{} writes markup", file.name);
        }
    }

    #[tokio::test]
    async fn a_client_that_has_a_file_already_gets_304() {
        let first = fetch("/", None).await;
        assert_eq!(
            (first.status(), &first.headers()[header::CACHE_CONTROL]),
            (StatusCode::OK, &"no-cache".parse().unwrap())
        );
        let tag = first.headers()[header::ETAG].clone();
        let again = fetch("/", Some(&tag)).await;
        assert_eq!((again.status(), &again.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        let script = fetch("/console/main.js", None).await;
        assert_ne!(script.headers()[header::ETAG], tag);
        assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(fetch("/console/nothing.js", None).await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_page_may_do_nothing_but_what_it_says() {
        let page = fetch("/", None).await;
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self' 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for forbidden in ["<script>", "<style", " style=", " onclick=", "http://", "https://"] {
            assert!(!PAGE.text.contains(forbidden), "{forbidden}");
        }
    }
}
