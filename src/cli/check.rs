//! `typingd check`: validates the configuration, prints the settings in force, and says what to expect of them.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Failure, load_file, note};
use crate::config;
use crate::daemon;
use crate::tune::outlook::outlook;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check it as `run --sandbox` would
    #[arg(long)]
    sandbox: bool,
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let config = load_file(args.config, args.sandbox)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(config.effective().as_bytes())?;
    stdout.flush()?;
    let problems = daemon::file_problems(&config);
    if !problems.is_empty() {
        return Err(Failure::misconfigured(problems));
    }
    for warning in config::warnings(&config) {
        note(&format!("warning: {warning}"));
    }
    note(&config::capacity(&config));
    let scopes: Vec<_> = config::scopes(&config).collect();
    let limit = f64::from(config.policy.delivery.requests_per_second_max);
    for sentence in outlook(&scopes, limit) {
        note(&sentence);
    }
    Ok(())
}
