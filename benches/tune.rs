//! The default grid of `tune`, 330 settings, over a million keystrokes; against the least that trying so many settings
//! could do: to look at every gap between two keystrokes once for each of them.
//!
//! `cargo bench --bench tune` prints seconds and the ratio of paired rounds. `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Cursor;

use support::{Pair, quick};
use typingd::base::clock::stopwatch;
use typingd::engine::policy::Rules;
use typingd::signals::trace::TraceReader;
use typingd::tune::plan::Plan;
use typingd::tune::study::Study;
use typingd::tune::timeline::Happening;
use typingd::tune::{tune, typist};

/// Each of them types some 2,000 keys.
const USERS: usize = 520;
const MESSAGES: usize = 45;
/// A day of a large org: conversations of one short message each.
const CONVERSATIONS: usize = 100_000;
const KEYS_OF_CONVERSATION: usize = 12;

fn main() {
    let users = if quick() { 4 } else { USERS };
    let text = typist::trace(users, MESSAGES, 7);
    let watch = stopwatch();
    let study = read(&text);
    let reading = watch.elapsed();
    let plan = Plan::new(&Rules::default());
    let subject = || {
        let study = study.clone();
        let watch = stopwatch();
        black_box(tune(study, &plan, usize::MAX, &|| {}));
        watch.elapsed().as_secs_f64()
    };
    let baseline = || {
        let watch = stopwatch();
        black_box(look_at_gaps(&study, &plan));
        watch.elapsed().as_secs_f64()
    };
    let pair = Pair::measure(if quick() { 1 } else { 5 }, subject, baseline);
    println!(
        "{} keys, {} settings: read in {:.2} s, measured in {:.2} s; the gaps alone take {:.2} s on one core: {pair}",
        study.keys(),
        plan.grid.len(),
        reading.as_secs_f64(),
        pair.subject,
        pair.baseline,
    );
    let wide = shortened(&typist::trace(if quick() { 4 } else { CONVERSATIONS }, 1, 7));
    let watch = stopwatch();
    let study = read(&wide);
    let conversations = study.timelines.len();
    black_box(tune(study, &plan, usize::MAX, &|| {}));
    println!("{conversations} conversations: read and measured in {:.2} s", watch.elapsed().as_secs_f64());
}

/// The first keys of each user: of so many users a study holds no more.
fn shortened(trace: &str) -> String {
    let mut keys = HashMap::new();
    let kept = trace.split_inclusive('\n').filter(|line| {
        let user = line.split('"').nth(7).expect("a line names its user");
        let count: &mut usize = keys.entry(user).or_default();
        *count += 1;
        *count <= KEYS_OF_CONVERSATION
    });
    kept.collect()
}

fn read(text: &str) -> Study {
    let trace = TraceReader::new("typists", Cursor::new(text.to_owned()));
    Study::read([trace]).expect("what the typist writes can be read")
}

/// How many pauses there are under each setting: no rule, no icon, no measure.
fn look_at_gaps(study: &Study, plan: &Plan) -> u64 {
    let pauses = |dismiss: u64| -> u64 {
        let of = |events: &[typingd::tune::timeline::Event]| {
            let pairs = events.windows(2).filter(|pair| pair[0].happening() == Happening::Key);
            pairs.filter(|pair| pair[1].at() - pair[0].at() >= dismiss).count() as u64
        };
        study.timelines.iter().map(|timeline| of(&timeline.events)).sum()
    };
    plan.grid.iter().map(|setting| pauses(black_box(setting.dismiss))).sum()
}
