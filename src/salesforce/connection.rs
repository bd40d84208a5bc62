//! How the upstream is reached: TLS, proxy, address and time-outs, made once for both pools of connections.
//!
//! There are two [pools](Pool). Typing entries share HTTP/2 connections. What passes through the drop-in needs HTTP/1.1, where a
//! flush shows that a request has been written, and a client that adds no header.

use std::io::{self, ErrorKind::TimedOut};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use axum::http::{HeaderMap, HeaderValue, header};
use hyper::client::conn::{http1, http2};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::{NoProxy, redirect, retry};
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use url::Url;

use super::payload::FormBody;
use super::pool::{BoxError, Connector, IDLE_TIMEOUT, Pool, Protocols, RequestBody};
use super::proxy::{DIRECT, Proxy};
use super::settings::{Auth, Settings};
use crate::base::files;

/// Makes the first leg of a connection, below TLS.
type Dialer = BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>;

/// Makes connections to the upstream.
#[derive(Clone)]
pub struct Connection {
    tls: ClientConfig,
    base_url: Url,
    scheme: Scheme,
    authority: Authority,
    proxy: Option<Proxy>,
    connect_to: Option<SocketAddr>,
    connect_timeout: Duration,
    in_flight_max: usize,
}

impl Connection {
    /// Makes nothing yet.
    ///
    /// # Errors
    /// When `ca_file` can't be read or holds no certificate, when there are no trusted roots for https, or when
    /// `base_url` is not an address of a server.
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let url = &settings.base_url;
        let scheme = if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].parse();
        let authority = authority.ok().filter(|_| !url.cannot_be_a_base()).ok_or(SetupError::BaseUrl)?;
        Ok(Self {
            tls: tls(settings)?,
            base_url: url.clone(),
            scheme,
            authority,
            proxy: settings.proxy.clone(),
            connect_to: settings.connect_to,
            connect_timeout: settings.request_timeout.min(CONNECT_TIMEOUT_MAX),
            in_flight_max: settings.in_flight_max,
        })
    }

    /// The path of `{base_url}/api/v1/interactions`, whether or not `base_url` ends in a slash.
    pub(super) fn interactions(&self) -> Uri {
        let path = self.forward_path(&Uri::from_static("/api/v1/interactions"));
        path.expect("two paths of URIs make one").into()
    }

    /// The path of `base_url` as it is.
    pub(super) fn base_path(&self) -> Uri {
        let path = PathAndQuery::try_from(self.base_url.path());
        path.unwrap_or_else(|_| PathAndQuery::from_static("/")).into()
    }

    /// What a request for `asked` is forwarded as: the same path and query, byte for byte, behind `base_url`'s.
    pub(crate) fn forward_path(&self, asked: &Uri) -> Result<PathAndQuery, axum::http::Error> {
        let prefix = self.base_url.path().trim_end_matches('/');
        Ok(match asked.path_and_query() {
            // `*` is asked of the server as a whole.
            Some(path) if prefix.is_empty() || path == "*" => path.clone(),
            Some(path) => PathAndQuery::try_from(format!("{prefix}{path}"))?,
            None => PathAndQuery::from_static("/"),
        })
    }

    fn uri(&self, path: PathAndQuery) -> Result<Uri, axum::http::Error> {
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build()
    }

    /// The pool of typing entries: HTTP/2 where the server offers it, else HTTP/1.1 kept alive. Nothing is retried but a
    /// request that found its pooled connection closed before a byte of it had left.
    pub(super) fn own_pool(&self) -> Pool<FormBody> {
        let timeout = self.connect_timeout;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(self.dialer(&Leg::OWN));
        // TLS counts towards the time-out, too.
        let https = Connector::new(https.map_future(move |connecting| async move {
            let connected = tokio::time::timeout(timeout, connecting).await;
            connected.unwrap_or_else(|_| Err(ConnectTimeout.into()))
        }));
        self.pool(https, http1::Builder::new(), self.in_flight_max)
    }

    fn pool<B: RequestBody>(&self, connector: Connector, http1: http1::Builder, idle_max: usize) -> Pool<B> {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Pool::new(connector, self.server(), Protocols { http1, http2 }, idle_max)
    }

    /// The server's address, with `/` for a path.
    fn server(&self) -> Uri {
        self.uri(PathAndQuery::from_static("/")).expect("a scheme, a host and a path are a URI")
    }

    /// The client of the token endpoint.
    ///
    /// Redirects are not followed, for they would carry the token elsewhere. The environment's proxies are not used, for
    /// settings come from the file (`no_proxy` comes first, and the proxy of the settings after it).
    pub(super) fn token_client(&self) -> Result<reqwest::Client, SetupError> {
        let failed = |source: reqwest::Error| SetupError::Tls { source: source.into() };
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE_INTERVAL)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .pool_max_idle_per_host(self.in_flight_max)
            .pool_idle_timeout(IDLE_TIMEOUT);
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout(OWN_USER_TIMEOUT);
        }
        if let Some(proxy) = &self.proxy {
            let proxy = reqwest::Proxy::https(proxy.expose()).map_err(failed)?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(DIRECT)));
        }
        if let (Some(address), Some(host)) = (self.connect_to, self.base_url.host_str()) {
            builder = builder.resolve(host, address);
        }
        builder.build().map_err(failed)
    }

    /// The pool of what is forwarded: HTTP/1.1 alone. It adds nothing to a request.
    pub(crate) fn forward_pool<B: RequestBody>(&self) -> Pool<B> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(self.dialer(&Leg::FORWARD));
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(FORWARD_HEAD_BYTES_MAX).preserve_header_case(true);
        self.pool(Connector::new(https), http1, FORWARD_IDLE_MAX)
    }

    /// Straight to the host of `base_url`, to the address of `connect_to`, or through a proxy, whose answer counts towards
    /// the time-out. Whichever it is, TLS is with the host that `base_url` names.
    fn dialer(&self, leg: &Leg) -> Dialer {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(leg.user_timeout));
        tcp.set_connect_timeout(Some(self.connect_timeout));
        let server = self.server();
        let proxied = self.proxy.clone().and_then(|proxy| Some((proxy.intercept(&server)?, proxy)));
        let timeout = self.connect_timeout;
        let bounded = |dialer: Dialer| {
            Dialer::new(dialer.map_future(move |connecting| async move {
                let connected = tokio::time::timeout(timeout, connecting).await;
                connected.unwrap_or_else(|_| Err(io::Error::from(TimedOut).into()))
            }))
        };
        match (self.connect_to, proxied) {
            (Some(address), _) => {
                let address = Uri::try_from(format!("http://{address}")).expect("an address is a host");
                bounded(Dialer::new(tcp.map_request(move |_| address.clone()).map_err(BoxError::from)))
            }
            (None, Some((intercept, proxy))) => {
                let mut tunnel = Tunnel::new(intercept.uri().clone(), tcp);
                if let Some(credentials) = intercept.basic_auth() {
                    tunnel = tunnel.with_auth(credentials.clone());
                }
                if let Some(name) = leg.user_agent {
                    let name = HeaderValue::from_static(name);
                    tunnel = tunnel.with_headers(HeaderMap::from_iter([(header::USER_AGENT, name)]));
                }
                let tunnel = bounded(Dialer::new(tunnel.map_err(BoxError::from)));
                if leg.names_proxy {
                    Dialer::new(tunnel.map_err(move |source| ProxyError { proxy: proxy.clone(), source }.into()))
                } else {
                    tunnel
                }
            }
            (None, None) => bounded(Dialer::new(tcp.map_err(BoxError::from))),
        }
    }
}

/// What the first legs of the two pools' connections differ in.
struct Leg {
    user_timeout: Duration,
    /// How a proxy is told who asks for the tunnel, if it is.
    user_agent: Option<&'static str>,
    /// Whether errors name the proxy. [`Route`](super::route::Route) does for typing entries.
    names_proxy: bool,
}

impl Leg {
    const OWN: Self = Self { user_timeout: OWN_USER_TIMEOUT, user_agent: Some(USER_AGENT), names_proxy: false };
    const FORWARD: Self = Self { user_timeout: FORWARD_USER_TIMEOUT, user_agent: None, names_proxy: true };
}

/// What takes too long to connect.
#[derive(Debug, thiserror::Error)]
#[error("operation timed out")]
struct ConnectTimeout;

/// The proxy can't be reached, or makes no tunnel.
#[derive(Debug, thiserror::Error)]
#[error("no tunnel through upstream.proxy {proxy}")]
struct ProxyError {
    proxy: Proxy,
    source: BoxError,
}

/// Trusts the system's roots and those of `ca_file`.
fn tls(settings: &Settings) -> Result<ClientConfig, SetupError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|source| SetupError::Tls { source: source.into() })?;
    let encrypted = settings.base_url.scheme() == "https"
        || matches!(&settings.auth, Auth::JwtBearer(jwt) if jwt.token_url.scheme() == "https");
    // Loading the system's roots takes tens of milliseconds, and fails where there are none: a bare container that only
    // ever speaks to the sandbox.
    if settings.ca_file.is_none() && !encrypted {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = verifier(settings.ca_file.as_deref(), provider)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Verifies certificates by the system's roots and those of `ca_file`.
pub(super) fn verifier(ca_file: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Verifier, SetupError> {
    match ca_file {
        None => Verifier::new(provider).map_err(|source| SetupError::Tls { source: source.into() }),
        Some(path) => Verifier::new_with_extra_roots(certificates(path)?, provider)
            .map_err(|source| SetupError::CaFile { path: path.to_owned(), source: source.into() }),
    }
}

/// The certificates in a file in PEM.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let failed = |source| SetupError::CaFile { path: path.to_owned(), source };
    let pem = files::read(path, files::CA_FILE_BYTES_MAX).map_err(|error| failed(error.into()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let roots = roots.map_err(|error| failed(error.into()))?;
    if roots.is_empty() { Err(failed("it holds no PEM certificate".into())) } else { Ok(roots) }
}

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `ca_file` can't be read or holds no certificate that could be a root.
    #[error("can't take roots from upstream.ca_file {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BoxError,
    },
    /// A setting holds characters that no header may hold.
    #[error("{setting} holds characters that an HTTP header can't carry")]
    Header {
        /// Its name.
        setting: &'static str,
    },
    /// `base_url` has no host, or no path to append to.
    #[error("base_url is not an http or https address")]
    BaseUrl,
    /// TLS can't be set up, as a rule for want of trusted roots.
    #[error("can't set up https (it needs the system's root certificates or a ca_file)")]
    Tls {
        /// Why.
        source: BoxError,
    },
}

/// What typingd calls itself.
pub(super) const USER_AGENT: &str = concat!("typingd/", env!("CARGO_PKG_VERSION"));
/// A lost SYN is repeated after one second and after three: past that the address is at fault, not the luck.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);
/// Often enough to keep the entry of a firewall or a load balancer alive (the short ones drop it after 60 s).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A round trip with one loss takes well under a second.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose bytes are not acknowledged for so long is given up: half of what a vanished peer may cost.
const OWN_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where a long body passes, which an upstream may take slowly.
const FORWARD_USER_TIMEOUT: Duration = Duration::from_secs(20);
/// As many connections are kept for what is forwarded as one listening address has.
const FORWARD_IDLE_MAX: usize = 512;
/// An answer's head. A request's has the bound of the server.
const FORWARD_HEAD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::settings::Secret;
    use super::*;

    fn settings(base_url: &str) -> Settings {
        Settings {
            base_url: base_url.parse().unwrap(),
            org_id: "00DXX0000000001".into(),
            authorization_context: String::new(),
            channel_contexts: Default::default(),
            authorization_context_type: None,
            request_timeout: Duration::from_secs(1),
            in_flight_max: 1,
            ca_file: None,
            proxy: None,
            connect_to: None,
            places: Default::default(),
            auth: Auth::Fixed(Secret::new("t0ken")),
        }
    }

    #[tokio::test]
    async fn a_request_is_forwarded_behind_base_url_byte_for_byte() {
        for (base_url, asked, forwarded) in [
            ("http://127.0.0.1:1", "/api/v1/a?b=%2F", "/api/v1/a?b=%2F"),
            ("http://127.0.0.1:1/", "/api/v1/a", "/api/v1/a"),
            ("http://127.0.0.1:1/base", "/api/v1/a?b", "/base/api/v1/a?b"),
            ("http://127.0.0.1:1/base/", "/a//b/", "/base/a//b/"),
            ("http://127.0.0.1:1/base", "*", "*"),
        ] {
            let connection = Connection::new(&settings(base_url)).unwrap();
            assert_eq!(connection.forward_path(&asked.parse().unwrap()).unwrap(), forwarded, "{base_url} {asked}");
            let prefix = connection.base_url.path().trim_end_matches('/');
            assert_eq!(connection.interactions(), *format!("{prefix}/api/v1/interactions"), "{base_url}");
            assert_eq!(connection.server(), *"http://127.0.0.1:1/", "{base_url}");
        }
    }
}
