//! Where to listen.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen: `127.0.0.1:7480` or `unix:/run/typingd/typingd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether to listen here is to listen at `other` too: `0.0.0.0:p` is every IPv4 address, `[::]:p` every address but
    /// `0.0.0.0:p`, which is left to another socket.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let (Self::Tcp(this), Self::Tcp(other)) = (self, other) else { return false };
        let any = this.ip().is_unspecified() && !(this.is_ipv6() && other.is_ipv4() && other.ip().is_unspecified());
        any && this != other && this.port() == other.port() && this.port() != 0 && (this.is_ipv6() || other.is_ipv4())
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            // An IPv4-mapped IPv6 address counts as its IPv4 address.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!(
                    "`{text}` is not an address: expected an absolute path, such as unix:/run/typingd/typingd.sock"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        // An IPv4-mapped IPv6 address is that IPv4 address, so that one place has one name.
        let canonical = |at: SocketAddr| Self::Tcp(SocketAddr::new(at.ip().to_canonical(), at.port()));
        text.parse().map(canonical).map_err(|_| {
            format!("`{text}` is not an address: expected an IP address with a port (127.0.0.1:7480) or unix:/path")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
