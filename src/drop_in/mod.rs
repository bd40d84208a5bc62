//! `/api/v1/…`, as the Interaction Service answers it, in front of the real one: typing entries are taken, messages wait
//! until the icon is off, everything else passes through.
//!
//! What passes is opaque bytes: of an interaction the ids and kinds are read, of a message's text nothing.

mod activity;
mod interaction;
mod late;
mod paced;
mod passage;
mod shadow;
mod tally;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::json;
use uuid::Uuid;

use crate::clock::Clock;
use crate::engine::TurnedAway;
use crate::http::{Gate, Problem, announced_bytes, hear_out, until};
use crate::inbox::{Inbox, Undeliverable};
use crate::model::{Conversation, Signal, SignalBatch, SignalKind};
use crate::vault::{Credentials, Standing, Vault};
use interaction::{Found, Interaction, Kind};
use late::{Boxed, Late};
use paced::Paced;
use passage::{BODY_BYTES_MAX, Broken, Hold, Passage};
pub use shadow::{Shadow, ShadowCarrier};
pub use tally::Figures;
use tally::Tally;
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
    /// How long a request or an answer may stand still before it is given up.
    pub stall_timeout: Duration,
    /// Whether typingd uses the credentials that the connector last sent.
    pub borrow_credentials: bool,
    /// How long messages go on passing once the daemon has been told to stop, if connectors go on calling.
    pub drain: Duration,
    /// Whether everything passes, and typingd only tells what it would have sent.
    pub shadow: bool,
}

/// What the drop-in works with.
pub struct Surroundings {
    /// Takes the signals: the daemon's own, or in shadow mode the shadow's.
    pub inbox: Inbox,
    /// Takes the credentials that connectors show, if they are borrowed.
    pub vault: Option<Vault>,
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

/// What outlives a change of the settings: the counts, and what is under way. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct Lasting {
    tally: Arc<Tally>,
    activity: activity::Activity,
}

impl Lasting {
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
    vault: Option<Vault>,
    upstream: Upstream,
    shadow: Option<Shadow>,
    gate: Gate,
    clock: Clock,
    tally: Arc<Tally>,
    activity: activity::Activity,
}

impl DropIn {
    /// A drop-in with these settings.
    ///
    /// # Errors
    /// When there can be no connections to the upstream: names the file or setting that is in the way.
    pub fn new(settings: Settings, surroundings: Surroundings) -> Result<Self, String> {
        let Surroundings { inbox, vault, target, shadow, gate, clock, lasting } = surroundings;
        let upstream = Upstream::new(&target)?;
        let Lasting { tally, activity } = lasting;
        Ok(Self(Arc::new(Shared { settings, inbox, vault, upstream, shadow, gate, clock, tally, activity })))
    }

    /// The routes of what passes: connectors show the far side's token there, and none of ours.
    pub fn router(self) -> Router {
        Router::new().route("/api/v1/", any(answer)).route("/api/v1/{*rest}", any(answer)).with_state(self)
    }

    /// The route of the report on it.
    pub fn report_router(self) -> Router {
        Router::new().route("/v1/drop_in", get(report)).with_state(self)
    }

    /// How often what has happened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.0.tally.figures(self.0.activity.under_way())
    }
}

async fn report(State(drop_in): State<DropIn>, headers: HeaderMap) -> Result<Response, Problem> {
    let shared = &drop_in.0;
    shared.gate.admit(&headers)?;
    let mut report = shared.tally.to_json();
    report["under_way"] = shared.activity.under_way().into();
    if let Some(shadow) = &shared.shadow {
        report["shadow"] = shadow.to_json();
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], report.to_string()).into_response())
}

/// Answers a request, unless it is cut.
async fn answer(State(drop_in): State<DropIn>, request: Request) -> Result<Response, Problem> {
    let activity = &drop_in.0.activity;
    let hold: Hold = Box::new(activity.begin());
    let answer = tokio::select! {
        biased;
        () = activity.is_cut() => {
            let detail = "typingd has stopped before the Interaction Service answered";
            return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail));
        }
        answer = handle(&drop_in, request, hold) => answer?,
    };
    Ok(answer.map(|body| until(body, activity.is_cut())))
}

async fn handle(drop_in: &DropIn, request: Request, hold: Hold) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let shared = &drop_in.0;
    if let Err(problem) = refuse_what_cannot_pass(&head) {
        shared.tally.unanswered.add();
        return Err(problem);
    }
    let body = Body::new(Paced::new(body, shared.settings.stall_timeout));
    if head.method == Method::POST && head.uri.path() == INTERACTIONS {
        return shared.interaction(head, body, hold).await;
    }
    shared.tally.others.add();
    shared.pass(head, Vec::new(), body, hold).await
}

/// What would not arrive as it was sent: a tunnel has no path, and a body that says it is too long is not begun.
fn refuse_what_cannot_pass(head: &Parts) -> Result<(), Problem> {
    if head.method == Method::CONNECT {
        let detail = "CONNECT is for proxies that are asked for a host; typingd stands in front of one";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
    }
    if announced_bytes(&head.headers).is_some_and(|bytes| bytes as u64 > BODY_BYTES_MAX) {
        return Err(broken_problem(Broken::TooLong));
    }
    Ok(())
}

impl Shared {
    async fn interaction(self: &Arc<Self>, head: Parts, mut body: Body, hold: Hold) -> Result<Response, Problem> {
        let read = interaction::read_ahead(&head.headers, &mut body, self.settings.stall_timeout).await;
        let (ahead, found) = read.map_err(broken_problem)?;
        let Interaction { conversation, kind } = match found {
            Found::Known(interaction) => interaction,
            Found::Unknown => {
                self.tally.unread.add();
                return self.pass(head, ahead.frames, body, hold).await;
            }
            Found::Later(boundary) => {
                let credentials = Credentials::of(&head.headers);
                let body = Body::new(Late::new(boundary, &ahead.frames, body, self.settle_late(credentials)));
                return self.pass(head, ahead.frames, body, hold).await;
            }
        };
        let credentials = Credentials::of(&head.headers);
        let standing = self.look_at(conversation.to(), credentials.as_ref());
        match kind {
            Kind::Message => self.settle(&conversation, self.settings.settle).await,
            Kind::Started(id) | Kind::Stopped(id) => {
                let welcome = standing == Standing::Good && head.headers.contains_key(REQUEST_ID);
                if welcome && self.shadow.is_none() {
                    return self.take(&conversation, kind, id).await;
                }
                self.tally.typing_passed.add();
                // Safe whatever becomes of it: at worst there is no icon to put off.
                if matches!(kind, Kind::Stopped(_)) {
                    let _ = self.signal(&conversation, SignalKind::Stopped).await;
                }
            }
        }
        let answer = self.pass(head, ahead.frames, body, hold).await?;
        self.learn(&conversation, kind, credentials.as_ref(), answer.status()).await;
        Ok(answer)
    }

    /// What is to be thought of the credentials that a request shows. They are kept, if they are to be borrowed.
    fn look_at(&self, channel: &str, credentials: Option<&Credentials>) -> Standing {
        match (credentials, &self.vault) {
            // Whoever shows none is to hear from Salesforce itself.
            (None, _) => Standing::Refused,
            (Some(_), None) => Standing::Good,
            (Some(credentials), Some(vault)) => vault.show(channel, credentials),
        }
    }

    /// Takes a typing entry: it is answered here and goes no further.
    async fn take(&self, conversation: &Conversation, kind: Kind, id: Uuid) -> Result<Response, Problem> {
        let (count, signal) = match kind {
            Kind::Stopped(_) => (&self.tally.stopped_taken, SignalKind::Stopped),
            _ => (&self.tally.started_taken, SignalKind::Keystroke),
        };
        self.signal(conversation, signal).await?;
        count.add();
        // The conversation's identifier is Salesforce's secret; none is better than a wrong one.
        let body = json!({"id": id, "success": true, "workItemIds": []});
        Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
    }

    async fn signal(&self, conversation: &Conversation, kind: SignalKind) -> Result<(), Problem> {
        let mut batch = SignalBatch::default().lasting(self.settings.activity_lasts);
        // Without a time: connectors send made-up ones.
        batch.push(conversation.as_ref(), Signal { kind, at: None });
        let later = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS);
        let receipt = self.inbox.deliver(batch, false).await.map_err(|why| match why {
            Undeliverable::Full => later("typingd is behind with its work; come again"),
            Undeliverable::Closed => later("typingd is shutting down"),
        })?;
        match receipt.turned_away.first() {
            None => Ok(()),
            Some((_, TurnedAway::TableFull)) => Err(later("the table of conversations is full")),
            Some((_, TurnedAway::Stopping)) => Err(later("typingd is shutting down")),
        }
    }

    /// What is done about a message that is only known for one when nearly all of it has passed.
    fn settle_late(
        self: &Arc<Self>,
        credentials: Option<Credentials>,
    ) -> impl FnOnce(Interaction) -> Boxed<()> + use<> {
        let shared = Arc::clone(self);
        move |Interaction { conversation, kind }| {
            Box::pin(async move {
                shared.look_at(conversation.to(), credentials.as_ref());
                if kind == Kind::Message {
                    // The body stands still meanwhile, and must not be given up for that.
                    let patience = shared.settings.settle.min(shared.settings.stall_timeout / 2);
                    shared.settle(&conversation, patience).await;
                }
            })
        }
    }

    /// A message is about to pass: waits until its conversation's icon is off, no longer than `patience`.
    async fn settle(&self, conversation: &Conversation, patience: Duration) {
        self.tally.messages.add();
        if let Some(shadow) = &self.shadow {
            shadow.note_message(conversation);
        }
        let mut batch = SignalBatch::default();
        batch.push(conversation.as_ref(), Signal { kind: SignalKind::MessageSent, at: None });
        let off = async {
            let receipt = self.inbox.deliver(batch, self.shadow.is_none()).await.ok()?;
            if receipt.unsettled.is_empty() {
                return None;
            }
            let told = futures_util::future::join_all(receipt.unsettled).await;
            Some(told.into_iter().all(|told| told == Ok(true)))
        };
        match tokio::time::timeout(patience, off).await {
            Ok(None) => {}
            Ok(Some(true)) => self.tally.settled.add(),
            Ok(Some(false)) | Err(_) => self.tally.unsettled.add(),
        }
    }

    /// The upstream has answered an interaction: it has judged the credentials, and may show an icon now.
    async fn learn(
        &self,
        conversation: &Conversation,
        kind: Kind,
        credentials: Option<&Credentials>,
        status: StatusCode,
    ) {
        if let (Some(credentials), Some(vault)) = (credentials, &self.vault) {
            if status.is_success() {
                vault.accepted(conversation.to(), credentials);
            } else if status == StatusCode::UNAUTHORIZED {
                vault.refused(conversation.to(), credentials);
            }
        }
        if !status.is_success() {
            return;
        }
        if matches!(kind, Kind::Started(_)) {
            // Whatever went on past typingd is looked after all the same.
            let _ = self.signal(conversation, SignalKind::Keystroke).await;
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
    ) -> Result<Response, Problem> {
        let expects = head.headers.contains_key(header::EXPECT);
        let body = Passage::of_request(ahead, body, self.clock, self.settings.stall_timeout);
        let remains = body.remains();
        let result = if announced_bytes(&head.headers).is_some_and(|bytes| bytes as u64 > BODY_BYTES_MAX) {
            Err(broken_problem(Broken::TooLong))
        } else {
            passage::strip(&mut head.headers);
            head.headers.remove(header::HOST);
            head.version = Version::HTTP_11;
            match self.upstream.address(&head.uri) {
                Ok(uri) => {
                    head.uri = uri;
                    self.exchange(axum::http::Request::from_parts(head, body)).await
                }
                Err(error) => {
                    Err(Problem::new(StatusCode::BAD_REQUEST, format!("the address can't be passed on: {error}")))
                }
            }
        };
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

    /// Waits for an answer's head for as long as anything moves.
    async fn exchange(
        &self,
        request: axum::http::Request<Passage>,
    ) -> Result<axum::http::Response<hyper::body::Incoming>, Problem> {
        let watch = request.body().watch();
        let mut answer = std::pin::pin!(self.upstream.request(request));
        let mut still_since = watch.moved();
        loop {
            tokio::select! {
                answer = answer.as_mut() => return answer.map_err(|error| match watch.broken() {
                    Some(broken) => broken_problem(broken),
                    None => {
                        let what = if error.is_connect() { "can't be reached" } else { "broke off before its answer" };
                        Problem::new(StatusCode::BAD_GATEWAY, format!("the Interaction Service {what}: {}", causes(&error)))
                    }
                }),
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

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
