//! Logs: text for people, JSON for machines, on the standard error. And spans.

mod journald;
mod level;
#[cfg(feature = "otlp")]
pub(crate) mod spans;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log_fmt, reload};

use journald::Prioritised;
pub(crate) use level::{Change, level, set_level};

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
pub(crate) fn start(format: Format, level: LevelFilter) {
    let (filter, handle) = reload::Layer::new(level::filter(level));
    let registry = tracing_subscriber::registry();
    let layer = log_fmt::layer().with_writer(std::io::stderr);
    // The journal stamps each line with its own time, and takes the weight from a prefix.
    let started = match (format, journald::is_reading()) {
        (Format::Text, false) => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(layer.with_ansi(colour).with_target(false).with_filter(filter)).try_init()
        }
        (Format::Text, true) => {
            let lines = format::format().without_time().with_level(false).with_target(false).with_ansi(false);
            registry.with(layer.with_ansi(false).event_format(Prioritised(lines)).with_filter(filter)).try_init()
        }
        (Format::Json, false) => registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init(),
        (Format::Json, true) => {
            let lines = Prioritised(format::format().json().flatten_event(true));
            registry.with(layer.fmt_fields(JsonFields::new()).event_format(lines).with_filter(filter)).try_init()
        }
    };
    if started.is_ok() {
        level::keep(level, handle);
        let _ = JSON.set(format == Format::Json);
    }
}

/// Whether the standard error is a log of JSON objects.
pub(crate) fn is_json() -> bool {
    JSON.get().is_some_and(|json| *json)
}

static JSON: OnceLock<bool> = OnceLock::new();
