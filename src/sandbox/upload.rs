//! A request's body: multipart read with a deadline and bounds, attachments counted and let go.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};

use super::rejection::{MULTIPART, Rejection};
use crate::http::multipart::{self, Event, Part, Scanner};
use crate::http::{BODY_STALL_MAX, Problem, next_data, read_body};

/// The parts of an interaction.
pub(super) struct Upload {
    /// The part `json`, without a byte order mark.
    pub(super) json: Bytes,
    /// How long the part `attachments` was, if one came.
    pub(super) attachment_bytes: Option<u64>,
}

/// Reads a multipart body: one part `json`, at most one `attachments`. Other parts are ignored.
pub(super) async fn read(headers: &HeaderMap, mut body: Body) -> Result<Upload, Rejection> {
    let Some(boundary) = multipart::boundary(headers) else {
        // Its connection can then be used again, and its sender reads the answer.
        let _ = read_small(headers, body).await;
        return Err(wrong("Content-Type must be multipart/form-data with a boundary"));
    };
    let (mut scanner, mut form, mut bytes) = (Scanner::new(&boundary), Form::default(), 0);
    while let Some(chunk) = next_data(&mut body, BODY_STALL_MAX).await.map_err(unread)? {
        bytes += chunk.len() as u64;
        if bytes > BODY_BYTES_MAX {
            return Err(too_large(BODY_BYTES_MAX));
        }
        scanner.push(&chunk);
        while let Some(event) = scanner.poll_event().map_err(malformed)? {
            form.take(event)?;
        }
    }
    form.end()
}

/// A form while it comes.
#[derive(Default)]
struct Form {
    json: Option<BytesMut>,
    attachment_bytes: Option<u64>,
    current: Current,
    ended: bool,
}

/// The part that comes.
#[derive(Clone, Copy, Default)]
enum Current {
    Json,
    Attachment,
    #[default]
    Other,
}

impl Form {
    fn take(&mut self, event: Event) -> Result<(), Rejection> {
        match event {
            Event::Part(part) => self.current = self.begin(&part)?,
            Event::Content(content) => match self.current {
                Current::Json => {
                    let json = self.json.get_or_insert_default();
                    json.extend_from_slice(&content);
                    if json.len() as u64 > JSON_BYTES_MAX {
                        return Err(too_large(JSON_BYTES_MAX));
                    }
                }
                Current::Attachment => {
                    let bytes = self.attachment_bytes.get_or_insert(0);
                    *bytes += content.len() as u64;
                    if *bytes > ATTACHMENT_BYTES_MAX {
                        return Err(too_large(ATTACHMENT_BYTES_MAX));
                    }
                }
                Current::Other => {}
            },
            Event::PartEnd => {}
            Event::End => self.ended = true,
        }
        Ok(())
    }

    fn begin(&mut self, part: &Part) -> Result<Current, Rejection> {
        match part.name.as_deref() {
            Some("json") if self.json.is_some() => Err(wrong("there is more than one part `json`")),
            Some("json") => {
                if part.content_type.as_ref().is_some_and(|kind| kind != "application/json") {
                    return Err(wrong("the part `json` must be of type application/json"));
                }
                if part.encoded {
                    return Err(wrong(
                        "the part `json` must have no Content-Transfer-Encoding but 7bit, 8bit or binary",
                    ));
                }
                self.json = Some(BytesMut::new());
                Ok(Current::Json)
            }
            Some("attachments") if self.attachment_bytes.is_some() => {
                Err(wrong("there is more than one part `attachments`"))
            }
            Some("attachments") => {
                self.attachment_bytes = Some(0);
                Ok(Current::Attachment)
            }
            _ => Ok(Current::Other),
        }
    }

    fn end(self) -> Result<Upload, Rejection> {
        if !self.ended {
            return Err(malformed("it ends before its last boundary"));
        }
        let json = self.json.ok_or_else(|| wrong("the part `json` is missing"))?.freeze();
        // As Jackson does, which services in Java read with.
        let json = if json.starts_with(BYTE_ORDER_MARK) { json.slice(BYTE_ORDER_MARK.len()..) } else { json };
        Ok(Upload { json, attachment_bytes: self.attachment_bytes })
    }
}

/// Reads a small body as a whole.
pub(super) async fn read_small(headers: &HeaderMap, body: Body) -> Result<Bytes, Rejection> {
    read_body(headers, body, SMALL_BYTES_MAX, "this call takes a short one").await.map_err(unread)
}

/// A body that stalls, breaks off or is too long, in the words of the real service.
fn unread(problem: Problem) -> Rejection {
    match problem.status() {
        StatusCode::BAD_REQUEST => wrong(problem.detail()),
        status => Rejection::status(status, problem.detail()),
    }
}

fn malformed(why: impl fmt::Display) -> Rejection {
    wrong(format!("the multipart body is malformed: {why}"))
}

fn wrong(message: impl Into<String>) -> Rejection {
    Rejection::new(MULTIPART, message)
}

fn too_large(limit: u64) -> Rejection {
    Rejection::status(StatusCode::PAYLOAD_TOO_LARGE, format!("the body, or a part of it, has more than {limit} bytes"))
}

/// The largest file that the real service takes on any channel.
const ATTACHMENT_BYTES_MAX: u64 = 30 << 20;
/// A message of the real service is a few kilobytes; forms with many options are longer.
const JSON_BYTES_MAX: u64 = 1 << 20;
/// Both parts, and as much again as the `json` part for their heads and boundaries.
const BODY_BYTES_MAX: u64 = ATTACHMENT_BYTES_MAX + 2 * JSON_BYTES_MAX;
/// Faults and token requests; far more than either needs.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// In UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
