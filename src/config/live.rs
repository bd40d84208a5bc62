//! Changes of the timing while the daemon runs: one more layer, over the file, the environment and the flags.
//!
//! A change must be valid together with all other settings. Nothing is read again for it.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::keys::{self, KEYS};
use super::layers::{Layers, plain, secret_hint};
use super::value::{Places, Raw};
use super::{Config, Origin, Problem, TIMING, channel_table, resolve};
use crate::model::ChannelAddress;

/// The most channels with timing of their own when one more is added: as many as an org may have.
pub const TIMED_CHANNELS_MAX: usize = 2_000;

/// A requested change of the timing, not validated yet.
#[derive(Debug)]
pub struct Change {
    to: Option<ChannelAddress>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The values of these names.
    Set(Vec<(String, Raw)>),
    /// The channel follows the timing of all; without a channel, everything changed while running is undone.
    Forget,
}

/// Why a change was not made.
#[derive(Debug)]
pub enum Refusal {
    /// It is wrong, by itself or with the other settings: all problems.
    Wrong(Vec<Problem>),
    /// The channel has no timing of its own to remove.
    NotTimed,
    /// [`TIMED_CHANNELS_MAX`] channels have timing of their own already.
    Full,
}

impl Change {
    /// The change that `json` asks for, of the channel `to` or of the timing of all.
    ///
    /// # Errors
    /// One sentence, if it is not a JSON object.
    pub fn set(to: Option<ChannelAddress>, json: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(json).map_err(|e| format!("is not UTF-8 from byte {} on", e.valid_up_to()))?;
        if text.trim_ascii().is_empty() {
            return Err(format!("is empty; expected {EXPECTED_BODY}"));
        }
        let Members(members) = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => format!("is not an object; expected {EXPECTED_BODY}"),
            _ => format!("is not JSON: {e}"),
        })?;
        Ok(Self { to, what: What::Set(members) })
    }

    /// The call that asks for it, as the log names it.
    pub const fn call(&self) -> &'static str {
        match (&self.what, &self.to) {
            (What::Set(_), None) => "PUT /v1/timing",
            (What::Set(_), Some(_)) => "PUT /v1/timing/{to}",
            (What::Forget, None) => "DELETE /v1/timing",
            (What::Forget, Some(_)) => "DELETE /v1/timing/{to}",
        }
    }

    /// Whether it undoes whatever was changed while running.
    pub const fn is_reset(&self) -> bool {
        matches!((&self.what, &self.to), (What::Forget, None))
    }

    /// What it changes, as [`Change::set`] and [`Change::forget`] take it: the channel, and the members that are set;
    /// none: it is forgotten, or all of it.
    pub fn parts(&self) -> (Option<&str>, Option<serde_json::Map<String, Value>>) {
        let members = match &self.what {
            What::Set(members) => Some(members.iter().map(|(name, raw)| (name.clone(), raw.to_json())).collect()),
            What::Forget => None,
        };
        (self.to.as_ref().map(ChannelAddress::as_str), members)
    }

    /// Removes a channel's own timing.
    pub fn forget(to: ChannelAddress) -> Self {
        Self { to: Some(to), what: What::Forget }
    }

    /// Undoes whatever was changed while running: the timing is what the configuration said when it was last read.
    pub fn reset() -> Self {
        Self { to: None, what: What::Forget }
    }
}

impl Config {
    /// The settings that hold once the change is made.
    ///
    /// # Errors
    /// Why they can't be.
    pub fn with(&self, change: &Change) -> Result<Self, Refusal> {
        let mut layers = Layers::clone(&self.layers);
        match (&change.what, &change.to) {
            (What::Set(members), to) => {
                let timed = layers.timed_channels().count();
                layers.set_live(to.as_ref(), members, &self.read);
                let more = layers.timed_channels().count() > timed;
                if more && timed >= TIMED_CHANNELS_MAX {
                    return Err(Refusal::Full);
                }
            }
            (What::Forget, Some(to)) if layers.forget_timing(to) => {}
            (What::Forget, Some(_)) => return Err(Refusal::NotTimed),
            (What::Forget, None) => layers = Layers::clone(&self.read),
        }
        resolve(layers, Some(&self.read), self.upstream.is_none()).map_err(Refusal::Wrong)
    }
}

impl Layers {
    /// Lays `members` over the other layers. One that equals what was `read` is no change.
    fn set_live(&mut self, to: Option<&ChannelAddress>, members: &[(String, Raw)], read: &Self) {
        let table = to.map_or_else(|| TIMING.to_owned(), |to| plain(&channel_table(to)));
        // No key of the timing is a path.
        let places = Places { directory: Path::new(""), credentials: None };
        let mut seen = Vec::new();
        for (name, raw) in members {
            let Some((index, key)) = keys::find(&format!("{TIMING}.{name}")) else {
                self.unknown_live(&table, to.is_some(), name);
                continue;
            };
            let shown = format!("{table}.{name}");
            if seen.contains(&index) {
                let text = format!("{shown} is given twice; expected it once");
                self.problems.push(Problem::at(&Origin::Live, text));
                continue;
            }
            seen.push(index);
            let setting = self.setting(key, &shown, raw, Origin::Live, places);
            let (scope, was) = match to {
                None => (&mut self.global, Some(&read.global)),
                Some(to) => (self.channels.entry(to.clone()).or_default(), read.channels.get(to)),
            };
            let was = was.and_then(|was| was.setting(key.path)).filter(|was| was.value == setting.value);
            scope.0.insert(index, was.cloned().unwrap_or(setting));
        }
    }

    /// Its value is not repeated: it may be a secret.
    fn unknown_live(&mut self, table: &str, single: bool, name: &str) {
        let fixed = single && KEYS.iter().any(|key| key.per_channel && key.name() == name);
        let text = if fixed {
            format!("{table}.{name} can't be changed while running; set it in the file")
        } else {
            let near = keys::nearest_key(&format!("{TIMING}.{name}"), |key| key.table() == TIMING);
            let hint = near.map_or_else(String::new, |key| match single {
                true => format!("; did you mean {}?", key.name()),
                false => format!("; did you mean {}?", key.path),
            });
            let place = match single {
                true => format!("{table}: there is no key {} for a single channel", plain(name)),
                false => format!("there is no key {}", plain(&format!("{table}.{name}"))),
            };
            format!("{place}{hint}{}", secret_hint(name))
        };
        self.problems.push(Problem::at(&Origin::Live, text));
    }

    /// Removes a channel's own timing; whether it had any.
    fn forget_timing(&mut self, to: &ChannelAddress) -> bool {
        let Some(own) = self.channels.get_mut(to) else { return false };
        let timing = KEYS.iter().enumerate().filter(|(_, key)| key.table() == TIMING);
        let had = timing.filter(|(index, _)| own.0.remove(index).is_some()).count();
        if own.0.is_empty() {
            self.channels.remove(to);
        }
        had > 0
    }
}

/// The members of a JSON object, duplicates included.
struct Members(Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED_BODY)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    members.push((name, value.into()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Raw {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Flag(flag) => Value::Bool(*flag),
            Self::Number(text, _) => serde_json::from_str(text).unwrap_or_default(),
            Self::List(_) | Self::Other(_) => Value::Null,
        }
    }
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(number) => Self::Number(number.to_string(), number.as_u64()),
            Value::Null => Self::Other("null"),
            Value::Array(_) => Self::Other("an array"),
            Value::Object(_) => Self::Other("an object"),
        }
    }
}

const EXPECTED_BODY: &str = r#"a JSON object such as {"check_interval": "10s"}"#;
