//! How it was measured: what was read, what was asked, what the measures mean, and what they can't tell.

use maud::{Markup, html};

use super::column::COLUMNS;
use super::figure::{Shape, UNDEFINED, counted, said, time, visible};
use crate::tune::measure::Measure;
use crate::tune::plan::{IconTtl, Setting};
use crate::tune::play::Link;
use crate::tune::table::thousands;
use crate::tune::truth::{BURST_GAP_MILLIS, Kind};
use crate::tune::{LAMBDAS, Report};

/// The section's content.
pub(super) fn section(report: &Report) -> Markup {
    html! {
        h3 { "What was read" }
        (inputs(report))
        h3 { "What was asked" }
        (parameters(report))
        h3 { "What the measures mean" }
        (definitions(report))
        h3 { "What a silence means" }
        (silence(report))
        h3 { "What these figures can’t tell" }
        (caveats(report))
    }
}

fn inputs(report: &Report) -> Markup {
    let typed = &report.typed;
    let share = |part: f64| Shape::Share(0).full((typed.messages > 0.0).then(|| part / typed.messages));
    html! {
        div.scroll role="region" tabindex="0" aria-label="The traces" {
            table.inputs {
                caption.vh { "The traces" }
                thead { tr { @for name in ["trace", "conversations", "keys", "SHA-256"] { th scope="col" { (name) } } } }
                tbody {
                    @for input in &report.inputs {
                        tr {
                            th scope="row" { bdi { (visible(&input.name)) } }
                            td { (thousands(input.conversations as u64)) }
                            td { (thousands(input.keys)) }
                            td.hash { code { (input.sha256) } }
                        }
                    }
                }
            }
        }
        p {
            "Together: " (counted(report.study.timelines.len() as u64, "conversation")) " of "
            (counted(report.study.users as u64, "user")) ", " (counted(report.study.keys(), "key")) ", "
            (counted(typed.messages as u64, "message")) " (" (share(typed.sent)) " sent, " (share(typed.abandoned))
            " abandoned), " (Shape::Number(1).bare(Some(typed.composing / 60_000.0))) " minutes of typing"
            @if report.duty.is_some() { ", which is " (Shape::Share(0).full(report.duty)) " of the chats’ life" }
            "."
        }
    }
}

fn parameters(report: &Report) -> Markup {
    let plan = &report.plan;
    let written = |millis: u64| Setting::time(millis).to_string();
    let wants: Vec<String> = plan.wants.iter().map(ToString::to_string).collect();
    let none = || "none".to_owned();
    let ttl = match plan.icon_ttl {
        IconTtl::Unknown => "unknown".to_owned(),
        IconTtl::Never => none(),
        IconTtl::After(millis) => written(millis),
    };
    let (wants, link) = (wants.join(", ").replace("<=", " ≤ ").replace(">=", " ≥ "), plan.link);
    let share = |share| said(Measure::Missed, share);
    let rows: [(&str, String); 14] = [
        ("settings tried", thousands(plan.grid.len() as u64)),
        ("in force: --current", plan.current.to_string()),
        ("limits: --want", if wants.is_empty() { none() } else { wants }),
        ("to be small: --minimise", plan.minimise.name().to_owned()),
        ("what counts as typing: --truth", plan.truth.kind.name().to_owned()),
        ("a user has gone after: --away", written(plan.truth.away)),
        ("sent messages taken for abandoned: --abandon", plan.abandon.map_or_else(none, share)),
        ("the agent console drops an icon after: --icon-ttl", ttl),
        ("a request, and its answer, take: --latency", written(link.latency)),
        ("requests lost on their way: --loss", share(link.loss)),
        ("requests that the org takes: --limit", format!("{}/s", plan.limit)),
        (
            "people expected to type at once: --composers",
            plan.composers.map_or_else(|| UNDEFINED.to_owned(), thousands),
        ),
        ("longest unbroken typing believed: max_typing", written(plan.max_typing.as_millis() as u64)),
        ("decides what chance decides: --seed", plan.seed.to_string()),
    ];
    html! {
        table.parameters {
            caption.vh { "The options and their values" }
            thead.vh { tr { @for name in ["option", "value"] { th scope="col" { (name) } } } }
            tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } }
        }
    }
}

fn definitions(report: &Report) -> Markup {
    let away = Setting::time(report.plan.truth.away);
    html! {
        p {
            b { "Typing" }
            @match report.plan.truth.kind {
                Kind::Burst => { " lasts while keys follow each other within " (time(BURST_GAP_MILLIS)) "; pauses are none." },
                kind => {
                    " begins with the first key of a message and ends with its send, or with the last key if the user falls \
                     silent for more than " (away) ", clears the box or leaves the chat."
                    @if kind == Kind::SentOnly { " What was not sent does not count." }
                },
            }
            " All figures pool time over time and count over count, of all users together; they are not means of means. \
             Intervals come from drawing users anew, not messages, for those of one user are alike."
        }
        dl.definitions {
            @for column in &COLUMNS { dt { (column.name) } dd { (column.meaning) } }
        }
        p { (UNDEFINED) " is what is undefined, never nought: its reason is beneath it." }
    }
}

/// How likely typing goes on after a silence, and when to stop believing that it will.
fn silence(report: &Report) -> Markup {
    let resume = |millis: u64| Some((millis, report.silences.resume(millis)?));
    let told = [2_000, 5_000, 10_000].into_iter().filter_map(resume);
    let told = told.map(|(millis, share)| format!("after {} {}", time(millis), Shape::Share(0).full(Some(share))));
    let told: Vec<String> = told.collect();
    html! {
        @if told.is_empty() {
            p { "There is no silence whose end is known." }
        } @else {
            p { "How many go on with the same message after a silence: " (told.join(", ")) "." }
        }
        p {
            "The icon should go off where one more second of it does more harm than good. If a second of icon for no one is \
             worth λ seconds missed, that is: "
            @for (number, lambda) in LAMBDAS.into_iter().enumerate() {
                @let silence = report.silences.break_even(f64::from(lambda)).map(|millis| millis as f64);
                @if number > 0 { ", " }
                span.even { "λ\u{a0}" (lambda) ": " @if silence.is_some() { (Shape::Seconds(1).full(silence)) } @else { "never" } }
            }
            "."
        }
    }
}

fn caveats(report: &Report) -> Markup {
    let plan = &report.plan;
    html! {
        ul.caveats {
            li {
                "A trace may have its sends derived rather than recorded, as where longer texts were cut into messages; what \
                 depends on sends and drafts is then as good as that cut."
            }
            li {
                "The moments of keys can identify who typed them. This page shows ids as the traces have them, and every key \
                 of a few minutes: treat it, and the traces, as what they are."
            }
            li {
                @match plan.icon_ttl {
                    IconTtl::Unknown => "Whether the agent console drops an icon by itself is not documented.",
                    IconTtl::Never => "The agent console is supposed never to drop an icon by itself.",
                    IconTtl::After(ttl) => {
                        "The agent console is supposed to drop an icon " (time(ttl)) " after its latest TypingStarted."
                    },
                }
            }
            li {
                @if plan.link == Link::PERFECT {
                    "Requests arrive at once, and none gets lost; see --latency and --loss."
                } @else {
                    "Delays and losses are the same for all requests, and independent of each other; real ones come in clusters."
                }
            }
            li {
                "Not modelled: the queueing of requests near the org’s limit, muted channels, restarts of the daemon, what \
                 the agent looks at, and that users may type differently when they see that they are seen."
            }
            li {
                "What lies beyond the end of a trace is not counted: the last message of each conversation, and its icon, \
                 count as far as they were observed."
            }
            li {
                "Room for people typing at once supposes that they type independently of each other. Where many begin at \
                 once, as after a broadcast, there is less."
            }
            @if let Some(share) = plan.abandon {
                li {
                    (said(Measure::Missed, share)) " of the sent messages, drawn by the seed, were taken for abandoned; how \
                     long the icon lingers rests on them."
                }
            }
        }
    }
}
