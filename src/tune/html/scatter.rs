//! What requests buy: each setting by its requests and by what it misses.

use std::collections::BTreeSet;

use super::axis::Axis;
use super::cast::Part;
use super::column::{OFF_P95, RECALL, REQUESTS};
use super::figure::counted;
use super::label::{Label, write};
use super::markup::{Markup, Percent};
use super::plot::{Plot, Point, straight};
use super::words::limit;
use crate::engine::policy::Mode;
use crate::tune::Report;
use crate::tune::measure::Measure;
use crate::tune::plan::Side;
use crate::tune::row::Row;

/// The shades of off-latency.
const SHADES: usize = 5;
const HEIGHT: u32 = 460;
/// Points are drawn once for each so small a part of the chart, which a larger mark covers anyway.
const CELLS: f64 = 400.0;

/// A setting with both measures.
fn value(row: &Row) -> Option<(f64, f64)> {
    Some((row.req_per_min.value?, 100.0 * row.get(Measure::Missed)?))
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    let parts: Vec<(&Part<'_>, &Row)> = cast.iter().filter_map(|part| Some((part, part.row?))).collect();
    let rows = || report.rows.iter().chain(parts.iter().map(|(_, row)| *row));
    let missing = report.rows.iter().filter(|row| value(row).is_none()).count();
    if missing == report.rows.len() {
        let why = RECALL.absent.why();
        m.tag("p")
            .class("lead")
            .text(format_args!("There is nothing to draw: both measures are undefined, for {why}."));
        return;
    }
    m.tag("p").class("lead").text(
        "Each mark is a setting. Further left costs fewer requests, further down misses less of the composing: the best \
         are at the bottom left. A ringed one is unbeaten: no other setting is better in requests, missed time and \
         off-latency together. Along both axes the same distance is the same factor.",
    );
    let (x, y) = (axis(rows().filter_map(value).map(|(x, _)| x)), axis(rows().filter_map(value).map(|(_, y)| y)));
    let offs = Axis::sums(rows().filter_map(|row| (OFF_P95.value)(row)).fold(0.0, f64::max), SHADES as f64);
    m.tag("figure").inside(|m| {
        key(m, report, &offs);
        let description = describe(&parts);
        let plot = Plot {
            id: "scatter",
            title: "Requests a minute against missed composing",
            description: &description,
            height: HEIGHT,
            x: &x,
            x_name: "requests a minute of composing →",
            y: &y,
            y_name: "↑ missed, % of composing time",
        };
        plot.draw(m, |m| draw(m, report, &plot, &offs, &parts));
        if missing > 0 {
            let settings = counted(missing as u64, "setting");
            let why = RECALL.absent.why();
            m.tag("figcaption").text(format_args!("{settings} could not be drawn: {why}."));
        }
    });
}

fn axis(values: impl Iterator<Item = f64>) -> Axis {
    let (least, most) = values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)));
    Axis::factors(least, most)
}

fn describe(parts: &[(&Part<'_>, &Row)]) -> String {
    let told = parts.iter().map(|(part, row)| {
        let missed = super::figure::Shape::Share(1).full(row.get(Measure::Missed));
        format!(
            "{} ({}): {} requests a minute, {missed} missed.",
            part.name(),
            part.setting,
            REQUESTS.shape.bare(row.req_per_min.value)
        )
    });
    told.collect::<Vec<_>>().join(" ")
}

fn shape(row: &Row) -> &'static str {
    if row.setting.mode == Mode::Idle { "#disc" } else { "#diamond" }
}

/// The shade of an off-latency; the last one is the longest.
fn shade(row: &Row, offs: &Axis) -> String {
    (OFF_P95.value)(row).map_or_else(
        || "sx".to_owned(),
        |off| format!("s{}", ((offs.place(off) / 100.0 * SHADES as f64).ceil().max(1.0) as usize - 1).min(SHADES - 1)),
    )
}

fn key(m: &mut Markup, report: &Report, offs: &Axis) {
    let modes = [(Mode::Idle, "#disc"), (Mode::AfterShown, "#diamond")];
    m.tag("ul").class("key").inside(|m| {
        let symbol = |m: &mut Markup, shape: &str, class: &str| {
            m.tag("svg").with("width", "16").with("height", "16").with("aria-hidden", "true").inside(|m| {
                m.tag("use").class(class).with("href", shape).with("x", "8").with("y", "8").alone();
            });
        };
        for (mode, shape) in modes {
            if report.rows.iter().any(|row| row.setting.mode == mode) {
                m.tag("li").inside(|m| {
                    symbol(m, shape, "s2");
                    m.tag("span").text(mode.name());
                });
            }
        }
        m.tag("li").inside(|m| {
            symbol(m, "#ring", "ring");
            m.tag("span").text("unbeaten");
        });
        if report.rows.iter().all(|row| (OFF_P95.value)(row).is_none()) {
            m.tag("li").text(format_args!("off-latency – : {}", OFF_P95.absent.why()));
            return;
        }
        m.tag("li").class("ramp").inside(|m| {
            m.tag("span").text("off-latency p95");
            let seconds = |part: usize| {
                let bound = offs.to() / 1_000.0 * part as f64 / SHADES as f64;
                let text = format!("{bound:.1}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            };
            for number in 0..SHADES {
                m.tag("span").class("step").inside(|m| {
                    symbol(m, "#disc", &format!("s{number}"));
                    m.text(format_args!("{}–{}", seconds(number), seconds(number + 1)));
                });
            }
            m.tag("span").text("s");
        });
    });
}

fn draw(m: &mut Markup, report: &Report, plot: &Plot<'_>, offs: &Axis, parts: &[(&Part<'_>, &Row)]) {
    let limits = limits(m, report, plot);
    let labelled = |row: &Row| parts.iter().any(|(_, part)| part.setting == row.setting);
    let mut drawn: BTreeSet<(u32, u32, Mode)> = BTreeSet::new();
    // Labels keep clear of the limits and of what is written along them.
    let mut marks: Vec<Point> = limits
        .iter()
        .flat_map(|y| (0..=50).flat_map(move |step| [(2.0 * f64::from(step), *y), (2.0 * f64::from(step), y - 2.5)]))
        .collect();
    // The unbeaten ones and those with a name come last, and lie on top.
    for (front, named) in [(false, false), (true, false)] {
        for row in report.rows.iter().filter(|row| row.pareto == front && labelled(row) == named) {
            let Some((requests, missed)) = value(row) else { continue };
            let at = plot.point(requests, missed);
            let cell = |place: f64| (place / 100.0 * CELLS) as u32;
            if !drawn.insert((cell(at.0), cell(at.1), row.setting.mode)) && !front {
                continue;
            }
            marks.push(at);
            point(m, row, at, offs);
        }
    }
    let mut labels = Vec::new();
    for (part, row) in parts {
        let Some((requests, missed)) = value(row) else { continue };
        let at = plot.point(requests, missed);
        point(m, row, at, offs);
        m.tag("use")
            .class(format_args!("halo {}", part.class()))
            .with("href", "#halo")
            .with("x", Percent(at.0))
            .with("y", Percent(at.1))
            .alone();
        marks.push(at);
        labels.push(Label { at, class: part.class(), lines: vec![part.label().to_owned(), part.setting.to_string()] });
    }
    write(m, &labels, &marks, f64::from(HEIGHT));
}

fn point(m: &mut Markup, row: &Row, (x, y): Point, offs: &Axis) {
    let (x, y) = (Percent(x), Percent(y));
    if row.pareto {
        m.tag("use").class("ring").with("href", "#ring").with("x", x).with("y", y).alone();
    }
    let mark = m.tag("use").class(shade(row, offs)).with("href", shape(row)).with("x", x).with("y", y);
    mark.inside(|m| {
        m.tag("title").text(format_args!(
            "{}: {} requests a minute, recall {}, off p95 {}",
            row.setting,
            REQUESTS.shape.bare(row.req_per_min.value),
            RECALL.shape.full(row.recall.value),
            OFF_P95.shape.full((OFF_P95.value)(row)),
        ));
    });
}

/// Draws the limits on what is missed; where they lie, from the top.
fn limits(m: &mut Markup, report: &Report, plot: &Plot<'_>) -> Vec<f64> {
    let mut drawn = Vec::new();
    for want in &report.plan.wants {
        let missed = match (want.measure, want.side) {
            (Measure::Recall, Side::AtLeast) => 1.0 - want.bound,
            (Measure::Missed, Side::AtMost) => want.bound,
            _ => continue,
        };
        let (_, y) = plot.point(0.0, 100.0 * missed);
        if (2.0..98.0).contains(&y) {
            drawn.push(y);
            straight(m, "limit", (0.0, y), (100.0, y));
            let text = m.tag("text").class("label soft").with("x", "100%").with("y", Percent(y)).with("dy", "-5");
            text.with("text-anchor", "end").text(format_args!("limit: {}", limit(want)));
        }
    }
    drawn
}
