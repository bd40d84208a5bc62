//! `typingd timing`: the timing of a running daemon, shown and changed.

use super::{CHECK_INTERVAL, DISMISS_AFTER, Failure, block_on};
use crate::base::text::printable;
use crate::cli::client::{Remote, RemoteArgs};
use crate::config::{self, Flag, Keep, Report, Values};
use crate::model::ChannelAddress;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

#[derive(Debug, clap::Args)]
pub(super) struct TimingArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The channel that it is about, by its address; else it is the timing of all
    #[arg(long, value_name = "TO", value_parser = channel)]
    to: Option<ChannelAddress>,
    /// The check interval from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    check: Option<String>,
    /// The time after which the icon goes off from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    dismiss: Option<String>,
    /// How the icon goes off from now on: idle or after_shown
    #[arg(long, value_name = "MODE", help_heading = "Changes")]
    mode: Option<String>,
    /// The longest unbroken typing that is believed from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    max_typing: Option<String>,
    /// Take the channel's own timing away: it follows the timing of all from now on
    #[arg(long, requires = "to", conflicts_with_all = ["check", "dismiss", "mode", "max_typing"], help_heading = "Changes")]
    reset: bool,
    /// How it is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TimingFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TimingFormat {
    /// For people
    Table,
    /// As the daemon says it
    Json,
}

fn channel(text: &str) -> Result<ChannelAddress, String> {
    if matches!(text, "." | "..") {
        return Err("this one can't stand in the path of a URL; the file is its place".to_owned());
    }
    ChannelAddress::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(args: TimingArgs) -> Result<(), Failure> {
    let flag = |name, key, value: Option<String>| value.map(|value| Flag { name, key, value });
    let flags = [
        flag("--check", CHECK_INTERVAL, args.check),
        flag("--dismiss", DISMISS_AFTER, args.dismiss),
        flag("--mode", "timing.dismiss", args.mode),
        flag("--max-typing", "timing.max_typing", args.max_typing),
    ];
    let flags: Vec<Flag> = flags.into_iter().flatten().collect();
    let problems = config::flag_problems(&flags);
    if !problems.is_empty() {
        return Err(Failure::Usage(problems.iter().map(ToString::to_string).collect()));
    }
    let wish = match flags.is_empty() {
        _ if args.reset => Wish::Reset,
        true => Wish::Tell,
        false => {
            Wish::Set(flags.into_iter().map(|flag| (flag.key.replace("timing.", ""), flag.value.into())).collect())
        }
    };
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let told = block_on(ask(&remote, args.to.as_ref(), &wish))?.map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    match args.format {
        TimingFormat::Table => stdout.write_all(describe(&told.report, args.to.as_ref()).as_bytes())?,
        TimingFormat::Json => writeln!(stdout, "{}", told.json)?,
    }
    stdout.flush()?;
    Ok(())
}

/// What is wanted of the timing.
#[derive(Clone, Debug, PartialEq)]
enum Wish {
    /// To know it.
    Tell,
    /// That these keys have these values.
    Set(Map<String, Value>),
    /// That the channel follows the timing of all.
    Reset,
}

/// What the daemon said.
#[derive(Clone, Debug)]
struct Told {
    /// As it said it: JSON.
    json: String,
    /// What it means.
    report: Report,
}

/// Asks the daemon for `wish`, of the channel `to` or of all.
///
/// # Errors
/// One sentence: the daemon is out of reach, or does not do it, and why.
async fn ask(remote: &Remote, to: Option<&ChannelAddress>, wish: &Wish) -> Result<Told, String> {
    let path: Vec<_> = ["v1", "timing"].into_iter().chain(to.map(ChannelAddress::as_str)).collect();
    let request = match wish {
        // There is one answer for all channels.
        Wish::Tell => remote.request(Method::GET, &path[..2]),
        Wish::Reset => remote.request(Method::DELETE, &path),
        Wish::Set(keys) => {
            let body = serde_json::to_vec(keys).map_err(|e| e.to_string())?;
            remote.request(Method::PUT, &path).header(CONTENT_TYPE, "application/json").body(body)
        }
    };
    let answer = remote.call(request).await?;
    match serde_json::from_str(&answer.body) {
        Ok(report) if answer.status.is_success() => Ok(Told { json: answer.body, report }),
        _ => Err(answer.refusal()),
    }
}

/// For people: what has changed, or else what is in force, of the channel `to` or of all; and how to keep it.
#[must_use]
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

/// A line for each key; those that `own` has not are as in `all`.
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
