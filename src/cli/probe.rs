//! `typingd probe`: whether the set-up works, tried on a real icon.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Failure, block_on, environment, load};
use crate::config::Overrides;
use crate::config::duration::{self, Written};
use crate::model::{Conversation, ConversationRef};
use crate::probe::{HoldEnd, Probe, Request, Step, probe};
use crate::salesforce::file_problems;
use crate::salesforce::settings::Auth;

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
