//! What the parts beside the loop tell when somebody looks. They don't know this edge, nor it them: whoever puts the
//! daemon together hands over a [`Look`] that asks them.

use std::sync::Arc;
use std::time::Duration;

use super::reading::Reading;
use crate::http::Traffic;

/// Asks the other parts how they stand. It waits for nobody.
pub(crate) type Look = Arc<dyn Fn() -> Seen + Send + Sync>;

/// How the other parts stand.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When the daemon started, in Unix epoch milliseconds.
    pub started_at: u64,
    /// How long it has been up.
    pub uptime: Duration,
    /// It has been told to stop.
    pub stopping: bool,
    /// It delivers to its own sandbox.
    pub sandbox: bool,
    /// Where it delivers to.
    pub upstream: String,
    /// Where it listens.
    pub listening: Vec<String>,
    /// What comes to it.
    pub traffic: Traffic,
    /// What was to be a signal and was none.
    pub malformed: u64,
    /// Whether it is to remember icons on disk.
    pub state_dir: bool,
    /// What passes by it, if it stands in front of the Interaction Service.
    pub drop_in: Option<Passing>,
    /// What its requests are authorized with.
    pub token: Token,
    /// The configuration in force.
    pub configuration: Reading,
}

/// What has passed on to Salesforce, or was taken instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    /// Requests, by what they were and what became of them: a name for metrics, and how many.
    pub requests: [(&'static str, u64); 7],
    /// Messages, by what became of their icons: the same.
    pub messages: [(&'static str, u64); 4],
    /// Requests that went on although the one of the same end user before them was not written yet.
    pub overdue: u64,
    /// Requests for which there was no answer to pass on.
    pub unanswered: u64,
    /// Requests that were cut by the end of the daemon.
    pub cut: u64,
    /// Requests that are passing.
    pub under_way: usize,
}

/// How the token stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token {
    /// Whether there is one.
    pub state: Holding,
    /// Why there is none.
    pub trouble: Option<String>,
    /// Tokens obtained since the start.
    pub obtained: u64,
    /// Fetches that brought none.
    pub failures: u64,
    /// Tokens that Salesforce did not take.
    pub refusals: u64,
    /// How long ago the one in hand was obtained.
    pub age: Option<Duration>,
    /// How long the one in hand is good for; `None` if that is not known.
    pub expires_in: Option<Duration>,
}

/// Whether there is a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It is in hand.
    Held,
    /// It is on its way.
    #[default]
    Pending,
    /// It can't be had.
    Failing,
    /// Connectors show theirs.
    Cached,
}

impl Holding {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Held, Self::Pending, Self::Failing, Self::Cached];

    /// The name in the status and in metrics.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Cached => "borrowed",
        }
    }
}
