//! What a node asks of the store and what the store answers, as plain values. The store's scripts and the model of
//! the tests both do what is written here, one request at a time.
//!
//! The store keeps four things: who owns each conversation ([`Value`]), until when each owner's lease lasts, each
//! owner's share of the rate, and an inbox of [`Mail`] per owner. It knows nothing of typing.

use std::fmt;
use std::time::Duration;

use crate::model::{Conversation, Signal};

/// Names a node for as long as its lease lasts. Once the store has let it lapse, it never comes back to life: the
/// node joins again under the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(u64);

impl OwnerId {
    /// A process's first id. 48 bits of `random` tell processes apart, the others count the tenures of one.
    pub const fn new(random: u64) -> Self {
        Self(random & !TENURES)
    }

    /// The id that is written so: 16 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// Whether both name the same process.
    pub const fn is_same_process(self, other: Self) -> bool {
        self.0 & !TENURES == other.0 & !TENURES
    }

    /// The id of the same process's next tenure.
    pub const fn next(self) -> Self {
        Self((self.0 & !TENURES) | (self.0.wrapping_add(1) & TENURES))
    }
}

const TENURES: u64 = 0xFFFF;

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the store has of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Who owns it.
    pub owner: OwnerId,
    /// The upstream may show its icon: a Started may have left, and no Stopped is acknowledged.
    pub on: bool,
    /// How many strays its owner has been sent.
    pub strays: u32,
    /// How often a signal has ended the typing. A keystroke that was posted before the last of them has no say any more.
    pub endings: u32,
}

/// A caller waits until the icon is off: `wait=`, or a message that passes through the drop-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its number within the process.
    pub number: u32,
    /// For so long; [`Ticket::WITHOUT_END`]: whatever happens, within the owner's bound.
    pub millis: u16,
}

impl Ticket {
    /// The caller has a bound of its own, and wants an answer at any time.
    pub const WITHOUT_END: u16 = u16::MAX;
}

/// Who takes the answer to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The node.
    pub by: OwnerId,
    /// Its ticket.
    pub ticket: Ticket,
}

/// One request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be handed back with the reply. It grows: one that is not above the owner's last comes late, over a
    /// connection that has been given up, and is not executed, unless it changes nothing.
    pub number: u64,
    /// The owner that asks.
    pub me: OwnerId,
    /// What is asked.
    pub command: Command,
}

/// What is asked of the store. Each is executed whole, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Renews the lease, or joins.
    Heartbeat(Heartbeat),
    /// Operations on conversations, executed in this order.
    Turn {
        /// The owners into whose inboxes mail may be put.
        inboxes: Vec<OwnerId>,
        /// At most 800.
        ops: Vec<(Conversation, Op)>,
    },
    /// Some of the conversations from `cursor` on; 0 begins. What is there throughout a scan is returned at least
    /// once.
    Scan {
        /// Where the scan before ended.
        cursor: u64,
    },
    /// Takes over those of these conversations that `dead` owns with their icons on, and removes its others. Does
    /// nothing while `dead` or the owner that asks is alive or lapsed, respectively.
    Take {
        /// Whose.
        dead: OwnerId,
        /// The owner that asks has seen it alive within `recover_within`. If not, and the store doesn't know of that
        /// either, the conversations are removed and not returned: a late Stopped might open a session.
        recent: bool,
        /// For how long an icon that was left on is owed a Stopped.
        recover_within: Duration,
        /// At most 256.
        conversations: Vec<Conversation>,
    },
    /// Forgets an owner that has lapsed and owns nothing. Half of its share stays reserved for a minute, for it may
    /// be cut off and still be sending, or until it has said that it sends nothing any more; its mail is returned.
    Bury {
        /// Which owner.
        dead: OwnerId,
    },
    /// Forgets the owner that asks.
    Leave,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The owner is new, and joins. One that does not join and is not known has lapsed.
    pub joins: bool,
    /// The same process's former owner: its share becomes the new one's, and what is left in its inbox is returned.
    pub was: Option<OwnerId>,
    /// For how long the lease lasts.
    pub lease: Duration,
    /// The requests a second that the node takes for the org's limit. The smallest of the members' holds.
    pub limit: u32,
    /// The share that the node keeps to already.
    pub hold: u32,
    /// What its demand comes to: with less, the others hold back.
    pub need: u32,
    /// The share that it would like: more than it needs, if there is more.
    pub want: u32,
    /// A digest of its timing: all are to have the same.
    pub timing: u32,
    /// The node leaves, and nothing of what it has sent counts any more after so long: no share is kept for it from then on.
    pub counts_for: Option<Duration>,
}

/// An operation on one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A signal: takes the conversation if it is free or its owner has lapsed, else puts the signal into the owner's
    /// inbox. A keystroke sets `on` where the conversation is taken, or owned already; what ends the typing adds one to the
    /// endings.
    Post {
        /// The signal.
        signal: Signal,
        /// How often it has been posted before.
        hops: u8,
        /// The node that it reached first.
        from: OwnerId,
        /// A caller of that node waits.
        ticket: Option<Ticket>,
    },
    /// A Started is about to leave: sets `on` if the conversation is owned, free or of an owner that has lapsed.
    Light,
    /// Claims a conversation again that was owned as `seen` with this number of strays.
    Claim {
        /// The owner as which it was owned; `None` if the store does not know of it.
        seen: Option<OwnerId>,
        /// The strays that are known of.
        strays: u32,
        /// What `on` becomes if nothing has happened meanwhile. Another owner's icon, or a stray, sets it all the
        /// same.
        on: bool,
    },
    /// The icon is off: clears `on` if the conversation is owned and no further stray has come.
    Dim {
        /// The strays that are known of.
        strays: u32,
    },
    /// A signal that has reached the owner itself has ended the typing: adds one to the endings. Does nothing if the
    /// conversation is not owned.
    End,
    /// Takes the conversation with its icon on if its owner has lapsed, or if it is owned already. Does nothing if it is
    /// free or of another.
    TakeOver {
        /// Only if there have been so many endings; `None`: in any case.
        endings: Option<u32>,
    },
    /// Gives the conversation to another owner that is alive, and says so in its inbox. Does nothing if the conversation is
    /// not owned.
    Give {
        /// To whom.
        to: OwnerId,
        /// The upstream may show its icon.
        on: bool,
        /// The last signal was a keystroke.
        typing: bool,
    },
    /// Puts the answer to a ticket into the inbox of its node. Changes nothing of the conversation.
    Answer {
        /// The node that waits.
        to: OwnerId,
        /// The ticket's number.
        number: u32,
        /// Whether the Stopped was acknowledged.
        acknowledged: bool,
    },
    /// Removes the conversation if it is owned as `seen` and no further stray has come.
    Release {
        /// The owner as which it was owned.
        seen: OwnerId,
        /// The strays that are known of.
        strays: u32,
    },
    /// A Started of the asking node may have been applied although the conversation is no longer its own: sets `on`,
    /// takes it if it is free or its owner has lapsed, else adds one to its strays and notifies its owner.
    Stray {
        /// How often it has been posted before.
        hops: u8,
    },
}

/// The answer to one [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was free, or its lapsed owner showed nothing: now it is owned.
    Granted,
    /// It was owned already.
    Mine,
    /// It was taken over from an owner that has lapsed, and its icon may be on.
    TakenOver,
    /// Another owner has it: a stray has been put into its inbox, or it has been given to that owner.
    Elsewhere,
    /// Another owner has it: the signal has been put into its inbox. There have been so many endings.
    Posted(u32),
    /// Another owner has it whose inbox was not named: nothing was done.
    Undeclared,
    /// It was executed, or had nothing to do.
    Done,
    /// It is owned, but the owner has missed mail: there have been so many strays.
    Stray(u32),
    /// The owner that asks has lapsed: nothing of the whole turn was done.
    Lapsed,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a heartbeat.
    Heartbeat(Membership),
    /// To a turn: one for each operation.
    Turn(Vec<Answer>),
    /// To a scan.
    Scan {
        /// Where to go on; `None` at the end.
        next: Option<u64>,
        /// What was found.
        entries: Vec<(Conversation, Value)>,
    },
    /// To a take: what has been taken over with its icon on, and how many endings each has had.
    Taken(Vec<(Conversation, u32)>),
    /// To a burial: what was left in the inbox.
    Buried(Vec<Mail>),
    /// To a leave.
    Left,
}

/// The state of an owner's membership, and of the others'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Whether the lease was renewed.
    pub status: Status,
    /// The requests a second that the node may send, once it has read this.
    pub share: u32,
    /// No more is to be wanted next: less than the limit while another needs, and lacks, some of an equal part.
    pub most: u32,
    /// Another could use more than there is: what is not needed is not to be kept.
    pub is_sought: bool,
    /// The smallest limit of the members.
    pub limit: u32,
    /// Who is alive.
    pub members: Vec<OwnerId>,
    /// Who has lapsed and is not buried yet.
    pub lapsed: Vec<OwnerId>,
    /// What others that are alive have otherwise.
    pub differs: Differences,
    /// The store's clock, in milliseconds.
    pub now_millis: u64,
    /// What was left in the former owner's inbox.
    pub mail: Vec<Mail>,
}

/// What typingd that share an org should have the same, and have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How long a lease lasts.
    pub lease: bool,
    /// The timing of any channel.
    pub timing: bool,
}

impl Differences {
    /// Their names in the configuration.
    pub fn names(self) -> Vec<&'static str> {
        let named = [(self.lease, "store.lease"), (self.timing, "timing")];
        named.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name).collect()
    }
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The lease was in force, and is renewed.
    Kept,
    /// The owner was not known, and has joined.
    Joined,
    /// The owner has lapsed, or is not known and does not join. Nothing was renewed.
    Lapsed,
}

/// What a node finds in its inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// When it was put in, by the store's clock in milliseconds.
    pub posted_millis: u64,
    /// Whose.
    pub conversation: Conversation,
    /// What.
    pub content: Content,
}

/// What mail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A signal that reached another node.
    Signal {
        /// The signal.
        signal: Signal,
        /// How often it has been posted before this time.
        hops: u8,
        /// The node that it reached first.
        from: OwnerId,
        /// A caller of that node waits.
        ticket: Option<Ticket>,
    },
    /// The answer to a ticket of this node.
    Answer {
        /// The ticket's number.
        number: u32,
        /// Whether the Stopped was acknowledged.
        acknowledged: bool,
    },
    /// Its owner has given the conversation to this node.
    Given {
        /// The upstream may show its icon.
        on: bool,
        /// The last signal that the giver knows of was a keystroke.
        typing: bool,
    },
    /// Another node may have switched the icon on.
    Stray {
        /// How many there have been with this one.
        number: u32,
        /// How often it has been posted before this time.
        hops: u8,
    },
}
