//! `GET /v1/conversations`: those in memory, page by page, or one of them explained.

mod explain;

use std::borrow::Cow;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::PATIENCE;
use super::events::{self, ToldSubject, Transition, millis, subject};
use super::query::{bad, id, options};
use crate::base::clock::Clock;
use crate::base::duration::Written;
use crate::driver::{Controls, Inquiry};
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Rules;
use crate::engine::{Account, PageQuery};
use crate::http::{Gate, Problem};
use crate::model::{Conversation, ConversationRef, Indicator, Instant, SignalKind, Why};
use crate::observe::events::{Event, What};

/// The longest page.
pub(crate) const PAGE_MAX: usize = 1_000;
const PAGE_USUAL: usize = 100;
/// How often the loop is asked for one page, at most: each time it looks at 4,096 places of its table. A page of few
/// among very many may end before it is full; its `next` goes on.
const TURNS_MAX: usize = 64;

/// This edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Conversations {
    gate: Gate,
    controls: Controls,
    clock: Clock,
}

impl Conversations {
    /// Callers that `gate` lets in are told what the loop behind `controls` knows.
    #[must_use]
    pub(crate) fn new(gate: Gate, controls: Controls, clock: Clock) -> Self {
        Self { gate, controls, clock }
    }

    /// The route of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/v1/conversations", get(conversations)).with_state(self)
    }
}

async fn conversations(
    State(edge): State<Conversations>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    edge.gate.admit(&headers)?;
    let body = match asked(query.as_deref())? {
        Asked::One(conversation) => edge.one(conversation).await?,
        Asked::Some(query) => edge.some(query).await?,
    };
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    One(Conversation),
    Some(PageQuery),
}

fn asked(query: Option<&str>) -> Result<Asked, Problem> {
    let [to, from, limit, after, icon] = options(query, ["to", "from", "limit", "after", "icon"])?;
    let (to, from) = (id("to", to)?, id("from", from)?);
    match (to, from) {
        (None, Some(_)) => Err(bad("`from` is there without `to`; an end user belongs to a channel")),
        (Some(_), Some(_)) if limit.is_some() || after.is_some() || icon.is_some() => {
            Err(bad("`to` and `from` ask for one conversation; `limit`, `after` and `icon` go with others"))
        }
        (Some(to), Some(from)) => {
            let conversation =
                ConversationRef::new(&to, &from).map_err(|(name, error)| bad(format!("`{name}` {error}")))?;
            Ok(Asked::One(conversation.to_owned()))
        }
        (to, None) => Ok(Asked::Some(PageQuery {
            start: start(after)?,
            limit: page_length(limit)?,
            to: to.map(Into::into),
            icon_on: icon_on(icon)?,
        })),
    }
}

fn page_length(value: Option<Cow<'_, str>>) -> Result<usize, Problem> {
    let Some(value) = value else { return Ok(PAGE_USUAL) };
    let length = value.parse().ok().filter(|length| (1..=PAGE_MAX).contains(length));
    length.ok_or_else(|| bad(format!("`limit` is not a whole number from 1 to {PAGE_MAX}")))
}

fn start(value: Option<Cow<'_, str>>) -> Result<u32, Problem> {
    let Some(value) = value else { return Ok(0) };
    value.parse().map_err(|_| bad("`after` is not what `next` of the page before said"))
}

fn icon_on(value: Option<Cow<'_, str>>) -> Result<bool, Problem> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad("`icon` is neither true nor false")),
    }
}

impl Conversations {
    async fn some(&self, mut query: PageQuery) -> Result<String, Problem> {
        let mut rows = Vec::new();
        let limit = query.limit;
        let mut turns = 0;
        loop {
            query.limit = limit - rows.len();
            let (page, total) = self.controls.page(query.clone(), PATIENCE).await.ok_or_else(silent)?;
            rows.extend(page.rows);
            turns += 1;
            match page.next {
                Some(next) if rows.len() < limit && turns < TURNS_MAX => query.start = next,
                next => {
                    let conversations = rows.iter().map(ToldRow::new).collect();
                    return json(&ToldPage { conversations, total, next: next.map(|next| next.to_string()) });
                }
            }
        }
    }

    async fn one(&self, conversation: Conversation) -> Result<String, Problem> {
        let inquiry = self.controls.inquire(conversation.clone(), PATIENCE).await.ok_or_else(silent)?;
        if inquiry.account.is_none() && inquiry.past.events.is_empty() {
            let detail =
                "nothing is known of this conversation: nobody types there, and nothing happened to it of late";
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
        json(&self.tell(&conversation, &inquiry))
    }

    fn tell<'a>(&self, conversation: &'a Conversation, inquiry: &'a Inquiry) -> ToldConversation<'a> {
        let Inquiry { at: now, account, flight, past, rules } = inquiry;
        let (now, account) = (*now, account.as_ref());
        let in_ms = |at: Instant| (at != Instant::NEVER).then(|| millis(at.since(now)));
        let deadlines = account.map(|account| account.deadlines);
        let flying = account.and_then(|account| account.in_flight);
        ToldConversation {
            to: conversation.to(),
            from: conversation.from(),
            state: account.map_or("forgotten", |account| account.stage.name()),
            icon: account.is_some_and(|account| account.icon),
            shown: shown(account, &past.events),
            explanation: match account {
                Some(account) => explain::explanation(account, now),
                None => forgotten(&past.events),
            },
            wish: account.and_then(|account| account.desired).map(subject),
            in_flight: flying.map(|(reason, _)| ToldFlight {
                subject: subject(reason),
                attempt: flight.map_or(0, |flight| flight.attempt),
                for_ms: flight.map_or(0.0, |flight| millis(now.since(flight.left))),
            }),
            last_signal: self.last_signal(account, past.signal.as_deref(), now),
            deadlines: ToldDeadlines {
                check_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.check)),
                dismiss_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.dismissal)),
                max_typing_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.max_typing)),
                retry_in_ms: account.and_then(|account| account.retry).and_then(in_ms),
                muted_for_ms: account.and_then(|account| account.muted).and_then(|(until, _)| in_ms(until)),
            },
            timing: ToldTiming::new(rules),
            last_result: past.result.as_deref().map(|event| events::transition(event, now, &self.clock)),
            transitions: past.events.iter().map(|event| events::transition(event, now, &self.clock)).collect(),
        }
    }

    /// The engine knows the last key, the history every other signal.
    fn last_signal(&self, account: Option<&Account>, other: Option<&Event>, now: Instant) -> Option<ToldSignal> {
        // Typing that lasts counts as a key at every moment until its end.
        let key = account.and_then(|account| account.last_key).map(|at| (at.min(now), SignalKind::Keystroke));
        let other = other.and_then(|event| match event.what {
            What::Signal(kind) => Some((event.at, kind)),
            _ => None,
        });
        let (at, kind) = key.into_iter().chain(other).max_by_key(|(at, _)| *at)?;
        Some(ToldSignal { signal: kind.name(), at: self.clock.wall_millis(at), ago_ms: millis(now.since(at)) })
    }
}

fn json(told: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(told).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn silent() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer")
}

fn name_of(belief: Acknowledged) -> &'static str {
    match belief {
        Acknowledged::Off => "off",
        Acknowledged::On => "on",
        Acknowledged::Unknown => "unknown",
    }
}

/// Whether the last thing that happened was a Stopped that was given up: nobody knows of its icon.
fn left_on(events: &[std::sync::Arc<Event>]) -> bool {
    let last = events.iter().rev().find(|event| !matches!(event.what, What::Signal(_)));
    matches!(last.map(|event| &event.what), Some(What::Dropped(subject, Why::GivenUp))
        if subject.reason.indicator() == Indicator::TypingStopped)
}

fn shown(account: Option<&Account>, events: &[std::sync::Arc<Event>]) -> &'static str {
    match account.map_or(Acknowledged::Off, |account| account.acknowledged) {
        Acknowledged::Off if left_on(events) => name_of(Acknowledged::Unknown),
        belief => name_of(belief),
    }
}

fn forgotten(events: &[std::sync::Arc<Event>]) -> String {
    let text = if left_on(events) {
        "Nobody types, but the icon may have been left on: the last TypingStopped was given up. The next key begins anew."
    } else {
        "Nobody types, and the icon is off: there is nothing to remember but what happened of late. The next key begins anew."
    };
    text.to_owned()
}

#[derive(Serialize)]
struct ToldPage<'a> {
    conversations: Vec<ToldRow<'a>>,
    total: usize,
    next: Option<String>,
}

#[derive(Serialize)]
struct ToldRow<'a> {
    to: &'a str,
    from: &'a str,
    state: &'static str,
    icon: bool,
    shown: &'static str,
    owed: Option<&'static str>,
}

impl<'a> ToldRow<'a> {
    fn new((conversation, account): &'a (Conversation, Account)) -> Self {
        Self {
            to: conversation.to(),
            from: conversation.from(),
            state: account.stage.name(),
            icon: account.icon,
            shown: name_of(account.acknowledged),
            owed: account.desired.map(|reason| reason.indicator().name()),
        }
    }
}

#[derive(Serialize)]
struct ToldConversation<'a> {
    to: &'a str,
    from: &'a str,
    state: &'static str,
    icon: bool,
    shown: &'static str,
    explanation: String,
    wish: Option<ToldSubject>,
    in_flight: Option<ToldFlight>,
    last_signal: Option<ToldSignal>,
    deadlines: ToldDeadlines,
    timing: ToldTiming,
    last_result: Option<Transition<'a>>,
    transitions: Vec<Transition<'a>>,
}

#[derive(Serialize)]
struct ToldFlight {
    #[serde(flatten)]
    subject: ToldSubject,
    attempt: u32,
    for_ms: f64,
}

#[derive(Serialize)]
struct ToldSignal {
    signal: &'static str,
    at: u64,
    ago_ms: f64,
}

#[derive(Serialize)]
struct ToldDeadlines {
    check_in_ms: Option<f64>,
    dismiss_in_ms: Option<f64>,
    max_typing_in_ms: Option<f64>,
    retry_in_ms: Option<f64>,
    muted_for_ms: Option<f64>,
}

#[derive(Serialize)]
struct ToldTiming {
    check_interval: String,
    dismiss_after: String,
    dismiss: &'static str,
    max_typing: String,
    require_open: bool,
}

impl ToldTiming {
    fn new(rules: &Rules) -> Self {
        Self {
            check_interval: Written(rules.check_interval()).to_string(),
            dismiss_after: Written(rules.dismiss_after()).to_string(),
            dismiss: rules.mode.name(),
            max_typing: Written(rules.max_typing()).to_string(),
            require_open: rules.require_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_within_bounds() {
        let page = |start, limit, to: Option<&str>, icon_on| {
            Asked::Some(PageQuery { start, limit, to: to.map(Into::into), icon_on })
        };
        for (query, expected) in [
            (None, page(0, 100, None, false)),
            (Some("limit=1000&after=4096"), page(4_096, 1_000, None, false)),
            (Some("to=%C3%BC&icon=true"), page(0, 100, Some("ü"), true)),
            (Some("icon=false&limit=1"), page(0, 1, None, false)),
            (Some("from=a+b&to=c"), Asked::One(ConversationRef::new("c", "a b").unwrap().to_owned())),
        ] {
            assert_eq!(asked(query).unwrap(), expected, "{query:?}");
        }
        for query in [
            "from=ann",
            "to=",
            "to=c&to=c",
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "after=x",
            "after=-1",
            "after=4294967296",
            "icon=yes",
            "to=c&from=ann&limit=2",
            "page=2",
        ] {
            assert_eq!(asked(Some(query)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
