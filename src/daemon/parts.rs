//! What the daemon is made of, each part built from the configuration.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::StartError;
use crate::base::clock::{self, Clock};
use crate::config::Config;
use crate::console;
use crate::driver::inbox::{self, Inbox};
use crate::driver::{self, Controls, Observers};
use crate::drop_in::{DropIn, Lasting, Shadow, Surroundings, Target};
use crate::engine::Engine;
use crate::http::{self, Address, Gate, Listener, Problem};
use crate::journal::{Journal, OpenError};
use crate::model::ChannelAddress;
use crate::observe::typing::TypingStats;
use crate::salesforce::credentials::CredentialCache;
use crate::salesforce::settings::{Auth, Secret, Settings};
use crate::salesforce::{self, Client};

/// The sandbox's usual port; another one is taken if it is in use.
const SANDBOX_PORT: u16 = 7481;

/// Measures by channel those that the configuration names, from the start.
pub(super) fn stats(config: &Config) -> TypingStats {
    let mut stats = TypingStats::new(Uuid::new_v4().as_u64_pair().0);
    let contexts = config.upstream.iter().flat_map(|upstream| upstream.channel_contexts.keys());
    let mut names: Vec<_> = config.policy.channels.keys().chain(contexts).map(ChannelAddress::as_str).collect();
    names.sort_unstable();
    stats.name_channels(names);
    stats
}

/// The routes of all edges, and what whoever takes none of them is told; with the drop-in, all else passes through.
pub(super) fn router(edges: impl IntoIterator<Item = Router>, drop_in: Option<DropIn>, gate: &Gate) -> Router {
    let own = edges
        .into_iter()
        .fold(Router::new(), Router::merge)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address; signals go to /v1/signals")
        });
    // A link to the page may stand on any other. It tells nothing, and what it calls is guarded.
    let own = http::guard(own, gate.clone()).merge(console::router());
    match drop_in {
        Some(drop_in) => drop_in.router(own),
        None => own,
    }
}

/// Opens the journal, and makes the engine owe what the last process left on.
pub(super) fn open_journal(config: &Config, clock: Clock, engine: &mut Engine) -> Result<Option<Journal>, StartError> {
    let Some(dir) = &config.state_dir else { return Ok(None) };
    let (journal, recovered) = match Journal::open(dir, clock::wall_millis(), config.recover_within) {
        Ok(opened) => opened,
        Err(error @ OpenError::Held { .. }) => return Err(StartError::Held(error.to_string())),
        Err(error) => {
            warn!("{error}");
            return Ok(None);
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
    Ok(Some(journal))
}

/// What is wrong with the files that the configuration names, all of it. `run` refuses to start with any of it, `check`
/// tells it. A token file that is not there yet is no problem: somebody else writes it, perhaps later.
#[must_use]
pub(crate) fn file_problems(config: &Config) -> Vec<String> {
    let mut problems: Vec<String> = caller_token(config.ingest.token_file.as_ref()).err().into_iter().collect();
    if let Some(settings) = &config.upstream {
        problems.extend(salesforce::file_problems(settings));
    }
    problems
}

/// The bearer token that callers must show.
pub(super) fn caller_token(path: Option<&PathBuf>) -> Result<Option<String>, String> {
    path.map(|path| http::read_token("ingest.token_file", path)).transpose()
}

pub(super) async fn bind_sandbox() -> Result<(Listener, String), StartError> {
    let address = |port| Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let listener = match Listener::bind(&address(SANDBOX_PORT)).await {
        Ok(listener) => listener,
        Err(_) => Listener::bind(&address(0)).await.map_err(StartError::Surroundings)?,
    };
    Ok((listener, format!("sandbox-{}", Uuid::new_v4())))
}

pub(super) fn upstream(config: &Config, sandbox: Option<&(Address, String)>) -> Result<Settings, StartError> {
    match (&config.upstream, sandbox) {
        (Some(settings), _) => Ok(settings.clone()),
        (None, Some((address, token))) => sandbox_settings(config, address, token),
        (None, None) => Err(StartError::Configuration(vec!["there is no upstream".to_owned()])),
    }
}

/// A client; one in the place of another goes on with its token if it would ask for it in the same way.
pub(super) fn client(
    settings: Settings,
    clock: Clock,
    cache: CredentialCache,
    predecessor: Option<&Client>,
) -> Result<Client, StartError> {
    let client = match predecessor {
        None => Client::with_cache(settings, clock, cache),
        Some(predecessor) => Client::succeeding(predecessor, settings, clock, cache),
    };
    client.map_err(|e| {
        let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
        StartError::Configuration(vec![format!("{e}{cause}")])
    })
}

/// What a drop-in is built on, beside the configuration.
pub(super) struct DropInGround {
    pub(super) inbox: Inbox,
    pub(super) cache: CredentialCache,
    pub(super) gate: Gate,
    pub(super) clock: Clock,
    pub(super) lasting: Lasting,
    pub(super) shadow: Option<ShadowLoop>,
}

/// The drop-in, with its shadow if it has one.
pub(super) struct DroppedIn {
    pub(super) drop_in: DropIn,
    pub(super) shadow: Option<ShadowLoop>,
}

/// A shadow with its engine, whose loop these controls lead.
#[derive(Clone)]
pub(super) struct ShadowLoop {
    shadow: Shadow,
    inbox: Inbox,
    pub(super) controls: Controls,
}

impl ShadowLoop {
    fn start(config: &Config, clock: Clock) -> Self {
        let shadow = Shadow::new(clock);
        let (inbox, requests) = inbox::inbox();
        let (controls, commands) = driver::controls();
        let engine = Engine::new(config.policy.clone(), Uuid::new_v4().as_u64_pair().0);
        // What it would send is compared elsewhere; nothing is measured or told twice.
        let observers = Observers::default();
        tokio::spawn(driver::run(engine, clock, shadow.carrier(), requests, commands, observers));
        info!("drop-in in shadow mode: everything passes through, GET /v1/drop_in compares");
        Self { shadow, inbox, controls }
    }
}

/// The drop-in, if it is switched on. In shadow mode its signals go to an engine of their own: the one of `shadow`, if
/// there has been one before.
pub(super) fn drop_in(
    config: &Config,
    upstream: Settings,
    ground: DropInGround,
) -> Result<Option<DroppedIn>, StartError> {
    let Some(settings) = config.drop_in else { return Ok(None) };
    let DropInGround { inbox, cache, gate, clock, lasting, shadow } = ground;
    let cache = (upstream.auth == Auth::Cached).then_some(cache);
    // Of the sandbox's own org no connector knows.
    let org_id = config.upstream.as_ref().map(|upstream| upstream.org_id.clone()).filter(|id| !id.is_empty());
    let target = Target {
        base_url: upstream.base_url,
        ca_file: upstream.ca_file,
        proxy: upstream.proxy,
        connect_to: upstream.connect_to,
        connect_timeout: upstream.request_timeout,
    };
    let shadow = settings.shadow.then(|| shadow.unwrap_or_else(|| ShadowLoop::start(config, clock)));
    let surroundings = Surroundings {
        inbox: shadow.as_ref().map_or(inbox, |shadow| shadow.inbox.clone()),
        cache,
        org_id,
        target,
        shadow: shadow.as_ref().map(|shadow| shadow.shadow.clone()),
        gate,
        clock,
        lasting,
    };
    let drop_in = DropIn::new(settings, surroundings).map_err(|what| StartError::Configuration(vec![what]))?;
    Ok(Some(DroppedIn { drop_in, shadow }))
}

/// What the client is told when the sandbox stands in for an org.
pub(super) fn sandbox_settings(config: &Config, address: &Address, token: &str) -> Result<Settings, StartError> {
    Ok(Settings {
        base_url: Url::parse(&address.to_string())
            .map_err(|e| StartError::Surroundings(format!("the sandbox's address {address}: {e}")))?,
        org_id: "00D000000000000".to_owned(),
        authorization_context: "Sandbox_ChannelDefinition".to_owned(),
        channel_contexts: std::collections::HashMap::new(),
        request_timeout: Duration::from_secs(5),
        in_flight_max: config.policy.delivery.in_flight_max,
        ca_file: None,
        proxy: None,
        connect_to: None,
        auth: Auth::Fixed(Secret::new(token.to_owned())),
    })
}
