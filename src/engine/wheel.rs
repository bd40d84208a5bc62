//! Deadlines of many conversations: a ring of one-millisecond buckets that turns once in 16 seconds.
//!
//! Each conversation is in it at most once, at or before its next deadline. What is due later than one turn is put at
//! the ring's far end with others, and again when that is reached; a keystroke moves nothing. Adding, moving and finding the next
//! are a few operations, however many conversations there are.

use super::list::{Link, Links, List};
use crate::model::Instant;

/// One bucket: deadlines round up to it, so that nothing fires early.
const TICK_MICROS: u64 = 1_000;
/// A turn is 16.4 s: the usual checks and dismissals fall within it.
const BUCKETS: usize = 1 << 14;
const WORDS: usize = BUCKETS / 64;
/// Deadlines that are not exact are due in buckets that are a second apart: the silent wake the daemon once a second, however
/// many they are.
const GATHER_TICKS: u64 = 1_024;

/// The first moment from `due` on at which inexact deadlines are due.
pub(super) fn gathered(due: Instant) -> Instant {
    const GATHER_MICROS: u64 = GATHER_TICKS * TICK_MICROS;
    due.as_micros().checked_next_multiple_of(GATHER_MICROS).map_or(Instant::NEVER, Instant::from_micros)
}

/// The bucket of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

impl Place {
    pub(super) const NONE: Self = Self(u16::MAX);
}

pub(super) struct Wheel {
    buckets: Box<[List]>,
    /// A bit for each bucket that isn't empty.
    filled: [u64; WORDS],
    /// And one for each word of these that isn't zero: the next bucket may be far away, and is asked for in each turn.
    filled_words: [u64; WORDS / 64],
    /// All ticks before this one have been emptied.
    tick: u64,
    armed: usize,
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wheel({} armed, tick {})", self.armed, self.tick)
    }
}

impl Wheel {
    pub(super) fn new() -> Self {
        let buckets = vec![List::EMPTY; BUCKETS].into_boxed_slice();
        Self { buckets, filled: [0; WORDS], filled_words: [0; WORDS / 64], tick: 0, armed: 0 }
    }

    fn tick_of(&self, due: Instant) -> u64 {
        let (tick, end) = (due.as_micros().div_ceil(TICK_MICROS), self.tick + BUCKETS as u64 - 1);
        if tick > end { end - end % GATHER_TICKS } else { tick.max(self.tick) }
    }

    /// Moves `slot`, which is at `place`, so that it is found no later than at `due`; [`Instant::NEVER`] takes it out.
    /// Returns its new place.
    pub(super) fn arm(&mut self, links: &mut impl Links, now: Instant, slot: u32, place: Place, due: Instant) -> Place {
        if self.armed == 0 {
            self.tick = self.tick.max(now.as_micros() / TICK_MICROS);
        }
        if due == Instant::NEVER {
            self.disarm(links, slot, place);
            return Place::NONE;
        }
        let tick = self.tick_of(due);
        if place != Place::NONE {
            // An early bucket is harmless: it finds nothing due, and the caller arms again.
            if self.tick_at(place) <= tick {
                return place;
            }
            self.disarm(links, slot, place);
        }
        let bucket = (tick % BUCKETS as u64) as usize;
        self.buckets[bucket].push_back(links, Link::Deadline, slot);
        let word = bucket / 64;
        self.filled[word] |= 1 << (bucket % 64);
        self.filled_words[word / 64] |= 1 << (word % 64);
        self.armed += 1;
        Place(bucket as u16)
    }

    /// Takes `slot` out of `place`.
    pub(super) fn disarm(&mut self, links: &mut impl Links, slot: u32, place: Place) {
        if place == Place::NONE {
            return;
        }
        let bucket = usize::from(place.0);
        self.buckets[bucket].remove(links, Link::Deadline, slot);
        self.on_removal(bucket);
    }

    /// Takes out the next conversation whose bucket has been reached by `now`.
    pub(super) fn pop(&mut self, links: &mut impl Links, now: Instant) -> Option<u32> {
        let reached = now.as_micros() / TICK_MICROS;
        match self.next_tick() {
            Some(tick) if tick <= reached => {
                self.tick = tick;
                let bucket = (tick % BUCKETS as u64) as usize;
                let slot = self.buckets[bucket].pop_front(links, Link::Deadline)?;
                self.on_removal(bucket);
                Some(slot)
            }
            _ => {
                self.tick = self.tick.max(reached);
                None
            }
        }
    }

    /// When the next bucket that isn't empty is reached.
    pub(super) fn next(&self) -> Instant {
        self.next_tick().map_or(Instant::NEVER, |tick| Instant::from_micros(tick * TICK_MICROS))
    }

    pub(super) const fn armed(&self) -> usize {
        self.armed
    }

    fn on_removal(&mut self, bucket: usize) {
        self.armed -= 1;
        if self.buckets[bucket].is_empty() {
            let word = bucket / 64;
            self.filled[word] &= !(1 << (bucket % 64));
            if self.filled[word] == 0 {
                self.filled_words[word / 64] &= !(1 << (word % 64));
            }
        }
    }

    fn tick_at(&self, place: Place) -> u64 {
        let base = self.tick % BUCKETS as u64;
        self.tick + (u64::from(place.0) + BUCKETS as u64 - base) % BUCKETS as u64
    }

    fn next_tick(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let start = (self.tick % BUCKETS as u64) as usize;
        let bucket = self.filled_from(start).or_else(|| self.filled_from(0))?;
        Some(self.tick + ((bucket + BUCKETS - start) % BUCKETS) as u64)
    }

    /// The first bucket from `start` on that isn't empty.
    fn filled_from(&self, start: usize) -> Option<usize> {
        let word = start / 64;
        let bits = self.filled[word] & (u64::MAX << (start % 64));
        if bits != 0 {
            return Some(word * 64 + bits.trailing_zeros() as usize);
        }
        let word = first_bit(&self.filled_words, word + 1)?;
        Some(word * 64 + self.filled[word].trailing_zeros() as usize)
    }
}

/// The first bit from `start` on that is set.
fn first_bit(words: &[u64], start: usize) -> Option<usize> {
    let first = words.get(start / 64)? & (u64::MAX << (start % 64));
    let rest = words.iter().copied().enumerate().skip(start / 64 + 1);
    let (word, bits) = std::iter::once((start / 64, first)).chain(rest).find(|(_, bits)| *bits != 0)?;
    Some(word * 64 + bits.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::super::list::Neighbours;
    use super::super::pace::Rng;
    use super::*;

    struct Table(Vec<Neighbours>);
    impl Links for Table {
        fn neighbours(&mut self, _: Link, slot: u32) -> &mut Neighbours {
            &mut self.0[slot as usize]
        }
    }

    /// Conversations that fell silent one after the other, each to be forgotten some minutes later.
    #[test]
    fn the_silent_wake_the_loop_once_a_second_at_most() {
        const SLOTS: u64 = 5_000;
        let mut table = Table(vec![Neighbours::NONE; SLOTS as usize]);
        let mut wheel = Wheel::new();
        let mut dues = Vec::new();
        let mut arrivals = (0..SLOTS).map(|slot| Instant::from_millis(7 * slot)).peekable();
        let (mut wakes, mut forgotten, mut last) = (0, 0, Instant::ORIGIN);
        loop {
            let arrival = arrivals.peek().copied().unwrap_or(Instant::NEVER);
            let now = wheel.next().min(arrival);
            if now == Instant::NEVER {
                break;
            }
            (wakes, last) = (wakes + u64::from(now < arrival), now);
            while let Some(slot) = wheel.pop(&mut table, now) {
                let due: Instant = dues[slot as usize];
                if due <= now {
                    forgotten += 1;
                } else {
                    wheel.arm(&mut table, now, slot, Place::NONE, due);
                }
            }
            if arrivals.next_if_eq(&now).is_some() {
                let due = gathered(Instant::from_micros(now.as_micros() + 60_000_001));
                wheel.arm(&mut table, now, dues.len() as u32, Place::NONE, due);
                dues.push(due);
            }
        }
        assert_eq!(forgotten, SLOTS);
        let seconds = last.as_millis() / 1_000;
        assert!(wakes <= seconds && seconds < 100, "{wakes} times in {seconds} s");
    }

    /// The wheel against a plain sorted list: seeded moves, nothing early, nothing forgotten.
    #[test]
    fn it_agrees_with_a_sorted_list() {
        const SLOTS: usize = 200;
        let mut table = Table(vec![Neighbours::NONE; SLOTS]);
        let mut wheel = Wheel::new();
        let mut places = vec![Place::NONE; SLOTS];
        let mut model = vec![Instant::NEVER; SLOTS];
        let mut now = Instant::ORIGIN;
        let mut rng = Rng(7);
        for _ in 0..30_000 {
            let slot = rng.below(SLOTS as u64) as usize;
            match rng.below(4) {
                0 => {
                    wheel.disarm(&mut table, slot as u32, places[slot]);
                    places[slot] = Place::NONE;
                    model[slot] = Instant::NEVER;
                }
                1 => {
                    now = Instant::from_micros(now.as_micros() + rng.below(3_000_000));
                    while let Some(slot) = wheel.pop(&mut table, now) {
                        let slot = slot as usize;
                        places[slot] = Place::NONE;
                        if model[slot] <= now {
                            model[slot] = Instant::NEVER;
                        } else {
                            places[slot] = wheel.arm(&mut table, now, slot as u32, places[slot], model[slot]);
                        }
                    }
                    let late = model.iter().filter(|due| due.as_micros().div_ceil(1_000) <= now.as_micros() / 1_000);
                    assert_eq!(late.count(), 0, "nothing due is left behind");
                }
                _ => {
                    // Some of them beyond one turn of the wheel.
                    let due = Instant::from_micros(now.as_micros() + 1 + rng.below(40_000_000));
                    model[slot] = model[slot].min(due);
                    places[slot] = wheel.arm(&mut table, now, slot as u32, places[slot], model[slot]);
                }
            }
            let armed = model.iter().filter(|due| **due != Instant::NEVER).count();
            assert_eq!(wheel.armed(), armed);
            assert!(wheel.next() == Instant::NEVER || armed > 0);
            if let Some(first) = model.iter().min().filter(|due| **due != Instant::NEVER) {
                assert!(wheel.next().as_millis() <= first.as_micros().div_ceil(1_000), "it never wakes too late");
            }
        }
    }
}
