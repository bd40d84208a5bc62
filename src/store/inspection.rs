//! Whether a store will do, without joining those that share it.

use tokio::time::timeout;

use super::codec::{Call, Keys, Who, call};
use super::place::Settings;
use super::server::{Failure, RESPONSE_TIMEOUT, Server, prepare};
use crate::fleet::protocol::{Command, OwnerId, Request};

/// What was found of a store that answers and takes writes.
#[derive(Debug)]
pub struct Inspection {
    /// Its version, if it says.
    pub version: Option<String>,
    /// What should be otherwise.
    pub warning: Option<String>,
}

/// Connects, loads the scripts, executes one that changes nothing, and writes and removes a field.
///
/// # Errors
/// Why it won't do.
pub async fn inspect(settings: &Settings) -> Result<Inspection, Failure> {
    timeout(2 * RESPONSE_TIMEOUT, look(settings)).await.unwrap_or(Err(Failure::Late))
}

async fn look(settings: &Settings) -> Result<Inspection, Failure> {
    let mut server = prepare(settings).await?;
    let keys = Keys::new(&settings.group);
    // Of one that is not there nothing is left.
    leave(&mut server, &keys).await?;
    let names = keys.names();
    let connection = &mut server.connection;
    redis::cmd("HSET").arg(&names).arg(FIELD).arg("typingd check").query_async::<()>(connection).await?;
    redis::cmd("HDEL").arg(&names).arg(FIELD).query_async::<()>(connection).await?;
    let warning = server.facts.as_ref().and_then(|facts| facts.warning());
    Ok(Inspection { version: server.facts.map(|facts| facts.version), warning })
}

async fn leave(server: &mut Server, keys: &Keys) -> Result<(), Failure> {
    let request = Request { number: 0, me: OwnerId::new(0), command: Command::Leave };
    let who = Who { name: String::new(), org: String::new() };
    if let Call::Script(script, keys, args) = call(keys, &request, &who) {
        let digest = &server.digests[script as usize];
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(keys.len()).arg(keys).arg(args);
        command.query_async::<()>(&mut server.connection).await?;
    }
    Ok(())
}

const FIELD: &str = "check";
