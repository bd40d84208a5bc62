//! Deliberate mistakes: each is planted into a copy of the engine, and the simulation suite must notice it.
//!
//! The engine names nothing but `std`, the model and the hash table, and the suite nothing but these two, so that a
//! copy of them is a crate of its own that builds in seconds. The test is ignored by default, for it runs cargo for
//! each: `cargo test --test mutants -- --ignored`. `TYPINGD_MISTAKES=fleet` plants those that have this in their
//! name or in their file's.

mod fleet;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// A mistake: in this file of the engine (or from there), this text (which occurs once) is replaced by that.
struct Mistake {
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "a stop overtakes the Started in flight",
        file: "outbox.rs",
        right: "if self.in_flight.is_some() || self.not_before > now {",
        wrong: "if self.not_before > now {",
    },
    Mistake {
        name: "a Started whose effect is unknown owes nothing",
        file: "outbox.rs",
        right: "if !(started && was_on) {",
        wrong: "if !started {",
    },
    Mistake {
        name: "a Stopped whose effect is unknown counts as done",
        file: "outbox.rs",
        right: "                    self.acknowledged = Acknowledged::Unknown;",
        wrong: "                    self.acknowledged = if started { Acknowledged::Unknown } else { Acknowledged::Off };",
    },
    Mistake {
        name: "a rejected Started is taken for shown",
        file: "outbox.rs",
        right: "                if !started {\n                    self.acknowledged = Acknowledged::Off;",
        wrong: "                if started {\n                    self.acknowledged = Acknowledged::On;\n                } else {\n                    self.acknowledged = Acknowledged::Off;",
    },
    Mistake {
        name: "a Started that waited too long is sent all the same",
        file: "outbox.rs",
        right: "Indicator::TypingStarted => self.started,",
        wrong: "Indicator::TypingStarted => self.started * 4,",
    },
    Mistake {
        name: "a Stopped that was not sent is forgotten",
        file: "outbox.rs",
        right: "            Verdict::Retry => {\n                self.schedule_retry(now, outcome, backoff);",
        wrong: "            Verdict::Retry => {\n                self.desired = None;\n                self.schedule_retry(now, outcome, backoff);",
    },
    Mistake {
        name: "a Started replaced by its stop leaves a stop behind",
        file: "outbox.rs",
        right: "self.in_flight.is_none() && self.acknowledged == Acknowledged::Off && self.owes_stop()",
        wrong: "false && self.in_flight.is_none()",
    },
    Mistake {
        name: "a refresh is as urgent as a first Started",
        file: "outbox.rs",
        right: "(Indicator::TypingStarted, Acknowledged::On) => Urgency::Refresh,",
        wrong: "(Indicator::TypingStarted, Acknowledged::On) => Urgency::Stop,",
    },
    Mistake {
        name: "what an earlier process left on is not owed",
        file: "outbox.rs",
        right: "self.acknowledged == Acknowledged::Off {\n            self.acknowledged = Acknowledged::Unknown;",
        wrong: "false {\n            self.acknowledged = Acknowledged::Unknown;",
    },
    Mistake {
        name: "the icon goes off dismiss after the first key, not the last",
        file: "timing.rs",
        right: "let paused = self.last_key.saturating_add(rules.dismiss);",
        wrong: "let paused = self.run_start.saturating_add(rules.dismiss);",
    },
    Mistake {
        name: "a check wins over an idle deadline of the same instant",
        file: "timing.rs",
        right: "            (phase, Mode::Idle) => {\n                each(paused, Timer::Paused);",
        wrong: "            (phase, Mode::Idle) => {\n                if phase == Phase::Burst {\n                    each(check, Timer::Check);\n                }\n                each(paused, Timer::Paused);",
    },
    Mistake {
        name: "a message leaves the icon on",
        file: "timing.rs",
        right: "        self.last_key = 0;\n        self.hide(reason)\n    }\n\n    fn show",
        wrong: "        self.last_key = 0;\n        None.or((reason == Reason::Shutdown).then_some(reason))\n    }\n\n    fn show",
    },
    Mistake {
        name: "max_typing never falls due",
        file: "timing.rs",
        right: "each(max_typing, Timer::MaxTyping);\n                if phase",
        wrong: "if phase",
    },
    Mistake {
        name: "typing that lasts is not refreshed",
        file: "timing.rs",
        right: "if self.key_since || self.last_key > due {\n                    self.show(due);",
        wrong: "if self.key_since {\n                    self.show(due);",
    },
    Mistake {
        name: "typing that lasts is refreshed at its own end",
        file: "timing.rs",
        right: "if self.key_since || self.last_key > due {\n                    self.show(due);",
        wrong: "if self.key_since || self.last_key >= due {\n                    self.show(due);",
    },
    Mistake {
        name: "a changed check interval goes on from the checks of the old one",
        file: "timing.rs",
        right: "        if self.phase == Phase::Burst {\n            self.pass_checks(rules, floor);\n        }",
        wrong: "        let _ = Self::pass_checks;",
    },
    Mistake {
        name: "what a change brings forward is decided in the past",
        file: "timing.rs",
        right: "let at = at.max(floor);",
        wrong: "let _ = floor;",
    },
    Mistake {
        name: "a loop that comes late refreshes for each check that it missed",
        file: "timing.rs",
        right: "if LATE && matches!(timer, Timer::Check) && now - due >= rules.check {",
        wrong: "if false && now - due >= rules.check {",
    },
    Mistake {
        name: "what was due before a change goes by the new rules",
        file: "changes.rs",
        right: "happens under the old rules.\n        self.advance_under(at, slot, before);",
        wrong: "happens under the old rules.",
    },
    Mistake {
        name: "a conversation that is touched doesn't follow first",
        file: "changes.rs",
        right: "if self.tracker.entry(slot).generation == self.changes.generation {",
        wrong: "if self.tracker.entry(slot).generation == self.changes.generation || self.changes.are_under_way() {",
    },
    Mistake {
        name: "a change is taken for done when the first slice is",
        file: "changes.rs",
        right: "        self.changes.next = Some(next);\n    }",
        wrong: "        self.changes.next = None;\n        self.changes.under_way = Vec::new();\n        let _ = next;\n    }",
    },
    Mistake {
        name: "typing that lasts outlives the message",
        file: "timing.rs",
        right: "        self.last_key = 0;\n        self.hide(reason)",
        wrong: "        self.hide(reason)",
    },
    Mistake {
        name: "the next keystroke cuts typing that lasts short",
        file: "timing.rs",
        right: "self.last_key = self.last_key.max(until.as_micros());",
        wrong: "self.last_key = until.as_micros();",
    },
    Mistake {
        name: "a late keystroke is not known by its time",
        file: "mod.rs",
        right: "if signal.at.is_some_and(|at| at < barrier) {",
        wrong: "if signal.at.is_some_and(|at| at + 1 < barrier) {",
    },
    Mistake {
        name: "a late keystroke of a user who types on is not known",
        file: "tracker.rs",
        right: "&& at < extras.barrier",
        wrong: "&& at < 1.min(extras.barrier)",
    },
    Mistake {
        name: "a key after a pause is taken for further typing",
        file: "tracker.rs",
        right: "let broken = entry.timing.micros_since_key(now) >= u64::from(entry.pause);",
        wrong: "let broken = entry.timing.micros_since_key(now) > u64::MAX / 2;",
    },
    Mistake {
        name: "a key of a user who types on overlooks what falls due",
        file: "tracker.rs",
        right: "broken || now >= entry.quiet_until",
        wrong: "broken || entry.quiet_until == Instant::ORIGIN",
    },
    Mistake {
        name: "a key that brings max_typing into play arms no timer",
        file: "timing.rs",
        right: "if until < due { Instant::ORIGIN } else { until }",
        wrong: "if until < due { until } else { until }",
    },
    Mistake {
        name: "a key of a user who types on does not follow a change first",
        file: "tracker.rs",
        right: " || entry.generation != newest {",
        wrong: " || entry.generation.wrapping_sub(newest) == 1 {",
    },
    Mistake {
        name: "extras go while a request is owed",
        file: "tracker.rs",
        right: "self.barrier == 0 && self.outbox.is_at_rest()",
        wrong: "self.barrier == 0 && self.outbox.in_flight().is_none()",
    },
    Mistake {
        name: "requests in flight don't count towards the rate",
        file: "pace.rs",
        right: "self.in_flight + self.answered.len()",
        wrong: "self.answered.len()",
    },
    Mistake {
        name: "the circuit breaker before a failing upstream never closes again",
        file: "pace.rs",
        right: "else { self.breaker = CLOSED }",
        wrong: "else if !self.is_breaker_open() { self.breaker = CLOSED }",
    },
    Mistake {
        name: "one poisoned conversation opens the circuit breaker",
        file: "pace.rs",
        right: "if *last_failed != slot {",
        wrong: "if *last_failed != slot || true {",
    },
    Mistake {
        name: "a rate limit's Retry-After is not honoured",
        file: "pace.rs",
        right: "self.paused_until = self.paused_until.max(now + retry_after.unwrap_or(RATE_PAUSE));",
        wrong: "let _ = (retry_after, RATE_PAUSE);",
    },
    Mistake {
        name: "a muted conversation is not left alone",
        file: "tracker.rs",
        right: "let muted = if self.muted || channel_muted {",
        wrong: "let muted = if channel_muted {",
    },
    Mistake {
        name: "a deadline beyond one turn of the wheel is lost",
        file: "wheel.rs",
        right: "let tick = self.tick_of(due);",
        wrong: "let tick = self.tick_of(due);\n        if due.as_micros().div_ceil(TICK_MICROS) > tick {\n            self.disarm(links, slot, place);\n            return Place::NONE;\n        }",
    },
    Mistake {
        name: "a conversation that is over is never forgotten",
        file: "upkeep.rs",
        right: "} else if !busy && retained_until > now {",
        wrong: "} else if !busy && retained_until >= Instant::ORIGIN {",
    },
    Mistake {
        name: "a message does not wait for the one before it",
        file: "order.rs",
        right: "            if front.ticket == ticket {",
        wrong: "            if front.ticket == ticket || front.typing.is_none() {",
    },
    Mistake {
        name: "a key does not wait for the message before it",
        file: "order.rs",
        right: "        let first = queue.is_empty();",
        wrong: "        let first = queue.len() < 2;",
    },
    Mistake {
        name: "typing before a message waits on behind it",
        file: "order.rs",
        right: "let replaced = if waits { queue.pop_back().map(|last| last.waker) } else { None };",
        wrong: "let replaced = if waits { queue.pop_front().map(|last| last.waker) } else { None };",
    },
    Mistake {
        name: "the next request is not woken when its turn has come",
        file: "order.rs",
        right: "let goes_on = index == 0 || queue[index - 1].free_at != Instant::NEVER;",
        wrong: "let goes_on = index > 0;",
    },
    Mistake {
        name: "whom nobody holds up any more is not woken when one before it is given up",
        file: "order.rs",
        right: "let goes_on = index == 0 || queue[index - 1].free_at != Instant::NEVER;",
        wrong: "let goes_on = index == 0;",
    },
    Mistake {
        name: "a message gives way the moment it is written",
        file: "order.rs",
        right: "            if front.free_at <= now {",
        wrong: "            if front.free_at != Instant::NEVER {",
    },
    Mistake {
        name: "a message that is written holds up the next until its answer",
        file: "order.rs",
        right: "            if front.free_at <= now {",
        wrong: "            if front.free_at < Instant::ORIGIN {",
    },
    Mistake {
        name: "a message waits for a stuck one without end",
        file: "order.rs",
        right: "Some(begun) => deadline.max(begun + grace),",
        wrong: "Some(begun) => deadline.max(begun + grace * 200),",
    },
];

/// The mistakes, each with the choice of tests that must notice it.
fn mistakes() -> impl Iterator<Item = (&'static Mistake, &'static [&'static str])> {
    let engine = MISTAKES.iter().map(|mistake| (mistake, ENGINE_TESTS));
    engine.chain(fleet::MISTAKES.iter().map(|mistake| (mistake, FLEET_TESTS)))
}

const ENGINE_TESTS: &[&str] = &["--skip", "fleet"];
const FLEET_TESTS: &[&str] = &["fleet"];

const MANIFEST: &str = r#"[package]
name = "typingd"
version = "0.0.0"
edition = "2024"

[dependencies]
hashbrown = { version = "0.17", default-features = false }
foldhash = { version = "0.2", default-features = false }

[dev-dependencies]
allocation-counter = { version = "0.8", default-features = false }

[profile.dev]
opt-level = 1
debug = false
"#;

/// Copies what the suite needs of the project into `copy`.
fn plant(project: &Path, copy: &Path) {
    let folders = ["src/engine", "src/fleet", "src/model", "tests/simulation"];
    for folder in folders {
        fs::create_dir_all(copy.join(folder)).expect("a folder of its own");
        for entry in fs::read_dir(project.join(folder)).expect("the project's folder") {
            let path = entry.expect("readable").path();
            fs::copy(&path, copy.join(folder).join(path.file_name().expect("a file"))).expect("copied");
        }
    }
    fs::copy(project.join("Cargo.lock"), copy.join("Cargo.lock")).expect("copied");
    fs::write(copy.join("Cargo.toml"), MANIFEST).expect("written");
    fs::write(copy.join("src/lib.rs"), "pub mod engine;\npub mod fleet;\npub mod model;\n").expect("written");
}

/// Runs the suite in `copy` until a test of it fails. Returns whether it built, and whether it passed; a suite that hangs
/// has noticed something.
fn suite(copy: &Path, tests: &[&str]) -> (bool, bool) {
    let cargo = |arguments: &[&str], output| {
        let mut command = Command::new(env!("CARGO"));
        // Settings of the project's own build must not reach the copy's.
        command.args(arguments).current_dir(copy).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        command.env("TYPINGD_SIMULATION_SEEDS", "8").stdout(output).stderr(Stdio::null()).process_group(0);
        command.spawn().expect("cargo runs")
    };
    let build = &["test", "--offline", "--test", "simulation", "--no-run"];
    if !cargo(build, Stdio::null()).wait().expect("it ends").success() {
        return (false, false);
    }
    let mut run = cargo(&[&["test", "--offline", "--test", "simulation", "--"], tests].concat(), Stdio::piped());
    let output = BufReader::new(run.stdout.take().expect("piped"));
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    loop {
        match lines.recv_timeout(TEST_TIME_MAX) {
            Ok(line) if line.ends_with("FAILED") => break,
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return (true, run.wait().expect("it ends").success()),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", run.id())]).status();
    let _ = (run.wait(), reader.join());
    (true, false)
}

/// Mistakes that are tried at the same time.
const WORKERS: usize = 2;
/// Without a mistake a test takes a few seconds at most.
const TEST_TIME_MAX: Duration = Duration::from_secs(60);

#[test]
#[ignore = "runs cargo for each of its mistakes: cargo test --test mutants -- --ignored"]
fn the_simulation_notices_every_planted_mistake() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var("TYPINGD_MISTAKES").unwrap_or_default();
    let chosen =
        mistakes().filter(|(mistake, _)| [mistake.name, mistake.file].iter().any(|text| text.contains(&named)));
    let (next, missed) = (Mutex::new(chosen), Mutex::new(Vec::new()));
    // Each builds and runs by itself: much of either keeps no more than one core busy.
    let worker = || {
        let copy = tempfile::tempdir().expect("a place for the copy");
        let copy = copy.path();
        plant(project, copy);
        for tests in [ENGINE_TESTS, FLEET_TESTS] {
            assert_eq!(suite(copy, tests), (true, true), "without a mistake the suite passes");
        }
        let take = || next.lock().expect("no worker failed").next();
        while let Some((mistake, tests)) = take() {
            let path = copy.join("src/engine").join(mistake.file);
            let text = fs::read_to_string(&path).expect("readable");
            assert_eq!(text.matches(mistake.right).count(), 1, "`{}`: the place has changed", mistake.name);
            fs::write(&path, text.replace(mistake.right, mistake.wrong)).expect("writable");
            let (built, passed) = suite(copy, tests);
            assert!(built, "`{}` does not build", mistake.name);
            println!("{}: {}", if passed { "MISSED" } else { "noticed" }, mistake.name);
            if passed {
                missed.lock().expect("no worker failed").push(mistake.name);
            }
            fs::write(&path, text).expect("writable");
        }
    };
    thread::scope(|scope| {
        (0..WORKERS).for_each(|_| drop(scope.spawn(worker)));
    });
    let missed = missed.into_inner().expect("no worker failed");
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}

/// Cheap enough for every run: a mistake whose place has moved would be planted nowhere.
#[test]
fn every_mistake_still_has_its_place() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    for (mistake, _) in mistakes() {
        let text = fs::read_to_string(engine.join(mistake.file)).expect("readable");
        assert_eq!(text.matches(mistake.right).count(), 1, "`{}` in {}", mistake.name, mistake.file);
    }
    assert!(MISTAKES.len() >= 10 && fleet::MISTAKES.len() >= 10);
}
