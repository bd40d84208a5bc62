//! `[drop_in]`: the settings of the drop-in, and what must not be beside them.

use std::net::SocketAddr;

use super::keys::KEYS;
use super::{Origin, Reader};
use crate::drop_in::Settings;
use crate::http::Address;
use crate::salesforce::credentials::REFUSED_FOR;
use url::Host;

impl Reader {
    /// The settings of the drop-in, if it is switched on.
    pub(super) fn drop_in(&mut self) -> Option<Option<Settings>> {
        let settings = Settings {
            activity_lasts: self.get("drop_in.activity_lasts")?,
            settle: self.get("drop_in.settle")?,
            order_wait: self.get("drop_in.order_wait")?,
            stall_timeout: self.get("drop_in.stall_timeout")?,
            drain: self.get("drop_in.drain")?,
            borrow_credentials: self.get("drop_in.borrow_credentials")?,
            refused_for: REFUSED_FOR,
            shadow: self.get("drop_in.shadow")?,
        };
        if !self.get("drop_in.enabled")? {
            if settings.shadow && self.layers.global.origin("drop_in.shadow") != Origin::Default {
                self.problem("drop_in.shadow", "drop_in.shadow = true: expected drop_in.enabled = true beside it");
            }
            return Some(None);
        }
        let listen: Vec<Address> = self.get("ingest.listen")?;
        if let Some(address) = listen.iter().find(|address| !address.is_local()) {
            let text = format!(
                "drop_in.enabled = true: {address} of ingest.listen can be reached from other machines, and callers of \
                 /api/v1/ show Salesforce's token, which typingd can't check; expected addresses of this machine alone \
                 (127.0.0.1, [::1], unix:/path)"
            );
            self.problem("drop_in.enabled", text);
        }
        if let Some(address) = self.get::<SocketAddr>("upstream.connect_to") {
            if listen.contains(&Address::Tcp(address)) {
                let text = format!(
                    "upstream.connect_to = \"{address}\": typingd listens there itself, and would pass requests on to \
                     itself; expected the address of the Interaction Service"
                );
                self.problem("upstream.connect_to", text);
            }
        } else if let Some(base_url) = self.get::<url::Url>("upstream.base_url")
            && listen.iter().any(|address| is_at(&base_url, address))
        {
            let text = format!(
                "upstream.base_url = \"{}\": typingd listens there itself, and would pass requests on to itself; \
                 expected the address of the Interaction Service",
                base_url.as_str().trim_end_matches('/')
            );
            self.problem("upstream.base_url", text);
        }
        Some(Some(settings))
    }

    /// Whether typingd's own deliveries are authorized with what connectors show. Configured credentials take
    /// precedence.
    pub(super) fn uses_cached_credentials(&self) -> bool {
        let own = KEYS.iter().filter(|key| key.path.starts_with("upstream.auth."));
        self.get("drop_in.enabled") == Some(true)
            && self.get("drop_in.borrow_credentials") == Some(true)
            && own.into_iter().all(|key| self.layers.global.setting(key.path).is_none())
    }
}

fn is_at(url: &url::Url, address: &Address) -> bool {
    let Address::Tcp(address) = address else { return false };
    let same_host = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" && address.ip().is_loopback(),
        Some(Host::Ipv4(ip)) => address.ip() == ip || (ip.is_loopback() && address.ip().is_unspecified()),
        Some(Host::Ipv6(ip)) => address.ip() == ip || (ip.is_loopback() && address.ip().is_unspecified()),
        None => false,
    };
    same_host && url.port_or_known_default() == Some(address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_for_our_own_by_all_its_names() {
        for (url, address, same) in [
            ("http://localhost:7480", "127.0.0.1:7480", true),
            ("http://localhost:7480", "[::1]:7480", true),
            ("http://localhost:7480", "127.0.0.1:7481", false),
            ("http://localhost:7480", "10.0.0.1:7480", false),
            ("http://h:7480", "127.0.0.1:7480", false),
            ("http://127.0.0.1:7480", "127.0.0.1:7480", true),
            ("http://127.0.0.2:7480", "127.0.0.1:7480", false),
            ("http://127.0.0.1:7480", "0.0.0.0:7480", true),
            ("http://10.0.0.1:7480", "0.0.0.0:7480", false),
            ("http://[::1]:7480", "[::1]:7480", true),
            ("http://[::2]:7480", "[::1]:7480", false),
            ("http://[::1]:7480", "[::]:7480", true),
            ("http://[::2]:7480", "[::]:7480", false),
            ("https://127.0.0.1", "127.0.0.1:443", true),
            ("https://127.0.0.1", "unix:/run/s", false),
        ] {
            let address: Address = address.parse().expect("an address");
            assert_eq!(is_at(&url.parse().expect("a URL"), &address), same, "{url} {address}");
        }
    }
}
