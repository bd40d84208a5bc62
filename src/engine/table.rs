//! Finds values of a slab by their hash: chains through the values themselves, from buckets that come and go one at a time
//! (linear hashing). There is no moment at which everything is put elsewhere.

use super::list::NIL;
use super::slab::Slab;

/// Buckets that are reserved: memory is only taken where one has been used, and the C library gives a block of this size
/// back to the system when it shrinks.
const RESERVED: usize = 8 << 20;
/// There are never fewer.
const BUCKETS_MIN: usize = 64;
/// The last bucket goes where there are so many times as many buckets as values.
const SPARSE: usize = 2;
/// Memory is given back when so many times as many buckets have been used as there are.
const SHRINK_AT: usize = 4;

/// A value that stands in a chain.
pub(super) trait Chained {
    /// The hash of what it is found by.
    fn hash(&self) -> u32;
    /// The next value of its chain.
    fn next(&self) -> u32;
    fn set_next(&mut self, next: u32);
}

/// The index of one slab.
#[derive(Debug)]
pub(super) struct Index {
    /// The first value of each bucket's chain.
    heads: Vec<u32>,
    /// Buckets that have been used since memory was last given back.
    touched: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { heads: vec![NIL; BUCKETS_MIN], touched: BUCKETS_MIN }
    }

    /// The value of that hash for which `is` holds.
    #[inline]
    pub(super) fn find<T: Chained>(&self, slab: &Slab<T>, hash: u32, mut is: impl FnMut(&T) -> bool) -> Option<u32> {
        let mut place = self.heads[bucket_of(hash, self.heads.len())];
        while let Some(value) = slab.get(place) {
            if value.hash() == hash && is(value) {
                return Some(place);
            }
            place = value.next();
        }
        None
    }

    /// Adds a value that has just been put into the slab.
    pub(super) fn insert<T: Chained>(&mut self, slab: &mut Slab<T>, place: u32) {
        if slab.len() > self.heads.len() {
            self.split(slab);
        }
        let Some(value) = slab.get_mut(place) else { return };
        let bucket = bucket_of(value.hash(), self.heads.len());
        value.set_next(std::mem::replace(&mut self.heads[bucket], place));
    }

    /// Takes a value out that is still in the slab.
    pub(super) fn remove<T: Chained>(&mut self, slab: &mut Slab<T>, place: u32) {
        let Some(value) = slab.get(place) else { return };
        let (bucket, after) = (bucket_of(value.hash(), self.heads.len()), value.next());
        let mut before = self.heads[bucket];
        if before == place {
            self.heads[bucket] = after;
        } else {
            while let Some(value) = slab.get_mut(before) {
                if value.next() == place {
                    value.set_next(after);
                    break;
                }
                before = value.next();
            }
        }
        // As fast as values go where they all go.
        for _ in 0..SPARSE {
            if self.heads.len() > BUCKETS_MIN.max(slab.len() * SPARSE) {
                self.merge(slab);
            }
        }
    }

    /// Makes one more bucket: of the values of its buddy those that belong there go over.
    fn split<T: Chained>(&mut self, slab: &mut Slab<T>) {
        if self.heads.len() == self.heads.capacity() && self.heads.len() < RESERVED {
            self.heads.reserve_exact(RESERVED - self.heads.len());
        }
        let new = self.heads.len();
        let buddy = buddy_of(new);
        let mut place = std::mem::replace(&mut self.heads[buddy], NIL);
        self.heads.push(NIL);
        self.touched = self.touched.max(self.heads.len());
        while let Some(value) = slab.get_mut(place) {
            let head = &mut self.heads[bucket_of(value.hash(), new + 1)];
            let after = value.next();
            value.set_next(std::mem::replace(head, place));
            place = after;
        }
    }

    /// Takes the last bucket away: its values go to its buddy.
    fn merge<T: Chained>(&mut self, slab: &mut Slab<T>) {
        let Some(mut place) = self.heads.pop() else { return };
        let buddy = buddy_of(self.heads.len());
        let head = &mut self.heads[buddy];
        while let Some(value) = slab.get_mut(place) {
            let after = value.next();
            value.set_next(std::mem::replace(head, place));
            place = after;
        }
        if self.touched > SHRINK_AT * self.heads.len() {
            self.heads.shrink_to_fit();
            self.touched = self.heads.len();
        }
    }
}

/// The bucket that a hash belongs to where there are so many: the lowest bits that are enough for all of them, or one bit
/// less where that bucket has not been made yet.
#[inline]
const fn bucket_of(hash: u32, buckets: usize) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let bucket = hash as usize & mask;
    if bucket < buckets { bucket } else { bucket & (mask >> 1) }
}

/// The bucket that is split to make that one, which is to be the last.
const fn buddy_of(last: usize) -> usize {
    last - (last + 1).next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug)]
    struct Value {
        hash: u32,
        next: u32,
        name: u64,
    }

    impl Chained for Value {
        fn hash(&self) -> u32 {
            self.hash
        }
        fn next(&self) -> u32 {
            self.next
        }
        fn set_next(&mut self, next: u32) {
            self.next = next;
        }
    }

    /// Some names share a hash.
    fn hash_of(name: u64) -> u32 {
        ((name / 2).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
    }

    fn find(index: &Index, slab: &Slab<Value>, name: u64) -> Option<u32> {
        index.find(slab, hash_of(name), |value| value.name == name)
    }

    /// Against a plain map, through crowds that come and go.
    #[test]
    fn it_finds_what_is_there_and_nothing_else() {
        let (mut index, mut slab) = (Index::new(), Slab::new());
        let mut model = BTreeMap::new();
        let mut state = 5u64;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for crowd in [10, 5_000, 300, 20_000, 0] {
            for _ in 0..60_000 {
                let name = random(crowd.max(100) * 2);
                assert_eq!(find(&index, &slab, name), model.get(&name).copied());
                let there = model.len() as u64;
                if there < crowd && !model.contains_key(&name) {
                    let place = slab.insert(Value { hash: hash_of(name), next: NIL, name });
                    index.insert(&mut slab, place);
                    model.insert(name, place);
                } else if there >= crowd
                    && let Some(place) = model.remove(&name)
                {
                    index.remove(&mut slab, place);
                    slab.remove(place);
                }
                let buckets = index.heads.len();
                assert!(
                    buckets >= model.len() && buckets <= BUCKETS_MIN.max(SPARSE * model.len() + SPARSE),
                    "{buckets}"
                );
            }
            for (name, place) in &model {
                assert_eq!(find(&index, &slab, *name), Some(*place));
            }
        }
        while let Some((_, place)) = model.pop_first() {
            index.remove(&mut slab, place);
            slab.remove(place);
        }
        assert!(index.heads.len() <= BUCKETS_MIN + SPARSE && index.heads.iter().all(|head| *head == NIL));
        assert!(index.heads.capacity() <= SHRINK_AT * (BUCKETS_MIN + SPARSE), "{}", index.heads.capacity());
    }
}
