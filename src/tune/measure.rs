//! The measures by name, as limits, objectives and displays speak of them.

use std::time::Duration;

use crate::base::duration::{self, Written};

/// A measure, or a part of a setting, that a limit can be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// The share of composing time with the icon on.
    Recall,
    /// The share of composing time with the icon off.
    Missed,
    /// The share of the icon's time in which nobody was composing.
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
    /// How long whoever begins to look waits for the next TypingStarted or the icon's end, on average.
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
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{} %", trimmed(100.0 * value, 1)),
            Self::Time => Written(Duration::from_millis(value.max(0.0).round() as u64)).to_string(),
            // A limit can be any number, and one of 300 digits helps nobody.
            Self::Number if value >= 1e9 => format!("{value:e}"),
            Self::Number => trimmed(value, 2),
        }
    }

    pub(super) fn read(self, text: &str) -> Result<f64, String> {
        match self {
            Self::Share => share(text),
            Self::Time => duration::parse(text)
                .map(|span| span.as_millis() as f64)
                .ok_or_else(|| "a time with its unit, such as 5s or 500ms, would be right".to_owned()),
            Self::Number => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
                number.ok_or_else(|| "a number from 0 on would be right".to_owned())
            }
        }
    }
}

/// `value` with at most `places` decimals, none of them idle.
fn trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Each measure with its name, the other names that it answers to, and its unit.
const NAMES: [(Measure, &[&str], Unit); 17] = [
    (Measure::Recall, &["recall"], Unit::Share),
    (Measure::Missed, &["missed"], Unit::Share),
    (Measure::FalseOn, &["false_on"], Unit::Share),
    (Measure::Flicker, &["flicker", "flicker_per_msg"], Unit::Number),
    (Measure::FlickerPerMinute, &["flicker_per_min"], Unit::Number),
    (Measure::OffEarly, &["off_early"], Unit::Share),
    (Measure::OffP50, &["off_p50"], Unit::Time),
    (Measure::OffP95, &["off_p95", "off"], Unit::Time),
    (Measure::OffMax, &["off_max"], Unit::Time),
    (Measure::Requests, &["requests", "req_per_min"], Unit::Number),
    (Measure::RequestsPerMessage, &["req_per_msg"], Unit::Number),
    (Measure::WrongStop, &["wrong_stop"], Unit::Share),
    (Measure::LateWait, &["late_wait"], Unit::Time),
    (Measure::LateWaitP99, &["late_wait_p99"], Unit::Time),
    (Measure::Composers, &["composers", "safe_composers"], Unit::Number),
    (Measure::Check, &["check", "refresh"], Unit::Time),
    (Measure::Dismiss, &["dismiss"], Unit::Time),
];

impl Measure {
    fn entry(self) -> &'static (Measure, &'static [&'static str], Unit) {
        NAMES.iter().find(|(measure, ..)| *measure == self).expect("every measure has its names")
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().1[0]
    }

    /// What it is measured in.
    #[must_use]
    pub fn unit(self) -> Unit {
        self.entry().2
    }

    pub(super) fn from_name(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, names, _)| names.contains(&name));
        found.map(|(measure, ..)| *measure).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            let all: Vec<&str> = NAMES.iter().map(|(_, names, _)| names[0]).collect();
            format!("there is no measure `{}`; {} are", shown.escape_debug(), all.join(", "))
        })
    }

    /// Whether less of it is better.
    #[must_use]
    pub const fn is_better_when_small(self) -> bool {
        !matches!(self, Self::Recall | Self::Composers)
    }

    pub(super) fn small_names() -> Vec<&'static str> {
        NAMES.iter().filter(|(measure, ..)| measure.is_better_when_small()).map(|(_, names, _)| names[0]).collect()
    }
}

/// A share: `0.13`, `13%` or `13 %`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim_end(), 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / scale);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share from 0 to 1, or from 0% to 100%, would be right".to_owned())
}
