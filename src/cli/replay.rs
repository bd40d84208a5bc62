//! `typingd replay`: a trace against a running daemon.

use super::{Failure, block_on};
use crate::base::clock::{self, Clock};
use crate::cli::client::{Remote, RemoteArgs};
use crate::model::AT_MILLIS_MAX;
use crate::signals::trace::{TraceLine, TraceReader, TraceSignal};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    let summary = block_on(replay(&job))?.map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &summary).map_err(io::Error::from)?;
    writeln!(stdout)?;
    match summary.rejected {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("the daemon did not take {n} of {} signals", summary.signals))),
    }
}

/// Signals sent in one request, when the daemon or the network was slow and many have fallen due.
const SIGNALS_MAX: usize = 1_000;

/// What came of a replay.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Signals of the trace.
    signals: u64,
    /// Signals that the daemon took.
    accepted: u64,
    /// Signals that it did not take.
    rejected: u64,
    /// Conversations of the trace.
    conversations: usize,
    /// How long it took, in milliseconds.
    elapsed_ms: u64,
}

/// What to play where.
#[derive(Debug)]
struct Replay<'a> {
    /// The trace; it is read to its end before anything is sent.
    trace: &'a Path,
    /// The daemon.
    remote: &'a Remote,
    /// Twice as fast is 2.
    speed: f64,
}

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    #[serde(default)]
    rejected: Vec<serde::de::IgnoredAny>,
    rejected_total: Option<u64>,
}

/// Plays the trace. The order of its signals is kept; each leaves at its time, or as soon after as the daemon lets it.
///
/// # Errors
/// One sentence: the trace's first fault, or why the daemon could not be spoken to.
async fn replay(job: &Replay<'_>) -> Result<Summary, String> {
    let signals: Vec<TraceSignal> =
        TraceReader::open(job.trace).and_then(Iterator::collect).map_err(|e| e.to_string())?;
    let mut summary = Summary { signals: signals.len() as u64, ..Summary::default() };
    summary.conversations = signals.iter().map(|s| &s.conversation).collect::<std::collections::HashSet<_>>().len();
    let progress = progress(&signals);
    let clock = Clock::start();
    let (start, wall) = (clock.now(), clock::wall_millis());
    let origin = signals.first().map_or(0, |first| first.at);
    let due = |signal: &TraceSignal| start + Duration::from_millis(signal.at - origin).div_f64(job.speed);
    let mut rest = &signals[..];
    while let Some(first) = rest.first() {
        clock.sleep_until(due(first)).await;
        let now = clock.now();
        let ready = rest.iter().take(SIGNALS_MAX).take_while(|signal| due(signal) <= now).count();
        let (batch, later) = rest.split_at(ready);
        let answer = send(job.remote, batch, wall, origin).await?;
        summary.accepted += answer.accepted;
        summary.rejected += answer.rejected_total.unwrap_or(answer.rejected.len() as u64);
        progress.inc(batch.len() as u64);
        rest = later;
    }
    progress.finish_and_clear();
    summary.elapsed_ms = u64::try_from(clock.now().since(start).as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

async fn send(remote: &Remote, batch: &[TraceSignal], wall: u64, origin: u64) -> Result<Answer, String> {
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
    // A batch of which nothing was taken is told as a problem, with the same members.
    serde_json::from_str(&answer.body).map_err(|_| answer.refusal())
}

/// A bar on a terminal, nothing elsewhere.
fn progress(signals: &[TraceSignal]) -> ProgressBar {
    let bar = ProgressBar::new(signals.len() as u64);
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {pos}/{len} signals, {eta} to go");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
