//! What the owner of the settings does about changes of the timing that hold for all typingd of a store.

use serde_json::Value;
use tracing::{info, warn};

use super::reload::Reloader;
use super::shared_timing::{Entry, News};
use crate::config::Change;
use crate::model::ChannelAddress;

/// How a new version of the changes is called in the log and the events.
const BY: &str = "another typingd of the store";

impl Reloader {
    /// A change has been made here: it holds for all once the store has it, which is not waited for.
    pub(super) fn share_timing(&mut self, change: &Change) {
        if let Some(shared) = &mut self.shared_timing {
            shared.share(change);
        }
    }

    /// What the store says of the timing.
    pub(super) async fn follow_timing(&mut self, news: News) {
        match news {
            News::Changed => self.adopt_timing().await,
            News::Failed { failure, unwritten: true } => {
                warn!(%failure, "the timing was changed here alone for now: the store can't be told");
            }
            News::Failed { failure, unwritten: false } => {
                info!(%failure, "a change of the timing is not known yet: the store can't be asked");
            }
        }
    }

    /// The configuration has been read again: whatever was changed while running is undone, for all.
    pub(super) fn reset_shared_timing(&mut self) {
        if self.shared_timing.as_ref().is_some_and(|shared| !shared.changes.is_empty()) {
            self.share_timing(&Change::reset());
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
