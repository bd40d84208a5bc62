//! `typingd check`: validates the configuration, prints the settings in force, and says what to expect of them.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use super::{Failure, load_file, note, online};
use crate::base::files;
use crate::config::{self, Config};
use crate::daemon;
use crate::http::{Address, Listener};
use crate::tune::outlook::outlook;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: /etc/typingd/typingd.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check it as `run --sandbox` would
    #[arg(long)]
    sandbox: bool,
    /// Also resolve, connect and fetch a token; no icon is shown
    #[arg(long, conflicts_with = "sandbox")]
    online: bool,
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let config = load_file(args.config, args.sandbox)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(config.effective().as_bytes())?;
    stdout.flush()?;
    let mut problems = daemon::file_problems(&config);
    let (wrong, in_use) = listen(&config);
    problems.extend(wrong);
    if !problems.is_empty() {
        return Err(Failure::misconfigured(problems));
    }
    let warnings = config::warnings(&config).into_iter().chain(in_use).chain(state_dir(&config));
    for warning in warnings.chain(daemon::token_file_warning(&config)) {
        note(&format!("warning: {warning}"));
    }
    note(&config::capacity(&config));
    let scopes: Vec<_> = config::scopes(&config).collect();
    let limit = f64::from(config.policy.delivery.requests_per_second_max);
    for sentence in outlook(&scopes, limit) {
        note(&sentence);
    }
    if args.online {
        online::check(&config)?;
    }
    note("valid");
    Ok(())
}

/// What keeps `run` from listening, and what may: an address that is in use, most likely by a typingd that is running, and a
/// directory that systemd makes for the service.
fn listen(config: &Config) -> (Vec<String>, Vec<String>) {
    let (ingest, admin) = (&config.ingest.listen, &config.admin.listen);
    let all: Vec<_> = ingest.iter().chain(admin).cloned().collect();
    let keys = ingest.iter().map(|_| "ingest.listen").chain(admin.iter().map(|_| "admin.listen"));
    let (mut wrong, mut uncertain) = (Vec::new(), Vec::new());
    for (key, address) in keys.zip(&all) {
        let Err((kind, why)) = Listener::probe(address, &all) else { continue };
        let text = config.located(key, &format!("{key}: {why}"));
        match (kind, address) {
            (ErrorKind::AddrInUse, _) => uncertain.push(text),
            (ErrorKind::NotFound | ErrorKind::PermissionDenied, Address::Unix(path)) if path.starts_with("/run") => {
                uncertain.push(format!("{text}; systemd makes one for a service with RuntimeDirectory="));
            }
            _ => wrong.push(text),
        }
    }
    (wrong, uncertain)
}

/// The daemon serves without its state directory all the same, so that this is no reason not to start.
fn state_dir(config: &Config) -> Option<String> {
    let dir = config.state_dir.as_ref()?;
    // What is not there is made, in the nearest directory above it.
    let nearest = dir.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(dir);
    let error = files::must_be_writable(nearest).err()?;
    let at = if nearest == dir { String::new() } else { format!(", as {} can't be used", nearest.display()) };
    let text = format!("delivery.state_dir {} can't be used{at}: {error}; a crash may leave icons on", dir.display());
    Some(config.located("delivery.state_dir", &text))
}
