//! Logs: text for people, JSON for machines, on the standard error. And spans.

mod journald;
mod level;
mod queue;
#[cfg(feature = "otlp")]
pub(crate) mod spans;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log_fmt, reload};

use journald::Prioritised;
pub(crate) use journald::is_reading as is_for_the_journal;
pub(crate) use level::{Change, level, set_level};
use queue::LOG;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for a person.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Writes why the process ends to the standard error: as an event where that is a log in JSON, as errors where it is the
/// journal (`journalctl -p err` shows them), and as a line else.
pub(crate) fn report(reason: &str) {
    if is_json() {
        tracing::error!("{reason}");
        return;
    }
    let text = format!("typingd: {reason}\n");
    let text = if journald::is_reading() { journald::as_errors(&text) } else { text };
    // After what has been logged.
    flush();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A defect is an error for the journal, too.
fn report_panics_to_the_journal() {
    std::panic::set_hook(Box::new(|defect| report(&format!("defect: {defect}"))));
}

/// Begins to log. Only the first call of a process has an effect.
pub(crate) fn start(format: Format, level: LevelFilter) {
    let (filter, handle) = reload::Layer::new(level::filter(level));
    let registry = tracing_subscriber::registry();
    let layer = log_fmt::layer().with_writer(LOG.clone());
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
    if journald::is_reading() {
        report_panics_to_the_journal();
    }
    if started.is_ok() {
        // Fails only where no thread can be had; nothing else starts then, either.
        let _ = LOG.start(io::stderr(), |lines| {
            tracing::warn!(lines, "lines of the log were dropped while its reader did not read");
        });
        level::keep(level, handle);
        let _ = JSON.set(format == Format::Json);
    }
}

/// Waits until what has been logged is written; not for long, should its reader not read.
pub(crate) fn flush() {
    LOG.flush(FLUSH_MAX);
}

/// Lines of the log that have been dropped since the start, because its reader did not read.
pub(crate) fn dropped() -> u64 {
    LOG.dropped()
}

/// Whether the standard error is a log of JSON objects.
pub(crate) fn is_json() -> bool {
    JSON.get().is_some_and(|json| *json)
}

static JSON: OnceLock<bool> = OnceLock::new();

/// A reader that is awake takes what there is in far less.
const FLUSH_MAX: Duration = Duration::from_millis(500);
