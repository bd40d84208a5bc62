//! Signals that end a command: from the keyboard, a supervisor, a terminal that closes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Makes SIGINT, SIGTERM and SIGHUP end the process also where it is the first of a container, for which the system does
/// nothing by default. The exit code is that of a shell for a process ended by the signal. For commands that have nothing
/// to do at their end.
pub(super) fn end_as_first_process() {
    if std::process::id() != FIRST_PROCESS {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let watched = runtime.block_on(async { Interrupt::watch() });
    let Ok(mut interrupt) = watched else { return };
    // On a thread of its own: some commands read their input or compute without ever yielding.
    std::thread::spawn(move || {
        let kind = runtime.block_on(interrupt.next());
        std::process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
    });
}

const FIRST_PROCESS: u32 = 1;
/// What shells add to the number of the signal that ended a process.
const ENDED_BY_SIGNAL: i32 = 128;

/// Waits for SIGINT, SIGTERM or SIGHUP.
pub(super) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// How many have come.
    pub(super) count: usize,
}

impl Interrupt {
    /// From now on these signals don't end the process by themselves.
    pub(super) fn watch() -> Result<Self, Failure> {
        let all = || -> io::Result<_> {
            Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
        };
        let [interrupt, terminate, hangup] = all().map_err(|e| format!("can't watch for signals: {e}"))?;
        Ok(Self { interrupt, terminate, hangup, count: 0 })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) -> SignalKind {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        self.count += 1;
        kind
    }

    /// Waits until `count` of them have come since the start.
    pub(super) async fn nth(&mut self, count: usize) {
        while self.count < count {
            self.next().await;
        }
    }
}
