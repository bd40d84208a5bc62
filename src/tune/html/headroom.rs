//! Headroom: how many people may compose at a time before the org's limit on requests is met.

use super::axis::Axis;
use super::cast::{Part, Role};
use super::column::REQUESTS;
use super::figure::{Shape, counted};
use super::label::{Label, write};
use super::markup::{Markup, Percent};
use super::plot::{Plot, Point, lines, straight};
use crate::tune::Report;
use crate::tune::row::Row;
use crate::tune::table::thousands;

const HEIGHT: u32 = 340;

/// A setting with what a composer costs and how many there is room for.
struct Slope<'a> {
    part: &'a Part<'a>,
    row: &'a Row,
    requests: f64,
    room: f64,
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    let slopes: Vec<Slope<'_>> = cast
        .iter()
        .filter(|part| part.role != Role::Telling)
        .filter_map(|part| {
            let row = part.row?;
            let requests = row.req_per_min.value.filter(|requests| *requests > 0.0)?;
            Some(Slope { part, row, requests, room: row.safe_composers? as f64 })
        })
        .collect();
    let limit = report.plan.limit;
    m.tag("p").class("lead").text(format_args!(
        "An org takes {} requests a second, of all its connectors together. Each person composing adds a few a minute; \
         where a line meets the dotted one, there is room for no more.",
        thousands(limit as u64)
    ));
    if slopes.is_empty() {
        m.tag("p").text(format_args!(
            "Nothing can be drawn: requests a minute are undefined, for {}.",
            REQUESTS.absent.why()
        ));
        return;
    }
    if slopes.iter().all(|slope| slope.room < 1.0) {
        m.tag("p").text(
            "That is too few for chance: even one person composing could exceed it in more than one second of a thousand.",
        );
        return;
    }
    m.tag("figure").inside(|m| {
        let most = slopes.iter().map(|slope| slope.room).fold(1.0, f64::max);
        let asked =
            report.plan.composers.map(|composers| composers as f64).filter(|composers| *composers <= ASKED_MAX * most);
        let x = Axis::sums((1.12 * most).max(1.05 * asked.unwrap_or_default()), 5.0);
        let y = Axis::sums(limit, 5.0);
        let description = describe(report, &slopes);
        let plot = Plot {
            id: "headroom",
            title: "Requests a second against people composing at the same time",
            description: &description,
            height: HEIGHT,
            x: &x,
            x_name: "people composing at the same time →",
            y: &y,
            y_name: "↑ requests a second",
        };
        plot.draw(m, |m| draw(m, report, &plot, &slopes, asked));
        m.tag("figcaption").inside(|m| caption(m, report, &slopes));
    });
}

fn describe(report: &Report, slopes: &[Slope<'_>]) -> String {
    let told = slopes.iter().map(|slope| {
        format!("{} ({}): room for {}.", slope.part.name(), slope.part.setting, counted(slope.room as u64, "composer"))
    });
    format!(
        "The limit is {} requests a second. {}",
        thousands(report.plan.limit as u64),
        told.collect::<Vec<_>>().join(" ")
    )
}

fn draw(m: &mut Markup, report: &Report, plot: &Plot<'_>, slopes: &[Slope<'_>], asked: Option<f64>) {
    let limit = report.plan.limit;
    let safe = safe(limit);
    let (_, top) = plot.point(0.0, limit);
    let (_, dotted) = plot.point(0.0, safe);
    straight(m, "limit", (0.0, top), (100.0, top));
    let text = m.tag("text").class("tick").with("x", "100%").with("dy", "-8").with("text-anchor", "end");
    text.with("y", Percent(top)).text(format_args!("the org’s limit: {}", thousands(limit as u64)));
    straight(m, "safe", (0.0, dotted), (100.0, dotted));
    // Labels keep clear of all lines.
    let mut marks: Vec<Point> = (0..=SAMPLES)
        .map(|step| 100.0 * f64::from(step) / f64::from(SAMPLES))
        .flat_map(|x| [(x, top), (x, dotted)])
        .collect();
    let mut labels = Vec::new();
    if let Some(asked) = asked {
        let (x, _) = plot.point(asked, 0.0);
        straight(m, "asked", (x, 0.0), (x, 100.0));
        labels.push(Label {
            at: (x, if x < 50.0 { 20.0 } else { 92.0 }),
            class: "plain",
            lines: vec![format!("you expect {}", thousands(asked as u64))],
        });
    }
    for slope in slopes {
        // A line ends where it leaves the chart.
        let end = plot.x.to().min(60.0 * plot.y.to() / slope.requests);
        let stroke = [plot.point(0.0, 0.0), plot.point(end, end * slope.requests / 60.0)];
        lines(m, &format!("slope {}", slope.part.class()), &[stroke.to_vec()]);
        for step in 1..=SAMPLES {
            let part = f64::from(step) / f64::from(SAMPLES);
            marks.push((
                stroke[0].0 + part * (stroke[1].0 - stroke[0].0),
                stroke[0].1 + part * (stroke[1].1 - stroke[0].1),
            ));
        }
    }
    for slope in slopes {
        let at = plot.point(slope.room, safe);
        let dot = m.tag("circle").class(format_args!("dot {}", slope.part.class())).with("cx", Percent(at.0));
        dot.with("cy", Percent(at.1)).with("r", "5").alone();
        let lines =
            vec![format!("{}: {}", slope.part.name(), thousands(slope.room as u64)), slope.part.setting.to_string()];
        labels.push(Label { at, class: slope.part.class(), lines });
    }
    write(m, &labels, &marks, f64::from(HEIGHT));
}

/// What is left of the limit for arrivals that come as they please.
fn safe(limit: f64) -> f64 {
    (limit - 3.09 * limit.sqrt()).max(0.0)
}

fn caption(m: &mut Markup, report: &Report, slopes: &[Slope<'_>]) {
    m.text(format_args!(
        "The dotted line is at {} requests a second on average: requests come as they please, and a mean of that size \
         exceeds the limit in one second of a thousand.",
        thousands(safe(report.plan.limit) as u64)
    ));
    if let Some(duty) = report.duty.filter(|duty| *duty > 0.0) {
        let told: Vec<String> = slopes
            .iter()
            .filter_map(|slope| Some(format!("{} ({})", thousands(slope.row.safe_conversations?), slope.part.name())))
            .collect();
        m.text(format_args!(
            " In these traces users compose during {} of a chat’s life; so there is room for chats: {}.",
            Shape::Share(0).full(Some(duty)),
            told.join(", ")
        ));
    }
    let Some(composers) = report.plan.composers else { return };
    for slope in slopes {
        let sent = composers as f64 * slope.requests / 60.0;
        m.text(format_args!(
            " {} composers send {} requests a second under {} ({}), {}.",
            thousands(composers),
            thousands(sent.round() as u64),
            slope.part.setting,
            slope.part.name(),
            if slope.room >= composers as f64 { "which fits" } else { "which is too much" }
        ));
    }
}

/// An expectation so many times beyond the room of all settings would squeeze everything else into a corner.
const ASKED_MAX: f64 = 4.0;
/// The places along a line that labels keep clear of.
const SAMPLES: u32 = 60;
