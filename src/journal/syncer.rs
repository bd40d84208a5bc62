//! The thread that syncs: a slow disk must not block the loop.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::sync_dir;

/// A power cut may lose what was written in this time.
const SYNC_SPACING: Duration = Duration::from_millis(100);

/// The thread.
#[derive(Debug)]
pub(super) struct Syncer {
    /// `None` ends the thread.
    work: Option<Sender<Work>>,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Flags {
    /// There is a [`Work::Sync`] that the thread has not begun.
    dirty: AtomicBool,
    ended: AtomicBool,
}

#[derive(Debug)]
enum Work {
    Sync,
    /// This file supersedes those at these paths once it is on the disk.
    Supersede(Arc<File>, Vec<PathBuf>),
}

impl Syncer {
    pub(super) fn start(file: Arc<File>) -> io::Result<Self> {
        let (work, received) = mpsc::channel();
        let flags = Arc::new(Flags::default());
        let theirs = flags.clone();
        let run = move || run(file, &received, &theirs);
        let thread = std::thread::Builder::new().name("journal-sync".into()).spawn(run)?;
        Ok(Self { work: Some(work), flags, thread: Some(thread) })
    }

    pub(super) fn wake(&self) {
        if !self.flags.dirty.swap(true, Ordering::AcqRel) {
            self.send(Work::Sync);
        }
    }

    /// Whether something was written that the disk has not been asked to keep.
    #[cfg(test)]
    pub(super) fn is_dirty(&self) -> bool {
        self.flags.dirty.load(Ordering::Acquire)
    }

    pub(super) fn supersede(&self, file: Arc<File>, older: Vec<PathBuf>) {
        self.send(Work::Supersede(file, older));
    }

    fn send(&self, work: Work) {
        if let Some(sender) = &self.work {
            let _ = sender.send(work);
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work = None;
        self.flags.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn run(mut file: Arc<File>, received: &Receiver<Work>, flags: &Flags) {
    let mut superseded: Vec<PathBuf> = Vec::new();
    while let Ok(first) = received.recv() {
        flags.dirty.store(false, Ordering::Release);
        for work in std::iter::once(first).chain(received.try_iter()) {
            if let Work::Supersede(newer, older) = work {
                file = newer;
                superseded.extend(older);
            }
        }
        let dir = superseded.first().and_then(|path| path.parent());
        if file.sync_data().and_then(|()| dir.map_or(Ok(()), sync_dir)).is_ok() {
            superseded.drain(..).for_each(|path| drop(fs::remove_file(path)));
        }
        if !flags.ended.load(Ordering::Acquire) {
            std::thread::park_timeout(SYNC_SPACING);
        }
    }
}
