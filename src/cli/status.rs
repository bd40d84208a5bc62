//! `typingd status`: how a running daemon is doing, in one look.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{AnswerFormat, Remote, RemoteArgs};
use super::{Failure, block_on};
use crate::base::duration::Written;
use crate::base::text::printable;
use crate::observe::typing::candidates::report::CandidateReport;

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: AnswerFormat,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    let (status, body) = block_on(remote.json(remote.request(Method::GET, &["v1", "status"])))??;
    Ok(args.format.print(&status, &body, describe)?)
}

/// A line for each thing that an operator asks first.
fn describe(status: &Value) -> String {
    let at = |path: &str| status.pointer(path).unwrap_or(&Value::Null);
    let text = |path: &str| at(path).as_str().map_or_else(|| at(path).to_string(), printable);
    let count = |path: &str| at(path).as_u64().unwrap_or(0);
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(lines, "{name:<15}{}", printable(&value));
    };
    let why = at("/why").as_str().map(|why| format!(": {why}")).unwrap_or_default();
    line("state", format!("{}{why}", text("/state").replace('_', " ")));
    let uptime = Written(Duration::from_secs(count("/uptime_ms") / 1_000));
    line("process", format!("typingd {}, pid {}, up for {uptime}", text("/version"), count("/pid")));
    let sandbox = if at("/sandbox") == true { " (the built-in sandbox)" } else { "" };
    line("upstream", format!("{}{sandbox}, token {}", text("/upstream/base_url"), text("/upstream/token")));
    let listening: Vec<_> = at("/listening").as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    line("listening", listening.join(", "));
    let recording = if at("/recording") == true { ", recording allowed" } else { "" };
    let drop_in = if at("/drop_in") == true { ", drop-in on" } else { "" };
    line("configuration", format!("{}{drop_in}{recording}{}", file(at("/configuration/file")), reload(status)));
    line(
        "conversations",
        format!(
            "{} in memory of {}, {} icons on, {} not settled yet",
            count("/conversations/in_memory"),
            count("/conversations/max"),
            count("/conversations/icons"),
            count("/conversations/unsettled")
        ),
    );
    line(
        "requests",
        format!(
            "{} in the last second of {} allowed{}, {} in flight of {}",
            count("/requests/in_last_second"),
            count("/requests/allowed_per_second"),
            no_share(status),
            count("/requests/in_flight"),
            count("/requests/max_in_flight")
        ),
    );
    line("deliveries", counted(at("/deliveries"), "delivered"));
    line("signals", counted(at("/signals"), "keystroke"));
    let quantiles = ["round_trip", "signal_to_wire", "timer_lateness"].into_iter().filter_map(|name| {
        let measured = at("/latency").get(format!("{name}_ms"))?;
        let [p50, p99] = ["p50", "p99"].map(|share| measured.get(share).and_then(Value::as_f64));
        Some(format!("{} {:.1} / {:.1} ms", name.replace('_', " "), p50?, p99?))
    });
    let quantiles: Vec<_> = quantiles.collect();
    line("p50 / p99", if quantiles.is_empty() { "nothing measured yet".to_owned() } else { quantiles.join(", ") });
    if at("/journal") != "none" {
        line("journal", text("/journal"));
    }
    if let Ok(Some(measured)) = Option::<CandidateReport>::deserialize(at("/candidates")) {
        let total = measured.total();
        let compared: Vec<_> = total.candidates.iter().filter_map(|candidate| total.compared(candidate)).collect();
        let typing = Written(Duration::from_secs(total.composing_s as u64));
        let figures = if compared.is_empty() { String::new() } else { format!(": {}", compared.join("; ")) };
        line("candidates", format!("{} on {typing} of typing{figures}", measured.timings.join(", ")));
    }
    if let Some([store, node]) = node_of_several(status) {
        line("store", store);
        line("node", node);
    }
    lines
}

/// Why no request may leave, where the others have it all: for a moment after the limit was lowered.
fn no_share(status: &Value) -> &'static str {
    if status.pointer("/store/requests_per_second").and_then(Value::as_u64) == Some(0) {
        " (the other typingd still have to give up some of theirs)"
    } else {
        ""
    }
}

/// How the store is, and as what it knows this typingd; `None` without one.
fn node_of_several(status: &Value) -> Option<[String; 2]> {
    let store = status.get("store").filter(|store| store.is_object())?;
    let count = |name: &str| store[name].as_u64().unwrap_or(0);
    let text = |name: &str| store[name].as_str().map(printable).unwrap_or_default();
    let problem = store["problem"].as_str().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    let differs: Vec<_> = store["differs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let differs = match differs.is_empty() {
        true => String::new(),
        false => format!("; another typingd has other values for {}", printable(&differs.join(" and "))),
    };
    // While the store answers, a heartbeat's time is no news.
    let members = match store["members_age_ms"].as_u64() {
        None => "how many typingd share it is not known yet".to_owned(),
        Some(..=MEMBERS_FRESH_MS) => format!("{} typingd", count("members")),
        Some(age) => format!("{} typingd {} ago", count("members"), Written(Duration::from_secs(age / 1_000))),
    };
    Some([
        format!(
            "{}{problem}; {members}, {} conversations are this one's, and {} requests a second{differs}",
            text("state").replace('_', " "),
            count("owned"),
            count("requests_per_second")
        ),
        format!(
            "{} of group {}, {} signals posted to other typingd, {} taken from them",
            text("node"),
            text("group"),
            count("posted"),
            count("received")
        ),
    ])
}

/// Members that are known for so long, in milliseconds, are said without their age: some heartbeats' time.
const MEMBERS_FRESH_MS: u64 = 2_000;

fn file(file: &Value) -> String {
    file.as_str().map_or_else(|| "no file".to_owned(), printable)
}

fn reload(status: &Value) -> String {
    match status.pointer("/configuration/last_reload/ok") {
        Some(Value::Bool(true)) => ", the last reload succeeded".to_owned(),
        Some(Value::Bool(false)) => ", the last reload failed: its log says why".to_owned(),
        _ => String::new(),
    }
}

/// The counts that are not zero, `first` in any case.
fn counted(counts: &Value, first: &str) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let shown = counts.filter(|(name, count)| *name == first || count.as_u64() != Some(0));
    let mut shown: Vec<_> =
        shown.map(|(name, count)| (name != first, format!("{count} {}", name.replace('_', " ")))).collect();
    shown.sort_by_key(|(later, _)| *later);
    shown.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}
