//! How typingd scales: what a keystroke and a conversation cost from 1,000 to 1,000,000 conversations, and what the daemon
//! takes in on one processor and on two.
//!
//! `cargo bench --bench scale` prints two tables; `BENCH_PLOT=docs/speed.svg` draws the first one too. `BENCH_QUICK=1` only
//! shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use support::crowd::{
    BATCH_SIGNALS, Bare, CHANNEL_CONVERSATIONS, Spread, keys, nanos_each, pair_of, type_into, typing,
};
use support::{Pair, cpu_nanos, pour, quick, resident_bytes, start_typingd_before, start_upstream};
use typingd::base::clock::stopwatch;
use typingd::model::SignalBatch;

/// An argument that has this program measure one size.
const SIZE: &str = "--conversations=";
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
        let keys = keys(conversations, Spread::Uniform, if quick() { 2 * BATCH_SIGNALS } else { 1 << 20 });
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
    let upstream = start_upstream(|_| {});
    println!("\n| processors of the daemon | NDJSON lines a second | CPU of a line |\n| ---: | ---: | ---: |");
    for allowed in ["0", "0,1"] {
        // Intervals so long that nothing but first Starteds is sent.
        let settings = "timing = { check_interval = '1h', dismiss_after = '1h', max_typing = '1h' }";
        let subject = start_typingd_before(upstream, settings, directory.path());
        let pid = subject.process.id().to_string();
        let pinned = Command::new("taskset").args(["-a", "-c", "-p", allowed, &pid]).output();
        if !pinned.is_ok_and(|pinned| pinned.status.success()) {
            println!("(taskset is missing, or there is no second processor)");
            return;
        }
        let lines: String = (0..if quick() { 500 } else { ORG }).map(line).collect();
        // The first Starteds of all leave.
        pour(subject.address, &lines, 1);
        std::thread::sleep(Duration::from_secs(if quick() { 1 } else { 15 }));
        let repeats = if quick() { 2 } else { 200 };
        let count = (repeats * lines.lines().count()) as f64;
        let (before, watch) = (cpu_nanos(&pid, ""), stopwatch());
        pour(subject.address, &lines, repeats);
        let seconds = watch.elapsed().as_secs_f64();
        let each = (cpu_nanos(&pid, "") - before) as f64 / count;
        println!("| {} | {:.0} | {each:.0} ns |", allowed.split(',').count(), count / seconds);
    }
}

fn line(n: usize) -> String {
    let mut ids = (String::new(), String::new());
    pair_of(n, CHANNEL_CONVERSATIONS, &mut ids);
    let (to, from) = ids;
    format!("{{\"to\":\"{to}\",\"from\":\"{from}\",\"signal\":\"keystroke\",\"at\":1700000000123}}\n")
}
