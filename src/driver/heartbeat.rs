//! The heartbeat of the loop: the proof, for whoever supervises the daemon, that the loop goes round, and how things stand
//! with it.

use std::time::Duration;

use tokio::sync::watch;

use crate::driver::Vitals;
use crate::engine::{Census, Counts};
use crate::model::Instant;

/// What has changed is shown no more often than this: for eyes, not for machines.
const NEWS_SPACING: Duration = Duration::from_secs(2);

/// One beat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// When the loop came round.
    pub at: Instant,
    /// How things stood.
    pub vitals: Vitals,
}

/// Beats as the loop goes round, so that a loop that is stuck is known by its silence. By default it is at rest: nobody
/// looks, and it asks for no turn.
#[derive(Debug, Default)]
pub struct Heartbeat(Option<Beating>);

#[derive(Debug)]
struct Beating {
    beats: watch::Sender<Option<Beat>>,
    spacing: Duration,
    /// When the loop has to come round for it, though nothing else happens.
    due: Instant,
    news_due: Instant,
    shown: (Census, Counts),
}

impl Heartbeat {
    /// A heartbeat that beats at least every `spacing`, and sooner if there is something new. The end that hears it holds
    /// the last beat alone, none before the first.
    #[must_use]
    pub fn new(spacing: Duration) -> (Self, watch::Receiver<Option<Beat>>) {
        let (beats, heard) = watch::channel(None);
        let shown = (Census::default(), Counts::default());
        let beating = Beating { beats, spacing, due: Instant::ORIGIN, news_due: Instant::ORIGIN, shown };
        (Self(Some(beating)), heard)
    }

    /// The loop has come round.
    pub fn turn(&mut self, now: Instant, census: Census, counts: &Counts, vitals: impl FnOnce() -> Vitals) {
        let Some(beating) = &mut self.0 else { return };
        let news = beating.shown != (census, *counts);
        if now >= beating.due || (news && now >= beating.news_due) {
            beating.shown = (census, *counts);
            beating.due = now + beating.spacing;
            beating.news_due = now + NEWS_SPACING.min(beating.spacing);
            beating.beats.send_replace(Some(Beat { at: now, vitals: vitals() }));
        } else if news {
            beating.due = beating.due.min(beating.news_due);
        }
    }

    /// When the loop has to come round next, though nothing else happens.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.0.as_ref().map_or(Instant::NEVER, |beating| beating.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::Policy;

    const SPACING: Duration = Duration::from_secs(5);

    fn vitals(census: Census, counts: &Counts) -> Vitals {
        Vitals {
            census,
            counts: *counts,
            rules: Policy::default().rules,
            trouble: None,
            rate_in_force: 1,
            ..Vitals::default()
        }
    }

    struct Loop {
        heartbeat: Heartbeat,
        heard: watch::Receiver<Option<Beat>>,
        counts: Counts,
    }

    impl Loop {
        fn new() -> Self {
            let (heartbeat, heard) = Heartbeat::new(SPACING);
            Self { heartbeat, heard, counts: Counts::default() }
        }

        /// Comes round at this millisecond; whether that was a beat.
        fn round(&mut self, millis: u64) -> bool {
            let (census, counts) = (Census::default(), self.counts);
            self.heartbeat.turn(Instant::from_millis(millis), census, &counts, || vitals(census, &counts));
            let beaten = self.heard.has_changed().unwrap();
            if beaten {
                assert_eq!(self.heard.borrow_and_update().as_ref().unwrap().at, Instant::from_millis(millis));
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
    fn turns_between_two_beats_cost_nothing_and_a_loop_that_is_stuck_is_silent() {
        let mut busy = Loop::new();
        assert!(busy.round(0));
        assert!((1..5_000).all(|millis| !busy.round(millis)));
        assert!(busy.round(5_000));
        // No turn, no beat, however late it is; and the first turn after it is one.
        assert!(!busy.heard.has_changed().unwrap());
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
    fn a_pulse_that_nobody_hears_asks_for_no_turn() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.turn(Instant::ORIGIN, Census::default(), &Counts::default(), || unreachable!("nobody hears it"));
        assert_eq!(heartbeat.due(), Instant::NEVER);
    }
}
