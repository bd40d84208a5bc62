//! The way to Salesforce, changed while the daemon runs: other credentials, the drop-in in front or not; another org waits.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use typingd::base::clock;

use crate::bench::{Daemon, Sandbox, pair};
use crate::connector::Connector;
use crate::exposition::{Page, Text};
use crate::key;
use crate::process::until;

#[test]
fn another_org_waits_for_the_next_start() {
    let (old, mut daemon) = pair("timing.dismiss_after = '1m'\ntiming.check_interval = '300ms'");
    let new = Sandbox::start(&[]);
    daemon.give("c", "ann", "keystroke");
    old.until_told("c", "ann", "+");
    daemon.edit(&old.address.url(), &new.address.url());
    daemon.edit("'00DXX0000000001'", "'00DXX0000000002'");
    daemon.edit("'1m'", "'2m'");
    let changes = daemon.address.call("POST", "/v1/reload", &[], b"").json()["changes"].clone();
    let takes_hold = |key: &str| {
        let change = changes.as_array().unwrap().iter().find(|change| change["key"] == key);
        change.unwrap_or_else(|| panic!("{key}: {changes}"))["takes_hold"].clone()
    };
    for key in ["upstream.base_url", "upstream.org_id"] {
        assert_eq!(takes_hold(key), "next_start", "{key}");
    }
    assert_eq!(takes_hold("timing.dismiss_after"), "now");
    daemon.process.until_logged("name another org: the one in use stays until the next start");
    let status = daemon.address.get("/v1/status").json();
    assert_eq!(status["upstream"]["base_url"], format!("{}/", old.address.url()), "{status}");
    daemon.give("c", "bob", "keystroke");
    old.until_told("c", "bob", "+");
    daemon.give("c", "ann", "stopped");
    old.until_told("c", "ann", "+-");
    daemon.process.stop();
    assert_eq!((old.shown(), new.told("c", "bob")), (0, String::new()));
}

#[test]
fn an_org_that_waits_needs_no_file_of_the_one_in_use() {
    let (old, daemon) = pair("timing.dismiss_after = '1m'");
    daemon.edit(&old.address.url(), "https://elsewhere.my.salesforce-scrt.com");
    daemon.edit("'token'", "'other-token'");
    fs::write(daemon.file("other-token"), "another").unwrap();
    fs::remove_file(daemon.file("token")).unwrap();
    daemon.edit("'1m'", "'2m'");
    let answer = daemon.address.call("POST", "/v1/reload", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.body.contains("token_file: "), "{answer:?}");
    assert_eq!(daemon.address.get("/v1/timing").json()["timing"]["dismiss_after"], "2m");
    // Its own is looked at, though another program may yet write it.
    fs::remove_file(daemon.file("other-token")).unwrap();
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("upstream.auth.token_file: can't read "), "{said:?}");
}

#[test]
fn new_credentials_take_hold_only_when_they_are_good() {
    let directory = tempfile::tempdir().unwrap();
    let right = directory.path().join("right");
    fs::write(&right, "the-right-one").unwrap();
    let sandbox = Sandbox::start(&["--token-file", right.to_str().unwrap()]);
    let auth = "upstream.auth.token_file = 'mine'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "timing.dismiss_after = '1m'", |directory| {
        fs::write(directory.path().join("mine"), "the-right-one").unwrap();
        fs::write(directory.path().join("key.pem"), key::private()).unwrap();
    });
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    // A file that is not there.
    daemon.edit("'mine'", "'yours'");
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(
        said.stderr.contains("typingd.toml:4: upstream.auth.token_file ") && said.stderr.contains("yours"),
        "{said:?}"
    );
    // An endpoint that nobody listens at, then one that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let flow = |at: &str| {
        format!(
            "[upstream.auth.jwt_bearer]\ntoken_url = 'http://{at}/token'\nconsumer_key = 'k'\nsubject = 's'\n\
             audience = 'https://login.salesforce.com'\nprivate_key_file = 'key.pem'"
        )
    };
    let text = fs::read_to_string(daemon.file("typingd.toml")).unwrap().replace(&auth.replace("mine", "yours"), "");
    for at in ["127.0.0.1:1".to_owned(), silent.local_addr().unwrap().to_string()] {
        fs::write(daemon.file("typingd.toml"), format!("{text}\nupstream.request_timeout = '300ms'\n{}", flow(&at)))
            .unwrap();
        let watch = clock::stopwatch();
        let said = daemon.tell_by("reload", &[]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("nothing has been changed: upstream.auth: "), "{said:?}");
        assert!(watch.elapsed() < Duration::from_secs(8), "{:?}", watch.elapsed());
    }
    assert_eq!(daemon.address.get("/readyz").status, 200);
    daemon.give("c", "ann", "stopped");
    sandbox.until_told("c", "ann", "+-");
    // The sandbox's own endpoint gives out good ones.
    let flow = flow(sandbox.address.url().trim_start_matches("http://")).replace("/token", "/services/oauth2/token");
    fs::write(daemon.file("typingd.toml"), format!("{text}\n{flow}")).unwrap();
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-+");
    assert_eq!(sandbox.token_calls(), 1);
    // What else changes costs no other token.
    daemon.edit("authorization_context = '", "authorization_context = 'Other_");
    assert_eq!(daemon.tell_by("reload", &[]).code, Some(0));
    daemon.give("c", "bob", "keystroke");
    sandbox.until_told("c", "bob", "+");
    assert_eq!(sandbox.token_calls(), 1);
    // Another key in the same file does.
    fs::write(daemon.file("key.pem"), key::private() + "\n").unwrap();
    let said = daemon.tell_by("reload", &[]);
    let told =
        "upstream.auth.jwt_bearer.private_key_file: (earlier content of the file) -> (new content of the file)\n";
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), told), "{said:?}");
    assert_eq!(sandbox.token_calls(), 2);
    assert_eq!(daemon.tell_by("reload", &[]).stdout, "nothing has changed: the configuration is what it was\n");
    daemon.give("c", "cleo", "keystroke");
    sandbox.until_told("c", "cleo", "+");
}

#[test]
fn a_new_token_in_the_same_file_holds_with_the_reload() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let obtained = || {
        let page = Page::read(&daemon.address.get("/metrics").body, Text::Prometheus);
        page.value("typingd_token_refreshes_total", &[])
    };
    assert_eq!(obtained(), Some(1.0));
    fs::write(daemon.file("token"), "another-one").unwrap();
    assert_eq!(daemon.tell_by("reload", &[]).code, Some(0));
    assert_eq!(obtained(), Some(2.0));
}

#[test]
fn where_nothing_is_delivered_anything_is_tried() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'missing'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", |_| {});
    assert_eq!(daemon.address.get("/readyz").status, 503);
    daemon.edit("'missing'", "'missing-too'");
    assert_eq!(daemon.tell_by("reload", &[]).code, Some(0));
    daemon.edit("'missing-too'", "'token'");
    assert_eq!(daemon.tell_by("reload", &[]).code, Some(0));
    assert_eq!(daemon.tell_by("wait", &[]).code, Some(0));
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-");
}

#[test]
fn the_drop_in_is_switched_on_and_off() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '100ms'");
    let connector = Connector::new(&daemon.address, "t0ken-of-the-connector");
    let reload = || {
        let said = daemon.tell_by("reload", &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    let report = || -> Value { daemon.address.get("/v1/drop_in").json() };
    assert_eq!(connector.started("u").status, 404);
    daemon
        .edit("timing.dismiss_after", "drop_in.enabled = true\ndrop_in.activity_lasts = '100ms'\ntiming.dismiss_after");
    reload();
    assert_eq!(connector.started("u").status, 202);
    sandbox.until_told("c", "u", "+-");
    assert_eq!(connector.message("u").status, 202);
    daemon.edit("'100ms'\ntiming", "'1m'\ntiming");
    reload();
    assert_eq!(connector.started("u").status, 202);
    until("her icon", || sandbox.told("c", "u").ends_with('+'));
    assert_eq!(connector.message("u").status, 202);
    // Icon on, icon off, the message, twice.
    until("the message", || sandbox.of("c", "u").len() == 6);
    assert_eq!((&report()["started_taken"], &report()["messages"]), (&json!(2), &json!(2)), "the counts go on");
    daemon.edit("drop_in.enabled = true", "drop_in.enabled = true\ndrop_in.shadow = true");
    reload();
    assert_eq!(connector.started("v").status, 202);
    until("it has passed", || sandbox.of("c", "v").len() == 1);
    assert!(report()["shadow"].is_object(), "{}", report());
    daemon.edit("drop_in.enabled = true\ndrop_in.shadow = true\ndrop_in.activity_lasts = '1m'", "");
    reload();
    assert_eq!(connector.started("u").status, 404);
    assert_eq!(daemon.address.get("/v1/drop_in").status, 404);
    daemon.process.stop();
}
