//! The stream of events that the loop emits to its observers.

use std::time::Duration;

use crate::engine::{Handled, Notice, Rejected};
use crate::model::{ConversationRef, Decision, Dispatch, Dropped, Signal, WireResult};

/// Something that the loop has seen or done. Each observer takes what concerns it.
///
/// What fell due before a signal is decided before it is received, what the signal asks for after that.
#[derive(Debug)]
pub(crate) enum LoopEvent<'a> {
    /// A batch of signals has its turn after having waited so long.
    Batch { waited: Duration },
    /// Signals in a row that were all taken so; after each but the last nothing was decided.
    Received { signals: &'a [(ConversationRef<'a>, Signal)], taken: Result<Handled, Rejected> },
    /// `waited`: the signal at which it was decided, for its turn.
    Decided { decision: Decision, waited: Duration },
    /// What was decided before comes to nothing.
    Dropped(Dropped),
    /// A request leaves.
    Sent(&'a Dispatch),
    /// A request has ended.
    Answered {
        dispatch: &'a Dispatch,
        result: &'a WireResult,
        notice: Option<Notice>,
        /// Requests a second that may leave from now on.
        rate: u32,
        /// The upstream has acknowledged that the icon is off.
        icon_off: bool,
    },
}
