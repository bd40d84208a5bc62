//! Scenes of messages that reach a node which is not the owner while it hears nothing of the store: the owner is told
//! once the store answers, and until then no one is told that the icon is off.

use typingd::fleet::{State, WhenUnreachable};
use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::SignalKind::{Keystroke, MessageSent};

use crate::fleet_climate::pair;
use crate::fleet_scene::Scene;

/// Node 0 shows the icon of a user whose typing goes on for long, and node 1 has heard nothing of the store since.
fn cut_off(when_unreachable: WhenUnreachable) -> Scene {
    let mut scene = Scene::with(2, |settings| settings.when_unreachable = when_unreachable);
    scene.key_that_lasts(0, 60_000);
    scene.talk(0);
    scene.answer();
    pass_without_1(&mut scene, 6_000);
    assert!(scene.shown && scene.holds(0) && matches!(scene.state(1), State::Alone | State::Dark));
    scene
}

/// Time in which node 1 reaches nothing.
fn pass_without_1(scene: &mut Scene, millis: u64) {
    for _ in 0..millis / 250 {
        scene.pass_without(250, Some(1));
        scene.timeout(1);
        scene.answer();
    }
}

fn answers(scene: &Scene) -> &[(u32, bool)] {
    &scene.hosts[1].node.answers
}

/// The store answers again: the icon goes off.
fn is_told(mut scene: Scene) {
    assert_eq!((scene.shown, answers(&scene)), (true, &[(7, false)][..]), "the icon may be on elsewhere");
    for _ in 0..4 {
        scene.pass_without(250, None);
    }
    // A refresh may have been under way.
    (0..2).for_each(|_| scene.answer());
    assert_eq!((scene.shown, &scene.applied[scene.applied.len() - 1..]), (false, &[TypingStopped][..]));
    scene.check_the_end("a message while the store was silent");
}

#[test]
fn a_message_at_a_node_that_serves_alone_is_told_to_the_owner() {
    let mut scene = cut_off(WhenUnreachable::Alone);
    scene.awaited_message(1, 7);
    is_told(scene);
}

#[test]
fn a_message_is_told_though_the_node_has_forgotten_the_user() {
    let mut scene = cut_off(WhenUnreachable::Alone);
    scene.awaited_message(1, 7);
    pass_without_1(&mut scene, 5_000);
    assert!(!scene.holds(1), "its engine has nothing to remember");
    is_told(scene);
}

#[test]
fn a_message_in_the_dark_is_told_to_the_owner() {
    let mut scene = cut_off(WhenUnreachable::Dark);
    scene.awaited_message(1, 7);
    is_told(scene);
}

#[test]
fn a_message_in_doubt_is_told_to_the_owner() {
    for when_unreachable in [WhenUnreachable::Alone, WhenUnreachable::Dark] {
        let mut scene = Scene::with(2, |settings| settings.when_unreachable = when_unreachable);
        scene.key_that_lasts(0, 60_000);
        scene.talk(0);
        scene.answer();
        while scene.state(1) == State::Tenured {
            pass_without_1(&mut scene, 250);
        }
        scene.awaited_message(1, 7);
        assert_eq!(answers(&scene), [], "the store may answer");
        pass_without_1(&mut scene, 5_000);
        is_told(scene);
    }
}

#[test]
fn a_message_is_told_though_the_store_was_silent_for_all() {
    let mut scene = Scene::new(2);
    scene.key_that_lasts(0, 60_000);
    scene.talk(0);
    scene.answer();
    for _ in 0..30 {
        scene.pass(250);
    }
    assert_eq!([0, 1].map(|host| scene.state(host)), [State::Alone; 2]);
    scene.awaited_message(1, 7);
    is_told(scene);
}

#[test]
fn alone_of_several_no_stopped_settles_a_message() {
    let mut scene = cut_off(WhenUnreachable::Alone);
    scene.signal(1, Keystroke);
    scene.answer();
    scene.awaited_message(1, 7);
    while !scene.flights.is_empty() {
        scene.answer();
    }
    assert_eq!((scene.shown, answers(&scene)), (false, &[(7, false)][..]), "its owner may show it again");
    scene.check_the_end("two had shown it");
}

#[test]
fn the_only_node_is_sure_of_its_own_stopped_alone() {
    let mut scene = Scene::new(1);
    while scene.state(0) != State::Alone {
        scene.pass(250);
    }
    let unsure = |scene: &Scene| scene.hosts[0].node.fleet.is_unsure_of(scene.now, pair("user"));
    assert!(unsure(&scene), "it has not asked whose the conversation is");
    scene.signal(0, Keystroke);
    scene.answer();
    scene.awaited_message(0, 7);
    scene.answer();
    assert_eq!((scene.shown, &scene.hosts[0].node.answers[..]), (false, &[(7, true)][..]));
    scene.awaited_message(0, 8);
    assert_eq!(scene.hosts[0].node.answers.last(), Some(&(8, false)), "nothing was shown since");
}

#[test]
fn a_message_of_long_ago_does_not_end_what_was_typed_since() {
    let mut scene = cut_off(WhenUnreachable::Alone);
    scene.awaited_message(1, 7);
    pass_without_1(&mut scene, 2_000);
    scene.key_that_lasts(0, 20_000);
    for _ in 0..8 {
        scene.pass_without(250, None);
        scene.answer();
    }
    assert!(scene.shown && !scene.applied.contains(&TypingStopped), "{:?}", scene.applied);
    scene.check_the_end("the user had typed on");
}

#[test]
fn a_message_of_more_than_a_minute_ago_is_told_to_no_one() {
    let mut scene = cut_off(WhenUnreachable::Alone);
    scene.signal(1, MessageSent);
    pass_without_1(&mut scene, 61_000);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    let before = scene.applied.len();
    scene.pass_without(1_000, None);
    assert_eq!((scene.flights.len(), scene.applied.len()), (0, before), "{:?}", scene.applied);
    assert_eq!(scene.hosts[1].node.fleet.counts().posted, 0, "whatever it ended is over by itself");
    assert_eq!(scene.applied.last(), Some(&TypingStarted));
    scene.check_the_end("the store was silent for long");
}

#[test]
fn a_message_while_its_owner_is_unsure_is_not_settled() {
    let mut scene = Scene::new(2);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.answer();
    while scene.state(1) == State::Tenured {
        pass_without_1(&mut scene, 250);
    }
    pass_without_1(&mut scene, 3_500);
    assert_eq!(
        (scene.state(1), scene.shown),
        (State::Alone, false),
        "it is off here, and another may have taken it over"
    );
    scene.awaited_message(1, 7);
    assert_eq!(answers(&scene), [(7, false)]);
    scene.check_the_end("an owner was cut off");
}

#[test]
fn a_store_slower_than_heartbeats_takes_signals_all_the_same() {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    for _ in 0..4 {
        scene.ask_slowly(0, 300);
    }
    assert_eq!((scene.state(0), scene.flights.len()), (State::Tenured, 1));
    scene.answer();
    scene.talk(1);
    scene.signal(1, MessageSent);
    for _ in 0..4 {
        scene.ask_slowly(1, 300);
        scene.talk(0);
    }
    scene.answer();
    assert_eq!(scene.applied, [TypingStarted, TypingStopped]);
    scene.check_the_end("a slow store");
}
