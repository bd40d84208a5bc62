//! Doubly linked lists through the conversations themselves: to join, to leave and to be next cost the same, however
//! long the list is, and take no memory of their own.

/// No conversation.
pub(super) const NIL: u32 = u32::MAX;

/// A conversation can be in one list of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    /// A bucket of the wheel.
    Deadline,
    /// A queue of conversations.
    Queue,
}

/// The neighbours of a conversation in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    pub(super) before: u32,
    pub(super) after: u32,
}

impl Neighbours {
    pub(super) const NONE: Self = Self { before: NIL, after: NIL };
}

impl Default for List {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self::NONE
    }
}

/// Where the neighbours are kept.
pub(super) trait Links {
    fn neighbours(&mut self, link: Link, slot: u32) -> &mut Neighbours;
}

/// A list: its two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL };

    pub(super) const fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub(super) const fn front(&self) -> Option<u32> {
        if self.is_empty() { None } else { Some(self.head) }
    }

    pub(super) fn push_back(&mut self, links: &mut impl Links, link: Link, slot: u32) {
        *links.neighbours(link, slot) = Neighbours { before: self.tail, after: NIL };
        match self.tail {
            NIL => self.head = slot,
            tail => links.neighbours(link, tail).after = slot,
        }
        self.tail = slot;
    }

    /// Takes out `slot`, which is in this very list.
    pub(super) fn remove(&mut self, links: &mut impl Links, link: Link, slot: u32) {
        let Neighbours { before, after } = std::mem::replace(links.neighbours(link, slot), Neighbours::NONE);
        match before {
            NIL => self.head = after,
            before => links.neighbours(link, before).after = after,
        }
        match after {
            NIL => self.tail = before,
            after => links.neighbours(link, after).before = before,
        }
    }

    pub(super) fn pop_front(&mut self, links: &mut impl Links, link: Link) -> Option<u32> {
        let slot = self.front()?;
        self.remove(links, link, slot);
        Some(slot)
    }
}
