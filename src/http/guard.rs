//! What stands before every route: no web page that an operator visits may steer the daemon or read from it, and every
//! answer says what a browser may do with it.
//!
//! There is no cross-origin sharing (CORS), and so no page can read an answer. But a page can send: to `localhost` too,
//! and, with a name of its own that it lets point to a loopback address (DNS rebinding), from what a browser takes for
//! the same origin. Programs that are no browsers notice nothing of all this.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::Layer;

use super::auth::TokenAuth;
use super::problem::Problem;

/// What no page can set or leave out; browsers send it to `https:` and to loopback addresses alone.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Marks a request that came by a Unix socket. No browser can open one: whatever stands between has chosen its callers.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaUnix;

/// Refuses what web pages of other origins make a browser send, and gives every answer its headers. Where `gate` asks for
/// no token, the host that the browser means has to be this machine, too.
pub fn guard(router: Router, gate: TokenAuth) -> Router {
    // Around the router and not within: only there an answer has its `Allow`.
    Router::new().fallback_service(from_fn_with_state(gate, guarded).layer(router))
}

async fn guarded(State(gate): State<TokenAuth>, request: Request, next: Next) -> Response {
    let named = gate.is_open() && !is_via_unix(&request);
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

/// Why a request is refused, if a browser sent it on behalf of somebody else. With `named`, its host has to be
/// this machine.
fn cross_site(headers: &HeaderMap, named: bool) -> Option<Problem> {
    let forbidden = |detail| Some(Problem::new(StatusCode::FORBIDDEN, detail));
    let site = headers.get(SEC_FETCH_SITE);
    let origin = headers.get(header::ORIGIN);
    let other = match site.map(HeaderValue::as_bytes) {
        // Also behind a proxy that calls the daemon by another name: the browser knows better than we.
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => origin.is_some_and(|origin| !is_origin_of(origin, headers)),
    };
    if other {
        return forbidden("a web page of another origin may not call typingd");
    }
    // A page can't keep its browser from saying which languages its user reads, whatever else it changes.
    let browser =
        site.is_some() || origin.is_some() || headers.contains_key(header::ACCEPT_LANGUAGE) || is_mozilla(headers);
    if named && browser && !host(headers).is_some_and(is_this_machine) {
        return forbidden(
            "a browser may call typingd as localhost or by an IP address only, as long as no token is asked for; with \
             ingest.token_file, or behind a proxy that sends `Host: localhost`, it may have any name",
        );
    }
    None
}

/// As every browser has called itself since 1995.
fn is_mozilla(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

/// The host and port that the caller means, if it says so once.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// Whether a page of `origin` calls its own server. The scheme is that of whatever proxy there is.
fn is_origin_of(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    authority.zip(host(headers)).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Whether `host` is a name or address that nobody else can let point here: an IP address is what it is, and browsers
/// look up no name under `localhost`.
fn is_this_machine(host: &str) -> bool {
    if let Some((v6, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (port.is_empty() || port.starts_with(':')) && v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// OPTIONS asks which methods an address takes, and that is what it is told. There are no cross-origin headers: a
/// browser that asks on behalf of a page gets no leave.
fn options_response(answer: Response) -> Response {
    match answer.headers().get(header::ALLOW) {
        Some(methods) if answer.status() == StatusCode::METHOD_NOT_ALLOWED => {
            (StatusCode::NO_CONTENT, [(header::ALLOW, methods.clone())], Body::empty()).into_response()
        }
        _ => answer,
    }
}

/// An answer with what a browser must know of it: that it is what its type says, that it is for whoever asked and for
/// now, and that no other page may show it as a part of itself.
fn with_security_headers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_heard_for_its_user_and_for_the_daemons_own_pages_alone() {
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
