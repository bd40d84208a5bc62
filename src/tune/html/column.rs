//! The measures as people read them: what each is called, how it is written, what it means, and why it may be undefined.

use super::figure::Shape;
use crate::tune::confidence::Interval;
use crate::tune::measure::Measure;
use crate::tune::row::Row;

/// A measure as a column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) measure: Measure,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) meaning: &'static str,
    /// Why it may be undefined, as the end of a sentence.
    pub(super) absent: &'static str,
}

impl Column {
    /// The figure of `row` with its unit.
    pub(super) fn full(&self, row: &Row) -> String {
        self.shape.full(row.get(self.measure))
    }

    /// The confidence interval of its figure in `row`.
    pub(super) fn ci(&self, row: &Row) -> Option<Interval> {
        row.estimate(self.measure).ci
    }
}

const NOT_COMPOSED: &str = "no one composed for any length of time (a single key takes none)";

pub(super) const RECALL: Column = Column {
    measure: Measure::Recall,
    name: "icon on while typing",
    shape: Shape::Share(1),
    meaning: "The share of all typing time during which the icon was on. What is left to 100 % was missed.",
    absent: NOT_COMPOSED,
};

pub(super) const FLICKER: Column = Column {
    measure: Measure::Flicker,
    name: "flicker a message",
    shape: Shape::Number(2),
    meaning: "How often the icon went off and on again within one message, for each message begun.",
    absent: "no message was begun",
};

pub(super) const LINGERS: Column = Column {
    measure: Measure::OffP95,
    name: "icon lingers, p95",
    shape: Shape::Seconds(1),
    meaning: "The time from an abandoned draft’s last key to the icon’s going off that 95 % stay within. Sent messages do \
              not count, for they clear the icon.",
    absent: "no draft was abandoned, or none whose end was seen",
};

pub(super) const REQUESTS: Column = Column {
    measure: Measure::Requests,
    name: "requests a minute",
    shape: Shape::Number(1),
    meaning: "TypingStarted and TypingStopped, for each minute of typing; the messages themselves are not among them.",
    absent: NOT_COMPOSED,
};

pub(super) const COLUMNS: [Column; 9] = [
    RECALL,
    FLICKER,
    LINGERS,
    REQUESTS,
    Column {
        measure: Measure::Composers,
        name: "room for people typing at once",
        shape: Shape::Count,
        meaning: "How many may type at once so that the org’s limit is exceeded in no more than one second of a thousand: \
                  the limit L less 3.09 √L, for arrivals that come as they please, divided by the requests of each.",
        absent: "requests a minute are undefined",
    },
    Column {
        measure: Measure::WrongStop,
        name: "went off too early",
        shape: Shape::Share(1),
        meaning: "The share of the times the icon went off by itself after which the user went on typing.",
        absent: "no timer turned an icon off",
    },
    Column {
        measure: Measure::OffEarly,
        name: "messages un\u{ad}announced",
        shape: Shape::Share(1),
        meaning: "The share of sent messages at whose sending the icon was off: the agent did not see them coming.",
        absent: "no message was sent",
    },
    Column {
        measure: Measure::FalseOn,
        name: "icon on for no one",
        shape: Shape::Share(1),
        meaning: "The share of the icon’s time in which the user was not typing.",
        absent: "the icon was never on while it was observed",
    },
    Column {
        measure: Measure::LateWaitP99,
        name: "late look, p99",
        shape: Shape::Seconds(1),
        meaning: "The time that 99 % of agents who open the conversation while the icon is on wait at most for the next \
                  TypingStarted or the icon’s end.",
        absent: "the icon was never on while it was observed",
    },
];

/// Why some of `columns` are undefined in one of `rows`: a sentence for each.
pub(super) fn undefined(columns: &[Column], rows: &[&Row]) -> Vec<String> {
    let absent = |column: &&Column| rows.iter().any(|row| row.get(column.measure).is_none());
    columns.iter().filter(absent).map(|column| format!("– {}: {}.", column.name, column.absent)).collect()
}
