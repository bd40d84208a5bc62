//! A signal as JSON: `{"to": "…", "from": "…", "signal": "keystroke", "at": 1700000000123}`. The one reader of it, for
//! requests, streams and traces.
//!
//! Unknown fields are errors, so that nobody sends message text by mistake; no error repeats the value of one.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::model::{AT_MILLIS_MAX, ConversationRef, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

/// The longest line of a stream or a trace, in bytes: two ids of 240 characters, each written as a pair of six-byte
/// escapes, come to 5,760; the rest is for names, numbers and blanks.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// The longest `to` and `from` of a signal, in characters: what Salesforce's manual says, which is less than passes in
/// an interaction.
const ID_CHARS_MAX: usize = 240;

/// A signal as it was read; its ids borrow from the line where they can.
#[derive(Debug)]
pub struct ParsedSignal<'a> {
    to: Cow<'a, str>,
    from: Cow<'a, str>,
    /// What happened, and when by the caller's word.
    pub signal: Signal,
}

impl ParsedSignal<'_> {
    /// The conversation. Its ids have been checked.
    ///
    /// # Panics
    /// Never: [`parse`] only makes valid ones.
    #[must_use]
    pub fn conversation(&self) -> ConversationRef<'_> {
        ConversationRef::new(&self.to, &self.from).expect("checked when it was parsed")
    }
}

/// Reads one signal from one JSON object.
///
/// # Errors
/// One sentence for a person: the field, what is wrong with it, what would be right.
pub fn parse(json: &[u8]) -> Result<ParsedSignal<'_>, String> {
    // Checked as a whole: serde_json would call broken UTF-8 inside a string an escape's fault.
    let text = std::str::from_utf8(json).map_err(|e| format!("is not UTF-8 from byte {} on", e.valid_up_to()))?;
    if text.trim_ascii().is_empty() {
        return Err("is empty; one JSON object is right".to_owned());
    }
    serde_json::from_str(text).map_err(|e| describe(&e))
}

fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // A signal is one line, so that only the column tells anything; for our own errors not even that.
    let sentence = text.split(" at line ").next().unwrap_or(&text);
    match error.classify() {
        serde_json::error::Category::Data => sentence.to_owned(),
        _ => format!("is not JSON: {sentence} at column {}", error.column()),
    }
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
        fn once<T, E: serde::de::Error>(field: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
            match field.replace(value) {
                None => Ok(()),
                Some(_) => Err(E::custom(format_args!("`{name}` stands there twice"))),
            }
        }
        let (mut to, mut from, mut kind, mut at, mut lasts) = (None, None, None, None, None);
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "to" => once(&mut to, "to", map.next_value::<Field<Text<'de>>>()?.named("to")?.0)?,
                "from" => once(&mut from, "from", map.next_value::<Field<Text<'de>>>()?.named("from")?.0)?,
                "signal" => once(&mut kind, "signal", map.next_value::<Field<Kind>>()?.named("signal")?.0)?,
                "at" => once(&mut at, "at", map.next_value::<Field<At>>()?.named("at")?.0)?,
                "lasts" => once(&mut lasts, "lasts", map.next_value::<Field<Lasts>>()?.named("lasts")?.0)?,
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
            return Err(A::Error::custom(format_args!("`lasts` is there with {name}; it goes with keystroke alone")));
        }
        let signal = Signal { kind, lasts_millis: lasts.unwrap_or(0), at: at.flatten() };
        Ok(ParsedSignal { to, from, signal })
    }
}

/// A value, or why it is none: kept apart so that the error can name the field.
enum Field<T> {
    Value(T),
    Wrong(String),
}

impl<T> Field<T> {
    fn named<E: serde::de::Error>(self, name: &str) -> Result<T, E> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Wrong(what) => Err(E::custom(format_args!("`{name}` {what}"))),
        }
    }
}

/// Visits whatever stands there and says of everything but the right thing what it is, never what it holds.
macro_rules! field {
    ($visitor:ident, $value:ty, $right:literal, { $($accept:item)* }) => {
        struct $visitor;
        impl<'de> Visitor<'de> for $visitor {
            type Value = Field<$value>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($right)
            }
            $($accept)*
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Field::Wrong(format!("is a boolean; {} is right", $right)))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
                // As JSON Schema has it, 5.0 is an integer.
                if (0.0..=WHOLE_MAX).contains(&value) && value.fract() == 0.0 {
                    return self.visit_u64(value as u64);
                }
                Ok(Field::Wrong(format!("is a number with a fraction or out of range; {} is right", $right)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Field::Wrong(format!("is the number {value}; {} is right", $right)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Wrong(format!("is an object; {} is right", $right)))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Wrong(format!("is an array; {} is right", $right)))
            }
        }
        impl<'de> Deserialize<'de> for Field<$value> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

/// A text, borrowed where it holds no escape.
struct Text<'a>(Cow<'a, str>);
struct Kind(SignalKind);
struct At(Option<u64>);
struct Lasts(Option<u16>);

/// Up to here a floating point number has no rounding in it: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

field!(TextVisitor, Text<'de>, "a string of 1 to 240 characters", {
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Value(Text(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Value(Text(Cow::Owned(text.to_owned()))))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Field::Wrong(format!("is the number {value}; a string of 1 to 240 characters is right")))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Wrong("is null; a string of 1 to 240 characters is right".to_owned()))
    }
});

const KINDS: &str = "keystroke, message_sent, stopped, opened or ended is right";

field!(KindVisitor, Kind, "keystroke, message_sent, stopped, opened or ended", {
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(match SignalKind::from_name(text) {
            Some(kind) => Field::Value(Kind(kind)),
            // What stands here by mistake may be anything, a message too: only its beginning goes back.
            None => {
                let shown: String = text.chars().take(20).collect();
                Field::Wrong(format!("is \"{}\"; {KINDS}", shown.escape_debug()))
            }
        })
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Field::Wrong(format!("is the number {value}; {KINDS}")))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Wrong(format!("is null; {KINDS}")))
    }
});

const MILLIS: &str = "whole milliseconds since the Unix epoch, at most the year 9999, are right";

field!(AtVisitor, At, "an integer of milliseconds since the Unix epoch", {
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(if value <= AT_MILLIS_MAX {
            Field::Value(At(Some(value)))
        } else {
            Field::Wrong(format!("is {value}; {MILLIS}"))
        })
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Field::Wrong(format!("is a string; {MILLIS}")))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        // Many a serializer writes an absent field so.
        Ok(Field::Value(At(None)))
    }
});

field!(LastsVisitor, Lasts, "an integer of milliseconds, at most 60,000,", {
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        let millis = u16::try_from(value).ok().filter(|millis| *millis <= LASTS_MILLIS_MAX);
        Ok(match millis {
            Some(millis) => Field::Value(Lasts(Some(millis))),
            None => Field::Wrong(format!("is {value}; milliseconds, at most {LASTS_MILLIS_MAX}, are right")),
        })
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Field::Wrong("is a string; an integer of milliseconds, at most 60,000, is right".to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Value(Lasts(None)))
    }
});

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(TextVisitor)? {
            Field::Value(text) => Ok(text),
            Field::Wrong(what) => Err(D::Error::custom(what)),
        }
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
            ("", "is empty; one JSON object is right"),
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
            (r#"{"to":"","from":"u","signal":"keystroke"}"#, "`to` is empty; 1 to 240 characters are right"),
            (
                &format!(r#"{{"to":"c","from":"{long}","signal":"keystroke"}}"#),
                "`from` has 241 characters; 1 to 240 are right",
            ),
            (
                r#"{"to":7,"from":"u","signal":"keystroke"}"#,
                "`to` is the number 7; a string of 1 to 240 characters is right",
            ),
            (
                r#"{"to":null,"from":"u","signal":"keystroke"}"#,
                "`to` is null; a string of 1 to 240 characters is right",
            ),
            (
                r#"{"to":["c"],"from":"u","signal":"keystroke"}"#,
                "`to` is an array; a string of 1 to 240 characters is right",
            ),
            (r#"{"to":"c","to":"c","from":"u","signal":"keystroke"}"#, "`to` stands there twice"),
            (
                r#"{"to":"c","from":"u","signal":"typing"}"#,
                "`signal` is \"typing\"; keystroke, message_sent, stopped, opened or ended is right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":-1}"#,
                "`at` is the number -1; an integer of milliseconds since the Unix epoch is right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":1.5}"#,
                "`at` is a number with a fraction or out of range; an integer of milliseconds since the Unix epoch is right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":1700000000123456}"#,
                "`at` is 1700000000123456; whole milliseconds since the Unix epoch, at most the year 9999, are right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","at":"12"}"#,
                "`at` is a string; whole milliseconds since the Unix epoch, at most the year 9999, are right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":60001}"#,
                "`lasts` is 60001; milliseconds, at most 60000, are right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":-1}"#,
                "`lasts` is the number -1; an integer of milliseconds, at most 60,000, is right",
            ),
            (
                r#"{"to":"c","from":"u","signal":"keystroke","lasts":"5s"}"#,
                "`lasts` is a string; an integer of milliseconds, at most 60,000, is right",
            ),
            (
                r#"{"to":"c","from":"u","lasts":5000,"signal":"stopped"}"#,
                "`lasts` is there with stopped; it goes with keystroke alone",
            ),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err(), expected, "{line}");
        }
        assert_eq!(parse(b"{\"to\":\"\xff\"}").unwrap_err(), "is not UTF-8 from byte 7 on");
    }

    #[test]
    fn no_error_repeats_what_an_unknown_field_held() {
        let error = parse(br#"{"to":"c","from":"u","message":{"text":"secret"},"signal":"keystroke"}"#).unwrap_err();
        assert!(error.contains("`message`") && !error.contains("secret"), "{error}");
    }
}
