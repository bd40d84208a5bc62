//! `typingd reload`: makes a running daemon read its configuration again, and prints what changed.

use std::io::{self, Write};
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Method;
use serde::Deserialize;

use super::client::{Remote, RemoteArgs};
use super::{Failure, block_on, note};
use crate::base::text::printable;

#[derive(Deserialize)]
struct Reloaded {
    changes: Vec<Changed>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Changed {
    key: String,
    old: Option<String>,
    new: Option<String>,
    takes_hold: String,
}

#[derive(Deserialize)]
struct Unchanged {
    problems: Vec<String>,
}

/// The daemon gives up after 20 s and says why; this is a little more.
const RELOAD_MAX: Duration = Duration::from_secs(25);

pub(super) fn run(args: &RemoteArgs) -> Result<(), Failure> {
    let remote = Remote::new(args)?;
    let request = remote.request(Method::POST, &["v1", "reload"]);
    let answer = block_on(remote.call_within(RELOAD_MAX, request))??;
    let reloaded: Reloaded = match (answer.status, serde_json::from_str(&answer.body)) {
        (StatusCode::OK, Ok(reloaded)) => reloaded,
        (StatusCode::UNPROCESSABLE_ENTITY, _) => match serde_json::from_str(&answer.body) {
            Ok(Unchanged { problems }) => {
                return Err(Failure::misconfigured(problems.iter().map(|problem| printable(problem)).collect()));
            }
            Err(_) => return Err(answer.refusal().into()),
        },
        _ => return Err(answer.refusal().into()),
    };
    for warning in &reloaded.warnings {
        note(&format!("warning: {}", printable(warning)));
    }
    let mut stdout = io::stdout().lock();
    for Changed { key, old, new, takes_hold } in &reloaded.changes {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        let later = if takes_hold == "now" { "" } else { " (at the next start)" };
        writeln!(stdout, "{}{later}", printable(&format!("{key}: {} -> {}", value(old), value(new))))?;
    }
    if reloaded.changes.is_empty() {
        writeln!(stdout, "nothing has changed: the configuration is what it was")?;
    }
    stdout.flush()?;
    Ok(())
}
