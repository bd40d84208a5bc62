//! `typingd tap`: the indicators of a running daemon, live.

use std::io::{self, IsTerminal};

use super::{Failure, block_on};
use crate::client::{Remote, RemoteArgs};
use crate::model::{ChannelAddress, ConversationRef};
use crate::tap::{self, Afterwards, Colours, Format, Tap, TapError};

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
    block_on(tap::tap(&job))?.map_err(|error| match error {
        TapError::Failed(what) => Failure::Failed(what),
        TapError::ClosedPipe => Failure::ClosedPipe,
    })
}
