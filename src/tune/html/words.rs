//! Measures, limits and settings as sentences speak of them.

use super::figure::{Shape, joined, said, time};
use super::gauges::FIGURES;
use crate::tune::measure::Measure;
use crate::tune::plan::{Setting, Side, Want};
use crate::tune::row::Row;

/// A setting in words.
pub(super) fn setting(setting: &Setting) -> String {
    format!("{}, check {}, dismiss {}", setting.mode.name(), time(setting.check), time(setting.dismiss))
}

/// All limits, those apart that could not be tested on `row`.
pub(super) fn limits(wants: &[Want], row: &Row) -> String {
    let (tested, untested): (Vec<&Want>, Vec<&Want>) = wants.iter().partition(|want| row.get(want.measure).is_some());
    let list = |wants: &[&Want]| joined(&wants.iter().map(|want| limit(want)).collect::<Vec<_>>());
    match (tested.is_empty(), untested.is_empty()) {
        (_, true) => list(&tested),
        (true, false) => format!("untested: {}", list(&untested)),
        (false, false) => format!("{}; untested: {}", list(&tested), list(&untested)),
    }
}

/// A limit in words.
pub(super) fn limit(want: &Want) -> String {
    let side = if want.side == Side::AtLeast { "at least" } else { "at most" };
    format!("{} {side} {}", named(want.measure), said(want.measure, want.bound))
}

/// What a measure is called in a sentence.
pub(super) const fn named(measure: Measure) -> &'static str {
    match measure {
        Measure::Recall => "recall",
        Measure::Missed => "missed composing",
        Measure::FalseOn => "wrongly on",
        Measure::Flicker => "flicker a message",
        Measure::FlickerPerMinute => "flicker a minute",
        Measure::OffEarly => "off early",
        Measure::OffP50 => "off-latency p50",
        Measure::OffP95 => "off-latency p95",
        Measure::OffMax => "off-latency max",
        Measure::Requests => "requests a minute",
        Measure::RequestsPerMessage => "requests a message",
        Measure::WrongStop => "wrong stops",
        Measure::LateWait => "late look",
        Measure::LateWaitP99 => "late look p99",
        Measure::Composers => "room for composers",
        Measure::Check => "check",
        Measure::Dismiss => "dismiss",
    }
}

/// What the setting does that comes first by a measure.
pub(super) const fn excels(minimised: Measure) -> &'static str {
    match minimised {
        Measure::Requests => "sends the fewest requests",
        Measure::RequestsPerMessage => "sends the fewest requests a message",
        Measure::FalseOn => "is wrongly on for the least",
        Measure::Flicker | Measure::FlickerPerMinute => "flickers the least",
        Measure::OffEarly => "is off the least often when a message comes",
        Measure::OffP50 | Measure::OffP95 | Measure::OffMax => "goes off the soonest after an abandoned draft",
        Measure::WrongStop => "stops wrongly the least often",
        Measure::LateWait | Measure::LateWaitP99 => "lets an agent who looks late wait the least",
        Measure::Check => "has the shortest check",
        Measure::Dismiss => "has the shortest dismiss",
        // The others are not made small.
        Measure::Missed | Measure::Recall | Measure::Composers => "misses the least of the composing",
    }
}

/// What `row` gains and what it costs against `now`, in the four figures; as ends of a sentence on the icon.
pub(super) fn changes(row: &Row, now: &Row) -> (Vec<String>, Vec<String>) {
    let (mut gains, mut costs) = (Vec::new(), Vec::new());
    for (_, _, measure, column) in FIGURES {
        let (Some(value), Some(was)) = (row.get(measure), now.get(measure)) else { continue };
        if column.shape.alike(value, was) {
            continue;
        }
        let more = value > was;
        let share = |share: f64| Shape::Share(if share < 0.01 { 1 } else { 0 }).full(Some(share));
        let by = (value - was).abs();
        let relative = if was > 0.0 {
            format!("{} {}", share(by / was), if more { "more" } else { "less" })
        } else {
            format!("{} times a message instead of never", column.shape.bare(Some(value)))
        };
        let words = match (measure, more) {
            (Measure::Recall, more) => {
                let word = if more { "more" } else { "less" };
                format!("is on for {:.1} points {word} of the composing", 100.0 * by)
            }
            (Measure::Flicker, _) => format!("flickers {relative}"),
            (Measure::OffP95, more) => {
                let word = if more { "later" } else { "sooner" };
                format!("goes off {} {word} after an abandoned draft", Shape::Seconds(1).full(Some(by)))
            }
            (_, more) => {
                let word = if more { "more" } else { "fewer" };
                format!("takes {} {word} requests", share(by / was.max(f64::MIN_POSITIVE)))
            }
        };
        if more == measure.is_better_when_small() { costs.push(words) } else { gains.push(words) }
    }
    (gains, costs)
}
