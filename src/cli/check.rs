//! `typingd check`: whether the configuration is right, what is in force, and what to expect of it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Failure, environment, load};
use crate::config::{self, Overrides};
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
