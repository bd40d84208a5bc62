//! Candidate timings, measured beside the one in force on live traffic.

use serde_json::{Value, json};

use crate::bench::{Daemon, pair};
use crate::process::{Said, run, until};
use crate::wire::Answer;

const PATH: &str = "/v1/timing/candidates";

impl Daemon {
    fn candidates(&self, timings: &Value) -> Answer {
        self.address.call("PUT", PATH, &[], timings.to_string().as_bytes())
    }

    /// What has been measured, as the timing in force is read.
    fn measured(&self) -> Value {
        self.address.get("/v1/timing").json()["candidates"].take()
    }

    fn try_timings(&self, arguments: &[&str]) -> Said {
        run(&[&["timing", "--url", &self.address.url()], arguments].concat())
    }
}

/// The value of a series of a page of metrics.
fn series(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn candidates_are_measured_and_nothing_of_them_is_sent() {
    let (sandbox, daemon) =
        pair("timing.check_interval = '1m'\ntiming.dismiss_after = '150ms'\nchannels.c.max_typing = '4m'");
    let begun = daemon.candidates(&json!(["idle 1m/30s", "after_shown 200ms/200ms"])).json();
    assert_eq!(
        (&begun["timings"], &begun["channels"]),
        (&json!(["idle 1m/30s", "after_shown 200ms/200ms"]), &json!({}))
    );
    // The icon in force goes off between two keys; that of the first candidate stays on.
    for (keys, told) in ["+-", "+-+-", "+-+-+-"].into_iter().enumerate() {
        daemon.give("c", "ann", "keystroke");
        sandbox.until_told("c", "ann", told);
        assert_eq!(told.len(), 2 * (keys + 1));
    }
    daemon.give("c", "ann", "message_sent");
    until("the message to be counted", || daemon.measured()["channels"]["c"]["candidates"][0]["stopped"] == 1);
    let channel = daemon.measured()["channels"]["c"].take();
    let (in_force, long) = (&channel["in_force"], &channel["candidates"][0]);
    assert_eq!((&in_force["timing"], &long["timing"]), (&json!("idle 1m/150ms"), &json!("idle 1m/30s")), "{channel}");
    assert_eq!(
        (&in_force["requests"], &in_force["flicker"], &in_force["stops_too_early"]),
        (&json!(6), &json!(2), &json!(2))
    );
    assert_eq!((&in_force["timer_stops"], &long["timer_stops"]), (&json!(3), &json!(0)), "{channel}");
    assert_eq!(
        (&long["requests"], &long["flicker"], &long["false_s"]),
        (&json!(2), &json!(0), &json!(0.0)),
        "{channel}"
    );
    let composing = channel["composing_s"].as_f64().unwrap();
    assert!(composing > 0.3 && long["shown_s"] == channel["composing_s"], "{channel}");
    assert!(in_force["shown_s"].as_f64().unwrap() < composing, "{channel}");
    assert_eq!(sandbox.told("c", "ann"), "+-+-+-", "only the timing in force is sent");

    let page = daemon.address.get("/metrics").body;
    let of = |name: &str, candidate: &str| {
        series(&page, &format!("typingd_candidate_{name}_total{{channel=\"c\",candidate=\"{candidate}\"}}"))
    };
    assert_eq!((of("requests", "in force"), of("requests", "idle 1m/30s")), (Some(6.0), Some(2.0)), "{page}");
    assert_eq!(of("timer_stops_resumed", "in force"), Some(2.0));
    assert!((of("shown_seconds", "idle 1m/30s").unwrap() - composing).abs() <= 0.001, "{page}");
    let status = daemon.address.get("/v1/status").json();
    assert_eq!(status["candidates"]["channels"]["c"], channel);
    let said = run(&["status", "--url", &daemon.address.url()]);
    assert!(said.stdout.contains("idle 1m/30s would have sent 67 % less and shown "), "{said:?}");
    let said = daemon.try_timings(&[]);
    assert!(said.stdout.contains("idle 1m/150ms (in force)") && said.stdout.contains("100.0 %"), "{said:?}");

    assert_eq!(daemon.candidates(&json!([])).json(), Value::Null);
    assert_eq!(
        (daemon.measured(), daemon.address.get("/v1/status").json()["candidates"].take()),
        (Value::Null, Value::Null)
    );
    assert!(!daemon.address.get("/metrics").body.contains("candidate=\""));
}

#[test]
fn measuring_begins_anew_with_another_timing() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'\nchannels.d.dismiss_after = '2m'");
    let said = daemon.try_timings(&["--try", "idle 10s/5s", "--try", "after_shown 5s/5s"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(
        said.stdout.starts_with("idle 10s/5s, after_shown 5s/5s are measured beside the timing in force"),
        "{said:?}"
    );
    for to in ["c", "d"] {
        daemon.give(to, "ann", "keystroke");
    }
    // Until the upstream has taken something for a channel, it is one of the others.
    let requests = |to: &str| daemon.measured()["channels"][to]["in_force"]["requests"].as_u64();
    assert_eq!((requests("d"), requests("other")), (Some(1), Some(1)));
    let since = daemon.measured()["since"].take();
    // The same candidates are measured on.
    daemon.candidates(&json!(["idle 10s/5s", "after_shown 5s/5s"]));
    assert_eq!(requests("d"), Some(1));
    let kept = daemon.measured()["since"].as_u64().unwrap().abs_diff(since.as_u64().unwrap());
    assert!(kept < 1_000, "{kept}");
    // A change of all leaves a channel with timing of its own as it is.
    daemon.address.call("PUT", "/v1/timing", &[], br#"{"dismiss_after": "50s"}"#);
    assert_eq!((requests("d"), requests("other")), (Some(1), None));
    daemon.address.call("PUT", "/v1/timing/d", &[], br#"{"dismiss_after": "30s"}"#);
    assert_eq!(daemon.measured()["channels"], json!({}));
    daemon.give("d", "ann", "keystroke");
    assert_eq!(daemon.measured()["channels"]["d"]["in_force"]["timing"], "idle 5s/30s");
    // Other candidates begin anew.
    daemon.candidates(&json!(["idle 10s/5s"]));
    assert_eq!(daemon.measured()["channels"], json!({}));
    assert_eq!(daemon.try_timings(&["--reset"]).code, Some(0));
    assert_eq!(daemon.measured(), Value::Null);
    daemon.candidates(&json!(["idle 10s/5s"]));
    let said = daemon.try_timings(&["--try", "none"]);
    assert_eq!((said.code, daemon.measured()), (Some(0), Value::Null), "{said:?}");
}

#[test]
fn a_wrong_candidate_is_named_and_changes_nothing() {
    let (_sandbox, daemon) = pair("");
    daemon.candidates(&json!(["idle 10s/5s"]));
    let before = daemon.measured();
    for (body, words) in [
        ("", "the body is not JSON"),
        ("{}", "expected a JSON array of at most 3 timings, such as [\"idle 10s/5s\""),
        ("[1]", "expected a JSON array of at most 3 timings"),
        (r#"["idle 1s/1s", "10s/5s"]"#, "candidate 2: \"10s/5s\": expected MODE CHECK/DISMISS, such as idle 10s/5s"),
        (r#"["ldle 10s/5s"]"#, "candidate 1: \"ldle 10s/5s\": expected MODE CHECK/DISMISS"),
        (r#"["idle 10s/5"]"#, "candidate 1: \"idle 10s/5\": expected MODE CHECK/DISMISS"),
        (r#"["idle 99ms/5s"]"#, "candidate 1: \"idle 99ms/5s\": expected times from 100ms on"),
        (r#"["idle 5s/2s", "idle 5000ms/2s"]"#, "candidate 2: \"idle 5000ms/2s\": it is given twice; expected it once"),
        (
            r#"["idle 1s/1s","idle 2s/1s","idle 3s/1s","idle 4s/1s"]"#,
            "the body has 4 candidates; expected a JSON array of at most 3",
        ),
    ] {
        let answer = daemon.address.call("PUT", PATH, &[], body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.problem().contains(words), "{body}: {answer:?}");
    }
    assert_eq!(daemon.measured()["timings"], before["timings"]);
    for (arguments, code, words) in [
        (&["--try", "idle 10s/5"][..], 2, "--try \"idle 10s/5\": expected MODE CHECK/DISMISS"),
        (&["--try", "none", "--try", "idle 1s/1s"], 2, "--try \"none\": expected MODE CHECK/DISMISS"),
        (&["--try", "idle 1s/1s", "--check", "1s"], 2, "cannot be used with"),
        (&["--try", "idle 1s/10ms"], 1, "expected times from 100ms on"),
    ] {
        let said = daemon.try_timings(arguments);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
    }
    // A channel of that name can be timed all the same.
    let answer = daemon.address.call("PUT", "/v1/timing/%63andidates", &[], br#"{"dismiss_after": "3s"}"#);
    assert_eq!((answer.status, &answer.json()["channels"]), (200, &json!({"candidates": {"dismiss_after": "3s"}})));
}
