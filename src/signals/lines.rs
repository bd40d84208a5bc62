//! Lines of a stream: whole ones within a bound, however the bytes are cut on their way.

use crate::signals::json::LINE_BYTES_MAX;

/// Cuts a stream into lines, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    /// The line in `partial` has outgrown its bound: its rest is skipped.
    overlong: bool,
    next_index: usize,
}

impl Lines {
    /// Takes the next piece, and hands the lines that end in it to `line`, each with its index from 0 and without its
    /// end.
    pub(crate) fn feed(&mut self, mut data: &[u8], mut line: impl FnMut(usize, Result<&[u8], Overlong>)) {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (head, rest) = (&data[..end], &data[end + 1..]);
            data = rest;
            if self.is_between() {
                let whole = if head.len() > LINE_BYTES_MAX { Err(Overlong) } else { Ok(head) };
                line(self.next_index, whole);
                self.next_index += 1;
            } else {
                self.grow(head);
                self.finish(&mut line);
            }
        }
        self.grow(data);
    }

    fn grow(&mut self, data: &[u8]) {
        self.overlong |= self.partial.len() + data.len() > LINE_BYTES_MAX;
        if self.overlong {
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(data);
        }
    }

    /// Whether the next byte begins a line.
    pub(crate) fn is_between(&self) -> bool {
        self.partial.is_empty() && !self.overlong
    }

    /// Ends the line that has begun, if one has.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(usize, Result<&[u8], Overlong>)) {
        if self.overlong {
            line(self.next_index, Err(Overlong));
        } else if !self.partial.is_empty() {
            line(self.next_index, Ok(&self.partial));
        } else {
            return;
        }
        self.next_index += 1;
        self.partial.clear();
        self.overlong = false;
    }
}

/// A line is longer than [`LINE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_lines_whatever_pieces_it_comes_in() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("one\n\n{long}\ntwo\r\nhalf");
        let whole = |text: &str, piece: usize| {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            let mut note = |index: usize, line: Result<&[u8], Overlong>| {
                seen.push((index, line.map(|line| String::from_utf8_lossy(line).into_owned())));
            };
            for data in text.as_bytes().chunks(piece) {
                lines.feed(data, &mut note);
            }
            lines.finish(&mut note);
            seen
        };
        let expected = vec![
            (0, Ok("one".to_owned())),
            (1, Ok(String::new())),
            (2, Err(Overlong)),
            (3, Ok("two\r".to_owned())),
            (4, Ok("half".to_owned())),
        ];
        for piece in [1, 2, 3, 7, 4_096, 1 << 20] {
            assert_eq!(whole(&text, piece), expected, "pieces of {piece} bytes");
        }
    }
    #[test]
    fn a_line_that_has_outgrown_its_bound_has_begun_all_the_same() {
        let mut lines = Lines::default();
        assert!(lines.is_between());
        lines.feed(&[b'x'; LINE_BYTES_MAX + 1], |_, _| panic!("it has not ended"));
        assert!(!lines.is_between());
        lines.feed(b"x\n", |index, line| assert_eq!((index, line), (0, Err(Overlong))));
        assert!(lines.is_between());
    }
}
