//! The four figures that matter, before and after, each on a scale of its own.

use super::axis::Axis;
use super::column::{Column, FLICKER, OFF_P95, RECALL, REQUESTS, no_interval};
use super::figure::{UNDEFINED, said};
use super::markup::{Markup, Percent};
use super::plot::picture;
use super::words::limit;
use crate::tune::Report;
use crate::tune::measure::Measure;
use crate::tune::plan::Side;
use crate::tune::row::Row;

/// The four figures that matter: what each is called here, what that means, its measure.
pub(super) const FIGURES: [(&str, &str, Measure, Column); 4] = [
    ("Recall", "of composing time with the icon on", Measure::Recall, RECALL),
    ("Flicker", "times off and on again a message", Measure::Flicker, FLICKER),
    ("Off-latency, p95", "from an abandoned draft to icon off", Measure::OffP95, OFF_P95),
    ("Requests", "for each minute of composing", Measure::Requests, REQUESTS),
];

/// Draws them: those of what is in force, and of `then`, if it is compared with that, with the word for what it is.
pub(super) fn draw(m: &mut Markup, report: &Report, then: Option<(&Row, &str)>) {
    let now = &report.current;
    m.tag("div").class("figures").with("role", "group").with("aria-label", "The four figures").inside(|m| {
        for (number, (title, what, measure, column)) in FIGURES.into_iter().enumerate() {
            m.tag("section").class("figure").inside(|m| {
                m.tag("h2").text(title);
                let was = now.get(measure);
                m.tag("p").class("change").inside(|m| {
                    m.tag("span").class("vh").text("now ");
                    match then {
                        Some((then, word)) => {
                            m.tag("span").class("was").text(column.shape.full(was));
                            m.tag("span").class("arrow").with("aria-hidden", "true").text("→");
                            m.tag("span").class("vh").text(format_args!(", {word} "));
                            m.tag("b").text(column.shape.full(then.get(measure)));
                        }
                        None => m.tag("b").text(column.shape.full(was)),
                    }
                });
                m.tag("p").class("what").text(what);
                if was.is_none() {
                    m.tag("p").class("why").text(format_args!("Undefined: {}.", column.absent.why()));
                    return;
                }
                ranges(m, report, (number, title, measure, &column), then);
                intervals(m, report, &column, then);
            });
        }
    });
    let rows = || std::iter::once(now).chain(then.map(|(row, _)| row));
    let columns = || FIGURES.iter().map(|(.., column)| column);
    if columns().any(|column| rows().any(|row| column.ci(row).is_some())) {
        m.tag("p").class("note").text(
            "Bars and ranges are 95 % confidence intervals: with other users of the same kind, 95 of 100 times the \
             figure would be in there.",
        );
    }
    if columns().any(|column| rows().any(|row| column.lacks_interval(row))) {
        m.tag("p").class("note").text(format_args!("{UNDEFINED}: {}.", no_interval(report.study.users)));
    }
}

fn intervals(m: &mut Markup, report: &Report, column: &Column, then: Option<(&Row, &str)>) {
    let written = |row: &Row| {
        column.ci(row).map_or_else(
            || UNDEFINED.to_owned(),
            |ci| format!("{}{}", column.shape.bare_interval(ci), column.shape.unit()),
        )
    };
    m.tag("dl").inside(|m| {
        m.tag("dt").text("now");
        m.tag("dd").text(written(&report.current));
        if let Some((then, word)) = then {
            m.tag("dt").text(word);
            m.tag("dd").text(written(then));
        }
    });
}

/// Both figures with their intervals on one scale, and the limit.
fn ranges(
    m: &mut Markup,
    report: &Report,
    (number, title, measure, column): (usize, &str, Measure, &Column),
    then: Option<(&Row, &str)>,
) {
    let rows = [Some((&report.current, "now")), then.map(|(row, _)| (row, "offered"))];
    let values = rows.iter().flatten().flat_map(|(row, _)| {
        let ends = column.ci(row).map_or([None; 2], |ci| ci.map(Some));
        [row.get(measure), ends[0], ends[1]]
    });
    let want = report.plan.wants.iter().find(|want| want.measure == measure);
    let most = values.flatten().chain(want.map(|want| want.bound)).fold(0.0, f64::max);
    let axis = if measure == Measure::Recall { Axis::sums(1.0, 5.0) } else { Axis::sums(most, 5.0) };
    let text =
        want.map_or_else(|| "There is no limit on it.".to_owned(), |want| format!("The limit: {}.", limit(want)));
    let title = format!("{title}, with intervals, from 0 to {}", column.shape.full(Some(axis.to())));
    picture(m, "ranges", RANGES_HEIGHT, (&format!("figure-{number}"), &title, &text), |m| {
        m.tag("line").class("base").with("x2", "100%").with("y1", RANGES_BASE).with("y2", RANGES_BASE).alone();
        for (line, (row, class)) in rows.iter().flatten().enumerate() {
            let y = RANGES_TOP + 12 + 14 * line as u32;
            if let Some([low, high]) = column.ci(row) {
                let (from, to) = (axis.place(low), axis.place(high));
                let bar = m.tag("rect").class(format_args!("interval {class}")).with("x", Percent(from));
                bar.with("width", Percent(to - from)).with("y", y - 4).with("height", "8").alone();
            }
            if let Some(value) = row.get(measure) {
                let dot = m.tag("circle").class(format_args!("dot {class}")).with("cx", Percent(axis.place(value)));
                dot.with("cy", y).with("r", "4.5").alone();
            }
        }
        if let Some(want) = want {
            let place = axis.place(want.bound);
            let x = Percent(place);
            m.tag("line")
                .class("limit")
                .with("x1", x)
                .with("x2", x)
                .with("y1", RANGES_TOP)
                .with("y2", RANGES_BASE)
                .alone();
            let anchor = if place > 70.0 {
                "end"
            } else if place < 30.0 {
                "start"
            } else {
                "middle"
            };
            let sign = if want.side == Side::AtLeast { "≥" } else { "≤" };
            let text = m.tag("text").class("tick").with("x", x).with("y", RANGES_TOP - 4).with("text-anchor", anchor);
            text.text(format_args!("limit {sign}\u{a0}{}", said(measure, want.bound)));
        }
        for (x, anchor, value) in [("0", "start", 0.0), ("100%", "end", axis.to())] {
            let text = m.tag("text").class("tick").with("x", x).with("y", RANGES_BASE + 15).with("text-anchor", anchor);
            if value == 0.0 { text.text("0") } else { text.text(said(measure, value)) }
        }
    });
}

/// The heights in a figure's scale, in pixels: of all of it, of the first line, of the axis.
const RANGES_HEIGHT: u32 = 68;
const RANGES_TOP: u32 = 14;
const RANGES_BASE: u32 = 50;
