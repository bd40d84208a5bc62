//! One node of a simulated fleet: an engine and its fleet, driven in the order that the fleet asks for.

use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::outbox::Acknowledged;
use typingd::engine::policy::Policy;
use typingd::fleet::protocol::{Awaited, Mail, OwnerId, Reply, Request, Ticket};
use typingd::fleet::{Demand, Effect, Fleet, Route, Settings};
use typingd::model::{Cause, Conversation, ConversationRef, Dispatch, Indicator, Instant, Outcome, Signal, Transient};

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) fleet: Fleet,
    /// What the loop lets go, with the number of its tenure.
    pub(crate) sends: Vec<(Dispatch, u32)>,
    /// It leaves, and its engine may still let Starteds go.
    leaving: bool,
    /// Who waits until an icon is off.
    waiters: Vec<(Conversation, Awaited)>,
    /// The answers to its tickets.
    pub(crate) answers: Vec<(u32, bool)>,
}

impl Node {
    pub(crate) fn new(now: Instant, policy: Policy, settings: Settings, retained_for: Duration, random: u64) -> Self {
        let mut engine = Engine::new(policy, random);
        engine.observe_released(retained_for);
        let fleet = Fleet::new(settings, OwnerId::new(random), random);
        let (sends, waiters, answers) = (Vec::new(), Vec::new(), Vec::new());
        let mut node = Self { engine, fleet, sends, leaving: false, waiters, answers };
        node.work(now);
        node
    }

    pub(crate) fn signal(&mut self, now: Instant, conversation: ConversationRef<'_>, signal: Signal) {
        self.signal_with(now, conversation, signal, None);
    }

    /// With a ticket of that number, whose answer is awaited.
    pub(crate) fn signal_with(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        signal: Signal,
        number: Option<u32>,
    ) {
        let ticket = number.map(|number| Ticket { number, millis: Ticket::WITHOUT_END });
        let dismiss_after = self.engine.policy().rules_of(conversation.to()).dismiss_after();
        let route = self.fleet.handle_signal(now, conversation, signal, dismiss_after, ticket);
        let awaited = ticket.map(|ticket| Awaited { by: self.fleet.me(), ticket });
        match route {
            Route::Here => self.take(now, conversation, signal, awaited),
            Route::Dropped => self.answers.extend(number.map(|number| (number, false))),
            Route::Posted => {}
        }
        self.work(now);
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        self.fleet.handle_timeout(now);
        self.work(now);
    }

    pub(crate) fn reply(&mut self, now: Instant, number: u64, reply: Reply) {
        self.fleet.handle_reply(now, number, reply);
        self.work(now);
    }

    pub(crate) fn silence(&mut self, now: Instant) {
        self.fleet.handle_silence(now);
        self.work(now);
    }

    pub(crate) fn mail(&mut self, now: Instant, mail: Vec<Mail>) {
        self.fleet.handle_mail(now, mail);
        self.work(now);
    }

    /// Where the bytes leave. Returns whether they do.
    pub(crate) fn depart(&mut self, now: Instant, dispatch: &Dispatch, tenure: u32) -> bool {
        let departs = dispatch.indicator() == Indicator::TypingStopped || self.fleet.may_depart(now, tenure);
        if !departs {
            self.engine.handle_withheld(now, dispatch.id);
            self.settled(now, dispatch);
        }
        departs
    }

    pub(crate) fn outcome(&mut self, now: Instant, dispatch: &Dispatch, outcome: Outcome) {
        let _ = self.engine.handle_outcome(now, dispatch.id, outcome);
        self.settled(now, dispatch);
        if let Outcome::NotSent(Transient { cause: Cause::NoCredentials, .. }) = outcome {
            let left_on = self.engine.acknowledged(dispatch.conversation.as_ref()) != Acknowledged::Off;
            self.fleet.handle_refused(dispatch.conversation.as_ref(), left_on);
        }
    }

    pub(crate) fn leave(&mut self, now: Instant) {
        self.leave_within(now, Duration::from_secs(10));
    }

    /// It sends nothing once the time is over.
    pub(crate) fn leave_within(&mut self, now: Instant, grace: Duration) {
        self.engine.handle_shutdown(now);
        self.fleet.handle_leaving(now + grace);
        self.leaving = true;
        self.work(now);
    }

    pub(crate) fn request(&mut self, now: Instant) -> Option<Request> {
        let queued = self.engine.census().queued.iter().sum();
        let demand = Demand { counted: self.engine.counted(now), queued };
        let request = self.fleet.poll_request(now, demand);
        self.work(now);
        request
    }

    /// When something is due by time alone.
    pub(crate) fn due(&mut self, now: Instant) -> Instant {
        let engine = if self.fleet.may_send(now) { self.engine.poll_timeout(now) } else { self.engine.next_deadline() };
        engine.min(self.fleet.poll_timeout(now))
    }

    fn settled(&mut self, now: Instant, dispatch: &Dispatch) {
        let conversation = dispatch.conversation.as_ref();
        let is_off = self.engine.is_settled_off(conversation);
        self.fleet.handle_outcome(now, conversation, is_off);
        if is_off {
            self.answer(conversation, !self.fleet.may_come_on_again(now));
        }
        self.work(now);
    }

    fn take(&mut self, now: Instant, conversation: ConversationRef<'_>, signal: Signal, awaited: Option<Awaited>) {
        let _ = self.engine.handle_signal(now, conversation, signal);
        if let Some(awaited) = awaited {
            self.waiters.push((conversation.to_owned(), awaited));
            if self.engine.is_settled_off(conversation) {
                let is_sure = !self.fleet.is_unsure_of(now, conversation);
                self.answer(conversation, is_sure);
            }
        }
    }

    /// All who wait for the conversation's icon wait no longer.
    fn answer(&mut self, conversation: ConversationRef<'_>, acknowledged: bool) {
        for (of, awaited) in self.waiters.extract_if(.., |(of, _)| of.as_ref() == conversation) {
            self.fleet.handle_answered(of.as_ref(), awaited, acknowledged);
        }
    }

    fn lose(&mut self, now: Instant, conversation: ConversationRef<'_>, given: bool) {
        let left = self.engine.handle_lost(now, conversation);
        self.fleet.handle_lost(conversation, left.maybe_on && !given, left.in_flight);
        self.answer(conversation, false);
    }

    fn check(&mut self, now: Instant, conversation: ConversationRef<'_>) {
        if !self.engine.holds(conversation) {
            self.fleet.handle_released(now, conversation);
        } else if self.engine.is_settled_off(conversation) {
            self.fleet.handle_outcome(now, conversation, true);
        }
    }

    fn work(&mut self, now: Instant) {
        if self.engine.is_stopped() && std::mem::take(&mut self.leaving) {
            self.fleet.handle_stopped();
        }
        self.effects(now);
        while self.fleet.may_send(now)
            && let Some(dispatch) = self.engine.poll_dispatch(now)
        {
            let tenure = self.fleet.tenure();
            let leaves = self.fleet.handle_dispatch(now, dispatch);
            self.sends.extend(leaves.map(|dispatch| (dispatch, tenure)));
            self.effects(now);
        }
        self.effects(now);
    }

    fn effects(&mut self, now: Instant) {
        loop {
            while let Some(effect) = self.fleet.poll_effect() {
                match effect {
                    Effect::Signal(conversation, signal, awaited) => {
                        self.take(now, conversation.as_ref(), signal, awaited);
                    }
                    Effect::Check(conversation) => self.check(now, conversation.as_ref()),
                    Effect::Recover(conversation) => self.engine.handle_recovered(now, conversation.as_ref()),
                    Effect::Lose(conversation) => self.lose(now, conversation.as_ref(), false),
                    Effect::Yield(conversation) => self.lose(now, conversation.as_ref(), true),
                    Effect::Answer(number, acknowledged) => self.answers.push((number, acknowledged)),
                    Effect::Send(dispatch) => self.sends.push((dispatch, self.fleet.tenure())),
                    Effect::Withhold(id) => self.engine.handle_withheld(now, id),
                    Effect::Share(share) => self.engine.handle_share(share),
                }
            }
            let Some(released) = self.engine.poll_released() else { return };
            self.check(now, released.as_ref());
        }
    }
}
