//! A minute of somebody's typing under several settings: what the agent sees of it, as lanes beneath the keys.

use std::fmt::Write as _;

use super::cast::Part;
use super::figure::{Shape, counted, joined};
use super::markup::{Markup, Percent, Place};
use super::plot::{picture, stretched};
use crate::model::{Indicator, Reason};
use crate::tune::Report;
use crate::tune::play::Link;
use crate::tune::strip::{Lane, STRIP_MILLIS, Strip, strips};

/// So many conversations can be chosen from.
pub(super) const STRIPS_MAX: usize = 6;
/// The seconds between the lines of the grid.
const GRID_SECONDS: u64 = 10;
/// The heights of a lane's parts, in pixels: the icon on, the icon off, the marks beneath.
const ON_HEIGHT: u32 = 34;
const OFF_HEIGHT: u32 = 14;
const LANE_HEIGHT: u32 = 62;
const KEY_SIZE: u32 = 24;
/// A piece that is shorter than a pixel of a wide screen can't be told from its neighbours.
const PIECE_MILLIS_MIN: u64 = 20;

/// What the icon and the user did for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Both the icon was on and the user composed.
    Seen,
    /// The user composed alone.
    Missed,
    /// The icon was on alone.
    Wrong,
}

impl Piece {
    const fn class(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Missed => "missed",
            Self::Wrong => "wrong",
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::Seen => "composing, icon on",
            Self::Missed => "composing, icon off",
            Self::Wrong => "icon on, nobody composing",
        }
    }
}

/// A lane taken apart where the icon or the user changed.
fn pieces(composing: &[(u64, u64)], lit: &[(u64, u64)]) -> Vec<(u64, u64, Piece)> {
    let mut edges: Vec<u64> = composing.iter().chain(lit).flat_map(|(from, to)| [*from, *to]).collect();
    edges.sort_unstable();
    edges.dedup();
    let within = |spans: &[(u64, u64)], at: u64| spans.iter().any(|(from, to)| (*from..*to).contains(&at));
    let kind = |at: u64| match (within(composing, at), within(lit, at)) {
        (true, true) => Some(Piece::Seen),
        (true, false) => Some(Piece::Missed),
        (false, true) => Some(Piece::Wrong),
        (false, false) => None,
    };
    let mut found: Vec<(u64, u64, Piece)> = Vec::new();
    for edge in edges.windows(2) {
        let Some(piece) = kind(edge[0]) else { continue };
        match found.last_mut() {
            Some((_, to, last)) if *to == edge[0] && *last == piece => *to = edge[1],
            _ => found.push((edge[0], edge[1], piece)),
        }
    }
    found
}

fn millis(pieces: &[(u64, u64, Piece)], wanted: Piece) -> u64 {
    pieces.iter().filter(|(.., piece)| *piece == wanted).map(|(from, to, _)| to - from).sum()
}

/// The share of the composing in view during which the icon was on.
fn seen(pieces: &[(u64, u64, Piece)]) -> Option<f64> {
    let (seen, missed) = (millis(pieces, Piece::Seen), millis(pieces, Piece::Missed));
    (seen + missed > 0).then(|| seen as f64 / (seen + missed) as f64)
}

/// The section's content.
pub(super) fn section(m: &mut Markup, report: &Report, cast: &[Part<'_>]) {
    let settings: Vec<_> = cast.iter().map(|part| part.setting).collect();
    let found = strips(&report.study, &report.plan, &settings, STRIPS_MAX);
    if found.is_empty() {
        m.tag("p").text("There is no stretch of typing to show.");
        return;
    }
    m.tag("p").class("lead").inside(|m| {
        m.text(
            "One minute of recorded typing, and what an agent would have seen of it under each setting. \
             Each gap in a lane is a time in which the user was still writing, and the icon said otherwise.",
        );
    });
    key(m);
    m.tag("fieldset").class("chooser").inside(|m| {
        m.tag("legend").text(if found.len() > 1 { "Choose a conversation" } else { "The conversation" });
        for (number, strip) in found.iter().enumerate() {
            choice(m, number, strip);
        }
        for (number, strip) in found.iter().enumerate() {
            m.tag("figure").class(format_args!("strip strip-{number}")).inside(|m| one(m, report, number, strip, cast));
        }
    });
}

fn choice(m: &mut Markup, number: usize, strip: &Strip) {
    let id = format!("talk-{number}");
    let input = m.tag("input").with("type", "radio").with("name", "talk").with("id", &id);
    let input = input.class(format_args!("pick pick-{number}"));
    if number == 0 {
        input.with("checked", "checked").alone()
    } else {
        input.alone()
    }
    m.tag("label").with("for", &id).with("title", &strip.who).inside(|m| {
        m.tag("span").class("user").inside(|m| {
            m.name(&strip.who);
        });
        m.tag("small").text(minute(strip.from));
    });
}

/// A moment of a trace, from its start.
fn minute(millis: u64) -> String {
    let seconds = millis / 1_000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// What the marks mean.
fn key(m: &mut Markup) {
    m.tag("ul").class("key").inside(|m| {
        for piece in [Piece::Seen, Piece::Missed, Piece::Wrong] {
            m.tag("li").inside(|m| {
                let svg = m.tag("svg").with("width", KEY_SIZE).with("height", KEY_SIZE).with("aria-hidden", "true");
                svg.with("viewBox", format_args!("0 0 {ON_HEIGHT} {ON_HEIGHT}")).inside(|m| {
                    block(m, piece, (0, ON_HEIGHT));
                });
                m.tag("span").text(match piece {
                    Piece::Seen => "composing, icon on",
                    Piece::Missed => "composing, icon off: missed",
                    Piece::Wrong => "icon on, nobody composing",
                });
            });
        }
        for (shapes, text) in [
            (&[("up first", "6")][..], "Started"),
            (&[("up again", "6")], "Started again"),
            (&[("down", "6")], "Stopped"),
        ] {
            m.tag("li").inside(|m| {
                m.tag("svg").with("width", "12").with("height", "12").with("aria-hidden", "true").inside(|m| {
                    for (class, x) in shapes {
                        mark(m, class, *x, 6);
                    }
                });
                m.tag("span").text(text);
            });
        }
    });
}

fn one(m: &mut Markup, report: &Report, number: usize, strip: &Strip, cast: &[Part<'_>]) {
    let all: Vec<_> = strip.lanes.iter().map(|lane| pieces(&strip.composing, &lane.lit)).collect();
    m.tag("figcaption").inside(|m| {
        m.name(&strip.who);
        m.text(format_args!(", from {} to {} of the trace. ", minute(strip.from), minute(strip.to)));
        takeaway(m, cast, &all);
    });
    m.tag("div").class("lanes").inside(|m| {
        keys(m, number, strip);
        for (at, (part, (lane, pieces))) in cast.iter().zip(strip.lanes.iter().zip(&all)).enumerate() {
            let id = format!("lane-{number}-{at}");
            row(m, report, part, (&id, strip, lane, pieces));
        }
        axis(m, strip);
    });
}

/// What the picture says, in a sentence.
fn takeaway(m: &mut Markup, cast: &[Part<'_>], all: &[Vec<(u64, u64, Piece)>]) {
    let told: Vec<String> = cast
        .iter()
        .zip(all)
        .filter_map(|(part, pieces)| {
            let share = Shape::Share(0).full(Some(seen(pieces)?));
            Some(format!("{share} with {} ({})", part.setting, part.name()))
        })
        .take(2)
        .collect();
    if !told.is_empty() {
        m.text(format_args!("Of the composing in view the icon shows {}.", joined(&told)));
    }
}

/// The keys, the sends and the truth.
fn keys(m: &mut Markup, number: usize, strip: &Strip) {
    let count = counted(strip.keys.len() as u64, "key");
    name(m, "the user", "keys, and composing");
    let composed: u64 = strip.composing.iter().map(|(from, to)| to - from).sum();
    let id = format!("keys-{number}");
    let text = format!(
        "{count} and {} in a minute, of which {} are composing.",
        counted(strip.sends.len() as u64, "send"),
        Shape::Seconds(1).full(Some(composed as f64)),
    );
    picture(m, "lane keys", LANE_HEIGHT, (&id, "The keys, and when the user was composing", &text), |m| {
        grid(m, strip);
        for (from, to) in &strip.composing {
            let (x, width) = (at(strip, *from), length(strip, *from, *to));
            m.tag("rect").class("truth").with("x", x).with("width", width).with("y", "38").with("height", "8").alone();
        }
        let mut path = String::new();
        for key in &strip.keys {
            let _ = write!(path, "M{} 10V33", key - strip.from);
        }
        stretched(m, (STRIP_MILLIS, u64::from(LANE_HEIGHT)), |m| m.tag("path").class("press").with("d", path).alone());
        sends(m, strip);
        let mut free = 0.0;
        for send in &strip.sends {
            let place = hundredths(strip, *send);
            if place >= free {
                let anchor = if place > 94.0 { "end" } else { "middle" };
                let text = m.tag("text").class("tick").with("x", Percent(place)).with("y", "4");
                text.with("text-anchor", anchor).text("sent");
                free = place + SENT_HUNDREDTHS;
            }
        }
    });
    m.tag("p").class("tally").inside(|m| {
        m.strong(strip.keys.len()).text(if strip.keys.len() == 1 { " key" } else { " keys" });
        m.tag("br").alone();
        m.text(Shape::Seconds(0).full(Some(composed as f64))).text(" long");
    });
}

fn name(m: &mut Markup, name: &str, setting: impl std::fmt::Display) {
    m.tag("p").class("who").inside(|m| {
        m.tag("b").text(name);
        m.tag("span").text(setting);
    });
}

fn row(
    m: &mut Markup,
    report: &Report,
    part: &Part<'_>,
    (id, strip, lane, pieces): (&str, &Strip, &Lane, &[(u64, u64, Piece)]),
) {
    name(m, part.label(), part.setting);
    let counts = [Piece::Seen, Piece::Missed, Piece::Wrong].map(|piece| {
        let seconds = Shape::Seconds(1).full(Some(millis(pieces, piece) as f64));
        format!("{}: {seconds}", piece.told())
    });
    let (started, stopped) = told(lane);
    let text = format!(
        "{}. {started} TypingStarted and {stopped} TypingStopped {}.",
        counts.join("; "),
        if report.plan.link == Link::PERFECT { "were sent" } else { "arrived" },
    );
    let title = format!("{}: {}", part.name(), part.setting);
    picture(m, &format!("lane {}", part.class()), LANE_HEIGHT, (id, &title, &text), |m| {
        grid(m, strip);
        m.tag("line").class("base").with("x2", "100%").with("y1", ON_HEIGHT).with("y2", ON_HEIGHT).alone();
        for (from, to, piece) in pieces.iter().filter(|(from, to, _)| to - from >= PIECE_MILLIS_MIN) {
            let place = (at(strip, *from), length(strip, *from, *to));
            block(m, *piece, place);
        }
        for arrival in &lane.arrivals {
            let class = match arrival.reason {
                Reason::FirstKeystroke => "up first",
                Reason::Check => "up again",
                _ => "down",
            };
            mark(m, class, at(strip, arrival.at), ON_HEIGHT + 10);
        }
        sends(m, strip);
    });
    m.tag("p").class("tally").inside(|m| {
        let requests = lane.arrivals.len();
        m.strong(requests).text(if requests == 1 { " request" } else { " requests" });
        m.tag("br").alone();
        match seen(pieces) {
            Some(share) => m.text(Shape::Share(0).full(Some(share))).text(" seen"),
            None => m.text("no composing"),
        };
    });
}

fn told(lane: &Lane) -> (usize, usize) {
    let started = |reason: Reason| reason.indicator() == Indicator::TypingStarted;
    let started = lane.arrivals.iter().filter(|arrival| started(arrival.reason)).count();
    (started, lane.arrivals.len() - started)
}

/// High where the icon is on, low where it is off; plain where it is right, patterned where it is wrong.
fn block(m: &mut Markup, piece: Piece, (x, width): (impl std::fmt::Display, impl std::fmt::Display)) {
    let height = if piece == Piece::Missed { OFF_HEIGHT } else { ON_HEIGHT };
    let rect = m.tag("rect").class(piece.class()).with("x", x).with("width", width);
    rect.with("y", ON_HEIGHT - height).with("height", height).alone();
}

fn mark(m: &mut Markup, class: &str, x: impl std::fmt::Display, y: u32) {
    let shape = if class == "down" { "#down" } else { "#up" };
    m.tag("use").class(class).with("href", shape).with("x", x).with("y", y).alone();
}

fn grid(m: &mut Markup, strip: &Strip) {
    for seconds in (0..=STRIP_MILLIS / 1_000).step_by(GRID_SECONDS as usize) {
        let x = at(strip, strip.from + 1_000 * seconds);
        m.tag("line").class("grid").with("x1", x).with("x2", x).with("y2", "100%").alone();
    }
}

fn sends(m: &mut Markup, strip: &Strip) {
    for send in &strip.sends {
        let x = at(strip, *send);
        m.tag("line").class("send").with("x1", x).with("x2", x).with("y1", "8").with("y2", "100%").alone();
    }
}

fn axis(m: &mut Markup, strip: &Strip) {
    m.tag("svg").class("lane axis").with("width", "100%").with("height", "20").with("aria-hidden", "true").inside(
        |m| {
            for seconds in (0..=STRIP_MILLIS / 1_000).step_by(GRID_SECONDS as usize) {
                let text =
                    m.tag("text").class("tick").with("x", at(strip, strip.from + 1_000 * seconds)).with("y", "14");
                let text = text.with("text-anchor", "middle");
                if seconds == 0 { text.text("0\u{a0}s") } else { text.text(seconds) }
            }
        },
    );
}

fn hundredths(strip: &Strip, at: u64) -> f64 {
    (at.saturating_sub(strip.from)) as f64 / STRIP_MILLIS as f64 * 100.0
}

fn at(strip: &Strip, at: u64) -> Percent {
    Percent(hundredths(strip, at))
}

fn length(strip: &Strip, from: u64, to: u64) -> Percent {
    // What two neighbours leave between them after rounding would be a hair of white.
    Percent(Place(hundredths(strip, to)).rounded() - Place(hundredths(strip, from)).rounded())
}

/// What the word "sent" takes of a lane on a telephone.
const SENT_HUNDREDTHS: f64 = 13.0;

#[cfg(test)]
mod tests {
    use super::*;
    use Piece::{Missed, Seen, Wrong};

    #[test]
    fn a_lane_is_taken_apart_where_something_changes() {
        for (name, composing, lit, expected) in [
            ("nothing", vec![], vec![], vec![]),
            ("all right", vec![(0, 9)], vec![(0, 9)], vec![(0, 9, Seen)]),
            ("never on", vec![(0, 9)], vec![], vec![(0, 9, Missed)]),
            ("late and long", vec![(0, 9)], vec![(2, 12)], vec![(0, 2, Missed), (2, 9, Seen), (9, 12, Wrong)]),
            ("a gap", vec![(0, 9)], vec![(0, 3), (5, 9)], vec![(0, 3, Seen), (3, 5, Missed), (5, 9, Seen)]),
            ("one icon over two", vec![(0, 3), (5, 9)], vec![(0, 9)], vec![(0, 3, Seen), (3, 5, Wrong), (5, 9, Seen)]),
            ("neighbours", vec![(0, 3), (3, 9)], vec![(0, 9)], vec![(0, 9, Seen)]),
        ] {
            assert_eq!(pieces(&composing, &lit), expected, "{name}");
        }
        assert_eq!(seen(&pieces(&[(0, 9)], &[(6, 12)])), Some(1.0 / 3.0));
        assert_eq!(seen(&pieces(&[], &[(6, 12)])), None);
    }
}
