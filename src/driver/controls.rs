//! What the loop is asked to do beside its work, and the handle for asking.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::engine::policy::{Policy, Rules};
use crate::engine::{Account, Page, PageQuery};
use crate::fleet::State;
use crate::model::{Conversation, Instant};
use crate::observe::events::{Flight, Past};
use crate::observe::recording::{Recording, Scope};
use crate::observe::snapshot::Snapshot;
use crate::observe::typing::candidates::CandidateFigures;
use crate::store::Lookup;
use crate::tune::plan::Setting;

/// Commands that may wait for the loop.
const COMMANDS_MAX: usize = 64;

/// A request to the loop; where it has an answer, the sender takes it.
#[derive(Debug)]
pub enum Command {
    /// Take a new policy, and say when it is in force.
    Policy(Box<Policy>, oneshot::Sender<()>),
    /// What operators see.
    Snapshot(oneshot::Sender<Snapshot>),
    /// A snapshot with the statistics of typing.
    Statistics(oneshot::Sender<Snapshot>),
    /// Measure these timings beside the one in force, if any are given; the figures of those that are measured.
    Candidates(Option<Vec<Setting>>, oneshot::Sender<Option<CandidateFigures>>),
    /// Begin a recording.
    Record(Scope, oneshot::Sender<Result<Recording, NotRecorded>>),
    /// Some conversations, how many there are, and how many typingd share a store, if there is one.
    Page(PageQuery, oneshot::Sender<(Page, usize, Option<usize>)>),
    /// Credentials of these channels were accepted that were not before.
    Accepted(Vec<Box<str>>),
    /// Everything about one conversation.
    Inquire(Conversation, oneshot::Sender<Inquiry>),
    /// Hide every icon, and report as soon as all are hidden, or when this time is over. From then on signals are
    /// accepted and change nothing; keystrokes are left to the next process.
    Shutdown(Duration, oneshot::Sender<ShutdownReport>),
}

/// Why nothing can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// Another client records.
    Busy,
    Stopping,
}

/// Everything about one conversation.
#[derive(Clone, Debug)]
pub struct Inquiry {
    pub at: Instant,
    /// `None` if it is not in memory.
    pub account: Option<Account>,
    /// The request in flight.
    pub flight: Option<Flight>,
    pub past: Past,
    /// The timing of its channel.
    pub rules: Rules,
    /// Where it is not this process's: what says whose it is.
    pub elsewhere: Option<Lookup>,
    /// What this process may do by the store; `None` without one.
    pub store: Option<State>,
}

/// How the icons were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Conversations whose icon may still be on: the grace was too short.
    pub unsettled: usize,
    /// Stops that were given up since the start: their icons may be on, too.
    pub given_up: u64,
}

/// A handle for commands. Cheap to clone. Answers are `None` when the loop has ended or does not answer in time.
#[derive(Clone, Debug)]
pub struct Controls(mpsc::Sender<Command>);

impl Controls {
    /// Gives a command; `false` when the loop has ended.
    pub async fn give(&self, command: Command) -> bool {
        self.0.send(command).await.is_ok()
    }

    /// Gives a new policy, and waits until it is in force; `false` when it was not taken, because the loop has ended or
    /// has so much to do that it takes no command within `timeout`. One that was taken comes into force, if not as soon
    /// as that.
    pub(crate) async fn set_policy(&self, policy: Policy, timeout: Duration) -> bool {
        let (in_force, waiting) = oneshot::channel();
        let given = self.give(Command::Policy(Box::new(policy), in_force));
        if !tokio::time::timeout(timeout, given).await.unwrap_or(false) {
            return false;
        }
        !matches!(tokio::time::timeout(timeout, waiting).await, Ok(Err(_)))
    }

    pub(crate) async fn snapshot(&self, timeout: Duration) -> Option<Snapshot> {
        self.ask(timeout, Command::Snapshot).await
    }

    /// A snapshot with the statistics of typing.
    pub(crate) async fn statistics(&self, timeout: Duration) -> Option<Snapshot> {
        self.ask(timeout, Command::Statistics).await
    }

    /// Measures `settings` beside the timing in force, if any are given. The figures of what is measured, if anything is.
    pub(crate) async fn candidates(
        &self,
        settings: Option<Vec<Setting>>,
        timeout: Duration,
    ) -> Option<Option<CandidateFigures>> {
        self.ask(timeout, |answer| Command::Candidates(settings, answer)).await
    }

    pub(crate) async fn record(&self, scope: Scope, timeout: Duration) -> Option<Result<Recording, NotRecorded>> {
        self.ask(timeout, |answer| Command::Record(scope, answer)).await
    }

    /// Some conversations, how many there are, and how many typingd share a store.
    pub(crate) async fn page(&self, query: PageQuery, timeout: Duration) -> Option<(Page, usize, Option<usize>)> {
        self.ask(timeout, |answer| Command::Page(query, answer)).await
    }

    pub(crate) async fn inquire(&self, conversation: Conversation, timeout: Duration) -> Option<Inquiry> {
        self.ask(timeout, |answer| Command::Inquire(conversation, answer)).await
    }

    async fn ask<T>(&self, timeout: Duration, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (ask, answer) = oneshot::channel();
        let asked = async {
            self.0.send(command(ask)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(timeout, asked).await.ok()?
    }
}

/// A new set of controls and the end that [`run`](crate::driver::run) takes.
pub fn controls() -> (Controls, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    (Controls(sender), receiver)
}
