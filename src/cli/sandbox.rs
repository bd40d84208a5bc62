//! `typingd sandbox`: the stand-in Interaction Service alone.

use std::io::{self, Write};

use tokio::sync::watch;

use super::{Failure, block_on};
use crate::base::clock::Clock;
use crate::daemon;
use crate::http::{self, Limits, Listener};
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
             [upstream.auth]\ntoken_file = \"token\"    # a file with any word in it\n\n\
             Watch the icons: curl -N '{address}/icons?watch=true'"
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
