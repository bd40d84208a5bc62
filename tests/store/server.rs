//! A store of its own for a test: a real server behind a Unix socket.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use typingd::base::clock;

pub(crate) struct Redis {
    server: Child,
    pub(crate) directory: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// `None`, and a word about it, where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), &[])
    }

    /// With further arguments, which may name files of its directory.
    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let server = spawn(&directory, &arguments)?;
        let redis = Self { server, directory, arguments };
        redis.wait();
        Some(redis)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Sends the server a signal: `STOP`, `CONT`.
    #[allow(dead_code, reason = "not every suite does")]
    pub(crate) fn tell(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.server.id().to_string()]).status();
        assert!(status.unwrap().success(), "kill -{signal}");
    }

    /// The processor time that it has taken.
    #[allow(dead_code, reason = "not every suite does")]
    pub(crate) fn busy(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.id())).unwrap();
        // Behind the name, which may hold anything, fields 14 and 15 of all, in hundredths of a second.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Ends it, with all that it has in memory.
    #[allow(dead_code, reason = "not every suite does")]
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again, empty.
    #[allow(dead_code, reason = "not every suite does")]
    pub(crate) fn restart(&mut self) {
        self.server = spawn(&self.directory, &self.arguments).unwrap();
        self.wait();
    }

    /// Until it answers, if only that a password is missing.
    fn wait(&self) {
        let watch = clock::stopwatch();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(watch.elapsed() < Duration::from_secs(20), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(directory: &TempDir, arguments: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "s"]);
    command.args(arguments).stdout(Stdio::null()).current_dir(directory.path());
    match command.spawn() {
        Ok(server) => Some(server),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            left_out();
            None
        }
        Err(error) => panic!("redis-server: {error}"),
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
