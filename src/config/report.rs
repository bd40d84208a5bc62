//! The timing in force, as it is reported: each value, its origin, and what a restart would undo.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::environment::FILE_VARIABLE;
use super::keys::{KEYS, Key};
use super::layers::{FILE_DEFAULT, Layers, Scope, Setting};
use super::value::Value;
use super::warnings::timing_warnings;
use super::{Config, Origin, TIMING, channel_table};
use crate::base::text::printable;
use crate::model::ChannelAddress;

/// Notes reported in full; further ones are counted.
const NOTES_MAX: usize = 100;

/// The values of keys by their names, written as in the file.
pub type Values = BTreeMap<String, serde_json::Value>;

/// The timing in force.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Report {
    /// The timing of all channels.
    pub timing: Values,
    /// What single channels have of their own; in all else they follow the timing of all.
    pub channels: BTreeMap<String, Values>,
    /// Where each value comes from.
    pub origins: Origins,
    /// Whether a restart, or a SIGHUP, would leave all of it as it is.
    pub survives_restart: bool,
    /// How to keep what a restart would undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// What this timing does badly, in the words of `typingd check`.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What was just changed; `None` if no change was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<Changed>>,
}

/// Where each value comes from: `FILE:LINE`, an environment variable, the default, or a change of the running daemon.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Origins {
    /// Of the timing of all channels.
    pub timing: BTreeMap<String, String>,
    /// Of what single channels have of their own.
    pub channels: BTreeMap<String, BTreeMap<String, String>>,
}

/// How to keep what is in force.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Keep {
    /// The file that was read, as it was named; `None` if there was none.
    pub file: Option<String>,
    /// What to write into it.
    pub toml: String,
    /// What else there is to do, a sentence each.
    pub notes: Vec<String>,
}

/// A value that has been changed. What is not set is as for all channels.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Changed {
    /// As in the file: `timing.check_interval`, `channels."a".dismiss_after`.
    pub key: String,
    /// What it was.
    pub old: Option<serde_json::Value>,
    /// What it is.
    pub new: Option<serde_json::Value>,
}

impl Config {
    /// The timing in force, and where it comes from.
    pub fn timing(&self) -> Report {
        let values = |scope: &Scope| set(scope).map(|(key, s)| (key.name().to_owned(), as_json(s))).collect();
        let origins = |scope: &Scope| {
            set(scope).map(|(key, setting)| (key.name().to_owned(), printable(&setting.origin.to_string()))).collect()
        };
        let channels = || self.layers.timed_channels().filter_map(|to| Some((to, self.layers.channels.get(to)?)));
        let undone = differences(&self.read, &self.layers);
        Report {
            timing: values(&self.layers.global),
            channels: channels().map(|(to, own)| (to.to_string(), values(own))).collect(),
            origins: Origins {
                timing: origins(&self.layers.global),
                channels: channels().map(|(to, own)| (to.to_string(), origins(own))).collect(),
            },
            survives_restart: undone.is_empty(),
            keep: (!undone.is_empty()).then(|| self.keep(&undone)),
            warnings: bounded(timing_warnings(self)),
            changed: None,
        }
    }

    /// The same with what is different from `old`.
    pub fn timing_since(&self, old: &Self) -> Report {
        let changed = differences(&old.layers, &self.layers).into_iter().map(|difference| Changed {
            key: difference.key(),
            old: difference.old.map(as_json),
            new: difference.new.map(as_json),
        });
        Report { changed: Some(changed.collect()), ..self.timing() }
    }

    /// How many settings are other than what was read, for they were changed while running.
    pub fn live_changes(&self) -> usize {
        differences(&self.read, &self.layers).len()
    }

    fn keep(&self, undone: &[Difference<'_>]) -> Keep {
        let mut toml = String::new();
        let mut table = String::new();
        for difference in undone {
            let Some(Setting { value: Some(value), .. }) = difference.new else { continue };
            if difference.table() != table {
                table = difference.table();
                let gap = if toml.is_empty() { "" } else { "\n" };
                toml.push_str(&format!("{gap}[{table}]\n"));
            }
            toml.push_str(&format!("{} = {value}\n", difference.name));
        }
        let mut notes = Vec::new();
        match &self.file {
            None => notes.push(format!(
                "no file was read; typingd reads {FILE_DEFAULT} if it exists, or the file that --config or {FILE_VARIABLE} names"
            )),
            Some(_) if undone.iter().any(|difference| difference.is_new_line() && self.is_in_file(difference)) => {
                notes.push("if the file has a table already, add the lines to it; a table can't be written twice".into());
            }
            Some(_) => {}
        }
        notes.extend(bounded(undone.iter().filter_map(Difference::note).collect()));
        Keep { file: self.file.as_ref().map(|path| path.display().to_string()), toml, notes }
    }

    /// Whether the file is known to have the table that a difference is in.
    fn is_in_file(&self, difference: &Difference<'_>) -> bool {
        match difference.to {
            None => set(&self.read.global).any(|(_, setting)| matches!(setting.origin, Origin::File { .. })),
            // Nothing but the file makes one.
            Some(to) => self.read.channels.contains_key(to),
        }
    }
}

/// At most [`NOTES_MAX`], and how many more there are.
fn bounded(mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(NOTES_MAX);
    sentences.truncate(NOTES_MAX);
    sentences.extend((more > 0).then(|| format!("and {more} more like these")));
    sentences
}

/// A key of the timing that two configurations set differently.
struct Difference<'a> {
    to: Option<&'a ChannelAddress>,
    name: &'static str,
    old: Option<&'a Setting>,
    new: Option<&'a Setting>,
}

impl Difference<'_> {
    fn table(&self) -> String {
        self.to.map_or_else(|| TIMING.to_owned(), channel_table)
    }

    fn key(&self) -> String {
        format!("{}.{}", self.table(), self.name)
    }

    /// Whether keeping it takes a line that the file has not.
    fn is_new_line(&self) -> bool {
        self.new.is_some() && !self.old.is_some_and(|old| matches!(old.origin, Origin::File { .. }))
    }

    /// What prevents keeping the new value, and what to do about it.
    fn note(&self) -> Option<String> {
        let old = self.old?;
        let (key, origin) = (self.key(), printable(&old.origin.to_string()));
        match (&old.origin, self.new.and_then(|new| new.value.as_ref())) {
            (Origin::Default, _) => None,
            (Origin::File { .. }, Some(_)) => Some(format!("{origin}: the new line replaces {key} there")),
            (_, None) => Some(format!("{origin}: {key} must be removed there")),
            (_, Some(value)) => Some(format!("{origin} overrides the file: set it to {}, or remove it", bare(value))),
        }
    }
}

fn differences<'a>(old: &'a Layers, new: &'a Layers) -> Vec<Difference<'a>> {
    let gone = old.channels.keys().filter(|to| !new.channels.contains_key(*to));
    let mut channels: Vec<_> = new.channels.keys().chain(gone).collect();
    channels.sort();
    let channels = channels.into_iter().map(|to| (Some(to), old.channels.get(to), new.channels.get(to)));
    let keys: Vec<_> = KEYS.iter().enumerate().filter(|(_, key)| key.table() == TIMING).collect();
    let mut found = Vec::new();
    for (to, old, new) in std::iter::once((None, Some(&old.global), Some(&new.global))).chain(channels) {
        for (index, key) in &keys {
            let of = |scope: Option<&'a Scope>| scope.and_then(|scope| scope.0.get(index));
            let (old, new) = (of(old), of(new));
            if old.map(|setting| &setting.value) != new.map(|setting| &setting.value) {
                found.push(Difference { to, name: key.name(), old, new });
            }
        }
    }
    found
}

/// The keys of the timing that are set.
fn set(scope: &Scope) -> impl Iterator<Item = (&'static Key, &Setting)> {
    scope.settings().filter(|(key, _)| key.table() == TIMING)
}

fn as_json(setting: &Setting) -> serde_json::Value {
    match &setting.value {
        Some(Value::Flag(flag)) => json!(flag),
        Some(value) => json!(bare(value)),
        None => json!(null),
    }
}

/// As in an environment variable: without TOML's quotes.
fn bare(value: &Value) -> String {
    value.to_string().trim_matches('"').to_owned()
}
