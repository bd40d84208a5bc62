//! The verdict: what is in force, what is recommended and why, what changes, and how to put it in force.

use super::cast;
use super::column::RECALL;
use super::figure::{Shape, UNDEFINED, counted, joined, said};
use super::gauges;
use super::markup::Markup;
use super::words::{changes, excels, limit, limits, named, setting};
use crate::tune::Report;
use crate::tune::measure::Unit;
use crate::tune::plan::Setting;
use crate::tune::row::Row;
use crate::tune::table::apply;
use crate::tune::truth::Kind;

/// What is advised.
enum Advice<'a> {
    /// To change to this setting.
    Change(&'a Row),
    /// To keep what is in force.
    Keep(&'a Row),
    /// Nothing, for what was to be made small is undefined: no setting is better than another.
    Undecided,
    /// Nothing, for no setting keeps the limits; this one misses these limits by the least.
    Nothing(Option<(&'a Row, &'a [usize])>),
}

impl<'a> Advice<'a> {
    fn of(report: &'a Report) -> Self {
        match cast::best(report) {
            Some(best) if best.setting == report.current.setting => Self::Keep(best),
            Some(best) => Self::Change(best),
            None if !report.ranking.is_empty() => Self::Undecided,
            None => {
                let nearest = report.nearest.as_ref();
                Self::Nothing(nearest.map(|(place, failed)| (&report.rows[*place], failed.as_slice())))
            }
        }
    }
}

/// The section's content, its heading included.
pub(super) fn section(m: &mut Markup, report: &Report) {
    let advice = Advice::of(report);
    m.tag("h1").with("id", "verdict").text(headline(report, &advice));
    m.tag("div").class("lead").inside(|m| {
        m.tag("p").inside(|m| of_now(m, &report.current));
        m.tag("p").inside(|m| of_advice(m, report, &advice));
        m.tag("p").inside(|m| of_change(m, report, &advice));
    });
    if let Advice::Nothing(Some((nearest, failed))) = &advice {
        misses(m, report, nearest, failed);
    }
    let compared = match &advice {
        Advice::Change(best) => Some((*best, "recommended")),
        Advice::Nothing(Some((nearest, _))) if nearest.setting != report.current.setting => Some((*nearest, "nearest")),
        _ => None,
    };
    gauges::draw(m, report, compared);
    if let Advice::Change(best) = &advice {
        commands(m, &best.setting);
    }
    let cautions: Vec<&str> = report.warnings.iter().map(String::as_str).chain(of_truth(report)).collect();
    if !cautions.is_empty() {
        m.tag("ul").class("warnings").with("aria-label", "Warnings").inside(|m| {
            for caution in cautions {
                m.tag("li").text(caution);
            }
        });
    }
}

/// What whoever measures by bursts must know.
fn of_truth(report: &Report) -> Option<&'static str> {
    (report.plan.truth.kind == Kind::Burst).then_some(
        "--truth burst takes pauses for no composing: every dismiss that outlasts a burst has recall 100 % by \
         construction, so that it can’t choose dismiss",
    )
}

fn headline(report: &Report, advice: &Advice<'_>) -> String {
    match advice {
        Advice::Change(best) => format!("Change to {}", setting(&best.setting)),
        Advice::Keep(best) => format!("Keep {}", setting(&best.setting)),
        Advice::Undecided => "These traces decide nothing".to_owned(),
        Advice::Nothing(_) if report.rows.len() == 1 => "The setting tried does not keep every limit".to_owned(),
        Advice::Nothing(_) => format!("None of {} keeps every limit", counted(report.rows.len() as u64, "setting")),
    }
}

fn of_now(m: &mut Markup, now: &Row) {
    m.text("In force now is ").strong(now.setting).text(": ");
    match (now.recall.value, now.flicker_per_msg.value) {
        (Some(recall), Some(flicker)) => {
            m.text("agents see the icon during ").strong(Shape::Share(1).full(Some(recall)));
            m.text(" of the time in which users compose, and it ");
            if flicker > 0.0 {
                m.text("goes off and on again ").strong(times(flicker)).text(" times a message.");
            } else {
                m.strong("never").text(" goes off and on again within a message.");
            }
        }
        (Some(recall), None) => {
            m.text("agents see the icon during ").strong(Shape::Share(1).full(Some(recall)));
            m.text(" of the time in which users compose.");
        }
        (None, _) => {
            m.text("how much of the composing it shows is undefined, for ").text(RECALL.absent.why()).text(".");
        }
    }
}

fn of_advice(m: &mut Markup, report: &Report, advice: &Advice<'_>) {
    let (plan, now) = (&report.plan, &report.current);
    let (tried, kept) = (counted(report.rows.len() as u64, "setting"), report.ranking.len());
    let excels = excels(plan.minimise);
    let keeping = |m: &mut Markup| {
        if plan.wants.is_empty() {
            m.text(format_args!("no limit was asked for, and of {tried} tried it {excels}."));
        } else {
            let keep = if kept == 1 { "keeps" } else { "keep" };
            let limit = if plan.wants.len() == 1 { "the limit" } else { "every limit" };
            let first = if kept == 1 { "it is the one".to_owned() } else { format!("of these it {excels}") };
            m.text(format_args!("{kept} of {tried} tried {keep} {limit} ({}), and {first}.", limits(&plan.wants, now)));
        }
    };
    match advice {
        Advice::Change(best) => {
            m.text("Recommended is ").strong(best.setting).text(": ");
            keeping(m);
        }
        Advice::Keep(_) => {
            m.text("It is the best of them: ");
            keeping(m);
        }
        Advice::Undecided => {
            let limits = limits(&plan.wants, now);
            m.text(format_args!(
                "{kept} of {tried} tried keep what limits could be tested ({limits}), but what was to be "
            ));
            m.text(format_args!("small, {}, is undefined: none is better than another.", named(plan.minimise)));
        }
        Advice::Nothing(_) if report.rows.len() == 1 => {
            m.text(format_args!("What was asked for is {}.", limits(&plan.wants, now)));
        }
        Advice::Nothing(_) => {
            m.text(format_args!(
                "What was asked for is {}; no setting tried has all of that.",
                limits(&plan.wants, now)
            ));
        }
    }
}

fn of_change(m: &mut Markup, report: &Report, advice: &Advice<'_>) {
    let now = &report.current;
    match advice {
        Advice::Change(best) => {
            let sentence = match changes(best, now) {
                (gains, costs) if gains.is_empty() && costs.is_empty() => {
                    "In the four figures below it is like what is in force.".to_owned()
                }
                (gains, costs) if costs.is_empty() => {
                    format!("Against now, the icon {}; in none of the four figures is it worse.", joined(&gains))
                }
                (gains, costs) if gains.is_empty() => {
                    format!("Against now, the icon {}: that is the price of the limits.", joined(&costs))
                }
                (gains, costs) => format!("Against now, the icon {}; in return it {}.", joined(&gains), joined(&costs)),
            };
            m.text(sentence);
            // The ranking is among the settings tried, and what is in force need not be one of them.
            let objective = report.plan.minimise;
            if now.meets && now.get(objective).zip(best.get(objective)).is_some_and(|(was, value)| was <= value) {
                m.text(
                    " The setting in force keeps the limits, too, and does no worse in what was to be made small; it \
                     is not among the settings tried.",
                );
            }
        }
        Advice::Keep(_) => {
            m.text("There is nothing to change.");
            if let [_, second, ..] = report.ranking[..] {
                let (second, measure) = (&report.rows[second], report.plan.minimise);
                let of = |row: &Row| row.get(measure).map(|value| said(measure, value));
                if let (Some(value), Some(was)) = (of(second), of(now)) {
                    m.text(" The runner-up, ").strong(second.setting);
                    m.text(format_args!(", comes to {value} ({}) instead of {was}.", named(measure)));
                }
            }
        }
        Advice::Nothing(Some((nearest, _))) => {
            m.text("The nearest is ").strong(nearest.setting);
            if nearest.setting == now.setting {
                m.text(", which is in force.");
            } else {
                m.text("; below it is compared with what is in force. Nothing is recommended.");
            }
        }
        Advice::Undecided => {
            m.text("Nothing is recommended; record more typing, and tune again.");
        }
        Advice::Nothing(None) => {
            m.text("Nothing is recommended.");
        }
    }
}

/// A number with as many decimals as tell it from nought.
fn times(number: f64) -> String {
    Shape::Number(if number < 1.0 { 2 } else { 1 }).full(Some(number))
}

/// Which limits the nearest setting misses, and by how much.
fn misses(m: &mut Markup, report: &Report, nearest: &Row, failed: &[usize]) {
    m.tag("div").class("scroll").inside(|m| {
        m.tag("table").class("misses").inside(|m| {
            m.tag("caption").text(format_args!("What {} misses", nearest.setting));
            m.tag("thead").inside(|m| {
                m.tag("tr").inside(|m| {
                    for name in ["limit", "it has", "missed by", "now has"] {
                        m.tag("th").with("scope", "col").text(name);
                    }
                });
            });
            m.tag("tbody").inside(|m| {
                for want in failed.iter().map(|place| &report.plan.wants[*place]) {
                    let measure = want.measure;
                    let show =
                        |value: Option<f64>| value.map_or_else(|| UNDEFINED.to_owned(), |value| said(measure, value));
                    m.tag("tr").inside(|m| {
                        m.tag("th").with("scope", "row").text(limit(want));
                        m.tag("td").text(show(nearest.get(measure)));
                        m.tag("td").inside(|m| {
                            let by = nearest.get(measure).map(|value| (value - want.bound).abs());
                            m.strong(match by {
                                Some(by) if measure.unit() == Unit::Share => format!("{:.1} points", 100.0 * by),
                                by => show(by),
                            });
                        });
                        m.tag("td").text(show(report.current.get(measure)));
                    });
                }
            });
        });
    });
    m.tag("p").class("note").inside(|m| {
        m.text("Loosen a limit with ")
            .code("--want")
            .text(", or try other settings with ")
            .code("--check")
            .text(" and ");
        m.code("--dismiss").text(".");
    });
}

fn commands(m: &mut Markup, setting: &Setting) {
    m.tag("div").class("commands").inside(|m| {
        m.tag("div").inside(|m| {
            m.tag("h2").text("Put it in force");
            m.tag("pre").inside(|m| m.tag("code").text(apply(setting)));
            m.tag("p").class("note").text("In the running daemon, at once, without losing a conversation.");
        });
        m.tag("div").inside(|m| {
            m.tag("h2").text("Keep it");
            m.tag("pre").inside(|m| m.tag("code").text(toml(setting)));
            m.tag("p").class("note").text("In the configuration, so that the next start has it, too.");
        });
    });
}

/// The lines of the configuration that keep `setting`.
fn toml(setting: &Setting) -> String {
    let (check, dismiss) = (Setting::time(setting.check), Setting::time(setting.dismiss));
    let mode = setting.mode.name();
    format!("[timing]\ncheck_interval = \"{check}\"\ndismiss_after = \"{dismiss}\"\ndismiss = \"{mode}\"")
}
