//! An event as a line: for a person, aligned and perhaps in colour, or as JSON.

use std::fmt::Write as _;

use chrono::{DateTime, Local};
use serde::Deserialize;
use serde_json::Value;

use crate::base::text::printable;

/// The column of the conversation is as wide as the widest so far, within these bounds, in characters.
const CONVERSATION_CHARS_MIN: usize = 20;
const CONVERSATION_CHARS_MAX: usize = 40;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line for people.
    Table { coloured: bool },
    /// A JSON object a line, as the daemon sends it, with the name of the event.
    Json,
}

/// Turns events into lines.
#[derive(Debug)]
pub(super) struct Screen {
    format: Format,
    conversation_chars: usize,
}

/// The fields of an event that are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    at: i64,
    to: String,
    from: String,
    indicator: String,
    signal: String,
    reason: String,
    attempt: u32,
    outcome: String,
    status: Option<u16>,
    code: Option<i64>,
    round_trip_ms: f64,
    detail: Option<String>,
    why: String,
    missed: u64,
    by: String,
    changed: Vec<Key>,
}

/// A key of the timing that has changed.
#[derive(Debug, Deserialize)]
struct Key {
    key: String,
    old: Option<Value>,
    new: Option<Value>,
}

impl Key {
    fn words(&self) -> String {
        let value = |value: &Option<Value>| match value {
            Some(Value::String(text)) => printable(text),
            Some(value) => printable(&value.to_string()),
            None => "(as for all)".to_owned(),
        };
        format!("{} from {} to {}", printable(&self.key), value(&self.old), value(&self.new))
    }
}

/// An event of a conversation that was explained, as a line without the conversation; `None` for one of a later daemon.
pub(in crate::cli) fn transition(event: &Value) -> Option<String> {
    let text = |key: &str| printable(event[key].as_str().unwrap_or_default());
    let fields: Event = serde_json::from_value(event.clone()).ok()?;
    let what = match event["event"].as_str()? {
        "signal" => text("signal"),
        "ignored" => format!("{:<15}ignored: {}", text("signal"), text("why").replace('_', " ")),
        "decided" => format!("{:<15}{}", text("indicator"), text("reason")),
        "result" => format!("{:<15}{}", text("indicator"), result(&fields)),
        "dropped" => format!("{:<15}dropped: {}", text("indicator"), text("why").replace('_', " ")),
        _ => return None,
    };
    Some(format!("{}  {what}", time(fields.at)))
}

impl Screen {
    pub(super) fn new(format: Format) -> Self {
        Self { format, conversation_chars: CONVERSATION_CHARS_MIN }
    }

    /// Adds the line of an event to `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn write(&mut self, text: &mut String, name: &str, data: &str) -> Result<(), String> {
        let event: Event = serde_json::from_str(data).map_err(|e| format!("unexpected data: {e}"))?;
        match self.format {
            Format::Json => {
                let name = serde_json::to_string(name).map_err(|e| e.to_string())?;
                // Unchanged, so that no field of a later daemon is lost.
                let fields = data.trim().trim_start_matches('{').trim_start();
                let comma = if fields.starts_with('}') { "" } else { "," };
                let _ = writeln!(text, "{{\"event\":{name}{comma}{fields}");
            }
            Format::Table { coloured } => {
                if let Some(line) = self.line(name, &event, coloured) {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, name: &str, event: &Event, coloured: bool) -> Option<String> {
        let (what, colour) = match name {
            "decided" => (printable(&event.reason), None),
            "result" => (result(event), colour_of(&event.outcome)),
            "dropped" => {
                let colour = (event.why == "given_up").then_some(RED);
                (format!("dropped: {}", printable(&event.why)), colour.or(Some(DIM)))
            }
            "timing" => {
                let keys: Vec<_> = event.changed.iter().map(Key::words).collect();
                let by = printable(&event.by);
                let what = format!("{}  timing changed by {by}: {}", time(event.at), keys.join(", "));
                return Some(paint(&what, CYAN, coloured));
            }
            "ignored" => (format!("ignored: {}", printable(&event.why)), Some(YELLOW)),
            "lagged" => {
                let what = format!("{} events are missing: they are not read fast enough here", event.missed);
                return Some(paint(&what, YELLOW, coloured));
            }
            // Of a later daemon.
            _ => return None,
        };
        let conversation = cut(&printable(&format!("{}/{}", event.to, event.from)), CONVERSATION_CHARS_MAX);
        self.conversation_chars = self.conversation_chars.max(conversation.chars().count());
        let width = self.conversation_chars;
        let subject = if event.indicator.is_empty() { &event.signal } else { &event.indicator };
        let indicator = format!("{:<13}", printable(subject));
        let indicator = match (name, event.indicator.as_str()) {
            ("decided", "TypingStarted") => paint(&indicator, GREEN, coloured),
            ("decided", _) => paint(&indicator, CYAN, coloured),
            _ => paint(&indicator, DIM, coloured),
        };
        let what = colour.map_or_else(|| what.clone(), |colour| paint(&what, colour, coloured));
        Some(format!("{}  {conversation:<width$}  {indicator}  {what}", time(event.at)))
    }
}

fn result(event: &Event) -> String {
    let mut text = printable(&event.outcome).replace('_', " ");
    if let Some(status) = event.status {
        let _ = write!(text, ", {status}");
    }
    if let Some(code) = event.code {
        let _ = write!(text, ", code {code}");
    }
    let _ = write!(text, " in {:.1} ms", event.round_trip_ms);
    if event.attempt > 0 {
        let _ = write!(text, ", try {}", u64::from(event.attempt) + 1);
    }
    if let Some(detail) = event.detail.as_deref().filter(|detail| !detail.is_empty()) {
        let _ = write!(text, ": {}", printable(detail));
    }
    text
}

/// The local time of day.
fn time(at: i64) -> String {
    match DateTime::from_timestamp_millis(at) {
        Some(at) => at.with_timezone(&Local).format("%H:%M:%S%.3f").to_string(),
        None => " ".repeat("00:00:00.000".len()),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

fn colour_of(outcome: &str) -> Option<u8> {
    match outcome {
        "delivered" => Some(DIM),
        "refused" => Some(RED),
        _ => Some(YELLOW),
    }
}

fn paint(text: &str, colour: u8, coloured: bool) -> String {
    if coloured { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// As terminals number them.
const DIM: u8 = 2;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const CYAN: u8 = 36;

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDED: &str =
        r#"{"id":1,"at":0,"to":"c","from":"ann","indicator":"TypingStarted","reason":"first_keystroke"}"#;

    fn lines(format: Format, events: &[(&str, &str)]) -> String {
        let (mut screen, mut text) = (Screen::new(format), String::new());
        for (name, data) in events {
            screen.write(&mut text, name, data).unwrap();
        }
        text
    }

    /// The lines without the time, which depends on where one is.
    fn table(events: &[(&str, &str)]) -> Vec<String> {
        let text = lines(Format::Table { coloured: false }, events);
        text.lines().map(|line| line.chars().skip("00:00:00.000  ".len()).collect()).collect()
    }

    #[test]
    fn lines_are_aligned() {
        let long =
            format!(r#"{{"at":0,"to":"c","from":"{}","indicator":"TypingStopped","reason":"idle"}}"#, "x".repeat(60));
        let told = table(&[
            ("decided", DECIDED),
            (
                "result",
                r#"{"at":0,"to":"c","from":"ann","indicator":"TypingStarted","outcome":"delivered","status":202,"round_trip_ms":12.34}"#,
            ),
            (
                "result",
                r#"{"at":0,"to":"c","from":"ann","indicator":"TypingStarted","outcome":"not_sent","status":429,"code":7,"round_trip_ms":1,"attempt":2,"detail":"slow\u001b[1m"}"#,
            ),
            ("dropped", r#"{"at":0,"to":"c","from":"ann","indicator":"TypingStarted","why":"given_up"}"#),
            ("ignored", r#"{"at":0,"to":"c","from":"ann","signal":"keystroke","why":"late"}"#),
            (
                "timing",
                r#"{"at":0,"by":"SIGHUP","changed":[{"key":"timing.dismiss","old":"idle","new":null}],"more":0}"#,
            ),
            ("later", DECIDED),
            ("decided", &long),
            ("decided", DECIDED),
        ]);
        let wide = format!("c/{}…", "x".repeat(37));
        assert_eq!(
            told,
            [
                "c/ann                 TypingStarted  first_keystroke".to_owned(),
                "c/ann                 TypingStarted  delivered, 202 in 12.3 ms".to_owned(),
                "c/ann                 TypingStarted  not sent, 429, code 7 in 1.0 ms, try 3: slow\u{fffd}[1m"
                    .to_owned(),
                "c/ann                 TypingStarted  dropped: given_up".to_owned(),
                "c/ann                 keystroke      ignored: late".to_owned(),
                "timing changed by SIGHUP: timing.dismiss from idle to (as for all)".to_owned(),
                format!("{wide}  TypingStopped  idle"),
                format!("{:<40}  TypingStarted  first_keystroke", "c/ann"),
            ]
        );
        let lagged = lines(Format::Table { coloured: false }, &[("lagged", r#"{"missed":12}"#)]);
        assert!(lagged.starts_with("12 events are missing"), "{lagged}");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        assert!(
            lines(Format::Table { coloured: true }, &[("decided", DECIDED)])
                .contains("\u{1b}[32mTypingStarted\u{1b}[0m")
        );
        assert!(!lines(Format::Table { coloured: false }, &[("decided", DECIDED)]).contains('\u{1b}'));
    }

    #[test]
    fn json_is_what_the_daemon_says_with_the_name_in_front() {
        let told = lines(Format::Json, &[("decided", DECIDED), ("lagged", "{ \"missed\": 3 }"), ("odd\"", "{}")]);
        let expected = format!(
            "{{\"event\":\"decided\",{}\n{{\"event\":\"lagged\",\"missed\": 3 }}\n{{\"event\":\"odd\\\"\"}}\n",
            &DECIDED[1..]
        );
        assert_eq!(told, expected);
        for line in told.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object(), "{line}");
        }
        let mut text = String::new();
        for data in ["[]x", "7", "{\"at\":\"x\"}"] {
            assert!(Screen::new(Format::Json).write(&mut text, "decided", data).is_err(), "{data}");
        }
    }
}
