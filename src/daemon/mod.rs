//! The daemon: builds the parts, runs them, drains, stops.
//!
//! `build` makes all that can fail, `serve` opens the listeners, `drain` ends in bounded time. `parts` builds single parts
//! from the configuration, `listeners` are where it listens, `upstream` is where it delivers to, `reload` owns the settings
//! in force, `os_signals` receives the signals of the operating system.

mod build;
mod end;
mod files;
mod listeners;
mod os_signals;
mod parts;
mod reload;
pub(crate) mod retiming;
mod serve;
mod service_manager;
mod shared_timing;
mod spans;
pub(crate) mod status;
mod timing_log;
mod unconfigured;
pub(crate) mod upstream;

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::api::control::{Ending, Order};
use crate::api::timing::Ask;
use crate::config::{Config, Overrides};
use crate::driver::{Command, Controls, ShutdownReport};
use crate::http::{Address, Passed};
use end::{End, LastResort};
use os_signals::{Signals, stop_again};
use reload::Reloader;
use spans::Spans;
use upstream::Upstream;

pub(crate) use files::{file_problems, file_warnings, upstream_file_problems};
pub(crate) use os_signals::until_stopped;
pub(crate) use unconfigured::answer_unconfigured;

/// What a part may take to end.
pub(crate) const HANG_UP_MAX: Duration = Duration::from_secs(1);

/// What those who watch the daemon's own sandbox may take to receive its end.
const SANDBOX_END_MAX: Duration = Duration::from_millis(100);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Something in the configuration, or in a file that it names, is wrong.
    #[error("{}", _0.join("; "))]
    Configuration(Vec<String>),
    /// The system doesn't let it: an address in use, a missing right.
    #[error("{0}")]
    System(String),
    /// Another daemon holds the state directory.
    #[error("{0}")]
    Held(String),
}

/// Where the daemon can be reached once it is up.
#[derive(Debug)]
pub(crate) struct Up {
    /// Where it takes signals.
    pub listening: Vec<Address>,
    /// Where operators reach it, if not there.
    pub admin: Vec<Address>,
    /// Where its sandbox listens.
    pub sandbox: Option<Address>,
}

/// A daemon that is serving.
struct Daemon {
    up: Up,
    asked: mpsc::Receiver<Ask>,
    orders: mpsc::Receiver<Order>,
    reloader: Reloader,
    servers: JoinSet<()>,
    /// The sandbox, if there is one. It must outlive the last Stopped.
    sandbox: JoinSet<()>,
    spans: Spans,
    token_keeper: JoinHandle<()>,
    stop: watch::Sender<bool>,
    close: watch::Sender<bool>,
    ending: watch::Sender<Option<Ending>>,
}

/// Runs the daemon until it is asked to stop. `passed` are sockets that listen already; those that the configuration does
/// not name are closed, and `passed` is empty once nothing can fail any more. `announce` is called once, when it listens.
///
/// # Errors
/// When it can't start. Once it listens, nothing but a signal or a request to shut down ends it.
pub(crate) async fn run(
    config: Config,
    overrides: Overrides,
    passed: &mut Vec<Passed>,
    announce: impl FnOnce(&Up),
) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(|e| StartError::System(format!("can't watch for signals: {e}")))?;
    // On a thread of its own, for one runtime does not run in another.
    let grace = config.shutdown_grace;
    let last_resort = tokio::task::spawn_blocking(move || LastResort::watch(grace)).await;
    let last_resort = last_resort.map_err(std::io::Error::other).flatten();
    let last_resort = last_resort.map_err(|e| StartError::System(format!("can't watch for signals: {e}")))?;
    let parts = build::build(&config, passed).await?;
    passed.clear();
    let mut daemon = parts.serve(config, overrides, last_resort);
    announce(&daemon.up);
    let Daemon { reloader, asked, orders, .. } = &mut daemon;
    let grace = reloader.serve_until_stop(&mut signals, asked, orders).await;
    daemon.drain(signals, grace).await;
    Ok(())
}

impl Daemon {
    /// Switches every icon off, lets the drop-in's messages pass, answers callers until the end. Takes no longer than
    /// `grace`.
    async fn drain(self, mut signals: Signals, grace: Duration) {
        let Self { mut asked, mut orders, reloader, mut servers, mut sandbox, spans, .. } = self;
        let mut end = End::begin(grace);
        info!("stopping: icons go off; callers are answered until the end");
        let _ = self.stop.send(true);
        let supervisor = reloader.supervisor.clone();
        tokio::spawn(async move { supervisor.stopping(grace).await });
        reloader.upstream.client.close();
        let drained = async { tokio::join!(switch_off(&reloader.controls, &end), reloader.upstream.drained(end.work)) };
        let report = tokio::select! {
            (report, ()) = drained => report,
            () = stop_again(&mut signals) => {
                let snapshot = reloader.controls.snapshot(HANG_UP_MAX).await;
                let icons = snapshot.as_ref().map(|snapshot| snapshot.census.unsettled);
                warn!(icons, "asked to stop twice: stopping at once; icons may be left on");
                end.hurry();
                snapshot.map(|snapshot| ShutdownReport {
                    unsettled: snapshot.census.unsettled,
                    given_up: snapshot.counts.stops_given_up,
                })
            }
            never = reloader.answer_to_the_end(&mut asked, &mut orders) => match never {},
        };
        self.ending.send_replace(Some(Ending {
            icons_left: report.map(|report| report.unsettled),
            given_up: report.map_or(0, |report| report.given_up),
        }));
        self.token_keeper.abort();
        let _ = self.close.send(true);
        // Requests that are still open get their answers, for as long as there is time.
        let closed = async {
            let answered = async { while servers.join_next().await.is_some() {} };
            tokio::join!(cut_late(answered, &reloader.upstream, end.work), spans.finish());
            // This process is itself a client of the sandbox, and is not waited for.
            let watchers = async { while sandbox.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(SANDBOX_END_MAX, watchers).await;
        };
        let in_time = tokio::select! {
            in_time = tokio::time::timeout_at(end.all, closed) => in_time,
            () = stop_again(&mut signals) => Ok(()),
        };
        log_cut(reloader.upstream.cut());
        if in_time.is_err() {
            info!("delivery.shutdown_grace is over: connections are cut");
        }
        info!("stopped");
    }
}

/// Switches every icon off, and returns how they were left; `None` if the loop does not answer.
async fn switch_off(controls: &Controls, end: &End) -> Option<ShutdownReport> {
    let (answer, answered) = oneshot::channel();
    let shut_down = async {
        controls.give(Command::Shutdown(end.left_for_work(), answer)).await;
        answered.await.ok()
    };
    // The loop keeps to the bound by itself, unless it is stuck.
    let report = tokio::time::timeout_at(end.all, shut_down).await.ok().flatten();
    match report {
        Some(report) => log_report(report),
        None => error!("the driver does not answer: icons may be left on"),
    }
    report
}

/// Waits until every request is `answered`. What is still passing through the drop-in at `end` is cut, and answered too.
async fn cut_late(answered: impl Future<Output = ()>, upstream: &Upstream, end: Instant) {
    let mut answered = pin!(answered);
    if tokio::time::timeout_at(end, answered.as_mut()).await.is_err() {
        log_cut(upstream.cut());
        answered.await;
    }
}

fn log_cut(requests: u64) {
    if requests > 0 {
        warn!(requests, "requests that were passing through the drop-in have been cut");
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
