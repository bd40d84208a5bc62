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
    nodes: Slab<Node<T>>,
    /// The first value of each bucket's chain.
    heads: Vec<u32>,
    /// Buckets that have been used since memory was last given back.
    touched: usize,
}

#[derive(Debug)]
struct Node<T> {
    hash: u32,
    /// The next place of its chain.
    next: u32,
    value: T,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Slab::new(), heads: vec![NIL; BUCKETS_MIN], touched: BUCKETS_MIN }
    }

    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The first place behind all that are used.
    pub(super) fn end(&self) -> u32 {
        self.nodes.end()
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        Some(&self.nodes.get(place)?.value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        Some(&mut self.nodes.get_mut(place)?.value)
    }

    /// The value of that hash for which `is` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(&T) -> bool) -> Option<u32> {
        let mut place = self.heads[bucket_of(hash, self.heads.len())];
        while let Some(node) = self.nodes.get(place) {
            if node.hash == hash && is(&node.value) {
                return Some(place);
            }
            place = node.next;
        }
        None
    }

    /// Adds a value; returns its place.
    pub(super) fn insert(&mut self, hash: u32, value: T) -> u32 {
        if self.nodes.len() >= self.heads.len() {
            self.split();
        }
        let bucket = bucket_of(hash, self.heads.len());
        let place = self.nodes.insert(Node { hash, next: self.heads[bucket], value });
        self.heads[bucket] = place;
        place
    }

    /// Takes the value out of its place.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let Node { hash, next, value } = self.nodes.remove(place)?;
        let bucket = bucket_of(hash, self.heads.len());
        let mut before = self.heads[bucket];
        if before == place {
            self.heads[bucket] = next;
        } else {
            while let Some(node) = self.nodes.get_mut(before) {
                if node.next == place {
                    node.next = next;
                    break;
                }
                before = node.next;
            }
        }
        // As fast as values go when they all go.
        for _ in 0..SPARSE {
            if self.heads.len() > BUCKETS_MIN.max(self.nodes.len() * SPARSE) {
                self.merge();
            }
        }
        Some(value)
    }

    /// Gives some of the memory of removed values back. Returns whether there is more.
    pub(super) fn trim(&mut self) -> bool {
        self.nodes.trim()
    }

    /// Adds a bucket: those values of its buddy that belong there move over.
    fn split(&mut self) {
        if self.heads.len() == self.heads.capacity() && self.heads.len() < RESERVED {
            self.heads.reserve_exact(RESERVED - self.heads.len());
        }
        let buddy = buddy_of(self.heads.len());
        let chain = std::mem::replace(&mut self.heads[buddy], NIL);
        self.heads.push(NIL);
        self.touched = self.touched.max(self.heads.len());
        self.rechain(chain);
    }

    /// Removes the last bucket: its values move to its buddy.
    fn merge(&mut self) {
        let Some(chain) = self.heads.pop() else { return };
        self.rechain(chain);
        if self.touched > SHRINK_AT * self.heads.len() {
            self.heads.shrink_to_fit();
            self.touched = self.heads.len();
        }
    }

    /// Puts each value of a chain into the bucket it belongs to.
    fn rechain(&mut self, mut place: u32) {
        while let Some(node) = self.nodes.get_mut(place) {
            let bucket = bucket_of(node.hash, self.heads.len());
            let head = &mut self.heads[bucket];
            let after = std::mem::replace(&mut node.next, *head);
            *head = std::mem::replace(&mut place, after);
        }
    }
}

/// The bucket that a hash belongs to among `buckets`: the lowest bits that are enough for all of them, or one bit less
/// where that bucket has not been added yet.
#[inline]
const fn bucket_of(hash: u32, buckets: usize) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let bucket = hash as usize & mask;
    if bucket < buckets { bucket } else { bucket & (mask >> 1) }
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

    fn find(table: &Table<u64>, name: u64) -> Option<u32> {
        table.find(hash_of(name), |value| *value == name)
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
                    model.insert(name, table.insert(hash_of(name), name));
                } else if there >= crowd
                    && let Some(place) = model.remove(&name)
                {
                    assert_eq!(table.remove(place), Some(name));
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
