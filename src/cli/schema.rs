//! `typingd schema`: the JSON schema of the configuration.

use std::io::{self, Write};

use super::Failure;
use crate::config;

pub(super) fn run() -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let schema = serde_json::to_string_pretty(&config::schema()).map_err(io::Error::from)?;
    writeln!(stdout, "{schema}")?;
    stdout.flush()?;
    Ok(())
}
