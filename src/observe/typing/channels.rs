//! The channels by name, as many as a reader of metrics can bear: those that are named beforehand, the first others that
//! the upstream knows, and the rest together. What no one has vouched for gets no name: where `to` and `from` are swapped it
//! is an end user's number.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Tally;

/// Channels named beforehand, over the daemon's whole life: an org has at most so many messaging channels.
pub const CHANNELS_NAMED_MAX: usize = 2_000;
/// Other channels that have figures of their own. Each is some forty series in whatever reads the metrics.
pub const CHANNELS_OTHER_MAX: usize = 100;
/// The name of all further ones together. Among them is counted a channel that has this very name, and one whose name
/// holds control characters: readers of metrics break over some of them, and everybody's figures would be lost.
pub const OTHER: &str = "other";
/// The place of the further ones.
const OTHER_PLACE: u16 = 0;

/// The figures of each.
#[derive(Debug)]
pub(super) struct Channels {
    /// Names and figures; the first is that of all further ones.
    rows: Vec<(Arc<str>, Tally)>,
    places: HashMap<Arc<str>, u16, FixedState>,
    named: usize,
    others: usize,
}

impl Channels {
    pub(super) fn new(seed: u64) -> Self {
        let other: Arc<str> = OTHER.into();
        let mut places = HashMap::with_hasher(FixedState::with_seed(seed));
        places.insert(other.clone(), OTHER_PLACE);
        Self { rows: vec![(other, Tally::default())], places, named: 0, others: 0 }
    }

    /// Gives a channel figures of its own before anything happens there.
    pub(super) fn name(&mut self, name: &str) {
        if self.named < CHANNELS_NAMED_MAX && !self.places.contains_key(name) && is_readable(name) {
            self.named += 1;
            self.add(name);
        }
    }

    /// The place of a channel's figures.
    pub(super) fn find(&self, name: &str) -> u16 {
        self.places.get(name).copied().unwrap_or(OTHER_PLACE)
    }

    /// The upstream has taken something for a channel: it has figures of its own from now on, if there is room.
    pub(super) fn confirm(&mut self, name: &str) {
        if self.others < CHANNELS_OTHER_MAX && !self.places.contains_key(name) && is_readable(name) {
            self.others += 1;
            self.add(name);
        }
    }

    fn add(&mut self, name: &str) {
        let name: Arc<str> = name.into();
        let place = u16::try_from(self.rows.len()).expect("the bounds together are far below 65,536");
        self.rows.push((name.clone(), Tally::default()));
        self.places.insert(name, place);
    }

    pub(super) fn tally_mut(&mut self, place: u16) -> &mut Tally {
        &mut self.rows[usize::from(place)].1
    }

    pub(super) fn name_of(&self, place: u16) -> &Arc<str> {
        &self.rows[usize::from(place)].0
    }

    pub(super) fn copy(&self) -> Vec<(Arc<str>, Tally)> {
        self.rows.clone()
    }
}

/// Whether readers of metrics take it as the value of a label.
pub(crate) fn is_readable(name: &str) -> bool {
    !name.contains(char::is_control)
}
