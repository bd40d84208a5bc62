//! Every sequence of a few events for two nodes and one conversation.

use typingd::model::SignalKind::{Keystroke, MessageSent};

use crate::fleet_scene::Scene;

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
