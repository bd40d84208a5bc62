//! How typingd scales: what a keystroke and a conversation cost from 1,000 to 1,000,000 conversations, and what the daemon
//! takes in on one processor and on two.
//!
//! `cargo bench --bench scale` prints two tables; `BENCH_PLOT=docs/speed.svg` draws the first one too. `BENCH_QUICK=1` only
//! shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use support::{Pair, Random, Subject, connect, cpu_nanos, id, quick, resident_bytes, start_typingd};
use typingd::base::clock::{processor_time, stopwatch};
use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Mode, Policy, Rules};
use typingd::model::{ConversationRef, Instant, Outcome, Signal, SignalBatch, SignalKind};

/// Conversations of a channel: an org's 11,000 sessions on some fifty channels.
const CHANNEL_CONVERSATIONS: usize = 200;
/// Signals that the loop is handed at a time.
const BATCH_SIGNALS: usize = 1_024;
/// An argument that has this program measure one size.
const SIZE: &str = "--conversations=";
const KEY: Signal = Signal::new(SignalKind::Keystroke);
/// What a client writes at a time into a stream.
const PIECE_BYTES: usize = 64 * 1_024;
/// The sessions of a whole org.
const ORG: usize = 11_000;

fn main() {
    if let Some(conversations) = std::env::args().find_map(|argument| argument.strip_prefix(SIZE)?.parse().ok()) {
        return Row::measure(conversations);
    }
    println!("| conversations | a keystroke | a bare table | ratio | memory of a conversation |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    let sizes: &[usize] =
        if quick() { &[1_000, 2_000] } else { &[1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000] };
    let rows: Vec<Row> = sizes.iter().filter_map(|conversations| Row::of(*conversations)).collect();
    if let Some(path) = std::env::var_os("BENCH_PLOT") {
        std::fs::write(path, plot(&rows)).expect("the plot can be written");
    }
    processors();
}

/// What a size costs.
struct Row {
    conversations: usize,
    /// In nanoseconds.
    keystroke: f64,
    bare: f64,
}

impl Row {
    /// Measures in a process of its own, so that no memory of another size is taken for this one's, and prints it.
    fn of(conversations: usize) -> Option<Self> {
        let program = std::env::current_exe().expect("a path to this program");
        let measured = Command::new(program).arg(format!("{SIZE}{conversations}")).output().expect("this program runs");
        let line = String::from_utf8_lossy(&measured.stdout).into_owned();
        print!("{line}");
        let nanos = |column: usize| line.split('|').nth(column)?.trim().strip_suffix(" ns")?.parse().ok();
        Some(Self { conversations, keystroke: nanos(2)?, bare: nanos(3)? })
    }

    /// Prints a row of the table.
    fn measure(conversations: usize) {
        let before = resident_bytes();
        let (mut engine, now) = typing(conversations);
        let bytes = resident_bytes().saturating_sub(before) / conversations as u64;
        let keys = keys(conversations, if quick() { 2 * BATCH_SIGNALS } else { 1 << 20 });
        let mut bare = Bare::new(conversations);
        let count: usize = keys.iter().map(SignalBatch::len).sum();
        let pair = Pair::measure(
            if quick() { 1 } else { 5 },
            || nanos_each(count, || type_into(&mut engine, now, &keys)),
            || nanos_each(count, || bare.store_all(now, &keys)),
        );
        let Pair { subject: keystroke, baseline: bare, .. } = &pair;
        println!("| {conversations} | {keystroke:.0} ns | {bare:.0} ns | {pair} | {bytes} bytes |");
    }
}

/// The least that any such daemon must do for a keystroke: look the pair up in a table and store a time.
struct Bare {
    table: HashTable<(Box<str>, Box<str>, u64)>,
    hash: FixedState,
}

impl Bare {
    fn new(conversations: usize) -> Self {
        let mut bare = Self { table: HashTable::new(), hash: FixedState::with_seed(1) };
        for n in 0..conversations {
            let (to, from) = pair_of(n);
            let entry = (to.into(), from.into(), 0);
            let Self { table, hash } = &mut bare;
            let hash_of_entry = |(to, from, _): &(Box<str>, Box<str>, u64)| hash_of(hash, to, from);
            table.insert_unique(hash_of_entry(&entry), entry, hash_of_entry);
        }
        bare
    }

    fn store_all(&mut self, now: Instant, keys: &[SignalBatch]) {
        for (conversation, _) in keys.iter().flat_map(SignalBatch::iter) {
            let same = |(to, from, _): &(Box<str>, Box<str>, u64)| {
                **from == *conversation.from() && **to == *conversation.to()
            };
            if let Some(entry) = self.table.find_mut(hash_of(&self.hash, conversation.to(), conversation.from()), same)
            {
                entry.2 = now.as_micros();
            }
        }
    }
}

fn hash_of(state: &FixedState, to: &str, from: &str) -> u64 {
    let mut hasher = state.build_hasher();
    to.hash(&mut hasher);
    from.hash(&mut hasher);
    hasher.finish()
}

/// As the loop hands batches over.
fn type_into(engine: &mut Engine, now: Instant, keys: &[SignalBatch]) {
    for batch in keys {
        let mut ahead = batch.iter().map(|(conversation, _)| conversation);
        for (index, (conversation, signal)) in batch.iter().enumerate() {
            if index % Engine::LOOK_AHEAD_MAX == 0 {
                engine.look_ahead(ahead.by_ref());
            }
            let _ = black_box(engine.handle_signal(now, conversation, signal));
        }
    }
}

/// In processor time: what else the machine does counts little.
fn nanos_each(count: usize, work: impl FnOnce()) -> f64 {
    let before = processor_time().unwrap_or_default();
    work();
    (processor_time().unwrap_or_default() - before).as_secs_f64() * 1e9 / count as f64
}

/// An engine with everybody typing, every icon on and acknowledged, no timer due; and the time.
fn typing(conversations: usize) -> (Engine, Instant) {
    let (check, dismiss) = (Duration::from_secs(5), Duration::from_secs(3_600));
    // No rate, for it is the engine's own work that is measured.
    let delivery = Delivery { in_flight_max: usize::MAX, requests_per_second_max: u32::MAX, ..Delivery::default() };
    let rules = Rules::new(Mode::Idle, check, dismiss, dismiss);
    let mut engine = Engine::new(Policy { rules, delivery, conversations_max: usize::MAX, ..Policy::default() }, 1);
    let mut now = Instant::ORIGIN + Duration::from_secs(1);
    for n in 0..conversations {
        let (to, from) = pair_of(n);
        engine.handle_signal(now, conversation(&to, &from), KEY).expect("there is room");
        while let Some(dispatch) = engine.poll_dispatch(now) {
            engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
        }
        if n % 10_000 == 0 {
            now = now + Duration::from_secs(2);
            engine.handle_timeout(now);
        }
    }
    (engine, now)
}

/// `count` keystrokes in batches, as the edges hand them over. Who types is drawn anew for each.
fn keys(conversations: usize, count: usize) -> Vec<SignalBatch> {
    let mut random = Random(7);
    let batch = |random: &mut Random| {
        let mut batch = SignalBatch::default();
        for _ in 0..BATCH_SIGNALS {
            let (to, from) = pair_of(random.below(conversations));
            batch.push(conversation(&to, &from), KEY);
        }
        batch
    };
    (0..count / BATCH_SIGNALS).map(|_| batch(&mut random)).collect()
}

fn pair_of(n: usize) -> (String, String) {
    (id(1, (n / CHANNEL_CONVERSATIONS) as u64), id(2, n as u64))
}

fn conversation<'a>(to: &'a str, from: &'a str) -> ConversationRef<'a> {
    ConversationRef::new(to, from).expect("an id has 36 characters")
}

/// The first table as a drawing, in the colours of light and dark pages.
fn plot(rows: &[Row]) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 320.0;
    const MARGIN: f64 = 56.0;
    let decade = |row: &Row| (row.conversations as f64).log10();
    let (first, last) = (rows.first().map_or(0.0, decade), rows.last().map_or(1.0, decade));
    let most = rows.iter().flat_map(|row| [row.keystroke, row.bare]).fold(1.0, f64::max) * 1.1;
    let x = |decades: f64| MARGIN + (decades - first) / (last - first) * (WIDTH - 2.0 * MARGIN);
    let y = |nanos: f64| HEIGHT - MARGIN - nanos / most * (HEIGHT - 2.0 * MARGIN);
    let line = |nanos: fn(&Row) -> f64| -> String {
        rows.iter().map(|row| format!("{:.1},{:.1} ", x(decade(row)), y(nanos(row)))).collect()
    };
    let mut drawn = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Nanoseconds a keystroke takes, by the number of conversations</title>\n\
         <style>text {{ fill: #57606a }} .axis {{ stroke: #8c959f }} polyline {{ fill: none; stroke-width: 2 }} \
         .typingd {{ stroke: #0969da }} .bare {{ stroke: #bc4c00 }} text.typingd {{ fill: #0969da; stroke: none }} \
         text.bare {{ fill: #bc4c00; stroke: none }} @media (prefers-color-scheme: dark) {{ text {{ fill: #9198a1 }} }}</style>\n"
    );
    let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
    let _ = writeln!(drawn, "<path class=\"axis\" fill=\"none\" d=\"M{left} {MARGIN}V{bottom}H{right}\"/>");
    for row in rows.iter().filter(|row| decade(row).fract() == 0.0) {
        let (at, below) = (x(decade(row)), bottom + 18.0);
        let _ =
            writeln!(drawn, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", row.conversations);
    }
    for share in [0.25, 0.5, 0.75, 1.0] {
        let nanos = most / 1.1 * share;
        let _ = writeln!(
            drawn,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{nanos:.0} ns</text>",
            left - 6.0,
            y(nanos) + 4.0
        );
    }
    let _ = writeln!(
        drawn,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">conversations</text>",
        WIDTH / 2.0,
        HEIGHT - 16.0
    );
    for (class, name, nanos, at) in [
        ("typingd", "typingd: a keystroke of a user who is typing", (|row| row.keystroke) as fn(&Row) -> f64, 24.0),
        ("bare", "a bare hash table: find the pair, store a time", |row| row.bare, 42.0),
    ] {
        let _ = writeln!(drawn, "<polyline class=\"{class}\" points=\"{}\"/>", line(nanos).trim_end());
        let _ = writeln!(drawn, "<text class=\"{class}\" x=\"{}\" y=\"{at}\">{name}</text>", left + 12.0);
    }
    drawn.push_str("</svg>\n");
    drawn
}

/// Prints what the daemon takes in when it may use one processor, and two.
fn processors() {
    let directory = tempfile::tempdir().expect("a directory for settings");
    std::fs::write(directory.path().join("token"), "a-token").expect("the directory can be written to");
    let upstream = upstream();
    println!("\n| processors of the daemon | NDJSON lines a second | CPU of a line |\n| ---: | ---: | ---: |");
    for allowed in ["0", "0,1"] {
        // Intervals so long that nothing but first Starteds is sent.
        let settings = format!(
            r#"
            upstream.base_url = "http://{upstream}"
            upstream.org_id = "00DXX0000000001"
            upstream.authorization_context = "Bench"
            upstream.auth.token_file = "token"
            timing.check_interval = "1h"
            timing.dismiss_after = "1h"
            timing.max_typing = "1h"
            "#
        );
        let subject = start_typingd(&settings, directory.path());
        let pid = subject.process.id().to_string();
        let pinned = Command::new("taskset").args(["-a", "-c", "-p", allowed, &pid]).output();
        if !pinned.is_ok_and(|pinned| pinned.status.success()) {
            println!("(taskset is missing, or there is no second processor)");
            return;
        }
        let lines: String = (0..if quick() { 500 } else { ORG }).map(line).collect();
        // The first Starteds of all leave.
        pour(&subject, &lines, 1);
        std::thread::sleep(Duration::from_secs(if quick() { 1 } else { 15 }));
        let repeats = if quick() { 2 } else { 200 };
        let count = (repeats * lines.lines().count()) as f64;
        let (before, watch) = (cpu_nanos(&pid, ""), stopwatch());
        pour(&subject, &lines, repeats);
        let seconds = watch.elapsed().as_secs_f64();
        let each = (cpu_nanos(&pid, "") - before) as f64 / count;
        println!("| {} | {:.0} | {each:.0} ns |", allowed.split(',').count(), count / seconds);
    }
}

/// An upstream that acknowledges everything.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut bytes, mut filled) = (vec![0; 64 * 1_024], 0);
                while let Ok(read @ 1..) = stream.read(&mut bytes[filled..]) {
                    filled += read;
                    // The last boundary ends a form, and one request waits for the answer to the one before.
                    let is_head = bytes.starts_with(b"HEAD ") && bytes[..filled].ends_with(b"\r\n\r\n");
                    if is_head || bytes[..filled].ends_with(b"--\r\n") {
                        filled = 0;
                        let body = if is_head { "" } else { r#"{"success":true,"id":"x","workItemIds":[]}"# };
                        let head = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(head.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn line(n: usize) -> String {
    let (to, from) = pair_of(n);
    format!("{{\"to\":\"{to}\",\"from\":\"{from}\",\"signal\":\"keystroke\",\"at\":1700000000123}}\n")
}

/// Pours the lines so many times into one stream, until it is answered.
fn pour(subject: &Subject, lines: &str, repeats: usize) {
    let mut connection = connect(subject.address);
    let head = "POST /v1/signals HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length:";
    let head = format!("{head} {}\r\n\r\n", lines.len() * repeats);
    connection.write_all(head.as_bytes()).expect("the daemon reads");
    for piece in (0..repeats).flat_map(|_| lines.as_bytes().chunks(PIECE_BYTES)) {
        connection.write_all(piece).expect("the daemon reads");
    }
    let mut answer = [0; 4_096];
    let read = connection.read(&mut answer).expect("the daemon answers");
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer[..read]));
}
