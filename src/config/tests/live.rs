//! Changes of the timing while the daemon runs: what holds, what is told of it, and what is not taken.

use serde_json::json;

use super::*;

const FILE: &str = "[timing]\ncheck_interval = '6s'\nmax_typing = '1m'\n[channels.a]\nauthorization_context = 'Other'\n\
                    dismiss_after = '9s'\n";

fn channel(to: &str) -> ChannelAddress {
    ChannelAddress::new(to).unwrap()
}

/// A change of the timing of all (`""`), or of a channel.
fn set(config: &Config, to: &str, json: &str) -> Result<Config, Vec<String>> {
    let to = (!to.is_empty()).then(|| channel(to));
    told(config.with(&Change::set(to, json.as_bytes()).unwrap()))
}

fn forget(config: &Config, to: &str) -> Result<Config, Vec<String>> {
    told(config.with(&Change::forget(channel(to))))
}

fn told(result: Result<Config, Refusal>) -> Result<Config, Vec<String>> {
    result.map_err(|refusal| match refusal {
        Refusal::Wrong(problems) => problems.iter().map(ToString::to_string).collect(),
        other => vec![format!("{other:?}")],
    })
}

#[test]
fn a_change_holds_and_the_rest_stays_as_it_is() {
    let (_file, overrides) = sandbox(FILE);
    let read = load(&overrides).unwrap();
    let config =
        set(&read, "", r#"{"dismiss_after": "1500ms", "dismiss": "after_shown", "require_open": true}"#).unwrap();
    let millis = Duration::from_millis;
    let mut rules = Rules::new(Mode::AfterShown, millis(6_000), millis(1_500), millis(60_000));
    rules.require_open = true;
    assert_eq!(config.policy.rules, rules);
    assert_eq!(
        config.policy.rules_of("a"),
        rules.with_dismiss(millis(9_000)),
        "a channel follows in what is not its own"
    );

    let config = set(&config, "b \"ü\"", r#"{"check_interval": "10s"}"#).unwrap();
    assert_eq!(config.policy.rules_of("b \"ü\""), rules.with_check(millis(10_000)));
    let config = set(&config, "", r#"{"dismiss_after": "3s"}"#).unwrap();
    assert_eq!(config.policy.rules_of("b \"ü\""), rules.with_check(millis(10_000)).with_dismiss(millis(3_000)));
    assert_eq!((config.policy.rules_of("a").dismiss_after(), config.live_changes()), (millis(9_000), 4));
    let told: Vec<_> = read.changes(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"timing.dismiss_after: "2s" -> "3s""#,
            r#"timing.dismiss: "idle" -> "after_shown""#,
            "timing.require_open: false -> true",
            r#"channels."b \"ü\"".check_interval: (not set) -> "10s""#,
        ]
    );
    // Everything but the timing is what it was, and what was read is still known.
    let back = config.with(&Change::forget(channel("b \"ü\""))).unwrap();
    let back = set(&back, "", r#"{"dismiss_after": "2s", "dismiss": "idle", "require_open": false}"#).unwrap();
    assert_same(&read, &back);
    assert_eq!(back.timing(), read.timing());
    assert_same(&set(&read, "", "{}").unwrap(), &read);
    assert_same(&set(&read, "new", " {} ").unwrap(), &read);
    assert_same(&load(&overrides).unwrap(), &read);
}

#[test]
fn a_channels_timing_is_taken_away_and_nothing_else_of_it() {
    let file = File::new(format!("{UPSTREAM}{FILE}"));
    let read = load(&file.overrides()).unwrap();
    let config = forget(&read, "a").unwrap();
    assert_eq!(config.policy.channels, HashMap::new());
    assert_eq!(config.upstream.as_ref().unwrap().channel_contexts[&channel("a")], "Other");
    let path = file.path().display().to_string();
    let report = config.timing_since(&read);
    assert_eq!(
        serde_json::to_value(&report.keep).unwrap(),
        json!({"file": path, "toml": "", "notes": [format!("{path}:11: channels.\"a\".dismiss_after must be removed there")]})
    );
    assert_eq!(
        serde_json::to_value(&report.changed).unwrap(),
        json!([{"key": "channels.\"a\".dismiss_after", "old": "9s", "new": null}])
    );
    for nobody in ["a", "b"] {
        assert_eq!(forget(&config, nobody).unwrap_err(), ["NotTimed"]);
    }
    let again = set(&config, "a", r#"{"dismiss_after": "9s"}"#).unwrap();
    assert!(again.timing().survives_restart);
}

#[test]
fn it_is_told_what_is_in_force_where_from_and_how_to_keep_it() {
    let (file, mut overrides) = sandbox(FILE);
    overrides.environment.push(environment("TYPINGD_TIMING__MAX_TYPING", "2m"));
    let read = load(&overrides).unwrap();
    let path = file.path().display().to_string();
    let mut expected = json!({
        "timing": {"check_interval": "6s", "dismiss_after": "2s", "dismiss": "idle", "max_typing": "2m", "require_open": false},
        "channels": {"a": {"dismiss_after": "9s"}},
        "origins": {
            "timing": {
                "check_interval": format!("{path}:2"), "dismiss_after": "default", "dismiss": "default",
                "max_typing": "environment variable TYPINGD_TIMING__MAX_TYPING", "require_open": "default",
            },
            "channels": {"a": {"dismiss_after": format!("{path}:6")}},
        },
        "survives_restart": true,
        "warnings": [],
    });
    assert_eq!(serde_json::to_value(read.timing()).unwrap(), expected);

    let change = r#"{"check_interval": "7s", "dismiss_after": "2500ms", "max_typing": "3m", "dismiss": "idle"}"#;
    let config = set(&read, "", change).unwrap();
    let config = set(&config, "a", r#"{"dismiss_after": "8s", "require_open": true}"#).unwrap();
    let config = set(&config, "b", r#"{"dismiss": "idle"}"#).unwrap();
    for key in ["check_interval", "dismiss_after", "max_typing"] {
        expected["origins"]["timing"][key] = json!("changed while running");
    }
    expected["timing"]["check_interval"] = json!("7s");
    expected["timing"]["dismiss_after"] = json!("2500ms");
    expected["timing"]["max_typing"] = json!("3m");
    expected["channels"] = json!({"a": {"dismiss_after": "8s", "require_open": true}, "b": {"dismiss": "idle"}});
    expected["origins"]["channels"] = json!({
        "a": {"dismiss_after": "changed while running", "require_open": "changed while running"},
        "b": {"dismiss": "changed while running"},
    });
    expected["survives_restart"] = json!(false);
    let toml = "[timing]\ncheck_interval = \"7s\"\ndismiss_after = \"2500ms\"\nmax_typing = \"3m\"\n\n\
                [channels.\"a\"]\ndismiss_after = \"8s\"\nrequire_open = true\n\n[channels.\"b\"]\ndismiss = \"idle\"\n";
    expected["keep"] = json!({
        "file": path,
        "toml": toml,
        "notes": [
            "if the file has a table already, add the lines to it; a table can't be written twice",
            format!("{path}:2: the new line replaces timing.check_interval there"),
            "environment variable TYPINGD_TIMING__MAX_TYPING overrides the file: set it to 3m, or remove it",
            format!("{path}:6: the new line replaces channels.\"a\".dismiss_after there"),
        ],
    });
    assert_eq!(serde_json::to_value(config.timing()).unwrap(), expected);
    let text = serde_json::to_string(&config.timing()).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), config.timing());

    // Who does what the notes say has it.
    let (_file, overrides) =
        sandbox(&toml.replace("[channels.\"a\"]", "[channels.\"a\"]\nauthorization_context = 'Other'"));
    assert_same(&load(&overrides).unwrap(), &config);
    assert!(load(&overrides).unwrap().timing().survives_restart);
}

#[test]
fn a_table_that_the_file_has_is_pointed_out_where_lines_are_new() {
    let noted = |file: &str, to: &str, change: &str| {
        let (_file, overrides) = sandbox(file);
        let keep = set(&load(&overrides).unwrap(), to, change).unwrap().timing().keep.unwrap();
        keep.notes.iter().any(|note| note.contains("a table can't be written twice"))
    };
    let (check, dismiss) = (r#"{"check_interval": "7s"}"#, r#"{"dismiss_after": "3s"}"#);
    for (file, to, change, expected) in [
        ("", "", check, false),
        ("[log]\nlevel = 'info'\n", "", check, false),
        ("[timing]\ncheck_interval = '6s'\n", "", check, false),
        ("[timing]\ncheck_interval = '6s'\n", "", dismiss, true),
        ("[timing]\ncheck_interval = '6s'\n", "a", dismiss, false),
        ("[channels.a]\ncheck_interval = '6s'\n", "a", dismiss, true),
        ("[channels.a]\ncheck_interval = '6s'\n", "b", dismiss, false),
    ] {
        assert_eq!(noted(file, to, change), expected, "{file:?} {to} {change}");
    }
}

#[test]
fn without_a_file_it_is_told_which_one_would_be_read() {
    let overrides = Overrides { sandbox: true, ..Overrides::default() };
    let config = set(&load(&overrides).unwrap(), "", r#"{"dismiss_after": "1s"}"#).unwrap();
    let keep = config.timing().keep.unwrap();
    assert_eq!((keep.file.as_deref(), keep.toml.as_str()), (None, "[timing]\ndismiss_after = \"1s\"\n"));
    assert!(keep.notes.len() == 1 && keep.notes[0].contains("/etc/typingd/typingd.toml"), "{keep:?}");
}

#[test]
fn a_wrong_change_is_told_as_the_file_is_and_changes_nothing() {
    let (file, overrides) = sandbox(FILE);
    let read = load(&overrides).unwrap();
    // The same words as for the same mistake in a file.
    let plain = load(&Overrides { sandbox: true, ..Overrides::default() }).unwrap();
    for (json, toml) in [
        (r#"{"check_interval": 5}"#, "check_interval = 5"),
        (r#"{"check_interval": -5}"#, "check_interval = -5"),
        (r#"{"check_interval": 5.5}"#, "check_interval = 5.5"),
        (r#"{"check_interval": 1e400}"#, ""),
        (r#"{"check_interval": "2h"}"#, "check_interval = '2h'"),
        (r#"{"dismiss_after": "0s"}"#, "dismiss_after = '0s'"),
        (r#"{"dismiss": "a\nb\u001b"}"#, "dismiss = \"a\\nb\\u001b\""),
        (r#"{"dismiss": true}"#, "dismiss = true"),
        (r#"{"require_open": "true"}"#, "require_open = 'true'"),
        (r#"{"max_typing": "1s"}"#, "max_typing = '1s'"),
        (r#"{"chek_interval": "s3cret"}"#, "chek_interval = 's3cret'"),
    ] {
        let Ok(change) = Change::set(None, json.as_bytes()) else {
            assert_eq!(toml, "", "{json} is no JSON of ours");
            continue;
        };
        let live = told(plain.with(&change)).unwrap_err();
        let (file, overrides) = sandbox(&format!("[timing]\n{toml}"));
        let as_file: Vec<_> = file.told(&overrides).iter().map(|line| line.replace("F:2: ", "")).collect();
        assert_eq!(live, as_file, "{json}");
        assert!(!live[0].contains("s3cret"), "{live:?}");
    }
    let path = file.path().display().to_string();
    let time = r#"expected a time from "1ms" to "1h" (units h, m, s, ms)"#;
    let cases: &[(&str, &str, &[&str])] = &[
        ("", r#"{"check_interval": null}"#, &[&format!("timing.check_interval = null: {time}")]),
        ("", r#"{"check_interval": ["5s"]}"#, &[&format!("timing.check_interval = an array: {time}")]),
        ("", r#"{"check_interval": {"a": {}}}"#, &[&format!("timing.check_interval = an object: {time}")]),
        (
            "",
            r#"{"dismiss": "idel", "dismiss_aftr": "1s", "check_interval": "5 s", "max_typing": "1m", "max_typing": "1m"}"#,
            &[
                r#"timing.dismiss = "idel": expected "idle" or "after_shown""#,
                "there is no key timing.dismiss_aftr; did you mean timing.dismiss_after?",
                &format!("timing.check_interval = \"5 s\": {time}"),
                "timing.max_typing is given twice; expected it once",
            ],
        ),
        ("", r#"{"timing": {"dismiss": "idle"}}"#, &["there is no key timing.timing"]),
        ("", r#"{"timing.dismiss": "idle"}"#, &["there is no key timing.timing.dismiss; did you mean timing.dismiss?"]),
        (
            "",
            r#"{"token": "s3cret"}"#,
            &["there is no key timing.token (secrets come from files: token_file, private_key_file)"],
        ),
        ("", r#"{"org_id": "00D"}"#, &["there is no key timing.org_id"]),
        ("", r#"{"authorization_context": "A"}"#, &["there is no key timing.authorization_context"]),
        (
            "a",
            r#"{"authorization_context": "A", "dismis": "idle"}"#,
            &[
                r#"channels."a".authorization_context can't be changed while running; set it in the file"#,
                r#"channels."a": there is no key dismis for a single channel; did you mean dismiss?"#,
            ],
        ),
        (
            "a",
            r#"{"dismiss": 1}"#,
            &[
                r#"channels."a".dismiss = 1: expected "idle" or "after_shown"; how long the icon stays on is dismiss_after"#,
            ],
        ),
        // Right by itself, and not with the rest.
        (
            "",
            r#"{"dismiss_after": "2m"}"#,
            &[&format!("{path}:3: timing.max_typing = \"1m\": expected at least dismiss_after, \"2m\"")],
        ),
        (
            "",
            r#"{"max_typing": "8s"}"#,
            &[&format!("{path}:6: channels.\"a\".max_typing = \"8s\": expected at least dismiss_after, \"9s\"")],
        ),
        ("b", r#"{"max_typing": "1s"}"#, &[r#"channels."b".max_typing = "1s": expected at least dismiss_after, "2s""#]),
    ];
    for (to, json, problems) in cases {
        assert_eq!(set(&read, to, json).unwrap_err(), *problems, "{to} {json}");
    }
}

#[test]
fn what_is_no_json_object_is_told_so() {
    for (body, words) in [
        (&b""[..], "is empty; expected a JSON object such as {\"check_interval\": \"10s\"}"),
        (b" \n", "is empty; "),
        (b"[]", "is not an object; expected a JSON object such as"),
        (b"5", "is not an object; "),
        (b"null", "is not an object; "),
        (b"\"check_interval\"", "is not an object; "),
        (b"{", "is not JSON: EOF while parsing an object at line 1 column 1"),
        (b"{\"a\": 1,}", "is not JSON: trailing comma"),
        (b"{} x", "is not JSON: trailing characters"),
        (b"check_interval=5s", "is not JSON: "),
        (b"{\"a\": \"\xff\"}", "is not UTF-8 from byte 7 on"),
        (b"{\"a\": \"\\ud800\"}", "is not JSON: "),
    ] {
        let error = Change::set(None, body).unwrap_err();
        assert!(error.starts_with(words), "{}: {error}", String::from_utf8_lossy(body));
    }
    let (_file, overrides) = sandbox("");
    let config = load(&overrides).unwrap();
    // However deep it is, nothing of it is kept.
    let nest = |depth: usize| format!("{{\"dismiss\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    let change = Change::set(None, nest(100).as_bytes()).unwrap();
    assert!(told(config.with(&change)).unwrap_err()[0].starts_with("timing.dismiss = an array: "));
    for deep in [nest(100_000), "[".repeat(100_000), "{\"dismiss\":".repeat(100_000)] {
        if let Ok(change) = Change::set(None, deep.as_bytes()) {
            assert!(told(config.with(&change)).is_err());
        }
    }
}

#[test]
fn channels_with_own_timing_are_bounded() {
    let text: String = (0..TIMED_CHANNELS_MAX - 1).map(|i| format!("[channels.c{i}]\ndismiss = 'idle'\n")).collect();
    let (_file, overrides) = sandbox(&format!("{text}[channels.untimed]\nauthorization_context = 'A'\n"));
    let config = load(&overrides).unwrap();
    let one = r#"{"dismiss": "after_shown"}"#;
    let full = set(&config, "last", one).unwrap();
    for beyond in ["beyond", "untimed"] {
        assert_eq!(set(&full, beyond, one).unwrap_err(), ["Full"]);
    }
    // Those that have timing of their own can still be changed, and one that goes makes room.
    let changed = set(&full, "c7", one).unwrap();
    let changed = set(&forget(&changed, "c8").unwrap(), "beyond", one).unwrap();
    assert_eq!(changed.policy.channels.len(), TIMED_CHANNELS_MAX);
    // A configuration that had more to begin with is none the worse for it.
    let (_file, overrides) =
        sandbox(&format!("{text}[channels.x]\ndismiss = 'idle'\n[channels.y]\ndismiss = 'idle'\n"));
    let config = load(&overrides).unwrap();
    assert!(set(&config, "x", one).is_ok() && set(&config, "z", one).is_err());
}

#[test]
fn the_notes_have_a_bound() {
    let text: String = (0..150).map(|i| format!("[channels.c{i}]\ndismiss = 'idle'\n")).collect();
    let (_file, overrides) = sandbox(&text);
    let config = load(&overrides).unwrap();
    let none = (0..150).fold(config, |config, i| forget(&config, &format!("c{i}")).unwrap());
    let notes = none.timing().keep.unwrap().notes;
    assert_eq!((notes.len(), notes[100].as_str()), (101, "and 50 more like these"));
}

#[test]
fn a_change_is_warned_of_in_all_that_check_would_say() {
    let text = format!("{UPSTREAM}[drop_in]\nenabled = true\nactivity_lasts = '4s'\n");
    let config = set(&load(&File::new(text).overrides()).unwrap(), "", r#"{"dismiss_after": "900ms"}"#).unwrap();
    let told = config.timing().warnings;
    assert!(told.len() == 2 && told[0].contains("is below 1s") && told[1].starts_with("drop_in: "), "{told:?}");
    assert!(told.iter().all(|warning| warnings(&config).contains(warning)), "{told:?}");
}

#[test]
fn a_change_that_starves_is_warned_of() {
    let config = load(&File::new(UPSTREAM).overrides()).unwrap();
    let config = set(&config, "", r#"{"check_interval": "1ms", "dismiss_after": "60s"}"#).unwrap();
    let told = config.timing().warnings;
    let words =
        "if no user paused, 2 people could type at a time before refreshes are shed, fewer than the 11000 sessions";
    assert!(told.len() == 1 && told[0].starts_with(words), "{told:?}");
    assert_eq!((warnings(&config), capacity(&config)), (told, None), "check says the same, once");
}
