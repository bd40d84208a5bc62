//! `typingd check`: validates the configuration, prints the settings in force, and says what to expect of them.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Failure, load_file, note, online};
use crate::config::{self, Config};
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
    /// Also resolve, connect and fetch a token; no icon is shown
    #[arg(long, conflicts_with = "sandbox")]
    online: bool,
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
    for warning in config::warnings(&config).into_iter().chain(state_dir(&config)) {
        note(&format!("warning: {warning}"));
    }
    note(&config::capacity(&config));
    let scopes: Vec<_> = config::scopes(&config).collect();
    let limit = f64::from(config.policy.delivery.requests_per_second_max);
    for sentence in outlook(&scopes, limit) {
        note(&sentence);
    }
    if args.online {
        online::check(&config)?;
    }
    note("valid");
    Ok(())
}

/// The daemon serves without its state directory all the same, so that this is no reason not to start.
fn state_dir(config: &Config) -> Option<String> {
    let dir = config.state_dir.as_ref().filter(|dir| dir.exists() && !dir.is_dir())?;
    let text = format!("delivery.state_dir {} is not a directory: a crash may leave icons on", dir.display());
    Some(config.located("delivery.state_dir", &text))
}
