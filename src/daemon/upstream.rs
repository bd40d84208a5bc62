//! The way to the upstream: the client, and the drop-in in front of it.
//!
//! Credentials, roots and settings may change while the daemon runs. Another org waits for the next start.

use tracing::info;
use uuid::Uuid;

use super::StartError;
use super::parts::{router, sandbox_settings};
use crate::api::Routes;
use crate::api::control::Unchanged;
use crate::base::clock::{self, Clock};
use crate::config::Config;
use crate::driver::inbox::{self, Inbox};
use crate::driver::{self, Carrier, Command, Controls, Observers, Permit};
use crate::drop_in::{self, Activity, DropIn, Shadow};
use crate::engine::Engine;
use crate::http::{Address, ForwardRoute, Gates, Limits, Serving, TokenAuth, Traffic};
use crate::model::{Dispatch, WireResult};
use crate::salesforce::credentials::{CredentialCache, REFUSED_FOR};
use crate::salesforce::settings::{Auth, Settings};
use crate::salesforce::{Client, PrepareError, Prepared, error_text};

impl Carrier for Client {
    async fn carry(&self, dispatch: &Dispatch, permit: &Permit) -> WireResult {
        self.deliver(dispatch, permit).await
    }
}

/// The client, the drop-in, and what the latter is made of.
pub(super) struct Upstream {
    pub(super) client: Client,
    /// Counts go on, whatever changes.
    pub(super) traffic: Traffic,
    gates: Gates,
    sandbox: Option<(Address, String)>,
    cache: CredentialCache,
    /// Of the drop-in that is switched on, or would be.
    context: drop_in::Context,
    drop_in: Option<DropIn>,
    drop_in_settings: Option<drop_in::Settings>,
    shadow: Option<ShadowLoop>,
}

impl Upstream {
    /// The upstream that `config` names, or the sandbox, by its address and its token.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(
        config: &Config,
        sandbox: Option<(Address, String)>,
        inbox: Inbox,
        gates: Gates,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let settings = match (&config.upstream, &sandbox) {
            (Some(settings), _) => settings.clone(),
            (None, Some((address, token))) => sandbox_settings(config, address, token),
            (None, None) => return Err(StartError::Configuration(vec!["there is no upstream".to_owned()])),
        };
        let refused_for = config.drop_in.map_or(REFUSED_FOR, |drop_in| drop_in.refused_for);
        let cache = CredentialCache::new(clock, refused_for);
        let client = Client::with_cache(settings, clock, cache.clone())
            .map_err(|error| StartError::Configuration(vec![error_text(&error)]))?;
        let context = drop_in::Context {
            inbox,
            cache: None,
            org_id: None,
            connection: client.connection(),
            shadow: None,
            gate: gates.admin.clone(),
            clock,
            activity: Activity::new(clock),
        };
        let (drop_in, drop_in_settings, shadow) = (None, config.drop_in, None);
        let traffic = Traffic::default();
        let mut this = Self { client, traffic, gates, sandbox, cache, context, drop_in, drop_in_settings, shadow };
        this.build_drop_in(config);
        Ok(this)
    }

    /// The drop-in, if it is switched on. In shadow mode its signals go to an engine of their own.
    fn build_drop_in(&mut self, config: &Config) {
        let clock = self.context.clock;
        let shadow = config.drop_in.filter(|settings| settings.shadow);
        self.shadow = shadow.map(|_| self.shadow.take().unwrap_or_else(|| ShadowLoop::start(config, clock)));
        let Settings { auth, org_id, .. } = self.client.settings();
        let mut context = drop_in::Context {
            cache: (auth == Auth::Cached).then(|| self.cache.clone()),
            // No connector knows the sandbox's own org.
            org_id: Some(org_id).filter(|id| self.sandbox.is_none() && !id.is_empty()),
            connection: self.client.connection(),
            ..self.context.clone()
        };
        if let Some(ShadowLoop { shadow, inbox, .. }) = &self.shadow {
            (context.shadow, context.inbox) = (Some(shadow.clone()), inbox.clone());
        }
        self.drop_in = config.drop_in.map(|settings| DropIn::new(settings, context));
    }

    /// Reports credentials that were accepted to the loop: something that is owed may wait for them. Ends with the loop.
    pub(super) fn report_acceptances(&self, controls: Controls) -> impl Future<Output = ()> + Send + use<> {
        let cache = self.cache.clone();
        async move {
            // What comes while the loop is behind is reported together.
            while controls.give(Command::Accepted(cache.acceptances().await)).await {}
        }
    }

    pub(super) fn drop_in(&self) -> Option<&DropIn> {
        self.drop_in.as_ref()
    }

    /// The controls of the shadow's loop, if there is one.
    pub(super) fn shadow(&self) -> Option<Controls> {
        self.shadow.as_ref().map(|shadow| shadow.controls.clone())
    }

    /// What is served on the addresses of ingest, and on those of admin where it has its own: the daemon's `own` routes, and
    /// those of the drop-in.
    pub(super) fn serving(&self, own: &Routes, console: bool) -> (Serving, Option<Serving>) {
        let drop_in = self.drop_in();
        let report = || drop_in.cloned().map(DropIn::report_router);
        let serving = |router, gate: &TokenAuth, forward: Option<DropIn>| {
            let limits = Limits { keep_header_case: forward.is_some(), ..Limits::default() };
            let forward = forward.map(ForwardRoute::new);
            let signals = Some(own.signals.clone().short_way(gate.clone()));
            Serving { router, signals, forward, limits, traffic: self.traffic.clone() }
        };
        let (ingest, apart) = (std::iter::once(own.ingest.clone()), own.admin.is_some());
        let edges = ingest.chain(report().filter(|_| !apart));
        let ingest = router(edges, drop_in.cloned(), &self.gates.ingest, console && !apart);
        let admin = own
            .admin
            .iter()
            .map(|admin| router(std::iter::once(admin.clone()).chain(report()), None, &self.gates.either, console));
        let ingest = serving(ingest, &self.gates.ingest, drop_in.cloned());
        (ingest, admin.map(|router| serving(router, &self.gates.either, None)).next())
    }

    /// Whether `config` names another org than the one in use.
    pub(super) fn is_another_org(&self, config: &Config) -> bool {
        let Settings { base_url, org_id, .. } = self.client.settings();
        match (&config.upstream, &self.sandbox) {
            (Some(new), None) => new.base_url != base_url || new.org_id != org_id,
            (new, sandbox) => new.is_some() || sandbox.is_none(),
        }
    }

    /// Tries out what `config` asks for, without changing anything. With another org, its credentials wait, too.
    ///
    /// # Errors
    /// Why it can't be had.
    pub(super) async fn prepare(&self, config: &Config) -> Result<Option<Prepared>, Unchanged> {
        let settings = match (&config.upstream, &self.sandbox) {
            // Files that the configuration no longer names may be gone.
            _ if self.is_another_org(config) => return Ok(self.client.prepare(self.client.settings()).await.ok()),
            (Some(settings), _) => settings.clone(),
            (None, Some((address, token))) => sandbox_settings(config, address, token),
            (None, None) => self.client.settings(),
        };
        self.client.prepare(settings).await.map(Some).map_err(|error| match error {
            PrepareError::Setup(error) => Unchanged::Wrong(vec![error_text(&error)]),
            PrepareError::TokenFile(why) => Unchanged::Wrong(vec![why]),
            PrepareError::NoToken(why) => Unchanged::Hindered(vec![format!("upstream.auth: {why}")]),
        })
    }

    /// Puts `config` in force, for which `prepared` has been tried out. Returns whether the drop-in is another.
    pub(super) fn apply(&mut self, config: &Config, prepared: Prepared) -> bool {
        let rebuild = prepared.reconnects() || config.drop_in != self.drop_in_settings;
        self.client.apply(prepared);
        if rebuild {
            self.drop_in_settings = config.drop_in;
            self.build_drop_in(config);
        }
        rebuild
    }

    /// Ends when no connector calls any more, after `drop_in.drain` or at `end` at the latest.
    pub(super) async fn drained(&self, end: tokio::time::Instant) {
        if let Some(settings) = self.drop_in_settings {
            self.context.activity.drained(end.min(clock::timer_after(settings.drain))).await;
        }
    }

    /// Cuts what is still being forwarded, and returns how many requests that are.
    pub(super) fn cut(&self) -> u64 {
        self.context.activity.cut()
    }
}

/// A shadow with its engine, and the controls of its loop.
struct ShadowLoop {
    shadow: Shadow,
    inbox: Inbox,
    controls: Controls,
}

impl ShadowLoop {
    fn start(config: &Config, clock: Clock) -> Self {
        let shadow = Shadow::new(clock);
        let (inbox, requests) = inbox::inbox();
        let (controls, commands) = driver::controls();
        let engine = Engine::new(config.policy.clone(), Uuid::new_v4().as_u64_pair().0);
        // What it would send is compared elsewhere; nothing is measured or reported twice.
        let observers = Observers::default();
        tokio::spawn(driver::run(engine, clock, shadow.carrier(), requests, commands, observers, None));
        info!("drop-in in shadow mode: everything is forwarded, GET /v1/drop_in compares");
        Self { shadow, inbox, controls }
    }
}
