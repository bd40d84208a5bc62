//! The daemon: builds the parts, runs them, drains, stops.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};
use url::Url;
use uuid::Uuid;

use crate::admin::metrics::Metrics;
use crate::admin::stream::SignalStream;
use crate::admin::timing::{Ask, Denial, Timing};
use crate::admin::tune::Tuning;
use crate::admin::{Health, Obstacle};
use crate::clock::{self, Clock};
use crate::config::{self, Change, Config, Overrides, Report};
use crate::driver::{self, Aides, Carrier, Command, Controls, Farewell};
use crate::drop_in::{DropIn, Shadow, Surroundings, Target};
use crate::engine::Engine;
use crate::engine::policy::Policy;
use crate::herald::Herald;
use crate::http::{self, Address, Gate, Limits, Listener, Problem};
use crate::inbox;
use crate::ingest::Ingest;
use crate::journal::{Journal, OpenError};
use crate::ledger::Ledger;
use crate::model::{ChannelAddress, Dispatch, WireResult};
use crate::salesforce::settings::{Auth, Secret, Settings};
use crate::salesforce::{self, Client, TokenState};
use crate::sandbox::{Options, Sandbox};
use crate::vault::Vault;

/// The sandbox's usual port; another one is taken if it is in use.
const SANDBOX_PORT: u16 = 7481;
/// What the last answers may take once the loop has ended.
pub(crate) const HANG_UP_MAX: Duration = Duration::from_secs(1);
/// How long the driver may take to hear of a new policy, and to hold to it.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);
/// Changes told one by one after the configuration has been read again; further ones are counted. An org's 2,000
/// channels could else tell 10,000.
const CHANGES_TOLD_MAX: usize = 100;

/// Why the daemon did not come up.
#[derive(Debug)]
pub enum StartError {
    /// The configuration names things that are not as they should be.
    Configuration(Vec<String>),
    /// The surroundings don't let it.
    Surroundings(String),
    /// Another daemon holds the state directory.
    Held(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => f.write_str(&problems.join("; ")),
            Self::Surroundings(text) | Self::Held(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

impl Carrier for Client {
    async fn carry(&self, dispatch: &Dispatch) -> WireResult {
        self.deliver(dispatch).await
    }
}

/// Where the daemon can be reached once it is up.
#[derive(Debug)]
pub struct Up {
    /// Where it takes signals.
    pub listening: Vec<Address>,
    /// Where its sandbox listens.
    pub sandbox: Option<Address>,
}

/// Runs the daemon until it is told to stop. `announce` is called once, when it listens.
///
/// # Errors
/// When it can't come up. Once it is up, nothing but a signal ends it.
pub async fn run(config: Config, overrides: Overrides, announce: impl FnOnce(&Up)) -> Result<(), StartError> {
    let clock = Clock::start();
    let mut signals = Signals::new().map_err(|e| StartError::Surroundings(format!("can't watch for signals: {e}")))?;
    let (stop, stopping) = watch::channel(false);

    // Everything that can fail comes first: nothing listens before the configuration has proven itself.
    let problems = file_problems(&config);
    if !problems.is_empty() {
        return Err(StartError::Configuration(problems));
    }
    let token =
        caller_token(config.ingest.token_file.as_ref()).map_err(|what| StartError::Configuration(vec![what]))?;
    let mut engine = Engine::new(config.policy.clone(), Uuid::new_v4().as_u64_pair().0);
    // Before the first decision: an icon that the last run left on is one.
    engine.observe_decisions();
    let journal = open_journal(&config, clock, &mut engine)?;
    let mut listeners = Vec::new();
    for address in &config.ingest.listen {
        listeners.push(Listener::bind(address).await.map_err(StartError::Surroundings)?);
    }
    // After the listeners: it can take any port, and they can't.
    let sandbox = match &config.upstream {
        Some(_) => None,
        None => Some(bind_sandbox().await?),
    };
    let settings = upstream(&config, sandbox.as_ref())?;
    let vault = Vault::default();
    let client = client(settings.clone(), clock, vault.clone())?;
    let gate = Gate::new(token.as_deref());

    let (inbox, parcels) = inbox::inbox();
    let (controls, commands) = driver::controls();
    let aides = Aides { journal, herald: Herald::default(), ledger: ledger(&config) };
    let driver = driver::run(engine, clock, client.clone(), parcels, commands, aides);
    let driver = tokio::spawn(driver);
    let drop_in = drop_in(&config, settings, &inbox, vault, gate.clone(), clock)?;
    let shadow = drop_in.as_ref().and_then(|(_, shadow)| shadow.clone());
    let drop_in = drop_in.map(|(drop_in, _)| drop_in);

    // The sandbox must outlive the last Stopped.
    let (stop_sandbox, sandbox_stopping) = watch::channel(false);
    let mut servers = JoinSet::new();
    let up = Up {
        listening: listeners.iter().map(|listener| listener.address().clone()).collect(),
        sandbox: sandbox.as_ref().map(|(listener, _)| listener.address().clone()),
    };
    if let Some((listener, token)) = sandbox {
        info!(address = %listener.address(), "sandbox listening");
        // A connector in front of it shows whatever token it has.
        let token = drop_in.is_none().then_some(token);
        let sandbox = Sandbox::new(Options { token, ..Options::default() }, clock);
        let router = sandbox.router(sandbox_stopping.clone());
        servers.spawn(http::serve(listener, router, Limits::default(), sandbox_stopping));
    }
    let obstacle = obstacle(client.clone());
    let recording = watch::Sender::new(config.ingest.recording);
    let (timing, asked) = Timing::new(gate.clone());
    let router = router(
        [
            Ingest::new(inbox, gate.clone(), config.ingest.body_bytes_max).router(),
            SignalStream::new(controls.clone(), gate.clone(), recording.subscribe()).router(),
            timing.router(),
            Tuning::new(gate.clone(), controls.clone()).router(),
            Metrics::new(controls.clone(), gate, obstacle.clone()).router(),
            Health::new(controls.clone(), obstacle).router(),
        ]
        .into_iter()
        .chain(drop_in.clone().map(DropIn::router)),
    );
    let limits = Limits { keep_header_case: drop_in.is_some(), ..Limits::default() };
    for listener in listeners {
        info!(address = %listener.address(), "listening");
        servers.spawn(http::serve(listener, router.clone(), limits, stopping.clone()));
    }
    announce(&up);
    let keeper = tokio::spawn(keep_token(client));

    let loops: Vec<Controls> = std::iter::once(controls.clone()).chain(shadow).collect();
    let shutdown_grace = serve_until_told(config, &overrides, &loops, &recording, &mut signals, asked).await;
    let hang_up = clock::timer_after(shutdown_grace.max(HANG_UP_MAX));
    info!("stopping: no signal is taken any more, icons go off");
    let _ = stop.send(true);
    controls.give(Command::Shutdown(shutdown_grace)).await;
    tokio::select! {
        farewell = driver => match farewell {
            Ok(Farewell { unsettled: 0, given_up: 0 }) => info!("every icon is off"),
            Ok(Farewell { unsettled: 0, given_up }) => {
                info!(given_up, "every icon is off but those whose stops were given up earlier");
            }
            Ok(farewell) => warn!(icons = farewell.unsettled, "delivery.shutdown_grace is over: icons may be left on"),
            Err(panic) => error!(%panic, "the driver broke down"),
        },
        () = told_again(&mut signals) => {
            let icons = controls.vitals(HANG_UP_MAX).await.map(|vitals| vitals.census.unsettled);
            warn!(icons, "told twice: stopping at once; icons may be left on");
        }
    }
    if let Some(drop_in) = &drop_in {
        // Messages on their way are somebody's words: they have the rest of the grace.
        let _ = tokio::time::timeout_at(hang_up, drop_in.idle()).await;
    }
    keeper.abort();
    let _ = stop_sandbox.send(true);
    // Whoever still has a request open gets its answer; the others have had their time.
    let _ = tokio::time::timeout(HANG_UP_MAX, async { while servers.join_next().await.is_some() {} }).await;
    info!("stopped");
    Ok(())
}

/// Waits until told to stop a second time. What follows the first within half a second is its echo: a terminal and a
/// supervisor may both pass one on.
async fn told_again(signals: &mut Signals) {
    let echo = clock::timer_after(Duration::from_millis(500));
    while tokio::time::timeout_at(echo, signals.next_stop()).await.is_ok() {}
    signals.next_stop().await;
}

/// Serves until told to stop; takes a changed configuration when told to, and changes of the timing. It owns the
/// configuration in force. Returns the grace in force.
async fn serve_until_told(
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

/// Keeps a token in hand, and says so when the first one is.
async fn keep_token(client: Client) {
    match client.warm_up().await {
        TokenState::Held => info!("ready"),
        TokenState::Pending => warn!("not ready: no token in time; trying on"),
        TokenState::Failing(why) => warn!("not ready: {why}; trying on"),
    }
    client.keep_token_fresh().await;
}

/// What keeps indicators from being delivered, as far as the token is concerned.
fn obstacle(client: Client) -> Obstacle {
    Arc::new(move || match client.token_state() {
        TokenState::Held => None,
        TokenState::Pending => Some("no token has been fetched yet".to_owned()),
        TokenState::Failing(why) => Some(why),
    })
}

/// Measures by channel those that the configuration names, from the start.
fn ledger(config: &Config) -> Ledger {
    let mut ledger = Ledger::new(Uuid::new_v4().as_u64_pair().0);
    let contexts = config.upstream.iter().flat_map(|upstream| upstream.channel_contexts.keys());
    let mut names: Vec<_> = config.policy.channels.keys().chain(contexts).map(ChannelAddress::as_str).collect();
    names.sort_unstable();
    ledger.name_channels(names);
    ledger
}

/// The routes of all edges, and what whoever takes none of them is told.
fn router(edges: impl IntoIterator<Item = Router>) -> Router {
    edges
        .into_iter()
        .fold(Router::new(), Router::merge)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address; signals go to /v1/signals")
        })
}

/// Opens the journal, and makes the engine owe what the last process left on.
fn open_journal(config: &Config, clock: Clock, engine: &mut Engine) -> Result<Option<Journal>, StartError> {
    let Some(dir) = &config.state_dir else { return Ok(None) };
    let (journal, recovered) = match Journal::open(dir, clock::wall_millis(), config.recover_within) {
        Ok((journal, recovered)) => (Some(journal), recovered),
        Err(error @ OpenError::Held { .. }) => return Err(StartError::Held(error.to_string())),
        Err(error) => {
            warn!("{error}");
            let OpenError::Unusable { recovered, .. } = error else { return Ok(None) };
            (None, recovered)
        }
    };
    for complaint in &recovered.complaints {
        warn!("journal: {complaint}");
    }
    if recovered.forgotten > 0 {
        warn!(icons = recovered.forgotten, "journal: shown too long ago to be told off now");
    }
    if !recovered.showing.is_empty() {
        info!(icons = recovered.showing.len(), "the last run left icons on: they go off first");
    }
    let now = clock.now();
    for conversation in &recovered.showing {
        engine.handle_recovered(now, conversation.as_ref());
    }
    Ok(journal)
}

/// What is wrong with the files that the configuration names, all of it. `run` refuses to start with any of it, `check`
/// tells it. A token file that is not there yet is no problem: somebody else writes it, perhaps later.
#[must_use]
pub fn file_problems(config: &Config) -> Vec<String> {
    let mut problems: Vec<String> = caller_token(config.ingest.token_file.as_ref()).err().into_iter().collect();
    if let Some(settings) = &config.upstream {
        problems.extend(salesforce::file_problems(settings));
    }
    problems
}

/// The bearer token that callers must show.
fn caller_token(path: Option<&PathBuf>) -> Result<Option<String>, String> {
    path.map(|path| http::read_token("ingest.token_file", path)).transpose()
}

async fn bind_sandbox() -> Result<(Listener, String), StartError> {
    let address = |port| Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let listener = match Listener::bind(&address(SANDBOX_PORT)).await {
        Ok(listener) => listener,
        Err(_) => Listener::bind(&address(0)).await.map_err(StartError::Surroundings)?,
    };
    Ok((listener, format!("sandbox-{}", Uuid::new_v4())))
}

fn upstream(config: &Config, sandbox: Option<&(Listener, String)>) -> Result<Settings, StartError> {
    match (&config.upstream, sandbox) {
        (Some(settings), _) => Ok(settings.clone()),
        (None, Some((listener, token))) => sandbox_settings(config, listener.address(), token),
        (None, None) => Err(StartError::Configuration(vec!["there is no upstream".to_owned()])),
    }
}

fn client(settings: Settings, clock: Clock, vault: Vault) -> Result<Client, StartError> {
    Client::borrowing(settings, clock, vault).map_err(|e| {
        let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
        StartError::Configuration(vec![format!("{e}{cause}")])
    })
}

/// The drop-in, if it is switched on. In shadow mode its signals go to an engine of their own, whose loop these controls
/// lead.
fn drop_in(
    config: &Config,
    upstream: Settings,
    inbox: &inbox::Inbox,
    vault: Vault,
    gate: Gate,
    clock: Clock,
) -> Result<Option<(DropIn, Option<Controls>)>, StartError> {
    let Some(settings) = config.drop_in else { return Ok(None) };
    let vault = (upstream.auth == Auth::Borrowed).then_some(vault);
    let target =
        Target { base_url: upstream.base_url, ca_file: upstream.ca_file, connect_timeout: upstream.request_timeout };
    let mut surroundings = Surroundings { inbox: inbox.clone(), vault, target, shadow: None, gate, clock };
    let mut shadow_controls = None;
    if settings.shadow {
        let shadow = Shadow::new(clock);
        let (inbox, parcels) = inbox::inbox();
        let (controls, commands) = driver::controls();
        let engine = Engine::new(config.policy.clone(), Uuid::new_v4().as_u64_pair().0);
        // What it would send is compared elsewhere; nothing is measured twice.
        let aides = Aides { journal: None, herald: Herald::default(), ledger: Ledger::new(0) };
        tokio::spawn(driver::run(engine, clock, shadow.carrier(), parcels, commands, aides));
        info!("drop-in in shadow mode: everything passes through, GET /v1/drop_in compares");
        surroundings = Surroundings { inbox, shadow: Some(shadow), ..surroundings };
        shadow_controls = Some(controls);
    }
    let drop_in = DropIn::new(settings, surroundings).map_err(|what| StartError::Configuration(vec![what]))?;
    Ok(Some((drop_in, shadow_controls)))
}

/// What the client is told when the sandbox stands in for an org.
fn sandbox_settings(config: &Config, address: &Address, token: &str) -> Result<Settings, StartError> {
    Ok(Settings {
        base_url: Url::parse(&address.to_string())
            .map_err(|e| StartError::Surroundings(format!("the sandbox's address {address}: {e}")))?,
        org_id: "00D000000000000".to_owned(),
        authorization_context: "Sandbox_ChannelDefinition".to_owned(),
        channel_contexts: std::collections::HashMap::new(),
        request_timeout: Duration::from_secs(5),
        in_flight_max: config.policy.delivery.in_flight_max,
        ca_file: None,
        auth: Auth::Fixed(Secret::new(token.to_owned())),
    })
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the system doesn't let signals be watched.
pub(crate) async fn until_told_to_stop() -> std::io::Result<()> {
    Signals::new()?.next_stop().await;
    Ok(())
}

/// The signals of the operating system that mean something here.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn next_stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

/// What a signal of the operating system means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}
