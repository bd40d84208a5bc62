//! Spans from signal to acknowledgement, for a collector that speaks OTLP over HTTP.
//!
//! It is one more watcher of the history, and nothing else knows of it: deliveries never wait for it. What a
//! collector doesn't take in time is lost, and counted.

mod export;
mod story;

use std::fmt;

use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::pseudonym::Pseudonyms;
use crate::observe::events::Watch;

/// What spans are made with.
pub(crate) struct Surroundings {
    /// Where the collector takes them: its address, with or without `/v1/traces`.
    pub endpoint: Url,
    /// The clock of the events.
    pub clock: Clock,
    /// As in the log.
    pub pseudonyms: Pseudonyms,
    /// The RequestId of a decision.
    pub request_id: Box<dyn Fn(u64) -> Uuid + Send>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

/// Exports what `watch` brings until the driver has ended, and then what is left, within bounds.
///
/// # Errors
/// One sentence, when there is no way to call a collector.
pub(crate) fn start(watch: Watch, surroundings: Surroundings) -> Result<JoinHandle<()>, String> {
    let Surroundings { endpoint, clock, pseudonyms, request_id } = surroundings;
    let collector = export::Collector::new(&endpoint)?;
    let stories = story::Stories::new(clock, pseudonyms, request_id);
    Ok(tokio::spawn(export::run(watch, stories, collector)))
}
