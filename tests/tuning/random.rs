//! Thousands of made-up traces, every measure of every one by definition.
//!
//! A failure prints its seed; `TYPINGD_TUNING_SEED=…` plays that one alone. `TYPINGD_TUNING_FIRST_SEED=…` and
//! `TYPINGD_TUNING_ROUNDS=…` play others, and more of them.

use std::time::Duration;

use typingd::engine::policy::Mode;
use typingd::tune::plan::{IconTtl, Setting};

use crate::brute::{Lens, Truth};
use crate::compare::{compare, plan, setting};
use crate::rng::Rng;
use crate::traces::{Shape, made_up, text};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Plays the seeds from `first` on, or the one that was asked for.
fn seeds(first: u64, count: u64, play: impl Fn(u64)) {
    if let Some(seed) = number("TYPINGD_TUNING_SEED") {
        return play(seed);
    }
    let first = number("TYPINGD_TUNING_FIRST_SEED").unwrap_or(first);
    (first..first + number("TYPINGD_TUNING_ROUNDS").unwrap_or(count)).for_each(play);
}

fn any_setting(rng: &mut Rng, scale: u64) -> Setting {
    let mode = if rng.below(2) == 0 { Mode::Idle } else { Mode::AfterShown };
    let check = scale * (1 + rng.below(40));
    // Now and then the two are the same, or the icon outlasts everything.
    let dismiss = match rng.below(8) {
        0 => check,
        1 => scale * (1 + rng.below(150)),
        _ => scale * (1 + rng.below(40)),
    };
    setting(mode, check, dismiss)
}

fn play(seed: u64, scale: u64) {
    let mut rng = Rng::new(seed);
    let users = if rng.below(3) == 0 { 3 } else { 1 };
    let files = made_up(&mut rng, Shape { files: users, users, lines: 70, scale });
    let truth = [Truth::Message, Truth::Message, Truth::SentOnly, Truth::Burst][rng.below(4) as usize];
    let away = scale * [5, 20, 60, 60, 100][rng.below(5) as usize];
    let ttl = (rng.below(3) == 0).then(|| scale * (1 + rng.below(50)));
    let lens = Lens { truth, away, ttl };
    let grid: Vec<Setting> = (0..2).map(|_| any_setting(&mut rng, scale)).collect();
    let mut plan = plan(&grid, lens);
    if rng.below(3) == 0 {
        plan.max_typing = Duration::from_millis(scale * (20 + rng.below(100)));
    }
    if ttl.is_none() && scale > 1 {
        plan.icon_ttl = IconTtl::Unknown;
    }
    if rng.below(4) == 0 {
        plan.limit = 1.0 + rng.below(3_000) as f64;
    }
    plan.seed = seed;
    if let Err(found) = compare(&files, &plan, lens) {
        let traces: Vec<String> = files.iter().map(|lines| text(lines)).collect();
        panic!(
            "seed {seed}, {lens:?}, max_typing {:?}:\n{found}\nthe traces:\n{}",
            plan.max_typing,
            traces.join("and\n"),
        );
    }
}

#[test]
fn every_measure_is_what_its_definition_says() {
    seeds(0, 4_000, |seed| play(seed, 1));
}

/// In times of people, where the thresholds that no option moves count: bursts, and the receiver that may drop icons.
#[test]
fn every_measure_is_as_defined_at_human_speed() {
    seeds(1_000_000, 60, |seed| play(seed, 100));
}
