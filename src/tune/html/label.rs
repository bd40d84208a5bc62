//! Labels beside the points that they name, placed so that none covers another, a mark, or the chart's edge.

use super::markup::{Markup, Place};
use super::plot::{Point, spot};

/// What is written beside a point.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) at: Point,
    pub(super) class: &'static str,
    /// Its lines; the first is the heading.
    pub(super) lines: Vec<String>,
}

/// A side of a point to write on: -1, 0 or 1 to the right and down.
type Side = (f64, f64);

/// The sides, the best first.
const SIDES: [Side; 8] =
    [(1.0, 0.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 0.0), (-1.0, -1.0), (-1.0, 1.0), (0.0, -1.0), (0.0, 1.0)];
/// The widths of a chart for which labels must be in order, in pixels: those of telephones, those of larger screens; with
/// the class that shows what is meant for them.
const WIDTHS: [(&str, [f64; 2]); 2] = [("narrow", [250.0, 420.0]), ("broad", [640.0, 1_080.0])];
/// From a point to its label, in pixels.
const GAP: f64 = 10.0;
/// What a chart has free at its sides, in pixels.
const MARGIN: f64 = 12.0;
/// What a letter and a line of a label take, in pixels.
const LETTER_WIDTH: f64 = 6.8;
const LINE_HEIGHT: f64 = 15.0;
/// What it costs, in square pixels, to cover a mark; and how much dearer than covering one another it is to stick out.
const MARK_COST: f64 = 120.0;
const OUTSIDE_COST: f64 = 20.0;
/// More labels than this are placed one after another: all their sides together are too many to try.
const LABELS_TRIED_MAX: usize = 5;

/// Writes `labels` in a chart of `height` pixels, clear of the `marks` if that can be.
pub(super) fn write(m: &mut Markup, labels: &[Label], marks: &[Point], height: f64) {
    let [narrow, broad] = WIDTHS.map(|(class, widths)| (class, sides(labels, marks, &widths, height)));
    for (number, label) in labels.iter().enumerate() {
        if narrow.1[number] == broad.1[number] {
            one(m, label, "", narrow.1[number]);
        } else {
            for (class, sides) in [&narrow, &broad] {
                one(m, label, class, sides[number]);
            }
        }
    }
}

fn one(m: &mut Markup, label: &Label, width: &str, side: Side) {
    let (_, top, ..) = offsets(label, side);
    let anchor = match side.0 {
        0.0 => "middle",
        right if right > 0.0 => "start",
        _ => "end",
    };
    spot(m, label.at, |m| {
        for (number, line) in label.lines.iter().enumerate() {
            let y = top + LINE_HEIGHT * (number as f64 + 1.0) - 3.5;
            let head = if number == 0 { " head" } else { "" };
            let text = m.tag("text").class(format_args!("label{head} {} {width}", label.class));
            let text = text.with("x", Place(side.0 * gap(side))).with("y", Place(y)).with("text-anchor", anchor);
            text.text(line);
        }
    });
}

/// The side of each label: of all combinations the cheapest.
fn sides(labels: &[Label], marks: &[Point], widths: &[f64], height: f64) -> Vec<Side> {
    let mut chosen: Vec<usize> = Vec::new();
    for labels in labels.chunks(LABELS_TRIED_MAX) {
        let alone: Vec<Vec<f64>> = labels
            .iter()
            .map(|label| {
                SIDES
                    .iter()
                    .enumerate()
                    .map(|(i, side)| 2.0 * i as f64 + cost(label, *side, marks, (widths, height)))
                    .collect()
            })
            .collect();
        let combinations = SIDES.len().pow(labels.len() as u32);
        let sides_of = |number: usize| (0..labels.len()).map(move |i| number / SIDES.len().pow(i as u32) % SIDES.len());
        let price = |number: &usize| {
            let sides: Vec<usize> = sides_of(*number).collect();
            let single: f64 = sides.iter().zip(&alone).map(|(side, costs)| costs[*side]).sum();
            let pairs = (0..labels.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
            single
                + pairs
                    .map(|(i, j)| covering((&labels[i], sides[i]), (&labels[j], sides[j]), (widths, height)))
                    .sum::<f64>()
        };
        let best = (0..combinations).map(|number| (price(&number), number)).min_by(|a, b| a.0.total_cmp(&b.0));
        chosen.extend(sides_of(best.map_or(0, |(_, number)| number)));
    }
    chosen.into_iter().map(|side| SIDES[side]).collect()
}

/// From a point to its label: at a corner less than at a side.
fn gap((right, down): Side) -> f64 {
    if right == 0.0 || down == 0.0 { GAP } else { 0.7 * GAP }
}

/// Left, top, right and bottom of a label, in pixels from its point.
fn offsets(label: &Label, (right, down): Side) -> (f64, f64, f64, f64) {
    let letters = label.lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let (width, height) = (letters as f64 * LETTER_WIDTH, label.lines.len() as f64 * LINE_HEIGHT);
    let gap = gap((right, down));
    let left = if right == 0.0 {
        -width / 2.0
    } else if right > 0.0 {
        gap
    } else {
        -gap - width
    };
    let top = if down == 0.0 {
        -height / 2.0
    } else if down > 0.0 {
        gap
    } else {
        -gap - height
    };
    (left, top, left + width, top + height)
}

/// The same in pixels of a chart of the size `width` by `height`.
fn place(label: &Label, side: Side, width: f64, height: f64) -> (f64, f64, f64, f64) {
    let (x, y) = (label.at.0 / 100.0 * width, label.at.1 / 100.0 * height);
    let (left, top, right, bottom) = offsets(label, side);
    (x + left, y + top, x + right, y + bottom)
}

fn cost(label: &Label, side: Side, marks: &[Point], (widths, height): (&[f64], f64)) -> f64 {
    let one = |width: &f64| {
        let (left, top, right, bottom) = place(label, side, *width, height);
        let outside = (-left - MARGIN).max(0.0)
            + (right - width - MARGIN).max(0.0)
            + (-top).max(0.0)
            + (bottom - height).max(0.0);
        let covered = marks.iter().filter(|(x, y)| {
            let (x, y) = (x / 100.0 * width, y / 100.0 * height);
            x > left - 3.0 && x < right + 3.0 && y > top - 3.0 && y < bottom + 3.0
        });
        OUTSIDE_COST * outside * LINE_HEIGHT + MARK_COST * covered.count() as f64
    };
    widths.iter().map(one).sum()
}

/// How many square pixels of each other two labels cover; dearly, for neither can be read then.
fn covering(
    (one, side): (&Label, usize),
    (other, other_side): (&Label, usize),
    (widths, height): (&[f64], f64),
) -> f64 {
    let on = |width: &f64| {
        let (a, b) = (place(one, SIDES[side], *width, height), place(other, SIDES[other_side], *width, height));
        let (across, down) = (a.2.min(b.2) - a.0.max(b.0), a.3.min(b.3) - a.1.max(b.1));
        if across > 0.0 && down > 0.0 { 10.0 * across * down } else { 0.0 }
    };
    widths.iter().map(on).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(x: f64, y: f64) -> Label {
        Label { at: (x, y), class: "", lines: vec!["recommended".to_owned(), "idle 10s/5s".to_owned()] }
    }

    #[test]
    fn labels_evade_each_other_the_marks_and_the_edge() {
        assert_eq!(sides(&[label(0.0, 50.0)], &[], &[250.0, 1_000.0], 300.0), [(1.0, 0.0)]);
        let corner = sides(&[label(100.0, 100.0)], &[], &[250.0, 1_000.0], 300.0)[0];
        assert_eq!(corner, (-1.0, -1.0));
        let crowd: Vec<Point> = (0..9).map(|i| (30.0 + f64::from(i), 50.0)).collect();
        assert_ne!(sides(&[label(29.0, 50.0)], &crowd, &[250.0, 1_000.0], 300.0)[0], (1.0, 0.0));
        let close = [label(50.0, 50.0), label(51.0, 52.0), label(52.0, 50.0)];
        let found = sides(&close, &[], &[250.0, 1_000.0], 300.0);
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let place = |k: usize| SIDES.iter().position(|side| *side == found[k]).unwrap();
            assert_eq!(
                covering((&close[i], place(i)), (&close[j], place(j)), (&[250.0, 1_000.0], 300.0)),
                0.0,
                "{found:?}"
            );
        }
        assert_eq!(
            sides(&vec![label(1.0, 1.0); 7], &[], &[250.0, 1_000.0], 300.0).len(),
            7,
            "more than can be tried together"
        );
    }
}
