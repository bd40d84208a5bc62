//! `typingd timing`: the timing of a running daemon, shown and changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::client::{Remote, RemoteArgs};
use super::{CHECK_INTERVAL, DISMISS_AFTER, Failure, block_on, candidates, timing_flags};
use crate::base::clock::wall_millis;
use crate::base::text::printable;
use crate::config::{self, Keep, Report, Values};
use crate::model::ChannelAddress;
use crate::observe::typing::candidates::report::CandidateReport;

#[derive(Debug, clap::Args)]
pub(super) struct TimingArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// One channel, by its address; without it, all channels
    #[arg(long, value_name = "TO", value_parser = channel)]
    to: Option<ChannelAddress>,
    /// The new check interval
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    check: Option<String>,
    /// The new time after which the icon goes off
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    dismiss: Option<String>,
    /// The new mode: idle or after_shown
    #[arg(long, value_name = "MODE", help_heading = "Changes")]
    mode: Option<String>,
    /// The new longest unbroken typing
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    max_typing: Option<String>,
    /// Undo all that was changed while running, and end the measuring of candidates; with --to: remove the channel's own timing, so that it follows all channels
    #[arg(long, conflicts_with_all = ["check", "dismiss", "mode", "max_typing"], help_heading = "Changes")]
    reset: bool,
    /// Measure this timing beside the one in force, on live traffic, without using it: MODE CHECK/DISMISS, such as 'idle 10s/5s'. Up
    /// to three; none ends it. Without this option, what is measured is shown
    #[arg(long = "try", value_name = "TIMING", conflicts_with_all = ["to", "check", "dismiss", "mode", "max_typing", "reset"], help_heading = "Candidates")]
    candidates: Vec<String>,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TimingFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TimingFormat {
    /// For people
    Table,
    /// As the daemon sends it
    Json,
}

/// What the daemon answers.
#[derive(serde::Deserialize)]
struct Said {
    #[serde(flatten)]
    report: Report,
    /// A daemon of an earlier version has none.
    #[serde(default)]
    candidates: Option<CandidateReport>,
}

fn channel(text: &str) -> Result<ChannelAddress, String> {
    if matches!(text, "." | "..") {
        return Err("it can't be part of a URL's path; set its timing in the file".to_owned());
    }
    ChannelAddress::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(args: TimingArgs) -> Result<(), Failure> {
    let flags = timing_flags([
        ("--check", CHECK_INTERVAL, args.check),
        ("--dismiss", DISMISS_AFTER, args.dismiss),
        ("--mode", "timing.dismiss", args.mode),
        ("--max-typing", "timing.max_typing", args.max_typing),
    ]);
    let problems = config::flag_problems(&flags);
    if !problems.is_empty() {
        return Err(Failure::usage(problems.iter().map(ToString::to_string).collect()));
    }
    let changes = flags.into_iter().map(|flag| (flag.key.replace("timing.", ""), flag.value.into()));
    let changes: Map<String, Value> = changes.collect();
    if !args.candidates.is_empty() {
        return candidates::measure(&Remote::new(&args.remote)?, &args.candidates, args.format == TimingFormat::Json);
    }
    let remote = Remote::new(&args.remote)?;
    let path: Vec<_> = ["v1", "timing"].into_iter().chain(args.to.as_ref().map(ChannelAddress::as_str)).collect();
    let request = if args.reset {
        remote.request(Method::DELETE, &path)
    } else if changes.is_empty() {
        // One response has all channels.
        remote.request(Method::GET, &path[..2])
    } else {
        let body = Value::Object(changes).to_string();
        remote.request(Method::PUT, &path).header(CONTENT_TYPE, "application/json").body(body)
    };
    let answer = block_on(remote.call(request))??;
    let said: Said = match serde_json::from_str(&answer.body) {
        Ok(said) if answer.status.is_success() => said,
        _ => return Err(answer.refusal().into()),
    };
    let mut stdout = io::stdout().lock();
    match args.format {
        TimingFormat::Table => {
            let mut text = describe(&said.report, args.to.as_ref());
            if let Some(measured) = said.candidates.filter(|_| said.report.changed.is_none()) {
                let to = args.to.as_ref().map(ChannelAddress::as_str);
                text.push_str(&candidates::describe(&measured, to, wall_millis()));
            }
            stdout.write_all(text.as_bytes())?;
        }
        TimingFormat::Json => writeln!(stdout, "{}", answer.body)?,
    }
    stdout.flush()?;
    Ok(())
}

/// For people: what changed, or else the timing in force, of the channel `to` or of all; and how to keep it.
fn describe(report: &Report, to: Option<&ChannelAddress>) -> String {
    let mut text = String::new();
    match &report.changed {
        Some(changed) if changed.is_empty() => text.push_str("nothing has changed: it was so already\n"),
        Some(changed) => {
            let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "(as for all)".to_owned(), shown);
            for changed in changed {
                let _ =
                    writeln!(text, "{}: {} -> {}", printable(&changed.key), value(&changed.old), value(&changed.new));
            }
        }
        None => in_force(report, to, &mut text),
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    text.push('\n');
    match &report.keep {
        None => text.push_str("All that is in force survives a restart.\n"),
        Some(keep) => how_to_keep(keep, &mut text),
    }
    text
}

fn in_force(report: &Report, to: Option<&ChannelAddress>, text: &mut String) {
    let nothing = (Values::new(), BTreeMap::new());
    if to.is_none() {
        text.push_str("all channels\n");
        rows(&report.timing, &report.origins.timing, None, text);
    }
    let mut channels: Vec<_> = report.channels.keys().map(String::as_str).collect();
    if let Some(to) = to {
        channels = vec![to.as_str()];
    }
    for channel in channels {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}channel {channel:?}");
        let own = report.channels.get(channel).unwrap_or(&nothing.0);
        let origins = report.origins.channels.get(channel).unwrap_or(&nothing.1);
        rows(own, origins, Some(&report.timing), text);
    }
}

/// A line for each key; those that `own` lacks are as in `all`.
fn rows(own: &Values, origins: &BTreeMap<String, String>, all: Option<&Values>, text: &mut String) {
    for (key, value) in all.unwrap_or(own) {
        let (value, origin) = match own.get(key) {
            Some(own) => (own, origins.get(key).map_or("", String::as_str)),
            None => (value, "as for all"),
        };
        let _ = writeln!(text, "  {:<16}{:<13}{}", printable(key), shown(value), printable(origin));
    }
}

fn how_to_keep(keep: &Keep, text: &mut String) {
    text.push_str("A restart or a SIGHUP undoes what was changed while running. To keep it");
    if !keep.toml.is_empty() {
        let file = keep.file.as_deref().map_or_else(|| "the configuration file".to_owned(), printable);
        let _ = write!(text, ", write to {file}:\n\n");
        for line in keep.toml.lines() {
            let gap = if line.is_empty() { "" } else { "    " };
            let _ = writeln!(text, "{gap}{}", printable(line));
        }
    } else {
        text.push_str(":\n");
    }
    let gap = if keep.notes.is_empty() { "" } else { "\n" };
    text.push_str(gap);
    for note in &keep.notes {
        let _ = writeln!(text, "- {}", printable(note));
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| printable(&value.to_string()), printable)
}
