//! The heartbeat of the loop: snapshots as the loop goes round, for the supervisor of the daemon. A loop that is stuck is
//! known by its silence.

use std::time::Duration;

use tokio::sync::watch;

use crate::engine::{Census, Counts};
use crate::model::Instant;
use crate::observe::snapshot::Snapshot;

/// Changes are shown no more often than this: for eyes, not for machines.
const NEWS_SPACING: Duration = Duration::from_secs(2);
/// Until the daemon is ready for the first time, the loop checks this often whether it is: operators look at the status of
/// what they have just started.
const READY_CHECK_SPACING: Duration = Duration::from_millis(100);

/// By default no one looks, and it asks for no turn.
#[derive(Debug, Default)]
pub struct Heartbeat(Option<Box<Beating>>);

#[derive(Debug)]
struct Beating {
    snapshots: watch::Sender<Option<Snapshot>>,
    spacing: Duration,
    /// When the loop has to come round for it, though nothing else happens.
    due: Instant,
    news_due: Instant,
    shown: (Census, Counts),
    /// Until the first beat of a daemon that is ready: when it is checked next whether it is.
    ready_check_due: Option<Instant>,
}

impl Heartbeat {
    /// Beats at least every `spacing`, and sooner if there is something new. The receiver holds the last beat alone, none
    /// before the first.
    pub(crate) fn new(spacing: Duration) -> (Self, watch::Receiver<Option<Snapshot>>) {
        let (snapshots, receiver) = watch::channel(None);
        let beating = Beating {
            snapshots,
            spacing,
            due: Instant::ORIGIN,
            news_due: Instant::ORIGIN,
            shown: (Census::default(), Counts::default()),
            ready_check_due: Some(Instant::ORIGIN),
        };
        (Self(Some(Box::new(beating))), receiver)
    }

    /// The loop has come round.
    pub(super) fn turn(&mut self, now: Instant, census: Census, counts: &Counts, snapshot: impl FnOnce() -> Snapshot) {
        let Some(beating) = &mut self.0 else { return };
        let news = beating.shown != (census, *counts);
        let beats = now >= beating.due || (news && now >= beating.news_due);
        let checks = beating.ready_check_due.is_some_and(|due| now >= due);
        let snapshot = (beats || checks).then(snapshot);
        let is_ready = snapshot.as_ref().is_some_and(|snapshot| snapshot.not_ready.is_none());
        if beats || is_ready {
            beating.shown = (census, *counts);
            beating.due = now + beating.spacing;
            beating.news_due = now + NEWS_SPACING.min(beating.spacing);
            beating.snapshots.send_replace(snapshot);
        } else if news {
            beating.due = beating.due.min(beating.news_due);
        }
        if is_ready {
            beating.ready_check_due = None;
        } else if checks {
            beating.ready_check_due = Some(now + READY_CHECK_SPACING);
        }
    }

    /// When the loop has to come round next, though nothing else happens.
    pub(super) fn due(&self) -> Instant {
        let due = |beating: &Beating| beating.due.min(beating.ready_check_due.unwrap_or(Instant::NEVER));
        self.0.as_deref().map_or(Instant::NEVER, due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_secs(5);

    struct Loop {
        heartbeat: Heartbeat,
        snapshots: watch::Receiver<Option<Snapshot>>,
        counts: Counts,
        not_ready: Option<String>,
    }

    impl Loop {
        fn new() -> Self {
            let (heartbeat, snapshots) = Heartbeat::new(SPACING);
            Self { heartbeat, snapshots, counts: Counts::default(), not_ready: None }
        }

        /// Comes round at this millisecond; whether that was a beat.
        fn round(&mut self, millis: u64) -> bool {
            let at = Instant::from_millis(millis);
            let snapshot = || Snapshot { at, not_ready: self.not_ready.clone(), ..Snapshot::default() };
            self.heartbeat.turn(at, Census::default(), &self.counts, snapshot);
            let beaten = self.snapshots.has_changed().unwrap();
            if beaten {
                assert_eq!(self.snapshots.borrow_and_update().as_ref().unwrap().at, at);
            }
            beaten
        }

        fn due_millis(&self) -> u64 {
            self.heartbeat.due().as_micros() / 1_000
        }
    }

    #[test]
    fn an_idle_loop_comes_round_for_the_pulse_alone() {
        let mut idle = Loop::new();
        assert!(idle.round(0));
        for beats in 1..4 {
            assert_eq!(idle.due_millis(), beats * 5_000);
            assert!(idle.round(idle.due_millis()));
        }
    }

    #[test]
    fn turns_between_beats_are_silent_and_so_is_a_stuck_loop() {
        let mut busy = Loop::new();
        assert!(busy.round(0));
        assert!((1..5_000).all(|millis| !busy.round(millis)));
        assert!(busy.round(5_000));
        // No turn, no beat, however late it is; and the first turn after it is one.
        assert!(!busy.snapshots.has_changed().unwrap());
        assert!(busy.round(60_000));
        assert_eq!(busy.due_millis(), 65_000);
    }

    #[test]
    fn news_is_told_at_most_every_two_seconds_and_never_left_untold() {
        let mut busy = Loop::new();
        assert!(busy.round(0));
        busy.counts.sent += 1;
        assert!(!busy.round(100));
        assert_eq!(busy.due_millis(), 2_000);
        assert!(busy.round(2_000));
        busy.counts.sent += 1;
        assert!(busy.round(4_500));
        assert_eq!(busy.due_millis(), 9_500);
    }

    #[test]
    fn a_heartbeat_without_a_receiver_asks_for_no_turn() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.turn(Instant::ORIGIN, Census::default(), &Counts::default(), || unreachable!("no one receives it"));
        assert_eq!(heartbeat.due(), Instant::NEVER);
    }

    #[test]
    fn until_ready_a_daemon_is_checked_every_tenth_of_a_second() {
        let mut slow = Loop::new();
        slow.not_ready = Some("no token".to_owned());
        assert!(slow.round(0));
        assert_eq!(slow.due_millis(), 100);
        assert!((1..=1_000).all(|millis| !slow.round(millis)), "a busy loop beats no more often");
        slow.not_ready = None;
        assert!((1_001..1_100).all(|millis| !slow.round(millis)) && slow.round(1_100));
        assert_eq!(slow.due_millis(), 6_100);
    }
}
