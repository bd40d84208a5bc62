//! What is known of the credentials that a request shows.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::forward::json_answer;
use super::interaction::Kind;
use crate::http::AnswerBody;
use crate::model::{Conversation, CredentialId, SignalKind};
use crate::salesforce::credentials::{Credentials, ORG_ID, Rejection, same_org};

/// What is known of the credentials that a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It lacks some: Salesforce itself answers that.
    Missing,
    /// Nothing is known against them. Their name, if they are cached.
    Welcome(Option<CredentialId>),
    /// Salesforce has just refused them.
    Refused(Rejection),
}

impl Judgement {
    /// The credentials that the conversation has from now on: refused ones take no good ones' place.
    pub(super) const fn credentials(&self) -> Option<CredentialId> {
        match self {
            Self::Welcome(credentials) => *credentials,
            Self::Missing | Self::Refused(_) => None,
        }
    }
}

impl Shared {
    /// Judges the credentials of a request for `channel`. They are kept, if they are to be cached.
    pub(super) fn judge(&self, channel: &str, credentials: Option<&Credentials>) -> Judgement {
        let Some(credentials) = credentials else { return Judgement::Missing };
        let Some(cache) = &self.context.cache else { return Judgement::Welcome(None) };
        let shown = cache.show(channel, credentials);
        shown.rejection.map_or(Judgement::Welcome(Some(shown.id)), Judgement::Refused)
    }

    /// Whether a request is for another org than the one that is configured: it is only forwarded.
    pub(super) fn is_of_another_org(&self, headers: &HeaderMap) -> bool {
        let Some(own) = &self.context.org_id else { return false };
        let mut shown = headers.get_all(ORG_ID).iter().map(|value| value.as_bytes().trim_ascii());
        shown.any(|id| !id.is_empty() && !same_org(id, own.as_bytes()))
    }

    /// Answers a typing entry whose credentials Salesforce has just refused, as Salesforce would. No icon comes of it; one
    /// that is on may go off, which is harmless.
    pub(super) async fn reject(
        &self,
        conversation: &Conversation,
        kind: Kind,
        rejection: &Rejection,
    ) -> Response<AnswerBody> {
        self.context.activity.tally.typing_rejected.add();
        if kind == Kind::Stopped {
            let _ = self.signal(conversation, SignalKind::Stopped, None).await;
        }
        let body = json!({"code": rejection.code, "message": &*rejection.message});
        json_answer(StatusCode::UNAUTHORIZED, &body)
    }
}
