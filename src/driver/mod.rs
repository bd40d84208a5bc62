//! The one loop: it owns the engine, hands it what happens, and does what it says.

mod controls;
pub mod delivery_log;
pub mod heartbeat;
pub mod inbox;
pub(crate) mod journal_keeper;
mod node;
mod observers;
mod ownership;
mod passed;
mod permit;
mod state;
mod waiter;
mod waiters;

use std::future::Future;

use tokio::sync::mpsc;

use crate::base::clock::Clock;
use crate::driver::inbox::Requests;
use crate::engine::Engine;
use crate::model::{Dispatch, Instant, WireResult};
pub use controls::{Command, Controls, controls};
pub(crate) use controls::{Inquiry, NotRecorded, ShutdownReport};
pub use node::Node;
pub use observers::Observers;
pub use permit::Permit;
use state::LoopState;

/// Signals taken in one round before the engine's own work has its turn again: some milliseconds' work. A request that has
/// been begun is taken whole; it has at most [`SIGNALS_MAX`](crate::driver::inbox::SIGNALS_MAX).
const SIGNALS_PER_ROUND: usize = 1_024;
/// Outcomes that may wait for the loop; tasks that carry further ones wait with them.
const OUTCOMES_MAX: usize = 1_024;

/// A request that is over.
type Ended = (Dispatch, Permit, WireResult);

/// Carries one request to the upstream.
pub trait Carrier: Clone + Send + 'static {
    /// Ends in bounded time, whatever the upstream does. If `permit` does not hold where the bytes leave, they don't.
    fn carry(&self, dispatch: &Dispatch, permit: &Permit) -> impl Future<Output = WireResult> + Send;
}

/// Runs the engine, as one node of several if there is a `node`, until all controls are gone, also when a
/// [`Command::Shutdown`] has been carried out: callers are answered until the process ends. Observers see decisions, and what
/// is dropped, if the engine keeps them ([`Engine::observe_decisions`], [`Engine::observe_dropped`]).
pub async fn run(
    engine: Engine,
    clock: Clock,
    carrier: impl Carrier,
    mut requests: Requests,
    mut commands: mpsc::Receiver<Command>,
    observers: Observers,
    node: Option<Node>,
) {
    let (ended, mut outcomes) = mpsc::channel(OUTCOMES_MAX);
    let mut state = LoopState::new(engine, observers, node);
    let mut abandoned = false;
    let timer = tokio::time::sleep_until(clock.timer_at(Instant::NEVER));
    tokio::pin!(timer);
    let mut now = clock.now();
    loop {
        send(&mut state, now, &carrier, &ended);
        if abandoned {
            return;
        }
        requests.set_has_room(state.has_room());
        let wake = state.wake_at(now);
        if wake <= now {
            // Tasks that wait for an answer are queued behind this one, and it would come round without end.
            tokio::task::yield_now().await;
        }
        let wake = clock.timer_at(wake);
        if timer.deadline() != wake {
            timer.as_mut().reset(wake);
        }
        tokio::select! {
            biased;
            command = commands.recv() => {
                abandoned = command.is_none();
                now = clock.now();
                // Who has been answered before asks for what follows from it.
                state.on_gathered(now, requests.gathered());
                send(&mut state, now, &carrier, &ended);
                state.on_command(now, command);
            }
            Some((dispatch, permit, result)) = outcomes.recv() => {
                now = clock.now();
                state.on_outcome(now, &dispatch, &permit, &result);
            }
            news = state.news() => {
                now = clock.now();
                state.on_news(now, news);
            }
            request = requests.recv() => {
                now = clock.now();
                state.on_gathered(now, requests.gathered());
                request.into_iter().for_each(|request| state.on_request(now, request));
            }
            () = timer.as_mut() => now = clock.now(),
        }
        // What else has come by now has its turn as well: where a turn takes long, one kind never ends, and would keep
        // another waiting.
        while let Ok((dispatch, permit, result)) = outcomes.try_recv() {
            state.on_outcome(now, &dispatch, &permit, &result);
        }
        if let Some(news) = state.try_news().await {
            state.on_news(now, news);
        }
        state.on_passed(now, requests.passed());
        state.on_gathered(now, requests.gathered());
        let mut signals = 0;
        while signals < SIGNALS_PER_ROUND
            && let Some(request) = requests.try_recv()
        {
            signals += request.batch.len().max(1);
            state.on_request(now, request);
        }
    }
}

/// The dispatches of a turn leave, each in a task of its own.
fn send(state: &mut LoopState, now: Instant, carrier: &impl Carrier, ended: &mpsc::Sender<Ended>) {
    for (dispatch, permit) in state.turn(now) {
        let (carrier, ended) = (carrier.clone(), ended.clone());
        // Boxed here, and moved once: a task moves its future eight times until it is where it stays.
        tokio::spawn(Box::pin(async move {
            let result = carrier.carry(&dispatch, &permit).await;
            // The loop only goes away at the end, when nothing waits for outcomes any more.
            let _ = ended.send((dispatch, permit, result)).await;
        }));
    }
}
