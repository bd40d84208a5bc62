//! `typingd replay`: a trace against a running daemon.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::client::{Remote, RemoteArgs};
use super::{Failure, block_on, progress};
use crate::base::clock::{self, Clock};
use crate::model::AT_MILLIS_MAX;
use crate::signals::trace::{TraceLine, TraceReader, TraceSignal};

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The trace
    trace: PathBuf,
    #[command(flatten)]
    remote: RemoteArgs,
    /// How many times faster than it was recorded
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1_000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    let summary = block_on(replay(&remote, args))??;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &summary).map_err(io::Error::from)?;
    writeln!(stdout)?;
    match summary.rejected {
        0 => Ok(()),
        n => Err(format!("the daemon rejected {n} of {} signals", summary.signals).into()),
    }
}

/// Signals sent in one request, when many are due because the daemon or the network was slow.
const SIGNALS_MAX: usize = 1_000;

/// The result of a replay.
#[derive(Debug, Default, Serialize)]
struct Summary {
    signals: u64,
    accepted: u64,
    rejected: u64,
    conversations: usize,
    elapsed_ms: u64,
}

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    #[serde(default)]
    rejected: Vec<serde::de::IgnoredAny>,
    rejected_total: Option<u64>,
}

/// Plays the trace. Its signals keep their order; each is sent at its time, or as soon after as the daemon allows.
async fn replay(remote: &Remote, args: &ReplayArgs) -> Result<Summary, Failure> {
    let signals: Result<Vec<TraceSignal>, _> = TraceReader::open(&args.trace).and_then(Iterator::collect);
    let signals = signals.map_err(|e| e.to_string())?;
    let conversations = signals.iter().map(|s| &s.conversation).collect::<HashSet<_>>().len();
    let mut summary = Summary { signals: signals.len() as u64, conversations, ..Summary::default() };
    let progress = progress(signals.len(), "signals");
    let clock = Clock::start();
    let (start, wall) = (clock.now(), clock::wall_millis());
    let origin = signals.first().map_or(0, |first| first.at);
    let due = |signal: &TraceSignal| start + Duration::from_millis(signal.at - origin).div_f64(args.speed);
    let mut rest = &signals[..];
    while let Some(first) = rest.first() {
        clock.sleep_until(due(first)).await;
        let now = clock.now();
        let ready = rest.iter().take(SIGNALS_MAX).take_while(|signal| due(signal) <= now).count();
        let (batch, later) = rest.split_at(ready);
        let answer = send(remote, batch, wall, origin).await?;
        summary.accepted += answer.accepted;
        summary.rejected += answer.rejected_total.unwrap_or(answer.rejected.len() as u64);
        progress.inc(batch.len() as u64);
        rest = later;
    }
    progress.finish_and_clear();
    summary.elapsed_ms = u64::try_from(clock.now().since(start).as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

async fn send(remote: &Remote, batch: &[TraceSignal], wall: u64, origin: u64) -> Result<Answer, Failure> {
    let lines: Vec<_> = batch
        .iter()
        .map(|signal| {
            // Not divided by the speed: what is later in the trace must not become simultaneous.
            let at = (wall + (signal.at - origin)).min(AT_MILLIS_MAX);
            TraceLine::new(signal.conversation.as_ref(), signal.signal, at)
        })
        .collect();
    let body = serde_json::to_vec(&lines).map_err(|e| e.to_string())?;
    let request = remote.request(Method::POST, &["v1", "signals"]).header(CONTENT_TYPE, "application/json");
    let answer = remote.call(request.body(body)).await?;
    // A batch that is rejected as a whole is a problem with the same members.
    serde_json::from_str(&answer.body).map_err(|_| answer.refusal().into())
}
