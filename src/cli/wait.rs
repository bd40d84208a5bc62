//! `typingd wait`: waits until a daemon is ready to deliver, even one that has not been started yet.

use std::io::{self, Write};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::client::{Remote, RemoteArgs};
use super::{Failure, block_on, note};
use crate::base::clock;
use crate::base::duration::{self, Written};
use crate::base::text::printable;

/// How often the daemon is asked.
const LOOK_SPACING: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// The longest wait
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = span)]
    span: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "expected a time such as 30s or 5m".to_owned())
}

pub(super) fn run(args: &WaitArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    block_on(wait(&remote, args.span))??;
    writeln!(io::stdout().lock(), "ready")?;
    Ok(())
}

async fn wait(remote: &Remote, span: Duration) -> Result<(), Failure> {
    let end = clock::timer_after(span);
    let mut printed = String::new();
    loop {
        // The first attempt is made in any case, and each has the time that is left.
        let look = tokio::time::timeout_at(end.max(clock::timer_after(LOOK_SPACING)), look(remote)).await;
        let why = match look {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(_) if printed.is_empty() => format!("{} does not answer", remote.place()),
            Err(_) => printed.clone(),
        };
        if clock::timer_after(LOOK_SPACING) >= end {
            return Err(format!("not ready within {}: {why}", Written(span)).into());
        }
        if why != printed {
            note(&format!("waiting: {why}"));
            printed = why;
        }
        tokio::time::sleep(LOOK_SPACING).await;
    }
}

/// Why the daemon is not ready; `None` when it is.
async fn look(remote: &Remote) -> Option<String> {
    #[derive(Deserialize)]
    struct Ready {
        status: String,
    }
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let answer = match remote.call(remote.request(Method::GET, &["readyz"])).await {
        Ok(answer) => answer,
        Err(why) => return Some(printable(&why.to_string())),
    };
    match answer.status {
        StatusCode::OK if serde_json::from_str(&answer.body).is_ok_and(|ready: Ready| ready.status == "ready") => None,
        StatusCode::OK => Some(format!("{} answers, and is not typingd", remote.place())),
        StatusCode::SERVICE_UNAVAILABLE => match serde_json::from_str(&answer.body) {
            Ok(Problem { detail }) => Some(printable(&format!("not ready: {detail}"))),
            Err(_) => Some(answer.refusal()),
        },
        _ => Some(answer.refusal()),
    }
}
