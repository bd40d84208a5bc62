//! The report as JSON: every field by its name, null where nothing is defined, whole milliseconds.

use serde_json::Value;
use typingd::engine::policy::Mode;
use typingd::tune::{json, tune};

use crate::brute::{Lens, Truth};
use crate::compare::{plan, setting, study};
use crate::traces::Kind::{self, Ended, Key, Opened, Sent, Stopped};
use crate::traces::{File, Line, one};

const LENS: Lens = Lens { truth: Truth::Message, away: 30_000, ttl: None };

fn report(files: &[File]) -> Value {
    let plan = plan(&[setting(Mode::Idle, 5_000, 2_000), setting(Mode::AfterShown, 5_000, 2_000)], LENS);
    json::report(&tune(study(files), &plan, 1, &|| {}))
}

/// A field by its path, as `a.b.0`.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, part| match part.parse::<usize>() {
        Ok(place) => &value[place],
        Err(_) => value.get(part).unwrap_or_else(|| panic!("{path} is missing in {value}")),
    })
}

const OF_COMPOSING: [&str; 9] = [
    "req_per_min",
    "started_per_min",
    "recall",
    "flicker_per_min",
    "users.p10",
    "users.p50",
    "users.p90",
    "safe_composers",
    "safe_conversations",
];
const OF_MESSAGES: [&str; 2] = ["req_per_msg", "flicker_per_msg"];
const OF_ICONS: [&str; 6] =
    ["false_on", "late_wait_ms.mean", "late_wait_ms.p99", "on_ms.p50", "on_ms.p95", "on_ms.max"];
const OF_DRAFTS: [&str; 4] = ["off_ms.p50", "off_ms.p95", "off_ms.max", "false_on_s_per_abandoned"];

/// Of what there is something in a trace: then what is measured on it is a number, or else null.
#[derive(Clone, Copy, Default)]
struct There {
    life: bool,
    composing: bool,
    messages: bool,
    /// Icons that were seen.
    icons: bool,
    drafts: bool,
    sends: bool,
    timer_stops: bool,
    /// Silences of which it is known how they went on.
    silences: bool,
}

#[test]
fn what_is_undefined_is_null_and_what_is_none_is_zero() {
    let key = Kind::Key;
    let none = There::default();
    let typed = There { messages: true, ..none };
    let seen = There { icons: true, silences: true, ..typed };
    for (name, events, there) in [
        ("nothing at all", vec![], none),
        ("no key", vec![(0, Opened), (50, Sent), (60, Stopped), (99, Ended)], There { life: true, ..none }),
        ("one key at the end", vec![(0, key)], There { timer_stops: true, ..typed }),
        ("one key, and silence", vec![(0, key), (60_000, Opened)], There { drafts: true, timer_stops: true, ..seen }),
        ("a paste that is sent at once", vec![(0, key), (0, Sent)], There { sends: true, silences: true, ..typed }),
        ("no send", vec![(0, key), (500, key), (700, Stopped)], There { life: true, composing: true, ..seen }),
        ("no abandonment", vec![(0, key), (900, Sent)], There { life: true, composing: true, sends: true, ..seen }),
        (
            "an abandoned draft",
            vec![(0, key), (900, key), (60_000, Sent)],
            There { life: true, composing: true, drafts: true, timer_stops: true, ..seen },
        ),
    ] {
        let report = report(&[one(&events)]);
        let holds = |value: &Value, fields: &[&str], defined: bool| {
            for field in fields {
                let value = at(value, field);
                assert!(value.is_number() == defined && value.is_null() != defined, "{name}: {field} is {value}");
            }
        };
        for row in [at(&report, "current"), at(&report, "rows.0")] {
            holds(row, &OF_COMPOSING, there.composing);
            holds(row, &OF_MESSAGES, there.messages);
            holds(row, &OF_ICONS, there.icons);
            holds(row, &OF_DRAFTS, there.drafts);
            holds(row, &["off_early"], there.sends);
            holds(row, &["wrong_stop"], there.timer_stops);
            // One user says nothing of others.
            for field in row.as_object().unwrap().keys().filter(|field| field.ends_with("_ci")) {
                assert!(row[field].is_null(), "{name}: {field}");
            }
            assert!(at(row, "off_ms.p95_ci").is_null() && at(row, "late_wait_ms.mean_ci").is_null(), "{name}");
            assert_eq!(at(row, "off_ms.n"), u64::from(there.drafts), "{name}");
            assert!(row["started"].is_u64() && row["stopped"].is_u64(), "{name}");
        }
        holds(&report, &["study.duty"], there.life);
        holds(&report, &["ceiling.recall", "ceiling.false_on", "ceiling.req_per_min"], there.composing);
        holds(&report, &["ceiling.flicker_per_msg"], there.messages);
        holds(&report, &["ceiling.off_early"], there.sends);
        holds(&report, &["ceiling.off_p95_ms"], there.drafts);
        holds(&report, &["resume_curve.0.p"], there.silences);
        for count in ["users", "conversations", "keys", "messages", "sent", "abandoned", "composing_ms"] {
            assert!(report["study"][count].is_u64(), "{name}: {count}");
        }
    }
}

#[test]
fn every_field_of_the_schema_is_there_by_its_name() {
    let line = |at, from: &str, kind| Line { at, to: "c".into(), from: from.into(), kind };
    let lines: File = ["ada", "bob", "eve", "ida", "joe"]
        .iter()
        .zip(0..)
        .flat_map(|(from, user)| {
            let start = user * 200_000;
            let keys = (0..40).map(move |i| (start + i * 300, Key));
            keys.chain([(start + 12_500, Sent), (start + 20_000, Key), (start + 90_000, Opened)])
                .map(move |(at, kind)| line(at, from, kind))
        })
        .collect();
    let report = report(&[lines]);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["tool"], concat!("typingd ", env!("CARGO_PKG_VERSION")));
    let hexadecimal = |value: &Value| {
        let text = value.as_str().unwrap();
        text.len() == 64 && text.chars().all(|digit| digit.is_ascii_hexdigit())
    };
    assert!(hexadecimal(&report["config_hash"]) && hexadecimal(at(&report, "inputs.0.sha256")));
    assert_eq!(at(&report, "inputs.0.path"), "t.ndjson");
    assert_eq!((at(&report, "inputs.0.conversations"), at(&report, "inputs.0.keys")), (&5.into(), &205.into()));
    for (field, value) in [("away_ms", 30_000), ("seed", 42), ("latency_ms", 0)] {
        assert_eq!(report["params"][field], value, "{field}");
    }
    for field in ["abandon", "icon_ttl_ms"] {
        assert!(at(&report, &format!("params.{field}")).is_null(), "{field} was not asked for");
    }
    assert_eq!((&report["params"]["loss"], &report["params"]["truth"]), (&0.0.into(), &"message".into()));
    for row in [at(&report, "current"), at(&report, "rows.0"), at(&report, "rows.1")] {
        for field in ["started", "stopped", "check_ms", "dismiss_ms", "safe_composers"] {
            assert!(at(row, field).is_u64(), "{field}: {row}");
        }
        for field in ["off_ms.p50", "off_ms.p95", "off_ms.max", "off_ms.n", "late_wait_ms.mean", "late_wait_ms.p99"] {
            assert!(at(row, field).is_u64(), "{field}: {row}");
        }
        for field in ["req_per_min", "req_per_msg", "recall", "false_on", "flicker_per_msg", "off_early", "wrong_stop"]
        {
            assert!(at(row, field).is_number(), "{field}: {row}");
        }
        let ci = at(row, "recall_ci").as_array().unwrap();
        assert!(ci.len() == 2 && ci[0].as_f64() <= ci[1].as_f64(), "{row}");
        assert!(row["pareto"].is_boolean() && row["meets"].is_boolean(), "{row}");
    }
    assert_eq!((&report["rows"][0]["mode"], &report["rows"][1]["mode"]), (&"idle".into(), &"after_shown".into()));
    assert_eq!((&report["current"]["mode"], &report["current"]["check_ms"]), (&"idle".into(), &5_000.into()));
    let curve = report["resume_curve"].as_array().unwrap();
    assert!(curve.iter().all(|point| point["silence_ms"].is_u64() && point.get("p").is_some()));
    assert!(curve.windows(2).all(|pair| pair[0]["silence_ms"].as_u64() < pair[1]["silence_ms"].as_u64()));
    let even = report["break_even_ms"].as_object().unwrap();
    assert_eq!(even.keys().collect::<Vec<_>>(), ["1", "2", "4", "9"]);
    assert!(even.values().all(Value::is_u64), "{even:?}");
    for field in ["p10", "p50", "p90"] {
        assert!(report["users"][field].is_number(), "{field}");
    }
}
