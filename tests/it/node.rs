//! A connector in Node, with the libraries that the sample uses, in front of the sandbox.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::bench::{Daemon, Sandbox, told};

const RUNS: usize = 200;
/// Where the connector and its packages are; `.ci/run` puts them there.
const PLACE: &str = "TYPINGD_TEST_CONNECTOR";

#[test]
#[ignore = "needs node and the connector's packages: see .ci/run"]
fn a_connector_in_node_changes_its_base_url_and_nothing_else() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap_or_else(|| panic!("{PLACE} is not set; .ci/run does it")));
    let sandbox = Sandbox::start(&["--jitter", "80ms", "--rate-limit", "100000"]);
    let settings = "drop_in.activity_lasts = '1s'\ntiming.check_interval = '400ms'\ndrop_in.settle = '20s'\n\
                    delivery.started_lifespan = '20s'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", settings, |_| {});
    let output = Command::new("node")
        .arg(place.join("connector.mjs"))
        .env("BASE_URL", daemon.address.url())
        .envs([("RUNS", RUNS.to_string()), ("AT_A_TIME", "10".to_owned()), ("THROTTLE_MS", "250".to_owned())])
        .output()
        .expect("node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let users: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(users.len(), RUNS);
    for user in &users {
        let from = user["from"].as_str().unwrap();
        let seen = sandbox.of("node", from);
        let (messages, typing): (Vec<_>, Vec<_>) = seen
            .iter()
            .cloned()
            .partition(|seen| seen["entry_type"] == "Message" || seen["interaction_type"] == "AttachmentInteraction");
        assert_eq!(messages.len(), 1, "{from}: {seen:#?}");
        assert_eq!(messages[0]["found_shown"], false, "{from}: {seen:#?}");
        // On once, kept on, off once, and not before the user had sent the message.
        let told = told(&typing);
        assert!(told.starts_with('+') && told.trim_start_matches('+') == "-", "{from}: {told}");
        let off = typing.iter().find(|seen| seen["entry_type"] == "TypingStoppedIndicator").unwrap();
        assert!(off["at"].as_u64() >= user["sent"].as_u64(), "{from}: {off} {user}");
    }
    daemon.process.stop();
    let icons = sandbox.address.get("/icons?limit=1000").json();
    let icons = icons["icons"].as_array().unwrap();
    assert_eq!(icons.len(), RUNS);
    assert!(icons.iter().all(|icon| icon["flickers"] == 0 && icon["shown"] == false), "{icons:#?}");
    assert!(!daemon.process.log().contains("a-token-of-node"));
}
