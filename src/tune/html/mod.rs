//! A report for a browser: one file that needs nothing else, neither network nor script, and that can be printed and
//! read out.
//!
//! In reading order: `markup` (elements and escaping), `figure` (numbers), `words` (sentences), `column` (measures),
//! `cast` (the settings shown); `axis`, `plot` and `label` (charts); then the page from top to bottom: `verdict` with its
//! `gauges`, `strips`, `ranking`, `heat`, `scatter`, `resume`, `headroom`, `notes`.

mod axis;
mod cast;
mod column;
mod figure;
mod gauges;
mod headroom;
mod heat;
mod label;
mod markup;
mod notes;
mod plot;
mod ranking;
mod resume;
mod scatter;
mod strips;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use figure::counted;
use markup::Markup;

use super::Report;

/// What the page may load: nothing at all.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// How it looks. Whoever shows the page within another has to allow just this style there.
pub(crate) const STYLE: &str = include_str!("style.css");
/// Shapes and patterns that drawings all over the page refer to.
const SHAPES: &str = include_str!("shapes.svg");

/// The page's sections: their ids and their headings.
const SECTIONS: [(&str, &str); 7] = [
    ("typing", "What the agent sees"),
    ("ranking", "The best settings"),
    ("grid", "Every setting"),
    ("trade", "What requests buy"),
    ("silence", "What a silence means"),
    ("room", "Room for how many"),
    ("notes", "How it was measured"),
];

/// The whole page. The same bytes for the same report.
#[must_use]
pub(crate) fn report(report: &Report) -> String {
    let mut m = Markup::default();
    m.verbatim("<!DOCTYPE html>\n");
    let html = m.tag("html").with("lang", "en-GB");
    html.inside(|m| {
        m.tag("head").inside(|m| head(m, report));
        m.tag("body").inside(|m| body(m, report));
    });
    m.verbatim("\n");
    m.into_string()
}

fn head(m: &mut Markup, report: &Report) {
    m.tag("meta").with("charset", "utf-8").alone();
    m.tag("meta").with("http-equiv", "Content-Security-Policy").with("content", POLICY).alone();
    m.tag("meta").with("name", "viewport").with("content", "width=device-width, initial-scale=1").alone();
    m.tag("meta").with("name", "color-scheme").with("content", "light dark").alone();
    m.tag("meta").with("name", "generator").with("content", TOOL).alone();
    let best = cast::best(report).map_or_else(|| "no setting recommended".to_owned(), |best| best.setting.to_string());
    m.tag("title").text(format_args!("typingd tune: {best}"));
    m.tag("style").inside(|m| m.verbatim(STYLE));
}

fn body(m: &mut Markup, report: &Report) {
    m.verbatim(SHAPES);
    let cast = cast::cast(report);
    m.tag("main").inside(|m| {
        m.tag("header").inside(|m| {
            m.tag("p").class("tool").text("typingd tune");
            m.tag("p").class("study").text(studied(report));
        });
        m.tag("section").class("verdict").with("aria-labelledby", "verdict").inside(|m| verdict::section(m, report));
        m.tag("nav").with("aria-label", "On this page").inside(|m| {
            for (id, name) in SECTIONS {
                m.tag("a").with("href", format_args!("#{id}")).text(name);
            }
        });
        for (id, name) in SECTIONS {
            m.tag("section").with("id", id).with("aria-labelledby", format_args!("{id}-name")).inside(|m| {
                m.tag("h2").with("id", format_args!("{id}-name")).text(name);
                match id {
                    "typing" => strips::section(m, report, &cast),
                    "ranking" => ranking::section(m, report, &cast),
                    "grid" => heat::section(m, report, cast::offered(report)),
                    "trade" => scatter::section(m, report, &cast),
                    "silence" => resume::section(m, report, &cast),
                    "room" => headroom::section(m, report, &cast),
                    _ => notes::section(m, report),
                }
            });
        }
        m.tag("footer").text(TOOL);
    });
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
        format!("{:.0}\u{a0}min of composing", typed.composing / 60_000.0),
    ];
    parts.join(" · ")
}

/// What made it.
const TOOL: &str = concat!("typingd ", env!("CARGO_PKG_VERSION"));
