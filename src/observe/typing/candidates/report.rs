//! The candidates and their figures as programs read them, and what is said of them in a sentence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CandidateFigures, ChannelFigures, TimingCounts};
use crate::base::clock::Clock;
use crate::tune::plan::Setting;

/// The candidates, and what was measured of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CandidateReport {
    /// As they were given, such as `idle 10s/5s`.
    pub timings: Vec<String>,
    /// When they were given, in Unix epoch milliseconds.
    pub since: u64,
    /// By channel.
    pub channels: BTreeMap<String, ChannelReport>,
}

/// What was measured in a channel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ChannelReport {
    /// When the counting began: with the candidates, or with the last change of the channel's timing.
    pub since: u64,
    pub composing_s: f64,
    /// Worked out like the candidates, so that they can be compared.
    pub in_force: Measured,
    /// In the order of the timings.
    pub candidates: Vec<Measured>,
}

/// What a timing would have shown and sent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub timing: String,
    /// Of the seconds composing, those with the icon on.
    pub shown_s: f64,
    /// Seconds with the icon on while the user was not composing.
    pub false_s: f64,
    /// Times that the icon went off and on again within one message.
    pub flicker: u64,
    /// Icons that a timer switched off.
    pub timer_stops: u64,
    /// Of these, how many a key followed within 30 s.
    pub stops_too_early: u64,
    /// Both kinds together.
    pub requests: u64,
    pub started: u64,
    pub stopped: u64,
}

impl CandidateReport {
    pub(crate) fn new(figures: &CandidateFigures, clock: &Clock) -> Self {
        let channel = |channel: &ChannelFigures| {
            let mut counts = channel.counts.each.iter();
            let mut next = |setting: &Setting| Measured::new(setting, counts.next().copied().unwrap_or_default());
            let in_force = next(&channel.in_force);
            let report = ChannelReport {
                since: clock.wall_millis(channel.since),
                composing_s: seconds(channel.counts.composing_micros),
                in_force,
                candidates: figures.settings.iter().map(next).collect(),
            };
            (channel.name.to_string(), report)
        };
        Self {
            timings: figures.settings.iter().map(Setting::to_string).collect(),
            since: clock.wall_millis(figures.since),
            channels: figures.channels.iter().map(channel).collect(),
        }
    }

    /// All channels together; their timings in force may differ.
    pub(crate) fn total(&self) -> ChannelReport {
        let mut channels = self.channels.values().cloned();
        let none = || Measured { timing: String::new(), ..Measured::default() };
        let empty = || ChannelReport {
            since: self.since,
            composing_s: 0.0,
            in_force: none(),
            candidates: self.timings.iter().map(|timing| Measured { timing: timing.clone(), ..none() }).collect(),
        };
        let mut total = channels.next().unwrap_or_else(empty);
        for channel in channels {
            total.composing_s += channel.composing_s;
            total.in_force.add(&channel.in_force);
            for (sum, candidate) in total.candidates.iter_mut().zip(&channel.candidates) {
                sum.add(candidate);
            }
        }
        total
    }
}

impl ChannelReport {
    /// The share of composing time with the icon on, under one of the timings.
    pub(crate) fn on_while_typing(&self, timing: &Measured) -> Option<f64> {
        (self.composing_s > 0.0).then(|| timing.shown_s / self.composing_s)
    }

    /// `count` for each minute of composing.
    pub(crate) fn per_minute(&self, count: f64) -> Option<f64> {
        (self.composing_s > 0.0).then(|| count * 60.0 / self.composing_s)
    }

    /// What a candidate would have done otherwise than the timing in force.
    pub(crate) fn compared(&self, candidate: &Measured) -> Option<String> {
        let before = self.in_force.requests;
        let points = 100.0 * (self.on_while_typing(candidate)? - self.on_while_typing(&self.in_force)?);
        let sent = match 100.0 * (candidate.requests as f64 / before as f64 - 1.0) {
            _ if before == 0 => return None,
            change if change.round() == 0.0 => "sent as much".to_owned(),
            change => format!("sent {:.0} % {}", change.abs(), if change < 0.0 { "less" } else { "more" }),
        };
        let shown = match points {
            points if points.round() == 0.0 => "shown as much".to_owned(),
            points => format!("shown {:.0} points {}", points.abs(), if points < 0.0 { "less" } else { "more" }),
        };
        Some(format!("{} would have {sent} and {shown}", candidate.timing))
    }
}

impl Measured {
    fn new(setting: &Setting, counts: TimingCounts) -> Self {
        Self {
            timing: setting.to_string(),
            shown_s: seconds(counts.shown_micros),
            false_s: seconds(counts.shown_falsely_micros),
            flicker: counts.flickers,
            timer_stops: counts.timer_stops,
            stops_too_early: counts.wrong_stops,
            requests: counts.started + counts.stopped,
            started: counts.started,
            stopped: counts.stopped,
        }
    }

    fn add(&mut self, other: &Self) {
        self.shown_s += other.shown_s;
        self.false_s += other.false_s;
        self.flicker += other.flicker;
        self.timer_stops += other.timer_stops;
        self.stops_too_early += other.stops_too_early;
        self.requests += other.requests;
        self.started += other.started;
        self.stopped += other.stopped;
    }
}

/// To a millisecond.
fn seconds(micros: u64) -> f64 {
    (micros as f64 / 1e3).round() / 1e3
}
