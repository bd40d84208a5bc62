//! Accepts connections, gives each a slot, and asks some to make room for others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::connection::connection;
use super::listener::Listener;
use super::serving::{Ends, Serving, stopped};
use super::settings::Limits;
use super::slot::{ConnectionSlot, GONE, IDLE, SlotPermit, SlotPool};
use super::socket::Socket;
use super::traffic::{ListenerStats, Traffic};

/// Serves `router` on `listener` until `stop` becomes true; then open requests are finished, idle connections closed,
/// and the future ends when the last one has gone.
pub async fn serve(listener: Listener, router: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let (_serving, serving) =
        watch::channel(Serving { router, signals: None, forward: None, limits, traffic: Traffic::default() });
    serve_on(listener, serving, Ends { stop: stop.clone(), close: stop }).await;
}

/// The same with a router that can be changed meanwhile, and an end in steps. `listener` is dropped as soon as no
/// connection is accepted any more.
pub(crate) async fn serve_on(listener: Listener, serving: watch::Receiver<Serving>, ends: Ends) {
    let Ends { stop, mut close } = ends;
    let connections_max = serving.borrow().limits.connections_max;
    let stats = serving.borrow().traffic.listener(listener.address());
    let pool = SlotPool::new(connections_max, RESERVED);
    let mut slots: VecDeque<Arc<ConnectionSlot>> = VecDeque::new();
    let spawn_connection = |socket: Socket, permit: SlotPermit, slots: &mut VecDeque<Arc<ConnectionSlot>>| {
        let slot = ConnectionSlot::new(socket.via_unix(), permit, pool.clone());
        if slots.len() >= 2 * connections_max {
            slots.retain(|slot| slot.phase.load(Ordering::Relaxed) != GONE);
        }
        slots.push_back(slot.clone());
        let guard = stats.open();
        let connection = connection(socket, serving.clone(), slot.clone(), stop.clone());
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
            // A connection that is asked to leave takes a moment, and others may become idle meanwhile.
            () = tokio::time::sleep(CROWD_CHECK_INTERVAL), if crowded => continue,
            accepted = async { (pool.any().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (permit, Ok(socket)) => {
                let permit = permit.unwrap_or_else(|reserved| pool.reserved(reserved));
                spawn_connection(socket, permit, &mut slots);
            }
            // Out of file descriptors, most likely: deadlines free some in time.
            (_, Err(_)) => {
                stats.note_failed();
                tokio::time::sleep(CROWD_CHECK_INTERVAL).await;
            }
        }
    }
    if !listener.is_passed() {
        while let (Some(permit), Some(socket)) = (pool.try_ordinary(), listener.accept_waiting()) {
            spawn_connection(socket, permit, &mut slots);
        }
    }
    drop(listener);
    pool.empty(connections_max, RESERVED).await;
}

/// Asks one connection to make room: the idle one that has been open for longest; else the stream that has been silent for
/// longest, which gets its answer; else the request whose body has been slow for longest.
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

/// The slot for which `time` is longest, and at least `least`.
fn longest(
    slots: &VecDeque<Arc<ConnectionSlot>>,
    time: impl Fn(&ConnectionSlot) -> Option<Duration>,
    least: Duration,
) -> Option<Arc<ConnectionSlot>> {
    let times = slots.iter().filter_map(|slot| Some((time(slot)?, slot)));
    let longest = times.filter(|(time, _)| *time >= least).max_by_key(|(time, _)| *time);
    longest.map(|(_, slot)| Arc::clone(slot))
}

/// Slots beyond `connections_max`, reserved for health and control: more than there are probes and commands at a time.
const RESERVED: usize = 16;
/// A stream that has been silent for this long makes room: reconnecting costs it less.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// A body that has been slow for this long makes room; a silence in it may last as long.
const SLOWNESS_MIN: Duration = Duration::from_secs(5);
/// How often a full listener checks whether a slot has become free or idle.
const CROWD_CHECK_INTERVAL: Duration = Duration::from_millis(50);
