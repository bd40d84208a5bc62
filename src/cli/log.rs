//! `typingd log`: how much a running daemon logs, shown and changed.

use std::io::{self, Write};

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use super::client::{Remote, RemoteArgs};
use super::{Failure, block_on, note};
use crate::base::text::printable;

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// The new level: error, warn, info, debug or trace; without it, the level in force is printed
    #[arg(value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) fn run(args: &LogArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    let path = ["v1", "log"];
    let request = match &args.level {
        None => remote.request(Method::GET, &path),
        Some(level) => remote
            .request(Method::PUT, &path)
            .header(CONTENT_TYPE, "application/json")
            .body(json!({"level": level}).to_string()),
    };
    let (answer, _) = block_on(remote.json(request))??;
    let level =
        answer["level"].as_str().ok_or_else(|| format!("{} does not answer as typingd does", remote.place()))?;
    writeln!(io::stdout().lock(), "{}", printable(level))?;
    if args.level.is_some() {
        note("until the daemon restarts or reads its configuration again; log.level keeps it");
    }
    Ok(())
}
