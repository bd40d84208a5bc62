//! The settings that every picture shows, and what they are called there.

use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::plan::Setting;
use crate::tune::row::Row;

/// A setting with its part in the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// `now`, `offered` (recommended, or where none is, the nearest to the limits), `sample` (documented by Salesforce),
    /// or `telling` (shows what makes the difference); the class of what is drawn for it.
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) setting: Setting,
    /// Its measures, if it was measured.
    pub(super) row: Option<&'a Row>,
}

/// The documented timing of Salesforce's sample; the same numbers counted from the last keystroke; an icon that does not
/// go off before the next check.
const OTHERS: [(&str, &str, Setting); 3] = [
    ("sample", "documented sample", Setting { mode: Mode::AfterShown, check: 5_000, dismiss: 2_000 }),
    ("telling", "same numbers, idle", Setting { mode: Mode::Idle, check: 5_000, dismiss: 2_000 }),
    ("telling", "dismiss = check", Setting { mode: Mode::AfterShown, check: 5_000, dismiss: 5_000 }),
];
/// As many settings as a picture can tell apart.
const PARTS_MAX: usize = 4;

/// The setting recommended, or where none keeps the limits, the nearest.
pub(super) fn offered(report: &Report) -> Option<&Row> {
    best(report).or_else(|| report.nearest.as_ref().map(|(place, _)| &report.rows[*place]))
}

/// The setting recommended: what is in force, if none that was tried is better. None where what makes one the best is
/// undefined: then it is no better than others.
pub(super) fn best(report: &Report) -> Option<&Row> {
    let best = report.best().filter(|_| report.decides());
    best.map(|best| if report.keeps() { &report.current } else { best })
}

/// The settings shown, each once: in force, offered, documented, and what else is telling, as far as there is room.
pub(super) fn cast(report: &Report) -> Vec<Part<'_>> {
    let now = &report.current;
    let offered = offered(report);
    let word = if best(report).is_some() { "recommended" } else { "nearest" };
    let name = match offered.is_some_and(|row| row.setting == now.setting) {
        true if word == "recommended" => "now and best",
        true => "now and nearest",
        false if now.setting == OTHERS[0].2 => "now, as documented",
        false => "now",
    };
    let mut parts = vec![Part { class: "now", name, setting: now.setting, row: Some(now) }];
    let offered = offered.map(|row| ("offered", word, row.setting));
    for (class, name, setting) in offered.into_iter().chain(OTHERS) {
        if parts.len() < PARTS_MAX && parts.iter().all(|part| part.setting != setting) {
            parts.push(Part { class, name, setting, row: report.row(setting) });
        }
    }
    parts
}
