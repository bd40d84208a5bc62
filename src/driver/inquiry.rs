//! What people ask of the loop about conversations.

use std::time::Duration;

use super::{Command, Controls, LoopState};
use crate::engine::policy::Rules;
use crate::engine::{Account, Page, PageQuery};
use crate::model::{Conversation, ConversationRef, Instant};
use crate::observe::events::{Flight, Past};

/// Everything about one conversation.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// When that was so.
    pub at: Instant,
    /// How it stands; `None` if it is not in memory.
    pub account: Option<Account>,
    /// The request in flight.
    pub flight: Option<Flight>,
    /// What happened to it of late.
    pub past: Past,
    /// The timing of its channel.
    pub rules: Rules,
}

impl Controls {
    /// Asks for some conversations, and how many there are in all; `None` when the loop has ended or does not answer
    /// within `patience`.
    pub async fn page(&self, query: PageQuery, patience: Duration) -> Option<(Page, usize)> {
        self.ask(patience, |answer| Command::Page(query, answer)).await
    }

    /// Asks for everything about one conversation; `None` when the loop has ended or does not answer within `patience`.
    pub async fn inquire(&self, conversation: Conversation, patience: Duration) -> Option<Inquiry> {
        self.ask(patience, |answer| Command::Inquire(conversation, answer)).await
    }
}

impl LoopState {
    pub(super) fn page(&mut self, now: Instant, query: &PageQuery) -> (Page, usize) {
        (self.engine.page(now, query), self.engine.census().conversations)
    }

    pub(super) fn inquire(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Inquiry {
        let account = self.engine.account(now, conversation);
        let history = self.history.as_mut();
        let in_flight = account.and_then(|account| account.in_flight);
        let flight = in_flight.and_then(|(_, number)| history.as_ref()?.flight(number));
        let past = history.map(|history| history.past(now, conversation)).unwrap_or_default();
        Inquiry { at: now, account, flight, past, rules: self.engine.policy().rules_of(conversation.to()) }
    }
}
