//! Configurations that are wrong, and what is told of them.

use super::*;

#[test]
fn a_wrong_value_is_reported_with_place_and_expectation() {
    let time = r#"expected a time from "1ms" to "1h" (units h, m, s, ms)"#;
    let text = "expected a text of 1 to 1024 bytes without control characters and outer spaces";
    let long = format!("org_id = \"{}\"", "x".repeat(200));
    let long_told = format!(
        "F:2: upstream.org_id = \"{}…\": expected 15 or 18 letters and digits that start with 00D",
        "x".repeat(80)
    );
    let cases: &[(&str, &str, &str)] = &[
        (
            "timing",
            "check_interval = 5",
            r#"F:2: timing.check_interval = 5: a time needs a unit (h, m, s, ms); expected "5s" or "5ms""#,
        ),
        ("timing", "check_interval = 5.5", &format!("F:2: timing.check_interval = 5.5: {time}")),
        ("timing", "check_interval = '5 s'", &format!("F:2: timing.check_interval = \"5 s\": {time}")),
        (
            "timing",
            "check_interval = \"a\\nb\\u001b\"",
            &format!("F:2: timing.check_interval = \"a\\nb\\u001B\": {time}"),
        ),
        (
            "timing",
            "check_interval = '0s'",
            r#"F:2: timing.check_interval = "0s": expected a time from "1ms" to "1h" (units h, m, s, ms)"#,
        ),
        ("timing", "check_interval = 1979-05-27", &format!("F:2: timing.check_interval = a date: {time}")),
        ("timing", "check_interval = {a = 1}", &format!("F:2: timing.check_interval = a table: {time}")),
        ("timing", "dismiss = 'idel'", r#"F:2: timing.dismiss = "idel": expected "idle" or "after_shown""#),
        (
            "timing",
            "dismiss = '3s'",
            r#"F:2: timing.dismiss = "3s": expected "idle" or "after_shown"; how long the icon stays on is dismiss_after"#,
        ),
        (
            "channels.a",
            "dismiss = 3",
            r#"F:2: channels."a".dismiss = 3: expected "idle" or "after_shown"; how long the icon stays on is dismiss_after"#,
        ),
        (
            "timing",
            "dismiss_after = 'idle'",
            &format!("F:2: timing.dismiss_after = \"idle\": {time}; the mode is dismiss"),
        ),
        (
            "timing",
            "require_open = 'yes'",
            r#"F:2: timing.require_open = "yes": expected true or false, without quotes"#,
        ),
        ("timing", "max_typing = '1s'", r#"F:2: timing.max_typing = "1s": expected at least dismiss_after, "2s""#),
        ("timing", "dismiss_after = '6m'", r#"F:2: timing.max_typing = "5m": expected at least dismiss_after, "6m""#),
        (
            "channels.a",
            "\n\ndismiss_after = '6m'",
            r#"F:4: channels."a".max_typing = "5m": expected at least dismiss_after, "6m""#,
        ),
        (
            "channels.a",
            "check_interval = 1",
            r#"F:2: channels."a".check_interval = 1: a time needs a unit (h, m, s, ms); expected "1s" or "1ms""#,
        ),
        (
            "channels.a",
            "chek_interval = '1s'",
            r#"F:2: channels."a": there is no key chek_interval for a single channel; did you mean check_interval?"#,
        ),
        ("channels.a", "org_id = 'x'", r#"F:2: channels."a": there is no key org_id for a single channel"#),
        ("channels", "a = 5", r#"F:2: channels."a" is a table; expected [channels."a"] on a line of its own"#),
        ("channels", "'' = {}", r#"F:2: channels."": the channel address is empty; expected 1 to 240 characters"#),
        ("upstream", "max_in_flight = 0", "F:2: upstream.max_in_flight = 0: expected a whole number from 1 to 10000"),
        ("upstream", "max_in_flight = -1", "F:2: upstream.max_in_flight = -1: expected a whole number from 1 to 10000"),
        (
            "upstream",
            "max_in_flight = 99999999999999999999",
            "F:2: upstream.max_in_flight = 99999999999999999999: expected a whole number from 1 to 10000",
        ),
        (
            "upstream",
            "max_in_flight = '5'",
            r#"F:2: upstream.max_in_flight = "5": expected a whole number from 1 to 10000"#,
        ),
        ("upstream", &long, &long_told),
        (
            "upstream",
            "org_id = '00DXX0000000001!AQ.secret'",
            "F:2: upstream.org_id = (what looks like a secret): expected 15 or 18 letters and digits that start with 00D",
        ),
        (
            "upstream",
            "org_id = '00Dxx00000000012AA'",
            r#"F:2: upstream.org_id = "00Dxx00000000012AA": the last three characters are a checksum of the first 15, in which capitals count; expected EAA for these, or the 15 alone"#,
        ),
        (
            "upstream",
            "authorization_context = 'a b'",
            r#"F:2: upstream.authorization_context = "a b": expected up to 1024 visible ASCII characters without spaces"#,
        ),
        (
            "upstream",
            "base_url = 'http://h'",
            r#"F:2: upstream.base_url = "http://h": expected an https address, or plain http to a loopback address, without user name, password, query and fragment"#,
        ),
        (
            "upstream",
            "base_url = 'ftp://h'",
            r#"F:2: upstream.base_url = "ftp://h": expected an https address, or plain http to a loopback address, without user name, password, query and fragment"#,
        ),
        (
            "upstream",
            "base_url = 'h'",
            r#"F:2: upstream.base_url = "h": expected an https address, or plain http to a loopback address, without user name, password, query and fragment"#,
        ),
        (
            "upstream",
            "base_url = 'https://u:secret@h'",
            "F:2: upstream.base_url = (not shown): it has a user name or a password, before @; expected an https address, or plain http to a loopback address, without user name, password, query and fragment",
        ),
        (
            "upstream",
            "base_url = 'https://h?t=secret'",
            "F:2: upstream.base_url = (not shown): it has a query, from ? on; expected an https address, or plain http to a loopback address, without user name, password, query and fragment",
        ),
        (
            "upstream.auth.jwt_bearer",
            "subject = ' '",
            &format!("F:2: upstream.auth.jwt_bearer.subject = \" \": {text}"),
        ),
        (
            "upstream.auth.jwt_bearer",
            "private_key_file = '''-----BEGIN secret\n'''",
            "F:2: upstream.auth.jwt_bearer.private_key_file = (what looks like a secret): expected the path of a file that holds the secret; move it there, and replace it",
        ),
        ("upstream", "auth = 'secret'", "F:2: upstream.auth is a table; expected [upstream.auth] on a line of its own"),
        (
            "upstream",
            "password = 'secret'",
            "F:2: there is no key upstream.password (secrets come from files: token_file, private_key_file)",
        ),
        (
            "ingest",
            "token = 'secret'",
            "F:2: there is no key ingest.token; did you mean ingest.token_file? (secrets come from files: token_file, private_key_file)",
        ),
        (
            "ingest",
            "socket_mode = 660",
            "F:2: ingest.socket_mode = 660: expected a file mode in quotes, such as \"0660\"",
        ),
        (
            "admin",
            "listen = ['127.0.0.1:7480']",
            "F:2: admin.listen: http://127.0.0.1:7480 is in ingest.listen too; expected other addresses, or [] to share",
        ),
        (
            "admin",
            "listen = ['0.0.0.0:80']",
            "F:2: admin.listen: http://0.0.0.0:80 can be reached from other machines; expected admin.token_file beside it, or an address of this machine alone (127.0.0.1, [::1], unix:/path)",
        ),
        ("ingest", "token_file = ''", r#"F:2: ingest.token_file = "": expected the path of a file or directory"#),
        (
            "ingest",
            "token_file = '${HOME}/t'",
            r#"F:2: ingest.token_file = "${HOME}/t": ${CREDENTIALS_DIRECTORY} alone is understood in paths"#,
        ),
        (
            "ingest",
            "listen = '127.0.0.1:1'",
            r#"F:2: ingest.listen = "127.0.0.1:1": expected a list such as ["127.0.0.1:7480", "unix:/path"]"#,
        ),
        (
            "ingest",
            "listen = []",
            "F:2: ingest.listen = []: expected a list such as [\"127.0.0.1:7480\", \"unix:/path\"]",
        ),
        (
            "ingest",
            "listen = [7480]",
            "F:2: ingest.listen = [7480]: 7480 is not an address; expected an IP address with a port (127.0.0.1:7480) or unix:/path",
        ),
        (
            "ingest",
            "listen = ['localhost']",
            r#"F:2: ingest.listen = ["localhost"]: "localhost" is not an address; expected an IP address with a port (127.0.0.1:7480) or unix:/path"#,
        ),
        (
            "ingest",
            "listen = ['127.0.0.1:1', '127.0.0.1:1']",
            r#"F:2: ingest.listen = ["127.0.0.1:1", "127.0.0.1:1"]: "127.0.0.1:1" is given twice; expected it once"#,
        ),
        (
            "ingest",
            "listen = ['[::ffff:127.0.0.1]:1', '127.0.0.1:1']",
            r#"F:2: ingest.listen = ["[::ffff:127.0.0.1]:1", "127.0.0.1:1"]: "127.0.0.1:1" is given twice; expected it once"#,
        ),
        (
            "ingest",
            "listen = ['0.0.0.0:80']",
            "F:2: ingest.listen: http://0.0.0.0:80 can be reached from other machines; expected ingest.token_file beside it, or an address of this machine alone (127.0.0.1, [::1], unix:/path)",
        ),
        (
            "ingest",
            "max_body = '1MB'",
            r#"F:2: ingest.max_body = "1MB": expected a size from "1KiB" to "64MiB" (units B, KiB, MiB, GiB)"#,
        ),
        (
            "ingest",
            "max_body = 5",
            r#"F:2: ingest.max_body = 5: expected a size from "1KiB" to "64MiB" (units B, KiB, MiB, GiB)"#,
        ),
        ("drop_in", "shadow = true", "F:2: drop_in.shadow = true: expected drop_in.enabled = true beside it"),
        (
            "upstream",
            "base_url = 'http://localhost:7480/'\n[drop_in]\nenabled = true",
            "F:2: upstream.base_url = \"http://localhost:7480\": typingd listens there itself, and would pass requests on to itself; expected the address of the Interaction Service",
        ),
        (
            "ingest",
            "token_file = '/t'\nlisten = ['127.0.0.1:1', '0.0.0.0:2']\n[drop_in]\nenabled = true",
            "F:5: drop_in.enabled = true: http://0.0.0.0:2 of ingest.listen can be reached from other machines, and callers of /api/v1/ show Salesforce's token, which typingd can't check; expected addresses of this machine alone (127.0.0.1, [::1], unix:/path)",
        ),
        (
            "drop_in",
            "settle = '2m'",
            r#"F:2: drop_in.settle = "2m": expected a time from "0s" to "1m" (units h, m, s, ms)"#,
        ),
        #[cfg(not(feature = "otlp"))]
        (
            "log",
            "otlp_endpoint = 'https://h'",
            "F:2: log.otlp_endpoint needs a typingd that was built with the feature otlp; remove it, or use such a build",
        ),
        #[cfg(feature = "otlp")]
        (
            "log",
            "otlp_endpoint = 'http://h'",
            "F:2: log.otlp_endpoint = \"http://h\": expected an https address, or plain http to a loopback address, without user name, password, query and fragment",
        ),
        ("timming", "x = 1", "F:1: there is no table [timming]; did you mean [timing]?"),
        ("nothing.like.it", "x = 1", "F:1: there is no table [nothing]"),
        (
            "timing",
            "dismis_after = '1s'",
            "F:2: there is no key timing.dismis_after; did you mean timing.dismiss_after?",
        ),
        (
            "ingest",
            "check_interval = '1s'",
            "F:2: there is no key ingest.check_interval; did you mean timing.check_interval?",
        ),
        ("log", "zzz = 1", "F:2: there is no key log.zzz"),
        ("log", "level = ", "F:2:9: string values must be quoted, expected literal string"),
        ("log", "level = 'info'\nlevel = 'info'", "F:3:1: duplicate key"),
    ];
    for (table, line, told) in cases {
        let (file, overrides) = sandbox(&format!("[{table}]\n{line}\n"));
        assert_eq!(file.told(&overrides), [*told], "[{table}] {line}");
    }
}

#[test]
fn a_real_upstream_is_asked_for_in_full() {
    let file = File::new("");
    assert_eq!(
        file.told(&file.overrides()),
        [
            "F: upstream.base_url is missing: write base_url = \"https://mydomain.my.salesforce-scrt.com\" under [upstream] (no org at hand? typingd run --sandbox needs none)",
            "F: upstream.org_id is missing: write org_id = \"00DXX0000000001\" under [upstream]",
            "F: upstream.authorization_context is missing: write authorization_context = \"Partner1_ChannelDefinition1\" under [upstream]",
            "F: upstream.auth is missing: write upstream.auth.token_file, or the keys of [upstream.auth.jwt_bearer]",
        ]
    );
    let file = File::new(format!("{UPSTREAM}auth.jwt_bearer.subject = 'me'\n"));
    let both = "F:5: upstream.auth.token_file and [upstream.auth.jwt_bearer] (F:6) are both set; expected one of them; \
                [upstream.auth.jwt_bearer] lacks token_url, consumer_key, audience, private_key_file";
    assert_eq!(file.told(&file.overrides()), [both]);
    let file = File::new(UPSTREAM.replace("token_file='/t'", "jwt_bearer.subject='me'"));
    let told = file.told(&file.overrides());
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("F: upstream.auth.jwt_bearer.token_url is missing: write token_url = "));
}

#[test]
fn all_problems_are_told_at_once_in_order() {
    let file = File::new("[timing]\nmax_typing = 1\ncheck_interval = 2\nnope = 3\n[log]\nlevel = 'x'\n");
    let mut overrides = file.overrides();
    overrides.environment.push(environment("TYPINGD_INGEST__MAX_BODY", "x"));
    overrides.flags.push(Flag { name: "--listen", key: "ingest.listen", value: "x".into() });
    let places: Vec<_> =
        file.told(&overrides).iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        places[..6],
        [
            "F:2: timing.max_typing = 1",
            "F:3: timing.check_interval = 2",
            "F:4: there is no key timing.nope",
            "F:6: log.level = \"x\"",
            "environment variable TYPINGD_INGEST__MAX_BODY: ingest.max_body = \"x\"",
            "flag --listen: ingest.listen = [\"x\"]",
        ]
    );
    assert_eq!(places.len(), 10, "and the four of the upstream");
    let mut problems = load(&overrides).unwrap_err();
    let origins = |problems: &[Problem]| problems.iter().map(|problem| problem.origin.clone()).collect::<Vec<_>>();
    let in_order = origins(&problems);
    problems.reverse();
    Problem::sort(&mut problems);
    assert_eq!(origins(&problems), in_order, "whoever finds more of them puts them in the same order");
}

#[test]
fn values_at_their_bounds_are_right() {
    let (_file, overrides) = sandbox("[timing]\ndismiss_after = '5m'\nmax_typing = '5m'\n");
    assert!(load(&overrides).is_ok());
    let (_file, overrides) = sandbox(&" ".repeat(2 << 20));
    assert!(load(&overrides).is_ok(), "a file of 2 MiB");
    let (file, overrides) = sandbox(&" ".repeat((2 << 20) + 1));
    assert_eq!(file.told(&overrides).len(), 1);
    for (value, hint) in [("idle", true), ("x", false)] {
        let (file, overrides) = sandbox(&format!("[timing]\ndismiss_after = '{value}'\n"));
        assert_eq!(file.told(&overrides)[0].contains("the mode is dismiss"), hint, "{value}");
    }
}

#[test]
fn each_kind_of_value_has_its_bounds() {
    let upstream = |from: &str, to: &str| File::new(UPSTREAM.replace(from, to));
    let ingest = |line: &str| File::new(format!("[ingest]\n{line}\n"));
    let text = |value: &str| File::new(GOOD.replace("3MVG9", value));
    let socket = |bytes: usize| ingest(&format!("listen = ['unix:/{}']", "s".repeat(bytes - 1)));
    let mode = |mode: &str| ingest(&format!("socket_mode = '{mode}'"));
    let org = |id: &str| upstream("00DXX0000000001", id);
    let connect = |to: &str| upstream("'https://h'", &format!("'https://h'\nconnect_to='{to}'"));
    let in_sandbox = [
        ("a mode", mode("0660"), true),
        ("a mode without 0", mode("660"), true),
        ("a mode of four digits", mode("06600"), false),
        ("a mode of two digits", mode("66"), false),
        ("a mode beyond 7", mode("0680"), false),
        ("a path that a socket may have", socket(107), true),
        ("a longer one", socket(108), false),
    ];
    let with_upstream = [
        ("a text", text("x".repeat(1_024).as_str()), true),
        ("a longer text", text("x".repeat(1_025).as_str()), false),
        ("an empty text", text(""), false),
        ("a text with a space before it", text(" a"), false),
        ("a text with a control character", text("a\\u0007b"), false),
        ("an id of 15", org("00DXX0000000001"), true),
        ("an id of 14", org("00DXX000000001"), false),
        ("an id of 16", org("00DXX00000000012"), false),
        ("the id of something else", org("001XX0000000001"), false),
        ("an id with a dash", org("00DXX000000-001"), false),
        ("an address with a user name", upstream("https://h", "https://u@h"), false),
        ("an address with a password", upstream("https://h", "https://:p@h"), false),
        ("an address with a query", upstream("https://h", "https://h/?q"), false),
        ("another address", connect("127.0.0.1:1"), true),
        ("another address without a port", connect("127.0.0.1:0"), false),
        ("no address", connect("0.0.0.0:1"), false),
    ];
    let both =
        in_sandbox.into_iter().map(|case| (true, case)).chain(with_upstream.into_iter().map(|case| (false, case)));
    for (sandbox, (what, file, is_right)) in both {
        let found = load(&Overrides { sandbox, ..file.overrides() });
        assert_eq!(found.is_ok(), is_right, "{what}: {:?}", found.err());
    }
    let (file, mut overrides) = sandbox("[ingest]\ntoken_file = '${CREDENTIALS_DIRECTORY}/t'\n");
    overrides.environment = vec![environment("CREDENTIALS_DIRECTORY", "")];
    assert!(file.told(&overrides)[0].contains("CREDENTIALS_DIRECTORY is not set"), "an empty one is none");
    let file = upstream("https://h", "https://:p@h");
    assert!(file.told(&file.overrides())[0].contains("a user name or a password"));
}

#[test]
fn no_warning_is_of_a_table_that_is_wrong_itself() {
    for (text, warned) in [
        ("max_requests_per_second = 2001\n[delivery]\nmute_for = '1s'\n", 1),
        ("max_requests_per_second = 2001\n[delivery]\nmute_for = 1\n", 0),
        ("max_requests_per_second = 2001\nmax_in_flight = 'x'\n", 0),
        ("[ingest]\nrecording = true\n[log]\nlevel = 1\n", 1),
        ("[ingest]\nrecording = true\n[admin]\nconsole = 1\n", 0),
        ("[ingest]\nrecording = true\nmax_body = 'x'\n", 0),
    ] {
        let file = File::new(format!("{UPSTREAM}{text}"));
        let draft = Draft::read(&file.overrides());
        assert_eq!(draft.warnings().len(), warned, "{text}: {:?}", draft.warnings());
    }
}

#[test]
fn the_format_of_the_log_is_known_beside_errors() {
    let json = "[log]\nformat = 'json'\n";
    for (text, format) in [
        (json.to_owned(), Format::Json),
        (format!("{json}[timing]\ncheck_interval = 5\n"), Format::Json),
        (format!("{json}[timing\n"), Format::Json),
        (format!("{json}level = \n"), Format::Json),
        ("[log]\nformat = 'xml'\n".to_owned(), Format::Text),
        ("[log]\nformat = 5\n[timing\n".to_owned(), Format::Text),
        ("[timing\n".to_owned(), Format::Text),
    ] {
        let (_file, overrides) = sandbox(&text);
        assert_eq!(Draft::read(&overrides).log_format(), format, "{text}");
    }
}

#[test]
fn a_draft_knows_what_is_right_beside_what_is_wrong() {
    let text = "[upstream]\nbase_url = 'https://h/'\nca_file = '/ca'\n[ingest]\ntoken_file = '/t'\nmax_body = 'x'\n";
    let file = File::new(text);
    let draft = Draft::read(&file.overrides());
    assert!(draft.config().is_err());
    assert_eq!(draft.path("ingest.token_file"), Some("/t".into()));
    assert_eq!(draft.path("admin.token_file"), None);
    assert_eq!((draft.path("upstream.ca_file"), draft.url("upstream.base_url").is_some()), (Some("/ca".into()), true));
    let draft = Draft::read(&Overrides { sandbox: true, ..file.overrides() });
    assert_eq!((draft.path("upstream.ca_file"), draft.url("upstream.base_url")), (None, None), "nothing of it is used");
    assert_eq!(draft.path("ingest.token_file"), Some("/t".into()));
    for (url, tls) in [("rediss://h", true), ("redis://localhost", false), ("redis+unix:///s", false)] {
        let (_file, overrides) = sandbox(&format!("[store]\nurl = '{url}'\n"));
        assert_eq!(Draft::read(&overrides).store_has_tls(), tls, "{url}");
    }
    let (_file, overrides) = sandbox("");
    assert!(!Draft::read(&overrides).store_has_tls());
}

#[test]
fn variables_that_mean_nothing_are_told() {
    for (name, told) in [
        ("TYPINGD_TIMING_CHECK_INTERVAL", "there is no key for it; did you mean TYPINGD_TIMING__CHECK_INTERVAL?"),
        ("TYPINGD_CHECK_INTERVAL", "there is no key for it; did you mean TYPINGD_TIMING__CHECK_INTERVAL?"),
        ("TYPINGD_timing__dismiss", "there is no key for it; did you mean TYPINGD_TIMING__DISMISS?"),
        ("TYPINGD_INGEST__PASSWORD", "there is no key for it (secrets come from files: token_file, private_key_file)"),
        (
            "TYPINGD_CHANNELS__A__DISMISS",
            "the environment can't set single channels; write [channels.\"<to>\"] in the file",
        ),
    ] {
        let (file, mut overrides) = sandbox("");
        overrides.environment.push(environment(name, "hush"));
        assert_eq!(file.told(&overrides), [format!("environment variable {name}: {told}")]);
    }
    // Those that client commands read, and those of others.
    let (_file, mut overrides) = sandbox("");
    for name in ["TYPINGD_URL", "TYPINGD_TOKEN_FILE", "TYPINGD_PORT", "TYPINGD__LOG_SERVICE_HOST", "TYPINGD_COMMIT"] {
        overrides.environment.push(environment(name, "tcp://10.0.0.1:7480"));
    }
    let foreign = ["TYPINGD_PORT", "TYPINGD__LOG_SERVICE_HOST", "TYPINGD_COMMIT"];
    assert_eq!(load(&overrides).unwrap().foreign_variables(), foreign);
}

#[test]
fn files_that_cannot_be_read_are_one_problem() {
    let file = File::new(b"ok = 1\n\xff\n");
    let told = |path: &str| {
        let path = file.0.path().join(path);
        file.told(&Overrides { file: Some(path), ..Overrides::default() })
    };
    assert_eq!(told("F"), ["flag --config: can't read the configuration file F: line 2 is not UTF-8"]);
    assert_eq!(told("absent"), ["flag --config: can't read the configuration file absent: it does not exist"]);
    fs::create_dir(file.0.path().join("d")).unwrap();
    assert_eq!(told("d"), ["flag --config: can't read the configuration file d: it is a directory"]);
    assert_eq!(told("F/x").len(), 1);
    let mut overrides = Overrides::default();
    overrides.environment.push(environment("TYPINGD_CONFIG", "/absent\n"));
    let problem =
        "environment variable TYPINGD_CONFIG: can't read the configuration file /absent\\n: it does not exist";
    assert_eq!(file.told(&overrides), [problem]);
    let large = File::new(vec![b' '; 3 << 20]);
    assert_eq!(
        large.told(&large.overrides()),
        ["flag --config: can't read the configuration file F: it is larger than 2 MiB"]
    );
    let empty = Overrides { environment: vec![environment("TYPINGD_CONFIG", "")], ..Overrides::default() };
    let problems: Vec<_> = load(&empty).unwrap_err().iter().map(ToString::to_string).collect();
    let told = "environment variable TYPINGD_CONFIG: it is empty; expected the path of a file, or no such variable";
    assert_eq!(problems, [told]);
}

#[test]
fn no_input_makes_it_panic() {
    // A linear congruential generator (Knuth's MMIX constants), so that a failure comes again.
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let file = File::new("");
    let overrides = file.overrides();
    let pieces: [&[u8]; 12] = [
        b"=",
        b"\"",
        b"[",
        b"]",
        b".",
        b"\n",
        b"-1",
        b"'''",
        b"{",
        b"\xff",
        b"9999999999999999999999",
        "é\u{7f}".as_bytes(),
    ];
    for round in 0..1_500 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..=random(6) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                1 => drop(bytes.drain(at..(at + random(40)).min(bytes.len()))),
                _ => drop(bytes.splice(at..at, pieces[random(pieces.len())].iter().copied())),
            }
        }
        fs::write(file.path(), &bytes).unwrap();
        match load(&overrides) {
            Ok(config) => drop((config.effective(), warnings(&config), capacity(&config))),
            Err(problems) => {
                assert!(!problems.is_empty(), "round {round}: {}", String::from_utf8_lossy(&bytes));
                assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')), "round {round}");
            }
        }
    }
    for deep in
        ["a.".repeat(100_000), "[".repeat(100_000), "x=".to_owned() + &"[".repeat(100_000), "x={a=".repeat(50_000)]
    {
        fs::write(file.path(), format!("{deep}a = 1\n")).unwrap();
        assert!(load(&overrides).is_err());
    }
}

#[test]
fn an_address_that_another_one_includes_is_a_problem() {
    let of = |listen: &str, admin: &str| {
        let text =
            format!("[ingest]\ntoken_file = 't'\nlisten = [{listen}]\n[admin]\ntoken_file = 'u'\nlisten = [{admin}]\n");
        sandbox(&text)
    };
    for (listen, admin, expected) in [
        ("'127.0.0.1:1', '0.0.0.0:2', '0.0.0.0:1'", "", "F:3: ingest.listen: 127.0.0.1:1 is a part of 0.0.0.0:1"),
        ("'0.0.0.0:1', '[::]:1', '[::1]:1'", "", "F:3: ingest.listen: [::1]:1 is a part of [::]:1"),
        ("'[::]:1'", "'127.0.0.1:1'", "F:6: admin.listen: 127.0.0.1:1 is a part of [::]:1"),
    ] {
        let (file, overrides) = of(listen, admin);
        assert_eq!(file.told(&overrides), [format!("{expected}; expected one of them")], "{listen} {admin}");
    }
    for (listen, admin) in [("'0.0.0.0:1', '[::]:1'", "'127.0.0.1:2'"), ("'0.0.0.0:0', '127.0.0.1:0'", "'[::1]:0'")] {
        assert!(load(&of(listen, admin).1).is_ok(), "{listen} {admin}");
    }
}

#[test]
fn every_wrong_entry_of_a_list_is_reported() {
    let (file, mut overrides) =
        sandbox("[ingest]\nlisten = ['localhost', '127.0.0.1:1', 'unix:run/x', 'unix:~/x', '127.0.0.1:1', '/run/x']\n");
    let at = |words: &str| format!("F:2: ingest.listen = [6 items]: {words}");
    assert_eq!(
        file.told(&overrides),
        [
            at("\"localhost\" is not an address; expected an IP address with a port (127.0.0.1:7480) or unix:/path"),
            at("\"unix:run/x\" is not an address; its path is relative; expected an absolute one, such as \
                unix:/run/typingd/typingd.sock"),
            at("\"unix:~/x\" is not an address; ~ is not replaced; expected an absolute path, unix:/path"),
            at("\"127.0.0.1:1\" is given twice; expected it once"),
            at("\"/run/x\" is not an address; expected unix: before a path, and the path absolute: unix:/path"),
        ]
    );
    let right: Vec<Address> = vec!["127.0.0.1:1".parse().unwrap()];
    assert_eq!(Draft::read(&overrides).addresses("ingest.listen"), right, "what is right of it can be tried");
    overrides.environment.push(environment("TYPINGD_INGEST__LISTEN", "[\"127.0.0.1:1\"]"));
    let told = file.told(&overrides);
    assert!(told.last().unwrap().ends_with("bare, with commas between: 127.0.0.1:7480,unix:/path"), "{told:?}");
    let (file, overrides) = sandbox("[ingest]\nlisten = ['a', 'b', 'c', 'd']\n");
    assert!(file.told(&overrides)[0].starts_with(r#"F:2: ingest.listen = ["a", "b", "c", "d"]: "#), "four are shown");
    let (file, overrides) = sandbox("[ingest]\ntoken_file = '~/token'\n");
    assert!(file.told(&overrides)[0].contains("~ is not replaced; expected an absolute path"));
}
