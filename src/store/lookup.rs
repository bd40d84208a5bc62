//! Whose a conversation is, for people who ask. One question at a time, over a connection of its own.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::codec::{Keys, field, value};
use super::place::Settings;
use super::server::{CONNECT_TIMEOUT, Failure, RESPONSE_TIMEOUT, connect};
use crate::fleet::protocol::OwnerId;
use crate::model::ConversationRef;

/// Who owns a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The owner.
    pub owner: OwnerId,
    /// What people call it, if the store still knows.
    pub name: Option<String>,
}

/// Asks. Cheap to clone; clones share the connection, which is made with the first question.
#[derive(Clone, Debug)]
pub struct Lookup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Arc<Settings>,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Lookup {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self(Arc::new(Inner { settings, connection: Mutex::default() }))
    }

    /// `None`: no one.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn holder(&self, conversation: ConversationRef<'_>) -> Result<Option<Holder>, Failure> {
        let asked = timeout(CONNECT_TIMEOUT, async {
            let mut connection = self.0.connection.lock().await;
            let asked = self.ask(&mut connection, conversation).await;
            if asked.is_err() {
                *connection = None;
            }
            asked
        });
        let asked = asked.await.unwrap_or(Err(Failure::Late));
        asked.map_err(|failure| failure.about(&Keys::new(&self.0.settings.group)))
    }

    async fn ask(
        &self,
        connection: &mut Option<MultiplexedConnection>,
        conversation: ConversationRef<'_>,
    ) -> Result<Option<Holder>, Failure> {
        let keys = Keys::new(&self.0.settings.group);
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(connect(&self.0.settings, RESPONSE_TIMEOUT).await?),
        };
        let mut get = redis::cmd("HGET");
        let held: Option<String> = get.arg(keys.held()).arg(field(conversation)).query_async(connection).await?;
        let Some(held) = held else { return Ok(None) };
        let owner = value(&held)?.owner;
        let name = redis::cmd("HGET").arg(keys.names()).arg(owner.to_string()).query_async(connection).await?;
        Ok(Some(Holder { owner, name }))
    }
}
