//! How far a body has come while a connection carries it, and why it broke off.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::base::clock::Clock;
use crate::base::text::find_cause;
use crate::model::Instant;

/// The longest body, either way: the largest file that the Interaction Service takes on any channel (30 MiB), and room
/// for the other parts of its form.
pub(super) const BODY_BYTES_MAX: u64 = 32 << 20;

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// Nothing came for too long.
    Stalled,
    /// It came, but too slowly.
    Dripped,
    /// Its connection ended.
    Off,
}

impl Broken {
    /// What `error` of a body says.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        find_cause(error).copied().unwrap_or(Self::Off)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the body is longer than {BODY_BYTES_MAX} bytes"),
            Self::Stalled => f.write_str("nothing came for too long in the midst of the body"),
            Self::Dripped => f.write_str("the body came too slowly"),
            Self::Off => f.write_str("the body broke off"),
        }
    }
}

impl std::error::Error for Broken {}

/// One count for the whole process: what got a later number happened later.
static MOMENTS: AtomicU64 = AtomicU64::new(1);

/// A moment between all others.
pub(super) fn moment() -> u64 {
    MOMENTS.fetch_add(1, Ordering::SeqCst)
}

/// What is known of a body while a connection reads it.
#[derive(Debug)]
pub(super) struct Progress {
    clock: Clock,
    moved: AtomicU64,
    /// It is its sender's turn: the body itself watches the silence.
    awaited: AtomicBool,
    /// When its last frame was given ([`moment`]).
    given: AtomicU64,
    /// It has nothing more to give for now.
    caught_up: AtomicBool,
    ended: AtomicBool,
    broken: OnceLock<Broken>,
}

impl Progress {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let moved = AtomicU64::new(clock.now().as_micros());
        Arc::new(Self {
            clock,
            moved,
            awaited: AtomicBool::new(false),
            given: AtomicU64::new(moment()),
            caught_up: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            broken: OnceLock::new(),
        })
    }

    /// When the last frame that has arrived was taken to be written, if all have been.
    pub(super) fn caught_up(&self) -> Option<u64> {
        self.caught_up.load(Ordering::SeqCst).then(|| self.given.load(Ordering::SeqCst))
    }

    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// When its last byte moved on.
    pub(super) fn moved(&self) -> Instant {
        Instant::from_micros(self.moved.load(Ordering::Relaxed))
    }

    /// Whether its sender is waited for.
    pub(super) fn awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Why it did not come to its end, if it didn't.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.get().copied()
    }

    pub(super) fn note_polled(&self) {
        self.caught_up.store(false, Ordering::SeqCst);
    }

    pub(super) fn note_given(&self) {
        self.given.store(moment(), Ordering::SeqCst);
    }

    pub(super) fn note_caught_up(&self, ended: bool) {
        self.ended.fetch_or(ended, Ordering::SeqCst);
        self.caught_up.store(true, Ordering::SeqCst);
    }

    pub(super) fn note_awaited(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    pub(super) fn note_moved(&self) {
        self.moved.store(self.clock.now().as_micros(), Ordering::Relaxed);
    }

    pub(super) fn break_off(&self, broken: Broken) {
        let _ = self.broken.set(broken);
    }
}
