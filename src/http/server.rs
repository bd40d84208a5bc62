//! Listening: connections are accepted, seated, and asked to make room for others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::address::Address;
use super::connection::connection;
use super::guard::ViaUnix;
use super::listener::Listener;
use super::serving::{Ends, Serving, stopped};
use super::settings::Limits;
use super::slot::{ConnectionSlot, GONE, IDLE, SlotPermit, SlotPool};
use super::socket::Socket;
use super::traffic::{ListenerStats, Traffic};
use crate::base::clock;

/// Serves `router` on `listener` until `stop` becomes true; then open requests are finished, idle connections closed,
/// and the future ends when the last one has gone.
pub async fn serve(listener: Listener, router: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let (_serving, serving) = watch::channel(Serving { router, limits, traffic: Traffic::default() });
    let (_retire, retire) = watch::channel(false);
    serve_on(Arc::new(listener), serving, Ends { stop: stop.clone(), close: stop, retire }).await;
}

/// The same with what can be changed meanwhile, and an end in steps. `listener` is let go as soon as nobody is accepted
/// any more.
pub async fn serve_on(listener: Arc<Listener>, serving: watch::Receiver<Serving>, ends: Ends) {
    let Ends { stop, mut close, mut retire } = ends;
    let connections_max = serving.borrow().limits.connections_max;
    let stats = serving.borrow().traffic.stats(listener.address());
    let pool = SlotPool::new(connections_max, RESERVED);
    let mut slots: VecDeque<Arc<ConnectionSlot>> = VecDeque::new();
    let via_unix = matches!(listener.address(), Address::Unix(_)).then_some(ViaUnix);
    let retiring = retire.clone();
    let spawn_connection = |socket: Socket, permit: SlotPermit, slots: &mut VecDeque<Arc<ConnectionSlot>>| {
        let slot = ConnectionSlot::new(via_unix, permit, pool.clone());
        if slots.len() >= 2 * connections_max {
            slots.retain(|slot| slot.phase.load(Ordering::Relaxed) != GONE);
        }
        slots.push_back(slot.clone());
        let guard = stats.enter();
        let connection = connection(socket, serving.clone(), slot.clone(), stop.clone(), retiring.clone());
        tokio::spawn(async move {
            connection.await;
            slot.end();
            drop(guard);
        });
    };
    loop {
        let crowded = pool.is_crowded();
        if crowded {
            make_room(&mut slots, &stats);
        }
        let accepted = tokio::select! {
            () = stopped(&mut close) => break,
            () = stopped(&mut retire) => break,
            // Whoever is asked to leave takes a moment, and others may become idle meanwhile.
            () = tokio::time::sleep(CROWD_CHECK_INTERVAL), if crowded => continue,
            accepted = async { (pool.any().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (permit, Ok(socket)) => {
                let permit = permit.unwrap_or_else(|reserved| pool.reserved(reserved));
                spawn_connection(socket, permit, &mut slots);
            }
            // Out of file descriptors, most likely: give the deadlines time to free some, and don't spin.
            (_, Err(_)) => {
                stats.note_failed();
                tokio::time::sleep(CROWD_CHECK_INTERVAL).await;
            }
        }
    }
    let closing = *close.borrow();
    if !closing {
        // Who has knocked is let in, also whoever does so while another listener takes over the address.
        let late = clock::timer_after(BACKLOG_GRACE);
        while let Ok(Ok(socket)) = tokio::time::timeout_at(late, listener.accept()).await {
            let Some(permit) = pool.try_ordinary() else { break };
            spawn_connection(socket, permit, &mut slots);
        }
    }
    if !(closing && listener.is_passed()) {
        while let (Some(permit), Some(socket)) = (pool.try_ordinary(), listener.accept_waiting()) {
            spawn_connection(socket, permit, &mut slots);
        }
    }
    drop(listener);
    pool.empty(connections_max, RESERVED).await;
}

/// Asks one connection to make room: whoever comes when all slots are taken gets the slot of somebody who only sits there.
/// That is the one that has been open for longest and is idle; else the stream that has told nothing for longest, which
/// gets its answer; else the request whose body has hardly come on for longest.
fn make_room(slots: &mut VecDeque<Arc<ConnectionSlot>>, stats: &ListenerStats) {
    slots.retain(|slot| slot.phase.load(Ordering::Relaxed) != GONE);
    if let Some(place) = slots.iter().position(|slot| slot.phase.load(Ordering::Relaxed) == IDLE)
        && let Some(slot) = slots.remove(place)
    {
        slot.leave.notify_one();
    } else if let Some(slot) = longest(slots, ConnectionSlot::silence, SILENCE_MIN) {
        slot.note_body(false);
        slot.give_way.notify_waiters();
    } else if let Some(slot) = longest(slots, ConnectionSlot::slowness, SLOWNESS_MIN) {
        slot.note_body(false);
        slot.cut.notify_waiters();
    } else {
        return;
    }
    stats.note_displaced();
}

/// The slot for which `time` is the longest, and as long as `least`.
fn longest(
    slots: &VecDeque<Arc<ConnectionSlot>>,
    time: impl Fn(&ConnectionSlot) -> Option<Duration>,
    least: Duration,
) -> Option<Arc<ConnectionSlot>> {
    let times = slots.iter().filter_map(|slot| Some((time(slot)?, slot)));
    let longest = times.filter(|(time, _)| *time >= least).max_by_key(|(time, _)| *time);
    longest.map(|(_, slot)| Arc::clone(slot))
}

/// Seats beyond `connections_max`, for health and control alone: more probes and commands than come at a time.
const RESERVED: usize = 16;
/// A stream that has told nothing for so long makes room. Connecting anew costs it less than that.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// A body that has hardly come on for so long makes room: as long as a silence in it may last.
const SLOWNESS_MIN: Duration = Duration::from_secs(5);
/// When every slot is taken it is looked this often whether one has become free or idle.
const CROWD_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a listener that retires still lets in who knocks.
const BACKLOG_GRACE: Duration = Duration::from_millis(100);
