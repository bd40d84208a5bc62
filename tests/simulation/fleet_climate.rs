//! What a simulated fleet is like, what can go wrong in it, and what its history came to.

use std::time::Duration;

use typingd::fleet::{Counts, Settings, WhenUnreachable};
use typingd::model::ConversationRef;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    /// A process is told to end.
    Leave,
    /// A process is stopped; the clocks go on.
    Pause,
    /// A machine is stopped with its clocks.
    Standstill,
    /// A node doesn't reach the store.
    Partition,
    /// What is on its way to the store takes up to two seconds, and answers get lost.
    Slow,
    /// The store's clock jumps.
    Step,
    /// The store is away for a while, and remembers.
    Outage,
    /// The store is away for a while, and has lost everything.
    Wipe,
    /// Requests take seconds to be applied.
    Hang,
}

pub(crate) struct Climate {
    pub(crate) nodes: usize,
    pub(crate) people: usize,
    pub(crate) typing: Duration,
    /// Each signal reaches a random node, not always the same.
    pub(crate) hops: bool,
    pub(crate) limit: u32,
    pub(crate) when_unreachable: WhenUnreachable,
    pub(crate) faults: Vec<Fault>,
}

/// What a history came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) keys: u64,
    pub(crate) starteds: u64,
    pub(crate) stoppeds: u64,
    /// Stoppeds that reached an icon while its user was typing.
    pub(crate) flickers: u64,
    /// First Starteds for an icon that was on.
    pub(crate) repeated: u64,
    /// Stoppeds for an icon that was off.
    pub(crate) extra_stops: u64,
    pub(crate) refused_departures: u64,
    pub(crate) faults: u64,
    /// Messages of which was told what became of them.
    pub(crate) answers: u64,
    pub(crate) counts: [u64; 9],
}

impl History {
    pub(crate) fn add(&mut self, counts: &Counts) {
        let Counts { posted, received, stale, dropped, taken, reaped, lost, strays, withheld } = *counts;
        let all = [posted, received, stale, dropped, taken, reaped, lost, strays, withheld];
        for (sum, count) in self.counts.iter_mut().zip(all) {
            *sum += count;
        }
    }
}

pub(crate) fn settings(limit: u32, when_unreachable: WhenUnreachable) -> Settings {
    Settings {
        lease: Duration::from_secs(3),
        when_unreachable,
        limit,
        request_timeout: REQUEST_TIMEOUT,
        recover_within: Duration::from_secs(600),
        needs_credentials: false,
        gathers_for: Duration::ZERO,
    }
}

pub(crate) fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

/// No request is applied later than this after it has left.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
