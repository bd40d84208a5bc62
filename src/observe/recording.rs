//! The bounded hand-over of signals from the driver to the client that records them, as lines of a trace.
//!
//! No end user's id leaves the driver: each is replaced by a hash under a key that no other recording has, and so are
//! channels' addresses unless they are asked for. The driver never waits:
//! a reader who is too slow loses its recording.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::base::pseudonym::Pseudonyms;
use crate::engine::Handled;
use crate::model::{ChannelAddress, ConversationRef, Instant, Signal, SignalKind};
use crate::observe::loop_event::LoopEvent;

/// Signals that may wait for the reader: 4 MiB of them, six seconds of 10,000 signals a second.
pub(crate) const SIGNALS_MAX: usize = 65_536;
/// Lines handed over at a time: some 45 KiB.
const LINES_MAX: usize = 512;
/// When nothing is typed for this long there is a blank line, which readers of traces skip. Well within the 75 s after
/// which the server takes a silent connection for idle, and soon enough to notice a reader that has gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// What of the signals is recorded.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this channel.
    pub to: Option<ChannelAddress>,
    /// Channels keep their addresses, which are no personal data.
    pub name_channels: bool,
}

/// A new recording that starts `now`: the driver's end and the reader's.
pub(crate) fn recording(now: Instant, scope: Scope) -> (Recorder, Recording) {
    let (notes, reader) = mpsc::channel(SIGNALS_MAX);
    let whole = Arc::new(AtomicBool::new(false));
    let recorder = Recorder {
        start: now,
        scope,
        channels: HashMap::new(),
        pseudonyms: Pseudonyms::default(),
        notes: Some(notes),
        whole: Arc::downgrade(&whole),
    };
    (recorder, Recording { notes: reader, whole, taken: Vec::new() })
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    scope: Scope,
    /// The addresses of the channels that keep them, as JSON, by their hash.
    channels: HashMap<u64, Arc<str>>,
    pseudonyms: Pseudonyms,
    /// Gone once the reader has gone or been too slow.
    notes: Option<mpsc::Sender<Note>>,
    /// Lives as long as the reader's end.
    whole: Weak<AtomicBool>,
}

impl Recorder {
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, event: &LoopEvent<'_>) {
        // A trace does not distinguish a late keystroke from a fresh one: it has one clock, that of the arrivals.
        if let LoopEvent::Received { signals, taken: Ok(Handled::Accepted | Handled::Unopened) } = event {
            signals.iter().for_each(|(conversation, signal)| self.note(now, *conversation, *signal));
        }
    }

    fn note(&mut self, now: Instant, conversation: ConversationRef<'_>, signal: Signal) {
        if self.notes.is_none() || self.scope.to.as_ref().is_some_and(|to| to.as_str() != conversation.to()) {
            return;
        }
        let to = self.pseudonyms.of_channel(conversation.to());
        let note = Note {
            to,
            channel: self.channel(to, conversation.to()),
            from: self.pseudonyms.of_end_user(conversation.from()),
            at: u64::try_from(now.since(self.start).as_millis()).unwrap_or(u64::MAX),
            kind: signal.kind,
            lasts_millis: signal.lasts_millis,
        };
        self.notes.take_if(|notes| notes.try_send(note).is_err());
    }

    /// The address as JSON, where channels keep theirs and there is room for this one.
    fn channel(&mut self, hash: u64, to: &str) -> Option<Arc<str>> {
        if !self.scope.name_channels {
            return None;
        }
        if !self.channels.contains_key(&hash) && self.channels.len() < CHANNELS_NAMED_MAX {
            self.channels.insert(hash, serde_json::Value::from(to).to_string().into());
        }
        self.channels.get(&hash).cloned()
    }

    /// Whether the reader's end has gone. One that was too slow may still be there, and holds what it was given.
    pub(crate) fn is_gone(&self) -> bool {
        self.whole.strong_count() == 0
    }

    /// Ends the recording as one that lacks nothing, unless it does.
    pub(crate) fn finish(self) {
        if let (Some(_), Some(whole)) = (&self.notes, self.whole.upgrade()) {
            whole.store(true, Ordering::Release);
        }
    }
}

/// The reader's end: lines of a trace, as they come.
#[derive(Debug)]
pub struct Recording {
    notes: mpsc::Receiver<Note>,
    /// Set before a recording that lacks nothing ends.
    whole: Arc<AtomicBool>,
    taken: Vec<Note>,
}

/// The recording has ended before its time: its reader was too slow, or the driver broke down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recording has broken off: its reader was too slow")]
pub struct BrokenOff;

impl Recording {
    /// The next lines; a blank one when none came for [`HEARTBEAT`]; `None` at the recording's end.
    ///
    /// # Errors
    /// When it has ended before its time. What came before has been handed over.
    pub async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        self.taken.clear();
        let received = self.notes.recv_many(&mut self.taken, LINES_MAX);
        match tokio::time::timeout(HEARTBEAT, received).await {
            Err(_) => Some(Ok(Bytes::from_static(b"\n"))),
            Ok(0) if self.whole.load(Ordering::Acquire) => None,
            Ok(0) => Some(Err(BrokenOff)),
            Ok(_) => {
                let mut lines = Vec::with_capacity(self.taken.len() * LINE_BYTES_USUAL);
                for note in &self.taken {
                    note.write(&mut lines);
                }
                Some(Ok(lines.into()))
            }
        }
    }
}

/// A signal without its end user's id.
#[derive(Clone, Debug)]
struct Note {
    to: u64,
    /// The channel's address as JSON, if it keeps it.
    channel: Option<Arc<str>>,
    from: u64,
    /// Milliseconds since the recording's start.
    at: u64,
    kind: SignalKind,
    lasts_millis: u16,
}

impl Note {
    fn write(&self, lines: &mut Vec<u8>) {
        let Self { to, channel, from, at, kind, lasts_millis } = self;
        let to = channel.as_ref().map_or_else(|| format!(r#""{to:016x}""#), ToString::to_string);
        // By hand, as there is nothing left to escape: hexadecimal digits and names of ours.
        let kind = kind.name();
        let lasts = if *lasts_millis == 0 { String::new() } else { format!(r#","lasts":{lasts_millis}"#) };
        writeln!(lines, r#"{{"to":{to},"from":"{from:016x}","signal":"{kind}","at":{at}{lasts}}}"#)
            .expect("a vector takes what it is given");
    }
}

/// As many channels as an org may have; further ones are hashed.
const CHANNELS_NAMED_MAX: usize = 2_000;

/// A line with its ids of 16 digits, a keystroke, and a time within a day.
const LINE_BYTES_USUAL: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::signals::json;

    fn pair(from: &str) -> ConversationRef<'_> {
        ConversationRef::new("channel", from).unwrap()
    }

    async fn lines(recording: &mut Recording) -> Vec<(String, String, SignalKind, u64)> {
        let lines = recording.next().await.unwrap().unwrap();
        let read = |line: &[u8]| {
            let parsed = json::parse(line).unwrap();
            let conversation = parsed.conversation().to_owned();
            (
                conversation.to().to_owned(),
                conversation.from().to_owned(),
                parsed.signal.kind,
                parsed.signal.at.unwrap(),
            )
        };
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_noted_comes_out_as_a_trace_without_ids() {
        let start = Instant::from_millis(5_000);
        let (mut recorder, mut recording) = recording(start, Scope::default());
        for (i, kind) in SignalKind::ALL.into_iter().enumerate() {
            recorder.note(
                start + Duration::from_micros(1_700 * i as u64),
                pair(["ann", "bob"][i % 2]),
                Signal::new(kind),
            );
        }
        recorder.note(start + Duration::from_secs(1), pair("channel"), Signal::new(SignalKind::Keystroke));
        let read = lines(&mut recording).await;
        let said: Vec<_> = read.iter().map(|(.., kind, at)| (*kind, *at)).collect();
        let [a, b, c, d, e] = SignalKind::ALL;
        assert_eq!(said, [(a, 0), (b, 1), (c, 3), (d, 5), (e, 6), (SignalKind::Keystroke, 1_000)]);
        let from: Vec<_> = read.iter().map(|(_, from, ..)| from).collect();
        assert_eq!((from[0], from[1]), (from[2], from[3]), "the same one is the same one throughout");
        assert_ne!(from[0], from[1]);
        assert!(read.iter().all(|(to, ..)| *to == read[0].0));
        assert_ne!(&read[5].0, from[5], "the same text in another place");
        for (to, from, ..) in &read {
            for id in [to, from] {
                assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
            }
        }
        let lasting = Signal { lasts_millis: 5_000, at: Some(7), ..Signal::new(SignalKind::Keystroke) };
        recorder.note(start + Duration::from_secs(2), pair("ann"), lasting);
        let line = String::from_utf8(recording.next().await.unwrap().unwrap().to_vec()).unwrap();
        assert!(line.ends_with("\"at\":2000,\"lasts\":5000}\n"), "{line}");
        recorder.finish();
        assert_eq!(recording.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_channel_can_be_recorded_and_named() {
        let of = |to, from| ConversationRef::new(to, from).unwrap();
        let only = Scope { to: Some(ChannelAddress::new("a \"b\"").unwrap()), name_channels: true };
        let (mut recorder, mut one) = recording(Instant::ORIGIN, only);
        let (mut all_recorder, mut all) = recording(Instant::ORIGIN, Scope { name_channels: true, ..Scope::default() });
        for to in ["a \"b\"", "other"] {
            for recorder in [&mut recorder, &mut all_recorder] {
                recorder.note(Instant::ORIGIN, of(to, "ann"), Signal::new(SignalKind::Keystroke));
            }
        }
        let to =
            |lines: Vec<(String, String, SignalKind, u64)>| lines.into_iter().map(|(to, ..)| to).collect::<Vec<_>>();
        assert_eq!(to(lines(&mut one).await), ["a \"b\""]);
        let all = lines(&mut all).await;
        assert!(all.iter().all(|(_, from, ..)| from.len() == 16), "{all:?}");
        assert_eq!(to(all), ["a \"b\"", "other"]);
    }

    #[tokio::test(start_paused = true)]
    async fn two_recordings_have_no_name_in_common() {
        let mut names = Vec::new();
        for _ in 0..2 {
            let (mut recorder, mut recording) = recording(Instant::ORIGIN, Scope::default());
            recorder.note(Instant::ORIGIN, pair("ann"), Signal::new(SignalKind::Keystroke));
            let (to, from, ..) = lines(&mut recording).await.remove(0);
            names.extend([to, from]);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_kept_up_by_blank_lines() {
        let (recorder, mut recording) = recording(Instant::ORIGIN, Scope::default());
        let clock = Clock::start();
        for beat in 1..=3 {
            assert_eq!(recording.next().await, Some(Ok(Bytes::from_static(b"\n"))));
            let elapsed = clock.now().since(Instant::ORIGIN);
            assert!(elapsed >= HEARTBEAT * beat && elapsed < HEARTBEAT * (beat + 1), "{elapsed:?}");
        }
        drop(recorder);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_too_slow_loses_its_recording_at_the_bound() {
        let (mut recorder, mut recording) = recording(Instant::ORIGIN, Scope::default());
        for _ in 0..SIGNALS_MAX {
            recorder.note(Instant::ORIGIN, pair("ann"), Signal::new(SignalKind::Keystroke));
        }
        // One more than there is room for, then room: it is lost all the same, for something is missing.
        recorder.note(Instant::ORIGIN, pair("ann"), Signal::new(SignalKind::MessageSent));
        let mut read = lines(&mut recording).await.len();
        recorder.note(Instant::ORIGIN, pair("ann"), Signal::new(SignalKind::MessageSent));
        assert!(!recorder.is_gone(), "it still holds what it was given");
        recorder.finish();
        while read < SIGNALS_MAX {
            let lines = lines(&mut recording).await;
            assert!(lines.iter().all(|(.., kind, _)| *kind == SignalKind::Keystroke));
            read += lines.len();
        }
        assert_eq!((read, recording.next().await), (SIGNALS_MAX, Some(Err(BrokenOff))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_breaks_down_leaves_no_whole_recording() {
        let (recorder, mut recording) = recording(Instant::ORIGIN, Scope::default());
        drop(recorder);
        assert_eq!(recording.next().await, Some(Err(BrokenOff)));
    }

    #[test]
    fn a_reader_that_has_gone_is_gone() {
        let (mut recorder, recording) = recording(Instant::ORIGIN, Scope::default());
        assert!(!recorder.is_gone());
        drop(recording);
        assert!(recorder.is_gone());
        recorder.note(Instant::ORIGIN, pair("ann"), Signal::new(SignalKind::Keystroke));
        recorder.finish();
    }
}
