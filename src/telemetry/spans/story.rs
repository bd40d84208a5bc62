//! A decision as spans: one from the signal to the end, and one for each request within it.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use uuid::Uuid;

use crate::base::clock::{self, Clock};
use crate::base::pseudonym::Pseudonyms;
use crate::model::{Instant, Outcome};
use crate::observe::events::{Event, Subject, Verdict, What};
use crate::observe::loop_metrics::End;

/// Decisions whose end is awaited: as many as an org may have sessions, each with a stop and a start under way. The oldest
/// is given up for one more.
pub(super) const OPEN_MAX: usize = 22_000;

/// The decisions whose end is awaited.
pub(super) struct Stories {
    clock: Clock,
    pseudonyms: Pseudonyms,
    request_id: Box<dyn Fn(u64) -> Uuid + Send>,
    /// By their numbers, so that the oldest comes first.
    open: BTreeMap<u64, Open>,
}

struct Open {
    span_id: Vec<u8>,
    begun: Instant,
    decided: Instant,
}

impl Stories {
    pub(super) fn new(clock: Clock, pseudonyms: Pseudonyms, request_id: Box<dyn Fn(u64) -> Uuid + Send>) -> Self {
        Self { clock, pseudonyms, request_id, open: BTreeMap::new() }
    }

    /// Takes an event; the spans that have come to their end by it go to `done`.
    pub(super) fn observe(&mut self, event: &Event, done: &mut Vec<Span>) {
        match &event.what {
            What::Signal(_) | What::Ignored(_) => {}
            What::Decided(subject) => {
                if self.open.len() >= OPEN_MAX {
                    self.open.pop_first();
                }
                let begun = event.at.before(event.waited);
                self.open.insert(subject.number, Open { span_id: span_id(), begun, decided: event.at });
            }
            What::Answered(subject, verdict) => {
                let Some(open) = self.open.get(&subject.number) else { return };
                done.push(self.of_request(event, *subject, verdict, open));
                match verdict.outcome {
                    Outcome::Delivered | Outcome::Rejected(_) => {
                        self.end(event, *subject, verdict.outcome.name(), verdict.detail.as_deref(), done);
                    }
                    // It is tried again, or dropped.
                    Outcome::NotSent(_) | Outcome::Unknown(_) => {}
                }
            }
            What::Dropped(subject, why) => self.end(event, *subject, why.name(), None, done),
        }
    }

    /// The span of the decision that `event` ends.
    fn end(
        &mut self,
        event: &Event,
        subject: Subject,
        outcome: &'static str,
        detail: Option<&str>,
        done: &mut Vec<Span>,
    ) {
        let Some(open) = self.open.remove(&subject.number) else { return };
        let (start, end) = self.wall(open.begun, event.at);
        let decided = end.saturating_sub(nanos(event.at.since(open.decided)));
        let mut attributes = self.attributes(event, subject);
        attributes.push(text("typingd.end", outcome));
        let status = match outcome {
            "delivered" => ok(),
            // Nothing was wrong with them: they were not needed any more.
            "replaced" | "moot" | "expired" => unset(),
            _ => error(detail.unwrap_or(outcome)),
        };
        done.push(Span {
            trace_id: self.trace_id(subject),
            span_id: open.span_id,
            name: subject.reason.indicator().name().to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events: vec![SpanEvent { time_unix_nano: decided, name: "decided".to_owned(), ..SpanEvent::default() }],
            status,
            ..Span::default()
        });
    }

    fn of_request(&self, event: &Event, subject: Subject, verdict: &Verdict, open: &Open) -> Span {
        let (start, end) = self.wall(event.at.before(verdict.round_trip), event.at);
        let mut attributes = self.attributes(event, subject);
        attributes.push(number("typingd.attempt", i64::from(verdict.attempt)));
        attributes.push(text("typingd.outcome", verdict.outcome.name()));
        attributes.push(text("http.request.method", "POST"));
        attributes.extend(verdict.status.map(|status| number("http.response.status_code", i64::from(status))));
        attributes.extend(verdict.code.map(|code| number("salesforce.code", code)));
        attributes.extend(cause(verdict.outcome).map(|cause| text("error.type", cause)));
        let status = match verdict.outcome {
            Outcome::Delivered => ok(),
            _ => error(verdict.detail.as_deref().unwrap_or_default()),
        };
        Span {
            trace_id: self.trace_id(subject),
            span_id: span_id(),
            parent_span_id: open.span_id.clone(),
            name: "POST /api/v1/interactions".to_owned(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            status,
            ..Span::default()
        }
    }

    /// The attributes of every span of a decision. The end user has no name here but that of the log.
    fn attributes(&self, event: &Event, subject: Subject) -> Vec<KeyValue> {
        let conversation = event.conversation.as_ref();
        vec![
            text("typingd.channel", conversation.to()),
            text("typingd.end_user", &self.pseudonyms.log_name(conversation.from())),
            text("typingd.indicator", subject.reason.indicator().name()),
            text("typingd.reason", subject.reason.name()),
            text("typingd.request_id", &(self.request_id)(subject.number).to_string()),
        ]
    }

    /// The RequestId again: who has that of a request, from Salesforce's logs, finds the trace.
    fn trace_id(&self, subject: Subject) -> Vec<u8> {
        (self.request_id)(subject.number).as_bytes().to_vec()
    }

    /// Both moments by one reading of the wall clock, in nanoseconds, so that no step of it makes a span negative.
    fn wall(&self, start: Instant, end: Instant) -> (u64, u64) {
        let now = nanos(clock::wall_since_epoch());
        let end_nanos = now.saturating_sub(nanos(self.clock.now().since(end)));
        (end_nanos.saturating_sub(nanos(end.since(start))), end_nanos)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Eight bytes that no other span has, nor are they all zero.
fn span_id() -> Vec<u8> {
    Uuid::new_v4().as_bytes()[..8].to_vec()
}

fn cause(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Delivered => None,
        Outcome::Rejected(_) => Some("refused"),
        outcome => Some(End::from(outcome).cause()),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn ok() -> Option<Status> {
    Some(Status { code: StatusCode::Ok.into(), message: String::new() })
}

const fn unset() -> Option<Status> {
    None
}

fn error(what: &str) -> Option<Status> {
    Some(Status { code: StatusCode::Error.into(), message: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationRef, Reason, Why};

    fn event(number: u64, waited: Duration, what: impl FnOnce(Subject) -> What) -> Event {
        let conversation = ConversationRef::new("c", "u").unwrap().to_owned();
        let subject = Subject { number, reason: Reason::FirstKeystroke };
        Event { at: Instant::from_millis(1_000), conversation, waited, what: what(subject) }
    }

    fn stories() -> Stories {
        let request_id = |number| Uuid::from_u64_pair(0, number);
        Stories::new(Clock::start(), Pseudonyms::default(), Box::new(request_id))
    }

    #[test]
    fn the_oldest_of_too_many_decisions_is_given_up_and_no_other() {
        let (mut stories, mut done) = (stories(), Vec::new());
        for number in 0..=OPEN_MAX as u64 {
            stories.observe(&event(number, Duration::ZERO, What::Decided), &mut done);
        }
        assert_eq!((stories.open.len(), done.len()), (OPEN_MAX, 0));
        for number in [0, 1, 1, OPEN_MAX as u64] {
            stories.observe(&event(number, Duration::ZERO, |subject| What::Dropped(subject, Why::Expired)), &mut done);
        }
        let traces: Vec<u8> = done.iter().map(|span| span.trace_id[15]).collect();
        assert_eq!(traces, [1, (OPEN_MAX % 256) as u8], "each ends once");
    }

    #[test]
    fn a_span_begins_when_its_signal_came() {
        let (mut stories, mut done) = (stories(), Vec::new());
        stories.observe(&event(7, Duration::from_millis(250), What::Decided), &mut done);
        stories.observe(&event(7, Duration::ZERO, |subject| What::Dropped(subject, Why::GivenUp)), &mut done);
        let [span] = &done[..] else { panic!("{done:?}") };
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 250_000_000);
        assert_eq!(span.events[0].time_unix_nano, span.end_time_unix_nano, "it was decided then");
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(StatusCode::Error.into()));
    }
}
