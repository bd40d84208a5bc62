//! What the history keeps of an event: what nearly all have in common takes a fifth of the event.

use std::time::Duration;

use super::{Subject, Verdict, What};
use crate::engine::Handled;
use crate::model::{Outcome, Reason, SignalKind, Why, micros};

/// What happened, with how long its signal had waited.
#[derive(Debug)]
pub(super) enum Kept {
    Signal(SignalKind),
    Ignored(Handled),
    Decided {
        reason: Reason,
        waited: Micros,
        number: u64,
    },
    /// At the first try, and nobody had anything to say about it.
    Delivered {
        reason: Reason,
        status: u16,
        round_trip: Micros,
        since_decided: Micros,
        number: u64,
    },
    Dropped {
        reason: Reason,
        why: Why,
        number: u64,
    },
    /// Everything else.
    Rare(Box<(Duration, What)>),
}

/// A duration below 71 minutes, in whole microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Micros(u32);

impl Kept {
    pub(super) fn new(waited: Duration, what: What) -> Self {
        Self::short(waited, &what).unwrap_or_else(|| Self::Rare(Box::new((waited, what))))
    }

    /// `None` if something of it would be lost.
    fn short(waited: Duration, what: &What) -> Option<Self> {
        match what {
            What::Decided(Subject { number, reason }) => {
                Some(Self::Decided { reason: *reason, waited: Micros::new(waited)?, number: *number })
            }
            // With these no signal has waited.
            _ if !waited.is_zero() => None,
            What::Signal(kind) => Some(Self::Signal(*kind)),
            What::Ignored(handled) => Some(Self::Ignored(*handled)),
            What::Dropped(Subject { number, reason }, why) => {
                Some(Self::Dropped { reason: *reason, why: *why, number: *number })
            }
            What::Answered(Subject { number, reason }, verdict) => {
                let Verdict { attempt: 0, outcome: Outcome::Delivered, code: None, detail: None, .. } = **verdict
                else {
                    return None;
                };
                Some(Self::Delivered {
                    reason: *reason,
                    status: verdict.status?,
                    round_trip: Micros::new(verdict.round_trip)?,
                    since_decided: Micros::new(verdict.since_decided)?,
                    number: *number,
                })
            }
        }
    }

    /// How long its signal had waited, and what happened.
    pub(super) fn what(&self) -> (Duration, What) {
        let what = match *self {
            Self::Decided { reason, waited, number } => {
                return (waited.into(), What::Decided(Subject { number, reason }));
            }
            Self::Rare(ref rare) => return (**rare).clone(),
            Self::Signal(kind) => What::Signal(kind),
            Self::Ignored(handled) => What::Ignored(handled),
            Self::Dropped { reason, why, number } => What::Dropped(Subject { number, reason }, why),
            Self::Delivered { reason, status, round_trip, since_decided, number } => {
                let verdict = Verdict {
                    attempt: 0,
                    outcome: Outcome::Delivered,
                    status: Some(status),
                    code: None,
                    detail: None,
                    round_trip: round_trip.into(),
                    since_decided: since_decided.into(),
                };
                What::Answered(Subject { number, reason }, Box::new(verdict))
            }
        };
        (Duration::ZERO, what)
    }

    /// What it takes in memory beyond its own size, about.
    pub(super) fn bytes(&self) -> usize {
        let Self::Rare(rare) = self else { return 0 };
        let verdict = match &rare.1 {
            What::Answered(_, verdict) => {
                size_of::<Verdict>() + verdict.detail.as_ref().map_or(0, |detail| detail.len())
            }
            _ => 0,
        };
        size_of::<(Duration, What)>() + verdict
    }
}

impl Micros {
    /// `None` for a duration that is longer. Parts of a microsecond are not kept.
    fn new(span: Duration) -> Option<Self> {
        u32::try_from(micros(span)).ok().map(Self)
    }
}

impl From<Micros> for Duration {
    fn from(Micros(micros): Micros) -> Self {
        Self::from_micros(micros.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, Transient};

    fn verdict() -> Verdict {
        Verdict {
            attempt: 0,
            outcome: Outcome::Delivered,
            status: Some(202),
            code: None,
            detail: None,
            round_trip: Duration::from_micros(12_345),
            since_decided: Duration::from_micros(23_456),
        }
    }

    #[test]
    fn what_is_kept_is_what_was() {
        let hours = Duration::from_secs(7_200);
        let micros = Duration::from_micros(7);
        let subject = Subject { number: u64::MAX, reason: Reason::MaxTyping };
        let answered = |verdict: Verdict| (Duration::ZERO, What::Answered(subject, Box::new(verdict)));
        let failed = Outcome::Unknown(Transient { cause: Cause::NoAnswer, retry_after: Some(hours) });
        let short = [
            (Duration::ZERO, What::Signal(SignalKind::Ended)),
            (Duration::ZERO, What::Ignored(Handled::Late)),
            (micros, What::Decided(subject)),
            (Duration::ZERO, What::Dropped(subject, Why::GivenUp)),
            answered(verdict()),
        ];
        let rare = [
            (micros, What::Signal(SignalKind::Ended)),
            (hours, What::Decided(subject)),
            answered(Verdict { attempt: 1, ..verdict() }),
            answered(Verdict { outcome: failed, ..verdict() }),
            answered(Verdict { status: None, ..verdict() }),
            answered(Verdict { code: Some(-1), ..verdict() }),
            answered(Verdict { detail: Some("x".into()), ..verdict() }),
            answered(Verdict { round_trip: hours, ..verdict() }),
            answered(Verdict { since_decided: hours, ..verdict() }),
        ];
        for (events, is_rare) in [(&short[..], false), (&rare[..], true)] {
            for event in events {
                let kept = Kept::new(event.0, event.1.clone());
                assert_eq!(kept.what(), *event);
                assert_eq!(matches!(kept, Kept::Rare(_)), is_rare, "{event:?}");
                assert_eq!(kept.bytes() > 0, is_rare, "{event:?}");
            }
        }
        assert_eq!(size_of::<Kept>(), 24, "thousands are kept");
    }
}
