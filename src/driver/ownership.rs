//! What the loop does as one node of several: which signals are its own to take, which of its requests may leave, and
//! what follows from what the store says. Without a store all is its own.

use std::time::Duration;

use super::node::{Node, digest};
use super::permit::Permit;
use super::state::LoopState;
use super::waiter::{Answer, Waiter};
use crate::engine::Notice;
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Policy;
use crate::fleet::protocol::Ticket;
use crate::fleet::{Demand, Effect, Route};
use crate::model::{
    Cause, ConversationRef, CredentialId, Dispatch, Indicator, Instant, Outcome, Signal, SignalKind, Transient,
    WireResult,
};
use crate::store::News;

/// Conversations whose credentials wait with a signal for the store's answer.
const CREDENTIALS_MAX: usize = 10_000;

impl LoopState {
    /// What the store says next; never without a store. Cancel-safe.
    pub(super) async fn news(&mut self) -> News {
        match &mut self.node {
            Some(node) => node.link.next().await,
            None => std::future::pending().await,
        }
    }

    /// What it has said by now.
    pub(super) async fn try_news(&mut self) -> Option<News> {
        self.node.as_mut()?.link.try_next().await
    }

    pub(super) fn on_news(&mut self, now: Instant, news: News) {
        let Some(node) = &mut self.node else { return };
        let at = node.clock.now();
        match news {
            News::Reply(number, reply) => node.fleet.handle_reply(at, number, reply),
            News::Silence => node.fleet.handle_silence(at),
            News::Refused => node.fleet.handle_store_refusal(at),
            News::Mail(mail) => node.fleet.handle_mail(at, mail),
            News::MailLost => node.fleet.handle_mail_lost(),
        }
        self.settle_ownership(now);
    }

    /// Whether the engine takes the signal now; another node may take it, or this one later.
    /// The caller waits for so long until a message's icon is off.
    pub(super) fn takes(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
        credentials: Option<CredentialId>,
        wait: Option<Duration>,
    ) -> bool {
        let Some(node) = &mut self.node else { return true };
        let wait = wait.filter(|_| signal.kind == SignalKind::MessageSent);
        let ticket = wait.map(|wait| node.tickets.next(wait));
        let dismiss_after = self.engine.policy().rules_of(conversation.to()).dismiss_after();
        let route = node.fleet.handle_signal(node.clock.now(), conversation, signal, dismiss_after, ticket);
        if let (Some(Ticket { number, .. }), Some(wait)) = (ticket, wait)
            && route != Route::Here
        {
            node.tickets.open(number, conversation, now + wait, route == Route::Posted);
        }
        if let (Route::Posted, Some(credentials)) = (route, credentials) {
            if node.credentials.len() >= CREDENTIALS_MAX {
                node.credentials.clear();
            }
            node.credentials.insert(conversation.to_owned(), credentials);
        }
        route == Route::Here
    }

    /// Whether another node may show the icon, whatever the engine knows.
    pub(super) fn is_unsure_of(&self, conversation: ConversationRef<'_>) -> bool {
        self.node.as_ref().is_some_and(|node| node.fleet.is_unsure_of(node.clock.now(), conversation))
    }

    /// Whether another node may show the icon again though this one's Stopped was acknowledged.
    pub(super) fn may_come_on_again(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.fleet.may_come_on_again(node.clock.now()))
    }

    /// What is due by time alone.
    pub(super) fn visit_store(&mut self, now: Instant) {
        let Some(node) = &mut self.node else { return };
        let at = node.clock.now();
        node.fleet.handle_timeout(at);
        if self.engine.is_stopped() && !std::mem::replace(&mut node.gives_up_all, true) {
            node.fleet.handle_stopped();
        }
        node.log_changes();
        node.link.read_inbox_of(node.fleet.me());
        self.settle_ownership(now);
    }

    /// The next request to the store. A Started that waits to be on record there is in it, so it comes after
    /// [`Self::poll_leaving`].
    pub(super) fn ask_store(&mut self, now: Instant) {
        let Some(node) = &mut self.node else { return };
        let queued = self.engine.census().queued.iter().sum();
        let demand = Demand { counted: self.engine.counted(now), queued };
        if let Some(request) = node.fleet.poll_request(node.clock.now(), demand) {
            node.link.send(request);
        }
        self.settle_ownership(now);
    }

    /// Does what the fleet says, and gives it back what the engine has released.
    pub(super) fn settle_ownership(&mut self, now: Instant) {
        loop {
            let Some(node) = &mut self.node else { return };
            let at = node.clock.now();
            if let Some(effect) = node.fleet.poll_effect() {
                self.on_effect(now, effect);
            } else if let Some(released) = self.engine.poll_released() {
                if !self.engine.holds(released.as_ref()) {
                    node.fleet.handle_released(at, released.as_ref());
                }
            } else {
                node.lease.set(node.fleet.tenure(), node.fleet.departs_until());
                return;
            }
        }
    }

    fn on_effect(&mut self, now: Instant, effect: Effect) {
        let Some(node) = &mut self.node else { return };
        let at = node.clock.now();
        match effect {
            Effect::Signal(conversation, signal, awaited) => {
                let credentials = node.credentials.remove(&conversation);
                // At the end each keystroke is left to another process.
                if self.stopping.is_none() {
                    let (signal, waited) = ((conversation.as_ref(), signal), self.waited);
                    self.take_signals(now, &[signal], credentials, |_| waited, drop);
                }
                if let Some(awaited) = awaited {
                    self.on_awaited(now, conversation, awaited);
                }
            }
            Effect::Check(conversation) => {
                if !self.engine.holds(conversation.as_ref()) {
                    node.fleet.handle_released(at, conversation.as_ref());
                } else if self.engine.is_settled_off(conversation.as_ref()) {
                    node.fleet.handle_outcome(at, conversation.as_ref(), true);
                }
            }
            Effect::Recover(conversation) => {
                self.engine.handle_recovered(now, conversation.as_ref());
                // Its former owner may have had none that are accepted.
                if let Some(credentials) = node.credentials.remove(&conversation) {
                    self.engine.handle_credentials(now, conversation.as_ref(), credentials);
                }
                for waiter in node.tickets.take(conversation.as_ref()) {
                    self.add_waiter(now, conversation.clone(), waiter);
                }
            }
            Effect::Lose(conversation) => {
                let left = self.engine.handle_lost(now, conversation.as_ref());
                node.fleet.handle_lost(conversation.as_ref(), left.maybe_on, left.in_flight);
                self.answer_waiters(&conversation, false);
            }
            Effect::Yield(conversation) => {
                let left = self.engine.handle_lost(now, conversation.as_ref());
                node.fleet.handle_lost(conversation.as_ref(), false, left.in_flight);
                self.answer_waiters(&conversation, false);
            }
            Effect::Answer(number, acknowledged) => {
                if let Some((_, Waiter { answer: Answer::Caller(answer), .. })) = node.tickets.open.remove(&number) {
                    let _ = answer.send(acknowledged);
                }
            }
            Effect::Send(dispatch) => node.leaving.push_back((dispatch.clone(), node.permit(&dispatch))),
            Effect::Withhold(id) => self.engine.handle_withheld(now, id),
            Effect::Share(share) => self.engine.handle_share(share),
        }
    }

    /// The next request that leaves. With a store each Started is on record there before.
    pub(super) fn poll_leaving(&mut self, now: Instant) -> Option<(Dispatch, Permit)> {
        loop {
            let Some(node) = &mut self.node else {
                return Some((self.engine.poll_dispatch(now)?, Permit::default()));
            };
            if let Some(leaving) = node.leaving.pop_front() {
                return Some(leaving);
            }
            let at = node.clock.now();
            let dispatch = if node.fleet.may_send(at) { self.engine.poll_dispatch(now) } else { None };
            let dispatch = dispatch?;
            if let Some(dispatch) = node.fleet.handle_dispatch(at, dispatch) {
                let permit = node.permit(&dispatch);
                node.leaving.push_back((dispatch, permit));
            }
            self.settle_ownership(now);
        }
    }

    /// The engine takes an outcome. A Started that did not leave because the lease had ended is as if it had never been
    /// dispatched.
    pub(super) fn take_outcome(
        &mut self,
        now: Instant,
        dispatch: &Dispatch,
        permit: &Permit,
        result: &WireResult,
    ) -> Option<Notice> {
        let conversation = dispatch.conversation.as_ref();
        let notice = if matches!(result.outcome, Outcome::NotSent(_)) && !permit.holds() {
            self.engine.handle_withheld(now, dispatch.id);
            None
        } else {
            self.engine.handle_outcome(now, dispatch.id, result.outcome)
        };
        if let Some(node) = &mut self.node {
            let is_off = self.engine.is_settled_off(conversation);
            node.fleet.handle_outcome(node.clock.now(), conversation, is_off);
            if lacks_credentials(dispatch.indicator(), &result.outcome) {
                let left_on = self.engine.acknowledged(conversation) != Acknowledged::Off;
                node.fleet.handle_refused(conversation, left_on);
            }
            self.settle_ownership(now);
        }
        notice
    }

    /// When the engine, or the fleet, has something to do though nothing happens before.
    pub(super) fn due(&mut self, now: Instant) -> Instant {
        let Some(node) = &self.node else { return self.engine.poll_timeout(now) };
        if !node.leaving.is_empty() {
            return now;
        }
        let at = node.clock.now();
        let fleet = node.clock.on_other(node.fleet.poll_timeout(at));
        let engine = if node.fleet.may_send(at) { self.engine.poll_timeout(now) } else { self.engine.next_deadline() };
        engine.min(fleet)
    }

    /// Another policy: its limit of requests a second is shared, and its timing is to be that of all.
    pub(super) fn share_policy(&mut self, policy: &Policy) {
        if let Some(node) = &mut self.node {
            node.fleet.handle_limit(node.clock.now(), policy.delivery.requests_per_second_max);
            node.fleet.handle_timing(digest(policy));
        }
    }

    /// The node leaves: it gives up what is off, and sends nothing after `until`.
    pub(super) fn leave_fleet(&mut self, now: Instant, until: Instant) {
        if let Some(node) = &mut self.node {
            // `NEVER` stays so.
            node.fleet.handle_leaving(node.clock.now() + until.since(now));
        }
        self.settle_ownership(now);
    }

    /// Whether nothing in the store has to wait for this process any more.
    pub(super) fn has_left_fleet(&self) -> bool {
        self.node.as_ref().is_none_or(Node::has_left)
    }
}

/// Whether the request can't leave for want of credentials that the upstream accepts. A Started leaves with its
/// conversation's own alone, a Stopped has tried the channel's others first.
fn lacks_credentials(indicator: Indicator, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NotSent(Transient { cause: Cause::NoCredentials, .. }) => true,
        Outcome::NotSent(Transient { cause: Cause::Credentials, .. }) => indicator == Indicator::TypingStarted,
        _ => false,
    }
}
