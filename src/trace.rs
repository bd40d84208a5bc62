//! Traces: files of signals, one JSON object a line, with `at` on every line and never going back.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::Serialize;

use crate::model::{Conversation, ConversationRef, Instant, Signal, SignalKind};
use crate::signal::{self, LINE_BYTES_MAX};

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSignal {
    /// Milliseconds since the trace's own origin.
    pub at: u64,
    /// Who.
    pub conversation: Conversation,
    /// What; its `at` is the line's.
    pub signal: Signal,
}

impl TraceSignal {
    /// The moment of the line when the trace's origin is the clock's.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        Instant::from_millis(self.at)
    }
}

/// One line of a trace, to be written; signals in requests look the same.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TraceLine<'a> {
    to: &'a str,
    from: &'a str,
    signal: &'static str,
    at: u64,
}

impl<'a> TraceLine<'a> {
    /// `at` counts milliseconds from whatever origin the line's reader expects.
    #[must_use]
    pub fn new(conversation: ConversationRef<'a>, kind: SignalKind, at: u64) -> Self {
        Self { to: conversation.to(), from: conversation.from(), signal: kind.name(), at }
    }

    /// Writes the line with its end.
    ///
    /// # Errors
    /// When `output` fails.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *output, self)?;
        output.write_all(b"\n")
    }
}

/// Why a trace can't be read on.
#[derive(Debug)]
pub struct TraceError {
    name: String,
    /// Counted from 1; `None` when it is not about a line.
    line: Option<u64>,
    what: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.name, self.what),
            None => write!(f, "{}: {}", self.name, self.what),
        }
    }
}

impl std::error::Error for TraceError {}

/// Reads a trace line by line. After an error it ends.
pub struct TraceReader {
    name: String,
    input: Box<dyn BufRead + Send>,
    line: u64,
    last_at: u64,
    buffer: Vec<u8>,
    failed: bool,
}

impl TraceReader {
    /// Opens the file at `path`; `-` is the standard input.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Ok(Self::new("standard input", BufReader::new(io::stdin())));
        }
        let fail =
            |error: io::Error| TraceError { name: name.clone(), line: None, what: format!("can't be opened: {error}") };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self::new(&name, BufReader::with_capacity(256 * 1024, file)))
    }

    /// Reads from `input`, called `name` in errors.
    pub fn new(name: &str, input: impl BufRead + Send + 'static) -> Self {
        Self { name: name.to_owned(), input: Box::new(input), line: 0, last_at: 0, buffer: Vec::new(), failed: false }
    }

    fn read_line(&mut self) -> Result<Option<TraceSignal>, String> {
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = io::Read::take(&mut self.input, LINE_BYTES_MAX as u64 + 2);
            limited.read_until(b'\n', &mut self.buffer).map_err(|e| format!("can't be read: {e}"))?;
            if self.buffer.is_empty() {
                return Ok(None);
            }
            let line = self.buffer.trim_ascii();
            if line.len() > LINE_BYTES_MAX {
                return Err(format!("is longer than {LINE_BYTES_MAX} bytes; one signal a line is right"));
            }
            if line.is_empty() {
                continue;
            }
            let parsed = signal::parse(line)?;
            let Some(at) = parsed.signal.at else {
                return Err("`at` is missing; in a trace every line has its milliseconds".to_owned());
            };
            if at < self.last_at {
                return Err(format!("`at` goes back from {} to {at}; times must not decrease", self.last_at));
            }
            self.last_at = at;
            return Ok(Some(TraceSignal { at, conversation: parsed.conversation().to_owned(), signal: parsed.signal }));
        }
    }
}

impl Iterator for TraceReader {
    type Item = Result<TraceSignal, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read_line();
        self.failed = !matches!(read, Ok(Some(_)));
        read.map_err(|what| TraceError { name: self.name.clone(), line: Some(self.line), what }).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static [u8]) -> Vec<Result<u64, String>> {
        TraceReader::new("t.ndjson", text).map(|line| line.map(|s| s.at).map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn lines_are_read_up_to_the_first_mistake_which_is_named() {
        let good = r#"{"to":"c","from":"u","signal":"keystroke","at":5}"#;
        assert_eq!(read(b""), []);
        assert_eq!(read(format!("{good}\n\n{good}").leak().as_bytes()), [Ok(5), Ok(5)], "a last line needs no end");
        let back = format!("{good}\n{}\n{good}\n", good.replace('5', "4")).leak().as_bytes();
        assert_eq!(read(back), [Ok(5), Err("t.ndjson:2: `at` goes back from 5 to 4; times must not decrease".into())]);
        let half = format!("{good}\n{}", &good[..20]).leak().as_bytes();
        assert_eq!(read(half)[1], Err("t.ndjson:2: is not JSON: EOF while parsing an object at column 20".into()));
        let bare = br#"{"to":"c","from":"u","signal":"keystroke"}"#;
        assert_eq!(read(bare), [Err("t.ndjson:1: `at` is missing; in a trace every line has its milliseconds".into())]);
        let endless = "x".repeat(LINE_BYTES_MAX * 3).leak().as_bytes();
        assert_eq!(read(endless), [Err("t.ndjson:1: is longer than 8192 bytes; one signal a line is right".into())]);
    }
}
