//! `typingd tap`: the indicators of a running daemon, live.

mod events;
mod line;

use super::{Failure, block_on};
use crate::cli::client::{Place, Remote, RemoteArgs};
use crate::cli::interrupt::Interrupt;
use crate::model::{ChannelAddress, ConversationRef};
use events::Events;
use line::Colours;
use line::Screen;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct TapArgs {
    /// One conversation alone: TO/FROM, the channel and the end user, parted at the first `/`
    #[arg(long, value_name = "TO/FROM", conflicts_with_all = ["to", "from"], value_parser = conversation)]
    conversation: Option<(String, String)>,
    /// One channel alone, by its address
    #[arg(long, value_name = "TO", value_parser = id)]
    to: Option<String>,
    /// One end user of that channel alone
    #[arg(long, value_name = "FROM", requires = "to", value_parser = id)]
    from: Option<String>,
    /// End when the daemon has gone, instead of looking for it until it is back
    #[arg(long)]
    once: bool,
    /// How it is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TapFormat,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TapFormat {
    /// A line for a person
    Table,
    /// A JSON object a line, as the daemon says it
    Json,
}

fn id(text: &str) -> Result<String, String> {
    ChannelAddress::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn conversation(text: &str) -> Result<(String, String), String> {
    let (to, from) = text.split_once('/').ok_or_else(|| {
        "is no channel and end user, TO/FROM; --to and --from name those whose ids hold a `/`".to_owned()
    })?;
    ConversationRef::new(to, from).map_err(|(name, error)| format!("its part {} {error}", name.to_uppercase()))?;
    Ok((to.to_owned(), from.to_owned()))
}

pub(super) fn run(args: TapArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let (to, from) = match args.conversation {
        Some((to, from)) => (Some(to), Some(from)),
        None => (args.to, args.from),
    };
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let job = Tap {
        remote: &remote,
        to: to.as_deref(),
        from: from.as_deref(),
        format: match args.format {
            TapFormat::Json => Format::Json,
            TapFormat::Table => Format::Table(if coloured { Colours::Ansi } else { Colours::None }),
        },
        afterwards: if args.once { Afterwards::End } else { Afterwards::Return },
    };
    block_on(tap(&job))?.map_err(|error| match error {
        TapError::Failed(what) => Failure::Failed(what),
        TapError::ClosedPipe => Failure::ClosedPipe,
    })
}

/// A stream that says nothing for this long has lost its daemon: four of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The first wait before a daemon that has gone is looked for again; each further one is twice as long.
const COME_AGAIN_MIN: Duration = Duration::from_millis(250);
/// No wait is longer: who restarts a daemon sees it come back.
const COME_AGAIN_MAX: Duration = Duration::from_secs(2);

/// What to show of whom.
#[derive(Debug)]
struct Tap<'a> {
    /// The daemon.
    remote: &'a Remote,
    /// Only this channel.
    to: Option<&'a str>,
    /// Only this end user of that channel.
    from: Option<&'a str>,
    /// How it is told.
    format: Format,
    /// What to do when the daemon has gone.
    afterwards: Afterwards,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A line for a person.
    Table(Colours),
    /// A JSON object a line, as the daemon says it, with the name of the event.
    Json,
}

/// What to do when the daemon has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    /// Look for it until it is back.
    Return,
    /// End.
    End,
}

/// Why nothing more is shown.
#[derive(Debug)]
enum TapError {
    /// One sentence.
    Failed(String),
    /// Whoever read the standard output has gone, which is no fault.
    ClosedPipe,
}

impl From<String> for TapError {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

impl From<io::Error> for TapError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("can't write what happens: {error}")),
        }
    }
}

/// How a stream came to its end.
enum End {
    Interrupted,
    /// The daemon has stopped.
    Whole,
    BrokenOff,
}

/// Shows what happens until it is interrupted, or the daemon has gone and is not to be waited for.
///
/// # Errors
/// When there is no daemon to begin with, it sends what are no events, or nothing can be written.
async fn tap(job: &Tap<'_>) -> Result<(), TapError> {
    let mut interrupt = Interrupt::watch()?;
    let mut screen = Screen::new(job.format);
    // What was last said of a daemon that is not there.
    let mut absent: Option<String> = None;
    let mut wait = COME_AGAIN_MIN;
    loop {
        let opened = tokio::select! {
            biased;
            () = interrupt.next() => return Ok(()),
            opened = open(job) => opened,
        };
        match opened {
            Ok(mut answer) => {
                if absent.is_some() {
                    say(&format!("{} is back; what happened meanwhile is missed", job.remote.place()));
                }
                wait = COME_AGAIN_MIN;
                let why = match follow(&mut answer, &mut interrupt, &mut screen, job.remote.place()).await? {
                    End::Interrupted => return Ok(()),
                    End::Whole if job.afterwards == Afterwards::End => return Ok(()),
                    End::Whole => format!("{} has stopped", job.remote.place()),
                    End::BrokenOff => format!("{} has broken off, or says nothing any more", job.remote.place()),
                };
                if job.afterwards == Afterwards::End {
                    return Err(why.into());
                }
                say(&format!("{why}; looking for it until it is back, or Ctrl-C"));
                // That it can't be reached now is no further news.
                absent = Some(String::new());
            }
            Err(why) => match &mut absent {
                None => return Err(why.into()),
                Some(said) if said.is_empty() => *said = why,
                Some(said) if *said != why => {
                    say(&why);
                    *said = why;
                }
                Some(_) => {}
            },
        }
        tokio::select! {
            () = interrupt.next() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(COME_AGAIN_MAX),
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(io::stderr().lock(), "typingd: {what}");
}

async fn open(job: &Tap<'_>) -> Result<Response, String> {
    let whose: Vec<_> = [("to", job.to), ("from", job.from)]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect();
    let answer = job.remote.open(job.remote.request(Method::GET, &["v1", "indicators"]).query(&whose)).await?;
    let media = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if !media.starts_with(b"text/event-stream") {
        return Err(format!("{} answers, but not with events; is that typingd?", job.remote.place()));
    }
    Ok(answer)
}

/// Shows what the daemon sends, until something ends it.
async fn follow(
    answer: &mut Response,
    interrupt: &mut Interrupt,
    screen: &mut Screen,
    place: &Place,
) -> Result<End, TapError> {
    let mut events = Events::default();
    loop {
        let piece = tokio::select! {
            biased;
            () = interrupt.next() => return Ok(End::Interrupted),
            piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()) => piece,
        };
        let Ok(Ok(piece)) = piece else { return Ok(End::BrokenOff) };
        let Some(piece) = piece else { return Ok(End::Whole) };
        let mut text = String::new();
        let taken = events.feed(&piece, |name, data| screen.write(&mut text, name, data));
        // Also what came before an event that is none.
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        taken.map_err(|what| format!("{place} sent what is no event of typingd: {what}"))?;
    }
}
