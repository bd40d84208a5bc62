//! A crowd of users who type, for an engine and for the least that any such daemon must do for a keystroke: look the pair
//! (to, from) up in a hash table and store a time.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use typingd::base::clock::processor_time;
use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Mode, Policy, Rules};
use typingd::model::{ConversationRef, Instant, Outcome, Signal, SignalBatch, SignalKind};

use super::{Random, id};

/// Conversations of a channel: an org's 11,000 sessions on some fifty channels.
pub(crate) const CHANNEL_CONVERSATIONS: usize = 200;
/// Signals that the driver is handed at a time.
pub(crate) const BATCH_SIGNALS: usize = 1_024;
pub(crate) const KEY: Signal = Signal::new(SignalKind::Keystroke);

/// Who types how much.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spread {
    /// Everybody alike.
    Uniform,
    /// The nth most busy one an nth of the busiest.
    Zipf,
}

/// The bare table.
pub(crate) struct Bare {
    table: HashTable<(Box<str>, Box<str>, u64)>,
    hash: FixedState,
}

impl Bare {
    pub(crate) fn new(conversations: usize) -> Self {
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

    pub(crate) fn store_all(&mut self, now: Instant, keys: &[SignalBatch]) {
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

pub(crate) fn hash_of(state: &FixedState, to: &str, from: &str) -> u64 {
    let mut hasher = state.build_hasher();
    to.hash(&mut hasher);
    from.hash(&mut hasher);
    hasher.finish()
}

/// As the loop hands batches over.
pub(crate) fn type_into(engine: &mut Engine, now: Instant, keys: &[SignalBatch]) {
    for batch in keys {
        type_batch(engine, now, batch, |_, _| {});
    }
}

pub(crate) fn type_batch(
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

/// In processor time: what else the machine does counts little.
pub(crate) fn nanos_each(count: usize, work: impl FnOnce()) -> f64 {
    let before = processor_time().unwrap_or_default();
    work();
    (processor_time().unwrap_or_default() - before).as_secs_f64() * 1e9 / count as f64
}

/// An engine with everybody typing, every icon on and acknowledged, no timer due; and the time.
pub(crate) fn typing(conversations: usize) -> (Engine, Instant) {
    typing_on(conversations, CHANNEL_CONVERSATIONS)
}

pub(crate) fn typing_on(conversations: usize, channel_conversations: usize) -> (Engine, Instant) {
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
pub(crate) fn acknowledge(engine: &mut Engine, now: Instant) {
    while let Some(dispatch) = engine.poll_dispatch(now) {
        engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
    }
}

pub(crate) fn policy(rules: Rules) -> Policy {
    // No rate, for it is the engine's own work that is measured.
    let delivery = Delivery { in_flight_max: usize::MAX, requests_per_second_max: u32::MAX, ..Delivery::default() };
    Policy { rules, delivery, conversations_max: usize::MAX, ..Policy::default() }
}

/// `count` keystrokes in batches, as the edges hand them over. Who types is drawn anew for each.
pub(crate) fn keys(conversations: usize, spread: Spread, count: usize) -> Vec<SignalBatch> {
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

pub(crate) fn pair_of(n: usize, channel_conversations: usize, (to, from): &mut (String, String)) {
    to.clear();
    from.clear();
    let _ = write!(to, "{}", id(1, (n / channel_conversations) as u64));
    let _ = write!(from, "{}", id(2, n as u64));
}

pub(crate) fn conversation(ids: &(String, String)) -> ConversationRef<'_> {
    ConversationRef::new(&ids.0, &ids.1).expect("an id has 36 characters")
}
