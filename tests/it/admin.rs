//! Who may do what: tokens and addresses of operators beside those of callers.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bench::{Daemon, JSON, Sandbox, signal_of};
use crate::process::{run, until};
use crate::wire::{Address, Answer};

const TOKENS: &str = "ingest.token_file = 'ingest-token'\nadmin.token_file = 'admin-token'\n";

fn start(sandbox: &Sandbox, settings: &str) -> Daemon {
    Daemon::start_with(&sandbox.address.url(), "upstream.auth.token_file = 'token'", settings, |directory| {
        for name in ["ingest-token", "admin-token"] {
            std::fs::write(directory.path().join(name), format!("t0ken-of-{name}\n")).unwrap();
        }
    })
}

fn call(address: &Address, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let shown = format!("Bearer t0ken-of-{token}");
    let headers = [JSON, ("authorization", shown.as_str())];
    address.call(method, path, if token.is_empty() { &headers[..1] } else { &headers }, body.as_bytes())
}

#[test]
fn who_sends_signals_may_not_steer() {
    let sandbox = Sandbox::start(&[]);
    let daemon = start(&sandbox, TOKENS);
    let key = signal_of("c", "ann", "keystroke").to_string();
    assert_eq!(call(&daemon.address, "POST", "/v1/signals", "ingest-token", &key).status, 202);
    sandbox.until_told("c", "ann", "+-");
    for path in ["/metrics", "/v1/status", "/v1/timing"] {
        assert_eq!(call(&daemon.address, "GET", path, "ingest-token", "").status, 200, "{path}");
    }
    let retime = json!({"check_interval": "3s"}).to_string();
    for (token, status, said) in [
        ("", 401, "expected the bearer token"),
        ("wrong", 401, "the one shown is another"),
        ("ingest-token", 403, "is that of ingest.token_file; this call takes that of admin.token_file"),
    ] {
        for (method, path) in [("PUT", "/v1/timing"), ("POST", "/v1/shutdown"), ("GET", "/v1/signals/stream")] {
            let answer = call(&daemon.address, method, path, token, &retime);
            assert_eq!(answer.status, status, "{method} {path} {token}: {answer:?}");
            assert!(answer.problem().contains(said), "{method} {path} {token}: {answer:?}");
        }
    }
    assert_eq!(call(&daemon.address, "PUT", "/v1/timing", "admin-token", &retime).status, 200);
    assert_eq!(call(&daemon.address, "POST", "/v1/signals", "admin-token", &key).status, 202);
}

#[test]
fn operators_can_have_addresses_of_their_own() {
    let sandbox = Sandbox::start(&[]);
    let mut daemon = start(&sandbox, &format!("{TOKENS}admin.listen = ['127.0.0.1:0']\ndrop_in.enabled = true"));
    daemon.process.until_logged(" INFO admin listening address=");
    let log = daemon.process.log();
    let admin = log.split(" INFO admin listening address=").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let admin = Address::parse(admin);
    let key = signal_of("c", "ann", "keystroke").to_string();
    assert_eq!(call(&daemon.address, "POST", "/v1/signals", "ingest-token", &key).status, 202);
    for path in ["/", "/console/main.js", "/metrics", "/v1/status", "/v1/drop_in", "/openapi.json", "/v1/timing"] {
        let away = call(&daemon.address, "GET", path, "", "");
        assert_eq!(away.status, 404, "never passed to Salesforce: {path}: {away:?}");
        assert_eq!(call(&admin, "GET", path, "admin-token", "").status, 200, "{path}");
    }
    assert_eq!(call(&admin, "GET", "/metrics", "ingest-token", "").status, 200);
    assert_eq!(call(&admin, "GET", "/metrics", "", "").status, 401);
    assert_eq!(admin.get("/healthz").status, 200);
    assert_eq!(daemon.address.get("/healthz").status, 200);
    // Neither token reaches Salesforce; and the drop-in is not here.
    assert_eq!(call(&daemon.address, "GET", "/api/v1/x", "admin-token", "").status, 403);
    assert_eq!(call(&admin, "POST", "/api/v1/interactions", "", "{}").status, 404);
    daemon.reconfigure(|text| text + "admin.console = false\n");
    until("no console", || admin.get("/").status == 404);
    daemon.process.stop();
}

#[test]
fn who_may_signal_the_process_reloads_without_a_token() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    for (name, admin) in [("one", ""), ("two", "admin.listen = ['127.0.0.1:0']\n")] {
        let socket = directory.path().join(name);
        let listen = format!("ingest.listen = ['unix:{}', '127.0.0.1:0']\n", socket.display());
        let daemon = start(&sandbox, &format!("{TOKENS}{listen}{admin}"));
        let url = format!("unix:{}", socket.display());
        let said = run(&["reload", "--url", &url]);
        assert_eq!((said.code, said.stdout.starts_with("nothing has changed")), (Some(0), true), "{said:?}");
        // That and nothing else; and not over TCP, where the kernel does not say who calls.
        let here = Address::Unix(socket);
        let (steering, over_tcp) = if admin.is_empty() { (401, 401) } else { (404, 404) };
        assert_eq!(here.call("POST", "/v1/shutdown", &[], b"").status, steering);
        assert_eq!(here.call("POST", "/v1/signals", &[JSON], b"[]").status, 401);
        let log = daemon.process.log();
        let tcp = log.split(" INFO listening address=").find(|rest| rest.starts_with("http:")).unwrap();
        let tcp = Address::parse(tcp.lines().next().unwrap());
        assert_eq!(tcp.call("POST", "/v1/reload", &[], b"").status, over_tcp);
        assert_eq!(tcp.get("/v1/reload").status, if admin.is_empty() { 405 } else { 404 });
    }
}

#[test]
fn one_token_for_both_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "t0ken").unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(&file, "ingest.token_file = 'token'\nadmin.token_file = 'token'\n").unwrap();
    let said = run(&["run", "--sandbox", "--config", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("admin.token_file holds the token of ingest.token_file"), "{said:?}");
}

#[test]
fn a_socket_gets_its_mode_and_both_families_one_port() {
    let sandbox = Sandbox::start(&[]);
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("typingd.sock");
    let settings = format!(
        "{TOKENS}ingest.listen = ['0.0.0.0:{port}', '[::]:{port}', 'unix:{}']\ningest.socket_mode = '0660'",
        socket.display()
    );
    let daemon = start(&sandbox, &settings);
    for address in [format!("http://127.0.0.1:{port}"), format!("http://[::1]:{port}")] {
        assert_eq!(Address::parse(&address).get("/healthz").status, 200, "{address}");
    }
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    drop(daemon);
}
