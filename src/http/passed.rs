//! Sockets that the parent process has opened: systemd's `LISTEN_FDS`.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::address::Address;
use super::listener::Listener;

/// Sockets taken over. A socket unit has a handful.
const SOCKETS_MAX: usize = 64;
/// The number of the first of them (sd_listen_fds(3)).
const FIRST: usize = 3;

/// A socket that listens already.
#[derive(Debug)]
pub(crate) struct Passed {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes the sockets that were passed to this process, if any: those that can be used, and a sentence for each other one.
/// Call it once, before other threads start.
pub(crate) fn passed() -> (Vec<Passed>, Vec<String>) {
    let count = std::env::var("LISTEN_FDS").unwrap_or_default();
    if count.parse::<usize>().is_ok_and(|count| count > SOCKETS_MAX) {
        return (Vec::new(), vec![format!("LISTEN_FDS={count}: expected at most {SOCKETS_MAX} sockets")]);
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
    let mut sockets = ListenFd::from_env();
    let (mut taken, mut problems) = (Vec::new(), Vec::new());
    for index in 0..sockets.len() {
        let name = names.get(index).map_or_else(String::new, |name| format!(" ({name})"));
        match take(&mut sockets, index) {
            Ok(Some(passed)) => taken.push(passed),
            Ok(None) => {}
            Err(what) => problems.push(format!("the passed socket {}{name} {what}", FIRST + index)),
        }
    }
    (taken, problems)
}

fn take(sockets: &mut ListenFd, index: usize) -> Result<Option<Passed>, String> {
    let failed = |error: io::Error| format!("can't be used: {error}");
    if let Ok(socket) = sockets.take_tcp_listener(index) {
        let Some(socket) = socket else { return Ok(None) };
        check_listens(&socket)?;
        let address = Address::Tcp(socket.local_addr().map_err(failed)?);
        return Ok(Some(Passed { socket: Socket::Tcp(socket), address }));
    }
    match sockets.take_unix_listener(index) {
        Ok(None) => Ok(None),
        Ok(Some(socket)) => {
            check_listens(&socket)?;
            let address = socket.local_addr().map_err(failed)?;
            let Some(path) = address.as_pathname() else {
                return Err("has no path; expected ListenStream=/run/typingd/typingd.sock".to_owned());
            };
            Ok(Some(Passed { address: Address::Unix(path.to_owned()), socket: Socket::Unix(socket) }))
        }
        Err(_) => Err("is not a stream socket; expected ListenStream=".to_owned()),
    }
}

fn check_listens(socket: impl AsFd) -> Result<(), String> {
    match sockopt::socket_acceptconn(socket) {
        Ok(true) => Ok(()),
        _ => Err("does not listen; expected Accept=no".to_owned()),
    }
}

impl Passed {
    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A listener on it. To be called where the runtime is.
    ///
    /// # Errors
    /// Names the address.
    pub(crate) fn listener(&self) -> Result<Listener, String> {
        let Self { socket, address } = self;
        let listener = match socket {
            Socket::Tcp(socket) => socket.try_clone().and_then(|socket| Listener::adopt_tcp(socket, address.clone())),
            Socket::Unix(socket) => socket.try_clone().and_then(|socket| Listener::adopt_unix(socket, address.clone())),
        };
        listener.map_err(|error| format!("can't use the passed socket {address}: {error}"))
    }
}

impl fmt::Display for Passed {
    /// As in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "{address}"),
            unix => write!(f, "{unix}"),
        }
    }
}
