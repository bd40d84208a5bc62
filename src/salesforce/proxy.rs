//! The HTTP proxy on the way to Salesforce, and for which addresses it is.

use std::fmt;

use axum::http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::Url;

/// An HTTP proxy that is asked for a tunnel (`CONNECT`), with the user name and password that it may want. Nothing
/// prints these two.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// The proxy at `text`: `http://proxy:3128`, `http://user:password@proxy:3128`.
    ///
    /// # Errors
    /// What is expected. It does not repeat `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('…') {
            return Err("expected user name and password themselves in place of `…`, which stands for them".into());
        }
        let url = Url::parse(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(
                    "expected http://: typingd speaks plain HTTP to the proxy; what is tunnelled is encrypted".into()
                );
            }
            _ => return Err(EXPECTED.into()),
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("expected an address without path, query and fragment".into());
        }
        let proxy = Self(url);
        // The same reader as when it is used.
        let probe = Uri::from_static("https://a.example");
        if proxy.intercept(&probe).is_none() {
            return Err(EXPECTED.into());
        }
        Ok(proxy)
    }

    /// The address with user name and password.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// How to reach the proxy for a request to `uri`; `None` where it is not for that: see [`Proxy::is_for`].
    pub fn intercept(&self, uri: &Uri) -> Option<Intercept> {
        Matcher::builder().https(self.expose()).no(DIRECT).build().intercept(uri)
    }

    /// Whether connections to `url` go through the proxy: https to other machines does. Plain http goes to this machine
    /// alone, and of a loopback address the proxy would understand its own.
    pub fn is_for(url: &Url) -> bool {
        let any = Self(Url::parse("http://proxy").expect("it is an address"));
        url.as_str().parse().is_ok_and(|uri| any.intercept(&uri).is_some())
    }
}

/// Hosts that are reached directly.
pub(super) const DIRECT: &str = "localhost,127.0.0.0/8,::1";

const EXPECTED: &str = "expected the address of an HTTP proxy, such as http://proxy:3128";

impl fmt::Display for Proxy {
    /// Without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.0.username().is_empty() && self.0.password().is_none() { "" } else { "…@" };
        write!(f, "http://{user}{}", &self.0[url::Position::BeforeHost..url::Position::AfterPort])
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_secrets_and_uses_them() {
        for (text, shown, address, credentials) in [
            ("http://proxy:3128", "http://proxy:3128", "http://proxy:3128/", None),
            ("http://proxy", "http://proxy", "http://proxy/", None),
            ("http://[2001:db8::1]:3128/", "http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128/", None),
            (
                "http://user:s3cret@10.0.0.1:8080",
                "http://…@10.0.0.1:8080",
                "http://10.0.0.1:8080/",
                Some("dXNlcjpzM2NyZXQ="),
            ),
            ("http://user@proxy:1", "http://…@proxy:1", "http://proxy:1/", Some("dXNlcjo=")),
            ("http://:s3cret@proxy:1", "http://…@proxy:1", "http://proxy:1/", Some("OnMzY3JldA==")),
            // `a@b`, `c:d/e`.
            ("http://a%40b:c%3Ad%2Fe@proxy:1", "http://…@proxy:1", "http://proxy:1/", Some("YUBiOmM6ZC9l")),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!((proxy.to_string(), format!("{proxy:?}")), (shown.to_owned(), shown.to_owned()));
            let intercept = proxy.intercept(&Uri::from_static("https://scrt.example/x")).unwrap();
            assert_eq!(intercept.uri(), address);
            let expected = credentials.map(|credentials| format!("Basic {credentials}"));
            assert_eq!(intercept.basic_auth().map(|value| value.to_str().unwrap().to_owned()), expected);
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_being_repeated() {
        for text in [
            "",
            "http://…@proxy:3128",
            "proxy",
            "proxy:3128",
            "socks5://proxy:1080",
            "https://proxy:3128",
            "http://proxy/path",
            "http://proxy/?a",
            "http://proxy:99999",
            "http://user:s3cret@",
            "ftp://user:s3cret@proxy",
            "http://user:s3cret@proxy/#a",
        ] {
            let error = Proxy::parse(text).unwrap_err();
            assert!(error.contains("expected") && !error.contains("s3cret"), "{text}: {error}");
        }
        assert!(Proxy::parse("https://proxy:3128").unwrap_err().contains("plain HTTP to the proxy"));
    }

    #[test]
    fn it_is_for_https_to_other_machines() {
        for (url, expected) in [
            ("https://mydomain.my.salesforce-scrt.com", true),
            ("https://mydomain.my.salesforce-scrt.com:8443/base", true),
            ("https://10.1.2.3", true),
            ("https://[2001:db8::1]", true),
            ("https://notlocalhost", true),
            ("https://localhost:8443", false),
            ("https://127.1.2.3", false),
            ("https://[::1]:8443", false),
            ("http://127.0.0.1:7481", false),
            ("http://other.example", false),
        ] {
            assert_eq!(Proxy::is_for(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
