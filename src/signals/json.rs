//! A signal as JSON: `{"to": "…", "from": "…", "signal": "keystroke", "at": 1700000000123}`. The one reader of it, for
//! requests, streams and traces.
//!
//! Unknown fields are errors, so that no one sends message text by mistake; no error repeats the value of one.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::plain;
use crate::model::{AT_MILLIS_MAX, ConversationRef, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

/// The longest line of a stream or a trace, in bytes: two ids of 240 characters, each written as a pair of six-byte
/// escapes, come to 5,760; the rest is for names, numbers and blanks.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// The longest `to` and `from` of a signal, in characters: what Salesforce's manual says, which is less than passes in
/// an interaction.
pub(crate) const ID_CHARS_MAX: usize = 240;

/// A signal as it was read; its ids borrow from the line where they can.
#[derive(Debug)]
pub struct ParsedSignal<'a> {
    to: Cow<'a, str>,
    from: Cow<'a, str>,
    /// What happened, and when by the caller's clock.
    pub signal: Signal,
}

impl ParsedSignal<'_> {
    /// The conversation. Its ids have been checked.
    ///
    /// # Panics
    /// Never: [`parse`] only makes valid ones.
    pub fn conversation(&self) -> ConversationRef<'_> {
        ConversationRef::new(&self.to, &self.from).expect("checked when it was parsed")
    }
}

/// Why a text is no signal: the field, what is wrong with it, what is expected.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// It is not UTF-8.
    #[error("is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// There is nothing but blanks.
    #[error("is empty; expected one JSON object")]
    Empty,
    /// It is no JSON.
    #[error("is not JSON: {what} at column {column}")]
    NotJson {
        /// What is wrong with it.
        what: String,
        /// A signal is one line.
        column: usize,
    },
    /// It is JSON, but no signal.
    #[error("{0}")]
    Invalid(String),
}

/// Reads one signal from one JSON object.
///
/// # Errors
/// When it is none.
pub fn parse(json: &[u8]) -> Result<ParsedSignal<'_>, SignalError> {
    // Checked as a whole: serde_json would call broken UTF-8 inside a string an escape's fault.
    let text = std::str::from_utf8(json).map_err(|e| SignalError::NotUtf8(e.valid_up_to()))?;
    parse_plain(text).map_or_else(|| parse_any(text), Ok)
}

fn parse_plain(text: &str) -> Option<ParsedSignal<'_>> {
    let (to, from, signal) = plain::parse(text, ID_CHARS_MAX)?;
    Some(ParsedSignal { to: to.into(), from: from.into(), signal })
}

/// The same of any text, however it is written.
fn parse_any(text: &str) -> Result<ParsedSignal<'_>, SignalError> {
    if text.trim_ascii().is_empty() {
        return Err(SignalError::Empty);
    }
    serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        // Where in the line it is says nothing for our own errors.
        let what = text.split(" at line ").next().unwrap_or(&text).to_owned();
        if error.is_data() { SignalError::Invalid(what) } else { SignalError::NotJson { what, column: error.column() } }
    })
}

const FIELDS: &str =
    "a signal has `to`, `from`, `signal` and perhaps `at` and `lasts`, and typingd takes no message content";

impl<'de: 'a, 'a> Deserialize<'de> for ParsedSignal<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SignalVisitor)
    }
}

struct SignalVisitor;

impl<'de> Visitor<'de> for SignalVisitor {
    type Value = ParsedSignal<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signal: an object with `to`, `from`, `signal` and perhaps `at` and `lasts`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        fn once<T, E: Error>(field: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
            match field.replace(value) {
                None => Ok(()),
                Some(_) => Err(E::custom(format_args!("`{name}` appears twice"))),
            }
        }
        let (mut to, mut from, mut kind, mut at, mut lasts) = (None, None, None, None, None);
        while let Some(key) = map.next_key::<Value<'de>>()? {
            match key.as_str() {
                "to" => once(&mut to, "to", id("to", map.next_value()?)?)?,
                "from" => once(&mut from, "from", id("from", map.next_value()?)?)?,
                "signal" => once(&mut kind, "signal", signal_kind(map.next_value()?)?)?,
                "at" => once(&mut at, "at", millis("at", map.next_value()?, AT_MILLIS_MAX, AT)?)?,
                "lasts" => once(&mut lasts, "lasts", millis("lasts", map.next_value()?, LASTS_MILLIS_MAX, LASTS)?)?,
                unknown => {
                    map.next_value::<IgnoredAny>()?;
                    let shown: String = unknown.chars().take(40).collect();
                    return Err(A::Error::custom(format_args!("unknown field `{}`; {FIELDS}", shown.escape_debug())));
                }
            }
        }
        let missing = |name| A::Error::custom(format_args!("`{name}` is missing; {FIELDS}"));
        let (to, from) = (to.ok_or_else(|| missing("to"))?, from.ok_or_else(|| missing("from"))?);
        let kind = kind.ok_or_else(|| missing("signal"))?;
        for (name, id) in [("to", &to), ("from", &from)] {
            check_id(id, ID_CHARS_MAX).map_err(|e| A::Error::custom(format_args!("`{name}` {e}")))?;
        }
        let lasts = lasts.flatten();
        if lasts.is_some() && kind != SignalKind::Keystroke {
            let name = kind.name();
            return Err(A::Error::custom(format_args!("`lasts` is given with {name}; expected with keystroke only")));
        }
        let signal = Signal { lasts_millis: lasts.unwrap_or(0), at: at.flatten(), ..Signal::new(kind) };
        Ok(ParsedSignal { to, from, signal })
    }
}

const ID: &str = "a string of 1 to 240 characters";
const KIND: &str = "keystroke, message_sent, stopped, opened or ended";
const AT: &str = "whole milliseconds since the Unix epoch, at most the year 9999";
const LASTS: &str = "whole milliseconds, at most 60,000";

fn wrong<E: Error>(name: &str, value: impl fmt::Display, expected: &str) -> E {
    E::custom(format_args!("`{name}` is {value}; expected {expected}"))
}

fn id<'a, E: Error>(name: &str, value: Value<'a>) -> Result<Cow<'a, str>, E> {
    if let Value::Text(text) = value { Ok(text) } else { Err(wrong(name, value, ID)) }
}

fn signal_kind<E: Error>(value: Value<'_>) -> Result<SignalKind, E> {
    let Value::Text(text) = &value else { return Err(wrong("signal", value, KIND)) };
    SignalKind::from_name(text).ok_or_else(|| {
        // A text in the wrong place may be anything, a message too: the error repeats its beginning only.
        let shown: String = text.chars().take(20).collect();
        wrong("signal", format_args!("\"{}\"", shown.escape_debug()), KIND)
    })
}

/// A time; null is as good as absent, for many serializers write it so.
fn millis<T: TryFrom<u64> + PartialOrd, E: Error>(
    name: &str,
    value: Value<'_>,
    max: T,
    expected: &str,
) -> Result<Option<T>, E> {
    let millis = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => T::try_from(number).ok().filter(|millis| *millis <= max),
        _ => None,
    };
    millis.map(Some).ok_or_else(|| match value {
        // What a clock in seconds gives, such as Python's time.time().
        Value::Fraction(seconds) if name == "at" && AT_SECONDS.contains(&seconds) => {
            E::custom(at_in_seconds(seconds, (seconds * 1_000.0) as u64))
        }
        _ => wrong(name, value, expected),
    })
}

/// Why an `at` in seconds is refused; in milliseconds it would be `millis`.
pub(crate) fn at_in_seconds(seconds: impl fmt::Display, millis: u64) -> String {
    format!(
        "`at` is the number {seconds}, which can only be seconds; expected milliseconds since the Unix epoch, such as {millis}"
    )
}

/// An `at` within these is seconds (of the years 2001 to 5138): as milliseconds it would be a time before March 1973.
/// Taken as such, every keystroke after a message would be late.
pub(crate) const AT_SECONDS: RangeInclusive<f64> = 1_000_000_000.0..=99_999_999_999.0;

/// A JSON value, borrowed where it can be. Of those that no field has, only what they are.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Negative(i64),
    Fraction(f64),
    Boolean,
    Null,
    Array,
    Object,
}

impl Value<'_> {
    fn as_str(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

impl fmt::Display for Value<'_> {
    /// What it is, never what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number(number) => return write!(f, "the number {number}"),
            Self::Negative(number) => return write!(f, "the number {number}"),
            Self::Text(_) => "a string",
            Self::Fraction(_) => "a number with a fraction or out of range",
            Self::Boolean => "a boolean",
            Self::Null => "null",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

/// Up to here a floating point number has no rounding in it: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Negative(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        // As JSON Schema has it, 5.0 is an integer.
        let whole = (0.0..=WHOLE_MAX).contains(&number) && number.fract() == 0.0;
        Ok(if whole { Value::Number(number as u64) } else { Value::Fraction(number) })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Boolean)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read() {
        let parsed =
            parse(br#" {"to": "c", "from": "caf\u00e9", "signal": "message_sent", "at": 1700000000123} "#).unwrap();
        assert_eq!((parsed.conversation().to(), parsed.conversation().from()), ("c", "café"));
        let at = Some(1_700_000_000_123);
        assert_eq!(parsed.signal, Signal { at, ..Signal::new(SignalKind::MessageSent) });
        for at in ["", r#", "at": null"#] {
            let line = format!(r#"{{"signal": "opened", "from": "u", "to": "c"{at}}}"#);
            assert_eq!(parse(line.as_bytes()).unwrap().signal, Signal::new(SignalKind::Opened));
        }
    }

    #[test]
    fn a_keystroke_may_last() {
        for (lasts, millis) in [("5000", 5_000), ("0", 0), ("null", 0), ("60000", 60_000), ("5e3", 5_000), ("7.0", 7)] {
            let line = format!(r#"{{"to":"c","from":"u","signal":"keystroke","lasts":{lasts},"at":9.0}}"#);
            let signal = parse(line.as_bytes()).unwrap().signal;
            assert_eq!((signal.lasts_millis, signal.at), (millis, Some(9)), "{line}");
        }
        let line = br#"{"to":"c","from":"u","signal":"message_sent","lasts":null}"#;
        assert_eq!(
            parse(line).unwrap().signal,
            Signal::new(SignalKind::MessageSent),
            "an absent field, as many write it"
        );
    }

    #[test]
    fn each_mistake_has_its_own_answer() {
        let long = "x".repeat(241);
        for (line, expected) in [
            ("", "is empty; expected one JSON object"),
            ("{", "is not JSON: EOF while parsing an object at column 1"),
            (
                "[]",
                "invalid type: sequence, expected a signal: an object with `to`, `from`, `signal` and perhaps `at` and `lasts`",
            ),
            (r#"{"to":"c","from":"u","signal":"keystroke"} x"#, "is not JSON: trailing characters at column 44"),
            (
                r#"{"from":"u","signal":"keystroke"}"#,
                "`to` is missing; a signal has `to`, `from`, `signal` and perhaps `at` and `lasts`, and typingd takes no message content",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","text":"secret"}"#,
                "unknown field `text`; a signal has `to`, `from`, `signal` and perhaps `at` and `lasts`, and typingd takes no message content",
            ),
            (r#"{"to":"","from":"u","signal":"keystroke"}"#, "`to` is empty; expected 1 to 240 characters"),
            (
                &format!(r#"{{"to":"c","from":"{long}","signal":"keystroke"}}"#),
                "`from` has 241 characters; expected 1 to 240",
            ),
            (
                r#"{"to":7,"from":"u","signal":"keystroke"}"#,
                "`to` is the number 7; expected a string of 1 to 240 characters",
            ),
            (
                r#"{"to":null,"from":"u","signal":"keystroke"}"#,
                "`to` is null; expected a string of 1 to 240 characters",
            ),
            (
                r#"{"to":["c"],"from":"u","signal":"keystroke"}"#,
                "`to` is an array; expected a string of 1 to 240 characters",
            ),
            (r#"{"to":"c","to":"c","from":"u","signal":"keystroke"}"#, "`to` appears twice"),
            (
                r#"{"to":"c","from":"u","signal":"typing"}"#,
                "`signal` is \"typing\"; expected keystroke, message_sent, stopped, opened or ended",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":-1}"#,
                "`at` is the number -1; expected whole milliseconds since the Unix epoch, at most the year 9999",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":1.5}"#,
                "`at` is a number with a fraction or out of range; expected whole milliseconds since the Unix epoch, at most the year 9999",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":1700000000.123}"#,
                "`at` is the number 1700000000.123, which can only be seconds; expected milliseconds since the Unix epoch, such as 1700000000123",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":1700000000123456}"#,
                "`at` is the number 1700000000123456; expected whole milliseconds since the Unix epoch, at most the year 9999",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":"12"}"#,
                "`at` is a string; expected whole milliseconds since the Unix epoch, at most the year 9999",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":60001}"#,
                "`lasts` is the number 60001; expected whole milliseconds, at most 60,000",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":-1}"#,
                "`lasts` is the number -1; expected whole milliseconds, at most 60,000",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":"5s"}"#,
                "`lasts` is a string; expected whole milliseconds, at most 60,000",
            ),
            (
                r#"{"to":"c","from":"u","lasts":5000,"signal":"stopped"}"#,
                "`lasts` is given with stopped; expected with keystroke only",
            ),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().to_string(), expected, "{line}");
        }
        assert_eq!(parse(b"{\"to\":\"\xff\"}").unwrap_err().to_string(), "is not UTF-8 from byte 7 on");
    }

    #[test]
    fn no_error_repeats_what_an_unknown_field_held() {
        let error = parse(br#"{"to":"c","from":"u","message":{"text":"secret"},"signal":"keystroke"}"#).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("`message`") && !error.contains("secret"), "{error}");
    }

    /// What both readers say of it.
    fn both(text: &str) -> (Option<String>, Option<String>) {
        let shown = |parsed: &ParsedSignal<'_>| format!("{parsed:?}");
        (parse_plain(text).as_ref().map(shown), parse_any(text).ok().as_ref().map(shown))
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
        assert!(parse_plain(LINES[3]).is_none() && parse_any(LINES[3]).is_ok());
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
