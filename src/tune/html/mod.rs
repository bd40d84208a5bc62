//! A report for a browser: one file that needs nothing else, neither network nor script, and that can be printed and
//! read out.
//!
//! In reading order: `figure` (numbers), `column` (measures), `cast` (the settings shown), `plot`
//! (geometry); then the page from top to bottom: `verdict` with its `figures`, `strips`, `scatter`, `ranking`, `heat`,
//! `notes`.

mod cast;
mod column;
mod figure;
mod figures;
mod heat;
mod notes;
mod plot;
mod ranking;
mod scatter;
mod strips;
#[cfg(test)]
mod tests;
mod verdict;

use figure::counted;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;

/// What the page may load: nothing at all.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// How it looks. A page that shows it in a frame has to allow just this style there, so no element has one of its own.
pub(crate) const STYLE: &str = include_str!("style.css");
/// Shapes and patterns that drawings all over the page refer to.
const SHAPES: &str = include_str!("shapes.svg");
const TOOL: &str = concat!("typingd ", env!("CARGO_PKG_VERSION"));

/// The page's sections: their ids and their headings.
const SECTIONS: [(&str, &str); 5] = [
    ("typing", "What the agent sees"),
    ("trade", "What requests buy"),
    ("ranking", "The best settings"),
    ("grid", "Every setting"),
    ("notes", "How it was measured"),
];

/// The whole page. The same bytes for the same report.
pub(crate) fn report(report: &Report) -> String {
    let best = cast::best(report).map_or_else(|| "no setting recommended".to_owned(), |best| best.setting.to_string());
    let page = html! {
        (DOCTYPE)
        html lang="en-GB" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(TOOL);
                title { "typingd tune: " (best) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (PreEscaped(SHAPES))
                (content(report))
            }
        }
    };
    page.into_string() + "\n"
}

fn content(report: &Report) -> Markup {
    let cast = cast::cast(report);
    let sections = [
        strips::section(report, &cast),
        scatter::section(report, &cast),
        ranking::section(report, &cast),
        heat::section(report),
        notes::section(report),
    ];
    html! {
        main {
            header {
                p.tool { "typingd tune" }
                p.study { (studied(report)) }
            }
            section.verdict aria-labelledby="verdict" { (verdict::section(report)) }
            nav aria-label="On this page" {
                @for (id, name) in SECTIONS { a href={"#" (id)} { (name) } }
            }
            @for ((id, name), section) in SECTIONS.into_iter().zip(sections) {
                section id=(id) aria-labelledby={(id) "-name"} {
                    h2 id={(id) "-name"} { (name) }
                    (section)
                }
            }
            footer { (TOOL) }
        }
    }
}

/// What was studied, in a line.
fn studied(report: &Report) -> String {
    let typed = &report.typed;
    let parts = [
        counted(report.inputs.len() as u64, "trace"),
        counted(report.study.users as u64, "user"),
        counted(report.study.timelines.len() as u64, "conversation"),
        counted(report.study.keys(), "key"),
        counted(typed.messages as u64, "message"),
        format!("{:.0}\u{a0}min of typing", typed.composing / 60_000.0),
    ];
    parts.join(" · ")
}
