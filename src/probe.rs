//! One TypingStarted, a wait, one TypingStopped: whether the set-up works, and whether the icon goes off by itself.
//!
//! Whatever happens in between, an icon that may have been shown is switched off at the end.

use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::clock::{self, Clock};
use crate::model::{Cause, Conversation, Dispatch, DispatchId, Indicator, Instant, Outcome, Reason, WireResult};
use crate::salesforce::settings::Settings;
use crate::salesforce::{Client, TokenState, explain};

/// What is to be tried.
#[derive(Debug)]
pub struct Probe {
    /// The org, and how to be let in.
    pub settings: Settings,
    /// Whose icon.
    pub conversation: Conversation,
    /// How long the icon is left alone.
    pub hold: Duration,
    /// How long the TypingStopped is tried.
    pub stopped_lifespan: Duration,
}

/// What has been done, and what came of it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A token was asked for.
    Token {
        /// Whether there is one.
        ok: bool,
        /// How long it took.
        elapsed_ms: f64,
        /// Why there is none.
        detail: Option<String>,
    },
    /// A request has come to its end.
    Request(Box<Request>),
    /// The icon was left alone.
    Hold {
        /// For so long.
        held_ms: f64,
        /// What ended it.
        ended: HoldEnd,
        /// When it was seen to go off by itself, after it was acknowledged.
        icon_ttl_ms: Option<u64>,
    },
    /// Nothing follows.
    End {
        /// Whether everything went as it should.
        ok: bool,
        /// Whether an icon may have been left on.
        icon_may_be_on: bool,
    },
}

/// A request that has come to its end.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Request {
    /// `TypingStarted` or `TypingStopped`.
    pub indicator: &'static str,
    /// 0 for the first try.
    pub attempt: u32,
    /// `delivered`, `not_sent`, `unsure` or `refused`.
    pub outcome: &'static str,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Salesforce's code, if the answer had one.
    pub code: Option<i64>,
    /// From its leaving to the end of its answer.
    pub round_trip_ms: f64,
    /// What Salesforce or the transport said.
    pub detail: Option<String>,
    /// What that means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// It is tried again after so long.
    pub again_in_ms: Option<u64>,
}

/// What ended the wait.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HoldEnd {
    /// Its time.
    TimeOver,
    /// Somebody saw the icon go off.
    SeenOff,
    /// The command was told to stop.
    Interrupted,
}

/// Carries the probe out and tells each step. `watch` is called once the icon is on; whoever sees it go off says so by what
/// it returns. `false` when something did not go as it should.
///
/// # Errors
/// One sentence, when the client can't be set up or signals can't be watched: nothing has been sent then.
pub async fn probe(
    probe: Probe,
    watch: impl FnOnce() -> oneshot::Receiver<()>,
    mut tell: impl FnMut(Step),
) -> Result<bool, String> {
    let clock = Clock::start();
    let mut interrupts = Interrupts::new().map_err(|e| format!("can't watch for signals: {e}"))?;
    let Probe { settings, conversation, hold, stopped_lifespan } = probe;
    let client = Client::new(settings, clock).map_err(|e| {
        let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{e}{cause}")
    })?;

    let watch_of_token = clock::stopwatch();
    let state = tokio::select! {
        state = client.warm_up() => state,
        () = interrupts.next() => return Err("interrupted; nothing has been sent".to_owned()),
    };
    let detail = match state {
        TokenState::Held => None,
        TokenState::Pending => Some("no token in time".to_owned()),
        TokenState::Failing(why) => Some(why),
    };
    let ok = detail.is_none();
    tell(Step::Token { ok, elapsed_ms: millis(watch_of_token.elapsed()), detail });
    if !ok {
        tell(Step::End { ok: false, icon_may_be_on: false });
        return Ok(false);
    }

    let sender = Sender { client, clock, conversation };
    // A token that has run out is replaced as soon as it is refused, and the second try has the fresh one.
    let mut started = sender.send(Reason::FirstKeystroke, 0).await;
    if matches!(started.outcome, Outcome::NotSent(setback) if setback.cause == Cause::Token && started.status.is_some())
    {
        tell(Step::Request(Box::new(request(Indicator::TypingStarted, 0, &started, Some(Duration::ZERO)))));
        started = sender.send(Reason::FirstKeystroke, 1).await;
        tell(Step::Request(Box::new(request(Indicator::TypingStarted, 1, &started, None))));
    } else {
        tell(Step::Request(Box::new(request(Indicator::TypingStarted, 0, &started, None))));
    }
    let shown = started.outcome == Outcome::Delivered;
    if !shown && !matches!(started.outcome, Outcome::Unsure(_)) {
        tell(Step::End { ok: false, icon_may_be_on: false });
        return Ok(false);
    }
    if shown {
        tell(wait(hold, watch(), &mut interrupts).await);
    }
    let off = tokio::select! {
        off = sender.stop(stopped_lifespan, &mut tell) => off,
        // The first one may have come while the TypingStarted was under way, and is no reason to leave the icon on.
        () = interrupts.next_of(if interrupts.heard { 1 } else { 2 }) => false,
    };
    tell(Step::End { ok: shown && off, icon_may_be_on: !off });
    Ok(shown && off)
}

/// Leaves the icon alone until it is seen to go off, or for `hold`.
async fn wait(hold: Duration, seen: oneshot::Receiver<()>, interrupts: &mut Interrupts) -> Step {
    let held = clock::stopwatch();
    let seen = async {
        // Nobody looks, or nobody can say so any more: the time decides.
        if seen.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        () = tokio::time::sleep(hold) => HoldEnd::TimeOver,
        () = seen => HoldEnd::SeenOff,
        () = interrupts.next() => HoldEnd::Interrupted,
    };
    let held = held.elapsed();
    let icon_ttl_ms = (ended == HoldEnd::SeenOff).then(|| u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
    Step::Hold { held_ms: millis(held), ended, icon_ttl_ms }
}

struct Sender {
    client: Client,
    clock: Clock,
    conversation: Conversation,
}

impl Sender {
    async fn send(&self, reason: Reason, attempt: u32) -> WireResult {
        let started = reason.indicator() == Indicator::TypingStarted;
        let number = if started { 1 } else { 2 };
        let dispatch = Dispatch {
            id: DispatchId { slot: 0, serial: number },
            conversation: self.conversation.clone(),
            reason,
            decided: self.clock.now(),
            decision: number,
            attempt,
            credentials: None,
        };
        self.client.deliver(&dispatch).await
    }

    /// Sends a TypingStopped until it is acknowledged or refused; whether the icon is off.
    async fn stop(&self, lifespan: Duration, tell: &mut impl FnMut(Step)) -> bool {
        let end: Instant = self.clock.now() + lifespan;
        let mut pause = PAUSE_MIN;
        for attempt in 0.. {
            let result = self.send(Reason::Stopped, attempt).await;
            let again = match result.outcome {
                Outcome::NotSent(setback) | Outcome::Unsure(setback) => {
                    Some(setback.retry_after.unwrap_or(pause).max(pause))
                }
                Outcome::Delivered | Outcome::Refused(_) => None,
            };
            let again = again.filter(|pause| self.clock.now() + *pause < end);
            tell(Step::Request(Box::new(request(Indicator::TypingStopped, attempt, &result, again))));
            let Some(wait) = again else { return result.outcome == Outcome::Delivered };
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        false
    }
}

fn request(indicator: Indicator, attempt: u32, result: &WireResult, again: Option<Duration>) -> Request {
    let explanation = explain(result);
    Request {
        indicator: indicator.name(),
        attempt,
        outcome: result.outcome.name(),
        status: result.status,
        code: result.code,
        round_trip_ms: millis(result.elapsed),
        detail: result.detail.clone(),
        meaning: explanation.meaning,
        advice: explanation.advice,
        again_in_ms: again.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Milliseconds with three digits behind the point.
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

/// Ctrl-C and SIGTERM, heard from the start, so that none of them ends the process with the icon on.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    heard: bool,
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, heard: false })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.heard = true;
    }

    async fn next_of(&mut self, count: usize) {
        for _ in 0..count {
            self.next().await;
        }
    }
}

/// Between two tries of the TypingStopped: doubling, for one client needs no jitter.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
