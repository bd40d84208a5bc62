//! The signals of the operating system that mean something here.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::clock;

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the system doesn't let signals be watched.
pub(crate) async fn until_stopped() -> std::io::Result<()> {
    Signals::new()?.next_stop().await;
    Ok(())
}

/// Waits for a second request to stop. What follows the first within half a second is its echo: a terminal and a
/// supervisor may both pass one on.
pub(super) async fn stop_again(signals: &mut Signals) {
    let echo = clock::timer_after(Duration::from_millis(500));
    while tokio::time::timeout_at(echo, signals.next_stop()).await.is_ok() {}
    signals.next_stop().await;
}

/// The signals of the operating system that mean something here.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits for a request to stop. A SIGHUP that comes meanwhile is received afterwards.
    pub(super) async fn next_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Stop,
    Reload,
}
