//! What operators ask about conversations: a page of them, one of them in full.

use super::Engine;
use super::outbox::Acknowledged;
use super::policy::Rules;
use super::timing::{Deadlines, Phase};
use super::tracker::{Entry, Queue};
use crate::model::{Conversation, ConversationRef, Instant, Reason, Rejection};

/// Slots of the table that are looked at for one page: less than a millisecond's work, however many conversations there
/// are and however few match.
const LOOKS_MAX: u32 = 4_096;
/// Slots that are looked at for icons in one call: a millisecond's work, or some where all of them are shown.
const SHOWN_LOOKS_MAX: u32 = 16_384;

/// The state of a conversation in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The user is not typing; something may still be in flight or owed.
    Idle,
    /// The user is typing.
    Typing,
    /// The user has been typing for longer than `max_typing`: the icon stays off.
    Silenced,
    /// Nothing is going on. It is retained, for a late keystroke or a rejection.
    Remembered,
}

impl Stage {
    /// The name in typingd's own formats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Typing => "typing",
            Self::Silenced => "silenced",
            Self::Remembered => "remembered",
        }
    }
}

/// Which conversations are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// The slot to begin with: 0, or [`Page::next`] of the page before.
    pub start: u32,
    /// At least 1.
    pub limit: usize,
    /// Only those of this channel.
    pub to: Option<Box<str>>,
    /// Only those whose icon should be on.
    pub icon_on: bool,
}

/// Some conversations, in the order of their slots: one that stays in memory is listed once, whatever comes and goes
/// between two pages.
#[derive(Clone, Debug)]
pub struct Page {
    /// The conversations, each in full.
    pub rows: Vec<(Conversation, Account)>,
    /// Where the next page begins, if there is more to look at. There may be a next page after an empty one.
    pub next: Option<u32>,
}

/// Everything about one conversation that explains what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its state in one word.
    pub stage: Stage,
    /// Whether the icon should be on.
    pub icon: bool,
    /// What the upstream may show.
    pub acknowledged: Acknowledged,
    /// What is still to be acknowledged.
    pub desired: Option<Reason>,
    /// What is in flight, and the number of its decision.
    pub in_flight: Option<(Reason, u64)>,
    /// When the next try is due, if one has failed.
    pub retry: Option<Instant>,
    /// Whether a Stopped waits for credentials.
    pub blocked: bool,
    /// The last key since the last explicit stop; in the future while typing reported with `lasts` goes on.
    pub last_key: Option<Instant>,
    /// Its timers.
    pub deadlines: Deadlines,
    /// Until when no icon is shown because the upstream rejects the channel or the conversation.
    pub muted: Option<(Instant, Rejection)>,
    /// The session is known to exist, or need not be.
    pub opened: bool,
    /// The timing of its channel.
    pub rules: Rules,
    /// The circuit breaker is open: only probes are sent.
    pub failing: bool,
}

impl Engine {
    /// Some of the conversations. No more than [`LOOKS_MAX`] slots are looked at.
    #[must_use]
    pub fn page(&mut self, now: Instant, query: &PageQuery) -> Page {
        let end = self.tracker.entries.end();
        let stop = end.min(query.start.saturating_add(LOOKS_MAX));
        let mut rows = Vec::new();
        let channel = match &query.to {
            None => None,
            Some(to) => match self.tracker.find_channel(to) {
                None => return Page { rows, next: None },
                found => found,
            },
        };
        for slot in query.start..stop {
            if !self.tracker.holds(slot) || !self.follow(now, slot) {
                continue;
            }
            let entry = self.tracker.entry(slot);
            if channel.is_some_and(|channel| channel != entry.channel) || (query.icon_on && !entry.icon_on) {
                continue;
            }
            if rows.len() == query.limit {
                return Page { rows, next: Some(slot) };
            }
            rows.push((self.tracker.conversation(slot), self.account_of(now, slot)));
        }
        Page { rows, next: (stop < end).then_some(stop) }
    }

    /// The conversations whose icon the upstream may show, in the slots from `start` on as far as one call looks, and
    /// the slot to go on with. One that stays in memory is found once.
    pub fn shown(&self, start: u32) -> (impl Iterator<Item = ConversationRef<'_>>, Option<u32>) {
        let end = self.tracker.entries.end();
        let stop = end.min(start.saturating_add(SHOWN_LOOKS_MAX));
        let shown = (start..stop).filter_map(|slot| {
            self.tracker.entries.get(slot)?;
            let outbox = self.tracker.outbox(slot);
            let shown = outbox.acknowledged() != Acknowledged::Off || outbox.in_flight().is_some();
            shown.then(|| self.tracker.conversation_ref(slot))
        });
        (shown, (stop < end).then_some(stop))
    }

    /// What the upstream may show of a conversation; `Off` if it is not in memory.
    pub fn acknowledged(&self, conversation: ConversationRef<'_>) -> Acknowledged {
        let slot = self.tracker.find(conversation);
        slot.map_or(Acknowledged::Off, |slot| self.tracker.outbox(slot).acknowledged())
    }

    /// Whether the upstream is known to show no icon, and nothing is desired or in flight that could change that.
    pub fn is_settled_off(&self, conversation: ConversationRef<'_>) -> bool {
        self.tracker.find(conversation).is_none_or(|slot| self.tracker.outbox(slot).is_empty())
    }

    /// One conversation in full; `None` if it is not in memory.
    #[must_use]
    pub fn account(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Option<Account> {
        let slot = self.tracker.find(conversation)?;
        self.follow(now, slot).then(|| self.account_of(now, slot))
    }

    fn account_of(&self, now: Instant, slot: u32) -> Account {
        let entry = self.tracker.entry(slot);
        let rules = *self.tracker.rules(slot);
        let own = self.tracker.extras(slot).filter(|extras| extras.muted);
        let own = own.map_or(Instant::ORIGIN, |extras| extras.hold_until);
        // The longer one is what keeps the icon off in the end.
        let muted =
            (own, Rejection::Conversation).max((self.tracker.channels.muted_until(entry.channel), Rejection::Channel));
        let outbox = self.tracker.outbox(slot);
        Account {
            stage: stage(entry),
            icon: entry.timing.icon(),
            acknowledged: outbox.acknowledged(),
            desired: outbox.desired(),
            in_flight: outbox.in_flight().map(|reason| (reason, outbox.in_flight_number())),
            retry: outbox.retry(),
            blocked: outbox.is_blocked(),
            last_key: entry.timing.last_key(),
            deadlines: entry.timing.deadlines(&rules),
            muted: Some(muted).filter(|(until, _)| *until > now),
            opened: entry.opened || !rules.require_open,
            rules,
            failing: self.pace.is_breaker_open(),
        }
    }
}

fn stage(entry: &Entry) -> Stage {
    match entry.timing.phase() {
        Phase::Burst => Stage::Typing,
        Phase::Silent => Stage::Silenced,
        Phase::Idle if entry.queue == Queue::Retained => Stage::Remembered,
        Phase::Idle => Stage::Idle,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::policy::Policy;
    use super::*;
    use crate::model::{Signal, SignalKind};

    fn give(engine: &mut Engine, to: &str, from: &str, kind: SignalKind) {
        let now = Instant::from_millis(1);
        engine.handle_signal(now, ConversationRef::new(to, from).unwrap(), Signal::new(kind)).unwrap();
        while let Some(dispatch) = engine.poll_dispatch(now) {
            engine.handle_outcome(now, dispatch.id, crate::model::Outcome::Delivered);
        }
    }

    /// The conversations of all pages.
    fn all(engine: &mut Engine, query: &PageQuery) -> Vec<(Conversation, Account)> {
        let mut query = query.clone();
        let mut rows = Vec::new();
        loop {
            let page = engine.page(Instant::from_millis(1), &query);
            assert!(page.rows.len() <= query.limit);
            rows.extend(page.rows);
            let Some(next) = page.next else { return rows };
            assert!(next > query.start && next - query.start <= LOOKS_MAX, "a page is bounded work, and gets on");
            query.start = next;
        }
    }

    #[test]
    fn pages_list_each_conversation_once_and_none_is_much_work() {
        let mut policy = Policy::default();
        policy.delivery.requests_per_second_max = 1_000_000;
        policy.delivery.in_flight_max = 1_000_000;
        let mut engine = Engine::new(policy, 1);
        let name = |i: usize| format!("u{i}");
        for i in 0..10_000 {
            give(&mut engine, ["a", "b"][i % 2], &name(i), SignalKind::Keystroke);
        }
        // Holes in the table, most of them in its first part.
        for i in (0..10_000).filter(|i| i % 5 == 0 || (3_000..9_000).contains(i)) {
            give(&mut engine, ["a", "b"][i % 2], &name(i), SignalKind::Ended);
        }
        let left = engine.census().conversations;
        let query = PageQuery { start: 0, limit: 100, to: None, icon_on: false };
        let rows = all(&mut engine, &query);
        let listed: HashSet<_> = rows.iter().map(|(conversation, _)| conversation.from().to_owned()).collect();
        assert_eq!((rows.len(), listed.len()), (left, left));
        assert!(rows.iter().all(|(_, account)| account.icon && account.stage == Stage::Typing), "{:?}", rows[0]);

        assert_eq!(all(&mut engine, &PageQuery { icon_on: true, ..query.clone() }).len(), left);
        let of_b = all(&mut engine, &PageQuery { to: Some("b".into()), ..query.clone() });
        assert!(!of_b.is_empty() && of_b.len() < left && of_b.iter().all(|(conversation, _)| conversation.to() == "b"));
        let unknown = engine.page(Instant::from_millis(1), &PageQuery { to: Some("c".into()), ..query.clone() });
        assert!(unknown.rows.is_empty() && unknown.next.is_none());
        assert!(
            engine.page(Instant::from_millis(1), &PageQuery { start: u32::MAX, ..query }).next.is_none(),
            "a stale cursor is the end"
        );
    }

    #[test]
    fn all_icons_are_found_once_a_part_at_a_time() {
        let mut policy = Policy::default();
        policy.delivery.requests_per_second_max = 1_000_000;
        let mut engine = Engine::new(policy, 1);
        give(&mut engine, "c", "u", SignalKind::Keystroke);
        assert_eq!((engine.shown(0).0.count(), engine.shown(0).1), (1, None));
        let parts = SHOWN_LOOKS_MAX + 1;
        (1..parts).for_each(|i| give(&mut engine, "c", &format!("u{i}"), SignalKind::Keystroke));
        assert_eq!((engine.shown(0).0.count() as u32, engine.shown(0).1), (SHOWN_LOOKS_MAX, Some(SHOWN_LOOKS_MAX)));
        assert_eq!((engine.shown(SHOWN_LOOKS_MAX).0.count(), engine.shown(SHOWN_LOOKS_MAX).1), (1, None));
        let now = Instant::from_millis(1);
        give(&mut engine, "c", "u", SignalKind::Ended);
        engine.handle_signal(now, ConversationRef::new("c", "v").unwrap(), Signal::new(SignalKind::Keystroke)).unwrap();
        assert_eq!(engine.shown(0).0.count() as u32, SHOWN_LOOKS_MAX - 1, "no icon of what has not left");
        assert!(engine.poll_dispatch(now).is_some());
        assert_eq!(engine.shown(0).0.count() as u32, SHOWN_LOOKS_MAX, "what is in flight may be shown");
    }
}
