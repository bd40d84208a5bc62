//! How it was measured: what was read, what was asked, what the measures mean, and what they can't tell.

use super::column::COLUMNS;
use super::figure::{Shape, UNDEFINED, counted, said};
use super::markup::Markup;
use super::words::named;
use crate::tune::Report;
use crate::tune::measure::Measure;
use crate::tune::plan::{IconTtl, Setting};
use crate::tune::play::Link;
use crate::tune::table::thousands;
use crate::tune::truth::{BURST_GAP_MILLIS, Kind};

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report) {
    inputs(m, report);
    parameters(m, report);
    definitions(m, report);
    caveats(m, report);
}

fn inputs(m: &mut Markup, report: &Report) {
    m.tag("h3").text("What was read");
    m.tag("div").class("scroll").with("role", "region").with("tabindex", "0").with("aria-label", "The traces").inside(
        |m| {
            m.tag("table").class("inputs").inside(|m| {
                m.tag("caption").class("vh").text("The traces");
                m.tag("thead").inside(|m| {
                    m.tag("tr").inside(|m| {
                        for name in ["trace", "conversations", "keys", "SHA-256"] {
                            m.tag("th").with("scope", "col").text(name);
                        }
                    });
                });
                m.tag("tbody").inside(|m| {
                    for input in &report.inputs {
                        m.tag("tr").inside(|m| {
                            m.tag("th").with("scope", "row").inside(|m| {
                                m.name(&input.name);
                            });
                            m.tag("td").text(thousands(input.conversations as u64));
                            m.tag("td").text(thousands(input.keys));
                            m.tag("td").class("hash").inside(|m| {
                                m.code(&input.sha256);
                            });
                        });
                    }
                });
            });
        },
    );
    let typed = &report.typed;
    let share = |part: f64| Shape::Share(0).full((typed.messages > 0.0).then(|| part / typed.messages));
    m.tag("p").text(format_args!(
        "Together: {} of {}, {}, {} ({} sent, {} abandoned), {:.1} minutes of composing{}.",
        counted(report.study.timelines.len() as u64, "conversation"),
        counted(report.study.users as u64, "user"),
        counted(report.study.keys(), "key"),
        counted(typed.messages as u64, "message"),
        share(typed.sent),
        share(typed.abandoned),
        typed.composing / 60_000.0,
        report.duty.map_or_else(String::new, |duty| format!(
            ", which is {} of the chats’ life",
            Shape::Share(0).full(Some(duty))
        )),
    ));
}

fn parameters(m: &mut Markup, report: &Report) {
    let plan = &report.plan;
    let time = |millis: u64| Setting::time(millis).to_string();
    let wants: Vec<String> = plan.wants.iter().map(ToString::to_string).collect();
    let wants = if wants.is_empty() {
        "none".to_owned()
    } else {
        wants.join(", ").replace("<=", " ≤ ").replace(">=", " ≥ ")
    };
    let ttl = match plan.icon_ttl {
        IconTtl::Unknown => "unknown".to_owned(),
        IconTtl::Never => "none".to_owned(),
        IconTtl::After(millis) => time(millis),
    };
    let rows: [(&str, String, &str); 14] = [
        ("settings", thousands(plan.grid.len() as u64), "tried; what is in force was measured in any case"),
        ("--current", plan.current.to_string(), "the setting in force"),
        ("--want", wants, "the limits that a setting must keep"),
        ("--minimise", plan.minimise.name().to_owned(), named(plan.minimise)),
        ("--truth", plan.truth.kind.name().to_owned(), truth(plan.truth.kind)),
        ("--away", time(plan.truth.away), "the silence after which a user has gone"),
        (
            "--abandon",
            plan.abandon.map_or_else(|| "none".to_owned(), |share| said(Measure::Missed, share)),
            "the share of sent messages taken for abandoned",
        ),
        ("--icon-ttl", ttl, "after how long the console drops an icon by itself"),
        ("--latency", time(plan.link.latency), "what a request takes on its way, and its answer on the way back"),
        ("--loss", said(Measure::Missed, plan.link.loss), "the share of requests lost on their way"),
        ("--limit", format!("{}/s", plan.limit), "the requests that the org takes"),
        (
            "--composers",
            plan.composers.map_or_else(|| UNDEFINED.to_owned(), thousands),
            "how many people are expected to compose at a time",
        ),
        ("max_typing", time(plan.max_typing.as_millis() as u64), "the longest unbroken typing that is believed"),
        ("--seed", plan.seed.to_string(), "decides what chance decides"),
    ];
    m.tag("h3").text("What was asked");
    m.tag("table").class("parameters").inside(|m| {
        m.tag("caption").class("vh").text("The options and their values");
        m.tag("thead").class("vh").inside(|m| {
            m.tag("tr").inside(|m| {
                for name in ["option", "value", "meaning"] {
                    m.tag("th").with("scope", "col").text(name);
                }
            });
        });
        m.tag("tbody").inside(|m| {
            for (name, value, meaning) in rows {
                m.tag("tr").inside(|m| {
                    m.tag("th").with("scope", "row").inside(|m| {
                        m.code(name);
                    });
                    m.tag("td").text(value);
                    m.tag("td").text(meaning);
                });
            }
        });
    });
}

const fn truth(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "composing is from a message’s first key to its send, pauses included",
        Kind::Burst => "composing is only while keys follow each other closely; pauses are not",
        Kind::SentOnly => "composing is from a message’s first key to its send, if it was sent",
    }
}

fn definitions(m: &mut Markup, report: &Report) {
    m.tag("h3").text("What the measures mean");
    let away = Setting::time(report.plan.truth.away);
    m.tag("p").inside(|m| {
        m.strong("Composing").text(match report.plan.truth.kind {
            Kind::Message | Kind::SentOnly => {
                " begins with the first key of a message and ends with its send, or, if the user falls silent for more \
                 than "
            }
            Kind::Burst => " lasts while keys follow each other within two seconds; a user has gone after ",
        });
        m.text(away).text(match report.plan.truth.kind {
            Kind::Message => ", clears the box or leaves the chat, with the last key.",
            Kind::SentOnly => ", with the last key; what was not sent does not count.",
            Kind::Burst => ".",
        });
        m.text(
            " All figures pool time over time and count over count, of all users together; they are not means of means. \
             Intervals come from drawing users anew, not messages, for those of one user are alike.",
        );
    });
    m.tag("dl").class("definitions").inside(|m| {
        for column in &COLUMNS {
            m.tag("dt").inside(|m| {
                m.text(format_args!("{}, {}", column.group, column.name));
            });
            m.tag("dd").text(column.meaning);
        }
    });
    m.tag("p").inside(|m| {
        m.text(UNDEFINED).text(" is what is undefined, never nought: its reason stands beneath it. ");
        m.strong("Unbeaten").text(" is a setting than which no other is better in requests, recall or off-latency p95 ");
        m.text("without being worse in another of the three. ");
        if let Some(least) = report.ceiling_req_per_min {
            m.text(format_args!(
                "Whoever knew the future would reach recall 100 %, no flicker and off-latency 0 with {least:.1} requests a \
                 minute."
            ));
        }
    });
}

fn caveats(m: &mut Markup, report: &Report) {
    let plan = &report.plan;
    m.tag("h3").text("What these figures can’t tell");
    m.tag("ul").class("caveats").inside(|m| {
        let mut item = |text: &str| m.tag("li").text(text);
        item(
            "A trace may have its sends derived rather than recorded, as where longer texts were cut into messages; recall, \
             surprise and the share of abandoned drafts are then as good as that cut.",
        );
        item(
            "The moments of keys can identify who typed them. This page shows ids as the traces have them, and every key of \
             a few minutes: treat it, and the traces, as what they are.",
        );
        match plan.icon_ttl {
            IconTtl::Unknown => item(
                "Whether Salesforce’s console drops an icon by itself is not documented. Both cases are shown beneath the \
                 ranking; everything else supposes that it does not.",
            ),
            IconTtl::Never => item("It is taken for granted that the console never drops an icon by itself."),
            IconTtl::After(millis) => {
                let ttl = Setting::time(millis);
                item(&format!("It is taken for granted that the console drops an icon {ttl} after its latest TypingStarted."));
            }
        }
        if plan.link == Link::PERFECT {
            item("Requests arrive at once, and none gets lost; see --latency and --loss.");
        } else {
            item("Delays and losses are the same for all requests, and independent of each other; real ones come in clusters.");
        }
        item(
            "Not modelled: the queueing of requests near the org’s limit, muted channels, restarts of the daemon, what the \
             agent looks at, and that users may type differently when they see that they are seen.",
        );
        item(
            "What lies beyond the end of a trace is not counted: the last message of each conversation, and its icon, count \
             as far as they were observed.",
        );
        item(
            "Room for composers supposes that people type independently of each other. Where many begin at once, as after a \
             broadcast, there is less.",
        );
        if let Some(share) = plan.abandon {
            let share = said(Measure::Missed, share);
            item(&format!("{share} of the sent messages, drawn by the seed, were taken for abandoned; off-latency rests on them."));
        }
        if plan.truth.kind == Kind::Burst {
            let gap = Setting::time(BURST_GAP_MILLIS);
            item(&format!(
                "With --truth burst, a dismiss of {gap} or more has a recall of 100 % by construction: it can’t choose \
                 dismiss."
            ));
        }
    });
}
