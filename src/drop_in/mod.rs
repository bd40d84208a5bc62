//! The Interaction Service's addresses, in front of the real one: typing entries are taken, messages wait until the icon
//! is off, everything that is not typingd's own is forwarded.
//!
//! What is forwarded is opaque bytes: of an interaction the ids and kinds are read, of a message's text nothing.

mod deferred;
mod forward;
mod forward_body;
#[cfg(fuzzing)]
pub mod fuzz;
mod guard;
mod handle;
mod in_flight;
mod interaction;
mod judgement;
mod own;
mod paced;
mod progress;
mod shadow;
mod tally;
mod turns;
mod written;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Body as _;
use serde_json::json;
use tower::ServiceExt;

use crate::base::clock::Clock;
use crate::base::timers::Timers;
use crate::driver::inbox::Inbox;
use crate::http::{
    AnswerBody, Forward, Forwarding, NoOptions, Options, Problem, Route, TokenAuth, announced_bytes, until,
};
use crate::observe::snapshot::DropInFigures;
use crate::salesforce::Connection;
use crate::salesforce::credentials::CredentialCache;
use crate::salesforce::pool::Pool;
use forward::broken_problem;
use forward_body::{ForwardBody, RequestBody};
use in_flight::{InFlight, InFlightGuard};
use interaction::PREFIX_BYTES_MAX;
use paced::Paced;
use progress::{BODY_BYTES_MAX, Broken};
pub use shadow::Shadow;
use tally::Tally;
use turns::{HeldPlace, Turns};

const INTERACTIONS: &str = "/api/v1/interactions";

/// The drop-in's settings. `config` fills them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a TypingStartedIndicator counts as typing.
    pub activity_lasts: Duration,
    /// How long a message may wait for its conversation's Stopped.
    pub settle: Duration,
    /// How long a request may wait for those of the same end user before it.
    pub order_wait: Duration,
    /// How long a request or an answer may stand still before it is given up.
    pub stall_timeout: Duration,
    /// Whether typingd uses the credentials that the connector sent.
    pub borrow_credentials: bool,
    /// How long a refusal of credentials is believed.
    pub refused_for: Duration,
    /// How long messages go on passing once the daemon is stopping, if connectors go on calling.
    pub drain: Duration,
    /// Whether everything is forwarded, and typingd only reports what it would have sent.
    pub shadow: bool,
}

/// What the drop-in works with.
#[derive(Clone)]
pub struct Context {
    /// Receives the signals: the daemon's own, or in shadow mode the shadow's.
    pub inbox: Inbox,
    /// Keeps the credentials that connectors show, if they are cached.
    pub cache: Option<CredentialCache>,
    /// The org that the configuration names; requests for others are only forwarded.
    pub org_id: Option<String>,
    /// Where requests are forwarded to.
    pub connection: Connection,
    /// What the connector's own entries are compared with, if nothing is to be taken.
    pub shadow: Option<Shadow>,
    /// Admits callers to the counts.
    pub gate: TokenAuth,
    /// The one clock.
    pub clock: Clock,
    /// What earlier ones have counted and forwarded.
    pub activity: Activity,
}

/// What outlives a change of the settings: the counts, what is in flight, and its order. Cheap to clone; clones are the
/// same.
#[derive(Clone)]
pub struct Activity {
    tally: Arc<Tally>,
    in_flight: InFlight,
    turns: Turns,
}

impl Activity {
    /// Nothing has been forwarded yet.
    pub fn new(clock: Clock) -> Self {
        Self { tally: Arc::default(), in_flight: InFlight::default(), turns: Turns::new(clock) }
    }

    /// Ends when no connector has called for a second and nothing is in flight any more, at `end` at the latest.
    pub(crate) async fn drained(&self, end: tokio::time::Instant) {
        self.in_flight.quiet(end).await;
    }

    /// Cuts what is in flight, and returns how many requests that are.
    pub(crate) fn cut(&self) -> u64 {
        let cut = self.in_flight.cut() as u64;
        self.tally.cut.add_many(cut);
        cut
    }
}

/// The drop-in. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct DropIn(Arc<Shared>);

struct Shared {
    settings: Settings,
    context: Context,
    pool: Pool<ForwardBody>,
    /// Of waits for an icon to go off, and of waits for the upstream.
    settle_timers: Timers,
    stall_timers: Timers,
}

impl DropIn {
    /// A drop-in with these settings.
    pub fn new(settings: Settings, context: Context) -> Self {
        context.activity.turns.set_wait_max(settings.order_wait);
        let pool = context.connection.forward_pool();
        let (settle_timers, stall_timers) = <(Timers, Timers)>::default();
        Self(Arc::new(Shared { settings, context, pool, settle_timers, stall_timers }))
    }

    /// What is served: `own` at typingd's own addresses; everything else is forwarded. Connectors show Salesforce's token,
    /// and none of typingd's.
    pub fn router(self, own: Router) -> Router {
        let front = Front { drop_in: self, own };
        // As a service: a handler's way around it costs each request two allocations.
        Router::new().fallback_service(tower::service_fn(move |request| {
            let front = front.clone();
            async move { Ok(serve(front, request).await) }
        }))
    }

    /// The route of the report on it.
    pub(crate) fn report_router(self) -> Router {
        Router::new().route("/v1/drop_in", get(report)).with_state(self)
    }

    /// The counts.
    pub(crate) fn figures(&self) -> DropInFigures {
        let activity = &self.0.context.activity;
        activity.tally.figures(activity.turns.overdue(), activity.in_flight.count())
    }
}

async fn report(State(drop_in): State<DropIn>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    drop_in.0.context.gate.check(&headers)?;
    Options::<NoOptions>::of(&uri)?;
    let mut report = json!(drop_in.figures());
    if let Some(shadow) = &drop_in.0.context.shadow {
        report["shadow"] = shadow.to_json();
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], report.to_string()).into_response())
}

/// The drop-in, and what is behind typingd's own addresses.
#[derive(Clone)]
struct Front {
    drop_in: DropIn,
    own: Router,
}

async fn serve(front: Front, request: Request) -> Response {
    if own::is_own(request.method(), request.uri().path()) {
        return front.own.oneshot(request).await.unwrap_or_else(|never| match never {});
    }
    let (head, body) = request.into_parts();
    let answer = answer(&front.drop_in, head, RequestBody::Streamed(body)).await;
    let mut answer = answer.map(|answer| answer.map(AnswerBody::into_body)).into_response();
    answer.extensions_mut().insert(Route::DropIn);
    answer
}

impl Forward for DropIn {
    fn path(&self) -> &'static str {
        INTERACTIONS
    }

    fn forward(&self, head: Parts, body: Bytes) -> Forwarding<'_> {
        // A longer one may have to be read on as it is forwarded.
        let body =
            if body.len() < PREFIX_BYTES_MAX { RequestBody::Whole(body) } else { RequestBody::Streamed(body.into()) };
        Box::pin(answer(self, head, body))
    }
}

/// Answers a request, unless it is cut.
async fn answer(drop_in: &DropIn, head: Parts, body: RequestBody) -> Result<Response<AnswerBody>, Problem> {
    let in_flight = &drop_in.0.context.activity.in_flight;
    let guard = in_flight.begin();
    // Where it stays: it has some thousand bytes.
    let handled = pin!(handle(&drop_in.0, head, body, guard));
    let answer = in_flight.unless_cut(handled).await.unwrap_or_else(|| {
        let detail = "typingd has stopped before the Interaction Service answered";
        Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
    })?;
    // What is in hand is written, whatever is cut.
    Ok(answer.map(|body| match body {
        AnswerBody::Routed(body) if body.size_hint().exact().is_none() => {
            AnswerBody::Routed(until(body, in_flight.is_cut()))
        }
        whole => whole,
    }))
}

async fn handle(
    shared: &Arc<Shared>,
    head: Parts,
    body: RequestBody,
    guard: InFlightGuard,
) -> Result<Response<AnswerBody>, Problem> {
    // A body that is announced as too long is not begun.
    if announced_bytes(&head.headers).is_some_and(|bytes| bytes as u64 > BODY_BYTES_MAX) {
        shared.context.activity.tally.unanswered.add();
        return Err(broken_problem(Broken::TooLong));
    }
    if let Err(problem) = guard::refuse_what_cannot_pass(&head, &shared.context.gate) {
        shared.context.activity.tally.unanswered.add();
        return Err(problem);
    }
    let body = match body {
        RequestBody::Streamed(body) => {
            RequestBody::Streamed(Body::new(Paced::of_request(body, shared.settings.stall_timeout)))
        }
        whole @ RequestBody::Whole(_) => whole,
    };
    let interaction = head.method == Method::POST && head.uri.path() == INTERACTIONS;
    if interaction && !guard::is_from_page(&head.headers) && !shared.is_of_another_org(&head.headers) {
        return shared.interaction(head, body, guard).await;
    }
    shared.context.activity.tally.others.add();
    shared.forward(head, Vec::new(), body, guard, HeldPlace::default(), None).await
}
