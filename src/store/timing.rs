//! The changes of the timing that hold for all typingd of a store, as a text with a version. What it says is no matter of
//! the store's.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::codec::{Keys, Script};
use super::place::Settings;
use super::server::{CONNECT_TIMEOUT, Failure, RESPONSE_TIMEOUT, Server, prepare};

/// A handle for one owner, with a connection of its own that is made when it is needed.
pub struct SharedText {
    settings: Arc<Settings>,
    versions: watch::Receiver<u64>,
    server: Option<Server>,
}

impl SharedText {
    pub(super) fn new(settings: Arc<Settings>, versions: watch::Receiver<u64>) -> Self {
        Self { settings, versions, server: None }
    }

    /// The version that the last heartbeat told, once it is another. Cancel-safe.
    pub async fn changed(&mut self) -> u64 {
        match self.versions.changed().await {
            Ok(()) => *self.versions.borrow_and_update(),
            // Only at the end of the runtime.
            Err(_) => std::future::pending().await,
        }
    }

    /// The version and the text; 0 and nothing at first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&mut self) -> Result<(u64, String), Failure> {
        let key = Keys::new(&self.settings.group).timing();
        let mut get = redis::cmd("HMGET");
        get.arg(key).arg("version").arg("changes");
        let (version, text): (Option<u64>, Option<String>) = self.ask(get).await?;
        Ok((version.unwrap_or_default(), text.unwrap_or_default()))
    }

    /// Writes another text over that of `version`. Returns whether it was that one still; then it is `next`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn write(&mut self, version: u64, next: u64, text: &str) -> Result<bool, Failure> {
        let keys = Keys::new(&self.settings.group).fixed();
        let mut write = redis::cmd("EVALSHA");
        let digest = self.server().await?.digests[Script::Retime as usize].clone();
        write.arg(digest).arg(keys.len()).arg(keys).arg("").arg(0).arg(version).arg(next).arg(text);
        self.ask(write).await
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: redis::Cmd) -> Result<T, Failure> {
        let is_old = self.server.is_some();
        match self.ask_once(&command).await {
            // The server has restarted since: it is asked at once, for others may be telling it theirs.
            Err(Failure::Server(error)) if is_old && error.is_connection_dropped() => self.ask_once(&command).await,
            asked => asked,
        }
    }

    async fn ask_once<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, Failure> {
        let server = self.server().await?;
        let asked = timeout(RESPONSE_TIMEOUT, server.query(command)).await;
        let asked = asked.map_or(Err(Failure::Late), |asked| Ok(asked?));
        if asked.is_err() {
            self.server = None;
        }
        asked
    }

    async fn server(&mut self) -> Result<&mut Server, Failure> {
        match &mut self.server {
            Some(server) => Ok(server),
            none => {
                let server = timeout(CONNECT_TIMEOUT, prepare(&self.settings)).await;
                Ok(none.insert(server.unwrap_or(Err(Failure::Late))?))
            }
        }
    }
}
