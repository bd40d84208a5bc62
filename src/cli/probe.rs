//! `typingd probe`: whether the set-up works, tried on a real icon.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use super::interrupt::Interrupt;
use super::{Failure, block_on, note, read_file};
use crate::base::clock::{self, Clock};
use crate::base::duration::{self, Written};
use crate::daemon;
use crate::driver::Permit;
use crate::model::{
    Cause, Conversation, ConversationRef, Dispatch, DispatchId, Indicator, Outcome, Reason, WireResult, check_id,
};
use crate::salesforce::settings::Auth;
use crate::salesforce::{Client, TokenState, explain};
use crate::signals::json::ID_CHARS_MAX;

#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The channel address
    #[arg(long, value_name = "TO")]
    to: String,
    /// The end user's client identifier; without a session, Salesforce creates one
    #[arg(long, value_name = "FROM")]
    from: String,
    /// How long to leave the icon on before it is turned off
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = hold)]
    hold: Duration,
    /// The output format
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

/// An agent should not be misled for longer.
const HOLD_MAX: Duration = Duration::from_secs(600);

fn hold(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| *span <= HOLD_MAX);
    span.ok_or_else(|| "expected a time up to 10m, such as 30s".to_owned())
}

pub(super) fn run(args: ProbeArgs) -> Result<(), Failure> {
    let conversation = check_id(&args.from, ID_CHARS_MAX).map_err(|error| ("from", error));
    let conversation = conversation.and_then(|()| ConversationRef::new(&args.to, &args.from));
    let conversation = conversation.map(ConversationRef::to_owned);
    let conversation = conversation.map_err(|(field, error)| Failure::usage(vec![format!("--{field} {error}")]))?;
    let config = read_file(args.config, false).config_with(daemon::upstream_file_problems)?;
    let settings = config.upstream.clone().ok_or("there is no upstream")?;
    if settings.auth == Auth::Cached {
        let text = "upstream.auth is missing: a probe has no connector whose credentials it could use";
        return Err(Failure::misconfigured(vec![text.to_owned()]));
    }
    note(&format!(
        "this is for real, at {}: an agent sees the icon, and if the two have no messaging session, Salesforce creates one",
        settings.base_url
    ));
    block_on(async {
        let clock = Clock::start();
        let mut interrupt = Interrupt::watch()?;
        let client = Client::new(settings, clock).map_err(|e| {
            let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{e}{cause}")
        })?;
        let mut probe = Probe { client, clock, conversation, format: args.format, broken: None };
        let works = probe.run(&mut interrupt, args.hold, config.policy.delivery.stopped_lifespan).await?;
        match probe.broken {
            _ if !works => Err("the probe failed".into()),
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    })?
}

/// Asks a person at the terminal, if there is one, to press Enter when the icon goes off.
fn watch(hold: Duration) -> oneshot::Receiver<()> {
    let (seen_off, receiver) = oneshot::channel();
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        note(&format!(
            "look at the agent console: the icon is on. Press Enter as soon as it goes off by itself; it is turned off \
             after {}",
            Written(hold)
        ));
        // On a thread of its own: reading a line can't be cancelled, and the process need not wait for it.
        std::thread::spawn(move || {
            if matches!(io::stdin().read_line(&mut String::new()), Ok(1..)) {
                let _ = seen_off.send(());
            }
        });
    }
    receiver
}

/// What was done, and its result.
#[derive(Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Step {
    /// `detail` says why there is no token.
    Token {
        ok: bool,
        elapsed_ms: f64,
        detail: Option<String>,
        /// A refusal of the token endpoint says by itself what to do.
        #[serde(skip)]
        explained: bool,
    },
    /// A request has ended. `attempt` is 0 for the first; `detail` is what Salesforce or the transport said.
    Request {
        indicator: &'static str,
        attempt: u32,
        outcome: &'static str,
        status: Option<u16>,
        code: Option<i64>,
        round_trip_ms: f64,
        detail: Option<String>,
        meaning: &'static str,
        advice: Option<&'static str>,
        again_in_ms: Option<u64>,
    },
    /// The icon was left on. `icon_ttl_ms` is when it went off by itself, after its acknowledgement.
    Hold { held_ms: f64, ended: HoldEnd, icon_ttl_ms: Option<u64> },
    /// The last step.
    End { ok: bool, icon_may_be_on: bool },
}

#[derive(Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum HoldEnd {
    TimeOver,
    SeenOff,
    Interrupted,
}

fn describe(step: &Step) -> String {
    match step {
        Step::Token { ok: true, elapsed_ms, .. } => format!("token: in hand after {elapsed_ms:.0} ms"),
        Step::Token { detail, explained, .. } => {
            let why = detail.as_deref().unwrap_or("for an unknown reason");
            let advice = if *explained { "" } else { "\n  what to do: check upstream.auth" };
            format!("token: none: {why}{advice}")
        }
        Step::Request { indicator, status, code, round_trip_ms, detail, meaning, advice, again_in_ms, .. } => {
            let answer = status.map_or_else(|| "no answer, ".to_owned(), |status| format!("status {status}, "));
            let code = code.map(|code| format!("code {code}, ")).unwrap_or_default();
            let mut text = format!("{indicator}: {answer}{code}after {round_trip_ms:.0} ms: {meaning}");
            if let Some(advice) = advice {
                if let Some(detail) = detail {
                    let source = if status.is_some() { "it says" } else { "because" };
                    text.push_str(&format!("\n  {source}: {detail}"));
                }
                text.push_str(&format!("\n  what to do: {advice}"));
            }
            if let Some(pause) = again_in_ms {
                text.push_str(&format!("\n  tried again in {:.1} s", *pause as f64 / 1_000.0));
            }
            text
        }
        Step::Hold { icon_ttl_ms: Some(ttl), .. } => {
            let ttl = Duration::from_millis(*ttl);
            let (seconds, written) = (ttl.as_secs_f64(), Written(ttl));
            format!(
                "icon: went off by itself {seconds:.1} s after it was acknowledged: typingd tune --icon-ttl {written}"
            )
        }
        Step::Hold { ended, held_ms, .. } => {
            let interrupted = if *ended == HoldEnd::Interrupted { ", then interrupted" } else { "" };
            format!("icon: left alone for {:.1} s{interrupted}", held_ms / 1_000.0)
        }
        Step::End { ok: true, .. } => "the set-up works".to_owned(),
        Step::End { icon_may_be_on: true, .. } => "the icon may have been left on".to_owned(),
        Step::End { .. } => "no icon is on".to_owned(),
    }
}

/// Leaves the icon on until a person sees it go off, or for `span`.
async fn leave_on(span: Duration, interrupt: &mut Interrupt) -> Step {
    let seen = watch(span);
    let stopwatch = clock::stopwatch();
    let seen_off = async {
        // Without a person the time decides.
        if seen.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        () = tokio::time::sleep(span) => HoldEnd::TimeOver,
        () = seen_off => HoldEnd::SeenOff,
        _ = interrupt.next() => HoldEnd::Interrupted,
    };
    let held = stopwatch.elapsed();
    let icon_ttl_ms = (ended == HoldEnd::SeenOff).then(|| whole_millis(held));
    Step::Hold { held_ms: millis(held), ended, icon_ttl_ms }
}

struct Probe {
    client: Client,
    clock: Clock,
    conversation: Conversation,
    format: ProbeFormat,
    /// Why steps can't be printed. That is no reason to keep the icon on.
    broken: Option<io::Error>,
}

impl Probe {
    /// Carries the probe out; `false` if something went wrong.
    async fn run(
        &mut self,
        interrupt: &mut Interrupt,
        span: Duration,
        stopped_lifespan: Duration,
    ) -> Result<bool, Failure> {
        let stopwatch = clock::stopwatch();
        let state = tokio::select! {
            state = self.client.warm_up() => state,
            _ = interrupt.next() => return Err("interrupted; nothing has been sent".into()),
        };
        let detail = match state {
            TokenState::Held => None,
            TokenState::Pending => Some("no token in time".to_owned()),
            TokenState::Failing(why) => Some(why),
        };
        let ok = detail.is_none();
        let explained = matches!(self.client.settings().auth, Auth::JwtBearer(_));
        self.print(&Step::Token { ok, elapsed_ms: millis(stopwatch.elapsed()), detail, explained });
        if !ok {
            self.print(&Step::End { ok: false, icon_may_be_on: false });
            return Ok(false);
        }

        let mut started = self.send(Reason::FirstKeystroke, 0).await;
        // An expired token is replaced as soon as it is refused, and the second try has the new one.
        let expired = matches!(started.outcome, Outcome::NotSent(why) if why.cause == Cause::Token);
        let again = (expired && started.status.is_some()).then_some(Duration::ZERO);
        self.print(&request(Indicator::TypingStarted, 0, &started, again));
        if again.is_some() {
            started = self.send(Reason::FirstKeystroke, 1).await;
            self.print(&request(Indicator::TypingStarted, 1, &started, None));
        }
        let shown = started.outcome == Outcome::Delivered;
        if !shown && !matches!(started.outcome, Outcome::Unknown(_)) {
            self.print(&Step::End { ok: false, icon_may_be_on: false });
            return Ok(false);
        }
        if shown {
            self.print(&leave_on(span, interrupt).await);
        }
        let off = self.stop(stopped_lifespan, interrupt).await;
        self.print(&Step::End { ok: shown && off, icon_may_be_on: !off });
        Ok(shown && off)
    }

    fn print(&mut self, step: &Step) {
        let line = match self.format {
            ProbeFormat::Text => Ok(describe(step)),
            ProbeFormat::Json => serde_json::to_string(step).map_err(io::Error::from),
        };
        let mut stdout = io::stdout().lock();
        if let Err(error) = line.and_then(|line| writeln!(stdout, "{line}")).and_then(|()| stdout.flush()) {
            self.broken.get_or_insert(error);
        }
    }

    async fn send(&self, reason: Reason, attempt: u32) -> WireResult {
        let number = if reason.indicator() == Indicator::TypingStarted { 1 } else { 2 };
        let dispatch = Dispatch {
            id: DispatchId { slot: 0, serial: number },
            conversation: self.conversation.clone(),
            reason,
            decided: self.clock.now(),
            decision: number,
            attempt,
            credentials: None,
        };
        self.client.deliver(&dispatch, &Permit::default()).await
    }

    /// Sends a TypingStopped until it is acknowledged or refused; whether the icon is off.
    async fn stop(&mut self, lifespan: Duration, interrupt: &mut Interrupt) -> bool {
        let end = self.clock.now() + lifespan;
        // The first interrupt may have come during the TypingStarted, and is no reason to leave the icon on.
        let interrupts = (interrupt.count + 1).max(2);
        let mut pause = PAUSE_MIN;
        for attempt in 0.. {
            let result = tokio::select! {
                result = self.send(Reason::Stopped, attempt) => result,
                () = interrupt.nth(interrupts) => return false,
            };
            let again = match result.outcome {
                Outcome::NotSent(why) | Outcome::Unknown(why) => Some(why.retry_after.unwrap_or(pause).max(pause)),
                Outcome::Delivered | Outcome::Rejected(_) => None,
            };
            let again = again.filter(|pause| self.clock.now() + *pause < end);
            self.print(&request(Indicator::TypingStopped, attempt, &result, again));
            let Some(wait) = again else { return result.outcome == Outcome::Delivered };
            tokio::select! {
                () = tokio::time::sleep(wait) => pause = (pause * 2).min(PAUSE_MAX),
                () = interrupt.nth(interrupts) => return false,
            }
        }
        false
    }
}

fn request(indicator: Indicator, attempt: u32, result: &WireResult, again: Option<Duration>) -> Step {
    let explanation = explain(result);
    Step::Request {
        indicator: indicator.name(),
        attempt,
        outcome: result.outcome.name(),
        status: result.status,
        code: result.code,
        round_trip_ms: millis(result.elapsed),
        detail: result.detail.clone(),
        meaning: explanation.meaning,
        advice: explanation.advice,
        again_in_ms: again.map(whole_millis),
    }
}

/// Milliseconds with three decimals.
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Between two tries of the TypingStopped, doubling; a single client needs no jitter.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
