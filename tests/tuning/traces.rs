//! Traces made up for these tests, as lines and as the bytes that a trace has.

use std::fmt::Write as _;
use std::io::Cursor;

use typingd::signals::trace::TraceReader;

use crate::rng::Rng;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    /// A keystroke whose typing goes on for so many milliseconds.
    Lasting(u64),
    Sent,
    Stopped,
    Opened,
    Ended,
}

impl Kind {
    pub(crate) fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::Lasting(_))
    }

    pub(crate) fn lasts(self) -> u64 {
        if let Self::Lasting(millis) = self { millis } else { 0 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Key | Self::Lasting(_) => "keystroke",
            Self::Sent => "message_sent",
            Self::Stopped => "stopped",
            Self::Opened => "opened",
            Self::Ended => "ended",
        }
    }
}

/// One line of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) to: String,
    pub(crate) from: String,
    pub(crate) kind: Kind,
}

/// The lines of one trace.
pub(crate) type File = Vec<Line>;

/// A trace of one conversation.
pub(crate) fn one(events: &[(u64, Kind)]) -> File {
    events.iter().map(|&(at, kind)| Line { at, to: "c".into(), from: "u".into(), kind }).collect()
}

/// The trace as bytes.
pub(crate) fn text(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let Line { at, to, from, kind } = line;
        let lasts = if kind.lasts() == 0 { String::new() } else { format!(r#","lasts":{}"#, kind.lasts()) };
        let _ = writeln!(text, r#"{{"to":"{to}","from":"{from}","signal":"{}"{lasts},"at":{at}}}"#, kind.name());
        text
    })
}

/// The trace, to be read.
pub(crate) fn reader(name: &str, lines: &[Line]) -> TraceReader {
    TraceReader::new(name, Cursor::new(text(lines)))
}

/// What a made-up trace is made of.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The most traces, and the most users and lines of each.
    pub(crate) files: u64,
    pub(crate) users: u64,
    pub(crate) lines: u64,
    /// Multiplies every time.
    pub(crate) scale: u64,
}

/// Traces with everything that a recording may have: equal times, sends without keys, two of them, sends within
/// silences, boxes cleared, chats opened and closed, a held key, silences longer than anybody waits, and an end in the
/// midst of a message.
pub(crate) fn made_up(rng: &mut Rng, shape: Shape) -> Vec<File> {
    (0..=rng.below(shape.files)).map(|_| file(rng, shape)).collect()
}

fn file(rng: &mut Rng, shape: Shape) -> File {
    let users = 1 + rng.below(shape.users);
    let mut at = [0, rng.below(1_000), 1_700_000_000_000][rng.below(3) as usize];
    let mut lines = Vec::new();
    let (mut to, mut from) = (0, 0);
    // Some people send much and type little, some never send.
    let sends = rng.below(30);
    // Some channels report typing once in a while.
    let seldom = rng.below(4) == 0;
    for _ in 0..=rng.below(shape.lines) {
        at += shape.scale
            * match rng.below(20) {
                0..3 => 0,
                3..11 => 1 + rng.below(6),
                11..17 => rng.below(45),
                17..19 => rng.below(100),
                _ => rng.below(250),
            };
        if rng.below(3) == 0 {
            (to, from) = (rng.below(2), rng.below(users));
        }
        let held = if rng.below(25) == 0 { 1 + rng.below(40) } else { 1 };
        let kind = match rng.below(100) {
            n if n < sends => Kind::Sent,
            n if n < sends + 4 => Kind::Stopped,
            n if n < sends + 7 => Kind::Ended,
            n if n < sends + 10 => Kind::Opened,
            _ if seldom && rng.below(4) > 0 => Kind::Lasting(shape.scale * rng.below(60)),
            _ => Kind::Key,
        };
        for repeat in 0..if kind == Kind::Key { held } else { 1 } {
            at += if repeat == 0 { 0 } else { shape.scale };
            lines.push(Line { at, to: format!("c{to}"), from: format!("u{from}"), kind });
        }
    }
    lines
}
