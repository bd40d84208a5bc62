//! Candidate timings, measured beside the one in force: what each would have shown and sent, on the daemon's own users.
//!
//! Each conversation in which the user is typing carries one more timing for each candidate, and one for that in force, so
//! that all are measured alike; [`trial`] steps and counts them. Nothing of it is sent, and nothing is kept of a user.

pub(crate) mod report;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use crate::engine::policy::{Policy, Rules};
use crate::model::{Instant, micros};
use crate::observe::typing::{AWAY, End};
use crate::tune::plan::Setting;
pub(super) use trial::Trials;

/// Candidates at a time. Each is one more timing that every keystroke steps.
pub(crate) const CANDIDATES_MAX: usize = 3;
/// The shortest check and dismissal of a candidate, in milliseconds: how many steps a silence takes depends on them.
pub(crate) const CANDIDATE_MILLIS_MIN: u64 = 100;

const AWAY_MICROS: u64 = AWAY.as_micros() as u64;

/// The candidates, and what has been counted of them by channel.
#[derive(Debug)]
pub(super) struct Candidates {
    settings: Vec<Setting>,
    since: Instant,
    policy: Box<Policy>,
    /// By the channel's place among the statistics; none where nothing has been typed.
    channels: Vec<Option<Channel>>,
    /// Tells the trials of one beginning from those of another.
    last_generation: u32,
}

/// What is counted of a channel.
#[derive(Debug)]
struct Channel {
    name: Arc<str>,
    generation: u32,
    since: Instant,
    /// The timing in force, then the candidates.
    rules: Box<[Rules]>,
    /// The shortest dismissal: a silence as long as that breaks the typing, under some timing.
    pause: u64,
    counts: Counts,
}

/// What is counted of a channel, under each timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub composing_micros: u64,
    /// The timing in force, then the candidates.
    pub each: Box<[TimingCounts]>,
}

/// What a timing would have shown and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimingCounts {
    /// The icon was on while the user was composing.
    pub shown_micros: u64,
    /// It was on while the user was not.
    pub shown_falsely_micros: u64,
    /// Off and on again within one message.
    pub flickers: u64,
    /// Icons that a timer switched off.
    pub timer_stops: u64,
    /// Of these, how many were followed by a key within [`AWAY`], before anything else happened.
    pub wrong_stops: u64,
    pub started: u64,
    pub stopped: u64,
}

/// The candidates and their figures, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateFigures {
    pub settings: Vec<Setting>,
    pub since: Instant,
    /// Channels in which something has been typed, by name.
    pub channels: Vec<ChannelFigures>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelFigures {
    pub name: Arc<str>,
    /// When the counting began: with the candidates, or the last change of the channel's timing.
    pub since: Instant,
    pub in_force: Setting,
    pub counts: Counts,
}

impl Candidates {
    /// Begins to measure `settings`. `last_generation` is that of those which were measured before.
    pub(super) fn new(now: Instant, settings: Vec<Setting>, policy: &Policy, last_generation: u32) -> Self {
        debug_assert!(settings.len() <= CANDIDATES_MAX, "the interface takes no more");
        Self { settings, since: now, policy: Box::new(policy.clone()), channels: Vec::new(), last_generation }
    }

    pub(super) const fn last_generation(&self) -> u32 {
        self.last_generation
    }

    pub(super) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Another policy is in force. Channels whose timing it changes begin anew: what was counted stands beside a timing that
    /// is in force no more.
    pub(super) fn change_policy(&mut self, policy: &Policy) {
        for channel in &mut self.channels {
            if channel.as_ref().is_some_and(|channel| policy.rules_of(&channel.name) != channel.rules[0]) {
                *channel = None;
            }
        }
        *self.policy = policy.clone();
    }

    /// Whether a keystroke at `now`, without typing that lasts, moves nothing but the end of the typing of a conversation in
    /// which the key before came at `last_key`. Most do, and then the trials need not be looked at.
    #[inline]
    pub(super) fn is_quiet(&self, now: Instant, place: u16, last_key: Instant, quiet_until: Instant) -> bool {
        let channel = self.channels.get(usize::from(place)).and_then(Option::as_ref);
        // Of an earlier beginning of the channel's the trials count for nothing.
        let counts = |channel: &Channel| last_key > channel.since && micros(now.since(last_key)) < channel.pause;
        // A second key of the same instant moves no end that would tell of it.
        last_key < now && now < quiet_until && channel.is_some_and(counts)
    }

    /// A keystroke at `now` in the channel at `place`, of a conversation that has `trials` and in which the key before came
    /// at `last_key`. `goes_on`: in the composing interval that was under way. Returns until when keys that come without a
    /// pause are [quiet](Self::is_quiet).
    pub(super) fn key(
        &mut self,
        now: Instant,
        until: Instant,
        goes_on: bool,
        (place, name): (u16, &Arc<str>),
        (last_key, trials): (Instant, &mut Option<Box<Trials>>),
    ) -> Instant {
        let channel = self.channel(now, place, name);
        // Those of a channel that has begun anew, or of other candidates, count for nothing any more.
        let Channel { generation, rules, counts, .. } = channel;
        trials.take_if(|trials| trials.generation != *generation);
        if let Some(trials) = trials {
            trials.skip_to(last_key.as_micros());
        }
        let trials = trials.get_or_insert_with(|| Box::new(Trials::new(*generation, rules.len())));
        Instant::from_micros(trials.key(now.as_micros(), until.as_micros(), goes_on, rules, counts))
    }

    /// The message went out, the box was cleared or the session ended. `in_time`: within the composing interval.
    pub(super) fn stop(
        &mut self,
        now: Instant,
        in_time: bool,
        end: End,
        place: u16,
        (last_key, trials): (Instant, &mut Option<Box<Trials>>),
    ) {
        let Some((mut trials, channel)) = self.take(place, trials) else { return };
        trials.skip_to(last_key.as_micros());
        let ending = if in_time { end } else { End::Abandoned };
        // Nothing is left to remember after that.
        trials.stop(now.as_micros(), ending, &channel.rules, &mut channel.counts);
    }

    /// The user has not typed for long. Returns whether nothing is left to remember.
    pub(super) fn look(
        &mut self,
        now: Instant,
        place: u16,
        (last_key, trials): (Instant, &mut Option<Box<Trials>>),
    ) -> bool {
        let Some((mut current, channel)) = self.take(place, trials) else { return true };
        current.skip_to(last_key.as_micros());
        if !current.is_over(now.as_micros(), AWAY_MICROS, &channel.rules) {
            *trials = Some(current);
            return false;
        }
        current.finish(now.as_micros(), &channel.rules, &mut channel.counts);
        true
    }

    pub(super) fn figures(&self) -> CandidateFigures {
        let of = |channel: &Channel| ChannelFigures {
            name: channel.name.clone(),
            since: channel.since,
            in_force: Setting::of(&channel.rules[0]),
            counts: channel.counts.clone(),
        };
        let mut channels: Vec<_> = self.channels.iter().flatten().map(of).collect();
        channels.sort_by(|a, b| a.name.cmp(&b.name));
        CandidateFigures { settings: self.settings.clone(), since: self.since, channels }
    }

    /// Takes `trials`, and its channel if they still count for it.
    fn take(&mut self, place: u16, trials: &mut Option<Box<Trials>>) -> Option<(Box<Trials>, &mut Channel)> {
        let trials = trials.take()?;
        let channel = self.channels.get_mut(usize::from(place))?.as_mut()?;
        (channel.generation == trials.generation).then_some((trials, channel))
    }

    #[inline]
    fn channel(&mut self, now: Instant, place: u16, name: &Arc<str>) -> &mut Channel {
        let place = usize::from(place);
        if self.channels.len() <= place {
            self.channels.resize_with(place + 1, || None);
        }
        let Self { settings, policy, channels, last_generation, .. } = self;
        channels[place].get_or_insert_with(|| {
            *last_generation += 1;
            Channel::new(now, name.clone(), *last_generation, policy.rules_of(name), settings)
        })
    }
}

impl Channel {
    fn new(now: Instant, name: Arc<str>, generation: u32, in_force: Rules, settings: &[Setting]) -> Self {
        let candidates = settings.iter().map(|setting| setting.rules(in_force.max_typing()));
        let rules: Box<[Rules]> = std::iter::once(in_force).chain(candidates).collect();
        let pause = rules.iter().map(|rules| micros(rules.dismiss_after())).min().unwrap_or_default();
        let each = vec![TimingCounts::default(); rules.len()].into();
        Self { name, generation, since: now, rules, pause, counts: Counts { composing_micros: 0, each } }
    }
}
