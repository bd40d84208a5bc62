//! Several nodes for one org: seeded worlds, and scenes that have a name.

use std::time::Duration;

use typingd::fleet::protocol::{Answer, Command, Content, Heartbeat, OwnerId, Reply, Request};
use typingd::fleet::{State, WhenUnreachable};
use typingd::model::Indicator::{TypingStarted, TypingStopped};
use typingd::model::SignalKind::{Ended, Keystroke, MessageSent};

use crate::fleet_climate::{Climate, Fault, History};
use crate::fleet_scene::Scene;
use crate::fleet_store::Store;
use crate::fleet_world::World;

const ALL: [Fault; 10] = [
    Fault::Kill,
    Fault::Leave,
    Fault::Pause,
    Fault::Standstill,
    Fault::Partition,
    Fault::Slow,
    Fault::Step,
    Fault::Outage,
    Fault::Wipe,
    Fault::Hang,
];

fn climate(seed: u64) -> Climate {
    let faults = match seed % 6 {
        0 => vec![],
        1 => vec![Fault::Kill, Fault::Hang, Fault::Leave],
        2 => vec![Fault::Pause, Fault::Partition, Fault::Slow],
        3 => vec![Fault::Standstill, Fault::Step, Fault::Kill],
        4 => vec![Fault::Outage, Fault::Wipe, Fault::Slow],
        _ => ALL.to_vec(),
    };
    Climate {
        nodes: 2 + (seed % 4) as usize,
        people: 20,
        typing: Duration::from_secs(120),
        hops: seed % 5 != 4,
        limit: if seed % 7 == 6 { 20 } else { 2_000 },
        when_unreachable: if seed % 8 == 7 { WhenUnreachable::Dark } else { WhenUnreachable::Alone },
        faults,
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// `TYPINGD_SIMULATION_SEEDS=1000` makes it large, `TYPINGD_SIMULATION_FIRST_SEED=17` begins elsewhere.
#[test]
fn every_seeded_fleet_keeps_the_promises() {
    let first = from_environment("TYPINGD_SIMULATION_FIRST_SEED", 0);
    let seeds = from_environment("TYPINGD_SIMULATION_SEEDS", 24);
    let mut total = History::default();
    for seed in first..first + seeds {
        let climate = climate(seed);
        let is_quiet = climate.faults.is_empty() && climate.limit > 1_000;
        let history = World::new(seed, climate).run();
        println!("seed {seed}: {history:?}");
        assert!(history.keys > 1_000, "seed {seed}: hardly anything happened: {history:?}");
        if is_quiet {
            let amiss = (history.flickers, history.extra_stops);
            assert_eq!(amiss, (0, 0), "seed {seed}: all was well, and yet: {history:?}");
            // A key just as the icon was to go off takes its Stopped's place.
            assert!(history.repeated * 100 <= history.starteds, "seed {seed}: {history:?}");
        }
        total.refused_departures += history.refused_departures;
        for (sum, count) in total.counts.iter_mut().zip(history.counts) {
            *sum += count;
        }
    }
    assert!(seeds < 24 || total.refused_departures > 0, "no departure was refused: {total:?}");
    assert!(seeds < 24 || total.counts.iter().all(|count| *count > 0), "the worlds were too kind: {total:?}");
}

#[test]
fn the_same_seed_gives_the_same_fleet() {
    assert_eq!(World::new(5, climate(5)).run(), World::new(5, climate(5)).run());
}

fn world(nodes: usize, people: usize) -> World {
    let climate = Climate {
        nodes,
        people,
        typing: Duration::from_secs(600),
        hops: true,
        limit: 2_000,
        when_unreachable: WhenUnreachable::Alone,
        faults: Vec::new(),
    };
    World::new(1, climate)
}

#[test]
fn icons_of_nodes_that_die_are_off_a_second_after_the_lease() {
    let mut world = world(3, 200);
    world.run_until(world.now + Duration::from_secs(20));
    let icons = world.shown.iter().filter(|shown| **shown).count() as u64;
    assert!(icons > 50, "{icons} icons");
    world.cease();
    world.kill(0);
    world.kill(1);
    world.run_until(world.now + Duration::from_secs(4));
    assert_eq!(world.shown.iter().filter(|shown| **shown).count(), 0);
    // Later one more Stopped each, against what the dead have sent and the upstream has not applied yet.
    world.run_until(world.now + Duration::from_secs(20));
    assert_eq!(world.shown.iter().filter(|shown| **shown).count(), 0);
    assert!(world.history.extra_stops <= 2 * icons, "{:?} for {icons}", world.history);
}

/// An icon that node 0 has switched on for a user.
pub(crate) fn shown() -> Scene {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.answer();
    assert_eq!((scene.shown, scene.holds(0)), (true, true));
    scene
}

pub(crate) fn answer_all(scene: &mut Scene) {
    while scene.flights.iter().any(|flight| flight.late.is_none()) {
        scene.answer();
    }
}

/// What the store has of the one conversation: whether its icon may be on.
fn recorded(scene: &Scene) -> Option<bool> {
    scene.store.held.values().next().map(|value| value.on)
}

#[test]
fn a_key_that_reaches_another_node_goes_to_the_owner() {
    let mut scene = shown();
    for _ in 0..40 {
        scene.pass_without(400, None);
        scene.signal(1, Keystroke);
        scene.talk(1);
        scene.talk(0);
        answer_all(&mut scene);
    }
    assert!(scene.applied.iter().all(|indicator| *indicator == TypingStarted), "{:?}", scene.applied);
    assert_eq!(scene.applied.len(), 4, "the first, and a refresh every five seconds");
    scene.signal(1, MessageSent);
    scene.talk(1);
    scene.talk(0);
    answer_all(&mut scene);
    assert!(!scene.shown && !scene.holds(1));
    scene.check_the_end("a message at the other node");
}

#[test]
fn signals_for_an_owner_that_has_just_joined_keep_their_order() {
    let mut scene = Scene::new(2);
    scene.pass_without(1_000, None);
    scene.kill(0);
    scene.talk(0);
    scene.signal(0, Keystroke);
    scene.talk(0);
    for kind in [Keystroke, MessageSent] {
        scene.signal(1, kind);
    }
    scene.talk(1);
    let mail = scene.store.read_inbox(scene.hosts[0].node.fleet.me());
    let kinds = mail.iter().map(|mail| match mail.content {
        Content::Signal { signal, .. } => signal.kind,
        other => panic!("{other:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [Keystroke, MessageSent]);
}

#[test]
fn a_started_is_on_record_before_it_leaves() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    assert_eq!(recorded(&scene), Some(false), "what is only remembered");
    scene.signal(0, Keystroke);
    assert_eq!(scene.flights.len(), 0, "the store doesn't know of it");
    scene.talk(0);
    assert_eq!((scene.flights.len(), recorded(&scene)), (1, Some(true)));
    scene.kill(0);
    scene.check_the_end("it dies with the Started in flight");
}

#[test]
fn a_message_before_the_key_leaves_no_started_unrecorded() {
    let mut scene = Scene::new(2);
    scene.signal(0, MessageSent);
    scene.signal(0, Keystroke);
    scene.talk(0);
    assert_eq!((scene.flights.len(), recorded(&scene)), (1, Some(true)));
}

#[test]
fn a_message_takes_back_a_started_that_waits_for_the_store() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    scene.signal(0, Keystroke);
    scene.signal(0, MessageSent);
    scene.talk(0);
    assert_eq!(scene.flights.len(), 0, "nothing was shown, and nothing is to be taken back");
}

#[test]
fn a_node_that_was_stopped_shows_nothing_when_it_goes_on() {
    let mut scene = shown();
    scene.pass_without(4_000, Some(0));
    answer_all(&mut scene);
    scene.signal(1, Keystroke);
    scene.talk(1);
    let before = scene.applied.len() + scene.flights.len();
    scene.signal(0, Keystroke);
    scene.signal(0, MessageSent);
    scene.timeout(0);
    assert_eq!(scene.state(0), State::InDoubt);
    assert_eq!(scene.applied.len() + scene.flights.len(), before, "nothing leaves in doubt");
    scene.talk(0);
    assert_eq!((scene.state(0), scene.holds(0), scene.holds(1)), (State::Tenured, false, true));
    scene.check_the_end("it was stopped");
}

/// What the guide says: one by who takes over, one when the sleeper wakes and tells of its icon, and one a time-out after the
/// last of them.
#[test]
fn an_owner_that_slept_costs_three_or_four_stoppeds() {
    for (asleep_millis, stoppeds) in [(4_000, 3), (9_000, 4)] {
        let mut scene = shown();
        for _ in 0..asleep_millis / 500 {
            scene.pass_without(500, Some(0));
            answer_all(&mut scene);
        }
        assert!(!scene.shown && scene.holds(1));
        for _ in 0..60 {
            scene.pass_without(500, None);
            answer_all(&mut scene);
        }
        let stopped = scene.applied.iter().filter(|indicator| **indicator == TypingStopped).count();
        assert_eq!(stopped, stoppeds, "{:?}", scene.applied);
        scene.check_the_end("an owner slept");
    }
}

#[test]
fn a_started_that_waited_past_the_lease_does_not_leave() {
    let mut scene = Scene::new(2);
    scene.congested = true;
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.pass(2_000);
    assert_eq!(scene.state(0), State::InDoubt);
    scene.clear();
    assert_eq!(scene.flights.len(), 0);
    scene.check_the_end("it waited for a connection");
}

#[test]
fn a_key_that_waited_too_long_in_an_inbox_does_not_count() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    scene.signal(1, Keystroke);
    scene.talk(1);
    // It is stopped for a while that its lease survives.
    scene.pass_without(1_300, Some(0));
    scene.talk(0);
    assert_eq!(scene.flights.len(), 0, "the key is more than a second old");
}

#[test]
fn a_key_that_waited_while_the_clock_stood_still_does_not_count() {
    let mut scene = shown();
    scene.signal(1, Keystroke);
    scene.stand_still(1, 4_000);
    scene.talk(1);
    assert!(scene.store.read_inbox(scene.hosts[0].node.fleet.me()).is_empty());
    assert!(!scene.holds(1));
}

#[test]
fn whoever_types_on_after_the_owner_died_sees_no_flicker() {
    let mut scene = shown();
    scene.kill(0);
    for _ in 0..14 {
        scene.pass_without(200, Some(0));
        scene.signal(1, Keystroke);
        scene.talk(1);
        answer_all(&mut scene);
    }
    assert!(scene.holds(1));
    assert!(!scene.applied.contains(&TypingStopped), "{:?}", scene.applied);
}

#[test]
fn a_late_started_of_the_dead_is_followed_by_another_stopped() {
    let mut scene = Scene::new(2);
    scene.signal(0, Keystroke);
    scene.talk(0);
    scene.hang();
    scene.kill(0);
    scene.pass_without(4_000, Some(0));
    answer_all(&mut scene);
    assert_eq!(recorded(&scene), Some(true), "it may be switched on yet");
    scene.pass_without(6_000, Some(0));
    answer_all(&mut scene);
    assert!(!scene.shown && scene.applied.len() >= 3, "{:?}", scene.applied);
    scene.check_the_end("the dead one's Started came late");
}

#[test]
fn a_message_at_a_node_that_has_lost_its_conversation_is_told() {
    let mut scene = shown();
    scene.pass_without(3_000, Some(0));
    answer_all(&mut scene);
    scene.signal(1, Keystroke);
    scene.talk(1);
    answer_all(&mut scene);
    assert!(scene.shown && scene.holds(1), "the other has it now");
    scene.signal(0, MessageSent);
    for host in [0, 1] {
        scene.talk(host);
        answer_all(&mut scene);
    }
    assert!(!scene.shown, "no one has to wait until the user seems idle");
    scene.check_the_end("an owner slept");
}

#[test]
fn what_an_owner_did_after_it_was_lapsed_is_told_to_the_new_one() {
    let mut scene = shown();
    scene.stand_still(0, 3_000);
    answer_all(&mut scene);
    assert!(!scene.shown && scene.holds(1), "the other has reaped it");
    // By its own clock it owns it still.
    scene.signal(0, Ended);
    scene.signal(0, Keystroke);
    answer_all(&mut scene);
    assert!(scene.shown);
    for host in [0, 1] {
        scene.talk(host);
        answer_all(&mut scene);
    }
    scene.check_the_end("a clock stood still");
}

/// Node 1 has taken over while node 0 stood still, the user has typed on there, and node 0 shows an icon by its own
/// clock. What it posts when it hears of that gets lost.
fn lost_stray(icon_is_on: bool) -> Scene {
    let mut scene = shown();
    for _ in 0..20 {
        scene.pass_without(500, Some(0));
        scene.signal(1, Keystroke);
        scene.talk(1);
        answer_all(&mut scene);
    }
    scene.stood_still(0, 10_000);
    let message = |scene: &mut Scene| {
        scene.signal(1, MessageSent);
        answer_all(scene);
        scene.talk(1);
    };
    if !icon_is_on {
        message(&mut scene);
        assert_eq!((scene.shown, recorded(&scene)), (false, Some(false)));
    }
    scene.signal(0, Ended);
    scene.signal(0, Keystroke);
    answer_all(&mut scene);
    scene.pass(250);
    scene.ask(0);
    while scene.ask(0) {}
    let lost = scene.store.read_inbox(scene.hosts[1].node.fleet.me());
    assert_eq!(lost.len(), 1, "the connection breaks as it arrives");
    if icon_is_on {
        message(&mut scene);
        // The Started of node 0 was applied after the message.
        scene.shown = true;
    }
    scene
}

#[test]
fn a_stray_that_gets_lost_is_noticed_when_the_owner_gives_up() {
    let mut scene = lost_stray(false);
    assert!(scene.shown && scene.holds(1));
    scene.check_the_end("mail was lost");
}

#[test]
fn an_owner_that_dies_after_a_lost_stray_is_answered_for() {
    let mut scene = lost_stray(true);
    scene.kill(1);
    scene.check_the_end("mail was lost, and its reader died");
}

#[test]
fn a_late_release_takes_nothing_from_the_next_owner() {
    let mut scene = shown();
    scene.signal(0, MessageSent);
    scene.answer();
    scene.talk(0);
    scene.pass_without(3_000, Some(0));
    scene.signal(1, Keystroke);
    scene.talk(1);
    answer_all(&mut scene);
    scene.pass_without(500, Some(0));
    scene.timeout(0);
    assert!(!scene.holds(0), "its engine has forgotten it");
    scene.talk(0);
    assert_eq!((scene.holds(1), recorded(&scene)), (true, Some(true)));
    scene.check_the_end("it was given up late");
}

#[test]
fn who_has_lapsed_writes_nothing() {
    let mut scene = Scene::new(2);
    scene.pass_without(1_000, None);
    scene.signal(0, Keystroke);
    let now = scene.now;
    let turn = scene.hosts[0].node.request(now).expect("there is a key to post");
    assert!(matches!(turn.command, Command::Turn { .. }));
    scene.pass_without(3_000, Some(0));
    let reply = scene.store.execute(scene.now.as_millis() + scene.step_millis, &turn);
    assert_eq!(reply, Some(Reply::Turn(vec![Answer::Lapsed])));
    assert!(scene.store.held.is_empty());
}

#[test]
fn nothing_is_taken_from_the_living() {
    let mut scene = shown();
    let [dead, me] = [0, 1].map(|host| scene.hosts[host].node.fleet.me());
    let conversations = scene.store.held.keys().cloned().collect();
    // It was cut off until just now, so that the other takes it for dead.
    let command = Command::Take { dead, recent: true, recover_within: Duration::from_secs(600), conversations };
    let now = scene.now.as_millis() + scene.step_millis;
    let reply = scene.store.execute(now, &Request { number: u64::MAX, me, command });
    assert_eq!((reply, recorded(&scene)), (Some(Reply::Taken(Vec::new())), Some(true)));
    assert!(scene.store.held.values().all(|value| value.owner == dead));
}

#[test]
fn a_jump_of_the_stores_clock_keeps_no_dead_node_alive() {
    let mut scene = shown();
    scene.kill(0);
    scene.step_millis -= 3_600_000;
    scene.pass_without(5_000, Some(0));
    answer_all(&mut scene);
    assert!(!scene.shown, "its lease would last an hour");
    scene.step_millis += 7_200_000;
    scene.check_the_end("the clock jumped back and forward");
}

#[test]
fn a_clock_that_goes_back_holds_no_share_down() {
    let mut store = Store::default();
    let me = OwnerId::new(1 << 40);
    let mut share_at = |now, number| {
        let lease = Duration::from_secs(2);
        let heartbeat = Heartbeat {
            joins: true,
            was: None,
            lease,
            limit: 1_000,
            hold: 100,
            need: 1_000,
            want: 1_000,
            timing: 0,
            counts_for: None,
        };
        match store.execute(now, &Request { number, me, command: Command::Heartbeat(heartbeat) }) {
            Some(Reply::Heartbeat(membership)) => membership.share,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(share_at(7_200_000, 1), 100, "the store is young");
    for (number, half) in (2..).zip(7_200..7_205) {
        assert_eq!(share_at(half * 500, number), 100);
    }
    assert_eq!(share_at(3_602_500, 9), 1_000, "some seconds later, not an hour");
}

#[test]
fn icons_of_the_dead_go_off_though_the_stores_clock_jumped() {
    let mut scene = shown();
    scene.kill(0);
    scene.step_millis += 3_600_000;
    scene.pass_without(4_000, Some(0));
    answer_all(&mut scene);
    assert!(!scene.shown, "the other has seen it alive a moment ago");
}

#[test]
fn a_store_that_has_lost_everything_is_told_again() {
    let mut scene = shown();
    scene.store = Default::default();
    for host in [0, 1] {
        scene.silence(host);
        scene.talk(host);
    }
    assert_eq!((scene.state(0), scene.holds(0), recorded(&scene)), (State::Tenured, true, Some(true)));
    assert_eq!(scene.applied, [TypingStarted], "nobody has noticed");
    scene.check_the_end("the store was lost");
}

#[test]
fn shares_don_t_grow_while_a_lost_store_is_told_again() {
    let mut scene = Scene::new(2);
    scene.pass_without(12_000, None);
    scene.store = Default::default();
    let sum = |scene: &Scene| scene.hosts.iter().map(|host| host.node.fleet.share()).sum::<u32>();
    let before = sum(&scene);
    for host in [0, 1] {
        scene.silence(host);
        scene.talk(host);
        assert!(sum(&scene) <= before, "{} of {before}", sum(&scene));
    }
}

#[test]
fn a_lost_answer_leaves_nothing_behind() {
    let mut scene = Scene::new(2);
    scene.pass_without(1_000, None);
    scene.signal(0, Keystroke);
    scene.ask_in_vain(0);
    assert_eq!((scene.holds(0), recorded(&scene)), (false, Some(true)));
    scene.check_the_end("the answer to the first key was lost");
}

#[test]
fn a_started_after_a_lost_answer_to_a_message_is_on_record() {
    let mut scene = Scene::new(2);
    scene.pass_without(1_000, None);
    scene.signal(0, MessageSent);
    scene.ask_in_vain(0);
    scene.talk(0);
    scene.signal(0, Keystroke);
    scene.talk(0);
    answer_all(&mut scene);
    assert_eq!((scene.shown, recorded(&scene)), (true, Some(true)));
    scene.kill(0);
    scene.check_the_end("the answer to a message was lost, and its owner died");
}

#[test]
fn an_icon_whose_takeover_was_answered_in_vain_goes_off() {
    let mut scene = shown();
    scene.kill(0);
    scene.pass_without(2_500, Some(0));
    scene.signal(1, Keystroke);
    scene.ask_in_vain(1);
    assert_eq!((scene.holds(1), recorded(&scene)), (false, Some(true)));
    scene.check_the_end("the answer to the takeover was lost");
}

#[test]
fn a_node_that_was_stopped_in_doubt_asks_before_it_serves_alone() {
    let mut scene = shown();
    scene.pass(2_000);
    assert_eq!(scene.state(0), State::InDoubt);
    scene.pass_without(4_000, Some(0));
    scene.timeout(0);
    assert_eq!(scene.state(0), State::InDoubt);
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for() {
    let mut scene = Scene::new(1);
    scene.pass(250);
    scene.ask_slowly(0, 1_400);
    assert_eq!(scene.state(0), State::Tenured);
    scene.pass(500);
    assert_eq!(scene.state(0), State::InDoubt);
}

#[test]
fn a_node_that_hears_nothing_of_the_store_serves_alone() {
    let mut scene = Scene::new(2);
    for _ in 0..30 {
        scene.pass(200);
    }
    assert_eq!(scene.state(0), State::Alone);
    scene.signal(0, Keystroke);
    assert_eq!(scene.flights.len(), 1);
    scene.answer();
    scene.check_the_end("the store comes back");
}

#[test]
fn a_request_that_comes_late_is_not_executed() {
    let mut scene = shown();
    let now = scene.now + Duration::from_millis(250);
    scene.now = now;
    let late = scene.hosts[0].node.request(now).expect("a heartbeat is due");
    assert!(matches!(late.command, Command::Heartbeat(_)));
    scene.silence(0);
    scene.talk(0);
    let store = now.as_millis() + scene.step_millis;
    assert_eq!(scene.store.execute(store, &late), None::<Reply>);
}
