//! What is under way through the drop-in: counted, awaited at the end, and cut when that must not take longer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::clock;

/// A connector that is told to end together with typingd still sends what it has in hand: one that has been silent for so
/// long has nothing left.
const QUIET: Duration = Duration::from_secs(1);

/// The requests under way. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Activity {
    requests: watch::Sender<Requests>,
    cut: watch::Sender<bool>,
}

#[derive(Default)]
struct Requests {
    under_way: usize,
    /// When the last of them came or was answered: a connector may send one after the other.
    last: Option<Instant>,
}

/// A request from its head to the end of its answer.
pub(super) struct UnderWay(watch::Sender<Requests>);

impl Activity {
    /// A request has come; it is under way until what is returned is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        let now = clock::timer_after(Duration::ZERO);
        self.requests.send_modify(|requests| {
            requests.under_way += 1;
            requests.last = Some(now);
        });
        UnderWay(self.requests.clone())
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.requests.borrow().under_way
    }

    /// Waits until nothing is under way, and nothing has come or been answered for [`QUIET`], counted from now at the earliest; or until
    /// `end`.
    pub(super) async fn quiet(&self, end: Instant) {
        let begun = clock::timer_after(Duration::ZERO);
        let mut requests = self.requests.subscribe();
        loop {
            let (under_way, last) = {
                let requests = requests.borrow_and_update();
                (requests.under_way, requests.last.unwrap_or(begun).max(begun))
            };
            let quiet_at = if under_way > 0 { end } else { end.min(last + QUIET) };
            // The sender is `self`, and still there.
            if tokio::time::timeout_at(quiet_at, requests.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Cuts what is under way, and what comes from now on if anything is. Says how many requests are cut.
    pub(super) fn cut(&self) -> usize {
        let under_way = self.under_way();
        if under_way == 0 || self.cut.send_replace(true) { 0 } else { under_way }
    }

    /// Waits until what is under way is cut.
    pub(super) fn is_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cut = self.cut.subscribe();
        async move {
            // Whoever could still cut it holds it.
            if cut.wait_for(|cut| *cut).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = clock::timer_after(Duration::ZERO);
        self.0.send_modify(|requests| {
            requests.under_way -= 1;
            requests.last = Some(now);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::model;

    /// When a drain that may take five seconds ends, in milliseconds. Each call comes at one time and ends at another.
    async fn drained(calls: &'static [(u64, u64)]) -> (u64, usize) {
        let (clock, activity) = (Clock::start(), Activity::default());
        for &(from, to) in calls {
            let activity = activity.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(from)).await;
                let call = activity.begin();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(to - from)) => {}
                    () = activity.is_cut() => {}
                }
                drop(call);
            });
        }
        activity.quiet(clock::timer_after(Duration::from_secs(5))).await;
        let took = clock.now().since(model::Instant::ORIGIN).as_millis() as u64;
        (took, activity.cut())
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_second_after_the_last_call_or_answer_or_when_its_time_is_over() {
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
