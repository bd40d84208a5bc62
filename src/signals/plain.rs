//! The form in which nearly all signals come, read by hand: an object of plain strings and whole numbers. Whatever else
//! comes, a mistake too, is the general reader's (`json`), which takes some three times as long.

use crate::model::{AT_MILLIS_MAX, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

/// Reads `to`, `from` and the signal from one object; `None` if it needs the other reader, which may find it good all the
/// same. Ids have at most `id_chars_max` characters.
pub(super) fn parse(text: &str, id_chars_max: usize) -> Option<(&str, &str, Signal)> {
    let mut reader = Reader { text, at: 0 };
    let (mut to, mut from, mut kind, mut at, mut lasts) = (None, None, None, None, None);
    reader.take(b'{')?;
    loop {
        let key = reader.string()?;
        reader.take(b':')?;
        let twice = match key {
            "to" => to.replace(reader.id(id_chars_max)?).is_some(),
            "from" => from.replace(reader.id(id_chars_max)?).is_some(),
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
    let (to, from, kind) = (to?, from?, kind?);
    if reader.at != text.len() || (lasts.is_some() && kind != SignalKind::Keystroke) {
        return None;
    }
    Some((to, from, Signal { lasts_millis: lasts.unwrap_or(0), at, ..Signal::new(kind) }))
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

    fn id(&mut self, chars_max: usize) -> Option<&'a str> {
        self.string().filter(|id| check_id(id, chars_max).is_ok())
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
