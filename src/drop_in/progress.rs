//! How far a body has come while a connection carries it, and why it broke off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::text::find_cause;
use crate::model::Instant;
use crate::salesforce::watched::moment;

/// The longest body, either way: the largest file that the Interaction Service takes on any channel (30 MiB), and room
/// for the other parts of its form.
pub(super) const BODY_BYTES_MAX: u64 = 32 << 20;

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the body is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("nothing came for too long in the midst of the body")]
    Stalled,
    #[error("the body came too slowly")]
    Dripped,
    /// Its connection ended.
    #[error("the body broke off")]
    Off,
}

impl Broken {
    /// What `error` of a body says.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        find_cause(error).copied().unwrap_or(Self::Off)
    }
}

/// What is known of a body while a connection reads it.
#[derive(Debug)]
pub(super) struct Progress {
    /// When its last byte moved on.
    pub(super) moved: Instant,
    /// It is its sender's turn: the body itself watches the silence.
    pub(super) awaited: bool,
    /// When its last frame was given ([`moment`]).
    pub(super) given: u64,
    /// It has nothing more to give for now.
    pub(super) caught_up: bool,
    pub(super) ended: bool,
    pub(super) broken: Option<Broken>,
}

/// The body writes it, and the task that waits for the answer reads it.
#[derive(Clone)]
pub(super) struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    pub(super) fn new(now: Instant) -> Self {
        let given = moment();
        let progress = Progress { moved: now, awaited: false, given, caught_up: false, ended: false, broken: None };
        Self(Arc::new(Mutex::new(progress)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
