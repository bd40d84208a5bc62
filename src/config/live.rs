//! Changes of the timing while the daemon runs: one more layer, over the file, the environment and the flags.
//!
//! A change is read by the reader of all other settings and has to be valid with them. Nothing is read again for it.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::keys::{self, KEYS};
use super::layers::{Layers, plain, secret_hint};
use super::value::{Places, Raw};
use super::{Config, Origin, Problem, TIMING, channel_table, settle};
use crate::model::ChannelAddress;

/// Channels that can have timing of their own when one more is to be given it: as many as an org may have.
pub const TIMED_CHANNELS_MAX: usize = 2_000;

/// A change of the timing as somebody asks for it; whether it is valid has still to be seen.
#[derive(Debug)]
pub struct Change {
    to: Option<ChannelAddress>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The values of these names.
    Set(Vec<(String, Raw)>),
    /// The channel has no timing of its own any more.
    Forget,
}

/// Why a change was not made.
#[derive(Debug)]
pub enum Refusal {
    /// It is wrong, by itself or with the other settings: all that is.
    Wrong(Vec<Problem>),
    /// The channel has no timing of its own that could be taken away.
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
            return Err(format!("is empty; expected {RIGHT_BODY}"));
        }
        let Members(members) = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => format!("is not an object; expected {RIGHT_BODY}"),
            _ => format!("is not JSON: {e}"),
        })?;
        Ok(Self { to, what: What::Set(members) })
    }

    /// Takes away what a channel has of its own.
    #[must_use]
    pub fn forget(to: ChannelAddress) -> Self {
        Self { to: Some(to), what: What::Forget }
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
            (What::Forget, _) => return Err(Refusal::NotTimed),
        }
        settle(layers, Some(&self.read), self.upstream.is_none()).map_err(Refusal::Wrong)
    }
}

impl Layers {
    /// Lays `members` over what there is. One that says what was `read` is no change.
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
            scope.set(index, was.cloned().unwrap_or(setting));
        }
    }

    /// Its value is not told: who writes an unknown key may have written a secret.
    fn unknown_live(&mut self, table: &str, single: bool, name: &str) {
        let fixed = single && KEYS.iter().any(|key| key.per_channel && key.name() == name);
        let text = if fixed {
            format!("{table}.{name} can't be changed while running; the file is its place")
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

    /// Takes away what a channel has of its own, and says whether it had anything.
    fn forget_timing(&mut self, to: &ChannelAddress) -> bool {
        let Some(own) = self.channels.get_mut(to) else { return false };
        let timing = KEYS.iter().enumerate().filter(|(_, key)| key.table() == TIMING);
        let had = timing.filter(|(index, _)| own.unset(*index).is_some()).count();
        if own.is_empty() {
            self.channels.remove(to);
        }
        had > 0
    }
}

/// The members of a JSON object as they stand there, those of the same name too.
struct Members(Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(RIGHT_BODY)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
                Ok(Raw::Flag(flag))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
                Ok(Raw::Number(number.to_string(), Some(number)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Number(number.to_string(), None))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
                Ok(Raw::Number(number.to_string(), None))
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Other("null"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Raw::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Raw::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

const RIGHT_BODY: &str = r#"a JSON object such as {"check_interval": "10s"}"#;
