//! Scenes of nodes that leave: they give up all that they owned, and no one takes them for dead. And of what a node gives up
//! while it stays: that can wait a moment.

use std::time::Duration;

use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::SignalKind::{Keystroke, MessageSent};

use crate::fleet::{answer_all, shown};
use crate::fleet_scene::{RETAINED, Scene};

#[test]
fn a_node_that_leaves_gives_up_everything_first() {
    let mut scene = shown();
    let me = scene.hosts[0].node.fleet.me();
    let now = scene.now;
    scene.hosts[0].node.leave(now);
    scene.timeout(0);
    scene.talk(0);
    assert!(!scene.hosts[0].node.fleet.has_left(), "its icon is on");
    answer_all(&mut scene);
    scene.talk(0);
    assert!(scene.hosts[0].node.fleet.has_left());
    assert!(scene.store.held.is_empty() && !scene.store.is_alive(now.as_millis() + scene.step_millis, me));
}

#[test]
fn a_node_that_leaves_gives_up_what_it_never_showed() {
    let mut scene = Scene::with(2, |settings| settings.limit = 20);
    for user in 0..200 {
        scene.signal_of(0, &format!("user-{user}"), Keystroke);
    }
    scene.talk(0);
    let shown = scene.flights.len();
    assert!((1..100).contains(&shown), "the rate lets {shown} of them leave");
    let now = scene.now;
    scene.hosts[0].node.leave(now);
    let first = scene.now;
    while !scene.hosts[0].node.fleet.has_left() {
        answer_all(&mut scene);
        scene.pass_without(250, None);
        // Before the engine would forget them by itself.
        assert!(scene.now < first + RETAINED, "{} are left", scene.store.held.len());
    }
    assert_eq!((scene.store.held.len(), scene.applied.len()), (0, 2 * shown), "each that was shown is hidden once");
    scene.pass_without(5_000, Some(0));
    assert_eq!(scene.hosts[1].node.fleet.counts().reaped, 0);
}

#[test]
fn nothing_is_kept_for_a_node_whose_grace_ends_with_icons_on() {
    let mut scene = Scene::with(2, |settings| settings.limit = 40);
    for user in 0..200 {
        scene.signal_of(0, &format!("user-{user}"), Keystroke);
    }
    for _ in 0..8 {
        scene.pass_without(250, None);
    }
    let had = scene.hosts[0].node.fleet.share();
    assert!(had >= 30, "{had} of 40");
    let now = scene.now;
    scene.hosts[0].node.leave_within(now, Duration::from_millis(500));
    scene.pass_without(500, None);
    assert!(!scene.hosts[0].node.fleet.has_left() && !scene.store.held.is_empty());
    // Its process has ended, and what it has left takes more than a second.
    scene.pass_without(6_000, Some(0));
    for user in 0..200 {
        scene.signal_of(1, &format!("other-{user}"), Keystroke);
    }
    scene.pass_without(2_000, Some(0));
    assert_eq!(scene.hosts[1].node.fleet.share(), 40, "nothing is sent by another");
}

#[test]
fn a_node_that_leaves_keeps_nothing_that_a_message_granted() {
    let mut scene = shown();
    let now = scene.now;
    scene.hosts[0].node.leave(now);
    scene.timeout(0);
    answer_all(&mut scene);
    // Its icon is off, and the engine still remembers it.
    scene.signal(0, MessageSent);
    scene.talk(0);
    assert!(scene.hosts[0].node.fleet.has_left() && scene.store.held.is_empty(), "{:?}", scene.store.held);
}

#[test]
fn a_node_that_leaves_keeps_no_started_that_waits() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    scene.signal(0, Keystroke);
    let now = scene.now;
    scene.hosts[0].node.leave(now);
    scene.timeout(0);
    scene.talk(0);
    assert!(scene.hosts[0].node.fleet.has_left() && scene.store.held.is_empty());
    assert_eq!((scene.flights.len(), &scene.applied[..]), (0, &[TypingStarted, TypingStopped][..]));
}

#[test]
fn what_has_gone_off_is_told_with_what_is_asked_next() {
    let mut scene = Scene::with(1, |settings| settings.gathers_for = Duration::from_millis(10));
    let on = |scene: &Scene| scene.store.held.values().filter(|value| value.on).count();
    for user in ["ann", "bob"] {
        scene.signal_of(0, user, Keystroke);
        scene.talk(0);
        scene.answer();
    }
    scene.signal_of(0, "ann", MessageSent);
    scene.answer();
    assert!(!scene.ask(0), "it holds up no key");
    assert_eq!(on(&scene), 2);
    scene.signal_of(0, "cem", Keystroke);
    assert!(scene.ask(0));
    assert_eq!((scene.store.held.len(), on(&scene)), (3, 2), "both in one request");
    scene.answer();
    scene.pass(100);
    scene.signal_of(0, "bob", MessageSent);
    assert_eq!(scene.flights.len(), 1);
    scene.answer();
    assert!(!scene.ask(0));
    assert_eq!(scene.hosts[0].node.fleet.poll_timeout(scene.now), scene.now + Duration::from_millis(10));
    scene.pass(10);
    assert!(scene.ask(0), "with nothing beside it, it waits no longer");
    assert_eq!(on(&scene), 1);
    scene.check_the_end("what can wait has waited");
}
