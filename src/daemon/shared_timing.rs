//! Changes of the timing that hold for all typingd of a store: what was changed while running, since the configuration
//! was last read. The store keeps it as JSON with a version, which every heartbeat tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::clock;
use crate::config::Change;
use crate::store::{Failure, SharedText};

/// The owner's end. Only [`SharedTiming::news`] waits for the store.
pub(super) struct SharedTiming {
    store: SharedText,
    version: u64,
    /// The highest version that was ever told. A store that has lost its memory goes on from there: no version is told twice.
    highest: u64,
    pub(super) changes: Vec<Entry>,
    /// What of them the store does not have yet.
    own: Option<Own>,
    /// The version that a heartbeat has told, until it has been looked at.
    told: Option<u64>,
    /// `changes` has some of others that the owner does not know of.
    adopts: bool,
    /// The store has not answered: it is asked again then.
    again_at: Option<tokio::time::Instant>,
}

/// Changes that were made here.
#[derive(Default)]
struct Own {
    /// All earlier ones are undone first.
    resets: bool,
    /// They are what a store that has lost its memory is told again: another may have done so, and more has happened since.
    again: bool,
    entries: Vec<Entry>,
}

/// What the owner of the settings has to know.
#[derive(Debug)]
pub(super) enum News {
    /// Others have changed the timing.
    Changed,
    /// The store does not answer, for the first time. `unwritten`: it does not have what was changed here.
    Failed { failure: Failure, unwritten: bool },
}

/// What was changed of one channel, or of all others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) to: Option<String>,
    /// What the configuration says of the channel is forgotten first.
    pub(super) forgets: bool,
    pub(super) set: Map<String, Value>,
}

/// What has failed is tried again this often.
const AGAIN_SPACING: Duration = Duration::from_secs(1);
/// Changes that others make meanwhile are taken in so often before it is tried later.
const TRIES: usize = 3;

impl SharedTiming {
    pub(super) const fn new(store: SharedText) -> Self {
        Self {
            store,
            version: 0,
            highest: 0,
            changes: Vec::new(),
            own: None,
            told: None,
            adopts: false,
            again_at: None,
        }
    }

    /// A change has been made here: it holds for all once the store has it.
    pub(super) fn share(&mut self, change: &Change) {
        add(&mut self.changes, change);
        let own = self.own.get_or_insert_default();
        own.resets |= matches!(change.parts(), (None, None));
        own.again = false;
        add(&mut own.entries, change);
    }

    /// Writes what was changed here, and reads what others have changed, whenever there is something. Cancel-safe: what was
    /// under way is done again.
    pub(super) async fn news(&mut self) -> News {
        loop {
            if std::mem::take(&mut self.adopts) {
                return News::Changed;
            }
            self.wait().await;
            match self.exchange().await {
                Ok(()) => (self.told, self.again_at) = (None, None),
                Err(failure) => {
                    let is_first = self.again_at.replace(clock::timer_after(AGAIN_SPACING)).is_none();
                    if is_first {
                        return News::Failed { failure, unwritten: self.own.is_some() };
                    }
                }
            }
        }
    }

    /// Until there is something to ask.
    async fn wait(&mut self) {
        let is_due = self.own.is_some() || self.told.is_some();
        match self.again_at {
            None if is_due => {}
            Some(at) if is_due => tokio::select! {
                version = self.store.changed() => self.told = Some(version),
                () = tokio::time::sleep_until(at) => {}
            },
            _ => self.told = Some(self.store.changed().await),
        }
    }

    async fn exchange(&mut self) -> Result<(), Failure> {
        // A store that has lost its memory is told again.
        if let Some(told) = self.told.filter(|told| *told < self.version) {
            self.version = told;
            if !self.changes.is_empty() {
                let (again, resets) = (self.own.is_none(), self.own.as_ref().is_some_and(|own| own.resets));
                self.own = Some(Own { resets, again, entries: self.changes.clone() });
            }
        }
        for _ in 0..TRIES {
            if self.own.is_some() {
                let text = serde_json::to_string(&self.changes).unwrap_or_default();
                let next = self.highest + 1;
                if self.store.write(self.version, next, &text).await? {
                    (self.version, self.highest) = (next, next);
                    self.own = None;
                    return Ok(());
                }
            } else if self.told.is_none_or(|told| told == self.version) {
                return Ok(());
            }
            let (version, text) = self.store.read().await?;
            let mut changes = serde_json::from_str(&text).unwrap_or_default();
            self.own.take_if(|own| own.again && version > self.highest);
            self.highest = self.highest.max(version);
            if let Some(own) = &self.own {
                own.apply(&mut changes);
            }
            (self.version, self.changes, self.adopts) = (version, changes, true);
            self.told = self.told.map(|_| version);
        }
        Ok(())
    }
}

impl Own {
    fn apply(&self, changes: &mut Vec<Entry>) {
        if self.resets {
            changes.clear();
        }
        for own in &self.entries {
            match changes.iter_mut().find(|entry| entry.to == own.to) {
                Some(entry) if own.forgets => *entry = own.clone(),
                Some(entry) => entry.set.extend(own.set.clone()),
                None => changes.push(own.clone()),
            }
        }
    }
}

fn add(changes: &mut Vec<Entry>, change: &Change) {
    let (to, set) = change.parts();
    let entry = changes.iter_mut().find(|entry| entry.to.as_deref() == to);
    match (to, set, entry) {
        (None, None, _) => changes.clear(),
        (_, Some(set), Some(entry)) => entry.set.extend(set),
        (to, Some(set), None) => changes.push(Entry { to: to.map(str::to_owned), forgets: false, set }),
        (_, None, Some(entry)) => (entry.forgets, entry.set) = (true, Map::new()),
        (to, None, None) => changes.push(Entry { to: to.map(str::to_owned), forgets: true, set: Map::new() }),
    }
}
