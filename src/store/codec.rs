//! Requests as what the server is called with, and its answers read back.

use std::fmt::Write as _;

use redis::Value as Answered;

use crate::fleet::protocol::{
    Answer, Command, Content, Differences, Mail, Membership, Op, OwnerId, Reply, Request, Status, Ticket, Value,
};
use crate::model::{Conversation, ConversationRef, Signal, SignalKind};

/// What the server is to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A heartbeat.
    Heartbeat,
    /// A turn.
    Turn,
    /// A take.
    Take,
    /// A burial.
    Bury,
    /// A leave.
    Leave,
    /// Other changes of the timing.
    Retime,
}

impl Script {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Heartbeat, Self::Turn, Self::Take, Self::Bury, Self::Leave, Self::Retime];

    /// Its text, in Lua.
    pub const fn text(self) -> &'static str {
        macro_rules! script {
            ($name:literal) => {
                concat!(include_str!("scripts/common.lua"), "\n", include_str!(concat!("scripts/", $name, ".lua")))
            };
        }
        match self {
            Self::Heartbeat => script!("heartbeat"),
            Self::Turn => script!("turn"),
            Self::Take => script!("take"),
            Self::Bury => script!("bury"),
            Self::Leave => script!("leave"),
            Self::Retime => script!("retime"),
        }
    }
}

/// The names of a group's keys. All have one hash tag, so that they are in one slot.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Of the nodes that share an org's rate and conversations. Nodes of another schema are another group.
    pub fn new(group: &str) -> Self {
        Self { prefix: format!("typingd:1:{{{group}}}:") }
    }

    /// Who owns what.
    pub fn held(&self) -> String {
        self.of("held")
    }

    /// What people call each owner; and as whom the first has introduced the group.
    pub fn names(&self) -> String {
        self.of("names")
    }

    /// Changes of the timing, and their version.
    pub(super) fn timing(&self) -> String {
        self.of("timing")
    }

    /// What has been posted for an owner.
    pub fn inbox(&self, owner: OwnerId) -> String {
        format!("{}in:{owner}", self.prefix)
    }

    /// Until when each owner's lease lasts.
    pub(super) fn nodes(&self) -> String {
        self.of("nodes")
    }

    pub(super) fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Those of every script, in its order.
    pub(super) fn fixed(&self) -> Vec<String> {
        ["held", "nodes", "shares", "numbers", "names", "timing"].map(|name| self.of(name)).into()
    }
}

/// As whom a node introduces itself.
#[derive(Clone, Debug)]
pub struct Who {
    /// What people call it.
    pub name: String,
    /// The org that it serves; nothing if it does not know.
    pub org: String,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A script, with its keys and its arguments.
    Script(Script, Vec<String>, Vec<String>),
    /// `HSCAN` of this key from this cursor on.
    Scan(String, u64),
}

/// How `request` of `who` is called.
pub fn call(keys: &Keys, request: &Request, who: &Who) -> Call {
    let mut script_keys = keys.fixed();
    let mut args = vec![request.me.to_string(), request.number.to_string()];
    let script = match &request.command {
        Command::Heartbeat(heartbeat) => {
            let millis = heartbeat.lease.as_millis();
            script_keys.extend(heartbeat.was.map(|was| keys.inbox(was)));
            args.push(u8::from(heartbeat.joins).to_string());
            args.push(heartbeat.was.map_or_else(String::new, |was| was.to_string()));
            args.extend([millis.to_string(), heartbeat.limit.to_string()]);
            args.extend([heartbeat.hold, heartbeat.need, heartbeat.want].map(|rate| rate.to_string()));
            args.extend([who.name.clone(), SCHEMA.to_owned(), who.org.clone(), heartbeat.timing.to_string()]);
            args.push(heartbeat.counts_for.map_or_else(String::new, |counts| counts.as_millis().to_string()));
            Script::Heartbeat
        }
        Command::Turn { inboxes, ops } => {
            script_keys.extend(inboxes.iter().map(|owner| keys.inbox(*owner)));
            args.push(inboxes.len().to_string());
            args.extend(inboxes.iter().map(OwnerId::to_string));
            for (conversation, op) in ops {
                let (letter, detail) = op_args(conversation, op);
                args.extend([letter.to_owned(), field(conversation.as_ref()), detail]);
            }
            Script::Turn
        }
        Command::Scan { cursor } => return Call::Scan(keys.held(), *cursor),
        Command::Take { dead, recent, recover_within, conversations } => {
            args.extend([dead.to_string(), u8::from(*recent).to_string(), recover_within.as_millis().to_string()]);
            args.extend(conversations.iter().map(|conversation| field(conversation.as_ref())));
            Script::Take
        }
        Command::Bury { dead } => {
            script_keys.push(keys.inbox(*dead));
            args.push(dead.to_string());
            Script::Bury
        }
        Command::Leave => {
            script_keys.push(keys.inbox(request.me));
            Script::Leave
        }
    };
    Call::Script(script, script_keys, args)
}

/// An operation's letter and its detail.
fn op_args(conversation: &Conversation, op: &Op) -> (&'static str, String) {
    match *op {
        Op::Post { signal, hops, from, ticket } => {
            let letter = match signal.kind {
                SignalKind::Keystroke => "k",
                SignalKind::Opened => "o",
                _ => "p",
            };
            let at = signal.at.map_or_else(String::new, |at| at.to_string());
            let ticket = ticket.map_or_else(String::new, |Ticket { number, millis }| format!("{number}/{millis}"));
            let ends = signal.kind.ends_typing();
            let (name, millis) = (signal.kind.name(), if ends { signal.ago_millis } else { signal.lasts_millis });
            (letter, format!("{name}:{hops}:{millis}:{at}:{from}:{ticket}:{}", field(conversation.as_ref())))
        }
        Op::Give { to, on, typing } => {
            let (flag, yes) = (if on { '+' } else { '-' }, [u8::from(typing), u8::from(on)]);
            ("g", format!("{to}{flag}{GIVEN}:0:{}:{}:::{}", yes[0], yes[1], field(conversation.as_ref())))
        }
        Op::Answer { to, number, acknowledged } => {
            let yes = u8::from(acknowledged);
            ("a", format!("{to}{ANSWER}:0:{yes}:{number}:::{}", field(conversation.as_ref())))
        }
        Op::Light => ("l", String::new()),
        Op::End => ("e", String::new()),
        Op::TakeOver { endings } => ("t", endings.map_or_else(String::new, |endings| endings.to_string())),
        Op::Claim { seen, strays, on } => ("c", written(seen, on, strays)),
        Op::Dim { strays } => ("d", strays.to_string()),
        Op::Release { seen, strays } => ("r", written(Some(seen), false, strays)),
        Op::Stray { hops } => ("s", stray(conversation, hops)),
    }
}

fn stray(conversation: &Conversation, hops: u8) -> String {
    format!("{STRAY}:{hops}:::::{}", field(conversation.as_ref()))
}

/// What stands in mail in the place of a signal's name.
const STRAY: &str = "stray";
const ANSWER: &str = "answer";
const GIVEN: &str = "given";

/// What is kept, and how. Typingd that keep it differently don't share a group.
pub(super) const SCHEMA: &str = "1";

/// A value as the store has it.
fn written(owner: Option<OwnerId>, on: bool, strays: u32) -> String {
    let mut text = owner.map_or_else(|| "-".repeat(16), |owner| owner.to_string());
    text.push(if on { '+' } else { '-' });
    if strays > 0 {
        let _ = write!(text, "{strays}");
    }
    text
}

/// A conversation as the store has it: how many bytes `to` has, `to` and `from`.
pub(super) fn field(conversation: ConversationRef<'_>) -> String {
    format!("{}:{}{}", conversation.to().len(), conversation.to(), conversation.from())
}

/// The store has answered what typingd does not understand: another has written under the same names, perhaps.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not {expected}")]
pub struct Strange {
    expected: &'static str,
}

const fn strange(expected: &'static str) -> Strange {
    Strange { expected }
}

/// The answer to `command`. `None`: it came late, and was not executed.
///
/// # Errors
/// When it is none to this command.
pub fn read_reply(command: &Command, answered: Answered) -> Result<Option<Reply>, Strange> {
    if matches!(answered, Answered::Nil) {
        return Ok(None);
    }
    Ok(Some(match command {
        Command::Heartbeat(_) => Reply::Heartbeat(membership(answered)?),
        Command::Turn { ops, .. } => Reply::Turn(match answered {
            Answered::BulkString(letter) if letter == b"L" => vec![Answer::Lapsed; ops.len()],
            answered => {
                let answers = list(answered)?.into_iter().map(answer).collect::<Result<Vec<_>, _>>()?;
                if answers.len() != ops.len() {
                    return Err(strange("as many answers as operations"));
                }
                answers
            }
        }),
        Command::Scan { .. } => scanned(answered)?,
        Command::Take { .. } => {
            let (mut taken, mut flat) = (Vec::new(), list(answered)?.into_iter());
            while let (Some(field), Some(endings)) = (flat.next(), flat.next()) {
                let endings = u32::try_from(number(&endings)?).map_err(|_| strange("a number of endings"))?;
                taken.push((conversation(&text(field)?)?, endings));
            }
            Reply::Taken(taken)
        }
        Command::Bury { .. } => Reply::Buried(read_mail(answered)?),
        Command::Leave => Reply::Left,
    }))
}

fn answer(answered: Answered) -> Result<Answer, Strange> {
    let letter = text(answered)?;
    Ok(match letter.as_str() {
        "G" => Answer::Granted,
        "M" => Answer::Mine,
        "T" => Answer::TakenOver,
        "E" => Answer::Elsewhere,
        "U" => Answer::Undeclared,
        "D" => Answer::Done,
        "P" => Answer::Posted(0),
        _ => {
            let counted = |kind| letter.strip_prefix(kind).and_then(|count| count.parse().ok());
            let answer = counted('S').map(Answer::Stray).or_else(|| counted('P').map(Answer::Posted));
            answer.ok_or(strange("an answer to an operation"))?
        }
    })
}

/// The version of the changes of the timing that the answer to a heartbeat tells.
pub(super) fn timing_version(command: &Command, answered: &Answered) -> Option<u64> {
    let (Command::Heartbeat(_), Answered::Array(items)) = (command, answered) else { return None };
    text(items.last()?.clone()).ok()?.parse().ok()
}

fn membership(answered: Answered) -> Result<Membership, Strange> {
    let expected = strange("an answer to a heartbeat");
    let [status, share, most, sought, limit, members, lapsed, now, mail, differs, _timing] =
        <[Answered; 11]>::try_from(list(answered)?).map_err(|_| strange("an answer to a heartbeat"))?;
    let status = match text(status)?.as_str() {
        "kept" => Status::Kept,
        "joined" => Status::Joined,
        "lapsed" => Status::Lapsed,
        _ => return Err(expected),
    };
    let rate = |answered| u32::try_from(number(&answered)?).map_err(|_| strange("a rate"));
    Ok(Membership {
        status,
        share: rate(share)?,
        most: rate(most)?,
        is_sought: number(&sought)? == 1,
        differs: Differences { lease: number(&differs)? & 1 != 0, timing: number(&differs)? & 2 != 0 },
        limit: rate(limit)?,
        members: owners(members)?,
        lapsed: owners(lapsed)?,
        now_millis: u64::try_from(number(&now)?).map_err(|_| expected)?,
        mail: read_mail(mail)?,
    })
}

fn owners(answered: Answered) -> Result<Vec<OwnerId>, Strange> {
    list(answered)?.into_iter().map(|it| OwnerId::from_hex(&text(it)?).ok_or(strange("an owner"))).collect()
}

fn scanned(answered: Answered) -> Result<Reply, Strange> {
    let expected = "an answer to HSCAN";
    let [cursor, entries] = <[Answered; 2]>::try_from(list(answered)?).map_err(|_| strange(expected))?;
    let cursor: u64 = text(cursor)?.parse().map_err(|_| strange(expected))?;
    let flat = match entries {
        Answered::Map(pairs) => pairs.into_iter().flat_map(|(field, value)| [field, value]).collect(),
        entries => list(entries)?,
    };
    let mut entries = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let (Some(field), Some(held)) = (flat.next(), flat.next()) {
        entries.push((conversation(&text(field)?)?, value(&text(held)?)?));
    }
    Ok(Reply::Scan { next: (cursor != 0).then_some(cursor), entries })
}

/// Mail as an inbox gives it, the oldest first. A line that is none is left out: nothing is lost beside it.
///
/// # Errors
/// When it is no list.
pub fn read_mail(answered: Answered) -> Result<Vec<Mail>, Strange> {
    Ok(list(answered)?.into_iter().filter_map(|line| letter(&text(line).ok()?)).collect())
}

/// `when:number:what:hops:millis:at:from:ticket:conversation`. `millis` is how long the typing of a keystroke goes on, and how
/// long ago the typing was ended. In an answer it is 1 for yes, and `at` the ticket's number; in what is given it is 1 if the
/// user is typing, and `at` 1 if the icon may be on.
fn letter(line: &str) -> Option<Mail> {
    let mut parts = line.splitn(9, ':');
    let mut next = || parts.next();
    let posted_millis = next()?.parse().ok()?;
    let number = next()?.parse().ok()?;
    let (what, hops, millis, at) = (next()?, next()?.parse().ok()?, next()?, next()?);
    let (from, ticket) = (next()?, next()?);
    let conversation = conversation(next()?).ok()?;
    let content = if what == STRAY {
        Content::Stray { number, hops }
    } else if what == GIVEN {
        Content::Given { typing: millis == "1", on: at == "1" }
    } else if what == ANSWER {
        Content::Answer { number: at.parse().ok()?, acknowledged: millis == "1" }
    } else {
        let at = if at.is_empty() { None } else { Some(at.parse().ok()?) };
        let kind = SignalKind::from_name(what)?;
        let millis = millis.parse().ok()?;
        let (lasts_millis, ago_millis) = if kind.ends_typing() { (0, millis) } else { (millis, 0) };
        let signal = Signal { kind, lasts_millis, ago_millis, at };
        let ticket = match ticket.split_once('/') {
            Some((number, millis)) => Some(Ticket { number: number.parse().ok()?, millis: millis.parse().ok()? }),
            None => None,
        };
        Content::Signal { signal, hops, from: OwnerId::from_hex(from)?, ticket }
    };
    Some(Mail { posted_millis, conversation, content })
}

fn conversation(field: &str) -> Result<Conversation, Strange> {
    let split = || {
        let (bytes, ids) = field.split_once(':')?;
        let (to, from) = ids.split_at_checked(bytes.parse().ok()?)?;
        Some(ConversationRef::new(to, from).ok()?.to_owned())
    };
    split().ok_or(strange("a conversation"))
}

pub(super) fn value(text: &str) -> Result<Value, Strange> {
    let split = || {
        let (owner, rest) = text.split_at_checked(16)?;
        let (on, counts) = rest.split_at_checked(1)?;
        let (strays, endings) = counts.split_once('.').unwrap_or((counts, ""));
        let count = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
        let (strays, endings) = (count(strays)?, count(endings)?);
        Some(Value { owner: OwnerId::from_hex(owner)?, on: on == "+", strays, endings })
    };
    split().ok_or(strange("an owner of a conversation"))
}

fn list(answered: Answered) -> Result<Vec<Answered>, Strange> {
    match answered {
        Answered::Array(items) | Answered::Set(items) => Ok(items),
        _ => Err(strange("a list")),
    }
}

fn text(answered: Answered) -> Result<String, Strange> {
    match answered {
        Answered::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| strange("text")),
        Answered::SimpleString(text) => Ok(text),
        _ => Err(strange("text")),
    }
}

fn number(answered: &Answered) -> Result<i64, Strange> {
    match answered {
        Answered::Int(number) => Ok(*number),
        _ => Err(strange("a number")),
    }
}
