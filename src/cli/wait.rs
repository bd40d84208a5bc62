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
    /// Only until it is alive, whether or not it can deliver
    #[arg(long)]
    alive: bool,
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
    let goal = if args.alive { &ALIVE } else { &READY };
    block_on(wait(&remote, goal, args.span))??;
    writeln!(io::stdout().lock(), "{}", goal.status)?;
    Ok(())
}

/// What is waited for.
struct Goal {
    path: &'static str,
    /// What the daemon says once it is reached.
    status: &'static str,
}

const READY: Goal = Goal { path: "readyz", status: "ready" };
const ALIVE: Goal = Goal { path: "healthz", status: "alive" };

async fn wait(remote: &Remote, goal: &Goal, span: Duration) -> Result<(), Failure> {
    let end = clock::timer_after(span);
    let mut printed = String::new();
    loop {
        // The first attempt is made in any case, and each has the time that is left.
        let look = tokio::time::timeout_at(end.max(clock::timer_after(LOOK_SPACING)), look(remote, goal)).await;
        let why = match look {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(_) if printed.is_empty() => format!("{} does not answer", remote.place()),
            Err(_) => printed.clone(),
        };
        if clock::timer_after(LOOK_SPACING) >= end {
            return Err(format!("not {} within {}: {why}", goal.status, Written(span)).into());
        }
        if why != printed {
            note(&format!("waiting: {why}"));
            printed = why;
        }
        tokio::time::sleep(LOOK_SPACING).await;
    }
}

/// Why the daemon is not there yet; `None` when it is.
async fn look(remote: &Remote, goal: &Goal) -> Option<String> {
    #[derive(Deserialize)]
    struct Reached {
        status: String,
    }
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let answer = match remote.call(remote.request(Method::GET, &[goal.path])).await {
        Ok(answer) => answer,
        Err(why) => return Some(printable(&why.to_string())),
    };
    match answer.status {
        StatusCode::OK
            if serde_json::from_str(&answer.body).is_ok_and(|reached: Reached| reached.status == goal.status) =>
        {
            None
        }
        StatusCode::OK => Some(format!("{} answers, and is not typingd", remote.place())),
        StatusCode::SERVICE_UNAVAILABLE => match serde_json::from_str(&answer.body) {
            Ok(Problem { detail }) => Some(printable(&format!("not {}: {detail}", goal.status))),
            Err(_) => Some(answer.refusal()),
        },
        _ => Some(answer.refusal()),
    }
}
