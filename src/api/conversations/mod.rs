//! `GET /v1/conversations`: those in memory, page by page, or one of them explained.

mod explain;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::events::{self, SubjectJson, Transition, millis, subject};
use super::options::{bad, id, value};
use super::{Api, PATIENCE, loop_silent};
use crate::base::duration::Written;
use crate::base::text::printable;
use crate::driver::Inquiry;
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Rules;
use crate::engine::{Account, PageQuery};
use crate::http::{Options, Problem};
use crate::model::{Conversation, ConversationRef, Indicator, Instant, SignalKind, Why};
use crate::observe::events::{Event, What};
use crate::store::{Failure, Holder};

const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 100;
/// The loop is asked at most so often for one page: each time it looks at 4,096 places of its table. A page of few among
/// very many may end before it is full; its `next` goes on.
const TURNS_MAX: usize = 64;

pub(super) async fn conversations(
    State(api): State<Arc<Api>>,
    Options(query): Options<ListQuery>,
) -> Result<Response, Problem> {
    match query.asked()? {
        Asked::One(conversation) => api.one(&conversation).await,
        Asked::Page(query) => api.page(query).await,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    to: Option<String>,
    from: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    icon: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    One(Conversation),
    Page(PageQuery),
}

impl ListQuery {
    fn asked(self) -> Result<Asked, Problem> {
        let Self { to, from, limit, after, icon } = self;
        match (id("to", to)?, id("from", from)?) {
            (None, Some(_)) => Err(bad("`from` is there without `to`; an end user belongs to a channel")),
            (Some(_), Some(_)) if limit.is_some() || after.is_some() || icon.is_some() => {
                Err(bad("`to` and `from` ask for one conversation; `limit`, `after` and `icon` go with others"))
            }
            (Some(to), Some(from)) => {
                let conversation = ConversationRef::new(&to, &from);
                let conversation = conversation.map_err(|(name, error)| bad(format!("`{name}` {error}")))?;
                Ok(Asked::One(conversation.to_owned()))
            }
            (to, None) => {
                let limit = limit.map_or(Ok(PAGE_DEFAULT), |text| {
                    let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    value("limit", &text, limit, &format!("a whole number from 1 to {PAGE_MAX}"))
                })?;
                let start = after
                    .map_or(Ok(0), |text| value("after", &text, text.parse().ok(), "the `next` of the page before"))?;
                let icon_on =
                    icon.map_or(Ok(false), |text| value("icon", &text, text.parse().ok(), "true or false"))?;
                Ok(Asked::Page(PageQuery { start, limit, to: to.map(Into::into), icon_on }))
            }
        }
    }
}

impl Api {
    async fn page(&self, mut query: PageQuery) -> Result<Response, Problem> {
        let mut rows = Vec::new();
        let limit = query.limit;
        let mut turns = 0;
        loop {
            query.limit = limit - rows.len();
            let (page, total, typingd) = self.controls.page(query.clone(), PATIENCE).await.ok_or_else(loop_silent)?;
            rows.extend(page.rows);
            turns += 1;
            match page.next {
                Some(next) if rows.len() < limit && turns < TURNS_MAX => query.start = next,
                next => {
                    let conversations = rows.iter().map(RowJson::new).collect();
                    let next = next.map(|next| next.to_string());
                    return Ok(Json(PageJson { conversations, total, next, typingd }).into_response());
                }
            }
        }
    }

    async fn one(&self, conversation: &Conversation) -> Result<Response, Problem> {
        let inquiry = self.controls.inquire(conversation.clone(), PATIENCE).await.ok_or_else(loop_silent)?;
        let holder = match &inquiry.elsewhere {
            Some(lookup) => Some(lookup.holder(conversation.as_ref()).await),
            None => None,
        };
        if inquiry.account.is_none() && inquiry.past.events.is_empty() {
            return Err(unknown(holder));
        }
        let mut answer = self.conversation(conversation, &inquiry);
        if let Some(Ok(Some(holder))) = holder {
            answer.explanation =
                format!("{} It is {}, where its icon is decided.", answer.explanation, held_by(&holder));
        }
        Ok(Json(answer).into_response())
    }

    fn conversation<'a>(&self, conversation: &'a Conversation, inquiry: &'a Inquiry) -> ConversationJson<'a> {
        let Inquiry { at: now, account, flight, past, rules, store, .. } = inquiry;
        let (now, account) = (*now, account.as_ref());
        let in_ms = |at: Instant| (at != Instant::NEVER).then(|| millis(at.since(now)));
        let deadlines = account.map(|account| account.deadlines);
        let flying = account.and_then(|account| account.in_flight);
        ConversationJson {
            to: conversation.to(),
            from: conversation.from(),
            state: account.map_or("forgotten", |account| account.stage.name()),
            icon: account.is_some_and(|account| account.icon),
            shown: shown(account, &past.events),
            explanation: explain::joined([
                account.map_or_else(|| forgotten(&past.events), |account| explain::explanation(account, now, *store)),
                explain::ignored(account, past, now),
                explain::failed(past, now),
            ]),
            wish: account.and_then(|account| account.desired).map(subject),
            in_flight: flying.map(|(reason, _)| FlightJson {
                subject: subject(reason),
                attempt: flight.map_or(0, |flight| flight.attempt),
                for_ms: flight.map_or(0.0, |flight| millis(now.since(flight.left))),
            }),
            last_signal: self.last_signal(account, past.signal.as_ref(), now),
            deadlines: DeadlinesJson {
                check_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.check)),
                dismiss_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.dismissal)),
                max_typing_in_ms: deadlines.and_then(|deadlines| in_ms(deadlines.max_typing)),
                retry_in_ms: account.and_then(|account| account.retry).and_then(in_ms),
                muted_for_ms: account.and_then(|account| account.muted).and_then(|(until, _)| in_ms(until)),
            },
            timing: TimingJson::new(rules),
            last_result: past.result.as_ref().map(|event| events::transition(event, now, &self.clock)),
            transitions: past.events.iter().map(|event| events::transition(event, now, &self.clock)).collect(),
        }
    }

    /// The engine knows the last key, the history every other signal.
    fn last_signal(&self, account: Option<&Account>, other: Option<&Event>, now: Instant) -> Option<SignalJson> {
        // Typing that lasts counts as a key at every moment until its end.
        let key = account.and_then(|account| account.last_key).map(|at| (at.min(now), SignalKind::Keystroke));
        let other = other.and_then(|event| match event.what {
            What::Signal(kind) => Some((event.at, kind)),
            _ => None,
        });
        let (at, kind) = key.into_iter().chain(other).max_by_key(|(at, _)| *at)?;
        Some(SignalJson { signal: kind.name(), at: self.clock.wall_millis(at), ago_ms: millis(now.since(at)) })
    }
}

/// Nothing is known of the conversation here; where typingd share a store, it may be another's.
fn unknown(holder: Option<Result<Option<Holder>, Failure>>) -> Problem {
    const UNKNOWN: &str = "this conversation is not known: the user is not typing, and nothing happened to it lately";
    let not_found = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
    match holder {
        Some(Ok(Some(holder))) => {
            let name = holder.name.clone().unwrap_or_else(|| holder.owner.to_string());
            let says = format!("{}; ask the typingd there: its status names the node", held_by(&holder));
            not_found(says).with("held_by", name.into()).with("held_by_node", holder.owner.to_string().into())
        }
        Some(Err(why)) => not_found(format!(
            "this typingd does not know the conversation; whether another owns it can't be told, for the store gives \
             no answer: {why}"
        )),
        Some(Ok(None)) | None => not_found(UNKNOWN.to_owned()),
    }
}

fn held_by(holder: &Holder) -> String {
    let Holder { owner, name } = holder;
    match name {
        Some(name) => format!("held by {} (node {owner})", printable(name)),
        None => format!("held by node {owner}, which has lapsed"),
    }
}

fn name_of(acknowledged: Acknowledged) -> &'static str {
    match acknowledged {
        Acknowledged::Off => "off",
        Acknowledged::On => "on",
        Acknowledged::Unknown => "unknown",
    }
}

/// Whether the last event was a Stopped that was given up: its icon may be on.
fn left_on(events: &[Event]) -> bool {
    let last = events.iter().rev().find(|event| !matches!(event.what, What::Signal(_) | What::Ignored(_)));
    matches!(last.map(|event| &event.what), Some(What::Dropped(subject, Why::GivenUp))
        if subject.reason.indicator() == Indicator::TypingStopped)
}

fn shown(account: Option<&Account>, events: &[Event]) -> &'static str {
    match account.map_or(Acknowledged::Off, |account| account.acknowledged) {
        Acknowledged::Off if left_on(events) => name_of(Acknowledged::Unknown),
        acknowledged => name_of(acknowledged),
    }
}

fn forgotten(events: &[Event]) -> String {
    let text = if left_on(events) {
        "The user is not typing, but the icon may have been left on: the last TypingStopped was given up. The next key \
         shows it anew."
    } else {
        "The user is not typing; the icon is off: nothing is in memory but its history. The next key shows it anew."
    };
    text.to_owned()
}

#[derive(Serialize)]
struct PageJson<'a> {
    conversations: Vec<RowJson<'a>>,
    total: usize,
    next: Option<String>,
    /// How many share the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    typingd: Option<usize>,
}

#[derive(Serialize)]
struct RowJson<'a> {
    to: &'a str,
    from: &'a str,
    state: &'static str,
    icon: bool,
    shown: &'static str,
    owed: Option<&'static str>,
}

impl<'a> RowJson<'a> {
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
struct ConversationJson<'a> {
    to: &'a str,
    from: &'a str,
    state: &'static str,
    icon: bool,
    shown: &'static str,
    explanation: String,
    wish: Option<SubjectJson>,
    in_flight: Option<FlightJson>,
    last_signal: Option<SignalJson>,
    deadlines: DeadlinesJson,
    timing: TimingJson,
    last_result: Option<Transition<'a>>,
    transitions: Vec<Transition<'a>>,
}

#[derive(Serialize)]
struct FlightJson {
    #[serde(flatten)]
    subject: SubjectJson,
    attempt: u32,
    for_ms: f64,
}

#[derive(Serialize)]
struct SignalJson {
    signal: &'static str,
    at: u64,
    ago_ms: f64,
}

#[derive(Serialize)]
struct DeadlinesJson {
    check_in_ms: Option<f64>,
    dismiss_in_ms: Option<f64>,
    max_typing_in_ms: Option<f64>,
    retry_in_ms: Option<f64>,
    muted_for_ms: Option<f64>,
}

#[derive(Serialize)]
struct TimingJson {
    check_interval: String,
    dismiss_after: String,
    dismiss: &'static str,
    max_typing: String,
    require_open: bool,
}

impl TimingJson {
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
        let asked = |query: &str| {
            let uri = format!("/?{query}").parse().unwrap();
            Options::<ListQuery>::of(&uri).and_then(|Options(query)| query.asked())
        };
        let page = |start, limit, to: Option<&str>, icon_on| {
            Asked::Page(PageQuery { start, limit, to: to.map(Into::into), icon_on })
        };
        for (query, expected) in [
            ("", page(0, 100, None, false)),
            ("limit=1000&after=4096", page(4_096, 1_000, None, false)),
            ("to=%C3%BC&icon=true", page(0, 100, Some("ü"), true)),
            ("icon=false&limit=1", page(0, 1, None, false)),
            ("from=%2B1555&to=c", Asked::One(ConversationRef::new("c", "+1555").unwrap().to_owned())),
            ("from=a+b&to=c", Asked::One(ConversationRef::new("c", "a b").unwrap().to_owned())),
        ] {
            assert_eq!(asked(query).unwrap(), expected, "{query:?}");
        }
        for query in [
            "from=ann",
            "to=+1555&from=ann",
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
            assert_eq!(asked(query).unwrap_err().status(), StatusCode::BAD_REQUEST, "{query}");
        }
    }
}
