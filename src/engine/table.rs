//! A hash table in a slab: values in numbered places, found by chains through themselves, from buckets that are added
//! and removed one at a time (linear hashing). There is no moment at which everything is rehashed.

use super::list::NIL;
use super::slab::Slab;

/// Buckets that are reserved: memory is only taken where one has been used, and the C library gives a block of this
/// size back to the system when it shrinks.
const RESERVED: usize = 8 << 20;
const BUCKETS_MIN: usize = 64;
/// The last bucket is removed when there are this many times as many buckets as values.
const SPARSE: usize = 2;
/// Memory is given back when this many times as many buckets have been used as there are.
const SHRINK_AT: usize = 4;

/// Values with the hash of what they are found by. The place of a value names it for as long as it stays.
#[derive(Debug)]
pub(super) struct Table<T> {
    values: Slab<T>,
    /// The first value of each bucket's chain.
    heads: Vec<u32>,
    /// The bits of a hash that are enough for all of `heads`.
    mask: u32,
    /// Buckets that have been used since memory was last given back.
    touched: usize,
}

/// What a value carries for the table. It is a part of the value, so that this decides what is beside it in memory.
#[derive(Debug)]
pub(super) struct Chain {
    hash: u32,
    /// The next place of its chain.
    next: u32,
}

impl Chain {
    /// That of a value which is in no table.
    pub(super) const NONE: Self = Self { hash: 0, next: NIL };
}

/// A value that can be in a table.
pub(super) trait Chained {
    fn chain(&self) -> &Chain;
    fn chain_mut(&mut self) -> &mut Chain;
}

impl<T: Chained> Table<T> {
    pub(super) fn new() -> Self {
        Self { values: Slab::new(), heads: vec![NIL; BUCKETS_MIN], mask: mask_of(BUCKETS_MIN), touched: BUCKETS_MIN }
    }

    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }

    /// The first place behind all that are used.
    pub(super) fn end(&self) -> u32 {
        self.values.end()
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.values.get(place)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.values.get_mut(place)
    }

    /// The value of that hash for which `is` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(&T) -> bool) -> Option<u32> {
        let mut place = self.first_of(hash);
        while let Some(value) = self.values.get(place) {
            if value.chain().hash == hash && is(value) {
                return Some(place);
            }
            place = value.chain().next;
        }
        None
    }

    /// The first place of the chain to which values of that hash belong.
    #[inline]
    pub(super) fn first_of(&self, hash: u32) -> u32 {
        self.heads.get(self.bucket_of(hash)).copied().unwrap_or(NIL)
    }

    /// The first place in the chain from `place` on with a value of that hash; most likely the one that is looked for.
    #[inline]
    pub(super) fn next_with(&self, mut place: u32, hash: u32) -> u32 {
        while let Some(value) = self.values.get(place) {
            if value.chain().hash == hash {
                return place;
            }
            place = value.chain().next;
        }
        NIL
    }

    /// Adds a value; returns its place.
    pub(super) fn insert(&mut self, hash: u32, mut value: T) -> u32 {
        if self.values.len() >= self.heads.len() {
            self.split();
        }
        let bucket = self.bucket_of(hash);
        *value.chain_mut() = Chain { hash, next: self.heads[bucket] };
        let place = self.values.insert(value);
        self.heads[bucket] = place;
        place
    }

    /// Takes the value out of its place.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.values.remove(place)?;
        let Chain { hash, next } = *value.chain();
        let bucket = self.bucket_of(hash);
        let mut before = self.heads[bucket];
        if before == place {
            self.heads[bucket] = next;
        } else {
            while let Some(other) = self.values.get_mut(before) {
                let chain = other.chain_mut();
                if chain.next == place {
                    chain.next = next;
                    break;
                }
                before = chain.next;
            }
        }
        // As fast as values go when they all go.
        for _ in 0..SPARSE {
            if self.heads.len() > BUCKETS_MIN.max(self.values.len() * SPARSE) {
                self.merge();
            }
        }
        Some(value)
    }

    /// Gives some of the memory of removed values back. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        self.values.trim()
    }

    /// Adds a bucket: those values of its buddy that belong there move over.
    fn split(&mut self) {
        if self.heads.len() == self.heads.capacity() && self.heads.len() < RESERVED {
            self.heads.reserve_exact(RESERVED - self.heads.len());
        }
        let buddy = buddy_of(self.heads.len());
        let chain = std::mem::replace(&mut self.heads[buddy], NIL);
        self.heads.push(NIL);
        self.mask = mask_of(self.heads.len());
        self.touched = self.touched.max(self.heads.len());
        self.rechain(chain);
    }

    /// Removes the last bucket: its values move to its buddy.
    fn merge(&mut self) {
        let Some(chain) = self.heads.pop() else { return };
        self.mask = mask_of(self.heads.len());
        self.rechain(chain);
        if self.touched > SHRINK_AT * self.heads.len() {
            self.heads.shrink_to_fit();
            self.touched = self.heads.len();
        }
    }

    /// Puts each value of a chain into the bucket it belongs to.
    fn rechain(&mut self, mut place: u32) {
        while let Some(value) = self.values.get(place) {
            let Chain { hash, next } = *value.chain();
            let bucket = self.bucket_of(hash);
            let before = std::mem::replace(&mut self.heads[bucket], place);
            if let Some(value) = self.values.get_mut(place) {
                value.chain_mut().next = before;
            }
            place = next;
        }
    }

    /// The bucket that a hash belongs to: the lowest bits that are enough for all buckets, or one bit less where that
    /// bucket has not been added yet.
    #[inline]
    fn bucket_of(&self, hash: u32) -> usize {
        let bucket = (hash & self.mask) as usize;
        if bucket < self.heads.len() { bucket } else { (hash & (self.mask >> 1)) as usize }
    }
}

const fn mask_of(buckets: usize) -> u32 {
    (buckets.next_power_of_two() - 1) as u32
}

/// The bucket that is split to make `last`.
const fn buddy_of(last: usize) -> usize {
    last - (last + 1).next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pace::Rng;
    use super::*;

    /// Some names share a hash.
    fn hash_of(name: u64) -> u32 {
        ((name / 2).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
    }

    struct Named(u64, Chain);

    impl Chained for Named {
        fn chain(&self) -> &Chain {
            &self.1
        }

        fn chain_mut(&mut self) -> &mut Chain {
            &mut self.1
        }
    }

    fn find(table: &Table<Named>, name: u64) -> Option<u32> {
        table.find(hash_of(name), |value| value.0 == name)
    }

    /// Against a plain map, through crowds that come and go.
    #[test]
    fn it_finds_what_is_there_and_nothing_else() {
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        let mut rng = Rng(5);
        for crowd in [10, 5_000, 300, 20_000, 0] {
            for _ in 0..60_000 {
                let name = rng.below(crowd.max(100) * 2);
                assert_eq!(find(&table, name), model.get(&name).copied());
                let there = model.len() as u64;
                if there < crowd && !model.contains_key(&name) {
                    model.insert(name, table.insert(hash_of(name), Named(name, Chain::NONE)));
                } else if there >= crowd
                    && let Some(place) = model.remove(&name)
                {
                    assert_eq!(table.remove(place).map(|value| value.0), Some(name));
                }
                let buckets = table.heads.len();
                assert!(
                    buckets >= model.len() && buckets <= BUCKETS_MIN.max(SPARSE * model.len() + SPARSE),
                    "{buckets}"
                );
            }
            for (name, place) in &model {
                assert_eq!(find(&table, *name), Some(*place));
            }
        }
        while let Some((_, place)) = model.pop_first() {
            table.remove(place);
        }
        assert!(table.heads.len() <= BUCKETS_MIN + SPARSE && table.heads.iter().all(|head| *head == NIL));
        assert!(table.heads.capacity() <= SHRINK_AT * (BUCKETS_MIN + SPARSE), "{}", table.heads.capacity());
    }
}
