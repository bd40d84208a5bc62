//! The one place that reads a clock. Everything else is handed the time.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::{Instant, micros};

/// The monotonic clock, counted from its own start, with the wall clock beside it for time stamps alone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// A clock whose origin is this moment. Follows tokio's time, so that tests can pause it.
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    /// What the wall clock says now of an earlier `moment`, in Unix epoch milliseconds. A step of the wall clock moves
    /// the answer, and nothing else.
    pub fn wall_millis(&self, moment: Instant) -> u64 {
        let ago = self.now().since(moment);
        let millis = wall_since_epoch().saturating_sub(ago).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    }

    /// Sleeps until `moment`, never less; for ever when it is [`Instant::NEVER`].
    pub async fn sleep_until(&self, moment: Instant) {
        if moment == Instant::NEVER {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.timer_at(moment)).await;
    }

    /// Tokio's moment for `moment`, for a timer; ten years ahead for [`Instant::NEVER`].
    pub fn timer_at(&self, moment: Instant) -> tokio::time::Instant {
        const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);
        if moment == Instant::NEVER {
            return tokio::time::Instant::now() + FAR;
        }
        self.origin + Duration::from_micros(moment.as_micros()).min(FAR)
    }
}

/// How long the machine has slept since it was started: the monotonic clock stops meanwhile, another does not.
pub fn time_asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order a pause between the two readings makes the time longer, never negative.
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// The machine's own monotonic clock in microseconds, for those who compare it with theirs (`CLOCK_MONOTONIC`).
pub fn monotonic_micros() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    micros(Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default())
}

/// The processor time that the process has spent, the system's part included; `None` where the system keeps no count.
pub fn processor_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()
}

/// The wall clock: the time since the Unix epoch; zero if the clock is before it.
pub fn wall_since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in Unix epoch milliseconds.
pub fn wall_millis() -> u64 {
    u64::try_from(wall_since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Tokio's moment `span` from now, for resetting a timer.
pub fn timer_after(span: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + span
}

/// A stopwatch that runs from this moment.
pub fn stopwatch() -> Stopwatch {
    Stopwatch(std::time::Instant::now())
}

/// Time that has really passed, for figures shown to people.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// The time since the stopwatch was started.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The time from its start to that of `later`.
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_duration_since(self.0)
    }
}
