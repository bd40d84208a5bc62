//! The bounded hand-over of signals from the edges to the driver.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{self, Stopwatch};
use crate::engine::TurnedAway;
use crate::model::SignalBatch;

/// Batches that may wait for the driver. It empties the queue each time round, so that a full one means that it is
/// behind by more than a few milliseconds.
pub const PARCELS_MAX: usize = 1_024;

/// Signals on their way, and where to say what became of them.
#[derive(Debug)]
pub struct Parcel {
    /// The signals.
    pub batch: SignalBatch,
    /// How long the sender waits for the icons of its messages to be off, if it does.
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
    pub turned_away: Vec<(usize, TurnedAway)>,
    /// For a parcel that waits: one for each conversation whose icon is not off yet. Each says whether the Stopped was
    /// acknowledged.
    pub unsettled: Vec<oneshot::Receiver<bool>>,
    /// For a parcel that waits: there is a Stopped among them that can't leave in that time, whatever happens.
    pub blocked: bool,
    /// For a parcel that waits: how long it should, by what Stoppeds have taken of late, if that is known.
    pub wait_needed: Option<Duration>,
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
        let (receipt, answer) = oneshot::channel();
        let parcel = Parcel { batch, wait: None, receipt, waiting: clock::stopwatch() };
        self.0.send(parcel).await.map_err(|_| Undeliverable::Closed)?;
        answer.await.map_err(|_| Undeliverable::Closed)
    }
}
