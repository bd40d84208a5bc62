//! The one loop: it owns the engine, tells it what happens, and does what it says.

pub mod delivery_log;
pub mod heartbeat;
pub mod inbox;
mod inquiry;
mod state;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::clock::{self, Clock};
use crate::driver::delivery_log::Herald;
use crate::driver::heartbeat::Pulse;
use crate::driver::inbox::Parcel;
use crate::engine::policy::{Delivery, Policy, Rules};
use crate::engine::{Census, Counts, Engine, Page, PageQuery};
use crate::journal::{self, Journal};
use crate::model::{Conversation, Dispatch, Instant, WireResult};
use crate::observe::events::Chronicle;
use crate::observe::recording::Recording;
use crate::observe::typing::{Figures, Ledger};
use crate::observe::work::Measures;
pub use inquiry::Inquiry;
use state::Desk;

/// Signals taken in one round before the engine's own work has its turn again: some milliseconds' work. A parcel that has
/// been begun is taken whole; it has at most [`SIGNALS_MAX`](crate::driver::inbox::SIGNALS_MAX).
const SIGNALS_PER_ROUND: usize = 1_024;
/// Outcomes that may wait for the loop; whoever carries further ones waits with them.
const OUTCOMES_MAX: usize = 1_024;
/// Commands that may wait for the loop.
const COMMANDS_MAX: usize = 64;

/// While icons are on it is looked this often whether the machine has slept.
const SLEEP_LOOK_SPACING: Duration = Duration::from_secs(1);

/// Carries one request to the far side.
pub trait Carrier: Clone + Send + 'static {
    /// Ends in bounded time, whatever the far side does.
    fn carry(&self, dispatch: &Dispatch) -> impl Future<Output = WireResult> + Send;
}

/// What the loop is asked to do beside its work.
#[derive(Debug)]
pub enum Command {
    /// Take a new policy, and say when it holds.
    Policy(Box<Policy>, oneshot::Sender<()>),
    /// Say how things stand.
    Vitals(oneshot::Sender<Vitals>),
    /// Say how things stand, and what has been measured.
    Figures(oneshot::Sender<(Vitals, Figures)>),
    /// Hand the signals over to somebody who records them.
    Record(oneshot::Sender<Result<Recording, NotRecorded>>),
    /// Tell some conversations, and how many there are.
    Page(PageQuery, oneshot::Sender<(Page, usize)>),
    /// Credentials of these channels were accepted that were not before.
    Accepted(Vec<Box<str>>),
    /// Tell everything about one conversation.
    Inquire(Conversation, oneshot::Sender<Inquiry>),
    /// Switch every icon off, and say how that went: as soon as all are off, or when this time is over. From then on
    /// signals are accepted and change nothing; keystrokes are left to the next process.
    Shutdown(Duration, oneshot::Sender<Farewell>),
}

/// Why nothing can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// Somebody else records.
    Busy,
    /// The loop is about to end.
    Stopping,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Sizes.
    pub census: Census,
    /// What has happened so far.
    pub counts: Counts,
    /// How the work goes.
    pub measures: Measures,
    /// Requests that have left in the last second, to a tenth of it.
    pub requests_in_last_second: u64,
    /// The timing in force of channels that have none of their own.
    pub rules: Rules,
    /// The bounds of delivery in force.
    pub delivery: Delivery,
    /// Conversations that may be in memory.
    pub conversations_max: usize,
    /// Why nothing is delivered at the moment; `None` while there is no such trouble.
    pub trouble: Option<String>,
    /// Requests a second that may leave at present.
    pub rate_in_force: u32,
    /// How the journal fares, if there is one.
    pub journal: Option<journal::Figures>,
    /// Somebody records the signals.
    pub recording: bool,
}

impl Vitals {
    /// Whether the journal can't be written: a crash may leave icons on.
    #[must_use]
    pub fn journal_degraded(&self) -> bool {
        self.journal.is_some_and(|journal| journal.degraded)
    }
}

/// How the icons were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Conversations whose icon may still be on: the grace was too short.
    pub unsettled: usize,
    /// Stops that were given up since the start: their icons may be on, too.
    pub given_up: u64,
}

/// A handle for commands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Controls(mpsc::Sender<Command>);

impl Controls {
    /// Gives a command; `false` when the loop has ended.
    pub async fn give(&self, command: Command) -> bool {
        self.0.send(command).await.is_ok()
    }

    /// Gives a new policy, and waits until it holds; `false` when it was not taken, for the loop has ended or has so
    /// much to do that it takes no command within `patience`. One that was taken will hold, if not as soon as that.
    pub async fn hold_to(&self, policy: Policy, patience: Duration) -> bool {
        let (tell, held) = oneshot::channel();
        let given = self.give(Command::Policy(Box::new(policy), tell));
        if !tokio::time::timeout(patience, given).await.unwrap_or(false) {
            return false;
        }
        !matches!(tokio::time::timeout(patience, held).await, Ok(Err(_)))
    }

    /// Asks how things stand; `None` when the loop has ended or does not answer within `patience`.
    pub async fn vitals(&self, patience: Duration) -> Option<Vitals> {
        self.ask(patience, Command::Vitals).await
    }

    /// Asks how things stand, and what has been measured; `None` when the loop has ended or does not answer within
    /// `patience`.
    pub async fn figures(&self, patience: Duration) -> Option<(Vitals, Figures)> {
        self.ask(patience, Command::Figures).await
    }

    /// Begins a recording; `None` when the loop has ended or does not answer within `patience`.
    pub async fn record(&self, patience: Duration) -> Option<Result<Recording, NotRecorded>> {
        self.ask(patience, Command::Record).await
    }

    async fn ask<T>(&self, patience: Duration, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (ask, answer) = oneshot::channel();
        tokio::time::timeout(patience, async {
            self.0.send(command(ask)).await.ok()?;
            answer.await.ok()
        })
        .await
        .ok()?
    }
}

/// A new set of controls and the end that [`run`] takes.
#[must_use]
pub fn controls() -> (Controls, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    (Controls(sender), receiver)
}

/// Those who stand beside the loop, and are told what happens.
#[derive(Debug)]
pub struct Aides {
    /// Keeps what a crash must not lose.
    pub journal: Option<Journal>,
    /// Tells operators.
    pub herald: Herald,
    /// Measures.
    pub ledger: Ledger,
    /// Tells whoever watches.
    pub chronicle: Option<Chronicle>,
    /// Shows that the loop goes round.
    pub pulse: Pulse,
}

/// Runs the engine until all controls are gone, also when a [`Command::Shutdown`] has been carried out: callers are
/// answered until the process ends. Ledger and chronicle
/// hear of decisions, and of what is dropped, if the engine has been told to keep them ([`Engine::observe_decisions`],
/// [`Engine::observe_dropped`]).
pub async fn run(
    engine: Engine,
    clock: Clock,
    carrier: impl Carrier,
    mut parcels: mpsc::Receiver<Parcel>,
    mut commands: mpsc::Receiver<Command>,
    aides: Aides,
) {
    let (settled, mut outcomes) = mpsc::channel(OUTCOMES_MAX);
    let mut desk = Desk {
        engine,
        waiters: HashMap::new(),
        journal: aides.journal,
        renew_at: Instant::ORIGIN,
        renewed_to: 0,
        asleep: clock::time_asleep(),
        slept_look: Instant::ORIGIN,
        herald: aides.herald,
        ledger: aides.ledger,
        measures: Measures::default(),
        chronicle: aides.chronicle,
        pulse: aides.pulse,
        waited: Duration::ZERO,
        recorder: None,
        policy: None,
        stopping: None,
    };
    let mut leaving = Vec::new();
    let mut abandoned = false;
    let timer = tokio::time::sleep_until(clock.timer_at(Instant::NEVER));
    tokio::pin!(timer);
    loop {
        let now = clock.now();
        desk.notice_sleep(now);
        desk.engine.handle_timeout(now);
        desk.change_policy(now);
        desk.herald.count(now, desk.engine.counts());
        desk.herald.note_blocked(now, desk.engine.census().blocked);
        while let Some(dispatch) = desk.engine.poll_dispatch(now) {
            desk.note_leaving(now, &dispatch);
            leaving.push(dispatch);
        }
        desk.keep_books(now);
        // What is shown must be on record before it is shown.
        desk.keep_journal(now);
        for dispatch in leaving.drain(..) {
            let (carrier, settled) = (carrier.clone(), settled.clone());
            tokio::spawn(async move {
                let result = carrier.carry(&dispatch).await;
                // The loop only goes away at the end, when nobody waits for outcomes any more.
                let _ = settled.send((dispatch, result)).await;
            });
        }
        if abandoned {
            return;
        }
        desk.say_farewell(now);
        desk.show_pulse(now);
        let mut wake = desk.engine.poll_timeout(now).min(desk.pulse.due()).min(desk.farewell_due());
        if desk.engine.census().icons > 0 {
            wake = wake.min(now + SLEEP_LOOK_SPACING);
        }
        if desk.is_in_midst_of_work() {
            wake = now;
        }
        if wake <= now {
            // Those who wait for an answer stand behind this task, and it would come round without end.
            tokio::task::yield_now().await;
        }
        let wake = clock.timer_at(wake);
        if timer.deadline() != wake {
            timer.as_mut().reset(wake);
        }
        tokio::select! {
            biased;
            command = commands.recv() => {
                let now = clock.now();
                match command {
                    Some(Command::Policy(policy, held)) => {
                        desk.take_policy(policy, held);
                        desk.change_policy(now);
                    }
                    Some(Command::Vitals(answer)) => {
                        let _ = answer.send(desk.vitals(now));
                    }
                    Some(Command::Figures(answer)) => {
                        let _ = answer.send((desk.vitals(now), desk.ledger.figures(now)));
                    }
                    Some(Command::Record(answer)) => {
                        let _ = answer.send(desk.start_recording(now));
                    }
                    Some(Command::Page(query, answer)) => {
                        let _ = answer.send(desk.page(now, &query));
                    }
                    Some(Command::Inquire(conversation, answer)) => {
                        let _ = answer.send(desk.inquire(now, conversation.as_ref()));
                    }
                    Some(Command::Accepted(channels)) => desk.take_acceptances(now, &channels),
                    Some(Command::Shutdown(grace, farewell)) => desk.shut_down(now, Some((now + grace, farewell))),
                    None => {
                        abandoned = true;
                        desk.shut_down(now, None);
                    }
                }
            }
            Some((dispatch, result)) = outcomes.recv() => desk.take_outcome(clock.now(), &dispatch, &result),
            Some(parcel) = parcels.recv() => desk.take_parcel(clock.now(), parcel),
            () = timer.as_mut() => {}
        }
        // Whatever else has come by now has its turn as well: where a turn takes long, one kind never ends, and would keep
        // another waiting.
        let now = clock.now();
        while let Ok((dispatch, result)) = outcomes.try_recv() {
            desk.take_outcome(now, &dispatch, &result);
        }
        let mut signals = 0;
        while signals < SIGNALS_PER_ROUND
            && let Ok(parcel) = parcels.try_recv()
        {
            signals += parcel.batch.len().max(1);
            desk.take_parcel(now, parcel);
        }
    }
}
