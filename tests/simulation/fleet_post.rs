//! Scenes of what goes from one node to another beside keys: messages whose Stopped is waited for, conversations that
//! are given away, a new limit, icons of an earlier life.

use typingd::fleet::State;
use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::SignalKind::{Keystroke, MessageSent};

use crate::fleet_climate::pair;
use crate::fleet_scene::Scene;

/// An icon that node 0 has switched on, with a key that reached node 1 since.
fn shown() -> Scene {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.talk(0);
    assert_eq!((scene.shown, scene.holds(0), scene.holds(1)), (true, true, false));
    scene
}

fn answers(scene: &Scene, host: usize) -> &[(u32, bool)] {
    &scene.hosts[host].node.answers
}

#[test]
fn a_message_elsewhere_is_answered_once_the_icon_is_off() {
    let mut scene = shown();
    scene.awaited_message(1, 7);
    scene.talk(1);
    scene.talk(0);
    scene.talk(1);
    assert_eq!((scene.flights.len(), answers(&scene, 1)), (1, &[][..]), "the Stopped is on its way");
    scene.answer();
    scene.talk(0);
    scene.talk(1);
    assert_eq!((scene.shown, answers(&scene, 1)), (false, &[(7, true)][..]));
    scene.check_the_end("a message was waited for");
}

#[test]
fn a_message_that_ends_nothing_is_answered_at_once() {
    let mut scene = Scene::new(2);
    scene.awaited_message(1, 7);
    scene.talk(1);
    assert_eq!(answers(&scene, 1), [(7, true)]);
    scene.awaited_message(0, 8);
    scene.talk(0);
    scene.talk(1);
    scene.talk(0);
    assert_eq!(answers(&scene, 0), [(8, true)], "the other remembers it, and shows nothing");
}

#[test]
fn a_message_for_a_dead_owner_is_answered_by_a_survivor() {
    let mut scene = shown();
    scene.kill(0);
    scene.awaited_message(1, 7);
    scene.talk(1);
    assert_eq!(answers(&scene, 1), [], "no one knows");
    for _ in 0..10 {
        scene.pass_without(1_000, None);
        assert!(!scene.shown || answers(&scene, 1).is_empty(), "the icon is on");
        while scene.flights.iter().any(|flight| flight.late.is_none()) {
            scene.answer();
        }
    }
    assert_eq!(answers(&scene, 1), [(7, true)]);
    scene.check_the_end("the owner died");
}

#[test]
fn a_message_is_answered_though_the_store_goes_silent() {
    let mut scene = Scene::new(2);
    scene.pass(2_000);
    scene.awaited_message(0, 7);
    for _ in 0..20 {
        scene.pass(250);
    }
    assert_eq!(scene.state(0), State::Alone);
    assert_eq!(answers(&scene, 0), [(7, false)], "it came too long ago to be taken");
    scene.check_the_end("the store comes back");
}

#[test]
fn a_message_for_a_conversation_that_is_lost_is_answered_no() {
    let mut scene = shown();
    scene.awaited_message(1, 7);
    scene.talk(1);
    scene.talk(0);
    scene.hang();
    // The other takes it over while the owner stands still with its Stopped in flight.
    scene.stand_still(0, 3_000);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.pass_without(1_000, None);
    assert_eq!(answers(&scene, 1), [(7, false)]);
    scene.check_the_end("the owner stood still");
}

#[test]
fn a_node_that_leaves_passes_a_message_on() {
    let mut scene = shown();
    let now = scene.now;
    scene.hosts[1].node.leave(now);
    scene.signal(1, Keystroke);
    scene.awaited_message(1, 7);
    scene.talk(1);
    scene.talk(0);
    scene.answer();
    assert!(!scene.shown);
    assert!(scene.hosts[1].node.fleet.has_left());
}

#[test]
fn an_owner_without_credentials_gives_the_icon_to_the_poster() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    assert_eq!(scene.flights.len(), 1);
    scene.refuse();
    scene.talk(0);
    assert!(!scene.holds(0) && !scene.holds(1));
    scene.talk(1);
    assert!(scene.holds(1));
    scene.answer();
    assert_eq!((scene.shown, &scene.applied[..]), (false, &[TypingStarted, TypingStopped][..]));
    scene.check_the_end("an owner had no credentials");
}

#[test]
fn a_conversation_that_was_given_is_found_though_mail_is_lost() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.refuse();
    scene.talk(0);
    let lost = scene.store.read_inbox(scene.hosts[1].node.fleet.me());
    assert_eq!(lost.len(), 1, "the connection breaks as it arrives");
    scene.hosts[1].node.fleet.handle_mail_lost();
    scene.talk(1);
    scene.answer();
    assert!(!scene.shown);
    scene.check_the_end("mail was lost");
}

#[test]
fn an_owner_without_credentials_keeps_what_no_one_else_posted() {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.signal(0, MessageSent);
    scene.refuse();
    scene.talk(0);
    assert!(scene.holds(0) && scene.shown, "its own connector may show others");
    let now = scene.now;
    scene.hosts[0].node.engine.handle_acceptance(now, pair("user").to());
    scene.timeout(0);
    scene.answer();
    scene.check_the_end("credentials came");
}

#[test]
fn a_new_limit_reaches_the_shares_of_all() {
    let mut scene = Scene::new(2);
    scene.pass_without(12_000, None);
    let sum = |scene: &Scene| scene.hosts.iter().map(|host| host.node.fleet.share()).sum::<u32>();
    assert!(sum(&scene) > 400, "{}", sum(&scene));
    let now = scene.now;
    scene.hosts[0].node.fleet.handle_limit(now, 300);
    scene.pass_without(1_000, None);
    assert!((50..=300).contains(&sum(&scene)), "{}", sum(&scene));
    let now = scene.now;
    scene.hosts[0].node.fleet.handle_limit(now, 2_000);
    scene.pass_without(5_000, None);
    assert!(sum(&scene) > 400, "{}", sum(&scene));
}

#[test]
fn icons_of_an_earlier_life_go_off_though_the_store_is_silent() {
    let mut scene = shown();
    scene.kill(0);
    scene.hosts[0].node.fleet.handle_left_on(pair("user"));
    for _ in 0..20 {
        scene.pass(250);
    }
    assert_eq!((scene.state(0), scene.flights.len()), (State::Alone, 1));
    scene.answer();
    assert!(!scene.shown);
    scene.check_the_end("the store comes back");
}

#[test]
fn icons_of_the_dead_go_to_who_knows_credentials() {
    let mut scene = Scene::with(3, |settings| settings.needs_credentials = true);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.kill(0);
    scene.hosts[2].node.fleet.handle_accepted(pair("user").to());
    scene.pass_without(4_000, Some(0));
    assert_eq!([1, 2].map(|host| scene.holds(host)), [false, true]);
    scene.answer();
    assert!(!scene.shown);
    scene.check_the_end("the owner died");
}

#[test]
fn icons_of_the_dead_are_taken_though_no_one_knows_credentials() {
    let mut scene = Scene::with(2, |settings| settings.needs_credentials = true);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.kill(0);
    scene.pass_without(20_000, None);
    assert_eq!([0, 1].map(|host| scene.holds(host)), [false, false], "they wait for who knows some");
    scene.pass_without(20_000, None);
    scene.answer();
    assert!(!scene.shown);
    scene.check_the_end("the owner died");
}
