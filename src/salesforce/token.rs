//! The bearer token: one for everybody, fetched once however many wait, renewed ahead of its end, dropped when refused.
//!
//! `State` is the whole machine and is handed the time; `Tokens` puts a lock, the clock and the fetching around it.

mod figures;

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::{ACCEPT, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::answer::{self, Body};
use super::settings::{Auth, JwtBearer};
use crate::base::clock::{self, Clock};
use crate::base::files;
use crate::model::Instant;
pub use figures::TokenFigures;

/// Whether requests can be authorized at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The first token is on its way, or one in place of an expired one.
    Pending,
    /// A token is in hand.
    Held,
    /// There is none, for this reason; it is tried again.
    Failing(String),
}

/// A token to authorize one request with. `Debug` shows no secret: the header's value is marked as one.
#[derive(Clone, Debug)]
pub(super) struct Token {
    bearer: HeaderValue,
    generation: u64,
}

impl Token {
    /// `Bearer …`, marked as sensitive, so that HTTP/2 doesn't index it and nothing prints it.
    pub(super) fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }
}

/// There is no token now, and none is on its way.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) retry_after: Duration,
    pub(super) why: Option<String>,
}

/// The shared token. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens(Arc<Shared>);

struct Shared {
    auth: Auth,
    http: reqwest::Client,
    timeout: Duration,
    clock: Clock,
    state: Mutex<State>,
    /// Told of everything that could end somebody's wait.
    changed: watch::Sender<()>,
}

impl Tokens {
    pub(super) fn new(auth: Auth, http: reqwest::Client, timeout: Duration, clock: Clock) -> Self {
        let state = State { polls: matches!(auth, Auth::TokenFile(_)), ..State::default() };
        let changed = watch::Sender::new(());
        Self(Arc::new(Shared { auth, http, timeout, clock, state: Mutex::new(state), changed }))
    }

    /// Goes on where `predecessor` is, if its token comes from the same source.
    pub(super) fn succeed(&self, predecessor: &Self) {
        if predecessor.0.auth == self.0.auth {
            // Whatever is being fetched there is not heard of here.
            *self.lock() = State { fetching: false, ..predecessor.lock().clone() };
        }
    }

    /// Whether the token's file, if there is one, can be read and holds one.
    pub(super) async fn check_file(&self) -> Result<(), String> {
        match &self.0.auth {
            Auth::TokenFile(_) => {
                let read = fetch(&self.0.auth, &self.0.http, self.0.timeout).await;
                read.map(drop).map_err(|failure| format!("upstream.auth: {}", failure.text))
            }
            _ => Ok(()),
        }
    }

    /// The token; waits while one is being fetched, and not while nothing is to be hoped for. Cancel safe: the fetch
    /// is a task of its own, and goes on for the others.
    pub(super) async fn current(&self) -> Result<Token, Denied> {
        // Before the question, lest an answer between question and wait be missed.
        let mut changed = self.0.changed.subscribe();
        loop {
            let now = self.0.clock.now();
            match self.tend(now).ask(now) {
                Ask::Have(token) => return Ok(token),
                Ask::Denied(denied) => return Err(denied),
                Ask::Wait => {}
            }
            // Fails only without a sender, which `self` holds.
            let _ = changed.changed().await;
        }
    }

    /// The far side took this token.
    pub(super) fn accepted(&self, token: &Token) {
        self.lock().accepted(token.generation);
    }

    /// The far side did not take this token.
    pub(super) fn refused(&self, token: &Token) {
        self.lock().refused(self.0.clock.now(), token.generation);
        self.0.changed.send_replace(());
    }

    pub(super) fn state(&self) -> TokenState {
        self.lock().public(self.0.clock.now())
    }

    pub(super) fn figures(&self) -> TokenFigures {
        self.lock().figures(self.0.clock.now())
    }

    /// Fetches whenever a fetch falls due. Never returns.
    pub(super) async fn keep_fresh(&self) {
        let mut changed = self.0.changed.subscribe();
        loop {
            let due = self.tend(self.0.clock.now()).due();
            tokio::select! {
                () = self.0.clock.sleep_until(due) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Starts a fetch if one is due.
    fn tend(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if now >= state.due() {
            state.fetching = true;
            let this = self.clone();
            tokio::spawn(async move {
                let fetch = fetch(&this.0.auth, &this.0.http, this.0.timeout);
                let result = tokio::time::timeout(this.0.timeout, fetch).await;
                let result = result.unwrap_or_else(|_| Err(Failure::passing("no token in time")));
                this.lock().fetched(this.0.clock.now(), result);
                this.0.changed.send_replace(());
            });
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the token, stepped by what happens.
#[derive(Clone, Default)]
struct State {
    /// Whether the source is a file, which is looked at every second whatever happened.
    polls: bool,
    held: Option<Held>,
    refused: Option<Refused>,
    /// Counts tokens, so that a late refusal of an old one does not cost a fresh one.
    generation: u64,
    fetching: bool,
    /// No fetch begins before.
    not_before: Instant,
    /// Fetches failed since one succeeded.
    failures: u32,
    /// Tokens refused since one was taken.
    refusals: u32,
    /// The same two since the start.
    failures_total: u64,
    refusals_total: u64,
    /// Why there is no token, unless one is simply on its way.
    trouble: Option<String>,
    /// The trouble has been logged, and its end is to be.
    warned: bool,
}

#[derive(Clone)]
struct Held {
    token: Token,
    obtained: Instant,
    refresh_at: Instant,
    /// From here on a fresh one is waited for, if one is on its way.
    stale_at: Instant,
    expires: Instant,
    /// The far side took it at least once.
    proven: bool,
}

/// A token that was refused, lest the source's giving out the same one again be taken for a cure.
#[derive(Clone)]
struct Refused {
    bearer: HeaderValue,
    /// When the same one is tried again all the same.
    until: Instant,
}

enum Ask {
    Have(Token),
    Wait,
    Denied(Denied),
}

impl State {
    /// When the next fetch is to begin; never while one is under way.
    fn due(&self) -> Instant {
        if self.fetching {
            return Instant::NEVER;
        }
        self.held.as_ref().map_or(self.not_before, |held| held.refresh_at.max(self.not_before))
    }

    /// To be called after `tend`: then nothing is due, so that without a fetch under way `not_before` lies ahead.
    fn ask(&self, now: Instant) -> Ask {
        match &self.held {
            Some(held) if now < held.stale_at || (now < held.expires && !self.fetching) => {
                Ask::Have(held.token.clone())
            }
            _ if self.fetching => Ask::Wait,
            _ => Ask::Denied(Denied { retry_after: self.not_before.since(now), why: self.trouble.clone() }),
        }
    }

    fn fetched(&mut self, now: Instant, result: Result<Fetched, Failure>) {
        self.fetching = false;
        let Fetched { bearer, refresh_after, life } = match result {
            Ok(fetched) => fetched,
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.failures_total += 1;
                let wait = if failure.lasting { jittered(BACKOFF_MAX) } else { backoff(self.failures) };
                self.not_before = now + if self.polls { POLL_INTERVAL } else { wait };
                return self.fail(failure.text);
            }
        };
        self.failures = 0;
        self.not_before = now + FETCH_INTERVAL_MIN;
        let same = self.held.as_ref().is_some_and(|held| held.token.bearer == bearer);
        let refused = self.refused.as_ref().filter(|refused| refused.bearer == bearer && now < refused.until);
        if let Some(refused) = refused.filter(|_| !same) {
            self.not_before = if self.polls { self.not_before } else { refused.until.max(self.not_before) };
            return self.fail("the token was refused, and its source still has no other".into());
        }
        let held = self.held.take().filter(|_| same);
        if held.is_none() {
            self.generation += 1;
        }
        self.trouble = None;
        if self.generation == 1 && held.is_none() {
            tracing::info!("token obtained");
        } else if self.refusals == 0 {
            self.recover();
        }
        let margin = |life: Duration| life.saturating_sub((life / 10).min(MARGIN_MAX));
        self.held = Some(Held {
            token: Token { bearer, generation: self.generation },
            obtained: held.as_ref().map_or(now, |held| held.obtained),
            refresh_at: refresh_after.map_or(Instant::NEVER, |span| now + span),
            stale_at: life.map_or(Instant::NEVER, |life| now + margin(life)),
            expires: life.map_or(Instant::NEVER, |life| now + life),
            proven: held.is_some_and(|held| held.proven),
        });
    }

    fn accepted(&mut self, generation: u64) {
        if let Some(held) = self.held.as_mut().filter(|held| held.token.generation == generation && !held.proven) {
            held.proven = true;
            self.refusals = 0;
            self.refused = None;
            self.recover();
        }
    }

    /// Gives up the token of that generation; nothing if it has been given up already. A token refused as soon as it
    /// was obtained means that fetching doesn't help: then the next fetch waits, longer each time.
    fn refused(&mut self, now: Instant, generation: u64) {
        let Some(held) = self.held.take_if(|held| held.token.generation == generation) else { return };
        self.refusals = self.refusals.saturating_add(1);
        self.refusals_total += 1;
        let until = now + backoff(self.refusals);
        self.refused = Some(Refused { bearer: held.token.bearer, until });
        let fresh = !held.proven && now.since(held.obtained) < PROOF_TIME;
        self.not_before = match (self.polls, fresh) {
            (true, _) => now,
            (false, true) => until,
            (false, false) => self.not_before,
        };
        if fresh {
            self.fail("a token was refused as soon as it was obtained".into());
        }
    }

    fn public(&self, now: Instant) -> TokenState {
        match (&self.held, &self.trouble) {
            (Some(held), _) if now < held.expires => TokenState::Held,
            (_, Some(trouble)) => TokenState::Failing(trouble.clone()),
            (_, None) => TokenState::Pending,
        }
    }

    fn fail(&mut self, trouble: String) {
        if !self.warned {
            self.warned = true;
            tracing::warn!(reason = trouble, "no fresh token; trying again");
        }
        self.trouble = Some(trouble);
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.warned) {
            tracing::info!("token obtained again");
        }
    }
}

/// From one to sixty seconds, doubling, the later half of each at random.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(BACKOFF_DOUBLINGS_MAX);
    jittered((BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX)).max(BACKOFF_MIN)
}

fn jittered(ceiling: Duration) -> Duration {
    let [.., random] = Uuid::new_v4().into_bytes();
    ceiling / 2 + ceiling / 2 * u32::from(random) / u32::from(u8::MAX)
}

/// What a source gave out.
#[derive(Debug)]
struct Fetched {
    bearer: HeaderValue,
    /// When to fetch again; `None` for never.
    refresh_after: Option<Duration>,
    /// How long it is good for; `None` for as long as it is taken.
    life: Option<Duration>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    /// Somebody has to do something about it; asking often doesn't help.
    lasting: bool,
}

impl Failure {
    fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasting: false }
    }
}

async fn fetch(auth: &Auth, http: &reqwest::Client, timeout: Duration) -> Result<Fetched, Failure> {
    match auth {
        Auth::Cached => Err(Failure::passing("credentials are cached, not fetched")),
        Auth::Fixed(secret) => Ok(Fetched { bearer: bearer(secret.expose())?, refresh_after: None, life: None }),
        Auth::TokenFile(path) => {
            let text = read(path.clone(), TOKEN_BYTES_MAX).await?;
            let named = |failure: Failure| Failure::passing(format!("token_file {}: {}", path.display(), failure.text));
            Ok(Fetched { bearer: bearer(&text).map_err(named)?, refresh_after: Some(POLL_INTERVAL), life: None })
        }
        Auth::JwtBearer(jwt) => {
            let (token, life) = exchange(jwt, http, timeout).await?;
            let refresh_after = Some(life / 5 * 4);
            Ok(Fetched { bearer: bearer(&token)?, refresh_after, life: Some(life) })
        }
    }
}

fn bearer(text: &str) -> Result<HeaderValue, Failure> {
    let text = text.trim();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::passing(format!(
            "a token is 1 to {TOKEN_BYTES_MAX} visible ASCII characters; this is not"
        )));
    }
    let value = HeaderValue::try_from(format!("{SCHEME}{text}"));
    let mut value = value.map_err(|_| Failure::passing("the token can't be a header's value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A small text file, read off the async threads: it may lie on a slow file system.
async fn read(path: PathBuf, bytes_max: usize) -> Result<String, Failure> {
    let name = path.display().to_string();
    let read = move || {
        files::must_be_regular(&path)?;
        let mut text = String::new();
        // White space around the token may put it slightly over; the token's own bound is checked later.
        std::fs::File::open(&path)?.take(bytes_max as u64 + 64).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::passing(format!("can't read {name}: {error}"))),
        Err(_) => Err(Failure::passing(format!("reading {name} broke off"))),
    }
}

#[derive(Serialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
}

/// Whether the private key can be read and is one, for an answer at the start rather than at the first fetch.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(super) fn check_key(jwt: &JwtBearer) -> Result<(), String> {
    let path = &jwt.private_key_file;
    let pem = files::read(path, files::KEY_FILE_BYTES_MAX)
        .map_err(|error| format!("private_key_file {} can't be read: {error}", path.display()))?;
    // A key that can be parsed may still be unable to sign: a public one, or one too short.
    let signed = EncodingKey::from_rsa_pem(&pem)
        .and_then(|key| jsonwebtoken::encode(&Header::new(Algorithm::RS256), &serde_json::Map::new(), &key));
    let label = |what: &str| String::from_utf8_lossy(&pem).contains(&format!("BEGIN {what}"));
    let why = match signed {
        Ok(_) => return Ok(()),
        Err(_) if label("ENCRYPTED") => "is encrypted; typingd has nobody to ask for the pass phrase".to_owned(),
        Err(_) if label("EC ") => "is an elliptic curve key; Salesforce wants RS256".to_owned(),
        Err(_) if label("PUBLIC") || label("CERTIFICATE") => "is the public half; the private one signs".to_owned(),
        Err(error) => format!("is no RSA key of 2048 bits or more that can sign ({error})"),
    };
    Err(format!("private_key_file {} {why}; an RSA key in PEM, PKCS#1 or PKCS#8, would be right", path.display()))
}

/// The OAuth 2.0 JWT bearer flow: a signed assertion for an access token and the time it is good for.
async fn exchange(jwt: &JwtBearer, http: &reqwest::Client, timeout: Duration) -> Result<(String, Duration), Failure> {
    let deadline = clock::timer_after(timeout);
    // Read each time, so that a new key needs no restart.
    let pem = read(jwt.private_key_file.clone(), KEY_BYTES_MAX).await?;
    let claims = Claims {
        iss: jwt.consumer_key.clone(),
        sub: jwt.subject.clone(),
        aud: jwt.audience.clone(),
        exp: (clock::wall_since_epoch() + ASSERTION_LIFE).as_secs(),
    };
    // Parsing the key and signing take up to 50 ms.
    let sign = move || {
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key)
    };
    let key_failure = |error: String| {
        let text = format!("private_key_file {}: not an RSA key in PEM ({error})", jwt.private_key_file.display());
        Failure { text, lasting: true }
    };
    let assertion = tokio::task::spawn_blocking(sign).await.map_err(|_| Failure::passing("signing broke off"))?;
    let assertion = assertion.map_err(|error| key_failure(error.to_string()))?;
    let form = [("grant_type", GRANT_TYPE), ("assertion", assertion.as_str())];
    let request = http.post(jwt.token_url.clone()).header(ACCEPT, "application/json").form(&form);
    let response = request.send().await.map_err(|error| Failure::passing(answer::error_text(error)))?;
    let status = response.status();
    let bytes = match answer::read_body(response, deadline).await {
        Body::Whole(bytes) => bytes,
        Body::Cut(why) => return Err(Failure::passing(format!("the token endpoint answered {status}; {why}"))),
    };
    let answer = serde_json::from_slice(&bytes).unwrap_or_default();
    match answer {
        TokenAnswer { access_token: Some(token), expires_in, .. } if status.is_success() => {
            let life = life_of(&token, expires_in);
            Ok((token, life))
        }
        TokenAnswer { error: Some(error), error_description, .. } => {
            let said = format!("{error}: {}", error_description.as_deref().unwrap_or("no description"));
            Err(Failure {
                text: answer::readable(&said, &assertion).unwrap_or_default(),
                // invalid_grant and its kin: a person has to change something.
                lasting: status.is_client_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS,
            })
        }
        _ => Err(Failure::passing(format!("the token endpoint answered {status} without an access_token"))),
    }
}

#[derive(Default, Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The times an access token may tell of itself, if it is a JWT.
#[derive(Default, Deserialize)]
struct Times {
    iat: Option<u64>,
    exp: Option<u64>,
}

/// How long a token is good for: by its own `exp`, else by `expires_in`, else [`LIFE_ASSUMED`].
///
/// `exp` is compared with our clock, which may be wrong; with its `iat` it also says how long the token lives at most,
/// whatever our clock says. An end that is already past by our clock says only that our clock is fast.
fn life_of(token: &str, expires_in: Option<serde_json::Value>) -> Duration {
    let times: Times = jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap_or_default();
    let span = |from: u64| times.exp.and_then(|exp| exp.checked_sub(from)).filter(|seconds| *seconds > 0);
    let by_clock = span(clock::wall_since_epoch().as_secs());
    let by_itself = times.iat.and_then(span);
    let told = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let told = told.filter(|seconds| *seconds > 0);
    let seconds = by_clock.into_iter().chain(by_itself).min().or(told);
    seconds.map_or(LIFE_ASSUMED, Duration::from_secs).min(LIFE_MAX)
}

const SCHEME: &str = "Bearer ";

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Access tokens that are JWTs have about two thousand bytes; servers take heads of 8 to 32 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// An RSA key of 16,384 bits has 13 KB in PEM.
const KEY_BYTES_MAX: usize = 64 * 1024;

/// Salesforce takes assertions whose end is at most a few minutes ahead; three leave room for a clock that is slow.
const ASSERTION_LIFE: Duration = Duration::from_secs(3 * 60);

/// Salesforce's usual lifetime of tokens for named users.
const LIFE_ASSUMED: Duration = Duration::from_secs(30 * 60);

/// Past a day a lifetime is more likely a mistake than a promise; one fetch a day costs nothing.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Room for a request's way to the far side, and for a clock there that is fast; of short lives at most a tenth.
const MARGIN_MAX: Duration = Duration::from_secs(5);

/// A file of a few kilobytes is read in microseconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Whatever the far side does, no more than one call a second to the token endpoint.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A token refused within this time without ever having been taken was bad from the start.
const PROOF_TIME: Duration = Duration::from_secs(10);

const BACKOFF_MIN: Duration = Duration::from_secs(1);

const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// 1 s doubled six times is past [`BACKOFF_MAX`].
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn fetched(text: &str, life_seconds: u64) -> Result<Fetched, Failure> {
        let life = Duration::from_secs(life_seconds);
        Ok(Fetched { bearer: bearer(text).unwrap(), refresh_after: Some(life / 5 * 4), life: Some(life) })
    }

    fn have(state: &State, now: Instant) -> Option<String> {
        match state.ask(now) {
            Ask::Have(token) => Some(token.bearer().to_str().unwrap()[SCHEME.len()..].to_owned()),
            Ask::Wait | Ask::Denied(_) => None,
        }
    }

    #[test]
    fn a_token_is_renewed_at_four_fifths_and_kept_out_of_its_last_seconds() {
        let mut state = State::default();
        assert_eq!(state.due(), Instant::ORIGIN);
        state.fetching = true;
        assert!(matches!(state.ask(at(0)), Ask::Wait));
        state.fetched(at(0), fetched("a", 100));
        assert_eq!(state.due(), at(80_000));
        state.fetching = true;
        assert_eq!(have(&state, at(94_999)).as_deref(), Some("a"));
        // In its last five seconds it is not used while a fresh one is on its way, and used while none is to be had.
        assert!(matches!(state.ask(at(95_000)), Ask::Wait));
        state.fetched(at(95_000), Err(Failure::passing("down")));
        assert_eq!(have(&state, at(95_500)).as_deref(), Some("a"));
        assert_eq!(state.public(at(99_999)), TokenState::Held);
        assert_eq!(state.public(at(100_000)), TokenState::Failing("down".into()));
    }

    #[test]
    fn a_late_refusal_of_an_old_token_does_not_cost_the_fresh_one() {
        let mut state = State::default();
        state.fetched(at(0), fetched("a", 100));
        state.accepted(1);
        state.refused(at(5_000), 1);
        assert_eq!(state.due(), at(1_000), "a proven token is replaced at once");
        state.fetched(at(5_100), fetched("b", 100));
        state.refused(at(5_200), 1);
        assert_eq!(have(&state, at(5_200)).as_deref(), Some("b"));
    }

    #[test]
    fn tokens_refused_as_soon_as_obtained_are_fetched_ever_more_slowly() {
        let mut state = State::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for round in 1..=12 {
            state.fetched(now, fetched(&format!("t{round}"), 1800));
            state.refused(now, round);
            assert!(matches!(state.public(now), TokenState::Failing(_)));
            waits.push(state.due().since(now));
            now = state.due();
        }
        assert!(waits.iter().all(|wait| *wait >= BACKOFF_MIN && *wait <= BACKOFF_MAX), "{waits:?}");
        assert!(waits[11] >= BACKOFF_MAX / 2, "{waits:?}");
        // One that is taken ends it.
        state.fetched(now, fetched("good", 1800));
        state.accepted(13);
        assert_eq!(state.refusals, 0);
    }

    #[test]
    fn a_source_without_another_token_is_not_hammered_and_the_old_one_is_tried_again() {
        let mut state = State::default();
        state.fetched(at(0), fetched("a", 1800));
        state.accepted(1);
        state.refused(at(60_000), 1);
        state.fetched(at(60_010), fetched("a", 1800));
        assert!(matches!(state.ask(at(60_010)), Ask::Denied(_)));
        let due = state.due();
        assert!(due >= at(61_000), "{due:?}");
        state.fetched(due, fetched("a", 1800));
        assert_eq!(have(&state, due).as_deref(), Some("a"));
    }

    #[test]
    fn a_passing_failure_is_retried_soon_and_a_lasting_one_late() {
        let wait = |lasting| {
            let mut state = State::default();
            state.fetched(at(0), Err(Failure { text: "x".into(), lasting }));
            state.due().since(at(0))
        };
        assert_eq!(wait(false), BACKOFF_MIN);
        assert!(wait(true) >= BACKOFF_MAX / 2);
    }

    #[test]
    fn a_bearer_is_visible_ascii_of_bounded_length_and_never_printed() {
        let value = bearer(" abc.def\n").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer abc.def");
        let token = Token { bearer: value, generation: 1 };
        assert!(!format!("{token:?}").contains("abc"), "{token:?}");
        assert_eq!(token.bearer(), "Bearer abc.def");
        assert!(bearer(&"x".repeat(TOKEN_BYTES_MAX)).is_ok());
        for wrong in ["", " \n", "a b", "a\nb", "é", "a\u{0}", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_life_is_read_from_the_token_then_from_the_answer_then_assumed() {
        use base64::Engine as _;
        let jwt = |claims: serde_json::Value| {
            let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{}", part("{}"), part(&claims.to_string()), part("signature"))
        };
        let now = clock::wall_since_epoch().as_secs();
        let life = |token: &str, told: Option<u64>| life_of(token, told.map(Into::into)).as_secs();
        assert!((595..=600).contains(&life(&jwt(serde_json::json!({"exp": now + 600})), Some(7))));
        // Our clock is an hour slow, and an hour fast.
        assert_eq!(life(&jwt(serde_json::json!({"iat": now + 3600, "exp": now + 5400})), None), 1800);
        assert_eq!(life(&jwt(serde_json::json!({"iat": now - 3600, "exp": now - 1800})), None), 1800);
        assert_eq!(life("00Dxx!opaque", Some(7)), 7);
        assert_eq!(life_of("opaque", Some("7".into())).as_secs(), 7);
        assert_eq!(life("opaque", Some(0)), 1800);
        assert_eq!(life("a.b.c", None), 1800);
        assert_eq!(life("opaque", Some(u64::MAX)), LIFE_MAX.as_secs());
    }
}
