//! Icons that are on, on disk: what a crash must not lose.
//!
//! Append-only files of checksummed records. "Showing" is written before a Started leaves, "gone" once the upstream is
//! known to show nothing; a Stopped is owed for what is still showing when the process dies, and sent by the next one.
//! A write reaches the kernel before the request leaves, so that the death of the process loses nothing; a thread syncs
//! the disk within 100 ms, which bounds what a power cut may lose.
//!
//! When the file has grown, a new generation begins with all that is showing, and the old one is removed once the new
//! one is on the disk: at every instant one of them is whole. Only where the old one is what fills the disk, it is written
//! anew in its own place. The journal knows nothing of typing or of HTTP.

mod files;
#[cfg(fuzzing)]
pub mod fuzz;
mod records;
mod syncer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Conversation, ConversationRef};
use files::{begin, generations, lock, path_of, sync_dir};
use records::{Kind, MAGIC, Showing, encode, encode_all};
use syncer::Syncer;

/// A generation ends when this much has been appended to what it began with, or as much as it began with: a million
/// bytes are some ten thousand records, and are written in a few milliseconds.
const GENERATION_BYTES_MIN: u64 = 1 << 20;

/// One daemon's journal. It holds the directory's lock while it lives.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    file: Arc<File>,
    generation: u64,
    /// The files that the next generation supersedes; the last is the present one.
    older: Vec<PathBuf>,
    /// The disk had no room for another generation: the next try takes the place of the present one.
    full: bool,
    /// Records not yet handed to the kernel.
    buffer: Vec<u8>,
    /// Records in the buffer.
    buffered: u64,
    /// Bytes that the present generation began with.
    bytes_at_start: u64,
    figures: Figures,
    /// The next generation, while it is begun.
    renewal: Option<Renewal>,
    syncer: Syncer,
    _lock: File,
}

/// The state of the journal, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes in the present generation.
    pub bytes: u64,
    /// Records written since the start, without those that began a generation.
    pub records: u64,
    /// Writes that failed since the start.
    pub writes_failed: u64,
    /// The last write failed: what the file holds after that is not trusted, and a crash may leave icons on.
    pub degraded: bool,
}

/// A generation that is begun a part at a time. What happens meanwhile is written to it and to the one before: each is
/// true by itself.
#[derive(Debug)]
struct Renewal {
    target: Target,
    bytes: u64,
    /// A write to it failed.
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Target {
    /// A file beside the present one.
    Beside(Arc<File>),
    /// The present one's place: written when all is known, if it is no more than this.
    InPlace { held: Vec<u8>, bytes_max: u64 },
}

/// What was still showing when the last process ended.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The conversations, in the order in which they were shown.
    pub showing: Vec<Conversation>,
    /// How many were forgotten because they had been shown too long ago.
    pub forgotten: usize,
    /// What is wrong with the files, for the operator. The daemon serves all the same.
    pub complaints: Vec<String>,
}

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another daemon holds the directory; its process id, if it could be read.
    #[error("delivery.state_dir {} is held by {}; each typingd needs one of its own", .dir.display(), holder(*.pid))]
    Held { dir: PathBuf, pid: Option<u32> },
    /// The directory can't be used. The daemon can serve without.
    #[error("delivery.state_dir {} can't be used: {source}; a crash may leave icons on", .dir.display())]
    Unusable { dir: PathBuf, source: io::Error },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("the process {pid}"))
}

impl Journal {
    /// Opens the journal in `dir`, and returns what the last process left showing. `now` is the wall clock in
    /// milliseconds; what was shown longer than `max_age` ago is forgotten, for a late Stopped might open a new
    /// session.
    ///
    /// # Errors
    /// When the directory is held by another daemon, or can't be used at all. Broken files are no error, and neither is
    /// a disk that can't be written: the journal is degraded then, until a renewal succeeds.
    pub(crate) fn open(dir: &Path, now: u64, max_age: Duration) -> Result<(Self, Recovered), OpenError> {
        Self::open_by(dir, now, max_age, begin)
    }

    fn open_by(
        dir: &Path,
        now: u64,
        max_age: Duration,
        begin: impl FnOnce(&Path, u64, &[u8]) -> io::Result<File>,
    ) -> Result<(Self, Recovered), OpenError> {
        let unusable = |source| OpenError::Unusable { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(unusable)?;
        let lock = lock(dir)?;
        let mut recovered = Recovered::default();
        let mut showing = Showing::default();
        let generations = generations(dir).map_err(unusable)?;
        let mut older: Vec<_> = generations.iter().map(|(_, path)| path.clone()).collect();
        older.retain(|path| showing.read(path, &mut recovered.complaints));
        let oldest = now.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
        let mut showing = showing.in_order();
        let count = showing.len();
        showing.retain(|(_, at)| *at >= oldest);
        recovered.forgotten = count - showing.len();

        let last = generations.last().map_or(0, |(number, _)| *number);
        let generation = if generations.is_empty() { 0 } else { last + 1 };
        let begun = encode_all(showing.iter().map(|(conversation, at)| (conversation.as_ref(), *at)));
        recovered.showing = showing.into_iter().map(|(conversation, _)| conversation).collect();
        let started = begin(dir, generation, &begun).and_then(|file| {
            file.sync_data()?;
            sync_dir(dir)?;
            Ok(file)
        });
        let degraded = started.is_err();
        let (file, generation, bytes) = match started {
            Ok(file) => {
                // Left behind, one is read again by the next start, which does no harm.
                older.drain(..).for_each(|path| drop(fs::remove_file(path)));
                older.push(path_of(dir, generation));
                (file, generation, begun.len() as u64)
            }
            // The disk is full or read-only: what could be read is recovered all the same, and kept until a renewal
            // replaces it. Nothing is written to this file meanwhile.
            Err(source) => {
                let _ = fs::remove_file(path_of(dir, generation));
                let warning = "can't be written; until it can, a crash may leave icons on";
                recovered.complaints.push(format!("{} {warning}: {source}", dir.display()));
                (lock.try_clone().map_err(unusable)?, last, 0)
            }
        };
        let file = Arc::new(file);
        let journal = Self {
            dir: dir.to_owned(),
            syncer: Syncer::start(file.clone()).map_err(unusable)?,
            file,
            generation,
            older,
            full: false,
            buffer: Vec::new(),
            buffered: 0,
            bytes_at_start: bytes,
            figures: Figures { bytes, records: 0, writes_failed: u64::from(degraded), degraded },
            renewal: None,
            _lock: lock,
        };
        Ok((journal, recovered))
    }

    /// A Started is about to leave. Takes effect with [`Journal::flush`], which has to come before.
    pub(crate) fn showing(&mut self, conversation: ConversationRef<'_>, now: u64) {
        encode(&mut self.buffer, Kind::Showing, conversation, now);
        self.buffered += 1;
    }

    /// The upstream shows nothing any more.
    pub(crate) fn gone(&mut self, conversation: ConversationRef<'_>) {
        encode(&mut self.buffer, Kind::Gone, conversation, 0);
        self.buffered += 1;
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// At the first failure only; from then on nothing is kept until a renewal has succeeded.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let records = std::mem::take(&mut self.buffered);
        if let Some(renewal) = &mut self.renewal {
            renewal.write(&self.buffer);
        }
        if self.buffer.is_empty() || self.figures.degraded {
            self.buffer.clear();
            return Ok(());
        }
        let written = (&*self.file).write_all(&self.buffer);
        self.figures.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.figures.records += records;
                self.syncer.wake();
                Ok(())
            }
            Err(error) => {
                self.note_failure();
                Err(error)
            }
        }
    }

    /// Whether a renewal is due: the file has grown, or its last write failed.
    pub(crate) fn wants_renewal(&self) -> bool {
        self.figures.degraded || self.figures.bytes > self.bytes_at_start.saturating_mul(2).max(GENERATION_BYTES_MIN)
    }

    /// Whether the last write failed: a crash may leave icons on.
    pub(crate) fn is_degraded(&self) -> bool {
        self.figures.degraded
    }

    pub(crate) const fn figures(&self) -> Figures {
        self.figures
    }

    /// Whether a renewal is under way.
    pub(crate) const fn is_renewing(&self) -> bool {
        self.renewal.is_some()
    }

    /// Begins a new generation, to be given all that is showing ([`Journal::renew_some`]).
    ///
    /// # Errors
    /// When it can't be written: the present one goes on.
    pub(crate) fn begin_renewal(&mut self) -> io::Result<()> {
        self.flush()?;
        let begun = match self.full.then(|| self.room_in_place()).flatten() {
            Some(bytes_max) => Ok(Target::InPlace { held: MAGIC.to_vec(), bytes_max }),
            None => begin(&self.dir, self.generation + 1, MAGIC).map(|file| Target::Beside(Arc::new(file))),
        };
        match begun {
            Ok(target) => {
                self.renewal = Some(Renewal { target, bytes: MAGIC.len() as u64, failed: None });
                Ok(())
            }
            Err(error) => Err(self.abandon_renewal(error)),
        }
    }

    /// How much may take the place of what the present file holds: half of it. With less to gain it would be full again
    /// at once.
    fn room_in_place(&self) -> Option<u64> {
        let bytes = fs::metadata(self.older.last()?).ok()?.len() / 2;
        (bytes >= MAGIC.len() as u64).then_some(bytes)
    }

    /// Gives the new generation some that are showing now, each once.
    ///
    /// # Errors
    /// When it can't be written: the present one goes on.
    pub(crate) fn renew_some<'a>(
        &mut self,
        showing: impl Iterator<Item = ConversationRef<'a>>,
        now: u64,
    ) -> io::Result<()> {
        let Some(renewal) = &mut self.renewal else { return Ok(()) };
        let mut bytes = Vec::new();
        for conversation in showing {
            encode(&mut bytes, Kind::Showing, conversation, now);
        }
        renewal.write(&bytes);
        match renewal.failed.take() {
            None => Ok(()),
            Some(error) => Err(self.abandon_renewal(error)),
        }
    }

    /// The new generation has been given all: it replaces the one before.
    ///
    /// # Errors
    /// When it could not be written: the present one goes on.
    pub(crate) fn finish_renewal(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(Renewal { target, bytes, failed }) = self.renewal.take() else { return Ok(()) };
        if let Some(error) = failed {
            return Err(self.abandon_renewal(error));
        }
        let (file, path) = match target {
            Target::Beside(file) => (file, path_of(&self.dir, self.generation + 1)),
            Target::InPlace { held, .. } => match self.rewrite(&held) {
                Ok(rewritten) => rewritten,
                Err(error) => return Err(self.abandon_renewal(error)),
            },
        };
        self.generation += u64::from(!self.older.contains(&path));
        self.older.retain(|older| *older != path);
        self.syncer.supersede(file.clone(), std::mem::replace(&mut self.older, vec![path]));
        self.file = file;
        self.figures.bytes = bytes;
        self.bytes_at_start = bytes;
        self.figures.degraded = false;
        self.full = false;
        Ok(())
    }

    /// Between the old content and the new one there is an instant with neither, as there is for as long as the journal
    /// is degraded.
    fn rewrite(&self, content: &[u8]) -> io::Result<(Arc<File>, PathBuf)> {
        let path = self.older.last().ok_or(io::ErrorKind::NotFound)?.clone();
        Ok((Arc::new(files::rewrite(&path, content)?), path))
    }

    fn abandon_renewal(&mut self, error: io::Error) -> io::Error {
        self.renewal = None;
        // The two ways take turns: either may be the one that has come to be open.
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        self.full = full && !self.full;
        let _ = fs::remove_file(path_of(&self.dir, self.generation + 1));
        self.note_failure();
        error
    }

    const fn note_failure(&mut self) {
        self.figures.writes_failed += 1;
        self.figures.degraded = true;
    }
}

impl Renewal {
    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.bytes += bytes.len() as u64;
        match &mut self.target {
            Target::Beside(file) => self.failed = (&**file).write_all(bytes).err(),
            Target::InPlace { bytes_max, .. } if self.bytes > *bytes_max => {
                self.failed = Some(io::ErrorKind::StorageFull.into());
            }
            Target::InPlace { held, .. } => held.extend_from_slice(bytes),
        }
    }
}

#[cfg(test)]
mod tests;
