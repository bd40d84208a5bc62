//! `typingd run`: the daemon, and with the sandbox a guide to try it.

use std::io::{self, Write};
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::exit::{MISCONFIGURED, WRONG_USAGE};
use super::{Failure, block_on, environment};
use crate::base::build_info;
use crate::config::{self, Draft, Flag, Overrides};
use crate::daemon::{self, Up};
use crate::http::{self, Address, Passed};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deliver to a built-in stand-in instead of Salesforce: no org is needed
    #[arg(long)]
    sandbox: bool,
    /// A listening address, instead of ingest.listen: 127.0.0.1:7480 or unix:/path; may be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let (mut passed, problems) = http::passed();
    let listen = args.listen.into_iter().map(|value| Flag { name: "--listen", key: "ingest.listen", value });
    let overrides = Overrides {
        file: args.config,
        sockets: passed.iter().map(ToString::to_string).collect(),
        flags: listen.collect(),
        environment: environment(),
        sandbox: args.sandbox,
    };
    let ran = if problems.is_empty() {
        serve(overrides, &mut passed)
    } else {
        report_as(Draft::read(&overrides).log_format());
        Err(Failure::misconfigured(problems.clone()))
    };
    ran.map_err(|failure| match failure.code {
        MISCONFIGURED | WRONG_USAGE => {
            // The reason first: the sockets are held for some seconds.
            failure.report();
            hold_sockets(&passed, &problems);
            Failure { problems: Vec::new(), ..failure }
        }
        _ => failure,
    })
}

/// Where systemd has passed sockets to a daemon that can't start before the operator has mended something: answers their
/// callers for a while. `unusable` says why others of them can't be used.
pub(super) fn hold_sockets(passed: &[Passed], unusable: &[String]) {
    if !passed.is_empty() || !unusable.is_empty() {
        let _ = block_on(daemon::answer_unconfigured(passed));
    }
}

/// A reader of JSON reads in JSON why the daemon doesn't start, too.
pub(super) fn report_as(format: telemetry::Format) {
    if format == telemetry::Format::Json {
        telemetry::start(format, LevelFilter::ERROR);
    }
}

fn serve(overrides: Overrides, passed: &mut Vec<Passed>) -> Result<(), Failure> {
    let draft = Draft::read(&overrides);
    let config = draft.config_with(daemon::file_problems).inspect_err(|_| report_as(draft.log_format()))?;
    telemetry::start(config.log.format, config.log.level);
    for warning in config::warnings(&config) {
        tracing::warn!("configuration: {warning}");
    }
    for name in config.foreign_variables() {
        tracing::debug!("environment variable {name} is not typingd's: there is no key for it, nor a similar one");
    }
    block_on(daemon::run(config, overrides, passed, |up| {
        // For people; the log has the addresses too.
        if let Some(guide) = guide(up) {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(guide.as_bytes()).and_then(|()| stdout.flush());
        }
    }))??;
    Ok(())
}

fn guide(up: &Up) -> Option<String> {
    let sandbox = up.sandbox.as_ref()?;
    let tcp = up.listening.iter().find(|address| matches!(address, Address::Tcp(_)));
    let (curl, url, page) = match tcp.or(up.listening.first())? {
        Address::Tcp(address) => {
            let page = up.admin.iter().find(|address| matches!(address, Address::Tcp(_)));
            let page = page.map_or_else(|| format!("http://{address}"), ToString::to_string);
            let page = format!("Type in a browser, and watch the agent's typing icon:\n  {page}/\n\n");
            ("curl".to_owned(), format!("http://{address}"), page)
        }
        Address::Unix(path) => {
            (format!("curl --unix-socket {}", path.display()), "http://typingd".to_owned(), String::new())
        }
    };
    Some(format!(
        "\ntypingd {} with its sandbox: no Salesforce org is involved.\n\n{page}\
         Watch the icons go on and off (in a second terminal):\n  \
         curl -N '{sandbox}/icons?watch=true'\n\n\
         Press a key as the end user ann; the icon goes on at once, and off 2 s later:\n  \
         {curl} -H 'content-type: application/json' \\\n       \
         -d '{{\"to\": \"support\", \"from\": \"ann\", \"signal\": \"keystroke\"}}' {url}/v1/signals\n\n\
         See what is shown now, and what Salesforce would have been sent:\n  \
         curl {sandbox}/icons\n  curl {sandbox}/requests\n\n\
         Ctrl-C stops it, with every icon off.\n\n",
        build_info::VERSION,
    ))
}
