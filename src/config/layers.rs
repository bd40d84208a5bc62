//! The layers of settings, each over the one before: the table's defaults, the file, the environment, flags.
//!
//! It knows the keys and their values, but not what they mean together.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{FILE_VARIABLE, Variable};
use super::keys::{self, Absent, CHANNELS, KEYS, Key};
use super::problem::{Origin, Problem};
use super::value::{self, FromValue, Kind, Places, Quoted, Raw, Value};
use super::{Flag, Overrides, TIMING};
use crate::engine::policy::Mode;
use crate::http::Address;
use crate::model::ChannelAddress;

/// A key that is set, or that has a default.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// `None` if it is wrong; there is a problem then.
    pub(super) value: Option<Value>,
    pub(super) origin: Origin,
}

/// The settings of one scope, by the index of their key in the table: few keys are set for a channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope(pub(super) BTreeMap<usize, Setting>);

impl Scope {
    pub(super) fn setting(&self, path: &str) -> Option<&Setting> {
        self.0.get(&keys::find(path)?.0)
    }

    /// The value of `path`; `None` when it is unset or wrong.
    pub(super) fn get<T: FromValue>(&self, path: &str) -> Option<T> {
        T::from_value(self.setting(path)?.value.as_ref()?)
    }

    /// Where `path` was set; [`Origin::Default`] if it was not.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.setting(path).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// The keys that are set.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        self.0.iter().map(|(index, setting)| (&KEYS[*index], setting))
    }
}

/// All layers, laid over each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    pub(super) global: Scope,
    /// What the file says of single channels.
    pub(super) channels: BTreeMap<ChannelAddress, Scope>,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// The variable that names a proxy to other programs.
    pub(super) ambient_proxy: Option<&'static str>,
    /// The file could not be read as a whole, so that nothing is known of what it lacks.
    pub(super) broken: bool,
    /// The right ones of a list that has wrong ones too, by the list's key.
    pub(super) usable_addresses: BTreeMap<&'static str, Vec<Address>>,
    /// Environment variables that begin like a key's and are foreign.
    pub(super) foreign_variables: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    pub(super) fn read(overrides: &Overrides) -> Self {
        let mut layers = Self::default();
        let here = Places { directory: Path::new(""), credentials: overrides.variable("CREDENTIALS_DIRECTORY") };
        layers.set_defaults(here);
        layers.set_file(overrides, here);
        layers.set_environment(overrides, here);
        layers.set_sockets(overrides, here);
        layers.set_flags(overrides, here);
        layers
    }

    /// Only what flags say.
    pub(super) fn of_flags(flags: &[Flag]) -> Self {
        let mut layers = Self::default();
        let overrides = Overrides { flags: flags.to_vec(), ..Overrides::default() };
        layers.set_flags(&overrides, Places { directory: Path::new(""), credentials: None });
        layers
    }

    /// A sentence on what the key `path` names, with the place where it is set.
    pub(super) fn located(&self, path: &str, text: &str) -> String {
        match self.global.origin(path) {
            Origin::Default => text.to_owned(),
            origin => Problem::at(&origin, text).to_string(),
        }
    }

    /// Takes wrong values out, as if they had not been set, and the problems; returns the tables that they were in, which
    /// may not be what they are meant to be.
    pub(super) fn take_out_wrong(&mut self) -> Vec<&'static str> {
        self.problems.clear();
        let is_wrong = |(key, setting): &(&'static Key, &Setting)| setting.value.is_none().then(|| key.table());
        let scopes = std::iter::once(&self.global).chain(self.channels.values());
        let wrong: Vec<_> = scopes.flat_map(Scope::settings).filter_map(|set| is_wrong(&set)).collect();
        for own in self.channels.values_mut() {
            own.0.retain(|_, setting| setting.value.is_some());
        }
        let global: Vec<_> =
            self.global.settings().filter(|(_, set)| set.value.is_none()).map(|(key, _)| key.path).collect();
        self.reset(|key| global.contains(&key.path));
        wrong
    }

    /// Sets what is chosen to what it is without being set.
    pub(super) fn reset(&mut self, is_chosen: impl Fn(&Key) -> bool) {
        let mut defaults = Self::default();
        defaults.set_defaults(Places { directory: Path::new(""), credentials: None });
        for (index, _) in KEYS.iter().enumerate().filter(|(_, key)| is_chosen(key)) {
            match defaults.global.0.remove(&index) {
                Some(default) => drop(self.global.0.insert(index, default)),
                None => drop(self.global.0.remove(&index)),
            }
        }
    }

    /// The channels with timing of their own.
    pub(super) fn timed_channels(&self) -> impl Iterator<Item = &ChannelAddress> {
        self.channels.iter().filter(|(_, own)| own.settings().any(|(key, _)| key.table() == TIMING)).map(|(to, _)| to)
    }

    fn set_defaults(&mut self, places: Places<'_>) {
        for (index, key) in KEYS.iter().enumerate() {
            if let Absent::Default(text) = key.absent
                && let Ok(value) = DeValue::parse(text)
            {
                let value = key.kind.read(&Raw::from_toml(value.get_ref()), places).ok();
                self.global.0.insert(index, Setting { value, origin: Origin::Default });
            }
        }
    }

    fn set_file(&mut self, overrides: &Overrides, here: Places<'_>) {
        let (path, named) = match (&overrides.file, overrides.variable(FILE_VARIABLE)) {
            (Some(path), _) => (path.clone(), Origin::Flag("--config")),
            (None, Some(path)) => (PathBuf::from(path), Origin::Environment(FILE_VARIABLE.into())),
            (None, None) => (PathBuf::from(FILE_DEFAULT), Origin::Default),
        };
        if path.as_os_str().is_empty() {
            self.broken = true;
            self.problems.push(Problem::at(&named, "it is empty; expected the path of a file, or no such variable"));
            return;
        }
        let text = match read_file(&path) {
            Ok(text) => text,
            // The default file is optional.
            Err(error) if error.kind() == io::ErrorKind::NotFound && named == Origin::Default => return,
            Err(error) => {
                self.broken = true;
                self.problems.push(Problem::unreadable(named, &path, &why(&error)));
                return;
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut lines = Vec::new();
        for error in errors {
            let place = position(&text, error.span().map_or(text.len(), |span| span.start));
            // Further errors in a line that could not be parsed are guesswork.
            if !lines.contains(&place.0) {
                lines.push(place.0);
                self.problems.push(Problem::syntax(&path, place, error.message()));
            }
        }
        self.broken = !lines.is_empty();
        if self.broken {
            let origin = |at| Origin::File { path: path.clone(), line: position(&text, at).0 };
            self.set_log_format(table.get_ref(), origin, here);
        } else {
            let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
            let places = Places { directory: absolute.parent().unwrap_or(here.directory), ..here };
            let line_ends = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
            FileReader { layers: self, line_ends, path: &path, places }.table("", table.get_ref());
        }
        self.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        self.file = Some(path);
    }

    /// Of a file that can't be read as a whole: whoever reads why may read JSON only.
    fn set_log_format(&mut self, table: &DeTable<'_>, origin: impl Fn(usize) -> Origin, places: Places<'_>) {
        let Some(DeValue::Table(log)) = table.get("log").map(Spanned::get_ref) else { return };
        if let (Some(format), Some((index, key))) = (log.get("format"), keys::find("log.format"))
            && let Ok(value) = key.kind.read(&Raw::from_toml(format.get_ref()), places)
        {
            let origin = origin(format.span().start);
            self.global.0.insert(index, Setting { value: Some(value), origin });
        }
    }

    fn set_environment(&mut self, overrides: &Overrides, places: Places<'_>) {
        let set = |name: &&&str| overrides.variable(name).is_some_and(|value| !value.is_empty());
        self.ambient_proxy = PROXY_VARIABLES.iter().find(set).copied();
        for (name, text) in &overrides.environment {
            let origin = Origin::Environment(name.clone());
            match Variable::of(name, |other| overrides.variable(other).is_some()) {
                Variable::Key(index, key) => {
                    let raw = Raw::from_text(text, key.kind);
                    let setting = self.setting(key, key.path, &raw, origin, places);
                    self.global.0.insert(index, setting);
                }
                Variable::Channel => self.problems.push(Problem::at(
                    &origin,
                    "the environment can't set single channels; write [channels.\"<to>\"] in the file",
                )),
                Variable::Unknown(near) => {
                    let hint = near.map_or_else(String::new, |key| format!("; did you mean {}?", key.environment()));
                    let text = format!("there is no key for it{hint}{}", secret_hint(name));
                    self.problems.push(Problem::at(&origin, text));
                }
                Variable::Foreign => self.foreign_variables.push(name.clone()),
                Variable::Other => {}
            }
        }
    }

    fn set_sockets(&mut self, overrides: &Overrides, places: Places<'_>) {
        if let Some((index, key)) = keys::find(LISTEN)
            && !overrides.sockets.is_empty()
        {
            let raw = Raw::List(overrides.sockets.iter().cloned().map(Raw::Text).collect());
            let setting = self.setting(key, key.path, &raw, Origin::Sockets, places);
            self.global.0.insert(index, setting);
        }
    }

    fn set_flags(&mut self, overrides: &Overrides, places: Places<'_>) {
        let mut seen: Vec<&str> = Vec::new();
        for flag in &overrides.flags {
            let origin = Origin::Flag(flag.name);
            let Some((index, key)) = keys::find(flag.key) else {
                self.problems.push(Problem::at(&origin, format!("there is no key {}", flag.key)));
                continue;
            };
            if seen.contains(&flag.key) {
                continue;
            }
            seen.push(flag.key);
            // A flag that is given several times is a list, or its last value.
            let mut values =
                overrides.flags.iter().filter(|other| other.key == flag.key).map(|flag| flag.value.as_str());
            let text = match key.kind {
                Kind::Addresses { .. } => values.collect::<Vec<_>>().join(","),
                _ => values.next_back().unwrap_or_default().to_owned(),
            };
            let raw = Raw::from_text(&text, key.kind);
            let setting = self.setting(key, key.path, &raw, origin, places);
            self.global.0.insert(index, setting);
        }
    }

    /// Reads `raw` as a value of `key`, which is written as `shown`.
    pub(super) fn setting(&mut self, key: &Key, shown: &str, raw: &Raw, origin: Origin, places: Places<'_>) -> Setting {
        if let Some(feature) = key.lacks {
            let text = format!(
                "{shown} needs a typingd that was built with the feature {feature}; remove it, or use such a build"
            );
            self.problems.push(Problem::at(&origin, text));
            return Setting { value: None, origin };
        }
        let read = key.kind.read(raw, places);
        self.usable_addresses.remove(key.path);
        let value = match (read, raw) {
            (Ok(value), _) => Some(value),
            (Err((value, _)), Raw::List(items)) if matches!(key.kind, Kind::Addresses { .. }) && !items.is_empty() => {
                let (usable, wrong) = value::addresses(items);
                let how = if matches!(origin, Origin::Environment(_)) { LIST_IN_A_VARIABLE } else { "" };
                for right in wrong {
                    self.problems.push(Problem::at(&origin, format!("{shown} = {value}: {right}{how}")));
                }
                self.usable_addresses.insert(key.path, usable);
                None
            }
            (Err((value, right)), _) => {
                let hint = neighbour(key, raw).map_or_else(String::new, |other| format!("; {other}"));
                self.problems.push(Problem::at(&origin, format!("{shown} = {value}: {right}{hint}")));
                None
            }
        };
        Setting { value, origin }
    }
}

/// What a value that belongs to the other one of two keys with like names is for.
fn neighbour(key: &Key, raw: &Raw) -> Option<&'static str> {
    let (Raw::Text(text) | Raw::Number(text, _)) = raw else { return None };
    match key.path {
        "timing.dismiss" if text.starts_with(|c: char| c.is_ascii_digit()) => {
            Some("how long the icon stays on is dismiss_after")
        }
        "timing.dismiss_after" if Mode::from_name(text).is_some() => Some("the mode is dismiss"),
        _ => None,
    }
}

/// A walk through the file.
struct FileReader<'a> {
    layers: &'a mut Layers,
    /// Where lines end: to count them anew for each key takes seconds for thousands of channels.
    line_ends: Vec<usize>,
    path: &'a Path,
    places: Places<'a>,
}

impl FileReader<'_> {
    /// Reads the table at `path`. It descends into known tables only, so that the table of keys bounds its depth.
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let place = self.origin(name.span().start);
            let full = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            match (keys::find(&full), value.get_ref()) {
                (Some((index, key)), value_here) => {
                    let origin = self.origin(value.span().start);
                    let raw = Raw::from_toml(value_here);
                    let setting = self.layers.setting(key, key.path, &raw, origin, self.places);
                    self.layers.global.0.insert(index, setting);
                }
                (None, DeValue::Table(inner)) if full == CHANNELS => self.channels(inner),
                (None, DeValue::Table(inner)) if keys::is_table(&full) => self.table(&full, inner),
                (None, DeValue::Table(_)) => {
                    let hint = keys::nearest_table(&full).map(|table| format!("[{table}]"));
                    self.unknown(&place, &format!("there is no table [{}]", plain(&full)), hint, &full);
                }
                (None, _) if keys::is_table(&full) => {
                    self.problem(&place, format!("{full} is a table; expected [{full}] on a line of its own"));
                }
                (None, _) => {
                    let hint = keys::nearest_key(&full, |_| true).map(|key| key.path.to_owned());
                    self.unknown(&place, &format!("there is no key {}", plain(&full)), hint, &full);
                }
            }
        }
    }

    fn channels(&mut self, table: &DeTable<'_>) {
        for (to, value) in table {
            let place = self.origin(to.span().start);
            let shown = plain(&format!("{CHANNELS}.{}", Quoted(to.get_ref())));
            let channel = match (ChannelAddress::new(to.get_ref()), value.get_ref()) {
                (Err(error), _) => {
                    self.problem(&place, format!("{shown}: the channel address {error}"));
                    continue;
                }
                (Ok(channel), DeValue::Table(inner)) => (channel, inner),
                (Ok(_), _) => {
                    self.problem(&place, format!("{shown} is a table; expected [{shown}] on a line of its own"));
                    continue;
                }
            };
            let mut scope = Scope::default();
            for (name, value) in channel.1 {
                let origin = self.origin(value.span().start);
                let row = KEYS.iter().position(|key| key.per_channel && key.name() == name.get_ref());
                let Some(index) = row else {
                    let place = self.origin(name.span().start);
                    let near =
                        keys::nearest_key(name.get_ref(), |key| key.per_channel).map(|key| key.name().to_owned());
                    let text = format!("{shown}: there is no key {} for a single channel", plain(name.get_ref()));
                    self.unknown(&place, &text, near, name.get_ref());
                    continue;
                };
                let (key, raw) = (&KEYS[index], Raw::from_toml(value.get_ref()));
                let setting = self.layers.setting(key, &format!("{shown}.{}", key.name()), &raw, origin, self.places);
                scope.0.insert(index, setting);
            }
            self.layers.channels.insert(channel.0, scope);
        }
    }

    /// Its value is not repeated: it may be a secret.
    fn unknown(&mut self, origin: &Origin, text: &str, near: Option<String>, name: &str) {
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        self.problem(origin, format!("{text}{hint}{}", secret_hint(name)));
    }

    fn problem(&mut self, origin: &Origin, text: String) {
        self.layers.problems.push(Problem::at(origin, text));
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.line_ends.partition_point(|end| *end < offset) + 1;
        Origin::File { path: self.path.to_owned(), line }
    }
}

/// A name from the file, shortened.
pub(super) fn plain(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

pub(super) fn secret_hint(name: &str) -> &'static str {
    let name = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let secret = ["token", "secret", "password", "passwd", "private_key", "api_key"];
    if secret.iter().any(|word| name.contains(word)) {
        " (secrets come from files: token_file, private_key_file)"
    } else {
        ""
    }
}

/// Line and column of a byte, counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

fn read_file(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::FileTooLarge => format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20),
        _ => error.to_string(),
    }
}

/// Where the daemon listens.
const LISTEN: &str = "ingest.listen";

/// The file that is read when none is named, if there is one.
pub(super) const FILE_DEFAULT: &str = "/etc/typingd/typingd.toml";

/// How a list is written where there is no TOML.
const LIST_IN_A_VARIABLE: &str = "; a variable has them bare, with commas between: 127.0.0.1:7480,unix:/path";

/// Where other programs look for a proxy.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Room for 2,000 channels, as many as an org may have, with every key and a comment each.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// How much of an unknown name a problem repeats.
const NAME_CHARS_MAX: usize = 80;
