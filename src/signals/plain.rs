//! The form in which nearly all signals come, read by hand: an object of plain strings and whole numbers. Whatever else
//! comes, a mistake too, is [`json`](super::json)'s to read, which takes some three times as long.

use std::borrow::Cow;

use super::json::{ID_CHARS_MAX, ParsedSignal};
use crate::model::{AT_MILLIS_MAX, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

/// Reads one signal from one object; `None` if it needs the other reader, which may find it good all the same.
pub(super) fn parse(text: &str) -> Option<ParsedSignal<'_>> {
    let mut reader = Reader { text, at: 0 };
    let (mut to, mut from, mut kind, mut at, mut lasts) = (None, None, None, None, None);
    reader.take(b'{')?;
    loop {
        let key = reader.string()?;
        reader.take(b':')?;
        let twice = match key {
            "to" => to.replace(reader.id()?).is_some(),
            "from" => from.replace(reader.id()?).is_some(),
            "signal" => kind.replace(SignalKind::from_name(reader.string()?)?).is_some(),
            "at" => at.replace(reader.number().filter(|at| *at <= AT_MILLIS_MAX)?).is_some(),
            "lasts" => {
                let millis = u16::try_from(reader.number()?).ok().filter(|millis| *millis <= LASTS_MILLIS_MAX);
                lasts.replace(millis?).is_some()
            }
            _ => return None,
        };
        if twice {
            return None;
        }
        if reader.take(b',').is_none() {
            break;
        }
    }
    reader.take(b'}')?;
    reader.skip_blanks();
    let (to, from, kind) = (Cow::Borrowed(to?), Cow::Borrowed(from?), kind?);
    if reader.at != text.len() || (lasts.is_some() && kind != SignalKind::Keystroke) {
        return None;
    }
    Some(ParsedSignal { to, from, signal: Signal { lasts_millis: lasts.unwrap_or(0), at, ..Signal::new(kind) } })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += blanks;
    }

    /// Passes blanks and `byte`, if it comes next.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_blanks();
        let taken = self.rest().first() == Some(&byte);
        self.at += usize::from(taken);
        taken.then_some(())
    }

    /// A string without escapes and control characters.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let length = memchr::memchr2(b'"', b'\\', self.rest())?;
        let text = &self.text[self.at..self.at + length];
        let plain = self.rest()[length] == b'"' && text.bytes().fold(u8::MAX, u8::min) >= b' ';
        self.at += length + 1;
        plain.then_some(text)
    }

    fn id(&mut self) -> Option<&'a str> {
        self.string().filter(|id| check_id(id, ID_CHARS_MAX).is_ok())
    }

    /// A whole number without sign, fraction and exponent: what follows it shows that.
    fn number(&mut self) -> Option<u64> {
        self.skip_blanks();
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = &self.text[self.at..self.at + digits];
        self.at += digits;
        if digits > 1 && text.starts_with('0') { None } else { text.parse().ok() }
    }
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
    fn what_is_read_by_hand_is_what_the_other_reader_says() {
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
            let (by_hand, other) = both(line);
            assert!(by_hand.is_some() && by_hand == other, "{line}: {by_hand:?} {other:?}");
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
                    let (by_hand, other) = both(&text);
                    assert!(by_hand.is_none() || by_hand == other, "{text}: {by_hand:?} {other:?}");
                    taken += usize::from(by_hand.is_some());
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
            let (by_hand, other) = both(&text);
            assert_eq!(by_hand, other, "{text}");
        }
    }
}
