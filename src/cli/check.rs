//! `typingd check`: validates the configuration, prints the settings in force, and says what to expect of them.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use super::{Failure, note, online, read_file};
use crate::config::{self, Draft, Problem};
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
    /// Also resolve, connect, fetch a token and try the store; no icon is shown
    #[arg(long, conflicts_with = "sandbox")]
    online: bool,
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let draft = read_file(args.config, args.sandbox);
    let config = draft.config();
    if let Ok(config) = &config {
        let mut stdout = io::stdout().lock();
        stdout.write_all(config.effective().as_bytes())?;
        stdout.flush()?;
    }
    let (cannot_listen, may_listen) = listen(&draft);
    let mut warnings = draft.warnings();
    warnings.extend(may_listen.iter().chain(&daemon::file_warnings(&draft)).map(ToString::to_string));
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
    let config = draft.config_with(|draft| [daemon::file_problems(draft), cannot_listen].concat())?;
    if let Some(sentence) = config::capacity(&config) {
        note(&sentence);
    }
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

/// What keeps this user's `run` from listening, and what may: an address that is in use, most likely by a typingd that is
/// running, and a directory that systemd makes for the service.
fn listen(draft: &Draft) -> (Vec<Problem>, Vec<Problem>) {
    let addresses = ["ingest.listen", "admin.listen"].map(|key| (key, draft.addresses(key)));
    let all: Vec<_> = addresses.iter().flat_map(|(_, addresses)| addresses).cloned().collect();
    let (mut wrong, mut uncertain) = (Vec::new(), Vec::new());
    for (key, address) in addresses.iter().flat_map(|(key, addresses)| addresses.iter().map(move |at| (key, at))) {
        let Err((kind, why)) = Listener::probe(address, &all) else { continue };
        let (is_wrong, hint) = verdict(kind, address);
        let into = if is_wrong { &mut wrong } else { &mut uncertain };
        into.push(draft.problem(key, &format!("{key}: {why}{hint}")));
    }
    (wrong, uncertain)
}

/// Whether an address that can't be bound keeps this user's `run` from starting, and what to do about it.
fn verdict(kind: ErrorKind, address: &Address) -> (bool, &'static str) {
    match (kind, address) {
        (ErrorKind::AddrInUse, _) => (false, ""),
        (ErrorKind::NotFound, Address::Unix(path)) if path.starts_with("/run") => {
            (false, "; systemd makes one for a service with RuntimeDirectory=")
        }
        (ErrorKind::PermissionDenied, Address::Unix(path)) if path.starts_with("/run") => {
            (true, "; check as the user that the service runs as")
        }
        _ => (true, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_permitted_keeps_run_from_starting() {
        let keeps = |kind, address: &str| verdict(kind, &address.parse().unwrap()).0;
        for address in ["unix:/run/foo.sock", "unix:/root/foo.sock", "127.0.0.1:80"] {
            assert!(keeps(ErrorKind::PermissionDenied, address), "{address}");
            assert!(!keeps(ErrorKind::AddrInUse, address), "a running daemon may hold {address}");
        }
        assert!(!keeps(ErrorKind::NotFound, "unix:/run/typingd/s") && keeps(ErrorKind::NotFound, "unix:/nowhere/s"));
    }
}
