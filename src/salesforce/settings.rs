//! The settings of the Salesforce adapter. `config` fills them in.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::proxy::Proxy;
use crate::model::ChannelAddress;

/// Where and how to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://<MyDomain>.my.salesforce-scrt.com`; plain http only to loopback.
    pub base_url: Url,
    /// The `OrgId` header: 15 characters, `00D…`. With [`Auth::Cached`] it is not sent, like
    /// the contexts: what is configured bounds what serves a conversation without credentials of its own. Empty: no bound.
    pub org_id: String,
    /// The `AuthorizationContext` header of channels that have none of their own. Empty: no such header.
    pub authorization_context: String,
    /// The `AuthorizationContext` header of single channels.
    pub channel_contexts: HashMap<ChannelAddress, String>,
    /// The `AuthorizationContextType` header, if there is to be one.
    pub authorization_context_type: Option<String>,
    /// From a request's leaving to the end of its answer.
    pub request_timeout: Duration,
    /// Requests in flight at a time: the size of the connection pool.
    pub in_flight_max: usize,
    /// A file of PEM certificates that are trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// What connections to other machines go through.
    pub proxy: Option<Proxy>,
    /// Where `base_url`'s host is, whatever the name service says. Its name stays, in TLS and in `Host`.
    pub connect_to: Option<SocketAddr>,
    /// Where the bearer token comes from.
    pub auth: Auth,
    /// Where all of it is set, for messages.
    pub places: Places,
}

/// Where keys are set, for messages: `FILE:LINE` by the key's path. Settings that differ in it alone are the same settings.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<&'static str, String>);

impl Places {
    /// Where `key` is set, if that is known.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether all is set where `other` says.
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl FromIterator<(&'static str, String)> for Places {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(places: I) -> Self {
        Self(places.into_iter().collect())
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

/// Where the bearer token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A file that another program keeps fresh; read again when it changes.
    TokenFile(PathBuf),
    /// The OAuth 2.0 JWT bearer flow.
    JwtBearer(JwtBearer),
    /// A token in memory: the built-in sandbox's. No configuration can set it, for secrets come from files.
    Fixed(Secret),
    /// What connectors show with their own requests.
    Cached,
}

/// A text that no log and no debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. The name is long enough to be noticed in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The OAuth 2.0 JWT bearer flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtBearer {
    /// The token endpoint; plain http only to loopback.
    pub token_url: Url,
    /// `iss`: the connected app's consumer key.
    pub consumer_key: String,
    /// `sub`: the user's name.
    pub subject: String,
    /// `aud`: `https://login.salesforce.com` or `https://test.salesforce.com`.
    pub audience: String,
    /// An RSA key in PEM, PKCS#1 or PKCS#8.
    pub private_key_file: PathBuf,
}

#[cfg(any(test, fuzzing))]
impl JwtBearer {
    /// Some flow, where it does not matter which.
    pub(super) fn sample() -> Self {
        Self {
            token_url: "https://login.salesforce.com/x".parse().expect("an address"),
            consumer_key: "k".to_owned(),
            subject: "user@example.com".to_owned(),
            audience: "https://login.salesforce.com".to_owned(),
            private_key_file: "/k.pem".into(),
        }
    }
}
