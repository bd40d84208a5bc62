//! The clients that the manual shows, run as a reader copies them: over TCP and over the Unix socket.

use std::path::Path;
use std::process::Command;

use crate::bench::{Daemon, Sandbox};
use crate::process::{exists, run_with, until};
use crate::wire::Address;

/// A client of the manual: its language there, the file that it is copied to, what runs it, and the end user in it.
struct Client {
    language: &'static str,
    file: &'static str,
    program: &'static str,
    from: &'static str,
}

const CLIENTS: [Client; 3] = [
    Client { language: "js", file: "client.mjs", program: "node", from: "cleo" },
    Client { language: "python", file: "client.py", program: "python3", from: "dora" },
    Client { language: "java", file: "Typingd.java", program: "java", from: "emma" },
];

/// The first code in `language` of a page.
fn code(page: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("{page}: no {language}"));
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The port that the manual names, and nothing else, is another.
fn at_port(text: &str, port: u16) -> String {
    assert!(text.contains("7480"), "{text}");
    text.replace("7480", &port.to_string())
}

/// A daemon with both kinds of address, in `directory` the socket; nothing goes off by itself.
fn both(sandbox: &Sandbox, directory: &Path) -> (Daemon, u16, String) {
    let socket = format!("{}/s", directory.display());
    let settings = format!("timing.dismiss_after = '1m'\ningest.listen = ['127.0.0.1:0', 'unix:{socket}']");
    let mut daemon = Daemon::start(&sandbox.address.url(), &settings);
    daemon.process.until_logged(" INFO ready");
    let port = match &daemon.address {
        Address::Tcp(address) => address.port(),
        Address::Unix(path) => panic!("{}", path.display()),
    };
    (daemon, port, socket)
}

#[test]
fn the_manual_s_clients_report_over_tcp_and_the_socket() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let (daemon, port, socket) = both(&sandbox, directory.path());
    for Client { language, file, program, from } in CLIENTS {
        if !exists(program) {
            println!("left out: {program} is not installed");
            continue;
        }
        let path = daemon.file(file);
        std::fs::write(&path, at_port(&code("docs/clients.md", language), port)).unwrap();
        for (over, told) in [(None, "+-"), (Some(&socket), "+-+-")] {
            // A machine that does much else may let a client's second pass: it says so, and the next try is as good.
            until(&format!("{program} over {over:?}"), || {
                let mut command = Command::new(program);
                command.arg(&path).env_remove("TYPINGD_SOCKET").envs(over.map(|socket| ("TYPINGD_SOCKET", socket)));
                let said = run_with(command, "");
                assert_eq!(said.code, Some(0), "{program}: {said:?}");
                let failed = said.stdout.contains("typingd:") || said.stderr.contains("typingd:");
                failed || said.stdout.matches("accepted").count() == 2
            });
            sandbox.until_told("support", from, told);
        }
    }
}

#[test]
fn the_manual_s_curl_reports_over_tcp_and_the_socket() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, port, socket) = both(&sandbox, directory.path());
    for (page, told) in [("docs/clients.md", "+-"), ("README.md", "+-+-")] {
        let text = if page == "README.md" { of_signals() } else { code(page, "sh") };
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(at_port(&text, port).replace("/run/typingd/typingd.sock", &socket).replace("-m 1", "-m 20"));
        let said = run_with(command, "");
        assert_eq!((said.code, said.stdout.matches("\"accepted\":1").count()), (Some(0), 2), "{page}: {said:?}");
        sandbox.until_told("support", "ann", told);
    }
}

/// The commands of the README's section on signals.
fn of_signals() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n### Signals\n").unwrap();
    let (_, rest) = section.split_once("```sh\n").unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn a_client_of_the_manual_outlives_a_daemon_that_is_down() {
    // Bound, and never listened on: whoever connects is refused.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let directory = tempfile::tempdir().unwrap();
    for Client { language, file, program, .. } in CLIENTS {
        if !exists(program) {
            println!("left out: {program} is not installed");
            continue;
        }
        let path = directory.path().join(file);
        std::fs::write(&path, at_port(&code("docs/clients.md", language), port)).unwrap();
        for over in [None, Some("/nowhere/typingd.sock")] {
            let mut command = Command::new(program);
            command.arg(&path).env_remove("TYPINGD_SOCKET").envs(over.map(|socket| ("TYPINGD_SOCKET", socket)));
            let said = run_with(command, "");
            let text = said.stdout.clone() + &said.stderr;
            assert_eq!((said.code, text.matches("typingd: ").count()), (Some(0), 2), "{program}: {said:?}");
        }
    }
}
