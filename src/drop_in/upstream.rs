//! Connections to the Interaction Service for requests that pass through. It adds nothing to them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use url::Url;

use super::dialer::Dialer;
use super::passage::Passage;
use super::written::Watching;
use crate::salesforce::Proxy;

/// Where requests pass on to.
#[derive(Clone, Debug)]
pub struct Target {
    /// `https://<MyDomain>.my.salesforce-scrt.com`; plain http only to loopback.
    pub base_url: Url,
    /// A file of PEM certificates that are trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// What connections to other machines go through.
    pub proxy: Option<Proxy>,
    /// Where `base_url`'s host is, whatever the name service says.
    pub connect_to: Option<SocketAddr>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
}

/// The far side of what passes through: an address and a pool of connections.
pub(super) struct Upstream {
    client: legacy::Client<Watching<HttpsConnector<Dialer>>, Passage>,
    scheme: Scheme,
    authority: Authority,
    /// The path of `base_url`, without a slash at its end.
    prefix: String,
}

impl Upstream {
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        let url = &target.base_url;
        let scheme = if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].parse();
        let authority: Authority = authority.map_err(|e| format!("upstream.base_url can't be passed on to: {e}"))?;
        let host = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/").build();
        let host = host.map_err(|e| format!("upstream.base_url can't be passed on to: {e}"))?;
        let tls = tls(scheme == Scheme::HTTPS, target.ca_file.as_deref())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
        let timeout = target.connect_timeout.min(CONNECT_TIMEOUT_MAX);
        tcp.set_connect_timeout(Some(timeout));
        let dialer = Dialer::new(tcp, &host, target.connect_to, target.proxy.as_ref(), timeout);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            // HTTP/1.1 alone: one request a connection at a time is what tells when a request has been written.
            .enable_http1()
            .wrap_connector(dialer);
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_preserve_header_case(true)
            .build(Watching(connector));
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self { client, scheme, authority, prefix })
    }

    /// Where a request for `asked` goes: the same path and query, byte for byte, behind `base_url`.
    pub(super) fn address(&self, asked: &Uri) -> Result<Uri, axum::http::Error> {
        let path = match asked.path_and_query() {
            // `*` is asked of the server as a whole.
            Some(path) if self.prefix.is_empty() || path == "*" => path.clone(),
            Some(path) => PathAndQuery::try_from(format!("{}{path}", self.prefix))?,
            None => PathAndQuery::from_static("/"),
        };
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build()
    }

    pub(super) fn request(&self, request: axum::http::Request<Passage>) -> legacy::ResponseFuture {
        self.client.request(request)
    }
}

/// The roots of the system, as `salesforce` trusts them, and those of `ca_file`.
fn tls(encrypted: bool, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: rustls::Error| format!("can't set up https: {error}");
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(failed)?;
    // Loading the system's roots takes tens of milliseconds, and fails where there are none.
    if !encrypted && ca_file.is_none() {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = verifier(provider, ca_file)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn verifier(provider: Arc<CryptoProvider>, ca_file: Option<&Path>) -> Result<Verifier, String> {
    let roots = match ca_file {
        None => Vec::new(),
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|e| format!("can't take roots from ca_file {}: {e}", path.display()))?,
    };
    Verifier::new_with_extra_roots(roots, provider)
        .map_err(|e| format!("can't set up https (it needs the system's root certificates or a ca_file): {e}"))
}

/// A lost SYN is repeated after one second and after three: past that the address is at fault, not the luck.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);
/// Often enough to keep the entry of a firewall or a load balancer alive (the short ones drop it after 60 s).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A connection whose bytes are not acknowledged for so long is given up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// Well under the 60 s after which load balancers commonly close an idle connection: a message that meets a closing one
/// is lost, and can't be sent again by anybody but the connector.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// As many as one listening address has connections.
const POOL_IDLE_MAX: usize = 512;
/// An answer's head. A request's has the bound of the server.
const HEAD_BYTES_MAX: usize = 64 * 1024;
