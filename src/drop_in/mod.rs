//! The Interaction Service's addresses, in front of the real one: typing entries are taken, messages wait until the icon
//! is off, everything that is not typingd's own passes through.
//!
//! What passes is opaque bytes: of an interaction the ids and kinds are read, of a message's text nothing.

mod activity;
mod dialer;
mod guard;
mod interaction;
mod judge;
mod late;
mod own;
mod paced;
mod passage;
mod shadow;
mod tally;
mod turns;
mod upstream;
mod written;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Frame;
use hyper_util::client::legacy::connect::capture_connection;
use serde_json::json;
use tower::ServiceExt;

use crate::base::clock::Clock;
use crate::base::text::with_causes;
use crate::driver::inbox::{Inbox, Undeliverable};
use crate::engine::Rejected;
use crate::http::{Gate, Problem, Route, announced_bytes, hear_out, until};
use crate::model::{Conversation, CredentialId, LASTS_MILLIS_MAX, Signal, SignalBatch, SignalKind};
use crate::observe::snapshot::DropInFigures;
use crate::salesforce::credentials::{CredentialCache, Credentials};
use crate::salesforce::via;
use interaction::{Found, Interaction, Kind};
use judge::Judgement;
use late::{Boxed, Late};
use paced::Paced;
use passage::{BODY_BYTES_MAX, Broken, Hold, Passage};
pub use shadow::{Shadow, ShadowCarrier};
use tally::Tally;
use turns::{Entered, Held, Turns};
pub use upstream::Target;
use upstream::Upstream;

/// Where interactions are sent.
const INTERACTIONS: &str = "/api/v1/interactions";
const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");
/// When to come again, in seconds, if there was no room.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What the drop-in must be told. `config` fills it in.
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
    /// How long messages go on passing once the daemon has been told to stop, if connectors go on calling.
    pub drain: Duration,
    /// Whether everything passes, and typingd only tells what it would have sent.
    pub shadow: bool,
}

/// What the drop-in works with.
pub struct Surroundings {
    /// Takes the signals: the daemon's own, or in shadow mode the shadow's.
    pub inbox: Inbox,
    /// Takes the credentials that connectors show, if they are cached.
    pub cache: Option<CredentialCache>,
    /// The org that the configuration names; requests for others are left alone.
    pub org_id: Option<String>,
    /// Where everything passes on to.
    pub target: Target,
    /// What the connector's own entries are compared with, if nothing is to be taken.
    pub shadow: Option<Shadow>,
    /// Who may see the counts.
    pub gate: Gate,
    /// The one clock.
    pub clock: Clock,
    /// What has been before.
    pub lasting: Lasting,
}

/// What outlives a change of the settings: the counts, what is under way, and its order. Cheap to clone; clones are the
/// same.
#[derive(Clone)]
pub struct Lasting {
    tally: Arc<Tally>,
    activity: activity::Activity,
    turns: Turns,
}

impl Lasting {
    /// Nothing has passed yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { tally: Arc::default(), activity: activity::Activity::default(), turns: Turns::new(clock) }
    }

    /// Ends when no connector has called for a second and nothing is passing any more, at `end` at the latest. What is
    /// passing then is cut; says how many requests that are.
    pub async fn drained(&self, end: tokio::time::Instant) -> u64 {
        self.activity.quiet(end).await;
        self.cut()
    }

    /// Cuts what is passing, and says how many requests that are.
    pub fn cut(&self) -> u64 {
        let cut = self.activity.cut() as u64;
        self.tally.cut.add_many(cut);
        cut
    }
}

/// The drop-in. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct DropIn(Arc<Shared>);

struct Shared {
    settings: Settings,
    inbox: Inbox,
    cache: Option<CredentialCache>,
    org_id: Option<String>,
    upstream: Upstream,
    shadow: Option<Shadow>,
    gate: Gate,
    clock: Clock,
    turns: Turns,
    tally: Arc<Tally>,
    activity: activity::Activity,
}

impl DropIn {
    /// A drop-in with these settings.
    ///
    /// # Errors
    /// When there can be no connections to the upstream: names the file or setting that is in the way.
    pub fn new(settings: Settings, surroundings: Surroundings) -> Result<Self, String> {
        let Surroundings { inbox, cache, org_id, target, shadow, gate, clock, lasting } = surroundings;
        let upstream = Upstream::new(&target)?;
        let Lasting { tally, activity, turns } = lasting;
        turns.set_wait_max(settings.order_wait);
        let shared = Shared { settings, inbox, cache, org_id, upstream, shadow, gate, clock, turns, tally, activity };
        Ok(Self(Arc::new(shared)))
    }

    /// What is served: `own` at typingd's own addresses; everything else passes. Connectors show the far side's token,
    /// and none of ours.
    pub fn router(self, own: Router) -> Router {
        Router::new().fallback(serve).with_state(Front { drop_in: self, own })
    }

    /// The route of the report on it.
    pub fn report_router(self) -> Router {
        Router::new().route("/v1/drop_in", get(report)).with_state(self)
    }

    /// How often what has happened.
    #[must_use]
    pub(crate) fn figures(&self) -> DropInFigures {
        self.0.tally.figures(self.0.turns.overdue(), self.0.activity.under_way())
    }
}

async fn report(State(drop_in): State<DropIn>, headers: HeaderMap) -> Result<Response, Problem> {
    let shared = &drop_in.0;
    shared.gate.admit(&headers)?;
    let mut report = json!(drop_in.figures());
    if let Some(shadow) = &shared.shadow {
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

async fn serve(State(front): State<Front>, request: Request) -> Response {
    if own::is_own(request.method(), request.uri().path()) {
        return front.own.oneshot(request).await.unwrap_or_else(|never| match never {});
    }
    let mut answer = answer(&front.drop_in, request).await.into_response();
    answer.extensions_mut().insert(Route::DropIn);
    answer
}

/// Answers a request, unless it is cut.
async fn answer(drop_in: &DropIn, request: Request) -> Result<Response, Problem> {
    let activity = &drop_in.0.activity;
    let hold: Hold = Box::new(activity.begin());
    let answer = tokio::select! {
        biased;
        () = activity.is_cut() => {
            let detail = "typingd has stopped before the Interaction Service answered";
            return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail));
        }
        answer = handle(drop_in, request, hold) => answer?,
    };
    Ok(answer.map(|body| until(body, activity.is_cut())))
}

async fn handle(drop_in: &DropIn, request: Request, hold: Hold) -> Result<Response, Problem> {
    let (head, mut body) = request.into_parts();
    let shared = &drop_in.0;
    // A body that says that it is too long is not begun.
    if announced_bytes(&head.headers).is_some_and(|bytes| bytes as u64 > BODY_BYTES_MAX) {
        shared.tally.unanswered.add();
        return Err(broken_problem(Broken::TooLong));
    }
    if let Err(problem) = guard::refuse_what_cannot_pass(&head, &shared.gate) {
        shared.tally.unanswered.add();
        return Err(hear_out(&head.headers, &mut body, problem).await);
    }
    let body = Body::new(Paced::new(body, shared.settings.stall_timeout));
    let interaction = head.method == Method::POST && head.uri.path() == INTERACTIONS;
    if interaction && !guard::is_from_page(&head.headers) && !shared.is_of_another_org(&head.headers) {
        return shared.interaction(head, body, hold).await;
    }
    shared.tally.others.add();
    shared.forward(head, Vec::new(), body, hold, Held::default()).await
}

impl Shared {
    async fn interaction(self: &Arc<Self>, head: Parts, mut body: Body, hold: Hold) -> Result<Response, Problem> {
        let read = interaction::read_ahead(&head.headers, &mut body, self.settings.stall_timeout).await;
        let (ahead, found) = read.map_err(broken_problem)?;
        let Interaction { conversation, kind, id } = match found {
            Found::Known(interaction) => interaction,
            Found::Unknown => {
                self.tally.unread.add();
                return self.forward(head, ahead.frames, body, hold, Held::default()).await;
            }
            Found::Later(boundary) => {
                let (credentials, held) = (Credentials::of(&head.headers), Held::default());
                let settle = self.settle_late(credentials, held.clone());
                let body = Body::new(Late::new(boundary, &ahead.frames, body, settle));
                return self.forward(head, ahead.frames, body, hold, held).await;
            }
        };
        let credentials = Credentials::of(&head.headers);
        let judgement = self.look_at(conversation.to(), credentials.as_ref());
        let credentials = judgement.credentials();
        if kind != Kind::Message && self.shadow.is_none() && head.headers.contains_key(REQUEST_ID) {
            match judgement {
                Judgement::Welcome(_) => return self.take(conversation, kind, &id, credentials).await,
                Judgement::Refused(rejection) => return Ok(self.reject(&conversation, kind, &rejection).await),
                Judgement::Missing => {}
            }
        }
        let place = self.turns.enter(&conversation);
        place.turn().await;
        match kind {
            Kind::Message => self.settle(&conversation, self.settings.settle, credentials).await,
            Kind::Started => self.tally.typing_passed.add(),
            Kind::Stopped => {
                self.tally.typing_passed.add();
                // Safe whatever becomes of it: at worst there is no icon to put off.
                let _ = self.signal(&conversation, SignalKind::Stopped, credentials).await;
            }
        }
        let answer = self.forward(head, ahead.frames, body, hold, place.into()).await?;
        self.learn(&conversation, kind, credentials, answer.status()).await;
        Ok(answer)
    }

    /// Takes a typing entry: it is answered here at once and goes no further. Behind a message that has not passed yet
    /// its signal waits: a key that comes after a message must not show before it.
    async fn take(
        self: &Arc<Self>,
        conversation: Conversation,
        kind: Kind,
        id: &str,
        credentials: Option<CredentialId>,
    ) -> Result<Response, Problem> {
        let (count, signal) = match kind {
            Kind::Stopped => (&self.tally.stopped_taken, SignalKind::Stopped),
            _ => (&self.tally.started_taken, SignalKind::Keystroke),
        };
        match self.turns.enter_typing(&conversation, (signal, credentials)) {
            Entered::First(_place) => self.signal(&conversation, signal, credentials).await?,
            Entered::Waits(place) => {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    if let Some((signal, credentials)) = place.turn().await {
                        // Its sender has been answered; a signal that finds no room is repaired by the next one.
                        let _ = shared.signal(&conversation, signal, credentials).await;
                    }
                });
            }
            Entered::Joined => {}
        }
        count.add();
        // The conversation's identifier is Salesforce's secret; none is better than a wrong one.
        let body = json!({"id": id, "success": true, "workItemIds": []});
        Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
    }

    async fn signal(
        &self,
        conversation: &Conversation,
        kind: SignalKind,
        credentials: Option<CredentialId>,
    ) -> Result<(), Problem> {
        // Without a time: connectors send made-up ones.
        let mut signal = Signal::new(kind);
        if kind == SignalKind::Keystroke {
            let lasts = u16::try_from(self.settings.activity_lasts.as_millis());
            signal.lasts_millis = lasts.unwrap_or(LASTS_MILLIS_MAX).min(LASTS_MILLIS_MAX);
        }
        let mut batch = SignalBatch::default().with_credentials(credentials);
        batch.push(conversation.as_ref(), signal);
        let later = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS);
        let receipt = self.inbox.deliver(batch, None).await.map_err(|why| match why {
            Undeliverable::Full => later("typingd is behind with its work; come again"),
            Undeliverable::Closed => later("typingd is shutting down"),
        })?;
        match receipt.turned_away.first() {
            None => Ok(()),
            Some((_, Rejected::TableFull)) => Err(later("the table of conversations is full")),
            Some((_, Rejected::Stopping)) => Err(later("typingd is shutting down")),
        }
    }

    /// What is done about a message that is only known for one when nearly all of it has passed.
    fn settle_late(
        self: &Arc<Self>,
        credentials: Option<Credentials>,
        held: Held,
    ) -> impl FnOnce(Interaction) -> Boxed<()> + use<> {
        let shared = Arc::clone(self);
        move |Interaction { conversation, kind, .. }| {
            let place = shared.turns.enter(&conversation);
            Box::pin(async move {
                let credentials = shared.look_at(conversation.to(), credentials.as_ref()).credentials();
                if kind == Kind::Message {
                    // The body stands still meanwhile, and must not be given up for that.
                    let timeout = shared.settings.stall_timeout / 2;
                    let _ = tokio::time::timeout(timeout, place.turn()).await;
                    shared.settle(&conversation, shared.settings.settle.min(timeout), credentials).await;
                }
                held.keep(place);
            })
        }
    }

    /// A message is about to pass: waits until its conversation's icon is off, no longer than `timeout`, and not at all
    /// where its Stopped can't leave by then.
    async fn settle(&self, conversation: &Conversation, timeout: Duration, credentials: Option<CredentialId>) {
        self.tally.messages.add();
        if let Some(shadow) = &self.shadow {
            shadow.note_message(conversation);
        }
        let mut batch = SignalBatch::default().with_credentials(credentials);
        batch.push(conversation.as_ref(), Signal::new(SignalKind::MessageSent));
        let wait = self.shadow.is_none().then_some(timeout);
        let mut needed = None;
        let off = async {
            let receipt = self.inbox.deliver(batch, wait).await.ok()?;
            needed = receipt.wait_needed;
            if receipt.blocked {
                return Some(&self.tally.unwaited);
            }
            if receipt.unsettled.is_empty() {
                return None;
            }
            let told = futures_util::future::join_all(receipt.unsettled).await;
            let settled = told.into_iter().all(|told| told == Ok(true));
            Some(if settled { &self.tally.settled } else { &self.tally.unsettled })
        };
        match tokio::time::timeout(timeout, off).await {
            Ok(None) => {}
            Ok(Some(count)) => count.add(),
            Err(_) => {
                self.tally.unsettled.add();
                if let Some(needed) = needed.filter(|needed| *needed > timeout) {
                    self.turns.warn_of_settle(timeout, needed);
                }
            }
        }
    }

    /// The upstream has answered an interaction: it may show an icon now.
    async fn learn(
        &self,
        conversation: &Conversation,
        kind: Kind,
        credentials: Option<CredentialId>,
        status: StatusCode,
    ) {
        if !status.is_success() {
            return;
        }
        if kind == Kind::Started {
            // Whatever went on past typingd is looked after all the same.
            let _ = self.signal(conversation, SignalKind::Keystroke, credentials).await;
        }
        if let Some(shadow) = &self.shadow {
            shadow.note_connector(conversation, kind);
        }
    }

    /// Passes a request on, and its answer back.
    async fn pass(
        &self,
        mut head: Parts,
        ahead: Vec<Frame<Bytes>>,
        body: Body,
        hold: Hold,
        place: Held,
    ) -> Result<Response, Problem> {
        let expects = head.headers.contains_key(header::EXPECT);
        let body = Passage::of_request(ahead, body, self.clock, self.settings.stall_timeout);
        let remains = body.remains();
        let result = if announced_bytes(&head.headers).is_some_and(|bytes| bytes as u64 > BODY_BYTES_MAX) {
            Err(broken_problem(Broken::TooLong))
        } else {
            passage::strip(&mut head.headers);
            head.headers.remove(header::HOST);
            via::append(&mut head.headers);
            head.version = Version::HTTP_11;
            match self.upstream.address(&head.uri) {
                Ok(uri) => {
                    head.uri = uri;
                    self.exchange(axum::http::Request::from_parts(head, body), &place).await
                }
                Err(error) => {
                    Err(Problem::new(StatusCode::BAD_REQUEST, format!("the address can't be passed on: {error}")))
                }
            }
        };
        // Whatever became of it, it holds up no one any more.
        place.release();
        match result {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                passage::strip(&mut head.headers);
                head.version = Version::HTTP_11;
                let body = Passage::of_answer(Body::new(body), self.clock, self.settings.stall_timeout, hold);
                Ok(Response::from_parts(head, Body::new(body)))
            }
            Err(problem) => {
                self.tally.unanswered.add();
                if expects {
                    return Err(problem);
                }
                let mut rest = std::mem::take(&mut *passage::lock(&remains));
                Err(hear_out(&HeaderMap::new(), &mut rest, problem).await)
            }
        }
    }

    /// Waits for an answer's head for as long as anything moves. Gives up the request's place as soon as what has arrived
    /// of it is written.
    async fn exchange(
        &self,
        mut request: axum::http::Request<Passage>,
        place: &Held,
    ) -> Result<axum::http::Response<hyper::body::Incoming>, Problem> {
        let watch = request.body().watch();
        let written = written::written(capture_connection(&mut request), request.body().watch(), || place.release());
        let mut written = std::pin::pin!(written);
        let mut answer = std::pin::pin!(self.upstream.request(request));
        let mut still_since = watch.moved();
        loop {
            tokio::select! {
                answer = answer.as_mut() => return answer.map_err(|error| match watch.broken() {
                    Some(broken) => broken_problem(broken),
                    None => {
                        let what = if error.is_connect() { "can't be reached" } else { "broke off before its answer" };
                        Problem::new(StatusCode::BAD_GATEWAY, format!("the Interaction Service {what}: {}", with_causes(&error)))
                    }
                }),
                () = written.as_mut() => {}
                () = self.clock.sleep_until(still_since + self.settings.stall_timeout) => {
                    if watch.awaited() {
                        still_since = self.clock.now();
                        continue;
                    }
                    if watch.moved() <= still_since {
                        let patience = self.settings.stall_timeout.as_secs_f64();
                        let detail = format!("the Interaction Service has not answered for {patience} s");
                        return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail));
                    }
                    still_since = watch.moved();
                }
            }
        }
    }
}

fn broken_problem(broken: Broken) -> Problem {
    let status = match broken {
        Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Broken::Stalled | Broken::Dripped => StatusCode::REQUEST_TIMEOUT,
        Broken::Off => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, broken.to_string())
}
