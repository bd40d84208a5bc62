//! What comes to the daemon's own interface, what passes through the drop-in, and what the process takes of its machine.

use std::fmt::Error;

use crate::api::metrics::families::Numbers;
use crate::api::metrics::page::{NO_LABELS, Page};
use crate::http::{ANSWERS, Connections, Route};
use crate::observe::snapshot::DropInFigures;

impl Numbers {
    pub(super) fn http(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let traffic = &self.traffic;
        page.counters(
            "http_requests",
            "Requests to typingd that were answered, by what they were for and by the class of the answer",
            Route::ALL.into_iter().flat_map(|route| {
                let classes = ANSWERS.into_iter().zip(traffic.requests(route)).skip(1);
                classes.map(move |(class, count)| ([("route", route.name()), ("status", class)], count))
            }),
        )?;
        let connections = traffic.connections();
        let each = |count: fn(&Connections) -> u64| {
            connections.iter().map(move |door| ([("listener", door.address.as_str())], count(door)))
        };
        page.gauges("connections", "Connections that are open", each(|door| door.open))?;
        page.counters("connections_opened", "Connections that were accepted", each(|door| door.opened))?;
        page.counters(
            "connections_displaced",
            "Connections that were closed to make room for others: idle ones, silent streams, bodies that hardly came on",
            each(|door| door.displaced),
        )?;
        page.counters(
            "accept_failures",
            "Connections that could not be accepted, for want of file descriptors as a rule",
            each(|door| door.failed),
        )
    }

    pub(super) fn drop_in(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let drop_in = self.snapshot.runtime.drop_in;
        page.counters(
            "drop_in_requests",
            "Requests of connectors to Salesforce by way of typingd, by what they were and what became of them",
            drop_in.iter().flat_map(requests).map(|(kind, count)| ([("kind", kind)], count)),
        )?;
        page.counters(
            "drop_in_messages",
            "Messages that passed: whether the icon was off, put off in time, or perhaps still on (late: settle was over; unwaited: no Stopped could leave)",
            drop_in.iter().flat_map(messages).map(|(icon, count)| ([("icon", icon)], count)),
        )?;
        page.counters(
            "drop_in_overdue",
            "Requests that went on after order_wait although the one before them was not written yet",
            drop_in.iter().map(|seen| (NO_LABELS, seen.overdue)),
        )?;
        page.counters(
            "drop_in_unanswered",
            "Requests for which there was no answer of Salesforce to pass on",
            drop_in.iter().map(|seen| (NO_LABELS, seen.unanswered)),
        )?;
        if drop_in.is_some() {
            page.span(
                "drop_in_settle_needed",
                "What drop_in.settle should be at least, by what the latest TypingStoppeds have taken",
                self.snapshot.metrics.stopped_trips.wait_needed(),
            )?;
        }
        page.counters(
            "drop_in_cut",
            "Requests of connectors that were cut by the end of typingd",
            drop_in.iter().map(|seen| (NO_LABELS, seen.cut)),
        )?;
        page.gauges(
            "drop_in_under_way",
            "Requests that are passing",
            drop_in.iter().map(|seen| (NO_LABELS, seen.under_way)),
        )
    }
}

/// Requests by what they were and what became of them.
fn requests(figures: &DropInFigures) -> [(&'static str, u64); 7] {
    [
        ("started_taken", figures.started_taken),
        ("stopped_taken", figures.stopped_taken),
        ("typing_passed", figures.typing_passed),
        ("typing_rejected", figures.typing_rejected),
        ("message", figures.messages),
        ("unread", figures.unread),
        ("other", figures.others),
    ]
}

/// Messages by what became of their icons.
fn messages(figures: &DropInFigures) -> [(&'static str, u64); 4] {
    [
        ("off", figures.messages.saturating_sub(figures.settled + figures.unsettled + figures.unwaited)),
        ("settled", figures.settled),
        ("late", figures.unsettled),
        ("unwaited", figures.unwaited),
    ]
}
