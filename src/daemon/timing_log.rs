//! Changes of the timing in the log and as events: each is seen, whoever made it. Never more than one line a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use crate::api::timing::TimingChange;
use crate::base::clock;
use crate::base::text::printable;
use crate::config::Changed;

/// Lines are at least this far apart; changes in between are in the next one.
const SPACING: Duration = Duration::from_secs(1);
/// Keys named in one line; further ones are counted.
const KEYS_LOGGED_MAX: usize = 8;

/// What has changed since the last line.
#[derive(Debug, Default)]
pub(super) struct TimingLog {
    by: BTreeSet<&'static str>,
    /// By key, what it was at the last line, and what it is.
    keys: BTreeMap<String, (Option<Value>, Option<Value>)>,
    /// No line before this.
    until: Option<Instant>,
    changes: watch::Sender<Option<Arc<TimingChange>>>,
}

impl TimingLog {
    /// The last change, for readers of the indicators.
    pub(super) fn changes(&self) -> watch::Receiver<Option<Arc<TimingChange>>> {
        self.changes.subscribe()
    }

    /// The timing has been changed by way of `by`, `at` in Unix epoch milliseconds.
    pub(super) fn note(&mut self, at: u64, by: &'static str, changed: &[Changed]) {
        self.changes.send_replace(Some(Arc::new(TimingChange::new(at, by, changed))));
        self.by.insert(by);
        for Changed { key, old, new } in changed {
            self.keys.entry(key.clone()).or_insert_with(|| (old.clone(), None)).1.clone_from(new);
        }
        // What is again what it was at the last line has not changed.
        self.keys.retain(|_, (old, new)| old != new);
        if self.keys.is_empty() {
            self.by.clear();
        }
        if self.until.is_none_or(|until| until <= clock::timer_after(Duration::ZERO)) {
            self.write();
        }
    }

    /// When [`TimingLog::write`] is due; `None` while nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until.filter(|_| !self.keys.is_empty())
    }

    /// Writes the line, if there is something to log.
    pub(super) fn write(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let by = std::mem::take(&mut self.by).into_iter().collect::<Vec<_>>().join(", ");
        if !keys.is_empty() {
            self.until = Some(clock::timer_after(SPACING));
            info!(by, "timing changed: {}", text(&keys));
        }
    }
}

fn text(keys: &BTreeMap<String, (Option<Value>, Option<Value>)>) -> String {
    let value = |value: &Option<Value>| match value {
        Some(Value::String(text)) => printable(text),
        Some(value) => printable(&value.to_string()),
        None => "(as for all)".to_owned(),
    };
    let shown = keys.iter().take(KEYS_LOGGED_MAX);
    let mut shown: Vec<_> =
        shown.map(|(key, (old, new))| format!("{} from {} to {}", printable(key), value(old), value(new))).collect();
    if keys.len() > KEYS_LOGGED_MAX {
        shown.push(format!("and {} more", keys.len() - KEYS_LOGGED_MAX));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changes_within_a_second_is_one_line() {
        let mut log = TimingLog::default();
        let change = |key: &str, old: &str, new: &str| Changed {
            key: key.to_owned(),
            old: Some(old.into()),
            new: Some(new.into()),
        };
        log.note(1, "SIGHUP", &[change("a", "1s", "2s")]);
        assert_eq!((log.keys.len(), log.due()), (0, None), "the first is logged at once");
        for new in ["3s", "4s"] {
            log.note(1, "PUT /v1/timing", &[change("a", "2s", new)]);
        }
        assert_eq!(text(&log.keys), "a from 2s to 4s");
        for (old, new) in [("4s", "2s"), ("2s", "4s")] {
            log.note(1, "PUT /v1/timing", &[change("a", old, new)]);
            assert_eq!(log.due().is_some(), new == "4s", "a net change of nothing is no line");
        }
        let due = log.due().unwrap();
        tokio::time::sleep_until(due).await;
        log.write();
        assert_eq!(log.due(), None);
        let many: Vec<_> = (0..10).map(|key| change(&key.to_string(), "1s", "2s")).collect();
        log.note(1, "SIGHUP", &many);
        assert!(text(&log.keys).ends_with("7 from 1s to 2s, and 2 more"), "{}", text(&log.keys));
    }
}
