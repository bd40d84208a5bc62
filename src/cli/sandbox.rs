//! `typingd sandbox`: the stand-in Interaction Service alone.

use std::io::{self, Write};

use tokio::sync::watch;

use super::{Failure, block_on};
use crate::base::clock::Clock;
use crate::daemon;
use crate::http::{self, Address, Limits, Listener};
use crate::sandbox::{Sandbox, SandboxArgs};
use crate::telemetry;

pub(super) fn run(args: &SandboxArgs) -> Result<(), Failure> {
    let options = args.options()?;
    telemetry::start(telemetry::Format::Text, tracing::level_filters::LevelFilter::INFO);
    block_on(async {
        let listener = Listener::bind(&args.listen).await?;
        let address = listener.address().clone();
        if !address.is_local() {
            tracing::warn!(%address, "any client that reaches this address can use the sandbox and change its faults");
        }
        let mut stdout = io::stdout();
        writeln!(
            stdout,
            "The stand-in Interaction Service is at {address}. A configuration for it:\n\n\
             [upstream]\nbase_url = \"{address}\"\norg_id = \"00D000000000000\"\n\
             authorization_context = \"Sandbox_ChannelDefinition\"\n\
             {}\n\n\
             Watch the icons: curl -N '{address}/icons?watch=true'",
            auth(args, &address)
        )?;
        stdout.flush()?;
        let (stop, stopping) = watch::channel(false);
        let router = Sandbox::new(options, Clock::start()).router(stopping.clone());
        let server = tokio::spawn(http::serve(listener, router, Limits::default(), stopping));
        daemon::until_stopped().await.map_err(|e| format!("can't watch for signals: {e}"))?;
        let _ = stop.send(true);
        // Requests that hang by a fault would keep it running for ever.
        let _ = tokio::time::timeout(daemon::HANG_UP_MAX, server).await;
        Ok(())
    })?
}

/// The credentials that this sandbox takes, as TOML.
fn auth(args: &SandboxArgs, address: &Address) -> String {
    match &args.token_file {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("[upstream.auth]\ntoken_file = {:?}", path.display().to_string())
        }
        None if args.strict_tokens => {
            let key = if args.public_key.is_some() { "the key of --public-key" } else { "any RSA key of 2048 bits" };
            format!(
                "[upstream.auth.jwt_bearer]\ntoken_url = \"{address}/services/oauth2/token\"\nconsumer_key = \"sandbox\"\n\
                 subject = \"user@example.com\"\naudience = \"https://login.salesforce.com\"\n\
                 private_key_file = \"key.pem\"    # {key}: openssl genpkey -algorithm RSA -out key.pem"
            )
        }
        None => "[upstream.auth]\ntoken_file = \"token\"    # a file with any word in it".to_owned(),
    }
}
