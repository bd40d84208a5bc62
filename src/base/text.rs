//! Text for people.

use std::error::Error;

/// An error and what led to it.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The innermost cause of an error, which is the one that says something: `connection refused` rather than `client error`.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    in_plain_words(chain(error).last().unwrap_or(error).to_string())
}

/// An error with all its causes.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(|cause| in_plain_words(cause.to_string())).collect::<Vec<_>>().join(": ")
}

/// How the sentence on an answer that is no TLS begins.
pub(crate) const NO_TLS: &str = "https was spoken to an http port";

/// What rustls says of an answer that is no TLS is meant for those who know its messages.
fn in_plain_words(error: String) -> String {
    match error.contains("InvalidContentType") {
        true => format!("{NO_TLS}: what answers there does not speak TLS"),
        false => error,
    }
}

/// The first of an error and its causes that is a `T`.
pub(crate) fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// Foreign text as it may be shown: on one line, in the order in which it is read, and without anything that a terminal,
/// a log or a service manager would obey.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        _ if c.is_whitespace() => ' ',
        _ if c.is_control() || is_invisible(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    text.chars().map(shown).collect()
}

/// Joiners and marks of direction: they hide, or change the order of what is beside them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

/// The bytes without the byte order mark before them, which editors and shells on Windows write.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_gives_no_orders_and_hides_nothing() {
        assert_eq!(
            printable("a\u{1b}[31m\u{202e}b\u{2066}\r\n\u{200b}c\u{e9}\u{85}"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}  \u{fffd}c\u{e9} "
        );
    }
}
