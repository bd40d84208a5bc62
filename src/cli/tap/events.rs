//! Server-sent events, taken apart whatever pieces they come in.

use crate::signals::json::LINE_BYTES_MAX;
use crate::signals::lines::Lines;

/// The events of a stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    lines: Lines,
    name: String,
    data: String,
}

impl Events {
    /// Takes the next piece, and hands the events that end in it to `event`, each with its name and its data.
    ///
    /// # Errors
    /// What is wrong with the stream: a line that is too long or no UTF-8, or what `event` says. What came before has been
    /// handed over.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        mut event: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let Self { lines, name, data } = self;
        let mut result = Ok(());
        lines.feed(piece, |_, line| {
            if result.is_err() {
                return;
            }
            let Ok(line) = line else {
                result = Err(format!("a line of more than {LINE_BYTES_MAX} bytes"));
                return;
            };
            let Ok(line) = std::str::from_utf8(line) else {
                result = Err("a line that is no UTF-8".to_owned());
                return;
            };
            match line.trim_end_matches('\r') {
                "" => {
                    if !data.is_empty() {
                        result = event(name, data);
                    }
                    name.clear();
                    data.clear();
                }
                line => match line.split_once(':') {
                    Some(("event", value)) => value.strip_prefix(' ').unwrap_or(value).clone_into(name),
                    // typingd's data are one line; the last of several would be taken.
                    Some(("data", value)) => value.strip_prefix(' ').unwrap_or(value).clone_into(data),
                    // Comments, and fields for browsers.
                    _ => {}
                },
            }
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(stream: &[u8], piece: usize) -> (Vec<(String, String)>, Result<(), String>) {
        let (mut events, mut heard, mut result) = (Events::default(), Vec::new(), Ok(()));
        for piece in stream.chunks(piece) {
            result = result.and_then(|()| {
                events.feed(piece, |name, data| {
                    heard.push((name.to_owned(), data.to_owned()));
                    if data == "bad" { Err("bad".to_owned()) } else { Ok(()) }
                })
            });
        }
        (heard, result)
    }

    #[test]
    fn events_are_whole_whatever_pieces_they_come_in() {
        let stream = "retry: 1000\n\nevent: decided\ndata: {\"from\":\"ü: a\"}\n\n: still here\n\nevent:x\r\ndata:1\r\n\r\n\
                      event: half\ndata: 2\n";
        let expected = [("decided", "{\"from\":\"ü: a\"}"), ("x", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        for piece in [1, 2, 7, 64, 4_096] {
            assert_eq!(taken(stream.as_bytes(), piece), (expected.to_vec(), Ok(())), "pieces of {piece} bytes");
        }
    }

    #[test]
    fn what_are_no_events_ends_it() {
        for (stream, words) in [
            ([b"data: ".as_slice(), &[b'x'; LINE_BYTES_MAX + 1], b"\n\n"].concat(), "of more than 8192 bytes"),
            (b"data: \xff\n\n".to_vec(), "no UTF-8"),
            (b"data: bad\n\n".to_vec(), "bad"),
        ] {
            let (_, result) = taken(&[b"data: 1\n\n".as_slice(), &stream, b"data: 2\n\n"].concat(), 4_096);
            assert!(result.unwrap_err().contains(words));
        }
    }
}
