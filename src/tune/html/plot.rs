//! The frame of a chart: axes with their names, a light grid, lines. It is as wide as its place, and its text stays as
//! large as the page's: places along an axis are hundredths, and only what surrounds them is in pixels.

use std::fmt::Write as _;

use super::axis::Axis;
use super::markup::{Markup, Percent, Place};

/// A chart to be drawn.
pub(super) struct Plot<'a> {
    /// Unique on the page.
    pub(super) id: &'static str,
    pub(super) title: &'a str,
    /// What a reader who can't see it should know.
    pub(super) description: &'a str,
    /// In pixels.
    pub(super) height: u32,
    pub(super) x: &'a Axis,
    pub(super) x_name: &'a str,
    pub(super) y: &'a Axis,
    pub(super) y_name: &'a str,
}

/// A point of a chart, in hundredths of its width from the left and of its height from the top.
pub(super) type Point = (f64, f64);

impl Plot<'_> {
    /// Where a pair of values lies.
    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        (self.x.place(x), 100.0 - self.y.place(y))
    }

    /// Draws the frame, and whatever `inner` draws in it.
    pub(super) fn draw(&self, m: &mut Markup, inner: impl FnOnce(&mut Markup)) {
        m.tag("div").class("plot").inside(|m| {
            m.tag("p").class("axis-name").with("aria-hidden", "true").text(self.y_name);
            picture(m, "plotted", self.height, (self.id, self.title, self.description), |m| {
                self.grid(m);
                inner(m);
            });
            m.tag("p").class("axis-name across").with("aria-hidden", "true").text(self.x_name);
        });
    }

    fn grid(&self, m: &mut Markup) {
        for (value, text) in self.y.ticks() {
            let y = Percent(100.0 - self.y.place(value));
            m.tag("line").class("grid").with("x2", "100%").with("y1", y).with("y2", y).alone();
            m.tag("text")
                .class("tick")
                .with("x", "-8")
                .with("y", y)
                .with("dy", "4")
                .with("text-anchor", "end")
                .text(text);
        }
        for (value, text) in self.x.ticks() {
            let x = Percent(self.x.place(value));
            m.tag("line").class("grid").with("x1", x).with("x2", x).with("y2", "100%").alone();
            m.tag("text")
                .class("tick")
                .with("x", x)
                .with("y", self.height + 18)
                .with("text-anchor", "middle")
                .text(text);
        }
    }
}

/// A picture with a title and a description, as wide as its place and `height` pixels high.
pub(super) fn picture(
    m: &mut Markup,
    class: &str,
    height: u32,
    (id, title, description): (&str, &str, &str),
    inner: impl FnOnce(&mut Markup),
) {
    let svg = m.tag("svg").class(class).with("width", "100%").with("height", height).with("role", "img");
    svg.with("aria-labelledby", format_args!("{id}-title {id}-text")).inside(|m| {
        m.tag("title").with("id", format_args!("{id}-title")).text(title);
        m.tag("desc").with("id", format_args!("{id}-text")).text(description);
        inner(m);
    });
}

/// Lines through points; a pen that is lifted begins another.
pub(super) fn lines(m: &mut Markup, class: &str, strokes: &[Vec<Point>]) {
    let mut path = String::new();
    for stroke in strokes {
        for (i, (x, y)) in stroke.iter().enumerate() {
            let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, Place(*x), Place(*y));
        }
    }
    stretched(m, (100, 100), |m| m.tag("path").class(class).with("d", path).alone());
}

/// Drawings whose own measures are stretched over the whole picture, with strokes that stay as thin as they are.
pub(super) fn stretched(m: &mut Markup, (width, height): (u64, u64), inner: impl FnOnce(&mut Markup)) {
    let svg = m.tag("svg").class("stretched").with("width", "100%").with("height", "100%");
    svg.with("viewBox", format_args!("0 0 {width} {height}")).with("preserveAspectRatio", "none").inside(inner);
}

/// A straight line between two points.
pub(super) fn straight(m: &mut Markup, class: &str, (x1, y1): Point, (x2, y2): Point) {
    let line = m.tag("line").class(class).with("x1", Percent(x1)).with("y1", Percent(y1));
    line.with("x2", Percent(x2)).with("y2", Percent(y2)).alone();
}

/// Draws around a point, in pixels.
pub(super) fn spot(m: &mut Markup, (x, y): Point, inner: impl FnOnce(&mut Markup)) {
    m.tag("svg").class("spot").with("x", Percent(x)).with("y", Percent(y)).inside(inner);
}
