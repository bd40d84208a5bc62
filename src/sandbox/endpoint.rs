//! The sandbox's routes.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::fault::{Draw, Faults, TokenFault, When};
use super::icon::{CONVERSATIONS_MAX, Change, Effect, Icon};
use super::interaction::{self, Facts};
use super::rejection::{self, Rejection};
use super::reply::Reply;
use super::request::REQUESTS_MAX;
use super::{Sandbox, upload};
use crate::http::stopped;

#[derive(Clone)]
pub(super) struct Edge {
    pub(super) sandbox: Sandbox,
    pub(super) stop: watch::Receiver<bool>,
}

impl Sandbox {
    /// All routes. Answers without an end (watchers, hanging faults) end when `stop` becomes true; give it the receiver
    /// that [`crate::http::serve`] has.
    pub(crate) fn router(&self, stop: watch::Receiver<bool>) -> Router {
        let mut router = Router::new()
            .route("/api/v1/interactions", post(interactions))
            .route("/services/oauth2/token", post(token))
            .route("/icons", get(icons).delete(done(Sandbox::clear_icons)))
            .route("/requests", get(requests).delete(done(Sandbox::clear_requests)))
            .route("/faults", get(faults).put(put_faults).delete(done(|sandbox| sandbox.set_faults(Faults::default()))))
            .route("/tokens", delete(done(|sandbox| sandbox.core.tokens.revoke_all())))
            .route("/", get(|| async { ABOUT }));
        for path in NOT_MODELLED {
            router = router.route(path, any(not_modelled));
        }
        router
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .with_state(Edge { sandbox: self.clone(), stop })
    }

    /// Records an arrival: its number, its fault, and whether it is within the rate.
    fn arrive(&self, headers: &HeaderMap) -> (u64, Draw, Result<(), Rejection>) {
        let mut state = self.state();
        // Read under the lock, so that arrivals have the order of their times.
        let now = self.core.clock.now();
        let number = state.requests.arrive(headers, now, self.core.clock.wall_millis(now));
        let draw = state.faults.draw(self.core.seed, state.drawn);
        state.drawn += 1;
        let rate = match state.rate.admit(now) {
            true => Ok(()),
            false => Err(Rejection::rate(state.faults.retry_after_seconds)),
        };
        (number, draw, rate)
    }

    /// Records whether an agent saw the icon as the request arrived.
    fn note_icon(&self, number: u64, facts: &Facts) {
        let (Some(to), Some(from)) = (&facts.to, &facts.from) else { return };
        let mut state = self.state();
        let shown = state.icons.find(to, from).is_some_and(|icon| icon.shown);
        if let Some(record) = state.requests.find(number) {
            record.found_shown = Some(shown);
        }
    }

    /// Applies an interaction unless it is rejected, and records the result.
    fn apply(&self, number: u64, draw: Draw, facts: Facts, verdict: Result<(), Rejection>) -> Reply {
        let mut guard = self.state();
        let state = &mut *guard;
        let spared = draw.fault.is_none_or(|fault| fault.when == When::After);
        let mut applied = false;
        let handle = || {
            verdict?;
            let (to, from) = (facts.to.as_deref().unwrap_or_default(), facts.from.as_deref().unwrap_or_default());
            let Faults { channels, refused_to, .. } = &state.faults;
            let among = |channels: &[String]| channels.iter().any(|channel| channel == to);
            if among(refused_to) || !(channels.is_empty() || among(channels)) {
                return Err(Rejection::new(rejection::CHANNEL, "the channel address `to` is not found"));
            }
            if state.faults.refused_from.iter().any(|refused| refused == from) {
                return Err(Rejection::new(rejection::END_USER, "the end user `from` is not found"));
            }
            if !state.icons.apply(to, from, effect(&facts), self.core.clock.now()) {
                return Err(Rejection::status(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("the sandbox keeps at most {CONVERSATIONS_MAX} conversations; DELETE /icons clears them"),
                ));
            }
            applied = true;
            Ok(())
        };
        let handled = if spared { handle() } else { Ok(()) };
        let reply = match (draw.fault, handled) {
            (Some(fault), _) => Reply::faulty(fault.what, &facts, state.faults.retry_after_seconds),
            (None, Ok(())) => Reply::accepted(&facts),
            (None, Err(rejection)) => Reply::Rejected(rejection),
        };
        if let Some(record) = state.requests.find(number) {
            let stamp = facts.payload_timestamp.or(facts.timestamp);
            let at = i64::try_from(record.at).unwrap_or(i64::MAX);
            record.skew_ms = stamp.map(|stamp| stamp.saturating_sub(at));
            record.facts = facts;
            record.status = reply.status();
            record.code = reply.code();
            record.applied = applied;
            record.fault = draw.fault.map(|fault| fault.name());
        }
        reply
    }
}

async fn interactions(State(mut edge): State<Edge>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (number, draw, rate) = edge.sandbox.arrive(&head.headers);
    let headers = edge.sandbox.check_headers(&head.headers);
    // Read even when the head is refused already: the record shows what was refused, and the connection stays usable.
    let (facts, read) = match upload::read(&head.headers, body).await {
        Ok(upload) => match serde_json::from_slice::<Value>(&upload.json) {
            Ok(json) => (Facts::glean(&json), interaction::validate(&json, upload.attachment_bytes)),
            Err(error) => {
                (Facts::default(), Err(Rejection::new(rejection::JSON, format!("the part `json` is no JSON: {error}"))))
            }
        },
        Err(rejection) => (Facts::default(), Err(rejection)),
    };
    edge.sandbox.note_icon(number, &facts);
    if !draw.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(draw.delay) => {}
            () = stopped(&mut edge.stop) => {}
        }
    }
    edge.sandbox.apply(number, draw, facts, rate.and(headers).and(read)).send(&mut edge.stop).await
}

impl Sandbox {
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        self.core.tokens.check(headers)?;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let org = text("orgid");
        let is_org = org.len() == 15 && org.starts_with("00D") && org.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_org {
            let message = "OrgId must be 15 letters and digits that start with 00D";
            return Err(Rejection::new(rejection::HEADER, message));
        }
        // There are products that must not send it: `authorization_context = ""`.
        if headers.contains_key("authorizationcontext") && text("authorizationcontext").trim().is_empty() {
            return Err(Rejection::new(
                rejection::CONTEXT,
                "AuthorizationContext is empty; expected a name, or no header",
            ));
        }
        if !interaction::is_uuid(text("requestid")) {
            return Err(Rejection::new(rejection::HEADER, "RequestId is missing or no UUID"));
        }
        Ok(())
    }
}

fn effect(facts: &Facts) -> Effect {
    match (facts.interaction_type.as_deref(), facts.entry_type.as_deref()) {
        (Some("AttachmentInteraction"), _) | (_, Some("Message")) => Effect::Message,
        (_, Some("TypingStartedIndicator")) => Effect::Show,
        (_, Some("TypingStoppedIndicator")) => Effect::Hide,
        _ => Effect::None,
    }
}

async fn token(State(mut edge): State<Edge>, headers: HeaderMap, body: Body) -> Response {
    edge.sandbox.core.tokens.count_call();
    let form = match upload::read_small(&headers, body).await {
        Ok(form) => form,
        Err(rejection) => return rejection.into_response(),
    };
    let fault = edge.sandbox.state().faults.token;
    match fault {
        Some(TokenFault::Unavailable) => {
            return Rejection::status(StatusCode::SERVICE_UNAVAILABLE, "a fault that the sandbox was asked for")
                .into_response();
        }
        Some(TokenFault::InvalidGrant) => {
            return super::token::oauth_error(("invalid_grant", "a fault that the sandbox was asked for".into()));
        }
        Some(TokenFault::Hang) => return Reply::Hang.send(&mut edge.stop).await,
        None => {}
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        let message = "Content-Type must be application/x-www-form-urlencoded";
        return super::token::oauth_error(("invalid_request", message.into()));
    }
    // The address by which the client reached it, whatever that is: the sandbox does not know its own.
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("127.0.0.1:7481");
    match edge.sandbox.core.tokens.grant(&form, &format!("http://{host}")) {
        Ok(granted) => ([(header::CACHE_CONTROL, "no-store")], Json(granted)).into_response(),
        Err(error) => super::token::oauth_error(error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IconsQuery {
    shown: Option<bool>,
    to: Option<String>,
    from: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    watch: bool,
}

impl IconsQuery {
    fn takes(&self, icon: &Icon) -> bool {
        self.shown.is_none_or(|shown| shown == icon.shown)
            && self.to.as_ref().is_none_or(|to| *to == icon.to)
            && self.from.as_ref().is_none_or(|from| *from == icon.from)
    }
}

async fn icons(
    State(edge): State<Edge>,
    query: Result<Query<IconsQuery>, QueryRejection>,
) -> Result<Response, Rejection> {
    let Query(query) = query?;
    if query.watch {
        return Ok(watch_icons(edge));
    }
    let limit = query.limit.unwrap_or(ICONS_PAGE);
    let state = edge.sandbox.state();
    let found: Vec<Icon> = match (&query.to, &query.from) {
        (Some(to), Some(from)) => {
            state.icons.find(to, from).filter(|icon| query.takes(icon)).cloned().into_iter().collect()
        }
        _ => state.icons.iter().filter(|icon| query.takes(icon)).take(limit).cloned().collect(),
    };
    let shown = state.icons.shown();
    // The lock is not held while a long answer is written.
    drop(state);
    Ok(Json(json!({ "shown": shown, "icons": found })).into_response())
}

/// A line for each icon that is shown, then one for each change as it happens, and an empty one now and then so that the
/// connection is not taken for idle.
fn watch_icons(edge: Edge) -> Response {
    let (shown, changes) = {
        let state = edge.sandbox.state();
        let shown: Vec<u8> =
            state.icons.iter().filter_map(Icon::shown_since).flat_map(|icon| json_line(&icon)).collect();
        (shown, state.icons.watch())
    };
    let lines = stream::unfold((edge, changes), |(mut edge, mut changes)| async move {
        let line = match edge.next_change(&mut changes).await? {
            Next::Change(change) => json_line(&*change),
            Next::Lost(lines) => json_line(&json!({ "lost": lines })),
            Next::Beat => Bytes::from_static(b"\n"),
        };
        Some((line, (edge, changes)))
    });
    let lines = stream::once(async { Bytes::from(shown) }).chain(lines).map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// The next event for a watcher of the icons.
pub(super) enum Next {
    /// An icon has come on or gone off.
    Change(Arc<Change>),
    /// So many changes came faster than they were taken.
    Lost(u64),
    /// Nothing has happened for a while.
    Beat,
}

impl Edge {
    /// The next event; `None` once the sandbox stops.
    pub(super) async fn next_change(&mut self, changes: &mut broadcast::Receiver<Arc<Change>>) -> Option<Next> {
        let clock = self.sandbox.core.clock;
        let beat = clock.now() + WATCHER_BEAT;
        loop {
            // A watcher makes icons go off in time; without one they go off at the next access.
            let due = self.sandbox.state().icons.next_expiry();
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                change = changes.recv() => return match change {
                    Ok(change) => Some(Next::Change(change)),
                    Err(RecvError::Lagged(changes)) => Some(Next::Lost(changes)),
                    Err(RecvError::Closed) => None,
                },
                () = clock.sleep_until(due) => {}
                () = clock.sleep_until(beat) => return Some(Next::Beat),
            }
        }
    }
}

/// A line of NDJSON.
pub(super) fn json_line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestsQuery {
    since: Option<u64>,
    limit: Option<usize>,
}

async fn requests(
    State(edge): State<Edge>,
    query: Result<Query<RequestsQuery>, QueryRejection>,
) -> Result<Json<Value>, Rejection> {
    let Query(query) = query?;
    let token_calls = edge.sandbox.core.tokens.calls();
    let state = edge.sandbox.state();
    let (total, last, peak) = (state.requests.total(), state.requests.last(), state.requests.peak_per_second());
    let page: Vec<_> = state.requests.page(query.since, query.limit.unwrap_or(REQUESTS_MAX)).cloned().collect();
    drop(state);
    Ok(Json(json!({
        "total": total,
        "last": last,
        "peak_per_second": peak,
        "token_calls": token_calls,
        "requests": page,
    })))
}

async fn faults(State(edge): State<Edge>) -> Json<Faults> {
    Json(edge.sandbox.state().faults.clone())
}

async fn put_faults(State(edge): State<Edge>, headers: HeaderMap, body: Body) -> Result<Json<Faults>, Rejection> {
    let bytes = upload::read_small(&headers, body).await?;
    // By way of a map: serde would take an array for the members in their order.
    let faults = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes)
        .and_then(|members| serde_json::from_value::<Faults>(Value::Object(members)))
        .map_err(|error| error.to_string());
    let faults = faults.and_then(Faults::checked).map_err(|error| Rejection::status(StatusCode::BAD_REQUEST, error))?;
    edge.sandbox.set_faults(faults.clone());
    Ok(Json(faults))
}

/// A handler that acts, and answers that it is done.
fn done(act: fn(&Sandbox)) -> impl Fn(State<Edge>) -> Ready<StatusCode> + Clone + Send + Sync + 'static {
    move |State(edge)| {
        act(&edge.sandbox);
        std::future::ready(StatusCode::NO_CONTENT)
    }
}

impl From<QueryRejection> for Rejection {
    fn from(error: QueryRejection) -> Self {
        Self::status(StatusCode::BAD_REQUEST, error.body_text())
    }
}

async fn not_modelled(uri: Uri) -> Rejection {
    let message = format!("the sandbox models /api/v1/interactions alone, not {}", interaction::cut(uri.path()));
    Rejection::status(StatusCode::NOT_IMPLEMENTED, message)
}

async fn not_found(uri: Uri) -> Rejection {
    let message = format!("there is nothing at {}; GET / lists what there is", interaction::cut(uri.path()));
    Rejection::status(StatusCode::NOT_FOUND, message)
}

async fn not_allowed(method: Method, uri: Uri) -> Rejection {
    let message = format!("{} does not take {}", interaction::cut(uri.path()), interaction::cut(method.as_str()));
    Rejection::status(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// Icons in one answer unless `limit` says otherwise; a few megabytes.
const ICONS_PAGE: usize = 10_000;
/// Well within the 75 s after which the server takes a silent connection for idle.
const WATCHER_BEAT: Duration = Duration::from_secs(30);

/// The other paths of the OpenAPI description.
const NOT_MODELLED: [&str; 11] = [
    "/api/v1/route",
    "/api/v1/consent",
    "/api/v1/capabilities",
    "/api/v1/conversationHistory",
    "/api/v1/acknowledgement",
    "/api/v1/participant",
    "/api/v1/agentWork",
    "/api/v1/conversation",
    "/api/v1/conversationEntry",
    "/api/v1/routingResult",
    "/api/v1/messagingSession",
];

const ABOUT: &str = "\
typingd's sandbox: a stand-in for the Salesforce Interaction Service. No org is behind it.

POST /api/v1/interactions     what a connector sends; strict, with the documented answers
POST /services/oauth2/token   the JWT bearer flow; its tokens are accepted, as is any placeholder unless --strict-tokens
GET  /icons                   what an agent would see: ?shown=true, ?to=, ?from=, ?limit=
GET  /icons?watch=true        a line for each icon that is on, then for each that comes on or goes off (curl -N)
GET  /requests                what was sent: ?since=<number>, ?limit=; and peak_per_second
GET  /faults                  the faults in force; PUT replaces them:
                              {\"latency_ms\": 100, \"jitter_ms\": 50, \"faults\": [\"503:0.1\", \"close-after:0.01\"]}
DELETE /icons, /requests, /faults, /tokens   clears them; /tokens: revokes those that it issued
";
