//! The interface's description, held against the interface: every call is made, every answer is what the description
//! says, and nothing is there that it does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use crate::bench::{Daemon, JSON, NDJSON, Sandbox, pair, signal_of};
use crate::process::{Process, typingd, until};
use crate::wire::{Address, Answer, Headers, Wire};

/// What the schemas' own addresses are relative to.
const HOME: &str = "http://typingd/openapi.json";
/// What would need a daemon that is stuck, 2,000 channels, an authority that is down, or more readers than a small
/// machine has room for: other tests see to these.
const NOT_DRIVEN: [(&str, &str); 4] =
    [("*", "503"), ("PUT /v1/timing/{to}", "409"), ("POST /v1/reload", "409"), ("GET /v1/indicators", "429")];

/// The description that a daemon gives of itself, and whoever holds answers against it.
struct Description {
    document: Value,
    /// Which statuses of which calls were seen.
    seen: BTreeSet<(String, String)>,
}

impl Description {
    fn of(address: &Address) -> Self {
        let answer = address.get("/openapi.json");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        Self { document: answer.json(), seen: BTreeSet::new() }
    }

    /// Every call: its method, its path, and what is said of it.
    fn calls(&self) -> Vec<(String, String, &Value)> {
        let mut calls = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                calls.push((method.to_uppercase(), path.clone(), operation));
            }
        }
        calls
    }

    /// What a reference leads to, and where it stands.
    fn resolve<'a>(&'a self, pointer: String, value: &'a Value) -> (String, &'a Value) {
        match value["$ref"].as_str() {
            Some(to) => {
                let to = to.strip_prefix('#').unwrap();
                (to.to_owned(), self.document.pointer(to).unwrap_or_else(|| panic!("{to} leads nowhere")))
            }
            None => (pointer, value),
        }
    }

    /// Holds an answer against what is said of `method` and `path`.
    fn hold(&mut self, method: &str, path: &str, answer: &Answer) {
        let name = format!("{method} {path}");
        let status = answer.status.to_string();
        let place = format!("/paths/{}/{}/responses/{status}", path.replace('/', "~1"), method.to_lowercase());
        let said = self.document.pointer(&place).unwrap_or_else(|| panic!("{name}: {status} is not there: {answer:?}"));
        let (place, said) = self.resolve(place.clone(), said);
        let kind = answer.header("content-type").unwrap_or_else(|| panic!("{name}: no content type: {answer:?}"));
        let media = kind.split(';').next().unwrap();
        let content = &said["content"][media];
        assert!(content.is_object(), "{name} {status}: {kind} is not there");
        let schema = format!("{place}/content/{}", media.replace('/', "~1"));
        let check = |what: &str, value: &Value| self.check(&format!("{schema}/{what}"), value, &name);
        match (media, &content["x-item-schema"]) {
            ("application/json" | "application/problem+json", _) => check("schema", &answer.json()),
            (_, Value::Null) => check("schema", &answer.body.clone().into()),
            ("text/event-stream", _) => {
                let data: Vec<_> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                assert!(!data.is_empty(), "{name}: no event");
                data.iter().for_each(|data| check("x-item-schema", &serde_json::from_str(data).unwrap()));
            }
            _ => {
                // Between them there may be blank ones, and the lengths of chunks.
                let lines: Vec<_> = answer.body.lines().filter(|line| line.starts_with('{')).collect();
                assert!(!lines.is_empty(), "{name}: no line");
                lines.iter().for_each(|line| check("x-item-schema", &serde_json::from_str(line).unwrap()));
            }
        }
        for required in said["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
            // A daemon that does not answer at all does not know when it will.
            assert!(answer.header(required).is_some() || status == "503", "{name} {status}: no {required}: {answer:?}");
        }
        self.seen.insert((name, status));
    }

    fn check(&self, pointer: &str, value: &Value, name: &str) {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource(HOME, self.document.clone()).unwrap();
        let pointer = pointer.replace('{', "%7B").replace('}', "%7D").replace('+', "%2B");
        let index =
            compiler.compile(&format!("{HOME}#{pointer}"), &mut schemas).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        if let Err(error) = schemas.validate(value, index) {
            panic!("{name}: {error}\n{value:#}");
        }
    }
}

/// What a stream brings once it has begun and `provoke` has been done: all until `enough` is there, as an answer.
fn beginning(address: &Address, path: &str, provoke: impl FnOnce(), enough: &str) -> (Wire, Answer) {
    let mut wire = address.connect().unwrap();
    wire.head("GET", path, &[], "accept: */*");
    let mut text = String::from_utf8(wire.some()).unwrap();
    provoke();
    until(enough, || {
        text.push_str(&String::from_utf8(wire.some()).unwrap());
        text.contains(enough)
    });
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    // Without the lengths of its chunks, and without what has come by halves.
    let body = rest.lines().filter(|line| line.ends_with('}') && (line.starts_with('{') || line.starts_with("data: ")));
    let body = body.map(|line| format!("{line}\n")).collect();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (wire, Answer { status, head: head.to_owned(), body })
}

/// A call: its method, the path as the description has it, what is called in its place or stands behind it, headers, body.
type Call<'a> = (&'a str, &'a str, &'a str, Headers<'a>, &'a str, u16);

fn make(description: &mut Description, address: &Address, calls: &[Call<'_>]) {
    for (method, template, rest, headers, body, status) in calls {
        let path = if rest.starts_with('/') { (*rest).to_owned() } else { format!("{template}{rest}") };
        let answer = address.call(method, &path, headers, body.as_bytes());
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        description.hold(method, template, &answer);
    }
}

const TRACE: &str = r#"{"to":"c","from":"u","signal":"keystroke","at":0}
{"to":"c","from":"u","signal":"message_sent","at":9000}
"#;

#[test]
fn every_call_answers_as_its_description_says() {
    let settings = "timing.dismiss_after = '1m'\ningest.max_conversations = 6\ningest.max_body = '1KiB'\n\
                    ingest.recording = true\nchannels.own.dismiss_after = '3s'\ndrop_in.enabled = true";
    let (sandbox, mut daemon) = pair(settings);
    let address = daemon.address.clone();
    let mut description = Description::of(&address);
    until("ready", || address.get("/readyz").status == 200);
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");

    // What goes on and on.
    let (_recorder, recorded) =
        beginning(&address, "/v1/signals/stream", || daemon.give("c", "ann", "keystroke"), "keystroke");
    description.hold("GET", "/v1/signals/stream", &recorded);
    make(&mut description, &address, &[("GET", "/v1/signals/stream", "", &[], "", 409)]);
    let (_reader, told) = beginning(&address, "/v1/indicators", || daemon.give("c", "ann", "stopped"), "\"outcome\"");
    description.hold("GET", "/v1/indicators", &told);

    let key = signal_of("c", "ann", "keystroke").to_string();
    let crowd = |name: &str| {
        json!((0..4).map(|i| signal_of("c", &format!("{name}{i}"), "keystroke")).collect::<Vec<_>>()).to_string()
    };
    let (one, other, long, longer) = (crowd("a"), crowd("b"), " ".repeat(5_000), " ".repeat(300_000));
    let calls: &[Call<'_>] = &[
        ("POST", "/v1/signals", "?wait=10ms", &[JSON], &key, 202),
        ("POST", "/v1/signals", "", &[JSON], &one, 202),
        ("POST", "/v1/signals", "", &[NDJSON], &key, 202),
        ("POST", "/v1/signals", "", &[JSON], "{}", 400),
        ("POST", "/v1/signals", "?wait=soon", &[JSON], "{}", 400),
        ("POST", "/v1/signals", "", &[JSON], &long, 413),
        ("POST", "/v1/signals", "", &[], "", 415),
        ("POST", "/v1/signals", "", &[JSON], &other, 202),
        ("POST", "/v1/signals", "", &[JSON], r#"{"to":"x","from":"y","signal":"keystroke"}"#, 429),
        ("GET", "/v1/signals/stream", "?from=x", &[], "", 400),
        ("GET", "/v1/indicators", "?from=x", &[], "", 400),
        ("GET", "/v1/conversations", "", &[], "", 200),
        ("GET", "/v1/conversations", "?limit=1&icon=true&to=c", &[], "", 200),
        ("GET", "/v1/conversations", "?to=c&from=ann", &[], "", 200),
        ("GET", "/v1/conversations", "?to=c&from=nobody", &[], "", 404),
        ("GET", "/v1/conversations", "?limit=0", &[], "", 400),
        ("GET", "/v1/timing", "", &[], "", 200),
        ("GET", "/v1/timing", "?to=c", &[], "", 400),
        ("PUT", "/v1/timing", "", &[JSON], r#"{"check_interval": "6s"}"#, 200),
        ("PUT", "/v1/timing", "", &[], r#"{"check_interval": 6}"#, 400),
        ("PUT", "/v1/timing", "", &[], &long, 413),
        ("DELETE", "/v1/timing", "", &[], "", 200),
        ("DELETE", "/v1/timing", "?all", &[], "", 400),
        ("DELETE", "/v1/timing", "", &[], &long, 413),
        ("PUT", "/v1/timing/candidates", "", &[JSON], r#"["idle 10s/5s"]"#, 200),
        ("PUT", "/v1/timing/candidates", "", &[], r#"["idle"]"#, 400),
        ("PUT", "/v1/timing/candidates", "", &[], &long, 413),
        ("PUT", "/v1/timing/{to}", "/v1/timing/a%2Fb", &[JSON], r#"{"dismiss": "after_shown"}"#, 200),
        ("PUT", "/v1/timing/{to}", "/v1/timing/c", &[], "[]", 400),
        ("PUT", "/v1/timing/{to}", "/v1/timing/c", &[], &long, 413),
        ("DELETE", "/v1/timing/{to}", "/v1/timing/own", &[], "", 200),
        ("DELETE", "/v1/timing/{to}", "/v1/timing/c", &[], "", 404),
        ("DELETE", "/v1/timing/{to}", "/v1/timing/c?all", &[], "", 400),
        ("DELETE", "/v1/timing/{to}", "/v1/timing/c", &[], &long, 413),
        ("POST", "/v1/tune", "?check=5s,10s&dismiss=2s", &[NDJSON], TRACE, 200),
        ("POST", "/v1/tune", "?check=5s&dismiss=2s&format=html", &[NDJSON], TRACE, 200),
        ("POST", "/v1/tune", "?check=5", &[NDJSON], TRACE, 400),
        ("POST", "/v1/tune", "?check=1s..100s&dismiss=1s..100s", &[NDJSON], TRACE, 413),
        ("POST", "/v1/tune", "", &[JSON], TRACE, 415),
        ("POST", "/v1/simulate", "?check=5s&dismiss=2s&mode=idle", &[NDJSON], TRACE, 200),
        ("POST", "/v1/simulate", "?mode=x", &[NDJSON], TRACE, 400),
        ("POST", "/v1/simulate", "", &[NDJSON], &longer, 413),
        ("POST", "/v1/simulate", "", &[], TRACE, 415),
        ("GET", "/healthz", "", &[], "", 200),
        ("GET", "/readyz", "", &[], "", 200),
        ("GET", "/metrics", "", &[], "", 200),
        ("GET", "/metrics", "", &[("accept", "application/openmetrics-text")], "", 200),
        ("GET", "/openapi.json", "", &[], "", 200),
        ("GET", "/v1/status", "", &[], "", 200),
        ("GET", "/v1/status", "?all", &[], "", 400),
        ("GET", "/v1/log", "", &[], "", 200),
        ("GET", "/v1/log", "?all", &[], "", 400),
        ("PUT", "/v1/log", "", &[JSON], r#"{"level": "warn"}"#, 200),
        ("PUT", "/v1/log", "", &[JSON], r#"{"level": "loud"}"#, 400),
        ("PUT", "/v1/log", "", &[JSON], &long, 413),
        ("GET", "/v1/drop_in", "", &[], "", 200),
        ("GET", "/v1/sandbox/icons", "?to=c&from=ann", &[], "", 404),
        ("POST", "/v1/reload", "", &[], "", 200),
        ("POST", "/v1/reload", "?now", &[], "", 400),
        ("POST", "/v1/reload", "", &[], "x", 413),
        ("POST", "/v1/shutdown", "?now", &[], "", 400),
        ("POST", "/v1/shutdown", "", &[], "x", 413),
    ];
    make(&mut description, &address, calls);
    // Every call refuses an option that it doesn't know, and a page of somebody else's.
    let all: Vec<_> = description.calls().into_iter().map(|(method, path, _)| (method, path)).collect();
    for (method, path) in all.iter().filter(|(method, path)| method == "GET" && path != "/v1/sandbox/icons") {
        let answer = address.get(&format!("{path}?no_such_option=1"));
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        assert!(answer.problem().contains("unknown option `no_such_option`"), "{method} {path}: {answer:?}");
        description.hold(method, path, &answer);
    }
    for (method, path) in &all {
        let answer = address.call(method, &path.replace("{to}", "c"), &[("origin", "https://evil.example")], b"");
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        description.hold(method, path, &answer);
    }
    // And nobody is waited for who says no more. All at once: each takes its time.
    let mut stalled = Vec::new();
    for (method, path) in all.iter().filter(|(method, _)| method != "GET") {
        let mut wire = address.connect().unwrap();
        let kind = if matches!(path.as_str(), "/v1/tune" | "/v1/simulate") { NDJSON } else { JSON };
        wire.head(method, &path.replace("{to}", "c"), &[kind], "transfer-encoding: chunked");
        stalled.push((method, path, wire));
    }
    for (method, path, mut wire) in stalled {
        let answer = wire.answer();
        assert_eq!(answer.status, 408, "{method} {path}: {answer:?}");
        description.hold(method, path, &answer);
    }
    // The configuration, wrong.
    let file = daemon.file("typingd.toml");
    std::fs::write(&file, format!("{}\ntiming.chek = 5\n", std::fs::read_to_string(&file).unwrap())).unwrap();
    make(
        &mut description,
        &address,
        &[("POST", "/v1/reload", "", &[], "", 422), ("POST", "/v1/shutdown", "", &[], "", 202)],
    );
    daemon.process.end();

    with_a_token(&mut description, &all);
    with_its_sandbox(&mut description);

    let said: BTreeSet<(String, String)> = description
        .calls()
        .iter()
        .flat_map(|(method, path, call)| {
            let statuses = call["responses"].as_object().unwrap().keys().cloned();
            statuses.map(|status| (format!("{method} {path}"), status)).collect::<Vec<_>>()
        })
        .filter(|(call, status)| !NOT_DRIVEN.iter().any(|(c, s)| s == status && (*c == "*" || c == call)))
        .collect();
    let unseen: Vec<_> = said.difference(&description.seen).collect();
    assert!(unseen.is_empty(), "described, and never seen: {unseen:?}");
}

/// A daemon that asks for a token, by every call that says it does, and by no other.
fn with_a_token(description: &mut Description, all: &[(String, String)]) {
    let sandbox = Sandbox::start(&[]);
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    for (method, path) in all {
        let place = format!("/paths/{}/{}/responses/401", path.replace('/', "~1"), method.to_lowercase());
        let asks = description.document.pointer(&place).is_some();
        let absent = matches!(path.as_str(), "/v1/drop_in" | "/v1/sandbox/icons");
        let answer = daemon.address.call(method, &path.replace("{to}", "c"), &[], b"");
        match answer.status {
            401 => description.hold(method, path, &answer),
            404 if absent => description.hold(method, path, &answer),
            status => assert!(!asks && status != 404, "{method} {path}: {answer:?}"),
        }
    }
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    make(description, &daemon.address, &[("POST", "/v1/shutdown", "?follow=true", token, "", 202)]);
    daemon.process.end();
}

/// A daemon with its own sandbox; with a token, too, for what only it has.
fn with_its_sandbox(description: &mut Description) {
    let directory = tempfile::tempdir().unwrap();
    let (config, callers) = (directory.path().join("c.toml"), directory.path().join("callers"));
    std::fs::write(&callers, "c4llers").unwrap();
    std::fs::write(&config, "ingest.token_file = 'callers'\ndrop_in.enabled = true\n").unwrap();
    let mut process =
        Process::start(typingd(&["run", "--sandbox", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]));
    let address = process.address();
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    make(
        description,
        &address,
        &[
            ("GET", "/v1/sandbox/icons", "?to=c&from=ann", token, "", 200),
            ("GET", "/v1/sandbox/icons", "?to=c", token, "", 400),
            ("GET", "/v1/sandbox/icons", "?to=c&from=ann&no_such_option=1", token, "", 400),
            ("GET", "/v1/sandbox/icons", "?to=c&from=ann", &[], "", 401),
            ("GET", "/v1/drop_in", "", &[], "", 401),
        ],
    );
    process.stop();
}

#[test]
fn what_is_described_is_there_and_what_is_there_is_described() {
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]));
    let address = process.address();
    let description = Description::of(&address);
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, call) in description.calls() {
        assert!(call["operationId"].is_string() && call["summary"].is_string(), "{method} {path}");
        if method == "GET" {
            methods.entry(path.clone()).or_default().insert("HEAD".to_owned());
        }
        methods.entry(path).or_default().insert(method);
    }
    for (path, methods) in &methods {
        let answer = address.call("OPTIONS", &path.replace("{to}", "c"), &[], b"");
        if answer.status == 404 && path == "/v1/drop_in" {
            continue;
        }
        let allowed: BTreeSet<_> = answer.header("allow").unwrap_or_default().split(',').map(str::to_owned).collect();
        assert_eq!(&allowed, methods, "{path}: {answer:?}");
    }
    process.stop();

    // The routes in the sources; those of the sandbox are another server's.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let routes: BTreeSet<_> =
        routes(&sources).into_iter().filter(|path| !NOT_DESCRIBED.contains(&path.as_str())).collect();
    assert_eq!(routes, methods.keys().cloned().collect());
}

/// The literal paths of all routes under a directory.
fn routes(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("http") {
            found.extend(routes(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("sandbox/endpoint.rs")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let after =
                text.split(".route(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
            found.extend(after.map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_example_is_what_its_schema_says() {
    let mut process = Process::start(typingd(&["run", "--sandbox", "--listen", "127.0.0.1:0"]));
    let description = Description::of(&process.address());
    process.stop();
    let mut examples = 0;
    let mut places = vec![(String::new(), &description.document)];
    while let Some((place, value)) = places.pop() {
        let schema = format!("{place}/schema");
        let items = format!("{place}/x-item-schema");
        let named = value["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for example in named.chain(value.get("example")) {
            examples += 1;
            description.check(&schema, example, &place);
            let lines =
                example.as_str().filter(|_| value["x-item-schema"].is_object()).into_iter().flat_map(str::lines);
            for line in lines.map(|line| line.trim_start_matches("data: ")).filter(|line| line.starts_with('{')) {
                description.check(&items, &serde_json::from_str(line).unwrap(), &place);
            }
        }
        match value {
            Value::Object(members) => places.extend(
                members
                    .iter()
                    .map(|(name, member)| (format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), member)),
            ),
            Value::Array(items) => {
                places.extend(items.iter().enumerate().map(|(i, item)| (format!("{place}/{i}"), item)))
            }
            _ => {}
        }
    }
    assert!(examples > 30, "{examples}");
}

/// What is no part of the interface: the console is for people, and a channel without a name is refused.
const NOT_DESCRIBED: [&str; 2] = ["/", "/v1/timing/"];
