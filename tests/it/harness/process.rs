//! A typingd process under test: started, listened to, told, and never left behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use typingd::base::clock;

use crate::secrets;
use crate::wire::Address;

/// How long anything may take that is sure to come. Only a defect, or a machine that stands still, needs all of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Looks until `look` finds something, and fails with `what` when it never does.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = clock::stopwatch();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Whether a program is installed.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The binary under test: the one that was built with the tests, unless another is named, such as an optimised one.
pub(crate) fn binary() -> OsString {
    std::env::var_os("TYPINGD_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_typingd").into())
}

/// The binary with an environment of its own: what the developer has set must not matter.
pub(crate) fn typingd(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// What a command that ends by itself said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Said {
    run_with(typingd(arguments), "")
}

/// Runs a command to its end, with `input` on its standard input.
pub(crate) fn run_with(mut command: Command, input: &str) -> Said {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("typingd starts");
    // Whoever doesn't read its input closes it, which is no fault.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A process that goes on until it is told to stop. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Its log is nobody's but the operator's: a daemon's, not what a command tells its caller.
    is_daemon: bool,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<String>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let is_daemon = command.get_args().any(|argument| argument == "run");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("typingd starts");
        let log = collect(child.stderr.take().unwrap());
        let output = collect(child.stdout.take().unwrap());
        Self { child, is_daemon, log, output }
    }

    /// What it has written to the standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it has written to the standard output so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until the log holds `text`.
    pub(crate) fn until_logged(&mut self, text: &str) {
        let watch = clock::stopwatch();
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            // What it wrote last may still be on its way through the pipe.
            let last_words_read = ended.is_some() && Arc::strong_count(&self.log) == 1 && !self.log().contains(text);
            assert!(
                !last_words_read && watch.elapsed() < PATIENCE,
                "no `{text}` in the log ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address in the log line that says where it takes signals.
    pub(crate) fn address(&mut self) -> Address {
        const LISTENING: &str = " INFO listening address=";
        self.until_logged(LISTENING);
        let log = self.log();
        let rest = log.split(LISTENING).nth(1).unwrap();
        Address::parse(rest.lines().next().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `TERM`, `HUP`, `KILL`.
    pub(crate) fn tell(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success(), "kill -{signal}");
    }

    /// Kills it, as nothing can be prepared for.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, and for all that it has written.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = wait_for("the process's end", || self.ended());
        // The threads that read go with the last byte.
        until("its last words", || [&self.log, &self.output].map(Arc::strong_count) == [1, 1]);
        status
    }

    /// Tells it to stop and waits for its end, which must be a good one.
    pub(crate) fn stop(&mut self) {
        self.tell("TERM");
        let status = self.end();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Goes to the output of the test, which the harness shows when the test fails.
            #[expect(clippy::print_stderr, reason = "a failed test tells what the daemon said")]
            {
                eprintln!("--- log ---\n{}", self.log());
            }
        } else if self.is_daemon {
            let log = self.log();
            let told = secrets::told_in(&log);
            assert!(told.is_empty(), "the log tells {told:?}:\n{log}");
        }
    }
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}
