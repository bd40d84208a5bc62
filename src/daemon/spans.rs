//! The export of spans, where it was built in and is asked for.

use tokio::task::JoinHandle;

use super::StartError;
use crate::base::clock::Clock;
use crate::base::pseudonym::Pseudonyms;
use crate::config::Config;
use crate::observe::events::Feed;
use crate::salesforce::Client;

/// The task that exports, if there is one.
pub(super) struct Spans(Option<JoinHandle<()>>);

impl Spans {
    /// Begins to export what `feed` brings from now on.
    #[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "without the feature nothing is exported"))]
    pub(super) fn start(
        config: &Config,
        feed: &Feed,
        client: &Client,
        clock: Clock,
        pseudonyms: &Pseudonyms,
    ) -> Result<Self, StartError> {
        #[cfg(feature = "otlp")]
        if let (Some(endpoint), Some(watch)) = (&config.otlp_endpoint, feed.watch()) {
            let client = client.clone();
            let surroundings = crate::telemetry::spans::Surroundings {
                endpoint: endpoint.clone(),
                clock,
                pseudonyms: pseudonyms.clone(),
                request_id: Box::new(move |decision| client.request_id(decision)),
            };
            let task = crate::telemetry::spans::start(watch, surroundings);
            return Ok(Self(Some(task.map_err(|what| StartError::Configuration(vec![what]))?)));
        }
        Ok(Self(None))
    }

    /// Waits until what is left has been exported: bounded, as the task bounds itself. The driver must have ended.
    pub(super) async fn finish(self) {
        if let Some(task) = self.0 {
            let _ = tokio::time::timeout(super::HANG_UP_MAX, task).await;
        }
    }
}
