//! The bounded hand-over of signals from the edges to the driver: requests with a receipt, and single signals that need
//! none.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};

use super::passed::Passed;
use crate::base::clock::{self, Stopwatch};
use crate::engine::Rejected;
use crate::model::{ConversationRef, Signal, SignalBatch};

/// Batches that may wait for the driver. It empties the queue each time round, so that a full one means that it is
/// behind by more than a few milliseconds.
pub const REQUESTS_MAX: usize = 1_024;

/// Signals of a request. A larger batch goes in several, so that the driver has its hands free after each.
pub const SIGNALS_MAX: usize = 1_024;

/// Single signals that may wait for the driver without a receipt. Further ones go as requests.
pub const GATHERED_MAX: usize = 1_024;
/// And the bytes of their ids: some hundred of each, if all are there.
const GATHERED_BYTES_MAX: usize = 128 * 1_024;

/// Signals on their way, and where to say what became of them.
#[derive(Debug)]
pub struct Request {
    /// The signals.
    pub batch: SignalBatch,
    /// How long the sender waits for the icons of its messages to be off, if it does; without end ([`Duration::MAX`]) it
    /// gets each answer, else none when its Stopped fails or can't leave in that time.
    pub wait: Option<Duration>,
    /// Takes the receipt.
    pub receipt: oneshot::Sender<Receipt>,
    /// Runs from its coming to its turn.
    pub waiting: Stopwatch,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Receipt {
    /// The signals that were not taken, by their index in the batch, and why.
    pub turned_away: Vec<(usize, Rejected)>,
    /// For a request that waits: one for each conversation whose icon is not off yet. Each says whether the Stopped was
    /// acknowledged.
    pub unsettled: Vec<oneshot::Receiver<bool>>,
    /// For a request that waits: there is a Stopped among them that can't leave in that time, whatever happens.
    pub blocked: bool,
    /// For a request that waits: how long it should, by what Stoppeds have taken of late, if that is known.
    pub wait_needed: Option<Duration>,
}

impl Receipt {
    /// Adds that of a part of the batch that begins at `start`.
    fn add(&mut self, start: usize, part: Self) {
        self.turned_away.extend(part.turned_away.into_iter().map(|(index, why)| (start + index, why)));
        self.unsettled.extend(part.unsettled);
        self.blocked |= part.blocked;
        self.wait_needed = part.wait_needed.or(self.wait_needed);
    }
}

/// Why a batch could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeliverable {
    /// The driver is behind.
    Full,
    /// The driver has ended.
    Closed,
}

/// Single signals, in the order in which they came, each with the time since then. None of them can be turned away.
#[derive(Debug, Default)]
pub struct Gathered {
    pub(super) signals: SignalBatch,
    pub(super) waiting: Vec<Stopwatch>,
}

impl Gathered {
    fn clear(&mut self) {
        self.signals.clear();
        self.waiting.clear();
    }
}

/// Where single signals wait.
#[derive(Debug, Default)]
struct Gathering {
    gathered: Mutex<Gathered>,
    /// Whether the driver is sure to have room for a new conversation for each of them.
    has_room: AtomicBool,
    /// Wakes the driver for the first one.
    driver: AtomicWaker,
}

impl Gathering {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The edges' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    requests: mpsc::Sender<Request>,
    gathering: Arc<Gathering>,
    passed: Arc<Passed>,
}

/// The driver's end.
#[derive(Debug)]
pub struct Requests {
    requests: mpsc::Receiver<Request>,
    gathering: Arc<Gathering>,
    /// Those in hand. Its memory and that of the ones that are waiting are used in turns.
    in_hand: Gathered,
    passed: Arc<Passed>,
}

/// A new hand-over: the edges' end and the driver's.
pub fn inbox() -> (Inbox, Requests) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let gathering = Arc::<Gathering>::default();
    let passed = Arc::<Passed>::default();
    let inbox = Inbox { requests: sender, gathering: Arc::clone(&gathering), passed: Arc::clone(&passed) };
    (inbox, Requests { requests: receiver, gathering, in_hand: Gathered::default(), passed })
}

impl Requests {
    /// Waits for the next request, or `None`: for single signals, which [`Requests::gathered`] gives. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Request> {
        poll_fn(|cx| {
            self.gathering.driver.register(cx.waker());
            if !self.gathering.lock().waiting.is_empty() {
                return Poll::Ready(None);
            }
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(request)) => Poll::Ready(Some(request)),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next request, if there is one.
    pub(super) fn try_recv(&mut self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// The single signals that have come since the last call.
    pub(super) fn gathered(&mut self) -> &Gathered {
        self.in_hand.clear();
        std::mem::swap(&mut self.in_hand, &mut *self.gathering.lock());
        &self.in_hand
    }

    /// How many requests have passed beside since the last call, and the pause that the upstream has asked of one of them.
    pub(super) fn passed(&self) -> (usize, Option<Duration>) {
        self.passed.take()
    }

    /// Whether single signals are taken: only while none of them can be turned away.
    pub(super) fn set_has_room(&self, has_room: bool) {
        self.gathering.has_room.store(has_room, Ordering::Relaxed);
    }
}

/// What becomes of a batch for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFull {
    Reject,
    Wait,
}

impl Inbox {
    /// Leaves a signal for the driver's next turn, if it is certain now that it will be taken: no one need wait for a
    /// receipt. Whether it is; if not, it has to be delivered.
    #[must_use]
    pub fn gather(&self, conversation: ConversationRef<'_>, signal: Signal) -> bool {
        // Behind a request that waits, it waits as one, so that signals are taken in the order in which they came.
        let is_behind = self.requests.capacity() < self.requests.max_capacity();
        if is_behind || !self.gathering.has_room.load(Ordering::Relaxed) || self.requests.is_closed() {
            return false;
        }
        let mut gathered = self.gathering.lock();
        let Gathered { signals, waiting } = &mut *gathered;
        if waiting.len() >= GATHERED_MAX || signals.id_bytes() >= GATHERED_BYTES_MAX {
            return false;
        }
        signals.push(conversation, signal);
        waiting.push(clock::stopwatch());
        if waiting.len() == 1 {
            drop(gathered);
            self.gathering.driver.wake();
        }
        true
    }

    /// A request goes to the upstream beside those of the driver: it counts towards the rate.
    pub fn note_passed(&self) {
        self.passed.add();
    }

    /// The upstream has refused one of those, for there are too many, and asks for a pause.
    pub fn note_rate_limit(&self, pause: Duration) {
        self.passed.pause(pause);
    }

    /// Hands a batch over, or fails at once where there is no room, and waits for the receipt. `wait` is how long the
    /// sender then waits for the icons of its messages to be off, if it does.
    ///
    /// # Errors
    /// When the driver is behind or gone.
    pub async fn deliver(&self, batch: SignalBatch, wait: Option<Duration>) -> Result<Receipt, Undeliverable> {
        self.hand_over(batch, wait, OnFull::Reject).await
    }

    /// Hands a batch over as soon as there is room, and waits for the receipt: for a stream, which is slowed down
    /// rather than turned away.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn deliver_when_possible(&self, batch: SignalBatch) -> Result<Receipt, Undeliverable> {
        self.hand_over(batch, None, OnFull::Wait).await
    }

    async fn hand_over(
        &self,
        batch: SignalBatch,
        wait: Option<Duration>,
        mut on_full: OnFull,
    ) -> Result<Receipt, Undeliverable> {
        if batch.len() <= SIGNALS_MAX {
            return self.send(batch, wait, on_full).await;
        }
        let mut whole = Receipt::default();
        for (number, part) in batch.parts(SIGNALS_MAX).enumerate() {
            whole.add(number * SIGNALS_MAX, self.send(part, wait, on_full).await?);
            // Where the first one had room the others wait for theirs.
            on_full = OnFull::Wait;
        }
        Ok(whole)
    }

    async fn send(
        &self,
        batch: SignalBatch,
        wait: Option<Duration>,
        on_full: OnFull,
    ) -> Result<Receipt, Undeliverable> {
        let (receipt, answer) = oneshot::channel();
        let request = Request { batch, wait, receipt, waiting: clock::stopwatch() };
        let room = match on_full {
            OnFull::Wait => self.requests.reserve().await.map_err(|_| Undeliverable::Closed)?,
            OnFull::Reject => self.requests.try_reserve().map_err(|error| match error {
                mpsc::error::TrySendError::Full(()) => Undeliverable::Full,
                mpsc::error::TrySendError::Closed(()) => Undeliverable::Closed,
            })?,
        };
        room.send(request);
        answer.await.map_err(|_| Undeliverable::Closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, assert_ready_err, task};

    use super::*;
    use crate::model::{ConversationRef, Signal, SignalKind};

    /// A driver that turns every seventh user away.
    async fn drive(mut requests: Requests) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(request) = requests.requests.recv().await {
            lengths.push(request.batch.len());
            let names = request.batch.iter().map(|(who, _)| who.from().parse::<usize>().unwrap());
            let away =
                names.enumerate().filter(|(_, user)| user % 7 == 0).map(|(index, _)| (index, Rejected::TableFull));
            let turned_away = away.collect();
            let _ = request.receipt.send(Receipt { turned_away, ..Receipt::default() });
        }
        lengths
    }

    #[tokio::test]
    async fn a_large_batch_goes_in_parts_and_has_one_receipt() {
        let (inbox, requests) = inbox();
        let driver = tokio::spawn(drive(requests));
        let many = 2 * SIGNALS_MAX + 5;
        for count in [1, SIGNALS_MAX, SIGNALS_MAX + 1, many] {
            for patient in [false, true] {
                let mut batch = SignalBatch::default();
                for user in 0..count {
                    let from = user.to_string();
                    batch.push(ConversationRef::new("c", &from).unwrap(), Signal::new(SignalKind::Keystroke));
                }
                let receipt = if patient {
                    inbox.deliver_when_possible(batch).await
                } else {
                    inbox.deliver(batch, Some(Duration::ZERO)).await
                };
                let away: Vec<usize> = receipt.unwrap().turned_away.iter().map(|(index, _)| *index).collect();
                assert_eq!(away, (0..count).step_by(7).collect::<Vec<_>>());
            }
        }
        drop(inbox);
        let lengths = driver.await.unwrap();
        assert!(lengths.iter().all(|length| *length <= SIGNALS_MAX), "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>(), 2 * (1 + SIGNALS_MAX + SIGNALS_MAX + 1 + many));
    }

    #[test]
    fn a_full_inbox_rejects_a_request_and_slows_down_a_stream() {
        let (inbox, mut requests) = inbox();
        let one = SignalBatch::default;
        let mut waiting: Vec<_> = (0..REQUESTS_MAX).map(|_| task::spawn(inbox.deliver(one(), None))).collect();
        waiting.iter_mut().for_each(|request| assert_pending!(request.poll()));
        assert_eq!(assert_ready_err!(task::spawn(inbox.deliver(one(), None)).poll()), Undeliverable::Full);
        let mut stream = task::spawn(inbox.deliver_when_possible(one()));
        assert_pending!(stream.poll());
        // The driver takes one: there is room for the stream's.
        let first = requests.try_recv().unwrap();
        first.receipt.send(Receipt::default()).unwrap();
        assert!(waiting[0].is_woken() && stream.is_woken());
        assert_ready!(waiting[0].poll()).unwrap();
        assert_pending!(stream.poll());
        drop(requests);
        assert_eq!(assert_ready_err!(stream.poll()), Undeliverable::Closed);
    }

    #[test]
    fn single_signals_are_gathered_while_there_is_room() {
        let (inbox, mut requests) = inbox();
        let gather = |from: &str| {
            let who = ConversationRef::new("c", from).unwrap();
            inbox.gather(who, Signal::new(SignalKind::Keystroke))
        };
        assert!(!gather("u"), "the driver has not said that there is room");
        requests.set_has_room(true);
        assert_pending!(task::spawn(requests.recv()).poll());
        assert!((0..GATHERED_MAX).all(|_| gather("u")) && !gather("u"), "they have a bound");
        assert!(assert_ready!(task::spawn(requests.recv()).poll()).is_none(), "the driver is told of them");
        let Gathered { signals, waiting } = requests.gathered();
        assert_eq!((signals.len(), waiting.len()), (GATHERED_MAX, GATHERED_MAX));
        assert_eq!(requests.gathered().signals.len(), 0);
        let long = "x".repeat(240);
        let many = (0..GATHERED_MAX).take_while(|_| gather(&long)).count();
        assert!((GATHERED_BYTES_MAX / 250..=GATHERED_BYTES_MAX / 240).contains(&many), "and so have their ids: {many}");
        requests.gathered();
        requests.set_has_room(false);
        assert!(!gather("u"));
        requests.set_has_room(true);
        assert!(gather("u"));
        let mut waiting = task::spawn(inbox.deliver(SignalBatch::default(), None));
        assert_pending!(waiting.poll());
        assert!(!gather("u"), "it would overtake what waits already");
        assert!(requests.try_recv().is_some() && gather("u"));
        drop(waiting);
        drop(requests);
        assert!(!gather("u"), "no one takes it");
    }
}
