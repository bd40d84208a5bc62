//! The first leg of a connection to the Interaction Service, below TLS: straight to its host, to the address of
//! `connect_to`, or through a proxy. Whichever it is, TLS is with the host that `base_url` names.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::proxy::Proxy;

/// Makes the connections. The address that it is asked for tells the host; the way is always the same.
#[derive(Clone)]
pub(crate) struct Dialer {
    tcp: HttpConnector,
    way: Way,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Direct,
    To(Uri),
    Through { tunnel: Tunnel<HttpConnector>, proxy: Proxy },
}

impl Dialer {
    /// The way to `host`, an address without a path. A connection has `timeout` to come about, a proxy's answer included.
    pub(super) fn new(
        tcp: HttpConnector,
        host: &Uri,
        connect_to: Option<SocketAddr>,
        proxy: Option<&Proxy>,
        timeout: Duration,
    ) -> Self {
        let proxied = proxy.and_then(|proxy| Some((proxy, proxy.intercept(host)?)));
        let way = match (connect_to, proxied) {
            (Some(address), _) => Way::To(Uri::try_from(format!("http://{address}")).expect("an address is a host")),
            (None, Some((proxy, intercept))) => {
                let tunnel = Tunnel::new(intercept.uri().clone(), tcp.clone());
                let tunnel = match intercept.basic_auth() {
                    Some(credentials) => tunnel.with_auth(credentials.clone()),
                    None => tunnel,
                };
                Way::Through { tunnel, proxy: proxy.clone() }
            }
            (None, None) => Way::Direct,
        };
        Self { tcp, way, timeout }
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Direct | Way::To(_) => self.tcp.poll_ready(cx).map_err(Into::into),
            Way::Through { tunnel, .. } => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, asked: Uri) -> Connecting {
        let timeout = self.timeout;
        match &mut self.way {
            Way::Direct => Box::pin(within(timeout, self.tcp.call(asked))),
            Way::To(address) => Box::pin(within(timeout, self.tcp.call(address.clone()))),
            Way::Through { tunnel, proxy } => {
                let (connecting, proxy) = (within(timeout, tunnel.call(asked)), proxy.clone());
                Box::pin(async move { connecting.await.map_err(|source| ProxyError { proxy, source }.into()) })
            }
        }
    }
}

async fn within<T, E: Into<BoxError>>(
    timeout: Duration,
    connecting: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(timeout, connecting).await {
        Ok(connected) => connected.map_err(Into::into),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// The proxy can't be reached, or lets nobody through.
#[derive(Debug)]
struct ProxyError {
    proxy: Proxy,
    source: BoxError,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no tunnel through upstream.proxy {}", self.proxy)
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}
