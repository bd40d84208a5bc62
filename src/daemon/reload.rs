//! The settings in force while the daemon runs: their single owner, who reads the configuration again when told to.
//!
//! What is read is proven first, and taken then: whatever is wrong or out of reach, nothing has been changed.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use super::listeners::{Bound, Doors};
use super::os_signals::{Signals, Told};
use super::parts::{caller_token, file_problems};
use super::status::Route;
use super::upstream::{FarSide, Turn};
use crate::api::control::{Order, Reloaded, TakesHold, Unchanged};
use crate::api::timing::{Ask, Denial};
use crate::base::clock;
use crate::base::files;
use crate::config::{self, Change, Config, KeyChange, Overrides, Report};
use crate::daemon::service_manager::Supervisor;
use crate::driver::Controls;
use crate::engine::policy::Policy;
use crate::http::{Gate, Serving};
use crate::observe::snapshot::{ConfigurationInfo, Reload};
use crate::telemetry::{self, Change as LevelChange};

/// How long the driver may take to hear of a new policy, and to hold to it.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);
/// Changes told one by one after the configuration has been read again; further ones are counted. An org's 2,000
/// channels could else tell 10,000.
const CHANGES_TOLD_MAX: usize = 100;

/// The owner of the settings in force, with those who have to hear of others.
pub(super) struct Steward {
    pub(super) config: Config,
    pub(super) overrides: Overrides,
    pub(super) controls: Controls,
    pub(super) far_side: FarSide,
    /// The daemon's own routes, to which the drop-in adds its own.
    pub(super) own: Vec<Router>,
    pub(super) serving: watch::Sender<Serving>,
    pub(super) route: watch::Sender<Route>,
    pub(super) gate: Gate,
    pub(super) recording: watch::Sender<bool>,
    pub(super) body_bytes_max: watch::Sender<usize>,
    pub(super) doors: Doors,
    pub(super) configuration: watch::Sender<ConfigurationInfo>,
    pub(super) supervisor: Supervisor,
    /// What was last found to be wrong, lest whoever asks again and again fills the log with it.
    pub(super) told: Option<Unchanged>,
}

/// A configuration that has been proven: nothing that can fail is left to be done for it.
struct Proven {
    config: Config,
    token: Option<String>,
    bound: Vec<Bound>,
    turn: Turn,
    warnings: Vec<String>,
}

/// Who wants the configuration to be read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Whoever may send signals to the process.
    Operator,
    /// Whoever may call: what is not news is not logged for one.
    Caller,
}

impl Steward {
    /// Serves until told to stop: changes the timing, reads the configuration again. Returns the grace in force.
    pub(super) async fn serve_until_told(
        &mut self,
        signals: &mut Signals,
        asked: &mut mpsc::Receiver<Ask>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Duration {
        // A change is work for the driver, the more the more people type. It has as much time for its own after each.
        let mut rested = clock::timer_after(Duration::ZERO);
        loop {
            let next = async {
                tokio::time::sleep_until(rested).await;
                tokio::select! {
                    Some(ask) = asked.recv() => Next::Ask(ask),
                    Some(order) = orders.recv() => Next::Order(order),
                    else => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                told = signals.next() => Next::Told(told),
                next = next => next,
            };
            let took = clock::stopwatch();
            match next {
                Next::Told(Told::Stop) => return self.config.shutdown_grace,
                Next::Told(Told::Reload) => {
                    if self.reload(Asker::Operator, signals).await.is_none() {
                        return self.config.shutdown_grace;
                    }
                }
                // Whoever has asked has gone, and would not know of a change.
                Next::Ask(ask) if ask.answer.is_closed() => {}
                Next::Ask(Ask { change: None, answer }) => {
                    let _ = answer.send(Ok(self.config.timing()));
                    continue;
                }
                Next::Ask(Ask { change: Some(change), answer }) => {
                    let _ = answer.send(self.retime(&change).await);
                }
                Next::Order(Order::Reload(answer)) if answer.is_closed() => {}
                Next::Order(Order::Reload(answer)) => match self.reload(Asker::Caller, signals).await {
                    None => return self.config.shutdown_grace,
                    Some(outcome) => {
                        let _ = answer.send(outcome);
                    }
                },
                Next::Order(Order::Shutdown(answer)) => {
                    let _ = answer.send(self.config.shutdown_grace);
                    return self.config.shutdown_grace;
                }
            }
            rested = clock::timer_after(took.elapsed());
        }
    }

    /// Answers those who ask while the daemon is stopping. Nothing is changed any more: whoever wants that hears that the
    /// daemon is shutting down, for its answer is dropped.
    pub(super) async fn answer_to_the_end(
        &self,
        asked: &mut mpsc::Receiver<Ask>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Infallible {
        loop {
            tokio::select! {
                Some(ask) = asked.recv() => {
                    if ask.change.is_none() {
                        let _ = ask.answer.send(Ok(self.config.timing()));
                    }
                }
                Some(order) = orders.recv() => {
                    if let Order::Shutdown(answer) = order {
                        let _ = answer.send(self.config.shutdown_grace);
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Reads the configuration again, and says what has changed. One that is wrong changes nothing. `None` when the
    /// daemon has been told to stop meanwhile, and nothing has been changed.
    async fn reload(&mut self, asker: Asker, signals: &mut Signals) -> Option<Result<Reloaded, Unchanged>> {
        let at = clock::wall_millis();
        self.supervisor.reloading().await;
        let proven = tokio::select! {
            biased;
            () = signals.next_stop() => return None,
            proven = self.prove() => proven,
        };
        let outcome = match proven {
            Ok(proven) => self.take(proven).await,
            Err(unchanged) => Err(unchanged),
        };
        let changes = outcome.as_ref().map_or(0, |reloaded| reloaded.changes.len());
        self.configuration.send_modify(|info| {
            if outcome.is_ok() {
                (info.file, info.read_at) = (self.config.file.clone(), at);
            }
            info.last_reload = Some(Reload { at, ok: outcome.is_ok(), changes });
        });
        match &outcome {
            Ok(reloaded) => {
                self.told = None;
                if asker == Asker::Operator || !reloaded.changes.is_empty() {
                    info!(changes = reloaded.changes.len(), "configuration read again");
                }
            }
            Err(unchanged) if asker == Asker::Caller && self.told.as_ref() == Some(unchanged) => {}
            Err(unchanged) => {
                tell(unchanged);
                self.told = Some(unchanged.clone());
            }
        }
        self.supervisor.reloaded().await;
        Some(outcome)
    }

    /// Reads the configuration, and does all for it that can fail, without changing anything.
    async fn prove(&self) -> Result<Proven, Unchanged> {
        // Who starts the daemon may pass the configuration through a pipe; reading that again would wait for ever.
        if let Some(path) = &self.config.file
            && path.exists()
            && let Err(error) = files::must_be_regular(path)
        {
            return Err(Unchanged::Wrong(vec![format!("{} can't be read again: {error}", path.display())]));
        }
        let config = config::load(&self.overrides)
            .map_err(|problems| Unchanged::Wrong(problems.iter().map(ToString::to_string).collect()))?;
        let problems = file_problems(&config);
        if !problems.is_empty() {
            return Err(Unchanged::Wrong(problems));
        }
        let token =
            caller_token(config.ingest.token_file.as_ref()).map_err(|problem| Unchanged::Wrong(vec![problem]))?;
        let warnings = config::warnings(&config);
        let bound = self.doors.bind_missing(&config.ingest.listen).await;
        let bound = bound.map_err(|problem| Unchanged::Hindered(vec![problem]))?;
        let turn = self.far_side.prove(&config).await?;
        Ok(Proven { config, token, bound, turn, warnings })
    }

    /// Puts in force what has been proven.
    async fn take(&mut self, proven: Proven) -> Result<Reloaded, Unchanged> {
        let Proven { config, token, bound, turn, warnings } = proven;
        // The one thing left that can fail comes first.
        if !self.hold_to(&config.policy).await {
            return Err(Unchanged::Behind);
        }
        if self.far_side.turn(turn, Some(&self.controls)).await {
            self.serving.send_replace(self.far_side.serving(&self.own));
        }
        self.gate.renew(token.as_deref());
        self.doors.turn_to(&config.ingest.listen, bound);
        self.route.send_replace(Route {
            upstream: self.far_side.base_url(),
            listening: self.doors.addresses(),
            drop_in: self.far_side.dropped_in().cloned(),
        });
        self.body_bytes_max.send_replace(config.ingest.body_bytes_max);
        self.recording.send_replace(config.ingest.recording);
        let changes = self.config.changes(&config);
        let changes: Vec<_> = changes.into_iter().map(|change| (takes_hold(&change), change)).collect();
        for (takes_hold, change) in changes.iter().take(CHANGES_TOLD_MAX) {
            let later = if *takes_hold == TakesHold::Now { "" } else { " (at the next start)" };
            info!("configuration: {change}{later}");
        }
        if changes.len() > CHANGES_TOLD_MAX {
            info!("configuration: and {} more changes", changes.len() - CHANGES_TOLD_MAX);
        }
        let live = self.config.live_changes();
        if live > 0 {
            info!(settings = live, "what was changed while running has fallen away: the configuration holds");
        }
        let known = config::warnings(&self.config);
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            warn!("configuration: {warning}");
        }
        // Where the configuration says what it said, it is a caller's change that falls away.
        let same = self.config.log.level == config.log.level;
        let by = if same { LevelChange::Caller } else { LevelChange::Configuration };
        telemetry::set_level(config.log.level, by);
        self.config = config;
        Ok(Reloaded {
            changes: changes.into_iter().map(|(takes_hold, change)| (change, takes_hold)).collect(),
            warnings,
        })
    }

    /// Changes the timing in force.
    async fn retime(&mut self, change: &Change) -> Result<Report, Denial> {
        let new = self.config.with(change).map_err(Denial::Refused)?;
        let report = new.timing_since(&self.config);
        let changed = report.changed.as_deref().unwrap_or_default();
        if !changed.is_empty() && !self.hold_to(&new.policy).await {
            return Err(Denial::Behind);
        }
        for changed in changed {
            debug!(key = %changed.key, old = ?changed.old, new = ?changed.new, "timing changed");
        }
        self.config = new;
        Ok(report)
    }

    /// Gives a new policy to every loop, the daemon's own first; whether that one takes it. A shadow's has no icon to
    /// answer for.
    async fn hold_to(&self, policy: &Policy) -> bool {
        let mut held = Vec::new();
        for controls in std::iter::once(self.controls.clone()).chain(self.far_side.shadow()) {
            held.push(controls.set_policy(policy.clone(), DRIVER_PATIENCE).await);
        }
        held.first() == Some(&true)
    }
}

/// What the owner of the settings does next.
enum Next {
    Told(Told),
    Ask(Ask),
    Order(Order),
}

/// Says why nothing has been changed.
fn tell(unchanged: &Unchanged) {
    match unchanged {
        Unchanged::Wrong(problems) => {
            for problem in problems {
                error!("configuration: {problem}");
            }
            error!(problems = problems.len(), "the configuration is wrong: nothing has been changed");
        }
        Unchanged::Hindered(problems) => {
            for problem in problems {
                error!("configuration: {problem}");
            }
            error!("the configuration can't take hold: nothing has been changed");
        }
        Unchanged::Behind => error!("the driver does not answer: nothing has been changed"),
    }
}

/// From when on a changed key holds.
fn takes_hold(change: &KeyChange) -> TakesHold {
    const LATER: [&str; 4] = ["delivery.state_dir", "delivery.recover_within", "log.format", "log.otlp_endpoint"];
    if LATER.iter().any(|key| change.key.starts_with(key)) { TakesHold::NextStart } else { TakesHold::Now }
}
