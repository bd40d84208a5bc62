//! The way to Salesforce, which may change while the daemon runs: the client in force, and the drop-in in front of it.
//!
//! Who has been shown an icon by an earlier client is told by that one that it is off: it may be another org's agent.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::sync::{RwLock, watch};
use tracing::{info, warn};

use super::parts::{DropInGround, DroppedIn, client, drop_in, router, upstream};
use super::{HANG_UP_MAX, StartError};
use crate::api::control::Unchanged;
use crate::base::clock::{self, Clock};
use crate::base::files;
use crate::config::Config;
use crate::driver::inbox::Inbox;
use crate::driver::{Carrier, Command, Controls};
use crate::drop_in::{self, DropIn, Lasting};
use crate::http::{Address, Gate, Limits, Serving, Traffic};
use crate::model::{Conversation, Dispatch, Indicator, Outcome, WireResult};
use crate::salesforce::credentials::{CredentialCache, REFUSED_FOR};
use crate::salesforce::settings::Settings;
use crate::salesforce::{Client, TokenState};

/// What new credentials have to prove themselves. A token endpoint answers in well under a second.
const PROOF_MAX: Duration = Duration::from_secs(5);
/// How long an earlier client is still asked to put icons off: more than the longest unbroken typing by default and the
/// life of its Stopped together. Later a Stopped goes to the client in force.
const FORMER_MAX: Duration = Duration::from_secs(600);

/// Delivers by the client in force. Cheap to clone; clones change together.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    current: watch::Sender<Client>,
    former: Mutex<Former>,
    /// Held while the client in force is exchanged, lest a request leave by the wrong one.
    turning: RwLock<()>,
}

/// The conversations that an earlier client has shown an icon of, each with that client.
struct Former {
    clients: HashMap<Conversation, Client>,
    until: tokio::time::Instant,
}

impl Line {
    fn new(client: Client) -> Self {
        let former = Former { clients: HashMap::new(), until: clock::timer_after(Duration::ZERO) };
        Self(Arc::new(Shared {
            current: watch::Sender::new(client),
            former: Mutex::new(former),
            turning: RwLock::new(()),
        }))
    }

    /// The client in force.
    pub(super) fn client(&self) -> Client {
        self.0.current.borrow().clone()
    }

    fn former(&self) -> MutexGuard<'_, Former> {
        self.0.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no Started waits for a token.
    pub(super) fn close(&self) {
        self.client().close();
        self.former().clients.values().for_each(Client::close);
    }

    /// Puts `client` in force. If it leads elsewhere, `controls` tell whose icon may be on where it led before.
    async fn turn_to(&self, client: Client, elsewhere: Option<&Controls>) {
        let _turning = self.0.turning.write().await;
        if let Some(controls) = elsewhere {
            let shown = controls.shown(HANG_UP_MAX).await.unwrap_or_default();
            let current = self.client();
            let mut former = self.former();
            former.until = clock::timer_after(FORMER_MAX);
            for conversation in shown {
                former.clients.entry(conversation).or_insert_with(|| current.clone());
            }
        }
        self.0.current.send_replace(client);
    }

    /// Keeps a token in hand, whichever client is in force, and says so when the first one is.
    pub(super) async fn keep_token(self) {
        let mut clients = self.0.current.subscribe();
        let mut ready = false;
        loop {
            let client = clients.borrow_and_update().clone();
            let keep = async {
                if !ready {
                    match client.warm_up().await {
                        TokenState::Held => info!("ready"),
                        TokenState::Pending => warn!("not ready: no token in time; trying on"),
                        TokenState::Failing(why) => warn!("not ready: {why}; trying on"),
                    }
                    ready = true;
                }
                client.keep_token_fresh().await;
            };
            tokio::select! {
                () = keep => {}
                changed = clients.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Carrier for Line {
    async fn carry(&self, dispatch: &Dispatch) -> WireResult {
        let former = {
            let _turning = self.0.turning.read().await;
            let mut former = self.former();
            if !former.clients.is_empty() && former.until <= clock::timer_after(Duration::ZERO) {
                former.clients = HashMap::new();
            }
            former.clients.get(&dispatch.conversation).cloned().ok_or_else(|| self.client())
        };
        match former {
            Err(current) => current.deliver(dispatch).await,
            Ok(former) => {
                let result = former.deliver(dispatch).await;
                // Off, or not to be reached: from now on the client in force is at work.
                let over = match dispatch.indicator() {
                    Indicator::TypingStarted => result.outcome != Outcome::Delivered,
                    Indicator::TypingStopped => matches!(result.outcome, Outcome::Delivered | Outcome::Rejected(_)),
                };
                if over {
                    self.former().clients.remove(&dispatch.conversation);
                }
                result
            }
        }
    }
}

/// Whatever depends on where Salesforce is and on how to be let in there.
pub(super) struct FarSide {
    pub(super) line: Line,
    /// What comes in is counted on, whatever changes.
    pub(super) traffic: Traffic,
    settings: Settings,
    /// What `ca_file` held.
    roots: Option<u64>,
    sandbox: Option<(Address, String)>,
    cache: CredentialCache,
    clock: Clock,
    inbox: Inbox,
    gate: Gate,
    drop_in: Option<DroppedIn>,
    drop_in_settings: Option<drop_in::Settings>,
    lasting: Lasting,
}

/// Another way to Salesforce, proven.
pub(super) struct Turn {
    settings: Settings,
    roots: Option<u64>,
    client: Option<Client>,
    /// The drop-in, if it is another.
    drop_in: Option<Option<DroppedIn>>,
    drop_in_settings: Option<drop_in::Settings>,
}

impl FarSide {
    /// The way that `config` names; or to the sandbox, by its address and its token.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(
        config: &Config,
        sandbox: Option<(Address, String)>,
        inbox: Inbox,
        gate: Gate,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let settings = upstream(config, sandbox.as_ref())?;
        let refused_for = config.drop_in.map_or(REFUSED_FOR, |drop_in| drop_in.refused_for);
        let (cache, lasting) = (CredentialCache::new(clock, refused_for), Lasting::new(clock));
        let line = Line::new(client(settings.clone(), clock, cache.clone(), None)?);
        let mut this = Self {
            line,
            traffic: Traffic::default(),
            roots: roots(&settings),
            settings,
            sandbox,
            cache,
            clock,
            inbox,
            gate,
            drop_in: None,
            drop_in_settings: config.drop_in,
            lasting,
        };
        this.drop_in = this.drop_in(config, &this.settings)?;
        Ok(this)
    }

    fn drop_in(&self, config: &Config, settings: &Settings) -> Result<Option<DroppedIn>, StartError> {
        let ground = DropInGround {
            inbox: self.inbox.clone(),
            cache: self.cache.clone(),
            gate: self.gate.clone(),
            clock: self.clock,
            lasting: self.lasting.clone(),
            shadow: self.drop_in.as_ref().and_then(|dropped_in| dropped_in.shadow.clone()),
        };
        drop_in(config, settings.clone(), ground)
    }

    /// Tells the loop of credentials that were accepted: something that is owed may wait for them. Ends with the loop.
    pub(super) fn report_acceptances(&self, controls: Controls) -> impl Future<Output = ()> + Send + use<> {
        let cache = self.cache.clone();
        async move {
            // Whatever comes while the loop is behind is told together.
            while controls.give(Command::Accepted(cache.acceptances().await)).await {}
        }
    }

    /// The drop-in in force.
    pub(super) fn dropped_in(&self) -> Option<&DropIn> {
        self.drop_in.as_ref().map(|dropped_in| &dropped_in.drop_in)
    }

    /// The controls of the shadow's loop, if there is one.
    pub(super) fn shadow(&self) -> Option<Controls> {
        Some(self.drop_in.as_ref()?.shadow.as_ref()?.controls.clone())
    }

    /// Where Salesforce is.
    pub(super) fn base_url(&self) -> String {
        self.settings.base_url.to_string()
    }

    /// What is served: the daemon's `own` routes, and those of the drop-in.
    pub(super) fn serving(&self, own: &[Router]) -> Serving {
        let drop_in = self.dropped_in();
        let limits = Limits { keep_header_case: drop_in.is_some(), ..Limits::default() };
        let edges = own.iter().cloned().chain(drop_in.cloned().map(DropIn::report_router));
        let router = router(edges, drop_in.cloned(), &self.gate);
        Serving { router, limits, traffic: self.traffic.clone() }
    }

    /// Makes ready what `config` asks for, without changing anything.
    ///
    /// # Errors
    /// Why it can't be.
    pub(super) async fn prove(&self, config: &Config) -> Result<Turn, Unchanged> {
        let wrong = |error: StartError| match error {
            StartError::Configuration(problems) => Unchanged::Wrong(problems),
            StartError::Surroundings(what) | StartError::Held(what) => Unchanged::Hindered(vec![what]),
        };
        let settings = upstream(config, self.sandbox.as_ref()).map_err(wrong)?;
        let roots = roots(&settings);
        let current = self.line.client();
        let same = settings == self.settings && roots == self.roots;
        let client = match same {
            true => None,
            false => Some(client(settings.clone(), self.clock, self.cache.clone(), Some(&current)).map_err(wrong)?),
        };
        // Where nothing is delivered as it is, there is nothing to lose.
        if current.token_state() == TokenState::Held {
            let next = client.as_ref().unwrap_or(&current);
            next.check_token_file().await.map_err(|why| Unchanged::Wrong(vec![why]))?;
            let _ = tokio::time::timeout(PROOF_MAX, next.warm_up()).await;
            let why = match next.token_state() {
                TokenState::Held => None,
                TokenState::Pending => Some(format!("no token within {} s", PROOF_MAX.as_secs())),
                TokenState::Failing(why) => Some(why),
            };
            if let Some(why) = why {
                return Err(Unchanged::Hindered(vec![format!("upstream.auth: {why}")]));
            }
        }
        let drop_in = match same && config.drop_in == self.drop_in_settings {
            true => None,
            false => Some(self.drop_in(config, &settings).map_err(wrong)?),
        };
        Ok(Turn { settings, roots, client, drop_in, drop_in_settings: config.drop_in })
    }

    /// Puts in force what has been made ready. Says whether something else is to be served.
    pub(super) async fn turn(&mut self, turn: Turn, controls: Option<&Controls>) -> bool {
        let place = |settings: &Settings| {
            let Settings { base_url, org_id, authorization_context, channel_contexts, .. } = settings.clone();
            (base_url, org_id, authorization_context, channel_contexts)
        };
        if let Some(client) = turn.client {
            let elsewhere = place(&turn.settings) != place(&self.settings);
            self.line.turn_to(client, controls.filter(|_| elsewhere)).await;
        }
        (self.settings, self.roots, self.drop_in_settings) = (turn.settings, turn.roots, turn.drop_in_settings);
        match turn.drop_in {
            None => false,
            Some(drop_in) => {
                self.drop_in = drop_in;
                true
            }
        }
    }

    /// Ends when no connector calls any more, at `end` at the latest. Says how many requests are cut then.
    pub(super) async fn drained(&self, end: tokio::time::Instant) -> u64 {
        match self.drop_in_settings {
            Some(settings) => self.lasting.drained(end.min(clock::timer_after(settings.drain))).await,
            None => 0,
        }
    }

    /// Cuts what still passes through, and says how many requests that are.
    pub(super) fn cut(&self) -> u64 {
        self.lasting.cut()
    }
}

/// What tells one content of `ca_file` from another.
fn roots(settings: &Settings) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&files::read(settings.ca_file.as_ref()?, files::CA_FILE_BYTES_MAX).ok()?);
    Some(hasher.finish())
}
