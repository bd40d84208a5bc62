//! The measures by name, as limits, objectives and displays speak of them.

use std::time::Duration;

use super::value::{ValueError, amount, share, shortened};
use crate::base::duration::{self, Written};

/// A measure, or a part of a setting, that a limit can be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// What is missed, and what is falsely shown by its weight, in seconds for each minute of composing; the worst case of
    /// the receivers that are possible.
    Cost,
    /// The share of composing time with the icon on.
    Recall,
    /// The share of composing time with the icon off.
    Missed,
    /// The share of the icon's time in which the user was not composing.
    FalseOn,
    /// Times that the icon went off and on again, for each message.
    Flicker,
    /// The same for each minute of composing.
    FlickerPerMinute,
    /// The share of sent messages that came while the icon was off.
    OffEarly,
    /// From an abandoned draft's last key to the icon's end, the median.
    OffP50,
    /// The same, the 95th percentile.
    OffP95,
    /// The same, the longest.
    OffMax,
    /// Requests for each minute of composing.
    Requests,
    /// Requests for each message.
    RequestsPerMessage,
    /// The share of a timer's stops that a key followed within `away`, before anything else happened.
    WrongStop,
    /// How long an agent who begins to look waits for the next TypingStarted or the icon's end, on average.
    LateWait,
    /// The same, the 99th percentile.
    LateWaitP99,
    /// How many people may compose at a time.
    Composers,
    /// The check interval: how often the icon is asked for again.
    Check,
    /// The time after which the icon goes off.
    Dismiss,
}

/// What a measure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// From 0 to 1.
    Share,
    /// Milliseconds.
    Time,
    /// A number.
    Number,
}

impl Unit {
    /// A value as people write it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{} %", trimmed(100.0 * value, 1)),
            Self::Time => Written(Duration::from_millis(value.max(0.0).round() as u64)).to_string(),
            // A limit can be any number, and one of 300 digits helps no one.
            Self::Number if value >= 1e9 => format!("{value:e}"),
            Self::Number => trimmed(value, 2),
        }
    }

    /// The least difference between two values that are written differently.
    pub(super) const fn grain(self) -> f64 {
        match self {
            Self::Share => 0.001,
            Self::Time => 1.0,
            Self::Number => 0.01,
        }
    }

    pub(super) fn read(self, text: &str) -> Result<f64, ValueError> {
        match self {
            Self::Share => share(text),
            Self::Time => {
                let time = duration::parse(text).map(|time| time.as_millis() as f64);
                time.ok_or(ValueError::Expected("a time with its unit, such as 5s or 500ms"))
            }
            Self::Number => amount(text),
        }
    }
}

/// `value` with at most `places` decimals, none of them idle.
fn trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Each measure with its name, the other names that it answers to, its unit, and what it is called in a sentence.
const NAMES: [(Measure, &[&str], Unit, &str); 18] = [
    (Measure::Cost, &["cost"], Unit::Number, "missed and false seconds a minute"),
    (Measure::Recall, &["recall"], Unit::Share, "icon on while typing"),
    (Measure::Missed, &["missed"], Unit::Share, "typing missed"),
    (Measure::FalseOn, &["false_on"], Unit::Share, "icon on for no one"),
    (Measure::Flicker, &["flicker", "flicker_per_msg"], Unit::Number, "flicker a message"),
    (Measure::FlickerPerMinute, &["flicker_per_min"], Unit::Number, "flicker a minute"),
    (Measure::OffEarly, &["off_early"], Unit::Share, "messages unannounced"),
    (Measure::OffP50, &["off_p50"], Unit::Time, "icon lingering (p50)"),
    (Measure::OffP95, &["off_p95", "off"], Unit::Time, "icon lingering (p95)"),
    (Measure::OffMax, &["off_max"], Unit::Time, "icon lingering (max)"),
    (Measure::Requests, &["requests", "req_per_min"], Unit::Number, "requests a minute"),
    (Measure::RequestsPerMessage, &["req_per_msg"], Unit::Number, "requests a message"),
    (Measure::WrongStop, &["wrong_stop"], Unit::Share, "stops too early"),
    (Measure::LateWait, &["late_wait"], Unit::Time, "late look"),
    (Measure::LateWaitP99, &["late_wait_p99"], Unit::Time, "late look (p99)"),
    (Measure::Composers, &["composers", "safe_composers"], Unit::Number, "room for people typing at once"),
    (Measure::Check, &["check", "refresh"], Unit::Time, "check"),
    (Measure::Dismiss, &["dismiss"], Unit::Time, "dismiss"),
];

impl Measure {
    fn entry(self) -> &'static (Measure, &'static [&'static str], Unit, &'static str) {
        NAMES.iter().find(|(measure, ..)| *measure == self).expect("every measure has its names")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.entry().1[0]
    }

    /// What it is called in a sentence.
    pub(super) fn words(self) -> &'static str {
        self.entry().3
    }

    /// What it is measured in.
    pub fn unit(self) -> Unit {
        self.entry().2
    }

    pub(super) fn from_name(name: &str) -> Result<Self, ValueError> {
        let found = NAMES.iter().find(|(_, names, ..)| names.contains(&name));
        found.map(|(measure, ..)| *measure).ok_or_else(|| {
            let all: Vec<&str> = NAMES.iter().map(|(_, names, ..)| names[0]).collect();
            ValueError::NoMeasure { name: shortened(name), all: all.join(", ") }
        })
    }

    /// Whether less of it is better.
    pub const fn is_better_when_small(self) -> bool {
        !matches!(self, Self::Recall | Self::Composers)
    }

    /// Whether it is how long an icon stays on for no one.
    pub(super) const fn is_of_lingering(self) -> bool {
        matches!(self, Self::OffP50 | Self::OffP95 | Self::OffMax | Self::Dismiss)
    }

    pub(super) fn small_names() -> Vec<&'static str> {
        NAMES.iter().filter(|(measure, ..)| measure.is_better_when_small()).map(|(_, names, ..)| names[0]).collect()
    }
}
