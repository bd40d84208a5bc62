//! The settings in a table: those that keep the limits, the best first, below what is in force and what is documented.

use super::cast::{Part, Role, best};
use super::column::{Absent, COLUMNS, Column, DROPPED_COLUMNS, no_interval};
use super::figure::{UNDEFINED, counted, time};
use super::markup::Markup;
use crate::tune::Report;
use crate::tune::bootstrap::Interval;
use crate::tune::row::Row;

/// So many rows of the ranking are shown; the JSON has all.
const RANKED_SHOWN_MAX: usize = 20;

/// A row of the table.
struct Line<'a> {
    rank: Option<usize>,
    /// What it is beside that.
    part: &'static str,
    class: &'static str,
    row: &'a Row,
}

/// What is in force and what is documented come first; then the ranking, or where there is none, what no other setting
/// is better than.
fn lines<'a>(report: &'a Report, cast: &[Part<'a>]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'_>> = cast
        .iter()
        .filter(|part| matches!(part.role, Role::Now | Role::Sample) || report.ranking.is_empty())
        .filter_map(|part| Some(Line { rank: None, part: part.label(), class: part.class(), row: part.row? }))
        .collect();
    let places = if report.ranking.is_empty() { front(report) } else { report.ranking.clone() };
    let ranked = places.iter().take(RANKED_SHOWN_MAX).enumerate().map(|(rank, place)| Line {
        rank: (!report.ranking.is_empty()).then_some(rank + 1),
        part: "",
        class: if rank == 0 && best(report).is_some() { "offered" } else { "" },
        row: &report.rows[*place],
    });
    lines.extend(ranked);
    lines
}

/// The settings that no other is better than, the fewest requests first.
fn front(report: &Report) -> Vec<usize> {
    let mut front: Vec<usize> = (0..report.rows.len()).filter(|place| report.rows[*place].pareto).collect();
    let requests = |place: &usize| report.rows[*place].req_per_min.value.unwrap_or(f64::INFINITY);
    front.sort_by(|a, b| requests(a).total_cmp(&requests(b)).then(a.cmp(b)));
    front
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    let lines = lines(report, cast);
    m.tag("p").class("lead").text(intro(report, cast));
    m.tag("div")
        .class("scroll wide")
        .with("role", "region")
        .with("tabindex", "0")
        .with("aria-label", "The settings, measured")
        .inside(|m| {
            m.tag("table").class("ranking").inside(|m| {
                caption(m,
                    "Figures in small print are 95 % confidence intervals; one that is no wider than its figure is left \
                     out. Each measure is explained at the end of the page.",
                );
                m.tag("thead").inside(head);
                m.tag("tbody").inside(|m| {
                    for line in &lines {
                        body(m, line);
                    }
                });
            });
        });
    undefined(m, report, &lines);
    if let Some(ttl) = report.plan.icon_ttl.second() {
        dropped(m, &lines, ttl);
    }
}

fn intro(report: &Report, cast: &[Part<'_>]) -> String {
    let (kept, shown) = (report.ranking.len(), RANKED_SHOWN_MAX);
    if report.ranking.is_empty() {
        let front = front(report).len();
        let those =
            if front > shown { format!("{shown} of the {front} settings") } else { counted(front as u64, "setting") };
        return format!(
            "No setting keeps every limit. For comparison: what is in force, the nearest, and {those} than which no \
             other is better in requests, recall and off-latency together, the fewest requests first."
        );
    }
    let keep = if kept == 1 { "keeps" } else { "keep" };
    let first = if kept > shown { format!(" The first {shown} are here; the JSON has all.") } else { String::new() };
    let sample = cast.iter().any(|part| part.role == Role::Sample && part.row.is_some());
    let above = if sample { "stand what is in force and what is documented" } else { "stands what is in force" };
    format!(
        "{} {keep} every limit; the best comes first. Above the ranking, for comparison, {above}.{first}",
        counted(kept as u64, "setting")
    )
}

/// A caption that stays in sight where the table is wider than the page.
fn caption(m: &mut Markup, text: impl std::fmt::Display) {
    m.tag("caption").inside(|m| m.tag("span").text(text));
}

/// Neighbouring columns of one group.
fn groups() -> impl Iterator<Item = &'static [Column]> {
    COLUMNS.chunk_by(|a, b| a.group == b.group)
}

/// Whether a column is the first of its group, which a line sets apart.
fn edge(place: usize) -> &'static str {
    if place == 0 || COLUMNS[place].group != COLUMNS[place - 1].group { "edge" } else { "" }
}

fn head(m: &mut Markup) {
    m.tag("tr").inside(|m| {
        m.tag("th").with("rowspan", "2").with("scope", "col").class("rank").text("rank");
        m.tag("th").with("rowspan", "2").with("scope", "col").class("setting").text("setting");
        for group in groups() {
            let th = m.tag("th").class("edge").with("scope", "colgroup").with("colspan", group.len());
            th.inside(|m| {
                m.text(group[0].group);
            });
        }
    });
    m.tag("tr").inside(|m| {
        for (place, column) in COLUMNS.iter().enumerate() {
            m.tag("th").with("scope", "col").class(edge(place)).inside(|m| {
                m.text(column.name);
                let unit = column.shape.unit().trim_start();
                if !unit.is_empty() {
                    m.text(", ").text(unit);
                }
            });
        }
    });
}

fn body(m: &mut Markup, line: &Line<'_>) {
    m.tag("tr").class(line.class).inside(|m| {
        first(m, line);
        for (place, column) in COLUMNS.iter().enumerate() {
            m.tag("td").class(edge(place)).inside(|m| {
                let value = (column.value)(line.row);
                m.text(column.shape.bare(value));
                let wide = |[low, high]: &Interval| !column.shape.alike(*low, *high);
                if let Some(ci) = column.ci(line.row).filter(wide) {
                    m.tag("small").text(column.shape.bare_interval(ci));
                } else if column.lacks_interval(line.row) {
                    m.tag("small").text(UNDEFINED);
                }
            });
        }
    });
}

/// The rank and the setting.
fn first(m: &mut Markup, line: &Line<'_>) {
    m.tag("td").class("rank").inside(|m| {
        if let Some(rank) = line.rank {
            m.text(rank);
        }
    });
    m.tag("th").with("scope", "row").class("setting").inside(|m| {
        m.text(line.row.setting);
        if !line.part.is_empty() {
            m.tag("small").text(line.part);
        }
    });
}

/// Why some cells are dashes.
fn undefined(m: &mut Markup, report: &Report, lines: &[Line<'_>]) {
    let absent = |column: &&Column| lines.iter().any(|line| (column.value)(line.row).is_none());
    let mut reasons: Vec<(Absent, Vec<String>)> = Vec::new();
    for column in COLUMNS.iter().filter(absent) {
        let name = format!("{} {}", column.group, column.name);
        match reasons.iter_mut().find(|(reason, _)| *reason == column.absent) {
            Some((_, names)) => names.push(name),
            None => reasons.push((column.absent, vec![name])),
        }
    }
    for (reason, names) in reasons {
        m.tag("p").class("note").text(format_args!("{UNDEFINED} {}: {}.", names.join(", "), reason.why()));
    }
    if lines.iter().any(|line| COLUMNS.iter().any(|column| column.lacks_interval(line.row))) {
        let why = no_interval(report.study.users);
        m.tag("p").class("note").text(format_args!("{UNDEFINED} in small print: {why}."));
    }
}

/// What becomes of the same settings if the console drops icons.
fn dropped(m: &mut Markup, lines: &[Line<'_>], ttl: u64) {
    let ttl = time(ttl);
    m.tag("h3").text(format_args!("If the console drops icons by itself after {ttl}"));
    m.tag("p").inside(|m| {
        m.text(format_args!(
            "Whether Salesforce’s console keeps an icon until it is told otherwise, or drops it {ttl} after each \
             TypingStarted, is not documented. The figures on this page suppose that it keeps it; these are what would \
             be seen if it did not. "
        ));
        m.text("A single TypingStarted to the real org, and a look at the console, tells; then say ");
        m.code("--icon-ttl").text(".");
    });
    m.tag("div")
        .class("scroll")
        .with("role", "region")
        .with("tabindex", "0")
        .with("aria-label", "If icons are dropped")
        .inside(|m| {
            m.tag("table").class("ranking dropped").inside(|m| {
                caption(m, format_args!("If icons are kept, and if they are dropped after {ttl}"));
                m.tag("thead").inside(|m| {
                    m.tag("tr").inside(|m| {
                        m.tag("th").with("rowspan", "2").with("scope", "col").class("rank").text("rank");
                        m.tag("th").with("rowspan", "2").with("scope", "col").class("setting").text("setting");
                        for column in &DROPPED_COLUMNS {
                            let th = m.tag("th").class("edge").with("scope", "colgroup").with("colspan", "2");
                            let unit = column.shape.unit().trim_start();
                            let comma = if unit.is_empty() { "" } else { ", " };
                            th.text(format_args!("{}{comma}{unit}", column.name));
                        }
                    });
                    m.tag("tr").inside(|m| {
                        for _ in &DROPPED_COLUMNS {
                            m.tag("th").with("scope", "col").class("edge").text("kept");
                            m.tag("th").with("scope", "col").text("dropped");
                        }
                    });
                });
                m.tag("tbody").inside(|m| {
                    for line in lines.iter().take(DROPPED_SHOWN_MAX) {
                        m.tag("tr").class(line.class).inside(|m| {
                            first(m, line);
                            for column in &DROPPED_COLUMNS {
                                let dropped = line.row.dropped.as_ref().and_then(column.value);
                                m.tag("td").class("edge").text(column.shape.bare((column.kept)(line.row)));
                                m.tag("td").inside(|m| {
                                    m.strong(column.shape.bare(dropped));
                                });
                            }
                        });
                    }
                });
            });
        });
}

/// What is in force, what is documented, and the best few.
const DROPPED_SHOWN_MAX: usize = 7;
