//! `typingd record`: the signals of a running daemon as a trace.

use super::{Failure, block_on};
use crate::base::clock::Clock;
use crate::base::{duration, size};
use crate::cli::client::{Remote, RemoteArgs};
use crate::cli::interrupt::Interrupt;
use crate::model::{ConversationRef, Instant};
use crate::signals::json::{self as json, LINE_BYTES_MAX};
use crate::signals::lines::{Lines, Overlong};
use crate::signals::trace::TraceLine;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::Serialize;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// Where to write the trace, for its owner alone to read; `-` is the standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
    /// How long to record [default: until interrupted]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Option<Duration>,
    /// How large the trace may become
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    max_size: u64,
    /// Round times down to a multiple of this, such as 10ms: it makes people harder to tell by how they type
    #[arg(long, value_name = "TIME", value_parser = grain)]
    round: Option<Duration>,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).filter(|span| !span.is_zero()).ok_or_else(|| "a time such as 30m or 1h is right".to_owned())
}

/// Beyond a second a typing is no typing any more.
const GRAIN_MAX: Duration = Duration::from_secs(1);

fn grain(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| !span.is_zero() && *span <= GRAIN_MAX);
    span.ok_or_else(|| "a time from 1ms to 1s, such as 10ms, is right".to_owned())
}

/// The least size has room for some lines, the greatest for more than any disk's worth of typing.
const TRACE_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 40;

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).filter(|bytes| TRACE_BYTES.contains(bytes));
    bytes.ok_or_else(|| "a size from 1KiB to 1024GiB, such as 256MiB, is right".to_owned())
}

pub(super) fn run(args: &RecordArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let job = Record {
        remote: &remote,
        output: &args.output,
        existing: if args.force { Existing::Overwrite } else { Existing::Keep },
        span: args.span,
        bytes_max: args.max_size,
        round_millis: args.round.map_or(1, |grain| grain.as_millis() as u64),
    };
    let summary = block_on(record(&job))??;
    let line = serde_json::to_string(&summary).map_err(io::Error::from)?;
    if args.output == Path::new("-") {
        writeln!(io::stderr().lock(), "{line}")?;
    } else {
        writeln!(io::stdout().lock(), "{line}")?;
    }
    match summary.ended {
        Ended::BrokenOff => Err(Failure::Failed(
            "the recording broke off: the daemon died, or what it said was not taken fast enough; what came before is \
             kept"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Failed(what) => Self::Failed(what),
            RecordError::ClosedPipe => Self::ClosedPipe,
        }
    }
}

/// A recording that says nothing for this long has lost its daemon: four of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The owner alone may read a recording, and write it.
const MODE: u32 = 0o600;
/// Conversations counted; further ones are recorded as well. Ten megabytes of hashes, and as many conversations as a
/// daemon holds unless it is told otherwise.
const CONVERSATIONS_COUNTED_MAX: usize = 1_000_000;

/// What to record where.
#[derive(Debug)]
struct Record<'a> {
    /// The daemon.
    remote: &'a Remote,
    /// The file; `-` is the standard output.
    output: &'a Path,
    /// What to do with a file that is there already.
    existing: Existing,
    /// How long to record; without it until told to stop.
    span: Option<Duration>,
    /// The most that is written, in bytes.
    bytes_max: u64,
    /// Times are rounded down to a multiple of so many milliseconds; at least 1.
    round_millis: u64,
}

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    /// Leave it alone.
    Keep,
    /// Write over it.
    Overwrite,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    /// Told to stop.
    Interrupted,
    /// Its time was over.
    Time,
    /// It had as many bytes as it may have.
    Size,
    /// The daemon ended, or no longer lets its signals be recorded.
    Daemon,
    /// Before its time: the daemon died, or had to drop it.
    BrokenOff,
}

/// What came of a recording.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    /// Signals written.
    signals: u64,
    /// Their conversations, at most a million.
    conversations: usize,
    /// Bytes written.
    bytes: u64,
    /// How long it took, in milliseconds.
    elapsed_ms: u64,
    /// Why it ended.
    ended: Ended,
}

/// Why nothing more can be recorded.
#[derive(Debug)]
enum RecordError {
    /// One sentence.
    Failed(String),
    /// Whoever read the standard output has gone, which is no fault.
    ClosedPipe,
}

impl From<String> for RecordError {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// Records until something ends it. What is written are whole lines, and a trace, whatever happens.
///
/// # Errors
/// When the daemon can't be recorded, sends what is no trace, or the file can't be written.
async fn record(job: &Record<'_>) -> Result<Summary, RecordError> {
    let mut told = Interrupt::watch()?;
    let is_stdout = job.output == Path::new("-");
    // Before the daemon is bothered, and before an old recording is touched.
    if !is_stdout && job.existing == Existing::Keep && std::fs::symlink_metadata(job.output).is_ok() {
        return Err(exists(job.output).into());
    }
    let mut answer = tokio::select! {
        answer = job.remote.open(job.remote.request(Method::GET, &["v1", "signals", "stream"])) => answer?,
        () = told.next() => return Err("told to stop before the daemon had answered".to_owned().into()),
    };
    let sink = if is_stdout { Sink::Stdout } else { Sink::File(create(job.output, job.existing)?) };
    let clock = Clock::start();
    let mut tape = Tape::new(job, sink);
    let progress = if is_stdout { ProgressBar::hidden() } else { progress() };
    let ended = follow(&mut answer, &mut told, clock, &mut tape, &progress).await;
    progress.finish_and_clear();
    Ok(Summary {
        ended: ended?,
        signals: tape.signals,
        conversations: tape.conversations.len(),
        bytes: tape.bytes,
        elapsed_ms: clock.now().as_millis(),
    })
}

/// Hands what the daemon sends to the tape, until something ends it.
async fn follow(
    answer: &mut reqwest::Response,
    told: &mut Interrupt,
    clock: Clock,
    tape: &mut Tape<'_>,
    progress: &ProgressBar,
) -> Result<Ended, RecordError> {
    let end = Instant::ORIGIN + tape.job.span.unwrap_or(Duration::MAX);
    loop {
        let piece = tokio::select! {
            biased;
            () = told.next() => return Ok(Ended::Interrupted),
            () = clock.sleep_until(end) => return Ok(Ended::Time),
            piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()) => piece,
        };
        match piece {
            Ok(Ok(Some(piece))) => {
                if tape.take(&piece)? == Room::None {
                    return Ok(Ended::Size);
                }
            }
            Ok(Ok(None)) => return Ok(Ended::Daemon),
            Ok(Err(_)) | Err(_) => return Ok(Ended::BrokenOff),
        }
        if !progress.is_hidden() {
            progress.set_message(format!("{} signals, {} KiB", tape.signals, tape.bytes / 1_024));
        }
    }
}

fn exists(path: &Path) -> String {
    format!("{}: is there already; another name, or --force to write over it, would be right", path.display())
}

/// Makes the file, for its owner alone.
fn create(path: &Path, existing: Existing) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    match existing {
        Existing::Keep => options.create_new(true),
        Existing::Overwrite => options.create(true),
    };
    let made = options.open(path).and_then(|file| {
        // An old file keeps its rights when it is opened; a device is nobody's to change.
        if file.metadata()?.is_file() {
            file.set_permissions(PermissionsExt::from_mode(MODE))?;
            file.set_len(0)?;
        }
        Ok(file)
    });
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => format!("{}: can't be written: {error}", path.display()),
    })
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    File(File),
    Stdout,
}

/// Whether there is room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Some,
    None,
}

/// Turns what the daemon sends into lines of the trace, each looked at before it is written.
struct Tape<'a> {
    job: &'a Record<'a>,
    sink: Sink,
    lines: Lines,
    /// Whole lines that are to be written.
    ready: Vec<u8>,
    last_at: u64,
    signals: u64,
    bytes: u64,
    /// Hashes of those seen.
    conversations: HashSet<u64>,
    hash: RandomState,
}

impl<'a> Tape<'a> {
    fn new(job: &'a Record<'a>, sink: Sink) -> Self {
        Self {
            job,
            sink,
            lines: Lines::default(),
            ready: Vec::new(),
            last_at: 0,
            signals: 0,
            bytes: 0,
            conversations: HashSet::new(),
            hash: RandomState::new(),
        }
    }

    /// Takes the next piece of the stream, and writes the lines that end in it.
    fn take(&mut self, piece: &[u8]) -> Result<Room, RecordError> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut room = Ok(Room::Some);
        lines.feed(piece, |_, line| {
            if matches!(room, Ok(Room::Some)) {
                room = self.enter(line);
            }
        });
        self.lines = lines;
        // Also what came before a line that is none.
        self.write()?;
        room.map_err(|what| {
            let (place, signals) = (self.job.remote.place(), self.signals);
            format!("{place} sent what is no line of a trace, after {signals} signals: a line {what}").into()
        })
    }

    fn enter(&mut self, line: Result<&[u8], Overlong>) -> Result<Room, String> {
        let line = line.map_err(|Overlong| format!("of more than {LINE_BYTES_MAX} bytes"))?.trim_ascii();
        // The daemon is still there, and nobody types.
        if line.is_empty() {
            return Ok(Room::Some);
        }
        let parsed = json::parse(line).map_err(|what| format!("of which can be said: {what}"))?;
        let at = parsed.signal.at.ok_or("without `at`")?;
        if at < self.last_at {
            return Err(format!("whose `at` goes back from {} to {at}", self.last_at));
        }
        let whole = self.ready.len();
        let line = TraceLine::new(parsed.conversation(), parsed.signal, at - at % self.job.round_millis);
        line.write(&mut self.ready).map_err(|e| e.to_string())?;
        if self.bytes + self.ready.len() as u64 > self.job.bytes_max {
            self.ready.truncate(whole);
            return Ok(Room::None);
        }
        self.last_at = at;
        self.signals += 1;
        self.count(parsed.conversation());
        Ok(Room::Some)
    }

    fn count(&mut self, conversation: ConversationRef<'_>) {
        if self.conversations.len() < CONVERSATIONS_COUNTED_MAX {
            self.conversations.insert(self.hash.hash_one(conversation));
        }
    }

    fn write(&mut self) -> Result<(), RecordError> {
        let ready = std::mem::take(&mut self.ready);
        match &mut self.sink {
            Sink::File(file) => file.write_all(&ready).map_err(|error| {
                // A file that holds half a line is no trace.
                let cut = file.set_len(self.bytes);
                let rest = if cut.is_ok() { "; it holds what came before" } else { "" };
                let path = self.job.output.display();
                RecordError::Failed(format!("{path}: can't be written: {error}{rest}"))
            })?,
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&ready).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
                    io::ErrorKind::BrokenPipe => RecordError::ClosedPipe,
                    _ => RecordError::Failed(format!("can't write the trace: {error}")),
                })?;
            }
        }
        self.bytes += ready.len() as u64;
        self.ready = ready;
        self.ready.clear();
        Ok(())
    }
}

/// A running count on a terminal, nothing elsewhere.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}  (Ctrl-C ends it)");
    let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::RemoteArgs;

    fn nowhere() -> Remote {
        Remote::new(&RemoteArgs { url: "http://127.0.0.1:1/".parse().unwrap(), token_file: None }).unwrap()
    }

    fn job<'a>(remote: &'a Remote, output: &'a Path) -> Record<'a> {
        let (existing, bytes_max) = (Existing::Keep, 1_000);
        Record { remote, output, existing, span: None, bytes_max, round_millis: 10 }
    }

    fn line(from: &str, at: u64) -> String {
        format!("{{\"to\":\"c\",\"from\":\"{from}\",\"signal\":\"keystroke\",\"at\":{at}}}\n")
    }

    /// What is written of `stream`, cut into pieces of `piece` bytes, and what is said in the end.
    fn written(stream: &[u8], piece: usize) -> (String, Result<Room, String>) {
        let directory = tempfile::tempdir().unwrap();
        let (path, remote) = (directory.path().join("t"), nowhere());
        let job = job(&remote, &path);
        let mut tape = Tape::new(&job, Sink::File(create(&path, Existing::Keep).unwrap()));
        let mut room = Ok(Room::Some);
        for piece in stream.chunks(piece) {
            room = tape.take(piece);
            if !matches!(room, Ok(Room::Some)) {
                break;
            }
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((tape.bytes, tape.signals), (text.len() as u64, text.lines().count() as u64));
        let room = room.map_err(|error| match error {
            RecordError::Failed(what) => what,
            RecordError::ClosedPipe => "closed".to_owned(),
        });
        (text, room)
    }

    #[test]
    fn whole_lines_alone_are_written_with_rounded_times() {
        let stream =
            [line("ann", 9), "\n\n".to_owned(), line("bob", 10), line("ann", 1_239), line("late", 1_240)].concat();
        let half = &stream.as_bytes()[..stream.len() - 3];
        let expected = line("ann", 0) + &line("bob", 10) + &line("ann", 1_230);
        for piece in [1, 7, 64, 4_096] {
            assert_eq!(written(half, piece), (expected.clone(), Ok(Room::Some)), "pieces of {piece} bytes");
        }
    }

    #[test]
    fn the_size_is_a_bound_and_the_last_line_whole() {
        let stream: String = (0..100).map(|i| line("ann", i * 10)).collect();
        for piece in [1, 100, 65_536] {
            let (text, room) = written(stream.as_bytes(), piece);
            assert_eq!(room, Ok(Room::None));
            assert!(stream.starts_with(&text) && text.ends_with('\n'), "{text}");
            assert!((1_000 - line("ann", 990).len()..=1_000).contains(&text.len()), "{}", text.len());
        }
    }

    #[test]
    fn what_is_no_trace_ends_it_and_what_came_before_is_kept() {
        for (bad, words) in [
            ("<html>\n".to_owned(), "is not JSON"),
            (line("ann", 4), "`at` goes back from 5 to 4"),
            ("{\"to\":\"c\",\"from\":\"u\",\"signal\":\"keystroke\"}\n".to_owned(), "without `at`"),
            ("x".repeat(LINE_BYTES_MAX + 1) + "\n", "of more than 8192 bytes"),
        ] {
            let (text, room) = written((line("ann", 5) + &bad + &line("bob", 9)).as_bytes(), 65_536);
            assert_eq!(text, line("ann", 0));
            let said = room.unwrap_err();
            assert!(said.contains(words) && said.starts_with(&format!("{} sent", nowhere().place())), "{said}");
        }
    }

    #[test]
    fn a_million_conversations_are_counted() {
        let (path, remote) = (Path::new("-"), nowhere());
        let job = job(&remote, path);
        let mut tape = Tape::new(&job, Sink::Stdout);
        for n in 0..CONVERSATIONS_COUNTED_MAX + 10 {
            tape.count(ConversationRef::new("c", &n.to_string()).unwrap());
        }
        assert_eq!(tape.conversations.len(), CONVERSATIONS_COUNTED_MAX);
    }
}
