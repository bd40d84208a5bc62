//! The bounded hand-over of signals from the edges to the driver.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::clock::{self, Stopwatch};
use crate::engine::Rejected;
use crate::model::SignalBatch;

/// Batches that may wait for the driver. It empties the queue each time round, so that a full one means that it is
/// behind by more than a few milliseconds.
pub const PARCELS_MAX: usize = 1_024;

/// Signals of a parcel. A larger batch goes in several, so that the driver has its hands free after each.
pub const SIGNALS_MAX: usize = 1_024;

/// Signals on their way, and where to say what became of them.
#[derive(Debug)]
pub struct Parcel {
    /// The signals.
    pub batch: SignalBatch,
    /// How long the sender waits for the icons of its messages to be off, if it does; without end ([`Duration::MAX`]) it
    /// is told of each, else no more when its Stopped fails or can't leave in that time.
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
    /// For a parcel that waits: one for each conversation whose icon is not off yet. Each says whether the Stopped was
    /// acknowledged.
    pub unsettled: Vec<oneshot::Receiver<bool>>,
    /// For a parcel that waits: there is a Stopped among them that can't leave in that time, whatever happens.
    pub blocked: bool,
    /// For a parcel that waits: how long it should, by what Stoppeds have taken of late, if that is known.
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
pub struct Inbox(mpsc::Sender<Parcel>);

/// A new hand-over: the edges' end and the driver's.
#[must_use]
pub fn inbox() -> (Inbox, mpsc::Receiver<Parcel>) {
    let (sender, receiver) = mpsc::channel(PARCELS_MAX);
    (Inbox(sender), receiver)
}

impl Inbox {
    /// Hands a batch over, or says at once that it can't, and waits for the receipt. `wait` is how long the sender then
    /// waits for the icons of its messages to be off, if it does.
    ///
    /// # Errors
    /// When the driver is behind or gone.
    pub async fn deliver(&self, batch: SignalBatch, wait: Option<Duration>) -> Result<Receipt, Undeliverable> {
        if batch.len() > SIGNALS_MAX {
            let mut whole = Receipt::default();
            for (number, part) in batch.parts(SIGNALS_MAX).enumerate() {
                // Where the first one had room the others wait for theirs.
                let part = if number == 0 { self.hand_over(part, wait).await? } else { self.send(part, wait).await? };
                whole.add(number * SIGNALS_MAX, part);
            }
            return Ok(whole);
        }
        self.hand_over(batch, wait).await
    }

    async fn hand_over(&self, batch: SignalBatch, wait: Option<Duration>) -> Result<Receipt, Undeliverable> {
        let (receipt, answer) = oneshot::channel();
        self.0.try_send(Parcel { batch, wait, receipt, waiting: clock::stopwatch() }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Undeliverable::Full,
            mpsc::error::TrySendError::Closed(_) => Undeliverable::Closed,
        })?;
        answer.await.map_err(|_| Undeliverable::Closed)
    }

    /// Hands a batch over as soon as there is room, and waits for the receipt: for a stream, which is slowed down
    /// rather than turned away.
    ///
    /// # Errors
    /// When the driver is gone.
    pub async fn deliver_when_possible(&self, batch: SignalBatch) -> Result<Receipt, Undeliverable> {
        if batch.len() > SIGNALS_MAX {
            let mut whole = Receipt::default();
            for (number, part) in batch.parts(SIGNALS_MAX).enumerate() {
                whole.add(number * SIGNALS_MAX, self.send(part, None).await?);
            }
            return Ok(whole);
        }
        self.send(batch, None).await
    }

    async fn send(&self, batch: SignalBatch, wait: Option<Duration>) -> Result<Receipt, Undeliverable> {
        let (receipt, answer) = oneshot::channel();
        let parcel = Parcel { batch, wait, receipt, waiting: clock::stopwatch() };
        self.0.send(parcel).await.map_err(|_| Undeliverable::Closed)?;
        answer.await.map_err(|_| Undeliverable::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationRef, Signal, SignalKind};

    /// A driver that turns every seventh user away.
    async fn drive(mut parcels: mpsc::Receiver<Parcel>) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(parcel) = parcels.recv().await {
            lengths.push(parcel.batch.len());
            let names = parcel.batch.iter().map(|(who, _)| who.from().parse::<usize>().unwrap());
            let away =
                names.enumerate().filter(|(_, user)| user % 7 == 0).map(|(index, _)| (index, Rejected::TableFull));
            let turned_away = away.collect();
            let _ = parcel.receipt.send(Receipt { turned_away, ..Receipt::default() });
        }
        lengths
    }

    #[tokio::test]
    async fn a_large_batch_goes_in_parts_and_has_one_receipt() {
        let (inbox, parcels) = inbox();
        let driver = tokio::spawn(drive(parcels));
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
}
