//! The table of all keys, from which everything else about a key is derived: its environment variable, default and
//! bounds, its line in `typingd check`, its place in the schema, the manual page and the reference.

use super::value::Kind;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The tables and the key, joined by dots: `timing.check_interval`.
    pub path: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// What applies when it is not set.
    pub absent: Absent,
    /// A sentence for the reference.
    pub doc: &'static str,
    /// Whether `[channels."<to>"]` may set it for one channel.
    pub per_channel: bool,
    /// The feature that it needs and this build lacks. Setting it is a problem.
    pub lacks: Option<&'static str>,
}

/// What applies when a key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// This value, as it would be written in the file.
    Default(&'static str),
    /// No value; what typingd then does.
    Unset(&'static str),
    /// A real upstream needs it; an example.
    Required(&'static str),
}

impl Key {
    /// Its table: `timing`.
    pub fn table(&self) -> &'static str {
        split(self.path).0
    }

    /// Its name in that table: `check_interval`.
    pub fn name(&self) -> &'static str {
        split(self.path).1
    }

    /// The environment variable that overrides the file: `TYPINGD_TIMING__CHECK_INTERVAL`.
    pub fn environment(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.path.to_ascii_uppercase().replace('.', "__"))
    }

    const fn new(path: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Self {
        Self { path, kind, absent, doc, per_channel: false, lacks: None }
    }

    const fn per_channel(self) -> Self {
        Self { per_channel: true, ..self }
    }

    const fn lacks(self, lacks: Option<&'static str>) -> Self {
        Self { lacks, ..self }
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

/// The known key that was most likely meant by `path`. A right name in the wrong table counts as near; of files only if it
/// is just right, for each table has other secrets.
pub(super) fn nearest_key(path: &str, eligible: impl Fn(&Key) -> bool) -> Option<&'static Key> {
    let score = |key: &Key| {
        let ((table, name), joined) = (split(path), |text: &str| text.replace('.', "_"));
        if matches!(key.kind, Kind::Path) && table != key.table() && !joined(path).ends_with(key.name()) {
            return None;
        }
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
        "The org's id: 15 characters, or 18 with their checksum. 15 are sent."),
    Key::new("upstream.authorization_context", Kind::Header, Required(r#""Partner1_ChannelDefinition1""#),
        "The authorization context of the channels that have none of their own. \"\" sends no such header.").per_channel(),
    Key::new("upstream.authorization_context_type", Kind::OneOf(CONTEXT_TYPES), Unset("no such header is sent"),
        "The header AuthorizationContextType, for products that ask for it."),
    Key::new("upstream.request_timeout", time(MILLI, 5 * MINUTE), Default(r#""5s""#),
        "The longest time from sending a request to the end of its response."),
    Key::new("upstream.max_requests_per_second", Kind::Integer { min: 1, max: REQUESTS_PER_SECOND_MAX }, Default("2000"),
        "Requests in any one-second window. Salesforce allows an org 2000, all its connectors together."),
    Key::new("upstream.max_in_flight", Kind::Integer { min: 1, max: IN_FLIGHT_MAX }, Default("256"),
        "The most requests in flight at a time."),
    Key::new("upstream.ca_file", Kind::Path, Unset("only the system's roots are trusted"),
        "A PEM file of certificates to trust in addition to the system's roots."),
    Key::new("upstream.proxy", Kind::Proxy, Unset("connections are direct; HTTPS_PROXY is not used"),
        "An HTTP proxy (CONNECT) for base_url and token_url where they are https to another machine."),
    Key::new("upstream.connect_to", Kind::SocketAddress, Unset("the name is resolved"),
        "The real address of base_url's host. Its name stays, in TLS too. Not with proxy."),
    Key::new("upstream.auth.token_file", Kind::Path, Required(r#""/run/secrets/salesforce-token""#),
        "A file with a bearer token, read again when it changes. Instead of jwt_bearer."),
    Key::new("upstream.auth.jwt_bearer.token_url", Kind::Url, Required(r#""https://login.salesforce.com/services/oauth2/token""#),
        "The token endpoint of the OAuth 2.0 JWT bearer flow."),
    Key::new("upstream.auth.jwt_bearer.consumer_key", Kind::Text, Required(r#""3MVG9…""#),
        "The connected app's consumer key."),
    Key::new("upstream.auth.jwt_bearer.subject", Kind::Text, Required(r#""user@example.com""#),
        "The name of the user that typingd acts as."),
    Key::new("upstream.auth.jwt_bearer.audience", Kind::Text, Required(r#""https://login.salesforce.com""#),
        "https://login.salesforce.com, or https://test.salesforce.com for a Salesforce sandbox org."),
    Key::new("upstream.auth.jwt_bearer.private_key_file", Kind::Path, Required(r#""/run/secrets/typingd.pem""#),
        "A PEM file with the RSA key, PKCS#1 or PKCS#8."),

    Key::new("timing.check_interval", time(MILLI, HOUR), Default(r#""5s""#),
        "How often typingd checks whether the user is still typing, and refreshes the icon.").per_channel(),
    Key::new("timing.dismiss_after", time(MILLI, HOUR), Default(r#""2s""#),
        "How long after the last keystroke (or after the icon came on, see dismiss) the icon goes off.").per_channel(),
    Key::new("timing.dismiss", Kind::OneOf(&["idle", "after_shown"]), Default(r#""idle""#),
        "Whether dismiss_after counts from the last keystroke (idle) or from each TypingStarted (after_shown).").per_channel(),
    Key::new("timing.max_typing", time(MILLI, 24 * HOUR), Default(r#""5m""#),
        "The longest unbroken typing; after it the icon goes off. At least dismiss_after.").per_channel(),
    Key::new("timing.require_open", Kind::Flag, Default("false"),
        "Whether to send nothing for a conversation before its first opened or message_sent.").per_channel(),

    Key::new("ingest.listen", Kind::Addresses { min: 1 }, Default(r#"["127.0.0.1:7480"]"#),
        "The listening addresses: IP addresses with ports, or unix:/path. Sockets passed by systemd replace them."),
    Key::new("ingest.token_file", Kind::Path, Unset("callers need no token"),
        "A file with the bearer token that callers must show. Required when listening beyond loopback."),
    Key::new("ingest.max_body", Kind::Bytes { min: KIB, max: BODY_BYTES_MAX }, Default(r#""1MiB""#),
        "The largest body of a request that is read as a whole."),
    Key::new("ingest.max_conversations", Kind::Integer { min: 1, max: CONVERSATIONS_MAX }, Default("1000000"),
        "The most conversations in memory at a time."),
    Key::new("ingest.recording", Kind::Flag, Default("false"),
        "Whether callers may record the times of your users' keystrokes (typingd record)."),
    Key::new("ingest.socket_mode", Kind::FileMode, Unset("the umask's"),
        "The file mode of Unix sockets that typingd makes, of [admin] too: \"0660\" lets its group call."),

    Key::new("admin.listen", Kind::Addresses { min: 0 }, Default("[]"),
        "Listening addresses for everything but signals and the drop-in. Empty: those of ingest serve it."),
    Key::new("admin.token_file", Kind::Path, Unset("the token of ingest.token_file serves"),
        "A file with the token for what changes, records or watches. Required when admin.listen is beyond loopback."),
    Key::new("admin.console", Kind::Flag, Default("true"),
        "Whether the web console is served."),

    Key::new("drop_in.enabled", Kind::Flag, Default("false"),
        "Whether to stand in front of the Interaction Service: interactions are read, everything else passes."),
    Key::new("drop_in.activity_lasts", time(MILLI, MINUTE), Default(r#""5s""#),
        "How long a connector's TypingStartedIndicator counts as typing."),
    Key::new("drop_in.settle", time(0, MINUTE), Default(r#""250ms""#),
        "How long a message may wait for its conversation's TypingStopped."),
    Key::new("drop_in.order_wait", time(MILLI, MINUTE), Default(r#""5s""#),
        "How long a request may wait for earlier ones of the same end user."),
    Key::new("drop_in.stall_timeout", time(MILLI, HOUR), Default(r#""60s""#),
        "How long a request or a response that passes through may stall."),
    Key::new("drop_in.drain", time(0, 10 * MINUTE), Default(r#""5s""#),
        "How long a shutdown lets messages pass while connectors still call. Within delivery.shutdown_grace."),
    Key::new("drop_in.borrow_credentials", Kind::Flag, Default("true"),
        "Whether typingd uses the credentials that connectors send if it has none of its own."),
    Key::new("drop_in.shadow", Kind::Flag, Default("false"),
        "Whether everything passes through and typingd only reports what it would have sent."),

    Key::new("delivery.started_lifespan", time(MILLI, 5 * MINUTE), Unset("the channel's check_interval, at most 5s"),
        "How old a TypingStarted may be when it is sent."),
    Key::new("delivery.stopped_lifespan", time(MILLI, 10 * MINUTE), Default(r#""60s""#),
        "How long an unacknowledged TypingStopped is retried."),
    Key::new("delivery.mute_for", time(0, 24 * HOUR), Default(r#""5m""#),
        "How long no icon is sent for a channel or conversation that Salesforce refused permanently."),
    Key::new("delivery.shutdown_grace", time(0, 10 * MINUTE), Default(r#""10s""#),
        "How long a shutdown may take to send every owed TypingStopped."),
    Key::new("delivery.state_dir", Kind::Path, Unset("a crash may leave icons on"),
        "A directory for the record of icons that are on, so that a crash leaves none on. One for each typingd."),
    Key::new("delivery.recover_within", time(SECOND, HOUR), Default(r#""10m""#),
        "How long after an icon was shown a crash still sends its TypingStopped; later it might open a new session."),

    Key::new("store.url", Kind::Store, Unset("this typingd is alone with the org's conversations"),
        "Redis 7 or Valkey that all typingd of the org share: rediss://, redis:// to this machine, or redis+unix:///path."),
    Key::new("store.username", Kind::Text, Unset("the server's default user"),
        "The user of the server's access list."),
    Key::new("store.password_file", Kind::Path, Unset("no password is shown"),
        "A file with the password, read again at each connection."),
    Key::new("store.ca_file", Kind::Path, Unset("the system's roots are trusted"),
        "A PEM file of certificates to trust instead of the system's roots."),
    Key::new("store.group", Kind::Text, Unset("the first 15 characters of upstream.org_id"),
        "What the typingd of one org have in common in the store: letters, digits, dots, - and _."),
    Key::new("store.lease", time(2 * SECOND, 30 * SECOND), Default(r#""3s""#),
        "How long a typingd that has died keeps its conversations: their icons are off a second later."),
    Key::new("store.when_unreachable", Kind::OneOf(&["alone", "dark"]), Default(r#""alone""#),
        "While the store is silent: serve every signal as without it (alone), or show no icon (dark)."),

    Key::new("log.format", Kind::OneOf(&["text", "json"]), Default(r#""text""#),
        "The format of log lines on standard error."),
    Key::new("log.level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), Default(r#""info""#),
        "The least severe level that is logged."),
    Key::new("log.otlp_endpoint", Kind::Url, Unset("no spans are exported"),
        "A collector for spans by OTLP over HTTP, such as http://127.0.0.1:4318. Needs a build with the feature otlp.").lacks(OTLP),
];

/// As the public reference lists them.
const CONTEXT_TYPES: &[&str] =
    &["ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant"];

const OTLP: Option<&str> = if cfg!(feature = "otlp") { None } else { Some("otlp") };

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
