//! Listening: connections are accepted, seated, and asked to make room for others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::connection::connection;
use super::guard::ViaUnix;
use super::seat::{GONE, IDLE, Seat, Slot, Slots};
use super::socket::Socket;
use super::traffic::{Door, Traffic};
use super::{Address, Limits, Listener};

/// What is served to whom: looked at with every connection and every request, so that it can be changed.
#[derive(Clone)]
pub struct Serving {
    /// Where requests go that come from now on.
    pub router: Router,
    /// What connections are granted that come from now on.
    pub limits: Limits,
    /// Where they are counted.
    pub traffic: Traffic,
}

/// How the serving on a listener ends: each becomes true once.
#[derive(Clone)]
pub struct Ends {
    /// The end is near: each connection is closed with its next answer, or when it has been silent for a second. New ones
    /// are accepted all the same.
    pub stop: watch::Receiver<bool>,
    /// No connection is accepted any more. What waits to be accepted is left to whoever holds the socket next, if it was
    /// passed to this process; else it is served, for nobody else would.
    pub close: watch::Receiver<bool>,
}

/// Serves `router` on `listener` until `stop` becomes true; then open requests are finished, idle connections closed,
/// and the future ends when the last one has gone.
pub async fn serve(listener: Listener, router: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let (_serving, serving) = watch::channel(Serving { router, limits, traffic: Traffic::default() });
    serve_on(listener, serving, Ends { stop: stop.clone(), close: stop }).await;
}

/// The same with what can be changed meanwhile, and an end in steps. `listener` is let go as soon as nobody is accepted
/// any more.
pub async fn serve_on(listener: Listener, serving: watch::Receiver<Serving>, ends: Ends) {
    let Ends { stop, mut close } = ends;
    let connections_max = serving.borrow().limits.connections_max;
    let door = serving.borrow().traffic.door(listener.address());
    let slots = Slots::new(connections_max, RESERVED);
    let mut seats: VecDeque<Arc<Seat>> = VecDeque::new();
    let via_unix = matches!(listener.address(), Address::Unix(_)).then_some(ViaUnix);
    let let_in = |socket: Socket, slot: Slot, seats: &mut VecDeque<Arc<Seat>>| {
        let seat = Seat::new(via_unix, slot, slots.clone());
        if seats.len() >= 2 * connections_max {
            seats.retain(|seat| seat.phase.load(Ordering::Relaxed) != GONE);
        }
        seats.push_back(seat.clone());
        let visit = door.enter();
        let connection = connection(socket, serving.clone(), seat.clone(), stop.clone());
        tokio::spawn(async move {
            connection.await;
            seat.end();
            drop(visit);
        });
    };
    loop {
        let crowded = slots.is_crowded();
        if crowded {
            make_room(&mut seats, &door);
        }
        let accepted = tokio::select! {
            () = stopped(&mut close) => break,
            // Whoever is asked to leave takes a moment, and others may become idle meanwhile.
            () = tokio::time::sleep(CROWD_LOOK_SPACING), if crowded => continue,
            accepted = async { (slots.any().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (slot, Ok(socket)) => {
                let slot = slot.unwrap_or_else(|reserved| slots.reserved(reserved));
                let_in(socket, slot, &mut seats);
            }
            // Out of file descriptors, most likely: give the deadlines time to free some, and don't spin.
            (_, Err(_)) => {
                door.note_failed();
                tokio::time::sleep(CROWD_LOOK_SPACING).await;
            }
        }
    }
    if !listener.is_passed() {
        while let (Some(slot), Some(socket)) = (slots.try_ordinary(), listener.accept_waiting()) {
            let_in(socket, slot, &mut seats);
        }
    }
    drop(listener);
    slots.empty(connections_max, RESERVED).await;
}

/// Asks one connection to make room: whoever comes when all seats are taken gets the seat of somebody who only sits there.
/// That is the one that has been open for longest and is idle; else the stream that has told nothing for longest, which
/// gets its answer; else the request whose body has hardly come on for longest.
fn make_room(seats: &mut VecDeque<Arc<Seat>>, door: &Door) {
    seats.retain(|seat| seat.phase.load(Ordering::Relaxed) != GONE);
    if let Some(place) = seats.iter().position(|seat| seat.phase.load(Ordering::Relaxed) == IDLE)
        && let Some(seat) = seats.remove(place)
    {
        seat.leave.notify_one();
    } else if let Some(seat) = longest(seats, Seat::silence, SILENCE_MIN) {
        seat.note_body(false);
        seat.give_way.notify_waiters();
    } else if let Some(seat) = longest(seats, Seat::slowness, SLOWNESS_MIN) {
        seat.note_body(false);
        seat.cut.notify_waiters();
    } else {
        return;
    }
    door.note_displaced();
}

/// The seat for which `time` is the longest, and as long as `least`.
fn longest(
    seats: &VecDeque<Arc<Seat>>,
    time: impl Fn(&Seat) -> Option<Duration>,
    least: Duration,
) -> Option<Arc<Seat>> {
    let times = seats.iter().filter_map(|seat| Some((time(seat)?, seat)));
    let longest = times.filter(|(time, _)| *time >= least).max_by_key(|(time, _)| *time);
    longest.map(|(_, seat)| Arc::clone(seat))
}

/// Waits until `stop` becomes true, or nobody is left who could say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Seats beyond `connections_max`, for health and control alone: more probes and commands than come at a time.
const RESERVED: usize = 16;
/// A stream that has told nothing for so long makes room. Connecting anew costs it less than that.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// A body that has hardly come on for so long makes room: as long as a silence in it may last.
const SLOWNESS_MIN: Duration = Duration::from_secs(5);
/// When every seat is taken it is looked this often whether one has become free or idle.
const CROWD_LOOK_SPACING: Duration = Duration::from_millis(50);
