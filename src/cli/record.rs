//! `typingd record`: the signals of a running daemon as a trace.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::Serialize;

use super::client::{Remote, RemoteArgs};
use super::interrupt::Interrupt;
use super::{Failure, block_on, note};
use crate::base::clock::Clock;
use crate::base::{duration, size};
use crate::model::{ChannelAddress, ConversationRef, Instant, Signal, SignalKind};
use crate::signals::json::{self, LINE_BYTES_MAX};
use crate::signals::lines::{Lines, Overlong};
use crate::signals::trace::TraceLine;
use crate::tune::decision::{MESSAGES_MIN, USERS_MIN};

#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// Where to write the trace, readable by its owner only; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
    /// How long to record [default: until interrupted]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Option<Duration>,
    /// The largest size of the trace
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    max_size: u64,
    /// Round times down to a multiple of this, such as 10ms: it makes people harder to identify by their typing
    #[arg(long, value_name = "TIME", value_parser = grain)]
    round: Option<Duration>,
    /// Record this channel only, by its address
    #[arg(long, value_name = "TO", value_parser = channel)]
    to: Option<ChannelAddress>,
    /// Keep the addresses of channels, so that each can be tuned by itself; end users stay without names
    #[arg(long)]
    name_channels: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn channel(text: &str) -> Result<ChannelAddress, String> {
    ChannelAddress::new(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).filter(|span| !span.is_zero()).ok_or_else(|| "expected a time such as 30m or 1h".to_owned())
}

/// Times rounded to more than a second say nothing about typing.
const GRAIN_MAX: Duration = Duration::from_secs(1);

fn grain(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| !span.is_zero() && *span <= GRAIN_MAX);
    span.ok_or_else(|| "expected a time from 1ms to 1s, such as 10ms".to_owned())
}

/// The least size has room for some lines, the greatest for more than anyone types.
const TRACE_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 40;

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).filter(|bytes| TRACE_BYTES.contains(bytes));
    bytes.ok_or_else(|| "expected a size from 1KiB to 1024GiB, such as 256MiB".to_owned())
}

pub(super) fn run(args: &RecordArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    let summary = block_on(record(&remote, args))??;
    let line = serde_json::to_string(&summary).map_err(io::Error::from)?;
    if let (Some(to), 0) = (&args.to, summary.signals) {
        note(&unseen(to));
    }
    if !summary.enough && summary.signals > 0 {
        note(&format!("not enough to advise on: {}", summary.lacks().join("; ")));
    }
    if args.output == Path::new("-") {
        writeln!(io::stderr().lock(), "{line}")?;
    } else {
        writeln!(io::stdout().lock(), "{line}")?;
    }
    match summary.ended {
        Ended::BrokenOff => {
            Err("the recording broke off: the daemon died, or its signals were not read fast enough; what \
                                 came before is kept"
                .into())
        }
        _ => Ok(()),
    }
}

/// What a recording of one channel says in which nothing was seen.
fn unseen(to: &ChannelAddress) -> String {
    let to = to.as_str();
    format!(
        "no signal of the channel {to:?} was seen; typingd tap and GET /v1/conversations name the channels that have any"
    )
}

/// A stream without a byte for this long has lost its daemon: four of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Only the owner may read and write a recording.
const MODE: u32 = 0o600;
/// Conversations counted; further ones are recorded as well. Ten megabytes of hashes, and as many conversations as a
/// daemon holds by default.
const CONVERSATIONS_COUNTED_MAX: usize = 1_000_000;

/// No typing.
const NOT_TYPING: u64 = u64::MAX;
/// The silence after which `tune` counts a draft as abandoned, unless it is told otherwise.
const AWAY_MILLIS: u64 = 30_000;

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Interrupted,
    /// `--for` is over.
    Time,
    /// `--max-size` is reached.
    Size,
    /// The daemon stopped, or no longer allows recording.
    Daemon,
    /// The daemon died, or had to drop the reader.
    BrokenOff,
}

/// The result of a recording.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    signals: u64,
    /// At most [`CONVERSATIONS_COUNTED_MAX`], as users and channels.
    conversations: usize,
    users: usize,
    channels: usize,
    /// Sent.
    messages: u64,
    /// Typed, and then cleared or left alone for [`AWAY_MILLIS`].
    drafts: u64,
    /// Whether `typingd tune` can advise on it.
    enough: bool,
    bytes: u64,
    elapsed_ms: u64,
    ended: Ended,
}

impl Summary {
    /// What it takes for an advice, where the recording has too little.
    fn lacks(&self) -> Vec<String> {
        let typed = self.messages + self.drafts;
        let least = [("users", self.users as u64, USERS_MIN as u64), ("messages and drafts", typed, MESSAGES_MIN)];
        let few = least.into_iter().filter(|(_, count, least)| count < least);
        let mut lacks: Vec<String> =
            few.map(|(noun, count, least)| format!("{count} {noun}, expected {least}")).collect();
        if self.messages == 0 {
            lacks.push("no message_sent, expected one for each message".to_owned());
        }
        if self.drafts == 0 {
            lacks.push("no draft was abandoned, which alone shows how long an icon lingers".to_owned());
        }
        lacks
    }
}

/// Records until something ends it. What is written are whole lines, and a trace, whatever happens.
async fn record(remote: &Remote, args: &RecordArgs) -> Result<Summary, Failure> {
    let mut interrupt = Interrupt::watch()?;
    let is_stdout = args.output == Path::new("-");
    // Before the daemon is called, and before an old recording is touched.
    if !is_stdout && !args.force && std::fs::symlink_metadata(&args.output).is_ok() {
        return Err(exists(&args.output).into());
    }
    let mut query: Vec<_> = args.to.iter().map(|to| ("to", to.as_str())).collect();
    if args.name_channels {
        query.push(("name_channels", "true"));
    }
    let request = remote.request(Method::GET, &["v1", "signals", "stream"]).query(&query);
    let mut answer = tokio::select! {
        answer = remote.open(request) => answer?,
        _ = interrupt.next() => return Err("interrupted before the daemon answered".into()),
    };
    remote.note_if_several().await;
    let file = if is_stdout { None } else { Some(create(&args.output, args.force)?) };
    let clock = Clock::start();
    let mut tape = Tape::new(remote, args, file);
    let progress = if is_stdout { ProgressBar::hidden() } else { progress() };
    let end = Instant::ORIGIN + args.span.unwrap_or(Duration::MAX);
    let ended = loop {
        let piece = tokio::select! {
            biased;
            _ = interrupt.next() => break Ended::Interrupted,
            () = clock.sleep_until(end) => break Ended::Time,
            piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()) => piece,
        };
        match piece {
            Ok(Ok(Some(piece))) => {
                if tape.take(&piece)?.is_break() {
                    break Ended::Size;
                }
            }
            Ok(Ok(None)) => break Ended::Daemon,
            Ok(Err(_)) | Err(_) => break Ended::BrokenOff,
        }
        progress.set_message(format!("{} signals, {} KiB", tape.signals, tape.bytes / 1_024));
    };
    progress.finish_and_clear();
    let mut summary = Summary {
        ended,
        signals: tape.signals,
        conversations: tape.conversations.len(),
        users: tape.users.len(),
        channels: tape.channels.len(),
        messages: tape.messages,
        drafts: tape.drafts(),
        enough: true,
        bytes: tape.bytes,
        elapsed_ms: clock.now().as_millis(),
    };
    summary.enough = summary.lacks().is_empty();
    Ok(summary)
}

fn exists(path: &Path) -> String {
    format!("{}: already exists; expected another name, or --force to overwrite it", path.display())
}

/// Creates the file, for its owner only.
fn create(path: &Path, overwrite: bool) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).create(overwrite).create_new(!overwrite);
    let created = options.open(path).and_then(|file| {
        // An old file keeps its mode when it is opened; a device has no mode of its own to change.
        if file.metadata()?.is_file() {
            file.set_permissions(PermissionsExt::from_mode(MODE))?;
            file.set_len(0)?;
        }
        Ok(file)
    });
    created.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => format!("{}: can't be written: {error}", path.display()),
    })
}

/// Turns what the daemon sends into lines of the trace, each checked before it is written.
struct Tape<'a> {
    remote: &'a Remote,
    args: &'a RecordArgs,
    /// `None` is standard output.
    file: Option<File>,
    lines: Lines,
    /// Whole lines that are to be written.
    ready: Vec<u8>,
    last_at: u64,
    signals: u64,
    bytes: u64,
    /// Hashes of those seen, each with the end of the typing that is neither sent nor cleared yet, or [`NOT_TYPING`].
    conversations: HashMap<u64, u64>,
    users: HashSet<u64>,
    channels: HashSet<u64>,
    messages: u64,
    /// Drafts whose end has been seen.
    drafts: u64,
    hash: RandomState,
}

impl<'a> Tape<'a> {
    fn new(remote: &'a Remote, args: &'a RecordArgs, file: Option<File>) -> Self {
        Self {
            remote,
            args,
            file,
            lines: Lines::default(),
            ready: Vec::new(),
            last_at: 0,
            signals: 0,
            bytes: 0,
            conversations: HashMap::new(),
            users: HashSet::new(),
            channels: HashSet::new(),
            messages: 0,
            drafts: 0,
            hash: RandomState::new(),
        }
    }

    /// Takes the next piece of the stream, and writes the lines that end in it, until there is no room for more.
    fn take(&mut self, piece: &[u8]) -> Result<ControlFlow<()>, Failure> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut flow = Ok(ControlFlow::Continue(()));
        lines.feed(piece, |_, line| {
            if matches!(flow, Ok(ControlFlow::Continue(()))) {
                flow = self.enter(line);
            }
        });
        self.lines = lines;
        // Also what came before an invalid line.
        self.write()?;
        flow.map_err(|what| {
            let (place, signals) = (self.remote.place(), self.signals);
            format!("{place} sent an invalid line of a trace, after {signals} signals: {what}").into()
        })
    }

    fn enter(&mut self, line: Result<&[u8], Overlong>) -> Result<ControlFlow<()>, String> {
        let line = line.map_err(|Overlong| format!("it has more than {LINE_BYTES_MAX} bytes"))?.trim_ascii();
        // A heartbeat.
        if line.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let parsed = json::parse(line).map_err(|what| what.to_string())?;
        let at = parsed.signal.at.ok_or("it has no `at`")?;
        if at < self.last_at {
            return Err(format!("its `at` goes back from {} to {at}", self.last_at));
        }
        let whole = self.ready.len();
        let grain = self.args.round.map_or(1, |grain| grain.as_millis() as u64);
        let line = TraceLine::new(parsed.conversation(), parsed.signal, at - at % grain);
        line.write(&mut self.ready).map_err(|e| e.to_string())?;
        if self.bytes + self.ready.len() as u64 > self.args.max_size {
            self.ready.truncate(whole);
            return Ok(ControlFlow::Break(()));
        }
        self.last_at = at;
        self.signals += 1;
        self.count(parsed.conversation(), parsed.signal, at);
        Ok(ControlFlow::Continue(()))
    }

    fn count(&mut self, who: ConversationRef<'_>, signal: Signal, at: u64) {
        for (known, hash) in
            [(&mut self.users, self.hash.hash_one(who.from())), (&mut self.channels, self.hash.hash_one(who.to()))]
        {
            if known.len() < CONVERSATIONS_COUNTED_MAX {
                known.insert(hash);
            }
        }
        self.messages += u64::from(signal.kind == SignalKind::MessageSent);
        let hash = self.hash.hash_one(who);
        if self.conversations.len() >= CONVERSATIONS_COUNTED_MAX && !self.conversations.contains_key(&hash) {
            return;
        }
        let typing_until = self.conversations.entry(hash).or_insert(NOT_TYPING);
        let left = *typing_until != NOT_TYPING && at.saturating_sub(*typing_until) > AWAY_MILLIS;
        let cleared = matches!(signal.kind, SignalKind::Stopped | SignalKind::Ended) && *typing_until != NOT_TYPING;
        self.drafts += u64::from(left || cleared);
        match signal.kind {
            SignalKind::Keystroke => *typing_until = at + u64::from(signal.lasts_millis),
            SignalKind::MessageSent | SignalKind::Stopped | SignalKind::Ended => *typing_until = NOT_TYPING,
            SignalKind::Opened if left => *typing_until = NOT_TYPING,
            SignalKind::Opened => {}
        }
    }

    /// The drafts, those included that have been left alone for so long that they are abandoned.
    fn drafts(&self) -> u64 {
        let left = |until: &&u64| **until != NOT_TYPING && self.last_at.saturating_sub(**until) > AWAY_MILLIS;
        self.drafts + self.conversations.values().filter(left).count() as u64
    }

    fn write(&mut self) -> Result<(), Failure> {
        match &mut self.file {
            Some(file) => file.write_all(&self.ready).map_err(|error| {
                // A file with half a line is not a trace.
                let cut = file.set_len(self.bytes);
                let rest = if cut.is_ok() { "; it holds what came before" } else { "" };
                format!("{}: can't be written: {error}{rest}", self.args.output.display())
            })?,
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.ready)?;
                stdout.flush()?;
            }
        }
        self.bytes += self.ready.len() as u64;
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

    fn nowhere() -> RemoteArgs {
        RemoteArgs { url: "http://127.0.0.1:1/".parse().unwrap(), token_file: None }
    }

    fn args(output: &Path) -> RecordArgs {
        let (output, round) = (output.to_owned(), Some(Duration::from_millis(10)));
        RecordArgs {
            output,
            force: false,
            span: None,
            max_size: 1_000,
            round,
            to: None,
            name_channels: false,
            remote: nowhere(),
        }
    }

    fn line(from: &str, at: u64) -> String {
        format!("{{\"to\":\"c\",\"from\":\"{from}\",\"signal\":\"keystroke\",\"at\":{at}}}\n")
    }

    /// What is written of `stream`, cut into pieces of `piece` bytes, and what is said in the end.
    fn written(stream: &[u8], piece: usize) -> (String, Result<ControlFlow<()>, String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let (args, remote) = (args(&path), Remote::new(&nowhere()).unwrap());
        let mut tape = Tape::new(&remote, &args, Some(create(&path, false).unwrap()));
        let mut flow = Ok(ControlFlow::Continue(()));
        for piece in stream.chunks(piece) {
            flow = tape.take(piece);
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                break;
            }
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((tape.bytes, tape.signals), (text.len() as u64, text.lines().count() as u64));
        (text, flow.map_err(|failure| failure.to_string()))
    }

    #[test]
    fn whole_lines_alone_are_written_with_rounded_times() {
        let stream =
            [line("ann", 9), "\n\n".to_owned(), line("bob", 10), line("ann", 1_239), line("late", 1_240)].concat();
        let half = &stream.as_bytes()[..stream.len() - 3];
        let expected = line("ann", 0) + &line("bob", 10) + &line("ann", 1_230);
        for piece in [1, 7, 64, 4_096] {
            assert_eq!(
                written(half, piece),
                (expected.clone(), Ok(ControlFlow::Continue(()))),
                "pieces of {piece} bytes"
            );
        }
    }

    #[test]
    fn the_size_is_a_bound_and_the_last_line_whole() {
        let stream: String = (0..100).map(|i| line("ann", i * 10)).collect();
        for piece in [1, 100, 65_536] {
            let (text, flow) = written(stream.as_bytes(), piece);
            assert_eq!(flow, Ok(ControlFlow::Break(())));
            assert!(stream.starts_with(&text) && text.ends_with('\n'), "{text}");
            assert!((1_000 - line("ann", 990).len()..=1_000).contains(&text.len()), "{}", text.len());
        }
    }

    #[test]
    fn what_is_no_trace_ends_it_and_what_came_before_is_kept() {
        for (bad, words) in [
            ("<html>\n".to_owned(), "is not JSON"),
            (line("ann", 4), "`at` goes back from 5 to 4"),
            ("{\"to\":\"c\",\"from\":\"u\",\"signal\":\"keystroke\"}\n".to_owned(), "it has no `at`"),
            ("x".repeat(LINE_BYTES_MAX + 1) + "\n", "it has more than 8192 bytes"),
        ] {
            let (text, flow) = written((line("ann", 5) + &bad + &line("bob", 9)).as_bytes(), 65_536);
            assert_eq!(text, line("ann", 0));
            let said = flow.unwrap_err();
            assert!(said.contains(words) && said.starts_with(&format!("{} sent", nowhere().url)), "{said}");
        }
    }

    #[test]
    fn a_million_conversations_are_counted() {
        let (args, remote) = (args(Path::new("-")), Remote::new(&nowhere()).unwrap());
        let mut tape = Tape::new(&remote, &args, None);
        for n in 0..CONVERSATIONS_COUNTED_MAX + 10 {
            tape.count(ConversationRef::new("c", &n.to_string()).unwrap(), Signal::new(SignalKind::Keystroke), 0);
        }
        assert_eq!(tape.conversations.len(), CONVERSATIONS_COUNTED_MAX);
    }

    #[test]
    fn a_draft_is_what_is_cleared_or_left_alone() {
        let (args, remote) = (args(Path::new("-")), Remote::new(&nowhere()).unwrap());
        let mut tape = Tape::new(&remote, &args, None);
        let mut say = |to: &str, from: &str, kind, at| {
            tape.last_at = at;
            tape.count(ConversationRef::new(to, from).unwrap(), Signal::new(kind), at);
        };
        use SignalKind::{Keystroke, MessageSent, Opened, Stopped};
        for (at, from, kind) in [
            (0, "ann", Opened),
            (10, "ann", Keystroke),
            (900, "ann", MessageSent),
            (1_000, "ann", Keystroke),
            (1_500, "ann", Stopped),
            (2_000, "bob", Keystroke),
            (40_000, "bob", Keystroke),
            (41_000, "bob", MessageSent),
            (42_000, "cid", Keystroke),
        ] {
            say("c", from, kind, at);
        }
        say("d", "ann", Keystroke, 73_000);
        assert_eq!((tape.users.len(), tape.channels.len(), tape.conversations.len()), (3, 2, 4));
        assert_eq!((tape.messages, tape.drafts()), (2, 3), "cleared, left alone, and left alone at the end");
    }
}
