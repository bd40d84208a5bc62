//! Going through everything that the store holds, step by step, for what no node answers for: conversations of owners
//! that have lapsed, which are taken over and switched off, and those of this node that it doesn't know of, for an
//! answer was lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Fleet;
use super::protocol::{Command, Membership, OwnerId, Value};
use crate::model::{Conversation, Instant};

/// What is known of other owners, and the sweep under way.
#[derive(Debug)]
pub(super) struct Sweep {
    recover_within: Duration,
    /// The channels of which conversations can be taken; `None`: all.
    spoken_for: Option<BTreeSet<Box<str>>>,
    members: Vec<OwnerId>,
    /// Owners that have lapsed, and since when this node has known it.
    lapsed: BTreeMap<OwnerId, Instant>,
    /// When each owner was last known to be alive.
    alive: BTreeMap<OwnerId, Instant>,
    wanted: bool,
    not_before: Instant,
    under_way: Option<UnderWay>,
    burials: VecDeque<OwnerId>,
}

#[derive(Debug)]
struct UnderWay {
    /// Where the next scan begins; `None`: all is scanned.
    cursor: Option<u64>,
    /// Owners that are reaped.
    ripe: BTreeSet<OwnerId>,
    /// Those of them, and unknown ones, that something was found of.
    found: BTreeSet<OwnerId>,
    takes: VecDeque<(OwnerId, Vec<Conversation>)>,
    /// Owners that have lapsed so recently that nothing of theirs is taken without credentials.
    recent: BTreeSet<OwnerId>,
    /// Something was left for want of credentials.
    skips: bool,
}

impl Fleet {
    /// Owners that have lapsed of which something may be left.
    pub fn lapsed(&self) -> impl Iterator<Item = OwnerId> {
        self.sweep.lapsed.keys().copied()
    }

    /// Whether the owner's process is alive, perhaps under another id by now.
    pub fn is_alive(&self, owner: OwnerId) -> bool {
        self.is_self(owner) || self.sweep.members.iter().any(|member| member.is_same_process(owner))
    }
}

impl Sweep {
    pub(super) fn new(recover_within: Duration, needs_credentials: bool) -> Self {
        Self {
            recover_within,
            spoken_for: needs_credentials.then(BTreeSet::new),
            members: Vec::new(),
            lapsed: BTreeMap::new(),
            alive: BTreeMap::new(),
            wanted: false,
            not_before: Instant::ORIGIN,
            under_way: None,
            burials: VecDeque::new(),
        }
    }

    pub(super) fn members(&self) -> &[OwnerId] {
        &self.members
    }

    /// The channel's conversations can be taken from now on.
    pub(super) fn handle_accepted(&mut self, channel: &str) {
        if let Some(channels) = &mut self.spoken_for
            && channels.len() < CHANNELS_MAX
            && channels.insert(channel.into())
        {
            self.not_before = Instant::ORIGIN;
        }
    }

    /// The node has just claimed what it owned: answers may have been lost.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// A request may have been lost: what was under way begins anew.
    pub(super) fn abort(&mut self) {
        self.wanted |= self.under_way.take().is_some();
    }

    pub(super) fn handle_membership(&mut self, now: Instant, membership: &Membership) {
        self.members.clone_from(&membership.members);
        for member in &membership.members {
            self.alive.insert(*member, now);
        }
        self.alive.retain(|_, seen| now < *seen + self.recover_within);
        let known = std::mem::take(&mut self.lapsed);
        let since = |owner: &OwnerId| known.get(owner).copied().unwrap_or(now);
        self.lapsed = membership.lapsed.iter().map(|owner| (*owner, since(owner))).collect();
    }

    /// The next request, if there is something to do.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Command> {
        if let Some(dead) = self.burials.pop_front() {
            return Some(Command::Bury { dead });
        }
        if self.under_way.is_none() && self.not_before <= now {
            let ripe = self.lapsed.iter().filter(|(_, since)| **since + GRACE <= now);
            let ripe: BTreeSet<_> = ripe.map(|(owner, _)| *owner).collect();
            if std::mem::take(&mut self.wanted) || !ripe.is_empty() {
                let recent = self.lapsed.iter().filter(|(_, since)| now < **since + SKIPPED_MAX);
                let recent = recent.map(|(owner, _)| *owner).collect();
                let (found, takes) = (BTreeSet::new(), VecDeque::new());
                self.under_way = Some(UnderWay { cursor: Some(0), ripe, found, takes, recent, skips: false });
                self.not_before = now + SPACING;
            }
        }
        let under_way = self.under_way.as_mut()?;
        if let Some((dead, conversations)) = under_way.takes.pop_front() {
            let recent = self.alive.get(&dead).is_some_and(|seen| now < *seen + self.recover_within);
            let recover_within = self.recover_within;
            return Some(Command::Take { dead, recent, recover_within, conversations });
        }
        if let Some(cursor) = under_way.cursor {
            return Some(Command::Scan { cursor });
        }
        // Only an owner of which nothing was found is buried. Nothing can be added to what a lapsed owner has.
        let UnderWay { ripe, found, skips, .. } = self.under_way.take()?;
        if skips {
            self.not_before = now + SKIPPED_SPACING;
        }
        self.burials.extend(ripe.difference(&found));
        self.burials.pop_front().map(|dead| Command::Bury { dead })
    }

    /// When [`Sweep::poll`] may have something to do, if nothing happens before.
    pub(super) fn due(&self) -> Instant {
        if self.under_way.is_some() || !self.burials.is_empty() {
            return Instant::ORIGIN;
        }
        let reap = self.lapsed.values().min().map_or(Instant::NEVER, |since| *since + GRACE);
        let wanted = if self.wanted { Instant::ORIGIN } else { Instant::NEVER };
        reap.min(wanted).max(self.not_before)
    }

    /// What a scan has found. Returns what is `me`'s own.
    pub(super) fn handle_scan(
        &mut self,
        me: OwnerId,
        next: Option<u64>,
        entries: Vec<(Conversation, Value)>,
    ) -> Vec<(Conversation, Value)> {
        let Some(under_way) = &mut self.under_way else { return Vec::new() };
        under_way.cursor = next;
        let mut own = Vec::new();
        for (conversation, value) in entries {
            let owner = value.owner;
            if owner == me {
                own.push((conversation, value));
                continue;
            }
            let rests = self.lapsed.contains_key(&owner) && !under_way.ripe.contains(&owner);
            if self.members.contains(&owner) || rests {
                continue;
            }
            under_way.found.insert(owner);
            // Another node may know credentials, or this one later: it is looked at again.
            if under_way.recent.contains(&owner)
                && self.spoken_for.as_ref().is_some_and(|channels| !channels.contains(conversation.to()))
            {
                under_way.skips = true;
                continue;
            }
            match under_way.takes.iter_mut().find(|(dead, some)| *dead == owner && some.len() < TAKEN_MAX) {
                Some((_, some)) => some.push(conversation),
                None => under_way.takes.push_back((owner, vec![conversation])),
            }
        }
        own
    }
}

/// The next key of a user who is still typing takes the conversation over. A quicker reaper would hide the icon
/// first.
const GRACE: Duration = Duration::from_millis(300);
/// Sweeps begin no more often.
const SPACING: Duration = Duration::from_millis(100);
/// What was left for want of credentials is looked at again so much later.
const SKIPPED_SPACING: Duration = Duration::from_secs(1);
/// Then it is taken all the same, and waits for credentials where it can be seen.
const SKIPPED_MAX: Duration = Duration::from_secs(30);
/// As many messaging channels as an org may have.
const CHANNELS_MAX: usize = 2_000;
/// Conversations in one take.
const TAKEN_MAX: usize = 256;
