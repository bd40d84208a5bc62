//! The daemon: builds the parts, runs them, drains, stops.
//!
//! `parts` builds each from the configuration, `doors` are where it listens, `far_side` is
//! whom it delivers to, `reload` owns the settings in force, `signals` hears the operating system.

mod end;
mod listeners;
mod os_signals;
mod parts;
mod reload;
pub(crate) mod service_manager;
mod spans;
pub(crate) mod status;
pub(crate) mod upstream;

use std::fmt;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::api::control::{Control, Ending};
use crate::api::conversations::Conversations;
use crate::api::health;
use crate::api::indicators::Indicators;
use crate::api::log::Log;
use crate::api::metrics::Metrics;
use crate::api::openapi::OpenApi;
use crate::api::signals::Ingest;
use crate::api::simulate::Simulation;
use crate::api::status::Status;
use crate::api::stream::SignalStream;
use crate::api::timing::Timing;
use crate::api::tune::Tuning;
use crate::base::clock::{self, Clock};
use crate::base::pseudonym::Pseudonyms;
use crate::config::{Config, Overrides};
use crate::daemon::service_manager::Supervisor;
use crate::driver::delivery_log::DeliveryLog;
use crate::driver::inbox;
use crate::driver::journal_keeper::JournalKeeper;
use crate::driver::{self, Command, Controls, Observers, ShutdownReport};
use crate::engine::Engine;
use crate::http::{self, Address, Gate, Limits, Passed};
use crate::observe::events::EventLog;
use crate::observe::snapshot::ConfigurationInfo;
use crate::sandbox::{Options, Sandbox};
use end::End;
use listeners::Doors;
use os_signals::{Signals, told_again};
use parts::{bind_sandbox, caller_token, open_journal, stats};
use reload::Steward;
use spans::Spans;
use status::Route;
use upstream::FarSide;

pub(crate) use os_signals::until_told_to_stop;
pub(crate) use parts::file_problems;

/// What a part may take to say a last word.
pub(crate) const HANG_UP_MAX: Duration = Duration::from_secs(1);

/// What those who watch the daemon's own sandbox may take to hear of its end.
const SANDBOX_END_MAX: Duration = Duration::from_millis(100);

/// Why the daemon did not come up.
#[derive(Debug)]
pub(crate) enum StartError {
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

/// Where the daemon can be reached once it is up.
#[derive(Debug)]
pub(crate) struct Up {
    /// Where it takes signals.
    pub listening: Vec<Address>,
    /// Where its sandbox listens.
    pub sandbox: Option<Address>,
}

/// Runs the daemon until it is told to stop. `passed` are sockets that listen already; those that the configuration does
/// not want are closed. `announce` is called once, when it listens.
///
/// # Errors
/// When it can't come up. Once it is up, nothing but a signal ends it.
pub(crate) async fn run(
    config: Config,
    overrides: Overrides,
    passed: Vec<Passed>,
    announce: impl FnOnce(&Up),
) -> Result<(), StartError> {
    let clock = Clock::start();
    let started_at = clock::wall_millis();
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
    engine.observe_dropped();
    let journal = open_journal(&config, clock, &mut engine)?;
    let bound = listeners::bind(&config.ingest.listen, passed).await.map_err(StartError::Surroundings)?;
    // After the listeners: it can take any port, and they can't.
    let sandbox = match &config.upstream {
        Some(_) => None,
        None => Some(bind_sandbox().await?),
    };
    let gate = Gate::new(token.as_deref());

    let (inbox, requests) = inbox::inbox();
    let stand_in = sandbox.as_ref().map(|(listener, token)| (listener.address().clone(), token.clone()));
    let far_side = FarSide::new(&config, stand_in, inbox.clone(), gate.clone(), clock)?;
    let line = far_side.line.clone();
    let (controls, commands) = driver::controls();
    let (history, feed) = EventLog::new(Uuid::new_v4().as_u64_pair().0);
    let supervisor = Supervisor::present();
    let (heartbeat, snapshots) = supervisor.heartbeat();
    let pseudonyms = Pseudonyms::default();
    let spans = Spans::start(&config, &feed, &line.client(), clock, &pseudonyms)?;

    // The sandbox must outlive the last Stopped.
    let (stop_sandbox, sandbox_stopping) = watch::channel(false);
    let mut servers = JoinSet::new();
    let up = Up {
        listening: bound.iter().map(|bound| bound.address().clone()).collect(),
        sandbox: sandbox.as_ref().map(|(listener, _)| listener.address().clone()),
    };
    let mut view = None;
    if let Some((listener, token)) = sandbox {
        info!(address = %listener.address(), "sandbox listening");
        // A connector in front of it shows whatever token it has.
        let token = far_side.dropped_in().is_none().then_some(token);
        let sandbox = Sandbox::new(Options { token, ..Options::default() }, clock);
        let router = sandbox.router(sandbox_stopping.clone());
        view = Some(sandbox.view(gate.clone(), stopping.clone()));
        servers.spawn(http::serve(listener, router, Limits::default(), sandbox_stopping));
    }
    tokio::spawn(supervisor.clone().attend(snapshots));
    let recording = watch::Sender::new(config.ingest.recording);
    let body_bytes_max = watch::Sender::new(config.ingest.body_bytes_max);
    let configuration =
        watch::Sender::new(ConfigurationInfo { file: config.file.clone(), read_at: started_at, last_reload: None });
    let route = watch::Sender::new(Route {
        upstream: far_side.base_url(),
        listening: up.listening.iter().map(ToString::to_string).collect(),
        drop_in: far_side.dropped_in().cloned(),
    });
    let ingest = Ingest::new(inbox, gate.clone(), body_bytes_max.subscribe());
    let parts = status::Parts {
        line: line.clone(),
        configuration: configuration.subscribe(),
        started_at,
        sandbox: up.sandbox.is_some(),
        route: route.subscribe(),
        malformed: ingest.malformed(),
        state_dir: config.state_dir.is_some(),
    };
    let observers = Observers {
        stats: stats(&config),
        delivery_log: DeliveryLog::new(pseudonyms),
        history: Some(history),
        journal: journal.map(JournalKeeper::new),
        heartbeat,
        runtime: parts.runtime(),
        ..Observers::default()
    };
    tokio::spawn(driver::run(engine, clock, line.clone(), requests, commands, observers));
    let ending = watch::Sender::new(None);
    let (timing, mut asked) = Timing::new(gate.clone());
    let (control, mut orders) = Control::new(gate.clone(), ending.subscribe());
    let own: Vec<_> = [
        ingest.router(),
        SignalStream::new(controls.clone(), gate.clone(), recording.subscribe()).router(),
        timing.router(),
        control.router(),
        Log::new(gate.clone()).router(),
        OpenApi::new(gate.clone()).router(),
        Tuning::new(gate.clone(), controls.clone()).router(),
        Simulation::new(gate.clone(), controls.clone()).router(),
        Conversations::new(gate.clone(), controls.clone(), clock).router(),
        Indicators::new(gate.clone(), feed, clock).router(),
        Metrics::new(controls.clone(), gate.clone(), far_side.traffic.clone()).router(),
        Status::new(controls.clone(), gate.clone()).router(),
        health::router(controls.clone()),
    ]
    .into_iter()
    .chain(view)
    .collect();
    let serving = watch::Sender::new(far_side.serving(&own));
    let (close, closing) = watch::channel(false);
    let mut doors = Doors::new(serving.subscribe(), stopping, closing);
    doors.open(bound);
    announce(&up);
    let keeper = tokio::spawn(line.keep_token());
    tokio::spawn(far_side.report_acceptances(controls.clone()));

    let mut steward = Steward {
        config,
        overrides,
        controls: controls.clone(),
        far_side,
        own,
        serving,
        route,
        gate,
        recording,
        body_bytes_max,
        doors,
        configuration,
        supervisor: supervisor.clone(),
        told: None,
    };
    let grace = steward.serve_until_told(&mut signals, &mut asked, &mut orders).await;
    let mut end = End::begin(grace);
    info!("stopping: icons go off; callers are answered until the end");
    let _ = stop.send(true);
    tokio::spawn(async move { supervisor.stopping(grace).await });
    steward.far_side.line.close();
    let report = tokio::select! {
        (report, cut) = async { tokio::join!(switch_off(&controls, &end), steward.far_side.drained(end.work)) } => {
            tell_cut(cut);
            report
        }
        () = told_again(&mut signals) => {
            let snapshot = controls.snapshot(HANG_UP_MAX).await;
            let icons = snapshot.as_ref().map(|snapshot| snapshot.census.unsettled);
            warn!(icons, "told twice: stopping at once; icons may be left on");
            end.hurry();
            snapshot.map(|snapshot| ShutdownReport { unsettled: snapshot.census.unsettled, given_up: snapshot.counts.stops_given_up })
        }
        never = steward.answer_to_the_end(&mut asked, &mut orders) => match never {},
    };
    ending.send_replace(Some(Ending {
        icons_left: report.map(|report| report.unsettled),
        given_up: report.map_or(0, |report| report.given_up),
    }));
    keeper.abort();
    let _ = (close.send(true), stop_sandbox.send(true));
    // Whoever still has a request open gets its answer, for as long as there is time.
    let closed = async {
        tokio::join!(steward.doors.closed(), spans.finish());
        // Its most loyal caller is this process, which is not waited for.
        let watchers = async { while servers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SANDBOX_END_MAX, watchers).await;
    };
    let in_time = tokio::select! {
        in_time = tokio::time::timeout_at(end.all, closed) => in_time,
        () = told_again(&mut signals) => Ok(()),
    };
    tell_cut(steward.far_side.cut());
    if in_time.is_err() {
        info!("delivery.shutdown_grace is over: connections are cut");
    }
    info!("stopped");
    Ok(())
}

/// Puts every icon off, and says how that went; `None` if the loop does not.
async fn switch_off(controls: &Controls, end: &End) -> Option<ShutdownReport> {
    let (report, told) = oneshot::channel();
    let shut_down = async {
        controls.give(Command::Shutdown(end.left_for_work(), report)).await;
        told.await.ok()
    };
    // The loop keeps to the bound by itself, unless it is stuck.
    let report = tokio::time::timeout_at(end.all, shut_down).await.ok().flatten();
    match report {
        Some(report) => log_report(report),
        None => error!("the driver does not say how the icons are left"),
    }
    report
}

fn tell_cut(requests: u64) {
    if requests > 0 {
        warn!(requests, "what was passing through the drop-in has been cut");
    }
}

fn log_report(report: ShutdownReport) {
    match report {
        ShutdownReport { unsettled: 0, given_up: 0 } => info!("every icon is off"),
        ShutdownReport { unsettled: 0, given_up } => {
            info!(given_up, "every icon is off but those whose stops were given up earlier");
        }
        report => warn!(icons = report.unsettled, "delivery.shutdown_grace is over: icons may be left on"),
    }
}
