//! Settings: the only reader of the configuration file, the environment and the flags that override them.
//!
//! The result is validated, in each module's own settings type, or else all problems at once. Nothing here opens a file
//! that the configuration names: secrets stay where they are until their users read them.
//!
//! Flags override the environment (`TYPINGD_TIMING__CHECK_INTERVAL=10s`), which overrides the file, which overrides the
//! defaults of [`keys::KEYS`]. The file is the one named by `--config`, else by `TYPINGD_CONFIG`, else
//! `/etc/typingd/typingd.toml` if that exists, else none. Relative paths in the file are relative to the file's
//! directory, so that a configuration can be moved as a whole; those in variables and flags are relative to the working
//! directory, as on any command line.

mod difference;
mod draft;
mod drop_in;
mod environment;
pub mod keys;
mod layers;
mod live;
mod problem;
mod report;
mod route;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod value;
mod warnings;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use url::Url;

pub use difference::KeyChange;
pub use draft::Draft;
pub use live::{Change, Refusal, TIMED_CHANNELS_MAX};
pub use problem::{Origin, Problem};
pub use report::{Changed, Keep, Origins, Report, Values};
pub use schema::schema;
pub use store::Store;
pub use warnings::{capacity, scopes, warnings};

use crate::base::text::printable;
use crate::drop_in as drop_in_edge;
use crate::engine::policy::{Delivery, Mode, Policy, Rules};
use crate::http::{self, Address};
use crate::model::ChannelAddress;
use crate::salesforce::settings::{Auth, JwtBearer, Places, Settings};
use crate::telemetry::Format;
use keys::{Absent, CHANNELS, Key};
use layers::{Layers, Scope};
use value::{Bare, FromValue, ORG_ID_BYTES, Quoted};

/// All settings, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine's settings.
    pub policy: Policy,
    /// `None` with [`Overrides::sandbox`].
    pub upstream: Option<Settings>,
    /// How signals come in.
    pub ingest: http::Settings,
    /// How operators reach it.
    pub admin: http::AdminSettings,
    /// How requests of connectors to Salesforce pass; `None` if they don't.
    pub drop_in: Option<drop_in_edge::Settings>,
    /// Where several typingd of one org meet; `None` if this one is alone.
    pub store: Option<Store>,
    /// How long a shutdown may take to send every owed Stopped.
    pub shutdown_grace: Duration,
    /// The directory for the record of icons that are on.
    pub state_dir: Option<PathBuf>,
    /// How old its records may be.
    pub recover_within: Duration,
    /// The format and the level of the log.
    pub log: Log,
    /// Where spans go; `None` in a build that can't export any.
    pub otlp_endpoint: Option<Url>,
    /// The environment variable that names a proxy to other programs. typingd doesn't use it.
    ambient_proxy: Option<&'static str>,
    /// The file that was read, as it was named.
    pub file: Option<PathBuf>,
    lines: Vec<Line>,
    /// What it was made of.
    layers: Arc<Layers>,
    /// The same without what was changed while running.
    read: Arc<Layers>,
}

/// The format and the level of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The format of a line.
    pub format: Format,
    /// The least severe level that is logged.
    pub level: LevelFilter,
}

/// The layers over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The addresses of sockets that were passed to the process. They replace `ingest.listen`, unless a flag does.
    pub sockets: Vec<String>,
    /// Flags that stand for a key.
    pub flags: Vec<Flag>,
    /// The process's environment, from `vars_os`, lossily: `vars` panics on what is not UTF-8.
    pub environment: Vec<(String, String)>,
    /// No Salesforce org is needed: `[upstream]` is checked, and not used.
    pub sandbox: bool,
}

/// A flag for a key, with one of its values.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As on the command line: `--listen`.
    pub name: &'static str,
    /// The key's path: `ingest.listen`.
    pub key: &'static str,
    /// As on the command line. A key that takes a list takes the values of all its flags, any other key the last.
    pub value: String,
}

impl Overrides {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the file, the environment and the flags.
///
/// # Errors
/// All problems at once, in the order of the file's lines, then of the environment, of the flags, and what is missing.
pub fn load(overrides: &Overrides) -> Result<Config, Vec<Problem>> {
    Draft::read(overrides).config()
}

/// The problems of flags by themselves, for a command that passes their values on to a daemon.
pub fn flag_problems(flags: &[Flag]) -> Vec<Problem> {
    Layers::of_flags(flags).problems
}

/// Makes settings of `layers`, which are those of `read` with changes of the running daemon.
fn resolve(mut layers: Layers, read: Option<&Arc<Layers>>, sandbox: bool) -> Result<Config, Vec<Problem>> {
    let mut problems = std::mem::take(&mut layers.problems);
    let layers = Arc::new(layers);
    let read = Arc::clone(read.unwrap_or(&layers));
    let mut reader = Reader { layers, read, problems: Vec::new() };
    let config = reader.config(sandbox);
    if !reader.layers.broken {
        problems.append(&mut reader.problems);
    }
    Problem::sort(&mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

impl Layers {
    fn log_format(&self) -> Format {
        match self.global.get::<String>("log.format").as_deref() {
            Some("json") => Format::Json,
            _ => Format::Text,
        }
    }
}

impl Config {
    /// Environment variables that begin with `TYPINGD_`, but neither set a key nor resemble one.
    pub fn foreign_variables(&self) -> &[String] {
        &self.read.foreign_variables
    }

    /// A problem with what the key `path` names, with the place where it is set.
    pub fn located(&self, path: &str, text: &str) -> String {
        self.layers.located(path, text)
    }

    /// The settings in force as TOML that reads back to the same, with the origin of each as a comment. No secrets:
    /// there are none in a configuration.
    pub fn effective(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        for line in &self.lines {
            if line.table != table {
                table = &line.table;
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}[{table}]");
            }
            let _ = match &line.value {
                Ok(value) => {
                    let setting = format!("{} = {value}", line.name);
                    writeln!(text, "{setting:<COMMENT_COLUMN$}  # {}", printable(&line.origin.to_string()))
                }
                Err(meaning) => writeln!(text, "# {} is not set: {meaning}", line.name),
            };
        }
        text
    }
}

/// One key in force.
#[derive(Clone, Debug)]
struct Line {
    table: String,
    name: &'static str,
    /// As TOML, or what applies without one.
    value: Result<String, &'static str>,
    origin: Origin,
}

impl Line {
    fn id(&self) -> (&str, &str) {
        (&self.table, self.name)
    }
}

/// Makes settings of layers. Its methods give `None` only where a problem has been noted.
struct Reader {
    layers: Arc<Layers>,
    read: Arc<Layers>,
    problems: Vec<Problem>,
}

impl Reader {
    fn config(&mut self, sandbox: bool) -> Option<Config> {
        // None of them ends the reading, so that all report their problems.
        let (policy, log) = (self.policy(), self.log());
        let admin = self.admin();
        let ingest = self.ingest(admin.as_ref());
        let drop_in = self.drop_in();
        let store = self.store(policy.as_ref());
        let upstream = if sandbox { None } else { Some(self.upstream()) };
        Some(Config {
            policy: policy?,
            upstream: match upstream {
                None => None,
                Some(upstream) => Some(upstream?),
            },
            ingest: ingest?,
            admin: admin?,
            drop_in: drop_in?,
            store: store?,
            shutdown_grace: self.get("delivery.shutdown_grace")?,
            state_dir: self.get("delivery.state_dir"),
            recover_within: self.get("delivery.recover_within")?,
            log: log?,
            otlp_endpoint: self.get("log.otlp_endpoint"),
            ambient_proxy: self.layers.ambient_proxy,
            file: self.layers.file.clone(),
            lines: self.lines(),
            layers: Arc::clone(&self.layers),
            read: Arc::clone(&self.read),
        })
    }

    fn policy(&mut self) -> Option<Policy> {
        let rules = self.rules(None);
        // A channel without timing of its own follows the others, also when theirs is changed later.
        let channels: Vec<_> = self.layers.timed_channels().cloned().collect();
        let channels: Vec<_> = channels.into_iter().map(|to| Some((to.clone(), self.rules(Some(&to))?))).collect();
        Some(Policy {
            rules: rules?,
            channels: channels.into_iter().collect::<Option<HashMap<_, _>>>()?,
            delivery: Delivery {
                in_flight_max: self.count("upstream.max_in_flight")?,
                requests_per_second_max: self.count("upstream.max_requests_per_second")?,
                started_lifespan: self.get("delivery.started_lifespan"),
                stopped_lifespan: self.get("delivery.stopped_lifespan")?,
                mute_for: self.get("delivery.mute_for")?,
            },
            conversations_max: self.count("ingest.max_conversations")?,
        })
    }

    /// The timing of a channel, or of those that have none of their own.
    fn rules(&mut self, channel: Option<&ChannelAddress>) -> Option<Rules> {
        let own = channel.and_then(|to| self.layers.channels.get(to));
        let view = View { own, global: &self.layers.global };
        let dismiss = view.get::<Duration>(DISMISS_AFTER)?;
        let max_typing = view.get::<Duration>(MAX_TYPING)?;
        // A channel that inherits both would only repeat the problem of [timing].
        if max_typing < dismiss
            && own.is_none_or(|own| [DISMISS_AFTER, MAX_TYPING].iter().any(|path| own.setting(path).is_some()))
        {
            let table = channel.map_or_else(|| TIMING.to_owned(), channel_table);
            let text = format!(
                "{table}.max_typing = \"{}\": expected at least dismiss_after, \"{}\"",
                crate::base::duration::Written(max_typing),
                crate::base::duration::Written(dismiss)
            );
            self.problems.push(Problem::at(&view.origin(&[MAX_TYPING, DISMISS_AFTER]), text));
        }
        let mode = Mode::from_name(&view.get::<String>("timing.dismiss")?)?;
        let mut rules = Rules::new(mode, view.get("timing.check_interval")?, dismiss, max_typing);
        rules.require_open = view.get("timing.require_open")?;
        Some(rules)
    }

    fn upstream(&mut self) -> Option<Settings> {
        let base_url = self.base_url();
        // Cached credentials hold all three.
        let (org_id, authorization_context) = if self.uses_cached_credentials() {
            let own = |path| Some(self.get(path).unwrap_or_default());
            (own("upstream.org_id"), own("upstream.authorization_context"))
        } else {
            (self.required("upstream.org_id"), self.required("upstream.authorization_context"))
        };
        let auth = self.auth();
        let route = self.route(base_url.as_ref());
        let contexts = self.layers.channels.iter();
        let contexts = contexts.filter_map(|(to, own)| Some((to.clone(), own.get("upstream.authorization_context")?)));
        let (proxy, connect_to) = route?;
        Some(Settings {
            base_url: base_url?,
            org_id: org_id.map(|mut id: String| {
                id.truncate(ORG_ID_BYTES);
                id
            })?,
            authorization_context: authorization_context?,
            channel_contexts: contexts.collect(),
            authorization_context_type: self.get("upstream.authorization_context_type"),
            request_timeout: self.get("upstream.request_timeout")?,
            in_flight_max: self.count("upstream.max_in_flight")?,
            ca_file: self.get("upstream.ca_file"),
            proxy,
            connect_to,
            auth: auth?,
            places: self.places(),
        })
    }

    /// Where the keys of `[upstream]` are set.
    fn places(&self) -> Places {
        let set = self.layers.global.settings().filter(|(key, _)| key.path.starts_with("upstream."));
        let set = set.filter(|(_, setting)| setting.origin != Origin::Default);
        set.map(|(key, setting)| (key.path, printable(&setting.origin.to_string()))).collect()
    }

    fn auth(&mut self) -> Option<Auth> {
        let set = |key: &Key| self.layers.global.setting(key.path).map(|setting| setting.origin.clone());
        let token = keys::find(TOKEN_FILE).and_then(|(_, key)| set(key));
        let jwt = keys::KEYS.iter().filter(|key| key.table() == JWT_BEARER).filter_map(set).min();
        match (token, jwt) {
            (Some(token), Some(jwt)) => {
                // Whoever keeps the keys of the flow is to know at once what they lack.
                let of_flow = keys::KEYS.iter().filter(|key| key.table() == JWT_BEARER);
                let lacking: Vec<_> = of_flow.filter(|key| set(key).is_none()).map(Key::name).collect();
                let lacks = match lacking.is_empty() {
                    true => String::new(),
                    false => format!("; [{JWT_BEARER}] lacks {}", lacking.join(", ")),
                };
                let text = format!("{TOKEN_FILE} and [{JWT_BEARER}] ({jwt}) are both set; expected one of them{lacks}");
                self.problems.push(Problem::at(&token, text));
                None
            }
            (Some(_), None) => Some(Auth::TokenFile(self.get(TOKEN_FILE)?)),
            (None, Some(_)) => self.jwt_bearer().map(Auth::JwtBearer),
            (None, None) if self.uses_cached_credentials() => Some(Auth::Cached),
            (None, None) => {
                let text = format!("upstream.auth is missing: write {TOKEN_FILE}, or the keys of [{JWT_BEARER}]");
                self.missing(&text);
                None
            }
        }
    }

    fn jwt_bearer(&mut self) -> Option<JwtBearer> {
        let token_url = self.required("upstream.auth.jwt_bearer.token_url");
        let consumer_key = self.required("upstream.auth.jwt_bearer.consumer_key");
        let subject = self.required("upstream.auth.jwt_bearer.subject");
        let audience = self.required("upstream.auth.jwt_bearer.audience");
        let private_key_file = self.required("upstream.auth.jwt_bearer.private_key_file");
        Some(JwtBearer {
            token_url: token_url?,
            consumer_key: consumer_key?,
            subject: subject?,
            audience: audience?,
            private_key_file: private_key_file?,
        })
    }

    fn ingest(&mut self, admin: Option<&http::AdminSettings>) -> Option<http::Settings> {
        let mut listen: Vec<Address> = self.get(LISTEN)?;
        // Port 0 is a fresh port each time.
        let fresh = |address: &Address| matches!(address, Address::Tcp(address) if address.port() == 0);
        let of_admin = |at: &Address| !fresh(at) && admin.is_some_and(|admin| admin.listen.contains(at));
        if self.layers.global.origin(LISTEN) == Origin::Sockets {
            // A socket that was passed is for whatever the configuration uses its address for.
            listen.retain(|address| !of_admin(address));
        } else if let Some(address) = listen.iter().find(|address| of_admin(address)) {
            let text =
                format!("{ADMIN_LISTEN}: {address} is in {LISTEN} too; expected other addresses, or [] to share");
            self.problem(ADMIN_LISTEN, text);
        } else {
            let of_admin = admin.into_iter().flat_map(|admin| &admin.listen).map(|at| (ADMIN_LISTEN, at));
            let all: Vec<_> = listen.iter().map(|at| (LISTEN, at)).chain(of_admin).collect();
            self.overlap(&all);
        }
        self.beyond_needs_token(LISTEN, &listen, "ingest.token_file");
        let socket_mode = self.get::<String>("ingest.socket_mode");
        Some(http::Settings {
            listen,
            token_file: self.get("ingest.token_file"),
            socket_mode: socket_mode.and_then(|mode| u32::from_str_radix(&mode, 8).ok()),
            body_bytes_max: self.get("ingest.max_body")?,
            recording: self.get("ingest.recording")?,
        })
    }

    fn admin(&mut self) -> Option<http::AdminSettings> {
        let listen: Vec<Address> = self.get(ADMIN_LISTEN)?;
        self.beyond_needs_token(ADMIN_LISTEN, &listen, "admin.token_file");
        Some(http::AdminSettings {
            listen,
            token_file: self.get("admin.token_file"),
            console: self.get("admin.console")?,
        })
    }

    /// An address that another one includes can't be listened on.
    fn overlap(&mut self, all: &[(&str, &Address)]) {
        for (key, part) in all {
            if let Some((_, whole)) = all.iter().find(|(_, whole)| whole.covers(part)) {
                let text = format!("{key}: {} is a part of {}; expected one of them", Bare(part), Bare(whole));
                self.problem(key, text);
            }
        }
    }

    fn beyond_needs_token(&mut self, key: &str, listen: &[Address], token: &str) {
        if let Some(address) = listen.iter().find(|address| !address.is_local())
            && self.layers.global.setting(token).is_none()
        {
            let text = format!(
                "{key}: {address} can be reached from other machines; expected {token} beside it, \
                 or an address of this machine alone (127.0.0.1, [::1], unix:/path)"
            );
            self.problem(key, text);
        }
    }

    fn log(&self) -> Option<Log> {
        Some(Log { format: self.layers.log_format(), level: self.get::<String>("log.level")?.parse().ok()? })
    }

    fn lines(&self) -> Vec<Line> {
        let line = |table: String, key: &Key, setting: Option<&layers::Setting>| {
            let value = match (setting, key.absent) {
                (Some(setting), _) => Ok(setting.value.as_ref()?.to_string()),
                (None, Absent::Unset(meaning)) => Err(meaning),
                (None, _) => return None,
            };
            let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
            Some(Line { table, name: key.name(), value, origin })
        };
        let known = keys::KEYS.iter().enumerate().filter(|(_, key)| key.lacks.is_none());
        let global = known.map(|(index, key)| (key, self.layers.global.0.get(&index)));
        let mut lines: Vec<_> = global.filter_map(|(key, set)| line(key.table().into(), key, set)).collect();
        for (to, own) in &self.layers.channels {
            lines.extend(own.settings().filter_map(|(key, set)| line(channel_table(to), key, Some(set))));
        }
        lines
    }

    fn get<T: FromValue>(&self, path: &str) -> Option<T> {
        self.layers.global.get(path)
    }

    fn count<T: TryFrom<u64>>(&self, path: &str) -> Option<T> {
        T::try_from(self.get::<u64>(path)?).ok()
    }

    /// The value of a key that a real upstream needs.
    fn required<T: FromValue>(&mut self, path: &str) -> Option<T> {
        let (_, key) = keys::find(path)?;
        if self.layers.global.setting(path).is_none()
            && let Absent::Required(example) = key.absent
        {
            self.missing(&format!("{path} is missing: write {} = {example} under [{}]", key.name(), key.table()));
        }
        self.get(path)
    }

    fn missing(&mut self, text: &str) {
        // The hint comes once.
        let hinted = self.problems.iter().any(|problem| problem.origin == Origin::Default);
        let hint = if hinted { "" } else { " (no org at hand? typingd run --sandbox needs none)" };
        self.problems.push(Problem::missing(self.layers.file.as_deref(), format!("{text}{hint}")));
    }

    fn problem(&mut self, path: &str, text: impl std::fmt::Display) {
        self.problems.push(Problem::at(&self.layers.global.origin(path), text));
    }
}

/// The settings of one channel: its own, else those of all.
struct View<'a> {
    own: Option<&'a Scope>,
    global: &'a Scope,
}

impl View<'_> {
    fn get<T: FromValue>(&self, path: &str) -> Option<T> {
        let own = self.own.filter(|own| own.setting(path).is_some());
        own.unwrap_or(self.global).get(path)
    }

    /// The first place where one of `paths` is set.
    fn origin(&self, paths: &[&str]) -> Origin {
        let scopes = self.own.into_iter().chain([self.global]);
        let mut origins = scopes.flat_map(|scope| paths.iter().map(|path| scope.origin(path)));
        origins.find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default)
    }
}

/// The name of a channel's table, as in the file.
fn channel_table(to: &ChannelAddress) -> String {
    format!("{CHANNELS}.{}", Quoted(to.as_str()))
}

const TIMING: &str = "timing";
const DISMISS_AFTER: &str = "timing.dismiss_after";
const MAX_TYPING: &str = "timing.max_typing";
const LISTEN: &str = "ingest.listen";
const ADMIN_LISTEN: &str = "admin.listen";
const TOKEN_FILE: &str = "upstream.auth.token_file";
const JWT_BEARER: &str = "upstream.auth.jwt_bearer";

/// Where the origins stand in the effective settings: right of all but the longest ones.
const COMMENT_COLUMN: usize = 40;
