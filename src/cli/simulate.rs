//! `typingd simulate`: traces in virtual time.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::{CHECK_INTERVAL, DISMISS_AFTER, Failure, environment, load, timing_flags};
use crate::config::Overrides;
use crate::signals::trace::TraceReader;
use crate::tune::simulate::{SimulateError, simulate};

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// Traces, merged by time; `-` is standard input
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
    /// A configuration with the timing to use
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: SimulateArgs) -> Result<(), Failure> {
    let flags = timing_flags([
        ("--check", CHECK_INTERVAL, args.check),
        ("--dismiss", DISMISS_AFTER, args.dismiss),
        ("--mode", "timing.dismiss", args.mode),
    ]);
    let overrides =
        Overrides { file: args.config, flags, environment: environment(), sandbox: true, ..Overrides::default() };
    let mut config = load(&overrides)?;
    // A flag applies to all channels: a channel keeps of its own only what no flag sets.
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
    let traces = traces.map_err(|e| e.to_string())?;
    let mut stdout = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let result = simulate(traces, &config.policy, &mut stdout);
    stdout.flush()?;
    result.map_err(|error| match error {
        SimulateError::Trace(error) => error.to_string().into(),
        SimulateError::Output(error) => error.into(),
        SimulateError::Endless => "the traces take more steps than can be counted".into(),
    })
}
