//! What a silence means: how likely typing goes on after it, and when to stop believing that it will.

use super::study::Study;
use super::timeline::Happening;

/// How likely a key or the send follows a silence within `away`, for every length of silence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Silences {
    /// Silences that a key or the send ended within `away`, by their length in milliseconds, sorted.
    resumed: Vec<u64>,
    /// All silences whose end is known, by their length as far as it matters, sorted.
    all: Vec<u64>,
}

impl Silences {
    /// The silences after every key of `study`.
    pub fn of(study: &Study, away: u64) -> Self {
        let mut silences = Self::default();
        for timeline in &study.timelines {
            // Silence begins where the typing ends that the keys so far have reported.
            let mut until = 0;
            for (i, event) in timeline.events.iter().enumerate() {
                if event.happening() != Happening::Key {
                    until = 0;
                    continue;
                }
                until = event.typing_until().max(until);
                let (length, resumed) = match timeline.events.get(i + 1) {
                    Some(next) => {
                        let goes_on = matches!(next.happening(), Happening::Key | Happening::Sent);
                        (next.at().saturating_sub(until), goes_on)
                    }
                    None => (timeline.end.saturating_sub(until), false),
                };
                if length > away {
                    silences.all.push(away + 1);
                } else if resumed {
                    silences.resumed.push(length);
                    silences.all.push(length);
                } else if i + 1 < timeline.events.len() {
                    // The box was cleared or the chat closed: the silence did not go on, and nor did the typing.
                    silences.all.push(length);
                }
                // Else the trace ended in mid-silence, and how it went on is not known.
            }
        }
        silences.resumed.sort_unstable();
        silences.all.sort_unstable();
        silences
    }

    /// How likely typing goes on after a silence of `millis`; none if no silence lasted that long.
    pub fn resume(&self, millis: u64) -> Option<f64> {
        let reach = |sorted: &[u64]| sorted.len() - sorted.partition_point(|length| *length < millis);
        super::sums::ratio(reach(&self.resumed) as f64, reach(&self.all) as f64)
    }

    /// The first silence, in milliseconds, after which it no longer pays to show the icon, if one falsely shown second
    /// is worth `lambda` missed ones; none if there is no such silence.
    pub fn break_even(&self, lambda: f64) -> Option<u64> {
        let worth = lambda / (1.0 + lambda);
        // The curve changes only just after a silence's length, and every one that was resumed is among all.
        let (mut ended, mut resumed) = (0, 0);
        let mut millis = 0;
        while ended < self.all.len() {
            let share = (self.resumed.len() - resumed) as f64 / (self.all.len() - ended) as f64;
            if share < worth {
                return Some(millis);
            }
            let length = self.all[ended];
            ended += self.all[ended..].iter().take_while(|other| **other == length).count();
            resumed += self.resumed[resumed..].iter().take_while(|other| **other <= length).count();
            millis = length + 1;
        }
        None
    }

    /// The longest that an icon may stay on in silence, in milliseconds, as far as these silences show: up to the
    /// break-even silence, and no longer than the typing that goes on after a silence has been seen often enough. None if
    /// there is no telling. A draft more that is given up never makes it longer.
    pub fn linger_max(&self, false_cost: f64) -> Option<u64> {
        let seen = self.resumed.len().checked_sub(RESUMED_MIN).map(|place| self.resumed[place]);
        [self.break_even(false_cost), seen].into_iter().flatten().min()
    }

    /// The curve for display: every quarter of a second up to ten, then every second up to `away`.
    pub fn curve(&self, away: u64) -> Vec<(u64, Option<f64>)> {
        let fine = (0..=10_000).step_by(250);
        let coarse = (11_000..=away).step_by(1_000);
        fine.chain(coarse).take_while(|millis| *millis <= away).map(|millis| (millis, self.resume(millis))).collect()
    }
}

/// So many silences have to have lasted as long before typing went on, or it says nothing of others.
const RESUMED_MIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::trace::TraceReader;
    use crate::tune::truth::{Kind, Truth};

    fn silences(lines: &[(u64, &str)]) -> Silences {
        let line = |(at, signal): &(u64, &str)| format!(r#"{{"to":"c","from":"u","signal":"{signal}","at":{at}}}"#);
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        let trace = TraceReader::new("t", std::io::Cursor::new(text));
        let mut study = Study::read([trace]).unwrap();
        study.find_composing(Truth { kind: Kind::Message, away: 30_000 }, None, 42);
        Silences::of(&study, 30_000)
    }

    #[test]
    fn a_silence_is_resumed_by_a_key_or_the_send_within_away() {
        let k = "keystroke";
        let found = silences(&[
            (0, k),
            (1_000, k),
            (4_000, "message_sent"),
            (5_000, k),
            (40_000, k),
            (41_000, "stopped"),
            (50_000, k),
        ]);
        // 1 s to a key, 3 s to the send, 35 s to a key, 1 s to a cleared box; the last one is cut off by the end.
        assert_eq!((found.resume(0), found.resume(1_000)), (Some(0.5), Some(0.5)));
        assert_eq!((found.resume(1_001), found.resume(3_000)), (Some(0.5), Some(0.5)));
        assert_eq!((found.resume(3_001), found.resume(30_001), found.resume(30_002)), (Some(0.0), Some(0.0), None));
        assert_eq!(found.break_even(1.0), Some(3_001), "0.5 is not below 0.5");
        assert_eq!(found.break_even(2.0), Some(0));
        assert_eq!(Silences::default().break_even(1.0), None);
    }
}
