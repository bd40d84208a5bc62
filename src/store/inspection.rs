//! Whether a store will do, without joining those that share it.

use redis::cmd;
use tokio::time::timeout;

use super::codec::{Call, Keys, SCHEMA, Who, call};
use super::place::Settings;
use super::server::{CONNECT_TIMEOUT, Failure, RESPONSE_TIMEOUT, Server, prepare};
use crate::fleet::protocol::{Command, OwnerId, Request};

/// What was found of a store that answers and takes writes.
#[derive(Debug)]
pub struct Inspection {
    /// Its version, if it says.
    pub version: Option<String>,
    /// What should be otherwise.
    pub warning: Option<String>,
}

/// Connects as typingd does when it runs, executes a script that changes nothing, and looks who has the group.
///
/// # Errors
/// Why it won't do.
pub async fn inspect(settings: &Settings) -> Result<Inspection, Failure> {
    timeout(CONNECT_TIMEOUT + 2 * RESPONSE_TIMEOUT, look(settings)).await.unwrap_or(Err(Failure::Late))
}

async fn look(settings: &Settings) -> Result<Inspection, Failure> {
    let mut server = prepare(settings).await?;
    let keys = Keys::new(&settings.group);
    // Of one that is not there nothing is left.
    leave(&mut server, &keys).await?;
    compare_group(&mut server, &keys, &settings.org).await?;
    let warning = server.facts.as_ref().and_then(|facts| facts.warning());
    Ok(Inspection { version: server.facts.map(|facts| facts.version), warning })
}

async fn leave(server: &mut Server, keys: &Keys) -> Result<(), Failure> {
    let request = Request { number: 0, me: OwnerId::new(0), command: Command::Leave };
    let who = Who { name: String::new(), org: String::new() };
    if let Call::Script(script, keys, args) = call(keys, &request, &who) {
        let digest = &server.digests[script as usize];
        let mut command = cmd("EVALSHA");
        command.arg(digest).arg(keys.len()).arg(keys).arg(args);
        server.query::<()>(&command).await?;
    }
    Ok(())
}

/// Whether those who have the group now would refuse this typingd, as the script of a heartbeat does.
async fn compare_group(server: &mut Server, keys: &Keys, org: &str) -> Result<(), Failure> {
    let introduced: Option<String> = server.query(cmd("HGET").arg(keys.names()).arg("@")).await?;
    let Some((its_schema, its_org)) = introduced.as_deref().and_then(|text| text.split_once(':')) else {
        return Ok(());
    };
    let another_schema = its_schema != SCHEMA;
    if !another_schema && (its_org.is_empty() || org.is_empty() || its_org == org) {
        return Ok(());
    }
    let (seconds, micros): (u64, u64) = server.query(&cmd("TIME")).await?;
    let alive = format!("({}", seconds * 1_000 + micros / 1_000);
    let mut range = cmd("ZRANGEBYSCORE");
    let members: Vec<String> = server.query(range.arg(keys.nodes()).arg(alive).arg("+inf")).await?;
    match (members.is_empty(), another_schema) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::AnotherSchema(its_schema.to_owned())),
        (false, false) => Err(Failure::AnotherOrg(its_org.to_owned())),
    }
}
