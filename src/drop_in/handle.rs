//! Interactions: typing entries are taken, messages wait until the icon is off.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::deferred::{Boxed, DeferredParse};
use super::forward::{broken_problem, json_answer};
use super::forward_body::RequestBody;
use super::in_flight::InFlightGuard;
use super::interaction::{self, Found, Interaction, Kind, Prefix};
use super::judgement::Judgement;
use super::turns::{Entered, HeldPlace};
use crate::base::clock;
use crate::driver::inbox::Undeliverable;
use crate::engine::Rejected;
use crate::http::{AnswerBody, Problem};
use crate::model::{Conversation, CredentialId, LASTS_MILLIS_MAX, Signal, SignalBatch, SignalKind};
use crate::salesforce::credentials::Credentials;

const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");
/// When to come again, in seconds, if there was no room.
const RETRY_AFTER_SECONDS: u64 = 1;

impl Shared {
    pub(super) async fn interaction(
        self: &Arc<Self>,
        head: Parts,
        mut body: RequestBody,
        guard: InFlightGuard,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (prefix, found) = match &mut body {
            RequestBody::Whole(body) => (Prefix::default(), interaction::read_whole(&head.headers, body)),
            RequestBody::Streamed(body) => {
                interaction::read_ahead(&head.headers, body).await.map_err(broken_problem)?
            }
        };
        let Interaction { conversation, kind, id } = match found {
            Found::Known(interaction) => interaction,
            Found::Unknown => {
                self.context.activity.tally.unread.add();
                return self.forward(head, prefix.frames, body, guard, HeldPlace::default(), None).await;
            }
            Found::Later(boundary) => {
                let (credentials, held) = (Credentials::of(&head.headers), HeldPlace::default());
                let settle = self.settle_late(credentials, held.clone());
                let body = DeferredParse::new(&boundary, &prefix.frames, body.into_body(), settle);
                let body = RequestBody::Streamed(Body::new(body));
                return self.forward(head, prefix.frames, body, guard, held, None).await;
            }
        };
        let credentials = Credentials::of(&head.headers);
        let judgement = self.judge(conversation.to(), credentials.as_ref());
        let credentials = judgement.credentials();
        if kind != Kind::Message && self.context.shadow.is_none() && head.headers.contains_key(REQUEST_ID) {
            match judgement {
                Judgement::Welcome(_) => return self.take(conversation, kind, &id, credentials).await,
                Judgement::Refused(rejection) => return Ok(self.reject(&conversation, kind, &rejection).await),
                Judgement::Missing => {}
            }
        }
        let place = self.context.activity.turns.enter(&conversation);
        place.turn().await;
        match kind {
            Kind::Message => self.settle(&conversation, self.settings.settle, credentials).await,
            Kind::Started => self.context.activity.tally.typing_passed.add(),
            Kind::Stopped => {
                self.context.activity.tally.typing_passed.add();
                // Safe whatever becomes of it: at worst there is no icon to put off.
                let _ = self.signal(&conversation, SignalKind::Stopped, credentials).await;
            }
        }
        let answer = self.forward(head, prefix.frames, body, guard, place.into(), credentials).await?;
        self.learn(&conversation, kind, credentials, answer.status()).await;
        Ok(answer)
    }

    /// Takes a typing entry: it is answered here at once and is not forwarded. Behind a message that has not been written yet
    /// its signal waits: a key that comes after a message must not show before it.
    async fn take(
        self: &Arc<Self>,
        conversation: Conversation,
        kind: Kind,
        id: &str,
        credentials: Option<CredentialId>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (count, signal) = match kind {
            Kind::Stopped => (&self.context.activity.tally.stopped_taken, SignalKind::Stopped),
            _ => (&self.context.activity.tally.started_taken, SignalKind::Keystroke),
        };
        match self.context.activity.turns.enter_typing(&conversation, (signal, credentials)) {
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
        Ok(json_answer(StatusCode::ACCEPTED, &body))
    }

    pub(super) async fn signal(
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
        let receipt = self.context.inbox.deliver(batch, None).await.map_err(|why| match why {
            Undeliverable::Full => later("typingd is behind with its work; come again"),
            Undeliverable::Closed => later("typingd is shutting down"),
        })?;
        match receipt.turned_away.first() {
            None => Ok(()),
            Some((_, Rejected::TableFull)) => Err(later("the table of conversations is full")),
            Some((_, Rejected::Stopping)) => Err(later("typingd is shutting down")),
        }
    }

    /// What is done about a message that is only recognised when nearly all of it has been forwarded.
    fn settle_late(
        self: &Arc<Self>,
        credentials: Option<Credentials>,
        held: HeldPlace,
    ) -> impl FnOnce(Interaction) -> Boxed<()> + use<> {
        let shared = Arc::clone(self);
        move |Interaction { conversation, kind, .. }| {
            let place = shared.context.activity.turns.enter(&conversation);
            Box::pin(async move {
                let credentials = shared.judge(conversation.to(), credentials.as_ref()).credentials();
                if kind == Kind::Message {
                    // Nothing is sent meanwhile, and the upstream must not give up for that.
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
        self.context.activity.tally.messages.add();
        if let Some(shadow) = &self.context.shadow {
            shadow.on_message(conversation);
        }
        let mut batch = SignalBatch::default().with_credentials(credentials);
        batch.push(conversation.as_ref(), Signal::new(SignalKind::MessageSent));
        let wait = self.context.shadow.is_none().then_some(timeout);
        let mut needed = None;
        let off = {
            let off = pin!(async {
                let receipt = self.context.inbox.deliver(batch, wait).await.ok()?;
                needed = receipt.wait_needed;
                if receipt.blocked {
                    return Some(&self.context.activity.tally.unwaited);
                }
                if receipt.unsettled.is_empty() {
                    return None;
                }
                let outcomes = futures_util::future::join_all(receipt.unsettled).await;
                let settled = outcomes.into_iter().all(|off| off == Ok(true));
                Some(if settled {
                    &self.context.activity.tally.settled
                } else {
                    &self.context.activity.tally.unsettled
                })
            });
            tokio::select! {
                biased;
                off = off => Some(off),
                () = self.settle_timers.sleep_until(clock::timer_after(timeout)) => None,
            }
        };
        match off {
            Some(None) => {}
            Some(Some(count)) => count.add(),
            None => {
                self.context.activity.tally.unsettled.add();
                if let Some(needed) = needed.filter(|needed| *needed > timeout) {
                    self.context.activity.turns.warn_of_settle(timeout, needed);
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
            // Its icon is switched off like any other.
            let _ = self.signal(conversation, SignalKind::Keystroke, credentials).await;
        }
        if let Some(shadow) = &self.context.shadow {
            shadow.on_connector(conversation, kind);
        }
    }
}
