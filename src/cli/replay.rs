//! `typingd replay`: a trace against a running daemon.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Failure, block_on};
use crate::client::{Remote, RemoteArgs};
use crate::replay::{self, Replay};

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The trace
    trace: PathBuf,
    #[command(flatten)]
    remote: RemoteArgs,
    /// How many times faster than it was typed
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1_000.0).contains(&speed) => Ok(speed),
        _ => Err("a number from 0.001 to 1000 is right".to_owned()),
    }
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let job = Replay { trace: &args.trace, remote: &remote, speed: args.speed };
    let summary = block_on(replay::replay(&job))?.map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &summary).map_err(io::Error::from)?;
    writeln!(stdout)?;
    match summary.rejected {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("the daemon did not take {n} of {} signals", summary.signals))),
    }
}
