//! Reads an answer within bounds and says what it means for the request. It decides nothing about trying again.

use std::error::Error;
use std::time::Duration;

use axum::http::header::{DATE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use serde::Deserialize;
use serde_json::Value;

use crate::base::clock;
use crate::base::text::{printable, with_causes};
use crate::model::{Cause, Outcome, Rejection, Transient};

/// An answer's body, as far as it was read.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// Its end was not seen: too long, too slow or broken off.
    Cut(String),
}

/// Reads a body of at most [`BODY_BYTES_MAX`] until it is `late`.
pub(super) async fn read_body<B>(mut body: B, late: impl Future<Output = ()> + Unpin) -> Body
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let reading = async {
        // An answer comes in one piece as a rule, and is not copied.
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        loop {
            match body.frame().await.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())) {
                Some(Ok(data)) if first.len() + rest.len() + data.len() > BODY_BYTES_MAX => {
                    break Body::Cut(format!("the answer is longer than {BODY_BYTES_MAX} bytes"));
                }
                Some(Ok(data)) if first.is_empty() && rest.is_empty() => first = data,
                Some(Ok(data)) => {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
                None => break Body::Whole(if rest.is_empty() { first } else { rest.freeze() }),
                Some(Err(error)) => break Body::Cut(error_text(&error)),
            }
        }
    };
    tokio::select! {
        biased;
        body = reading => body,
        () = late => Body::Cut("the answer did not end in time".into()),
    }
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) code: Option<i64>,
    pub(super) detail: Option<String>,
}

/// The fields of both forms of answer, each taken whatever its type: an odd one must not hide the others.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    success: Value,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
}

/// Says what an answer means: by its code where that is known, by the rate limit's message under any status, and by
/// its status otherwise. `secret` is what the detail must not repeat, should the upstream have quoted it.
pub(super) fn classify<'a>(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Body,
    secret: impl FnOnce() -> &'a str,
) -> Verdict {
    let fields = match body {
        Body::Whole(bytes) => serde_json::from_slice::<Fields>(bytes).ok(),
        Body::Cut(_) => None,
    };
    let said = match (&fields, body) {
        (Some(fields), _) => fields.message.as_str().unwrap_or_default().into(),
        (None, Body::Whole(bytes)) => String::from_utf8_lossy(bytes),
        (None, Body::Cut(why)) => why.as_str().into(),
    };
    let code = fields.as_ref().and_then(|fields| number(&fields.code));
    let meaning = if contains_ignoring_case(&said, RATE_LIMIT_MESSAGE) {
        not_sent(Cause::RateLimited)
    } else if let Some(known) = code.and_then(meaning_of_code) {
        known
    } else if status.is_success() {
        meaning_of_success(status, fields.as_ref(), body)
    } else {
        meaning_of_status(status)
    };
    let outcome = match meaning {
        Outcome::NotSent(transient) => Outcome::NotSent(Transient { retry_after: retry_after(headers), ..transient }),
        Outcome::Unknown(transient) => Outcome::Unknown(Transient { retry_after: retry_after(headers), ..transient }),
        Outcome::Delivered | Outcome::Rejected(_) => meaning,
    };
    // An acknowledgement says nothing as a rule.
    let detail = if said.is_empty() { None } else { readable(&said, secret()) };
    Verdict { outcome, code, detail }
}

fn meaning_of_code(code: i64) -> Option<Outcome> {
    CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(outcome, _)| *outcome)
}

/// A 202 with any body is the acknowledgement, unless the body takes it back; one whose end was not seen might have.
/// Any other success has to be understood: it may come from something that isn't the Interaction Service.
fn meaning_of_success(status: StatusCode, fields: Option<&Fields>, body: &Body) -> Outcome {
    match (fields, body) {
        (Some(fields), _) if fields.success == Value::Bool(false) => unknown(Cause::Failing),
        (Some(_), _) => Outcome::Delivered,
        (None, Body::Whole(_)) if status == StatusCode::ACCEPTED => Outcome::Delivered,
        (None, Body::Whole(bytes)) if bytes.trim_ascii().is_empty() => Outcome::Delivered,
        (None, Body::Whole(_)) => unknown(Cause::Failing),
        (None, Body::Cut(_)) => unknown(Cause::NoAnswer),
    }
}

fn meaning_of_status(status: StatusCode) -> Outcome {
    match status.as_u16() {
        401 => not_sent(Cause::Token),
        429 => not_sent(Cause::RateLimited),
        // It says that it did nothing, but a proxy may say so after the request has gone on: a stop is the smaller evil.
        408 | 425 | 503 => unknown(Cause::Failing),
        // Where the Interaction Service itself misses something, it says so with a code. A bare 404 or a redirect comes
        // from another server: base_url is wrong. So it is where the request comes back (508).
        300..=399 | 403 | 404 | 407 | 508 => Outcome::Rejected(Rejection::Configuration),
        400..=499 | 501 => Outcome::Rejected(Rejection::Request),
        _ => unknown(Cause::Failing),
    }
}

/// How long the upstream asks typingd to wait: seconds or an HTTP date, from [`RETRY_AFTER_MIN`] to [`RETRY_AFTER_MAX`].
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for 64 bits fails to parse.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        // By the clock that wrote it, where the answer tells its time: ours may be wrong.
        date(headers, RETRY_AFTER)?.saturating_sub(date(headers, DATE).unwrap_or_else(clock::wall_since_epoch))
    };
    Some(wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

/// An HTTP date in a header, since the epoch.
pub(super) fn date(headers: &HeaderMap, name: HeaderName) -> Option<Duration> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let millis = DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
    Some(Duration::from_millis(u64::try_from(millis).ok()?))
}

/// A code, as a number or as the text of one.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn contains_ignoring_case(text: &str, sought: &str) -> bool {
    text.as_bytes().windows(sought.len()).any(|window| window.eq_ignore_ascii_case(sought.as_bytes()))
}

/// `text` as a person can be shown it: without `secret` and control characters, cut to [`DETAIL_CHARS_MAX`]. `None`
/// when nothing is left.
pub(super) fn readable(text: &str, secret: &str) -> Option<String> {
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "…") };
    let text: String = printable(text.trim()).chars().take(DETAIL_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// A transport's error with its causes.
pub(super) fn error_text(error: &(dyn Error + 'static)) -> String {
    readable(&with_causes(error), "").unwrap_or_default()
}

pub(super) const fn not_sent(cause: Cause) -> Outcome {
    Outcome::NotSent(Transient { cause, retry_after: None })
}

pub(super) const fn unknown(cause: Cause) -> Outcome {
    Outcome::Unknown(Transient { cause, retry_after: None })
}

/// The codes of the Interaction Service's reference that concern typing indicators. 10019 and 10055 are read before
/// anything is done; with the others of the last two rows the request may have got further.
const CODES: [(Outcome, &[i64]); 8] = [
    (not_sent(Cause::Token), &[10004]),
    (Outcome::Rejected(Rejection::Configuration), &[10003, 10005]),
    (
        Outcome::Rejected(Rejection::Channel),
        &[10001, 10002, 10006, 10017, 10026, 10027, 10031, 10035, 10052, 10069, 10070],
    ),
    (Outcome::Rejected(Rejection::Conversation), &[10020, 10028, 10105, 15103]),
    (Outcome::Rejected(Rejection::Request), &[10016, 10029, 10045, 10047, 10048, 10049, 10059, 10060, 10089, 10100]),
    (not_sent(Cause::RateLimited), &[429]),
    (unknown(Cause::Failing), &[10019, 10055]),
    (unknown(Cause::Failing), &[10056, 10094, 20002, 20004, 500]),
];

/// What the Interaction Service says over the org's rate, under whatever status.
const RATE_LIMIT_MESSAGE: &str = "interaction request rate limit exceeded";

/// Its answers have some hundred bytes; an error page of a proxy may have a few thousand.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Two lines on a terminal.
const DETAIL_CHARS_MAX: usize = 200;

/// A wait of nothing, or until a time that has passed, is no pause: what was just refused would come again at once.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_millis(500);

/// Nothing that is owed lives longer than a minute or so, and one wrong header must not stop all icons for an hour.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// `text` with `name` in place of `id`, where that is a word of its own: an id may be as short as a letter of other words.
pub(super) fn unnamed(text: &str, id: &str, name: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(id) {
        let (before, after) = (&rest[..at], &rest[at + id.len()..]);
        kept.push_str(before);
        let glued = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let inside = glued(kept.chars().next_back()) || glued(after.chars().next());
        kept.push_str(if inside && id.chars().count() < ID_TELLING_CHARS { id } else { name });
        rest = after;
    }
    kept + rest
}

/// An id of so many characters is no part of an ordinary word.
const ID_TELLING_CHARS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &str) -> Verdict {
        classify(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            &Body::Whole(body.to_owned().into()),
            || "s3cret",
        )
    }

    #[test]
    fn a_known_code_has_its_meaning_under_any_status() {
        for (outcome, codes) in CODES {
            for code in codes {
                for status in [200, 202, 302, 400, 401, 404, 429, 500, 503] {
                    for body in [format!(r#"{{"code":{code},"message":"m"}}"#), format!(r#"{{"code":"{code}"}}"#)] {
                        let verdict = verdict(status, &body);
                        assert_eq!((verdict.outcome, verdict.code), (outcome, Some(*code)), "{status} {body}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_code_has_two_meanings() {
        let mut codes: Vec<_> = CODES.iter().flat_map(|(_, codes)| *codes).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!((codes.len(), count), (36, 36));
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        let configuration = Outcome::Rejected(Rejection::Configuration);
        let request = Outcome::Rejected(Rejection::Request);
        for (status, outcome) in [
            (301, configuration),
            (302, configuration),
            (400, request),
            (401, not_sent(Cause::Token)),
            (403, configuration),
            (404, configuration),
            (405, request),
            (408, unknown(Cause::Failing)),
            (413, request),
            (415, request),
            (418, request),
            (422, request),
            (425, unknown(Cause::Failing)),
            (429, not_sent(Cause::RateLimited)),
            (500, unknown(Cause::Failing)),
            (501, request),
            (502, unknown(Cause::Failing)),
            (503, unknown(Cause::Failing)),
            (504, unknown(Cause::Failing)),
            (508, configuration),
            (599, unknown(Cause::Failing)),
        ] {
            for body in ["", "<html>", "{}", r#"{"code":77}"#, r#"{"code":null,"message":[1]}"#, "[1]", "\u{0}"] {
                assert_eq!(verdict(status, body).outcome, outcome, "{status} {body:?}");
            }
        }
    }

    #[test]
    fn a_success_is_one_unless_its_body_takes_it_back() {
        for (status, body, outcome) in [
            (202, r#"{"success":true,"id":"x","workItemIds":[]}"#, Outcome::Delivered),
            (202, r#"{"success":false,"id":"x"}"#, unknown(Cause::Failing)),
            (202, "", Outcome::Delivered),
            (202, "garbage", Outcome::Delivered),
            (202, "{}", Outcome::Delivered),
            (200, "{}", Outcome::Delivered),
            (204, "", Outcome::Delivered),
            (200, "<html>welcome</html>", unknown(Cause::Failing)),
        ] {
            assert_eq!(verdict(status, body).outcome, outcome, "{status} {body}");
        }
        let cut = Body::Cut("broken off".into());
        let headers = HeaderMap::new();
        assert_eq!(classify(StatusCode::ACCEPTED, &headers, &cut, || "").outcome, unknown(Cause::NoAnswer));
        assert_eq!(classify(StatusCode::OK, &headers, &cut, || "").outcome, unknown(Cause::NoAnswer));
    }

    #[test]
    fn the_rate_limit_is_known_by_its_message_under_any_status() {
        for status in [200, 202, 400, 403, 429, 500, 503] {
            for body in [
                r#"{"code":77,"message":"Interaction request rate limit exceeded"}"#,
                r#"{"code":10029,"message":"Sorry: INTERACTION REQUEST RATE LIMIT EXCEEDED."}"#,
                "Interaction request rate limit exceeded",
            ] {
                assert_eq!(verdict(status, body).outcome, not_sent(Cause::RateLimited), "{status} {body}");
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let parse = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers)
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse(" 0 "), Some(RETRY_AFTER_MIN));
        assert_eq!(parse("99999"), Some(RETRY_AFTER_MAX));
        assert_eq!(parse("99999999999999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(RETRY_AFTER_MIN));
        assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        let soon = i64::try_from(clock::wall_since_epoch().as_secs()).unwrap() + 60;
        let date = DateTime::from_timestamp(soon, 0).unwrap().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait = parse(&date).unwrap();
        assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(50), "{wait:?}");
        for nonsense in ["", "-1", "soon", "1.5", "06 Nov"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_retry_date_is_relative_to_the_answers_own() {
        let parse = |date: &str, until: &str| {
            let headers = HeaderMap::from_iter([(DATE, date.parse().unwrap()), (RETRY_AFTER, until.parse().unwrap())]);
            retry_after(&headers)
        };
        // Their clock is decades behind ours.
        let until = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:30 GMT", until), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT", until), Some(RETRY_AFTER_MIN));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:50 GMT", until), Some(RETRY_AFTER_MIN));
        assert_eq!(parse("no date", until), Some(RETRY_AFTER_MIN), "then by our clock");
    }

    #[test]
    fn a_detail_is_short_printable_and_never_the_secret() {
        let message = format!("bad s3cret\u{7}\u{1b}[31m {}", "é".repeat(500));
        let body = serde_json::json!({"code": 10029, "message": message}).to_string();
        let detail = verdict(400, &body).detail.unwrap();
        assert_eq!(detail.chars().count(), DETAIL_CHARS_MAX);
        assert!(detail.starts_with("bad …\u{fffd}\u{fffd}[31m é"), "{detail}");
        assert_eq!(verdict(400, "").detail, None);
    }

    #[test]
    fn an_end_user_is_left_out_and_words_that_hold_its_letters_stay() {
        for (text, end_user, kept) in [
            ("no user b here, bytes", "b", "no user (end user) here, bytes"),
            ("client tel:+15550100: unknown", "tel:+15550100", "client (end user): unknown"),
            ("id5f2c9d1e77suffix", "5f2c9d1e77", "id(end user)suffix"),
            ("bbb", "b", "bbb"),
            ("xabcdefx", "abcdef", "x(end user)x"),
            ("xabcdex", "abcde", "xabcdex"),
            ("\u{e9}a a", "a", "\u{e9}a (end user)"),
        ] {
            assert_eq!(unnamed(text, end_user, "(end user)"), kept);
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_from_however_many_pieces() {
        use hyper::body::Frame;
        async fn read(pieces: Vec<Result<Vec<u8>, std::io::Error>>) -> Body {
            let frames = pieces.into_iter().map(|piece| piece.map(|bytes| Frame::data(Bytes::from(bytes))));
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            read_body(body, std::pin::pin!(tokio::time::sleep(Duration::from_secs(60)))).await
        }
        for pieces in 0..4_u8 {
            let all: Vec<_> = (0..pieces).map(|piece| vec![b'a' + piece; 1_000]).collect();
            let Body::Whole(read) = read(all.iter().cloned().map(Ok).collect()).await else { panic!("{pieces}") };
            assert_eq!(read, all.concat(), "{pieces} pieces");
        }
        for (last, whole) in [(BODY_BYTES_MAX - 2_000, true), (BODY_BYTES_MAX - 1_999, false)] {
            let body = read(vec![Ok(vec![b'a'; 1_000]), Ok(vec![b'b'; 1_000]), Ok(vec![b'c'; last])]).await;
            assert_eq!(matches!(body, Body::Whole(_)), whole, "{last}");
        }
        let reset = std::io::Error::other("reset by peer");
        let Body::Cut(why) = read(vec![Ok(vec![b'a']), Err(reset)]).await else { panic!("it has no end") };
        assert_eq!(why, "reset by peer");
    }
}
