//! `upstream.proxy` and `upstream.connect_to`: the way to Salesforce, and what of it doesn't go together.

use std::net::SocketAddr;

use url::{Host, Url};

use super::Reader;
use crate::salesforce::Proxy;

const BASE_URL: &str = "upstream.base_url";
const PROXY: &str = "upstream.proxy";
const CONNECT_TO: &str = "upstream.connect_to";

impl Reader {
    /// The Interaction Service's address, to which its paths are added.
    pub(super) fn base_url(&mut self) -> Option<Url> {
        let url: Url = self.required(BASE_URL)?;
        // What follows `api` in an address of the Interaction Service is its version.
        let whole = url.as_str();
        let parts: Vec<_> = whole.split('/').collect();
        let is_api = |at: &usize| {
            let next = parts.get(at + 1).copied().unwrap_or_default();
            parts[*at].eq_ignore_ascii_case("api") && (next.is_empty() || next.starts_with(['v', 'V']))
        };
        let Some(at) = (3..parts.len()).find(is_api) else { return Some(url) };
        let text = format!(
            "{BASE_URL} = \"{whole}\": expected it without /{} and what follows, which typingd adds: {}",
            parts[at..].iter().take(2).copied().collect::<Vec<_>>().join("/"),
            parts[..at].join("/")
        );
        self.problem(BASE_URL, text);
        None
    }

    /// The proxy and the address of `base_url`'s host, of which there is one at most.
    pub(super) fn route(&mut self, base_url: Option<&Url>) -> Option<(Option<Proxy>, Option<SocketAddr>)> {
        let (proxy, connect_to) = (self.get::<Proxy>(PROXY), self.get::<SocketAddr>(CONNECT_TO));
        if let Some(address) = connect_to {
            let problem = match base_url.and_then(|base_url| Self::contradiction(base_url, address)) {
                None if proxy.is_some() => Some(format!(
                    "{PROXY} ({}) finds the host by itself; expected one of the two",
                    self.layers.global.origin(PROXY)
                )),
                contradiction => contradiction,
            };
            if let Some(problem) = problem {
                self.problem(CONNECT_TO, format!("{CONNECT_TO} = \"{address}\": {problem}"));
                return None;
            }
        }
        // A value that is wrong by itself has been reported.
        let wrong = |path: &str| self.layers.global.setting(path).is_some_and(|setting| setting.value.is_none());
        (!wrong(PROXY) && !wrong(CONNECT_TO)).then_some((proxy, connect_to))
    }

    /// What of `base_url` is against its host's being at `address`.
    fn contradiction(base_url: &Url, address: SocketAddr) -> Option<String> {
        let shown = base_url.as_str().trim_end_matches('/');
        match base_url.host() {
            Some(Host::Domain(_)) => {}
            _ => {
                return Some(format!(
                    "upstream.base_url, {shown}, is an address already; expected a host's name there"
                ));
            }
        }
        if base_url.port().is_some_and(|port| port != address.port()) {
            return Some(format!("upstream.base_url, {shown}, has another port; expected the same, or none there"));
        }
        if base_url.scheme() != "https" && !address.ip().is_loopback() {
            return Some(format!("upstream.base_url, {shown}, is plain http; expected a loopback address, or https"));
        }
        None
    }
}
