//! The typing icons as an agent would see them: one for each conversation, shown or not.
//!
//! Strict on purpose: shown is what the last applied typing entry says. A message does not hide the icon, since it is
//! not documented that the agent console does so; only a Stopped does, or the icon's own lifespan if the receiver has one.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::base::clock::Clock;
use crate::model::Instant;

/// One conversation's icon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Icon {
    /// The channel address identifier.
    pub to: String,
    /// The end-user client identifier.
    pub from: String,
    /// Whether the agent sees it.
    pub shown: bool,
    /// When it was last shown or hidden, Unix epoch milliseconds; null before its first change.
    pub since: Option<u64>,
    /// Applied Starteds, refreshes included.
    pub started: u64,
    /// Applied Stoppeds.
    pub stopped: u64,
    /// Applied messages and attachments.
    pub messages: u64,
    /// How often it came on again less than 30 s after it went off, with no message in between: the blinking
    /// that an agent sees.
    pub flickers: u64,
    /// When it went off, if no message has arrived since.
    #[serde(skip)]
    hidden: Option<Instant>,
    /// When it goes off by itself, if it is shown.
    #[serde(skip)]
    expires: Option<Instant>,
}

/// An icon that has come on or gone off. The order of the members is that of the lines for watchers.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    /// When, Unix epoch milliseconds.
    pub(super) at: u64,
    pub(super) from: String,
    pub(super) shown: bool,
    pub(super) to: String,
}

impl Icon {
    /// As if it came on now for a watcher; `None` if it is not shown.
    pub(super) fn shown_since(&self) -> Option<Change> {
        let at = self.since.filter(|_| self.shown)?;
        Some(Change { at, from: self.from.clone(), shown: true, to: self.to.clone() })
    }
}

/// What an applied interaction is to an icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Show,
    Hide,
    Message,
    /// Anything else.
    None,
}

/// All icons, in the order in which their conversations came.
pub(super) struct Icons {
    icons: Vec<Icon>,
    places: HashTable<usize>,
    hasher: foldhash::quality::RandomState,
    shown: usize,
    lifespan: Option<Duration>,
    /// The shown icons by the moment they go off by themselves; empty without a lifespan.
    expiries: BTreeSet<(Instant, usize)>,
    watchers: broadcast::Sender<Arc<Change>>,
    clock: Clock,
}

impl Icons {
    pub(super) fn new(lifespan: Option<Duration>, clock: Clock) -> Self {
        Self {
            icons: Vec::new(),
            places: HashTable::new(),
            hasher: foldhash::quality::RandomState::default(),
            shown: 0,
            lifespan,
            expiries: BTreeSet::new(),
            watchers: broadcast::Sender::new(WATCHER_CHANGES_MAX),
            clock,
        }
    }

    /// Applies one interaction. False if it is a new conversation's and the table is full.
    #[must_use]
    pub(super) fn apply(&mut self, to: &str, from: &str, effect: Effect, now: Instant) -> bool {
        self.expire(now);
        let Some(place) = self.place(to, from) else { return false };
        let icon = &mut self.icons[place];
        match effect {
            Effect::Show => {
                icon.started += 1;
                if !icon.shown && icon.hidden.is_some_and(|hidden| now.since(hidden) < FLICKER_MAX) {
                    icon.flickers += 1;
                }
                if let Some(lifespan) = self.lifespan {
                    if let Some(old) = icon.expires.replace(now + lifespan) {
                        self.expiries.remove(&(old, place));
                    }
                    self.expiries.insert((now + lifespan, place));
                }
                self.change(place, true, now);
            }
            Effect::Hide => {
                icon.stopped += 1;
                self.change(place, false, now);
            }
            Effect::Message => {
                icon.messages += 1;
                icon.hidden = None;
            }
            Effect::None => {}
        }
        true
    }

    /// Hides the icons whose lifespan is over; early and spurious calls are harmless.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(due, place)) = self.expiries.first() {
            if due > now {
                break;
            }
            self.change(place, false, due);
        }
    }

    /// When to call [`Self::expire`] next.
    pub(super) fn next_expiry(&self) -> Instant {
        self.expiries.first().map_or(Instant::NEVER, |(due, _)| *due)
    }

    /// Every icon that comes on or goes off from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.watchers.subscribe()
    }

    /// How many are shown.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    /// All of them, in the order in which their conversations came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Icon> {
        self.icons.iter()
    }

    /// One of them.
    pub(super) fn find(&self, to: &str, from: &str) -> Option<&Icon> {
        let place = self.places.find(self.hash(to, from), |&place| self.is_at(place, to, from))?;
        self.icons.get(*place)
    }

    /// Forgets them all; watchers stay.
    pub(super) fn clear(&mut self) {
        self.icons = Vec::new();
        self.places = HashTable::new();
        self.expiries.clear();
        self.shown = 0;
    }

    fn change(&mut self, place: usize, shown: bool, at: Instant) {
        let icon = &mut self.icons[place];
        if !shown && let Some(expires) = icon.expires.take() {
            self.expiries.remove(&(expires, place));
        }
        if icon.shown == shown {
            return;
        }
        let wall = self.clock.wall_millis(at);
        icon.shown = shown;
        icon.since = Some(wall);
        icon.hidden = (!shown).then_some(at);
        if shown {
            self.shown += 1;
        } else {
            self.shown -= 1;
        }
        if self.watchers.receiver_count() > 0 {
            let change = Change { at: wall, from: icon.from.clone(), shown, to: icon.to.clone() };
            // The last watcher may have left since.
            let _ = self.watchers.send(Arc::new(change));
        }
    }

    fn place(&mut self, to: &str, from: &str) -> Option<usize> {
        let hash = self.hash(to, from);
        if let Some(place) = self.places.find(hash, |&place| self.is_at(place, to, from)) {
            return Some(*place);
        }
        if self.icons.len() >= CONVERSATIONS_MAX {
            return None;
        }
        let place = self.icons.len();
        self.icons.push(Icon {
            to: to.to_owned(),
            from: from.to_owned(),
            shown: false,
            since: None,
            started: 0,
            stopped: 0,
            messages: 0,
            flickers: 0,
            hidden: None,
            expires: None,
        });
        let (icons, hasher) = (&self.icons, &self.hasher);
        self.places.insert_unique(hash, place, |&place| hasher.hash_one((&*icons[place].to, &*icons[place].from)));
        Some(place)
    }

    fn hash(&self, to: &str, from: &str) -> u64 {
        self.hasher.hash_one((to, from))
    }

    fn is_at(&self, place: usize, to: &str, from: &str) -> bool {
        self.icons[place].to == to && self.icons[place].from == from
    }
}

/// Conversations kept, as many as typingd's own default.
pub(super) const CONVERSATIONS_MAX: usize = 1_000_000;
/// Changes a slow watcher may be behind before it loses some: two seconds at the org's rate.
const WATCHER_CHANGES_MAX: usize = 4_096;
/// Longer off than this is a pause and not a flicker; what `tune` calls away.
const FLICKER_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[tokio::test]
    async fn an_icon_goes_off_by_itself_only_when_nothing_refreshes_it() {
        let mut icons = Icons::new(Some(Duration::from_secs(2)), Clock::start());
        let mut changes = icons.watch();
        for (millis, effect) in [(0, Effect::Show), (1_500, Effect::Show), (1_600, Effect::Message)] {
            assert!(icons.apply("c", "u", effect, at(millis)));
        }
        assert_eq!(icons.next_expiry(), at(3_500));
        icons.expire(at(3_499));
        assert_eq!(icons.shown(), 1);
        icons.expire(at(3_500));
        assert_eq!((icons.shown(), icons.next_expiry()), (0, Instant::NEVER));
        let mut told = || changes.try_recv().map(|change| (change.to.clone(), change.from.clone(), change.shown));
        assert_eq!(told(), Ok(("c".into(), "u".into(), true)));
        assert_eq!(told(), Ok(("c".into(), "u".into(), false)));
        assert!(told().is_err(), "a refresh is no change");
    }

    #[tokio::test]
    async fn a_flicker_is_a_short_gap_without_a_message_in_it() {
        use Effect::{Hide, Message, Show};
        let mut icons = Icons::new(None, Clock::start());
        let mut apply = |millis, effect| {
            assert!(icons.apply("c", "u", effect, at(millis)));
            icons.find("c", "u").unwrap().flickers
        };
        assert_eq!([apply(0, Show), apply(2_000, Hide), apply(3_000, Show)], [0, 0, 1]);
        assert_eq!([apply(4_000, Hide), apply(4_100, Message), apply(5_000, Show)], [1, 1, 1]);
        assert_eq!([apply(6_000, Hide), apply(36_000, Show), apply(36_001, Show)], [1, 1, 1]);
    }
}
