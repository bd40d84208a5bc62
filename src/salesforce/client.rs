//! The client: one dispatch, one request, one result.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, VIA};
use reqwest::{Certificate, NoProxy, redirect, retry};
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

use super::answer::{self, Verdict, not_sent, unsure};
use super::payload::{self, Departure, Ids};
use super::proxy::DIRECT;
use super::settings::{Auth, Settings};
use super::token::{TokenFigures, TokenState, Tokens, check_key};
use crate::base::clock::{self, Clock};
use crate::base::files;
use crate::model::{Cause, ChannelAddress, Dispatch, Indicator, Outcome, Rejection, Transient, WireResult};
use crate::salesforce::credentials::{
    AUTHORIZATION_CONTEXT, CredentialCache, Credentials, NoneGood, ORG_ID, REFUSED_FOR, Within,
};
use crate::salesforce::via;

/// Speaks to the Interaction Service. Cheap to clone; clones share connections and token.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    http: reqwest::Client,
    clock: Clock,
    ids: Ids,
    tokens: Tokens,
    /// The credentials that connectors showed, if those are used ([`Auth::Cached`]).
    cache: Option<CredentialCache>,
    interactions: Url,
    org_id: HeaderValue,
    authorization_context: HeaderValue,
    channel_contexts: HashMap<ChannelAddress, HeaderValue>,
    request_timeout: Duration,
    /// No Started waits for a token any more.
    closing: watch::Sender<bool>,
}

impl Client {
    /// A client that has not spoken to anybody yet. With [`Auth::Cached`] it uses what `cache` holds.
    ///
    /// # Errors
    /// When `ca_file` can't be read or holds no certificate, when a setting can't be a header's value, or when there
    /// are no trusted roots for https.
    pub fn with_cache(settings: Settings, clock: Clock, cache: CredentialCache) -> Result<Self, SetupError> {
        Self::with_ids(Ids::new(), settings, clock, cache)
    }

    fn with_ids(ids: Ids, settings: Settings, clock: Clock, cache: CredentialCache) -> Result<Self, SetupError> {
        let http = http(&settings)?;
        let interactions = interactions(&settings.base_url)?;
        let context = |text: &str| header_value("authorization_context", text);
        let channel_contexts = settings.channel_contexts.iter();
        let cache = (settings.auth == Auth::Cached).then_some(cache);
        Ok(Self(Arc::new(Shared {
            clock,
            cache,
            ids,
            interactions,
            org_id: header_value("org_id", &settings.org_id)?,
            authorization_context: context(&settings.authorization_context)?,
            channel_contexts: channel_contexts
                .map(|(channel, text)| Ok((channel.clone(), context(text)?)))
                .collect::<Result<_, SetupError>>()?,
            request_timeout: settings.request_timeout,
            tokens: Tokens::new(settings.auth, http.clone(), settings.request_timeout, clock),
            http,
            closing: watch::Sender::new(false),
        })))
    }

    /// A client in the place of `predecessor`: a retry keeps its ids, and the token stays in use if this one would ask for
    /// it in the same way.
    ///
    /// # Errors
    /// As [`Client::with_cache`].
    pub fn succeeding(
        predecessor: &Self,
        settings: Settings,
        clock: Clock,
        cache: CredentialCache,
    ) -> Result<Self, SetupError> {
        let client = Self::with_ids(predecessor.0.ids.clone(), settings, clock, cache)?;
        client.0.tokens.succeed(&predecessor.0.tokens);
        Ok(client)
    }

    /// A client with credentials of its own.
    ///
    /// # Errors
    /// As [`Client::with_cache`].
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, SetupError> {
        Self::with_cache(settings, clock, CredentialCache::new(clock, REFUSED_FOR))
    }

    /// Sends one request, once, and says what became of it within `request_timeout`, a wait for the token included.
    ///
    /// Dropping the future gives the request up; whether it was applied is then unknown.
    pub async fn deliver(&self, dispatch: &Dispatch) -> WireResult {
        let deadline = clock::timer_after(self.0.request_timeout);
        let result = match &self.0.cache {
            Some(cache) => self.0.request_with_cached(dispatch, cache, deadline).await,
            None => self.0.request_with_token(dispatch, deadline).await,
        };
        tracing::debug!(
            to = dispatch.conversation.to(),
            indicator = dispatch.indicator().name(),
            reason = dispatch.reason.name(),
            attempt = dispatch.attempt,
            outcome = ?result.outcome,
            status = result.status,
            code = result.code,
            detail = result.detail,
            elapsed = ?result.elapsed,
            "request"
        );
        result
    }

    /// The `RequestId` of the requests of a decision: of the first, and of all that repeat it.
    #[must_use]
    pub fn request_id(&self, decision: u64) -> Uuid {
        self.0.ids.request(decision)
    }

    /// Whether a token is in hand at this moment, and why not. Holds no secret. With cached credentials there is nothing
    /// to fetch: it is the connector's turn, which may itself wait for typingd.
    #[must_use]
    pub fn token_state(&self) -> TokenState {
        if self.0.cache.is_some() { TokenState::Held } else { self.0.tokens.state() }
    }

    /// How the token fares; `None` with cached credentials.
    #[must_use]
    pub fn token_figures(&self) -> Option<TokenFigures> {
        self.0.cache.is_none().then(|| self.0.tokens.figures())
    }

    /// Fetches the first token unless there is one, and says how that went within `request_timeout`.
    pub async fn warm_up(&self) -> TokenState {
        if self.0.cache.is_some() {
            return TokenState::Held;
        }
        // What it finds is in the state; a token that comes late is as good as one that comes in time.
        let _ = tokio::time::timeout(self.0.request_timeout, self.0.tokens.current()).await;
        self.token_state()
    }

    /// From now on a Started that has no token yet is given up at once: nobody is to be shown an icon any more, and a
    /// token endpoint that hangs would hold up the end.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Whether the file of the token, if there is one, can be read and holds one at this moment.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub async fn check_token_file(&self) -> Result<(), String> {
        self.0.tokens.check_file().await
    }

    /// Keeps a fresh token in hand, though nobody types, and notices a changed token file within a second. Never
    /// returns; dropping it is harmless, for deliveries fetch what they miss.
    pub async fn keep_token_fresh(self) {
        if self.0.cache.is_some() {
            std::future::pending::<()>().await;
        }
        self.0.tokens.keep_fresh().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("interactions", &self.0.interactions.as_str()).finish_non_exhaustive()
    }
}

impl Shared {
    async fn request_with_token(&self, dispatch: &Dispatch, deadline: tokio::time::Instant) -> WireResult {
        let token = tokio::select! {
            biased;
            token = tokio::time::timeout_at(deadline, self.tokens.current()) => token,
            () = self.given_up(dispatch) => {
                return unanswered(not_sent(Cause::Token), Some("the daemon stops".into()), Duration::ZERO);
            }
        };
        let token = match token {
            Ok(Ok(token)) => token,
            Ok(Err(denied)) => {
                // Asking again costs nothing but a look at the token: a mended one must not wait out a long back-off.
                let retry_after = Some(denied.retry_after.min(TOKEN_LOOK_SPACING));
                let setback = Transient { cause: Cause::Token, retry_after };
                return unanswered(Outcome::NotSent(setback), denied.why, Duration::ZERO);
            }
            Err(_) => {
                return unanswered(not_sent(Cause::Token), Some("no token in time".into()), Duration::ZERO);
            }
        };
        let context = self.channel_contexts.get(dispatch.conversation.to()).unwrap_or(&self.authorization_context);
        let credentials = Credentials {
            authorization: token.bearer().clone(),
            org_id: self.org_id.clone(),
            authorization_context: context.clone(),
        };
        let result = self.request(dispatch, &credentials, deadline).await;
        match result.outcome {
            Outcome::NotSent(Transient { cause: Cause::Token, .. }) => self.tokens.refused(&token),
            Outcome::Delivered => self.tokens.accepted(&token),
            _ => {}
        }
        result
    }

    /// Ends when the request of `dispatch` is not to leave any more.
    async fn given_up(&self, dispatch: &Dispatch) {
        if dispatch.indicator() == Indicator::TypingStarted {
            // Fails only without a sender, which `self` holds.
            let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Uses what connectors have shown. What is missing concerns this conversation alone, so that the others are not asked
    /// to wait.
    async fn request_with_cached(
        &self,
        dispatch: &Dispatch,
        cache: &CredentialCache,
        deadline: tokio::time::Instant,
    ) -> WireResult {
        let channel = dispatch.conversation.to();
        let context = self.channel_contexts.get(channel).unwrap_or(&self.authorization_context);
        let within = Within { org_id: self.org_id.as_bytes(), authorization_context: context.as_bytes() };
        let selected = cache.select(channel, dispatch.credentials, dispatch.indicator(), within);
        let (id, credentials) = match selected {
            Ok(selected) => selected,
            Err(NoneGood { again_after }) => {
                let why = "no connector has shown credentials that Salesforce accepts for this conversation";
                let setback = Transient { cause: Cause::NoCredentials, retry_after: again_after };
                return unanswered(Outcome::NotSent(setback), Some(why.into()), Duration::ZERO);
            }
        };
        let mut result = self.request(dispatch, &credentials, deadline).await;
        if matches!(result.outcome, Outcome::NotSent(Transient { cause: Cause::Token, .. })) {
            cache.reject(id, result.code, result.detail.as_deref());
            result.outcome = not_sent(Cause::Credentials);
        } else if result.status.is_some_and(|status| (200..300).contains(&status)) {
            cache.accept(id, Some(channel));
        } else if result.outcome == Outcome::Rejected(Rejection::Channel) {
            // It may be this set's context that is wrong: those who show another must not be muted for it.
            result.outcome = Outcome::Rejected(Rejection::Conversation);
        }
        result
    }

    async fn request(
        &self,
        dispatch: &Dispatch,
        credentials: &Credentials,
        deadline: tokio::time::Instant,
    ) -> WireResult {
        let stopwatch = clock::stopwatch();
        let departure = Departure::default();
        let request = match self.build(dispatch, credentials, &departure) {
            Ok(request) => request,
            Err(detail) => {
                return unanswered(Outcome::Rejected(Rejection::Request), Some(detail), stopwatch.elapsed());
            }
        };
        let failed = |detail: String| {
            let outcome = if departure.has_happened() { unsure(Cause::NoAnswer) } else { not_sent(Cause::Unreachable) };
            unanswered(outcome, Some(detail), stopwatch.elapsed())
        };
        let response = match tokio::time::timeout_at(deadline, self.http.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(answer::error_text(error)),
            Err(_) if departure.has_happened() => return failed("no answer in time".into()),
            Err(_) => return failed("no connection in time".into()),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = answer::read_body(response, deadline).await;
        let elapsed = stopwatch.elapsed();
        let Verdict { outcome, code, detail } = answer::classify(status, &headers, &body, credentials.secret());
        // The far side's message goes to logs, where end users have no names.
        let detail = detail.map(|text| answer::unnamed(&text, dispatch.conversation.from()));
        WireResult { outcome, status: Some(status.as_u16()), code, detail, elapsed }
    }

    fn build(
        &self,
        dispatch: &Dispatch,
        credentials: &Credentials,
        departure: &Departure,
    ) -> Result<reqwest::Request, String> {
        let json = payload::json(dispatch, self.ids.payload(dispatch.decision), &self.clock);
        let form = payload::form(json.map_err(|error| error.to_string())?, departure);
        self.http
            .post(self.interactions.clone())
            .header(AUTHORIZATION, credentials.authorization.clone())
            .header(ORG_ID, credentials.org_id.clone())
            .header(AUTHORIZATION_CONTEXT, credentials.authorization_context.clone())
            .header(REQUEST_ID, self.ids.request(dispatch.decision).to_string())
            .header(ACCEPT, "application/json")
            .header(VIA, via::own())
            .multipart(form.map_err(answer::error_text)?)
            .build()
            .map_err(answer::error_text)
    }
}

fn unanswered(outcome: Outcome, detail: Option<String>, elapsed: Duration) -> WireResult {
    WireResult { outcome, status: None, code: None, detail, elapsed }
}

/// `{base_url}/api/v1/interactions`, whether or not `base_url` ends in a slash.
fn interactions(base_url: &Url) -> Result<Url, SetupError> {
    let mut url = base_url.clone();
    url.path_segments_mut().map_err(|()| SetupError::BaseUrl)?.pop_if_empty().extend(["api", "v1", "interactions"]);
    Ok(url)
}

fn header_value(setting: &'static str, text: &str) -> Result<HeaderValue, SetupError> {
    HeaderValue::from_str(text).map_err(|_| SetupError::Header { setting })
}

/// What is wrong with the files that `settings` name, for an answer at the start rather than at the first request. A
/// token file is not among them: somebody else keeps it, and it may come later.
#[must_use]
pub fn file_problems(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(path) = &settings.ca_file
        && let Err(error) = certificates(path)
    {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        problems.push(format!("{error}{cause}"));
    }
    if let Auth::JwtBearer(jwt) = &settings.auth {
        problems.extend(check_key(jwt).err());
    }
    problems
}

/// Connections: HTTP/2 where the far side offers it, else HTTP/1.1 kept alive. Redirects are not followed, for they
/// would carry the token elsewhere; the environment's proxies are not used, for the file is where settings come from
/// (`no_proxy` comes first, and the one of the settings after it); and nothing is retried but a request that found its pooled connection closed before a byte of it had left.
fn http(settings: &Settings) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("typingd/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .connect_timeout(settings.request_timeout.min(CONNECT_TIMEOUT_MAX))
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE_INTERVAL)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .pool_max_idle_per_host(settings.in_flight_max)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    #[cfg(target_os = "linux")]
    {
        builder = builder.tcp_user_timeout(USER_TIMEOUT);
    }
    if let Some(proxy) = &settings.proxy {
        let proxy = reqwest::Proxy::https(proxy.expose()).map_err(|source| SetupError::Http { source })?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(DIRECT)));
    }
    if let (Some(address), Some(host)) = (settings.connect_to, settings.base_url.host_str()) {
        builder = builder.resolve(host, address);
    }
    let encrypted = settings.base_url.scheme() == "https"
        || matches!(&settings.auth, Auth::JwtBearer(jwt) if jwt.token_url.scheme() == "https");
    let Some(path) = &settings.ca_file else {
        // Loading the system's roots takes tens of milliseconds, and fails where there are none: a bare container that
        // only ever speaks to the sandbox.
        let builder = if encrypted { builder } else { builder.tls_certs_only([]) };
        return builder.build().map_err(|source| SetupError::Http { source });
    };
    let roots = certificates(path)?;
    builder
        .tls_certs_merge(roots)
        .build()
        .map_err(|source| SetupError::CaFile { path: path.clone(), source: source.into() })
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let failed = |source| SetupError::CaFile { path: path.to_owned(), source };
    let pem = files::read(path, files::CA_FILE_BYTES_MAX).map_err(|error| failed(error.into()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.into()))?;
    if roots.is_empty() { Err(failed("it holds no PEM certificate".into())) } else { Ok(roots) }
}

/// Why a client can't be made.
#[derive(Debug)]
pub enum SetupError {
    /// `ca_file` can't be read or holds no certificate that could be a root.
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting holds characters that no header may hold.
    Header {
        /// Its name.
        setting: &'static str,
    },
    /// `base_url` has no path to append to.
    BaseUrl,
    /// The HTTP client, as a rule for want of trusted roots.
    Http {
        /// What it said.
        source: reqwest::Error,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaFile { path, .. } => write!(f, "can't take roots from ca_file {}", path.display()),
            Self::Header { setting } => write!(f, "{setting} holds characters that an HTTP header can't carry"),
            Self::BaseUrl => f.write_str("base_url is not an http or https address"),
            Self::Http { .. } => {
                f.write_str("can't set up https (it needs the system's root certificates or a ca_file)")
            }
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::CaFile { source, .. } => Some(source.as_ref()),
            Self::Http { source } => Some(source),
            Self::Header { .. } | Self::BaseUrl => None,
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");

/// A lost SYN is repeated after one second and after three: past that the address is at fault, not the luck.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// Often enough to keep the entry of a firewall or a load balancer alive (the short ones drop it after 60 s).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A round trip with one loss takes well under a second.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose bytes are not acknowledged for so long is given up: half of what a vanished peer may cost.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Just under the 60 s after which load balancers commonly close an idle connection, lest both act at once.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// While no token can be had, deliveries look again this often.
const TOKEN_LOOK_SPACING: Duration = Duration::from_secs(1);
