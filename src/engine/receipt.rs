//! What becomes of a signal: it is taken, and counts or not, or it is turned away.

/// What a signal that was taken was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It counts.
    Accepted,
    /// A keystroke of before a message that has gone out (timing rule 6): it was ignored.
    Late,
    /// A keystroke of a session that is not open (timing rule 8): it was ignored.
    Unopened,
}

/// Why a signal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The table holds as many conversations as it may, all of them active.
    TableFull,
    /// The engine is being shut down.
    Stopping,
}
