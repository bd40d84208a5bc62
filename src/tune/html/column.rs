//! The measures as columns of a table: what each is called, how it is read off a row, what it means, and why it may be
//! undefined.

use super::figure::Shape;
use crate::tune::bootstrap::Interval;
use crate::tune::row::{Dropped, Row};

/// A measure for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// What it belongs to, over the columns that share it.
    pub(super) group: &'static str,
    /// Its own name beneath that.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) value: fn(&Row) -> Option<f64>,
    /// None if it never has any.
    pub(super) interval: Option<fn(&Row) -> Option<Interval>>,
    /// What it means, as a sentence without its subject.
    pub(super) meaning: &'static str,
    pub(super) absent: Absent,
}

/// Why a measure may be undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Absent {
    /// Nobody composed for any length of time.
    Composing,
    /// No message was begun.
    Message,
    /// No message was sent.
    Sent,
    /// No draft was abandoned.
    Abandoned,
    /// The icon was never on while it was observed.
    Shown,
    /// No timer put an icon out.
    TimerStop,
    /// There are no requests to count.
    Requests,
}

impl Absent {
    /// The reason, as the end of a sentence.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Composing => "nobody composed for any length of time (a single key takes none)",
            Self::Message => "no message was begun",
            Self::Sent => "no message was sent",
            Self::Abandoned => "no draft was abandoned, or none whose end was seen",
            Self::Shown => "the icon was never on while it was observed",
            Self::TimerStop => "no timer put an icon out",
            Self::Requests => "no requests a minute can be told",
        }
    }
}

impl Column {
    /// The confidence interval of its figure in `row`.
    pub(super) fn ci(&self, row: &Row) -> Option<Interval> {
        self.interval.and_then(|interval| interval(row))
    }

    /// Whether there should be an interval, and is none.
    pub(super) fn lacks_interval(&self, row: &Row) -> bool {
        self.interval.is_some() && (self.value)(row).is_some() && self.ci(row).is_none()
    }
}

/// Why intervals are lacking.
pub(super) const fn no_interval(users: usize) -> &'static str {
    if users < 2 {
        "one user says nothing of others, so there are no confidence intervals"
    } else {
        "too few users have such a case for an interval"
    }
}

fn millis(value: Option<u64>) -> Option<f64> {
    value.map(|millis| millis as f64)
}

pub(super) const RECALL: Column = Column {
    group: "recall",
    name: "of all",
    shape: Shape::Share(1),
    value: |row| row.recall.value,
    interval: Some(|row| row.recall.ci),
    meaning: "The share of all composing time during which the icon was on. What is left to 100 % was missed.",
    absent: Absent::Composing,
};

pub(super) const FLICKER: Column = Column {
    group: "flicker",
    name: "a message",
    shape: Shape::Number(2),
    value: |row| row.flicker_per_msg.value,
    interval: Some(|row| row.flicker_per_msg.ci),
    meaning: "How often the icon went off and on again while one message was being composed, for each message begun.",
    absent: Absent::Message,
};

pub(super) const OFF_P95: Column = Column {
    group: "off-latency",
    name: "p95",
    shape: Shape::Seconds(1),
    value: |row| millis(row.off.p95),
    interval: Some(|row| row.off.p95_ci),
    meaning: "The time that 95 % of them stay within.",
    absent: Absent::Abandoned,
};

pub(super) const REQUESTS: Column = Column {
    group: "requests",
    name: "a minute",
    shape: Shape::Number(1),
    value: |row| row.req_per_min.value,
    interval: Some(|row| row.req_per_min.ci),
    meaning: "TypingStarted and TypingStopped together, for each minute of composing. The messages themselves are not \
              among them.",
    absent: Absent::Composing,
};

/// All of them, those of a group next to each other.
pub(super) const COLUMNS: [Column; 20] = [
    RECALL,
    Column {
        name: "p10",
        value: |row| row.users.p10,
        interval: None,
        meaning: "The recall that nine of ten users exceed.",
        ..RECALL
    },
    Column {
        name: "p90",
        value: |row| row.users.p90,
        interval: None,
        meaning: "The recall that one of ten users exceeds.",
        ..RECALL
    },
    FLICKER,
    Column {
        name: "a minute",
        value: |row| row.flicker_per_min.value,
        interval: Some(|row| row.flicker_per_min.ci),
        meaning: "The same for each minute of composing.",
        absent: Absent::Composing,
        ..FLICKER
    },
    Column {
        name: "p50",
        value: |row| millis(row.off.p50),
        interval: Some(|row| row.off.p50_ci),
        meaning: "From the last key of an abandoned draft to the icon’s going off, the median; nought if it was off \
                  already. Sent messages do not count, for they clear the icon.",
        ..OFF_P95
    },
    OFF_P95,
    Column {
        name: "max",
        value: |row| millis(row.off.max),
        interval: None,
        meaning: "The longest of them.",
        ..OFF_P95
    },
    REQUESTS,
    Column {
        name: "started",
        value: |row| row.started_per_min,
        interval: None,
        meaning: "TypingStarted alone, for each minute of composing.",
        ..REQUESTS
    },
    Column {
        name: "a message",
        value: |row| row.req_per_msg.value,
        interval: Some(|row| row.req_per_msg.ci),
        meaning: "Both together, for each message begun.",
        absent: Absent::Message,
        ..REQUESTS
    },
    Column {
        group: "room for",
        name: "composers",
        shape: Shape::Count,
        value: |row| row.safe_composers.map(|people| people as f64),
        interval: None,
        meaning: "How many people may compose at the same time so that the org’s limit is exceeded in no more than one \
                  second of a thousand: the limit L less 3.09 √L, for arrivals that come as they please, divided by \
                  the requests of each.",
        absent: Absent::Requests,
    },
    Column {
        group: "room for",
        name: "chats",
        shape: Shape::Count,
        value: |row| row.safe_conversations.map(|chats| chats as f64),
        interval: None,
        meaning: "How many conversations that is, if users compose during the same share of a chat as in these traces.",
        absent: Absent::Requests,
    },
    Column {
        group: "surprise",
        name: "off early",
        shape: Shape::Share(1),
        value: |row| row.off_early.value,
        interval: Some(|row| row.off_early.ci),
        meaning: "The share of sent messages at whose sending the icon was off: the agent did not see them coming.",
        absent: Absent::Sent,
    },
    Column {
        group: "stops",
        name: "wrong",
        shape: Shape::Share(1),
        value: |row| row.wrong_stop.value,
        interval: Some(|row| row.wrong_stop.ci),
        meaning: "The share of a timer’s stops after which the user went on typing before counting as away.",
        absent: Absent::TimerStop,
    },
    Column {
        group: "wrongly on",
        name: "share",
        shape: Shape::Share(1),
        value: |row| row.false_on.value,
        interval: Some(|row| row.false_on.ci),
        meaning: "The share of the icon’s time in which nobody was composing.",
        absent: Absent::Shown,
    },
    Column {
        group: "wrongly on",
        name: "a draft",
        shape: Shape::Seconds(1),
        value: |row| row.false_on_per_abandoned.value.map(|seconds| 1_000.0 * seconds),
        interval: Some(|row| row.false_on_per_abandoned.ci.map(|ci| ci.map(|seconds| 1_000.0 * seconds))),
        meaning: "Seconds of that for each abandoned draft.",
        absent: Absent::Abandoned,
    },
    Column {
        group: "late look",
        name: "mean",
        shape: Shape::Seconds(1),
        value: |row| row.late_wait.value,
        interval: Some(|row| row.late_wait.ci),
        meaning: "How long an agent who opens the conversation while the icon is on waits for the next TypingStarted \
                  or the icon’s end, on average.",
        absent: Absent::Shown,
    },
    Column {
        group: "late look",
        name: "p99",
        shape: Shape::Seconds(1),
        value: |row| millis(row.late_wait_p99),
        interval: None,
        meaning: "The wait that 99 % of them stay within.",
        absent: Absent::Shown,
    },
    Column {
        group: "on",
        name: "p95",
        shape: Shape::Seconds(1),
        value: |row| millis(row.on.p95),
        interval: Some(|row| row.on.p95_ci),
        meaning: "From a message’s first key to the icon’s coming on, the time that 95 % stay within: that of the \
                  request alone, unless requests get lost.",
        absent: Absent::Shown,
    },
];

/// What would be seen if the console dropped icons by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct DroppedColumn {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) value: fn(&Dropped) -> Option<f64>,
    /// The same if it does not.
    pub(super) kept: fn(&Row) -> Option<f64>,
}

pub(super) const DROPPED_COLUMNS: [DroppedColumn; 5] = [
    DroppedColumn {
        name: "recall",
        shape: Shape::Share(1),
        value: |dropped| dropped.recall,
        kept: |row| row.recall.value,
    },
    DroppedColumn {
        name: "flicker a message",
        shape: Shape::Number(2),
        value: |dropped| dropped.flicker_per_msg,
        kept: |row| row.flicker_per_msg.value,
    },
    DroppedColumn {
        name: "off early",
        shape: Shape::Share(1),
        value: |dropped| dropped.off_early,
        kept: |row| row.off_early.value,
    },
    DroppedColumn {
        name: "off-latency p95",
        shape: Shape::Seconds(1),
        value: |dropped| millis(dropped.off.p95),
        kept: |row| millis(row.off.p95),
    },
    DroppedColumn {
        name: "wrongly on",
        shape: Shape::Share(1),
        value: |dropped| dropped.false_on,
        kept: |row| row.false_on.value,
    },
];
