//! `typingd tap`: the indicators of a running daemon, live.

mod events;
mod line;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};

use super::client::{Remote, RemoteArgs};
use super::interrupt::Interrupt;
use super::{Failure, block_on, note};
use crate::model::{ChannelAddress, ConversationRef};
use events::Events;
pub(super) use line::transition;
use line::{Format, Screen};

#[derive(Debug, clap::Args)]
pub(super) struct TapArgs {
    /// Only this conversation: TO/FROM, the channel and the end user, separated by the first `/`
    #[arg(long, value_name = "TO/FROM", conflicts_with_all = ["to", "from"], value_parser = conversation)]
    conversation: Option<(String, String)>,
    /// Only this channel, by its address
    #[arg(long, value_name = "TO", value_parser = id)]
    to: Option<String>,
    /// Only this end user of that channel
    #[arg(long, value_name = "FROM", requires = "to", value_parser = id)]
    from: Option<String>,
    /// End when the daemon stops, instead of waiting until it is back
    #[arg(long)]
    once: bool,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TapFormat,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TapFormat {
    /// A line for people
    Table,
    /// A JSON object a line, as the daemon sends it
    Json,
}

fn id(text: &str) -> Result<String, String> {
    ChannelAddress::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn conversation(text: &str) -> Result<(String, String), String> {
    let (to, from) = text
        .split_once('/')
        .ok_or("expected a channel and an end user, TO/FROM; use --to and --from for ids that contain a `/`")?;
    ConversationRef::new(to, from).map_err(|(name, error)| format!("its part {} {error}", name.to_uppercase()))?;
    Ok((to.to_owned(), from.to_owned()))
}

/// A stream without a byte for this long has lost its daemon: four of its heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The first wait before a stopped daemon is tried again; each further one is twice as long.
const COME_AGAIN_MIN: Duration = Duration::from_millis(250);
/// The longest such wait, so that a restarted daemon is seen soon.
const COME_AGAIN_MAX: Duration = Duration::from_secs(2);

pub(super) fn run(args: TapArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.remote)?;
    let (to, from) = args.conversation.map_or((args.to, args.from), |(to, from)| (Some(to), Some(from)));
    let query: Vec<_> = [("to", to), ("from", from)].into_iter().filter(|(_, value)| value.is_some()).collect();
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(match args.format {
        TapFormat::Json => Format::Json,
        TapFormat::Table => Format::Table { coloured },
    });
    block_on(tap(&remote, &query, args.once, &mut screen))?
}

/// Whose indicators the query asks for.
fn whom(query: &[(&str, Option<String>)]) -> String {
    match query {
        [(_, Some(to)), (_, Some(from))] => format!("the end user {from:?} in the channel {to:?}"),
        [(_, Some(to))] => format!("the channel {to:?}"),
        _ => "all conversations".to_owned(),
    }
}

/// How a stream ended.
enum End {
    Interrupted,
    /// The daemon has stopped.
    Whole,
    BrokenOff,
}

/// Shows what happens until it is interrupted, or with `once` until the daemon stops.
async fn tap(
    remote: &Remote,
    query: &[(&str, Option<String>)],
    once: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::watch()?;
    let place = remote.place();
    let mut announced = false;
    // What was last printed of a daemon that is not there.
    let mut absent: Option<String> = None;
    let mut wait = COME_AGAIN_MIN;
    loop {
        let opened = tokio::select! {
            biased;
            _ = interrupt.next() => return Ok(()),
            opened = open(remote, query) => opened,
        };
        match (opened, &mut absent) {
            (Ok(mut answer), _) => {
                if !std::mem::replace(&mut announced, true) {
                    note(&format!("watching {} of {place}; Ctrl-C ends it", whom(query)));
                    remote.note_if_several().await;
                }
                if absent.is_some() {
                    note(&format!("{place} is back; events in between are missing"));
                }
                wait = COME_AGAIN_MIN;
                let why = match follow(&mut answer, &mut interrupt, screen, remote).await? {
                    End::Interrupted => return Ok(()),
                    End::Whole if once => return Ok(()),
                    End::Whole => format!("{place} has stopped"),
                    End::BrokenOff => format!("{place} has broken off, or sends nothing any more"),
                };
                if once {
                    return Err(why.into());
                }
                note(&format!("{why}; waiting until it is back, or for Ctrl-C"));
                // That it can't be reached now is no news.
                absent = Some(String::new());
            }
            (Err(why), None) => return Err(why),
            (Err(why), Some(said)) => {
                let why = why.to_string();
                if !said.is_empty() && *said != why {
                    note(&why);
                }
                *said = why;
            }
        }
        tokio::select! {
            _ = interrupt.next() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(COME_AGAIN_MAX),
        }
    }
}

async fn open(remote: &Remote, query: &[(&str, Option<String>)]) -> Result<Response, Failure> {
    let answer = remote.open(remote.request(Method::GET, &["v1", "indicators"]).query(query)).await?;
    let media = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if !media.starts_with(b"text/event-stream") {
        return Err(format!("{} answers, but not with events; is it typingd?", remote.place()).into());
    }
    Ok(answer)
}

/// Shows what the daemon sends, until something ends it.
async fn follow(
    answer: &mut Response,
    interrupt: &mut Interrupt,
    screen: &mut Screen,
    remote: &Remote,
) -> Result<End, Failure> {
    let mut events = Events::default();
    loop {
        let piece = tokio::select! {
            biased;
            _ = interrupt.next() => return Ok(End::Interrupted),
            piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()) => piece,
        };
        let Ok(Ok(piece)) = piece else { return Ok(End::BrokenOff) };
        let Some(piece) = piece else { return Ok(End::Whole) };
        let mut text = String::new();
        let taken = events.feed(&piece, |name, data| screen.write(&mut text, name, data));
        // Also what came before an invalid event.
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        taken.map_err(|what| format!("{} sent something that is not an event of typingd: {what}", remote.place()))?;
    }
}
