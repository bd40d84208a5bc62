//! The command line: what each command takes, and what its end means to a shell.

mod tune;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::sync::watch;

use crate::client::{Remote, RemoteArgs};
use crate::clock::Clock;
use crate::config::{self, Config, Flag, Origin, Overrides, duration, size};
use crate::daemon::{self, StartError, Up};
use crate::http::{self, Address, Limits, Listener};
use crate::model::ChannelAddress;
use crate::record::{self, Ended, Existing, Record, RecordError};
use crate::replay::{self, Replay};
use crate::sandbox::{Sandbox, SandboxArgs};
use crate::simulate::{SimulateError, simulate};
use crate::telemetry;
use crate::timing::{self, Wish};
use crate::trace::TraceReader;
use crate::tune::outlook::outlook;

/// Done, and asked to do nothing wrong, and yet it failed.
const FAILED: u8 = 1;
/// The command line can't be understood.
const WRONG_USAGE: u8 = 2;
/// Nothing that was measured keeps the limits.
const NONE_FITS: u8 = 3;
/// Another typingd holds the state directory (EX_CANTCREAT of sysexits.h).
const HELD: u8 = 73;
/// The configuration is wrong (EX_CONFIG of sysexits.h).
const MISCONFIGURED: u8 = 78;

/// Typing indicators for Salesforce Bring Your Own Channel: a sidecar beside a connector
#[derive(Debug, Parser)]
#[command(name = "typingd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(RunArgs),
    /// Validate the configuration and print what is in force, with the origin of every value
    Check(CheckArgs),
    /// Replay traces in virtual time and print the indicators as NDJSON
    Simulate(SimulateArgs),
    /// Record the signals of a running daemon as a trace, without the ids of channels and users
    Record(RecordArgs),
    /// Show what each check and dismiss interval costs and gives on recorded typing
    Tune(Box<tune::TuneArgs>),
    /// Play a trace against a running daemon in real time
    Replay(ReplayArgs),
    /// Show the timing of a running daemon, or change it
    ///
    /// Without a change: what is in force, and where it comes from. A change holds at once, for conversations under way
    /// too, until the daemon is started again or reads its configuration again; how to keep it is said.
    Timing(TimingArgs),
    /// Run the stand-in Interaction Service alone
    Sandbox(SandboxArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deliver to a built-in stand-in instead of Salesforce: no org is needed
    #[arg(long)]
    sandbox: bool,
    /// Where to listen, instead of ingest.listen: 127.0.0.1:7480 or unix:/path; may be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check it as `run --sandbox` would
    #[arg(long)]
    sandbox: bool,
}

#[derive(Debug, clap::Args)]
struct SimulateArgs {
    /// Traces, merged by time; `-` is the standard input
    #[arg(value_name = "TRACE", default_value = "-")]
    traces: Vec<PathBuf>,
    /// The check interval, of every channel
    #[arg(long, value_name = "TIME")]
    check: Option<String>,
    /// The time after which the icon goes off, on every channel
    #[arg(long, value_name = "TIME")]
    dismiss: Option<String>,
    /// How the icon goes off, on every channel: idle or after_shown
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// A configuration whose timing holds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RecordArgs {
    /// Where to write the trace, for its owner alone to read; `-` is the standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
    /// How long to record [default: until interrupted]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Option<Duration>,
    /// How large the trace may become
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    max_size: u64,
    /// Round times down to a multiple of this, such as 10ms: it makes people harder to tell by how they type
    #[arg(long, value_name = "TIME", value_parser = grain)]
    round: Option<Duration>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// The trace
    trace: PathBuf,
    #[command(flatten)]
    remote: RemoteArgs,
    /// How many times faster than it was typed
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

#[derive(Debug, clap::Args)]
struct TimingArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The channel that it is about, by its address; else it is the timing of all
    #[arg(long, value_name = "TO", value_parser = channel)]
    to: Option<ChannelAddress>,
    /// The check interval from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    check: Option<String>,
    /// The time after which the icon goes off from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    dismiss: Option<String>,
    /// How the icon goes off from now on: idle or after_shown
    #[arg(long, value_name = "MODE", help_heading = "Changes")]
    mode: Option<String>,
    /// The longest unbroken typing that is believed from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    max_typing: Option<String>,
    /// Take the channel's own timing away: it follows the timing of all from now on
    #[arg(long, requires = "to", conflicts_with_all = ["check", "dismiss", "mode", "max_typing"], help_heading = "Changes")]
    reset: bool,
    /// How it is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TimingFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TimingFormat {
    /// For people
    Table,
    /// As the daemon says it
    Json,
}

fn channel(text: &str) -> Result<ChannelAddress, String> {
    if matches!(text, "." | "..") {
        return Err("this one can't stand in the path of a URL; the file is its place".to_owned());
    }
    ChannelAddress::new(text).map_err(|error| error.to_string())
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1_000.0).contains(&speed) => Ok(speed),
        _ => Err("a number from 0.001 to 1000 is right".to_owned()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).filter(|span| !span.is_zero()).ok_or_else(|| "a time such as 30m or 1h is right".to_owned())
}

/// Beyond a second a typing is no typing any more.
const GRAIN_MAX: Duration = Duration::from_secs(1);

fn grain(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| !span.is_zero() && *span <= GRAIN_MAX);
    span.ok_or_else(|| "a time from 1ms to 1s, such as 10ms, is right".to_owned())
}

/// The least size has room for some lines, the greatest for more than any disk's worth of typing.
const TRACE_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 40;

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).filter(|bytes| TRACE_BYTES.contains(bytes));
    bytes.ok_or_else(|| "a size from 1KiB to 1024GiB, such as 256MiB, is right".to_owned())
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
            StartError::Surroundings(what) => Self::Failed(what),
            StartError::Held(what) => Self::Held(what),
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run(args),
        Command::Check(args) => check(args),
        Command::Simulate(args) => run_simulation(args),
        Command::Record(args) => run_recording(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Replay(args) => run_replay(&args),
        Command::Timing(args) => run_timing(args),
        Command::Sandbox(args) => run_sandbox(&args),
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

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("can't start the runtime: {e}")))
}

fn run(args: RunArgs) -> Result<(), Failure> {
    let listen = args.listen.into_iter().map(|value| Flag { name: "--listen", key: "ingest.listen", value });
    let overrides =
        Overrides { file: args.config, flags: listen.collect(), environment: environment(), sandbox: args.sandbox };
    let config = load(&overrides)?;
    telemetry::start(config.log.format, config.log.level);
    for warning in config::warnings(&config) {
        tracing::warn!("configuration: {warning}");
    }
    runtime()?.block_on(daemon::run(config, overrides, |up| {
        // A guide for people; whoever reads logs finds the addresses there.
        if let Some(guide) = guide(up) {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(guide.as_bytes()).and_then(|()| stdout.flush());
        }
    }))?;
    Ok(())
}

/// What a newcomer does next.
fn guide(up: &Up) -> Option<String> {
    let sandbox = up.sandbox.as_ref()?;
    let tcp = up.listening.iter().find(|address| matches!(address, Address::Tcp(_)));
    let (curl, url) = match tcp.or(up.listening.first())? {
        Address::Tcp(address) => ("curl".to_owned(), format!("http://{address}")),
        Address::Unix(path) => (format!("curl --unix-socket {}", path.display()), "http://typingd".to_owned()),
    };
    Some(format!(
        "\ntypingd {} with its sandbox: no Salesforce org is involved.\n\n\
         Watch the agent's typing icons go on and off (in a second terminal):\n  \
         curl -N '{sandbox}/icons?watch=true'\n\n\
         Press a key as the end user ann; the icon goes on at once, and off 2 s later:\n  \
         {curl} -H 'content-type: application/json' \\\n       \
         -d '{{\"to\": \"support\", \"from\": \"ann\", \"signal\": \"keystroke\"}}' {url}/v1/signals\n\n\
         See what is shown now, and what Salesforce would have been sent:\n  \
         curl {sandbox}/icons\n  curl {sandbox}/requests\n\n\
         Ctrl-C stops it, with every icon off.\n\n",
        env!("CARGO_PKG_VERSION"),
    ))
}

fn check(args: CheckArgs) -> Result<(), Failure> {
    let overrides =
        Overrides { file: args.config, environment: environment(), sandbox: args.sandbox, ..Overrides::default() };
    let config = load(&overrides)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(config.effective().as_bytes())?;
    stdout.flush()?;
    let problems = daemon::file_problems(&config);
    if !problems.is_empty() {
        return Err(Failure::Misconfigured(problems));
    }
    let mut stderr = io::stderr().lock();
    for warning in config::warnings(&config) {
        writeln!(stderr, "typingd: warning: {warning}")?;
    }
    writeln!(stderr, "typingd: {}", config::capacity(&config))?;
    let scopes: Vec<_> = config::scopes(&config).collect();
    let limit = f64::from(config.policy.delivery.requests_per_second_max);
    for sentence in outlook(&scopes, limit) {
        writeln!(stderr, "typingd: {sentence}")?;
    }
    Ok(())
}

const CHECK_INTERVAL: &str = "timing.check_interval";
const DISMISS_AFTER: &str = "timing.dismiss_after";

fn run_simulation(args: SimulateArgs) -> Result<(), Failure> {
    let flag = |name, key, value: Option<String>| value.map(|value| Flag { name, key, value });
    let flags = [
        flag("--check", CHECK_INTERVAL, args.check),
        flag("--dismiss", DISMISS_AFTER, args.dismiss),
        flag("--mode", "timing.dismiss", args.mode),
    ];
    let flags: Vec<Flag> = flags.into_iter().flatten().collect();
    let overrides = Overrides { file: args.config, flags, environment: environment(), sandbox: true };
    let mut config = load(&overrides)?;
    // A flag asks what its value would do to everybody: a channel keeps of its own only what no flag says.
    let said = config.policy.rules;
    for rules in config.policy.channels.values_mut() {
        for flag in &overrides.flags {
            match flag.key {
                CHECK_INTERVAL => *rules = rules.with_check(said.check_interval()),
                DISMISS_AFTER => *rules = rules.with_dismiss(said.dismiss_after()),
                _ => rules.mode = said.mode,
            }
        }
    }
    let traces: Result<Vec<_>, _> = args.traces.iter().map(|path| TraceReader::open(path)).collect();
    let traces = traces.map_err(|e| Failure::Failed(e.to_string()))?;
    let mut stdout = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let result = simulate(traces, &config.policy, &mut stdout);
    stdout.flush()?;
    result.map_err(|error| match error {
        SimulateError::Trace(error) => Failure::Failed(error.to_string()),
        SimulateError::Output(error) => error.into(),
    })
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Failed(what) => Self::Failed(what),
            RecordError::ClosedPipe => Self::ClosedPipe,
        }
    }
}

fn run_recording(args: &RecordArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let job = Record {
        remote: &remote,
        output: &args.output,
        existing: if args.force { Existing::Overwrite } else { Existing::Keep },
        span: args.span,
        bytes_max: args.max_size,
        round_millis: args.round.map_or(1, |grain| grain.as_millis() as u64),
    };
    let summary = runtime()?.block_on(record::record(&job))?;
    let line = serde_json::to_string(&summary).map_err(io::Error::from)?;
    if args.output == Path::new("-") {
        writeln!(io::stderr().lock(), "{line}")?;
    } else {
        writeln!(io::stdout().lock(), "{line}")?;
    }
    match summary.ended {
        Ended::BrokenOff => Err(Failure::Failed(
            "the recording broke off: the daemon died, or what it said was not taken fast enough; what came before is \
             kept"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn run_replay(args: &ReplayArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let job = Replay { trace: &args.trace, remote: &remote, speed: args.speed };
    let summary = runtime()?.block_on(replay::replay(&job)).map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &summary).map_err(io::Error::from)?;
    writeln!(stdout)?;
    match summary.rejected {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("the daemon did not take {n} of {} signals", summary.signals))),
    }
}

fn run_timing(args: TimingArgs) -> Result<(), Failure> {
    let flag = |name, key, value: Option<String>| value.map(|value| Flag { name, key, value });
    let flags = [
        flag("--check", CHECK_INTERVAL, args.check),
        flag("--dismiss", DISMISS_AFTER, args.dismiss),
        flag("--mode", "timing.dismiss", args.mode),
        flag("--max-typing", "timing.max_typing", args.max_typing),
    ];
    let flags: Vec<Flag> = flags.into_iter().flatten().collect();
    let problems = config::flag_problems(&flags);
    if !problems.is_empty() {
        return Err(Failure::Usage(problems.iter().map(ToString::to_string).collect()));
    }
    let wish = match flags.is_empty() {
        _ if args.reset => Wish::Reset,
        true => Wish::Tell,
        false => {
            Wish::Set(flags.into_iter().map(|flag| (flag.key.replace("timing.", ""), flag.value.into())).collect())
        }
    };
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let told = runtime()?.block_on(timing::ask(&remote, args.to.as_ref(), &wish)).map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    match args.format {
        TimingFormat::Table => stdout.write_all(timing::describe(&told.report, args.to.as_ref()).as_bytes())?,
        TimingFormat::Json => writeln!(stdout, "{}", told.json)?,
    }
    stdout.flush()?;
    Ok(())
}

fn run_sandbox(args: &SandboxArgs) -> Result<(), Failure> {
    let options = args.options().map_err(Failure::Failed)?;
    telemetry::start(telemetry::Format::Text, tracing::level_filters::LevelFilter::INFO);
    runtime()?.block_on(async {
        let listener = Listener::bind(&args.listen).await.map_err(Failure::Failed)?;
        let address = listener.address().clone();
        if !address.is_local() {
            tracing::warn!(%address, "whoever reaches this address can use the sandbox and change its faults");
        }
        let mut stdout = io::stdout();
        writeln!(
            stdout,
            "The stand-in Interaction Service is at {address}. A configuration for it:\n\n\
             [upstream]\nbase_url = \"{address}\"\norg_id = \"00D000000000000\"\n\
             authorization_context = \"Sandbox_ChannelDefinition\"\n\
             [upstream.auth]\ntoken_file = \"token\"    # a file with any word in it\n\n\
             Watch the icons: curl -N '{address}/icons?watch=true'"
        )?;
        stdout.flush()?;
        let (stop, stopping) = watch::channel(false);
        let router = Sandbox::new(options, Clock::start()).router(stopping.clone());
        let server = tokio::spawn(http::serve(listener, router, Limits::default(), stopping));
        daemon::until_told_to_stop().await.map_err(|e| Failure::Failed(format!("can't watch for signals: {e}")))?;
        let _ = stop.send(true);
        // Requests that hang by a fault would hold it for ever.
        let _ = tokio::time::timeout(daemon::HANG_UP_MAX, server).await;
        Ok(())
    })
}
