//! All conversations, found by their ids, and the channels they belong to. It knows no rule.
//!
//! A conversation has an [`Entry`] of two cache lines, side by side, with all that a further keystroke of a typing user
//! needs, and [`Extras`] only while there is something in them.

use super::changes::Generation;
use super::channels::Channels;
use super::id::{Id, IdHash};
use super::list::{Link, Links, NIL, Neighbours};
use super::outbox::{Acknowledged, Lifespans, Losses, Outbox, Urgency};
use super::policy::Rules;
use super::slab::Slab;
use super::table::{Chain, Chained, Table};
use super::timing::Timing;
use super::wheel::Place;
use crate::model::{Conversation, ConversationRef, CredentialId, Instant, Signal};

/// A conversation. It fills two cache lines that processors fetch together. The first one is what a look-up reads, and
/// where others of the same bucket are passed over.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Entry {
    from: Id,
    chain: Chain,
    pub(super) channel: u32,
    /// The pause that breaks the typing, in microseconds; no more than what fits.
    pause: u32,
    /// Until then a keystroke that keeps the typing unbroken changes the last key and nothing else, as of the last
    /// [`Entry::learn_quiet`].
    quiet_until: Instant,
    pub(super) timing: Timing,
    /// [`NIL`] while there is nothing to keep in them.
    extras: u32,
    deadline: Neighbours,
    /// The newest that a request of this conversation showed.
    pub(super) credentials: Option<CredentialId>,
    pub(super) place: Place,
    pub(super) queue: Queue,
    /// The newest of the changes of all that it has followed.
    pub(super) generation: Generation,
    /// The messaging session is known to exist.
    pub(super) opened: bool,
    /// Counted in `Engine::icons`.
    pub(super) icon_on: bool,
    /// Counted in `Engine::unsettled`.
    pub(super) unsettled: bool,
    /// The outbox's, without extras.
    acknowledged: Acknowledged,
}

/// What few conversations have at a time: those with something to send, in a queue, retained, or left alone.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) outbox: Outbox,
    queue_links: Neighbours,
    /// The latest `at` of a message, plus one; zero for none. A keystroke not later than that is late.
    pub(super) barrier: u64,
    /// Until when it is remembered although nothing is going on, or left alone.
    pub(super) hold_until: Instant,
    /// Until when it is remembered because its owner may be asked for it again.
    pub(super) retained_until: Instant,
    /// Refused for good: left alone until `hold_until`.
    pub(super) muted: bool,
    /// How often credentials of the channel had been accepted when the request in flight left; wraps.
    pub(super) acceptances_seen: u16,
}

const _: () = assert!(size_of::<Option<Entry>>() == 128);

/// A conversation, what counts of its channel, and its extras if it has some.
pub(super) struct Parts<'a> {
    pub(super) entry: &'a mut Entry,
    pub(super) rules: &'a Rules,
    pub(super) channel_muted_until: Instant,
    pub(super) extras: Option<&'a mut Extras>,
}

impl Entry {
    /// Finds out how long keystrokes change nothing; `due` is when the next timer is.
    #[inline]
    pub(super) fn learn_quiet(&mut self, rules: &Rules, due: Instant) {
        let unopened = rules.require_open && !self.opened;
        self.quiet_until = if unopened { Instant::ORIGIN } else { self.timing.quiet_until(rules, due) };
        self.pause = u32::try_from(rules.dismiss).unwrap_or(u32::MAX);
    }

    /// Whether the upstream may show an icon, of a conversation without extras.
    pub(super) fn is_shown_at_rest(&self) -> bool {
        self.acknowledged != Acknowledged::Off
    }
}

impl Extras {
    /// Drops what may no longer be sent: the conversation is muted or its channel is, or the decision is past its lifespan.
    /// Returns what either has cost, in this order.
    pub(super) fn drop_unsendable(&mut self, now: Instant, lifespans: &Lifespans, channel_muted: bool) -> Losses {
        self.muted &= self.hold_until > now;
        if self.outbox.in_flight().is_some() {
            return [None; 2];
        }
        let muted = if self.muted || channel_muted { self.outbox.drop_started() } else { None };
        [muted, self.outbox.expire(now, lifespans)]
    }

    /// The session is over, or another process's: its messages' times are forgotten, a refusal is not.
    pub(super) fn forget_session(&mut self) {
        self.barrier = 0;
        if !self.muted {
            self.hold_until = Instant::ORIGIN;
        }
    }

    /// Whether nothing is lost without them.
    fn are_idle(&self, now: Instant) -> bool {
        let retained = self.hold_until > now || self.retained_until > now;
        !self.muted && !retained && self.barrier == 0 && self.outbox.is_at_rest()
    }
}

/// The queue that a conversation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    None,
    Ready(Urgency),
    /// Remembered although nothing is going on; evicted first when the table is full.
    Retained,
    /// The channel's: a Stopped that waits until credentials of the channel are accepted.
    Blocked,
}

/// Conversations that are looked up ahead at most: as many reads as a processor has under way, and some more.
pub(super) const LOOK_AHEAD_MAX: usize = 32;

/// Queues that are not a channel's: those of each urgency, and the retained conversations.
pub(super) const QUEUES: usize = Urgency::COUNT + 1;
pub(super) const RETAINED: usize = Urgency::COUNT;

impl Queue {
    /// Its number among the queues that are not a channel's.
    pub(super) const fn index(self) -> Option<usize> {
        match self {
            Self::Ready(urgency) => Some(urgency as usize),
            Self::Retained => Some(RETAINED),
            Self::None | Self::Blocked => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Tracker {
    /// Where the conversations of the next signals were when they were looked up ahead, and how many of them have come.
    ahead: [u32; LOOK_AHEAD_MAX],
    come: usize,
    pub(super) entries: Table<Entry>,
    extras: Slab<Extras>,
    pub(super) channels: Channels,
    hash: IdHash,
}

impl Tracker {
    /// `seed` keys the hash.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ahead: [NIL; LOOK_AHEAD_MAX],
            come: LOOK_AHEAD_MAX,
            entries: Table::new(),
            extras: Slab::new(),
            channels: Channels::new(),
            hash: IdHash::new(seed),
        }
    }

    #[inline]
    pub(super) fn find(&self, conversation: ConversationRef<'_>) -> Option<u32> {
        let hash = self.hash.of(conversation.to(), conversation.from());
        self.entries.find(hash, |entry| self.is(entry, conversation))
    }

    /// Where the conversation of the next signal most likely is. The caller makes sure that it is.
    #[inline]
    pub(super) fn place_of_next(&mut self, conversation: ConversationRef<'_>) -> u32 {
        if let Some(place) = self.ahead.get(self.come) {
            self.come += 1;
            return *place;
        }
        let hash = self.hash.of(conversation.to(), conversation.from());
        self.entries.next_with(self.entries.first_of(hash), hash)
    }

    /// As [`Tracker::find`], where it most likely is at `place`.
    pub(super) fn find_at(&self, place: u32, conversation: ConversationRef<'_>) -> Option<u32> {
        match self.entries.get(place) {
            Some(entry) if self.is(entry, conversation) => Some(place),
            _ => self.find(conversation),
        }
    }

    /// Looks conversations up whose signals come next, so that memory is read for all of them at once and not for one
    /// after the other.
    pub(super) fn look_ahead<'a>(&mut self, conversations: impl Iterator<Item = ConversationRef<'a>>) {
        let mut found = [(0, NIL); LOOK_AHEAD_MAX];
        let mut count = 0;
        for (conversation, (hash, place)) in conversations.take(LOOK_AHEAD_MAX).zip(&mut found) {
            *hash = self.hash.of(conversation.to(), conversation.from());
            *place = self.entries.first_of(*hash);
            count += 1;
        }
        self.come = LOOK_AHEAD_MAX - count;
        for (ahead, (hash, place)) in self.ahead[self.come..].iter_mut().zip(found) {
            *ahead = self.entries.next_with(place, hash);
        }
    }

    #[inline]
    fn is(&self, entry: &Entry, conversation: ConversationRef<'_>) -> bool {
        entry.from.is(conversation.from()) && self.channels.is(entry.channel, conversation.to())
    }

    /// Adds a conversation that is not in the table. `rules` are those of its channel since the change `generation`.
    pub(super) fn insert(&mut self, conversation: ConversationRef<'_>, generation: Generation, rules: Rules) -> u32 {
        let hash = self.hash.of(conversation.to(), conversation.from());
        let channel_hash = self.hash.of(conversation.to(), "");
        let channel = self.channels.join(channel_hash, conversation.to(), generation, rules);
        let entry = Entry {
            chain: Chain::NONE,
            timing: Timing::default(),
            quiet_until: Instant::ORIGIN,
            pause: 0,
            from: Id::new(conversation.from()),
            channel,
            extras: NIL,
            deadline: Neighbours::NONE,
            place: Place::NONE,
            credentials: None,
            queue: Queue::None,
            generation,
            opened: false,
            icon_on: false,
            unsettled: false,
            acknowledged: Acknowledged::Off,
        };
        self.entries.insert(hash, entry)
    }

    /// Forgets a conversation that is in no queue and has no deadline.
    pub(super) fn remove(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.entries.remove(slot) else { return };
        debug_assert!(entry.place == Place::NONE && entry.queue == Queue::None);
        self.extras.remove(entry.extras);
        self.channels.leave(entry.channel, now);
    }

    #[inline]
    pub(super) fn entry(&self, slot: u32) -> &Entry {
        self.entries.get(slot).expect(KNOWN)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        self.entries.get_mut(slot).expect(KNOWN)
    }

    /// The conversation's timing and the rules of its channel.
    #[inline]
    pub(super) fn timing_mut(&mut self, slot: u32) -> (&mut Timing, &Rules) {
        let entry = self.entries.get_mut(slot).expect(KNOWN);
        (&mut entry.timing, self.channels.rules(entry.channel))
    }

    /// Whether the conversation is at `place`, and a keystroke of it changes nothing but the last key. If so, that is done.
    #[inline]
    pub(super) fn take_quiet_key(
        &mut self,
        now: Instant,
        (place, conversation): (u32, ConversationRef<'_>),
        signal: Signal,
        newest: Generation,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(place) else { return false };
        if !entry.from.is(conversation.from()) || !self.channels.is(entry.channel, conversation.to()) {
            return false;
        }
        let broken = entry.timing.micros_since_key(now) >= u64::from(entry.pause);
        if broken || now >= entry.quiet_until || entry.generation != newest {
            return false;
        }
        if let (Some(at), Some(extras)) = (signal.at, self.extras.get(entry.extras))
            && at < extras.barrier
        {
            return false;
        }
        entry.timing.keystrokes_skipped(signal.typing_until(now));
        true
    }

    /// The extras, of a place that may hold no conversation.
    pub(super) fn known_extras(&self, place: u32) -> Option<&Extras> {
        self.extras.get(self.entries.get(place)?.extras)
    }

    pub(super) fn extras(&self, slot: u32) -> Option<&Extras> {
        self.extras.get(self.entry(slot).extras)
    }

    pub(super) fn known_extras_mut(&mut self, slot: u32) -> Option<&mut Extras> {
        self.extras.get_mut(self.entry(slot).extras)
    }

    /// The extras, made where there are none.
    pub(super) fn extras_mut(&mut self, slot: u32) -> &mut Extras {
        let entry = self.entries.get_mut(slot).expect(KNOWN);
        if entry.extras == NIL {
            let outbox = Outbox::at_rest(entry.acknowledged, entry.timing.last_started());
            entry.extras = self.extras.insert(Extras { outbox, ..Extras::default() });
        }
        self.extras.get_mut(entry.extras).expect(KNOWN)
    }

    /// Gives up extras in which there is nothing left.
    pub(super) fn drop_idle_extras(&mut self, now: Instant, slot: u32) {
        let entry = self.entries.get_mut(slot).expect(KNOWN);
        let Some(extras) = self.extras.get(entry.extras) else { return };
        if entry.queue == Queue::None && extras.are_idle(now) {
            entry.acknowledged = extras.outbox.acknowledged();
            self.extras.remove(std::mem::replace(&mut entry.extras, NIL));
        }
    }

    /// All that is known of the conversation.
    #[inline]
    pub(super) fn parts_mut(&mut self, slot: u32) -> Parts<'_> {
        let entry = self.entries.get_mut(slot).expect(KNOWN);
        let rules = self.channels.rules(entry.channel);
        let channel_muted_until = self.channels.muted_until(entry.channel);
        let extras = self.extras.get_mut(entry.extras);
        Parts { entry, rules, channel_muted_until, extras }
    }

    /// The conversation's outbox, to look at.
    pub(super) fn outbox(&self, slot: u32) -> Outbox {
        let entry = self.entry(slot);
        let at_rest = || Outbox::at_rest(entry.acknowledged, entry.timing.last_started());
        self.extras.get(entry.extras).map_or_else(at_rest, |extras| extras.outbox)
    }

    /// Gives some of the memory of removed conversations back. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        let (entries, extras) = (self.entries.trim(), self.extras.trim());
        self.channels.trim() || entries || extras
    }

    pub(super) fn holds(&self, slot: u32) -> bool {
        self.entries.get(slot).is_some()
    }

    pub(super) fn rules(&self, slot: u32) -> &Rules {
        self.channels.rules(self.entry(slot).channel)
    }

    pub(super) fn conversation(&self, slot: u32) -> Conversation {
        self.conversation_ref(slot).to_owned()
    }

    pub(super) fn conversation_ref(&self, slot: u32) -> ConversationRef<'_> {
        let entry = self.entry(slot);
        ConversationRef::new(self.channels.name(entry.channel), entry.from.as_str())
            .expect("it was valid when it was put in")
    }

    pub(super) fn find_channel(&self, name: &str) -> Option<u32> {
        self.channels.find(self.hash.of(name, ""), name)
    }

    /// The next conversation that was blocked before an acceptance.
    pub(super) fn next_accepted(&mut self) -> Option<u32> {
        while let Some((blocked, acceptances)) = self.channels.first_accepted() {
            // Those blocked since the acceptance are behind the others.
            let seen = |slot| self.extras(slot).map_or(0, |extras| extras.acceptances_seen);
            if let Some(slot) = blocked.filter(|slot| seen(*slot) != acceptances) {
                return Some(slot);
            }
            self.channels.drop_accepted();
        }
        None
    }
}

impl Links for Tracker {
    fn neighbours(&mut self, link: Link, slot: u32) -> &mut Neighbours {
        match link {
            Link::Deadline => &mut self.entry_mut(slot).deadline,
            Link::Queue => &mut self.extras_mut(slot).queue_links,
        }
    }
}

impl Chained for Entry {
    #[inline]
    fn chain(&self) -> &Chain {
        &self.chain
    }

    #[inline]
    fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }
}

const KNOWN: &str = "queues and wheel only hold conversations of the table, and these only channels of it";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Engine;
    use super::super::policy::Policy;
    use super::*;
    use crate::model::{Cause, Outcome, SignalKind, Transient};

    /// Whether the one conversation of the engine has extras; `None` if it is forgotten.
    fn extras(engine: &Engine) -> Option<bool> {
        engine.tracker.holds(0).then(|| engine.tracker.known_extras(0).is_some())
    }

    #[test]
    fn a_conversation_has_extras_while_there_is_something_in_them() {
        let mut engine = Engine::new(Policy::default(), 1);
        let mut now = Instant::from_millis(1_000);
        let user = ConversationRef::new("c", "u").unwrap();
        let signal =
            |engine: &mut Engine, now, kind, at| engine.handle_signal(now, user, Signal { at, ..Signal::new(kind) });
        let answer = |engine: &mut Engine, now, outcome| {
            let dispatch = engine.poll_dispatch(now).expect("something leaves");
            engine.handle_outcome(now, dispatch.id, outcome)
        };
        signal(&mut engine, now, SignalKind::Keystroke, None).unwrap();
        assert_eq!(extras(&engine), Some(true), "a Started waits");
        answer(&mut engine, now, Outcome::Delivered);
        assert_eq!(extras(&engine), Some(false), "at rest, the icon on");
        for _ in 0..5 {
            now = now + Duration::from_secs(1);
            engine.handle_timeout(now);
            signal(&mut engine, now, SignalKind::Keystroke, None).unwrap();
        }
        answer(&mut engine, now, Outcome::NotSent(Transient { cause: Cause::Failing, retry_after: None }));
        assert_eq!(extras(&engine), Some(false), "a refresh that failed is not tried again");
        for _ in 0..5 {
            now = now + Duration::from_secs(1);
            signal(&mut engine, now, SignalKind::Keystroke, None).unwrap();
            engine.handle_timeout(now);
        }
        signal(&mut engine, now, SignalKind::MessageSent, Some(5)).unwrap();
        while engine
            .poll_dispatch(now)
            .is_some_and(|sent| engine.handle_outcome(now, sent.id, Outcome::Delivered).is_none())
        {}
        assert_eq!(extras(&engine), Some(true), "a message's time is remembered");
        signal(&mut engine, now, SignalKind::Ended, None).unwrap();
        assert_eq!(extras(&engine), None);
        assert_eq!(engine.tracker.extras.len(), 0);
    }
}
