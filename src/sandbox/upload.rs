//! A request's body: multipart read with a deadline and bounds, attachments counted and let go.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use multer::{Constraints, Multipart, SizeLimit};

use super::rejection::{MULTIPART, Rejection};

/// The parts of an interaction.
pub(super) struct Upload {
    /// The part `json`, byte for byte.
    pub(super) json: Bytes,
    /// How long the part `attachments` was, if one came.
    pub(super) attachment_bytes: Option<u64>,
}

/// Reads a multipart body: one part `json`, at most one `attachments`. Other parts are ignored.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Upload, Rejection> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = match multer::parse_boundary(content_type) {
        Ok(boundary) => boundary,
        Err(_) => {
            drain(body).await;
            return Err(wrong("Content-Type must be multipart/form-data with a boundary"));
        }
    };
    let limits = SizeLimit::new()
        .whole_stream(BODY_BYTES_MAX)
        .for_field("attachments", ATTACHMENT_BYTES_MAX)
        .for_field("json", JSON_BYTES_MAX);
    let mut parts = Multipart::with_constraints(timed(body), boundary, Constraints::new().size_limit(limits));
    let (mut json, mut attachment_bytes) = (None, None);
    while let Some(mut part) = parts.next_field().await.map_err(failed)? {
        match part.name() {
            Some("json") if json.is_some() => return Err(wrong("there is more than one part `json`")),
            Some("json") => {
                if part.content_type().is_some_and(|kind| kind.essence_str() != "application/json") {
                    return Err(wrong("the part `json` must be of type application/json"));
                }
                json = Some(part.bytes().await.map_err(failed)?);
            }
            Some("attachments") if attachment_bytes.is_some() => {
                return Err(wrong("there is more than one part `attachments`"));
            }
            Some("attachments") => {
                let mut bytes = 0;
                while let Some(chunk) = part.chunk().await.map_err(failed)? {
                    bytes += chunk.len() as u64;
                }
                attachment_bytes = Some(bytes);
            }
            _ => {}
        }
    }
    let json = json.ok_or_else(|| wrong("the part `json` is missing"))?;
    Ok(Upload { json, attachment_bytes })
}

/// Reads a small body whole.
pub(super) async fn read_small(body: Body) -> Result<Vec<u8>, Rejection> {
    let mut chunks = std::pin::pin!(timed(body));
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(stalled)?);
        if bytes.len() > SMALL_BYTES_MAX {
            return Err(too_large(SMALL_BYTES_MAX as u64));
        }
    }
    Ok(bytes)
}

/// Reads a small body away, so that its connection can be used again and its sender is not cut off from the answer.
async fn drain(body: Body) {
    let _ = read_small(body).await;
}

/// A body that fails when no byte comes for [`IDLE_MAX`].
fn timed(body: Body) -> impl Stream<Item = Result<Bytes, Stall>> + Send + 'static {
    stream::unfold(Some(body.into_data_stream()), |chunks| async {
        let mut chunks = chunks?;
        match tokio::time::timeout(IDLE_MAX, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(Some(Err(_))) => Some((Err(Stall::Broken), None)),
            Ok(None) => None,
            Err(_) => Some((Err(Stall::Idle), None)),
        }
    })
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug)]
enum Stall {
    Idle,
    Broken,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => write!(f, "no byte of the body came for {} s", IDLE_MAX.as_secs()),
            Self::Broken => f.write_str("the body broke off"),
        }
    }
}

impl std::error::Error for Stall {}

fn stalled(stall: Stall) -> Rejection {
    match stall {
        Stall::Idle => Rejection::status(StatusCode::REQUEST_TIMEOUT, stall.to_string()),
        Stall::Broken => wrong(stall.to_string()),
    }
}

fn failed(error: multer::Error) -> Rejection {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref::<Stall>() {
            Some(stall) => stalled(*stall),
            None => wrong("the body broke off"),
        },
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            too_large(limit)
        }
        error => wrong(format!("the multipart body is malformed: {error}")),
    }
}

fn wrong(message: impl Into<String>) -> Rejection {
    Rejection::new(MULTIPART, message)
}

fn too_large(limit: u64) -> Rejection {
    Rejection::status(StatusCode::PAYLOAD_TOO_LARGE, format!("the body, or a part of it, has more than {limit} bytes"))
}

/// The longest time without a byte of a body.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The largest file that the real service takes on any channel.
const ATTACHMENT_BYTES_MAX: u64 = 30 << 20;
/// A message of the real service is a few kilobytes; forms with many options are longer.
const JSON_BYTES_MAX: u64 = 1 << 20;
/// Both parts, and as much again as the `json` part for their heads and boundaries.
const BODY_BYTES_MAX: u64 = ATTACHMENT_BYTES_MAX + 2 * JSON_BYTES_MAX;
/// Faults and token requests; far more than either needs.
const SMALL_BYTES_MAX: usize = 64 << 10;
