//! A listening socket: bound here, or passed by the parent process.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{SocketFlags, accept_with, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::address::Address;
use super::socket::Socket as Accepted;
use crate::base::files;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 1_024;

/// A listening socket. Dropping it removes the file of a Unix socket that was bound here.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// The file to remove at the end.
    file: Option<OwnFile>,
    /// Another process holds it too, and goes on listening.
    passed: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address`. The file of a Unix socket that no one listens on any more is replaced.
    ///
    /// # Errors
    /// Names the address and, where known, what to do about it.
    pub async fn bind(address: &Address) -> Result<Self, String> {
        Self::bind_beside(address, &[], None).await
    }

    /// The same where `all` are bound: `[::]:p` leaves IPv4 to `0.0.0.0:p`. The file of a Unix socket gets `mode`.
    ///
    /// # Errors
    /// Those of [`Listener::bind`].
    pub(crate) async fn bind_beside(address: &Address, all: &[Address], mode: Option<u32>) -> Result<Self, String> {
        let fail = |error: io::Error| cant_listen(address, &error);
        match address {
            Address::Tcp(wanted) => {
                let socket = bind_tcp(*wanted, all).and_then(|socket| socket.listen(BACKLOG.unsigned_abs()));
                let socket = socket.map_err(fail)?;
                let address = Address::Tcp(socket.local_addr().map_err(fail)?);
                Ok(Self { socket: Socket::Tcp(socket), address, file: None, passed: false })
            }
            Address::Unix(path) => {
                clear_stale(path).await.map_err(fail)?;
                let socket = UnixListener::bind(path).map_err(fail)?;
                let file = Some(OwnFile::at(path).map_err(fail)?);
                if let Some(mode) = mode {
                    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(fail)?;
                }
                rustix::net::listen(&socket, BACKLOG).map_err(|error| fail(error.into()))?;
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), file, passed: false })
            }
        }
    }

    /// Whether `address` could be bound where `all` are, without listening there. No one is called: that could start a
    /// daemon.
    ///
    /// # Errors
    /// As [`Listener::bind`], with the kind of the error: an address in use may be that of a typingd that is running.
    pub(crate) fn probe(address: &Address, all: &[Address]) -> Result<(), (io::ErrorKind, String)> {
        let probed = match address {
            Address::Tcp(wanted) => bind_tcp(*wanted, all).map(drop),
            Address::Unix(path) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                files::must_be_writable(directory).and_then(|()| is_socket(path)).and_then(|socket| match socket {
                    true if is_bound(path) => Err(io::ErrorKind::AddrInUse.into()),
                    _ => Ok(()),
                })
            }
        };
        probed.map_err(|error| (error.kind(), cant_listen(address, &error)))
    }

    /// Takes over a socket that listens already and is not removed at the end.
    pub(super) fn adopt_tcp(socket: std::net::TcpListener, address: Address) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Socket::Tcp(TcpListener::from_std(socket)?), address, file: None, passed: true })
    }

    pub(super) fn adopt_unix(socket: std::os::unix::net::UnixListener, address: Address) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Socket::Unix(UnixListener::from_std(socket)?), address, file: None, passed: true })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it was passed to this process: another one holds it too, and goes on listening.
    pub(super) fn is_passed(&self) -> bool {
        self.passed
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // Answers are small and awaited.
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream))
            }
            Socket::Unix(socket) => Ok(Accepted::Unix(socket.accept().await?.0)),
        }
    }

    /// A connection that waits to be accepted at this instant. The runtime may not know of it yet, so the system is asked.
    pub(super) fn accept_waiting(&self) -> Option<Accepted> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match &self.socket {
            Socket::Tcp(socket) => {
                let stream: std::net::TcpStream = accept_with(socket, flags).ok()?.into();
                stream.set_nodelay(true).ok()?;
                Some(Accepted::Tcp(TcpStream::from_std(stream).ok()?))
            }
            Socket::Unix(socket) => {
                let stream: std::os::unix::net::UnixStream = accept_with(socket, flags).ok()?.into();
                Some(Accepted::Unix(UnixStream::from_std(stream).ok()?))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.take_away();
        }
    }
}

fn cant_listen(address: &Address, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process listens there, perhaps a typingd that runs already; stop that one (typingd shutdown does), \
             or choose another address with --listen or in the configuration"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        io::ErrorKind::PermissionDenied => {
            ": not permitted; ports below 1024 and other users' directories need privileges"
        }
        io::ErrorKind::NotFound => ": its directory does not exist",
        io::ErrorKind::NotADirectory => ": what should be its directory is a file",
        _ => "",
    };
    format!("can't listen on {address}: {error}{hint}")
}

fn bind_tcp(wanted: SocketAddr, all: &[Address]) -> io::Result<TcpSocket> {
    let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let any_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
    if wanted.is_ipv6() && wanted.ip().is_unspecified() && all.contains(&Address::Tcp(any_v4)) {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(wanted)?;
    Ok(socket)
}

/// The file of a socket that was bound here, told apart from one that another process bound in its place.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OwnFile {
    fn at(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: meta.dev(), inode: meta.ino() })
    }

    fn take_away(&self) {
        let same = |now: Self| (now.device, now.inode) == (self.device, self.inode);
        if Self::at(&self.path).is_ok_and(same) {
            // An error has no consequence: the next start replaces a stale file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a socket has this name.
///
/// # Errors
/// When another file has it, and when it is not known.
fn is_socket(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(true),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket has that name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a process has the Unix socket at `path` open, as far as the system says so: a file of a socket stays behind a
/// process that dies.
fn is_bound(path: &Path) -> bool {
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    let path = path.as_os_str().as_bytes();
    let mut lines = sockets.split(|byte| *byte == b'\n');
    lines.any(|line| line.strip_suffix(path).is_some_and(|before| before.ends_with(b" ")))
}

async fn clear_stale(path: &Path) -> io::Result<()> {
    match is_socket(path)? {
        true => match UnixStream::connect(path).await {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            // No one listens there any more. Any other error may come from a live socket: its queue is full, it is of
            // another kind, it belongs to another user.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(error) => {
                let what = format!("a socket has that name and can't be replaced ({error})");
                Err(io::Error::new(io::ErrorKind::AddrInUse, what))
            }
        },
        false => Ok(()),
    }
}
