//! The store's scripts on a real server against the model: the same requests have the same answers, and leave the same
//! behind. What the fleet was tested with is what it is run with.

use std::collections::BTreeMap;
use std::time::Duration;

use typingd::fleet::protocol::{Command, Heartbeat, Op, OwnerId, Reply, Request, Ticket, Value};
use typingd::model::{Conversation, ConversationRef, Signal, SignalKind};
use typingd::store::{Call, Keys, Script, Who, call, read_mail, read_reply};

use crate::fleet_store::Store;
use crate::rng::Rng;
use crate::server::Redis;

/// The server's side of one group.
struct Server {
    connection: redis::Connection,
    keys: Keys,
    texts: Vec<(Script, String)>,
}

impl Server {
    fn new(redis: &Redis, group: &str) -> Self {
        let texts = Script::ALL.map(|script| {
            // The clock is the test's.
            let (read, given) = ("redis.call('TIME')", "{ string.match(KEYS[#KEYS], '(%d+) (%d+)') }");
            assert_eq!(script.text().matches(read).count(), 1);
            (script, script.text().replace(read, given))
        });
        Self { connection: redis.connect(), keys: Keys::new(group), texts: texts.into() }
    }

    fn execute(&mut self, now: u64, request: &Request) -> Option<Reply> {
        let who = Who { name: "host".to_owned(), org: "00DXX0000000001".to_owned() };
        let Call::Script(script, keys, args) = call(&self.keys, request, &who) else { panic!("{request:?}") };
        let text = &self.texts.iter().find(|(of, _)| *of == script).unwrap().1;
        let mut command = redis::cmd("EVAL");
        command.arg(text).arg(keys.len() + 1).arg(keys);
        command.arg(format!("{} {}", now / 1_000, now % 1_000 * 1_000)).arg(args);
        let answered = command.query(&mut self.connection).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        read_reply(&request.command, answered).unwrap_or_else(|strange| panic!("{request:?}: {strange}"))
    }

    fn held(&mut self) -> BTreeMap<Conversation, Value> {
        let mut scan = redis::cmd("HSCAN");
        let answered = scan.arg(self.keys.held()).arg(0).arg("COUNT").arg(1_000).query(&mut self.connection).unwrap();
        match read_reply(&Command::Scan { cursor: 0 }, answered) {
            Ok(Some(Reply::Scan { next: None, entries })) => entries.into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn inbox(&mut self, owner: OwnerId) -> redis::Value {
        let inbox = self.keys.inbox(owner);
        let mail = redis::cmd("LRANGE").arg(&inbox).arg(0).arg(-1).query(&mut self.connection).unwrap();
        let _: () = redis::cmd("DEL").arg(inbox).query(&mut self.connection).unwrap();
        mail
    }
}

/// Members have no order.
fn sorted(reply: Option<Reply>) -> Option<Reply> {
    reply.map(|mut reply| {
        if let Reply::Heartbeat(membership) = &mut reply {
            membership.members.sort();
            membership.lapsed.sort();
        }
        reply
    })
}

/// Requests of nodes that know nothing of each other and often ask for what makes no sense.
struct Requests {
    rng: Rng,
    owners: Vec<OwnerId>,
    conversations: Vec<Conversation>,
    number: u64,
}

impl Requests {
    fn new(seed: u64) -> Self {
        let mut owners = Vec::new();
        for process in 1..=3 {
            let first = OwnerId::new(process << 40 | seed << 16);
            owners.extend([first, first.next()]);
        }
        let names = [("c", "ann"), ("c:", "2:é"), ("cä", "bob"), ("line", "a\nb"), ("c", "eve")];
        let conversation = |(to, from)| ConversationRef::new(to, from).unwrap().to_owned();
        let conversations = names.into_iter().map(conversation).collect();
        Self { rng: Rng::new(seed), owners, conversations, number: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn owner(&mut self) -> OwnerId {
        let index = self.below(self.owners.len());
        self.owners[index]
    }

    fn conversation(&mut self) -> Conversation {
        let index = self.below(self.conversations.len());
        self.conversations[index].clone()
    }

    fn next(&mut self) -> Request {
        // Some come late, or twice.
        self.number = if self.below(20) == 0 { self.number.saturating_sub(2) } else { self.number + 1 };
        let command = match self.below(20) {
            0..=5 => self.heartbeat(),
            6..=15 => self.turn(),
            16 | 17 => {
                let within = [0, 400, 5_000][self.below(3)];
                let count = self.below(6);
                Command::Take {
                    dead: self.owner(),
                    recent: self.below(2) == 0,
                    recover_within: Duration::from_millis(within),
                    conversations: (0..count).map(|_| self.conversation()).collect(),
                }
            }
            18 => Command::Bury { dead: self.owner() },
            _ => Command::Leave,
        };
        let me = self.owner();
        let is_its_own = matches!(command, Command::Heartbeat(Heartbeat { was: Some(was), .. }) if was == me);
        if is_its_own { self.next() } else { Request { number: self.number, me, command } }
    }

    fn heartbeat(&mut self) -> Command {
        let rate = |requests: usize| requests as u32;
        Command::Heartbeat(Heartbeat {
            joins: self.below(4) > 0,
            was: (self.below(5) == 0).then(|| self.owner()),
            lease: Duration::from_millis([500, 2_500][self.below(2)]),
            limit: [7, 1_000, 2_000][self.below(3)],
            hold: rate(self.below(1_200)),
            need: rate(self.below(2_500)),
            want: rate(self.below(2_500)),
            timing: rate(self.below(2)),
            counts_for: (self.below(4) == 0).then(|| Duration::from_millis([0, 1_000, 9_000][self.below(3)])),
        })
    }

    fn turn(&mut self) -> Command {
        let (inboxes, ops) = (self.below(7), 1 + self.below(6));
        let inboxes = (0..inboxes).map(|_| self.owner()).collect();
        Command::Turn { inboxes, ops: (0..ops).map(|_| (self.conversation(), self.op())).collect() }
    }

    fn op(&mut self) -> Op {
        let strays = self.below(3) as u32;
        let hops = self.below(4) as u8;
        match self.below(13) {
            0..=3 => {
                let kind = if self.below(2) == 0 { SignalKind::Keystroke } else { SignalKind::ALL[self.below(5)] };
                let lasts_millis = if kind == SignalKind::Keystroke { self.below(60_001) as u16 } else { 0 };
                let at = (self.below(2) == 0).then_some(1_700_000_000_123);
                let number = 4_000_000_000 + self.below(9) as u32;
                let ticket = (self.below(3) == 0).then_some(Ticket { number, millis: Ticket::WITHOUT_END });
                let ago_millis = if kind.ends_typing() { self.below(60_001) as u16 } else { 0 };
                Op::Post { signal: Signal { kind, lasts_millis, ago_millis, at }, hops, from: self.owner(), ticket }
            }
            4 => Op::Light,
            5 => {
                let seen = (self.below(3) > 0).then(|| self.owner());
                Op::Claim { seen, strays, on: self.below(2) == 0 }
            }
            6 => Op::Dim { strays },
            7 => Op::Release { seen: self.owner(), strays },
            8 => Op::Give { to: self.owner(), on: strays > 0, typing: hops > 1 },
            9 => Op::Answer { to: self.owner(), number: strays, acknowledged: hops > 1 },
            10 => Op::TakeOver { endings: (hops > 0).then_some(strays) },
            11 => Op::End,
            _ => Op::Stray { hops },
        }
    }

    /// The store's clock goes on, at times far, and at times back.
    fn tick(&mut self, now: u64) -> u64 {
        match self.below(60) {
            0 => now + 90_000,
            1 => now - 3_600_000.min(self.below(4_000_000) as u64),
            2..=8 => now + self.below(3_000) as u64,
            _ => now + self.below(80) as u64,
        }
    }
}

fn compare(seed: u64, batches: usize) {
    let Some(redis) = Redis::start() else { return };
    let mut server = Server::new(&redis, &format!("group {seed}"));
    let mut model = Store::default();
    let mut requests = Requests::new(seed);
    let mut now = 1_764_000_000_000;
    for batch in 0..batches {
        now = requests.tick(now);
        let request = requests.next();
        let (real, modelled) = (server.execute(now, &request), model.execute(now, &request));
        assert_eq!(sorted(real), sorted(modelled), "seed {seed}, batch {batch}, at {now}: {request:?}");
        assert_eq!(server.held(), model.held, "seed {seed}, after batch {batch}: {request:?}");
        if batch % 10 == 0 {
            let owner = requests.owner();
            let mail = read_mail(server.inbox(owner)).unwrap();
            assert_eq!(mail, model.read_inbox(owner), "seed {seed}, after batch {batch}: {request:?}");
        }
    }
}

#[test]
fn the_scripts_do_what_the_model_does() {
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            scope.spawn(move || compare(seed, 25_000));
        }
    });
}

#[test]
fn a_full_inbox_takes_no_keystroke_and_then_nothing() {
    let Some(redis) = Redis::start() else { return };
    let mut server = Server::new(&redis, "full");
    let mut model = Store::default();
    let [reader, writer] = [1, 2].map(|process| OwnerId::new(process << 40));
    let ann = ConversationRef::new("c", "ann").unwrap().to_owned();
    let mut number = 0;
    let mut both = |me, command| {
        number += 1;
        let request = Request { number, me, command };
        let (real, modelled) = (server.execute(1_000, &request), model.execute(1_000, &request));
        assert_eq!(sorted(real), sorted(modelled));
    };
    let heartbeat = Heartbeat {
        joins: true,
        was: None,
        lease: Duration::from_secs(2),
        limit: 9,
        hold: 1,
        need: 1,
        want: 1,
        timing: 1,
        counts_for: None,
    };
    let turn = |ops| Command::Turn { inboxes: vec![reader], ops };
    both(reader, Command::Heartbeat(heartbeat));
    both(writer, Command::Heartbeat(heartbeat));
    both(reader, turn(vec![(ann.clone(), Op::Light)]));
    for _ in 0..26 {
        for kind in [SignalKind::Keystroke, SignalKind::MessageSent] {
            let post = Op::Post { signal: Signal::new(kind), hops: 0, from: writer, ticket: None };
            both(writer, turn(vec![(ann.clone(), post); 800]));
        }
    }
    let mail = read_mail(server.inbox(reader)).unwrap();
    assert_eq!(mail, model.read_inbox(reader));
    assert_eq!(mail.len(), 20_000);
}
