//! Request bodies, read within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::problem::Problem;
use crate::base::clock;

/// A body, or a line of a stream that has begun, must go on within this time.
pub const BODY_STALL_MAX: Duration = Duration::from_secs(5);

/// A body that is read as a whole has come within this time, however steadily it drips. 64 MiB, the largest of them, take
/// 18 Mbit/s; whoever has less sends less at a time.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// A refused body that says it is no longer than this is read to its end first, so that its connection can be used again.
const HEARD_OUT_BYTES_MAX: usize = 64 * 1024;
const HEARD_OUT_MAX: Duration = Duration::from_millis(200);

/// What `content-length` announces, if it can be read.
#[must_use]
pub fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type of a body, without its parameters.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

/// Looks whether a body comes as it is.
///
/// # Errors
/// 415 when it has a content encoding.
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.all(|encoding| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Problem::of_content_encoding()),
    }
}

/// Reads a body as a whole. `advice` tells the caller of one longer than `bytes_max` what to do instead.
///
/// # Errors
/// 413 when it is longer: at once when it says so, before any of it is read. 408 when it stalls for [`BODY_STALL_MAX`] or
/// takes longer than [`BODY_TIME_MAX`], 400 when it breaks off, 415 when it has a content encoding.
pub async fn read_body(headers: &HeaderMap, body: &mut Body, bytes_max: usize, advice: &str) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is longer than {bytes_max} bytes; {advice}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if announced_bytes(headers).is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large());
    }
    check_encoding(headers)?;
    let end = clock::timer_after(BODY_TIME_MAX);
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    loop {
        let next = tokio::time::timeout_at(end, next_data(body, BODY_STALL_MAX)).await;
        let next = next.unwrap_or_else(|_| {
            let detail = format!("the body has not come within {} s", BODY_TIME_MAX.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        });
        let Some(data) = next? else { break };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        // A small body comes in one piece, and is not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// 408 when nothing comes for `timeout`, 400 when the body breaks off.
pub async fn next_data(body: &mut Body, timeout: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(timeout, body.frame()).await.map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing came for {} s in the midst of the body", timeout.as_secs()),
            )
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers say nothing that is asked for here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        }
    }
}

/// Reads a short rest of a request that is refused with `problem`. Of a long one nothing more is taken: its connection
/// is closed once the answer can have been read.
pub async fn hear_out(headers: &HeaderMap, body: &mut Body, problem: Problem) -> Problem {
    // Who has stalled is not waited for any longer, and who asks before sending won't send.
    let waits = problem.status() == StatusCode::REQUEST_TIMEOUT || headers.contains_key(header::EXPECT);
    if !waits && announced_bytes(headers).is_some_and(|bytes| bytes <= HEARD_OUT_BYTES_MAX) {
        let all = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(HEARD_OUT_MAX, all).await;
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_has_an_end() {
        let clock = clock::Clock::start();
        let pieces = stream::unfold((), |()| async {
            tokio::time::sleep(BODY_STALL_MAX / 2).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let problem = read_body(&HeaderMap::new(), &mut Body::from_stream(pieces), 1_000, "").await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::REQUEST_TIMEOUT, "{problem:?}");
        assert_eq!(clock.now().since(crate::model::Instant::ORIGIN).as_secs(), BODY_TIME_MAX.as_secs());
    }
}
