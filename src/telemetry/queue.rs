//! The way of log lines to the standard error: a bounded queue and a thread that writes. Whoever reads the log may stop
//! reading, and no thread but that one waits for it: lines are dropped then, counted, and reported once it reads again.
//!
//! `tracing-appender` does the same, but its end prints to the standard output, which is for results, and waits there.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The queue of the process's log.
pub(super) static LOG: LazyLock<Queue> = LazyLock::new(Queue::default);

/// Lines that wait to be written, in the order in which they came. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified of lines that come and of lines that have been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread writes lines that are no longer in the queue.
    writing: bool,
    /// Lines dropped since the last report, and since the start.
    unreported: u64,
    dropped: u64,
}

impl Queue {
    /// Writes whatever comes to `out`, on a thread of its own. `report` is called with the number of lines that have been
    /// dropped, when lines are written again; a line that it logs always fits.
    pub(super) fn start(&self, mut out: impl Write + Send + 'static, report: fn(u64)) -> io::Result<()> {
        let queue = self.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || {
            loop {
                for line in queue.take() {
                    // No one is left to be told of an error.
                    let _ = out.write_all(&line);
                }
                let _ = out.flush();
                let unreported = queue.written();
                if unreported > 0 {
                    report(unreported);
                }
            }
        })?;
        Ok(())
    }

    /// Puts a line in the queue, or drops it where there is no room.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        // The line that reports what was dropped is the thread's own, and must not be dropped in its turn.
        let fits = state.bytes + line.len() <= QUEUE_BYTES_MAX || std::thread::current().name() == Some("log");
        if fits {
            state.bytes += line.len();
            state.lines.push_back(line.to_vec());
            self.0.changed.notify_all();
        } else {
            state.unreported += 1;
            state.dropped += 1;
        }
    }

    /// Waits for lines, and takes all that there are. They count against the bound until they are written.
    fn take(&self) -> VecDeque<Vec<u8>> {
        let mut state = self.lock();
        while state.lines.is_empty() {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        std::mem::take(&mut state.lines)
    }

    /// What was taken has been written; returns how many lines have been dropped and not been reported.
    fn written(&self) -> u64 {
        let mut state = self.lock();
        state.writing = false;
        state.bytes = state.lines.iter().map(Vec::len).sum();
        self.0.changed.notify_all();
        std::mem::take(&mut state.unreported)
    }

    /// Waits until every line has been written, for no longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let waiting = |state: &mut State| state.writing || !state.lines.is_empty();
        let state = self.lock();
        drop(self.0.changed.wait_timeout_while(state, timeout, waiting));
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line is one call of `write`.
pub(super) struct Writer<'a>(&'a Queue);

impl Write for Writer<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self)
    }
}

/// Some ten thousand lines: at debug, what a busy daemon logs in a second.
const QUEUE_BYTES_MAX: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static REPORTED: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn lines_without_a_reader_are_dropped_and_reported() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::default();
        queue
            .start(writer, |lines| {
                REPORTED.fetch_add(lines, Ordering::SeqCst);
            })
            .unwrap();
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        let pushed = 2 * QUEUE_BYTES_MAX / line.len();
        for _ in 0..pushed {
            queue.push(&line);
        }
        let dropped = queue.dropped();
        assert!(dropped > 0, "a pipe does not hold {pushed} lines");
        queue.flush(Duration::from_millis(10));
        // The reader reads again.
        let kept = pushed - usize::try_from(dropped).unwrap();
        let mut read = vec![0; kept * line.len()];
        reader.read_exact(&mut read).unwrap();
        queue.flush(Duration::from_secs(20));
        assert_eq!(read, line.repeat(kept), "what was kept is whole and in order");
        queue.push(b"y\n");
        queue.flush(Duration::from_secs(20));
        assert_eq!((REPORTED.load(Ordering::SeqCst), queue.dropped()), (dropped, dropped));
    }
}
