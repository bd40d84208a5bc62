//! The engine against the least that any such daemon must do for a keystroke: look the pair (to, from) up in a hash
//! table and store a time.
//!
//! `cargo bench --bench engine` prints ratios of paired rounds, memory, the timers' share, then divan's table of single
//! costs. `BENCH_QUICK=1` only shows that it works.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;
use std::time::Duration;

use divan::counter::ItemsCount;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use support::{Pair, Random, id, quick, resident_bytes};
use typingd::base::clock::stopwatch;
use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Mode, Policy, Rules};
use typingd::model::{ConversationRef, Instant, Outcome, Signal, SignalBatch, SignalKind};
use typingd::observe::typing::TypingStats;
use typingd::tune::plan::Setting;

/// Conversations of a channel: an org's 11,000 sessions on some fifty channels.
const CHANNEL_CONVERSATIONS: usize = 200;
/// Signals that the driver is handed at a time.
const BATCH_SIGNALS: usize = 1_024;
const KEY: Signal = Signal::new(SignalKind::Keystroke);

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

/// Who types how much.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// Everybody alike.
    Uniform,
    /// The nth most busy one an nth of the busiest.
    Zipf,
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
            type_batch(engine, *now, batch, |conversation, signal| stats.on_signal(*now, conversation, signal));
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

/// The bare table.
struct Bare {
    table: HashTable<(Box<str>, Box<str>, u64)>,
    hash: FixedState,
}

impl Bare {
    fn new(conversations: usize) -> Self {
        let mut bare = Self { table: HashTable::new(), hash: FixedState::with_seed(1) };
        let mut ids = (String::new(), String::new());
        for n in 0..conversations {
            pair_of(n, CHANNEL_CONVERSATIONS, &mut ids);
            let hash = hash_of(&bare.hash, &ids.0, &ids.1);
            let state = &bare.hash;
            let entry = (ids.0.as_str().into(), ids.1.as_str().into(), 0);
            bare.table.insert_unique(hash, entry, |(to, from, _)| hash_of(state, to, from));
        }
        bare
    }

    fn store_all(&mut self, now: Instant, keys: &[SignalBatch]) {
        for (conversation, _) in keys.iter().flat_map(SignalBatch::iter) {
            let hash = hash_of(&self.hash, conversation.to(), conversation.from());
            let same = |(to, from, _): &(Box<str>, Box<str>, u64)| {
                **from == *conversation.from() && **to == *conversation.to()
            };
            if let Some(entry) = self.table.find_mut(hash, same) {
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
        type_batch(engine, now, batch, |_, _| {});
    }
}

fn type_batch(
    engine: &mut Engine,
    now: Instant,
    batch: &SignalBatch,
    mut each: impl FnMut(ConversationRef<'_>, Signal),
) {
    let mut ahead = batch.iter().map(|(conversation, _)| conversation);
    for (index, (conversation, signal)) in batch.iter().enumerate() {
        if index % Engine::LOOK_AHEAD_MAX == 0 {
            engine.look_ahead(ahead.by_ref());
        }
        let _ = black_box(engine.handle_signal(now, conversation, signal));
        each(conversation, signal);
    }
}

fn nanos_each(count: usize, work: impl FnOnce()) -> f64 {
    let watch = stopwatch();
    work();
    watch.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// An engine with everybody typing, every icon on and acknowledged, no timer due; and the time.
fn typing(conversations: usize) -> (Engine, Instant) {
    typing_on(conversations, CHANNEL_CONVERSATIONS)
}

fn typing_on(conversations: usize, channel_conversations: usize) -> (Engine, Instant) {
    let (check, dismiss) = (Duration::from_secs(5), Duration::from_secs(3_600));
    let mut engine = Engine::new(policy(Rules::new(Mode::Idle, check, dismiss, dismiss)), 1);
    let mut now = Instant::ORIGIN + Duration::from_secs(1);
    let mut ids = (String::new(), String::new());
    for n in 0..conversations {
        pair_of(n, channel_conversations, &mut ids);
        engine.handle_signal(now, conversation(&ids), KEY).expect("there is room");
        acknowledge(&mut engine, now);
        if n % 10_000 == 0 {
            now = now + Duration::from_secs(2);
            engine.handle_timeout(now);
        }
    }
    (engine, now)
}

/// Sends all that may leave, each acknowledged at once.
fn acknowledge(engine: &mut Engine, now: Instant) {
    while let Some(dispatch) = engine.poll_dispatch(now) {
        engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
    }
}

fn policy(rules: Rules) -> Policy {
    // No rate, for it is the engine's own work that is measured.
    let delivery = Delivery { in_flight_max: usize::MAX, requests_per_second_max: u32::MAX, ..Delivery::default() };
    Policy { rules, delivery, conversations_max: usize::MAX, ..Policy::default() }
}

/// `count` keystrokes in batches, as the edges hand them over. Who types is drawn anew for each.
fn keys(conversations: usize, spread: Spread, count: usize) -> Vec<SignalBatch> {
    let mut random = Random(7);
    let mut ids = (String::new(), String::new());
    let mut weights: Vec<f64> = (1..=conversations).map(|rank| 1.0 / rank as f64).collect();
    let mut total = 0.0;
    for weight in &mut weights {
        total += *weight;
        *weight = total;
    }
    let mut batches = Vec::new();
    while batches.len() * BATCH_SIGNALS < count {
        let mut batch = SignalBatch::default();
        for _ in 0..BATCH_SIGNALS {
            let who = match spread {
                Spread::Uniform => random.below(conversations),
                Spread::Zipf => {
                    let drawn = random.unit() * total;
                    let rank = weights.partition_point(|sum| *sum < drawn).min(conversations - 1);
                    // Those who type much do not lie side by side in memory: a prime's multiples visit every place.
                    (rank * 1_000_003) % conversations
                }
            };
            pair_of(who, CHANNEL_CONVERSATIONS, &mut ids);
            batch.push(conversation(&ids), KEY);
        }
        batches.push(batch);
    }
    batches
}

fn pair_of(n: usize, channel_conversations: usize, (to, from): &mut (String, String)) {
    to.clear();
    from.clear();
    let _ = write!(to, "{}", id(1, (n / channel_conversations) as u64));
    let _ = write!(from, "{}", id(2, n as u64));
}

fn conversation(ids: &(String, String)) -> ConversationRef<'_> {
    ConversationRef::new(&ids.0, &ids.1).expect("an id has 36 characters")
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
