//! The settings of the server, and the limits of a listener's clients.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;

/// The keys under `ingest`; `config` fills them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// The file of the bearer token that callers must show.
    pub token_file: Option<PathBuf>,
    /// The file mode of Unix sockets that are made; the umask's without it.
    pub socket_mode: Option<u32>,
    /// The longest JSON body, in bytes. A stream has no end, but each of its lines has a bound of its own.
    pub body_bytes_max: usize,
    /// Whether the signals may be recorded.
    pub recording: bool,
}

/// The keys under `admin`; `config` fills them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Addresses of its own for everything but signals and the drop-in; none: those of ingest serve it.
    pub listen: Vec<Address>,
    /// The file of the bearer token for what changes, records or watches.
    pub token_file: Option<PathBuf>,
    /// Whether the web console is served.
    pub console: bool,
}

/// The limits of a listener's clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time. A further one displaces an idle one, or waits in the backlog.
    pub connections_max: usize,
    /// A request's head in bytes.
    pub head_bytes_max: usize,
    /// From a connection's opening, or a head's first byte, to the head's end.
    pub head_timeout: Duration,
    /// How long a connection may be idle between two requests. Longer than the 60 s after which common clients
    /// drop an idle connection, so that it is they who close it and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of an answer. It holds a piece of the answer and a slot meanwhile.
    pub stall_timeout: Duration,
    /// How long a client that has closed its own side may still wait for its answer. A client that has gone looks the
    /// same until it is answered. Longer than `drop_in.stall_timeout` by default, so that the bound of the request holds.
    pub half_closed_timeout: Duration,
    /// Whether header names keep the case in which they came and are set: for what passes through untouched.
    pub keep_header_case: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            half_closed_timeout: Duration::from_secs(75),
            keep_header_case: false,
        }
    }
}
