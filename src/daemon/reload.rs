//! The settings in force while the daemon runs: their single owner reads the configuration again on request.
//!
//! A configuration is tried out first and put in force then: if anything is wrong or out of reach, nothing changes.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::end::LastResort;
use super::files::{caller_tokens, file_problems, token_file_warning};
use super::listeners::Served;
use super::os_signals::{Request, Signals};
use super::shared_timing::{News, SharedTiming};
use super::timing_log::TimingLog;
use super::upstream::Upstream;
use crate::api::control::{Order, Reloaded, TakesHold, Unchanged};
use crate::api::timing::{Ask, Denial};
use crate::base::clock;
use crate::base::files;
use crate::config::{self, Change, Changed, Config, Draft, KeyChange, Overrides, Problem, Report};
use crate::daemon::service_manager::Supervisor;
use crate::driver::Controls;
use crate::drop_in::DropIn;
use crate::engine::policy::Policy;
use crate::http::{CallerTokens, Gates};
use crate::observe::snapshot::{ConfigurationInfo, Reload};
use crate::salesforce::Prepared;
use crate::telemetry::{self, Change as LevelChange};

/// How long the driver may take to put a new policy in force.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes logged one by one after the configuration has been read again; further ones are counted. An org's 2,000
/// channels could otherwise make 10,000.
const CHANGES_LOGGED_MAX: usize = 100;

/// The owner of the settings in force, and the parts that use them.
pub(super) struct Reloader {
    pub(super) config: Config,
    pub(super) overrides: Overrides,
    /// The configuration of the start: addresses and the like stay what they are in it.
    pub(super) started: Config,
    /// The bearer tokens that callers must show.
    pub(super) tokens: CallerTokens,
    pub(super) controls: Controls,
    pub(super) upstream: Upstream,
    pub(super) served: Served,
    pub(super) drop_in: watch::Sender<Option<DropIn>>,
    pub(super) gates: Gates,
    pub(super) recording: watch::Sender<bool>,
    pub(super) body_bytes_max: watch::Sender<usize>,
    pub(super) configuration: watch::Sender<ConfigurationInfo>,
    pub(super) supervisor: Supervisor,
    pub(super) last_resort: LastResort,
    /// The last failure, so that a caller who asks again and again doesn't fill the log with it.
    pub(super) logged: Option<Unchanged>,
    pub(super) timing_log: TimingLog,
    /// Where several typingd share a store.
    pub(super) shared_timing: Option<SharedTiming>,
}

/// A configuration that has been tried out: nothing that can fail is left to be done for it.
struct Ready {
    config: Config,
    tokens: CallerTokens,
    /// `None` with another org whose predecessor's files are gone: nothing of the upstream changes.
    upstream: Option<Prepared>,
    warnings: Vec<String>,
}

/// Who wants the configuration to be read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// By a signal to the process.
    Operator,
    /// By HTTP: what is not news is not logged.
    Caller,
}

impl Asker {
    fn name(self) -> &'static str {
        match self {
            Self::Operator => "SIGHUP",
            Self::Caller => "POST /v1/reload",
        }
    }
}

impl Reloader {
    /// Serves until asked to stop: changes the timing, reads the configuration again. Returns the grace in force.
    pub(super) async fn serve_until_stop(
        &mut self,
        signals: &mut Signals,
        asked: &mut mpsc::Receiver<Ask>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Duration {
        let grace = self.until_stop(signals, asked, orders).await;
        self.timing_log.write();
        grace
    }

    async fn until_stop(
        &mut self,
        signals: &mut Signals,
        asked: &mut mpsc::Receiver<Ask>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Duration {
        // A change is work for the driver, the more the more users are typing. After each it has as much time for its own.
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
            let log_due = self.timing_log.due();
            let log_due = async {
                tokio::time::sleep_until(log_due?).await;
                Some(())
            };
            let shared_timing = &mut self.shared_timing;
            let shared = async {
                match shared_timing {
                    Some(shared) => shared.news().await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                request = signals.next() => Next::Signal(request),
                next = next => next,
                news = shared => Next::Timing(news),
                Some(()) = log_due => {
                    self.timing_log.write();
                    continue;
                }
            };
            let took = clock::stopwatch();
            match next {
                Next::Signal(Request::Stop) => return self.config.shutdown_grace,
                Next::Signal(Request::Reload) => {
                    if self.reload(Asker::Operator, signals).await.is_none() {
                        return self.config.shutdown_grace;
                    }
                }
                // The caller has gone, and would not know of a change.
                Next::Ask(ask) if ask.answer.is_closed() => {}
                Next::Ask(Ask { change: None, answer }) => {
                    let _ = answer.send(Ok(self.config.timing()));
                    continue;
                }
                Next::Ask(Ask { change: Some(change), answer }) => {
                    let retimed = self.retime(&change).await;
                    if retimed.is_ok() {
                        self.share_timing(&change);
                    }
                    let _ = answer.send(retimed);
                }
                Next::Timing(news) => self.follow_timing(news).await,
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

    /// Answers callers while the daemon is stopping. Nothing is changed any more: the answer to such a request is dropped,
    /// so that its caller is answered that the daemon is shutting down.
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

    /// Reads the configuration again, and returns what has changed. One that is wrong changes nothing. `None` when the
    /// daemon has been asked to stop meanwhile, and nothing has been changed.
    async fn reload(&mut self, asker: Asker, signals: &mut Signals) -> Option<Result<Reloaded, Unchanged>> {
        let at = clock::wall_millis();
        self.supervisor.reloading().await;
        let ready = tokio::select! {
            biased;
            () = signals.next_stop() => return None,
            ready = self.prepare() => ready,
        };
        let old = self.config.clone();
        let outcome = match ready {
            Ok(ready) => self.apply(ready).await,
            Err(unchanged) => Err(unchanged),
        };
        self.note_timing(asker.name(), self.config.timing_since(&old).changed.as_deref().unwrap_or_default());
        let changes = outcome.as_ref().map_or(0, |reloaded| reloaded.changes.len());
        self.configuration.send_modify(|info| {
            if outcome.is_ok() {
                (info.file, info.read_at) = (self.config.file.clone(), at);
            }
            info.last_reload = Some(Reload { at, ok: outcome.is_ok(), changes });
        });
        match &outcome {
            Ok(reloaded) => {
                self.logged = None;
                if asker == Asker::Operator || !reloaded.changes.is_empty() {
                    info!(changes = reloaded.changes.len(), "configuration read again");
                }
            }
            Err(unchanged) if asker == Asker::Caller && self.logged.as_ref() == Some(unchanged) => {}
            Err(unchanged) => {
                log_unchanged(unchanged);
                self.logged = Some(unchanged.clone());
            }
        }
        if outcome.is_ok() {
            self.reset_shared_timing();
        }
        self.supervisor.reloaded().await;
        Some(outcome)
    }

    /// Reads the configuration, and does all for it that can fail, without changing anything.
    async fn prepare(&self) -> Result<Ready, Unchanged> {
        // The configuration may have been passed through a pipe; reading that again would wait for ever.
        if let Some(path) = &self.config.file
            && path.exists()
            && let Err(error) = files::must_be_regular(path)
        {
            return Err(Unchanged::Wrong(vec![format!("{} can't be read again: {error}", path.display())]));
        }
        let wrong =
            |problems: Vec<Problem>| Unchanged::Wrong(problems.iter().map(ToString::to_string).collect::<Vec<_>>());
        let draft = Draft::read(&self.overrides);
        let config = draft.config_with(file_problems).map_err(wrong)?;
        let mut tokens = caller_tokens(&draft).map_err(wrong)?;
        self.guard_addresses_in_force(&config, &mut tokens)?;
        let warnings = config::warnings(&config);
        let upstream = self.upstream.prepare(&config).await?;
        Ok(Ready { config, tokens, upstream, warnings })
    }

    /// Other addresses wait for the next start. Until then those in force keep the token that guards them, and no drop-in
    /// opens where other machines reach it.
    fn guard_addresses_in_force(&self, config: &Config, tokens: &mut CallerTokens) -> Result<(), Unchanged> {
        let Config { ingest, admin, .. } = &self.started;
        if config.admin.listen != admin.listen || config.ingest.listen != ingest.listen {
            tokens.admin = tokens.admin.take().or_else(|| self.tokens.admin.clone());
        }
        if config.ingest.listen != ingest.listen {
            tokens.ingest = tokens.ingest.take().or_else(|| self.tokens.ingest.clone());
            if config.drop_in.is_some()
                && let Some(address) = ingest.listen.iter().find(|address| !address.is_local())
            {
                return Err(Unchanged::Wrong(vec![format!(
                    "drop_in.enabled = true: until the next start typingd listens at {address}, which can be reached from \
                     other machines; expected a restart with the new ingest.listen first"
                )]));
            }
        }
        Ok(())
    }

    /// Puts in force what has been tried out.
    async fn apply(&mut self, ready: Ready) -> Result<Reloaded, Unchanged> {
        let Ready { config, tokens, upstream, warnings } = ready;
        // The one thing left that can fail comes first.
        if !self.hold_to(&config.policy).await {
            return Err(Unchanged::Behind);
        }
        let changes = self.config.changes(&config);
        let (old, new) = (&self.config, &config);
        let ingest = old.ingest.token_file == new.ingest.token_file && self.tokens.ingest != tokens.ingest;
        let admin = old.admin.token_file == new.admin.token_file && self.tokens.admin != tokens.admin;
        let changed_files =
            ingest.then_some("ingest.token_file").into_iter().chain(admin.then_some("admin.token_file"));
        let contents: Vec<_> = changed_files.chain(upstream.iter().flat_map(|new| new.changed_files.clone())).collect();
        let console = config.admin.console;
        if upstream.is_some_and(|upstream| self.upstream.apply(&config, upstream))
            || console != self.config.admin.console
        {
            self.served.renew(&self.upstream, console);
            self.drop_in.send_replace(self.upstream.drop_in().cloned());
        }
        self.gates.renew(&tokens);
        self.last_resort.set_grace(config.shutdown_grace);
        self.body_bytes_max.send_replace(config.ingest.body_bytes_max);
        self.recording.send_replace(config.ingest.recording);
        let waiting = self.waiting(&config, &tokens);
        let contents = contents.into_iter().map(|key| (TakesHold::Now, content_change(key)));
        let changes: Vec<_> =
            changes.into_iter().map(|change| (waiting.takes_hold(&change.key), change)).chain(contents).collect();
        self.log_changes(&config, &changes, &warnings);
        // For the caller alone: the log has each change, and a caller who asks again and again must not fill it.
        let mut warnings = warnings;
        warnings.extend(waiting.sentence());
        if waiting.another_org {
            // Those of the org in use have proven themselves; what is wrong with these would show at the next start only.
            warnings.extend(token_file_warning(&config.draft()).map(|warning| warning.to_string()));
        }
        // Where the configuration says what it said, it is a caller's change that falls away.
        let same = self.config.log.level == config.log.level;
        let by = if same { LevelChange::Caller } else { LevelChange::Configuration };
        telemetry::set_level(config.log.level, by);
        (self.config, self.tokens) = (config, tokens);
        let changes = changes.into_iter().map(|(takes_hold, change)| (change, takes_hold)).collect();
        Ok(Reloaded { changes, warnings })
    }

    /// What waits for the next start once `config` and `tokens` are in force.
    fn waiting(&self, config: &Config, tokens: &CallerTokens) -> Waiting {
        // What goes back to what is in force waits for nothing.
        let changed = self.started.changes(config).into_iter().map(|change| change.key).collect();
        let guarding = [
            ("ingest.token_file", &tokens.ingest, &config.ingest.token_file),
            ("admin.token_file", &tokens.admin, &config.admin.token_file),
        ];
        let guarding = guarding.into_iter().filter(|(_, token, file)| token.is_some() && file.is_none());
        Waiting {
            another_org: self.upstream.is_another_org(config),
            changed,
            guarding: guarding.map(|(key, ..)| key).collect(),
        }
    }

    fn log_changes(&self, config: &Config, changes: &[(TakesHold, KeyChange)], warnings: &[String]) {
        for (takes_hold, change) in changes.iter().take(CHANGES_LOGGED_MAX) {
            let later = if *takes_hold == TakesHold::Now { "" } else { " (at the next start)" };
            info!("configuration: {change}{later}");
        }
        if changes.len() > CHANGES_LOGGED_MAX {
            info!("configuration: and {} more changes", changes.len() - CHANGES_LOGGED_MAX);
        }
        if self.upstream.is_another_org(config) {
            warn!("upstream.base_url and upstream.org_id name another org: the one in use stays until the next start");
        }
        let live = self.config.live_changes();
        if live > 0 {
            info!(settings = live, "what was changed while running has fallen away: the configuration holds");
        }
        let known = config::warnings(&self.config);
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            warn!("configuration: {warning}");
        }
    }

    /// Changes the timing in force.
    async fn retime(&mut self, change: &Change) -> Result<Report, Denial> {
        let new = self.config.with(change).map_err(Denial::Refused)?;
        let report = new.timing_since(&self.config);
        let changed = report.changed.as_deref().unwrap_or_default();
        if !changed.is_empty() && !self.hold_to(&new.policy).await {
            return Err(Denial::Behind);
        }
        self.config = new;
        self.note_timing(change.call(), changed);
        Ok(report)
    }

    /// Each change of the timing is a line of the log and an event, and moves a metric.
    pub(super) fn note_timing(&mut self, by: &'static str, changed: &[Changed]) {
        if !changed.is_empty() {
            let at = clock::wall_millis();
            self.configuration.send_modify(|info| info.timing_changed_at = at);
            self.timing_log.note(at, by, changed);
        }
    }

    /// Gives a new policy to every loop, the daemon's own first. Returns whether that one takes it: a shadow's has no icon
    /// to answer for.
    pub(super) async fn hold_to(&self, policy: &Policy) -> bool {
        let mut held = Vec::new();
        for controls in std::iter::once(self.controls.clone()).chain(self.upstream.shadow()) {
            held.push(controls.set_policy(policy.clone(), DRIVER_TIMEOUT).await);
        }
        held.first() == Some(&true)
    }
}

/// What waits for the next start.
struct Waiting {
    /// The configuration names another org than the one in use.
    another_org: bool,
    /// The keys that are other than at the start.
    changed: HashSet<String>,
    /// The keys of tokens that the configuration no longer names, and that guard the addresses in force.
    guarding: Vec<&'static str>,
}

impl Waiting {
    /// When `key` takes hold.
    fn takes_hold(&self, key: &str) -> TakesHold {
        let of_org = self.another_org && is_of_org(key);
        let waits = waits(key, self.another_org) && (self.changed.contains(key) || of_org);
        if waits || self.guarding.contains(&key) { TakesHold::NextStart } else { TakesHold::Now }
    }

    /// The keys whose earlier values hold until the next start.
    fn sentence(&self) -> Option<String> {
        let keys = self.changed.iter().map(String::as_str);
        let mut keys: Vec<_> = keys.filter(|key| self.takes_hold(key) == TakesHold::NextStart).collect();
        keys.sort_unstable();
        (!keys.is_empty()).then(|| format!("the earlier values hold until the next start: {}", keys.join(", ")))
    }
}

enum Next {
    Signal(Request),
    Ask(Ask),
    Order(Order),
    /// Of the changes of the timing that hold for all typingd of a store.
    Timing(News),
}

/// Logs why nothing has been changed.
fn log_unchanged(unchanged: &Unchanged) {
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

/// A file has another content at the same path.
fn content_change(key: &str) -> KeyChange {
    let content = |which: &str| Some(format!("({which} content of the file)"));
    KeyChange { key: key.to_owned(), old: content("earlier"), new: content("new") }
}

/// Whether a key goes with an org.
fn is_of_org(key: &str) -> bool {
    (key.starts_with("upstream.") && !key.starts_with("upstream.max_")) || key.ends_with(".authorization_context")
}

/// Whether a changed key waits for the next start. With `another_org`, everything that goes with an org does.
fn waits(key: &str, another_org: bool) -> bool {
    const LATER: [&str; 8] = [
        "ingest.listen",
        "ingest.socket_mode",
        "admin.listen",
        "delivery.state_dir",
        "delivery.recover_within",
        "store.",
        "log.format",
        "log.otlp_endpoint",
    ];
    LATER.iter().any(|later| key.starts_with(later)) || (another_org && is_of_org(key))
}
