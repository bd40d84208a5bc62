//! The command line of `typingd sandbox`.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::DecodingKey;

use super::Options;
use super::fault::{Fault, Faults, TokenFault};
use crate::base::duration;
use crate::http::{Address, read_token};
use crate::model::{USER_CHARS_MAX, check_id};

/// The stand-in Interaction Service alone
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7481")]
    pub listen: Address,
    /// Accept this bearer token, and those that the sandbox issues
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Accept only the bearer tokens that the sandbox issues
    #[arg(long)]
    pub strict_tokens: bool,
    /// How long issued tokens are valid
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub token_life: Duration,
    /// Check the signature of assertions with this RSA public key (PEM)
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Requests accepted within any one second; further ones are answered with 429
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub rate_limit: u32,
    /// The time after which an icon goes off by itself; never unless given
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub icon_ttl: Option<Duration>,
    /// Delay before a request is handled
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span, help_heading = "Faults")]
    pub latency: Duration,
    /// Random delay on top of the latency, at most
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span, help_heading = "Faults")]
    pub jitter: Duration,
    /// What fails, when, and for what share of requests: 503:0.1, close-after:0.01
    ///
    /// A status (400 to 599), code=10094, close, cut, hang, garbage or unsuccessful; -before or -after the request is
    /// applied (default before); from 0 to 1 (default 1). May be given more than once.
    #[arg(long = "fault", value_name = "FAULT", help_heading = "Faults")]
    pub faults: Vec<Fault>,
    /// Retry-After of a 429 in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1, help_heading = "Faults")]
    pub retry_after: u64,
    /// The channel address that there is; any other is refused with code 10017. May be given more than once
    #[arg(long, value_name = "TO", value_parser = id)]
    pub channel: Vec<String>,
    /// Refuse this channel address with code 10017
    #[arg(long, value_name = "TO", value_parser = id, help_heading = "Faults")]
    pub refuse_to: Vec<String>,
    /// Refuse this end user with code 10028
    #[arg(long, value_name = "FROM", value_parser = id, help_heading = "Faults")]
    pub refuse_from: Vec<String>,
    /// How the token endpoint fails
    #[arg(long, value_name = "FAULT", help_heading = "Faults")]
    pub token_fault: Option<TokenFault>,
    /// Seed that selects the requests that fail
    #[arg(long, value_name = "N", default_value_t = 42, help_heading = "Faults")]
    pub seed: u64,
}

impl SandboxArgs {
    /// The options, with the files read.
    ///
    /// # Errors
    /// Names the file that can't be read, or the option that is out of bounds.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let token = self.token_file.as_ref().map(|path| read_token("--token-file", path)).transpose()?;
        let public_key = self.public_key.as_ref().map(|path| {
            let pem = std::fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
            DecodingKey::from_rsa_pem(&pem).map_err(|error| format!("{} is no RSA public key: {error}", path.display()))
        });
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let faults = Faults {
            latency_ms: millis(self.latency),
            jitter_ms: millis(self.jitter),
            faults: self.faults.clone(),
            retry_after_seconds: Some(self.retry_after),
            channels: self.channel.clone(),
            refused_to: self.refuse_to.clone(),
            refused_from: self.refuse_from.clone(),
            token: self.token_fault,
        };
        Ok(Options {
            token,
            strict_tokens: self.strict_tokens,
            token_life: self.token_life,
            public_key: public_key.transpose()?,
            rate_limit: self.rate_limit,
            icon_ttl: self.icon_ttl,
            faults: faults.checked()?,
            seed: self.seed,
        })
    }
}

/// An end user's id may be longer than a channel's address.
fn id(text: &str) -> Result<String, String> {
    check_id(text, USER_CHARS_MAX).map(|()| text.to_owned()).map_err(|error| format!("it {error}"))
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("`{text}` is not a time; expected 500ms, 5s or 30m"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }

    fn options(line: &str) -> Result<Options, String> {
        let command = Command::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        command.sandbox.options()
    }

    #[test]
    fn the_options_say_what_the_line_says() {
        let plain = options("sandbox").unwrap();
        assert_eq!(
            (plain.rate_limit, plain.token_life, plain.faults),
            (2_000, Duration::from_secs(1_800), Faults::default())
        );
        let line =
            "sandbox --fault 503:0.5 --fault close-after:0.5 --latency 100ms --icon-ttl 2s --refuse-to a --seed 7";
        let parsed = options(line).unwrap();
        assert_eq!((parsed.faults.faults.len(), parsed.faults.latency_ms, parsed.seed), (2, 100, 7));
        assert_eq!(parsed.icon_ttl, Some(Duration::from_secs(2)));
        for wrong in [
            "sandbox --fault 200",
            "sandbox --fault 503:0.6 --fault 504:0.6",
            "sandbox --latency 5",
            "sandbox --latency 99999999999999999999s",
            "sandbox --latency 2m",
            "sandbox --token-file /nowhere",
            "sandbox --listen nowhere",
        ] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
        for name in ["--channel", "--refuse-to", "--refuse-from"] {
            let error = options(&format!("sandbox {name} ")).map(drop).unwrap_err();
            assert!(error.contains(name) && error.contains("it is empty"), "{error}");
        }
    }
}
