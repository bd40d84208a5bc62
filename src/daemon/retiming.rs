//! What the owner of the settings does about changes of the timing that hold for all typingd of a store.

use serde_json::Value;
use tracing::{info, warn};

use super::reload::Reloader;
use super::shared_timing::{Entry, add};
use crate::config::Change;
use crate::model::ChannelAddress;

/// How a new version of the changes is called in the log and the events.
const BY: &str = "another typingd of the store";
/// Changes that others make meanwhile are taken in so often before it is left to the next heartbeat.
const TRIES: usize = 3;
impl Reloader {
    /// A change has been made here: it holds for all.
    pub(super) async fn share_timing(&mut self, change: &Change) {
        let Some(shared) = &mut self.shared_timing else { return };
        add(&mut shared.changes, change);
        shared.unwritten = true;
        let mut of_others = false;
        for _ in 0..TRIES {
            match shared.write().await {
                Ok(true) => break,
                Ok(false) => {
                    of_others = true;
                    if let Err(failure) = shared.read().await {
                        return warn!(%failure, "the timing was changed here alone: the store does not answer");
                    }
                    add(&mut shared.changes, change);
                }
                Err(failure) => {
                    return warn!(%failure, "the timing was changed here alone for now: the store does not answer");
                }
            }
        }
        if of_others {
            self.adopt_timing().await;
        }
    }

    /// The store has another version of the changes, or some could not be written.
    pub(super) async fn follow_timing(&mut self, version: u64) {
        let Some(shared) = &mut self.shared_timing else { return };
        // One that has lost its memory is told again.
        let lost = version < shared.version;
        if lost {
            shared.version = version;
        }
        if shared.unwritten || (lost && !shared.changes.is_empty()) {
            shared.unwritten = true;
            if shared.write().await.is_ok_and(|written| written) {
                return;
            }
        }
        if version == shared.version {
            return;
        }
        match shared.read().await {
            Ok(()) => {
                shared.unwritten = false;
                self.adopt_timing().await;
            }
            Err(failure) => {
                info!(%failure, "a change of the timing is not known yet: the store does not answer");
                shared.unwritten = !shared.changes.is_empty();
            }
        }
    }

    /// The configuration has been read again: whatever was changed while running is undone, for all.
    pub(super) async fn reset_shared_timing(&mut self) {
        if self.shared_timing.as_ref().is_some_and(|shared| !shared.changes.is_empty()) {
            self.share_timing(&Change::reset()).await;
        }
    }

    async fn adopt_timing(&mut self) {
        let Some(shared) = &self.shared_timing else { return };
        let mut new = self.config.with(&Change::reset());
        for Entry { to, forgets, set } in &shared.changes {
            let Ok(to) = to.as_deref().map(ChannelAddress::new).transpose() else { continue };
            if let (true, Some(to)) = (forgets, &to) {
                // It may have none here.
                new = new.map(|config| config.with(&Change::forget(to.clone())).unwrap_or(config));
            }
            let set = Value::Object(set.clone()).to_string();
            let Ok(change) = Change::set(to, set.as_bytes()) else { continue };
            new = new.and_then(|config| config.with(&change));
        }
        let new = match new {
            Ok(new) => new,
            Err(refusal) => {
                return warn!(?refusal, "the timing that others have changed does not fit this configuration");
            }
        };
        let report = new.timing_since(&self.config);
        let changed = report.changed.unwrap_or_default();
        if changed.is_empty() || self.hold_to(&new.policy).await {
            self.config = new;
            self.note_timing(BY, &changed);
        } else {
            warn!("the timing that others have changed does not hold here: the daemon is behind with its work");
        }
    }
}
