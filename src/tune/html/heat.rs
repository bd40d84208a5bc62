//! Heat maps: every setting of the grid, check by dismiss, for the four figures that matter.

use maud::{Markup, html};

use super::cast::offered;
use super::column::{Column, FLICKER, LINGERS, RECALL, REQUESTS, undefined};
use super::figure::{Shape, in_seconds};
use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::plan::Setting;
use crate::tune::row::Row;

/// The maps: their names, their measures.
const MAPS: [(&str, Column); 4] = [
    ("Icon on while typing, %", Column { shape: Shape::Share(0), ..RECALL }),
    ("Requests a minute", REQUESTS),
    ("Flicker a message", Column { shape: Shape::Number(1), ..FLICKER }),
    ("Icon lingers (p95), s", LINGERS),
];

/// The shades of a map, from the worst to the best.
const SHADES: usize = 7;
/// More columns or rows than a map has room for are thinned out.
const COLUMNS_MAX: usize = 16;
const ROWS_MAX: usize = 24;

/// The settings of one mode that are shown.
struct Grid<'a> {
    report: &'a Report,
    checks: Vec<u64>,
    dismisses: Vec<u64>,
    /// In the order of the report.
    rows: Vec<&'a Row>,
}

impl<'a> Grid<'a> {
    fn of(report: &'a Report, mode: Mode) -> Option<Self> {
        let of_mode = || report.rows.iter().filter(|row| row.setting.mode == mode);
        let marked = [Some(&report.current), offered(report)].map(|row| row.map(|row| row.setting));
        let shown = |part: fn(&Setting) -> u64, most: usize| {
            let mut all: Vec<u64> = of_mode().map(|row| part(&row.setting)).collect();
            all.sort_unstable();
            all.dedup();
            let every = all.len().div_ceil(most).max(1);
            let kept = |value: u64| marked.iter().flatten().any(|setting| part(setting) == value);
            let thinned = all.into_iter().enumerate().filter(|(at, value)| at % every == 0 || kept(*value));
            thinned.map(|(_, value)| value).collect::<Vec<_>>()
        };
        let (checks, dismisses) = (shown(|of| of.check, ROWS_MAX), shown(|of| of.dismiss, COLUMNS_MAX));
        let is_shown = |row: &&Row| checks.contains(&row.setting.check) && dismisses.contains(&row.setting.dismiss);
        let rows: Vec<&Row> = of_mode().filter(is_shown).collect();
        // The grid is every check with every dismiss, in that order.
        let whole = !rows.is_empty() && rows.len() == checks.len() * dismisses.len();
        whole.then_some(Self { report, checks, dismisses, rows })
    }

    fn row(&self, check: usize) -> &[&'a Row] {
        &self.rows[check * self.dismisses.len()..][..self.dismisses.len()]
    }

    /// Whether a measure is the same for every check.
    fn ignores_check(&self, column: &Column) -> bool {
        let values = |check: usize| self.row(check).iter().map(|row| row.get(column.measure));
        (1..self.checks.len()).all(|check| values(check).eq(values(0)))
    }
}

/// Turns values into shades: one shading for both modes, so that they can be compared.
struct Shading {
    rising: bool,
    least: f64,
    most: f64,
}

impl Shading {
    fn of(report: &Report, column: &Column) -> Self {
        let values = || report.rows.iter().filter_map(|row| row.get(column.measure));
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        Self { rising: !column.measure.is_better_when_small(), least, most }
    }

    /// From 0, the worst, to [`SHADES`] - 1. Where less is better, the small ones are told apart more finely.
    fn shade(&self, value: f64) -> usize {
        let along = |value: f64| if self.rising { value } else { (value - self.least).max(0.0).sqrt() };
        let (least, most) = (along(self.least), along(self.most));
        if most <= least {
            return SHADES / 2;
        }
        let part = (along(value) - least) / (most - least);
        let good = if self.rising { part } else { 1.0 - part };
        ((good * SHADES as f64) as usize).min(SHADES - 1)
    }
}

/// The section's content.
pub(super) fn section(report: &Report) -> Markup {
    let grids = [Mode::Idle, Mode::AfterShown].map(|mode| Some((mode, Grid::of(report, mode)?)));
    let grids: Vec<(Mode, Grid<'_>)> = grids.into_iter().flatten().collect();
    let shown: usize = grids.iter().map(|(_, grid)| grid.rows.len()).sum();
    html! {
        p.lead {
            "The settings tried, check down and dismiss across, both in seconds. The more a cell stands out from the page, \
             the better its value; the shades are the same in all modes."
        }
        ul.key {
            li { span.swatch.now aria-hidden="true" {} span { "in force now" } }
            @if let Some(row) = offered(report) {
                li { span.swatch.offered aria-hidden="true" {} span { (word(row)) } }
            }
            @if !report.plan.wants.is_empty() && !report.ranking.is_empty() {
                li { b { "12" } span { "bold: keeps every limit" } }
            }
        }
        @if !report.rows.iter().any(|row| row.setting == report.current.setting) {
            p.note { "The setting in force, " (report.current.setting) ", is not among those tried." }
        }
        @if shown < report.rows.len() {
            p.note { (shown) " of " (report.rows.len()) " settings are shown; the JSON has all." }
        }
        @for (mode, grid) in &grids {
            h3 { "Mode " (mode.name()) }
            @if *mode == Mode::Idle && grid.checks.len() > 1 && grid.ignores_check(&RECALL) {
                p {
                    "On a network that loses nothing, a check only asks again for an icon that is on already: it costs \
                     requests, and repairs what was lost."
                }
            }
            div.maps { @for map in maps(grid) { (table(grid, map)) } }
            @for note in undefined(&MAPS.map(|(_, column)| column), &grid.rows) { p.note { (note) } }
        }
    }
}

/// A line of a map: its name, its measure, its cells; each cell is of settings that have the same value, mostly one.
type Line<'a> = (String, Column, Vec<Vec<&'a Row>>);

/// A map for each measure, with its name and class; those that are the same for every check share one, with a line for each.
fn maps<'a>(grid: &Grid<'a>) -> Vec<(&'static str, &'static str, Vec<Line<'a>>)> {
    let (alike, apart): (Vec<_>, Vec<_>) = MAPS.into_iter().partition(|(_, column)| grid.ignores_check(column));
    let checks = || 0..grid.checks.len();
    let every_check = |at| checks().map(|check| grid.row(check)[at]).collect();
    let columns: Vec<Vec<&Row>> = (0..grid.dismisses.len()).map(every_check).collect();
    let together: Vec<_> = alike.into_iter().map(|(name, column)| (name.to_owned(), column, columns.clone())).collect();
    let line = |column, at| (in_seconds(grid.checks[at]), column, grid.row(at).iter().map(|row| vec![*row]).collect());
    let mut maps = vec![("Whatever the check", "heat alike", together)];
    maps.extend(apart.into_iter().map(|(name, column)| (name, "heat", checks().map(|at| line(column, at)).collect())));
    maps.retain(|(.., lines)| !lines.is_empty());
    maps
}

fn table(grid: &Grid<'_>, (name, class, lines): (&str, &str, Vec<Line<'_>>)) -> Markup {
    html! {
        div.map.scroll {
            table class=(class) {
                caption { (name) small { @if class == "heat" { "check ↓ " } "dismiss →" } }
                thead {
                    tr {
                        th scope="col" { span.vh { "dismiss, s" } }
                        @for dismiss in &grid.dismisses { th scope="col" { (in_seconds(*dismiss)) } }
                    }
                }
                tbody {
                    @for (name, column, cells) in &lines {
                        @let shading = Shading::of(grid.report, column);
                        tr {
                            th scope="row" { (name) }
                            @for rows in cells { (cell(grid.report, column, &shading, rows)) }
                        }
                    }
                }
            }
        }
    }
}

fn word(offered: &Row) -> &'static str {
    if offered.meets { "recommended" } else { "nearest" }
}

fn cell(report: &Report, column: &Column, shading: &Shading, rows: &[&Row]) -> Markup {
    let value = rows[0].get(column.measure);
    let shade = value.map_or_else(|| "hx".to_owned(), |value| format!("h{}", shading.shade(value)));
    let now = rows.iter().any(|row| row.setting == report.current.setting);
    let offered = offered(report).filter(|offered| rows.iter().any(|row| row.setting == offered.setting));
    let keeps = !report.plan.wants.is_empty() && rows.iter().any(|row| row.meets);
    // Two digits, which are what a cell has room for on a telephone.
    let text = column.shape.bare(value);
    let text = text.split_once('.').filter(|(whole, _)| whole.len() > 1).map_or(&*text, |(whole, _)| whole);
    html! {
        td.(shade).now[now].offered[offered.is_some()].k[keeps] {
            (text)
            @if now { span.vh { " (now)" } }
            @if let Some(offered) = offered { span.vh { " (" (word(offered)) ")" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_the_worst_to_the_best() {
        let rising = Shading { rising: true, least: 0.2, most: 1.0 };
        assert_eq!([0.2, 0.6, 1.0].map(|value| rising.shade(value)), [0, 3, 6]);
        let falling = Shading { rising: false, least: 0.5, most: 20.0 };
        assert_eq!([0.5, 5.0, 20.0].map(|value| falling.shade(value)), [6, 3, 0]);
        let alike = Shading { rising: false, least: 3.0, most: 3.0 };
        assert_eq!(alike.shade(3.0), 3);
    }
}
