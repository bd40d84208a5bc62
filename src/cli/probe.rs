//! `typingd probe`: whether the set-up works, tried on a real icon.

use super::{Failure, block_on, environment, load};
use crate::base::clock::{self, Clock};
use crate::base::duration::{self, Written};
use crate::config::Overrides;
use crate::model::{
    Cause, Conversation, ConversationRef, Dispatch, DispatchId, Indicator, Instant, Outcome, Reason, WireResult,
};
use crate::salesforce::settings::{Auth, Settings};
use crate::salesforce::{Client, TokenState, explain, file_problems};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The channel address
    #[arg(long, value_name = "TO")]
    to: String,
    /// The end user's client identifier: of a session that exists, else Salesforce creates one
    #[arg(long, value_name = "FROM")]
    from: String,
    /// How long to leave the icon alone before it is switched off
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = hold)]
    hold: Duration,
    /// How it is told
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ProbeFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProbeFormat {
    /// For people
    Text,
    /// A JSON object a line
    Json,
}

/// Nobody looks at an icon for longer, and an agent is not to be misled for long.
const HOLD_MAX: Duration = Duration::from_secs(600);

fn hold(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|span| *span <= HOLD_MAX)
        .ok_or_else(|| "a time up to 10m, such as 30s, is right".to_owned())
}

pub(super) fn run(args: ProbeArgs) -> Result<(), Failure> {
    let conversation = ConversationRef::new(&args.to, &args.from).map(ConversationRef::to_owned);
    let conversation: Conversation =
        conversation.map_err(|(field, error)| Failure::Usage(vec![format!("--{field} {error}")]))?;
    let overrides = Overrides { file: args.config, environment: environment(), ..Overrides::default() };
    let config = load(&overrides)?;
    let Some(settings) = config.upstream else {
        return Err(Failure::Failed("there is no upstream".to_owned()));
    };
    if settings.auth == Auth::Cached {
        let what = "upstream.auth is missing: a probe has no connector whose credentials it could use";
        return Err(Failure::Misconfigured(vec![what.to_owned()]));
    }
    let problems = file_problems(&settings);
    if !problems.is_empty() {
        return Err(Failure::Misconfigured(problems));
    }
    let mut stderr = io::stderr();
    writeln!(
        stderr,
        "typingd: this is for real, at {}: an agent sees the icon, and if the two have no messaging session, Salesforce \
         creates one",
        settings.base_url
    )?;
    let (hold, format) = (args.hold, args.format);
    let job = Probe { settings, conversation, hold, stopped_lifespan: config.policy.delivery.stopped_lifespan };
    let mut broken = None;
    let told = |step: Step| {
        // Whoever stops to listen must not keep the icon on.
        let mut stdout = io::stdout().lock();
        let line = match format {
            ProbeFormat::Text => describe(&step),
            ProbeFormat::Json => {
                serde_json::to_string(&step).map_err(io::Error::from).map(|line| line + "\n").unwrap_or_default()
            }
        };
        if let Err(error) = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
            broken.get_or_insert(error);
        }
    };
    let well = block_on(probe(job, || watch(hold), told))?.map_err(Failure::Failed)?;
    match (well, broken) {
        (false, _) => Err(Failure::Failed("the probe failed".to_owned())),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Ok(()),
    }
}

/// Asks a person at the terminal to press a key when the icon goes off; asks nobody where there is none.
fn watch(hold: Duration) -> oneshot::Receiver<()> {
    let (seen, told) = oneshot::channel();
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let _ = writeln!(
            io::stderr(),
            "typingd: look at the agent's screen: the icon is on. Press Enter as soon as it goes off by itself; it is switched \
             off after {}",
            Written(hold)
        );
        // A thread of its own: nothing could end its waiting for a line, and the process need not wait for it.
        std::thread::spawn(move || {
            if matches!(io::stdin().read_line(&mut String::new()), Ok(1..)) {
                let _ = seen.send(());
            }
        });
    }
    told
}

fn describe(step: &Step) -> String {
    match step {
        Step::Token { ok: true, elapsed_ms, .. } => format!("token: in hand after {elapsed_ms:.0} ms\n"),
        Step::Token { detail, .. } => format!(
            "token: none: {}\n  what to do: see to upstream.auth\n",
            detail.as_deref().unwrap_or("for no reason that is known")
        ),
        Step::Request(request) => describe_request(request),
        Step::Hold { ended, icon_ttl_ms: Some(ttl), .. } => {
            debug_assert_eq!(*ended, HoldEnd::SeenOff);
            let ttl = Duration::from_millis(*ttl);
            let written = Written(ttl);
            format!(
                "icon: went off by itself {:.1} s after it was acknowledged: --icon-ttl {written} tells typingd tune so\n",
                ttl.as_secs_f64()
            )
        }
        Step::Hold { ended: HoldEnd::Interrupted, held_ms, .. } => {
            format!("icon: left alone for {:.1} s, then interrupted\n", held_ms / 1_000.0)
        }
        Step::Hold { held_ms, .. } => format!("icon: left alone for {:.1} s\n", held_ms / 1_000.0),
        Step::End { ok: true, .. } => "the set-up works\n".to_owned(),
        Step::End { icon_may_be_on: true, .. } => "the icon may have been left on\n".to_owned(),
        Step::End { .. } => "no icon is on\n".to_owned(),
    }
}

fn describe_request(request: &Request) -> String {
    let status = request.status.map(|status| format!("status {status}, "));
    let code = request.code.map(|code| format!("code {code}, "));
    let mut text = format!(
        "{}: {}{}after {:.0} ms: {}\n",
        request.indicator,
        status.unwrap_or_else(|| "no answer, ".to_owned()),
        code.unwrap_or_default(),
        request.round_trip_ms,
        request.meaning
    );
    if let Some(advice) = request.advice {
        if let Some(detail) = &request.detail {
            let who = if request.status.is_some() { "it says" } else { "because" };
            text.push_str(&format!("  {who}: {detail}\n"));
        }
        text.push_str(&format!("  what to do: {advice}\n"));
    }
    if let Some(pause) = request.again_in_ms {
        text.push_str(&format!("  tried again in {:.1} s\n", pause as f64 / 1_000.0));
    }
    text
}

/// What is to be tried.
#[derive(Debug)]
struct Probe {
    /// The org, and how to be let in.
    settings: Settings,
    /// Whose icon.
    conversation: Conversation,
    /// How long the icon is left alone.
    hold: Duration,
    /// How long the TypingStopped is tried.
    stopped_lifespan: Duration,
}

/// What has been done, and what came of it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Step {
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
struct Request {
    /// `TypingStarted` or `TypingStopped`.
    indicator: &'static str,
    /// 0 for the first try.
    attempt: u32,
    /// `delivered`, `not_sent`, `unsure` or `refused`.
    outcome: &'static str,
    /// The HTTP status, if there was an answer.
    status: Option<u16>,
    /// Salesforce's code, if the answer had one.
    code: Option<i64>,
    /// From its leaving to the end of its answer.
    round_trip_ms: f64,
    /// What Salesforce or the transport said.
    detail: Option<String>,
    /// What that means.
    meaning: &'static str,
    /// What to do about it.
    advice: Option<&'static str>,
    /// It is tried again after so long.
    again_in_ms: Option<u64>,
}

/// What ended the wait.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum HoldEnd {
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
async fn probe(
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
    if !shown && !matches!(started.outcome, Outcome::Unknown(_)) {
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
                Outcome::NotSent(setback) | Outcome::Unknown(setback) => {
                    Some(setback.retry_after.unwrap_or(pause).max(pause))
                }
                Outcome::Delivered | Outcome::Rejected(_) => None,
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
