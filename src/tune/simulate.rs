//! `typingd simulate`: traces through the daemon's own engine in virtual time.

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::policy::Policy;
use crate::model::{Decision, Instant};
use crate::signals::trace::{TraceError, TraceReader, TraceSignal};

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A trace can't be read on. What was decided before its fault has been written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The results can't be written.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// It takes more steps than it may. What was decided within them has been written.
    #[error("the traces take more steps than they may")]
    Endless,
}

#[derive(Serialize)]
struct Line<'a> {
    at: u64,
    to: &'a str,
    from: &'a str,
    indicator: &'static str,
    reason: &'static str,
}

/// Plays every trace until all its conversations are idle, and writes the indicators decided, merged by time. The
/// conversations of different traces are different ones, whatever their ids.
///
/// # Errors
/// At the first line of a trace that can't be taken, and when `output` fails.
pub fn simulate(traces: Vec<TraceReader>, policy: &Policy, output: &mut impl Write) -> Result<(), SimulateError> {
    simulate_within(u64::MAX, traces, policy, output)
}

/// The same, where each trace may take `steps_max` steps: each signal and each deadline that has come is one, and one more
/// for every icon that is on then. With a check of a millisecond a handful of keys takes a million.
///
/// # Errors
/// As those of [`simulate`], and when a trace takes more.
pub fn simulate_within(
    steps_max: u64,
    traces: Vec<TraceReader>,
    policy: &Policy,
    output: &mut impl Write,
) -> Result<(), SimulateError> {
    let run = |trace| Run::new(trace, policy.clone(), steps_max).peekable();
    let mut runs: Vec<_> = traces.into_iter().map(run).collect();
    loop {
        // A fault counts as the earliest: nothing decided after it is written.
        let next = runs
            .iter_mut()
            .enumerate()
            .filter_map(|(i, run)| {
                run.peek().map(|next| (next.as_ref().map_or(Instant::ORIGIN, |decision| decision.at), i))
            })
            .min();
        let Some((_, first)) = next else { return Ok(()) };
        if let Some(decision) = runs[first].next() {
            write_line(&decision?, output)?;
        }
    }
}

fn write_line(decision: &Decision, output: &mut impl Write) -> io::Result<()> {
    let line = Line {
        at: decision.at.as_millis(),
        to: decision.conversation.to(),
        from: decision.conversation.from(),
        indicator: decision.reason.indicator().name(),
        reason: decision.reason.name(),
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")
}

/// One trace and its engine: an iterator over what is decided.
struct Run {
    trace: TraceReader,
    engine: Engine,
    /// The line whose time has not come yet.
    ahead: Option<TraceSignal>,
    /// The trace has ended.
    ended: bool,
    now: Instant,
    steps_left: u64,
}

impl Run {
    fn new(trace: TraceReader, mut policy: Policy, steps_left: u64) -> Self {
        // A trace is as large as it is; the bound protects a daemon.
        policy.conversations_max = usize::MAX;
        let mut engine = Engine::new(policy, 0);
        engine.observe_decisions();
        Self { trace, engine, ahead: None, ended: false, now: Instant::ORIGIN, steps_left }
    }
}

impl Iterator for Run {
    type Item = Result<Decision, SimulateError>;

    /// No request is ever sent here: what is decided depends on the signals and the time alone.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(decision) = self.engine.poll_decision() {
                return Some(Ok(decision));
            }
            if self.ahead.is_none() && !self.ended {
                match self.trace.next() {
                    Some(Ok(signal)) => self.ahead = Some(signal),
                    Some(Err(error)) => return Some(Err(error.into())),
                    None => self.ended = true,
                }
            }
            // Timers due at an instant run before the signals of that instant, each at its own time.
            let until = self.ahead.as_ref().map_or(Instant::NEVER, TraceSignal::instant);
            let due = self.engine.next_deadline();
            if self.ahead.is_none() && due == Instant::NEVER {
                return None;
            }
            let steps = 1 + self.engine.census().icons as u64;
            let Some(left) = self.steps_left.checked_sub(steps) else { return Some(Err(SimulateError::Endless)) };
            self.steps_left = left;
            if due <= until && due != Instant::NEVER {
                self.now = self.now.max(due);
                self.engine.handle_timeout(self.now);
            } else if let Some(TraceSignal { conversation, signal, .. }) = self.ahead.take() {
                self.now = until;
                let taken = self.engine.handle_signal(self.now, conversation.as_ref(), signal);
                debug_assert!(taken.is_ok(), "the table has no bound here");
            } else {
                return None;
            }
        }
    }
}
