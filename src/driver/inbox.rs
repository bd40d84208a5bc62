//! The bounded hand-over of signals from the edges to the driver.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::clock::{self, Stopwatch};
use crate::engine::Rejected;
use crate::model::SignalBatch;

/// Batches that may wait for the driver. It empties the queue each time round, so that a full one means that it is
/// behind by more than a few milliseconds.
pub const REQUESTS_MAX: usize = 1_024;

/// Signals of a request. A larger batch goes in several, so that the driver has its hands free after each.
pub const SIGNALS_MAX: usize = 1_024;

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

/// The edges' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Request>);

/// A new hand-over: the edges' end and the driver's.
pub fn inbox() -> (Inbox, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (Inbox(sender), receiver)
}

/// What becomes of a batch for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFull {
    Reject,
    Wait,
}

impl Inbox {
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
            OnFull::Wait => self.0.reserve().await.map_err(|_| Undeliverable::Closed)?,
            OnFull::Reject => self.0.try_reserve().map_err(|error| match error {
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
    async fn drive(mut requests: mpsc::Receiver<Request>) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(request) = requests.recv().await {
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
}
