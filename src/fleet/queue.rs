//! What waits to be asked of the store about conversations, in the order in which it came.

use std::collections::VecDeque;
use std::time::Duration;

use super::protocol::{Awaited, OwnerId, Ticket};
use crate::model::{Conversation, Instant, LASTS_MILLIS_MAX, Signal, SignalKind};

/// Something to ask about one conversation.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) conversation: Conversation,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Post(Post),
    Light,
    Claim,
    Dim,
    /// What the owner was told itself has ended the typing.
    End,
    Release {
        seen: OwnerId,
        strays: u32,
    },
    Stray {
        hops: u8,
    },
    Give {
        to: OwnerId,
    },
    /// A key that was posted to a node that has died is to be taken back; or what another has given, with its icon on or
    /// not.
    TakeOver {
        given: Option<bool>,
    },
    Answer {
        awaited: Awaited,
        acknowledged: bool,
        /// Its inbox was not named the last time.
        again: bool,
    },
}

/// A signal for a conversation that is not owned here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) signal: Signal,
    pub(super) arrived: Instant,
    pub(super) hops: u8,
    /// The node that it reached first, if that was another.
    pub(super) from: Option<OwnerId>,
    pub(super) ticket: Option<Ticket>,
    /// Its owner's inbox was not named the last time.
    pub(super) again: bool,
    /// Of a keystroke that has reached this node first: until when it says that the user is typing.
    pub(super) counts_until: Instant,
    /// Of one that was posted: how often the typing had been ended before.
    pub(super) endings: u32,
}

impl Post {
    /// A signal that has reached this node.
    pub(super) const fn new(signal: Signal, arrived: Instant, ticket: Option<Ticket>) -> Self {
        Self { signal, arrived, hops: 0, from: None, ticket, again: false, counts_until: Instant::ORIGIN, endings: 0 }
    }

    /// The signal as it counts now. A keystroke counts from when it was pressed; `None`: the user is not typing any more.
    pub(super) fn signal_at(&self, now: Instant) -> Option<Signal> {
        if self.signal.kind != SignalKind::Keystroke {
            return Some(self.signal);
        }
        let ago_millis = u16::try_from(now.since(self.arrived).as_millis()).ok()?;
        let counts = now < self.counts_until || (self.from.is_some() && self.is_fresh(now));
        counts.then_some(Signal { ago_millis, ..self.signal })
    }

    /// Whether it may still count: a key that took too long says nothing about whether the user is typing now, and what was
    /// typed before an ending of long ago is over by itself.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let most = if self.signal.kind == SignalKind::Keystroke { FRESH_MAX } else { ENDING_MAX };
        now.since(self.arrived) <= most
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    posts: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it has something, and nothing but conversations that went off or are given up.
    pub(super) fn has_only_what_can_wait(&self) -> bool {
        let can_wait = |what| matches!(what, What::Dim | What::Release { .. });
        !self.is_empty() && self.pending.iter().all(|pending| can_wait(pending.what))
    }

    /// Whether there is room for one more signal. What concerns owned conversations is bounded by these.
    pub(super) fn has_room(&self) -> bool {
        self.posts < POSTS_MAX
    }

    pub(super) fn push(&mut self, conversation: Conversation, what: What) {
        self.posts += usize::from(matches!(what, What::Post(_)));
        self.pending.push_back(Pending { conversation, what });
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.posts -= usize::from(matches!(pending.what, What::Post(_)));
        Some(pending)
    }

    /// What was asked without an answer is asked again, before everything else.
    pub(super) fn put_back(&mut self, asked: Vec<Pending>) {
        for pending in asked.into_iter().rev() {
            self.posts += usize::from(matches!(pending.what, What::Post(_)));
            self.pending.push_front(pending);
        }
    }

    pub(super) fn releases(&self, conversation: &Conversation) -> bool {
        let release = |what| matches!(what, What::Release { .. });
        self.pending.iter().any(|pending| release(pending.what) && pending.conversation == *conversation)
    }

    /// Whether something waits that makes the conversation this node's own.
    pub(super) fn claims(&self, conversation: &Conversation) -> bool {
        let claim = |what| matches!(what, What::Post(_) | What::Stray { .. } | What::TakeOver { .. });
        self.pending.iter().any(|pending| claim(pending.what) && pending.conversation == *conversation)
    }

    /// What is owned again is not given up.
    pub(super) fn drop_releases(&mut self, is_owned: impl Fn(&Conversation) -> bool) {
        let dropped =
            |pending: &Pending| matches!(pending.what, What::Release { .. }) && is_owned(&pending.conversation);
        self.pending.retain(|pending| !dropped(pending));
    }

    /// Takes out the signals that `wanted` says yes to, in their order.
    pub(super) fn take_posts(&mut self, wanted: impl Fn(&Conversation) -> bool) -> Vec<(Conversation, Post)> {
        if self.posts == 0 {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.pending.retain(|pending| match pending.what {
            What::Post(post) if wanted(&pending.conversation) => {
                taken.push((pending.conversation.clone(), post));
                false
            }
            _ => true,
        });
        self.posts -= taken.len();
        taken
    }

    /// Takes out the strays.
    pub(super) fn take_strays(&mut self) -> Vec<Conversation> {
        let is_stray = |pending: &Pending| matches!(pending.what, What::Stray { .. });
        let (strays, kept): (VecDeque<_>, _) = self.pending.drain(..).partition(is_stray);
        self.pending = kept;
        strays.into_iter().map(|pending| pending.conversation).collect()
    }

    pub(super) fn drop_keystrokes(&mut self) -> u64 {
        let keystroke = |what| matches!(what, What::Post(post) if post.signal.kind == SignalKind::Keystroke);
        let before = self.pending.len();
        self.pending.retain(|pending| !keystroke(pending.what));
        let dropped = before - self.pending.len();
        self.posts -= dropped;
        dropped as u64
    }

    /// Another tenure begins with claims, which say what lights and dims would.
    pub(super) fn drop_flags(&mut self) {
        let ends =
            |what| matches!(what, What::Light | What::Dim | What::Claim | What::Give { .. } | What::TakeOver { .. });
        self.pending.retain(|pending| !ends(pending.what));
    }
}

/// Signals that wait at a time: more than a second's.
const POSTS_MAX: usize = 65_536;
/// How old a key may be when it counts. Salesforce's own samples report one a second or so.
pub(super) const FRESH_MAX: Duration = Duration::from_secs(1);
/// How old an ending may be when it counts: no key lasts longer.
const ENDING_MAX: Duration = Duration::from_millis(LASTS_MILLIS_MAX as u64);
