//! The settings in force while the daemon runs: their single owner, who reads the configuration again when told to.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info};

use super::signals::{Signals, Told};
use crate::admin::timing::{Ask, Denial};
use crate::clock;
use crate::config::{self, Change, Config, Overrides, Report};
use crate::driver::Controls;
use crate::engine::policy::Policy;

/// How long the driver may take to hear of a new policy, and to hold to it.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);
/// Changes told one by one after the configuration has been read again; further ones are counted. An org's 2,000
/// channels could else tell 10,000.
const CHANGES_TOLD_MAX: usize = 100;

/// Serves until told to stop; takes a changed configuration when told to, and changes of the timing. It owns the
/// configuration in force. Returns the grace in force.
pub(super) async fn serve_until_told(
    mut config: Config,
    overrides: &Overrides,
    loops: &[Controls],
    recording: &watch::Sender<bool>,
    signals: &mut Signals,
    mut asked: mpsc::Receiver<Ask>,
) -> Duration {
    // A change is work for the driver, the more the more people type. It has as much time for its own after each.
    let mut rested = clock::timer_after(Duration::ZERO);
    loop {
        let next = async {
            tokio::time::sleep_until(rested).await;
            asked.recv().await
        };
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => return config.shutdown_grace,
                Told::Reload => {
                    config = reload(config, overrides, loops).await;
                    recording.send_replace(config.ingest.recording);
                }
            },
            Some(Ask { change, answer }) = next => match change {
                // Whoever has asked has gone, and would not know of a change.
                _ if answer.is_closed() => {}
                None => {
                    let _ = answer.send(Ok(config.timing()));
                }
                Some(change) => {
                    let took = clock::stopwatch();
                    let outcome = retime(&mut config, &change, loops).await;
                    let _ = answer.send(outcome);
                    rested = clock::timer_after(took.elapsed());
                }
            },
        }
    }
}

/// Reads the configuration again, and says what has changed. A wrong one changes nothing.
async fn reload(config: Config, overrides: &Overrides, loops: &[Controls]) -> Config {
    match config::load(overrides) {
        Ok(new) => {
            if !hold_to(loops, &new.policy).await {
                error!("the driver does not answer: nothing has been changed");
                return config;
            }
            let changes = config.changes(&new);
            for change in changes.iter().take(CHANGES_TOLD_MAX) {
                info!("configuration: {change}{}", if takes_hold(change) { "" } else { " (at the next start)" });
            }
            if changes.len() > CHANGES_TOLD_MAX {
                info!("configuration: and {} more changes", changes.len() - CHANGES_TOLD_MAX);
            }
            let live = config.live_changes();
            if live > 0 {
                info!(settings = live, "what was changed while running has fallen away: the configuration holds");
            }
            info!(changes = changes.len(), "configuration read again");
            new
        }
        Err(problems) => {
            for problem in &problems {
                error!("configuration: {problem}");
            }
            error!(problems = problems.len(), "the configuration is wrong: nothing has been changed");
            config
        }
    }
}

/// Changes the timing in force.
async fn retime(config: &mut Config, change: &Change, loops: &[Controls]) -> Result<Report, Denial> {
    let new = config.with(change).map_err(Denial::Refused)?;
    let report = new.timing_since(config);
    let changed = report.changed.as_deref().unwrap_or_default();
    if !changed.is_empty() && !hold_to(loops, &new.policy).await {
        return Err(Denial::Behind);
    }
    for changed in changed {
        debug!(key = %changed.key, old = ?changed.old, new = ?changed.new, "timing changed");
    }
    *config = new;
    Ok(report)
}

/// Gives a new policy to every loop, the daemon's own first; whether that one takes it. A shadow's has no icon to answer
/// for.
async fn hold_to(loops: &[Controls], policy: &Policy) -> bool {
    let mut held = Vec::new();
    for controls in loops {
        held.push(controls.hold_to(policy.clone(), DRIVER_PATIENCE).await);
    }
    held.first() == Some(&true)
}

/// Whether a changed key is taken by the running daemon.
fn takes_hold(change: &str) -> bool {
    const HELD: [&str; 7] = [
        "timing.",
        "channels.",
        "delivery.",
        "upstream.max_requests_per_second",
        "upstream.max_in_flight",
        "ingest.max_conversations",
        "ingest.recording",
    ];
    HELD.iter().any(|key| change.starts_with(key))
        && !change.contains("authorization_context")
        && !change.contains("state_dir")
}
