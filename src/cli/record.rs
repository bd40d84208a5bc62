//! `typingd record`: the signals of a running daemon as a trace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, block_on};
use crate::client::{Remote, RemoteArgs};
use crate::config::{duration, size};
use crate::record::{self, Ended, Existing, Record, RecordError};

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
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

pub(super) fn run(args: &RecordArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let job = Record {
        remote: &remote,
        output: &args.output,
        existing: if args.force { Existing::Overwrite } else { Existing::Keep },
        span: args.span,
        bytes_max: args.max_size,
        round_millis: args.round.map_or(1, |grain| grain.as_millis() as u64),
    };
    let summary = block_on(record::record(&job))??;
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

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Failed(what) => Self::Failed(what),
            RecordError::ClosedPipe => Self::ClosedPipe,
        }
    }
}
