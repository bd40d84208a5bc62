//! Whether a request may leave: the last look at the lease, where its bytes do. A check in the loop alone would be
//! worthless, for a request may wait for a token or a connection long after it was dispatched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::clock::{self, Clock};
use crate::model::Instant;

/// The clock that goes on while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct SleeplessClock {
    clock: Clock,
    asleep: Duration,
}

impl SleeplessClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, asleep: clock::time_asleep() }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now() + self.slept()
    }

    /// What the other clock shows when this one shows `moment`, if the machine doesn't sleep.
    pub(super) fn on_other(&self, moment: Instant) -> Instant {
        if moment == Instant::NEVER { moment } else { moment.before(self.slept()) }
    }

    fn slept(&self) -> Duration {
        clock::time_asleep().saturating_sub(self.asleep)
    }
}

/// The lease in force, as whatever carries requests sees it.
#[derive(Debug)]
pub(super) struct Lease {
    clock: SleeplessClock,
    tenure: AtomicU32,
    /// In microseconds.
    until: AtomicU64,
}

impl Lease {
    pub(super) fn new(clock: SleeplessClock) -> Self {
        Self { clock, tenure: AtomicU32::new(0), until: AtomicU64::new(0) }
    }

    pub(super) fn set(&self, tenure: u32, until: Instant) {
        // A request of the tenure before must not see the end of the next.
        self.until.store(0, Ordering::SeqCst);
        self.tenure.store(tenure, Ordering::SeqCst);
        self.until.store(until.as_micros(), Ordering::SeqCst);
    }
}

/// What a request needs to leave. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct Permit(Option<(Arc<Lease>, u32)>);

impl Permit {
    pub(super) fn new(lease: &Arc<Lease>, tenure: u32) -> Self {
        Self(Some((Arc::clone(lease), tenure)))
    }

    /// Whether the request may leave now.
    pub fn holds(&self) -> bool {
        let Some((lease, tenure)) = &self.0 else { return true };
        let until = Instant::from_micros(lease.until.load(Ordering::SeqCst));
        lease.tenure.load(Ordering::SeqCst) == *tenure && lease.clock.now() < until
    }
}
