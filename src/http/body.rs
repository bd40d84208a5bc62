//! Request bodies, read within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::Problem;

/// A body, or a line of a stream that has begun, must go on within this time.
pub const BODY_STALL_MAX: Duration = Duration::from_secs(5);

/// What is read of a refused body, at most, and for how long.
const HEARD_OUT_BYTES_MAX: usize = 16 << 20;
const HEARD_OUT_MAX: Duration = Duration::from_secs(2);

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

/// Reads a body as a whole. `advice` tells the caller of one longer than `bytes_max` what to do instead.
///
/// # Errors
/// 413 when it is longer, 408 when it stalls for [`BODY_STALL_MAX`], 400 when it breaks off.
pub async fn read_body(headers: &HeaderMap, body: &mut Body, bytes_max: usize, advice: &str) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is longer than {bytes_max} bytes; {advice}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if announced_bytes(headers).is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    loop {
        let Some(data) = next_data(body, BODY_STALL_MAX).await? else { break };
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
/// 408 when nothing comes for `patience`, 400 when the body breaks off.
pub async fn next_data(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing came for {} s in the midst of the body", patience.as_secs()),
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

/// Reads what is left of a request that is refused with `problem`, within bounds: many a client writes all of it before
/// it reads why it was turned away, and would otherwise only see its connection break.
pub async fn hear_out(headers: &HeaderMap, body: &mut Body, problem: Problem) -> Problem {
    // Who has stalled is not waited for any longer, and who asks before sending won't send.
    if problem.status() == StatusCode::REQUEST_TIMEOUT || headers.contains_key(header::EXPECT) {
        return problem;
    }
    let all = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > HEARD_OUT_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(HEARD_OUT_MAX, all).await;
    problem
}
