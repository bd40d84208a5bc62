//! From parts to a daemon that is serving: the routes, the listeners, the tasks beside the loop.

use axum::Router;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use super::build::Parts;
use super::end::LastResort;
use super::listeners::Served;
use super::parts::{FirstAnswer, keep_token};
use super::reload::Reloader;
use super::shared_timing::SharedTiming;
use super::timing_log::TimingLog;
use super::{Daemon, Up, status};
use crate::api::signals::Ingest;
use crate::api::{self, Api};
use crate::base::clock::Clock;
use crate::base::memory;
use crate::config::{Config, Overrides};
use crate::driver::{self, Observers};
use crate::http::{self, Ends, Limits, Listener};
use crate::observe::snapshot::ConfigurationInfo;
use crate::sandbox::{Options, Sandbox};

impl Parts {
    fn up(&self) -> Up {
        let addresses = |bound: &[Listener]| bound.iter().map(|listener| listener.address().clone()).collect();
        Up {
            listening: addresses(&self.bound),
            admin: addresses(&self.bound_admin),
            sandbox: self.sandbox.as_ref().map(|(listener, _)| listener.address().clone()),
        }
    }

    pub(super) fn serve(self, config: Config, overrides: Overrides, last_resort: LastResort) -> Daemon {
        let up = self.up();
        let Self { clock, engine, gates, controls, node, upstream, supervisor, .. } = self;
        let [(stop, stopping), (close, closing)] = [(); 2].map(|()| watch::channel(false));
        // A connector in front of it shows whatever token it has.
        let own_token = upstream.drop_in().is_none();
        let (sandbox, view) = self.sandbox.map_or_else(Default::default, |(listener, token)| {
            serve_sandbox(listener, own_token.then_some(token), clock, &stopping, closing.clone())
        });
        tokio::spawn(supervisor.clone().attend(self.snapshots));
        tokio::spawn(memory::give_back());
        let recording = watch::Sender::new(config.ingest.recording);
        let body_bytes_max = watch::Sender::new(config.ingest.body_bytes_max);
        let configuration = watch::Sender::new(ConfigurationInfo::new(config.file.clone(), self.started_at));
        let drop_in = watch::Sender::new(upstream.drop_in().cloned());
        let ending = watch::Sender::new(None);
        let ingest = Ingest::new(self.inbox, body_bytes_max.subscribe());
        let first_answer = FirstAnswer::new();
        let runtime = status::Parts {
            unanswered: first_answer.missing(),
            client: upstream.client.clone(),
            configuration: configuration.subscribe(),
            started_at: self.started_at,
            sandbox: up.sandbox.is_some(),
            upstream: upstream.client.settings().base_url.to_string(),
            listening: up.listening.iter().chain(&up.admin).map(ToString::to_string).collect(),
            drop_in: drop_in.subscribe(),
            malformed: ingest.malformed(),
            state_dir: config.state_dir.is_some(),
        };
        let observers = Observers { runtime: runtime.source(), ..self.observers };
        let shared_timing = node.as_ref().map(|node| SharedTiming::new(node.shared_timing()));
        let carrier = upstream.client.clone();
        tokio::spawn(driver::run(engine, clock, carrier, self.requests, self.commands, observers, node));
        let (timing, asked) = mpsc::channel(api::timing::REQUESTS_MAX);
        let timing_log = TimingLog::default();
        let (order, orders) = mpsc::channel(api::control::ORDERS_MAX);
        let api = Api {
            controls: controls.clone(),
            clock,
            feed: self.feed,
            traffic: upstream.traffic.clone(),
            recording: recording.subscribe(),
            timing,
            timing_changes: timing_log.changes(),
            orders: order,
            stopping: stopping.clone(),
            ending: ending.subscribe(),
            places: api::Places::default(),
        };
        let own = api::router(api, ingest, &gates, view, !up.admin.is_empty());
        let served = Served::new(own, &upstream, config.admin.console);
        let servers = served.listen(self.bound, self.bound_admin, &Ends { stop: stopping, close: closing });
        let token_keeper = tokio::spawn(keep_token(upstream.client.clone(), first_answer));
        tokio::spawn(upstream.report_acceptances(controls.clone()));
        let reloader = Reloader {
            started: config.clone(),
            config,
            overrides,
            tokens: self.tokens,
            controls,
            upstream,
            served,
            drop_in,
            gates,
            recording,
            body_bytes_max,
            configuration,
            supervisor,
            last_resort,
            logged: None,
            timing_log,
            shared_timing,
        };
        Daemon { up, asked, orders, reloader, servers, sandbox, spans: self.spans, token_keeper, stop, close, ending }
    }
}

fn serve_sandbox(
    listener: Listener,
    token: Option<String>,
    clock: Clock,
    stopping: &watch::Receiver<bool>,
    closing: watch::Receiver<bool>,
) -> (JoinSet<()>, Option<Router>) {
    info!(address = %listener.address(), "sandbox listening");
    let sandbox = Sandbox::new(Options { token, ..Options::default() }, clock);
    let router = sandbox.router(closing.clone());
    let served = JoinSet::from_iter([http::serve(listener, router, Limits::default(), closing)]);
    (served, Some(sandbox.view(stopping.clone())))
}
