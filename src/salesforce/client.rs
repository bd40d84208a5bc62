//! The client: one dispatch, one request, one result.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT, VIA};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::sync::watch;
use uuid::Uuid;

use super::answer::{self, Verdict, not_sent, unknown};
use super::connection::{self, Connection, SetupError, verifier};
use super::credentials::{AUTHORIZATION_CONTEXT, CredentialCache, Credentials, NoneGood, ORG_ID, REFUSED_FOR, Within};
use super::payload::{self, Departure, FormBody, Ids};
use super::pool::{self, Pool};
use super::route::{BASE_URL, Route, TOKEN_URL};
use super::settings::{Auth, Settings};
use super::token::{Replacement, Source, Token, TokenFigures, TokenState, Tokens};
use super::via;
use crate::base::clock::{self, Clock};
use crate::base::files;
use crate::base::timers::Timers;
use crate::driver::Permit;
use crate::model::{
    Cause, ChannelAddress, CredentialId, Dispatch, Indicator, Outcome, Rejection, Transient, WireResult,
};

/// Speaks to the Interaction Service. Cheap to clone; clones share connections, token and settings.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    clock: Clock,
    ids: Ids,
    tokens: Tokens,
    /// The credentials that connectors showed, if those are used ([`Auth::Cached`]).
    cache: CredentialCache,
    setup: watch::Sender<Arc<Setup>>,
    /// No Started waits for a token any more.
    closing: watch::Sender<bool>,
    /// Of requests that wait for their answers.
    timers: Timers,
}

/// Everything that other settings change. Each request uses the one in force when it began.
#[derive(Clone)]
struct Setup {
    settings: Settings,
    files: Fingerprints,
    /// Where requests go, and the keys that say so, for failures.
    route: Route,
    connection: Connection,
    pool: Pool<FormBody>,
    /// Of the token endpoint.
    token_client: reqwest::Client,
    /// Their path.
    interactions: Uri,
    /// What all requests have in common.
    headers: HeaderMap,
    org_id: HeaderValue,
    authorization_context: HeaderValue,
    channel_contexts: HashMap<ChannelAddress, HeaderValue>,
}

/// Whose credentials a request shows.
enum Owner {
    Typingd(Token),
    Connector(CredentialId),
}

/// Other settings, tried out: nothing that can fail is left to be done for them.
pub(crate) struct Prepared {
    setup: Option<Setup>,
    /// Whether connections are made in another way.
    reconnects: bool,
    token: Option<(Source, Replacement)>,
    /// Keys whose file has another content at the same path.
    pub(crate) changed_files: Vec<&'static str>,
}

impl Prepared {
    /// Whether connections are made in another way.
    pub(crate) fn reconnects(&self) -> bool {
        self.reconnects
    }
}

/// Why other settings can't be put in force.
pub(crate) enum PrepareError {
    /// No client can be made with them.
    Setup(SetupError),
    /// Their token file can't be read, or holds no token.
    TokenFile(String),
    /// They bring no token at the moment.
    NoToken(String),
}

impl Client {
    /// A client that has not sent anything yet. With [`Auth::Cached`] it uses what `cache` holds.
    ///
    /// # Errors
    /// When `ca_file` can't be read or holds no certificate, when a setting can't be a header's value, or when there
    /// are no trusted roots for https.
    pub fn with_cache(settings: Settings, clock: Clock, cache: CredentialCache) -> Result<Self, SetupError> {
        let files = Fingerprints::of(&settings);
        let setup = Setup::new(settings, files)?;
        Ok(Self(Arc::new(Shared {
            clock,
            ids: Ids::new(),
            tokens: Tokens::new(setup.source(), clock),
            cache,
            setup: watch::Sender::new(Arc::new(setup)),
            closing: watch::Sender::new(false),
            timers: Timers::default(),
        })))
    }

    /// A client with credentials of its own.
    ///
    /// # Errors
    /// As [`Client::with_cache`].
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, SetupError> {
        Self::with_cache(settings, clock, CredentialCache::new(clock, REFUSED_FOR))
    }

    pub(crate) fn settings(&self) -> Settings {
        self.0.setup().settings.clone()
    }

    /// How connections to the upstream are made at present.
    pub fn connection(&self) -> Connection {
        self.0.setup().connection.clone()
    }

    /// Tries out `settings` of the same org, without changing anything. While requests are authorized at present, new
    /// credentials must bring a token.
    pub(crate) async fn prepare(&self, settings: Settings) -> Result<Prepared, PrepareError> {
        let current = self.0.setup();
        let files = Fingerprints::of(&settings);
        let same_auth = settings.auth == current.settings.auth;
        let same_key = files.private_key == current.files.private_key;
        let mut changed_files = Vec::new();
        if files.roots != current.files.roots && settings.ca_file == current.settings.ca_file {
            changed_files.push("upstream.ca_file");
        }
        if same_auth && !same_key {
            changed_files.push("upstream.auth.jwt_bearer.private_key_file");
        }
        let same = settings == current.settings && files == current.files;
        let moved = !settings.places.are_those_of(&current.settings.places);
        let next = match same {
            false => Some(Setup::new(settings, files).map_err(PrepareError::Setup)?),
            true => moved.then(|| current.set_at(settings)),
        };
        let source = next.as_ref().unwrap_or(&current).source();
        let mut replacement = if same_auth && same_key { Replacement::Keep } else { Replacement::Restart };
        let is_file = matches!(source.auth, Auth::TokenFile(_));
        let proves = is_file || (source.auth != Auth::Cached && !matches!(replacement, Replacement::Keep));
        // Where nothing is delivered as it is, there is nothing to lose.
        if proves && self.token_state() == TokenState::Held {
            let fetched = match tokio::time::timeout(PROOF_MAX, source.fetch()).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(failure)) if is_file => return Err(PrepareError::TokenFile(failure.text)),
                Ok(Err(failure)) => return Err(PrepareError::NoToken(failure.text)),
                Err(_) => return Err(PrepareError::NoToken(format!("no token within {} s", PROOF_MAX.as_secs()))),
            };
            if !self.0.tokens.holds(&fetched) {
                if is_file && same_auth {
                    changed_files.push("upstream.auth.token_file");
                }
                replacement = Replacement::With(fetched);
            }
        }
        let token = (!same || moved || !matches!(replacement, Replacement::Keep)).then_some((source, replacement));
        Ok(Prepared { setup: next, reconnects: !same, token, changed_files })
    }

    /// Puts in force what has been tried out. Requests under way end as they began.
    pub(crate) fn apply(&self, prepared: Prepared) {
        if let Some((source, replacement)) = prepared.token {
            self.0.tokens.replace(source, replacement);
        }
        if let Some(setup) = prepared.setup {
            self.0.setup.send_replace(Arc::new(setup));
        }
    }

    /// Sends one request, once, and returns its outcome within `request_timeout`, a wait for the token included.
    ///
    /// Dropping the future gives the request up; whether it was applied is then unknown.
    pub async fn deliver(&self, dispatch: &Dispatch, permit: &Permit) -> WireResult {
        let setup = self.0.setup();
        let departure = Departure::new(permit);
        let deadline = clock::timer_after(setup.settings.request_timeout);
        let chosen = match setup.settings.auth {
            Auth::Cached => self.0.cached(&setup, dispatch),
            _ => match self.0.tokens.in_hand() {
                Some(token) => Ok(setup.with_token(dispatch, token)),
                // Boxed: as a rule there is one in hand, and the request takes memory for what is waited for.
                None => Box::pin(self.0.await_token(dispatch, deadline)).await.map(|it| setup.with_token(dispatch, it)),
            },
        };
        let (credentials, owner) = match chosen {
            Ok(chosen) => chosen,
            Err(result) => return result,
        };
        let mut result = self.0.request(&setup, dispatch, &credentials, &departure, deadline).await;
        self.0.learn(dispatch, &owner, &mut result);
        result
    }

    /// The `RequestId` of the requests of a decision: of the first, and of all that repeat it.
    pub fn request_id(&self, decision: u64) -> Uuid {
        self.0.ids.request(decision)
    }

    /// Whether a token is in hand at this moment, and why not. Holds no secret. With cached credentials there is nothing
    /// to fetch: it is the connector's turn, which may itself wait for typingd.
    pub fn token_state(&self) -> TokenState {
        if self.0.is_cached() { TokenState::Held } else { self.0.tokens.state() }
    }

    /// The token in numbers; `None` with cached credentials.
    pub fn token_figures(&self) -> Option<TokenFigures> {
        (!self.0.is_cached()).then(|| self.0.tokens.figures())
    }

    /// Fetches the first token unless there is one, and returns the state after `request_timeout` at the latest.
    pub async fn warm_up(&self) -> TokenState {
        if !self.0.is_cached() {
            // What it finds is in the state; a token that comes late is as good as one that comes in time.
            let timeout = self.0.setup().settings.request_timeout;
            let _ = tokio::time::timeout(timeout, self.0.tokens.current()).await;
        }
        self.token_state()
    }

    /// Connects to the upstream, and asks it for nothing: the status of its answer, or why there is none.
    ///
    /// # Errors
    /// What the name service, the network or TLS says, and which setting it blames.
    pub async fn reach(&self) -> Result<u16, String> {
        let setup = self.0.setup();
        let mut request = Request::new(FormBody::empty());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = setup.connection.base_path();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(connection::USER_AGENT));
        headers.insert(VIA, via::own().clone());
        match tokio::time::timeout(setup.settings.request_timeout, setup.pool.request(request, |_, _| {}, || true))
            .await
        {
            Ok(Ok(response)) => Ok(response.status().as_u16()),
            Ok(Err(error)) => Err(setup.failure(error)),
            Err(_) => Err(setup.route.no_answer("no answer in time")),
        }
    }

    /// From now on a Started that has no token yet is given up at once: no one is to be shown an icon any more, and a
    /// token endpoint that hangs would hold up the end.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Keeps a fresh token in hand also while no one is typing, and notices a changed token file within a second. Never
    /// returns; dropping it is harmless, for deliveries fetch what they miss.
    pub async fn keep_token_fresh(self) {
        self.0.tokens.keep_fresh().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("interactions", &self.0.setup().interactions).finish_non_exhaustive()
    }
}

impl Shared {
    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.borrow())
    }

    fn is_cached(&self) -> bool {
        self.setup.borrow().settings.auth == Auth::Cached
    }

    /// The token of a request that has to wait for one.
    async fn await_token(&self, dispatch: &Dispatch, deadline: tokio::time::Instant) -> Result<Token, WireResult> {
        let none = |cause, why| unanswered(Outcome::NotSent(cause), why, Duration::ZERO);
        let transient = |retry_after| Transient { cause: Cause::Token, retry_after };
        let token = tokio::select! {
            biased;
            token = tokio::time::timeout_at(deadline, self.tokens.current()) => token,
            () = self.given_up(dispatch) => return Err(none(transient(None), Some("the daemon stops".into()))),
        };
        match token {
            Ok(Ok(token)) => Ok(token),
            // Asking again costs nothing but a look at the token: a mended one must not wait out a long back-off.
            Ok(Err(denied)) => Err(none(transient(Some(denied.retry_after.min(TOKEN_LOOK_SPACING))), denied.why)),
            Err(_) => Err(none(transient(None), Some("no token in time".into()))),
        }
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

    /// What connectors have shown. What is missing concerns this conversation alone, so that the others are not asked to
    /// wait.
    fn cached(&self, setup: &Setup, dispatch: &Dispatch) -> Result<(Credentials, Owner), WireResult> {
        let authorization_context = setup.context(dispatch).as_bytes();
        let within = Within { org_id: setup.org_id.as_bytes(), authorization_context };
        let channel = dispatch.conversation.to();
        match self.cache.select(channel, dispatch.credentials, dispatch.indicator(), within) {
            Ok((id, credentials)) => Ok((credentials, Owner::Connector(id))),
            Err(NoneGood { again_after }) => {
                let why = "no connector has shown credentials that Salesforce accepts for this conversation";
                let transient = Transient { cause: Cause::NoCredentials, retry_after: again_after };
                Err(unanswered(Outcome::NotSent(transient), Some(why.into()), Duration::ZERO))
            }
        }
    }

    /// Notes what a result says of the credentials that were shown, and has it say what follows for the conversation.
    fn learn(&self, dispatch: &Dispatch, owner: &Owner, result: &mut WireResult) {
        let refused = matches!(result.outcome, Outcome::NotSent(Transient { cause: Cause::Token, .. }));
        match owner {
            Owner::Typingd(token) if refused => self.tokens.refused(token),
            Owner::Typingd(token) if result.outcome == Outcome::Delivered => self.tokens.accepted(token),
            Owner::Typingd(_) => {}
            Owner::Connector(id) if refused => {
                self.cache.reject(*id, result.code, result.detail.as_deref());
                result.outcome = not_sent(Cause::Credentials);
            }
            Owner::Connector(id) if result.status.is_some_and(|status| (200..300).contains(&status)) => {
                self.cache.accept(*id, Some(dispatch.conversation.to()));
            }
            // It may be this set's context that is wrong: those who show another must not be muted for it.
            Owner::Connector(_) if result.outcome == Outcome::Rejected(Rejection::Channel) => {
                result.outcome = Outcome::Rejected(Rejection::Conversation);
            }
            Owner::Connector(_) => {}
        }
    }

    async fn request(
        &self,
        setup: &Setup,
        dispatch: &Dispatch,
        credentials: &Credentials,
        departure: &Departure,
        deadline: tokio::time::Instant,
    ) -> WireResult {
        let stopwatch = clock::stopwatch();
        let request = self.build(setup, dispatch, credentials, departure);
        let ended = |outcome: Outcome, detail: String| unanswered(outcome, Some(detail), stopwatch.elapsed());
        let failed = |detail: String| {
            let outcome =
                if departure.has_happened() { unknown(Cause::NoAnswer) } else { not_sent(Cause::Unreachable) };
            ended(outcome, detail)
        };
        let mut timer = self.timers.sleep_until(deadline);
        let answer = tokio::select! {
            biased;
            answer = setup.pool.request(request, |_, _| {}, || departure.has_happened()) => answer,
            () = &mut timer => {
                let (happened, route) = (departure.has_happened(), &setup.route);
                return failed(if happened { route.no_answer("no answer in time") } else { route.no_connection() });
            }
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) if error.is_unprocessed() => return ended(not_sent(Cause::Unprocessed), setup.failure(error)),
            Err(error) => return failed(setup.failure(error)),
        };
        let (head, body) = response.into_parts();
        let status = head.status;
        let body = answer::read_body(body, &mut timer).await;
        let elapsed = stopwatch.elapsed();
        let secret = || credentials.secret();
        let Verdict { outcome, code, detail } = answer::classify(status, &head.headers, &body, secret);
        // The upstream's message goes to logs, where end users have no names; nor has a channel, which may be an end user's id
        // that was swapped with it.
        let (to, from) = (dispatch.conversation.to(), dispatch.conversation.from());
        let detail = detail.map(|text| answer::unnamed(&answer::unnamed(&text, from, "(end user)"), to, "(channel)"));
        WireResult { outcome, status: Some(status.as_u16()), code, detail, elapsed }
    }

    fn build(
        &self,
        setup: &Setup,
        dispatch: &Dispatch,
        credentials: &Credentials,
        departure: &Departure,
    ) -> Request<FormBody> {
        let form = payload::form(dispatch, self.ids.payload(dispatch.decision), &self.clock);
        let mut headers = setup.headers.clone();
        let mut request = Request::new(FormBody::new(form, departure));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = setup.interactions.clone();
        headers.insert(AUTHORIZATION, credentials.authorization.clone());
        if credentials.org_id != setup.org_id {
            headers.insert(ORG_ID, credentials.org_id.clone());
        }
        let context = &credentials.authorization_context;
        if context.is_empty() {
            headers.remove(AUTHORIZATION_CONTEXT);
        } else if *context != setup.authorization_context {
            headers.insert(AUTHORIZATION_CONTEXT, context.clone());
        }
        let id = self.ids.request(dispatch.decision);
        let id = HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        headers.insert(REQUEST_ID, id.expect("a UUID is letters, digits and dashes"));
        *request.headers_mut() = headers;
        request
    }
}

fn unanswered(outcome: Outcome, detail: Option<String>, elapsed: Duration) -> WireResult {
    WireResult { outcome, status: None, code: None, detail, elapsed }
}

impl Setup {
    fn new(settings: Settings, files: Fingerprints) -> Result<Self, SetupError> {
        let connection = Connection::new(&settings)?;
        let context = |text: &str| header_value("authorization_context", text);
        let channel_contexts = settings.channel_contexts.iter();
        let pool = connection.own_pool();
        Ok(Self {
            token_client: connection.token_client()?,
            interactions: connection.interactions(),
            headers: headers(&settings, pool.host())?,
            pool,
            org_id: header_value("org_id", &settings.org_id)?,
            authorization_context: context(&settings.authorization_context)?,
            channel_contexts: channel_contexts
                .map(|(channel, text)| Ok((channel.clone(), context(text)?)))
                .collect::<Result<_, SetupError>>()?,
            files,
            route: Route::new(&settings, BASE_URL, &settings.base_url),
            connection,
            settings,
        })
    }

    fn context(&self, dispatch: &Dispatch) -> &HeaderValue {
        self.channel_contexts.get(dispatch.conversation.to()).unwrap_or(&self.authorization_context)
    }

    fn with_token(&self, dispatch: &Dispatch, token: Token) -> (Credentials, Owner) {
        let credentials = Credentials {
            authorization: token.bearer.clone(),
            org_id: self.org_id.clone(),
            authorization_context: self.context(dispatch).clone(),
        };
        (credentials, Owner::Typingd(token))
    }

    /// What `error` says, and of which part of the way.
    fn failure(&self, error: pool::Error) -> String {
        let connecting = error.is_connect();
        self.route.failure(&SendError(error), connecting)
    }

    /// The same, whose settings are found in other places.
    fn set_at(&self, settings: Settings) -> Self {
        let route = Route::new(&settings, BASE_URL, &settings.base_url);
        Self { settings, route, ..self.clone() }
    }

    fn source(&self) -> Source {
        let Settings { auth, request_timeout, places, .. } = &self.settings;
        let url = if let Auth::JwtBearer(jwt) = auth { &jwt.token_url } else { &self.settings.base_url };
        let route = Route::new(&self.settings, TOKEN_URL, url);
        Source {
            auth: auth.clone(),
            http: self.token_client.clone(),
            timeout: *request_timeout,
            route,
            places: places.clone(),
        }
    }
}

/// The headers of every request. Those that each has of its own are in it, too, for a copy has no room for further ones.
fn headers(settings: &Settings, host: &HeaderValue) -> Result<HeaderMap, SetupError> {
    let own = [AUTHORIZATION, REQUEST_ID];
    let mut headers: HeaderMap = own.into_iter().map(|name| (name, HeaderValue::from_static(""))).collect();
    headers.insert(ORG_ID, header_value("org_id", &settings.org_id)?);
    let context = header_value("authorization_context", &settings.authorization_context)?;
    headers.insert(AUTHORIZATION_CONTEXT, context);
    headers.insert(HOST, host.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(payload::CONTENT_TYPE));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(connection::USER_AGENT));
    headers.insert(VIA, via::own().clone());
    if let Some(text) = &settings.authorization_context_type {
        headers.insert(AUTHORIZATION_CONTEXT_TYPE, header_value("authorization_context_type", text)?);
    }
    Ok(headers)
}

/// A request has not been answered.
#[derive(Debug, thiserror::Error)]
#[error("error sending request")]
struct SendError(#[source] pool::Error);

/// Tells one content of the files that settings name from another; `None` without a file.
#[derive(Clone, PartialEq, Eq)]
struct Fingerprints {
    roots: Option<u64>,
    private_key: Option<u64>,
}

impl Fingerprints {
    fn of(settings: &Settings) -> Self {
        let fingerprint = |path: Option<&PathBuf>, bytes_max| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&files::read(path?, bytes_max).ok()?);
            Some(hasher.finish())
        };
        let private_key = match &settings.auth {
            Auth::JwtBearer(jwt) => Some(&jwt.private_key_file),
            _ => None,
        };
        Self {
            roots: fingerprint(settings.ca_file.as_ref(), files::CA_FILE_BYTES_MAX),
            private_key: fingerprint(private_key, files::KEY_FILE_BYTES_MAX),
        }
    }
}

fn header_value(setting: &'static str, text: &str) -> Result<HeaderValue, SetupError> {
    HeaderValue::from_str(text).map_err(|_| SetupError::Header { setting })
}

/// Whether https can be spoken with the system's root certificates and those of `ca_file`, for an answer at the start
/// rather than at the first request.
///
/// # Errors
/// Why not.
pub(crate) fn check_roots(ca_file: Option<&Path>) -> Result<(), String> {
    verifier(ca_file, connection::provider()).map(drop).map_err(|error| error_text(&error))
}

/// `error` with its cause.
pub(crate) fn error_text(error: &SetupError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

const AUTHORIZATION_CONTEXT_TYPE: HeaderName = HeaderName::from_static("authorizationcontexttype");

const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");

/// While no token can be had, deliveries ask again this often.
const TOKEN_LOOK_SPACING: Duration = Duration::from_secs(1);

/// What new credentials have to prove themselves. A token endpoint answers in well under a second.
const PROOF_MAX: Duration = Duration::from_secs(5);
