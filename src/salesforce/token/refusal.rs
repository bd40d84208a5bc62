//! What the token endpoint's refusals mean to the person who set typingd up, and what to do about each.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

use super::state::Failure;
use crate::base::text::printable;
use crate::salesforce::answer;
use crate::salesforce::route::TOKEN_URL;
use crate::salesforce::settings::{JwtBearer, Places};

/// An answer that brings no token.
pub(super) struct Refusal<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// The error and its description, if the answer is one of OAuth.
    pub(super) said: Option<String>,
}

impl Refusal<'_> {
    /// Why there is no token. `now` is the time of this machine's clock since the epoch.
    pub(super) fn explain(&self, jwt: &JwtBearer, places: &Places, now: Duration) -> Failure {
        let clock = self.clock_difference(now);
        let text = match &self.said {
            Some(said) => format!("{said}: {}", advice(&said.to_ascii_lowercase(), jwt, places, clock)),
            None => self.without_words(jwt, places),
        };
        Failure { text, retry_after: answer::retry_after(self.headers) }
    }

    /// An answer that is none of OAuth: it comes from something else, or from a service in trouble.
    fn without_words(&self, jwt: &JwtBearer, places: &Places) -> String {
        let Self { status, headers, body, .. } = self;
        let endpoint = "expected https://login.salesforce.com/services/oauth2/token or the like";
        let (token_url, key) = (&jwt.token_url, places.after(TOKEN_URL));
        let media = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        let html = media.starts_with(b"text/html") || body.trim_ascii_start().starts_with(b"<");
        if status.is_redirection() {
            let place = headers.get(LOCATION).and_then(|value| value.to_str().ok()?.parse::<Url>().ok());
            let host = place.as_ref().and_then(Url::host_str).unwrap_or("another address");
            return format!(
                "the token endpoint answered {status}, a redirect to {}, which is not followed: \
                 {key}, {token_url}, is not the endpoint itself; {endpoint}",
                printable(host)
            );
        }
        match (*status, html) {
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                format!("the token endpoint, {key}, {token_url}, answered {status}: {TOO_MANY_LOGINS}")
            }
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _)
            | (StatusCode::INTERNAL_SERVER_ERROR, _) => format!(
                "the token endpoint, {key}, {token_url}, answered {status}: it fails at the moment (status.salesforce.com reports disturbances)"
            ),
            (_, true) => format!(
                "the token endpoint answered {status} with a page for people (HTML): {key}, {token_url}, is no token endpoint, or a proxy answers in its place; {endpoint}"
            ),
            _ => format!(
                "the token endpoint answered {status} without an access_token: check {key}, {token_url}; {endpoint}"
            ),
        }
    }

    /// How far this machine's clock is from that of the answer, in words; `None` where they agree.
    fn clock_difference(&self, now: Duration) -> Option<String> {
        let there = answer::date(self.headers, DATE)?;
        let apart = there.abs_diff(now);
        let way = if there > now { "behind" } else { "ahead of" };
        (apart > CLOCKS_AGREE).then(|| format!("this machine's clock is {} {way} Salesforce's", difference(apart)))
    }
}

/// In hours, minutes and seconds, such as 3m20s; from two minutes on to ten seconds.
fn difference(span: Duration) -> String {
    let seconds = match span.as_secs() {
        seconds @ ..120 => seconds,
        seconds => (seconds + 5) / 10 * 10,
    };
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}

/// What to do about what the endpoint `said`, in small letters.
fn advice(said: &str, jwt: &JwtBearer, places: &Places, clock: Option<String>) -> String {
    let JwtBearer { audience, subject, private_key_file, .. } = jwt;
    let key = |name: &str| places.after(&format!("upstream.auth.jwt_bearer.{name}"));
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let clock_says = |otherwise: &str| match &clock {
        Some(clock) => format!("{clock}; set it (NTP), for an assertion is good for a few minutes only"),
        None => otherwise.to_owned(),
    };
    if has(&["ip restricted", "restricted ip"]) {
        format!(
            "the address of this machine is outside the login IP ranges of the profile of the user {subject:?}, {}; add it \
             there, or relax IP restrictions in the policies of the app of consumer_key",
            key("subject")
        )
    } else if has(&["login hours"]) {
        format!(
            "the profile of the user {subject:?}, {}, has login hours, and it is outside of them; widen them",
            key("subject")
        )
    } else if has(&["audience"]) {
        format!(
            "{} is {audience:?}; expected https://login.salesforce.com, or https://test.salesforce.com for a sandbox org",
            key("audience")
        )
    } else if has(&["hasn't approved", "not approved", "not admin approved", "invalid_app_access"]) {
        format!(
            "in the connected app's or External Client App's policies, set Permitted Users to admin approved users, and \
             give its permission set or profile to the user {subject:?}, {}",
            key("subject")
        )
    } else if has(&["expired"]) {
        clock_says(&format!(
            "the clocks agree, so the assertion was under way for too long, or a proxy repeats an old answer; see {}",
            key("token_url")
        ))
    } else if has(&["inactive_user", "inactive user", "user is inactive", "inactive_org", "frozen"]) {
        format!("the user {subject:?}, {}, is inactive or frozen, or its org is; activate it", key("subject"))
    } else if has(&["rate", "too many", "retry your request", "exceeded"]) {
        format!("{TOO_MANY_LOGINS}, at {}, {}", key("token_url"), jwt.token_url)
    } else if has(&["invalid_client", "client identifier", "client credentials", "consumer key"]) {
        format!(
            "{} is not the consumer key of an app in this org (a new app takes up to 10 minutes), or the app is of another \
             org than token_url's",
            key("consumer_key")
        )
    } else if has(&["assertion", "signature"]) {
        clock_says(&format!(
            "{}, {}, must belong to the certificate that was uploaded to the app of consumer_key",
            key("private_key_file"),
            private_key_file.display()
        ))
    } else if has(&["unsupported_grant_type", "grant type"]) {
        format!(
            "enable the JWT bearer flow (use digital signatures, enable OAuth) in the app of {}",
            key("consumer_key")
        )
    } else if has(&["scope"]) {
        format!("give the app of {} the OAuth scope interaction_api", key("consumer_key"))
    } else {
        clock_says(&format!(
            "check upstream.auth.jwt_bearer: the user {subject:?}, {}, must exist in the org of token_url and may use the app",
            key("subject")
        ))
    }
}

/// The caller says whether it is tried again: the daemon does, a command doesn't.
const TOO_MANY_LOGINS: &str = "too many logins of this user in a short time, by all programs together";

/// A response is under way for seconds at most, and `Date` has whole ones.
const CLOCKS_AGREE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: u16, headers: &[(&'static str, &str)], body: &str, said: Option<&str>) -> Failure {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        let jwt = JwtBearer::sample();
        let status = StatusCode::from_u16(status).unwrap();
        let said = said.map(str::to_owned);
        Refusal { status, headers: &headers, body: body.as_bytes(), said }.explain(
            &jwt,
            &Places::default(),
            Duration::from_secs(1_700_000_000),
        )
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (said, words) in [
            ("invalid_grant: audience is invalid", "expected https://login.salesforce.com, or"),
            ("invalid_grant: user hasn't approved this consumer", "External Client App's policies"),
            ("invalid_grant: expired authorization code", "the clocks agree"),
            ("invalid_grant: invalid assertion", "must belong to the certificate"),
            ("invalid_client_id: client identifier invalid", "consumer_key is not"),
            ("invalid_client: invalid client credentials", "consumer_key is not"),
            ("inactive_user: user is inactive", "user@example.com"),
            ("unsupported_grant_type: grant type not supported", "JWT bearer flow"),
            ("invalid_scope: the requested scope is not allowed", "interaction_api"),
            (
                "invalid_grant: ip restricted",
                "outside the login IP ranges of the profile of the user \"user@example.com\"",
            ),
            ("invalid_grant: invalid login hours", "has login hours"),
            (
                "invalid_grant: login rate exceeded",
                "at upstream.auth.jwt_bearer.token_url, https://login.salesforce.com/x",
            ),
            ("invalid_grant: something new", "check upstream.auth.jwt_bearer"),
        ] {
            let failure = explained(400, &[], "", Some(said));
            assert!(failure.text.starts_with(said) && failure.text.contains(words), "{}", failure.text);
        }
    }

    #[test]
    fn an_answer_of_something_else_is_told_by_its_kind() {
        let html = ("content-type", "text/html;charset=UTF-8");
        for (status, headers, body, words) in [
            (302, vec![("location", "https://other.example/login")], "", "a redirect to other.example, which is not"),
            (302, vec![("location", "/login")], "", "a redirect to another address"),
            (200, vec![html], "<html>", "a page for people (HTML)"),
            (404, vec![], " <!DOCTYPE html>", "a page for people (HTML)"),
            (
                503,
                vec![html],
                "<html>",
                "token_url, https://login.salesforce.com/x, answered 503 Service Unavailable: it fails",
            ),
            (500, vec![], "", "token_url, https://login.salesforce.com/x, answered 500"),
            (
                429,
                vec![],
                "",
                "token_url, https://login.salesforce.com/x, answered 429 Too Many Requests: too many logins",
            ),
            (200, vec![], "{}", "without an access_token"),
        ] {
            let failure = explained(status, &headers, body, None);
            assert!(failure.text.contains(words), "{}", failure.text);
            assert!(!failure.text.contains("again"), "{}", failure.text);
        }
    }

    #[test]
    fn the_difference_of_the_clocks_is_measured() {
        let at = |date: &str, said: &str| explained(400, &[("date", date)], "", Some(said)).text;
        // 1,700,000,000 is Tue, 14 Nov 2023 22:13:20 GMT.
        let expired = "invalid_grant: expired authorization code";
        let ahead = at("Tue, 14 Nov 2023 22:28:20 GMT", expired);
        assert!(ahead.contains("this machine's clock is 15m behind Salesforce's; set it"), "{ahead}");
        let nearly = at("Tue, 14 Nov 2023 22:28:19 GMT", expired);
        assert!(nearly.contains("15m behind"), "{nearly}");
        let some = at("Tue, 14 Nov 2023 22:16:40 GMT", expired);
        assert!(some.contains("3m20s behind"), "{some}");
        let behind = at("Tue, 14 Nov 2023 21:13:20 GMT", "invalid_grant: invalid assertion");
        assert!(behind.contains("this machine's clock is 1h ahead of Salesforce's"), "{behind}");
        let same = at("Tue, 14 Nov 2023 22:13:30 GMT", expired);
        assert!(same.contains("the clocks agree"), "{same}");
        let broken = at("yesterday", expired);
        assert!(broken.contains("the clocks agree"), "{broken}");
    }
}
