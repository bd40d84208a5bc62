//! What two configurations set differently, key by key.

use std::collections::HashMap;
use std::fmt;

use super::{Config, Line};

/// A key that two configurations set differently. The values are written as in the file; `None` is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// As in the file: `timing.check_interval`, `channels."a".dismiss_after`.
    pub key: String,
    /// What it was.
    pub old: Option<String>,
    /// What it is.
    pub new: Option<String>,
}

impl fmt::Display for KeyChange {
    /// `timing.check_interval: "5s" -> "10s"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        write!(f, "{}: {} -> {}", self.key, shown(&self.old), shown(&self.new))
    }
}

impl Config {
    /// What is different in `new`.
    pub fn changes(&self, new: &Self) -> Vec<KeyChange> {
        let (before, after) = (self.index(), new.index());
        let value = |lines: &HashMap<_, &Line>, of: &Line| lines.get(&of.id()).and_then(|line| line.value.clone().ok());
        let gone = self.lines.iter().filter(|old| !after.contains_key(&old.id()));
        let changes = new.lines.iter().chain(gone).map(|line| KeyChange {
            key: format!("{}.{}", line.table, line.name),
            old: value(&before, line),
            new: value(&after, line),
        });
        changes.filter(|change| change.old != change.new).collect()
    }

    fn index(&self) -> HashMap<(&str, &str), &Line> {
        self.lines.iter().map(|line| (line.id(), line)).collect()
    }
}
