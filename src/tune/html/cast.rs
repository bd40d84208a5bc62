//! The settings that every picture shows, and what they are called there.

use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::plan::Setting;
use crate::tune::row::Row;

/// A setting with its part in the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) role: Role,
    pub(super) setting: Setting,
    /// Its measures, if it was measured.
    pub(super) row: Option<&'a Row>,
    name: &'static str,
}

/// What a setting is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is in force.
    Now,
    /// It is recommended, or where none is, the nearest to the limits.
    Offered,
    /// Salesforce documents it.
    Sample,
    /// It tells what makes the difference.
    Telling,
}

impl Part<'_> {
    /// What it is called in a sentence.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// What it is called beside a drawing.
    pub(super) fn label(&self) -> &'static str {
        if self.role == Role::Now && self.setting == SAMPLE { "now, as documented" } else { self.name }
    }

    /// The class of what is drawn for it.
    pub(super) const fn class(&self) -> &'static str {
        match self.role {
            Role::Now => "now",
            Role::Offered => "offered",
            Role::Sample => "sample",
            Role::Telling => "telling",
        }
    }
}

/// The documented timing of Salesforce's sample.
pub(super) const SAMPLE: Setting = Setting { mode: Mode::AfterShown, check: 5_000, dismiss: 2_000 };
/// What tells where the sample loses: the same numbers counted from the last keystroke, and an icon that does not go off
/// before the next check.
const TELLING: [(Setting, &str); 2] = [
    (Setting { mode: Mode::Idle, check: 5_000, dismiss: 2_000 }, "same numbers, idle"),
    (Setting { mode: Mode::AfterShown, check: 5_000, dismiss: 5_000 }, "dismiss = check"),
];

/// As many settings as a picture can tell apart.
const PARTS_MAX: usize = 4;

/// The setting recommended, or where none keeps the limits, the nearest.
pub(super) fn offered(report: &Report) -> Option<&Row> {
    let nearest = || report.nearest.as_ref().map(|(place, _)| &report.rows[*place]);
    best(report).or_else(nearest)
}

/// The setting recommended, unless what makes it the best is undefined: then it is no better than others.
pub(super) fn best(report: &Report) -> Option<&Row> {
    report.best().filter(|row| row.get(report.plan.minimise).is_some())
}

/// The settings shown, each once: in force, offered, documented, and what else is telling, as far as there is room.
pub(super) fn cast<'a>(report: &'a Report) -> Vec<Part<'a>> {
    let now = &report.current;
    let offered = offered(report);
    let kept = offered.is_some_and(|row| row.setting == now.setting);
    let name = match (kept, best(report).is_some()) {
        (true, true) => "now and best",
        (true, false) => "now and nearest",
        (false, _) => "now",
    };
    let mut parts = vec![Part { role: Role::Now, setting: now.setting, row: Some(now), name }];
    if let Some(row) = offered.filter(|_| !kept) {
        let name = if best(report).is_some() { "recommended" } else { "nearest" };
        parts.push(Part { role: Role::Offered, setting: row.setting, row: Some(row), name });
    }
    let add = |parts: &mut Vec<Part<'a>>, role, setting, name| {
        if parts.iter().all(|part| part.setting != setting) {
            parts.push(Part { role, setting, row: report.row(setting), name });
        }
    };
    add(&mut parts, Role::Sample, SAMPLE, "documented sample");
    for (setting, name) in TELLING {
        if parts.len() < PARTS_MAX {
            add(&mut parts, Role::Telling, setting, name);
        }
    }
    parts
}
