//! The configuration as an operator meets it: what is wrong with it, what is in force, and changing it on the fly.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::json;

use crate::bench::{Sandbox, pair, signal_of};
use crate::key;
use crate::process::{Process, Said, run, run_with, typingd, until};

const UPSTREAM: &str = "[upstream]\nbase_url = 'http://127.0.0.1:1'\norg_id = '00DXX0000000001'\n\
                        authorization_context = 'A_B'\n";

fn write(directory: &Path, text: &str) -> String {
    let file = directory.join("typingd.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// `typingd check` with these variables.
fn check(file: &str, variables: &[(&str, &str)]) -> Said {
    let mut command = typingd(&["check", "--config", file]);
    command.envs(variables.iter().copied());
    run_with(command, "")
}

#[test]
fn all_problems_are_reported_at_once_and_nothing_listens() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{UPSTREAM}auth.token_file = 'token'\n[timing]\ncheck_interval = 5\ndismiss = 'idel'\ndismis_after = '1s'\n\
         [ingest]\nlisten = ['0.0.0.0:0']\nclient_secret = 's3cret'\n[nothing]\nx = 1\n"
    );
    let file = write(directory.path(), &text);
    for command in ["run", "check"] {
        let said = run(&[command, "--config", &file]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""), "{said:?}");
        let lines: Vec<_> = said.stderr.lines().filter(|line| !line.contains("warning: ")).collect();
        let expected = [
            (7, "timing.check_interval"),
            (8, "timing.dismiss"),
            (9, "dismiss_after"),
            (11, "ingest.token_file"),
            (12, "client_secret"),
            (13, "[nothing]"),
        ];
        assert_eq!(lines.len(), expected.len(), "{said:?}");
        for (line, (number, words)) in lines.iter().zip(expected) {
            assert!(line.starts_with(&format!("typingd: {file}:{number}: ")) && line.contains(words), "{line}");
        }
        assert!(!said.stderr.contains("s3cret"), "{said:?}");
    }
}

#[test]
fn files_that_the_configuration_names_must_be_usable() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("empty"), "\n").unwrap();
    std::fs::write(path("words"), "two words").unwrap();
    std::fs::write(path("key.pem"), key::private()).unwrap();
    let jwt = "[upstream.auth.jwt_bearer]\ntoken_url = 'http://127.0.0.1:1/t'\nconsumer_key = 'k'\nsubject = 's'\n\
               audience = 'https://login.salesforce.com'\n";
    let token = "auth.token_file = 'token'\n";
    let cases = [
        ("no upstream", "[timing]\n".to_owned(), "upstream.base_url"),
        ("no TOML", "[timing\n".to_owned(), "typingd.toml:1:"),
        ("no key file", format!("{UPSTREAM}{jwt}private_key_file = 'none.pem'\n"), "none.pem can't be read"),
        ("a directory for a key", format!("{UPSTREAM}{jwt}private_key_file = '.'\n"), "can't be read"),
        ("no key in it", format!("{UPSTREAM}{jwt}private_key_file = 'words'\n"), "words is no RSA key"),
        ("no roots", format!("{UPSTREAM}ca_file = 'none.pem'\n{token}"), "none.pem"),
        ("no root in it", format!("{UPSTREAM}ca_file = 'words'\n{token}"), "words"),
        ("no callers' token", format!("{UPSTREAM}{token}[ingest]\ntoken_file = 'none'\n"), "none: can't be read"),
        ("an empty one", format!("{UPSTREAM}{token}[ingest]\ntoken_file = 'empty'\n"), "empty: is empty"),
        ("two of them", format!("{UPSTREAM}{token}[ingest]\ntoken_file = 'words'\n"), "more than one token"),
        ("two ways", format!("{UPSTREAM}{token}{jwt}private_key_file = 'key.pem'\n"), "are both set"),
    ];
    for (name, text, words) in cases {
        let file = write(directory.path(), &text);
        let said = run(&["run", "--config", &file, "--listen", "127.0.0.1:0"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(78), ""), "{name}: {said:?}");
        assert!(said.stderr.contains(words), "{name}: {said:?}");
        assert!(!said.stderr.contains("listening") && !said.stderr.contains("panicked"), "{name}: {said:?}");
    }
    let missing = run(&["run", "--config", &path("nowhere.toml")]);
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("nowhere.toml: it does not exist"), "{missing:?}");
    let flag = run(&["run", "--sandbox", "--listen", "localhost"]);
    assert_eq!(flag.code, Some(2));
    assert!(flag.stderr.contains("flag --listen") && flag.stderr.contains("\"localhost\""), "{flag:?}");
}

#[test]
fn check_finds_what_would_keep_run_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "t").unwrap();
    let jwt = "[upstream.auth.jwt_bearer]\ntoken_url = 'http://127.0.0.1:1/t'\nconsumer_key = 'k'\nsubject = 's'\n\
               audience = 'https://login.salesforce.com'\nprivate_key_file = 'none.pem'\n";
    let long = format!("listen = ['unix:/{}']", "x".repeat(107));
    for (name, text, line, words) in [
        ("a key", format!("{UPSTREAM}{jwt}[ingest]\ntoken_file = 'none'\n"), 10, "none.pem can't be read"),
        (
            "a token",
            format!("{UPSTREAM}auth.token_file = 'token'\n[ingest]\ntoken_file = 'none'\n"),
            7,
            "none: can't be read",
        ),
        (
            "roots",
            format!("{UPSTREAM}auth.token_file = 'token'\nca_file = 'none'\n"),
            6,
            "can't take roots from upstream.ca_file",
        ),
        ("a socket", format!("{UPSTREAM}auth.token_file = 'token'\n[ingest]\n{long}\n"), 7, "at most 107 bytes"),
    ] {
        let file = write(directory.path(), &text);
        for command in ["check", "run"] {
            let said = run(&[command, "--config", &file]);
            assert_eq!(said.code, Some(78), "{name}: {said:?}");
            let found =
                said.stderr.lines().any(|told| told.contains(&format!("{file}:{line}: ")) && told.contains(words));
            assert!(found, "{name}: {said:?}");
        }
    }
    // Not kept from starting, and warned of.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let [live, stale] = ["live", "stale"].map(|name| directory.path().join(name));
    let _live = UnixListener::bind(&live).unwrap();
    drop(UnixListener::bind(&stale).unwrap());
    let (live, stale) = (live.display(), stale.display());
    for (line, text, words) in [
        (7, "[delivery]\nstate_dir = 'token'", "delivery.state_dir "),
        (7, "[delivery]\nstate_dir = 'token/below/it'", "token can't be used: not a directory"),
        (7, "[delivery]\nstate_dir = '/proc/typingd'", "as /proc can't be used: no files can be made there"),
        (5, "", "upstream.auth.token_file: can't read "),
        (7, "[ingest]\nlisten = ['unix:/run/typingd-of-a-test/s']", "its directory does not exist; systemd makes one"),
        (7, &format!("[ingest]\nlisten = ['{taken}']"), "another process listens there, perhaps a typingd"),
        (7, &format!("[ingest]\nlisten = ['unix:{stale}', 'unix:{live}']"), "/live: address in use: another process"),
    ] {
        let token = if text.is_empty() { "none" } else { "token" };
        let file = write(directory.path(), &format!("{UPSTREAM}auth.token_file = '{token}'\n{text}\n"));
        let said = check(&file, &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let warned = |told: &&str| told.contains(&format!("warning: {file}:{line}: ")) && told.contains(words);
        assert_eq!(said.stderr.lines().filter(warned).count(), 1, "{words}: {said:?}");
        assert!(!said.stderr.contains("/stale"), "{said:?}");
        assert!(said.stderr.ends_with("typingd: valid\n"), "{said:?}");
    }
}

#[test]
fn one_wrong_value_hides_no_wrong_file() {
    let directory = tempfile::tempdir().unwrap();
    let jwt = "[upstream.auth.jwt_bearer]\ntoken_url = 'http://127.0.0.1:1/t'\nconsumer_key = 'k'\nsubject = 's'\n\
               audience = 'https://login.salesforce.com'\nprivate_key_file = 'none.pem'\n";
    let rest = "[ingest]\ntoken_file = 'none'\n[admin]\ntoken_file = 'nor'\nlisten = ['unix:/nowhere/s']\n\
                [delivery]\nstate_dir = '/proc/typingd'\n[store]\nurl = 'redis://127.0.0.1:1'\npassword_file = 'no'\n\
                [timing]\ncheck_interval = 5\n";
    let file = write(directory.path(), &format!("{UPSTREAM}ca_file = 'roots'\n{jwt}{rest}"));
    let at = |line: usize| format!("{file}:{line}: ");
    let problems = [
        (5, "upstream.ca_file "),
        (11, "upstream.auth.jwt_bearer.private_key_file "),
        (13, "ingest.token_file "),
        (15, "admin.token_file "),
        (23, "timing.check_interval = 5: "),
    ];
    let run = run(&["run", "--config", &file]);
    assert_eq!((run.code, run.stderr.lines().count()), (Some(78), problems.len()), "{run:?}");
    for ((line, words), told) in problems.iter().zip(run.stderr.lines()) {
        assert!(told.starts_with(&format!("typingd: {}", at(*line))) && told.contains(words), "{words}: {told}");
    }
    let check = check(&file, &[]);
    let (warned, told): (Vec<_>, Vec<_>) = check.stderr.lines().partition(|line| line.contains("warning: "));
    let own: Vec<_> = told.iter().filter(|line| line.contains(&at(16))).collect();
    assert!(own.len() == 1 && own[0].contains("admin.listen: can't listen on unix:/nowhere/s"), "{check:?}");
    assert!(run.stderr.lines().all(|line| told.contains(&line)) && told.len() == problems.len() + 1, "{check:?}");
    for (line, words) in [(18, "delivery.state_dir "), (21, "store.password_file ")] {
        assert!(warned.iter().any(|told| told.contains(&at(line)) && told.contains(words)), "{check:?}");
    }

    let (_sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    daemon.reconfigure(|text| {
        text + "timing.check_interval = 5\ningest.token_file = 'none'\nupstream.ca_file = 'none'\n"
    });
    daemon.process.until_logged("the configuration is wrong: nothing has been changed problems=3");
    for key in ["timing.check_interval = 5", "ingest.token_file ", "upstream.ca_file "] {
        assert!(daemon.process.log().contains(key), "{key}: {}", daemon.process.log());
    }
    daemon.process.stop();
}

#[test]
fn two_names_of_one_socket_are_found() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "t").unwrap();
    std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).unwrap();
    let place = directory.path().display();
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    for other in [format!("{place}/../{name}/s"), format!("{place}/link/s")] {
        for (line, listen) in [
            (6, format!("[ingest]\nlisten = ['unix:{place}/s', 'unix:{other}']\n")),
            (7, format!("ingest.listen = ['unix:{place}/s']\n[admin]\nlisten = ['unix:{other}']\n")),
        ] {
            let text = UPSTREAM.replace("[upstream]\n", "").replace("\n", "\nupstream.");
            let text = format!("upstream.{text}auth.token_file = 'token'\n{listen}");
            let file = write(directory.path(), &text);
            for command in ["check", "run"] {
                let said = run(&[command, "--config", &file]);
                let words = format!("listen: unix:{other} and unix:{place}/s are one path; expected one of them");
                assert!(said.code == Some(78) && said.stderr.contains(&words), "{words}: {said:?}");
                assert!(said.stderr.contains(&format!("{file}:{line}: ")), "{said:?}");
            }
        }
    }
}

#[test]
fn check_finds_addresses_that_run_can_t_listen_on() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "t").unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    // 198.51.100.0/24 is for documentation.
    for (key, address, words) in [
        ("ingest.listen", format!("unix:{}", at("none/s")), "its directory does not exist"),
        ("ingest.listen", format!("unix:{}", at("token/s")), "what should be its directory is a file"),
        ("admin.listen", format!("unix:{}", at("token")), "a file that is not a socket has that name"),
        ("ingest.listen", "198.51.100.1:7480".to_owned(), "this machine has no such address"),
        ("admin.listen", "198.51.100.1:0".to_owned(), "this machine has no such address"),
    ] {
        let (table, name) = key.split_once('.').unwrap();
        let listen = format!("[{table}]\ntoken_file = 'token'\n{name} = ['{address}']\n");
        let file = write(directory.path(), &format!("{UPSTREAM}auth.token_file = 'token'\n{listen}"));
        let said = check(&file, &[]);
        assert_eq!((said.code, said.stderr.lines().count()), (Some(78), 1), "{said:?}");
        assert!(said.stderr.contains(&format!("typingd: {file}:8: {key}: can't listen on ")), "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        let run = run(&["run", "--config", &file]);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains(words), "{words}: {run:?}");
    }
    // Nothing is left behind, and nothing is changed.
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn check_online_tries_the_way_and_the_token_and_no_icon() {
    let sandbox = Sandbox::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key.pem"), key::private()).unwrap();
    let configuration = |base_url: &str, token_url: &str| {
        format!(
            "[upstream]\nbase_url = '{base_url}'\norg_id = '00DXX0000000001'\nauthorization_context = 'A_B'\n\
             [upstream.auth.jwt_bearer]\ntoken_url = '{token_url}'\nconsumer_key = 'k'\nsubject = 's'\n\
             audience = 'https://login.salesforce.com'\nprivate_key_file = 'key.pem'\n"
        )
    };
    let url = sandbox.address.url();
    let online = |text: &str| run(&["check", "--online", "--config", &write(directory.path(), text)]);
    let good = online(&configuration(&url, &format!("{url}/services/oauth2/token")));
    assert_eq!(good.code, Some(0), "{good:?}");
    for words in [format!("upstream: {url} answers after "), "token: in hand after ".to_owned(), "valid\n".to_owned()] {
        assert!(good.stderr.contains(&words), "{words}: {good:?}");
    }
    assert_eq!(sandbox.requests().len(), 0, "no icon");

    let bad = online(&configuration("http://127.0.0.1:1", &format!("{url}/nowhere")));
    assert_eq!(bad.code, Some(1), "{bad:?}");
    for words in [
        "typingd.toml:2: upstream.base_url http://127.0.0.1:1 can't be reached: ",
        "there is no token: the token endpoint answered 404",
    ] {
        assert!(bad.stderr.contains(words), "{words}: {bad:?}");
    }
    assert!(!bad.stderr.contains("typingd: valid"), "{bad:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [["run", "--sandbox", "--listen", &address].as_slice(), &["sandbox", "--listen", &address]] {
        let said = run(arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(&format!("can't listen on http://{address}")), "{said:?}");
    }
}

#[test]
fn check_prints_what_it_would_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{UPSTREAM}auth.token_file = 'token'\n[timing]\ncheck_interval = '90s'\n[channels.\"a \\\"b\\\" ü\"]\n\
         dismiss = 'after_shown'\n[ingest]\nlisten = ['127.0.0.1:7000', 'unix:{}/t.sock']\nmax_body = '64KiB'\n",
        directory.path().display()
    );
    let file = write(directory.path(), &text);
    let first = check(&file, &[("TYPINGD_TIMING__DISMISS_AFTER", "1500ms")]);
    assert_eq!(first.code, Some(0), "{first:?}");
    let again = tempfile::tempdir().unwrap();
    let second = check(&write(again.path(), &first.stdout), &[]);
    assert_eq!(second.code, Some(0), "{second:?}");
    // The values without the comments, which say where they came from.
    let values = |text: &str| -> Vec<_> {
        text.lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&first.stdout), values(&second.stdout));
    for (setting, origin) in [
        ("check_interval = \"90s\"", format!("{file}:7")),
        ("dismiss_after = \"1500ms\"", "environment variable TYPINGD_TIMING__DISMISS_AFTER".to_owned()),
        ("max_typing = \"5m\"", "default".to_owned()),
    ] {
        let found = first.stdout.lines().any(|line| line.starts_with(setting) && line.ends_with(&origin));
        assert!(found, "no {setting} of {origin} in\n{}", first.stdout);
    }
    assert!(first.stderr.contains("if no user paused, "), "{first:?}");
    let text = format!("{UPSTREAM}auth.token_file = 'token'\n[timing]\ndismiss = 'after_shown'\n");
    let gaps = check(&write(directory.path(), &text), &[]);
    assert!(
        gaps.stderr.contains("warning: timing: dismiss < check: the icon can be on at most 40 % of the time"),
        "{gaps:?}"
    );
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "[ingest]\nlisten = ['0.0.0.0:1']\n[timing]\ncheck_interval = '7s'\n");
    let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
    command.envs([("TYPINGD_CONFIG", file.as_str()), ("TYPINGD_INGEST__LISTEN", "0.0.0.0:2")]);
    let mut process = Process::start(command);
    let address = process.address();
    assert_eq!(address.get("/healthz").status, 200);
    process.stop();

    let wrong = check(&file, &[("TYPINGD_TIMING__CHEK_INTERVAL", "1s"), ("TYPINGD_TIMING__DISMISS", "x")]);
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    for words in ["TYPINGD_TIMING__CHECK_INTERVAL?", "variable TYPINGD_TIMING__DISMISS: timing.dismiss = \"x\""] {
        assert!(wrong.stderr.contains(words), "{words}: {wrong:?}");
    }
}

#[test]
fn variables_of_other_programs_are_logged_at_debug() {
    let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
    // Of Cargo and images; of Kubernetes, for services named typingd, typingd-log and typingd--timing.
    let foreign = [
        "TYPINGD_BUILD_COMMIT",
        "TYPINGD_VERSION",
        "TYPINGD_SOCKET",
        "TYPINGD_PORT_7480_TCP_ADDR",
        "TYPINGD_LOG_PORT",
        "TYPINGD__TIMING_SERVICE_HOST",
        "TYPINGD__TIMING_PORT",
    ];
    command.envs(foreign.map(|name| (name, "10.0.0.1"))).env("TYPINGD_LOG__LEVEL", "debug");
    let mut process = Process::start(command);
    process.address();
    for name in foreign {
        process.until_logged(&format!("environment variable {name} is not typingd's"));
    }
    process.stop();

    let mut command = typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]);
    command.envs([("TYPINGD_LOG_LEVEL", "debug"), ("TYPINGD_VERSION", "1")]);
    let said = run_with(command, "");
    assert_eq!(said.code, Some(78), "{said:?}");
    let right =
        "typingd: environment variable TYPINGD_LOG_LEVEL: there is no key for it; did you mean TYPINGD_LOG__LEVEL?\n";
    assert_eq!(said.stderr, right);
}

#[test]
fn a_timing_change_reaches_live_conversations_or_nothing() {
    let (sandbox, mut daemon) = pair("timing.dismiss_after = '1m'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");

    daemon.reconfigure(|text| text.replace("'1m'", "'100ms'\ntiming.check_interval = 5"));
    daemon.process.until_logged("the configuration is wrong: nothing has been changed");
    assert!(daemon.process.log().contains("typingd.toml:6: timing.check_interval = 5"), "{}", daemon.process.log());
    daemon.give("c", "bob", "keystroke");
    sandbox.until_told("c", "bob", "+");
    assert_eq!(sandbox.told("c", "ann"), "+");

    daemon.reconfigure(|text| text.replace("\ntiming.check_interval = 5", ""));
    daemon.process.until_logged("timing.dismiss_after: \"1m\" -> \"100ms\"");
    for from in ["ann", "bob"] {
        sandbox.until_told("c", from, "+-");
    }
    // Still the same daemon, with the new timing.
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-+-");
    daemon.reconfigure(|_| "[timing".to_owned());
    until("a second refusal", || daemon.process.log().matches("nothing has been changed").count() == 2);
    assert_eq!(
        daemon.post("/v1/signals", &signal_of("c", "ann", "keystroke")).json(),
        json!({"accepted": 1, "rejected": []})
    );
    daemon.process.stop();
    assert_eq!(sandbox.shown(), 0);
}
