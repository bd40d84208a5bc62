//! Everything that can fail, before anything is served: nothing listens before the configuration has proven itself.

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::files::caller_tokens;
use super::parts::{self, bind_sandbox, open_journal, stats};
use super::service_manager::Supervisor;
use super::spans::Spans;
use super::upstream::Upstream;
use super::{StartError, listeners};
use crate::base::clock::Clock;
use crate::base::pseudonym::Pseudonyms;
use crate::config::Config;
use crate::driver::delivery_log::DeliveryLog;
use crate::driver::inbox::{self, Inbox, Requests};
use crate::driver::journal_keeper::JournalKeeper;
use crate::driver::{self, Command, Controls, Node, Observers};
use crate::engine::Engine;
use crate::http::{CallerTokens, Gates, Listener, Passed};
use crate::observe::events::{EventLog, Feed};
use crate::observe::snapshot::Snapshot;

/// The parts of a daemon that does not serve yet.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) started_at: u64,
    /// The bearer tokens that callers must show.
    pub(super) tokens: CallerTokens,
    pub(super) gates: Gates,
    pub(super) bound: Vec<Listener>,
    /// Those of operators, where they have their own.
    pub(super) bound_admin: Vec<Listener>,
    /// The sandbox's listener and its token, where it stands in for an org.
    pub(super) sandbox: Option<(Listener, String)>,
    pub(super) inbox: Inbox,
    pub(super) controls: Controls,
    pub(super) feed: Feed,
    pub(super) upstream: Upstream,
    pub(super) supervisor: Supervisor,
    pub(super) snapshots: watch::Receiver<Option<Snapshot>>,
    pub(super) engine: Engine,
    pub(super) observers: Observers,
    pub(super) requests: Requests,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) spans: Spans,
    /// Where several typingd serve one org.
    pub(super) node: Option<Node>,
}

/// Builds the parts of a daemon.
///
/// # Errors
/// Why it can't be.
pub(super) async fn build(config: &Config, passed: &[Passed]) -> Result<Parts, StartError> {
    let clock = Clock::start();
    let started_at = clock.wall_millis(clock.now());
    // The files that it names have been tried when it was read.
    let tokens = caller_tokens(&config.draft());
    let tokens =
        tokens.map_err(|problems| StartError::Configuration(problems.iter().map(ToString::to_string).collect()))?;
    let mut engine = Engine::new(config.policy.clone(), Uuid::new_v4().as_u64_pair().0);
    // Before the first decision: to switch off an icon that the last run left on is one.
    engine.observe_decisions();
    engine.observe_dropped();
    let (journal, left_on) = open_journal(config)?;
    let node = parts::node(config, clock, &mut engine, &left_on);
    if node.is_none() {
        for conversation in &left_on {
            engine.handle_recovered(clock.now(), conversation.as_ref());
        }
    }
    let (bound, bound_admin) = listeners::bind(config, passed).await.map_err(StartError::System)?;
    // After the listeners: it can take any port, and they can't.
    let sandbox = match &config.upstream {
        Some(_) => None,
        None => Some(bind_sandbox().await?),
    };
    let gates = Gates::new(&tokens);
    let (inbox, requests) = inbox::inbox();
    let stand_in = sandbox.as_ref().map(|(listener, token)| (listener.address().clone(), token.clone()));
    let upstream = Upstream::new(config, stand_in, inbox.clone(), gates.clone(), clock)?;
    let (controls, commands) = driver::controls();
    let (history, feed) = EventLog::new(Uuid::new_v4().as_u64_pair().0);
    let supervisor = Supervisor::present();
    let (heartbeat, snapshots) = supervisor.heartbeat();
    let pseudonyms = Pseudonyms::default();
    let spans = Spans::start(config, &feed, &upstream.client, clock, &pseudonyms)?;
    let observers = Observers {
        stats: stats(config),
        delivery_log: DeliveryLog::new(pseudonyms, parts::named_channels(config)),
        history: Some(history),
        journal: journal.map(JournalKeeper::new),
        heartbeat,
        ..Observers::default()
    };
    Ok(Parts {
        clock,
        started_at,
        tokens,
        gates,
        bound,
        bound_admin,
        sandbox,
        inbox,
        controls,
        feed,
        upstream,
        supervisor,
        snapshots,
        engine,
        observers,
        requests,
        commands,
        spans,
        node,
    })
}
