//! What one request carries: its ids, and its form with one part, written once into one buffer.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use uuid::Uuid;

use crate::base::clock::{self, Clock};
use crate::driver::Permit;
use crate::model::Dispatch;

/// Stands between the parts of a form. In JSON there is no line break, and so no boundary, whatever ids hold.
macro_rules! boundary {
    () => {
        "typingd-3f1c9e0b7a5d4826"
    };
}

/// Makes the ids of requests and payloads from the number of their decision.
///
/// A retry keeps the ids of what it retries, so that the upstream can recognise a repetition, and they need not be stored
/// with the conversation. The hash is keyed at random, so that ids of two clients never meet.
pub(super) struct Ids(RandomState);

impl Ids {
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    /// The `RequestId` header.
    pub(super) fn request(&self, decision: u64) -> Uuid {
        self.mix(0, decision)
    }

    /// `payload.id`.
    pub(super) fn payload(&self, decision: u64) -> Uuid {
        self.mix(2, decision)
    }

    /// Two keyed 64-bit hashes side by side, in the form of a random (version 4) UUID. They are of numbers that no other id
    /// has, of which each decision has four.
    fn mix(&self, first: u64, decision: u64) -> Uuid {
        let half = |half: u64| self.0.hash_one(decision.wrapping_mul(4) + first + half).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The `Content-Type` of every form.
pub(super) const CONTENT_TYPE: &str = concat!("multipart/form-data; boundary=", boundary!());
/// What comes before the JSON in a form of one part, `json`, without a file name.
const HEAD: &str = concat!(
    "--",
    boundary!(),
    "\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n"
);
const END: &str = concat!("\r\n--", boundary!(), "--\r\n");
/// What the JSON has beside the two ids, whose escapes are rare.
const JSON_BYTES: usize = 256;

/// The form of `dispatch`: decided then, leaving now.
pub(super) fn form(dispatch: &Dispatch, id: Uuid, clock: &Clock) -> Bytes {
    let ago = clock.now().since(dispatch.decided);
    let sent = clock::wall_since_epoch();
    let decided = millis(sent.saturating_sub(ago));
    let (to, from) = (dispatch.conversation.to(), dispatch.conversation.from());
    let mut form = Vec::with_capacity(HEAD.len() + JSON_BYTES + to.len() + from.len() + END.len());
    form.extend_from_slice(HEAD.as_bytes());
    form.extend_from_slice(b"{\"to\":");
    write(&mut form, to);
    form.extend_from_slice(b",\"from\":");
    write(&mut form, from);
    form.extend_from_slice(b",\"interactions\":[{\"timestamp\":");
    write(&mut form, &millis(sent));
    form.extend_from_slice(b",\"interactionType\":\"EntryInteraction\",\"payload\":{\"id\":\"");
    form.extend_from_slice(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    form.extend_from_slice(b"\",\"entryType\":\"");
    form.extend_from_slice(dispatch.indicator().entry_type().as_bytes());
    form.extend_from_slice(b"\",\"timestamp\":");
    write(&mut form, &decided);
    form.extend_from_slice(b"}}]}");
    form.extend_from_slice(END.as_bytes());
    form.into()
}

fn write(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("memory takes what is written");
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a request's body has been asked for by the connection that carries it.
///
/// Until then the upstream can't have acted on the request, whatever became of it; from then on it may have. That is
/// the difference between `NotSent` and `Unknown`, and the kind of an error alone doesn't show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Departure {
    happened: Arc<AtomicBool>,
    permit: Permit,
}

impl Departure {
    pub(super) fn new(permit: &Permit) -> Self {
        Self { happened: Arc::default(), permit: permit.clone() }
    }

    pub(super) fn has_happened(&self) -> bool {
        self.happened.load(Ordering::Acquire)
    }
}

/// The body of a request, in one piece. It is withheld if the request may no longer leave.
pub(super) struct FormBody {
    form: Option<Bytes>,
    departure: Departure,
}

impl FormBody {
    pub(super) fn new(form: Bytes, departure: &Departure) -> Self {
        Self { form: Some(form), departure: departure.clone() }
    }

    /// No body, for a request that carries none.
    pub(super) fn empty() -> Self {
        Self { form: None, departure: Departure::default() }
    }
}

impl Body for FormBody {
    type Data = Bytes;
    type Error = LeaseEnded;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, LeaseEnded>>> {
        let Some(form) = self.form.take() else { return Poll::Ready(None) };
        if !self.departure.permit.holds() {
            return Poll::Ready(Some(Err(LeaseEnded)));
        }
        self.departure.happened.store(true, Ordering::Release);
        Poll::Ready(Some(Ok(Frame::data(form))))
    }

    fn is_end_stream(&self) -> bool {
        self.form.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.form.as_ref().map_or(0, |form| form.len() as u64))
    }
}

/// A request may no longer leave.
#[derive(Debug, thiserror::Error)]
#[error("the lease has ended")]
pub(super) struct LeaseEnded;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::model::{ConversationRef, DispatchId, Reason};

    #[test]
    fn a_form_is_one_part_of_json_whatever_ids_hold() {
        let (clock, id) = (Clock::start(), Ids::new().payload(1));
        for (to, from) in [("c", "u"), ("\"\\", "\r\n--typingd-3f1c9e0b7a5d4826--\r\n\u{0}\u{e9}")] {
            let dispatch = Dispatch {
                id: DispatchId { slot: 0, serial: 1 },
                conversation: ConversationRef::new(to, from).unwrap().to_owned(),
                reason: Reason::Idle,
                decided: clock.now(),
                decision: 1,
                attempt: 0,
                credentials: None,
            };
            let form = form(&dispatch, id, &clock);
            let text = std::str::from_utf8(&form).unwrap();
            let json = text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(END)).unwrap();
            assert!(!json.contains(['\r', '\n']), "{json}");
            let mut json: serde_json::Value = serde_json::from_str(json).unwrap();
            let decided = json["interactions"][0]["payload"]["timestamp"].as_u64().unwrap();
            let sent = json["interactions"][0]["timestamp"].take().as_u64().unwrap();
            assert!(sent >= decided && decided > 1_700_000_000_000, "{sent} {decided}");
            let payload = json!({"id": id, "entryType": "TypingStoppedIndicator", "timestamp": decided});
            let interaction = json!({"timestamp": null, "interactionType": "EntryInteraction", "payload": payload});
            assert_eq!(json, json!({"to": to, "from": from, "interactions": [interaction]}));
        }
    }

    #[test]
    fn ids_are_version_4_uuids_and_none_occurs_twice() {
        let ids = Ids::new();
        let mut seen = HashSet::new();
        for decision in 0..100_000 {
            for id in [ids.request(decision), ids.payload(decision)] {
                assert_eq!(id.get_version_num(), 4);
                assert!(seen.insert(id), "{id} of decision {decision} occurs twice");
            }
        }
    }

    #[test]
    fn a_retry_keeps_its_ids_and_other_clients_have_others() {
        let (ids, others) = (Ids::new(), Ids::new());
        assert_eq!(ids.request(7), ids.request(7));
        assert_eq!(ids.payload(7), ids.payload(7));
        assert_ne!(ids.request(7), others.request(7));
    }
}
