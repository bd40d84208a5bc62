//! The documentation: the reference is generated from the code and compared with `docs/reference`, and the guides name
//! only what exists. `TYPINGD_REFERENCE=write cargo test --test it -- reference` writes the reference anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use typingd::cli::{EXIT_CODES, FILES, SIGNALS, VARIABLES};
use typingd::config::keys::{Absent, KEYS};

use crate::bench::{Daemon, pair};
use crate::process::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_is_what_the_code_generates() {
    let (_sandbox, daemon) = pair("drop_in.enabled = true");
    let pages = [
        ("configuration", configuration()),
        ("commands", commands()),
        ("http", http(&daemon.address.get("/openapi.json").json())),
        ("metrics", metrics(&daemon)),
        ("exit-codes", exit_codes()),
        ("limits", limits()),
    ];
    let write = std::env::var_os("TYPINGD_REFERENCE").is_some_and(|value| value == "write");
    for (name, generated) in pages {
        let path = root().join(format!("docs/reference/{name}.md"));
        let generated =
            format!("<!-- Generated from the code by tests/it/reference.rs. -->\n\n{}\n", generated.trim_end());
        if write {
            std::fs::write(&path, &generated).unwrap();
        }
        let differs = text(&path) != generated;
        assert!(!differs, "{}: TYPINGD_REFERENCE=write cargo test --test it -- reference", path.display());
    }
}

/// A table of Markdown.
fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut page = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(N));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page + "\n"
}

fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

fn configuration() -> String {
    let mut page = "# Configuration\n\nThe keys of `typingd.toml`. Environment variables override the file \
        (`TYPINGD_TIMING__CHECK_INTERVAL=10s`), flags override both. An unknown key is an error. Relative paths are \
        relative to the file's directory; `${CREDENTIALS_DIRECTORY}` is understood in paths. Keys marked with ¹ can also be \
        set in `[channels.\"<to>\"]`, for that channel alone. Exactly one of `upstream.auth.token_file` and \
        `[upstream.auth.jwt_bearer]` is needed; with `drop_in.enabled` and cached credentials, neither, and \
        `upstream.base_url` is the only required key.\n\n"
        .to_owned();
    let mut tables: Vec<&str> = Vec::new();
    for key in KEYS {
        if tables.contains(&key.table()) {
            continue;
        }
        tables.push(key.table());
        let keys = KEYS.iter().filter(|other| other.table() == key.table());
        let rows = keys.map(|key| {
            let absent = match key.absent {
                Absent::Default(value) => code(value),
                Absent::Unset(meaning) => format!("not set: {meaning}"),
                Absent::Required(example) => format!("required, such as {}", code(example)),
            };
            let own = if key.per_channel { " ¹" } else { "" };
            [format!("`{}`{own}", key.name()), absent, key.doc.to_owned(), key.kind.to_string()]
        });
        let _ = write!(page, "## `[{}]`\n\n{}", key.table(), table(["key", "default", "meaning", "value"], rows));
    }
    page
}

/// What clap knows of each command.
fn commands() -> String {
    let help = |arguments: &[&str]| {
        let said = run(arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.stdout.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
    };
    let main = help(&["--help"]);
    let mut page = format!("# Commands\n\n```text\n{}\n```\n\n", main.trim_end());
    let list = main.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for name in list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        if !name.is_empty() && name != "help" {
            let _ = write!(page, "## typingd {name}\n\n```text\n{}\n```\n\n", help(&[name, "--help"]).trim_end());
        }
    }
    page
}

fn exit_codes() -> String {
    let rows =
        |rows: &[(&str, &str)]| rows.iter().map(|(name, what)| [code(name), (*what).to_owned()]).collect::<Vec<_>>();
    let codes = EXIT_CODES.map(|(number, what)| [number.to_string(), what.to_owned()]);
    format!(
        "# Exit codes, environment variables, signals\n\n{}## Environment variables\n\n{}## Signals\n\n{}## Files\n\n{}",
        table(["exit code", "meaning"], codes),
        table(["variable", "meaning"], rows(&VARIABLES)),
        table(["signal", "what happens"], rows(&SIGNALS)),
        table(["file", "meaning"], rows(&FILES)),
    )
}

fn http(document: &Value) -> String {
    let resolve = |value: &'_ Value| -> Value {
        match value["$ref"].as_str() {
            Some(to) => document.pointer(to.trim_start_matches('#')).unwrap().clone(),
            None => value.clone(),
        }
    };
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut page = format!("# HTTP interface\n\n{}\n\n", said(&document["info"]["description"]));
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            let shared = item["parameters"].as_array().into_iter().flatten();
            let own = call["parameters"].as_array().into_iter().flatten();
            calls.push((
                format!("{} {path}", method.to_uppercase()),
                call,
                shared.chain(own).map(resolve).collect::<Vec<_>>(),
            ));
        }
    }
    page += &table(["call", "what it does"], calls.iter().map(|(name, call, _)| [code(name), said(&call["summary"])]));
    for (name, call, parameters) in &calls {
        let _ = write!(page, "## {name}\n\n{}.", said(&call["summary"]));
        if let Some(description) = call["description"].as_str() {
            let _ = write!(page, " {description}");
        }
        page += "\n\n";
        if !parameters.is_empty() {
            let rows = parameters.iter().map(|one| {
                let required = if one["required"] == true && one["in"] == "query" { " Required." } else { "" };
                let example = &one["example"];
                let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
                let example = if one["example"].is_null() { String::new() } else { code(example) };
                [
                    format!("{} ({})", code(said(&one["name"])), said(&one["in"])),
                    (said(&one["description"]) + required).trim().to_owned(),
                    example,
                ]
            });
            page += &table(["parameter", "meaning", "example"], rows);
        }
        let body = resolve(&call["requestBody"]);
        if body.is_object() {
            let kinds: Vec<_> = body["content"].as_object().into_iter().flatten().map(|(kind, _)| code(kind)).collect();
            let _ = write!(page, "Body: {}. {}\n\n", kinds.join(", "), said(&body["description"]));
        }
        let responses = call["responses"].as_object().unwrap().iter();
        let rows = responses.map(|(status, response)| [status.clone(), said(&resolve(response)["description"])]);
        page += &table(["status", "when"], rows);
    }
    page
}

/// A metric that a daemon exposes, with the values of its labels.
#[derive(Default)]
struct Metric {
    name: String,
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn exposed(daemon: &Daemon) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for line in daemon.address.get("/metrics").body.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            metrics.push(Metric { name: name.to_owned(), help: help.to_owned(), ..Metric::default() });
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.last_mut().unwrap().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            for (label, value) in labels.split("\",").filter_map(|label| label.split_once("=\"")) {
                let value = value.split('"').next().unwrap().to_owned();
                metrics.last_mut().unwrap().labels.entry(label.to_owned()).or_default().insert(value);
            }
        }
    }
    metrics
}

/// Labels whose values depend on the installation.
const OPEN_LABELS: [&str; 4] = ["channel", "listener", "commit", "version"];

fn metrics(daemon: &Daemon) -> String {
    let rows = exposed(daemon).into_iter().map(|Metric { name, help, kind, labels }| {
        let labels = labels.into_iter().filter(|(label, _)| label != "le").map(|(label, values)| {
            if OPEN_LABELS.contains(&label.as_str()) {
                return code(label);
            }
            format!("{}: {}", code(label), values.into_iter().collect::<Vec<_>>().join(", "))
        });
        [code(name), kind, labels.collect::<Vec<_>>().join("; "), help.trim_end_matches('.').to_owned()]
    });
    let metrics = table(["metric", "kind", "labels", "meaning"], rows);
    let rules = text(&root().join("systemd/monitoring/typingd.rules.yml"));
    let alerts = rules.split("\n      - alert: ").skip(1).map(|rule| {
        let after = |start: &str, end: &str| rule.split(start).nth(1).unwrap().split(end).next().unwrap().to_owned();
        // Prometheus fills in what is in braces: `$labels.instance`, `$value | humanize`.
        let summary = after("summary: \"", "\"\n").replace("{{ $labels.", "*").replace(" }}", "*");
        let (before, value) = summary.split_once("{{ $value").unwrap_or((&summary, ""));
        let value = value.split_once('*').map_or("", |(_, rest)| rest);
        let summary = if value.is_empty() { before.to_owned() } else { format!("{before}*n*{value}") };
        [code(rule.lines().next().unwrap()), after("severity: ", " }"), summary]
    });
    format!(
        "# Metrics\n\nWhat `GET /metrics` exposes. Metrics of the drop-in have no series without it; nor has a gauge whose value \
         is unknown.\n\n{metrics}## Alerts\n\nThe rules of `systemd/monitoring/typingd.rules.yml`; each says there \
         what it means and what to do.\n\n{}",
        table(["alert", "severity", "summary"], alerts)
    )
}

/// Every bound that a caller or an operator can meet: what it bounds, the bound, what happens beyond it. A name in braces
/// is a constant of the code, below that folder or file of `src`.
#[rustfmt::skip]
const LIMITS: &[[&str; 3]] = &[
    ["`to`, `from`", "{signals/ID_CHARS_MAX} characters", "The signal is rejected"],
    ["`at`", "the end of the year 9999", "The signal is rejected"],
    ["`lasts`", "{model/LASTS_MILLIS_MAX} ms", "The signal is rejected"],
    ["A line of a stream or trace", "{signals/LINE_BYTES_MAX}", "The line is rejected; a trace ends with an error"],
    ["A JSON body of signals", "`ingest.max_body`, at most {config/BODY_BYTES_MAX}", "413"],
    ["Rejected signals that are explained", "{api/REJECTS_SHOWN_MAX}", "They are counted"],
    ["`?wait=`", "{api/signals/WAIT_MAX}", "400"],
    ["A change of the timing", "{api/timing/BODY_BYTES_MAX}", "413"],
    ["A change of the log level", "{api/log/BODY_BYTES_MAX}", "413"],
    ["Problems of a change that are reported", "{api/PROBLEMS_SHOWN_MAX}", "They are counted"],
    ["Candidate timings measured beside the one in force", "{observe/typing/candidates/CANDIDATES_MAX}", "400"],
    ["Channels with timing of their own, when one more is added while running", "{config/TIMED_CHANNELS_MAX}", "409"],
    ["Waiting changes of the timing", "{api/timing/REQUESTS_MAX}; {api/timing/TIMEOUT}", "Further ones wait for a place; 503"],
    ["A trace for `POST /v1/tune`", "{api/tune/TRACE_BYTES_MAX}; {api/tune/STUDIES_MAX} at a time, on one core; {api/tune/STEPS_MAX} steps", "413; 503"],
    ["A trace for `POST /v1/simulate`", "{api/simulate/TRACE_BYTES_MAX}; {api/simulate/SIMULATIONS_MAX} at a time; {api/simulate/STEPS_MAX} steps", "413; 503 after a second"],
    ["Settings that `tune` tries", "{tune/SETTINGS_MAX}", "Wrong usage"],
    ["Changes that a reload reports", "{daemon/CHANGES_LOGGED_MAX}", "They are counted"],
    ["Waiting requests to reload or shut down", "{api/control/ORDERS_MAX}; {api/control/TIMEOUT}", "Further ones wait for a place; 503"],
    ["A stall within a body or a line", "{http/BODY_STALL_MAX}", "408"],
    ["Silence between the lines of a stream", "{api/STREAM_SILENCE_MAX}", "408"],
    ["A body that is read as a whole", "{http/BODY_TIME_MAX}", "408"],
    ["A body that passes through, either way", "{drop_in/BODY_BYTES_MAX}; `drop_in.stall_timeout` without a byte; of a request, {drop_in/BYTES_PER_SECOND_MIN} a second on average after that time", "413 or 408; a response breaks off"],
    ["Read-ahead of a form in search of its part `json`", "{drop_in/PREFIX_BYTES_MAX}", "It is looked for while the form passes"],
    ["The head of a part; a boundary", "{http/multipart/HEAD_BYTES_MAX}; {http/multipart/BOUNDARY_BYTES_MAX}", "The form passes unread, and its message doesn't wait for the icon"],
    ["`to` in an interaction", "{model/CHANNEL_CHARS_MAX} characters", "The form passes unread"],
    ["`from` and the payload's id in an interaction", "{drop_in/ENTRY_ID_CHARS_MAX} characters", "The form passes unread"],
    ["Cached credentials", "{salesforce/credentials/SETS_MAX} sets of {salesforce/credentials/SET_BYTES_MAX}; of {salesforce/credentials/CHANNELS_MAX} channels, {salesforce/credentials/SETS_PER_CHANNEL_MAX} each", "The least recently used set goes; a longer one is treated as missing"],
    ["Conversations compared in shadow mode", "{drop_in/shadow/CONVERSATIONS_MAX}", "Only their requests are counted"],
    ["Sockets that systemd passes", "{http/passed/SOCKETS_MAX}", "Exit code 78"],
    ["A page of `GET /v1/conversations`", "{api/conversations/PAGE_MAX}", "400"],
    ["The event history", "{observe/events/EVENTS_MAX} events over all conversations, {observe/events/BYTES_MAX}, {observe/events/AGE_MAX}", "The oldest are dropped"],
    ["Transitions of an explained conversation", "{observe/events/PAST_EVENTS_MAX}", "The newest are returned"],
    ["Readers of `GET /v1/indicators`", "{api/READERS_MAX}", "429 with `Retry-After`"],
    ["Events that such a reader may be behind", "{observe/events/BEHIND_MAX}", "The oldest are left out, with a count"],
    ["Signals that wait for a recording", "{observe/recording/SIGNALS_MAX}", "The recording breaks off"],
    ["Spans that wait for the collector; decisions in progress", "{telemetry/WAITING_MAX}; {telemetry/OPEN_MAX}", "They are lost"],
    ["Lines of the log that wait for its reader; at the end", "{telemetry/queue/QUEUE_BYTES_MAX}; {telemetry/FLUSH_MAX}", "They are dropped, counted and reported"],
    ["An export of spans; its tries", "{telemetry/TRY_MAX}; {telemetry/TRIES_MAX}", "Its spans are lost"],
    ["Conversations that are measured", "{observe/typing/CONVERSATIONS_MAX}, while their users are typing", "Keystrokes of further ones are counted as unmeasured"],
    ["Channels with metrics of their own", "{observe/CHANNELS_NAMED_MAX} of the configuration, and {observe/CHANNELS_OTHER_MAX} others", "They are counted as `other`"],
    ["Decisions of one instant that are measured", "{engine/OBSERVED_MAX}", "The oldest are left out of the metrics"],
    ["Silence of the daemon towards `record` and `tap`", "{cli/SILENCE_MAX}", "It counts as gone"],
    ["Conversations counted in the summary of a recording", "{cli/CONVERSATIONS_COUNTED_MAX}", "Further ones are recorded, not counted"],
    ["Conversations in memory", "`ingest.max_conversations`, at most {config/CONVERSATIONS_MAX}", "The one that has been over the longest is dropped; if all are active, 429"],
    ["How long a late keystroke is recognised by its `at`", "{engine/BARRIER_KEPT} after the message", "It counts as typing"],
    ["Requests a second", "`upstream.max_requests_per_second`, at most {config/REQUESTS_PER_SECOND_MAX}; 1/{engine/BURST_PART} of it in one instant", "They wait; refreshes are shed"],
    ["Requests in flight", "`upstream.max_in_flight`, at most {config/IN_FLIGHT_MAX}", "They wait"],
    ["A connection attempt, a proxy's response included", "{salesforce/CONNECT_TIMEOUT_MAX}, or `upstream.request_timeout` if less", "Retried"],
    ["The body of Salesforce's response", "{salesforce/BODY_BYTES_MAX}", "The rest is not read"],
    ["`Retry-After` of Salesforce", "{salesforce/RETRY_AFTER_MAX}", "Taken for that time"],
    ["A token; a private key file; `ca_file`", "{salesforce/TOKEN_BYTES_MAX}; {base/KEY_FILE_BYTES_MAX}; {base/CA_FILE_BYTES_MAX}", "No token; exit code 78, or the reload changes nothing"],
    ["The configuration file", "{config/layers/FILE_BYTES_MAX}", "Exit code 78"],
    ["A command's wait for the daemon's response", "{cli/ANSWER_MAX}, `reload` {cli/RELOAD_MAX}; {cli/client/ANSWER_BYTES_MAX}", "It fails with exit code 1"],
    ["Conversations and requests that the sandbox keeps", "{sandbox/CONVERSATIONS_MAX}; {sandbox/REQUESTS_MAX}", "503; the oldest are dropped"],
];

fn limits() -> String {
    let mut constants = Vec::new();
    collect(&root().join("src"), &mut constants);
    let row = |row: &[&str; 3]| {
        let mut parts = row[1].split('{');
        let mut bound = parts.next().unwrap().to_owned();
        for (path, rest) in parts.map(|part| part.split_once('}').unwrap()) {
            bound += &constant(&constants, path);
            bound += rest;
        }
        [row[0].to_owned(), bound, row[2].to_owned()]
    };
    let rows = LIMITS.iter().map(row);
    format!(
        "# Limits\n\nEvery queue, table, body and wait is bounded. Keys of the configuration have their bounds in \
         [configuration.md](configuration.md).\n\n{}",
        table(["what", "bound", "beyond it"], rows)
    )
}

/// The constants of the sources: file without its ending, name, expression.
fn collect(directory: &Path, constants: &mut Vec<(String, String, String)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, constants);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root().join("src")).unwrap().with_extension("").to_str().unwrap().to_owned();
            for line in text(&path).lines().filter(|line| line.starts_with("const ") || line.starts_with("pub")) {
                let Some((_, rest)) = line.split_once("const ") else { continue };
                let Some((name, value)) = rest.split_once(": ") else { continue };
                let Some(value) = value.split_once(" = ").and_then(|(_, value)| value.split_once(';')) else {
                    continue;
                };
                constants.push((file.clone(), name.to_owned(), value.0.to_owned()));
            }
        }
    }
}

/// The value of a constant, as people write it.
fn constant(constants: &[(String, String, String)], path: &str) -> String {
    let (place, name) = path.rsplit_once('/').unwrap();
    let at = |file: &str| file == place || file.starts_with(&format!("{place}/"));
    let values: BTreeSet<_> =
        constants.iter().filter(|(file, known, _)| at(file) && known == name).map(|(.., value)| value).collect();
    let value = values.first().unwrap_or_else(|| panic!("src/{place} has no constant {name}"));
    assert_eq!(values.len(), 1, "src/{place} has several constants {name}");
    let amount = |text: &str| -> u64 {
        let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
        // A product, a shift, or the name of another constant of the file.
        let factor = |text: &str| match text.trim() {
            "KIB" => 1024,
            text => number(text).unwrap_or_else(|| panic!("{name} = {text}")),
        };
        match text.split_once("<<") {
            Some((a, b)) => factor(a) << factor(b),
            None => text.split('*').map(factor).product(),
        }
    };
    let inside = |start: &str| value.strip_prefix(start).and_then(|rest| rest.strip_suffix(')')).map(amount);
    if let Some(seconds) = inside("Duration::from_secs(") {
        return match seconds {
            3_600 => "1 hour".to_owned(),
            seconds if seconds >= 120 && seconds.is_multiple_of(60) => format!("{} minutes", seconds / 60),
            seconds => format!("{seconds} s"),
        };
    }
    if let Some(millis) = inside("Duration::from_millis(") {
        return format!("{millis} ms");
    }
    let number = amount(value);
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, bits)| name.contains("BYTES") && number.is_multiple_of(1 << bits));
    if let Some((unit, bits)) = unit {
        return format!("{} {unit}", number >> bits);
    }
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",") + if name.contains("BYTES") { " bytes" } else { "" }
}

/// The pages that people write.
pub(crate) fn guides() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    [root().join("README.md")].into_iter().chain(pages).map(|path| (path.clone(), text(&path))).collect()
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let anchors = |page: &str| -> Vec<String> {
        let heads = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        let kept = |c: &char| c.is_alphanumeric() || *c == '-' || *c == '_';
        heads.map(|head| head.to_lowercase().replace(' ', "-").chars().filter(kept).collect()).collect()
    };
    for (path, page) in guides() {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            let known = anchor.is_empty() || anchors(&text(&target)).iter().any(|known| known == anchor);
            assert!(known, "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_guides_name_only_what_exists() {
    let (_sandbox, daemon) = pair("drop_in.enabled = true");
    let metrics: BTreeSet<_> = exposed(&daemon).into_iter().map(|metric| metric.name).collect();
    let tables: BTreeSet<_> = KEYS.iter().filter_map(|key| key.path.split('.').next()).collect();
    for (path, page) in guides() {
        let words: Vec<_> = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).collect();
        for word in words.iter().filter(|word| word.starts_with("typingd_") || word.starts_with("process_")) {
            let word = word.trim_end_matches('.');
            let base = word.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
            let other = page.contains(&format!("{word}*")) || word == "typingd_";
            assert!(other || metrics.contains(word) || metrics.contains(base), "{}: {word}", path.display());
        }
        // `drop_in.settle`, in code.
        for word in page.split('`').skip(1).step_by(2) {
            let is_key = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
            let Some((table, _)) = word.split_once('.').filter(|_| word.chars().all(is_key)) else { continue };
            if tables.contains(table) {
                assert!(KEYS.iter().any(|key| key.path.starts_with(word)), "{}: {word}", path.display());
            }
        }
    }
    // Each measure that can be limited is explained.
    let said = run(&["tune", "tests/data/typists.ndjson", "--want", "x>=1"]).stderr;
    let names = said.split("there is no measure `x`").nth(1).unwrap_or_else(|| panic!("{said}"));
    let tuning = text(&root().join("docs/tuning.md"));
    let names: Vec<_> = names.split([',', ' ', ';']).filter(|name| name.contains('_') || *name == "recall").collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(tuning.contains(&format!("`{name}`")), "{name}");
    }
}
