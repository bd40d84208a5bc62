//! A connection as its listener sees it: its phase, and the signals to it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::socket::ViaUnix;
use crate::base::clock;

/// Nothing has been read yet: the head's deadline runs.
pub(super) const FRESH: u8 = 0;
/// A part of a head has been read: the head's deadline runs.
pub(super) const HEAD: u8 = 1;
/// A request is being handled: its handler watches the body's deadline.
pub(super) const BUSY: u8 = 2;
/// A request has just been answered: the idle time starts anew with the next read.
pub(super) const SERVED: u8 = 3;
/// Between requests: the idle time runs.
pub(super) const IDLE: u8 = 4;
/// The connection has ended.
pub(super) const GONE: u8 = 5;

pub(super) struct ConnectionSlot {
    pub(super) phase: AtomicU8,
    pub(super) via_unix: Option<ViaUnix>,
    /// Asks an idle connection to make room.
    pub(super) leave: Notify,
    /// Asks a silent stream to end.
    pub(super) give_way: Notify,
    /// Ends a request whose body is slow.
    pub(super) cut: Notify,
    opened: Instant,
    /// Since when a stream has been silent, in milliseconds of the connection; zero: not a stream.
    silent_since: AtomicU64,
    /// Since when a body has been read, likewise; zero: no body, or a stream's.
    body_since: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    /// Its next answer is its last.
    last: AtomicBool,
    stopping: AtomicBool,
    /// The client has closed its side.
    pub(super) half_closed: AtomicBool,
    /// The client may still be sending what no one reads.
    pub(super) body_unread: AtomicBool,
    /// The status of hyper's own answer to a request that it could not read; zero while there is none.
    pub(super) unreadable: AtomicU16,
    /// The client speaks HTTP/2.
    pub(super) http2: AtomicBool,
    /// It began as TLS does.
    pub(super) tls: AtomicBool,
    /// One of the slots for health and control, as long as no other is free.
    reserved: AtomicBool,
    permit: Mutex<Option<SlotPermit>>,
    pool: SlotPool,
}

impl ConnectionSlot {
    pub(super) fn new(via_unix: Option<ViaUnix>, permit: SlotPermit, pool: SlotPool) -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(FRESH),
            via_unix,
            leave: Notify::new(),
            give_way: Notify::new(),
            cut: Notify::new(),
            opened: clock::timer_after(Duration::ZERO),
            silent_since: AtomicU64::new(0),
            body_since: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            last: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            half_closed: AtomicBool::new(false),
            body_unread: AtomicBool::new(false),
            unreadable: AtomicU16::new(0),
            http2: AtomicBool::new(false),
            tls: AtomicBool::new(false),
            reserved: AtomicBool::new(permit.waiting.is_some()),
            permit: Mutex::new(Some(permit)),
            pool,
        })
    }

    pub(super) fn is_last(&self) -> bool {
        self.last.load(Ordering::Relaxed) || self.is_reserved()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.last.store(true, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Takes an ordinary slot instead of a reserved one, if one becomes free within `timeout`.
    pub(super) async fn take_ordinary(&self, timeout: Duration) -> bool {
        let Ok(permit) = tokio::time::timeout(timeout, self.pool.ordinary()).await else { return false };
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        self.reserved.store(false, Ordering::Relaxed);
        true
    }

    pub(super) fn end(&self) {
        self.phase.store(GONE, Ordering::Relaxed);
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn millis(&self) -> u64 {
        let open = clock::timer_after(Duration::ZERO).saturating_duration_since(self.opened);
        open.as_millis() as u64 + 1
    }

    /// Something has arrived on a stream, which is silent from now on.
    pub(super) fn note_activity(&self) {
        self.silent_since.store(self.millis(), Ordering::Relaxed);
        self.body_since.store(0, Ordering::Relaxed);
    }

    /// A request with a body begins, or one has been answered.
    pub(super) fn note_body(&self, begins: bool) {
        self.body_bytes.store(0, Ordering::Relaxed);
        self.body_since.store(if begins { self.millis() } else { 0 }, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
    }

    /// How long a stream has been silent.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.elapsed(&self.silent_since)
    }

    /// How long a slow body has been read.
    pub(super) fn slowness(&self) -> Option<Duration> {
        let elapsed = self.elapsed(&self.body_since)?;
        let bytes = u128::from(self.body_bytes.load(Ordering::Relaxed));
        (bytes * 1_000 < SLOW_BYTES_PER_SECOND * elapsed.as_millis()).then_some(elapsed)
    }

    fn elapsed(&self, since: &AtomicU64) -> Option<Duration> {
        match since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(self.millis().saturating_sub(since))),
        }
    }
}

/// Less than a slow line carries.
const SLOW_BYTES_PER_SECOND: u128 = 4 * 1024;

/// The slots of one listening address. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct SlotPool {
    ordinary: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    /// How many reserved slots are in use.
    waiting: Arc<AtomicUsize>,
}

pub(super) struct SlotPermit {
    _permit: OwnedSemaphorePermit,
    waiting: Option<Waiting>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SlotPool {
    pub(super) fn new(ordinary: usize, reserved: usize) -> Self {
        Self {
            ordinary: Arc::new(Semaphore::new(ordinary)),
            reserved: Arc::new(Semaphore::new(reserved)),
            waiting: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// An ordinary slot, as soon as one is free.
    pub(super) async fn ordinary(&self) -> SlotPermit {
        let permit = Arc::clone(&self.ordinary).acquire_owned().await.expect("the semaphore is never closed");
        SlotPermit { _permit: permit, waiting: None }
    }

    /// An ordinary slot, if one is free.
    pub(super) fn try_ordinary(&self) -> Option<SlotPermit> {
        let permit = Arc::clone(&self.ordinary).try_acquire_owned().ok()?;
        Some(SlotPermit { _permit: permit, waiting: None })
    }

    /// A permit for a slot of whichever kind becomes free first.
    pub(super) async fn any(&self) -> Result<SlotPermit, OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            permit = self.ordinary() => Ok(permit),
            reserved = Arc::clone(&self.reserved).acquire_owned() => Err(reserved.expect("the semaphore is never closed")),
        }
    }

    /// A reserved slot, whose permit is there: an ordinary one, if one has become free meanwhile.
    pub(super) fn reserved(&self, permit: OwnedSemaphorePermit) -> SlotPermit {
        self.try_ordinary().unwrap_or_else(|| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            SlotPermit { _permit: permit, waiting: Some(Waiting(Arc::clone(&self.waiting))) }
        })
    }

    /// Whether a reserved slot is in use, and no ordinary one is free.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 && self.ordinary.available_permits() == 0
    }

    /// Waits until all slots are free.
    pub(super) async fn empty(&self, ordinary: usize, reserved: usize) {
        let all = |count| u32::try_from(count).expect("a connection bound fits 32 bits");
        let _ordinary = self.ordinary.acquire_many(all(ordinary)).await;
        let _reserved = self.reserved.acquire_many(all(reserved)).await;
    }
}
