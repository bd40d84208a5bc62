//! Signals and deliveries: how many, what became of them, how long it took.

use std::fmt::Error;

use crate::api::metrics::families::Numbers;
use crate::api::metrics::page::{NO_LABELS, Page};
use crate::model::SignalKind;
use crate::observe::loop_metrics::{ANSWERS, End, TURNED_AWAY};

impl Numbers {
    pub(super) fn signals(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let (counts, metrics) = (&self.snapshot.counts, &self.snapshot.metrics);
        let ignored = |kind| if kind == SignalKind::Keystroke { counts.late + counts.unopened } else { 0 };
        let counted = SignalKind::ALL.map(|kind| (kind, "counted", counts.signals[kind as usize] - ignored(kind)));
        let late = [(SignalKind::Keystroke, "late", counts.late), (SignalKind::Keystroke, "unopened", counts.unopened)];
        let turned_away = SignalKind::ALL.into_iter().flat_map(|kind| {
            let numbers = TURNED_AWAY.into_iter().zip(metrics.turned_away[kind as usize]);
            numbers.map(move |(why, number)| (kind, why, number))
        });
        let all = counted.into_iter().chain(late).chain(turned_away);
        page.counters(
            "signals",
            "Signals, by kind and by what became of them",
            all.map(|(kind, outcome, number)| ([("signal", kind.name()), ("outcome", outcome)], number)),
        )?;
        page.counter(
            "signals_malformed",
            "Lines and items that were no signals, and were refused one by one",
            self.snapshot.runtime.malformed,
        )
    }

    pub(super) fn delivery(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let (counts, census, metrics) = (&self.snapshot.counts, &self.snapshot.census, &self.snapshot.metrics);
        page.counters(
            "deliveries",
            "Requests that have come to their end, by what became of them and whose fault it was",
            End::ALL
                .into_iter()
                .zip(metrics.ended)
                .map(|(end, number)| ([("outcome", end.outcome()), ("cause", end.cause())], number)),
        )?;
        page.counters(
            "answers",
            "Answers of Salesforce, by the class of their HTTP status",
            ANSWERS.into_iter().zip(metrics.answers).map(|(class, number)| ([("status", class)], number)),
        )?;
        page.counter("requests_retried", "Requests that were a second or later try", counts.retried)?;
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
        page.gauges(
            "requests_queued",
            "Requests that wait for the rate or for others under way, by what they are for",
            QUEUES.into_iter().zip(census.queued).map(|(queue, number)| ([("queue", queue)], number)),
        )?;
        page.gauge(
            "stops_waiting_for_credentials",
            "TypingStoppeds that are owed and wait, for no connector has shown credentials that Salesforce accepts",
            census.blocked,
        )?;
        page.gauge("requests_in_flight", "Requests that are under way", census.in_flight)?;
        page.gauge(
            "requests_in_flight_max",
            "Requests that may be under way at a time, as configured",
            self.snapshot.delivery.in_flight_max,
        )?;
        page.gauge(
            "allowed_requests_per_second",
            "Requests that may leave in a second at present: less than configured after Salesforce's rate was exceeded",
            self.snapshot.rate_in_force,
        )?;
        page.gauge(
            "configured_requests_per_second",
            "Requests that may leave in a second, as configured",
            self.snapshot.delivery.requests_per_second_max,
        )
    }

    pub(super) fn latency(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let metrics = &self.snapshot.metrics;
        page.histograms(
            "inbox_wait",
            "How long signals waited for the loop's turn",
            [(NO_LABELS, &metrics.inbox_wait)],
        )?;
        page.histograms(
            "signal_to_wire",
            "From a signal's turn to the leaving of the request that it asked for, first tries alone",
            [(NO_LABELS, &metrics.signal_to_wire)],
        )?;
        page.histograms(
            "request",
            "From a request's leaving to its answer, or to its being given up",
            [(NO_LABELS, &metrics.round_trip)],
        )?;
        page.histograms(
            "timer_lateness",
            "How much later than due a timer had its turn",
            [(NO_LABELS, &metrics.timer_lateness)],
        )
    }
}

/// What waits, in the order in which it leaves.
const QUEUES: [&str; 4] = ["stop", "start", "overdue_refresh", "refresh"];
