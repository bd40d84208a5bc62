//! A minute of a user's typing under several settings: what the agent sees of it, as lanes beneath the keys.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::cast::Part;
use super::figure::{Shape, counted, joined, visible};
use super::plot::{Percent, picture, shape};
use crate::model::Reason;
use crate::tune::Report;
use crate::tune::strip::{Lane, STRIP_MILLIS, Strip, strips};

/// So many conversations can be chosen from.
pub(super) const STRIPS_MAX: usize = 6;
/// The seconds between the lines of the grid.
const GRID_SECONDS: usize = 10;
/// The heights of a lane's parts, in pixels: the icon on, the icon off, the marks beneath.
const ON_HEIGHT: u32 = 34;
const OFF_HEIGHT: u32 = 14;
const LANE_HEIGHT: u32 = 62;
/// A piece that is shorter than a pixel of a wide screen can't be told from its neighbours.
const PIECE_MILLIS_MIN: u64 = 20;
/// What the word "sent" takes of a lane on a telephone, in hundredths.
const SENT_WIDTH: f64 = 13.0;

/// What the icon and the user did for a while: the class of its drawing, its name, its height.
type Piece = (&'static str, &'static str, u32);
const SEEN: Piece = ("seen", "typing, icon on", ON_HEIGHT);
const MISSED: Piece = ("missed", "typing, icon off", OFF_HEIGHT);
const WRONG: Piece = ("wrong", "icon on for no one", ON_HEIGHT);
const PIECES: [Piece; 3] = [SEEN, MISSED, WRONG];

/// A lane taken apart where the icon or the user changed.
fn pieces(composing: &[(u64, u64)], on: &[(u64, u64)]) -> Vec<(u64, u64, Piece)> {
    let mut edges: Vec<u64> = composing.iter().chain(on).flat_map(|(from, to)| [*from, *to]).collect();
    edges.sort_unstable();
    edges.dedup();
    let within = |spans: &[(u64, u64)], at: u64| spans.iter().any(|(from, to)| (*from..*to).contains(&at));
    let mut found: Vec<(u64, u64, Piece)> = Vec::new();
    for edge in edges.windows(2) {
        let piece = match (within(composing, edge[0]), within(on, edge[0])) {
            (true, true) => SEEN,
            (true, false) => MISSED,
            (false, true) => WRONG,
            (false, false) => continue,
        };
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

/// The share of the typing in view during which the icon was on.
fn seen(pieces: &[(u64, u64, Piece)]) -> Option<f64> {
    let (seen, missed) = (millis(pieces, SEEN), millis(pieces, MISSED));
    (seen + missed > 0).then(|| seen as f64 / (seen + missed) as f64)
}

/// The section's content.
pub(super) fn section(report: &Report, cast: &[Part<'_>]) -> Markup {
    let settings: Vec<_> = cast.iter().map(|part| part.setting).collect();
    let found = strips(&report.study, &report.plan, &settings, STRIPS_MAX, report.current.recall.value);
    if found.is_empty() {
        return html! { p { "There is no stretch of typing to show." } };
    }
    html! {
        p.lead {
            "One minute of recorded typing, and what an agent would have seen of it under each setting. Each gap in a lane \
             is a time in which the user was still writing, and the icon said otherwise."
        }
        (key())
        fieldset.chooser {
            legend { @if found.len() > 1 { "Choose a conversation" } @else { "The conversation" } }
            @for (number, strip) in found.iter().enumerate() {
                @let (id, who) = (format!("talk-{number}"), visible(&strip.who));
                @let checked = (number == 0).then_some("checked");
                input.pick.{"pick-" (number)} type="radio" name="talk" id=(id) checked=[checked];
                label for=(id) title=(who) { span.user { bdi { (who) } } small { (minute(strip.from)) } }
            }
            @for (number, strip) in found.iter().enumerate() {
                figure.strip.{"strip-" (number)} { (one(number, strip, cast)) }
            }
        }
    }
}

/// A moment of a trace, from its start.
fn minute(millis: u64) -> String {
    let seconds = millis / 1_000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// What the marks mean.
fn key() -> Markup {
    html! {
        ul.key {
            @for piece in PIECES {
                li {
                    svg width="24" height="24" aria-hidden="true" viewBox={"0 0 " (ON_HEIGHT) " " (ON_HEIGHT)} {
                        (block(piece, "0", ON_HEIGHT))
                    }
                    span { (piece.1) }
                }
            }
            @for (class, href, text) in
                [("up first", "#up", "Started"), ("up again", "#up", "Started again"), ("down", "#down", "Stopped")]
            {
                li {
                    svg width="12" height="12" aria-hidden="true" { (shape(class, href, 6, 6)) }
                    span { (text) }
                }
            }
        }
    }
}

fn one(number: usize, strip: &Strip, cast: &[Part<'_>]) -> Markup {
    let lanes: Vec<_> =
        cast.iter().zip(&strip.lanes).map(|(part, lane)| (part, lane, pieces(&strip.composing, &lane.on))).collect();
    let shares: Vec<String> = lanes
        .iter()
        .filter_map(|(part, _, pieces)| {
            Some(format!("{} with {} ({})", Shape::Share(0).full(Some(seen(pieces)?)), part.setting, part.name))
        })
        .take(2)
        .collect();
    html! {
        figcaption {
            bdi { (visible(&strip.who)) } ", from " (minute(strip.from)) " to " (minute(strip.to)) " of the trace. "
            @if !shares.is_empty() { "Of the typing in view the icon shows " (joined(&shares)) "." }
        }
        div.lanes {
            (keys(number, strip))
            @for (at, (part, lane, pieces)) in lanes.iter().enumerate() {
                (row(&format!("lane-{number}-{at}"), strip, part, (lane, pieces)))
            }
            svg.lane.axis width="100%" height="20" aria-hidden="true" {
                @for seconds in (0..=STRIP_MILLIS / 1_000).step_by(GRID_SECONDS) {
                    text.tick.middle x=(at(strip, strip.from + 1_000 * seconds)) y="14" {
                        (seconds) @if seconds == 0 { "\u{a0}s" }
                    }
                }
            }
        }
    }
}

/// The keys, the sends and the truth.
fn keys(number: usize, strip: &Strip) -> Markup {
    let composed: u64 = strip.composing.iter().map(|(from, to)| to - from).sum();
    let (count, sends) = (counted(strip.keys.len() as u64, "key"), counted(strip.sends.len() as u64, "send"));
    let composed = |places| Shape::Seconds(places).full(Some(composed as f64));
    let text = format!("{count} and {sends} in a minute, of which {} are typing.", composed(1));
    let mut presses = String::new();
    for key in &strip.keys {
        let _ = write!(presses, "M{} 10V33", key - strip.from);
    }
    // Of sends that are close together only the first is named.
    let mut named: Vec<f64> = strip.sends.iter().map(|send| at(strip, *send).0).collect();
    named.dedup_by(|next, named| *next < *named + SENT_WIDTH);
    let inner = html! {
        (grid(strip))
        @for (from, to) in &strip.composing {
            rect.truth x=(at(strip, *from)) width=(length(strip, *from, *to)) y="38" height="8" {}
        }
        svg.stretched width="100%" height="100%" preserveAspectRatio="none"
            viewBox={"0 0 " (STRIP_MILLIS) " " (LANE_HEIGHT)} { path.press d=(presses) {} }
        (sent(strip))
        @for place in named {
            @let anchor = if place > 94.0 { "end" } else { "middle" };
            text.tick.(anchor) x=(Percent(place)) y="4" { "sent" }
        }
    };
    html! {
        p.who { b { "the user" } span { "keys, and typing" } }
        (picture("lane keys", LANE_HEIGHT, (&format!("keys-{number}"), "The keys, and when the user was typing", &text), &inner))
        p.tally { b { (count) } span { (composed(0)) " long" } }
    }
}

fn row(id: &str, strip: &Strip, part: &Part<'_>, (lane, pieces): (&Lane, &[(u64, u64, Piece)])) -> Markup {
    let requests = counted(lane.arrivals.len() as u64, "request");
    let times =
        PIECES.map(|piece| format!("{}: {}", piece.1, Shape::Seconds(1).full(Some(millis(pieces, piece) as f64))));
    let (title, text) = (format!("{}: {}", part.name, part.setting), format!("{}. {requests}.", times.join("; ")));
    let inner = html! {
        (grid(strip))
        line.base x2="100%" y1=(ON_HEIGHT) y2=(ON_HEIGHT) {}
        @for (from, to, piece) in pieces.iter().filter(|(from, to, _)| to - from >= PIECE_MILLIS_MIN) {
            (block(*piece, at(strip, *from), length(strip, *from, *to)))
        }
        @for arrival in &lane.arrivals {
            @let (class, href) = match arrival.reason {
                Reason::FirstKeystroke => ("up first", "#up"),
                Reason::Check => ("up again", "#up"),
                _ => ("down", "#down"),
            };
            (shape(class, href, at(strip, arrival.at), ON_HEIGHT + 10))
        }
        (sent(strip))
    };
    html! {
        p.who { b { (part.name) } span { (part.setting) } }
        (picture(&format!("lane {}", part.class), LANE_HEIGHT, (id, &title, &text), &inner))
        p.tally {
            b { (requests) }
            span { @if let Some(share) = seen(pieces) { (Shape::Share(0).full(Some(share))) " seen" } @else { "no typing" } }
        }
    }
}

/// High where the icon is on, low where it is off; plain where it is right, patterned where it is wrong.
fn block((class, _, height): Piece, x: impl std::fmt::Display, width: impl std::fmt::Display) -> Markup {
    html! { rect.(class) x=(x) width=(width) y=(ON_HEIGHT - height) height=(height) {} }
}

fn grid(strip: &Strip) -> Markup {
    html! {
        @for seconds in (0..=STRIP_MILLIS / 1_000).step_by(GRID_SECONDS) {
            @let x = at(strip, strip.from + 1_000 * seconds);
            line.grid x1=(x) x2=(x) y2="100%" {}
        }
    }
}

fn sent(strip: &Strip) -> Markup {
    html! {
        @for x in strip.sends.iter().map(|send| at(strip, *send)) { line.send x1=(x) x2=(x) y1="8" y2="100%" {} }
    }
}

/// Where a moment of a strip is.
fn at(strip: &Strip, at: u64) -> Percent {
    Percent(at.saturating_sub(strip.from) as f64 / STRIP_MILLIS as f64 * 100.0)
}

/// The difference of two rounded places: what two neighbours left between them would be a hair of white.
fn length(strip: &Strip, from: u64, to: u64) -> Percent {
    Percent(at(strip, to).rounded() - at(strip, from).rounded())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_taken_apart_where_something_changes() {
        for (name, composing, on, expected) in [
            ("nothing", vec![], vec![], vec![]),
            ("all right", vec![(0, 9)], vec![(0, 9)], vec![(0, 9, SEEN)]),
            ("never on", vec![(0, 9)], vec![], vec![(0, 9, MISSED)]),
            ("late and long", vec![(0, 9)], vec![(2, 12)], vec![(0, 2, MISSED), (2, 9, SEEN), (9, 12, WRONG)]),
            ("a gap", vec![(0, 9)], vec![(0, 3), (5, 9)], vec![(0, 3, SEEN), (3, 5, MISSED), (5, 9, SEEN)]),
            ("one icon over two", vec![(0, 3), (5, 9)], vec![(0, 9)], vec![(0, 3, SEEN), (3, 5, WRONG), (5, 9, SEEN)]),
            ("neighbours", vec![(0, 3), (3, 9)], vec![(0, 9)], vec![(0, 9, SEEN)]),
        ] {
            assert_eq!(pieces(&composing, &on), expected, "{name}");
        }
        assert_eq!(seen(&pieces(&[(0, 9)], &[(6, 12)])), Some(1.0 / 3.0));
        assert_eq!(seen(&pieces(&[], &[(6, 12)])), None);
    }
}
