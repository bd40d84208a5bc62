//! The store as a model: what its scripts do, as plainly as possible. Each command is executed whole.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use typingd::fleet::protocol::{
    Answer, Command, Content, Differences, Heartbeat, Mail, Membership, Op, OwnerId, Reply, Request, Status, Value,
};
use typingd::model::{Conversation, SignalKind};

/// A share: of an owner, or reserved for one that has been buried.
#[derive(Clone, Copy, Debug)]
struct Share {
    requests: u32,
    limit: u32,
    lease_millis: u64,
    need: u32,
    timing: u32,
    /// Until then what its owner sends counts, which leaves.
    counts_until: Option<u64>,
}

/// Everything that the store keeps. Its clock is an argument, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    /// Who owns what.
    pub(crate) held: BTreeMap<Conversation, Value>,
    /// When each owner's lease ends.
    nodes: BTreeMap<OwnerId, u64>,
    shares: BTreeMap<OwnerId, Share>,
    /// What is kept for the buried, and until when.
    reserved: BTreeMap<OwnerId, (u32, u64)>,
    /// Until when nobody's share grows: a store that has lost its memory doesn't know what others keep to.
    settles_at: Option<u64>,
    inboxes: BTreeMap<OwnerId, VecDeque<Mail>>,
    /// The number of each owner's last request.
    numbers: BTreeMap<OwnerId, u64>,
    /// All that were ever held, in the order of a scan: what is there throughout one is found.
    seen: Vec<Conversation>,
}

impl Store {
    /// `None`: the request comes late, and is not executed.
    pub(crate) fn execute(&mut self, now: u64, request: &Request) -> Option<Reply> {
        let me = request.me;
        // A scan changes nothing. Of who is not known any more nothing is kept.
        if self.nodes.contains_key(&me) && !matches!(request.command, Command::Scan { .. }) {
            if self.numbers.get(&me).is_some_and(|last| request.number <= *last) {
                return None;
            }
            self.numbers.insert(me, request.number);
        }
        Some(match &request.command {
            Command::Heartbeat(heartbeat) => Reply::Heartbeat(self.heartbeat(now, request, heartbeat)),
            Command::Turn { inboxes, ops } => Reply::Turn(self.turn(now, me, inboxes, ops)),
            Command::Scan { cursor } => self.scan(*cursor),
            Command::Take { dead, recent, recover_within, conversations } => {
                Reply::Taken(self.take(now, me, *dead, *recent, *recover_within, conversations))
            }
            Command::Bury { dead } => Reply::Buried(self.bury(now, *dead)),
            Command::Leave => {
                self.forget(me);
                self.inboxes.remove(&me);
                Reply::Left
            }
        })
    }

    /// What is in an owner's inbox, which is empty afterwards.
    pub(crate) fn read_inbox(&mut self, owner: OwnerId) -> Vec<Mail> {
        self.inboxes.remove(&owner).unwrap_or_default().into()
    }

    pub(crate) fn is_alive(&self, now: u64, owner: OwnerId) -> bool {
        self.nodes.get(&owner).is_some_and(|until| now < *until)
    }

    /// Mail that is waiting, except in inboxes of owners that are gone: those expire.
    pub(crate) fn has_mail(&self, owner: OwnerId) -> bool {
        self.inboxes.contains_key(&owner)
    }

    fn forget(&mut self, owner: OwnerId) {
        self.nodes.remove(&owner);
        self.shares.remove(&owner);
        self.numbers.remove(&owner);
    }

    fn heartbeat(&mut self, now: u64, request: &Request, heartbeat: &Heartbeat) -> Membership {
        let me = request.me;
        let known = self.nodes.contains_key(&me);
        let status = match (known, self.is_alive(now, me)) {
            (true, true) => Status::Kept,
            (false, _) if heartbeat.joins => Status::Joined,
            _ => Status::Lapsed,
        };
        let lease_millis = heartbeat.lease.as_millis() as u64;
        let mut mail = Vec::new();
        let mut share = self.shares.get(&me).map_or(0, |share| share.requests);
        let (mut most, mut is_sought) = (self.limit(heartbeat.limit), false);
        if status != Status::Lapsed {
            self.nodes.insert(me, now + lease_millis);
            self.numbers.insert(me, request.number);
            if let Some(was) = heartbeat.was {
                self.shares.remove(&was);
                self.reserved.remove(&was);
                mail = self.read_inbox(was);
            }
            // The store's clock has gone back: no one lives longer for that.
            for (owner, until) in &mut self.nodes {
                let lease = self.shares.get(owner).filter(|_| *owner != me).map_or(lease_millis, |it| it.lease_millis);
                *until = (*until).min(now + lease);
            }
            (share, most, is_sought) = self.split(now, me, heartbeat, lease_millis);
        }
        let alive = |store: &Self, owner: &OwnerId| store.is_alive(now, *owner);
        let members: Vec<_> = self.nodes.keys().filter(|owner| alive(self, owner)).copied().collect();
        let lapsed = self.nodes.keys().filter(|owner| !alive(self, owner)).copied().collect();
        let limit = self.limit(heartbeat.limit);
        let others = || members.iter().filter(|member| **member != me).filter_map(|member| self.shares.get(member));
        let differs = Differences {
            lease: others().any(|share| share.lease_millis != lease_millis),
            timing: others().any(|share| share.timing != heartbeat.timing),
        };
        Membership { status, share, most, is_sought, limit, members, lapsed, differs, now_millis: now, mail }
    }

    fn limit(&self, own: u32) -> u32 {
        self.shares.values().map(|share| share.limit).min().unwrap_or(own).min(own)
    }

    /// Returns the share, what may be wanted next, and whether another could use more than there is.
    fn split(&mut self, now: u64, me: OwnerId, heartbeat: &Heartbeat, lease_millis: u64) -> (u32, u32, bool) {
        let limit = self.limit(heartbeat.limit);
        // Nothing lasts longer because the store's clock has gone back.
        for (_, until) in self.reserved.values_mut() {
            *until = (*until).min(now + RESERVED_MILLIS);
        }
        self.settles_at = self.settles_at.map(|at| at.min(now + SETTLES_MILLIS));
        self.reserved.retain(|_, (_, until)| now < *until);
        let reserved: u32 = self.reserved.values().map(|(requests, _)| requests).sum();
        let others: u32 = self.shares.iter().filter(|(owner, _)| **owner != me).map(|(_, share)| share.requests).sum();
        let free = limit.saturating_sub(others + reserved);
        let fair = limit / (self.nodes.values().filter(|until| now < **until).count() as u32).max(1);
        let needs = |(owner, share): (&OwnerId, &Share)| {
            (*owner != me && self.is_alive(now, *owner)).then_some((share.requests, share.need))
        };
        let needs: Vec<_> = self.shares.iter().filter_map(needs).collect();
        let lacking: u32 = needs.iter().map(|(has, need)| need.min(&fair).saturating_sub(*has)).sum();
        let is_sought = needs.iter().any(|(has, need)| has.max(&fair) < need);
        // What others lack of an equal part is not for those who have one, and is given up by those who have more.
        let most = if lacking > 0 { fair.max(heartbeat.hold.max(free).saturating_sub(lacking)) } else { limit };
        let mut want = heartbeat.want.min(most);
        if now < *self.settles_at.get_or_insert(now + SETTLES_MILLIS) {
            want = want.min(heartbeat.hold);
        }
        let requests = heartbeat.hold.max(want.min(free)).min(free);
        // Until the owner has reported less, it keeps to what it had: the answer may get lost.
        let kept = requests.max(heartbeat.hold);
        let Heartbeat { limit, need, timing, .. } = *heartbeat;
        let counts_until = heartbeat.counts_for.map(|counts| now + counts.as_millis() as u64);
        self.shares.insert(me, Share { requests: kept, limit, lease_millis, need, timing, counts_until });
        (requests, most, is_sought)
    }

    fn turn(&mut self, now: u64, me: OwnerId, inboxes: &[OwnerId], ops: &[(Conversation, Op)]) -> Vec<Answer> {
        if !self.is_alive(now, me) {
            return vec![Answer::Lapsed; ops.len()];
        }
        ops.iter().map(|(conversation, op)| self.operate(now, me, inboxes, conversation, *op)).collect()
    }

    fn operate(&mut self, now: u64, me: OwnerId, inboxes: &[OwnerId], conversation: &Conversation, op: Op) -> Answer {
        let value = self.held.get(conversation).copied();
        let mine = value.filter(|value| value.owner == me);
        match op {
            Op::Dim { strays } => match (mine, value) {
                (Some(value), _) if value.strays != strays => Answer::Stray(value.strays),
                (Some(value), _) => self.set(conversation, Value { on: false, ..value }, Answer::Done),
                (None, Some(value)) if self.is_alive(now, value.owner) => Answer::Elsewhere,
                (None, _) => Answer::Done,
            },
            Op::Release { seen, strays } => match value.filter(|value| value.owner == seen) {
                Some(value) if value.strays != strays && value.owner == me => Answer::Stray(value.strays),
                Some(value) if value.strays != strays => Answer::Done,
                Some(_) => {
                    self.held.remove(conversation);
                    Answer::Done
                }
                None => Answer::Done,
            },
            Op::Claim { seen, strays, on } => match value {
                Some(value) if value.owner == me || Some(value.owner) == seen => {
                    let missed = value.strays != strays;
                    let answer = if missed { Answer::Stray(value.strays) } else { Answer::Mine };
                    self.set(conversation, Value { owner: me, on: on || missed, ..value }, answer)
                }
                _ => self.acquire(now, me, conversation, on).unwrap_or(Answer::Elsewhere),
            },
            Op::Light => self.acquire(now, me, conversation, true).unwrap_or(Answer::Elsewhere),
            Op::End => {
                self.add_ending(conversation, mine.is_some());
                Answer::Done
            }
            Op::TakeOver { endings }
                if value.is_none_or(|value| endings.is_some_and(|known| known != value.endings)) =>
            {
                Answer::Done
            }
            Op::TakeOver { .. } => self.acquire(now, me, conversation, true).unwrap_or(Answer::Elsewhere),
            Op::Give { to, on, typing } => match mine {
                Some(value) if to != me && inboxes.contains(&to) && self.is_alive(now, to) && self.has_room(to) => {
                    let content = Content::Given { on, typing };
                    self.post(now, to, inboxes, conversation, content);
                    self.set(conversation, Value { owner: to, on, strays: 0, ..value }, Answer::Elsewhere)
                }
                _ => Answer::Done,
            },
            Op::Answer { to, number, acknowledged } => {
                match self.post(now, to, inboxes, conversation, Content::Answer { number, acknowledged }) {
                    Answer::Undeclared => Answer::Undeclared,
                    _ => Answer::Done,
                }
            }
            Op::Post { signal, hops, from, ticket } => {
                let on = signal.kind == SignalKind::Keystroke;
                let content = Content::Signal { signal, hops, from, ticket };
                let answer = self
                    .acquire(now, me, conversation, on)
                    .unwrap_or_else(|owner| self.post(now, owner, inboxes, conversation, content));
                self.add_ending(conversation, answer != Answer::Undeclared && signal.kind.ends_typing());
                if answer == Answer::Elsewhere { Answer::Posted(self.held[conversation].endings) } else { answer }
            }
            Op::Stray { hops } => self.acquire(now, me, conversation, true).unwrap_or_else(|owner| {
                if !inboxes.contains(&owner) {
                    return Answer::Undeclared;
                }
                let value = self.held.get_mut(conversation).expect("it has an owner");
                value.on = true;
                value.strays += 1;
                let content = Content::Stray { number: value.strays, hops };
                self.post(now, owner, inboxes, conversation, content)
            }),
        }
    }

    /// What was posted before has no say any more about whether the user is typing.
    fn add_ending(&mut self, conversation: &Conversation, happens: bool) {
        if let Some(value) = self.held.get_mut(conversation).filter(|_| happens) {
            value.endings += 1;
        }
    }

    fn set(&mut self, conversation: &Conversation, value: Value, answer: Answer) -> Answer {
        if self.held.insert(conversation.clone(), value).is_none() && !self.seen.contains(conversation) {
            self.seen.push(conversation.clone());
        }
        answer
    }

    /// Makes the conversation `me`'s; never clears what is on. The error is another owner that is alive.
    fn acquire(&mut self, now: u64, me: OwnerId, conversation: &Conversation, on: bool) -> Result<Answer, OwnerId> {
        let (value, answer) = match self.held.get(conversation) {
            None => (Value { owner: me, on, strays: 0, endings: 0 }, Answer::Granted),
            Some(value) if value.owner == me => (Value { on: value.on || on, ..*value }, Answer::Mine),
            Some(value) if self.is_alive(now, value.owner) => return Err(value.owner),
            Some(value) if value.on => (Value { owner: me, strays: 0, ..*value }, Answer::TakenOver),
            Some(value) => (Value { owner: me, on, strays: 0, ..*value }, Answer::Granted),
        };
        Ok(self.set(conversation, value, answer))
    }

    fn has_room(&self, owner: OwnerId) -> bool {
        self.inboxes.get(&owner).is_none_or(|inbox| inbox.len() < 2 * INBOX_MAX)
    }

    fn post(
        &mut self,
        now: u64,
        owner: OwnerId,
        inboxes: &[OwnerId],
        conversation: &Conversation,
        content: Content,
    ) -> Answer {
        if !inboxes.contains(&owner) {
            return Answer::Undeclared;
        }
        let mail = Mail { posted_millis: now, conversation: conversation.clone(), content };
        let is_keystroke = matches!(content, Content::Signal { signal, .. } if signal.kind == SignalKind::Keystroke);
        let inbox = self.inboxes.entry(owner).or_default();
        if inbox.len() < if is_keystroke { INBOX_MAX } else { 2 * INBOX_MAX } {
            inbox.push_back(mail);
        }
        Answer::Elsewhere
    }

    fn scan(&self, cursor: u64) -> Reply {
        let from = self.seen.len().min(cursor as usize);
        let to = self.seen.len().min(from + SCAN_COUNT);
        let entry = |conversation: &Conversation| Some((conversation.clone(), *self.held.get(conversation)?));
        let entries = self.seen[from..to].iter().filter_map(entry).collect();
        Reply::Scan { next: (to < self.seen.len()).then_some(to as u64), entries }
    }

    fn take(
        &mut self,
        now: u64,
        me: OwnerId,
        dead: OwnerId,
        recent: bool,
        recover_within: Duration,
        conversations: &[Conversation],
    ) -> Vec<(Conversation, u32)> {
        if self.is_alive(now, dead) || !self.is_alive(now, me) {
            return Vec::new();
        }
        let lapsed_at = self.nodes.get(&dead);
        let owed = recent || lapsed_at.is_some_and(|at| now - at <= recover_within.as_millis() as u64);
        let mut taken = Vec::new();
        for conversation in conversations {
            let Some(value) = self.held.get(conversation).copied().filter(|value| value.owner == dead) else {
                continue;
            };
            if value.on && owed {
                self.held.insert(conversation.clone(), Value { owner: me, on: true, strays: 0, ..value });
                taken.push((conversation.clone(), value.endings));
            } else {
                self.held.remove(conversation);
            }
        }
        taken
    }

    fn bury(&mut self, now: u64, dead: OwnerId) -> Vec<Mail> {
        if self.is_alive(now, dead) || !self.nodes.contains_key(&dead) {
            return Vec::new();
        }
        if let Some(share) = self.shares.get(&dead) {
            let until = share.counts_until.unwrap_or(u64::MAX).min(now + RESERVED_MILLIS);
            if now < until {
                self.reserved.insert(dead, (share.requests.div_ceil(2), until));
            }
        }
        self.forget(dead);
        self.read_inbox(dead)
    }
}

/// Entries of one scan: so few that a sweep takes several.
const SCAN_COUNT: usize = 7;
/// A longer inbox takes no keystroke, for it would be too old once it is read; one of twice that length takes nothing.
const INBOX_MAX: usize = 10_000;
/// How long the share of one that was buried is kept.
const RESERVED_MILLIS: u64 = 60_000;
/// All that reach a store which has lost its memory have reported by then: the time-out of a request, the longest wait
/// before a new connection, a heartbeat.
const SETTLES_MILLIS: u64 = 2_500;
