//! A connection to the server, what the server says of itself, and why there is no answer.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, Value, cmd, from_redis_value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::codec::{Keys, SCHEMA, Script};
use super::place::{Address, Settings};

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server, or the way to it, says so.
    #[error("{}", explained(.0))]
    Server(#[from] RedisError),
    /// It ends the connection at the first word, and is spoken to in clear.
    #[error("it closes the connection; if it speaks TLS, expected rediss:// in store.url")]
    Closes,
    /// The same, and it is spoken to by TLS.
    #[error("it closes the connection; if it wants a certificate of its clients, expected tls-auth-clients no there")]
    ClosesTls,
    /// Nothing came.
    #[error("no answer within {RESPONSE_TIMEOUT:?}")]
    Late,
    /// The password can't be read.
    #[error("the file of its password, {}: {error}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The certificates can't be read.
    #[error("the file of its certificates, {}: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It is no store of typingd's.
    #[error("its answer is {0}")]
    Strange(#[from] super::codec::Strange),
    /// The user of its access list may not do all that typingd does.
    #[error("{}", forbidden(.0))]
    Forbidden(Vec<&'static str>),
    /// The user of its access list may not touch typingd's keys.
    #[error("its user may not access the keys {0}; expected in its access list: ~{0}")]
    ForbiddenKeys(String),
    /// It answers requests, and refuses to hand over mail.
    #[error("it hands over no mail: {0}")]
    NoMail(String),
    /// Typingd that serve another org have the group.
    #[error("{}", another_org(.0))]
    AnotherOrg(String),
    /// Typingd of another schema have the group.
    #[error("{}", another_schema(.0))]
    AnotherSchema(String),
    /// The server is too old.
    #[error("it is version {0}; expected 7.0 or newer")]
    Old(String),
}

impl Failure {
    /// Whether it is a clear answer, and no silence.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Server(error) => {
                error.code().is_some()
                    || error.kind() == ErrorKind::AuthenticationFailed
                    || error.is_connection_refusal()
            }
            // A way that is broken closes it, too.
            Self::Late | Self::Strange(_) | Self::ClosesTls => false,
            _ => true,
        }
    }

    /// Whether the next connection is likely to say what the cause is.
    pub(super) fn is_vague(&self) -> bool {
        match self {
            Self::Server(error) => lacks_permission(error) || error.is_connection_dropped(),
            // Perhaps it was so before.
            Self::NoMail(_) => true,
            _ => false,
        }
    }

    /// Names the keys that its user may not access.
    pub(super) fn about(self, keys: &Keys) -> Self {
        match self {
            Self::Server(error) if error.code() == Some(NO_PERMISSION) && forbidden_command(&error).is_none() => {
                Self::ForbiddenKeys(keys.of("*"))
            }
            failure => failure,
        }
    }
}

fn lacks_permission(error: &RedisError) -> bool {
    error.code() == Some(NO_PERMISSION) || error.to_string().contains(FORBIDDEN_IN_SCRIPT)
}

/// The command that the user of the access list may not execute, if it is one.
fn forbidden_command(error: &RedisError) -> Option<&str> {
    let (_, command) = error.detail()?.split_once(FORBIDDEN_COMMAND)?;
    command.split('\'').next()
}

fn forbidden(commands: &[&str]) -> String {
    format!("its user may not execute {}; expected in its access list: +{}", commands.join(", "), commands.join(" +"))
}

/// What the operator can do about an answer, or the answer as it is.
fn explained(error: &RedisError) -> String {
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("OOM") => "it is full: its maxmemory is reached; expected more memory, and noeviction".to_owned(),
        Some("READONLY") => "it is a replica, which takes no writes; expected the address of its primary".to_owned(),
        Some("NOREPLICAS") => "it takes no writes while it has too few replicas (min-replicas-to-write)".to_owned(),
        Some("MISCONF") => format!("it takes no writes while it can't save to disk: {detail}"),
        Some("NOAUTH") => "it wants a password; expected store.password_file".to_owned(),
        Some(NO_PERMISSION) => forbidden_command(error)
            .map_or_else(|| format!("its user lacks a permission: {detail}"), |command| forbidden(&[command])),
        _ if lacks_permission(error) => "its user lacks a permission".to_owned(),
        Some(ANOTHER_ORG) => another_org(detail),
        Some(ANOTHER_SCHEMA) => another_schema(detail),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            "it refuses the password or the user; expected those of its access list in store.username and \
             store.password_file"
                .to_owned()
        }
        Some("LOADING") => "it is loading its data, and answers once that is done".to_owned(),
        Some("MOVED" | "CLUSTERDOWN") => "it is one of a cluster; expected the address of a single server".to_owned(),
        _ if error.to_string().contains("DB index is out of range") => {
            "it has no database of that number; expected a lower one at the end of store.url".to_owned()
        }
        _ if error.to_string().contains(BAD_CERTIFICATE) => untrusted(&error.to_string()),
        _ if error.to_string().contains(NO_TLS) => {
            "it does not speak TLS; expected its port for TLS, or redis:// to this machine, in store.url".to_owned()
        }
        _ if error.is_timeout() => format!("no answer within {RESPONSE_TIMEOUT:?}"),
        Some("NOSCRIPT") => "it has forgotten the scripts, and is given them again".to_owned(),
        _ if error.is_connection_refusal() => "nothing listens at its address".to_owned(),
        _ if error.is_connection_dropped() => "it has closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// Why its certificate is refused, and what would help.
fn untrusted(error: &str) -> String {
    let reason = error.split(BAD_CERTIFICATE).nth(1).unwrap_or_default().trim_start_matches([':', ' ']);
    let (why, expected) =
        if reason.starts_with("certificate not valid for name") || reason.starts_with("NotValidForName") {
            ("is for another name", "the name that it is for in store.url")
        } else if reason.contains("expired") || reason.starts_with("Expired") {
            ("has expired", "a new one")
        } else if reason.contains(CA_AS_SERVER) {
            (
                "is a certificate authority's, which no server may show as its own",
                "one with basicConstraints CA:FALSE, or one that the authority has signed",
            )
        } else {
            ("is not trusted", "the certificate that it was signed with in store.ca_file")
        };
    format!("its certificate {why}; expected {expected} ({reason})")
}

fn another_org(org: &str) -> String {
    format!("another org ({org}) shares the group; expected a store.group of its own for each org")
}

fn another_schema(schema: &str) -> String {
    format!(
        "typingd of another schema ({schema}, and this is {SCHEMA}) share the group; expected one version of typingd, or \
         another store.group until all are updated"
    )
}

/// What the access list forbids.
const NO_PERMISSION: &str = "NOPERM";

/// How the TLS library says that a certificate won't do, and that the server speaks something else.
const BAD_CERTIFICATE: &str = "invalid peer certificate";
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";
const NO_TLS: &str = "received corrupt message";

/// What stands before the command that it forbids.
const FORBIDDEN_COMMAND: &str = "permissions to run the '";

/// What a script is told of that.
const FORBIDDEN_IN_SCRIPT: &str = "can't run this command";

/// How the script of a heartbeat begins its refusal.
const ANOTHER_ORG: &str = "ANOTHERORG";
const ANOTHER_SCHEMA: &str = "ANOTHERSCHEMA";

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) version: String,
    policy: String,
}

impl Facts {
    /// `None` where the access list forbids to ask.
    fn of(info: RedisResult<Value>) -> Option<Self> {
        let info: String = from_redis_value(info.ok()?).ok()?;
        let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Some(Self {
            version: value("valkey_version").or(value("redis_version")).unwrap_or("7").trim().to_owned(),
            policy: value("maxmemory_policy").unwrap_or("noeviction").trim().to_owned(),
        })
    }

    fn is_old(&self) -> bool {
        self.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 7)
    }

    /// What will do for now, and should be otherwise.
    pub(super) fn warning(&self) -> Option<String> {
        let policy = &self.policy;
        (policy != "noeviction").then(|| {
            format!(
                "its maxmemory-policy is {policy}: it may forget whose a conversation is, and its icon would stay on; \
                 expected noeviction"
            )
        })
    }
}

/// Writes a connection's requests and reads their answers.
type Io = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that knows the scripts.
pub(super) struct Server {
    connection: MultiplexedConnection,
    /// Nothing where a task of its own does it.
    io: Option<Io>,
    pub(super) facts: Option<Facts>,
    /// By the order of [`Script::ALL`].
    pub(super) digests: Vec<String>,
}

impl Server {
    /// Asks, and reads the answer.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        carry(&mut self.io, command.query_async(&mut self.connection)).await
    }
}

/// Waits for `asked`, and does its input and output meanwhile: a request is on the socket before any other task has its
/// turn, and its answer is read by who waits for it.
async fn carry<T>(io: &mut Option<Io>, asked: impl Future<Output = T>) -> T {
    let mut asked = pin!(asked);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = asked.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if io.as_mut().is_some_and(|io| io.as_mut().poll(cx).is_ready()) {
            *io = None;
        }
        asked.as_mut().poll(cx)
    })
    .await
}

/// Connects, loads the scripts, and tries each command that typingd uses, itself or in a script: all in one round trip,
/// however far the server is.
pub(super) async fn prepare(settings: &Settings) -> Result<Server, Failure> {
    let address = &settings.place.address;
    let connected = connect_here(settings).await.map_err(|failure| closed(failure, address));
    let (mut connection, mut io) = connected?;
    let mut all = redis::pipe();
    all.cmd("INFO");
    for script in Script::ALL {
        all.cmd("SCRIPT").arg("LOAD").arg(script.text());
    }
    let keys = Keys::new(&settings.group);
    let trials = trials(&keys);
    let (names, commands): (Vec<_>, Vec<_>) = trials.into_iter().unzip();
    for command in commands {
        all.add_command(command);
    }
    let answers = carry(&mut io, all.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection)).await;
    let mut answers = answers.map_err(|error| closed(error.into(), address))?;
    let tried = answers.split_off(answers.len().saturating_sub(names.len()));
    let mut answers = answers.into_iter();
    let facts = answers.next().and_then(Facts::of);
    if let Some(facts) = facts.as_ref().filter(|facts| facts.is_old()) {
        return Err(Failure::Old(facts.version.clone()));
    }
    let digests = answers.map(|digest| Ok(from_redis_value(digest?)?)).collect::<RedisResult<_>>()?;
    // Where one is forbidden that a heartbeat doesn't need, leases would be renewed all the same, and icons be wrong.
    let mut forbidden = Vec::new();
    for (name, answer) in names.into_iter().zip(tried) {
        match answer {
            Err(error) if error.code() == Some(NO_PERMISSION) && forbidden_command(&error).is_some() => {
                forbidden.push(name);
            }
            // One that concerns a key is the same for all commands.
            Err(error) => return Err(Failure::Server(error).about(&keys)),
            Ok(_) => {}
        }
    }
    if forbidden.is_empty() {
        Ok(Server { connection, io, facts, digests })
    } else {
        Err(Failure::Forbidden(forbidden))
    }
}

/// A server that ends the connection at the first word wants to be spoken to otherwise.
fn closed(failure: Failure, address: &Address) -> Failure {
    let Failure::Server(error) = &failure else { return failure };
    let is_dropped = error.is_connection_dropped() && !error.is_connection_refusal();
    match address {
        Address::Tcp(..) if is_dropped => Failure::Closes,
        Address::Tls(..) if is_dropped || error.to_string().contains("CertificateRequired") => Failure::ClosesTls,
        _ => failure,
    }
}

/// Each command that typingd uses, with keys of its own, which they remove.
fn trials(keys: &Keys) -> [(&'static str, Cmd); 17] {
    // The same for all that try: what a user who may not remove it leaves behind is three keys at most.
    let [hash, list, set] = ["hash", "list", "set"].map(|kind| keys.of(&format!("check:{kind}")));
    let of = |name: &'static str, key: &str, args: &[&str]| {
        let mut command = cmd(name);
        command.arg(key).arg(args);
        (name, command)
    };
    let mut pop = cmd("blmpop");
    pop.arg("0.01").arg(1).arg(&list).arg("LEFT").arg("COUNT").arg(1);
    [
        ("time", cmd("time")),
        of("hset", &hash, &["field", "typingd check"]),
        of("hget", &hash, &["field"]),
        of("hmget", &hash, &["field"]),
        of("hgetall", &hash, &[]),
        of("hscan", &hash, &["0", "COUNT", "1"]),
        of("hdel", &hash, &["field"]),
        of("rpush", &list, &["typingd check"]),
        of("pexpire", &list, &["10000"]),
        of("llen", &list, &[]),
        of("lrange", &list, &["0", "-1"]),
        ("blmpop", pop),
        of("zadd", &set, &["1", "typingd check"]),
        of("zscore", &set, &["typingd check"]),
        of("zrangebyscore", &set, &["-inf", "+inf"]),
        of("zrem", &set, &["typingd check"]),
        of("del", &list, &[&hash, &set]),
    ]
}

/// A connection whose input and output a task of its own does.
pub(super) async fn connect(settings: &Settings, response_timeout: Duration) -> Result<MultiplexedConnection, Failure> {
    let as_whom = as_whom(settings).await?;
    let address = match &settings.place.address {
        Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Tls(host, port) => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let info = address.into_connection_info()?.set_redis_settings(as_whom);
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = match &settings.ca_file {
        Some(path) => {
            let root = tokio::fs::read(path).await;
            let root = root.map_err(|error| Failure::Certificates { path: path.clone(), error })?;
            Client::build_with_tls(info, redis::TlsCertificates { client_tls: None, root_cert: Some(root) })?
        }
        None => Client::open(info)?,
    };
    Ok(client.get_multiplexed_async_connection_with_config(&timeouts(response_timeout)).await?)
}

/// A connection whose input and output is done here, but with TLS.
async fn connect_here(settings: &Settings) -> Result<(MultiplexedConnection, Option<Io>), Failure> {
    match &settings.place.address {
        Address::Tcp(host, port) => {
            let stream =
                within(async { Ok(TcpStream::connect((host.as_str(), *port)).await.map_err(RedisError::from)?) });
            let stream = stream.await?;
            stream.set_nodelay(true).map_err(RedisError::from)?;
            within(greet(settings, stream)).await
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(RedisError::from)?;
            within(greet(settings, stream)).await
        }
        Address::Tls(..) => Ok((connect(settings, RESPONSE_TIMEOUT).await?, None)),
    }
}

async fn within<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(RESPONSE_TIMEOUT, step).await.unwrap_or(Err(Failure::Late))
}

async fn greet<C>(settings: &Settings, stream: C) -> Result<(MultiplexedConnection, Option<Io>), Failure>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let as_whom = as_whom(settings).await?;
    let (connection, io) = MultiplexedConnection::new_with_config(&as_whom, stream, timeouts(RESPONSE_TIMEOUT)).await?;
    Ok((connection, Some(Box::pin(io))))
}

async fn as_whom(settings: &Settings) -> Result<RedisConnectionInfo, Failure> {
    let mut as_whom = RedisConnectionInfo::default().set_db(settings.place.database.into()).set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        as_whom = as_whom.set_username(username);
    }
    if let Some(path) = &settings.password_file {
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|error| Failure::Password { path: path.clone(), error })?;
        as_whom = as_whom.set_password(text.trim_end_matches(['\r', '\n']));
    }
    Ok(as_whom)
}

fn timeouts(response: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(Some(response))
}

/// A request without an answer for so long has none.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// A connection by TLS takes three round trips.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
