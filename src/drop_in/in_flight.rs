//! Requests in flight through the drop-in: counted, awaited at the end, and cut when that must not take longer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::base::clock;

/// A connector that is stopped together with typingd still sends what it has in hand: one that has been silent for so
/// long has nothing left.
const QUIET: Duration = Duration::from_secs(1);

/// The requests in flight. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Shared>);

#[derive(Default)]
struct Shared {
    count: AtomicUsize,
    /// When the last of them came or was answered, once that is waited for: a connector may send one after the other.
    last: watch::Sender<Option<Instant>>,
    cut: AtomicBool,
    /// Tells those who wait for that.
    cutting: Notify,
}

/// A request from its head to the end of its answer.
pub(super) struct InFlightGuard(InFlight);

impl InFlight {
    /// A request has come; it is in flight until the guard is dropped.
    pub(super) fn begin(&self) -> InFlightGuard {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.note();
        InFlightGuard(self.clone())
    }

    fn note(&self) {
        if self.0.last.receiver_count() > 0 {
            self.0.last.send_replace(Some(clock::timer_after(Duration::ZERO)));
        }
    }

    /// How many are in flight.
    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight, and nothing has come or been answered for [`QUIET`], counted from now at the
    /// earliest; or until `end`.
    pub(super) async fn quiet(&self, end: Instant) {
        let begun = clock::timer_after(Duration::ZERO);
        let mut last = self.0.last.subscribe();
        loop {
            let last_at = last.borrow_and_update().unwrap_or(begun).max(begun);
            let quiet_at = if self.count() > 0 { end } else { end.min(last_at + QUIET) };
            // The sender is `self`, and still there.
            if tokio::time::timeout_at(quiet_at, last.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Cuts what is in flight, and what comes from now on if anything is. Returns how many requests are cut.
    pub(super) fn cut(&self) -> usize {
        let count = self.count();
        if count == 0 || self.0.cut.swap(true, Ordering::SeqCst) {
            return 0;
        }
        self.0.cutting.notify_waiters();
        count
    }

    /// What `work` comes to; `None` when it is cut before.
    pub(super) async fn unless_cut<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        // Without a budget, so that it is registered once it has been polled.
        let mut cut = pin!(unconstrained(self.is_cut()));
        let mut registered: Option<Waker> = None;
        poll_fn(|cx| {
            let known = registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            // Once it is registered, there is nothing to see before the cut.
            if !known || self.0.cut.load(Ordering::SeqCst) {
                registered = Some(cx.waker().clone());
                if cut.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Waits until what is in flight is cut.
    pub(super) fn is_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.0);
        async move {
            // It learns of a cut from now on, so that none is missed between the two.
            let cutting = shared.cutting.notified();
            if !shared.cut.load(Ordering::SeqCst) {
                cutting.await;
            }
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.note();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;
    use crate::base::clock::Clock;
    use crate::model;

    /// When a drain that may take five seconds ends, in milliseconds. Each call comes at one time and ends at another.
    async fn drained(calls: &'static [(u64, u64)]) -> (u64, usize) {
        let (clock, in_flight) = (Clock::start(), InFlight::default());
        for &(from, to) in calls {
            let in_flight = in_flight.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(from)).await;
                let call = in_flight.begin();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(to - from)) => {}
                    () = in_flight.is_cut() => {}
                }
                drop(call);
            });
        }
        in_flight.quiet(clock::timer_after(Duration::from_secs(5))).await;
        let took = clock.now().since(model::Instant::ORIGIN).as_millis() as u64;
        (took, in_flight.cut())
    }

    #[test]
    fn work_is_cut_whoever_polled_it_last() {
        let (in_flight, work) = (InFlight::default(), pin!(std::future::pending::<()>()));
        let _call = in_flight.begin();
        let mut uncut = Box::pin(in_flight.unless_cut(work));
        assert!(uncut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut uncut = task::spawn(uncut);
        for _ in 0..2 {
            assert_pending!(uncut.poll());
        }
        assert_eq!(in_flight.cut(), 1);
        assert!(uncut.is_woken());
        assert_ready_eq!(uncut.poll(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_second_after_the_last_call_or_at_its_bound() {
        assert_eq!(drained(&[]).await, (1_000, 0));
        assert_eq!(drained(&[(200, 300)]).await, (1_300, 0));
        assert_eq!(drained(&[(200, 2_500)]).await, (3_500, 0));
        assert_eq!(drained(&[(200, 300), (1_100, 1_200), (2_000, 2_100)]).await, (3_100, 0));
        assert_eq!(drained(&[(200, 9_000), (300, 400)]).await, (5_000, 1));
        assert_eq!(
            drained(&[(0, 1), (900, 901), (1_800, 1_801), (2_700, 2_701), (3_600, 3_601), (4_500, 4_501)]).await,
            (5_000, 0)
        );
    }
}
