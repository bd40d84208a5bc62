//! Changes of the timing that hold for all typingd of a store: what was changed while running, since the configuration
//! was last read. The store keeps it as JSON with a version, which every heartbeat tells.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::clock;
use crate::config::Change;
use crate::store::{Failure, SharedText};

/// The owner's end.
pub(super) struct SharedTiming {
    store: SharedText,
    pub(super) version: u64,
    pub(super) changes: Vec<Entry>,
    /// The store does not have `changes` yet.
    pub(super) unwritten: bool,
}

/// What was changed of one channel, or of all others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) to: Option<String>,
    /// What the configuration says of the channel is forgotten first.
    pub(super) forgets: bool,
    pub(super) set: Map<String, Value>,
}

/// What could not be written is tried again this often.
const AGAIN_SPACING: std::time::Duration = std::time::Duration::from_secs(1);

impl SharedTiming {
    pub(super) const fn new(store: SharedText) -> Self {
        Self { store, version: 0, changes: Vec::new(), unwritten: false }
    }

    /// The version that the store has, once it is another; or the one that is known, if it is time to write again.
    pub(super) async fn news(&mut self) -> u64 {
        if !self.unwritten {
            return self.store.changed().await;
        }
        tokio::select! {
            version = self.store.changed() => version,
            () = tokio::time::sleep_until(clock::timer_after(AGAIN_SPACING)) => self.version,
        }
    }

    /// Writes `self.changes`. Returns whether it held against those of others.
    pub(super) async fn write(&mut self) -> Result<bool, Failure> {
        let text = serde_json::to_string(&self.changes).unwrap_or_default();
        let written = self.store.write(self.version, &text).await?;
        if written {
            self.version += 1;
            self.unwritten = false;
        }
        Ok(written)
    }

    /// Takes the store's changes instead of one's own.
    pub(super) async fn read(&mut self) -> Result<(), Failure> {
        let (version, text) = self.store.read().await?;
        self.version = version;
        self.changes = serde_json::from_str(&text).unwrap_or_default();
        Ok(())
    }
}

pub(super) fn add(changes: &mut Vec<Entry>, change: &Change) {
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
