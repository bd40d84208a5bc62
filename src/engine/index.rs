//! Finds places of a table by the hash of what is in them. It is in parts, each of which grows and shrinks by itself: at a
//! million entries a growing part moves some thousands of them, not all.

use hashbrown::HashTable;

/// Parts: at a million conversations one has four thousand entries, and grows in a third of a millisecond.
const PARTS: usize = 256;
/// A part that holds less than this share of what it could gives memory back.
const SHRINK_AT: usize = 8;
/// A part with room for so many is small enough.
const SMALL: usize = 64;

/// The index. Equal entries have equal hashes; the hash of an entry has to be found by its place when a part grows.
#[derive(Debug)]
pub(super) struct Index {
    parts: Box<[HashTable<u32>]>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }

    /// The place among those of that hash for which `is` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.parts[part_of(hash)].find(hash, |&place| is(place)).copied()
    }

    /// Adds a place that is not there.
    pub(super) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        self.parts[part_of(hash)].insert_unique(hash, place, |&place| hash_of(place));
    }

    /// Takes a place out that is there.
    pub(super) fn remove(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        let part = &mut self.parts[part_of(hash)];
        if let Ok(found) = part.find_entry(hash, |&other| other == place) {
            found.remove();
            if part.capacity() > SMALL && part.len() * SHRINK_AT < part.capacity() {
                part.shrink_to(part.len() * 2, |&place| hash_of(place));
            }
        }
    }
}

/// The bits above those that find a bucket and below those that hashbrown tells entries of a bucket apart by.
const fn part_of(hash: u64) -> usize {
    (hash >> 48) as usize % PARTS
}
