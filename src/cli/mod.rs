//! The command line: what each command takes, and what its end means to a shell.

mod check;
pub(crate) mod client;
mod completions;
mod exit;
pub(crate) mod interrupt;
mod man;
mod probe;
mod record;
mod reload;
mod replay;
mod run;
mod sandbox;
mod schema;
mod shutdown;
mod simulate;
mod tap;
mod timing;
mod tune;
mod wait;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::build_info;
use crate::config::{self, Config, Origin, Overrides};
use crate::daemon::StartError;
use crate::sandbox::SandboxArgs;
use exit::{FAILED, HELD, MISCONFIGURED, NONE_FITS, WRONG_USAGE};

/// Typing indicators for Salesforce Bring Your Own Channel: a sidecar beside a connector
#[derive(Debug, Parser)]
#[command(name = "typingd", version = build_info::line(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::RunArgs),
    /// Validate the configuration and print what is in force, with the origin of every value
    ///
    /// Editors that read `typingd schema` find most mistakes as they are made.
    Check(check::CheckArgs),
    /// Replay traces in virtual time and print the indicators as NDJSON
    Simulate(simulate::SimulateArgs),
    /// Record the signals of a running daemon as a trace, without the ids of channels and users
    Record(record::RecordArgs),
    /// Show what each check and dismiss interval costs and gives on recorded typing
    Tune(Box<tune::TuneArgs>),
    /// Play a trace against a running daemon in real time
    Replay(replay::ReplayArgs),
    /// Show the timing of a running daemon, or change it
    ///
    /// Without a change: what is in force, and where it comes from. A change holds at once, for conversations under way
    /// too, until the daemon is started again or reads its configuration again; how to keep it is said.
    Timing(timing::TimingArgs),
    /// Wait until a daemon is ready to deliver, also one that is yet to be started
    Wait(wait::WaitArgs),
    /// Let a running daemon read its configuration again, and print what has changed
    ///
    /// A configuration that is wrong changes nothing: its problems are told, with exit code 78.
    Reload(reload::ReloadArgs),
    /// Stop a running daemon, every icon off, and wait for its end
    Shutdown(shutdown::ShutdownArgs),
    /// Watch the indicators of a running daemon live
    Tap(tap::TapArgs),
    /// Run the stand-in Interaction Service alone
    Sandbox(SandboxArgs),
    /// Try one real icon: on, left alone, and off again; say whether the set-up works
    ///
    /// A TypingStarted and a TypingStopped go to the org of the configuration. Each answer is explained, with what to do
    /// about it. On a terminal you are asked to press Enter when the agent's icon goes off by itself: that is what `typingd
    /// tune --icon-ttl` wants to know. An agent sees the icon; a pair that Salesforce does not know gets a messaging session.
    Probe(probe::ProbeArgs),
    /// Print the JSON schema of the configuration, for editors
    Schema,
    /// Print what a shell needs to know to complete command lines
    Completions(completions::CompletionsArgs),
    /// Print a manual page, or write all of them to a directory
    Man(man::ManArgs),
}

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, and belong on the standard output; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// Why a command did not succeed.
enum Failure {
    /// One sentence.
    Failed(String),
    /// Another typingd is in the way.
    Held(String),
    /// All problems of the configuration.
    Misconfigured(Vec<String>),
    /// All problems of the flags.
    Usage(Vec<String>),
    /// No setting keeps the limits, or none can be told from another, which the results have told.
    NoneFits,
    /// Whoever read the results has gone, which is no error.
    ClosedPipe,
}

impl Failure {
    fn tell(self) -> ExitCode {
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::NoneFits => ExitCode::from(NONE_FITS),
            Self::Failed(what) => tell_all(&[what], FAILED),
            Self::Held(what) => tell_all(&[what], HELD),
            Self::Misconfigured(problems) => tell_all(&problems, MISCONFIGURED),
            Self::Usage(problems) => tell_all(&problems, WRONG_USAGE),
        }
    }
}

fn tell_all(problems: &[String], code: u8) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(stderr, "typingd: {problem}");
    }
    ExitCode::from(code)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("can't write the results: {error}")),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(problems) => Self::Misconfigured(problems),
            StartError::System(what) => Self::Failed(what),
            StartError::Held(what) => Self::Held(what),
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    // The others have something to do at their end, and watch for signals themselves.
    if !matches!(command, Command::Run(_) | Command::Sandbox(_) | Command::Record(_) | Command::Tap(_)) {
        interrupt::end_as_first_process();
    }
    match command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Record(args) => record::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Timing(args) => timing::run(args),
        Command::Wait(args) => wait::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Shutdown(args) => shutdown::run(&args),
        Command::Tap(args) => tap::run(args),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Probe(args) => probe::run(args),
        Command::Schema => schema::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// The environment, lossily: what is not UTF-8 is no setting of ours, and must not bring us down.
fn environment() -> Vec<(String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn load(overrides: &Overrides) -> Result<Config, Failure> {
    config::load(overrides).map_err(|problems| {
        // A configuration that isn't there is a wrong configuration, whoever named it.
        let by_flag = problems.iter().all(|problem| matches!(problem.origin, Origin::Flag(name) if name != "--config"));
        let problems = problems.iter().map(ToString::to_string).collect();
        if by_flag { Failure::Usage(problems) } else { Failure::Misconfigured(problems) }
    })
}

/// What somebody else has said, on one line and without anything that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Runs `work` to its end. What it has left behind is not waited for: a name that is being looked up, for one, which can
/// take minutes where no name server answers.
///
/// One thread for everything that waits, and others for what computes or blocks. Its tasks run in the order in which what
/// they wait for has happened: what a connector sends first is read first. Of several threads each runs the newest of its
/// tasks first, which turns a burst of messages round.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("can't start the runtime: {e}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

const CHECK_INTERVAL: &str = "timing.check_interval";
const DISMISS_AFTER: &str = "timing.dismiss_after";
