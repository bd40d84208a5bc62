//! A store of its own for a test: a real server behind a Unix socket.

use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use typingd::base::clock;

pub(crate) struct Redis {
    server: Child,
    directory: TempDir,
}

impl Redis {
    /// `None`, and a word about it, where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(directory.path().join("s")).stdout(Stdio::null()).current_dir(directory.path());
        match command.spawn() {
            Ok(server) => Some(Self { server, directory }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                left_out();
                None
            }
            Err(error) => panic!("redis-server: {error}"),
        }
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        let address = format!("redis+unix://{}", self.directory.path().join("s").display());
        let watch = clock::stopwatch();
        loop {
            match redis::Client::open(address.as_str()).unwrap().get_connection() {
                Ok(connection) => return connection,
                Err(error) if watch.elapsed() > Duration::from_secs(20) => {
                    panic!("redis-server does not answer: {error}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[expect(clippy::print_stderr, reason = "what is left out is told")]
fn left_out() {
    eprintln!("left out: there is no redis-server here");
}
