//! What can happen to an indicator.

use std::time::Duration;

use crate::model::{Conversation, Instant, Outcome, Reason, Why};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// Whose icon.
    pub conversation: Conversation,
    /// The number of the decision that it is about, within one life of the engine. A retry has that of what it retries.
    pub number: u64,
    /// Why the indicator was decided; it names the indicator too.
    pub reason: Reason,
    /// What happened to it.
    pub what: What,
}

/// What happened to an indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was decided.
    Decided,
    /// A request with it has come to its end.
    Answered(Verdict),
    /// It came to nothing.
    Dropped(Why),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// 0 for the first try.
    pub attempt: u32,
    /// What the engine was told.
    pub outcome: Outcome,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Salesforce's error code, if the answer had one.
    pub code: Option<i64>,
    /// What the far side or the transport said, cut to a bound.
    pub detail: Option<Box<str>>,
    /// From the request's leaving to its end.
    pub round_trip: Duration,
    /// From the decision to the request's end.
    pub since_decided: Duration,
}
