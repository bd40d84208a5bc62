//! `typingd timing`: the timing of a running daemon, shown and changed.

use std::io::{self, Write};

use super::{CHECK_INTERVAL, DISMISS_AFTER, Failure, block_on};
use crate::client::{Remote, RemoteArgs};
use crate::config::{self, Flag};
use crate::model::ChannelAddress;
use crate::timing::{self, Wish};

#[derive(Debug, clap::Args)]
pub(super) struct TimingArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The channel that it is about, by its address; else it is the timing of all
    #[arg(long, value_name = "TO", value_parser = channel)]
    to: Option<ChannelAddress>,
    /// The check interval from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    check: Option<String>,
    /// The time after which the icon goes off from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    dismiss: Option<String>,
    /// How the icon goes off from now on: idle or after_shown
    #[arg(long, value_name = "MODE", help_heading = "Changes")]
    mode: Option<String>,
    /// The longest unbroken typing that is believed from now on
    #[arg(long, value_name = "TIME", help_heading = "Changes")]
    max_typing: Option<String>,
    /// Take the channel's own timing away: it follows the timing of all from now on
    #[arg(long, requires = "to", conflicts_with_all = ["check", "dismiss", "mode", "max_typing"], help_heading = "Changes")]
    reset: bool,
    /// How it is told
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: TimingFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TimingFormat {
    /// For people
    Table,
    /// As the daemon says it
    Json,
}

fn channel(text: &str) -> Result<ChannelAddress, String> {
    if matches!(text, "." | "..") {
        return Err("this one can't stand in the path of a URL; the file is its place".to_owned());
    }
    ChannelAddress::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(args: TimingArgs) -> Result<(), Failure> {
    let flag = |name, key, value: Option<String>| value.map(|value| Flag { name, key, value });
    let flags = [
        flag("--check", CHECK_INTERVAL, args.check),
        flag("--dismiss", DISMISS_AFTER, args.dismiss),
        flag("--mode", "timing.dismiss", args.mode),
        flag("--max-typing", "timing.max_typing", args.max_typing),
    ];
    let flags: Vec<Flag> = flags.into_iter().flatten().collect();
    let problems = config::flag_problems(&flags);
    if !problems.is_empty() {
        return Err(Failure::Usage(problems.iter().map(ToString::to_string).collect()));
    }
    let wish = match flags.is_empty() {
        _ if args.reset => Wish::Reset,
        true => Wish::Tell,
        false => {
            Wish::Set(flags.into_iter().map(|flag| (flag.key.replace("timing.", ""), flag.value.into())).collect())
        }
    };
    let remote = Remote::new(&args.remote).map_err(Failure::Failed)?;
    let told = block_on(timing::ask(&remote, args.to.as_ref(), &wish))?.map_err(Failure::Failed)?;
    let mut stdout = io::stdout().lock();
    match args.format {
        TimingFormat::Table => stdout.write_all(timing::describe(&told.report, args.to.as_ref()).as_bytes())?,
        TimingFormat::Json => writeln!(stdout, "{}", told.json)?,
    }
    stdout.flush()?;
    Ok(())
}
