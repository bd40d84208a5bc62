//! `typingd timing`: the timing of a running daemon, told and changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use crate::client::Remote;
use crate::config::{Keep, Report, Values};
use crate::model::ChannelAddress;

/// What is wanted of the timing.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// To know it.
    Tell,
    /// That these keys have these values.
    Set(Map<String, Value>),
    /// That the channel follows the timing of all.
    Reset,
}

/// What the daemon said.
#[derive(Clone, Debug)]
pub struct Told {
    /// As it said it: JSON.
    pub json: String,
    /// What it means.
    pub report: Report,
}

/// Asks the daemon for `wish`, of the channel `to` or of all.
///
/// # Errors
/// One sentence: the daemon is out of reach, or does not do it, and why.
pub async fn ask(remote: &Remote, to: Option<&ChannelAddress>, wish: &Wish) -> Result<Told, String> {
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
pub fn describe(report: &Report, to: Option<&ChannelAddress>) -> String {
    let mut text = String::new();
    match &report.changed {
        Some(changed) if changed.is_empty() => text.push_str("nothing has changed: it was so already\n"),
        Some(changed) => {
            let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "(as for all)".to_owned(), shown);
            for changed in changed {
                let _ = writeln!(text, "{}: {} -> {}", plain(&changed.key), value(&changed.old), value(&changed.new));
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
        let _ = writeln!(text, "  {:<16}{:<13}{}", plain(key), shown(value), plain(origin));
    }
}

fn how_to_keep(keep: &Keep, text: &mut String) {
    text.push_str("A restart or a SIGHUP undoes what was changed while running. To keep it");
    if !keep.toml.is_empty() {
        let file = keep.file.as_deref().map_or_else(|| "the configuration file".to_owned(), plain);
        let _ = write!(text, ", write to {file}:\n\n");
        for line in keep.toml.lines() {
            let gap = if line.is_empty() { "" } else { "    " };
            let _ = writeln!(text, "{gap}{}", plain(line));
        }
    } else {
        text.push_str(":\n");
    }
    let gap = if keep.notes.is_empty() { "" } else { "\n" };
    text.push_str(gap);
    for note in &keep.notes {
        let _ = writeln!(text, "- {}", plain(note));
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| plain(&value.to_string()), plain)
}

/// Without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
