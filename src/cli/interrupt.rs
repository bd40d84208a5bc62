//! What ends a command from outside: the keyboard, a supervisor, a terminal that closes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sees to it that SIGINT, SIGTERM and SIGHUP end the process also where it is the first of a container: for that one the
/// system does nothing by itself. Its exit code is what a shell shows of a process that was ended by the signal. For
/// commands that have nothing to do at their end.
pub(crate) fn end_as_first_process() {
    if std::process::id() != FIRST_PROCESS {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let watched = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| (kind, signal(kind)))
    };
    let [(interrupt, Ok(mut interrupted)), (terminate, Ok(mut terminated)), (hangup, Ok(mut hung_up))] = watched else {
        return;
    };
    // On a thread of its own: some commands read their input, or count, without ever looking up.
    std::thread::spawn(move || {
        let kind = runtime.block_on(async {
            tokio::select! {
                _ = interrupted.recv() => interrupt,
                _ = terminated.recv() => terminate,
                _ = hung_up.recv() => hangup,
            }
        });
        std::process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
    });
}

const FIRST_PROCESS: u32 = 1;
/// What shells add to the number of the signal that has ended a process.
const ENDED_BY_SIGNAL: i32 = 128;

/// Waits for SIGINT, SIGTERM or SIGHUP.
#[derive(Debug)]
pub(crate) struct Interrupt([Signal; 3]);

impl Interrupt {
    /// From now on these signals don't end the process by themselves.
    ///
    /// # Errors
    /// One sentence, when the system doesn't let signals be watched.
    pub(crate) fn watch() -> Result<Self, String> {
        let all = || -> io::Result<_> {
            Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
        };
        all().map(Self).map_err(|e| format!("can't watch for signals: {e}"))
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
