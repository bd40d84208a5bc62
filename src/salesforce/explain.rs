//! What an answer means to the person who set typingd up, and what to do about it.

use crate::base::text::NO_TLS;
use crate::model::{Cause, Outcome, Rejection, WireResult};

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What has happened, in a few words.
    pub meaning: &'static str,
    /// What to do about it; `None` where there is nothing to do.
    pub advice: Option<&'static str>,
}

/// What `result` means: by its code where that is known, then by its outcome, then by its status.
pub fn explain(result: &WireResult) -> Explanation {
    let (meaning, advice) = match (result.code, result.outcome) {
        (Some(10003), _) => (
            "the token lacks a scope",
            "give the connected app the OAuth scope interaction_api, and have the token issued anew",
        ),
        (Some(10005), _) => (
            "the authorization context does not go with this token",
            "upstream.authorization_context must be the developer name of a ConversationChannelDefinition that belongs to \
             the connected app of the token, in the org of upstream.org_id",
        ),
        (Some(10019), _) => ("the org is read-only while it is migrated", "try again later"),
        (Some(10055 | 10056), _) => ("a precondition was not met, or the request was aborted", "try again"),
        (_, Outcome::Delivered) => return Explanation { meaning: "acknowledged", advice: None },
        (_, Outcome::NotSent(_) | Outcome::Unknown(_))
            if result.detail.as_ref().is_some_and(|why| why.contains(NO_TLS)) =>
        {
            ("there is no connection", NO_TLS_ADVICE)
        }
        (_, Outcome::NotSent(setback) | Outcome::Unknown(setback)) => of_setback(setback.cause, result.status),
        (_, Outcome::Rejected(refusal)) => of_refusal(refusal),
    };
    Explanation { meaning, advice: Some(advice) }
}

/// What to do where the name and the way to it are right, for something answers.
pub(crate) const NO_TLS_ADVICE: &str = "something listens on that port and speaks plain http; check the port in the setting that is named, or what stands there";

const fn of_setback(cause: Cause, status: Option<u16>) -> (&'static str, &'static str) {
    match (cause, status) {
        (Cause::Token, Some(_)) => (
            "the token is not accepted",
            "see that the token is fresh and of the org that upstream.base_url and upstream.org_id name; by the JWT bearer \
             flow, that the connected app issues JWT-based access tokens for named users",
        ),
        (Cause::Token, None) => {
            ("there is no token", "the reason says why; the settings are those under upstream.auth")
        }
        (Cause::Credentials, _) => (
            "the connector's credentials are not accepted",
            "see that the connector gets fresh tokens, of the org that upstream.base_url names",
        ),
        (Cause::NoCredentials, _) => (
            "no connector has shown credentials that are accepted",
            "see that the connector runs and gets fresh tokens",
        ),
        (Cause::RateLimited, _) => (
            "the org's rate limit is exceeded",
            "all connectors of an org share 2000 requests a second; lower upstream.max_requests_per_second",
        ),
        (Cause::Unreachable, _) => (
            "there is no connection",
            "check the setting that the reason names, the name service, the firewall, and whether upstream.ca_file or \
             upstream.proxy is needed",
        ),
        (Cause::Unprocessed, _) => (
            "the upstream ended the connection before it looked at the request",
            "nothing, as long as the next try succeeds: load balancers end connections now and then",
        ),
        (Cause::NoAnswer, _) => (
            "there was no answer, and it may have been applied or not",
            "check the way to upstream.base_url, and whether upstream.request_timeout is too short",
        ),
        (Cause::Failing, _) => (
            "Salesforce fails at the moment, and it may have been applied or not",
            "try again; status.salesforce.com reports disturbances",
        ),
    }
}

const fn of_refusal(refusal: Rejection) -> (&'static str, &'static str) {
    match refusal {
        Rejection::Channel => (
            "the channel address, or its authorization context, is wrong, missing or inactive",
            "the channel address must be the ChannelAddressIdentifier of an active MessagingChannel, and \
             authorization_context the developer name of its ConversationChannelDefinition",
        ),
        Rejection::Conversation => (
            "the end user is not valid, not found, or has not opted in",
            "take the client identifier of an end user who has written on this channel",
        ),
        Rejection::Request => (
            "the request is called malformed",
            "if upstream.base_url is right, this is a defect of typingd: please report it",
        ),
        Rejection::Configuration => (
            "another server answers, or one that does not let this client in",
            "upstream.base_url must be the org's Interaction Service, https://<MyDomain>.my.salesforce-scrt.com",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Transient;

    fn explained(outcome: Outcome, status: Option<u16>, code: Option<i64>) -> Explanation {
        explain(&WireResult { outcome, status, code, detail: None, elapsed: Duration::ZERO })
    }

    #[test]
    fn https_spoken_to_an_http_port_is_no_matter_of_names() {
        let outcome = Outcome::NotSent(Transient { cause: Cause::Unreachable, retry_after: None });
        let detail = Some(format!("upstream.base_url https://h:80: {NO_TLS}: what answers there does not speak TLS"));
        let told = explain(&WireResult { outcome, status: None, code: None, detail, elapsed: Duration::ZERO });
        assert_eq!(told.advice, Some(NO_TLS_ADVICE));
    }

    #[test]
    fn a_success_needs_no_advice_and_everything_else_has_some() {
        let all =
            [Cause::Token, Cause::RateLimited, Cause::Unreachable, Cause::Unprocessed, Cause::NoAnswer, Cause::Failing];
        let setbacks = all.map(|cause| Transient { cause, retry_after: None });
        let not_sent = setbacks.map(Outcome::NotSent);
        let unsure = setbacks.map(Outcome::Unknown);
        let refused = [Rejection::Channel, Rejection::Conversation, Rejection::Request, Rejection::Configuration];
        let failures = not_sent.into_iter().chain(unsure).chain(refused.map(Outcome::Rejected));
        for outcome in failures {
            assert!(explained(outcome, None, None).advice.is_some(), "{outcome:?}");
        }
        assert_eq!(explained(Outcome::Delivered, Some(202), None).advice, None);
    }

    #[test]
    fn a_known_code_says_more_than_its_class() {
        let configuration = Outcome::Rejected(Rejection::Configuration);
        let scope = explained(configuration, Some(403), Some(10003));
        assert!(scope.advice.unwrap().contains("interaction_api"), "{scope:?}");
        let context = explained(configuration, Some(403), Some(10005));
        assert!(context.advice.unwrap().contains("upstream.authorization_context"), "{context:?}");
        let bare = explained(configuration, Some(403), None);
        assert!(bare.advice.unwrap().contains("upstream.base_url"), "{bare:?}");
    }
}
