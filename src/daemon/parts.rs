//! What the daemon is made of, each part built from the configuration.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::sync::watch;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::StartError;
use super::files::STATE_DIR;
use crate::base::clock::{self, Clock};
use crate::config::{Config, Store};
use crate::console;
use crate::driver::Node;
use crate::drop_in::DropIn;
use crate::engine::Engine;
use crate::fleet::protocol::OwnerId;
use crate::fleet::{self, Fleet};
use crate::http::{self, Address, Listener, Problem, TokenAuth};
use crate::journal::{Journal, OpenError};
use crate::model::{ChannelAddress, Conversation};
use crate::observe::typing::TypingStats;
use crate::salesforce::settings::{Auth, Places, Secret, Settings};
use crate::salesforce::{Client, TokenState};
use crate::store::Link;

/// While the upstream has not answered yet it is asked this often at first, then less and less.
const REACH_SPACING_MIN: Duration = Duration::from_secs(1);
const REACH_SPACING_MAX: Duration = Duration::from_secs(60);
/// The sandbox's usual port; another one is taken if it is in use.
const SANDBOX_PORT: u16 = 7481;
/// The longest request to it.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a token in hand, and logs whether the daemon is ready.
pub(super) async fn keep_token(client: Client, upstream: FirstAnswer) {
    let (token, answered) = tokio::join!(client.warm_up(), upstream.ask(&client));
    match token {
        TokenState::Held if answered => info!("ready"),
        TokenState::Held => {}
        TokenState::Pending => warn!("not ready: no token in time; trying again"),
        TokenState::Failing(why) => warn!("not ready: {why}; trying again"),
    }
    tokio::join!(client.clone().keep_token_fresh(), async {
        if !answered {
            upstream.ask_again(&client).await;
        }
    });
}

/// The upstream's first answer, without which the daemon serves, but is not ready. No icon is shown for it, and the
/// connection stays for the first one.
pub(super) struct FirstAnswer {
    /// Why there is none.
    missing: watch::Sender<Option<String>>,
}

impl FirstAnswer {
    pub(super) fn new() -> Self {
        Self { missing: watch::Sender::new(Some("the upstream has not answered yet".to_owned())) }
    }

    /// Why there is none yet, at each moment.
    pub(super) fn missing(&self) -> watch::Receiver<Option<String>> {
        self.missing.subscribe()
    }

    /// Connects once, and logs why there is no answer. Returns whether there is one.
    async fn ask(&self, client: &Client) -> bool {
        let why = self.look(client).await;
        if let Some(why) = &why {
            warn!("not ready: {why}; trying again");
        }
        why.is_none()
    }

    /// Connects until there is an answer.
    async fn ask_again(&self, client: &Client) {
        let mut spacing = REACH_SPACING_MIN;
        loop {
            tokio::time::sleep(spacing).await;
            if self.look(client).await.is_none() {
                return info!("the upstream answers");
            }
            spacing = (2 * spacing).min(REACH_SPACING_MAX);
        }
    }

    async fn look(&self, client: &Client) -> Option<String> {
        let why = client.reach().await.err();
        self.missing.send_replace(why.clone());
        why
    }
}

/// The channels that the configuration names.
pub(super) fn named_channels(config: &Config) -> impl Iterator<Item = &ChannelAddress> {
    let contexts = config.upstream.iter().flat_map(|upstream| upstream.channel_contexts.keys());
    config.policy.channels.keys().chain(contexts)
}

/// Measures by channel those that the configuration names, from the start.
pub(super) fn stats(config: &Config) -> TypingStats {
    let mut stats = TypingStats::new(Uuid::new_v4().as_u64_pair().0);
    let mut names: Vec<_> = named_channels(config).map(ChannelAddress::as_str).collect();
    names.sort_unstable();
    stats.name_channels(names);
    stats
}

/// The routes of all edges, and the answer to any other request; with the drop-in, all else is forwarded.
pub(super) fn router(
    edges: impl IntoIterator<Item = Router>,
    drop_in: Option<DropIn>,
    gate: &TokenAuth,
    console: bool,
) -> Router {
    let own = edges
        .into_iter()
        .fold(Router::new(), Router::merge)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .fallback(async || Problem::of_nothing_here());
    // Any site may link to the page. It reveals nothing, and what it calls is guarded.
    let own = http::guard(own, gate.clone());
    let own = if console { own.merge(console::router()) } else { own };
    match drop_in {
        Some(drop_in) => drop_in.router(own),
        None => own,
    }
}

/// Opens the journal. Returns also whose icons the last process left on.
pub(super) fn open_journal(config: &Config) -> Result<(Option<Journal>, Vec<Conversation>), StartError> {
    let Some(dir) = &config.state_dir else { return Ok((None, Vec::new())) };
    let (journal, recovered) = match Journal::open(dir, clock::wall_millis(), config.recover_within) {
        Ok(opened) => opened,
        Err(error @ OpenError::Held { .. }) => {
            return Err(StartError::Held(config.located(STATE_DIR, &error.to_string())));
        }
        Err(error) => {
            warn!("{}", config.located(STATE_DIR, &error.to_string()));
            return Ok((None, Vec::new()));
        }
    };
    for complaint in &recovered.complaints {
        warn!("journal: {complaint}");
    }
    if recovered.forgotten > 0 {
        warn!(icons = recovered.forgotten, "journal: shown too long ago to be switched off now");
    }
    if !recovered.showing.is_empty() {
        info!(icons = recovered.showing.len(), "the last run left icons on: they go off first");
    }
    Ok((Some(journal), recovered.showing))
}

/// This process as one of several, if a store is configured.
pub(super) fn node(config: &Config, clock: Clock, engine: &mut Engine, left_on: &[Conversation]) -> Option<Node> {
    let Store { link, lease, when_unreachable } = config.store.clone()?;
    let request_timeout = config.upstream.as_ref().map_or(SANDBOX_TIMEOUT, |upstream| upstream.request_timeout);
    let settings = fleet::Settings {
        lease,
        when_unreachable,
        limit: config.policy.delivery.requests_per_second_max,
        request_timeout,
        recover_within: config.recover_within,
        needs_credentials: config.upstream.as_ref().is_some_and(|upstream| upstream.auth == Auth::Cached),
        gathers_for: Duration::from_millis(10),
    };
    let (random, seed) = Uuid::new_v4().as_u64_pair();
    let me = OwnerId::new(random);
    info!(store = %link.place, group = link.group, node = %me, "one of several: the store says whose a conversation is");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fleet = Fleet::new(settings, me, seed);
    Some(Node::new(fleet, Link::new(link, host, me), clock, engine, left_on))
}

pub(super) async fn bind_sandbox() -> Result<(Listener, String), StartError> {
    let address = |port| Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let listener = match Listener::bind(&address(SANDBOX_PORT)).await {
        Ok(listener) => listener,
        Err(_) => Listener::bind(&address(0)).await.map_err(StartError::System)?,
    };
    Ok((listener, format!("sandbox-{}", Uuid::new_v4())))
}

/// The client's settings when the sandbox stands in for an org.
pub(super) fn sandbox_settings(config: &Config, address: &Address, token: &str) -> Settings {
    Settings {
        base_url: Url::parse(&address.to_string()).expect("a loopback address is a URL"),
        org_id: "00D000000000000".to_owned(),
        authorization_context: "Sandbox_ChannelDefinition".to_owned(),
        channel_contexts: HashMap::new(),
        authorization_context_type: None,
        request_timeout: SANDBOX_TIMEOUT,
        in_flight_max: config.policy.delivery.in_flight_max,
        ca_file: None,
        proxy: None,
        connect_to: None,
        auth: Auth::Fixed(Secret::new(token.to_owned())),
        places: Places::default(),
    }
}
