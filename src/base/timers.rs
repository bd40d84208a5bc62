//! Timers that stay set between their uses.
//!
//! Each message and each indicator waits for things that come in well under their time. A timer that is set for each, and
//! taken back, takes the runtime's lock twice and may wake it for nothing. So a timer that is no longer needed is left set, and
//! the next wait takes it: it goes off too early then, once for many waits, and is set anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// The timers of waits that are about equally long.
#[derive(Default)]
pub(crate) struct Timers(Mutex<Vec<Pin<Box<Sleep>>>>);

/// Waits until its deadline.
pub(crate) struct Timer<'a> {
    timers: &'a Timers,
    deadline: Instant,
    /// `None` until it is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// Waits until `deadline`, never less.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> Timer<'_> {
        Timer { timers: self, deadline, sleep: None }
    }
}

impl Future for Timer<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { timers, deadline, sleep } = &mut *self;
        let sleep = sleep.get_or_insert_with(|| {
            let kept = timers.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
            kept.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(*deadline)))
        });
        loop {
            if sleep.deadline() > *deadline {
                sleep.as_mut().reset(*deadline);
            }
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= *deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(*deadline);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let mut kept = self.timers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.extend(self.sleep.take());
        }
    }
}

/// As many as one listening address has connections: each has one request at a time. Of indicators there are fewer in flight.
const KEPT_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_left_set_serves_the_next_wait() {
        let (timers, second) = (Timers::default(), Duration::from_secs(1));
        let kept = || timers.0.lock().unwrap().len();
        let start = clock::timer_after(Duration::ZERO);
        for round in 1..=10 {
            let mut first = tokio_test::task::spawn(timers.sleep_until(clock::timer_after(second)));
            tokio_test::assert_pending!(first.poll());
            tokio::time::advance(second / 4).await;
            drop(first);
            assert_eq!(kept(), 1, "round {round}");
        }
        // It has been left set for an earlier time, and for a later one.
        for span in [second, second / 2] {
            let deadline = clock::timer_after(span);
            timers.sleep_until(deadline).await;
            let now = clock::timer_after(Duration::ZERO);
            assert!(now >= deadline && now < deadline + second / 100, "{:?}", now - start);
            drop(timers.sleep_until(clock::timer_after(60 * second)));
            assert_eq!(kept(), 1);
        }
    }
}
