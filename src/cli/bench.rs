//! `typingd bench`: typing people against a running daemon, and what it made of them: throughput, latency, lateness, memory,
//! processor time.
//!
//! It takes a daemon with a sandbox: on a real org each made-up end user would have a messaging session created.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::{Host, Url};

use super::client::{AnswerFormat, Remote, RemoteArgs};
use super::interrupt::Interrupt;
use super::{Failure, block_on, note};
use crate::base::clock;
use crate::base::duration::{self, Written};
use crate::observe::histogram::Latencies;
use crate::tune::typist::Typist;

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// How many people type at a time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=TYPISTS_MAX))]
    typists: u32,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = span)]
    span: Duration,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: AnswerFormat,
}

fn span(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| (SPAN_MIN..=SPAN_MAX).contains(span));
    span.ok_or_else(|| "expected a time from 100ms to 1h, such as 30s".to_owned())
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    typists: u32,
    elapsed_ms: u64,
    signals: u64,
    rejected: u64,
    signals_per_second: f64,
    /// Of the calls with signals, as this command sees them.
    answer_ms: Option<Quantiles>,
    /// How late signals left here: beyond some milliseconds this machine is the bottleneck.
    sent_late_ms: Option<Quantiles>,
    indicators_delivered: u64,
    indicators_per_second: f64,
    /// Of the daemon in this time, whatever it did before.
    signal_to_wire_ms: Option<Quantiles>,
    round_trip_ms: Option<Quantiles>,
    timer_lateness_ms: Option<Quantiles>,
    resident_bytes: Option<f64>,
    /// Processors that the daemon kept busy.
    processors: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

/// How the daemon is doing at a moment.
struct Reading {
    status: Value,
    metrics: String,
}

/// What one worker counted.
#[derive(Default)]
struct Counted {
    signals: u64,
    rejected: u64,
    answer: Latencies,
    late: Latencies,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let remote = Arc::new(Remote::new(&args.remote)?);
    let report = block_on(measure(&remote, args))??;
    let mut stdout = io::stdout().lock();
    match args.format {
        AnswerFormat::Text => stdout.write_all(describe(&report).as_bytes())?,
        AnswerFormat::Json => {
            serde_json::to_writer(&mut stdout, &report).map_err(io::Error::from)?;
            writeln!(stdout)?;
        }
    }
    stdout.flush()?;
    match report.rejected {
        // In less time the first ones may still be under way.
        0 if report.elapsed_ms >= 1_000 && report.signals > 0 && report.indicators_delivered == 0 => {
            Err("the daemon delivered no indicator; `typingd status` tells why".into())
        }
        0 => Ok(()),
        n => Err(format!("the daemon rejected {n} of {} signals", report.signals).into()),
    }
}

async fn measure(remote: &Arc<Remote>, args: &BenchArgs) -> Result<Report, Failure> {
    let before = Reading::take(remote).await?;
    before.must_be_a_sandbox()?;
    note(&format!("{} people type for {}", args.typists, Written(args.span)));
    let mut interrupt = Interrupt::watch()?;
    let stopwatch = clock::stopwatch();
    let end = clock::timer_after(args.span);
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS.min(args.typists) {
        let typists = (worker..args.typists).step_by(WORKERS as usize).collect();
        workers.spawn(type_on(Arc::clone(remote), typists, end));
    }
    let mut all = Vec::new();
    loop {
        tokio::select! {
            done = workers.join_next() => match done {
                None => break,
                Some(counted) => all.push(counted.map_err(|error| error.to_string())??),
            },
            _ = interrupt.next() => return Err("interrupted; icons go off by themselves".into()),
        }
    }
    let elapsed = stopwatch.elapsed();
    let after = Reading::take(remote).await?;
    Ok(Report::new(args.typists, elapsed, &all, &before, &after))
}

/// Lets these typists type until `end`, and ends their conversations, so that no icon stays on.
async fn type_on(remote: Arc<Remote>, typists: Vec<u32>, end: tokio::time::Instant) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    let mut people: Vec<_> = typists.iter().map(|number| (Typist::new(u64::from(*number)), 0)).collect();
    let start = clock::timer_after(Duration::ZERO);
    // Nobody begins in the same instant as everybody else.
    let first = |(index, number): (usize, &u32)| {
        let offset = Duration::from_millis(u64::from(*number) * 7_919 % START_SPREAD_MILLIS);
        Reverse((start + offset, index))
    };
    let mut queue: BinaryHeap<_> = typists.iter().enumerate().map(first).collect();
    let mut batch = Vec::new();
    while let Some(Reverse((due, _))) = queue.peek().copied()
        && due < end
    {
        tokio::time::sleep_until(due).await;
        let now = clock::timer_after(Duration::ZERO);
        while let Some(Reverse((due, index))) = queue.peek().copied()
            && due <= now
            && batch.len() < SIGNALS_MAX
        {
            queue.pop();
            counted.late.add(now.duration_since(due));
            let (typist, keys_left) = &mut people[index];
            let (kind, gap) = match *keys_left {
                0 => {
                    *keys_left = typist.keys();
                    ("keystroke", typist.gap())
                }
                1 => {
                    *keys_left = 0;
                    (if typist.gives_up() { "stopped" } else { "message_sent" }, typist.rest())
                }
                _ => {
                    *keys_left -= 1;
                    ("keystroke", typist.gap())
                }
            };
            batch.push(signal(typists[index], kind));
            queue.push(Reverse((now + Duration::from_millis(gap), index)));
        }
        send(&remote, std::mem::take(&mut batch), &mut counted).await?;
    }
    for some in typists.chunks(SIGNALS_MAX) {
        let ended = some.iter().map(|number| signal(*number, "ended")).collect();
        send(&remote, ended, &mut counted).await?;
    }
    Ok(counted)
}

fn signal(typist: u32, kind: &str) -> Value {
    json!({"to": CHANNEL, "from": format!("typist-{typist}"), "signal": kind})
}

async fn send(remote: &Remote, batch: Vec<Value>, counted: &mut Counted) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Answer {
        accepted: u64,
    }
    let signals = batch.len() as u64;
    let request = remote.request(Method::POST, &["v1", "signals"]).header(CONTENT_TYPE, "application/json");
    let stopwatch = clock::stopwatch();
    let answer = remote.call(request.body(Value::Array(batch).to_string())).await?;
    counted.answer.add(stopwatch.elapsed());
    // A batch that is rejected as a whole is a problem with the same members.
    let Answer { accepted } = serde_json::from_str(&answer.body).map_err(|_| answer.refusal())?;
    counted.signals += signals;
    counted.rejected += signals.saturating_sub(accepted);
    Ok(())
}

impl Reading {
    async fn take(remote: &Remote) -> Result<Self, Failure> {
        let (status, _) = remote.json(remote.request(Method::GET, &["v1", "status"])).await?;
        let metrics = remote.call(remote.request(Method::GET, &["metrics"])).await?;
        if !metrics.status.is_success() {
            return Err(metrics.refusal().into());
        }
        Ok(Self { status, metrics: metrics.body })
    }

    fn must_be_a_sandbox(&self) -> Result<(), Failure> {
        let base_url = self.status["upstream"]["base_url"].as_str().unwrap_or_default();
        let here = Url::parse(base_url).ok().is_some_and(|url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            None => false,
        });
        if here || self.status["sandbox"] == true {
            return Ok(());
        }
        Err(Failure::from(format!(
            "the daemon delivers to {base_url}, where each made-up end user would have a messaging session created; expected \
             one with a sandbox (typingd run --sandbox)"
        )))
    }

    fn delivered(&self) -> u64 {
        self.status["deliveries"]["delivered"].as_u64().unwrap_or(0)
    }

    /// The value of a metric without labels.
    fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// What the histogram `name`, without labels, counted up to each of its bounds, and in all.
    fn buckets(&self, name: &str) -> Vec<u64> {
        let start = format!("{name}_bucket{{le=\"");
        let lines = self.metrics.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
        lines.filter_map(|(_, count)| count.trim().parse().ok()).collect()
    }
}

impl Report {
    fn new(typists: u32, elapsed: Duration, all: &[Counted], before: &Reading, after: &Reading) -> Self {
        let seconds = elapsed.as_secs_f64();
        let signals = all.iter().map(|counted| counted.signals).sum();
        let delivered = after.delivered().saturating_sub(before.delivered());
        let latency = |name: &str| quantiles([latencies_between(&before.buckets(name), &after.buckets(name))?].iter());
        let cpu = |reading: &Reading| reading.metric("process_cpu_seconds_total");
        let busy = cpu(after).zip(cpu(before)).map(|(after, before)| (after - before) / seconds);
        Self {
            typists,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            signals,
            rejected: all.iter().map(|counted| counted.rejected).sum(),
            signals_per_second: rounded(signals as f64 / seconds),
            answer_ms: quantiles(all.iter().map(|counted| &counted.answer)),
            sent_late_ms: quantiles(all.iter().map(|counted| &counted.late)),
            indicators_delivered: delivered,
            indicators_per_second: rounded(delivered as f64 / seconds),
            signal_to_wire_ms: latency("typingd_signal_to_wire_seconds"),
            round_trip_ms: latency("typingd_request_seconds"),
            timer_lateness_ms: latency("typingd_timer_lateness_seconds"),
            resident_bytes: after.metric("process_resident_memory_bytes"),
            processors: busy.map(|busy| (busy * 1e3).round() / 1e3),
        }
    }
}

/// What was counted between two readings of a histogram; `None` if they are not of this build's bounds.
fn latencies_between(before: &[u64], after: &[u64]) -> Option<Latencies> {
    let mut between = Latencies::default();
    let places = between.counts.len() + 1;
    if before.len() != places || after.len() != places {
        return None;
    }
    let mut below = 0;
    for (place, (before, after)) in before.iter().zip(after).enumerate() {
        let up_to = after.saturating_sub(*before);
        *between.counts.get_mut(place).unwrap_or(&mut between.beyond) = up_to.saturating_sub(below);
        below = below.max(up_to);
    }
    Some(between)
}

/// The worst of the workers: they share the work evenly, and the slowest is what a caller may meet.
fn quantiles<'a>(all: impl Iterator<Item = &'a Latencies>) -> Option<Quantiles> {
    let millis = |latencies: &Latencies, share| Some(rounded(latencies.quantile(share)?.as_secs_f64() * 1e3));
    let each = all.filter_map(|one| Some((millis(one, 0.5)?, millis(one, 0.99)?)));
    each.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).map(|(p50, p99)| Quantiles { p50, p99 })
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn describe(report: &Report) -> String {
    let own = |quantiles: &Option<Quantiles>| match quantiles {
        Some(Quantiles { p50, p99 }) => format!("p50 {p50} ms, p99 {p99} ms"),
        None => "not measured".to_owned(),
    };
    let memory =
        report.resident_bytes.map_or_else(|| "not known".to_owned(), |bytes| format!("{:.1} MiB", bytes / MIB));
    let processors = report.processors.map_or_else(|| "not known".to_owned(), |busy| format!("{busy:.2} processors"));
    [
        ("typists", format!("{} for {:.1} s", report.typists, report.elapsed_ms as f64 / 1e3)),
        (
            "signals",
            format!("{}, {} a second, {} rejected", report.signals, report.signals_per_second, report.rejected),
        ),
        ("answers", own(&report.answer_ms)),
        ("sent late", own(&report.sent_late_ms)),
        ("indicators", format!("{} delivered, {} a second", report.indicators_delivered, report.indicators_per_second)),
        ("signal to wire", own(&report.signal_to_wire_ms)),
        ("round trip", own(&report.round_trip_ms)),
        ("timer lateness", own(&report.timer_lateness_ms)),
        ("memory", memory),
        ("CPU", processors),
    ]
    .map(|(name, value)| format!("{name:<16}{value}\n"))
    .concat()
}

/// The channel address of all typists.
const CHANNEL: &str = "bench";
/// Calls at a time: as many as the connections of a busy connector.
const WORKERS: u32 = 8;
/// Signals in one call, when many are due.
const SIGNALS_MAX: usize = 1_000;
/// The first keys of all typists fall within this time.
const START_SPREAD_MILLIS: u64 = 1_000;
/// As many conversations as a daemon holds by default.
const TYPISTS_MAX: i64 = 1_000_000;
const SPAN_MIN: Duration = Duration::from_millis(100);
const SPAN_MAX: Duration = Duration::from_secs(3_600);
const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_did_before_is_not_measured() {
        let reading = |counts: [u64; 17]| {
            let bucket =
                |(place, count): (usize, &u64)| format!("typingd_request_seconds_bucket{{le=\"{place}\"}} {count}\n");
            let metrics = counts.iter().enumerate().map(bucket).collect();
            Reading { status: Value::Null, metrics }
        };
        // Ten slow requests, and then a hundred of 5 to 10 ms.
        let mut counts = [0; 17];
        counts[15..].fill(10);
        let before = reading(counts);
        counts[6..15].fill(100);
        counts[15..].fill(110);
        let after = reading(counts);
        let name = "typingd_request_seconds";
        let between = latencies_between(&before.buckets(name), &after.buckets(name)).unwrap();
        assert_eq!(between.count(), 100);
        assert_eq!(quantiles([between].iter()).map(|all| (all.p50, all.p99)), Some((7.5, 10.0)));
        assert!(latencies_between(&before.buckets("typingd_other_seconds"), &after.buckets(name)).is_none());
    }
}
