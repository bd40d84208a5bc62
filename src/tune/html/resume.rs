//! What a silence means: how likely typing goes on after it, and after which it no longer pays to show the icon.

use super::axis::Axis;
use super::cast::{Part, Role};
use super::figure::{Shape, time};
use super::label::{Label, write};
use super::markup::{Markup, Percent};
use super::plot::{Plot, Point, lines, straight};
use crate::tune::{LAMBDAS, Report};

const HEIGHT: u32 = 320;

/// A break-even silence.
struct Even {
    lambda: u32,
    /// The likelihood that it is worth.
    worth: f64,
    millis: Option<u64>,
}

fn evens(report: &Report) -> Vec<Even> {
    let even = |lambda: u32| Even {
        lambda,
        worth: f64::from(lambda) / f64::from(lambda + 1),
        millis: report.silences.break_even(f64::from(lambda)),
    };
    LAMBDAS.into_iter().map(even).collect()
}

/// The curve for display, exact where it falls below what a break-even silence is worth.
fn curve(report: &Report, evens: &[Even]) -> Vec<(u64, Option<f64>)> {
    let mut curve = report.silences.curve(report.plan.truth.away);
    let last = curve.last().map_or(0, |(millis, _)| *millis);
    let falls = evens.iter().filter_map(|even| even.millis).filter(|millis| *millis <= last);
    for millis in falls.flat_map(|millis| [millis.saturating_sub(1), millis]) {
        curve.push((millis, report.silences.resume(millis)));
    }
    curve.sort_by_key(|(millis, _)| *millis);
    curve.dedup_by_key(|(millis, _)| *millis);
    curve
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    let evens = evens(report);
    let curve = curve(report, &evens);
    m.tag("p").class("lead").inside(|m| lead(m, report, cast));
    if curve.iter().all(|(_, p)| p.is_none()) {
        m.tag("p").text("There is no silence whose end is known: nothing can be drawn.");
        return;
    }
    m.tag("figure").inside(|m| {
        let away = curve.last().map_or(1_000, |(millis, _)| *millis).max(1_000) as f64 / 1_000.0;
        let (x, y) = (Axis::sums(away, 6.0), Axis::sums(100.0, 5.0));
        let description = describe(&evens);
        let plot = Plot {
            id: "resume",
            title: "How likely typing goes on after a silence",
            description: &description,
            height: HEIGHT,
            x: &x,
            x_name: "silence so far, s →",
            y: &y,
            y_name: "↑ users who go on, %",
        };
        plot.draw(m, |m| draw(m, &plot, &curve, &evens, cast));
        m.tag("figcaption").inside(|m| explain(m, &evens));
    });
}

fn lead(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    m.text("After each silence some users go on with the same message, and the others have left. ");
    for part in cast.iter().filter(|part| matches!(part.role, Role::Now | Role::Offered)) {
        let dismiss = part.setting.dismiss;
        if let Some(p) = report.silences.resume(dismiss) {
            let share = Shape::Share(0).full(Some(p));
            m.text("After ").strong(time(dismiss)).text(format_args!(" without a key (dismiss {}), ", part.name()));
            m.strong(share).text(" go on. ");
        }
    }
}

fn describe(evens: &[Even]) -> String {
    let told = evens.iter().map(|even| match even.millis {
        Some(millis) => format!("Lambda {}: {}.", even.lambda, Shape::Seconds(1).full(Some(millis as f64))),
        None => format!("Lambda {}: never.", even.lambda),
    });
    format!("A falling curve. Break-even silences: {}", told.collect::<Vec<_>>().join(" "))
}

fn explain(m: &mut Markup, evens: &[Even]) {
    m.text(
        "λ says how many missed seconds one falsely shown second is worth; at the break-even silence the likelihood that \
         the user goes on falls below λ / (1 + λ), and from there on a shown icon does more harm than good.",
    );
    let never: Vec<String> =
        evens.iter().filter(|even| even.millis.is_none()).map(|even| even.lambda.to_string()).collect();
    if !never.is_empty() {
        m.text(format_args!(" For λ {} the curve never falls that low.", super::figure::joined(&never)));
    }
}

fn draw(m: &mut Markup, plot: &Plot<'_>, curve: &[(u64, Option<f64>)], evens: &[Even], cast: &[Part<'_>]) {
    let point = |millis: u64, p: f64| plot.point(millis as f64 / 1_000.0, 100.0 * p);
    dismissals(m, plot, cast);
    let mut strokes: Vec<Vec<Point>> = vec![Vec::new()];
    for (millis, p) in curve {
        match (p, strokes.last_mut()) {
            (Some(p), Some(stroke)) => stroke.push(point(*millis, *p)),
            _ => strokes.push(Vec::new()),
        }
    }
    lines(m, "curve", &strokes);
    let mut labels = Vec::new();
    // Labels keep clear of the curve.
    let mut marks: Vec<Point> = strokes.concat();
    for even in evens {
        let Some(millis) = even.millis else { continue };
        let at = point(millis, even.worth);
        straight(m, "drop", at, (at.0, 100.0));
        m.tag("circle").class("even").with("cx", Percent(at.0)).with("cy", Percent(at.1)).with("r", "4.5").alone();
        let silence = Shape::Seconds(1).full(Some(millis as f64));
        labels.push(Label { at, class: "plain", lines: vec![format!("λ\u{a0}{}: {silence}", even.lambda)] });
        marks.push(at);
    }
    write(m, &labels, &marks, f64::from(HEIGHT));
}

/// Where what is in force and what is offered give up.
fn dismissals(m: &mut Markup, plot: &Plot<'_>, cast: &[Part<'_>]) {
    let parts = cast.iter().filter(|part| matches!(part.role, Role::Now | Role::Offered));
    let seconds = |part: &Part<'_>| part.setting.dismiss as f64 / 1_000.0;
    let parts: Vec<&Part<'_>> = parts.filter(|part| seconds(part) <= plot.x.to()).collect();
    for part in &parts {
        let (x, _) = plot.point(seconds(part), 0.0);
        straight(m, &format!("dismiss {}", part.class()), (x, 0.0), (x, 100.0));
    }
    for (number, part) in parts.into_iter().enumerate() {
        let (x, _) = plot.point(seconds(part), 0.0);
        // At the foot of the chart, where the curve seldom is, one below the other.
        let (dx, anchor) = if x > 60.0 { ("-6", "end") } else { ("6", "start") };
        let text = m.tag("text").class(format_args!("label {}", part.class())).with("x", Percent(x)).with("dx", dx);
        let text = text.with("y", HEIGHT - 30 + 18 * number as u32).with("text-anchor", anchor);
        text.text(format_args!("dismiss {}: {}", part.name(), time(part.setting.dismiss)));
    }
}
