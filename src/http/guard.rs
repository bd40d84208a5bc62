//! A layer before every route: no web page that an operator visits may steer the daemon or read from it, and every answer
//! says what a browser may do with it.
//!
//! Without cross-origin sharing (CORS) no page can read an answer. But a page can send: to `localhost` too and, with a name
//! of its own that resolves to a loopback address (DNS rebinding), from what a browser takes for the same origin. Programs
//! other than browsers are not affected.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::Layer;

use super::auth::TokenAuth;
use super::problem::{Problem, with_security_headers};
use super::socket::ViaUnix;

/// No page can set it or leave it out; browsers send it to `https:` and loopback addresses only.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what web pages of other origins make a browser send, and gives every answer its headers. Without a token, the
/// request's host has to be this machine, too.
pub(crate) fn guard(router: Router, auth: TokenAuth) -> Router {
    // Around the router: within it an answer has no `Allow` yet.
    Router::new().fallback_service(from_fn_with_state(auth, guarded).layer(router))
}

async fn guarded(State(auth): State<TokenAuth>, request: Request, next: Next) -> Response {
    let named = auth.is_open() && !is_via_unix(&request);
    if let Some(problem) = cross_site(request.headers(), named) {
        return with_security_headers(problem.into_response());
    }
    let asks = request.method() == Method::OPTIONS;
    let answer = next.run(request).await;
    with_security_headers(if asks { options_response(answer) } else { answer })
}

fn is_via_unix(request: &Request) -> bool {
    request.extensions().get::<ViaUnix>().is_some()
}

/// Why a request is refused, if a browser sent it on behalf of another site. With `named`, its host has to be this machine.
pub(super) fn cross_site(headers: &HeaderMap, named: bool) -> Option<Problem> {
    let forbidden = |detail| Some(Problem::new(StatusCode::FORBIDDEN, detail));
    let site = headers.get(SEC_FETCH_SITE);
    let origin = headers.get(header::ORIGIN);
    let other = match site.map(HeaderValue::as_bytes) {
        // Holds behind a proxy too, which may call the daemon by another name.
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => origin.is_some_and(|origin| !is_origin_of(origin, headers)),
    };
    if other {
        return forbidden("a web page of another origin must not call typingd");
    }
    // A page can change much, but not keep its browser from sending `Accept-Language`.
    let browser =
        site.is_some() || origin.is_some() || headers.contains_key(header::ACCEPT_LANGUAGE) || is_mozilla(headers);
    if named && browser && !host(headers).is_some_and(is_this_machine) {
        return forbidden(
            "without ingest.token_file a browser may call typingd as localhost or by an IP address only; with it, or behind \
             a proxy that sends `Host: localhost`, any name may be used",
        );
    }
    None
}

fn is_mozilla(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

/// The `Host`, if there is exactly one.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// Whether a page of `origin` calls its own server. A proxy may have changed the scheme.
fn is_origin_of(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    authority.zip(host(headers)).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Whether `host` is a name or address that no one else can make point here: an IP address is not resolved, and browsers
/// resolve no name under `localhost`.
fn is_this_machine(host: &str) -> bool {
    if let Some((v6, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (port.is_empty() || port.starts_with(':')) && v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Answers OPTIONS with the methods of the address, and with no cross-origin headers: a preflight is never granted.
fn options_response(answer: Response) -> Response {
    match answer.headers().get(header::ALLOW) {
        Some(methods) if answer.status() == StatusCode::METHOD_NOT_ALLOWED => {
            (StatusCode::NO_CONTENT, [(header::ALLOW, methods.clone())], Body::empty()).into_response()
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_may_call_for_its_user_and_own_pages_alone() {
        const LOCAL: (&str, &str) = ("host", "127.0.0.1:7480");
        const NAMED: (&str, &str) = ("host", "rebound.example:7480");
        let site = |site| ("sec-fetch-site", site);
        let origin = |origin| ("origin", origin);
        const LANGUAGE: (&str, &str) = ("accept-language", "de");
        const MOZILLA: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11)");
        // Whether it is accepted when a token is asked for, and when none is.
        for (fields, with_token, without) in [
            (&[LOCAL][..], true, true),
            (&[NAMED], true, true),
            (&[NAMED, ("user-agent", "curl/8.5.0"), ("accept", "*/*")], true, true),
            (&[], true, true),
            (&[LOCAL, site("none"), LANGUAGE, MOZILLA], true, true),
            (&[LOCAL, site("same-origin"), origin("http://127.0.0.1:7480")], true, true),
            (&[LOCAL, site("same-origin"), origin("https://console.example")], true, true),
            (&[LOCAL, site("cross-site")], false, false),
            (&[LOCAL, site("cross-site"), origin("http://127.0.0.1:7480")], false, false),
            (&[LOCAL, site("same-site"), origin("http://127.0.0.1:3000")], false, false),
            (&[LOCAL, site("")], false, false),
            (&[LOCAL, origin("http://127.0.0.1:7480")], true, true),
            (&[LOCAL, origin("http://127.0.0.1:3000")], false, false),
            (&[LOCAL, origin("http://evil.example")], false, false),
            (&[LOCAL, origin("null")], false, false),
            (&[LOCAL, origin("file://")], false, false),
            (&[origin("http://127.0.0.1:7480")], false, false),
            (&[LOCAL, LANGUAGE, MOZILLA], true, true),
            (&[NAMED, LANGUAGE], true, false),
            (&[NAMED, MOZILLA], true, false),
            (&[NAMED, origin("http://Rebound.example:7480")], true, false),
            (&[NAMED, site("same-origin")], true, false),
            (&[NAMED, site("none")], true, false),
            (&[LOCAL, NAMED, LANGUAGE], true, false),
            (&[LANGUAGE], true, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(cross_site(&headers, false).is_none(), with_token, "{fields:?}");
            assert_eq!(cross_site(&headers, true).is_none(), without, "{fields:?}");
        }
    }

    #[test]
    fn this_machine_is_localhost_or_an_address() {
        for host in [
            "localhost",
            "LocalHost:7480",
            "localhost.",
            "typingd.localhost:80",
            "127.0.0.1",
            "10.1.2.3:7480",
            "[::1]:7480",
            "[fe80::1]",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            ":7480",
            "example.com",
            "localhost.example.com",
            "xlocalhost",
            "127.0.0.1.example.com",
            "0x7f.1",
            "[::1",
            "[]",
            "[::1]x",
            "::1",
            "127.0.0.1@evil",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
