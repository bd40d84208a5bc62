//! Logs: text for people, JSON for machines, on the standard error. And the names under which end users appear there.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log_fmt};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for a person.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Begins to log. Only the first call of a process has an effect.
pub fn start(format: Format, level: LevelFilter) {
    // The libraries' own news is of no use to an operator below a warning.
    let filter = Targets::new().with_target("typingd", level).with_default(level.min(LevelFilter::WARN));
    let registry = tracing_subscriber::registry();
    let _ = match format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let layer = log_fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
            registry.with(layer.with_filter(filter)).try_init()
        }
        Format::Json => {
            let layer = log_fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer.with_filter(filter)).try_init()
        }
    };
}

/// Gives end users the names under which they may appear in logs: short keyed hashes. The key is drawn at the start and
/// kept nowhere, so that the lines of one run belong together and those of two runs don't.
#[derive(Clone, Debug, Default)]
pub struct Pseudonyms(std::hash::RandomState);

/// An end user's name in the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonym(u32);

impl Pseudonyms {
    /// The name of the end user `from`.
    #[must_use]
    pub fn of(&self, from: &str) -> Pseudonym {
        let mut hasher = self.0.build_hasher();
        hasher.write(from.as_bytes());
        Pseudonym((hasher.finish() >> 32) as u32)
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0)
    }
}
