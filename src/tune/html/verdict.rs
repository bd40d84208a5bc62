//! The verdict: what is in force, what is recommended and why, what changes, and how to put it in force.

use maud::{Markup, html};

use super::cast;
use super::column::{FLICKER, LINGERS, RECALL, REQUESTS};
use super::figure::{Shape, UNDEFINED, counted, joined, limit, said, time, visible};
use super::figures::figures;
use crate::tune::Report;
use crate::tune::decision::Verdict;
use crate::tune::measure::{Measure, Unit};
use crate::tune::plan::{Setting, Want};
use crate::tune::row::Row;
use crate::tune::table::apply;
use crate::tune::truth::Kind;

/// The section's content, its heading included.
pub(super) fn section(report: &Report) -> Markup {
    let (now, best) = (&report.current, cast::best(report));
    let compared = cast::offered(report).filter(|row| row.setting != now.setting);
    let burst = (report.plan.truth.kind == Kind::Burst).then_some(
        "--truth burst takes pauses for no typing: every dismiss that outlasts a burst has the icon on for 100 % of the \
         typing by construction, so that it can’t choose dismiss",
    );
    let cautions: Vec<&str> = report.warnings.iter().map(String::as_str).chain(burst).collect();
    html! {
        h1 #verdict { (headline(report)) }
        div.lead {
            p { (of_now(now)) }
            @if best.is_none() || report.decision.verdict != Verdict::NotEnoughData { (reason(report)) }
            ul.misses { @for why in &report.decision.why { li { (why) } } }
        }
        (figures(report, compared.map(|row| (row, if best.is_some() { "recommended" } else { "nearest" }))))
        @if let Some(best) = best.filter(|best| best.setting != now.setting) {
            div.commands {
                div {
                    h2 { "Put it in force" }
                    pre { code { (apply(None, &best.setting)) } }
                    p.note { "In the running daemon, at once, without losing a conversation." }
                }
                div {
                    h2 { "Keep it" }
                    pre { code { (toml(&best.setting)) } }
                    p.note { "In the configuration, for the next start." }
                }
            }
        }
        @if !report.channels.is_empty() { (channels(report)) }
        @if !cautions.is_empty() {
            ul.warnings aria-label="Warnings" { @for caution in cautions { li { (caution) } } }
        }
    }
}

/// The channels, each with its verdict, and the command where it is to change.
fn channels(report: &Report) -> Markup {
    html! {
        div.channels {
            h2 { "Each channel by itself" }
            ul.misses {
                @for channel in &report.channels {
                    li {
                        b { bdi { (visible(&channel.name)) } } ", " (counted(channel.users as u64, "user")) ", "
                        (counted(channel.messages, "message")) ": "
                        @match (channel.decision.verdict, channel.decision.advice) {
                            (Verdict::Change, Some(advice)) => { "change: " code { (apply(Some(&channel.name), &advice)) } },
                            (Verdict::NotEnoughData, _) => {
                                "not enough data" @if let Some(why) = channel.decision.why.first() { " (" (why) ")" }
                            },
                            _ => { "keep " (channel.current.setting) },
                        }
                    }
                }
            }
        }
    }
}

fn headline(report: &Report) -> String {
    let tried = report.rows.len();
    let Some(best) = cast::best(report).map(|best| best.setting) else {
        return match report.nearest {
            None => "These traces decide nothing".to_owned(),
            Some(_) if tried == 1 => "The setting tried does not keep every limit".to_owned(),
            Some(_) => format!("None of {} keeps every limit", counted(tried as u64, "setting")),
        };
    };
    let (verb, end) = match report.decision.verdict {
        Verdict::Change => ("Change to", ""),
        Verdict::Keep => ("Keep", ""),
        Verdict::NotEnoughData => ("Not enough data: keep", " for now"),
    };
    format!("{verb} {}, check {}, dismiss {}{end}", best.mode.name(), time(best.check), time(best.dismiss))
}

fn of_now(now: &Row) -> Markup {
    html! {
        "In force now is " b { (now.setting) } ": "
        @if let Some(recall) = now.recall.value {
            "the icon is on during " b { (Shape::Share(1).full(Some(recall))) } " of the time in which users type"
            @if let Some(flicker) = now.flicker_per_msg.value {
                ", and it goes off and on again "
                b { (Shape::Number(if flicker < 1.0 { 2 } else { 1 }).full(Some(flicker))) } " times a message"
            }
            "."
            @if let Some(wrong) = now.wrong_stop.value {
                " " b { (Shape::Share(0).full(Some(wrong))) " of the times the icon goes off, the user is still writing." }
            }
        } @else {
            "how long it is on while users type is undefined: " (RECALL.absent) "."
        }
    }
}

/// Why that is advised, and what it changes.
fn reason(report: &Report) -> Markup {
    let (plan, now, kept) = (&report.plan, &report.current, report.ranking.len());
    let (tried, limits) = (counted(report.rows.len() as u64, "setting"), limits(&plan.wants, now));
    let measure = plan.minimise;
    match (cast::best(report), &report.nearest) {
        (Some(best), _) => html! {
            p {
                @if best.setting == now.setting { "No setting tried is better: " }
                @else { "Recommended is " b { (best.setting) } ": " }
                @if plan.wants.is_empty() { "no limit was asked for, and of " (tried) " tried " }
                @else { (kept) " of " (tried) " tried kept every limit (" (limits) "), and of these " }
                "it has the least " (measure.words()) "."
            }
            p { (if best.setting == now.setting { runner_up(report) } else { against(best, now) }) }
        },
        (None, Some((place, failed))) => {
            let nearest = &report.rows[*place];
            let wants = failed.iter().map(|want| &plan.wants[*want]);
            html! {
                p {
                    "What was asked for is " (limits) "; no setting tried has all of that. The nearest is " b { (nearest.setting) }
                    @if nearest.setting == now.setting { ", which is in force." } @else { "." } " Nothing is recommended."
                }
                ul.misses { @for want in wants { li { (limit(want)) ": " (miss(want, nearest, now)) } } }
                p.note {
                    "Loosen a limit with " code { "--want" } ", or try other settings with " code { "--check" } " and "
                    code { "--dismiss" } "."
                }
            }
        }
        (None, None) => html! {
            p {
                "What is to be small, " (measure.words()) ", is undefined: none of " (tried) " tried is better than another."
            }
            p { "Nothing is recommended; record more typing, and tune again." }
        },
    }
}

fn runner_up(report: &Report) -> String {
    let (now, measure) = (&report.current, report.plan.minimise);
    let of = |row: &Row| row.get(measure).map(|value| said(measure, value));
    let others = report.ranking.iter().map(|place| &report.rows[*place]);
    let second =
        others.filter(|row| row.setting != now.setting).find_map(|row| Some((row.setting, of(row)?, of(now)?)));
    let told = second.map_or_else(String::new, |(setting, value, was)| {
        format!(" The runner-up, {setting}, has {value} ({}) instead of {was}.", measure.words())
    });
    format!("There is nothing to change.{told}")
}

/// What `row` gains and what it costs against `now`, in the four figures.
fn against(row: &Row, now: &Row) -> String {
    let (mut gains, mut costs) = (Vec::new(), Vec::new());
    for column in [RECALL, FLICKER, LINGERS, REQUESTS] {
        let (Some(value), Some(was)) = (row.get(column.measure), now.get(column.measure)) else { continue };
        if column.shape.alike(value, was) {
            continue;
        }
        let (by, more) = ((value - was).abs(), value > was);
        let word = |yes, no| if more { yes } else { no };
        let share = || Shape::Share(usize::from(by < 0.01 * was)).full(Some(by / was));
        let words = match column.measure {
            Measure::Recall => format!("is on for {:.1} points {} of the typing", 100.0 * by, word("more", "less")),
            Measure::Flicker if was > 0.0 => format!("flickers {} {}", share(), word("more", "less")),
            Measure::Flicker => format!("flickers {} times a message instead of never", column.full(row)),
            Measure::OffP95 => format!("lingers {} {}", column.shape.full(Some(by)), word("longer", "shorter")),
            _ => format!("takes {} {} requests", share(), word("more", "fewer")),
        };
        if more == column.measure.is_better_when_small() { costs.push(words) } else { gains.push(words) }
    }
    match (gains.is_empty(), costs.is_empty()) {
        (true, true) => "In the four figures below it is like what is in force.".to_owned(),
        (false, true) => format!("Against now, the icon {}; in none of the four figures is it worse.", joined(&gains)),
        (true, false) => format!("Against now, the icon {}: that is the price of the limits.", joined(&costs)),
        (false, false) => format!("Against now, the icon {}; in return it {}.", joined(&gains), joined(&costs)),
    }
}

/// By how much a limit is missed.
fn miss(want: &Want, row: &Row, now: &Row) -> Markup {
    let show = |value: Option<f64>| value.map_or_else(|| UNDEFINED.to_owned(), |value| said(want.measure, value));
    let value = row.get(want.measure);
    if let Some(kept) = value.filter(|value| want.miss(*value) == 0.0) {
        return html! { "kept with " b { (show(Some(kept))) } ", but not surely: its interval reaches beyond the limit" };
    }
    let by = value.map(|value| (value - want.bound).abs());
    let points = by.filter(|_| want.measure.unit() == Unit::Share).map(|by| format!("{:.1} points", 100.0 * by));
    html! { "missed by " b { (points.unwrap_or_else(|| show(by))) } ", with " (show(value)) "; now " (show(now.get(want.measure))) }
}

/// All limits, those apart that could not be tested on `row`.
fn limits(wants: &[Want], row: &Row) -> String {
    let (tested, untested): (Vec<&Want>, Vec<&Want>) = wants.iter().partition(|want| row.get(want.measure).is_some());
    let list = |wants: &[&Want]| joined(&wants.iter().map(|want| limit(want)).collect::<Vec<_>>());
    match (tested.is_empty(), untested.is_empty()) {
        (_, true) => list(&tested),
        (true, false) => format!("untested: {}", list(&untested)),
        (false, false) => format!("{}; untested: {}", list(&tested), list(&untested)),
    }
}

/// The lines of the configuration that keep `setting`.
fn toml(setting: &Setting) -> String {
    let (check, dismiss) = (Setting::time(setting.check), Setting::time(setting.dismiss));
    let mode = setting.mode.name();
    format!("[timing]\ncheck_interval = \"{check}\"\ndismiss_after = \"{dismiss}\"\ndismiss = \"{mode}\"")
}
