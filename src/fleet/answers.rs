//! What follows from the store's answers, from its silence, and from mail.

use std::time::Duration;

use super::protocol::{Answer, Awaited, Content, Mail, Membership, Reply, Status, Value};
use super::queue::{FRESH_MAX, Pending, Post, What};
use super::{Asked, Effect, Fleet, UnderWay};
use crate::model::{Conversation, Instant, Signal, SignalKind, micros};

impl Fleet {
    /// The store has answered the request of that number. An answer that is no longer waited for is ignored.
    pub fn handle_reply(&mut self, now: Instant, number: u64, reply: Reply) {
        self.look(now);
        let Some(UnderWay { sent, what, .. }) = self.under_way.take_if(|asked| asked.number == number) else { return };
        match (what, reply) {
            (Asked::Heartbeat, Reply::Heartbeat(membership)) => self.handle_membership(now, sent, membership),
            (Asked::Turn(asked), Reply::Turn(answers)) if asked.len() == answers.len() => {
                self.handle_turn(now, asked, answers);
            }
            (Asked::Other, Reply::Scan { next, entries }) => {
                for (conversation, value) in self.sweep.handle_scan(self.tenure.me(), next, entries) {
                    self.handle_own(now, conversation, value);
                }
            }
            (Asked::Other, Reply::Taken(conversations)) => {
                for (conversation, endings) in conversations {
                    self.counts.reaped += 1;
                    self.drop_ended(&conversation, endings);
                    self.recover(now, conversation);
                }
            }
            (Asked::Other, Reply::Buried(mail)) => {
                let kept = mail.into_iter().filter(|mail| !is_keystroke(&mail.content));
                self.handle_mail(now, kept.collect());
            }
            (Asked::Other, Reply::Left) => self.left = true,
            // Not what was asked: as good as no answer.
            (Asked::Turn(asked), _) => self.handle_unanswered(now, Some(asked)),
            _ => self.handle_unanswered(now, None),
        }
        self.deliver_posts(now);
        self.effects.extend(self.checks.drain(..).map(Effect::Check));
    }

    /// The request under way has no answer, or the connection broke: whatever was asked may have been done. Requests
    /// may be sent again from now on.
    pub fn handle_silence(&mut self, now: Instant) {
        self.look(now);
        let asked = match self.under_way.take() {
            Some(UnderWay { what: Asked::Turn(asked), .. }) => Some(asked),
            _ => None,
        };
        self.handle_unanswered(now, asked);
    }

    /// What was in this node's inbox, the oldest first.
    pub fn handle_mail(&mut self, now: Instant, mail: Vec<Mail>) {
        self.look(now);
        for Mail { posted_millis, conversation, content } in mail {
            match content {
                Content::Signal { signal, hops, from, ticket } => {
                    self.counts.received += 1;
                    let from = Some(from);
                    let post = Post { hops, from, ..Post::new(signal, now, ticket) };
                    self.handle_posted(now, self.age_millis(now, posted_millis), conversation, post);
                }
                Content::Given { on, typing } => self.handle_given(now, conversation, on, typing),
                Content::Answer { number, acknowledged } => {
                    self.effects.push_back(Effect::Answer(number, acknowledged));
                }
                Content::Stray { number, hops } => match self.holdings.get_mut(&conversation.as_ref()) {
                    Some(holding) => {
                        holding.strays = holding.strays.max(number);
                        self.recover(now, conversation);
                    }
                    None if hops < HOPS_MAX => self.queue.push(conversation, What::Stray { hops: hops + 1 }),
                    None => self.counts.dropped += 1,
                },
            }
        }
    }

    /// A signal that another node posted so many milliseconds ago.
    fn handle_posted(&mut self, now: Instant, age: u64, conversation: Conversation, post: Post) {
        let Post { mut signal, hops, .. } = post;
        let millis = u16::try_from(age).unwrap_or(u16::MAX);
        // Who has posted keeps the key, whether or not it counts here.
        let poster = post.from.filter(|from| !self.is_self(*from));
        if let Some(holding) = self.holdings.get_mut(&conversation.as_ref()) {
            holding.poster = poster;
        }
        if signal.kind == SignalKind::Keystroke {
            if u128::from(age) > FRESH_MAX.as_millis() {
                self.counts.stale += 1;
                return;
            }
            signal.lasts_millis = signal.lasts_millis.saturating_sub(millis);
        } else if signal.kind.ends_typing() {
            signal.ago_millis = signal.ago_millis.saturating_add(millis);
        }
        let awaited = self.awaited(&post);
        if let Some(holding) = self.holdings.get_mut(&conversation.as_ref()) {
            let ended = Duration::from_millis(signal.ago_millis.into());
            let typed_since = holding.last_key > Instant::ORIGIN && now < holding.last_key + ended;
            if ended > FRESH_MAX && typed_since {
                self.drop_post(&conversation, &post);
                return;
            }
            self.effects.push_back(Effect::Signal(conversation.clone(), signal, awaited));
            self.note_signal(now, conversation.as_ref(), signal.kind);
        } else if hops < HOPS_MAX && self.queue.has_room() {
            self.queue.push(conversation, What::Post(Post { signal, hops: hops + 1, ..post }));
        } else {
            self.drop_post(&conversation, &post);
        }
    }

    /// Who waits for what becomes of a signal.
    pub(super) fn awaited(&self, post: &Post) -> Option<Awaited> {
        post.ticket.map(|ticket| Awaited { by: post.from.unwrap_or(self.tenure.me()), ticket })
    }

    /// No one takes the signal.
    pub(super) fn drop_post(&mut self, conversation: &Conversation, post: &Post) {
        self.counts.dropped += 1;
        if let Some(awaited) = self.awaited(post) {
            self.handle_answered(conversation.as_ref(), awaited, false);
        }
    }

    fn handle_membership(&mut self, now: Instant, sent: Instant, membership: Membership) {
        if membership.status == Status::Lapsed {
            self.lapse(now);
            return;
        }
        let joined = self.tenure.renew(now, sent);
        self.take_over_posted(now, &membership.members);
        self.store_clock = Some((membership.now_millis, sent));
        self.sweep.handle_membership(now, &membership);
        self.agreement.compared(now, membership.differs);
        let before = self.share.in_force();
        self.share.granted(&membership);
        if self.share.in_force() != before {
            self.effects.push_back(Effect::Share(self.share.in_force()));
        }
        if self.share.owes() {
            self.next_heartbeat = self.next_heartbeat.min(now + OWING_HEARTBEAT);
        }
        if joined || std::mem::take(&mut self.reclaims) {
            self.claims = self.holdings.keys().cloned().collect();
            let holdings = &self.holdings;
            self.queue.drop_releases(|released| holdings.contains_key(&released.as_ref()));
            self.end_claims();
        }
        self.give_refused();
        self.handle_mail(now, membership.mail);
    }

    /// The store has let the lease lapse. If the machine has stood still with its clock, no key is as fresh as it looks.
    fn lapse(&mut self, now: Instant) {
        self.tenure.lapse();
        self.share.cut();
        self.effects.push_back(Effect::Share(self.share.in_force()));
        self.end_tenure();
        self.counts.stale += self.queue.drop_keystrokes();
        self.next_heartbeat = now;
    }

    /// If everything that was owned has been claimed: the node is tenured, and looks for what it doesn't know of.
    pub(super) fn end_claims(&mut self) {
        if self.claims.is_empty() {
            self.sweep.want();
            self.tenure.claimed();
        }
    }

    fn handle_turn(&mut self, now: Instant, asked: Vec<Pending>, answers: Vec<Answer>) {
        if answers.contains(&Answer::Lapsed) {
            self.queue.put_back(asked);
            self.lapse(now);
            return;
        }
        self.tenure.extend_doubt(now);
        let claimed = asked.iter().any(|pending| matches!(pending.what, What::Claim));
        let mut again = Vec::new();
        for (Pending { conversation, what }, answer) in asked.into_iter().zip(answers) {
            match what {
                What::Post(post) if answer == Answer::Undeclared && !post.again => {
                    again.push(Pending { conversation, what: What::Post(Post { again: true, ..post }) });
                }
                What::Stray { .. } if answer == Answer::Undeclared => again.push(Pending { conversation, what }),
                What::Post(post) => self.handle_post_answer(now, conversation, post, answer),
                What::Stray { .. } => {
                    if matches!(answer, Answer::Granted | Answer::Mine | Answer::TakenOver) {
                        // Whether the typing was ended since it was posted is not known.
                        self.posted.remove(&conversation.as_ref());
                        self.recover(now, conversation);
                    }
                }
                What::Answer { again: false, awaited, acknowledged } if answer == Answer::Undeclared => {
                    again.push(Pending { conversation, what: What::Answer { awaited, acknowledged, again: true } });
                }
                // Who waits for it notices that none comes.
                What::Answer { .. } | What::End => {}
                What::Give { .. } if answer == Answer::Elsewhere => self.give(conversation),
                What::Give { .. } => {
                    // Once more with the next heartbeat.
                    self.refused.insert(conversation);
                }
                What::TakeOver { given } => self.handle_take_over(now, conversation, given, answer),
                What::Light | What::Claim | What::Dim => self.handle_own_answer(now, conversation, what, answer),
                What::Release { .. } => {
                    if let Answer::Stray(number) = answer {
                        self.recover(now, conversation.clone());
                        self.know_of(&conversation, number);
                    }
                }
            }
        }
        if claimed {
            self.end_claims();
        }
        if !again.is_empty() {
            // Another node has joined: the next heartbeat names it.
            self.next_heartbeat = now;
            self.queue.put_back(again);
        }
    }

    fn handle_post_answer(&mut self, now: Instant, conversation: Conversation, post: Post, answer: Answer) {
        let me = Some(self.tenure.me());
        let is_keystroke = post.signal.kind == SignalKind::Keystroke;
        if let Answer::Posted(endings) = answer {
            self.counts.posted += 1;
            self.keep_posted(now, conversation, Post { endings, ..post });
            return;
        }
        self.posted.remove(&conversation.as_ref());
        match answer {
            Answer::Granted => {
                let holding = self.holdings.entry(conversation.clone()).or_default();
                (holding.owner, holding.on) = (me, holding.on || is_keystroke);
                self.checks.push(conversation.clone());
            }
            Answer::TakenOver => {
                self.counts.taken += 1;
                self.recover(now, conversation.clone());
            }
            Answer::Mine => match self.holdings.get_mut(&conversation.as_ref()) {
                Some(holding) => holding.on |= is_keystroke,
                // Taken before with an answer that was lost.
                None => {
                    self.recover(now, conversation.clone());
                    // Only a key has told the store that the icon may be on.
                    if let Some(holding) = self.holdings.get_mut(&conversation.as_ref()).filter(|_| !is_keystroke) {
                        holding.on = false;
                        self.queue.push(conversation.clone(), What::Light);
                    }
                }
            },
            _ => {
                self.drop_post(&conversation, &post);
                return;
            }
        }
        self.deliver(now, conversation, post);
    }

    /// The answer about something that this node owns, or thought it did.
    fn handle_own_answer(&mut self, now: Instant, conversation: Conversation, what: What, answer: Answer) {
        let Some(holding) = self.holdings.get_mut(&conversation.as_ref()) else { return };
        let lights = matches!(what, What::Light);
        match answer {
            Answer::Elsewhere | Answer::Undeclared => {
                self.lose(conversation);
                return;
            }
            Answer::Granted | Answer::Mine | Answer::TakenOver => {
                holding.owner = Some(self.tenure.me());
                holding.untold = None;
                if answer == Answer::Granted {
                    holding.strays = 0;
                }
            }
            _ => {}
        }
        let kept_back = if lights {
            holding.on = true;
            holding.waiting.take()
        } else {
            None
        };
        match answer {
            Answer::TakenOver => self.recover(now, conversation),
            Answer::Stray(number) => {
                self.recover(now, conversation.clone());
                self.know_of(&conversation, number);
            }
            _ => {}
        }
        if let Some(dispatch) = kept_back {
            self.effects.push_back(if self.may_depart(now, self.tenure.number()) {
                Effect::Send(dispatch)
            } else {
                Effect::Withhold(dispatch.id)
            });
        }
    }

    /// A scan has found something of this node's own.
    fn handle_own(&mut self, now: Instant, conversation: Conversation, value: Value) {
        if self.holdings.contains_key(&conversation.as_ref()) || self.queue.releases(&conversation) {
            return;
        }
        let (seen, strays) = (self.tenure.me(), value.strays);
        if value.on {
            // Perhaps it was taken over from an owner that had lapsed, or given, and the mail that said so was lost: then it
            // is not known whether the user is still typing.
            self.posted.remove(&conversation.as_ref());
            self.recover(now, conversation.clone());
            self.know_of(&conversation, strays);
        } else if self.queue.claims(&conversation) {
            // The answer that was lost is asked for again, before what would be given up here: it is looked at once more.
            self.sweep.want();
        } else {
            self.queue.push(conversation, What::Release { seen, strays });
        }
    }

    /// The conversation is owned, and its icon may be on because of another node: it is owed a Stopped now, and one
    /// more once no request of that node can be applied any more.
    pub(super) fn recover(&mut self, now: Instant, conversation: Conversation) {
        let suspect_until = now + self.settings.request_timeout;
        let me = self.tenure.me();
        let holding = self.holdings.entry(conversation.clone()).or_default();
        if holding.owner != Some(me) {
            (holding.owner, holding.strays) = (Some(me), 0);
        }
        holding.on = true;
        holding.suspect_until = suspect_until;
        self.suspects.push_back((suspect_until, conversation.clone()));
        self.effects.push_back(Effect::Recover(conversation.clone()));
        self.play_posted(now, conversation);
    }

    /// The store has counted so many strays. Mail may have said more: of an earlier time at which it was owned.
    fn know_of(&mut self, conversation: &Conversation, strays: u32) {
        if let Some(holding) = self.holdings.get_mut(&conversation.as_ref()) {
            holding.strays = strays;
        }
    }

    /// Another node owns the conversation.
    fn lose(&mut self, conversation: Conversation) {
        let Some(untold) = self.let_go(&conversation) else { return };
        if let Some((signal, arrived)) = untold {
            self.queue.push(conversation.clone(), What::Post(Post::new(signal, arrived, None)));
        }
        self.effects.push_back(Effect::Lose(conversation));
    }

    /// Returns what another owner would have to be told.
    pub(super) fn let_go(&mut self, conversation: &Conversation) -> Option<Option<(Signal, Instant)>> {
        let holding = self.holdings.remove(&conversation.as_ref())?;
        self.counts.lost += 1;
        if let Some(dispatch) = holding.waiting {
            self.effects.push_back(Effect::Withhold(dispatch.id));
        }
        Some(holding.untold)
    }

    fn handle_unanswered(&mut self, now: Instant, asked: Option<Vec<Pending>>) {
        if let Some(asked) = asked {
            let (claims, mut others): (Vec<_>, Vec<_>) =
                asked.into_iter().partition(|pending| matches!(pending.what, What::Claim));
            for ended in others.extract_if(.., |pending| matches!(pending.what, What::End)) {
                self.end(ended.conversation.as_ref());
            }
            for claim in claims.into_iter().rev() {
                self.claims.push_front(claim.conversation);
            }
            self.queue.put_back(others);
        }
        self.reclaims = true;
        self.heartbeat_was_last = false;
        self.sweep.abort();
        self.next_heartbeat = now;
    }

    /// What has waited for the answer that made the conversation this node's own comes before anything that arrives
    /// later.
    fn deliver_posts(&mut self, now: Instant) {
        let holdings = &self.holdings;
        for (conversation, post) in self.queue.take_posts(|waits| holdings.contains_key(&waits.as_ref())) {
            self.deliver(now, conversation, post);
        }
    }

    fn deliver(&mut self, now: Instant, conversation: Conversation, post: Post) {
        if post.is_fresh(now) {
            let awaited = self.awaited(&post);
            self.effects.push_back(Effect::Signal(conversation.clone(), post.signal, awaited));
            self.note_signal(now, conversation.as_ref(), post.signal.kind);
        } else {
            self.counts.stale += 1;
        }
    }

    /// How long ago the store's clock said `posted`, or a little more.
    fn age_millis(&self, now: Instant, posted: u64) -> u64 {
        let Some((millis, since)) = self.store_clock else { return u64::MAX };
        millis.saturating_add(micros(now.since(since)) / 1_000).saturating_sub(posted)
    }
}

fn is_keystroke(content: &Content) -> bool {
    matches!(content, Content::Signal { signal, .. } if signal.kind == SignalKind::Keystroke)
}

/// How soon a node reports what it has given up of its share.
const OWING_HEARTBEAT: Duration = Duration::from_millis(50);
/// How often a signal is posted again by a node that doesn't own the conversation any more.
const HOPS_MAX: u8 = 3;
