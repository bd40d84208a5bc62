//! The four figures that matter, before and after, each on a scale of its own.

use maud::{Markup, html};

use super::column::{Column, FLICKER, LINGERS, RECALL, REQUESTS};
use super::figure::{Shape, UNDEFINED, limit, said};
use super::plot::{Axis, Percent, picture};
use crate::tune::Report;
use crate::tune::measure::Measure;
use crate::tune::plan::{Side, Want};
use crate::tune::row::Row;

/// What each figure is called here, and what that means.
const FIGURES: [(&str, &str, Column); 4] = [
    ("Icon on while typing", "share of typing time", RECALL),
    ("Flicker", "times off and on again a message", FLICKER),
    ("Icon lingers, p95", "from an abandoned draft to icon off", LINGERS),
    ("Requests", "for each minute of typing", REQUESTS),
];
/// The heights in a figure's scale, in pixels: of all of it, of its top, of the axis.
const HEIGHT: u32 = 68;
const TOP: u32 = 14;
const BASE: u32 = 50;

/// The figures of what is in force, and of the setting compared with it, with the word for what that is.
pub(super) fn figures(report: &Report, then: Option<(&Row, &str)>) -> Markup {
    let now = &report.current;
    let rows: Vec<(&Row, &str, &str)> =
        [(now, "now", "now")].into_iter().chain(then.map(|(row, word)| (row, "offered", word))).collect();
    let has_interval = |(.., column): &(&str, &str, Column)| rows.iter().any(|(row, ..)| column.ci(row).is_some());
    html! {
        div.figures role="group" aria-label="The four figures" {
            @for (number, (title, what, column)) in FIGURES.into_iter().enumerate() {
                section.figure {
                    h2 { (title) }
                    p.change {
                        span.vh { "now " }
                        @if let Some((then, word)) = then {
                            span.was { (column.full(now)) }
                            span.arrow aria-hidden="true" { "→" }
                            span.vh { ", " (word) " " }
                            b { (column.full(then)) }
                        } @else {
                            b { (column.full(now)) }
                        }
                    }
                    p.what { (what) }
                    @if now.get(column.measure).is_none() {
                        p.why { "Undefined: " (column.absent) "." }
                    } @else {
                        (scale(report, number, (title, &column), &rows))
                        dl {
                            @for (row, _, word) in &rows {
                                dt { (word) }
                                dd {
                                    @if let Some(ci) = column.ci(row) {
                                        (column.shape.bare_interval(ci)) (column.shape.unit())
                                    } @else { (UNDEFINED) }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.note {
            @if FIGURES.iter().any(has_interval) {
                "Bars and ranges are 95 % confidence intervals over users."
            } @else if report.study.users < 2 {
                (UNDEFINED) ": one user says nothing of others, so there are no confidence intervals."
            }
            @let spread = now.users;
            @if spread.p10 != spread.p90 {
                " Of ten users one has the icon on for less than " (Shape::Share(0).full(spread.p10))
                " of the typing now, and one for more than " (Shape::Share(0).full(spread.p90)) "."
            }
        }
    }
}

/// The figures of `rows` with their intervals on one scale, and the limit.
fn scale(report: &Report, number: usize, (title, column): (&str, &Column), rows: &[(&Row, &str, &str)]) -> Markup {
    let measure = column.measure;
    let want = report.plan.wants.iter().find(|want| want.measure == measure);
    let ends = rows.iter().filter_map(|(row, ..)| column.ci(row)).flatten();
    let values = rows.iter().filter_map(|(row, ..)| row.get(measure)).chain(ends);
    let most = values.chain(want.map(|want| want.bound)).fold(0.0, f64::max);
    let axis = Axis::up_to(if measure == Measure::Recall { 1.0 } else { most });
    let text = want.map_or_else(|| "There is no limit on it.".into(), |want| format!("The limit: {}.", limit(want)));
    let title = format!("{title}, with intervals, from 0 to {}", column.shape.full(Some(axis.end())));
    let inner = html! {
        line.base x2="100%" y1=(BASE) y2=(BASE) {}
        @for (line, (row, class, _)) in rows.iter().enumerate() {
            @let y = TOP + 12 + 14 * line as u32;
            @if let Some([from, to]) = column.ci(row).map(|ci| ci.map(|end| axis.place(end))) {
                rect.interval.(class) x=(Percent(from)) width=(Percent(to - from)) y=(y - 4) height="8" {}
            }
            @if let Some(value) = row.get(measure) {
                circle.dot.(class) cx=(Percent(axis.place(value))) cy=(y) r="4.5" {}
            }
        }
        @if let Some(want) = want { (mark(want, axis)) }
        text.tick x="0" y=(BASE + 15) { "0" }
        text.tick.end x="100%" y=(BASE + 15) { (said(measure, axis.end())) }
    };
    picture("ranges", HEIGHT, (&format!("figure-{number}"), &title, &text), &inner)
}

fn mark(want: &Want, axis: Axis) -> Markup {
    let (place, sign) = (axis.place(want.bound), if want.side == Side::AtLeast { "≥" } else { "≤" });
    let anchor = if place > 50.0 { "end" } else { "start" };
    html! {
        line.limit x1=(Percent(place)) x2=(Percent(place)) y1=(TOP) y2=(BASE) {}
        text.tick.(anchor) x=(Percent(place)) y=(TOP - 4) { "limit " (sign) "\u{a0}" (said(want.measure, want.bound)) }
    }
}
