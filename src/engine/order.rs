//! The order of one end user's requests on their way through the drop-in: each goes on after the one before it.
//!
//! A pure value, like the rest of the engine. Its driver enters each request as soon as its end user is known
//! ([`Order::enter`], [`Order::enter_typing`]), asks before it goes on ([`Order::turn`]), and reports when it no longer
//! holds up those behind it ([`Order::leave`]): a message when it is written upstream, a typing entry when the engine
//! has it. A request waits for at most `wait_max`, then it goes on.
//!
//! Typing that waits behind a message is one desired state, not a queue: the newest entry replaces the one before it,
//! and a message replaces the typing that waits before it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;

use crate::model::{Conversation, Instant};

/// A request that exceeds its time at the front holds up the next one for this part of `wait_max` longer, so that those
/// who waited for it together go on one after the other all the same.
const GRACE_PART: u32 = 10;

/// Of a queue that has ended, the memory of so many places is used again.
const SPARE_PLACES_MAX: usize = 4;

/// All conversations that have a request under way. `T` is what a typing entry says; `W` wakes a waiting request.
#[derive(Debug)]
pub struct Order<T, W> {
    queues: HashTable<Queue<T, W>>,
    hash: foldhash::fast::RandomState,
    /// The memory of the queue that has ended last. Most are of one request, so that one begins for each.
    spare: VecDeque<Place<T, W>>,
    wait_max: Duration,
    /// Tickets given out.
    entered: u64,
}

/// The requests of one conversation.
#[derive(Debug)]
struct Queue<T, W> {
    conversation: Conversation,
    places: VecDeque<Place<T, W>>,
}

/// A request's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    number: u64,
    /// Of its conversation, which is found again by it.
    hash: u64,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// It goes on.
    Now {
        /// What it says, if it is a typing entry: the newest that has taken this place.
        typing: Option<T>,
        /// It has waited for as long as it may: it may overtake the one before it.
        overdue: bool,
    },
    /// It waits until it is woken, and asks again at this instant in any case.
    Wait(Instant),
    /// It has been replaced by a later request: there is nothing left to do.
    Replaced,
}

/// The place of a typing entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Nothing is before it: it goes on at once.
    First(Ticket),
    /// It waits for a message before it.
    Waits(Ticket),
    /// It has taken the place of typing that waits already.
    Joined,
}

#[derive(Debug)]
struct Place<T, W> {
    ticket: Ticket,
    entered: Instant,
    /// When it went on; `None` while it waits.
    begun: Option<Instant>,
    /// When it holds up no one any more; [`Instant::NEVER`] until that is known.
    free_at: Instant,
    /// `None` for what passes upstream.
    typing: Option<T>,
    waker: W,
}

impl<T: Copy, W: Clone> Order<T, W> {
    /// An order in which no request waits longer than `wait_max` for those before it.
    pub fn new(wait_max: Duration) -> Self {
        let (queues, hash, spare) = (HashTable::new(), foldhash::fast::RandomState::default(), VecDeque::new());
        Self { queues, hash, spare, wait_max, entered: 0 }
    }

    /// From now on no request waits longer than `wait_max`; those that wait already follow when they next ask.
    pub fn set_wait_max(&mut self, wait_max: Duration) {
        self.wait_max = wait_max;
    }

    /// A request that passes upstream takes its place. Returns whom to wake as well: typing that waited before it and
    /// is replaced, for the message ends it before its icon is shown.
    pub fn enter(&mut self, now: Instant, conversation: &Conversation, waker: W) -> (Ticket, Option<W>) {
        let (ticket, queue) = self.begin(conversation);
        let waits = queue.back().is_some_and(Place::waits_with_typing);
        let replaced = if waits { queue.pop_back().map(|last| last.waker) } else { None };
        queue.push_back(Place { ticket, entered: now, begun: None, free_at: Instant::NEVER, typing: None, waker });
        (ticket, replaced)
    }

    /// A typing entry takes its place.
    pub fn enter_typing(&mut self, now: Instant, conversation: &Conversation, typing: T, waker: W) -> Typing {
        let (ticket, queue) = self.begin(conversation);
        if let Some(last) = queue.back_mut().filter(|last| last.waits_with_typing()) {
            last.typing = Some(typing);
            return Typing::Joined;
        }
        queue.retain(|place| place.free_at > now);
        let first = queue.is_empty();
        let (begun, free_at, typing) = (first.then_some(now), Instant::NEVER, Some(typing));
        queue.push_back(Place { ticket, entered: now, begun, free_at, typing, waker });
        if first { Typing::First(ticket) } else { Typing::Waits(ticket) }
    }

    /// Whether the request of `ticket` goes on. Spurious calls are harmless.
    pub fn turn(&mut self, now: Instant, conversation: &Conversation, ticket: Ticket) -> Turn<T> {
        let (wait_max, grace) = (self.wait_max, self.wait_max / GRACE_PART);
        let Some(queue) = self.queue(conversation, ticket) else { return Turn::Replaced };
        let Some(own) = queue.iter().find(|place| place.ticket == ticket) else { return Turn::Replaced };
        let deadline = own.entered + wait_max;
        let mut overdue = false;
        while let Some(front) = queue.front_mut() {
            if front.ticket == ticket {
                front.begun = Some(now);
                return Turn::Now { typing: front.typing, overdue };
            }
            if front.free_at <= now {
                queue.pop_front();
                continue;
            }
            let gives_way = match front.begun {
                _ if now < deadline => deadline,
                Some(begun) => deadline.max(begun + grace),
                // It is as overdue, and about to begin.
                None => now + grace,
            };
            if now < gives_way {
                return Turn::Wait(gives_way.min(front.free_at));
            }
            // It goes on all the same, but those behind it no longer wait for it.
            overdue = true;
            queue.pop_front();
        }
        Turn::Replaced
    }

    /// The request of `ticket` is written: from `free_at` on it no longer holds up those behind it. Returns whom to wake, to
    /// ask again. Of several times the first counts.
    pub fn written(&mut self, conversation: &Conversation, ticket: Ticket, free_at: Instant) -> Option<W> {
        let queue = self.queue(conversation, ticket)?;
        let index = queue.iter().position(|place| place.ticket == ticket)?;
        if queue[index].free_at != Instant::NEVER {
            return None;
        }
        queue[index].free_at = free_at;
        queue.get(index + 1).map(|next| next.waker.clone())
    }

    /// The request of `ticket` no longer holds up those behind it: it is answered or given up. Returns whom to
    /// wake. Spurious calls are harmless.
    pub fn leave(&mut self, conversation: &Conversation, ticket: Ticket) -> Option<W> {
        let mut entry = self.queues.find_entry(ticket.hash, |queue| queue.conversation == *conversation).ok()?;
        let queue = &mut entry.get_mut().places;
        let index = queue.iter().position(|place| place.ticket == ticket)?;
        queue.remove(index);
        let goes_on = index == 0 || queue[index - 1].free_at != Instant::NEVER;
        let next = queue.get(index).filter(|_| goes_on).map(|next| next.waker.clone());
        if queue.is_empty() {
            self.spare = entry.remove().0.places;
            self.spare.shrink_to(SPARE_PLACES_MAX);
        }
        next
    }

    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// A new ticket, and the queue for its place.
    fn begin(&mut self, conversation: &Conversation) -> (Ticket, &mut VecDeque<Place<T, W>>) {
        self.entered += 1;
        let Self { queues, hash: state, spare, .. } = self;
        let hash_of = |conversation: &Conversation| state.hash_one(conversation);
        let hash = hash_of(conversation);
        let known = |queue: &Queue<T, W>| queue.conversation == *conversation;
        let new = || Queue { conversation: conversation.clone(), places: std::mem::take(spare) };
        let queue = queues.entry(hash, known, |queue| hash_of(&queue.conversation)).or_insert_with(new).into_mut();
        (Ticket { number: self.entered, hash }, &mut queue.places)
    }

    /// The queue of a ticket.
    fn queue(&mut self, conversation: &Conversation, ticket: Ticket) -> Option<&mut VecDeque<Place<T, W>>> {
        let queue = self.queues.find_mut(ticket.hash, |queue| queue.conversation == *conversation);
        queue.map(|queue| &mut queue.places)
    }
}

impl<T, W> Place<T, W> {
    fn waits_with_typing(&self) -> bool {
        self.typing.is_some() && self.begun.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationRef, SignalKind};

    const WAIT_MAX: Duration = Duration::from_secs(5);
    const GOES: Turn<SignalKind> = Turn::Now { typing: None, overdue: false };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn user(from: &str) -> Conversation {
        ConversationRef::new("c", from).unwrap().to_owned()
    }

    #[test]
    fn a_request_goes_on_when_the_one_before_it_has_left() {
        let (mut order, ann, bob) = (Order::new(WAIT_MAX), user("ann"), user("bob"));
        let (first, _) = order.enter(at(0), &ann, 'a');
        let (second, _) = order.enter(at(1), &ann, 'b');
        let (other, _) = order.enter(at(2), &bob, 'c');
        assert_eq!(order.turn(at(3), &ann, second), Turn::Wait(at(5_001)));
        assert!(!order.is_empty());
        assert_eq!([order.turn(at(3), &ann, first), order.turn(at(3), &bob, other)], [GOES; 2]);
        assert_eq!(order.turn(at(4), &ann, second), Turn::Wait(at(5_001)), "begun is not left");
        assert_eq!(order.leave(&ann, first), Some('b'));
        assert_eq!(order.turn(at(5), &ann, second), GOES);
        assert_eq!((order.leave(&ann, first), order.leave(&ann, second), order.leave(&bob, other)), (None, None, None));
        assert!(order.is_empty());
    }

    #[test]
    fn a_request_that_is_written_gives_way_in_a_moment() {
        let (mut order, ann) = (Order::new(WAIT_MAX), user("ann"));
        let [first, second, third] = [0, 10, 20].map(|millis| order.enter(at(millis), &ann, millis).0);
        assert_eq!(order.turn(at(20), &ann, first), GOES);
        assert_eq!(order.written(&ann, first, at(40)), Some(10));
        assert_eq!(order.written(&ann, first, at(99)), None);
        assert_eq!(order.turn(at(39), &ann, second), Turn::Wait(at(40)));
        assert_eq!(order.turn(at(39), &ann, third), Turn::Wait(at(40)));
        assert_eq!(order.turn(at(40), &ann, second), GOES);
        assert_eq!((order.leave(&ann, first), order.written(&ann, second, at(60))), (None, Some(20)));
        // Typing that comes after that time is the first again.
        let (mut order, bob) = (Order::new(WAIT_MAX), user("bob"));
        let (message, _) = order.enter(at(0), &bob, 'm');
        assert_eq!((order.turn(at(0), &bob, message), order.written(&bob, message, at(10))), (GOES, None));
        assert!(matches!(order.enter_typing(at(10), &bob, SignalKind::Keystroke, 'k'), Typing::First(_)));
        assert_eq!(order.leave(&bob, message), None);
    }

    #[test]
    fn a_request_that_is_given_up_in_the_midst_holds_up_no_one() {
        let (mut order, ann) = (Order::new(WAIT_MAX), user("ann"));
        let [first, second, third] = ['a', 'b', 'c'].map(|waker| order.enter(at(0), &ann, waker).0);
        assert_eq!(order.turn(at(0), &ann, first), GOES);
        assert_eq!(order.leave(&ann, second), None, "the first is still under way");
        assert_eq!(order.leave(&ann, first), Some('c'));
        assert_eq!(order.turn(at(1), &ann, third), GOES);
    }

    #[test]
    fn typing_that_waits_is_the_newest_and_ends_with_a_message() {
        use SignalKind::{Keystroke, Stopped};
        let (mut order, ann) = (Order::new(WAIT_MAX), user("ann"));
        let Typing::First(key) = order.enter_typing(at(0), &ann, Keystroke, 'k') else {
            panic!("nothing is before it")
        };
        let (message, replaced) = order.enter(at(1), &ann, 'm');
        assert_eq!(replaced, None, "a key that has begun is not replaced");
        assert_eq!(order.leave(&ann, key), Some('m'));
        assert_eq!(order.turn(at(2), &ann, message), GOES);
        let Typing::Waits(waiting) = order.enter_typing(at(3), &ann, Keystroke, 'w') else {
            panic!("a message is before")
        };
        assert_eq!(order.enter_typing(at(4), &ann, Stopped, 'x'), Typing::Joined);
        assert_eq!(order.leave(&ann, message), Some('w'));
        assert_eq!(order.turn(at(5), &ann, waiting), Turn::Now { typing: Some(Stopped), overdue: false });
        let Typing::Waits(later) = order.enter_typing(at(6), &ann, Keystroke, 'y') else { panic!("one has begun") };
        let (_, replaced) = order.enter(at(7), &ann, 'n');
        assert_eq!((replaced, order.turn(at(8), &ann, later)), (Some('y'), Turn::Replaced));
    }

    #[test]
    fn no_request_waits_too_long_and_those_behind_go_one_by_one() {
        let (mut order, ann) = (Order::new(WAIT_MAX), user("ann"));
        let [stuck, second, third] = [0, 10, 20].map(|millis| order.enter(at(millis), &ann, millis).0);
        assert_eq!(order.turn(at(20), &ann, stuck), GOES);
        assert_eq!(order.turn(at(5_009), &ann, second), Turn::Wait(at(5_010)));
        assert_eq!(order.turn(at(5_010), &ann, second), Turn::Now { typing: None, overdue: true });
        assert_eq!(order.turn(at(5_020), &ann, third), Turn::Wait(at(5_510)), "the second has only just begun");
        assert_eq!(order.leave(&ann, stuck), None, "it has lost its place");
        assert_eq!(order.turn(at(5_510), &ann, third), Turn::Now { typing: None, overdue: true });
        // Both at once: the earlier one goes first, whoever asks first.
        let [_, second, third] = [0, 10, 20].map(|millis| order.enter(at(millis), &user("bob"), millis).0);
        assert_eq!(order.turn(at(9_000), &user("bob"), third), Turn::Wait(at(9_500)));
        assert_eq!(order.turn(at(9_000), &user("bob"), second), Turn::Wait(at(9_500)), "the front has not begun");
        let [_, second] = [0, 10].map(|millis| order.enter(at(millis), &user("cid"), millis).0);
        order.set_wait_max(Duration::from_secs(1));
        assert_eq!(order.turn(at(100), &user("cid"), second), Turn::Wait(at(1_010)), "the new bound holds at once");
    }
}
