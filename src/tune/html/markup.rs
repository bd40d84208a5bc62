//! Markup as it is written: whatever is opened gets closed, and whatever comes from outside is escaped.

use std::fmt::{self, Display, Write};

/// A page, or a part of one. HTML and SVG alike, and well-formed as XML, too.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// An element; what is called on the result ends it.
    pub(super) fn tag(&mut self, name: &'static str) -> Tag<'_> {
        self.0.push('<');
        self.0.push_str(name);
        Tag { markup: self, name }
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        self.escaped(text);
        self
    }

    /// Text in bold, escaped.
    pub(super) fn strong(&mut self, text: impl Display) -> &mut Self {
        self.tag("b").text(text);
        self
    }

    /// Text of a program, escaped.
    pub(super) fn code(&mut self, text: impl Display) -> &mut Self {
        self.tag("code").text(text);
        self
    }

    /// A name that somebody else chose: whichever way its script runs, it leaves the text around it in order.
    pub(super) fn name(&mut self, text: impl Display) -> &mut Self {
        self.tag("bdi").text(text);
        self
    }

    /// What this program itself has ready.
    pub(super) fn verbatim(&mut self, text: &'static str) {
        self.0.push_str(text);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn escaped(&mut self, text: impl Display) {
        let written = write!(Escaping(&mut self.0), "{text}");
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

/// An element whose attributes are being written.
#[must_use = "an element ends with `text`, `inside` or `alone`"]
pub(super) struct Tag<'a> {
    markup: &'a mut Markup,
    name: &'static str,
}

impl Tag<'_> {
    pub(super) fn with(self, name: &'static str, value: impl Display) -> Self {
        self.markup.0.push(' ');
        self.markup.0.push_str(name);
        self.markup.0.push_str("=\"");
        self.markup.escaped(value);
        self.markup.0.push('"');
        self
    }

    pub(super) fn class(self, value: impl Display) -> Self {
        self.with("class", value)
    }

    /// Ends it with nothing inside; only for SVG and for HTML's void elements.
    pub(super) fn alone(self) {
        self.markup.0.push_str("/>");
    }

    /// Ends it with a text, which is escaped.
    pub(super) fn text(self, text: impl Display) {
        self.inside(|m| m.escaped(text));
    }

    /// Ends it with whatever `inner` writes.
    pub(super) fn inside(self, inner: impl FnOnce(&mut Markup)) {
        self.markup.0.push('>');
        inner(self.markup);
        self.markup.0.push_str("</");
        self.markup.0.push_str(self.name);
        self.markup.0.push('>');
    }
}

/// Escapes on the way into a string. The same in text and in attributes, so that no place can get the wrong one.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(char),
                // Neither XML nor a reader has a use for these.
                '\u{fffe}' | '\u{ffff}' => self.0.push(char::REPLACEMENT_CHARACTER),
                char if char.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                char => self.0.push(char),
            }
        }
        Ok(())
    }
}

/// A place or a length in hundredths of a plot, with as many decimals as an eye can tell apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percent(pub(super) f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Place(self.0))
    }
}

/// A number of a drawing with no more than two decimals, none of them idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(pub(super) f64);

impl Place {
    /// The number as it is written.
    pub(super) fn rounded(self) -> f64 {
        // Adding zero turns minus zero into zero.
        (self.0 * 100.0).round() / 100.0 + 0.0
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_assert!(self.0.is_finite(), "a place is somewhere");
        let text = format!("{:.2}", self.rounded());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        let mut m = Markup::default();
        m.tag("p").with("title", "\"><script>'").inside(|m| {
            m.name("<script>alert(1)</script>&\u{1}\u{202e}");
            m.tag("br").alone();
        });
        assert_eq!(
            m.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;&#39;\">\
             <bdi>&lt;script&gt;alert(1)&lt;/script&gt;&amp;\u{fffd}\u{202e}</bdi><br/></p>"
        );
    }

    #[test]
    fn numbers_of_drawings_are_short() {
        for (number, text) in [(0.0, "0"), (-0.001, "0"), (12.345, "12.35"), (100.0, "100"), (-3.5, "-3.5")] {
            assert_eq!(Place(number).to_string(), text);
        }
        assert_eq!(Percent(33.333_333).to_string(), "33.33%");
    }
}
