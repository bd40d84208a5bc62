//! The state of the loop, and what it does in each of its turns.

use std::collections::HashMap;
use std::slice;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::SIGNALS_PER_ROUND;
use super::controls::{Command, Inquiry, NotRecorded, ShutdownReport};
use super::inbox::{GATHERED_MAX, Gathered, Receipt, Request, SIGNALS_MAX};
use super::journal_keeper::JournalKeeper;
use super::node::Node;
use super::observers::Observers;
use super::permit::Permit;
use super::waiter::Waiter;
use crate::base::clock;
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Policy;
use crate::engine::{Engine, Handled, Rejected};
use crate::model::{
    Cause, Conversation, ConversationRef, CredentialId, Dispatch, Indicator, Instant, Outcome, Signal, SignalBatch,
    Transient, WireResult,
};
use crate::observe::loop_event::LoopEvent;
use crate::observe::recording::{self, Recording, Scope};
use crate::observe::snapshot::Snapshot;

/// While icons are on, it is checked this often whether the machine has slept.
const SLEEP_CHECK_SPACING: Duration = Duration::from_secs(1);
/// What two readings of clocks may differ by without a sleep between them.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// The most that one turn adds to the table: the single signals, which are taken twice, and requests until a round is full,
/// the last of them whole.
const TURN_CONVERSATIONS_MAX: usize = 2 * GATHERED_MAX + SIGNALS_PER_ROUND + 2 * SIGNALS_MAX;

pub(super) struct LoopState {
    pub(super) engine: Engine,
    /// Where several processes serve one org.
    pub(super) node: Option<Node>,
    observers: Observers,
    pub(super) waiters: HashMap<Conversation, Vec<Waiter>>,
    /// How long the machine had slept at the last check, and when the next check is due.
    asleep: Duration,
    sleep_check_at: Instant,
    /// Empty between the turns; its memory stays.
    leaving: Vec<(Dispatch, Permit)>,
    /// How long the request in hand has waited for its turn; zero while there is none.
    pub(super) waited: Duration,
    /// The newest policy, until there is room for it, and the callers that wait until it is in force.
    policy: Option<(Box<Policy>, Vec<oneshot::Sender<()>>)>,
    pub(super) stopping: Option<Stopping>,
}

/// Every icon goes off, and no other goes on.
pub(super) struct Stopping {
    /// When and to whom it is reported how that went; `None` once it has been.
    report: Option<(Instant, oneshot::Sender<ShutdownReport>)>,
}

impl LoopState {
    pub(super) fn new(engine: Engine, observers: Observers, node: Option<Node>) -> Self {
        Self {
            engine,
            node,
            observers,
            waiters: HashMap::new(),
            asleep: clock::time_asleep(),
            sleep_check_at: Instant::ORIGIN,
            leaving: Vec::new(),
            waited: Duration::ZERO,
            policy: None,
            stopping: None,
        }
    }

    /// Does what is due. Returns the requests that leave, in their order.
    pub(super) fn turn(&mut self, now: Instant) -> std::vec::Drain<'_, (Dispatch, Permit)> {
        self.check_sleep(now);
        self.engine.handle_timeout(now);
        self.change_policy(now);
        self.visit_store(now);
        let blocked = self.engine.census().blocked;
        self.observers.delivery_log.on_turn(now, self.engine.counts(), blocked);
        while let Some((dispatch, permit)) = self.poll_leaving(now) {
            self.observers.emit(now, LoopEvent::Sent(&dispatch));
            self.leaving.push((dispatch, permit));
        }
        self.ask_store(now);
        self.emit_decisions(now, None);
        // What is shown must be on record before it is shown.
        if let Some(journal) = &mut self.observers.journal {
            journal.write(now, &self.engine);
        }
        self.observers.stats.look(now);
        self.report_shutdown(now);
        let mut heartbeat = std::mem::take(&mut self.observers.heartbeat);
        heartbeat.turn(now, self.engine.census(), self.engine.counts(), || self.snapshot(now));
        self.observers.heartbeat = heartbeat;
        self.leaving.drain(..)
    }

    /// When the next turn is due, though nothing happens before.
    pub(super) fn wake_at(&mut self, now: Instant) -> Instant {
        let journal_due = self.observers.journal.as_ref().map_or(Instant::NEVER, JournalKeeper::due);
        if journal_due <= now || (self.policy.is_some() && self.engine.has_room_for_policy()) {
            return now;
        }
        let report = self.stopping.as_ref().and_then(|stopping| stopping.report.as_ref());
        let report_due = report.map_or(Instant::NEVER, |(due, _)| *due);
        let sleep_check = if self.engine.census().icons > 0 { self.sleep_check_at } else { Instant::NEVER };
        let dues = [self.observers.heartbeat.due(), self.observers.stats.due(), report_due, sleep_check, journal_due];
        dues.into_iter().fold(self.due(now), Instant::min)
    }

    /// `None`: all controls are gone.
    pub(super) fn on_command(&mut self, now: Instant, command: Option<Command>) {
        // A caller that has gone takes no answer.
        match command {
            Some(Command::Policy(policy, in_force)) => {
                // One that comes while too many changes are under way waits, and gives way to one that comes after it.
                let mut waiting = self.policy.take().map(|(_, waiting)| waiting).unwrap_or_default();
                waiting.push(in_force);
                self.policy = Some((policy, waiting));
                self.change_policy(now);
            }
            Some(Command::Snapshot(answer)) => drop(answer.send(self.snapshot(now))),
            Some(Command::Statistics(answer)) => {
                let typing = Some(self.observers.stats.figures(now));
                let channels = self.engine.policy().channels.iter();
                let channel_rules = channels.map(|(to, rules)| (to.clone(), *rules)).collect();
                let _ = answer.send(Snapshot { typing, channel_rules, ..self.snapshot(now) });
            }
            Some(Command::Candidates(settings, answer)) => {
                if let Some(settings) = settings {
                    self.observers.stats.measure_beside(now, settings, self.engine.policy());
                }
                let _ = answer.send(self.observers.stats.candidates(now));
            }
            Some(Command::Record(scope, answer)) => drop(answer.send(self.start_recording(now, scope))),
            Some(Command::Page(query, answer)) => {
                let members = self.node.as_ref().map(|node| node.fleet.members());
                let _ = answer.send((self.engine.page(now, &query), self.engine.census().conversations, members));
            }
            Some(Command::Inquire(conversation, answer)) => {
                let _ = answer.send(self.inquire(now, conversation.as_ref()));
            }
            Some(Command::Accepted(channels)) => {
                for channel in channels {
                    if let Some(node) = &mut self.node {
                        node.fleet.handle_accepted(&channel);
                    }
                    self.engine.handle_acceptance(now, &channel);
                }
            }
            Some(Command::Shutdown(grace, report)) => self.shut_down(now, Some((now + grace, report))),
            None => self.shut_down(now, None),
        }
    }

    pub(super) fn on_request(&mut self, now: Instant, request: Request) {
        let waited = request.waiting.elapsed();
        self.observers.emit(now, LoopEvent::Batch { waited });
        let mut receipt = Receipt::default();
        self.take_batch(now, &request.batch, request.wait, |_| waited, &mut receipt);
        if let Some(wait) = request.wait {
            receipt.wait_needed = self.observers.metrics.stopped_trips.wait_needed();
            self.await_stoppeds(now, &request.batch, wait, &mut receipt);
        }
        // A caller that does not wait for the receipt has hung up.
        let _ = request.receipt.send(receipt);
    }

    /// Signals whose callers have been answered: there is room for all of them.
    pub(super) fn on_gathered(&mut self, now: Instant, gathered: &Gathered) {
        let Gathered { signals, waiting } = gathered;
        if waiting.is_empty() {
            return;
        }
        let turn = clock::stopwatch();
        for waiting in waiting {
            self.observers.emit(now, LoopEvent::Batch { waited: waiting.until(turn) });
        }
        self.take_batch(now, signals, None, |index| waiting[index].until(turn), &mut Receipt::default());
    }

    /// What has gone to the upstream beside typing entries.
    pub(super) fn on_passed(&mut self, now: Instant, (count, pause): (usize, Option<Duration>)) {
        self.engine.handle_passed(now, count);
        if let Some(pause) = pause {
            self.engine.handle_rate_limit(now, pause);
        }
    }

    /// Whether there is room for all conversations that a turn can bring.
    pub(super) fn has_room(&self) -> bool {
        self.engine.census().conversations + TURN_CONVERSATIONS_MAX <= self.engine.policy().conversations_max
    }

    fn take_batch(
        &mut self,
        now: Instant,
        batch: &SignalBatch,
        wait: Option<Duration>,
        waited: impl Fn(usize) -> Duration,
        receipt: &mut Receipt,
    ) {
        // At the end every icon goes off, whatever is signalled, and each keystroke is left to the next process.
        let taken = if self.stopping.is_some() { 0 } else { batch.len() };
        let credentials = batch.credentials();
        let mut left = batch.iter().take(taken);
        // On the stack: most batches are one signal, which need not allocate for this.
        let mut room = batch.iter().next().map(|any| [any; Engine::LOOK_AHEAD_MAX]);
        for first in (0..taken).step_by(Engine::LOOK_AHEAD_MAX) {
            let Some(room) = &mut room else { break };
            room.iter_mut().zip(left.by_ref()).for_each(|(place, signal)| *place = signal);
            let signals = &room[..Engine::LOOK_AHEAD_MAX.min(taken - first)];
            if batch.len() > 1 {
                self.engine.look_ahead(signals.iter().map(|(conversation, _)| *conversation));
            }
            if self.node.is_none() {
                let turned_away = |(place, why)| receipt.turned_away.push((first + place, why));
                self.take_signals(now, signals, credentials, |place| waited(first + place), turned_away);
                continue;
            }
            for (index, one) in (first..).zip(signals) {
                self.waited = waited(index);
                if self.takes(now, one.0, one.1, credentials, wait) {
                    let turned_away = |(_, why)| receipt.turned_away.push((index, why));
                    self.take_signals(now, slice::from_ref(one), credentials, |_| waited(index), turned_away);
                }
                self.settle_ownership(now);
            }
        }
        if self.stopping.is_some() {
            self.pass_on(now, batch, wait);
        }
        self.waited = Duration::ZERO;
    }

    /// The engine takes signals. Those in a row after which nothing is decided are one event.
    pub(super) fn take_signals(
        &mut self,
        now: Instant,
        signals: &[(ConversationRef<'_>, Signal)],
        credentials: Option<CredentialId>,
        waited: impl Fn(usize) -> Duration,
        mut turned_away: impl FnMut((usize, Rejected)),
    ) {
        let mut emitted = 0;
        for (place, &(conversation, signal)) in signals.iter().enumerate() {
            self.waited = waited(place);
            let taken = self.engine.handle_signal(now, conversation, signal);
            if taken.is_ok()
                && let Some(credentials) = credentials
            {
                self.engine.handle_credentials(now, conversation, credentials);
            }
            if taken == Ok(Handled::Accepted) && !self.engine.has_decided() {
                continue;
            }
            self.emit_accepted(now, &signals[emitted..place]);
            self.emit_decisions(now, Some(LoopEvent::Received { signals: &signals[place..=place], taken }));
            emitted = place + 1;
            if let Err(why) = taken {
                turned_away((place, why));
            }
        }
        self.emit_accepted(now, &signals[emitted..]);
    }

    fn emit_accepted(&mut self, now: Instant, signals: &[(ConversationRef<'_>, Signal)]) {
        if !signals.is_empty() {
            self.observers.emit(now, LoopEvent::Received { signals, taken: Ok(Handled::Accepted) });
        }
    }

    /// Emits what has been decided since the last time, and what came to nothing. What fell due before a signal comes
    /// before `received`, what the signal asked for after it.
    fn emit_decisions(&mut self, now: Instant, mut received: Option<LoopEvent<'_>>) {
        while let Some(decision) = self.engine.poll_decision() {
            if let Some(received) = received.take_if(|_| decision.reason.is_of_signal()) {
                self.observers.emit(now, received);
            }
            self.observers.emit(now, LoopEvent::Decided { decision, waited: self.waited });
        }
        if let Some(received) = received {
            self.observers.emit(now, received);
        }
        while let Some(dropped) = self.engine.poll_dropped() {
            self.observers.emit(now, LoopEvent::Dropped(dropped));
        }
    }

    pub(super) fn on_outcome(&mut self, now: Instant, dispatch: &Dispatch, permit: &Permit, result: &WireResult) {
        let conversation = dispatch.conversation.as_ref();
        let awaited = self.waiters.contains_key(&dispatch.conversation);
        // A Started that was rejected, or never left, has shown nothing that a Stopped would have to hide.
        let was_off = awaited && self.engine.acknowledged(conversation) == Acknowledged::Off;
        let notice = self.take_outcome(now, dispatch, permit, result);
        let icon_off = self.engine.acknowledged(conversation) == Acknowledged::Off;
        let rate = self.engine.rate_in_force();
        self.observers.emit(now, LoopEvent::Answered { dispatch, result, notice, rate, icon_off });
        self.emit_decisions(now, None);
        if awaited && self.engine.is_settled_off(conversation) {
            let is_off = if was_off {
                !self.is_unsure_of(conversation)
            } else {
                result.outcome == Outcome::Delivered && !self.may_come_on_again()
            };
            self.answer_waiters(&dispatch.conversation, is_off);
        }
        if result.outcome != Outcome::Delivered {
            // No one knows when an upstream that fails takes the next try.
            let retried = [Cause::Token, Cause::Credentials, Cause::Unprocessed];
            let failing = |setback: &Transient| !retried.contains(&setback.cause);
            if dispatch.indicator() == Indicator::TypingStopped
                && matches!(&result.outcome, Outcome::NotSent(setback) | Outcome::Unknown(setback) if failing(setback))
            {
                self.dismiss_waiters_of(&dispatch.conversation);
            }
            self.dismiss_waiters(now);
        }
    }

    /// After a suspension the timers go on as if no time had passed; the agents have been looking at icons all the while.
    fn check_sleep(&mut self, now: Instant) {
        if self.sleep_check_at > now {
            return;
        }
        self.sleep_check_at = now + SLEEP_CHECK_SPACING;
        let asleep = clock::time_asleep();
        let slept = asleep.saturating_sub(self.asleep);
        self.asleep = asleep;
        if slept > SLEEP_MIN {
            warn!(?slept, "the machine slept: every icon goes off");
            self.engine.handle_suspension(now);
        }
    }

    /// Puts the policy that waits in force, if there is room for it.
    fn change_policy(&mut self, now: Instant) {
        if let Some((policy, waiting)) = self.policy.take_if(|_| self.engine.has_room_for_policy()) {
            self.observers.stats.on_policy(&policy);
            self.share_policy(&policy);
            self.engine.handle_policy(now, *policy);
            for in_force in waiting {
                let _ = in_force.send(());
            }
        }
    }

    /// One recording at a time: what a reader holds is bounded once, however many ask.
    fn start_recording(&mut self, now: Instant, scope: Scope) -> Result<Recording, NotRecorded> {
        if self.stopping.is_some() {
            return Err(NotRecorded::Stopping);
        }
        if self.is_recording() {
            return Err(NotRecorded::Busy);
        }
        let (recorder, recording) = recording::recording(now, scope);
        self.observers.recorder = Some(recorder);
        Ok(recording)
    }

    fn is_recording(&self) -> bool {
        self.observers.recorder.as_ref().is_some_and(|recorder| !recorder.is_gone())
    }

    fn shut_down(&mut self, now: Instant, report: Option<(Instant, oneshot::Sender<ShutdownReport>)>) {
        let until = report.as_ref().map_or(Instant::NEVER, |(due, _)| *due);
        self.stopping = Some(Stopping { report });
        self.engine.handle_shutdown(now);
        self.leave_fleet(now, until);
        // There is nothing to record any more; its reader must not hold up the end.
        if let Some(recorder) = self.observers.recorder.take() {
            recorder.finish();
        }
    }

    /// Reports how the icons were left, if it is time. Nothing is decided after that, and watchers see the end.
    fn report_shutdown(&mut self, now: Instant) {
        let is_over = self.engine.is_settled() && self.has_left_fleet();
        let Some(Stopping { report }) = &mut self.stopping else { return };
        let is_due = |(due, _): &mut (Instant, _)| *due <= now || is_over;
        if let Some((_, report)) = report.take_if(is_due) {
            let (unsettled, given_up) = (self.engine.census().unsettled, self.engine.counts().stops_given_up);
            let _ = report.send(ShutdownReport { unsettled, given_up });
            self.observers.history = None;
        }
    }

    fn inquire(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Inquiry {
        let account = self.engine.account(now, conversation);
        let history = self.observers.history.as_mut();
        let in_flight = account.and_then(|account| account.in_flight);
        let flight = in_flight.and_then(|(_, number)| history.as_ref()?.flight(number));
        let past = history.map(|history| history.past(now, conversation)).unwrap_or_default();
        let rules = self.engine.policy().rules_of(conversation.to());
        let elsewhere =
            self.node.as_ref().filter(|node| !node.fleet.holds(conversation)).map(|node| node.link.lookup());
        let store = self.node.as_ref().map(|node| node.fleet.state(node.clock.now()));
        Inquiry { at: now, account, flight, past, rules, elsewhere, store }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let (observers, policy, census) = (&self.observers, self.engine.policy(), self.engine.census());
        let runtime = (observers.runtime)();
        let counts = *self.engine.counts();
        // What is delivered has been answered, whatever became of the first call.
        let unanswered = || runtime.unanswered.clone().filter(|_| counts.delivered == 0);
        let not_ready = runtime.token.problem.clone();
        let not_ready = not_ready.or_else(|| observers.delivery_log.not_ready(census.blocked)).or_else(unanswered);
        Snapshot {
            at: now,
            census,
            counts,
            metrics: observers.metrics.clone(),
            typing: None,
            rules: policy.rules,
            channel_rules: Vec::new(),
            delivery: policy.delivery,
            conversations_max: policy.conversations_max,
            rate_in_force: self.engine.rate_in_force(),
            not_ready,
            journal: observers.journal.as_ref().map(JournalKeeper::figures),
            store: self.node.as_ref().map(Node::figures),
            recording: self.is_recording(),
            stopping: self.stopping.is_some(),
            runtime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, SignalKind};

    fn batch<'a>(users: impl IntoIterator<Item = &'a str>) -> SignalBatch {
        let mut batch = SignalBatch::default();
        for user in users {
            batch.push(ConversationRef::new("c", user).unwrap(), Signal::new(SignalKind::Keystroke));
        }
        batch
    }

    #[test]
    fn each_signal_of_a_batch_is_observed_once_and_in_turn() {
        let mut engine = Engine::new(Policy { conversations_max: 3, ..Policy::default() }, 1);
        engine.observe_decisions();
        let mut state = LoopState::new(engine, Observers::default(), None);
        let mut take = |millis, users: &[&str]| {
            let (now, mut receipt) = (Instant::from_millis(millis), Receipt::default());
            state.take_batch(now, &batch(users.iter().copied()), None, |_| Duration::ZERO, &mut receipt);
            let [(_, tally)] = &state.observers.stats.figures(now).channels[..] else { panic!("one channel") };
            (receipt.turned_away, tally.decided[Reason::FirstKeystroke as usize], tally.composing_micros)
        };
        assert_eq!(take(1_000, &["ann", "bob"]), (vec![], 2, 0));
        assert_eq!(take(2_000, &["ann", "cid", "bob"]), (vec![], 3, 2_000_000), "before a first key and after it");
        let many = [&["ann"; 40][..], &["dan", "bob", "cid"]].concat();
        assert_eq!(take(3_000, &many), (vec![(40, Rejected::TableFull)], 3, 5_000_000));
        assert_eq!(state.observers.metrics.turned_away[SignalKind::Keystroke as usize], [1, 0]);
    }
}
