//! `typingd check --online`: whether the upstream can be reached and a token had, without showing an icon.

use super::{Failure, block_on, note};
use crate::base::clock::{self, Clock};
use crate::base::text::NO_TLS;
use crate::config::Config;
use crate::salesforce::settings::Auth;
use crate::salesforce::{Client, NO_TLS_ADVICE, Settings, TokenState};
use crate::store::{self, Inspection};

/// Resolves, connects, and fetches a token. Says what works; what doesn't is the failure, all of it.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    let settings = config.upstream.clone().ok_or("there is no upstream")?;
    let problems = block_on(problems(config, settings))??;
    if problems.is_empty() { Ok(()) } else { Err(Failure::from_problems(problems)) }
}

async fn problems(config: &Config, settings: Settings) -> Result<Vec<String>, Failure> {
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
        Err(why) if why.contains(NO_TLS) => problems.push(format!("{why}; {NO_TLS_ADVICE}")),
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
    if let Some(store) = &config.store {
        problems.extend(store_problem(config, &store.link).await);
    }
    Ok(problems)
}

/// Whether the store can be reached and written to; nothing of it changes.
async fn store_problem(config: &Config, settings: &store::Settings) -> Option<String> {
    let (stopwatch, place) = (clock::stopwatch(), &settings.place);
    match store::inspect(settings).await {
        Ok(Inspection { version, warning }) => {
            let version = version.map_or_else(String::new, |version| format!(", version {version}"));
            note(&format!("store: {place} answers after {} ms{version}", stopwatch.elapsed().as_millis()));
            if let Some(warning) = warning {
                note(&format!("warning: {}", config.located("store.url", &format!("{place}: {warning}"))));
            }
            None
        }
        Err(why) => Some(config.located("store.url", &format!("the store {place} will not do: {why}"))),
    }
}
