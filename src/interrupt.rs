//! What ends a command from outside: the keyboard, a supervisor, a terminal that closes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGINT, SIGTERM or SIGHUP.
#[derive(Debug)]
pub struct Interrupt([Signal; 3]);

impl Interrupt {
    /// From now on these signals don't end the process by themselves.
    ///
    /// # Errors
    /// One sentence, when the system doesn't let signals be watched.
    pub fn watch() -> Result<Self, String> {
        let all = || -> io::Result<_> {
            Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
        };
        all().map(Self).map_err(|e| format!("can't watch for signals: {e}"))
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
