//! What is between typingd and a server, and which part of it a failure blames: a proxy that can't be reached must not be
//! looked for at the address of Salesforce.

use std::error::Error;
use std::io;

use url::Url;

use super::answer::error_text;
use super::proxy::Proxy;
use super::settings::{Places, Settings};
use crate::base::text::chain;

/// The way to a server, in words.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Where connections are made to: the server, its address, or the proxy.
    first: String,
    /// The server, and through what it is reached.
    whole: String,
    is_proxied: bool,
}

impl Route {
    /// The way to `url`, which `key` names.
    pub(super) fn new(settings: &Settings, key: &'static str, url: &Url) -> Self {
        let Settings { places, base_url, .. } = settings;
        let server = format!("{} {}", places.before(key), url.as_str().trim_end_matches('/'));
        let proxy = settings.proxy.as_ref().filter(|_| Proxy::is_for(url));
        // It is for a host, whatever asks for it.
        let connect_to = settings.connect_to.filter(|_| url.host() == base_url.host());
        let (first, whole) = match (proxy, connect_to) {
            (_, Some(address)) => (
                format!("{} {address}", places.before(CONNECT_TO)),
                format!("{server}, at {} {address}", places.after(CONNECT_TO)),
            ),
            (Some(proxy), None) => (
                format!("{} {proxy}", places.before(PROXY)),
                format!("{server}, through {} {proxy}", places.after(PROXY)),
            ),
            (None, None) => (server.clone(), server),
        };
        Self { first, whole, is_proxied: proxy.is_some() && connect_to.is_none() }
    }

    /// What `error` says, and of which part of the way; `connecting`: there was no connection yet. An address is in the
    /// configuration, and long: it is to be left out of `error`.
    pub(super) fn failure(&self, error: &(dyn Error + 'static), connecting: bool) -> String {
        let first = connecting && !is_of_tls(error);
        let why = error_text(error);
        let refused = why.contains(TUNNEL_ERROR) && !why.contains(NO_PROXY);
        match (first, self.is_proxied && refused) {
            (true, true) => format!("{} makes no tunnel: {why}", self.first),
            (true, false) => format!("{} can't be reached: {why}", self.first),
            (false, _) => format!("{}: {why}", self.whole),
        }
    }

    /// No connection in time.
    pub(super) fn no_connection(&self) -> String {
        format!("{} can't be reached: no connection in time", self.first)
    }

    /// No answer in time.
    pub(super) fn no_answer(&self, what: &str) -> String {
        format!("{}: {what}", self.whole)
    }
}

/// Whether what answered is at fault, by the connection's encryption: then it has been reached.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        // An io::Error is not the cause of what it holds, but stands in its place.
        let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.is::<rustls::Error>()
            || cause.to_string().contains(CUT_HANDSHAKE)
            || held.is_some_and(|held| is_of_tls(held))
    })
}

impl Places {
    /// `key` with the place where it is set before it: `FILE:LINE: upstream.proxy`.
    pub(crate) fn before(&self, key: &str) -> String {
        self.of(key).map_or_else(|| key.to_owned(), |place| format!("{place}: {key}"))
    }

    /// `key` with the place where it is set after it: `upstream.proxy (FILE:LINE)`.
    pub(super) fn after(&self, key: &str) -> String {
        self.of(key).map_or_else(|| key.to_owned(), |place| format!("{key} ({place})"))
    }
}

pub(super) const BASE_URL: &str = "upstream.base_url";
pub(super) const TOKEN_URL: &str = "upstream.auth.jwt_bearer.token_url";
pub(super) const TOKEN_FILE: &str = "upstream.auth.token_file";
const PROXY: &str = "upstream.proxy";
const CONNECT_TO: &str = "upstream.connect_to";

/// What `tokio-rustls` calls it. It has no type for it.
const CUT_HANDSHAKE: &str = "handshake eof";

/// How hyper-util's errors of tunnels begin, and that of a proxy that can't be reached. They have no type that could be
/// named.
const TUNNEL_ERROR: &str = "tunnel error: ";
const NO_PROXY: &str = "failed to create underlying connection";
