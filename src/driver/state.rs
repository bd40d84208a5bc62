//! The engine with those who stand around it: what the loop does in each of its turns.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{Farewell, NotRecorded, SLEEP_LOOK_SPACING, Vitals};
use crate::base::clock;
use crate::driver::delivery_log::Herald;
use crate::driver::heartbeat::Pulse;
use crate::driver::inbox::{Parcel, Receipt};
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Policy;
use crate::engine::{Engine, Handled};
use crate::journal::Journal;
use crate::model::{
    Cause, ChannelAddress, Conversation, Dispatch, Indicator, Instant, Outcome, SignalKind, Transient, WireResult,
};
use crate::observe::events::Chronicle;
use crate::observe::recording::{self, Recorder, Recording};
use crate::observe::typing::Ledger;
use crate::observe::work::Measures;

/// Conversations that somebody waits for before those whose asker has gone are looked for.
const WAITERS_SWEEP: usize = 1_024;
/// What two readings of clocks may differ by without a sleep between them.
const SLEEP_MIN: Duration = Duration::from_millis(500);
/// A journal that could not be written is tried again this often.
const RENEWAL_SPACING: Duration = Duration::from_secs(1);

/// Who waits for a conversation's Stopped.
pub(super) struct Waiter {
    /// For so long; [`Instant::NEVER`]: whatever happens.
    until: Instant,
    /// Takes whether it was acknowledged.
    answer: oneshot::Sender<bool>,
}

/// The engine with those who wait for it.
pub(super) struct Desk {
    pub(super) engine: Engine,
    pub(super) waiters: HashMap<Conversation, Vec<Waiter>>,
    pub(super) journal: Option<Journal>,
    /// Not before this is a journal that could not be written tried again.
    pub(super) renew_at: Instant,
    /// The slot up to which the journal's new generation has been told of what is shown.
    pub(super) renewed_to: u32,
    /// How long the machine had slept at the last look, and when the next look is due.
    pub(super) asleep: Duration,
    pub(super) slept_look: Instant,
    pub(super) herald: Herald,
    pub(super) ledger: Ledger,
    pub(super) measures: Measures,
    pub(super) chronicle: Option<Chronicle>,
    pub(super) pulse: Pulse,
    /// How long the parcel in hand has waited for its turn; zero while there is none.
    pub(super) waited: Duration,
    pub(super) recorder: Option<Recorder>,
    /// The newest policy, until there is room for it, and those who wait until it holds.
    pub(super) policy: Option<(Box<Policy>, Vec<oneshot::Sender<()>>)>,
    /// Every icon goes off, and no other goes on.
    pub(super) stopping: Option<Stopping>,
}

/// What is left to be done at the end.
pub(super) struct Stopping {
    /// Until when, and whom to tell how it went; `None` once that is told.
    farewell: Option<(Instant, oneshot::Sender<Farewell>)>,
}

impl Desk {
    pub(super) fn take_parcel(&mut self, now: Instant, parcel: Parcel) {
        self.waited = parcel.waiting.elapsed();
        self.measures.handle_wait(self.waited);
        let mut receipt = Receipt::default();
        // At the end every icon goes off, whatever is signalled, and each keystroke is left to the next process.
        let taken = if self.stopping.is_some() { 0 } else { usize::MAX };
        for (index, (conversation, signal)) in parcel.batch.iter().enumerate().take(taken) {
            match self.engine.handle_signal(now, conversation, signal) {
                Ok(taken) => {
                    if let Some(credentials) = parcel.batch.credentials() {
                        self.engine.handle_credentials(now, conversation, credentials);
                    }
                    if taken == Handled::Accepted
                        && let Some(chronicle) = &mut self.chronicle
                    {
                        // What the signal decides is told after it.
                        chronicle.heard(now, conversation, signal.kind);
                    }
                    // The ledger hears of what fell due before the signal, then of the signal.
                    self.keep_books(now);
                    if taken == Handled::Accepted {
                        self.ledger.handle_signal(now, conversation, signal);
                    }
                    // A trace tells no late keystroke from a fresh one: it has one clock, that of the arrivals.
                    if let Some(recorder) = &mut self.recorder
                        && taken != Handled::Late
                    {
                        recorder.note(now, conversation, signal);
                    }
                }
                Err(why) => {
                    self.measures.handle_turned_away(signal.kind, why);
                    receipt.turned_away.push((index, why));
                }
            }
        }
        self.waited = Duration::ZERO;
        if let Some(wait) = parcel.wait {
            receipt.wait_needed = self.measures.stopped_trips.wait_needed();
            for (conversation, signal) in parcel.batch.iter() {
                if signal.kind == SignalKind::MessageSent && !self.engine.is_settled_off(conversation) {
                    let until = now + wait;
                    receipt.blocked |= self.engine.stop_leaves_after(now, conversation) > until;
                    let (answer, told) = oneshot::channel();
                    self.add_waiter(conversation.to_owned(), Waiter { until, answer });
                    receipt.unsettled.push(told);
                }
            }
        }
        // Whoever does not wait for the receipt has hung up.
        let _ = parcel.receipt.send(receipt);
    }

    fn add_waiter(&mut self, conversation: Conversation, waiter: Waiter) {
        if self.waiters.len() >= WAITERS_SWEEP {
            self.waiters.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.answer.is_closed());
                !waiters.is_empty()
            });
        }
        self.waiters.entry(conversation).or_default().push(waiter);
    }

    pub(super) fn take_outcome(&mut self, now: Instant, dispatch: &Dispatch, result: &WireResult) {
        self.measures.handle_result(dispatch.indicator(), result);
        // Without a token or a connection it was no request that anybody counts.
        if result.has_left() {
            self.ledger.handle_dispatch(dispatch);
        }
        let conversation = dispatch.conversation.as_ref();
        let awaited = self.waiters.contains_key(&dispatch.conversation);
        // A Started that was refused, or never left, has shown nothing that a Stopped would have to take away.
        let was_off = awaited && self.engine.acknowledged(conversation) == Acknowledged::Off;
        let notice = self.engine.handle_outcome(now, dispatch.id, result.outcome);
        self.herald.hear(now, dispatch, result, notice, self.engine.rate_in_force());
        if let Some(chronicle) = &mut self.chronicle {
            chronicle.answered(now, dispatch, result);
        }
        self.keep_books(now);
        if let Some(journal) = &mut self.journal
            && self.engine.acknowledged(conversation) == Acknowledged::Off
        {
            journal.gone(conversation);
        }
        if awaited && self.engine.is_settled_off(conversation) {
            for waiter in self.waiters.remove(&dispatch.conversation).unwrap_or_default() {
                let _ = waiter.answer.send(was_off || result.outcome == Outcome::Delivered);
            }
        }
        if result.outcome != Outcome::Delivered {
            // Nobody knows when an upstream that fails takes the next try.
            let failing = |setback: &Transient| !matches!(setback.cause, Cause::Token | Cause::Credentials);
            if dispatch.indicator() == Indicator::TypingStopped
                && matches!(&result.outcome, Outcome::NotSent(setback) | Outcome::Unknown(setback) if failing(setback))
            {
                self.dismiss_waiters_of(&dispatch.conversation);
            }
            self.dismiss_waiters(now);
        }
    }

    pub(super) fn take_acceptances(&mut self, now: Instant, channels: &[Box<str>]) {
        for channel in channels {
            self.engine.handle_acceptance(now, channel);
        }
    }

    /// Those who wait for this Stopped wait no longer, but those who wait whatever happens.
    fn dismiss_waiters_of(&mut self, conversation: &Conversation) {
        if let Some(waiters) = self.waiters.get_mut(conversation) {
            waiters.retain(|waiter| waiter.until == Instant::NEVER);
        }
    }

    /// None waits for a Stopped that can't leave any more in the time for which it waits.
    fn dismiss_waiters(&mut self, now: Instant) {
        let Self { engine, waiters, .. } = self;
        waiters.retain(|conversation, waiters| {
            let leaves_after = engine.stop_leaves_after(now, conversation.as_ref());
            for waiter in waiters.extract_if(.., |waiter| waiter.until < leaves_after) {
                let _ = waiter.answer.send(false);
            }
            !waiters.is_empty()
        });
    }

    /// After a suspension the timers go on as if no time had passed; the agents have been looking at icons all the while.
    pub(super) fn notice_sleep(&mut self, now: Instant) {
        if self.slept_look > now {
            return;
        }
        self.slept_look = now + SLEEP_LOOK_SPACING;
        let asleep = clock::time_asleep();
        let slept = asleep.saturating_sub(self.asleep);
        self.asleep = asleep;
        if slept > SLEEP_MIN {
            warn!(?slept, "the machine slept: every icon goes off");
            self.engine.handle_suspension(now);
        }
    }

    /// A policy that comes while too many changes are under way waits, and gives way to one that comes after it.
    pub(super) fn take_policy(&mut self, policy: Box<Policy>, held: oneshot::Sender<()>) {
        let mut waiting = self.policy.take().map(|(_, waiting)| waiting).unwrap_or_default();
        waiting.push(held);
        self.policy = Some((policy, waiting));
    }

    /// Puts the policy that waits in force, if there is room for it.
    pub(super) fn change_policy(&mut self, now: Instant) {
        if let Some((policy, waiting)) = self.policy.take_if(|_| self.engine.has_room_for_policy()) {
            self.ledger.name_channels(policy.channels.keys().map(ChannelAddress::as_str));
            self.engine.handle_policy(now, *policy);
            for held in waiting {
                let _ = held.send(());
            }
        }
    }

    /// Tells the ledger and the chronicle what has been decided since the last time, and what came to nothing.
    pub(super) fn keep_books(&mut self, now: Instant) {
        while let Some(decision) = self.engine.poll_decision() {
            self.measures.handle_decision(now, &decision);
            self.ledger.handle_decision(&decision);
            if let Some(chronicle) = &mut self.chronicle {
                chronicle.decided(decision, self.waited);
            }
        }
        while let Some(dropped) = self.engine.poll_dropped() {
            if let Some(chronicle) = &mut self.chronicle {
                chronicle.dropped(dropped);
            }
        }
    }

    pub(super) fn note_leaving(&mut self, now: Instant, dispatch: &Dispatch) {
        self.measures.handle_leaving(now, dispatch);
        if let Some(chronicle) = &mut self.chronicle {
            chronicle.leaves(now, dispatch);
        }
        if let Some(journal) = &mut self.journal
            && dispatch.indicator() == Indicator::TypingStarted
        {
            journal.showing(dispatch.conversation.as_ref(), clock::wall_millis());
        }
    }

    /// Hands the journal's records to the kernel, and lets it begin anew when it has grown or failed. A journal that
    /// can't be written costs its protection, never the service.
    pub(super) fn keep_journal(&mut self, now: Instant) {
        let Some(journal) = &mut self.journal else { return };
        if let Err(error) = journal.flush() {
            warn!(%error, "the journal can't be written: until it can, a crash may leave icons on");
        }
        let was_degraded = journal.is_degraded();
        let renewed = if journal.is_renewing() {
            let (shown, next) = self.engine.shown(self.renewed_to);
            let told = journal.renew_some(shown, clock::wall_millis());
            match (told, next) {
                (Ok(()), Some(next)) => {
                    self.renewed_to = next;
                    return;
                }
                (Ok(()), None) => journal.finish_renewal(),
                (Err(error), _) => Err(error),
            }
        } else if journal.wants_renewal() && self.renew_at <= now {
            self.renew_at = now + RENEWAL_SPACING;
            self.renewed_to = 0;
            match journal.begin_renewal() {
                Ok(()) => return,
                Err(error) => Err(error),
            }
        } else {
            return;
        };
        match renewed {
            Ok(()) if was_degraded => info!("the journal is written again"),
            Ok(()) => debug!("the journal has begun a new generation"),
            Err(error) if was_degraded => debug!(%error, "the journal still can't be written"),
            Err(error) => warn!(%error, "the journal can't be renewed: until it can, a crash may leave icons on"),
        }
    }

    /// Whether there is work for the loop's next turn that nothing but the turn itself brings.
    pub(super) fn is_in_midst_of_work(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_renewing)
            || (self.policy.is_some() && self.engine.has_room_for_policy())
    }

    /// One recording at a time: what a reader holds is bounded once, whoever asks how often.
    pub(super) fn start_recording(&mut self, now: Instant) -> Result<Recording, NotRecorded> {
        if self.stopping.is_some() {
            return Err(NotRecorded::Stopping);
        }
        if self.recorder.as_ref().is_some_and(|recorder| !recorder.is_gone()) {
            return Err(NotRecorded::Busy);
        }
        let (recorder, recording) = recording::recording(now);
        self.recorder = Some(recorder);
        Ok(recording)
    }

    pub(super) fn shut_down(&mut self, now: Instant, farewell: Option<(Instant, oneshot::Sender<Farewell>)>) {
        self.stopping = Some(Stopping { farewell });
        self.engine.handle_shutdown(now);
        // There is nothing to record any more; its reader must not hold up the end.
        if let Some(recorder) = self.recorder.take() {
            recorder.finish();
        }
    }

    /// When it has to be told how the icons were left, if they are not all off before.
    pub(super) fn farewell_due(&self) -> Instant {
        let farewell = self.stopping.as_ref().and_then(|stopping| stopping.farewell.as_ref());
        farewell.map_or(Instant::NEVER, |(due, _)| *due)
    }

    /// Tells how the icons were left, if it is time. Nothing is decided after that, and whoever watches hears of the end.
    pub(super) fn say_farewell(&mut self, now: Instant) {
        let Some(Stopping { farewell }) = &mut self.stopping else { return };
        let due = |(due, _): &mut (Instant, _)| *due <= now || self.engine.is_settled();
        if let Some((_, farewell)) = farewell.take_if(due) {
            let (census, counts) = (self.engine.census(), self.engine.counts());
            let _ = farewell.send(Farewell { unsettled: census.unsettled, given_up: counts.stops_given_up });
            self.chronicle = None;
        }
    }

    /// The loop has come round.
    pub(super) fn show_pulse(&mut self, now: Instant) {
        let mut pulse = std::mem::take(&mut self.pulse);
        pulse.turn(now, self.engine.census(), self.engine.counts(), || self.vitals(now));
        self.pulse = pulse;
    }

    pub(super) fn vitals(&self, now: Instant) -> Vitals {
        Vitals {
            census: self.engine.census(),
            counts: *self.engine.counts(),
            measures: self.measures.clone(),
            requests_in_last_second: self.measures.requests_in_last_second(now),
            rules: self.engine.policy().rules,
            delivery: self.engine.policy().delivery,
            conversations_max: self.engine.policy().conversations_max,
            trouble: self.herald.trouble().map(str::to_owned).or_else(|| blocked(self.engine.census().blocked)),
            rate_in_force: self.engine.rate_in_force(),
            journal: self.journal.as_ref().map(Journal::figures),
            recording: self.recorder.as_ref().is_some_and(|recorder| !recorder.is_gone()),
        }
    }
}

/// Why typingd is not ready while owed Stoppeds wait for credentials.
fn blocked(stops: usize) -> Option<String> {
    (stops > 0).then(|| {
        format!("{stops} owed TypingStopped wait for credentials: no connector has shown any that Salesforce accepts")
    })
}
