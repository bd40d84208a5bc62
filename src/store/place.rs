//! Where a store is, as it is written in the configuration.

use std::fmt;
use std::path::PathBuf;

use url::{Host, Url};

/// Where the store is, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server and its database.
    pub place: Place,
    /// The user of its access list; the server's default one without.
    pub username: Option<String>,
    /// The file that the password is read from at each connection.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The nodes that share an org.
    pub group: String,
    /// The org's id; nothing where connectors bring it.
    pub org: String,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In clear; on the same machine.
    Tcp(String, u16),
    /// By TLS.
    Tls(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A server and one of its databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub address: Address,
    /// The database's number.
    pub database: u32,
}

impl Place {
    /// `rediss://host:port/database`, `redis://…` to this machine, or `redis+unix:///path`. Port and database may be
    /// left out.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected {EXPECTED}");
        let url = Url::parse(text).map_err(|_| expected())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "expected the user in store.username, and the password in the file of store.password_file".into()
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(expected());
        }
        if url.scheme() == UNIX {
            let path = PathBuf::from(url.path());
            return match url.host() {
                None if path.is_absolute() && path.file_name().is_some() => {
                    Ok(Self { address: Address::Unix(path), database: 0 })
                }
                _ => Err(expected()),
            };
        }
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| expected())?,
        };
        let port = url.port().unwrap_or(PORT);
        let host = match url.host().ok_or_else(expected)? {
            Host::Domain("") => return Err(expected()),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let address = match url.scheme() {
            "rediss" => Address::Tls(host, port),
            "redis" if is_of_this_machine(&host) => Address::Tcp(host, port),
            "redis" => {
                return Err(
                    "ids of end users would cross the network in clear; expected rediss://, or an address of this \
                            machine alone"
                        .into(),
                );
            }
            _ => return Err(expected()),
        };
        Ok(Self { address, database })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.address {
            Address::Unix(path) => return write!(f, "{UNIX}://{}", path.display()),
            Address::Tcp(host, port) => ("redis", host, port),
            Address::Tls(host, port) => ("rediss", host, port),
        };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}/{}", self.database)
    }
}

fn is_of_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

const UNIX: &str = "redis+unix";
const PORT: u16 = 6379;
/// For errors and for the reference.
pub const EXPECTED: &str = "rediss://host:port/database, redis:// to this machine, or redis+unix:///path";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_to_itself_with_what_was_left_out() {
        for (written, whole) in [
            ("rediss://redis.internal", "rediss://redis.internal:6379/0"),
            ("rediss://redis.internal:6380/3", "rediss://redis.internal:6380/3"),
            ("redis://localhost/", "redis://localhost:6379/0"),
            ("redis://127.0.0.1:7000", "redis://127.0.0.1:7000/0"),
            ("redis://[::1]:7000/1", "redis://[::1]:7000/1"),
            ("redis+unix:///run/redis/redis.sock", "redis+unix:///run/redis/redis.sock"),
        ] {
            let place = Place::parse(written).unwrap();
            assert_eq!(place.to_string(), whole);
            assert_eq!(Place::parse(whole).unwrap(), place);
        }
    }

    #[test]
    fn what_is_no_address_of_a_store_is_refused() {
        for (written, hint) in [
            ("redis://redis.internal:6379", "in clear"),
            ("redis://10.0.0.1", "in clear"),
            ("rediss://user:pw@host", "store.username"),
            ("https://redis.internal", EXPECTED),
            ("redis.internal:6379", EXPECTED),
            ("rediss://host/zero", EXPECTED),
            ("rediss://host/0?protocol=3", EXPECTED),
            ("redis+unix://run/redis.sock", EXPECTED),
            ("rediss://", EXPECTED),
            ("", EXPECTED),
        ] {
            let problem = Place::parse(written).unwrap_err();
            assert!(problem.contains(hint), "{written}: {problem}");
        }
    }
}
