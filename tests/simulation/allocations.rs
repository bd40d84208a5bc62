//! What the engine allocates: nothing for the keystroke that there is most of, and for a request its own ids.

use std::time::Duration;

use allocation_counter::measure;
use typingd::engine::Engine;
use typingd::engine::policy::{Policy, Rules};
use typingd::model::{ConversationRef, Instant, Outcome, Signal, SignalKind};

const KEY: Signal = Signal::new(SignalKind::Keystroke);
const CONVERSATIONS: usize = 100;

fn ids() -> Vec<(String, String)> {
    let pair = |n: usize| (format!("{:036}", n / 10), format!("{n:036}"));
    (0..CONVERSATIONS).map(pair).collect()
}

fn conversations(ids: &[(String, String)]) -> impl Iterator<Item = ConversationRef<'_>> + Clone {
    ids.iter().map(|(to, from)| ConversationRef::new(to, from).expect("ids of 36 characters"))
}

fn acknowledge(engine: &mut Engine, now: Instant) {
    while let Some(dispatch) = engine.poll_dispatch(now) {
        engine.handle_outcome(now, dispatch.id, Outcome::Delivered);
    }
}

/// An engine in which all of them are typing, with their icons on, and the time.
fn typing(ids: &[(String, String)]) -> (Engine, Instant) {
    let rules = Rules::default().with_check(Duration::from_secs(30)).with_dismiss(Duration::from_secs(60));
    let mut engine = Engine::new(Policy { rules, ..Policy::default() }, 1);
    let mut now = Instant::ORIGIN;
    for conversation in conversations(ids) {
        now = now + Duration::from_millis(100);
        engine.handle_signal(now, conversation, KEY).expect("there is room");
        acknowledge(&mut engine, now);
    }
    assert_eq!(engine.census().icons, CONVERSATIONS);
    (engine, now)
}

#[test]
fn a_further_keystroke_allocates_nothing() {
    let ids = ids();
    let (mut engine, now) = typing(&ids);
    let conversations = conversations(&ids);
    for key in [KEY, Signal { at: Some(5), ..KEY }, Signal { lasts_millis: 100, ..KEY }] {
        let allocated = measure(|| {
            engine.look_ahead(conversations.clone());
            for conversation in conversations.clone() {
                engine.handle_signal(now, conversation, key).expect("there is room");
            }
        });
        assert_eq!(allocated.count_total, 0, "{key:?}");
    }
}

#[test]
fn a_refresh_allocates_the_two_ids_of_its_request() {
    let ids = ids();
    let (mut engine, now) = typing(&ids);
    for conversation in conversations(&ids) {
        engine.handle_signal(now, conversation, KEY).expect("there is room");
    }
    let mut refresh = |tenth: u64| {
        let sent = engine.counts().sent;
        let allocated = measure(|| {
            let now = now + Duration::from_millis(tenth * 100);
            engine.handle_timeout(now);
            acknowledge(&mut engine, now);
        });
        (engine.counts().sent - sent, allocated.count_total)
    };
    // The room for what is under way is made with the first ones.
    let (first, _) = refresh(210);
    let (mut refreshed, mut allocated) = (first, 0);
    for tenth in 211..=300 {
        let (sent, count) = refresh(tenth);
        refreshed += sent;
        allocated += count;
    }
    assert_eq!(refreshed, CONVERSATIONS as u64);
    // What is remembered of answers grows a few times.
    assert!(allocated <= 2 * (refreshed - first) + 4, "{allocated} for {refreshed}, without {first} before");
}
