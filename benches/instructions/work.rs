//! The engine's hot paths, each run as often as is asked for: `work PATH COUNT`. It prints nothing; `run` beside it has
//! valgrind count its instructions.

use std::hint::black_box;
use std::time::Duration;

use typingd::engine::Engine;
use typingd::engine::policy::{Delivery, Policy, Rules};
use typingd::model::{ConversationRef, Instant, Outcome, Signal, SignalKind};

const KEY: Signal = Signal::new(SignalKind::Keystroke);
const MESSAGE: Signal = Signal::new(SignalKind::MessageSent);
const CONVERSATIONS: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, count] = &arguments[..] else { panic!("expected a path and a count, got {arguments:?}") };
    let count = count.parse().expect("a count is a number");
    match path.as_str() {
        "further_keystroke" => further_keystrokes(count, false),
        "further_keystroke_looked_ahead" => further_keystrokes(count, true),
        "refresh" => refreshes(count),
        "whole_life" => whole_lives(count),
        _ => panic!("there is no path {path}"),
    }
}

/// Keystrokes of users who are typing, in the order of the conversations.
fn further_keystrokes(count: usize, looked_ahead: bool) {
    let ids = ids();
    let conversations = conversations(&ids);
    let hour = Duration::from_secs(3_600);
    let mut engine = engine(Rules::default().with_check(hour).with_dismiss(hour));
    let now = type_all(&mut engine, Instant::ORIGIN, &conversations);
    let mut ahead = conversations.iter().copied().cycle();
    for (number, conversation) in conversations.iter().cycle().take(count).enumerate() {
        if looked_ahead && number % Engine::LOOK_AHEAD_MAX == 0 {
            engine.look_ahead(ahead.by_ref());
        }
        let _ = black_box(engine.handle_signal(now, *conversation, KEY));
    }
}

/// A keystroke, a check, a refresh that is sent and acknowledged.
fn refreshes(count: usize) {
    let ids = ids();
    let conversations = conversations(&ids);
    let mut engine = engine(Rules::default().with_dismiss(Duration::from_secs(10)));
    let mut now = Instant::ORIGIN;
    for _ in 0..count.div_ceil(CONVERSATIONS) {
        now = type_all(&mut engine, now, &conversations) + Duration::from_secs(5);
        engine.handle_timeout(now);
    }
}

/// A first keystroke, its request, the message, its request, forgotten.
fn whole_lives(count: usize) {
    let ids = ids();
    let mut engine = engine(Rules::default());
    let mut now = Instant::ORIGIN;
    for conversation in conversations(&ids).iter().cycle().take(count) {
        now = now + Duration::from_millis(10);
        for signal in [KEY, MESSAGE] {
            let _ = engine.handle_signal(now, *conversation, signal);
            acknowledge(&mut engine, now);
        }
    }
    assert_eq!(engine.census().conversations, 0);
}

fn type_all(engine: &mut Engine, now: Instant, conversations: &[ConversationRef<'_>]) -> Instant {
    for conversation in conversations {
        let _ = engine.handle_signal(now, *conversation, KEY);
        acknowledge(engine, now);
    }
    now
}

/// Sends all that may leave, each acknowledged at once.
fn acknowledge(engine: &mut Engine, now: Instant) {
    while let Some(dispatch) = engine.poll_dispatch(now) {
        engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
    }
}

fn engine(rules: Rules) -> Engine {
    // No rate, for it is the engine's own work that is counted.
    let delivery = Delivery { in_flight_max: usize::MAX, requests_per_second_max: u32::MAX, ..Delivery::default() };
    Engine::new(Policy { rules, delivery, ..Policy::default() }, 1)
}

/// Ids as long as UUIDs, ten conversations to a channel.
fn ids() -> Vec<(String, String)> {
    (0..CONVERSATIONS).map(|number| (format!("{:036}", number / 10), format!("{number:036}"))).collect()
}

fn conversations(ids: &[(String, String)]) -> Vec<ConversationRef<'_>> {
    ids.iter().map(|(to, from)| ConversationRef::new(to, from).expect("an id has 36 characters")).collect()
}
