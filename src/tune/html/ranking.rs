//! The settings in a table: those that keep the limits, the best first, below what is in force and what is documented.

use maud::{Markup, html};

use super::cast::{Part, best};
use super::column::{COLUMNS, undefined};
use super::figure::{Shape, counted, time};
use crate::tune::Report;
use crate::tune::advice::{alike_checks, distinct, front};
use crate::tune::row::Row;

/// So many rows of the ranking are shown; the JSON has all.
const SHOWN_MAX: usize = 12;

/// A row of the table: its rank, its class, what it is beside that.
type Line<'a> = (Option<usize>, &'a str, &'a str, &'a Row);

/// The choices within the limits; where there is none, the settings that no other is better than, the fewest requests
/// first.
fn choices(report: &Report) -> Vec<usize> {
    if !report.ranking.is_empty() {
        return distinct(&report.rows, &front(&report.rows, &report.ranking, &report.plan));
    }
    let mut front: Vec<usize> = (0..report.rows.len()).filter(|place| report.rows[*place].pareto).collect();
    let requests = |place: &usize| report.rows[*place].req_per_min.value.unwrap_or(f64::INFINITY);
    front.sort_by(|a, b| requests(a).total_cmp(&requests(b)).then(a.cmp(b)));
    front
}

/// The section's content.
pub(super) fn section(report: &Report, cast: &[Part<'_>]) -> Markup {
    let ranked = !report.ranking.is_empty();
    let choices = choices(report);
    let compared = cast.iter().filter(|part| matches!(part.class, "now" | "sample") || !ranked);
    let compared = compared.filter_map(|part| Some((None, part.class, part.name, part.row?)));
    let listed = choices.iter().take(SHOWN_MAX).enumerate().map(|(rank, place)| {
        let class = if rank == 0 && ranked && best(report).is_some() { "offered" } else { "" };
        (ranked.then_some(rank + 1), class, "", &report.rows[*place])
    });
    let lines: Vec<Line<'_>> = compared.chain(listed).collect();
    let rows: Vec<&Row> = lines.iter().map(|(.., row)| *row).collect();
    let ttl = report.plan.icon_ttl.second();
    let more = if choices.len() > SHOWN_MAX { format!(" The first {SHOWN_MAX} are here.") } else { String::new() };
    html! {
        p.lead {
            @if ranked {
                (counted(report.ranking.len() as u64, "setting")) " kept every limit; these are the choices among them, the \
                 best first: any other costs more and gives nothing for it." (more) " Above them, for comparison, is what is \
                 in force and what is documented."
            } @else {
                "No setting keeps every limit. For comparison: what is in force, the nearest, and the settings than which \
                 no other is better in requests, missed typing and lingering together, the fewest requests first." (more)
            }
        }
        div.scroll role="region" tabindex="0" aria-label="The settings, measured" {
            table.ranking {
                caption {
                    span {
                        "Figures in small print are 95 % confidence intervals. Each measure is explained at the end of the page."
                    }
                }
                thead { (head(ttl)) }
                tbody { @for line in &lines { (body(line, ttl, &report.rows)) } }
            }
        }
        @for note in undefined(&COLUMNS, &rows) { p.note { (note) } }
        @if let Some(ttl) = ttl {
            p.note {
                "Whether the agent console keeps an icon until a TypingStopped, or drops it " (time(ttl)) " after each \
                 TypingStarted, is not documented. The figures on this page suppose that it keeps it; the last column \
                 is what would be seen if it dropped it. " code { "typingd probe --hold" } " finds out; then say "
                code { "--icon-ttl" } "."
            }
        }
    }
}

fn head(ttl: Option<u64>) -> Markup {
    html! {
        tr {
            th.rank scope="col" { "rank" }
            th.setting scope="col" { "setting" }
            @for column in &COLUMNS {
                th scope="col" {
                    (column.name) @if !column.shape.unit().is_empty() { "," (column.shape.unit()) }
                }
            }
            @if let Some(ttl) = ttl { th scope="col" { "icon on if dropped after " (time(ttl)) ", %" } }
        }
    }
}

fn body((rank, class, name, row): &Line<'_>, ttl: Option<u64>, rows: &[Row]) -> Markup {
    html! {
        tr class=(class) {
            td.rank { @if let Some(rank) = rank { (rank) } }
            th.setting scope="row" {
                (row.setting)
                @if !name.is_empty() { small { (name) } }
                @if let Some((least, most)) = alike_checks(rows, row) {
                    small { "check " (time(least)) " to " (time(most)) ": no difference but requests" }
                }
            }
            @for column in &COLUMNS {
                td {
                    (column.shape.bare(row.get(column.measure)))
                    @if let Some(ci) = column.ci(row).filter(|[low, high]| !column.shape.alike(*low, *high)) {
                        small { (column.shape.bare_interval(ci)) }
                    }
                }
            }
            @if ttl.is_some() { td { (Shape::Share(1).bare(row.dropped.as_ref().and_then(|dropped| dropped.recall.value))) } }
        }
    }
}
