//! What the timing costs and gives, by channel: the stats's figures.

use std::fmt::Error;
use std::time::Duration;

use crate::api::metrics::families::Numbers;
use crate::api::metrics::page::Page;
use crate::engine::policy::Rules;
use crate::model::{Indicator, Reason};
use crate::observe::typing::candidates::TimingCounts;
use crate::observe::typing::{CHANNELS_NAMED_MAX, End, Tally, is_readable};
use crate::tune::plan::Setting;

/// The name of the timing in force among the candidates.
const IN_FORCE: &str = "in force";
const INDICATORS: [Indicator; 2] = [Indicator::TypingStarted, Indicator::TypingStopped];

impl Numbers {
    /// What the timing costs and gives.
    pub(super) fn timing(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let Some(figures) = &self.snapshot.typing else { return Ok(()) };
        let channels = || figures.channels.iter().map(|(name, tally)| (&**name, tally));
        let each =
            |number: fn(&Tally) -> u64| channels().map(move |(name, tally)| ([("channel", name)], number(tally)));
        page.seconds(
            "composing",
            "Time that end users spent composing messages, from first key to message or last key",
            channels().map(|(name, tally)| ([("channel", name)], tally.composing_micros)),
        )?;
        page.counters(
            "messages",
            "Messages that end users composed, by how they ended",
            channels().flat_map(|(name, tally)| {
                End::ALL.map(|end| ([("channel", name), ("end", end.name())], tally.messages[end as usize]))
            }),
        )?;
        page.counters(
            "untyped_messages",
            "Messages of end users of whom no keystroke had come: not typed, or typed into another typingd",
            each(|tally| tally.untyped),
        )?;
        page.counters(
            "indicators",
            "Indicators that were decided, whether or not they could be sent",
            channels().flat_map(|(name, tally)| {
                Reason::ALL.map(|reason| {
                    let indicator = reason.indicator().name();
                    let labels = [("channel", name), ("indicator", indicator), ("reason", reason.name())];
                    (labels, tally.decided[reason as usize])
                })
            }),
        )?;
        page.counters(
            "requests",
            "Requests sent to Salesforce, retries included",
            channels().flat_map(|(name, tally)| {
                INDICATORS.map(|indicator| {
                    ([("channel", name), ("indicator", indicator.name())], tally.requests[indicator as usize])
                })
            }),
        )?;
        page.histograms(
            "indicator_gap",
            "How long an icon was off, by a timer, before it came on again for the same message",
            channels().map(|(name, tally)| ([("channel", name)], &tally.gaps)),
        )?;
        page.counters("timer_stops", "Icons that a timer switched off", each(|tally| tally.timer_stops))?;
        page.counters(
            "timer_stops_resumed",
            "Icons that a timer switched off before the next key of the same message, which came within 30 s",
            each(|tally| tally.timer_stops_resumed),
        )?;
        page.gauge("measured_conversations", "Conversations that are measured at present", figures.measured)?;
        page.counter(
            "unmeasured_keystrokes",
            "Keystrokes that were not measured, for too many users typed at the same time",
            figures.unmeasured,
        )
    }

    /// What candidates would have given and cost, beside the timing in force.
    pub(super) fn candidates(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let figures = self.snapshot.typing.as_ref().and_then(|figures| figures.candidates.as_ref());
        let names: Vec<String> = figures.iter().flat_map(|figures| &figures.settings).map(Setting::to_string).collect();
        let channels = || figures.iter().flat_map(|figures| &figures.channels);
        let each = |number: fn(&TimingCounts) -> u64| {
            let names = &names;
            channels().flat_map(move |channel| {
                let names = std::iter::once(IN_FORCE).chain(names.iter().map(String::as_str));
                let series = names.zip(&channel.counts.each);
                series.map(move |(name, counts)| ([("channel", &*channel.name), ("candidate", name)], number(counts)))
            })
        };
        page.seconds(
            "candidate_composing",
            "Time that end users spent composing messages since the candidates are measured",
            channels().map(|channel| ([("channel", &*channel.name)], channel.counts.composing_micros)),
        )?;
        page.seconds(
            "candidate_shown",
            "Of the time that end users spent composing, that in which this timing would have shown the icon",
            each(|counts| counts.shown_micros),
        )?;
        page.seconds(
            "candidate_false",
            "Time for which this timing would have shown the icon while the user was not composing",
            each(|counts| counts.shown_falsely_micros),
        )?;
        page.counters(
            "candidate_flickers",
            "Times that this timing would have switched the icon off and on again within one message",
            each(|counts| counts.flickers),
        )?;
        page.counters(
            "candidate_timer_stops",
            "Icons that a timer of this timing would have switched off",
            each(|counts| counts.timer_stops),
        )?;
        page.counters(
            "candidate_timer_stops_resumed",
            "Icons that a timer of this timing would have switched off within 30 s before the next key",
            each(|counts| counts.wrong_stops),
        )?;
        page.counters(
            "candidate_requests",
            "Requests that this timing would have sent, without retries",
            each(|counts| counts.started + counts.stopped),
        )
    }

    /// The timing in force: by channel where it has its own, and with an empty name for all others.
    pub(super) fn timing_in_force(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let mut own: Vec<_> = self.snapshot.channel_rules.iter().filter(|(to, _)| is_readable(to.as_str())).collect();
        own.sort_by_key(|(to, _)| to);
        let own = own.into_iter().take(CHANNELS_NAMED_MAX).map(|(to, rules)| (to.as_str(), rules));
        let all: Vec<_> = std::iter::once(("", &self.snapshot.rules)).chain(own).collect();
        let each = |time: fn(&Rules) -> Duration| {
            all.iter().map(move |(to, rules)| ([("channel", *to), ("dismiss", rules.mode.name())], time(rules)))
        };
        page.spans(
            "timing_check_interval",
            "The check_interval in force, of each channel with timing of its own, and without a name of all others",
            each(|rules| rules.check_interval()),
        )?;
        page.spans(
            "timing_dismiss_after",
            "The dismiss_after in force, of each channel with timing of its own, and without a name of all others",
            each(|rules| rules.dismiss_after()),
        )?;
        page.timestamp(
            "timing_changed_timestamp",
            "When the timing in force was last changed, or the daemon started",
            self.snapshot.runtime.configuration.timing_changed_at,
        )
    }
}
