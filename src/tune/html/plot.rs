//! Plain geometry. A picture is as wide as its place, and its text stays as large as the page's: places across are
//! hundredths, and only heights are in pixels.

use std::fmt;

use maud::{Markup, html};

use crate::tune::table::thousands;

/// A place or a length in hundredths of a picture, with as many decimals as an eye can tell apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(pub(super) f64);

impl Percent {
    pub(super) fn rounded(self) -> f64 {
        // Adding zero turns minus zero into zero.
        (self.0 * 100.0).round() / 100.0 + 0.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.rounded())
    }
}

/// An axis from nought to a round number, in about five round steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    step: f64,
    steps: u32,
}

impl Axis {
    pub(super) fn up_to(most: f64) -> Self {
        let length = if most > 0.0 { most } else { 1.0 };
        let power = 10f64.powf((length / 5.0).log10().floor());
        let round = [1.0, 2.0, 5.0].into_iter().find(|round| length / 5.0 <= round * power * 1.2).unwrap_or(10.0);
        let step = round * power;
        // A quotient that should be round may miss it by a little.
        Self { step, steps: (length / step - 1e-9).ceil().max(1.0) as u32 }
    }

    pub(super) fn end(self) -> f64 {
        self.step * f64::from(self.steps)
    }

    /// Where `value` lies, from 0 to 100; at the end if beyond it.
    pub(super) fn place(self, value: f64) -> f64 {
        (100.0 * value / self.end()).clamp(0.0, 100.0)
    }

    /// The round numbers, each with its place.
    pub(super) fn ticks(self) -> impl Iterator<Item = (f64, String)> {
        let decimals = (-(self.step * (1.0 + 1e-9)).log10().floor()).max(0.0) as usize;
        (0..=self.steps).map(move |number| {
            let value = self.step * f64::from(number);
            let text = if decimals > 0 && number > 0 {
                format!("{value:.decimals$}")
            } else {
                thousands(value.round() as u64)
            };
            (self.place(value), text)
        })
    }
}

/// What a reader who can't see a picture is told: the id of its texts, its title and its description.
pub(super) type Described<'a> = (&'a str, &'a str, &'a str);

/// A picture as wide as its place.
pub(super) fn picture(class: &str, height: u32, (id, title, text): Described<'_>, inner: &Markup) -> Markup {
    html! {
        svg class=(class) width="100%" height=(height) role="img" aria-labelledby={(id) "-title " (id) "-text"} {
            title id={(id) "-title"} { (title) }
            desc id={(id) "-text"} { (text) }
            (inner)
        }
    }
}

/// One of the shapes that the page defines, at a place.
pub(super) fn shape(class: &str, href: &str, x: impl fmt::Display, y: impl fmt::Display) -> Markup {
    html! { use class=(class) href=(href) x=(x) y=(y) {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_places_are_within() {
        for (most, texts) in [
            (100.0, "0 20 40 60 80 100"),
            (2_150.0, "0 500 1,000 1,500 2,000 2,500"),
            (0.31, "0 0.1 0.2 0.3 0.4"),
            (0.0, "0 0.2 0.4 0.6 0.8 1.0"),
            (30.0, "0 5 10 15 20 25 30"),
        ] {
            let ticks: Vec<_> = Axis::up_to(most).ticks().map(|(_, text)| text).collect();
            assert_eq!(ticks.join(" "), texts);
        }
        let axis = Axis::up_to(30.0);
        assert_eq!([-1.0, 0.0, 15.0, 30.0, 31.0].map(|value| axis.place(value)), [0.0, 0.0, 50.0, 100.0, 100.0]);
    }

    #[test]
    fn numbers_of_drawings_are_short() {
        for (number, text) in [(0.0, "0%"), (-0.001, "0%"), (12.345, "12.35%"), (100.0, "100%"), (-3.5, "-3.5%")] {
            assert_eq!(Percent(number).to_string(), text);
        }
    }
}
