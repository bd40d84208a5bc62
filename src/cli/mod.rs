//! The command line: the commands, and their exit codes.

mod bench;
mod candidates;
mod check;
mod client;
mod completions;
mod config;
mod exit;
mod explain;
mod interrupt;
mod log;
mod man;
mod online;
mod probe;
mod record;
mod reload;
mod replay;
mod run;
mod sandbox;
mod schema;
mod shutdown;
mod simulate;
mod status;
mod tap;
mod timing;
mod tune;
mod usage;
mod wait;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::base::build_info;
use crate::config::{Config, Draft, Flag, Origin, Overrides, Problem};
use crate::daemon::StartError;
use crate::http;
use crate::sandbox::SandboxArgs;
use crate::telemetry;
pub use exit::{EXIT_CODES, FILES, SIGNALS, VARIABLES};
use exit::{FAILED, HELD, MISCONFIGURED, WRONG_USAGE};

/// Typing indicators for Salesforce Bring Your Own Channel: a sidecar beside a connector
#[derive(Debug, Parser)]
#[command(
    name = "typingd",
    version = build_info::line(),
    max_term_width = 100,
    before_help = "Try it, without a Salesforce org: typingd run --sandbox"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::RunArgs),
    /// Validate the configuration and print the settings in force with their origins
    Check(check::CheckArgs),
    /// Replay traces in virtual time and print the indicators as NDJSON
    Simulate(simulate::SimulateArgs),
    /// Record the signals of a running daemon as a trace, without the ids of users and, unless asked for, of channels
    Record(record::RecordArgs),
    /// Show what each check and dismiss interval costs and gives on recorded typing
    Tune(Box<tune::TuneArgs>),
    /// Play a trace against a running daemon in real time
    Replay(replay::ReplayArgs),
    /// Show the timing of a running daemon, or change it
    ///
    /// Without a change: the timing in force and its origins. A change takes effect at once, for conversations in
    /// progress too, until the daemon restarts or reloads its configuration; the command prints how to keep it.
    Timing(timing::TimingArgs),
    /// Wait until a daemon is ready to deliver, even one that has not been started yet
    Wait(wait::WaitArgs),
    /// Make a running daemon read its configuration again, and print what changed
    ///
    /// A wrong configuration changes nothing: its problems are printed, with exit code 78.
    Reload(client::RemoteArgs),
    /// Stop a running daemon, with every icon off, and wait for its end
    Shutdown(client::RemoteArgs),
    /// Show how a running daemon is doing: whether it is ready, and if not why; its conversations, requests, latency
    Status(status::StatusArgs),
    /// Show why the icon of a conversation is as it is, what happens next, and what happened lately
    Explain(explain::ExplainArgs),
    /// Show how much a running daemon logs, or change it until it restarts or reads its configuration again
    Log(log::LogArgs),
    /// Watch the indicators of a running daemon live
    Tap(tap::TapArgs),
    /// Let people type against a running daemon with a sandbox: throughput, latency, lateness, memory, CPU
    Bench(bench::BenchArgs),
    /// Run the stand-in Interaction Service alone
    Sandbox(SandboxArgs),
    /// Try one real icon, on and off again, and explain each answer of Salesforce
    ///
    /// Sends a TypingStarted and a TypingStopped to the org of the configuration. On a terminal it asks you to press Enter
    /// when the icon on the agent console goes off by itself: the time is the value for `typingd tune --icon-ttl`. An agent
    /// sees the icon; for a pair that it doesn't know, Salesforce creates a messaging session.
    Probe(probe::ProbeArgs),
    /// Print a commented sample configuration, the one that the package installs
    Config,
    /// Print the JSON schema of the configuration, for editors
    Schema,
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Print a manual page, or write all of them to a directory
    Man(man::ManArgs),
}

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(explain_usage(error, &arguments)),
    };
    let ended = execute(cli.command);
    if let Err(failure) = &ended {
        failure.report();
    }
    telemetry::flush();
    ended.map_or_else(|failure| ExitCode::from(failure.code), |()| ExitCode::SUCCESS)
}

/// Prints what is asked for instead of a command, or what is wrong with the command line; returns the exit code.
fn explain_usage(mut error: clap::Error, arguments: &[OsString]) -> u8 {
    if error.exit_code() == 0 {
        // Help and version are asked for, and belong on the standard output; clap knows which is which.
        let _ = error.print();
        return 0;
    }
    if arguments.get(1).is_some_and(|command| command == "run") {
        // As far as that is known without the command line.
        run::report_as(read_file(None, false).log_format());
    }
    if let Some(told) = usage::wrong_variable(&error, arguments, |name| std::env::var_os(name)) {
        telemetry::report(&told);
    } else {
        usage::suggest_command(&mut error);
        match telemetry::is_for_the_journal() || telemetry::is_json() {
            true => telemetry::report(&error.render().to_string()),
            false => drop(error.print()),
        }
    }
    let (passed, unusable) = http::passed();
    run::hold_sockets(&passed, &unusable);
    telemetry::flush();
    WRONG_USAGE
}

/// Why a command did not succeed.
#[derive(Debug)]
struct Failure {
    code: u8,
    /// What standard error says, a sentence each.
    problems: Vec<String>,
}

impl Failure {
    /// Says why on the standard error.
    fn report(&self) {
        for problem in &self.problems {
            telemetry::report(problem);
        }
    }

    fn misconfigured(problems: Vec<String>) -> Self {
        Self { code: MISCONFIGURED, problems }
    }

    fn from_problems(problems: Vec<String>) -> Self {
        Self { code: FAILED, problems }
    }

    fn usage(problems: Vec<String>) -> Self {
        Self { code: WRONG_USAGE, problems }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self { code: FAILED, problems: vec![problem] }
    }
}

impl From<&str> for Failure {
    fn from(problem: &str) -> Self {
        problem.to_owned().into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The reader of the results has gone, which is no error.
            io::ErrorKind::BrokenPipe => Self { code: 0, problems: Vec::new() },
            _ => format!("can't write the results: {error}").into(),
        }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        // A configuration that doesn't exist is a wrong configuration, even if a flag names it.
        let by_flag = problems.iter().all(|problem| matches!(problem.origin, Origin::Flag(name) if name != "--config"));
        let problems = problems.iter().map(ToString::to_string).collect();
        if by_flag { Self::usage(problems) } else { Self::misconfigured(problems) }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(problems) => Self::misconfigured(problems),
            StartError::System(what) => what.into(),
            StartError::Held(what) => Self { code: HELD, problems: vec![what] },
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
        Command::Status(args) => status::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Tap(args) => tap::run(args),
        Command::Bench(args) => bench::run(&args),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Probe(args) => probe::run(args),
        Command::Config => config::run(),
        Command::Schema => schema::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// The environment, lossily: what is not UTF-8 is no setting of typingd's, and must not end it.
fn environment() -> Vec<(String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// The configuration of a file, or of the default one, as far as it can be read.
fn read_file(file: Option<PathBuf>, sandbox: bool) -> Draft {
    Draft::read(&Overrides { file, environment: environment(), sandbox, ..Overrides::default() })
}

fn load(overrides: &Overrides) -> Result<Config, Failure> {
    crate::config::load(overrides).map_err(Failure::from)
}

/// The flags that stand for keys of the timing, if they are given.
fn timing_flags<const N: usize>(values: [(&'static str, &'static str, Option<String>); N]) -> Vec<Flag> {
    let flags = values.into_iter().filter_map(|(name, key, value)| Some(Flag { name, key, value: value? }));
    flags.collect()
}

/// A line for the person at the terminal, beside the results.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "typingd: {text}");
}

/// A bar on a terminal, nothing elsewhere.
fn progress(length: usize, what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!("{{elapsed_precise}} [{{bar:40}}] {{pos}}/{{len}} {what}, {{eta}} to go");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

/// Runs `work` to its end, without waiting for what it leaves behind, such as a name that is being resolved, which can take
/// minutes where no name server answers.
///
/// One thread waits, others compute or block. Its tasks run in the order in which they are woken, so that what a connector
/// sends first is read first; threads of a pool run their newest task first, which would reverse a burst of messages.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("can't start the runtime: {e}"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

const CHECK_INTERVAL: &str = "timing.check_interval";
const DISMISS_AFTER: &str = "timing.dismiss_after";
