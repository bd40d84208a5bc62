//! `typingd check --online`: whether the upstream can be reached and a token had, without showing an icon.

use super::{Failure, block_on, note};
use crate::base::clock::{self, Clock};
use crate::config::Config;
use crate::salesforce::settings::Auth;
use crate::salesforce::{Client, Settings, TokenState};

/// Resolves, connects, and fetches a token. Says what works; what doesn't is the failure, all of it.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    let settings = config.upstream.clone().ok_or("there is no upstream")?;
    let problems = block_on(problems(settings))??;
    if problems.is_empty() { Ok(()) } else { Err(Failure::from_problems(problems)) }
}

async fn problems(settings: Settings) -> Result<Vec<String>, Failure> {
    let (base_url, cached) = (settings.base_url.clone(), settings.auth == Auth::Cached);
    let from = settings.places.before(match settings.auth {
        Auth::JwtBearer(_) => "upstream.auth.jwt_bearer.token_url",
        _ => "upstream.auth.token_file",
    });
    let shown = base_url.as_str().trim_end_matches('/');
    let client = Client::new(settings, Clock::start()).map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    let stopwatch = clock::stopwatch();
    match client.reach().await {
        Ok(status) => {
            note(&format!("upstream: {shown} answers after {} ms (status {status})", stopwatch.elapsed().as_millis()));
        }
        Err(why) => problems.push(format!(
            "{why}; check its name, the name service, the firewall, and whether upstream.ca_file or upstream.proxy is needed"
        )),
    }
    let stopwatch = clock::stopwatch();
    match client.warm_up().await {
        TokenState::Held if cached => note("token: connectors show their own; none is fetched"),
        TokenState::Held => note(&format!("token: in hand after {} ms", stopwatch.elapsed().as_millis())),
        TokenState::Pending => problems.push(format!("there is no token: {from}: no answer in time")),
        TokenState::Failing(why) => problems.push(format!("there is no token: {why}")),
    }
    Ok(problems)
}
