//! What a recording holds that is not typing: a key that is stuck, and a channel that reports typing by the clock.

use super::study::Study;
use super::timeline::{Event, Happening, Timeline};

/// What should not be taken for typing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspects {
    /// Users with a stuck key, and for how long it was down, in milliseconds.
    pub stuck: Vec<(Box<str>, u64)>,
    /// Channels that report typing by the clock rather than each key, and how often, in milliseconds.
    pub periodic: Vec<(Box<str>, u64)>,
}

impl Suspects {
    /// Finds them, and takes the users with a stuck key out of `study`: one of them weighs as much as many others.
    pub(super) fn find(study: &mut Study) -> Self {
        let mut held = vec![0; study.users];
        for timeline in &study.timelines {
            let longest = longest_repeat(&timeline.events);
            let held = &mut held[timeline.user as usize];
            *held = longest.max(*held);
        }
        let is_stuck = |held: u64| held >= STUCK_MILLIS;
        let named = held.iter().zip(&study.names).filter(|(held, _)| is_stuck(**held));
        let stuck: Vec<_> = named.map(|(held, name)| (name.clone(), *held)).collect();
        // Where no one else types, that is all there is to measure.
        if !stuck.is_empty() && stuck.len() < study.users {
            *study = study.part(|timeline| !is_stuck(held[timeline.user as usize]));
        }
        Self { periodic: periodic(study), stuck }
    }
}

impl Suspects {
    /// Those of one channel; users without a channel of their own are none's.
    pub(super) fn of_channel(&self, name: &str) -> Self {
        let own = self.periodic.iter().filter(|(channel, _)| **channel == *name);
        Self { stuck: Vec::new(), periodic: own.cloned().collect() }
    }
}

/// The longest time in which keys follow each other as fast as no one types for long, in milliseconds.
fn longest_repeat(events: &[Event]) -> u64 {
    let (mut longest, mut since) = (0, None);
    for pair in events.windows(2) {
        let fast = pair.iter().all(|event| event.is_key()) && pair[1].at() - pair[0].at() <= REPEAT_MILLIS_MAX;
        if fast {
            longest = longest.max(pair[1].at() - *since.get_or_insert(pair[0].at()));
        } else {
            since = None;
        }
    }
    longest
}

fn periodic(study: &Study) -> Vec<(Box<str>, u64)> {
    let gaps = |timeline: &Timeline| -> Vec<u64> {
        let pairs =
            timeline.events.windows(2).filter(|pair| pair.iter().all(|event| event.happening() == Happening::Key));
        let plain = pairs.filter(|pair| pair[0].lasts_millis() == 0);
        plain.map(|pair| pair[1].at() - pair[0].at()).filter(|gap| *gap <= PERIOD_MILLIS_MAX).collect()
    };
    let mut of_channel = vec![Vec::new(); study.channels.len()];
    for timeline in &study.timelines {
        // A sample is enough, and bounds what is held.
        let all = &mut of_channel[timeline.channel as usize];
        all.extend(gaps(timeline).into_iter().take(GAPS_MAX.saturating_sub(all.len())));
    }
    let found = study.channels.iter().zip(of_channel).filter_map(|(name, mut gaps)| {
        gaps.sort_unstable();
        let (fast, usual) = (gaps.get(gaps.len() / 10)?, gaps.get(gaps.len() / 2)?);
        (gaps.len() >= GAPS_MIN && *fast >= PERIOD_MILLIS_MIN).then(|| (name.clone(), *usual))
    });
    found.collect()
}

/// Keys that repeat by themselves do so within this; a person pauses longer than that, if only for a blank.
const REPEAT_MILLIS_MAX: u64 = 200;
/// So long no one types without any pause: more than 300 keys.
const STUCK_MILLIS: u64 = 60_000;
/// Nine of ten gaps between keys are shorter than this, of whoever types.
const PERIOD_MILLIS_MIN: u64 = 1_000;
/// A longer gap is a pause, whatever reports it.
const PERIOD_MILLIS_MAX: u64 = 30_000;
/// So many gaps tell, and no more of a channel are looked at.
const GAPS_MIN: usize = 20;
const GAPS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::trace::TraceReader;

    fn study(lines: &[(u64, &str, &str)]) -> Study {
        let mut lines = lines.to_vec();
        lines.sort();
        let line = |(at, to, from): &(u64, &str, &str)| {
            format!("{{\"to\":\"{to}\",\"from\":\"{from}\",\"signal\":\"keystroke\",\"at\":{at}}}\n")
        };
        let text: String = lines.iter().map(line).collect();
        Study::read([TraceReader::new("t", std::io::Cursor::new(text))]).unwrap()
    }

    #[test]
    fn a_stuck_key_is_found_and_its_user_left_out() {
        let mut lines: Vec<_> = (0..2_000).map(|i| (i * 33, "web", "stuck")).collect();
        lines.extend((0..200).map(|i| (i * 180 + i / 20 * 900, "web", "fast")));
        let mut study = study(&lines);
        let found = Suspects::find(&mut study);
        assert_eq!(found.stuck, [("stuck".into(), 1_999 * 33)]);
        assert_eq!((study.users, &*study.names[0], study.keys()), (1, "fast", 200));
        assert!(found.periodic.is_empty());
    }

    #[test]
    fn a_channel_that_reports_by_the_clock_is_found() {
        let mut lines: Vec<_> = (0..40).map(|i| (i * 5_000, "widget", "ada")).collect();
        lines.extend((0..40).map(|i| (i * 250, "web", "bob")));
        let mut study = study(&lines);
        assert_eq!(Suspects::find(&mut study).periodic, [("widget".into(), 5_000)]);
        assert_eq!(study.users, 2);
    }
}
