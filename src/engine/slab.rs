//! Values in numbered places, without a moment at which all of them are copied: it grows by pushing into regions that
//! are reserved whole, and shrinks as the last places of a region run empty.
//!
//! A value never moves, so that its number names it for as long as it stays. New ones take the lowest free place: those
//! behind run empty as their values go.

/// What a region uses of what it reserves, or up to twice as much. One value that stays while a crowd goes keeps the memory
/// of its region up to its place, and of no other.
const REGION_BYTES: usize = 4 << 20;
/// The least that a region reserves. Memory is only used where a value has been put. From this size on the C library
/// maps a block by itself, and gives it back to the system when it is freed.
const RESERVED_BYTES: usize = 32 << 20;
/// Regions that have used no more places than this are not shrunk.
const SMALL: usize = 1_024;
/// Free places at a region's end that are given up in one call.
const TRIMMED_PER_CALL: usize = 4_096;
/// Places that are reserved at first.
const TINY: usize = 64;
/// A region shrinks when this many times as many places have been used as are needed.
const SHRINK_AT: usize = 4;

#[derive(Debug)]
pub(super) struct Slab<T> {
    regions: Vec<Region<T>>,
    len: usize,
}

#[derive(Debug)]
struct Region<T> {
    places: Vec<Option<T>>,
    /// A bit for each of `places` that is free.
    free: Vec<u64>,
    /// Words of `free` before this one are zero.
    first_free: usize,
    /// Places that hold a value.
    used: usize,
    /// Places that have been used since the memory was last given back.
    touched: usize,
}

impl<T> Slab<T> {
    /// Places of a region.
    const REGION: usize = (REGION_BYTES / size_of::<Option<T>>() + 1).next_power_of_two();
    /// Places that a region reserves once it has more than a few.
    const RESERVED: usize = RESERVED_BYTES / size_of::<Option<T>>() + 1;

    pub(super) const fn new() -> Self {
        Self { regions: Vec::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The first place behind all that are used.
    pub(super) fn end(&self) -> u32 {
        self.regions.last().map_or(0, |last| join::<T>(self.regions.len() - 1, last.places.len()))
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        let (region, at) = split::<T>(place);
        self.regions.get(region)?.places.get(at)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let (region, at) = split::<T>(place);
        self.regions.get_mut(region)?.places.get_mut(at)?.as_mut()
    }

    /// Adds a value; returns its place.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = match self.regions.iter().position(|region| region.used < Self::REGION) {
            Some(number) => number,
            None => {
                self.regions.push(Region::new());
                self.regions.len() - 1
            }
        };
        self.len += 1;
        join::<T>(number, self.regions[number].insert(value, Self::RESERVED.max(Self::REGION)))
    }

    /// Takes the value out of its place.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let (number, at) = split::<T>(place);
        let value = self.regions.get_mut(number)?.remove(at)?;
        self.len -= 1;
        Some(value)
    }

    /// Gives up some of the free places at the ends of regions, and their memory. Returns whether there are more.
    pub(super) fn trim(&mut self) -> bool {
        let mut left = TRIMMED_PER_CALL;
        for region in self.regions.iter_mut().rev() {
            left = region.trim(left);
            if left == 0 {
                return true;
            }
        }
        // The first one stays: it is needed again with the next value, and has few places or none when it is empty.
        while self.regions.len() > 1 && self.regions.last().is_some_and(|last| last.places.is_empty()) {
            self.regions.pop();
        }
        false
    }
}

impl<T> Region<T> {
    const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), first_free: 0, used: 0, touched: 0 }
    }

    fn insert(&mut self, value: T, reserved: usize) -> usize {
        self.used += 1;
        while let Some(word) = self.free.get_mut(self.first_free) {
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                let at = self.first_free * 64 + bit;
                self.places[at] = Some(value);
                return at;
            }
            self.first_free += 1;
        }
        let len = self.places.len();
        if len == self.places.capacity() {
            // A few are soon copied; from there on the rest is reserved at once, and grows by nothing but its use.
            let sizes = [TINY, SMALL, reserved];
            let size = sizes.into_iter().find(|size| *size > len).map_or(reserved, |size| size.min(reserved));
            self.places.reserve_exact(size - len);
        }
        self.places.push(Some(value));
        self.touched = self.touched.max(self.places.len());
        self.free.resize(self.places.len().div_ceil(64), 0);
        self.places.len() - 1
    }

    fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.places.get_mut(at)?.take()?;
        self.used -= 1;
        self.free[at / 64] |= 1 << (at % 64);
        self.first_free = self.first_free.min(at / 64);
        Some(value)
    }

    /// Gives up free places at the end, and memory that was used and is not any more. Returns how many more it might.
    fn trim(&mut self, mut left: usize) -> usize {
        while left > 0 && self.places.pop_if(|last| last.is_none()).is_some() {
            let gone = self.places.len();
            self.free[gone / 64] &= !(1 << (gone % 64));
            left -= 1;
        }
        self.free.truncate(self.places.len().div_ceil(64));
        self.first_free = self.first_free.min(self.free.len());
        if self.places.is_empty() && self.touched > SMALL {
            *self = Self::new();
            return left;
        }
        let needed = self.places.len().max(SMALL);
        if self.touched > SHRINK_AT * needed {
            self.places.shrink_to(needed);
            self.free.shrink_to(needed.div_ceil(64));
            self.touched = self.places.len();
        }
        left
    }
}

#[inline]
const fn split<T>(place: u32) -> (usize, usize) {
    (place as usize / Slab::<T>::REGION, place as usize % Slab::<T>::REGION)
}

#[inline]
fn join<T>(region: usize, at: usize) -> u32 {
    u32::try_from(region * Slab::<T>::REGION + at).expect("the table's bound is far below four thousand million")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pace::Rng;
    use super::*;

    impl<T> Slab<T> {
        /// All values with their places, in the order of these.
        fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
            self.regions.iter().enumerate().flat_map(|(number, region)| {
                let places = region.places.iter().enumerate();
                places.filter_map(move |(at, value)| Some((join::<T>(number, at), value.as_ref()?)))
            })
        }
    }

    /// So large that a region has few places.
    type Large = [u64; 1 << 12];

    fn large(value: u64) -> Large {
        let mut large = [0; 1 << 12];
        large[0] = value;
        large
    }

    fn check(slab: &Slab<Large>, model: &BTreeMap<u32, u64>) {
        assert_eq!(slab.len(), model.len());
        let found = slab.iter().map(|(place, value)| (place, value[0]));
        assert!(found.eq(model.iter().map(|(place, value)| (*place, *value))));
        assert!(slab.end() >= model.keys().last().map_or(0, |last| last + 1));
        for region in &slab.regions {
            assert_eq!(region.used, region.places.iter().flatten().count());
            for (at, value) in region.places.iter().enumerate() {
                assert_eq!(region.free[at / 64] >> (at % 64) & 1 == 1, value.is_none());
            }
            assert_eq!(region.free.len(), region.places.len().div_ceil(64));
            assert!(region.free[..region.first_free].iter().all(|word| *word == 0));
        }
    }

    /// Against a plain map, through crowds that come and go.
    #[test]
    fn it_holds_what_was_put_in_at_the_lowest_free_place() {
        assert_eq!(Slab::<Large>::REGION, 128);
        let mut slab = Slab::new();
        let mut model = BTreeMap::new();
        let mut rng = Rng(3);
        let mut random = |bound: usize| rng.below(bound as u64) as usize;
        for round in 0..3_000u64 {
            let crowd = [20, 400, 0, 150][round as usize / 750];
            if model.len() < crowd || (model.len() < crowd + 30 && random(2) == 0) {
                let place = slab.insert(large(round));
                assert!((0..place).all(|lower| model.contains_key(&lower)), "{place} is not the lowest");
                assert_eq!(model.insert(place, round), None, "a place that was free");
            } else {
                let Some(place) = model.keys().nth(random(model.len().max(1))).copied() else { continue };
                assert_eq!(slab.get(place).map(|value| value[0]), model.get(&place).copied());
                assert_eq!(slab.remove(place).map(|value| value[0]), model.remove(&place));
                assert!(slab.remove(place).is_none() && slab.get(place).is_none());
            }
            if round % 29 == 0 {
                assert!(!slab.trim());
                assert_eq!(slab.end(), model.keys().last().map_or(0, |last| last + 1));
            }
            if round % 13 == 0 {
                check(&slab, &model);
            }
        }
        while let Some(place) = model.keys().next().copied() {
            slab.remove(place);
            model.remove(&place);
        }
        check(&slab, &model);
        assert!(!slab.trim());
        assert_eq!((slab.regions.len(), slab.end()), (1, 0));
    }

    #[test]
    fn the_memory_of_a_crowd_goes_with_it() {
        let mut slab = Slab::new();
        let places: Vec<u32> = (0..Slab::<u64>::REGION as u64 + 100_000).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.regions.len(), 2);
        for place in &places[5_000..] {
            slab.remove(*place);
        }
        let mut calls = 1;
        while slab.trim() {
            calls += 1;
        }
        assert!(calls > 60, "a part at a time: {calls}");
        assert_eq!((slab.regions.len(), slab.regions[0].places.len()), (1, 5_000));
        assert!(slab.regions[0].places.capacity() <= SHRINK_AT * 5_000, "{}", slab.regions[0].places.capacity());
        for place in &places[..5_000] {
            slab.remove(*place);
        }
        while slab.trim() {}
        assert!(slab.regions.len() == 1 && slab.regions[0].places.capacity() <= SMALL);
        assert_eq!(slab.insert(7), 0);
    }

    #[test]
    fn what_stays_of_a_crowd_keeps_its_own_region_only() {
        let mut slab = Slab::new();
        let region = Slab::<u64>::REGION;
        let places: Vec<u32> = (0..4 * region as u64).map(|value| slab.insert(value)).collect();
        let stay = [places[region + 10_000], *places.last().unwrap()];
        for place in places.into_iter().filter(|place| !stay.contains(place)) {
            slab.remove(place);
        }
        while slab.trim() {}
        let room: Vec<_> = slab.regions.iter().map(|region| region.places.capacity()).collect();
        assert_eq!((room.len(), room[0], room[2]), (4, 0, 0), "{room:?}");
        assert!(room[1] <= SHRINK_AT * 10_001, "{room:?}");
        assert_eq!(slab.insert(7), 0, "and who comes next takes the lowest place");
        for place in stay {
            assert!(slab.remove(place).is_some());
        }
    }
}
