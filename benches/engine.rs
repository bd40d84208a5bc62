//! The engine against the least that any such daemon must do for a keystroke: look the pair (to, from) up in a hash
//! table and store a time.
//!
//! `cargo bench --bench engine` prints ratios of paired rounds, memory, the timers' share, then divan's table of single
//! costs. `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::time::Duration;

use divan::counter::ItemsCount;
use support::crowd::{
    BATCH_SIGNALS, Bare, CHANNEL_CONVERSATIONS, KEY, Spread, acknowledge, conversation, keys, nanos_each, pair_of,
    policy, type_batch, type_into, typing, typing_on,
};
use support::{Pair, quick, resident_bytes};
use typingd::base::clock::stopwatch;
use typingd::engine::Engine;
use typingd::engine::policy::Rules;
use typingd::model::{Instant, Signal, SignalBatch, SignalKind};
use typingd::observe::typing::TypingStats;
use typingd::tune::plan::Setting;

fn main() {
    let sizes: &[usize] = if quick() { &[1_000] } else { &[10_000, 100_000, 1_000_000] };
    memory(*sizes.last().expect("there are sizes"));
    for &conversations in sizes {
        for spread in [Spread::Uniform, Spread::Zipf] {
            keystrokes(conversations, spread);
        }
    }
    for conversations in if quick() { [1_000, 1_000] } else { [10_000, 100_000] } {
        candidates(conversations);
    }
    timers(if quick() { 1_000 } else { 100_000 });
    let divan = divan::Divan::from_args();
    if quick() { divan.sample_count(1).sample_size(1).main() } else { divan.main() }
}

/// Prints the cost of a keystroke of somebody who is typing, against the bare table.
fn keystrokes(conversations: usize, spread: Spread) {
    let keys = keys(conversations, spread, if quick() { 4_096 } else { 1 << 20 });
    let count: usize = keys.iter().map(SignalBatch::len).sum();
    let (mut engine, now) = typing(conversations);
    let mut bare = Bare::new(conversations);
    let pair = Pair::measure(
        if quick() { 1 } else { 9 },
        || nanos_each(count, || type_into(&mut engine, now, &keys)),
        || nanos_each(count, || bare.store_all(now, &keys)),
    );
    println!(
        "keystroke, {conversations:>7} conversations, {spread:?}: {:.0} ns, bare table {:.0} ns: {pair}",
        pair.subject, pair.baseline
    );
}

/// Prints what three candidate timings take of a keystroke as the loop takes it, engine and statistics, when everybody types
/// five keys a second.
fn candidates(conversations: usize) {
    let keys = keys(conversations, Spread::Uniform, if quick() { 4_096 } else { 1 << 19 });
    let count: usize = keys.iter().map(SignalBatch::len).sum();
    let timing = |timings: &[&str]| -> Vec<Setting> {
        timings.iter().map(|timing| timing.parse().expect("it is a timing")).collect()
    };
    let three = timing(&["idle 10s/5s", "after_shown 5s/2s", "idle 5s/3s"]);
    let (mut with, mut without) = (Measured::new(&three), Measured::new(&[]));
    // Until everybody has begun, and typed on for some seconds.
    let warm_up = if quick() { 1 } else { 1 + conversations * 5 * 4 / count };
    for _ in 0..warm_up {
        with.take(&keys, conversations);
        without.take(&keys, conversations);
    }
    let pair = Pair::measure(
        if quick() { 1 } else { 9 },
        || with.take(&keys, conversations).as_secs_f64() * 1e9 / count as f64,
        || without.take(&keys, conversations).as_secs_f64() * 1e9 / count as f64,
    );
    println!(
        "keystroke with three candidates, {conversations:>6} conversations: {:.0} ns, without {:.0} ns: {pair}",
        pair.subject, pair.baseline
    );
}

/// Engine and statistics, as the loop has them.
struct Measured {
    engine: Engine,
    stats: TypingStats,
    now: Instant,
}

impl Measured {
    fn new(candidates: &[Setting]) -> Self {
        let policy = policy(Rules::default());
        let mut stats = TypingStats::new(1);
        stats.measure_beside(Instant::ORIGIN, candidates.to_vec(), &policy);
        Self { engine: Engine::new(policy, 1), stats, now: Instant::ORIGIN + Duration::from_secs(1) }
    }

    /// Takes all keys at the pace of five a second for each conversation. Returns what that took, without the timers.
    fn take(&mut self, keys: &[SignalBatch], conversations: usize) -> Duration {
        let mut taken = Duration::ZERO;
        for batch in keys {
            self.now = self.now + Duration::from_secs(1).mul_f64(batch.len() as f64 / (5 * conversations) as f64);
            self.engine.handle_timeout(self.now);
            acknowledge(&mut self.engine, self.now);
            let watch = stopwatch();
            let Self { engine, stats, now } = self;
            type_batch(engine, *now, batch, |conversation, signal| stats.on_signals(*now, &[(conversation, signal)]));
            taken += watch.elapsed();
        }
        taken
    }
}

/// Prints what the timers cost beside the keystrokes, when everybody types five keys a second.
fn timers(conversations: usize) {
    const KEYS_PER_SECOND: usize = 5;
    let keys = keys(conversations, Spread::Uniform, 1 << 18);
    let mut engine = Engine::new(policy(Rules::default()), 1);
    let mut now = Instant::ORIGIN + Duration::from_secs(1);
    let mut stream = keys.iter().cycle().flat_map(SignalBatch::iter);
    let (mut typed, mut timed, mut sent) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let seconds = if quick() { 2 } else { 12 };
    for tick in 0..seconds * 1_000 {
        now = now + Duration::from_millis(1);
        let watch = stopwatch();
        engine.handle_timeout(now);
        let after_timers = watch.elapsed();
        acknowledge(&mut engine, now);
        let after_requests = watch.elapsed();
        for (conversation, signal) in stream.by_ref().take(conversations * KEYS_PER_SECOND / 1_000) {
            let _ = engine.handle_signal(now, conversation, signal);
        }
        // The first seconds are everybody's first keystrokes.
        if tick >= 2_000 || quick() {
            timed += after_timers;
            sent += after_requests - after_timers;
            typed += watch.elapsed() - after_requests;
        }
    }
    let share = |part: Duration| 100.0 * part.as_secs_f64() / typed.as_secs_f64();
    println!(
        "timers, {conversations} conversations at {KEYS_PER_SECOND} keys a second: {:.0} % of the keystrokes' work \
         (and {:.0} % for sending and acknowledging refreshes)",
        share(timed),
        share(sent)
    );
}

/// Prints what a conversation takes in memory, and what is left when all have ended.
fn memory(conversations: usize) {
    let bytes_each = |bytes: i128| bytes / conversations as i128;
    for (what, channel_conversations) in [("shared channels", CHANNEL_CONVERSATIONS), ("a channel each", 1)] {
        let before = resident_bytes();
        let (mut engine, mut now) = typing_on(conversations, channel_conversations);
        let during = resident_bytes();
        let census = engine.census();
        assert_eq!((census.conversations, census.icons), (conversations, conversations));
        let mut ids = (String::new(), String::new());
        for n in 0..conversations {
            pair_of(n, channel_conversations, &mut ids);
            let ended = Signal::new(SignalKind::Ended);
            engine.handle_signal(now, conversation(&ids), ended).expect("nobody is turned away");
            acknowledge(&mut engine, now);
            if n % 10_000 == 0 {
                now = now + Duration::from_secs(2);
            }
        }
        assert_eq!(engine.census().conversations, 0);
        // Memory is given back a slice at a time.
        engine.handle_timeout(now);
        while engine.poll_timeout(now) <= now {
            engine.handle_timeout(now);
        }
        let after = resident_bytes();
        println!(
            "memory, {conversations} conversations, two ids of 36 characters, {what}: {} bytes each; {} left of each \
             when all have ended",
            bytes_each(i128::from(during) - i128::from(before)),
            bytes_each(i128::from(after) - i128::from(before))
        );
        drop(engine);
    }
}

#[divan::bench(args = [1_000, 100_000])]
fn keystroke_of_somebody_typing(bencher: divan::Bencher<'_, '_>, conversations: usize) {
    let keys = keys(conversations, Spread::Uniform, BATCH_SIGNALS);
    let (mut engine, now) = typing(conversations);
    bencher.counter(ItemsCount::new(BATCH_SIGNALS)).bench_local(|| type_into(&mut engine, now, &keys));
}

#[divan::bench(args = [1_000, 100_000])]
fn bare_table(bencher: divan::Bencher<'_, '_>, conversations: usize) {
    let keys = keys(conversations, Spread::Uniform, BATCH_SIGNALS);
    let mut bare = Bare::new(conversations);
    let now = Instant::from_micros(1);
    bencher.counter(ItemsCount::new(BATCH_SIGNALS)).bench_local(|| bare.store_all(now, &keys));
}

/// From nothing to nothing: a first keystroke, its request, the message, its request, forgotten.
#[divan::bench]
fn whole_life_of_a_conversation(bencher: divan::Bencher<'_, '_>) {
    let mut engine = Engine::new(policy(Rules::default()), 1);
    let mut ids = (String::new(), String::new());
    pair_of(1, CHANNEL_CONVERSATIONS, &mut ids);
    let message = Signal::new(SignalKind::MessageSent);
    let mut now = Instant::ORIGIN;
    bencher.bench_local(|| {
        now = now + Duration::from_millis(10);
        for signal in [KEY, message] {
            let _ = engine.handle_signal(now, conversation(&ids), signal);
            acknowledge(&mut engine, now);
        }
    });
    assert_eq!(engine.census().conversations, 0);
}
