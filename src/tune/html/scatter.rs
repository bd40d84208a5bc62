//! What requests buy: each setting by its requests and by what it misses.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::cast::Part;
use super::column::{LINGERS, RECALL, REQUESTS};
use super::figure::{Shape, counted, limit};
use super::plot::{Axis, Percent, picture, shape};
use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::measure::Measure;
use crate::tune::plan::Side;
use crate::tune::row::Row;

const HEIGHT: u32 = 440;
/// The shades of how long the icon lingers.
const SHADES: usize = 5;
/// How much further than the settings with a name the chart reaches: what is beyond decides nothing.
const BEYOND: f64 = 1.25;
/// Points are drawn once for each so small a part of the chart, which a larger mark covers anyway.
const CELLS: f64 = 400.0;

/// The chart's axes: requests a minute to the right, hundredths missed upwards, and the shades.
struct Chart {
    x: Axis,
    y: Axis,
    lingers: Axis,
}

impl Chart {
    /// Where `row` lies, in hundredths from the left and from the top; none if it is not in the chart.
    fn place(&self, row: &Row) -> Option<(f64, f64)> {
        let (x, y) = value(row)?;
        (x <= self.x.end() && y <= self.y.end()).then(|| (self.x.place(x), 100.0 - self.y.place(y)))
    }

    fn shade(&self, row: &Row) -> String {
        row.get(LINGERS.measure).map_or_else(
            || "sx".to_owned(),
            |off| format!("s{}", (self.lingers.place(off) / 100.01 * SHADES as f64) as usize),
        )
    }
}

fn value(row: &Row) -> Option<(f64, f64)> {
    Some((row.req_per_min.value?, 100.0 * row.get(Measure::Missed)?))
}

/// The section's content.
pub(super) fn section(report: &Report, cast: &[Part<'_>]) -> Markup {
    let parts: Vec<(&Part<'_>, &Row)> = cast.iter().filter_map(|part| Some((part, part.row?))).collect();
    let named: Vec<(f64, f64)> = parts.iter().filter_map(|(_, row)| value(row)).collect();
    if named.is_empty() {
        return html! { p.lead { "There is nothing to draw: both measures are undefined, for " (RECALL.absent) "." } };
    }
    let most = |of: fn(&(f64, f64)) -> f64| Axis::up_to(BEYOND * named.iter().map(of).fold(0.0, f64::max));
    let lingers = report.rows.iter().filter_map(|row| row.get(LINGERS.measure)).fold(0.0, f64::max);
    let chart = Chart { x: most(|(x, _)| *x), y: most(|(_, y)| *y), lingers: Axis::up_to(lingers) };
    let beyond = report.rows.iter().filter(|row| chart.place(row).is_none()).count();
    let told = |(part, row): &(&Part<'_>, &Row)| {
        let missed = Shape::Share(1).full(row.get(Measure::Missed));
        format!("{}: {} requests a minute, {missed} missed", part.setting, REQUESTS.full(row))
    };
    let text = parts.iter().map(|part| format!("{} is {}.", part.0.name, told(part))).collect::<Vec<_>>().join(" ");
    html! {
        p.lead {
            "Each mark is a setting. Further left costs fewer requests, further down misses less of the typing: the best \
             are at the bottom left. A ringed one is unbeaten: no other setting is better in requests, missed typing and \
             lingering together."
        }
        figure {
            (key(report, &chart))
            div.plot {
                p.axis-name aria-hidden="true" { "↑ typing missed, %" }
                (picture("plotted", HEIGHT, ("scatter", "Requests a minute against typing missed", &text),
                    &draw(report, &chart, &parts)))
                p.axis-name.across aria-hidden="true" { "requests a minute of typing →" }
            }
            ol.parts aria-hidden="true" {
                @for (number, part) in parts.iter().enumerate() {
                    li {
                        svg width="20" height="20" { (badge(number, part.0, "10", "10")) }
                        span { b { (part.0.name) } " " (told(part)) }
                    }
                }
            }
            @if beyond > 0 {
                figcaption.note { (counted(beyond as u64, "setting")) " beyond the chart or undefined: not drawn." }
            }
        }
    }
}

fn key(report: &Report, chart: &Chart) -> Markup {
    let symbol = |class: &str, href: &str| {
        html! { svg width="16" height="16" aria-hidden="true" { (shape(class, href, 8, 8)) } }
    };
    let seconds = |part: usize| (chart.lingers.end() / 10.0 * part as f64 / SHADES as f64).round() / 100.0;
    html! {
        ul.key {
            @for mode in [Mode::Idle, Mode::AfterShown] {
                @if report.rows.iter().any(|row| row.setting.mode == mode) {
                    li { (symbol("s2", symbol_of(mode))) span { (mode.name()) } }
                }
            }
            li { (symbol("ring", "#ring")) span { "unbeaten" } }
            @if report.rows.iter().all(|row| row.get(LINGERS.measure).is_none()) {
                li { "icon lingers –: " (LINGERS.absent) }
            } @else {
                li.ramp {
                    span { "icon lingers, s:" }
                    @for part in 0..SHADES {
                        span.step { (symbol(&format!("s{part}"), "#disc")) (seconds(part)) "–" (seconds(part + 1)) }
                    }
                }
            }
        }
    }
}

fn symbol_of(mode: Mode) -> &'static str {
    if mode == Mode::Idle { "#disc" } else { "#diamond" }
}

fn draw(report: &Report, chart: &Chart, parts: &[(&Part<'_>, &Row)]) -> Markup {
    // The unbeaten ones come last, and lie on top.
    let mut rows: Vec<&Row> = report.rows.iter().collect();
    rows.sort_by_key(|row| row.pareto);
    let mut drawn: BTreeSet<(u32, u32, Mode, bool)> = BTreeSet::new();
    let cell = |place: f64| (place / 100.0 * CELLS) as u32;
    let points = rows.into_iter().filter_map(|row| Some((row, chart.place(row)?)));
    let points = points.filter(|(row, (x, y))| drawn.insert((cell(*x), cell(*y), row.setting.mode, row.pareto)));
    html! {
        @for (place, text) in chart.y.ticks().map(|(place, text)| (Percent(100.0 - place), text)) {
            line.grid x2="100%" y1=(place) y2=(place) {}
            text.tick.end x="-8" y=(place) dy="4" { (text) }
        }
        @for (place, text) in chart.x.ticks().map(|(place, text)| (Percent(place), text)) {
            line.grid x1=(place) x2=(place) y2="100%" {}
            text.tick.middle x=(place) y=(HEIGHT + 18) { (text) }
        }
        @for (row, (x, y)) in points {
            @if row.pareto { (shape("ring", "#ring", Percent(x), Percent(y))) }
            use class=(chart.shade(row)) href=(symbol_of(row.setting.mode)) x=(Percent(x)) y=(Percent(y)) {
                title {
                    (row.setting) ": " (REQUESTS.full(row)) " requests a minute, icon on " (RECALL.full(row))
                    ", lingers " (LINGERS.full(row))
                }
            }
        }
        @for want in report.plan.wants.iter().filter(|want| want.measure == Measure::Recall && want.side == Side::AtLeast) {
            @let y = 100.0 - chart.y.place(100.0 - 100.0 * want.bound);
            @if y > 2.0 {
                line.limit x2="100%" y1=(Percent(y)) y2=(Percent(y)) {}
                text.label.soft.end x="100%" y=(Percent(y)) dy="-5" { "limit: " (limit(want)) }
            }
        }
        @for (number, (part, row)) in parts.iter().enumerate().rev() {
            @if let Some((x, y)) = chart.place(row) { (badge(number, part, &Percent(x).to_string(), &Percent(y).to_string())) }
        }
    }
}

/// The number of a setting with a name.
fn badge(number: usize, part: &Part<'_>, x: &str, y: &str) -> Markup {
    html! {
        circle.badge.(part.class) cx=(x) cy=(y) r="9" {}
        text.badge-number.middle.(part.class) x=(x) y=(y) dy="4" { (number + 1) }
    }
}
