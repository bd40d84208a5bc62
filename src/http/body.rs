//! Request bodies, read within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;

use super::problem::Problem;
use crate::base::clock;
use crate::base::text::without_bom;

/// The longest silence in a body, or in a line of a stream that has begun.
pub(crate) const BODY_STALL_MAX: Duration = Duration::from_secs(5);

/// The longest that a body may take that is read as a whole. 64 MiB, the largest of them, need 18 Mbit/s.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Of a refused body that is longer than this nothing more is read: its connection is closed instead.
const DRAIN_BYTES_MAX: usize = 64 * 1024;
const DRAIN_MAX: Duration = Duration::from_millis(200);

/// What `content-length` announces, if it can be read.
pub(crate) fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

/// # Errors
/// 415 when it has a content encoding.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.all(|encoding| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Problem::of_content_encoding()),
    }
}

/// Reads a body as a whole; a byte order mark before it is skipped. `advice` says what to do instead of sending one longer than `bytes_max`.
///
/// # Errors
/// 413 when it is longer: at once when it says so, before any of it is read. 408 when it stalls for [`BODY_STALL_MAX`] or
/// takes longer than [`BODY_TIME_MAX`], 400 when it breaks off, 415 when it has a content encoding.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
    advice: &str,
) -> Result<Bytes, Problem> {
    let too_large = || too_large(bytes_max, advice);
    if announced_bytes(headers).is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large());
    }
    check_encoding(headers)?;
    let end = clock::timer_after(BODY_TIME_MAX);
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    loop {
        let next = tokio::time::timeout_at(end, next_data(&mut body, BODY_STALL_MAX)).await;
        let next = next.unwrap_or_else(|_| {
            let detail = format!("the body did not arrive within {} s", BODY_TIME_MAX.as_secs());
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
    let body: Bytes = if rest.is_empty() { first } else { rest.into() };
    Ok(body.slice_ref(without_bom(&body)))
}

/// A body is longer than `bytes_max`; `advice` says what to do instead.
pub(crate) fn too_large(bytes_max: usize, advice: &str) -> Problem {
    let detail = format!("the body is longer than {bytes_max} bytes; {advice}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// 408 when nothing comes for `timeout`, 400 when the body breaks off.
pub(crate) async fn next_data(body: &mut Body, timeout: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(timeout, body.frame()).await.map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing arrived for {} s in the middle of the body", timeout.as_secs()),
            )
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers are ignored.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        }
    }
}

/// Whether the rest of a refused request is short enough to read it: its connection can then be used again. A client that
/// asks before it sends does not send it.
pub(super) fn is_drainable(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::EXPECT) && announced_bytes(headers).is_some_and(|bytes| bytes <= DRAIN_BYTES_MAX)
}

/// Reads a body to its end and discards it, for at most [`DRAIN_MAX`].
pub(super) async fn drain(body: &mut (impl HttpBody + Unpin)) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DRAIN_MAX, all).await;
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
        let problem = read_body(&HeaderMap::new(), Body::from_stream(pieces), 1_000, "").await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::REQUEST_TIMEOUT, "{problem:?}");
        assert_eq!(clock.now().since(crate::model::Instant::ORIGIN).as_secs(), BODY_TIME_MAX.as_secs());
    }
}
