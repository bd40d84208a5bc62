//! What is known of conversations: pages of them, one explained.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::bench::{Daemon, NDJSON, Sandbox, pair, signal_of};
use crate::connector::connect;
use crate::process::{until, wait_for};
use crate::wire::Headers;

fn one(daemon: &Daemon, to: &str, from: &str) -> Value {
    let answer = daemon.address.get(&format!("/v1/conversations?to={to}&from={from}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.json()
}

/// What happened, briefly.
fn transitions(told: &Value) -> Vec<String> {
    let brief = |transition: &Value| {
        let field = |name: &str| transition[name].as_str().unwrap_or_default().to_owned();
        let last = format!("{}{}{}", field("outcome"), field("why"), field("signal"));
        format!("{} {} {last}", field("event"), field("reason")).trim().replace("  ", " ")
    };
    told["transitions"].as_array().unwrap().iter().map(brief).collect()
}

#[test]
fn who_asks_right_after_a_signal_learns_what_follows_from_it() {
    let (_sandbox, daemon) = pair("");
    let body = signal_of("c", "ann", "keystroke").to_string();
    let key = format!(
        "POST /v1/signals HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let question = "GET /v1/conversations?to=c&from=ann HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&daemon.address);
    stream.write_all(format!("{key}{question}").as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.contains("a TypingStarted is on its way"), "{told}");
}

#[test]
fn one_is_explained_from_its_first_key_until_it_is_forgotten() {
    let (sandbox, daemon) = pair("timing.check_interval = '40s'\ntiming.dismiss_after = '30s'");
    let unknown = daemon.address.get("/v1/conversations?to=c&from=ann");
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.problem().contains("is not known"), "{unknown:?}");

    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    let told = wait_for("the acknowledgement", || {
        let told = one(&daemon, "c", "ann");
        (told["shown"] == "on").then_some(told)
    });
    assert_eq!(
        (&told["to"], &told["from"], &told["state"], &told["icon"], &told["wish"], &told["in_flight"]),
        (&json!("c"), &json!("ann"), &json!("typing"), &json!(true), &Value::Null, &Value::Null)
    );
    let said = told["explanation"].as_str().unwrap();
    assert!(
        said.starts_with("The user is typing, and the icon is on. Without a further key it goes off in "),
        "{said}"
    );
    let within = |name: &str, most: f64| {
        let value = told["deadlines"][name].as_f64().unwrap_or_else(|| panic!("{name}: {told}"));
        assert!(value > 0.0 && value <= most, "{name}: {told}");
    };
    within("dismiss_in_ms", 30_000.0);
    within("check_in_ms", 40_000.0);
    within("max_typing_in_ms", 300_000.0);
    assert_eq!((&told["deadlines"]["retry_in_ms"], &told["deadlines"]["muted_for_ms"]), (&Value::Null, &Value::Null));
    assert_eq!(
        told["timing"],
        json!({"check_interval": "40s", "dismiss_after": "30s", "dismiss": "idle", "max_typing": "5m", "require_open": false})
    );
    assert_eq!((&told["last_signal"]["signal"], &told["last_result"]["status"]), (&json!("keystroke"), &json!(202)));
    assert_eq!(transitions(&told), ["decided first_keystroke", "result first_keystroke delivered"]);

    daemon.give("c", "ann", "message_sent");
    let told = wait_for("the end", || {
        let told = one(&daemon, "c", "ann");
        (told["state"] == "forgotten").then_some(told)
    });
    assert_eq!((&told["icon"], &told["shown"]), (&json!(false), &json!("off")));
    assert!(told["explanation"].as_str().unwrap().starts_with("The user is not typing; the icon is off"), "{told}");
    assert_eq!(
        (&told["last_signal"]["signal"], &told["deadlines"]["check_in_ms"]),
        (&json!("message_sent"), &Value::Null)
    );
    let expected = [
        "decided first_keystroke",
        "result first_keystroke delivered",
        "signal message_sent",
        "decided message_sent",
        "result message_sent delivered",
    ];
    assert_eq!(transitions(&told), expected);
    let ats: Vec<_> = told["transitions"].as_array().unwrap().iter().map(|told| told["at"].as_u64().unwrap()).collect();
    assert!(ats.is_sorted(), "the newest last: {ats:?}");
}

#[test]
fn what_keeps_an_icon_from_its_wish_is_told() {
    let sandbox = Sandbox::start(&["--refuse-from", "mallory"]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '1m'");
    daemon.give("c", "mallory", "keystroke");
    let muted = wait_for("the refusal", || {
        let told = one(&daemon, "c", "mallory");
        told["deadlines"]["muted_for_ms"].is_number().then_some(told)
    });
    let said = muted["explanation"].as_str().unwrap();
    assert!(said.starts_with("Salesforce has refused this end user: no icon is shown for another "), "{said}");
    assert_eq!((&muted["shown"], &muted["last_result"]["code"]), (&json!("off"), &json!(10028)));

    daemon.give("c", "ann", "keystroke");
    until("the acknowledgement", || one(&daemon, "c", "ann")["shown"] == "on");
    sandbox.set_faults(&json!({"faults": ["hang"]}));
    daemon.give("c", "ann", "stopped");
    let flying = wait_for("the request in flight", || {
        let told = one(&daemon, "c", "ann");
        (told["in_flight"]["for_ms"].as_f64()? > 0.0).then_some(told)
    });
    assert_eq!(
        (&flying["in_flight"]["indicator"], &flying["in_flight"]["reason"], &flying["in_flight"]["attempt"]),
        (&json!("TypingStopped"), &json!("stopped"), &json!(0))
    );
    assert_eq!((&flying["state"], &flying["icon"], &flying["shown"]), (&json!("idle"), &json!(false), &json!("on")));

    sandbox.set_faults(&json!({"faults": ["503"]}));
    daemon.give("c", "bob", "keystroke");
    let failed = wait_for("a result", || {
        let told = one(&daemon, "c", "bob");
        told["last_result"]["outcome"].is_string().then_some(told)
    });
    assert_eq!((&failed["last_result"]["outcome"], &failed["last_result"]["status"]), (&json!("unsure"), &json!(503)));
}

#[test]
fn a_stop_that_was_given_up_leaves_it_open_what_is_shown() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\ndelivery.stopped_lifespan = '300ms'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    sandbox.set_faults(&json!({"faults": ["503"]}));
    daemon.give("c", "ann", "stopped");
    let told = wait_for("the stop's end", || {
        let told = one(&daemon, "c", "ann");
        (told["state"] == "forgotten").then_some(told)
    });
    assert_eq!(transitions(&told).last().map(String::as_str), Some("dropped stopped given_up"));
    assert_eq!(told["shown"], "unknown");
    assert!(told["explanation"].as_str().unwrap().contains("may have been left on"), "{told}");
}

#[test]
fn all_are_told_page_by_page() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '5m'\ningest.max_conversations = 100000");
    let empty = daemon.address.get("/v1/conversations").json();
    assert_eq!(empty, json!({"conversations": [], "total": 0, "next": null}));
    // More of them than are looked at in one turn of the loop.
    const ALL: usize = 6_000;
    let body: String =
        (0..ALL).map(|i| format!("{}\n", signal_of(["c", "d"][i % 2], &format!("u{i}"), "keystroke"))).collect();
    assert_eq!(daemon.address.call("POST", "/v1/signals", &[NDJSON], body.as_bytes()).json()["accepted"], ALL);
    let pages = |query: &str| {
        let mut told = Vec::new();
        let mut after = String::new();
        loop {
            let page = daemon.address.get(&format!("/v1/conversations?{query}{after}")).json();
            let Value::Array(rows) = &page["conversations"] else { panic!("{page}") };
            assert!(rows.len() <= 1_000 && page["total"] == ALL, "{page}");
            told.extend(rows.iter().map(|row| row["from"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let count = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), count, "each once");
        count
    };
    assert_eq!((pages("limit=1000"), pages("limit=777&to=c"), pages("limit=1000&icon=true")), (ALL, ALL / 2, ALL));
    assert_eq!(
        (
            pages("to=nowhere"),
            daemon.address.get("/v1/conversations").json()["conversations"].as_array().unwrap().len()
        ),
        (0, 100)
    );
    until("an acknowledged one", || {
        let row = &daemon.address.get("/v1/conversations?limit=1").json()["conversations"][0];
        *row == json!({"to": "c", "from": "u0", "state": "typing", "icon": true, "shown": "on", "owed": null})
    });
    for (query, words) in [
        ("limit=0", "`limit` is \"0\"; expected a whole number from 1 to 1000"),
        ("after=x", "`after` is \"x\"; expected the `next`"),
        ("icon=1", "`icon` is \"1\"; expected true or false"),
        ("from=ann", "`from` is there without `to`"),
        ("to=c&from=ann&icon=true", "ask for one conversation"),
        ("page=2", "unknown option `page`"),
    ] {
        let answer = daemon.address.get(&format!("/v1/conversations?{query}"));
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(answer.problem().contains(words), "{query}: {answer:?}");
    }
}

#[test]
fn a_token_is_asked_for_and_end_users_are_in_no_log() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'\nlog.level = 'trace'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    assert_eq!(daemon.address.get("/v1/conversations").status, 401);
    let token: Headers<'_> = &[("authorization", "Bearer c4llers"), ("content-type", "application/json")];
    let body = signal_of("c", "secretuser", "keystroke").to_string();
    assert_eq!(daemon.address.call("POST", "/v1/signals", token, body.as_bytes()).status, 202);
    for query in ["", "?to=c&from=secretuser"] {
        let answer = daemon.address.call("GET", &format!("/v1/conversations{query}"), token, b"");
        assert!(answer.status == 200 && answer.body.contains("secretuser"), "{answer:?}");
    }
    daemon.process.stop();
    assert!(!daemon.process.log().contains("secretuser"), "{}", daemon.process.log());
}
