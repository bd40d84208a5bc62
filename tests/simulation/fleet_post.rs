//! Scenes of what goes from one node to another beside keys: messages whose Stopped is waited for, conversations that
//! are given away, a new limit, icons of an earlier life.

use std::time::Duration;

use typingd::fleet::State;
use typingd::fleet::protocol::Command;
use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::Signal;
use typingd::model::SignalKind::{Ended, Keystroke, MessageSent};

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

/// A key at one node, the next at another; then the first one's icon is refused, and it gives the conversation away.
fn refuse_the_owner_of_a_key_elsewhere(scene: &mut Scene) {
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.talk(0);
    scene.refuse();
    scene.talk(0);
}

#[test]
fn what_a_key_is_about_to_claim_is_not_given_up() {
    let mut scene = Scene::new(2);
    refuse_the_owner_of_a_key_elsewhere(&mut scene);
    let lost = scene.store.read_inbox(scene.hosts[1].node.fleet.me());
    assert_eq!(lost.len(), 1, "it was given the conversation");
    scene.hosts[1].node.fleet.handle_mail_lost();
    scene.pass(100);
    // The next key comes after the store has told of it, and before that answer.
    let mut told = false;
    while !told {
        let asked = scene.ask_while(1, |scene, command| {
            if matches!(command, Command::Scan { .. }) {
                told = true;
                scene.signal(1, Keystroke);
            }
        });
        assert!(asked, "it looks for what it doesn't know of");
    }
    scene.talk(1);
    assert!(scene.holds(1) && scene.store.held.len() == 1, "another may take it");
    scene.check_the_end("a key came while a node looked for what is its own");
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
    scene.pass_without(2_500, None);
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

/// Node 0 dies, and node 1 has known for a moment that its lease is over.
fn outlive(scene: &mut Scene, millis: u64) {
    scene.pass_without(millis, Some(0));
}

#[test]
fn a_key_that_was_posted_to_the_dead_keeps_the_icon_on() {
    let mut scene = shown();
    scene.kill(0);
    outlive(&mut scene, 1_500);
    scene.signal(1, Keystroke);
    outlive(&mut scene, 1_500);
    scene.answer();
    assert_eq!((scene.holds(1), &scene.applied[..]), (true, &[TypingStarted, TypingStarted][..]));
    outlive(&mut scene, 500);
    scene.answer();
    assert_eq!((scene.shown, scene.applied.len()), (false, 3), "it counts from when it was pressed");
    scene.check_the_end("an owner died, and a key was posted to it");
}

#[test]
fn a_key_for_what_the_dead_did_not_show_shows_the_icon() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    scene.kill(0);
    outlive(&mut scene, 1_500);
    scene.signal(1, Keystroke);
    outlive(&mut scene, 1_500);
    scene.answer();
    assert_eq!((scene.shown, &scene.applied[..]), (true, &[TypingStarted, TypingStopped, TypingStarted][..]));
    scene.check_the_end("an owner died, and a first key was posted to it");
}

#[test]
fn a_key_that_lasts_outlives_its_owner() {
    let mut scene = shown();
    scene.key_that_lasts(1, 5_000);
    scene.talk(1);
    scene.talk(0);
    scene.kill(0);
    for _ in 0..13 {
        assert!(scene.shown, "{:?}", scene.applied);
        outlive(&mut scene, 500);
        scene.answer();
    }
    outlive(&mut scene, 500);
    scene.answer();
    assert_eq!((scene.shown, &scene.applied[..]), (false, &[TypingStarted, TypingStarted, TypingStopped][..]));
    scene.check_the_end("an owner died while the typing lasted");
}

#[test]
fn a_key_that_its_owner_called_late_is_not_played() {
    let mut scene = Scene::new(2);
    scene.give(0, Signal { at: Some(1_000), ..Signal::new(MessageSent) });
    scene.talk(0);
    // It was pressed before the message, on its way through another node.
    scene.give(1, Signal { at: Some(900), lasts_millis: 20_000, ..Signal::new(Keystroke) });
    scene.talk(1);
    scene.pass_without(1_000, None);
    assert!(scene.holds(0) && scene.flights.is_empty());
    scene.kill(0);
    outlive(&mut scene, 4_000);
    assert_eq!((scene.flights.len(), &scene.applied[..]), (0, &[][..]), "the message has long been there");
    scene.check_the_end("an owner died that had read a late key");
}

#[test]
fn a_key_that_was_posted_to_the_living_is_left_to_them() {
    let mut scene = Scene::new(3);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.answer();
    scene.key_that_lasts(2, 5_000);
    scene.talk(2);
    scene.talk(1);
    scene.kill(0);
    outlive(&mut scene, 4_500);
    assert_eq!((scene.holds(1), scene.flights.len(), scene.applied.len()), (true, 0, 1));
    scene.check_the_end("another node died");
}

#[test]
fn a_key_before_the_end_is_not_played_once_the_owner_dies() {
    let mut scene = shown();
    scene.key_that_lasts(1, 30_000);
    scene.talk(1);
    scene.talk(0);
    scene.signal(0, Ended);
    scene.answer();
    scene.pass_without(1_500, None);
    scene.kill(0);
    outlive(&mut scene, 4_000);
    assert_eq!((scene.flights.len(), &scene.applied[..]), (0, &[TypingStarted, TypingStopped][..]));
    scene.check_the_end("a session ended, and its owner died");
}

#[test]
fn a_message_at_the_poster_ends_what_it_has_posted() {
    let mut scene = shown();
    scene.key_that_lasts(1, 30_000);
    scene.signal(1, MessageSent);
    scene.talk(1);
    scene.talk(0);
    scene.answer();
    scene.kill(0);
    for _ in 0..12 {
        outlive(&mut scene, 500);
        scene.answer();
        assert!(!scene.shown, "{:?}", scene.applied);
    }
    scene.check_the_end("a message, and its owner died");
}

/// Node 0 shows an icon, and node 2 has posted to it a key whose typing goes on for long.
fn kept_by_a_third() -> Scene {
    let mut scene = Scene::new(3);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.key_that_lasts(2, 12_000);
    scene.talk(2);
    scene.talk(0);
    scene
}

/// Node 0 dies with a Stopped under way, and no icon goes on again.
fn dies_before_it_is_off(mut scene: Scene) {
    scene.kill(0);
    for _ in 0..16 {
        outlive(&mut scene, 250);
        scene.answer();
    }
    assert!(!scene.shown, "off in time");
    outlive(&mut scene, 10_000);
    scene.answer();
    let on_again = scene.applied[1..].contains(&TypingStarted);
    assert!(!on_again, "the user is not typing: {:?}", scene.applied);
    scene.check_the_end("an owner died before the icon was off");
}

#[test]
fn a_message_that_the_dead_had_taken_ends_keys_of_a_third_node() {
    let mut scene = kept_by_a_third();
    scene.signal(1, MessageSent);
    scene.talk(1);
    scene.talk(0);
    assert_eq!(scene.flights.len(), 1, "its Stopped is on its way");
    dies_before_it_is_off(scene);
}

#[test]
fn a_message_that_the_dead_never_read_ends_keys_of_a_third_node() {
    let mut scene = kept_by_a_third();
    scene.signal(1, Ended);
    scene.talk(1);
    dies_before_it_is_off(scene);
}

#[test]
fn a_message_at_the_dead_itself_ends_keys_of_a_third_node() {
    let mut scene = kept_by_a_third();
    scene.signal(0, MessageSent);
    scene.talk(0);
    dies_before_it_is_off(scene);
}

#[test]
fn a_message_ends_a_key_that_its_owner_read_too_late() {
    let mut scene = Scene::new(3);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    scene.key_that_lasts(2, 12_000);
    scene.talk(2);
    // It is stopped for a while that its lease survives.
    scene.pass_without(1_300, Some(0));
    scene.talk(0);
    scene.signal(0, MessageSent);
    scene.talk(0);
    dies_before_it_is_off(scene);
}

#[test]
fn a_message_is_not_forgotten_with_two_owners_in_turn() {
    let mut scene = kept_by_a_third();
    scene.kill(0);
    outlive(&mut scene, 1_500);
    scene.signal(1, Keystroke);
    outlive(&mut scene, 1_000);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.answer();
    assert!(scene.holds(1));
    scene.signal(1, MessageSent);
    scene.talk(1);
    let before = scene.applied.len();
    scene.kill(1);
    for _ in 0..20 {
        scene.pass_without(250, Some(1));
        scene.answer();
    }
    assert!(!scene.applied[before..].contains(&TypingStarted), "{:?}", scene.applied);
    scene.check_the_end("two owners died in turn");
}

#[test]
fn a_key_after_the_message_is_played_once_the_owner_dies() {
    let mut scene = kept_by_a_third();
    scene.signal(1, MessageSent);
    scene.talk(1);
    scene.key_that_lasts(2, 12_000);
    scene.talk(2);
    scene.kill(0);
    outlive(&mut scene, 4_000);
    scene.answer();
    assert!(scene.holds(2) && scene.shown, "{:?}", scene.applied);
    scene.check_the_end("an owner died after the user had typed on");
}

#[test]
fn a_key_goes_with_an_icon_whose_owner_is_refused() {
    let mut scene = Scene::new(2);
    refuse_the_owner_of_a_key_elsewhere(&mut scene);
    scene.talk(1);
    assert!(scene.holds(1) && !scene.holds(0));
    scene.answer();
    assert_eq!((scene.flights.len(), &scene.applied[..]), (0, &[TypingStarted][..]), "no icon was on before");
    scene.check_the_end("an owner was refused");
}

#[test]
fn a_key_before_a_message_does_not_go_with_the_icon() {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.signal(1, Keystroke);
    scene.talk(1);
    scene.talk(0);
    scene.signal(0, MessageSent);
    scene.refuse();
    scene.talk(0);
    scene.talk(1);
    assert_eq!((scene.flights.len(), scene.applied.len()), (0, 0));
    scene.check_the_end("an owner was refused, and a message was sent");
}

#[test]
fn a_session_that_is_over_gets_no_second_stopped() {
    let mut scene = shown();
    scene.kill(0);
    outlive(&mut scene, 4_000);
    scene.answer();
    scene.signal(1, Ended);
    scene.talk(1);
    assert!(scene.store.held.values().all(|value| !value.on), "no one else sends one");
    outlive(&mut scene, 8_000);
    assert_eq!((scene.flights.len(), &scene.applied[..]), (0, &[TypingStarted, TypingStopped][..]));
    scene.check_the_end("it was taken over, and ended");
}

#[test]
fn a_lost_answer_makes_no_owner_whom_the_store_does_not_know() {
    let mut scene = Scene::new(2);
    scene.pass_without(1_000, None);
    scene.signal(0, MessageSent);
    scene.ask_in_vain(0);
    scene.talk(0);
    assert_eq!(scene.holds(0), scene.store.held.len() == 1, "another may take it");
    scene.check_the_end("the answer to a message was lost");
}

/// Node 0 has just started, and the store gives no answer: time passes until it serves alone.
fn pass_until_alone(scene: &mut Scene) {
    for _ in 0..20 {
        scene.pass(200);
        if scene.state(0) == State::Alone {
            return;
        }
    }
    panic!("it never serves alone");
}

#[test]
fn a_key_before_a_node_serves_alone_shows_once_it_does() {
    let mut scene = Scene::new(1);
    scene.kill(0);
    scene.pass(100);
    scene.key_that_lasts(0, 5_000);
    pass_until_alone(&mut scene);
    assert_eq!(scene.flights.len(), 1, "the typing goes on");
    scene.answer();
    scene.check_the_end("the store was dead at the start");
}

#[test]
fn a_key_whose_typing_is_over_shows_nothing_alone() {
    let mut scene = Scene::new(1);
    scene.kill(0);
    scene.pass(100);
    scene.signal(0, Keystroke);
    pass_until_alone(&mut scene);
    assert_eq!(scene.flights.len(), 0, "the user has stopped typing");
    scene.check_the_end("the store was dead at the start");
}

#[test]
fn a_store_that_refuses_is_not_waited_for_longer_than_a_lease() {
    let mut scene = Scene::new(2);
    scene.pass_without(5_000, None);
    let refused = scene.now;
    while scene.state(0) != State::Alone {
        scene.pass(100);
        scene.refuse_store(0);
        assert!(scene.now <= refused + Duration::from_millis(2_800), "nothing is waited for");
        let others_act = scene.now < refused + Duration::from_millis(2_500);
        assert!(!others_act || scene.state(0) != State::Alone, "another may own what it serves");
    }
}
