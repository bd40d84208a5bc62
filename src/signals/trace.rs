//! Traces: files of signals, one JSON object a line, with `at` on every line and never going back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use aws_lc_rs::digest;
use serde::Serialize;

use crate::base::text::without_bom;
use crate::model::{Conversation, ConversationRef, Instant, Signal};
use crate::signals::json::{self, LINE_BYTES_MAX, ParsedSignal, SignalError};

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
    #[serde(skip_serializing_if = "is_zero")]
    lasts: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(millis: &u16) -> bool {
    *millis == 0
}

impl<'a> TraceLine<'a> {
    /// `at` counts milliseconds from whatever origin the line's reader expects; the signal's own is not written.
    pub fn new(conversation: ConversationRef<'a>, signal: Signal, at: u64) -> Self {
        let Signal { kind, lasts_millis, .. } = signal;
        Self { to: conversation.to(), from: conversation.from(), signal: kind.name(), at, lasts: lasts_millis }
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
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct TraceError {
    /// The trace's name, with the number of the line if it is about one.
    place: String,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("can't be opened: {0}")]
    Open(io::Error),
    #[error("can't be read: {0}")]
    Read(io::Error),
    #[error("is longer than {LINE_BYTES_MAX} bytes; expected one signal a line")]
    TooLong,
    #[error("{0}")]
    Signal(SignalError),
    #[error("`at` is missing; expected milliseconds on every line of a trace")]
    NoTime,
    #[error("{}", json::at_in_seconds(.0, .0 * 1_000))]
    Seconds(u64),
    #[error("`at` goes back from {before} to {at}; expected times that do not decrease")]
    Decreases { before: u64, at: u64 },
}

/// Reads a trace line by line; a byte order mark before the first is skipped. After an error it ends.
pub struct TraceReader {
    name: String,
    input: Box<dyn BufRead + Send>,
    line: u64,
    last_at: u64,
    buffer: Vec<u8>,
    ended: bool,
    /// Takes in every byte that is read, if the caller wants it.
    digest: Option<digest::Context>,
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
        let fail = |error| TraceError { place: name.clone(), fault: Fault::Open(error) };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self::new(&name, BufReader::with_capacity(256 * 1024, file)))
    }

    /// Reads from `input`, called `name` in errors.
    pub fn new(name: &str, input: impl BufRead + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            input: Box::new(input),
            line: 0,
            last_at: 0,
            buffer: Vec::new(),
            ended: false,
            digest: None,
        }
    }

    /// The same, with [`TraceReader::sha256`].
    pub fn with_digest(self) -> Self {
        Self { digest: Some(digest::Context::new(&digest::SHA256)), ..self }
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-256 of all that has been read, in hexadecimal; `None` without [`TraceReader::with_digest`].
    pub fn sha256(&self) -> Option<String> {
        let digest = self.digest.clone()?.finish();
        Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The next line, borrowed, with its `at`; `None` at the end. A trace is read up to its first fault, and no
    /// further.
    ///
    /// # Errors
    /// Names the trace and the line that can't be taken.
    pub fn next_line(&mut self) -> Result<Option<(u64, ParsedSignal<'_>)>, TraceError> {
        // Whatever comes now, but a good line, is the end.
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        match self.fill() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(fault) => return Err(TraceError { place: format!("{}:{}", self.name, self.line), fault }),
        }
        match read_line(self.buffer.trim_ascii(), self.last_at) {
            Ok((at, parsed)) => {
                self.ended = false;
                self.last_at = at;
                Ok(Some((at, parsed)))
            }
            Err(fault) => Err(TraceError { place: format!("{}:{}", self.name, self.line), fault }),
        }
    }

    /// Reads the next line that isn't blank into the buffer; `false` at the end of the input.
    fn fill(&mut self) -> Result<bool, Fault> {
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = io::Read::take(&mut self.input, LINE_BYTES_MAX as u64 + 2);
            let read = limited.read_until(b'\n', &mut self.buffer).map_err(Fault::Read)?;
            if let Some(digest) = &mut self.digest {
                digest.update(&self.buffer);
            }
            if self.line == 1 {
                let mark = self.buffer.len() - without_bom(&self.buffer).len();
                self.buffer.drain(..mark);
            }
            let text = self.buffer.trim_ascii();
            if text.len() > LINE_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            if !text.is_empty() || read == 0 {
                return Ok(!text.is_empty());
            }
        }
    }
}

fn read_line(line: &[u8], before: u64) -> Result<(u64, ParsedSignal<'_>), Fault> {
    let parsed = json::parse(line).map_err(Fault::Signal)?;
    let at = parsed.signal.at.ok_or(Fault::NoTime)?;
    if at < before {
        return Err(Fault::Decreases { before, at });
    }
    // A trace may count from its beginning, but none begins after eleven days.
    if before == 0 && json::AT_SECONDS.contains(&(at as f64)) {
        return Err(Fault::Seconds(at));
    }
    Ok((at, parsed))
}

impl Iterator for TraceReader {
    type Item = Result<TraceSignal, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let owned = |(at, parsed): (u64, ParsedSignal<'_>)| TraceSignal {
            at,
            conversation: parsed.conversation().to_owned(),
            signal: parsed.signal,
        };
        self.next_line().map(|line| line.map(owned)).transpose()
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
        assert_eq!(read(b"\xef\xbb\xbf"), [], "a byte order mark is skipped");
        assert_eq!(read(format!("\u{feff}{good}\n").leak().as_bytes()), [Ok(5)]);
        assert_eq!(read(format!("{good}\n\n{good}").leak().as_bytes()), [Ok(5), Ok(5)], "a last line needs no end");
        let back = format!("{good}\n{}\n{good}\n", good.replace('5', "4")).leak().as_bytes();
        assert_eq!(
            read(back),
            [Ok(5), Err("t.ndjson:2: `at` goes back from 5 to 4; expected times that do not decrease".into())]
        );
        let half = format!("{good}\n{}", &good[..20]).leak().as_bytes();
        assert_eq!(read(half)[1], Err("t.ndjson:2: is not JSON: EOF while parsing an object at column 20".into()));
        let bare = br#"{"to":"c","from":"u","signal":"keystroke"}"#;
        assert_eq!(
            read(bare),
            [Err("t.ndjson:1: `at` is missing; expected milliseconds on every line of a trace".into())]
        );
        let seconds = good.replace('5', "1700000000").leak().as_bytes();
        let why = "t.ndjson:1: `at` is the number 1700000000, which can only be seconds; expected milliseconds since the Unix \
                   epoch, such as 1700000000000";
        assert_eq!(read(seconds), [Err(why.into())]);
        let endless = "x".repeat(LINE_BYTES_MAX * 3).leak().as_bytes();
        assert_eq!(read(endless), [Err("t.ndjson:1: is longer than 8192 bytes; expected one signal a line".into())]);
    }
}
