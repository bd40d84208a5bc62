//! `typingd config`: a commented sample of the configuration, the one that the package installs.

use std::io::{self, Write};

use super::Failure;

/// The file of the package, so that there is one sample to keep right.
const SAMPLE: &str = include_str!("../../systemd/typingd.toml");

pub(super) fn run() -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(SAMPLE.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
