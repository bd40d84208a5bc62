//! `typingd shutdown`: stops a running daemon, with every icon off, and waits for its end.

use std::io::{self, Write};
use std::time::Duration;

use reqwest::{Method, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{ANSWER_MAX, Remote, RemoteArgs};
use super::{Failure, block_on, note};
use crate::base::clock;
use crate::base::duration::Written;

/// Two short lines.
const ANSWER_BYTES_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Begun {
    grace_ms: u64,
}

#[derive(Deserialize)]
struct Ended {
    icons_left: Option<usize>,
    given_up: u64,
}

pub(super) fn run(args: &RemoteArgs) -> Result<(), Failure> {
    let remote = Remote::new(args)?;
    let ended = block_on(shut_down(&remote))??;
    let given_up = match ended.given_up {
        0 => String::new(),
        1 => "; 1 stop was given up earlier, and its icon may be left on".into(),
        stops => format!("; {stops} stops were given up earlier, and their icons may be left on"),
    };
    match ended.icons_left {
        Some(0) => {
            writeln!(io::stdout().lock(), "stopped, every icon off{given_up}")?;
            Ok(())
        }
        Some(1) => Err(format!("stopped, but 1 icon may be left on{given_up}").into()),
        Some(icons) => Err(format!("stopped, but {icons} icons may be left on{given_up}").into()),
        None => Err("stopped, but icons may be left on".into()),
    }
}

async fn shut_down(remote: &Remote) -> Result<Ended, Failure> {
    let request = remote.request(Method::POST, &["v1", "shutdown"]).query(&[("follow", "true")]);
    let mut lines = Lines { response: remote.open(request).await?, buffer: Vec::new() };
    let strange = || format!("{} does not answer as typingd does", remote.place());
    let begun: Begun = tokio::time::timeout(ANSWER_MAX, lines.next()).await.ok().flatten().ok_or_else(strange)?;
    let grace = Duration::from_millis(begun.grace_ms);
    note(&format!("stopping; every icon goes off, within {}", Written(grace)));
    let end = clock::timer_after(grace.saturating_add(ANSWER_MAX));
    match tokio::time::timeout_at(end, lines.next()).await {
        Ok(Some(ended)) => Ok(ended),
        Ok(None) => Err(format!("{} ended without reporting its icons; see its log", remote.place()).into()),
        Err(_) => Err(format!("{} has not stopped in time; see its log", remote.place()).into()),
    }
}

/// The lines of a response as they arrive.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line; `None` if there is none, or it is not a `T`.
    async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            let piece = self.response.chunk().await.ok().flatten()?;
            if self.buffer.len() + piece.len() > ANSWER_BYTES_MAX {
                return None;
            }
            self.buffer.extend_from_slice(&piece);
        }
    }
}
