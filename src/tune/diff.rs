//! Before and after: what differs between two recordings, of different users, under the setting in force.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::confidence::{Interval, Ratio, student};
use super::measure::Unit;
use super::meter::Meter;
use super::plan::{Plan, Setting};
use super::row::Estimate;
use super::study::Study;
use super::sums::Typed;
use super::suspects::Suspects;
use super::table::thousands;

/// What differs.
#[derive(Debug)]
pub struct Diff {
    /// The setting under which both were measured.
    pub setting: Setting,
    /// How many users and messages the earlier recording has, and the later one.
    pub sides: [(usize, u64); 2],
    /// The figures.
    pub figures: Vec<Figure>,
}

/// A figure of both recordings.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name in JSON.
    pub name: &'static str,
    /// What it is called in a sentence.
    pub words: &'static str,
    unit: Unit,
    /// Before and after; none where it is undefined.
    pub values: [Option<f64>; 2],
    /// The 95 % interval of after less before; none where one side has fewer than five users.
    pub interval: Option<Interval>,
}

/// Compares two recordings under the setting in force.
pub fn diff(before: Study, after: Study, plan: &Plan) -> Diff {
    let [before, after] = [before, after].map(|study| Recording::of(study, plan));
    let figures = FIGURES.iter().enumerate().map(|(place, (name, words, unit))| {
        let (old, new) = (before.figures[place], after.figures[place]);
        let interval = old.ratio.zip(new.ratio).map(|(old, new)| difference(old, new));
        Figure { name, words, unit: *unit, values: [old.value, new.value], interval }
    });
    Diff { setting: plan.current, sides: [before.size, after.size], figures: figures.collect() }
}

struct Recording {
    size: (usize, u64),
    figures: [Estimate; FIGURES.len()],
}

impl Recording {
    fn of(mut study: Study, plan: &Plan) -> Self {
        let _ = Suspects::find(&mut study);
        study.find_composing(plan.truth, plan.abandon, plan.seed);
        let mut typed = vec![Typed::default(); study.users];
        for timeline in &study.timelines {
            typed[timeline.user as usize].add(timeline);
        }
        let row = Meter::new(&study, plan, &typed).measure(plan.current);
        let of = |part: fn(&Typed) -> (f64, f64)| {
            let whole = part(&Typed::total(&typed));
            let ratio = Ratio::of(typed.iter().map(part));
            let value = super::sums::ratio(whole.0, whole.1);
            Estimate { value, ratio, ci: None }
        };
        let drafts = of(|typed| (typed.abandoned, typed.messages));
        let seconds = of(|typed| (typed.composing / 1_000.0, typed.counted));
        let figures = [
            row.recall,
            row.flicker_per_msg,
            row.wrong_stop,
            row.off_early,
            row.false_on,
            row.req_per_min,
            drafts,
            seconds,
        ];
        Self { size: (study.users, Typed::total(&typed).messages as u64), figures }
    }
}

/// The interval of the difference between two groups of users (Welch's).
fn difference(before: Ratio, after: Ratio) -> Interval {
    let squares = [before, after].map(|ratio| ratio.error.powi(2));
    let error = (squares[0] + squares[1]).sqrt();
    let parts = squares[0].powi(2) / (before.users - 1) as f64 + squares[1].powi(2) / (after.users - 1) as f64;
    let freedom = if parts > 0.0 { error.powi(4) / parts } else { f64::from(u16::MAX) };
    let (value, half) = (after.value - before.value, student(freedom) * error);
    [value - half, value + half]
}

/// The figures: their names, what they are called, their units.
const FIGURES: [(&str, &str, Unit); 8] = [
    ("recall", "icon on while typing", Unit::Share),
    ("flicker_per_msg", "flicker a message", Unit::Number),
    ("wrong_stop", "went off too early", Unit::Share),
    ("off_early", "messages unannounced", Unit::Share),
    ("false_on", "icon on for no one", Unit::Share),
    ("req_per_min", "requests a minute", Unit::Number),
    ("abandoned", "drafts abandoned", Unit::Share),
    ("composing_s_per_msg", "seconds of typing a message", Unit::Number),
];

/// For a terminal: a line for each figure.
pub fn table(diff: &Diff) -> String {
    let [before, after] = diff
        .sides
        .map(|(users, messages)| format!("{} users, {} messages", thousands(users as u64), thousands(messages)));
    let mut text = format!("before: {before}\nafter:  {after}\nboth under {}\n", diff.setting);
    for figure in &diff.figures {
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| figure.unit.show(value));
        let [old, new] = figure.values.map(show);
        let change = figure.interval.map_or_else(
            || "too few users to compare".to_owned(),
            |interval| {
                let sure = interval[0] > 0.0 || interval[1] < 0.0;
                let [low, high] = interval.map(|bound| signed(figure.unit, bound));
                format!("{low} to {high}{}", if sure { "" } else { ": no difference is shown" })
            },
        );
        let _ = writeln!(text, "{:<27} {old:>7} {new:>7}  {change}", figure.words);
    }
    text
}

fn signed(unit: Unit, value: f64) -> String {
    let points = if unit == Unit::Share { 100.0 } else { 1.0 };
    format!("{:+.*}", if unit == Unit::Share { 1 } else { 2 }, value * points)
}

/// For programs.
pub fn json(diff: &Diff) -> Value {
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    let side = |(users, messages): (usize, u64)| json!({"users": users, "messages": messages});
    let figure = |figure: &Figure| {
        let [before, after] = figure.values.map(|value| value.map(rounded));
        let interval = figure.interval.map(|interval| interval.map(rounded));
        (figure.name.to_owned(), json!({"before": before, "after": after, "difference_ci": interval}))
    };
    let Setting { mode, check, dismiss } = diff.setting;
    json!({
        "schema": 1,
        "tool": concat!("typingd ", env!("CARGO_PKG_VERSION")),
        "setting": {"mode": mode.name(), "check_ms": check, "dismiss_ms": dismiss},
        "before": side(diff.sides[0]),
        "after": side(diff.sides[1]),
        "figures": diff.figures.iter().map(figure).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::Rules;
    use crate::signals::trace::TraceReader;
    use crate::tune::typist;

    fn study(users: usize, seed: u64) -> Study {
        Study::read([TraceReader::new("t", std::io::Cursor::new(typist::trace(users, 10, seed)))]).unwrap()
    }

    #[test]
    fn the_same_users_do_not_differ_and_few_say_nothing() {
        let plan = Plan::new(&Rules::default());
        let same = diff(study(12, 7), study(12, 7), &plan);
        for figure in &same.figures {
            let [low, high] = figure.interval.unwrap();
            assert!(figure.values[0] == figure.values[1] && low <= 0.0 && high >= 0.0, "{figure:?}");
            assert!((low + high).abs() < 1e-9, "{figure:?}");
        }
        assert!(table(&same).contains("no difference is shown"), "{}", table(&same));
        let few = diff(study(12, 7), study(4, 8), &plan);
        assert!(few.figures.iter().all(|figure| figure.interval.is_none()));
        assert!(table(&few).lines().all(|line| line.chars().count() <= 80), "{}", table(&few));
        assert!(json(&few)["figures"]["recall"]["difference_ci"].is_null());
    }
}
