//! A made-up world around the engine: people who type, an upstream with weather, a process that dies. Everything is
//! checked at every step, and the same seed gives the same history.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::outbox::Acknowledged;
use typingd::engine::policy::{Delivery, Mode, Policy};
use typingd::model::{
    Cause, ConversationRef, Dispatch, Indicator, Instant, Outcome, Reason, Rejection, Signal, SignalKind, Transient,
    Why,
};

use crate::rng::Rng;
use crate::typist::Typist;

/// What the upstream is like for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Weather {
    Fair,
    /// Half of the requests are lost before they arrive, or their answers after they were applied.
    Lossy,
    /// Everything is answered with a rate limit.
    RateLimited,
    /// Everything is answered with a 5xx; half of it was applied all the same.
    Failing,
    /// No connection can be made.
    Down,
    /// Tokens are rejected now and then.
    TokenTrouble,
    /// No connector shows credentials that are good, but now and then. The engine is given notice of its end.
    NoCredentials,
}

const WEATHERS: [Weather; 7] = [
    Weather::Fair,
    Weather::Lossy,
    Weather::RateLimited,
    Weather::Failing,
    Weather::Down,
    Weather::TokenTrouble,
    Weather::NoCredentials,
];

pub(crate) struct Climate {
    pub(crate) people: usize,
    /// How long people go on typing.
    pub(crate) typing: Duration,
    pub(crate) crashes: bool,
    pub(crate) storms: bool,
    pub(crate) policy: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The person's next act.
    Person(usize),
    Arrive(u64),
    Answer(u64),
    Weather,
    Crash,
    Restart,
}

struct Person {
    typist: Typist,
    name: String,
    keys_left: u64,
    last_key: Option<Instant>,
    sent_since_key: bool,
    /// The upstream knows no such user.
    unknown: bool,
    /// The upstream has said so to this life of the process.
    muted_until: Option<Instant>,
}

/// What the upstream shows, and what it has received.
#[derive(Default)]
struct Upstream {
    shown: bool,
    /// A Started has left since the last acknowledged Stopped.
    maybe_on: bool,
    in_flight: bool,
}

struct Flight {
    dispatch: Dispatch,
    person: usize,
    outcome: Outcome,
    /// Which life of the process sent it.
    life: u32,
}

/// What a history came to.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(crate) struct History {
    pub(crate) hash: u64,
    pub(crate) requests: u64,
    pub(crate) crashes: u64,
    pub(crate) storms: u64,
    pub(crate) faults: u64,
    pub(crate) keys: u64,
    pub(crate) seconds: u64,
    /// Decisions that came to nothing, by [`Why`] in the order of [`Why::ALL`].
    pub(crate) dropped: [u64; Why::ALL.len()],
}

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    climate: Climate,
    engine: Option<Engine>,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    people: Vec<Person>,
    by_name: HashMap<String, usize>,
    far: Vec<Upstream>,
    flights: HashMap<u64, Flight>,
    /// Showing before it leaves, gone once it is acknowledged off: what the journal keeps.
    journal: BTreeSet<usize>,
    arrivals: VecDeque<Instant>,
    weather: Weather,
    life: u32,
    /// Decisions of this life that have neither been acknowledged nor dropped.
    open: BTreeSet<u64>,
    /// Stops that the upstream rejected in this life: it knows no such user, and shows no icon of theirs.
    rejected_stops: u64,
    typing_until: Instant,
    hasher: DefaultHasher,
    history: History,
}

impl World {
    pub(crate) fn new(seed: u64, climate: Climate) -> Self {
        let mut rng = Rng::new(seed);
        let people: Vec<Person> = (0..climate.people)
            .map(|i| Person {
                typist: Typist::new(&mut rng),
                name: format!("user-{i}"),
                keys_left: 0,
                last_key: None,
                sent_since_key: false,
                unknown: climate.storms && i % 17 == 3,
                muted_until: None,
            })
            .collect();
        let now = Instant::from_millis(1_000);
        let mut world = Self {
            seed,
            engine: Some(observed(Engine::new(climate.policy.clone(), seed))),
            now,
            events: BinaryHeap::new(),
            sequence: 0,
            by_name: people.iter().enumerate().map(|(i, person)| (person.name.clone(), i)).collect(),
            far: (0..people.len()).map(|_| Upstream::default()).collect(),
            people,
            flights: HashMap::new(),
            journal: BTreeSet::new(),
            arrivals: VecDeque::new(),
            weather: Weather::Fair,
            life: 0,
            open: BTreeSet::new(),
            rejected_stops: 0,
            typing_until: now + climate.typing,
            hasher: DefaultHasher::new(),
            history: History::default(),
            rng,
            climate,
        };
        for i in 0..world.people.len() {
            let wait = world.rng.below(10_000);
            world.after(wait, Event::Person(i));
        }
        if world.climate.storms {
            world.after(5_000, Event::Weather);
        }
        if world.climate.crashes {
            let wait = 2_000 + world.rng.below(20_000);
            world.after(wait, Event::Crash);
        }
        world
    }

    fn after(&mut self, millis: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + Duration::from_millis(millis), self.sequence, event)));
    }

    /// Lives through the whole history.
    pub(crate) fn run(mut self) -> History {
        // A storm, the retries after it, a mute and the lifespan of a Stopped all end long before this.
        let quiet = self.typing_until + Duration::from_secs(1_500);
        loop {
            let engine_due = match &mut self.engine {
                Some(engine) => engine.poll_timeout(self.now),
                None => Instant::NEVER,
            };
            let event_due = self.events.peek().map_or(Instant::NEVER, |Reverse((at, ..))| *at);
            let next = engine_due.min(event_due);
            if next == Instant::NEVER || next > quiet {
                break;
            }
            self.now = self.now.max(next);
            if let Some(engine) = &mut self.engine {
                engine.handle_timeout(self.now);
            }
            if event_due <= self.now
                && let Some(Reverse((_, _, event))) = self.events.pop()
            {
                (self.now.as_micros(), &format!("{event:?}")).hash(&mut self.hasher);
                self.happen(event);
            }
            self.send();
            self.follow_decisions();
        }
        self.check_the_end();
        self.history.hash = self.hasher.finish();
        self.history.seconds = self.now.as_millis() / 1_000;
        self.history
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Person(i) => self.person_acts(i),
            Event::Arrive(flight) => self.arrive(flight),
            Event::Answer(flight) => self.answer(flight),
            Event::Weather => {
                let over = self.now >= self.typing_until;
                if let (Weather::NoCredentials, Some(engine)) = (self.weather, &mut self.engine) {
                    engine.handle_acceptance(self.now, "channel");
                }
                self.weather = if over || self.weather != Weather::Fair {
                    Weather::Fair
                } else {
                    WEATHERS[self.rng.below(WEATHERS.len() as u64) as usize]
                };
                self.history.storms += u64::from(self.weather != Weather::Fair);
                // Shorter than the lifespan of a Stopped, so that none may be given up.
                let lasts = 1_000 + self.rng.below(25_000);
                if !over {
                    self.after(lasts, Event::Weather);
                }
            }
            Event::Crash => {
                self.engine = None;
                self.history.crashes += 1;
                for side in &mut self.far {
                    side.in_flight = false;
                }
                // Longer than a request is under way: what a dead process sent arrives before its successor speaks.
                let wait = LATENCY_MAX + 1 + self.rng.below(2_000);
                self.after(wait, Event::Restart);
            }
            Event::Restart => {
                self.life += 1;
                self.rejected_stops = 0;
                for person in &mut self.people {
                    person.muted_until = None;
                }
                self.open.clear();
                let mut engine = observed(Engine::new(self.climate.policy.clone(), self.seed ^ u64::from(self.life)));
                for i in &self.journal {
                    engine.handle_recovered(self.now, pair(&self.people[*i].name));
                }
                self.engine = Some(engine);
                if self.now < self.typing_until {
                    let wait = 500 + self.rng.below(30_000);
                    self.after(wait, Event::Crash);
                }
            }
        }
    }

    fn person_acts(&mut self, i: usize) {
        let resting = self.now >= self.typing_until;
        let person = &mut self.people[i];
        let (kind, wait) = if person.keys_left > 0 {
            person.keys_left -= 1;
            person.last_key = Some(self.now);
            person.sent_since_key = false;
            self.history.keys += 1;
            (SignalKind::Keystroke, person.typist.gap(&mut self.rng))
        } else {
            person.sent_since_key = true;
            let kind = match self.rng.below(20) {
                0 => SignalKind::Stopped,
                1 => SignalKind::Ended,
                // An abandoned draft: nothing at all is said.
                2 | 3 => {
                    person.sent_since_key = false;
                    SignalKind::Opened
                }
                _ => SignalKind::MessageSent,
            };
            person.keys_left = person.typist.keys(&mut self.rng);
            (kind, 500 + self.rng.below(8_000))
        };
        if let Some(engine) = &mut self.engine {
            let taken = engine.handle_signal(self.now, pair(&person.name), Signal::new(kind));
            assert!(taken.is_ok(), "there is room");
        }
        if !(resting && kind != SignalKind::Keystroke) {
            self.after(wait, Event::Person(i));
        }
    }

    fn send(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let mut leaving = Vec::new();
        while let Some(dispatch) = engine.poll_dispatch(self.now) {
            leaving.push(dispatch);
        }
        for dispatch in leaving {
            let i = self.by_name[dispatch.conversation.from()];
            self.check_leaving(i, &dispatch);
            self.far[i].in_flight = true;
            if dispatch.indicator() == Indicator::TypingStarted {
                self.far[i].maybe_on = true;
                self.journal.insert(i);
            }
            self.history.requests += 1;
            let flight = self.history.requests;
            let outcome = Outcome::Delivered;
            self.flights.insert(flight, Flight { dispatch, person: i, outcome, life: self.life });
            let latency = 5 + self.rng.below(LATENCY_MAX - 5);
            self.after(latency, Event::Arrive(flight));
        }
    }

    /// A decision is reported before anything becomes of it, and ends once.
    fn follow_decisions(&mut self) {
        let (Some(engine), seed) = (&mut self.engine, self.seed) else { return };
        while let Some(decision) = engine.poll_decision() {
            assert!(self.open.insert(decision.number), "seed {seed}: two decisions of one number");
        }
        while let Some(dropped) = engine.poll_dropped() {
            let known = self.open.remove(&dropped.number);
            assert!(known, "seed {seed}: dropped what was not decided, or had ended: {dropped:?}");
            self.history.dropped[dropped.why as usize] += 1;
        }
    }

    fn check_leaving(&self, i: usize, dispatch: &Dispatch) {
        let (side, person, seed) = (&self.far[i], &self.people[i], self.seed);
        assert!(!side.in_flight, "seed {seed}: two requests of one conversation in flight");
        // A mute holds icons back. What an earlier life may have left on gets its Stopped all the same.
        let muted = person.muted_until.is_some_and(|until| self.now < until);
        let shows = dispatch.indicator() == Indicator::TypingStarted;
        assert!(!(muted && shows), "seed {seed}: a muted conversation is not left alone");
        let rules = &self.climate.policy.rules;
        let pause = person.last_key.map(|key| self.now.since(key));
        match dispatch.indicator() {
            Indicator::TypingStarted => {
                assert!(!person.sent_since_key, "seed {seed}: a Started after the message's barrier");
                if rules.mode == Mode::Idle {
                    let true_now = pause.is_some_and(|pause| pause < rules.dismiss_after());
                    assert!(true_now, "seed {seed}: a Started that is not true when it leaves ({pause:?})");
                }
                let age = self.now.since(dispatch.decided);
                assert!(age < Duration::from_secs(5), "seed {seed}: a Started {age:?} late");
            }
            Indicator::TypingStopped => {
                assert!(side.maybe_on, "seed {seed}: a Stopped for an icon that is off");
                if dispatch.reason == Reason::Idle {
                    let silent = pause.is_some_and(|pause| pause >= rules.dismiss_after());
                    assert!(silent, "seed {seed}: an automatic Stopped before last key + dismiss ({pause:?})");
                }
            }
        }
    }

    fn arrive(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let roll = self.rng.unit();
        let transient = |cause| Transient { cause, retry_after: None };
        let unknown = self.people[flight.person].unknown;
        let (arrives, applied, outcome) = match self.weather {
            _ if unknown => (true, false, Outcome::Rejected(Rejection::Conversation)),
            Weather::Fair => (true, true, Outcome::Delivered),
            Weather::Lossy if roll < 0.25 => (false, false, Outcome::Unknown(transient(Cause::NoAnswer))),
            Weather::Lossy if roll < 0.5 => (true, true, Outcome::Unknown(transient(Cause::NoAnswer))),
            Weather::Lossy => (true, true, Outcome::Delivered),
            Weather::RateLimited => {
                let retry_after = (roll < 0.5).then(|| Duration::from_millis(1_000));
                (true, false, Outcome::NotSent(Transient { cause: Cause::RateLimited, retry_after }))
            }
            Weather::Failing => (true, roll < 0.5, Outcome::Unknown(transient(Cause::Failing))),
            Weather::Down => (false, false, Outcome::NotSent(transient(Cause::Unreachable))),
            Weather::TokenTrouble if roll < 0.7 => (true, false, Outcome::NotSent(transient(Cause::Token))),
            Weather::TokenTrouble => (true, true, Outcome::Delivered),
            Weather::NoCredentials if roll < 0.6 => (false, false, Outcome::NotSent(transient(Cause::NoCredentials))),
            Weather::NoCredentials if roll < 0.8 => (true, false, Outcome::NotSent(transient(Cause::Credentials))),
            Weather::NoCredentials => (true, true, Outcome::Delivered),
        };
        flight.outcome = outcome;
        self.history.faults += u64::from(outcome != Outcome::Delivered);
        if applied {
            self.far[flight.person].shown = flight.dispatch.indicator() == Indicator::TypingStarted;
        }
        if arrives {
            self.check_rate();
        }
        // A lost answer is noticed by its time-out.
        let wait = if matches!(outcome, Outcome::Unknown(_)) { 5_000 } else { 5 + self.rng.below(LATENCY_MAX) };
        self.after(wait, Event::Answer(number));
    }

    fn check_rate(&mut self) {
        self.arrivals.push_back(self.now);
        while self.arrivals.front().is_some_and(|at| *at + Duration::from_secs(1) <= self.now) {
            self.arrivals.pop_front();
        }
        let max = self.climate.policy.delivery.requests_per_second_max as usize;
        // Two lives know nothing of each other's last second.
        let slack = if self.climate.crashes { 2 } else { 1 };
        assert!(self.arrivals.len() <= max * slack, "seed {}: {} in a second", self.seed, self.arrivals.len());
    }

    fn answer(&mut self, number: u64) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let Some(engine) = self.engine.as_mut().filter(|_| flight.life == self.life) else { return };
        let side = &mut self.far[flight.person];
        side.in_flight = false;
        if flight.outcome == Outcome::Delivered && flight.dispatch.indicator() == Indicator::TypingStopped {
            side.maybe_on = false;
        }
        if flight.outcome == Outcome::Rejected(Rejection::Conversation) {
            self.rejected_stops += u64::from(flight.dispatch.indicator() == Indicator::TypingStopped);
            self.people[flight.person].muted_until = Some(self.now + self.climate.policy.delivery.mute_for);
        }
        let _ = engine.handle_outcome(self.now, flight.dispatch.id, flight.outcome);
        if flight.outcome == Outcome::Delivered {
            let known = self.open.remove(&flight.dispatch.decision);
            assert!(known, "seed {}: acknowledged what had ended: {:?}", self.seed, flight.dispatch);
        }
        if engine.acknowledged(flight.dispatch.conversation.as_ref()) == Acknowledged::Off {
            self.journal.remove(&flight.person);
        }
    }

    fn check_the_end(&self) {
        let seed = self.seed;
        let engine = self.engine.as_ref().expect("the last thing to happen to a process is a start");
        let census = engine.census();
        let (unsettled, in_flight, conversations) = (census.unsettled, census.in_flight, census.conversations);
        assert_eq!((unsettled, in_flight, conversations), (0, 0, 0), "seed {seed}: something is left in memory");
        let stuck: Vec<_> = (0..self.far.len()).filter(|i| self.far[*i].shown).collect();
        assert!(stuck.is_empty(), "seed {seed}: icons stuck on {stuck:?}");
        assert!(self.journal.is_empty(), "seed {seed}: the journal still holds {:?}", self.journal);
        assert!(self.open.is_empty(), "seed {seed}: decisions without an end: {:?}", self.open);
        let given_up = engine.counts().stops_given_up;
        assert_eq!(given_up, self.rejected_stops, "seed {seed}: a Stopped was given up in weather that ends");
    }
}

/// An engine that reports what it decides, and what it drops.
fn observed(mut engine: Engine) -> Engine {
    engine.observe_decisions();
    engine.observe_dropped();
    engine
}

fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("channel", from).expect("a valid pair")
}

/// A request is under way for at most this long, in milliseconds.
const LATENCY_MAX: u64 = 150;

fn climate(seed: u64) -> Climate {
    let mut policy = Policy::default();
    if seed % 3 == 1 {
        policy.rules.mode = Mode::AfterShown;
    }
    // Some worlds are so tight that everything is under pressure.
    policy.delivery = Delivery {
        requests_per_second_max: if seed.is_multiple_of(2) { 2_000 } else { 15 },
        in_flight_max: if seed % 5 == 4 { 3 } else { 256 },
        // By default the next check takes a Started's place just as it would expire.
        started_lifespan: (seed % 6 == 5).then_some(Duration::from_secs(1)),
        ..Delivery::default()
    };
    Climate { people: 60, typing: Duration::from_secs(600), crashes: seed % 4 >= 2, storms: true, policy }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// `TYPINGD_SIMULATION_SEEDS=1000` makes it large, `TYPINGD_SIMULATION_FIRST_SEED=17` begins elsewhere.
#[test]
fn every_seeded_world_keeps_the_promises() {
    let first = from_environment("TYPINGD_SIMULATION_FIRST_SEED", 0);
    let seeds = from_environment("TYPINGD_SIMULATION_SEEDS", 24);
    let mut total = History::default();
    for seed in first..first + seeds {
        let history = World::new(seed, climate(seed)).run();
        assert!(history.requests > 100 && history.keys > 1_000, "seed {seed}: hardly anything happened: {history:?}");
        total.requests += history.requests;
        total.crashes += history.crashes;
        total.storms += history.storms;
        total.faults += history.faults;
        total.keys += history.keys;
        total.seconds += history.seconds;
        for (total, dropped) in total.dropped.iter_mut().zip(history.dropped) {
            *total += dropped;
        }
    }
    println!("seeds {first}..{}: {total:?}", first + seeds);
    assert!(total.dropped.iter().all(|dropped| *dropped > 0), "not everything came to nothing: {total:?}");
    assert!(total.faults > 100 && total.crashes > 10 && total.storms > 10, "the worlds were too kind: {total:?}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 6] {
        assert_eq!(World::new(seed, climate(seed)).run(), World::new(seed, climate(seed)).run());
    }
    assert_ne!(World::new(3, climate(3)).run().hash, World::new(7, climate(7)).run().hash);
}
