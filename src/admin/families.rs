//! Every metric of the daemon: its name, its words, and where its numbers come from. A new one is one more line here, and
//! one in the manual, which a test asks for.
//!
//! The numbers are copies that the loop gave away: whoever reads them, and however slowly, disturbs nobody.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::driver::Vitals;
use crate::ledger::{End, Figures, Gaps, Tally};
use crate::model::{Indicator, Reason, SignalKind};

/// All numbers of one moment.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) vitals: Vitals,
    pub(super) figures: Figures,
    /// Whether indicators can be delivered.
    pub(super) ready: bool,
}

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.timing(&mut page)?;
        self.signals(&mut page)?;
        self.delivery(&mut page)?;
        self.state(&mut page)
    }
}

/// What every name begins with.
pub(super) const PREFIX: &str = "typingd";

const INDICATORS: [Indicator; 2] = [Indicator::TypingStarted, Indicator::TypingStopped];

impl Numbers {
    /// What the timing costs and gives.
    fn timing(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let channels = || self.figures.channels.iter().map(|(name, tally)| (&**name, tally));
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
        page.gaps(
            "indicator_gap",
            "How long an icon was off, by a timer, before it came on again for the same message",
            channels().map(|(name, tally)| ([("channel", name)], &tally.gaps)),
        )?;
        page.counters("timer_stops", "Icons that a timer switched off", each(|tally| tally.timer_stops))?;
        page.counters(
            "timer_stops_resumed",
            "Icons that a timer switched off within 3 s before the next key of the same message",
            each(|tally| tally.timer_stops_resumed),
        )?;
        page.gauge("measured_conversations", "Conversations that are measured at present", self.figures.measured)?;
        page.counter(
            "unmeasured_keystrokes",
            "Keystrokes that were not measured, for too many users typed at the same time",
            self.figures.unmeasured,
        )
    }

    fn signals(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let counts = &self.vitals.counts;
        page.counters(
            "signals",
            "Signals taken",
            SignalKind::ALL.map(|kind| ([("signal", kind.name())], counts.signals[kind as usize])),
        )?;
        page.counters(
            "keystrokes_ignored",
            "Keystrokes taken and ignored: their message had gone out already, or the session was not open",
            [([("reason", "late")], counts.late), ([("reason", "unopened")], counts.unopened)],
        )?;
        page.counter(
            "signals_turned_away",
            "Signals not taken: the table of conversations was full, or the daemon was stopping",
            counts.turned_away,
        )
    }

    fn delivery(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let (counts, census) = (&self.vitals.counts, &self.vitals.census);
        page.counter("requests_retried", "Requests that were a second or later try", counts.retried)?;
        page.counter("requests_delivered", "Requests that Salesforce acknowledged", counts.delivered)?;
        page.counter("requests_refused", "Requests that Salesforce refused for good", counts.refused)?;
        page.counter("requests_malformed", "Requests that Salesforce called malformed", counts.malformed)?;
        page.counter("starts_shed", "TypingStarteds replaced or expired before they left", counts.shed)?;
        page.counter(
            "stops_given_up",
            "TypingStoppeds refused, or not acknowledged in their lifespan: their icons may be left on",
            counts.stops_given_up,
        )?;
        page.counter(
            "indicators_muted",
            "TypingStarteds not sent, for their channel or conversation is muted",
            counts.muted,
        )?;
        page.gauge("requests_in_flight", "Requests that are under way", census.in_flight)?;
        page.gauge(
            "allowed_requests_per_second",
            "Requests that may leave in a second at present: less than configured after Salesforce's rate was exceeded",
            self.vitals.rate_in_force,
        )
    }

    fn state(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let census = &self.vitals.census;
        page.gauge("conversations", "Conversations in memory", census.conversations)?;
        page.gauge("conversations_lingering", "Conversations that are over and only remembered", census.lingering)?;
        page.gauge(
            "conversations_unsettled",
            "Conversations whose icon is on by what Salesforce was last told, or that have something to send",
            census.unsettled,
        )?;
        page.gauge("channels", "Channels in memory", census.channels)?;
        page.gauge("icons", "Icons that should be on", census.icons)?;
        page.gauge("ready", "1 if indicators can be delivered, as readyz says", u32::from(self.ready))?;
        page.gauge(
            "journal_degraded",
            "1 if the journal can't be written, so that a crash may leave icons on",
            u32::from(self.vitals.journal_degraded),
        )?;
        page.gauge("recording", "1 if somebody records the signals", u32::from(self.vitals.recording))
    }
}

/// What is being written. Each of its calls writes one family, whole.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    /// Counters of time, given in microseconds.
    fn seconds<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (labels, micros) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds(micros), None)?;
        }
        Ok(())
    }

    fn gaps<'a, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, &'a Gaps)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, gaps) in series {
            let bounds = Gaps::BOUNDS.map(|bound| bound.as_secs_f64());
            let buckets: Vec<_> = bounds.into_iter().zip(gaps.counts).chain([(f64::INFINITY, 0)]).collect();
            let count = gaps.counts.iter().sum();
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(seconds(gaps.sum_micros), count, &buckets, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<i64>) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let value = value.try_into().unwrap_or(i64::MAX);
        family.encode_gauge(&value)
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

/// A double holds two hundred years of microseconds exactly.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
