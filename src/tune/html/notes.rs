//! How it was measured: what was read, what was asked, what the measures mean, and what they can't tell.

use maud::{Markup, html};
use serde_json::Value;

use super::column::COLUMNS;
use super::figure::{Shape, UNDEFINED, said, time, visible};
use crate::tune::json;
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
        @if report.duty.is_some() {
            p {
                (share(typed.sent)) " of the messages were sent, " (share(typed.abandoned)) " abandoned. Users typed during "
                (Shape::Share(0).full(report.duty)) " of the chats’ life."
            }
        }
    }
}

/// The options under their names in the JSON.
fn parameters(report: &Report) -> Markup {
    let params = json::params(&report.plan);
    let written = |value: &Value| match value {
        Value::Null => UNDEFINED.to_owned(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        value => value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned),
    };
    html! {
        table.parameters {
            caption.vh { "The options and their values" }
            thead.vh { tr { th scope="col" { "option" } th scope="col" { "value" } } }
            tbody {
                tr { th scope="row" { code { "current" } } td { (report.plan.current) } }
                @for (name, value) in params.as_object().into_iter().flatten() {
                    tr { th scope="row" { code { (name) } } td { (written(value)) } }
                }
            }
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
