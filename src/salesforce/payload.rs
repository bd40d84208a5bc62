//! What one request carries: its ids, its JSON, and the one part of its form.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use uuid::Uuid;

use crate::base::clock::{self, Clock};
use crate::driver::Permit;
use crate::model::Dispatch;

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
        self.mix("request", decision)
    }

    /// `payload.id`.
    pub(super) fn payload(&self, decision: u64) -> Uuid {
        self.mix("payload", decision)
    }

    /// Two keyed 64-bit hashes side by side, in the form of a random (version 4) UUID.
    fn mix(&self, purpose: &str, decision: u64) -> Uuid {
        let half = |half: u8| self.0.hash_one((purpose, half, decision)).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The JSON of `dispatch`: decided then, leaving now.
pub(super) fn json(dispatch: &Dispatch, id: Uuid, clock: &Clock) -> String {
    let decided = clock.wall_millis(dispatch.decided);
    json!({
        "to": dispatch.conversation.to(),
        "from": dispatch.conversation.from(),
        "interactions": [{
            // The wall clock may be set back between two readings; an interaction never precedes what it reports.
            "timestamp": clock::wall_millis().max(decided),
            "interactionType": "EntryInteraction",
            "payload": {"id": id, "entryType": dispatch.indicator().entry_type(), "timestamp": decided},
        }],
    })
    .to_string()
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

/// The form: one part, `json`, of known length, without a file name.
pub(super) fn form(json: String, departure: &Departure) -> reqwest::Result<Form> {
    let length = json.len() as u64;
    let departure = departure.clone();
    let body = stream::once(async move {
        if !departure.permit.holds() {
            return Err("the lease has ended");
        }
        departure.happened.store(true, Ordering::Release);
        Ok(Bytes::from(json))
    });
    let part = Part::stream_with_length(Body::wrap_stream(body), length).mime_str("application/json")?;
    Ok(Form::new().part("json", part))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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
