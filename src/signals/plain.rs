//! The form in which nearly all signals come: an object of strings without escapes and of whole numbers. Whatever else comes,
//! a mistake too, is [`json`](super::json)'s to read, which takes some three times as long.

use serde::Deserialize;

use super::json::{ID_CHARS_MAX, ParsedSignal};
use crate::model::{AT_MILLIS_MAX, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    to: &'a str,
    from: &'a str,
    signal: &'a str,
    at: Option<u64>,
    lasts: Option<u16>,
}

/// Reads one signal from one object; `None` if it needs the other reader, which may find it good all the same.
pub(super) fn parse(text: &str) -> Option<ParsedSignal<'_>> {
    let Plain { to, from, signal, at, lasts } = serde_json::from_str(text).ok()?;
    let kind = SignalKind::from_name(signal)?;
    let is_good = at.is_none_or(|at| at <= AT_MILLIS_MAX)
        && lasts.is_none_or(|lasts| lasts <= LASTS_MILLIS_MAX && kind == SignalKind::Keystroke)
        && [to, from].iter().all(|id| check_id(id, ID_CHARS_MAX).is_ok());
    let signal = Signal { lasts_millis: lasts.unwrap_or(0), at, ..Signal::new(kind) };
    is_good.then(|| ParsedSignal { to: to.into(), from: from.into(), signal })
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    /// What both readers say of it.
    fn both(text: &str) -> (Option<String>, Option<String>) {
        let shown = |parsed: &ParsedSignal<'_>| format!("{parsed:?}");
        (parse(text).as_ref().map(shown), json::parse_any(text).ok().as_ref().map(shown))
    }

    #[test]
    fn the_short_reader_says_what_the_other_says() {
        const LINES: [&str; 4] = [
            r#"{"to":"c","from":"u","signal":"keystroke","at":1700000000123}"#,
            " { \"from\" : \"caf\u{e9}\" ,\t\"to\":\"c\", \"signal\":\"keystroke\", \"lasts\": 5000 }\r",
            r#"{"signal":"message_sent","to":"c","from":"u","at":0}"#,
            r#"{"to":"c","from":"\u0041","signal":"stopped","at":1.0,"lasts":null}"#,
        ];
        const PIECES: [&str; 22] = [
            "\"",
            "\\",
            "{",
            "}",
            ",",
            ":",
            " ",
            "\u{c}",
            "\u{1}",
            "0",
            "00",
            "9",
            "-",
            ".",
            "e3",
            "null",
            "\"at\":7,",
            "\"x\":1,",
            "\"to\":\"d\",",
            "\u{7f}",
            "\u{e9}",
            "99999999999999999999",
        ];
        for line in &LINES[..3] {
            let (short, other) = both(line);
            assert!(short.is_some() && short == other, "{line}: {short:?} {other:?}");
        }
        assert!(parse(LINES[3]).is_none() && json::parse_any(LINES[3]).is_ok());
        let mut taken = 0;
        for line in LINES {
            for place in (0..=line.len()).filter(|place| line.is_char_boundary(*place)) {
                // With a piece more, with it in place of a character, without one, and cut.
                let next = line[place..].chars().next().map_or(place, |c| place + c.len_utf8());
                let changed = PIECES.iter().flat_map(|piece| [(place, *piece), (next, *piece)]);
                for (end, piece) in changed.chain([(next, ""), (line.len(), "")]) {
                    let text = format!("{}{piece}{}", &line[..place], &line[end..]);
                    let (short, other) = both(&text);
                    assert!(short.is_none() || short == other, "{text}: {short:?} {other:?}");
                    taken += usize::from(short.is_some());
                }
            }
        }
        assert!(taken > 500, "{taken}");
    }

    #[test]
    fn bounds_are_those_of_the_other_reader() {
        for (id, lasts, at) in [(240, 60_000, AT_MILLIS_MAX), (241, 0, 0), (1, 60_001, 0), (1, 0, AT_MILLIS_MAX + 1)] {
            let id = "\u{e9}".repeat(id);
            let text = format!(r#"{{"to":"{id}","from":"{id}","signal":"keystroke","lasts":{lasts},"at":{at}}}"#);
            let (short, other) = both(&text);
            assert_eq!(short, other, "{text}");
        }
    }
}
