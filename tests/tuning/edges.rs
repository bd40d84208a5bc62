//! Every edge of the definitions, with the figures that follow from them by hand.

use std::time::Duration;

use typingd::engine::policy::Mode::{self, AfterShown, Idle};
use typingd::tune::row::Row;
use typingd::tune::study::Study;

use crate::brute::{Lens, Truth};
use crate::compare::{compare, plan, setting};
use crate::traces::Kind::{self, Ended, Key, Opened, Sent, Stopped};
use crate::traces::{File, Line, one, reader};

const LENS: Lens = Lens { truth: Truth::Message, away: 30_000, ttl: None };

/// What is expected of an edge: requests, and the measures that can go wrong there.
#[derive(Debug, PartialEq)]
struct Seen {
    started: u64,
    stopped: u64,
    recall: Option<f64>,
    false_on: Option<f64>,
    flicker: Option<f64>,
    early: Option<f64>,
    off: Option<u64>,
    wrong: Option<f64>,
}

/// Nothing is told, nothing is defined.
const NOTHING: Seen =
    Seen { started: 0, stopped: 0, recall: None, false_on: None, flicker: None, early: None, off: None, wrong: None };
/// One message, announced from its first key to its send.
const PERFECT: Seen = Seen {
    started: 1,
    stopped: 1,
    recall: Some(1.0),
    false_on: Some(0.0),
    flicker: Some(0.0),
    early: Some(0.0),
    ..NOTHING
};

fn seen(row: &Row) -> Seen {
    Seen {
        started: row.started,
        stopped: row.stopped,
        recall: row.recall.value,
        false_on: row.false_on.value,
        flicker: row.flicker_per_msg.value,
        early: row.off_early.value,
        off: row.off.max,
        wrong: row.wrong_stop.value,
    }
}

/// What `tune` sees of `files`, which the brute force has to agree with.
fn row_of(name: &str, files: &[File], how: (Mode, u64, u64), lens: Lens) -> Row {
    let plan = plan(&[setting(how.0, how.1, how.2)], lens);
    compare(files, &plan, lens).unwrap_or_else(|found| panic!("{name}: {found}")).current
}

type Edge<'a> = (&'a str, (Mode, u64, u64), Vec<(u64, Kind)>, Seen);

fn hold(edges: Vec<Edge<'_>>) {
    for (name, how, events, expected) in edges {
        assert_eq!(seen(&row_of(name, &[one(&events)], how, LENS)), expected, "{name}");
    }
}

const SAMPLE: (Mode, u64, u64) = (AfterShown, 5_000, 2_000);
const QUICK: (Mode, u64, u64) = (Idle, 5_000, 2_000);

#[test]
fn timers_of_an_instant_run_before_its_signals() {
    hold(vec![
        (
            "a key at the very millisecond of the idle stop: the icon goes off and on, and nobody sees it",
            QUICK,
            vec![(0, Key), (2_000, Key), (3_000, Sent)],
            Seen { started: 2, stopped: 2, wrong: Some(1.0), ..PERFECT },
        ),
        (
            "a millisecond later it is a flicker",
            QUICK,
            vec![(0, Key), (2_001, Key), (4_000, Sent)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(3_999.0 / 4_000.0),
                flicker: Some(1.0),
                wrong: Some(1.0),
                ..PERFECT
            },
        ),
        (
            "a key at the very millisecond of a dismissal waits for the check all the same",
            SAMPLE,
            vec![(0, Key), (2_000, Key), (6_000, Sent)],
            Seen { started: 2, stopped: 2, recall: Some(0.5), flicker: Some(1.0), wrong: Some(1.0), ..PERFECT },
        ),
        (
            "a key at the very millisecond of a check comes too late for it: the burst is over, and it is a first one",
            SAMPLE,
            vec![(0, Key), (5_000, Key), (6_000, Sent)],
            Seen { started: 2, stopped: 2, recall: Some(0.5), flicker: Some(1.0), wrong: Some(1.0), ..PERFECT },
        ),
        (
            "a key at the very millisecond of a check counts for the next one",
            QUICK,
            vec![(0, Key), (1_900, Key), (3_800, Key), (5_000, Key), (6_900, Key), (8_500, Key), (10_001, Sent)],
            Seen { started: 3, ..PERFECT },
        ),
        (
            "a send at the very millisecond of the idle stop finds the icon gone",
            QUICK,
            vec![(0, Key), (2_000, Sent)],
            Seen { early: Some(1.0), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "a send at the very millisecond of a check finds no icon that anybody has seen",
            SAMPLE,
            vec![(0, Key), (4_000, Key), (5_000, Sent)],
            Seen { started: 2, stopped: 2, recall: Some(0.4), early: Some(1.0), wrong: Some(1.0), ..PERFECT },
        ),
    ]);
}

#[test]
fn a_started_at_a_check_re_arms_the_dismissal_of_that_instant() {
    hold(vec![
        (
            "dismiss = check, and a key in between: the icon stays on",
            (AfterShown, 5_000, 5_000),
            vec![(0, Key), (4_000, Key), (6_000, Sent)],
            Seen { started: 2, ..PERFECT },
        ),
        (
            "dismiss = check, and a key at that very instant: off and on again, which nobody sees",
            (AfterShown, 5_000, 5_000),
            vec![(0, Key), (5_000, Key), (6_000, Sent)],
            Seen { started: 2, stopped: 2, wrong: Some(1.0), ..PERFECT },
        ),
        (
            "dismiss a millisecond shorter: it is seen",
            (AfterShown, 5_000, 4_999),
            vec![(0, Key), (4_000, Key), (8_000, Sent)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(7_999.0 / 8_000.0),
                flicker: Some(1.0),
                wrong: Some(0.0),
                ..PERFECT
            },
        ),
        (
            "dismiss > check and no key in a tick, idle: the icon stays on and nothing is sent again",
            (Idle, 2_000, 7_000),
            vec![(0, Key), (4_500, Key), (5_000, Sent)],
            PERFECT,
        ),
        (
            "dismiss > check and no key in a tick, after_shown: the next key is a first one, of an icon still on",
            (AfterShown, 2_000, 7_000),
            vec![(0, Key), (4_500, Key), (5_000, Sent)],
            Seen { started: 2, ..PERFECT },
        ),
    ]);
}

#[test]
fn sends_with_and_without_keys() {
    hold(vec![
        ("a send with no key", QUICK, vec![(0, Sent), (9_000, Sent)], NOTHING),
        ("two sends", QUICK, vec![(0, Key), (1_000, Sent), (1_500, Sent), (1_500, Sent)], PERFECT),
        (
            "a send inside a silence: the stop was no mistake by a key, but the message comes unannounced",
            QUICK,
            vec![(0, Key), (10_000, Sent), (10_500, Key), (11_000, Sent)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(2_500.0 / 10_500.0),
                early: Some(0.5),
                wrong: Some(0.0),
                ..PERFECT
            },
        ),
        ("a paste is one key", QUICK, vec![(0, Key), (300, Sent)], PERFECT),
        (
            "a paste that is sent in the same millisecond takes two requests and shows nothing",
            QUICK,
            vec![(0, Key), (0, Sent)],
            Seen { recall: None, false_on: None, early: Some(1.0), ..PERFECT },
        ),
        (
            "the first message of a trace may have begun before it: it begins with the first key that is seen",
            QUICK,
            vec![(0, Sent), (5_000, Key), (5_500, Sent)],
            PERFECT,
        ),
        (
            "a key of the millisecond of a message before it is late, and no new message",
            QUICK,
            vec![(0, Key), (1_000, Sent), (1_000, Key), (1_000, Key)],
            PERFECT,
        ),
        (
            "a chat that ended in between has forgotten that message",
            QUICK,
            vec![(0, Key), (1_000, Sent), (1_000, Ended), (1_000, Key)],
            Seen { started: 2, stopped: 2, wrong: Some(0.0), ..PERFECT },
        ),
    ]);
}

#[test]
fn held_and_repeated_keys() {
    let held = |millis: u64, end: u64| {
        let keys = (0..=millis).step_by(33).map(|at| (at, Key));
        keys.chain([(end, Sent)]).collect::<Vec<_>>()
    };
    hold(vec![
        ("a held key", QUICK, held(3_300, 3_500), PERFECT),
        (
            "a held key, dismissed although it is held",
            SAMPLE,
            held(3_300, 4_000),
            Seen { recall: Some(0.5), early: Some(1.0), wrong: Some(1.0), ..PERFECT },
        ),
        (
            "keys of one millisecond are one to the icon",
            QUICK,
            [vec![(0, Key); 9], vec![(500, Sent)]].concat(),
            PERFECT,
        ),
        (
            "a key that somebody leans on for six minutes is not believed beyond five",
            (Idle, 300_000, 2_000),
            held(360_000, 400_000),
            Seen { recall: Some(300_000.0 / 359_997.0), early: None, off: Some(0), wrong: Some(1.0), ..PERFECT },
        ),
    ]);
}

#[test]
fn the_ends_of_drafts() {
    hold(vec![
        (
            "silence as long as away is not gone yet",
            QUICK,
            vec![(0, Key), (30_000, Sent)],
            Seen { recall: Some(2.0 / 30.0), early: Some(1.0), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "a millisecond more is, and the send is that of no message",
            QUICK,
            vec![(0, Key), (1_000, Key), (31_001, Sent)],
            Seen { false_on: Some(2.0 / 3.0), early: None, off: Some(2_000), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "the sample shows an icon once more after its user has gone: off for good is what counts",
            SAMPLE,
            vec![(0, Key), (4_000, Key), (60_000, Sent)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(0.5),
                false_on: Some(0.5),
                early: None,
                off: Some(3_000),
                wrong: Some(0.5),
                ..PERFECT
            },
        ),
        (
            "an icon that is off when its user goes, and stays off",
            SAMPLE,
            vec![(0, Key), (4_000, Key), (5_500, Key), (7_500, Key), (9_000, Key), (9_600, Stopped)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(4.0 / 9.0),
                flicker: Some(1.0),
                early: None,
                wrong: Some(1.0),
                ..PERFECT
            },
        ),
        (
            "an icon that outlasts its user's absence is on until the user types again",
            (Idle, 5_000, 40_000),
            vec![(0, Key), (35_000, Key), (36_000, Sent)],
            Seen { recall: Some(1.0), false_on: Some(35.0 / 36.0), off: Some(35_000), ..PERFECT },
        ),
        (
            "an icon that comes on with the last key of a draft is its off-latency, not its flicker",
            QUICK,
            vec![(0, Key), (3_000, Key), (40_000, Stopped)],
            Seen {
                started: 2,
                stopped: 2,
                recall: Some(2.0 / 3.0),
                false_on: Some(0.5),
                early: None,
                off: Some(2_000),
                wrong: Some(0.5),
                ..PERFECT
            },
        ),
        (
            "a cleared box closes at its last key, and is not abandoned",
            QUICK,
            vec![(0, Key), (1_000, Key), (1_500, Stopped)],
            Seen { false_on: Some(1.0 / 3.0), early: None, ..PERFECT },
        ),
        (
            "so is a closed chat",
            QUICK,
            vec![(0, Opened), (0, Key), (1_000, Key), (1_500, Ended), (1_500, Opened)],
            Seen { false_on: Some(1.0 / 3.0), early: None, ..PERFECT },
        ),
        (
            "a cleared box after a long silence is abandoned",
            QUICK,
            vec![(0, Key), (1_000, Key), (31_001, Stopped)],
            Seen { false_on: Some(2.0 / 3.0), early: None, off: Some(2_000), wrong: Some(0.0), ..PERFECT },
        ),
    ]);
}

/// The trace ends with its last line, for everybody in it.
#[test]
fn beyond_the_end_of_a_trace_only_requests_count() {
    let another = |at| Line { at, to: "c".into(), from: "another".into(), kind: Opened };
    let draft = one(&[(0, Key), (1_000, Key)]);
    for (name, end, how, expected) in [
        (
            "in mid-message: it is neither sent nor abandoned, and its icon is cut off",
            None,
            QUICK,
            Seen { early: None, wrong: Some(0.0), ..PERFECT },
        ),
        (
            "others go on for a while",
            Some(2_500),
            QUICK,
            Seen { early: None, false_on: Some(0.6), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "others go on for as long as away",
            Some(31_000),
            QUICK,
            Seen { early: None, false_on: Some(2.0 / 3.0), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "others go on for longer: the draft was abandoned",
            Some(31_001),
            QUICK,
            Seen { early: None, false_on: Some(2.0 / 3.0), off: Some(2_000), wrong: Some(0.0), ..PERFECT },
        ),
        (
            "the icon outlasts that, too",
            Some(31_001),
            (Idle, 5_000, 40_000),
            Seen {
                started: 2,
                early: None,
                false_on: Some(30_001.0 / 31_001.0),
                off: Some(30_001),
                wrong: Some(0.0),
                ..PERFECT
            },
        ),
        (
            "a check after the end is a request",
            None,
            (AfterShown, 5_000, 2_000),
            Seen { started: 2, stopped: 2, early: None, wrong: Some(0.0), ..PERFECT },
        ),
    ] {
        let lines: File = draft.iter().cloned().chain(end.map(another)).collect();
        assert_eq!(seen(&row_of(name, &[lines], how, LENS)), expected, "{name}");
    }
    let never = one(&(0..100).map(|i| (i * 1_000, Key)).collect::<Vec<_>>());
    let expected = Seen { started: 21, early: None, wrong: Some(0.0), ..PERFECT };
    assert_eq!(seen(&row_of("never sent", &[never], QUICK, LENS)), expected, "a conversation that never sends");
}

#[test]
fn a_receiver_that_drops_icons() {
    // Told on at 0 and at 5 s.
    let typing: Vec<_> = (0..10).map(|i| (i * 1_000, Key)).chain([(9_500, Sent)]).collect();
    let twice = Seen { started: 2, ..PERFECT };
    for (name, how, ttl, expected) in [
        (
            "sooner than the next Started",
            QUICK,
            4_000,
            Seen { recall: Some(8.0 / 9.5), flicker: Some(1.0), early: Some(1.0), ..twice },
        ),
        ("at the very millisecond of the next Started, which keeps it on", QUICK, 5_000, Seen { ..twice }),
        ("later than the next Started", QUICK, 5_001, Seen { ..twice }),
        (
            "at the very millisecond of the send, which finds it gone",
            QUICK,
            4_500,
            Seen { recall: Some(9.0 / 9.5), flicker: Some(1.0), early: Some(1.0), ..twice },
        ),
        (
            "sooner than the dismissal",
            SAMPLE,
            1_000,
            Seen {
                stopped: 2,
                recall: Some(2.0 / 9.5),
                flicker: Some(1.0),
                early: Some(1.0),
                wrong: Some(1.0),
                ..twice
            },
        ),
    ] {
        let row = row_of(name, &[one(&typing)], how, Lens { ttl: Some(ttl), ..LENS });
        assert_eq!(seen(&row), expected, "{name}");
    }
}

#[test]
fn conversations_users_and_files_are_kept_apart() {
    let line = |at, to: &str, from: &str, kind| Line { at, to: to.into(), from: from.into(), kind };
    // One user on two channels, and the same ids in another trace, whose clock is elsewhere.
    let first = vec![
        line(0, "c", "u", Key),
        line(500, "d", "u", Key),
        line(1_000, "c", "u", Sent),
        line(1_500, "d", "u", Sent),
    ];
    let second = vec![line(1_700_000_000_000, "c", "u", Key), line(1_700_000_002_000, "c", "u", Sent)];
    let row = row_of("apart", &[first, second], QUICK, LENS);
    assert_eq!((row.started, row.stopped), (3, 3));
    assert_eq!((row.recall.value, row.off_early.value), (Some(1.0), Some(1.0 / 3.0)));
    assert_eq!(row.safe_conversations, row.safe_composers, "they compose from begin to end");
}

#[test]
fn a_study_without_a_line_or_a_key_has_no_result() {
    for (name, lines) in [("no line", vec![]), ("no key", one(&[(0, Opened), (9, Stopped), (10, Ended)]))] {
        assert_eq!(seen(&row_of(name, &[lines], QUICK, LENS)), NOTHING, "{name}");
    }
    let none = compare(&[], &plan(&[setting(Idle, 5_000, 2_000)], LENS), LENS).expect("nothing is nothing");
    assert_eq!(none.study.users, 0);
}

#[test]
fn times_that_go_back_are_an_error_that_names_the_line() {
    let equal = one(&[(5, Key), (5, Key), (5, Stopped), (5, Key), (5, Sent)]);
    let row = row_of("equal times", &[equal], QUICK, LENS);
    assert_eq!((row.started, row.stopped, row.recall.value), (2, 2, None));
    let back = one(&[(5, Key), (9, Key), (8, Key)]);
    let error = Study::read([reader("back.ndjson", &back)]).expect_err("it goes back");
    assert_eq!(error.to_string(), "back.ndjson:3: `at` goes back from 9 to 8; expected times that do not decrease");
}

#[test]
fn max_typing_stops_and_silences_until_a_pause() {
    let keys: Vec<_> = (0..=80).map(|i| (i * 100, Key)).chain([(9_000, Key), (9_500, Sent)]).collect();
    let lens = LENS;
    let mut plan = plan(&[setting(Idle, 5_000, 500)], lens);
    plan.max_typing = Duration::from_secs(2);
    let row = compare(&[one(&keys)], &plan, lens).unwrap_or_else(|found| panic!("{found}")).current;
    // On from 0 to 2 s; the pause after 8 s lets the key at 9 s begin anew, and the send meets its idle stop.
    assert_eq!((row.started, row.stopped), (2, 2));
    assert_eq!((row.recall.value, row.off_early.value), (Some(2_500.0 / 9_500.0), Some(1.0)));
    assert_eq!((row.flicker_per_msg.value, row.wrong_stop.value), (Some(1.0), Some(0.5)));
}
