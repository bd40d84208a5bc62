//! Each end user's requests are forwarded one after the other: [`Order`] with its clock, its lock and its waiters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::tally::Count;
use crate::base::clock::Clock;
use crate::engine::order::{Order, Ticket, Turn, Typing};
use crate::model::{Conversation, CredentialId, Instant, SignalKind};

/// What is written on two connections arrives, and is read, in that order only if some time lies between: an upstream may
/// read from a connection that it knows before it has accepted a new one.
const ARRIVAL_SPACING: Duration = Duration::from_millis(10);
/// Each kind of warning is written this often.
const WARNING_SPACING: Duration = Duration::from_secs(60);

/// The signal of a typing entry, and the credentials that it showed.
type TypingSignal = (SignalKind, Option<CredentialId>);

/// The order of what is forwarded. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub(super) struct Turns(Arc<Shared>);

struct Shared {
    order: Mutex<Order<TypingSignal, Arc<Notify>>>,
    clock: Clock,
    warn_at: Mutex<[Instant; 2]>,
    overdue: Count,
}

/// A request's place. Those behind it wait until it is dropped.
pub(super) struct Place {
    turns: Turns,
    conversation: Conversation,
    ticket: Ticket,
    /// It went on as it was entered.
    goes_on: bool,
    woken: Arc<Notify>,
}

/// The place of a typing entry.
pub(super) enum Entered {
    /// Nothing is before it.
    First(Place),
    /// A message is before it.
    Waits(Place),
    /// It waits in the place of an earlier one.
    Joined,
}

impl Turns {
    pub(super) fn new(clock: Clock) -> Self {
        let order = Mutex::new(Order::new(Duration::MAX));
        let warn_at = Mutex::default();
        Self(Arc::new(Shared { order, clock, warn_at, overdue: Count::default() }))
    }

    /// No request waits longer than this for those before it.
    pub(super) fn set_wait_max(&self, wait_max: Duration) {
        self.order().set_wait_max(wait_max);
    }

    /// The place of a request that is forwarded.
    pub(super) fn enter(&self, conversation: &Conversation) -> Place {
        let (woken, now) = (Arc::new(Notify::new()), self.0.clock.now());
        let mut order = self.order();
        let (ticket, replaced) = order.enter(now, conversation, Arc::clone(&woken));
        // As a rule nothing is before it.
        let turn = order.turn(now, conversation, ticket);
        drop(order);
        if matches!(turn, Turn::Now { overdue: true, .. }) {
            self.note_overdue();
        }
        if let Some(replaced) = replaced {
            replaced.notify_one();
        }
        let mut place = self.place(conversation, ticket, woken);
        place.goes_on = matches!(turn, Turn::Now { .. });
        place
    }

    /// The place of a typing entry that is answered here.
    pub(super) fn enter_typing(&self, conversation: &Conversation, signal: TypingSignal) -> Entered {
        let woken = Arc::new(Notify::new());
        let entered = self.order().enter_typing(self.0.clock.now(), conversation, signal, Arc::clone(&woken));
        match entered {
            Typing::First(ticket) => Entered::First(self.place(conversation, ticket, woken)),
            Typing::Waits(ticket) => Entered::Waits(self.place(conversation, ticket, woken)),
            Typing::Joined => Entered::Joined,
        }
    }

    /// Requests that went on out of order because they had waited for `order_wait`.
    pub(super) fn overdue(&self) -> u64 {
        self.0.overdue.get()
    }

    fn place(&self, conversation: &Conversation, ticket: Ticket, woken: Arc<Notify>) -> Place {
        Place { turns: self.clone(), conversation: conversation.clone(), ticket, goes_on: false, woken }
    }

    fn order(&self) -> MutexGuard<'_, Order<TypingSignal, Arc<Notify>>> {
        self.0.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_overdue(&self) {
        self.0.overdue.add();
        if self.may_warn(Warning::Overdue) {
            warn!(
                total = self.0.overdue.get(),
                "a message went on after drop_in.order_wait although the one before it was not written upstream yet: their \
                 order may be wrong"
            );
        }
    }

    /// A message has gone on under its icon after `settle`, since a Stopped usually takes longer than that.
    pub(super) fn warn_of_settle(&self, settle: Duration, needed: Duration) {
        if self.may_warn(Warning::Settle) {
            warn!(
                ?settle,
                "messages arrive before their icon is off: a TypingStopped takes longer than drop_in.settle; expected \
                 drop_in.settle = \"{}ms\"",
                needed.as_millis()
            );
        }
    }

    fn may_warn(&self, warning: Warning) -> bool {
        let now = self.0.clock.now();
        let warn_at = &mut self.0.warn_at.lock().unwrap_or_else(PoisonError::into_inner)[warning as usize];
        let may = *warn_at <= now;
        if may {
            *warn_at = now + WARNING_SPACING;
        }
        may
    }
}

/// What is warned of, at most once in [`WARNING_SPACING`] each.
#[derive(Clone, Copy)]
enum Warning {
    Overdue,
    Settle,
}

impl Place {
    /// Waits until the request's turn. Returns the signal of a typing entry; `None` when there is nothing to do for it, or
    /// only to forward it.
    pub(super) async fn turn(&self) -> Option<TypingSignal> {
        if self.goes_on {
            return None;
        }
        loop {
            let turn = self.turns.order().turn(self.turns.0.clock.now(), &self.conversation, self.ticket);
            match turn {
                Turn::Replaced => return None,
                Turn::Now { typing, overdue } => {
                    if overdue {
                        self.turns.note_overdue();
                    }
                    return typing;
                }
                Turn::Wait(until) => {
                    // Being woken too early is harmless, and a wake-up that comes before the wait is kept.
                    let _ = tokio::time::timeout_at(self.turns.0.clock.timer_at(until), self.woken.notified()).await;
                }
            }
        }
    }
}

impl Place {
    fn note_written(&self) {
        let free_at = self.turns.0.clock.now() + ARRIVAL_SPACING;
        let next = self.turns.order().written(&self.conversation, self.ticket, free_at);
        if let Some(next) = next {
            next.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.turns.order().leave(&self.conversation, self.ticket);
        if let Some(next) = next {
            next.notify_one();
        }
    }
}

/// A place that may be taken only while its request is already being forwarded, and is given up before that ends. Cheap to
/// clone; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct HeldPlace(Arc<Mutex<Option<Place>>>);

impl HeldPlace {
    pub(super) fn keep(&self, place: Place) {
        *self.lock() = Some(place);
    }

    /// The request is written, and those behind it go on in a moment.
    pub(super) fn note_written(&self) {
        if let Some(place) = &*self.lock() {
            place.note_written();
        }
    }

    /// Those behind it go on.
    pub(super) fn release(&self) {
        let place = self.lock().take();
        drop(place);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Place> for HeldPlace {
    fn from(place: Place) -> Self {
        Self(Arc::new(Mutex::new(Some(place))))
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;
    use crate::model::ConversationRef;

    fn turns(wait_max: Duration) -> (Turns, Conversation) {
        let turns = Turns::new(Clock::start());
        turns.set_wait_max(wait_max);
        (turns, ConversationRef::new("c", "ann").unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_warning_comes_once_in_a_while_whatever_the_others_do() {
        let (turns, _) = turns(Duration::from_secs(5));
        for warning in [Warning::Overdue, Warning::Settle] {
            assert!(turns.may_warn(warning));
            assert!(!turns.may_warn(warning));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_left_wakes_the_one_behind_it() {
        let (turns, ann) = turns(Duration::from_secs(5));
        let places = [0; 3].map(|_| turns.enter(&ann));
        let [first, second, third] = places;
        assert_ready_eq!(task::spawn(first.turn()).poll(), None);
        let (mut waits, mut waits_longer) = (task::spawn(second.turn()), task::spawn(third.turn()));
        assert_pending!(waits.poll());
        assert_pending!(waits_longer.poll());
        assert!(!waits.is_woken());
        drop(first);
        assert!(waits.is_woken() && !waits_longer.is_woken());
        assert_ready_eq!(waits.poll(), None);
        assert_pending!(waits_longer.poll());
        assert_eq!(turns.overdue(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_waits_for_order_wait_and_no_longer() {
        let (turns, ann) = turns(Duration::from_secs(5));
        let [first, second] = [0; 2].map(|_| turns.enter(&ann));
        assert_ready_eq!(task::spawn(first.turn()).poll(), None);
        let mut waits = task::spawn(second.turn());
        assert_pending!(waits.poll());
        tokio::time::advance(Duration::from_millis(4_990)).await;
        assert_pending!(waits.poll());
        tokio::time::advance(Duration::from_millis(20)).await;
        assert!(waits.is_woken());
        assert_ready_eq!(waits.poll(), None);
        assert_eq!(turns.overdue(), 1);
    }
}
