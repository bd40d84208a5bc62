//! Every sequence of a few events for two nodes and one conversation.

use typingd::model::Indicator::TypingStarted;
use typingd::model::SignalKind::{Keystroke, MessageSent, Stopped};

use crate::fleet_scene::Scene;
use crate::rng::Rng;

/// What can happen in one step, and its name.
type Letter = (&'static str, fn(&mut Scene));

const LETTERS: [Letter; 13] = [
    ("a key at 0", |scene| scene.signal(0, Keystroke)),
    ("a key at 1", |scene| scene.signal(1, Keystroke)),
    ("a message at 0", |scene| scene.signal(0, MessageSent)),
    ("a message at 1", |scene| scene.signal(1, MessageSent)),
    ("0 talks", |scene| scene.talk(0)),
    ("1 talks", |scene| scene.talk(1)),
    ("0 asks in vain", |scene| scene.ask_in_vain(0)),
    ("half a second", |scene| scene.pass(500)),
    ("0 is stopped", |scene| scene.pass_without(3_000, Some(0))),
    ("0 stands still", |scene| scene.stand_still(0, 3_000)),
    ("a request is answered", Scene::answer),
    ("a request hangs", Scene::hang),
    ("0 dies", |scene| scene.kill(0)),
];

/// Where it begins: nothing, an icon that is on at node 0, a conversation that it remembers.
fn beginning(number: usize) -> Scene {
    let mut scene = Scene::new(2);
    if number > 0 {
        scene.signal(0, Keystroke);
        scene.talk(0);
        scene.answer();
    }
    if number > 1 {
        scene.signal(0, MessageSent);
        scene.answer();
        scene.talk(0);
    }
    scene
}

/// `TYPINGD_FLEET_DEPTH=5` makes it large.
#[test]
fn two_nodes_agree_after_every_sequence_of_events() {
    let depth = std::env::var("TYPINGD_FLEET_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(3);
    for first in 0..3 {
        for number in 0..LETTERS.len().pow(depth) {
            let mut rest = number;
            let letters = (0..depth).map(|_| {
                let letter = rest % LETTERS.len();
                rest /= LETTERS.len();
                letter
            });
            let letters: Vec<_> = letters.collect();
            let story = || letters.iter().map(|letter| LETTERS[*letter].0).collect::<Vec<_>>().join(", ");
            let story = format!("{first}: {}", story());
            let played = std::panic::catch_unwind(|| {
                let mut scene = beginning(first);
                for letter in &letters {
                    LETTERS[*letter].1(&mut scene);
                }
                // After an end no second Stopped follows what the dead has still under way.
                scene.signal(1, MessageSent);
                scene.check_the_end(&story);
            });
            assert!(played.is_ok(), "{story}");
        }
    }
}

/// One of three nodes does something, or is killed.
fn anything(scene: &mut Scene, rng: &mut Rng) {
    let host = rng.below(3) as usize;
    match rng.below(12) {
        0..=2 => scene.key_that_lasts(host, 1_000 * rng.below(40) as u16),
        3 => scene.signal(host, [MessageSent, Stopped][rng.below(2) as usize]),
        4..=6 => scene.talk(host),
        7 | 8 => scene.answer(),
        9 => scene.pass_without(500, None),
        10 => scene.ask_in_vain(host),
        _ => scene.kill(host),
    }
}

fn starteds(scene: &Scene) -> usize {
    let under_way = scene.flights.iter().filter(|flight| flight.dispatch.indicator() == TypingStarted);
    under_way.count() + scene.applied.iter().filter(|indicator| **indicator == TypingStarted).count()
}

/// Whoever takes over plays no key from before the end of the typing, whoever had heard of it. `TYPINGD_FLEET_ENDS=10000` makes it
/// large.
#[test]
fn no_icon_goes_on_after_the_end_whoever_dies() {
    let ends = std::env::var("TYPINGD_FLEET_ENDS").ok().and_then(|ends| ends.parse().ok()).unwrap_or(400);
    for seed in 0..ends {
        let mut rng = Rng::new(seed);
        let mut scene = Scene::new(3);
        for _ in 0..4 + rng.below(16) {
            anything(&mut scene, &mut rng);
        }
        // What is still to be posted is not from before the end.
        scene.pass_without(1_000, None);
        (0..8).for_each(|_| scene.answer());
        let teller = rng.below(3) as usize;
        scene.signal(teller, [MessageSent, Stopped][rng.below(2) as usize]);
        scene.talk(teller);
        let first = rng.below(3) as usize;
        if rng.below(2) == 0 {
            scene.talk(first);
        }
        scene.kill(first);
        scene.pass_without(1_000, None);
        let before = starteds(&scene);
        for step in 0..24 {
            if step == 8 {
                scene.kill(rng.below(3) as usize);
            }
            scene.pass_without(500, None);
            scene.answer();
        }
        assert_eq!(starteds(&scene), before, "seed {seed}: an icon goes on: {:?}", scene.applied);
        scene.check_the_end(&format!("seed {seed}"));
    }
}
