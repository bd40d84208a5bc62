//! The stats against tables of timed events, and against definitions worked out over whole histories.

use super::*;
use crate::engine::Engine;
use crate::engine::policy::{Mode, Policy, Rules};
use crate::model::{Conversation, DispatchId, Signal};

/// What one conversation sees.
#[derive(Clone, Copy, Debug)]
enum Event {
    Key(u64),
    /// A key whose typing goes on for so long.
    Lasting(u64, u16),
    Word(u64, SignalKind),
    Decided(u64, Reason),
}
use Event::{Decided, Key, Lasting, Word};

fn pair(from: &str) -> ConversationRef<'_> {
    ConversationRef::new("c", from).unwrap()
}

fn decision(conversation: ConversationRef<'_>, at: u64, reason: Reason) -> Decision {
    Decision { number: 1, at: Instant::from_millis(at), conversation: conversation.to_owned(), reason }
}

fn tell(stats: &mut TypingStats, conversation: ConversationRef<'_>, event: Event) {
    match event {
        Key(at) => tell(stats, conversation, Lasting(at, 0)),
        Lasting(at, lasts_millis) => {
            let signal = Signal { lasts_millis, ..Signal::new(SignalKind::Keystroke) };
            stats.on_signals(Instant::from_millis(at), &[(conversation, signal)]);
        }
        Word(at, kind) => stats.on_signals(Instant::from_millis(at), &[(conversation, Signal::new(kind))]),
        Decided(at, reason) => stats.on_decision(&decision(conversation, at, reason)),
    }
}

/// The measuring with the channel of [`pair`] named.
fn stats(seed: u64) -> TypingStats {
    let mut stats = TypingStats::new(seed);
    stats.name_channels(["c"]);
    stats
}

/// The tally of a channel; of no events, if it is not known.
fn of(figures: &Figures, channel: &str) -> Tally {
    figures.channels.iter().find(|(name, _)| **name == *channel).map(|(_, tally)| *tally).unwrap_or_default()
}

/// What comes of events, looked at `end` and long after.
fn tallied(events: &[Event], end: u64) -> Tally {
    let mut stats = stats(1);
    for event in events {
        tell(&mut stats, pair("u"), *event);
    }
    of(&stats.figures(Instant::from_millis(end)), "c")
}

use Reason::{Check, Dismissed, FirstKeystroke as First, Idle, MaxTyping};
use SignalKind::{Ended, MessageSent, Opened, Stopped};

#[test]
fn composing_is_first_key_to_message_or_last_key() {
    const LONG: u64 = 200_000;
    for (name, events, millis, messages) in [
        ("sent", vec![Key(0), Key(700), Word(1_000, MessageSent)], 1_000, [1, 0, 0, 0]),
        ("cleared", vec![Key(0), Key(700), Word(1_000, Stopped)], 700, [0, 0, 1, 0]),
        ("ended", vec![Key(0), Key(700), Word(1_000, Ended)], 700, [0, 0, 0, 1]),
        ("opened is no end", vec![Key(0), Word(500, Opened), Key(700)], 700, [0, 1, 0, 0]),
        ("left alone", vec![Key(0), Key(700)], 700, [0, 1, 0, 0]),
        ("one key", vec![Key(5)], 0, [0, 1, 0, 0]),
        ("a silence just short enough", vec![Key(0), Key(30_000), Word(60_000, MessageSent)], 60_000, [1, 0, 0, 0]),
        ("a silence too long by a hair", vec![Key(0), Key(30_001)], 0, [0, 2, 0, 0]),
        ("sent long after", vec![Key(0), Key(100), Word(30_101, MessageSent)], 100, [0, 1, 0, 0]),
        ("cleared long after", vec![Key(0), Key(100), Word(30_101, Stopped)], 100, [0, 1, 0, 0]),
        ("sent without a key", vec![Word(5, MessageSent), Word(6, Stopped), Word(7, Ended)], 0, [0; 4]),
        ("two messages", vec![Key(0), Word(9, MessageSent), Key(20), Word(25, MessageSent)], 14, [2, 0, 0, 0]),
        ("left alone while it lasts", vec![Lasting(0, 5_000), Key(700)], 5_000, [0, 1, 0, 0]),
        ("sent while it lasts", vec![Lasting(0, 5_000), Word(1_000, MessageSent)], 1_000, [1, 0, 0, 0]),
        ("cleared while it lasts", vec![Lasting(0, 5_000), Word(1_000, Stopped)], 1_000, [0, 0, 1, 0]),
        ("cleared after it", vec![Lasting(0, 5_000), Word(9_000, Stopped)], 5_000, [0, 0, 1, 0]),
        ("away counts from its end", vec![Lasting(0, 5_000), Key(35_000)], 35_000, [0, 1, 0, 0]),
        ("away by a hair", vec![Lasting(0, 5_000), Lasting(35_001, 10)], 5_010, [0, 2, 0, 0]),
        ("sent twice", vec![Key(0), Word(9, MessageSent), Word(20, MessageSent)], 9, [1, 0, 0, 0]),
    ] {
        let tally = tallied(&events, LONG);
        assert_eq!((tally.composing_micros / 1_000, tally.messages), (millis, messages), "{name}");
    }
}

#[test]
fn composing_grows_with_each_key_until_it_ends() {
    let events = [Key(0), Key(700), Key(1_500)];
    let tally = tallied(&events, 20_000);
    assert_eq!((tally.composing_micros, tally.messages), (1_500_000, [0; 4]));
}

#[test]
fn a_gap_is_an_icon_off_in_the_midst_of_a_message() {
    let gaps = |events: &[Event]| -> Vec<u64> {
        let gaps = tallied(events, 200_000).gaps;
        let counts = gaps.counts.iter().zip(GAPS);
        let bounds = counts.flat_map(|(n, bound)| std::iter::repeat_n(bound.as_millis() as u64, *n as usize));
        bounds.chain([gaps.sum_micros / 1_000]).collect()
    };
    // Each gap by the bound of its bucket, and their sum in the end.
    for (name, events, expected) in [
        ("none", vec![Decided(0, First), Key(0), Decided(2_000, Idle)], vec![0]),
        (
            "one in idle mode",
            vec![Decided(0, First), Key(0), Decided(2_000, Idle), Decided(3_000, First), Key(3_000)],
            vec![1_000, 1_000],
        ),
        (
            "after_shown: on again at the check, for the key that came meanwhile",
            vec![Decided(0, First), Key(0), Decided(2_000, Dismissed), Key(2_100), Decided(5_000, Check)],
            vec![3_000, 3_000],
        ),
        (
            "max_typing, then a pause",
            vec![Key(0), Decided(0, First), Decided(9_000, MaxTyping), Decided(19_001, First), Key(19_001)],
            vec![20_000, 10_001],
        ),
        (
            "a message between",
            vec![Key(0), Decided(2_000, Idle), Word(2_500, MessageSent), Decided(3_000, First), Key(3_000)],
            vec![0],
        ),
        (
            "the message itself takes the icon away",
            vec![Key(0), Decided(500, Reason::MessageSent), Word(500, MessageSent), Decided(600, First), Key(600)],
            vec![0],
        ),
        (
            "a silence that ends the message, though the icon was off for less",
            vec![Key(0), Decided(2_000, Idle), Decided(30_001, First), Key(30_001)],
            vec![0],
        ),
        (
            "the longest silence in a message",
            vec![Key(0), Decided(0, Idle), Decided(30_000, First), Key(30_000)],
            vec![30_000, 30_000],
        ),
        (
            "one long after the last key, at a check: nobody types any more",
            vec![Key(0), Decided(1_000, Dismissed), Key(1_500), Decided(60_000, Check)],
            vec![0],
        ),
        (
            "two, and a refresh that ends none",
            vec![
                Key(0),
                Decided(2_000, Idle),
                Decided(2_050, First),
                Key(2_050),
                Decided(7_050, Check),
                Decided(9_000, Idle),
                Decided(9_250, First),
                Key(9_250),
            ],
            vec![100, 250, 300],
        ),
    ] {
        assert_eq!(gaps(&events), expected, "{name}");
    }
}

#[test]
fn a_stop_came_too_early_if_the_message_goes_on() {
    let stops = |events: &[Event]| {
        let tally = tallied(events, 200_000);
        (tally.timer_stops, tally.timer_stops_resumed)
    };
    for (name, events, expected) in [
        ("at the same instant", vec![Key(0), Decided(2_000, Idle), Decided(2_000, First), Key(2_000)], (1, 1)),
        ("within the time", vec![Key(0), Decided(2_000, Idle), Decided(5_000, First), Key(5_000)], (1, 1)),
        ("just within it", vec![Key(0), Decided(2_000, Idle), Decided(30_000, First), Key(30_000)], (1, 1)),
        ("after it", vec![Key(0), Decided(2_000, Idle), Decided(30_001, First), Key(30_001)], (1, 0)),
        ("the engine decides nothing at that key", vec![Key(0), Decided(2_000, Dismissed), Key(2_100)], (1, 1)),
        ("the second key is not asked", vec![Key(0), Decided(2_000, Dismissed), Key(5_100), Key(5_200)], (1, 1)),
        ("a key of the next message", vec![Key(0), Decided(2_000, Idle), Word(2_100, MessageSent), Key(2_200)], (1, 0)),
        ("a dismissal longer than anybody waits", vec![Key(0), Decided(60_000, Idle), Key(60_100)], (1, 0)),
        (
            "an explicit stop is none of a timer",
            vec![Key(0), Decided(900, Reason::Stopped), Word(900, Stopped), Key(1_000)],
            (0, 0),
        ),
        (
            "nor is the daemon's end",
            vec![Key(0), Decided(900, Reason::Shutdown), Decided(900, Reason::Recovered)],
            (0, 0),
        ),
    ] {
        assert_eq!(stops(&events), expected, "{name}");
    }
}

#[test]
fn decisions_and_requests_are_counted_by_channel() {
    let mut stats = TypingStats::new(1);
    stats.name_channels(["quiet", "a", "b"]);
    let dispatch = |to: &str, reason: Reason| Dispatch {
        id: DispatchId { slot: 0, serial: 0 },
        conversation: ConversationRef::new(to, "u").unwrap().to_owned(),
        reason,
        decided: Instant::ORIGIN,
        decision: 0,
        attempt: 0,
        credentials: None,
    };
    for (n, reason) in Reason::ALL.into_iter().enumerate() {
        for _ in 0..=n {
            stats.on_decision(&decision(ConversationRef::new("a", "u").unwrap(), 0, reason));
            stats.on_request(&dispatch("b", reason));
        }
    }
    let figures = stats.figures(Instant::ORIGIN);
    let names: Vec<_> = figures.channels.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [OTHER, "quiet", "a", "b"]);
    assert_eq!(of(&figures, "a").decided, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!((of(&figures, "a").requests, of(&figures, "b").requests), ([0, 0], [3, 52]));
    assert_eq!((of(&figures, "a").timer_stops, of(&figures, "b").decided), (3 + 4 + 8, [0; 10]));
}

#[test]
fn configured_channels_are_named_and_others_up_to_a_bound() {
    let mut stats = TypingStats::new(1);
    stats.name_channels(["mine", "other", "mine"]);
    let key = |stats: &mut TypingStats, to: &str| {
        stats.on_signals(
            Instant::ORIGIN,
            &[(ConversationRef::new(to, "u").unwrap(), Signal::new(SignalKind::Keystroke))],
        );
        stats.on_signals(Instant::ORIGIN, &[(ConversationRef::new(to, "u").unwrap(), Signal::new(MessageSent))]);
    };
    // Where `to` and `from` are swapped these are the numbers of end users, none of which the upstream knows.
    for n in 0..CHANNELS_OTHER_MAX {
        key(&mut stats, &format!("+155501{n}"));
    }
    for n in 0..CHANNELS_OTHER_MAX + 20 {
        stats.channels.confirm(&format!("channel-{n}"));
        key(&mut stats, &format!("channel-{n}"));
    }
    // One that is called as all the others are called is counted among them, and its name does not stand there twice.
    stats.channels.confirm(OTHER);
    key(&mut stats, OTHER);
    key(&mut stats, "mine");
    stats.name_channels(["a\0b"]);
    stats.channels.confirm("a\0b");
    key(&mut stats, "a\0b");
    let figures = stats.figures(Instant::ORIGIN);
    let sent = |channel: &str| of(&figures, channel).messages[End::Sent as usize];
    assert_eq!(figures.channels.len(), 2 + CHANNELS_OTHER_MAX);
    assert_eq!(
        (sent("channel-0"), sent("channel-99"), sent("mine"), sent(OTHER)),
        (1, 1, 1, 22 + CHANNELS_OTHER_MAX as u64)
    );
    assert!(figures.channels.iter().all(|(name, _)| &**name != "channel-100" && !name.starts_with('+')));

    // Named later, it has its name from then on; names don't add up for ever.
    stats.name_channels(["channel-110"]);
    key(&mut stats, "channel-110");
    let many: Vec<_> = (0..2 * CHANNELS_NAMED_MAX).map(|n| format!("named-{n}")).collect();
    stats.name_channels(many.iter().map(String::as_str));
    let figures = stats.figures(Instant::ORIGIN);
    assert_eq!(of(&figures, "channel-110").messages[0], 1);
    assert_eq!(figures.channels.len(), 1 + CHANNELS_OTHER_MAX + CHANNELS_NAMED_MAX);
}

#[test]
fn beyond_the_bound_new_users_are_counted_and_none_forgotten() {
    let mut stats = stats(1);
    let at = Instant::from_millis;
    let names: Vec<_> = (0..=CONVERSATIONS_MAX).map(|n| n.to_string()).collect();
    for name in &names {
        stats.on_signals(at(0), &[(pair(name), Signal::new(SignalKind::Keystroke))]);
    }
    for _ in 0..3 {
        stats.on_signals(at(5_000), &[(pair(&names[CONVERSATIONS_MAX]), Signal::new(SignalKind::Keystroke))]);
    }
    stats.on_signals(at(5_000), &[(pair(&names[7]), Signal::new(SignalKind::Keystroke))]);
    let figures = stats.figures(at(30_000));
    assert_eq!((figures.measured, figures.unmeasured), (CONVERSATIONS_MAX, 4));
    assert_eq!(of(&figures, "c").messages, [0; 4]);
    // Reading looks through a part at a time, so that nobody waits for it.
    let mut readings = 0;
    while stats.figures(at(30_001)).measured > 1 {
        readings += 1;
        assert!(readings <= CONVERSATIONS_MAX / LOOKS_PER_READING, "it gets ahead");
    }
    assert!(readings > 1);
    let figures = stats.figures(at(30_001));
    assert_eq!(of(&figures, "c").messages, [0, CONVERSATIONS_MAX as u64 - 1, 0, 0]);
    assert_eq!(of(&figures, "c").composing_micros, 5_000_000);
    assert_eq!(stats.figures(at(60_002)).measured, 0);
    assert_eq!((stats.entries.capacity(), stats.looks.capacity()), (0, 0), "the memory has gone with them");
}

#[test]
fn who_sends_and_types_again_stands_in_the_queue_once() {
    let mut stats = TypingStats::new(1);
    for n in 0..1_000_u64 {
        stats.on_signals(Instant::from_millis(n * 20), &[(pair("u"), Signal::new(SignalKind::Keystroke))]);
        stats.on_signals(Instant::from_millis(n * 20 + 10), &[(pair("u"), Signal::new(MessageSent))]);
        assert_eq!((stats.looks.len(), stats.entries.len()), (1, 1));
    }
}

/// What the definitions say of one conversation's whole history, told in the driver's order and looked at at `end`. It
/// knows no state: everything is found by looking back and forth.
fn by_definition(events: &[Event], end: u64) -> Tally {
    const AWAY: u64 = 30_000;
    let mut tally = Tally::default();
    let key_at = |i: usize| if let Key(at) = events[i] { Some(at) } else { None };
    let word = |i: usize| match events[i] {
        Word(at, MessageSent) => Some((at, End::Sent)),
        Word(at, Stopped) => Some((at, End::Cleared)),
        Word(at, Ended) => Some((at, End::Ended)),
        _ => None,
    };
    let keys: Vec<usize> = (0..events.len()).filter(|i| key_at(*i).is_some()).collect();
    // Two neighbouring keys are of one interval if no word and no long silence is between them.
    let joined =
        |a: usize, b: usize| key_at(b).unwrap() - key_at(a).unwrap() <= AWAY && !(a..b).any(|i| word(i).is_some());
    let mut interval_of = vec![usize::MAX; events.len()];
    for (n, key) in keys.iter().enumerate() {
        interval_of[*key] = if n > 0 && joined(keys[n - 1], *key) { interval_of[keys[n - 1]] } else { *key };
    }
    for first in keys.iter().filter(|key| interval_of[**key] == **key) {
        let last = *keys.iter().rfind(|key| interval_of[**key] == *first).unwrap();
        let (begin, last_key) = (key_at(*first).unwrap(), key_at(last).unwrap());
        let next_key = keys.iter().find(|key| **key > last).copied().unwrap_or(events.len());
        let ended = (last..next_key).find_map(word).filter(|(at, _)| at - last_key <= AWAY);
        let until = match ended {
            Some((at, End::Sent)) => at,
            _ => last_key,
        };
        tally.composing_micros += (until - begin) * 1_000;
        match ended {
            Some((_, how)) => tally.messages[how as usize] += 1,
            None if next_key < events.len() || end - last_key > AWAY => tally.messages[End::Abandoned as usize] += 1,
            None => {}
        }
    }
    let sent = (0..events.len()).filter(|i| word(*i).is_some_and(|(_, end)| end == End::Sent)).count() as u64;
    tally.untyped = sent - tally.messages[End::Sent as usize];
    for (i, event) in events.iter().enumerate() {
        let Decided(stop, reason) = *event else { continue };
        tally.decided[reason as usize] += 1;
        if !matches!(reason, Idle | Dismissed | MaxTyping) {
            continue;
        }
        tally.timer_stops += 1;
        let before = keys.iter().rfind(|key| **key < i).map(|key| interval_of[*key]);
        let same = |key: &usize| Some(interval_of[*key]) == before;
        let next_key = keys.iter().find(|key| **key > i).copied();
        if next_key.is_some_and(|key| same(&key) && key_at(key).unwrap() - stop <= AWAY) {
            tally.timer_stops_resumed += 1;
        }
        let started = (i..events.len()).find_map(|j| match events[j] {
            Decided(at, First) => Some((at, keys.iter().rfind(|key| **key < j)?)),
            Decided(at, Check) => {
                Some((at, keys.iter().rfind(|key| **key < j && at - key_at(**key).unwrap() <= AWAY)?))
            }
            _ => None,
        });
        if let Some((at, key)) = started
            && same(key)
            && !(i..*key).any(|j| word(j).is_some())
            && at - stop <= AWAY
        {
            tally.gaps.add(Duration::from_millis(at - stop));
        }
    }
    tally
}

/// How late the driver runs timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timers {
    /// When they are due.
    Punctual,
    /// Not before the next signal.
    Late,
}

/// An engine and its driver's order, over many histories one after the other.
struct Bench {
    engine: Engine,
    now: u64,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let mut engine = Engine::new(Policy { rules, ..Policy::default() }, 3);
        engine.observe_decisions();
        Self { engine, now: 0 }
    }

    fn drain(&mut self, mut tell: impl FnMut(&Conversation, Event)) {
        while let Some(Decision { at, conversation, reason, .. }) = self.engine.poll_decision() {
            tell(&conversation, Decided(at.as_millis(), reason));
        }
    }

    fn wait(&mut self, until: u64, mut tell: impl FnMut(&Conversation, Event)) {
        while self.engine.next_deadline() <= Instant::from_millis(until) {
            let due = self.engine.next_deadline();
            self.engine.handle_timeout(due);
            self.drain(&mut tell);
        }
        self.now = until;
    }

    /// A signal, in the order of the loop's events.
    fn signal(
        &mut self,
        at: u64,
        conversation: ConversationRef<'_>,
        kind: SignalKind,
        mut tell: impl FnMut(&Conversation, Event),
    ) {
        let signal = Signal::new(kind);
        self.engine.handle_signal(Instant::from_millis(at), conversation, signal).expect("there is room");
        let mut received = Some(if kind == SignalKind::Keystroke { Key(at) } else { Word(at, kind) });
        self.drain(|decided, event| {
            if let Decided(_, reason) = event
                && reason.is_of_signal()
                && let Some(received) = received.take()
            {
                tell(&conversation.to_owned(), received);
            }
            tell(decided, event);
        });
        if let Some(received) = received {
            tell(&conversation.to_owned(), received);
        }
    }

    /// Plays signals, each so many milliseconds after the one before. Returns what the conversation saw.
    fn play(&mut self, signals: &[(u64, SignalKind)], timers: Timers) -> Vec<Event> {
        let mut seen = Vec::new();
        for (after, kind) in signals {
            let at = self.now + after;
            if timers == Timers::Punctual {
                self.wait(at, |_, event| seen.push(event));
            }
            self.now = at;
            self.signal(at, pair("u"), *kind, |_, event| seen.push(event));
        }
        let end = self.now + 100_000;
        self.wait(end, |_, event| seen.push(event));
        seen
    }
}

#[test]
fn every_small_history_is_tallied_as_the_definitions_say() {
    const KINDS: [SignalKind; 4] = [SignalKind::Keystroke, MessageSent, Stopped, Opened];
    const WAITS: [u64; 6] = [0, 1_000, 2_000, 4_900, 30_000, 30_001];
    const LENGTH: u32 = 4;
    let rules = |mode, check, dismiss| {
        let millis = Duration::from_millis;
        Rules::new(mode, millis(check), millis(dismiss), millis(6_000).max(millis(dismiss)))
    };
    let mut seen = Tally::default();
    for rules in [
        rules(Mode::Idle, 5_000, 2_000),
        rules(Mode::AfterShown, 5_000, 2_000),
        rules(Mode::AfterShown, 1_000, 3_000),
        rules(Mode::AfterShown, 40_000, 500),
    ] {
        for timers in [Timers::Punctual, Timers::Late] {
            let mut bench = Bench::new(rules);
            for n in 0..(KINDS.len() * WAITS.len()).pow(LENGTH) {
                // The history of that number; a key in front of it, for without one nothing begins.
                let mut rest = n;
                let mut signals = vec![(0, SignalKind::Keystroke)];
                for _ in 0..LENGTH {
                    signals.push((WAITS[rest % WAITS.len()], KINDS[rest / WAITS.len() % KINDS.len()]));
                    rest /= KINDS.len() * WAITS.len();
                }
                // Every seventh of them, in an order that leaves out none of its parts, is enough for a daily test.
                if n % 7 != 3 {
                    continue;
                }
                let events = bench.play(&signals, timers);
                let mut stats = stats(n as u64);
                for event in &events {
                    tell(&mut stats, pair("u"), *event);
                }
                let tally = of(&stats.figures(Instant::from_millis(bench.now)), "c");
                assert_eq!(tally, by_definition(&events, bench.now), "{rules:?} {timers:?} {signals:?} {events:?}");
                for (sum, n) in seen.gaps.counts.iter_mut().zip(tally.gaps.counts) {
                    *sum += n;
                }
                seen.timer_stops += tally.timer_stops;
                seen.timer_stops_resumed += tally.timer_stops_resumed;
            }
        }
    }
    // They are histories in which something happens.
    assert!(seen.gaps.counts.iter().filter(|n| **n > 0).count() >= 5, "{seen:?}");
    assert!(seen.timer_stops_resumed > 1_000 && seen.timer_stops > 2 * seen.timer_stops_resumed, "{seen:?}");
}

#[test]
fn many_conversations_at_once_are_the_sum_of_each_by_itself() {
    let rules = Rules::new(Mode::AfterShown, Duration::from_secs(5), Duration::from_secs(2), Duration::from_secs(60));
    let mut bench = Bench::new(rules);
    let mut stats = stats(9);
    let mut histories: Vec<Vec<Event>> = vec![Vec::new(); 60];
    let mut state = 11_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let names: Vec<_> = (0..histories.len()).map(|n| n.to_string()).collect();
    let mut note = |stats: &mut TypingStats, from: &str, event: Event| {
        tell(stats, pair(from), event);
        histories[from.parse::<usize>().unwrap()].push(event);
    };
    for _ in 0..40_000 {
        // Some go on typing, some pause, and now and then everybody is away.
        let at = bench.now + [0, 3, 20, 60, 200, 40_000][(random(1_000) as usize).saturating_sub(994)];
        let at = at + random(40);
        bench.wait(at, |conversation, event| note(&mut stats, conversation.from(), event));
        let from = &names[(random(60) * random(60) / 60) as usize];
        let kind = match random(60) {
            0 => MessageSent,
            1 => Stopped,
            2 => Ended,
            3 => Opened,
            _ => SignalKind::Keystroke,
        };
        let now = Instant::from_millis(at);
        bench.signal(at, pair(from), kind, |conversation, event| note(&mut stats, conversation.from(), event));
        if random(50) == 0 {
            // Whoever reads the figures changes none.
            let _ = stats.figures(now);
        }
    }
    let end = bench.now + 200_000;
    bench.wait(end, |conversation, event| note(&mut stats, conversation.from(), event));
    let mut sum = Tally::default();
    for history in &histories {
        let tally = by_definition(history, end);
        for (sum, n) in sum.decided.iter_mut().zip(tally.decided) {
            *sum += n;
        }
        for (sum, n) in sum.gaps.counts.iter_mut().zip(tally.gaps.counts) {
            *sum += n;
        }
        for (sum, n) in sum.messages.iter_mut().zip(tally.messages) {
            *sum += n;
        }
        sum.gaps.sum_micros += tally.gaps.sum_micros;
        sum.untyped += tally.untyped;
        sum.timer_stops += tally.timer_stops;
        sum.timer_stops_resumed += tally.timer_stops_resumed;
        sum.composing_micros += tally.composing_micros;
    }
    let figures = stats.figures(Instant::from_millis(end));
    assert_eq!(of(&figures, "c"), sum);
    assert_eq!(figures.measured, 0);
    assert!(sum.messages.iter().all(|n| *n > 100) && sum.gaps.counts.iter().sum::<u64>() > 1_000, "{sum:?}");
}

#[test]
fn the_memory_of_a_crowd_goes_though_a_few_go_on_typing() {
    const CROWD: usize = 150_000;
    let mut stats = TypingStats::new(3);
    let key = |stats: &mut TypingStats, at: u64, from: &str| {
        stats.on_signals(Instant::from_millis(at), &[(pair(from), Signal::new(SignalKind::Keystroke))]);
    };
    for user in 0..CROWD {
        key(&mut stats, 0, &format!("user-{user}"));
    }
    assert!(stats.entries.capacity() >= CROWD);
    // Nothing else happens: only the loop comes round when it is asked to.
    for at in (0..120).map(|second| second * 1_000) {
        for few in 0..10 {
            key(&mut stats, at, &format!("user-{few}"));
        }
        stats.look(Instant::from_millis(at));
    }
    assert_eq!(stats.entries.len(), 10);
    assert!(stats.entries.capacity() <= SMALL && stats.looks.capacity() <= SMALL, "{}", stats.entries.capacity());
    stats.look(stats.due());
    stats.look(Instant::from_millis(1_000_000));
    assert_eq!((stats.entries.len(), stats.due()), (0, Instant::NEVER), "and it can sleep");
}
