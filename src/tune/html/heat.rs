//! Heat maps: every setting of the grid, check by dismiss, for the four figures that matter.

use std::fmt::Write as _;

use super::column::{Column, FLICKER, OFF_P95, RECALL, REQUESTS};
use super::figure::{Shape, UNDEFINED};
use super::markup::{Markup, Percent};
use super::plot::{picture, spot, stretched};
use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::plan::Setting;
use crate::tune::row::Row;

/// The maps: their names, their measures, their colours' scale.
const MAPS: [(&str, Column, Scale); 4] = [
    ("Recall, %", Column { shape: Shape::Share(0), ..RECALL }, Scale::Rising),
    ("Requests a minute", Column { shape: Shape::Number(1), ..REQUESTS }, Scale::Falling),
    ("Flicker a message", Column { shape: Shape::Number(1), ..FLICKER }, Scale::Falling),
    ("Off-latency p95, s", Column { shape: Shape::Seconds(1), ..OFF_P95 }, Scale::Falling),
];

/// On which side a value is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// The more, the better.
    Rising,
    /// The less, the better; the small ones, which matter, are told apart more finely.
    Falling,
}

/// The shades of a map, from the worst to the best.
const SHADES: usize = 7;
/// A map with more columns or rows has no numbers: they could not be read.
const COLUMNS_NUMBERED_MAX: usize = 16;
const ROWS_NUMBERED_MAX: usize = 24;

/// All settings of one mode.
struct Grid<'a> {
    mode: Mode,
    checks: Vec<u64>,
    dismisses: Vec<u64>,
    /// Check by check.
    rows: Vec<&'a Row>,
}

impl<'a> Grid<'a> {
    fn of(report: &'a Report, mode: Mode) -> Option<Self> {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.setting.mode == mode).collect();
        let each = |part: fn(&Setting) -> u64| {
            let mut all: Vec<u64> = rows.iter().map(|row| part(&row.setting)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let (checks, dismisses) = (each(|setting| setting.check), each(|setting| setting.dismiss));
        // The grid is every check with every dismiss, in that order.
        (!rows.is_empty() && rows.len() == checks.len() * dismisses.len()).then_some(Self {
            mode,
            checks,
            dismisses,
            rows,
        })
    }

    fn row(&self, check: usize, dismiss: usize) -> &'a Row {
        self.rows[check * self.dismisses.len() + dismiss]
    }

    fn is_numbered(&self) -> bool {
        self.dismisses.len() <= COLUMNS_NUMBERED_MAX && self.checks.len() <= ROWS_NUMBERED_MAX
    }

    /// Whether a measure is the same for every check.
    fn ignores_check(&self, column: &Column) -> bool {
        let same = |dismiss: usize| {
            let first = (column.value)(self.row(0, dismiss));
            (1..self.checks.len()).all(|check| (column.value)(self.row(check, dismiss)) == first)
        };
        self.checks.len() > 1 && (0..self.dismisses.len()).all(same)
    }
}

/// Turns values into shades.
struct Shading {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Shading {
    /// One shading for both modes, so that they can be compared.
    fn of(report: &Report, column: &Column, scale: Scale) -> Self {
        let values = || report.rows.iter().filter_map(column.value);
        Self { scale, least: values().fold(f64::INFINITY, f64::min), most: values().fold(0.0, f64::max) }
    }

    /// From 0, the worst, to [`SHADES`] - 1.
    fn shade(&self, value: f64) -> usize {
        let along = |value: f64| if self.scale == Scale::Rising { value } else { (value - self.least).max(0.0).sqrt() };
        let (least, most) = (along(self.least), along(self.most));
        if most <= least {
            return SHADES / 2;
        }
        let part = (along(value) - least) / (most - least);
        let good = if self.scale == Scale::Rising { part } else { 1.0 - part };
        ((good * SHADES as f64) as usize).min(SHADES - 1)
    }
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, offered: Option<&Row>) {
    let grids: Vec<Grid<'_>> =
        [Mode::Idle, Mode::AfterShown].into_iter().filter_map(|mode| Grid::of(report, mode)).collect();
    m.tag("p").class("lead").inside(|m| {
        m.text("All settings tried, check down and dismiss across, both in seconds. The more a cell stands out from the page, ");
        m.text("the better its value; the shades are the same in all modes.");
    });
    m.tag("ul").class("key").inside(|m| {
        let mut item = |class: &str, text: &str| {
            m.tag("li").inside(|m| {
                m.tag("span").class(format_args!("swatch {class}")).with("aria-hidden", "true").text("");
                m.tag("span").text(text);
            });
        };
        item("now", "in force now");
        if let Some(row) = offered {
            item("offered", if row.meets { "recommended" } else { "nearest" });
        }
        if grids.iter().any(Grid::is_numbered) && !report.plan.wants.is_empty() && !report.ranking.is_empty() {
            m.tag("li").inside(|m| {
                m.tag("b").text("12");
                m.tag("span").text("bold: keeps every limit");
            });
        }
    });
    if !report.rows.iter().any(|row| row.setting == report.current.setting) {
        let setting = report.current.setting;
        m.tag("p").class("note").text(format_args!("The setting in force, {setting}, is not among those tried."));
    }
    for grid in &grids {
        m.tag("h3").text(format_args!("Mode {}", grid.mode.name()));
        remark(m, grid);
        m.tag("div").class("maps").inside(|m| {
            for (number, (name, column, scale)) in MAPS.iter().enumerate() {
                let map = Map { report, grid, offered, name, column, shading: Shading::of(report, column, *scale) };
                m.tag("figure").class("map").inside(|m| map.draw(m, number));
            }
        });
    }
}

/// What does not depend on check, if anything.
fn remark(m: &mut Markup, grid: &Grid<'_>) {
    let alike: Vec<&str> = MAPS
        .iter()
        .filter(|(_, column, _)| {
            grid.rows.iter().any(|row| (column.value)(row).is_some()) && grid.ignores_check(column)
        })
        .map(|(name, ..)| name.split(',').next().unwrap_or(name))
        .collect();
    let Some((first, others)) = alike.split_first() else { return };
    let names: Vec<String> =
        std::iter::once((*first).to_owned()).chain(others.iter().map(|name| name.to_lowercase())).collect();
    let verb = if names.len() == 1 { "does" } else { "do" };
    let why = match grid.mode {
        Mode::Idle => {
            ": each column has one value. On a network that loses nothing, a check only asks again for an icon that is \
             on already; it costs requests, and repairs what was lost"
        }
        Mode::AfterShown => "",
    };
    m.tag("p").text(format_args!("{} {verb} not depend on check here{why}.", super::figure::joined(&names)));
}

struct Map<'a> {
    report: &'a Report,
    grid: &'a Grid<'a>,
    offered: Option<&'a Row>,
    name: &'a str,
    column: &'a Column,
    shading: Shading,
}

impl Map<'_> {
    fn draw(&self, m: &mut Markup, number: usize) {
        if self.grid.is_numbered() {
            self.table(m)
        } else {
            self.picture(m, number)
        }
        if self.grid.rows.iter().any(|row| (self.column.value)(row).is_none()) {
            m.tag("p").class("note").text(format_args!("{UNDEFINED}: {}.", self.column.absent.why()));
        }
    }

    fn heading(&self, m: &mut Markup) {
        m.text(self.name);
        m.tag("small").text("check ↓ dismiss →");
    }

    /// What a cell's setting is to the reader.
    fn part(&self, row: &Row) -> [bool; 2] {
        [row.setting == self.report.current.setting, self.offered.is_some_and(|offered| offered.setting == row.setting)]
    }

    /// Two digits, which are what a cell has room for on a telephone.
    fn short(&self, value: Option<f64>) -> String {
        let text = self.column.shape.bare(value);
        match text.split_once('.') {
            Some((whole, _)) if whole.len() > 1 => match self.column.shape {
                Shape::Number(_) => Shape::Number(0).bare(value),
                Shape::Seconds(_) => Shape::Seconds(0).bare(value),
                Shape::Share(_) | Shape::Count => text,
            },
            _ => text,
        }
    }

    /// Numbers in cells, as a table: that can be read out.
    fn table(&self, m: &mut Markup) {
        let grid = self.grid;
        m.tag("div").class("scroll").inside(|m| {
            m.tag("table").class("heat").inside(|m| {
                m.tag("caption").inside(|m| self.heading(m));
                m.tag("thead").inside(|m| {
                    m.tag("tr").inside(|m| {
                        m.tag("th").with("scope", "col").inside(|m| {
                            m.tag("span").class("vh").text("check, s \\ dismiss, s");
                        });
                        for dismiss in &grid.dismisses {
                            m.tag("th").with("scope", "col").text(in_seconds(*dismiss));
                        }
                    });
                });
                m.tag("tbody").inside(|m| {
                    for (at, check) in grid.checks.iter().enumerate() {
                        m.tag("tr").inside(|m| {
                            m.tag("th").with("scope", "row").text(in_seconds(*check));
                            for dismiss in 0..grid.dismisses.len() {
                                self.cell(m, grid.row(at, dismiss));
                            }
                        });
                    }
                });
            });
        });
    }

    fn cell(&self, m: &mut Markup, row: &Row) {
        let value = (self.column.value)(row);
        let mut class = value.map_or_else(|| "hx".to_owned(), |value| format!("h{}", self.shading.shade(value)));
        let [now, offered] = self.part(row);
        for (is, name) in
            [(now, " now"), (offered, " offered"), (row.meets && !self.report.plan.wants.is_empty(), " k")]
        {
            class.push_str(if is { name } else { "" });
        }
        m.tag("td").class(class).inside(|m| {
            m.text(self.short(value));
            if now {
                m.tag("span").class("vh").text(" (now)");
            }
            if offered {
                m.tag("span").class("vh").text(if row.meets { " (recommended)" } else { " (nearest)" });
            }
        });
    }

    /// A grid too fine for numbers, as a picture: cells of one shade are one path.
    fn picture(&self, m: &mut Markup, number: usize) {
        let grid = self.grid;
        let (columns, rows) = (grid.dismisses.len(), grid.checks.len());
        m.tag("figcaption").inside(|m| self.heading(m));
        let mut paths = vec![String::new(); SHADES];
        for dismiss in 0..columns {
            // Down a column, for there values change the least.
            let shade =
                |check: usize| (self.column.value)(grid.row(check, dismiss)).map(|value| self.shading.shade(value));
            let mut from = 0;
            for check in 1..=rows {
                if check < rows && shade(check) == shade(from) {
                    continue;
                }
                if let Some(shade) = shade(from) {
                    let _ = write!(paths[shade], "M{dismiss} {from}h1V{check}h-1z");
                }
                from = check;
            }
        }
        let values = || grid.rows.iter().filter_map(|row| (self.column.value)(row));
        let text = if values().next().is_none() {
            "It is undefined everywhere.".to_owned()
        } else {
            let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            let show = |value| self.column.shape.full(Some(value));
            format!("From {} to {}. The JSON has every value.", show(least), show(most))
        };
        let id = format!("map-{}-{number}", grid.mode.name());
        let title = format!("{}, mode {}, {rows} checks by {columns} dismissals", self.name, grid.mode.name());
        m.tag("div").class("plot fine").inside(|m| {
            picture(m, "plotted", FINE_HEIGHT, (&id, &title, &text), |m| {
                stretched(m, (columns as u64, rows as u64), |m| {
                    for (shade, path) in paths.into_iter().enumerate().filter(|(_, path)| !path.is_empty()) {
                        m.tag("path").class(format_args!("f{shade}")).with("d", path).alone();
                    }
                });
                self.ticks(m);
                self.marks(m);
            });
        });
        m.tag("p").class("note").text(text);
    }

    fn ticks(&self, m: &mut Markup) {
        let grid = self.grid;
        for (at, check) in some(&grid.checks) {
            let y = Percent(centre(at, grid.checks.len()));
            let text =
                m.tag("text").class("tick").with("x", "-6").with("y", y).with("dy", "4").with("text-anchor", "end");
            text.text(in_seconds(check));
        }
        for (at, dismiss) in some(&grid.dismisses) {
            let x = Percent(centre(at, grid.dismisses.len()));
            let text =
                m.tag("text").class("tick").with("x", x).with("y", FINE_HEIGHT + 16).with("text-anchor", "middle");
            text.text(in_seconds(dismiss));
        }
    }

    fn marks(&self, m: &mut Markup) {
        let grid = self.grid;
        for (number, row) in grid.rows.iter().enumerate() {
            let [now, offered] = self.part(row);
            let (check, dismiss) = (number / grid.dismisses.len(), number % grid.dismisses.len());
            let place = (centre(dismiss, grid.dismisses.len()), centre(check, grid.checks.len()));
            if now {
                spot(m, place, |m| {
                    let rect = m.tag("rect").class("ring now").with("x", "-7").with("y", "-7");
                    rect.with("width", "14").with("height", "14").alone();
                });
            }
            if offered {
                spot(m, place, |m| m.tag("path").class("notch").with("d", "M-7-7H7V7z").alone());
            }
        }
    }
}

/// The middle of a cell, in hundredths of the map.
fn centre(at: usize, of: usize) -> f64 {
    100.0 * (at as f64 + 0.5) / of as f64
}

/// A few values, evenly spread, with their places.
fn some(values: &[u64]) -> impl Iterator<Item = (usize, u64)> {
    let every = values.len().div_ceil(TICKS_MAX).max(1);
    values.iter().copied().enumerate().step_by(every)
}

/// Milliseconds as seconds, as short as can be.
fn in_seconds(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const FINE_HEIGHT: u32 = 320;
const TICKS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_the_worst_to_the_best() {
        let rising = Shading { scale: Scale::Rising, least: 0.2, most: 1.0 };
        assert_eq!([0.2, 0.6, 1.0].map(|value| rising.shade(value)), [0, 3, 6]);
        let falling = Shading { scale: Scale::Falling, least: 0.5, most: 20.0 };
        assert_eq!([0.5, 5.0, 20.0].map(|value| falling.shade(value)), [6, 3, 0]);
        let alike = Shading { scale: Scale::Falling, least: 3.0, most: 3.0 };
        assert_eq!(alike.shade(3.0), 3);
    }

    #[test]
    fn seconds_are_short() {
        assert_eq!([500, 1_000, 1_250, 60_000, 1].map(in_seconds), ["0.5", "1", "1.25", "60", "0.001"]);
    }
}
