//! What a silence means: how likely typing goes on after it, and when to stop believing that it will.

use super::study::Study;
use super::timeline::Happening;

/// How likely a key or the send follows a silence within `away`, for every length of silence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Silences {
    /// The silences whose end is known, by their length, the shortest first.
    lengths: Vec<Length>,
}

/// The silences of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Length {
    /// In milliseconds, as far as it matters.
    millis: u64,
    /// How many are as long as this or longer.
    all: u64,
    /// Of these, those that a key or the send ended within `away`.
    resumed: u64,
}

impl Silences {
    /// The silences after every key of `study`.
    pub fn of(study: &Study, away: u64) -> Self {
        let mut counts = Counts::default();
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
                    counts.add(away + 1, false);
                } else if resumed || i + 1 < timeline.events.len() {
                    // Where the box was cleared or the chat closed, the silence did not go on, and nor did the typing.
                    counts.add(length, resumed);
                }
                // Else the trace ended in mid-silence, and how it went on is not known.
            }
        }
        counts.into_silences()
    }

    /// How likely typing goes on after a silence of `millis`; none if no silence lasted that long.
    pub fn resume(&self, millis: u64) -> Option<f64> {
        let length = self.lengths.get(self.lengths.partition_point(|length| length.millis < millis))?;
        super::sums::ratio(length.resumed as f64, length.all as f64)
    }

    /// The first silence, in milliseconds, after which it no longer pays to show the icon, if one falsely shown second
    /// is worth `lambda` missed ones; none if there is no such silence.
    pub fn break_even(&self, lambda: f64) -> Option<u64> {
        let worth = lambda / (1.0 + lambda);
        // The curve changes only just after a silence's length.
        let place = self.lengths.iter().position(|length| (length.resumed as f64 / length.all as f64) < worth)?;
        Some(place.checked_sub(1).map_or(0, |before| self.lengths[before].millis + 1))
    }

    /// The longest that an icon may stay on in silence, in milliseconds, as far as these silences show: up to the
    /// break-even silence, and no longer than the typing that goes on after a silence has been seen often enough. None if
    /// there is no telling. A draft more that is given up never makes it longer.
    pub fn linger_max(&self, false_cost: f64) -> Option<u64> {
        let seen = self.lengths.iter().rfind(|length| length.resumed >= RESUMED_MIN).map(|length| length.millis);
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
const RESUMED_MIN: u64 = 10;

/// Silences while they are counted: most are short, and many as long as others.
#[derive(Default)]
struct Counts {
    /// Of each length below [`SHORT_MILLIS_MAX`], as far as there are any, all and those that were resumed.
    short: Vec<[u32; 2]>,
    /// All others, and whether they were resumed.
    long: Vec<(u64, bool)>,
}

impl Counts {
    fn add(&mut self, millis: u64, resumed: bool) {
        let Some(place) = usize::try_from(millis).ok().filter(|place| *place < SHORT_MILLIS_MAX) else {
            self.long.push((millis, resumed));
            return;
        };
        if place >= self.short.len() {
            self.short.resize((place + 1).next_power_of_two(), [0; 2]);
        }
        self.short[place][0] += 1;
        self.short[place][1] += u32::from(resumed);
    }

    fn into_silences(mut self) -> Silences {
        self.long.sort_unstable();
        let long = self.long.chunk_by(|one, other| one.0 == other.0).map(|alike| {
            let resumed = alike.iter().filter(|(_, resumed)| *resumed).count();
            Length { millis: alike[0].0, all: alike.len() as u64, resumed: resumed as u64 }
        });
        let short = (0..).zip(&self.short).filter(|(_, [all, _])| *all > 0);
        let short =
            short.map(|(millis, [all, resumed])| Length { millis, all: (*all).into(), resumed: (*resumed).into() });
        let mut lengths: Vec<Length> = short.chain(long).collect();
        let (mut all, mut resumed) = (0, 0);
        for length in lengths.iter_mut().rev() {
            (all, resumed) = (all + length.all, resumed + length.resumed);
            (length.all, length.resumed) = (all, resumed);
        }
        Silences { lengths }
    }
}

/// As long as most wait until a user counts as away.
const SHORT_MILLIS_MAX: usize = 1 << 16;

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
