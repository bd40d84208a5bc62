//! The table of all keys: one row for each, from which everything else about a key is derived: whether a name is known
//! and which known one is near it, its environment variable, its default, its bounds, its line in `typingd check`, and
//! its place in the manual.

use super::value::Kind;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The tables and the key, joined by dots: `timing.check_interval`.
    pub path: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// What holds when nobody sets it.
    pub absent: Absent,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// Whether `[channels."<to>"]` may set it for one channel.
    pub per_channel: bool,
    /// What it does in this build.
    pub status: Status,
}

/// What holds when nobody sets a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// This value, as it would be written in the file.
    Default(&'static str),
    /// No value; what typingd then does.
    Unset(&'static str),
    /// A real upstream can't do without; a value to show how it is written.
    Required(&'static str),
}

/// What a key does in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What its row says.
    Works,
    /// Nothing, for this build lacks the feature of that name; leaving it unused would deceive: it is a problem.
    Lacks(&'static str),
}

impl Key {
    /// The table it stands in: `timing`.
    #[must_use]
    pub fn table(&self) -> &'static str {
        split(self.path).0
    }

    /// Its name in that table: `check_interval`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        split(self.path).1
    }

    /// The environment variable that overrides the file: `TYPINGD_TIMING__CHECK_INTERVAL`.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.path.to_ascii_uppercase().replace('.', "__"))
    }

    const fn new(path: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Self {
        Self { path, kind, absent, doc, per_channel: false, status: Status::Works }
    }

    const fn per_channel(self) -> Self {
        Self { per_channel: true, ..self }
    }

    const fn status(self, status: Status) -> Self {
        Self { status, ..self }
    }
}

/// The key's row and its index.
pub(super) fn find(path: &str) -> Option<(usize, &'static Key)> {
    KEYS.iter().enumerate().find(|(_, key)| key.path == path)
}

/// Whether `path` is a table: one with keys or one with tables in it.
pub(super) fn is_table(path: &str) -> bool {
    path == CHANNELS || KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The known key that was most likely meant by `path`. A right name in the wrong table counts as near.
pub(super) fn nearest_key(path: &str, eligible: impl Fn(&Key) -> bool) -> Option<&'static Key> {
    let score = |key: &Key| {
        let ((table, name), joined) = (split(path), |text: &str| text.replace('.', "_"));
        let name = if joined(path) == joined(key.path) { 1.0 } else { strsim::jaro_winkler(name, key.name()) };
        (name >= NEAR).then(|| name + 0.1 * strsim::jaro_winkler(table, key.table()))
    };
    let scored = KEYS.iter().filter(|key| eligible(key)).filter_map(|key| Some((score(key)?, key)));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
}

/// The known table that was most likely meant by `path`.
pub(super) fn nearest_table(path: &str) -> Option<&'static str> {
    let tables = KEYS.iter().map(Key::table).chain([CHANNELS]);
    let scored = tables.map(|table| (strsim::jaro_winkler(path, table), table)).filter(|(score, _)| *score >= NEAR);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, table)| table)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

const fn time(min: u64, max: u64) -> Kind {
    Kind::Time { min, max }
}

use Absent::{Default, Required, Unset};

/// All keys, in the order of the manual.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key::new("upstream.base_url", Kind::Url, Required(r#""https://mydomain.my.salesforce-scrt.com""#),
        "The Interaction Service of your org; https, or plain http to a loopback address."),
    Key::new("upstream.org_id", Kind::OrgId, Required(r#""00DXX0000000001""#),
        "The org's id, 15 or 18 characters."),
    Key::new("upstream.authorization_context", Kind::Header, Required(r#""Partner1_ChannelDefinition1""#),
        "The authorization context of the channels that have none of their own.").per_channel(),
    Key::new("upstream.request_timeout", time(MILLI, 5 * MINUTE), Default(r#""5s""#),
        "From a request's leaving to the end of its answer."),
    Key::new("upstream.max_requests_per_second", Kind::Integer { min: 1, max: REQUESTS_PER_SECOND_MAX }, Default("2000"),
        "Requests in any one-second window; Salesforce allows an org 2000, all its connectors together."),
    Key::new("upstream.max_in_flight", Kind::Integer { min: 1, max: IN_FLIGHT_MAX }, Default("256"),
        "Requests that may be under way at a time."),
    Key::new("upstream.ca_file", Kind::Path, Unset("the system's roots alone are trusted"),
        "A PEM file of certificates to trust beside the system's roots."),
    Key::new("upstream.proxy", Kind::Proxy, Unset("connections are made directly; HTTPS_PROXY is not used"),
        "An HTTP proxy (CONNECT) for base_url and token_url where they are https to another machine: http://proxy:3128."),
    Key::new("upstream.connect_to", Kind::SocketAddress, Unset("the name service is asked"),
        "Where the host of base_url really is, an IP address with a port; its name stays, in TLS too."),
    Key::new("upstream.auth.token_file", Kind::Path, Required(r#""/run/secrets/salesforce-token""#),
        "A file that holds a bearer token, read again when it changes; instead of jwt_bearer."),
    Key::new("upstream.auth.jwt_bearer.token_url", Kind::Url, Required(r#""https://login.salesforce.com/services/oauth2/token""#),
        "The token endpoint of the OAuth 2.0 JWT bearer flow."),
    Key::new("upstream.auth.jwt_bearer.consumer_key", Kind::Text, Required(r#""3MVG9…""#),
        "The connected app's consumer key."),
    Key::new("upstream.auth.jwt_bearer.subject", Kind::Text, Required(r#""user@example.com""#),
        "The name of the user that typingd acts for."),
    Key::new("upstream.auth.jwt_bearer.audience", Kind::Text, Required(r#""https://login.salesforce.com""#),
        "https://login.salesforce.com, or https://test.salesforce.com for a Salesforce sandbox org."),
    Key::new("upstream.auth.jwt_bearer.private_key_file", Kind::Path, Required(r#""/run/secrets/typingd.pem""#),
        "A PEM file with the RSA key, PKCS#1 or PKCS#8."),

    Key::new("timing.check_interval", time(MILLI, HOUR), Default(r#""5s""#),
        "How often it is looked whether the user is still typing.").per_channel(),
    Key::new("timing.dismiss_after", time(MILLI, HOUR), Default(r#""2s""#),
        "When the icon goes off by itself.").per_channel(),
    Key::new("timing.dismiss", Kind::OneOf(&["idle", "after_shown"]), Default(r#""idle""#),
        "Whether dismiss_after counts from the last keystroke (idle) or from the icon's showing (after_shown).").per_channel(),
    Key::new("timing.max_typing", time(MILLI, 24 * HOUR), Default(r#""5m""#),
        "The longest unbroken typing that is believed; at least dismiss_after.").per_channel(),
    Key::new("timing.require_open", Kind::Flag, Default("false"),
        "Whether to wait for a conversation's first opened or message_sent before telling Salesforce of it.").per_channel(),

    Key::new("ingest.listen", Kind::Addresses, Default(r#"["127.0.0.1:7480"]"#),
        "Where typingd listens: an IP address with a port, or unix:/path."),
    Key::new("ingest.token_file", Kind::Path, Unset("callers need no token"),
        "A file with the bearer token asked of callers; required when listening beyond loopback."),
    Key::new("ingest.max_body", Kind::Bytes { min: KIB, max: BODY_BYTES_MAX }, Default(r#""1MiB""#),
        "The largest body of a request that is read as a whole."),
    Key::new("ingest.max_conversations", Kind::Integer { min: 1, max: CONVERSATIONS_MAX }, Default("1000000"),
        "Conversations kept in memory at a time."),
    Key::new("ingest.recording", Kind::Flag, Default("false"),
        "Whether callers may record when your users type, by GET /v1/signals/stream or typingd record."),

    Key::new("drop_in.enabled", Kind::Flag, Default("false"),
        "Whether to stand in front of the Interaction Service: its interactions are read, all else passes."),
    Key::new("drop_in.activity_lasts", time(MILLI, MINUTE), Default(r#""5s""#),
        "How long a TypingStartedIndicator counts as typing."),
    Key::new("drop_in.settle", time(0, MINUTE), Default(r#""250ms""#),
        "How long a message may wait for its conversation's Stopped."),
    Key::new("drop_in.order_wait", time(MILLI, MINUTE), Default(r#""5s""#),
        "How long a request may wait for those of the same end user before it."),
    Key::new("drop_in.stall_timeout", time(MILLI, HOUR), Default(r#""60s""#),
        "How long a request or an answer that passes through may stand still."),
    Key::new("drop_in.drain", time(0, 10 * MINUTE), Default(r#""5s""#),
        "How long a shutdown lets messages pass while connectors go on calling; within delivery.shutdown_grace."),
    Key::new("drop_in.borrow_credentials", Kind::Flag, Default("true"),
        "Whether typingd uses the credentials that connectors send, if it has none of its own."),
    Key::new("drop_in.shadow", Kind::Flag, Default("false"),
        "Whether everything passes through, and typingd only tells what it would have sent."),

    Key::new("delivery.started_lifespan", time(MILLI, 5 * MINUTE), Unset("the channel's check_interval, at most 5s"),
        "How old a TypingStarted may be when it leaves."),
    Key::new("delivery.stopped_lifespan", time(MILLI, 10 * MINUTE), Default(r#""60s""#),
        "How long a TypingStopped that was not acknowledged is tried again."),
    Key::new("delivery.mute_for", time(0, 24 * HOUR), Default(r#""5m""#),
        "How long a channel or conversation that Salesforce refused is left alone."),
    Key::new("delivery.shutdown_grace", time(0, 10 * MINUTE), Default(r#""10s""#),
        "How long a shutdown may take to send every owed TypingStopped."),
    Key::new("delivery.state_dir", Kind::Path, Unset("a crash may leave icons on"),
        "A directory that remembers which icons are on, so that a crash leaves none on; one for each typingd."),
    Key::new("delivery.recover_within", time(SECOND, HOUR), Default(r#""10m""#),
        "How long after an icon was shown a crash is still made good; later a TypingStopped might open a new session."),

    Key::new("log.format", Kind::OneOf(&["text", "json"]), Default(r#""text""#),
        "How log lines are written to standard error."),
    Key::new("log.level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), Default(r#""info""#),
        "The least weight of a line that is logged."),
    Key::new("log.otlp_endpoint", Kind::Url, Unset("no spans are exported"),
        "Where a collector takes spans by OTLP over HTTP: http://127.0.0.1:4318. Needs a build with the feature otlp.").status(OTLP),
];

/// Whether spans can be exported.
const OTLP: Status = if cfg!(feature = "otlp") { Status::Works } else { Status::Lacks("otlp") };

/// The table of the tables of single channels.
pub(super) const CHANNELS: &str = "channels";

/// What the names of all environment variables start with.
pub(super) const ENVIRONMENT_PREFIX: &str = "TYPINGD_";

/// How like a known name (Jaro-Winkler, 0 to 1) an unknown one must be for the known one to be suggested. `check` is
/// 0.87 like `check_interval`; names that have nothing to do with each other mostly stay below 0.7.
const NEAR: f64 = 0.8;

// Milliseconds. The least time is one of them, for tests run the whole daemon in milliseconds. The greatest are those
// beyond which the feature is no longer what it is: an icon that is looked after once an hour, a request that takes
// five minutes, an icon still owed ten minutes later, typing that goes on for a day.
const MILLI: u64 = 1;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

const KIB: u64 = 1_024; // The least body: one signal with ids of 240 characters and an `at` takes 560 bytes.
/// The greatest body. It is held in memory, once for each of up to 512 connections; a longer one is for NDJSON.
const BODY_BYTES_MAX: u64 = 64 * KIB * KIB;
/// Fifty times the org's documented limit, for sandboxes and load tests.
const REQUESTS_PER_SECOND_MAX: u64 = 100_000;
/// Each is a connection or a stream of one; more would meet the limits of file descriptors.
const IN_FLIGHT_MAX: u64 = 10_000;
/// Nine hundred times the 11,000 sessions that an org may have; some gigabytes, at some hundred bytes each.
const CONVERSATIONS_MAX: u64 = 10_000_000;
