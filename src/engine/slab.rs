//! Values in numbered places, in chunks of a few kilobytes: growing and shrinking by one chunk at a time never copies
//! what is there, and a crowd that has gone takes its memory with it.
//!
//! A value never moves, so that its number names it for as long as it stays. New ones take the lowest chunk that has room:
//! the chunks behind it run empty as their values go.

/// Places of a chunk. A value that stays keeps one chunk.
const CHUNK: usize = 64;
/// No place of a chunk.
const NONE: u8 = u8::MAX;

/// The places.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// A chunk that has run empty is given back; a later one can take its number.
    chunks: Vec<Option<Box<Chunk<T>>>>,
    /// A bit for each chunk that is there and has room.
    open: Vec<u64>,
    /// Words of `open` before this one are zero.
    first_open: usize,
    /// Chunks that are not there.
    gaps: usize,
    /// A chunk that is there though it is empty: at most one, so that coming and going at its bound costs nothing.
    spare: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    places: [Place<T>; CHUNK],
    used: u8,
    /// The first of the free places, each of which knows the next.
    free: u8,
}

#[derive(Debug)]
enum Place<T> {
    Used(T),
    Free { next: u8 },
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), open: Vec::new(), first_open: 0, gaps: 0, spare: None, len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Up to the first place behind all that are used.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).expect("the table's bound is far below four thousand million")
    }

    /// Whether there is a value in that place.
    #[cfg(test)]
    pub(super) fn holds(&self, place: u32) -> bool {
        self.get(place).is_some()
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        let (chunk, at) = split(place);
        match &self.chunks.get(chunk)?.as_ref()?.places[at] {
            Place::Used(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let (chunk, at) = split(place);
        match &mut self.chunks.get_mut(chunk)?.as_mut()?.places[at] {
            Place::Used(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// All values with their places, in the order of these.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let there = self.chunks.iter().enumerate().filter_map(|(number, chunk)| Some((number, chunk.as_ref()?)));
        there.flat_map(|(number, chunk)| {
            chunk.places.iter().enumerate().filter_map(move |(at, place)| match place {
                Place::Used(value) => Some((join(number, at), value)),
                Place::Free { .. } => None,
            })
        })
    }

    /// Puts a value in; returns its place.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.open_chunk();
        if self.spare == Some(number as u32) {
            self.spare = None;
        }
        let chunk = self.chunks[number].as_mut().expect(OPEN);
        let at = usize::from(chunk.free);
        let Place::Free { next } = std::mem::replace(&mut chunk.places[at], Place::Used(value)) else {
            unreachable!("{OPEN}");
        };
        chunk.free = next;
        chunk.used += 1;
        if next == NONE {
            self.open[number / 64] &= !(1 << (number % 64));
        }
        self.len += 1;
        join(number, at)
    }

    /// Takes the value out of its place.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let (number, at) = split(place);
        let chunk = self.chunks.get_mut(number)?.as_mut()?;
        if matches!(chunk.places[at], Place::Free { .. }) {
            return None;
        }
        let free = Place::Free { next: chunk.free };
        let Place::Used(value) = std::mem::replace(&mut chunk.places[at], free) else { return None };
        chunk.free = at as u8;
        chunk.used -= 1;
        self.len -= 1;
        if chunk.used == 0 && self.spare.is_some() {
            self.give_back(number);
        } else {
            if chunk.used == 0 {
                self.spare = Some(number as u32);
            }
            self.open[number / 64] |= 1 << (number % 64);
            self.first_open = self.first_open.min(number / 64);
        }
        Some(value)
    }

    /// The lowest chunk with room; one is made if there is none.
    fn open_chunk(&mut self) -> usize {
        while let Some(word) = self.open.get(self.first_open) {
            if *word != 0 {
                return self.first_open * 64 + word.trailing_zeros() as usize;
            }
            self.first_open += 1;
        }
        let gap = if self.gaps > 0 { self.chunks.iter().position(Option::is_none) } else { None };
        let number = match gap {
            Some(number) => {
                self.gaps -= 1;
                number
            }
            None => {
                self.chunks.push(None);
                self.open.resize(self.chunks.len().div_ceil(64), 0);
                self.chunks.len() - 1
            }
        };
        self.chunks[number] = Some(Box::new(Chunk::empty()));
        self.open[number / 64] |= 1 << (number % 64);
        self.first_open = number / 64;
        number
    }

    fn give_back(&mut self, number: usize) {
        self.chunks[number] = None;
        self.open[number / 64] &= !(1 << (number % 64));
        self.gaps += 1;
        while self.chunks.last().is_some_and(Option::is_none) {
            self.chunks.pop();
            self.gaps -= 1;
        }
        self.open.truncate(self.chunks.len().div_ceil(64));
        self.first_open = self.first_open.min(self.open.len());
        if self.chunks.capacity() > 4 * self.chunks.len() + 64 {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }
}

impl<T> Chunk<T> {
    fn empty() -> Self {
        let next = |at: usize| if at + 1 < CHUNK { (at + 1) as u8 } else { NONE };
        Self { places: std::array::from_fn(|at| Place::Free { next: next(at) }), used: 0, free: 0 }
    }
}

const fn split(place: u32) -> (usize, usize) {
    (place as usize / CHUNK, place as usize % CHUNK)
}

fn join(number: usize, at: usize) -> u32 {
    u32::try_from(number * CHUNK + at).expect("the table's bound is far below four thousand million")
}

const OPEN: &str = "an open chunk is there, and has a free place";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(slab: &Slab<u64>, model: &BTreeMap<u32, u64>) {
        assert_eq!(slab.len(), model.len());
        assert!(
            slab.iter().map(|(place, value)| (place, *value)).eq(model.iter().map(|(place, value)| (*place, *value)))
        );
        let there = slab.chunks.iter().flatten().count();
        assert_eq!(slab.gaps, slab.chunks.len() - there);
        let empty = slab.chunks.iter().flatten().filter(|chunk| chunk.used == 0).count();
        assert!(empty <= 1 && empty == usize::from(slab.spare.is_some()), "{empty} empty chunks");
        for (number, chunk) in slab.chunks.iter().enumerate() {
            let room = chunk.as_ref().is_some_and(|chunk| usize::from(chunk.used) < CHUNK);
            assert_eq!(slab.open[number / 64] >> (number % 64) & 1 == 1, room, "chunk {number}");
        }
        assert!(slab.open[..slab.first_open.min(slab.open.len())].iter().all(|word| *word == 0));
    }

    /// Against a plain map, through crowds that come and go.
    #[test]
    fn it_holds_what_was_put_in_and_gives_back_what_is_empty() {
        let mut slab = Slab::new();
        let mut model = BTreeMap::new();
        let mut state = 3u64;
        let mut random = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        for round in 0..20_000u64 {
            let crowd = [20, 9_000, 0, 300][round as usize / 5_000];
            if model.len() < crowd || (model.len() < crowd + 50 && random(2) == 0) {
                for _ in 0..10 {
                    let place = slab.insert(round);
                    assert_eq!(model.insert(place, round), None, "a place that was free");
                }
            } else if !model.is_empty() {
                for _ in 0..10 {
                    let Some(place) = model.keys().nth(random(model.len().max(1))).copied() else { break };
                    assert_eq!(slab.get(place), model.get(&place));
                    assert_eq!(slab.remove(place), model.remove(&place));
                    assert_eq!((slab.remove(place), slab.holds(place)), (None, false));
                }
            }
            if round % 97 == 0 || round > 14_990 {
                check(&slab, &model);
            }
        }
        while let Some(place) = model.keys().next().copied() {
            slab.remove(place);
            model.remove(&place);
        }
        check(&slab, &model);
        assert!(slab.chunks.iter().flatten().count() <= 1, "one chunk at most is kept");
        assert!(slab.chunks.capacity() <= 64 + 4 * slab.chunks.len(), "{}", slab.chunks.capacity());
    }

    #[test]
    fn the_lowest_chunks_are_filled_first_so_that_those_behind_run_empty() {
        let mut slab = Slab::new();
        let places: Vec<u32> = (0..10_000).map(|value| slab.insert(value)).collect();
        // Every other one goes, and as many come: none of them makes the table longer.
        for place in places.iter().step_by(2) {
            slab.remove(*place);
        }
        let end = slab.end();
        for value in 0..5_000 {
            assert!(slab.insert(value) < 10_000);
        }
        assert_eq!(slab.end(), end);
    }
}
